"""Streams through the page's code in Debian's Chromium: windows, answers and decisions are those of Python."""

import json

import numpy as np
import pytest
from live_streams import CLIP, assert_same, in_python, text

from hf_ser.audio import load_audio, resample
from hf_ser.listen.answer_lines import StreamMeter
from hf_ser.live.label_decisions import DecisionRule, LabelDecision
from hf_ser.live.voice_gate import VoiceGate

pytestmark = pytest.mark.browser
# Streams samples (integers of 16 bits, as JSON) in chunks of these sizes, in turn, through the page's own code.
STREAM = """async ([integers, rate, sizes, options]) => {
  const page = await fetch('page.json').then(found => found.json());
  const {LiveRecognizer} = await import('./live_recognizer.js');
  const {Model} = await import('./model.js');
  if (!window.loadedModel) await (window.loadedModel = new Model(page.model)).load();
  const samples = Float32Array.from(JSON.parse(integers), each => each / 32768);
  const stream = new LiveRecognizer(each => window.loadedModel.run(each), page, {...page.live, ...options});
  const answers = [];
  for (let place = 0, number = 0; place < samples.length; number++) {
    const end = place + sizes[number % sizes.length];
    answers.push(...await stream.feed(samples.subarray(place, end), rate));
    place = end;
  }
  return [...answers, ...await stream.finish()];
}"""


@pytest.fixture(scope="module")
def browser(launch_chromium):
    """Chromium; the streams need no microphone."""
    return launch_chromium("--disable-gpu")


@pytest.fixture(scope="module")
def sound(tone):
    """A voice, a pause, a quiet tone and the voice again: (samples,), int16 at 16 kHz."""
    voice = load_audio(CLIP)
    parts = [voice, np.zeros(20_000), tone(0.7), 0.02 * tone(0.9), 0.3 * voice[:13_333]]
    return (np.concatenate(parts) * 32_767).astype(np.int16)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"window_s": 0.5, "hop_s": 0.2, "gate_dbfs": -40.0, "smooth_windows": 3},
        {"window_s": 0.4, "hop_s": 0.4, "min_active_s": 0.2, "smooth_weight": 0.4, "switch_margin": 0.05},
        {"window_s": 0.3, "hop_s": 0.1, "switch_windows": 2},
    ],
)
def test_windows_and_answers_of_a_stream_are_those_of_python(page, page_graph, sound, options):
    expected = in_python(page_graph, sound, 16_000, **options)
    generator = np.random.default_rng(len(options))
    for sizes in (generator.integers(1, 9000, 5).tolist(), [1601] if options else [len(sound)]):
        assert_same(page.evaluate(STREAM, [text(sound), 16_000, sizes, options]), expected, 1e-5)
    assert len({each["label"] for each in expected}) > 1 or not options


@pytest.mark.parametrize("rate", [48_000, 44_100, 8_000])
def test_other_sampling_rates_have_the_windows_and_nearly_the_answers_of_python(page, page_graph, sound, rate):
    samples = (resample(sound[:40_000] / np.float32(32_768), 16_000, rate) * 32_767).astype(np.int16)
    options = {"window_s": 0.5, "hop_s": 0.25}
    found = page.evaluate(STREAM, [text(samples), rate, [2048, 777], options])
    assert_same(found, in_python(page_graph, samples, rate, **options), 1e-4)


def test_short_streams_have_the_windows_of_python(page, page_graph, sound):
    for length in (0, 1599, 1600, 7999, 8000, 8001, 11_999, 12_000, 12_001):
        options = {"window_s": 0.5, "hop_s": 0.25}
        found = page.evaluate(STREAM, [text(sound[:length]), 16_000, [500], options])
        assert_same(found, in_python(page_graph, sound[:length], 16_000, **options), 1e-5)


def test_resampled_chunks_are_the_resampled_whole_and_near_those_of_python(page, sound):
    script = """async ([rate, integers, sizes]) => {
      const {StreamResampler} = await import('./resampler.js');
      const samples = Float32Array.from(JSON.parse(integers), each => each / 32768), runs = [];
      for (const each of [[samples.length], sizes]) {
        const resampler = new StreamResampler(rate, 16000), made = [];
        for (let place = 0, number = 0; place < samples.length; number++) {
          const end = place + each[number % each.length];
          made.push(...resampler.feed(samples.subarray(place, end)));
          place = end;
        }
        runs.push([...made, ...resampler.finish()]);
      }
      return JSON.stringify(runs);
    }"""
    generator = np.random.default_rng(0)
    for rate in (8_000, 22_050, 44_100, 48_000, 96_000):
        length = rate // 3 + int(generator.integers(100))
        samples = (resample(sound / np.float32(32_768), 16_000, rate)[:length] * 32_767).astype(np.int16)
        sizes = generator.integers(1, 3000, 4).tolist()
        whole, parts = json.loads(page.evaluate(script, [rate, text(samples), sizes]))
        expected = resample(samples / np.float32(32_768), rate)
        assert whole == parts and len(whole) == len(expected), rate
        assert np.abs(np.asarray(whole) - expected).max() < 2e-3 * np.abs(expected).max(), rate


def test_decisions_gate_and_meter_are_those_of_python(page):
    generator = np.random.default_rng(1)
    scores = generator.dirichlet([0.8] * 3, 60)
    rules = [DecisionRule(), DecisionRule(smooth_windows=4, switch_margin=0.1), DecisionRule(smooth_weight=0.3)]
    rules.append(DecisionRule(smooth_windows=2, switch_windows=3))
    ranked = [sorted(zip("abc", map(float, row), strict=True), key=lambda pair: -pair[1]) for row in scores]
    script = """async ([ranked, rules]) => {
      const {LabelDecision} = await import('./label_decision.js');
      return rules.map(rule => {
        const decision = new LabelDecision(rule);
        return ranked.map((row, place) => {
          if (place === 30) decision.reset();
          const {label, score} = decision.next(row.map(([label, score]) => ({label, score})));
          return [label, score];
        });
      });
    }"""
    for rule, found in zip(rules, page.evaluate(script, [ranked, [vars(rule) for rule in rules]]), strict=True):
        decision, expected = LabelDecision(rule), []
        for place, row in enumerate(ranked):
            if place == 30:
                decision.reset()
            expected.append(decision(dict(row)))
        assert [label for label, _ in found] == [label for label, _ in expected]
        assert np.allclose([score for _, score in found], [score for _, score in expected], atol=1e-12)
    windows = [
        (0.02 * generator.standard_normal(1000) * (np.arange(1000) < active)).tolist() for active in range(0, 1000, 90)
    ]
    script = """async ([windows, options]) => {
      const {passesGate} = await import('./voice_gate.js');
      return windows.map(window => passesGate(new Float32Array(window), options, 16000));
    }"""
    for level, least in ((-60.0, 0.0), (-35.0, 0.0), (-35.0, 0.04), (-20.0, 0.02)):
        gate = VoiceGate(level, least)
        expected = [gate.passes(np.asarray(window, np.float32)) for window in windows]
        options = {"gate_dbfs": level, "min_active_s": least, "frame": 320}
        assert page.evaluate(script, [windows, options]) == expected
    meter, blocks = StreamMeter(), [(0.5, 0.004, [0.01]), (0.7, 0.03, [0.2, 0.031]), (1234.0, 0.01, [])]
    for block in blocks:
        meter.add(*block)
    script = """async blocks => {
      const {LiveMeter} = await import('./live_meter.js'), meter = new LiveMeter();
      for (const [seconds, computed, latencies] of blocks) {
        meter.add(seconds, 1000 * computed, latencies.map(each => 1000 * each));
      }
      return meter.summary();
    }"""
    assert page.evaluate(script, blocks) == meter.summary()
