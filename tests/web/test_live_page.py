"""Live speech on the static page in Debian's Chromium: windows and answers as in Python, microphone, accessibility."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from hf_ser.audio import load_audio, resample
from hf_ser.labels import EMOTIONS
from hf_ser.listen.answer_lines import StreamMeter
from hf_ser.live import StreamingRecognizer
from hf_ser.live.label_decisions import DecisionRule, LabelDecision
from hf_ser.live.voice_gate import VoiceGate
from hf_ser.runtime import OnnxPipeline

pytestmark = pytest.mark.browser
CLIP = Path(__file__).parents[2] / "examples" / "clips" / "angry_woman.flac"
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
# Keeps the blocks that the page's recognizer gets, and lets a test change them.
KEEP = """async change => {
  const {LiveRecognizer} = await import('./live_recognizer.js');
  const feed = LiveRecognizer.prototype.feed;
  window.restore = () => { LiveRecognizer.prototype.feed = feed; };
  window.kept = [];
  LiveRecognizer.prototype.feed = function (samples, rate) {
    window.kept.push(...samples);
    window.rate = rate;
    return feed.call(this, samples, change && window.kept.length > 2 * rate ? rate + 1 : rate);
  };
}"""


@pytest.fixture(scope="module")
def browser(launch_chromium, tmp_path_factory):
    """Chromium whose microphone repeats a voice and a pause."""
    path = tmp_path_factory.mktemp("microphone") / "voice.wav"
    sf.write(path, np.concatenate([resample(load_audio(CLIP), 16_000, 48_000), np.zeros(96_000)]), 48_000)
    return launch_chromium("--disable-gpu", f"--use-file-for-fake-audio-capture={path}")


@pytest.fixture
def page(page):
    """The page without answers, with the defaults but for short windows."""
    page.locator("#live-options").evaluate("options => { options.open = true; }")
    set_options(page, window_s=0.5, hop_s=0.25, gate_dbfs=-60)
    yield page
    page.evaluate("window.restore?.()")
    assert page.get_by_role("button", name="Start live").is_enabled()


def set_options(page, **values):
    for name, value in values.items():
        page.locator(f"#live-form [name={name}]").fill(str(value))


def start_live(page):
    page.get_by_role("button", name="Start live").click()
    page.locator("#status").get_by_text("Live. Speak now.").wait_for()


def wait_for_windows(page, number):
    page.locator("#live-lanes .row").first.locator("i").nth(number - 1).wait_for(state="attached")


def stop_live(page):
    page.get_by_role("button", name="Stop live").click()
    page.locator("#status:not(.busy)").wait_for()


def downloaded(page):
    with page.expect_download() as download:
        page.get_by_role("button", name="Download JSON").click()
    return json.loads(Path(download.value.path()).read_text(encoding="utf-8"))


def text(samples):
    """Samples as JSON: Playwright passes long lists number by number."""
    return json.dumps(samples.tolist())


def in_python(graph, samples, rate, **options):
    recognizer = StreamingRecognizer(OnnxPipeline(graph), abstain=True, **options)
    return recognizer.feed(samples, rate) + recognizer.finish()


def assert_same(found, expected, tolerance):
    """Windows, silence and labels are the same, and probabilities within a tolerance."""
    fields = ("start", "end", "silent", "label", "abstained")
    assert [[each[name] for name in fields] for each in found] == [
        [each[name] for name in fields] for each in expected
    ]
    for each, wanted in zip(found, expected, strict=True):
        if wanted["scores"] is None:
            assert each.get("probabilities") is None and each.get("scores") is None and each["score"] is None
            continue
        scores = {part["label"]: part["score"] for part in wanted["scores"]}
        values = each.get("probabilities") or [
            {part["label"]: part["score"] for part in each["scores"]}[label] for label in EMOTIONS
        ]
        assert np.abs(np.asarray(values) - [scores[label] for label in EMOTIONS]).max() < tolerance
        assert abs(each["score"] - wanted["score"]) < tolerance


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


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (360, "dark")])
def test_a_microphone_from_start_to_stop_with_the_keyboard_alone(page, page_graph, width, scheme):
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme)
    page.evaluate(KEEP, False)
    page.locator("#record").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_text("The first answer comes after 0.5 seconds of sound.").wait_for()
    wait_for_windows(page, 3)
    assert page.locator("#record").is_disabled() and page.locator("#live-form input").first.is_disabled()
    assert page.locator("#live-bars tr").count() == 8 and page.locator("#live-lanes .row").count() == 8
    assert page.locator("#live-speed").inner_text().startswith("Last answer after ")
    assert page.locator("#live-said").inner_text() and page.get_by_role("meter").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.keyboard.press("Enter")
    page.locator("article").wait_for()
    assert page.evaluate("document.activeElement.id") == "live-toggle" and not page.locator("#live").is_visible()
    assert "latency per window" in page.locator("article").inner_text()
    (answer,) = downloaded(page)
    kept, rate = np.asarray(json.loads(page.evaluate("JSON.stringify(kept)")), np.float32), page.evaluate("rate")
    assert np.abs(kept).max() > 0.01
    expected = in_python(page_graph, kept, rate, window_s=0.5, hop_s=0.25)
    assert_same(answer["timeline"], expected, 1e-4)
    assert answer["timeline"][0]["start"] == 0 and len(expected) > 2


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("throw new DOMException('', 'NotAllowedError')", "The microphone is blocked. Allow it for this page"),
        ("throw new DOMException('', 'NotFoundError')", "No microphone was found. Connect one, or choose a file."),
        ("throw new DOMException('', 'NotReadableError')", "The microphone cannot be opened. Close other programs"),
        (None, "This browser allows no microphone at this address."),
    ],
)
def test_without_a_microphone_the_page_says_why_and_tries_again(page, script, message):
    replaced = f"{{getUserMedia: async () => {{ {script} }}}}" if script else "undefined"
    page.evaluate(f"Object.defineProperty(navigator, 'mediaDevices', {{value: {replaced}, configurable: true}})")
    page.get_by_role("button", name="Start live").click()
    page.locator("#status.error").get_by_text(message).wait_for()
    assert not page.locator("#live").is_visible() and page.locator("article").count() == 0
    page.evaluate("delete navigator.mediaDevices")  # the one of the browser is back
    start_live(page)
    stop_live(page)
    assert page.locator("article").count() == 1


def test_a_lost_microphone_and_a_changed_rate_end_the_stream_and_keep_its_answers(page):
    page.evaluate(
        """() => {
          window.open = navigator.mediaDevices.getUserMedia;
          navigator.mediaDevices.getUserMedia = async asked => {
            return (window.stream = await open.call(navigator.mediaDevices, asked));
          };
        }"""
    )
    start_live(page)
    wait_for_windows(page, 1)
    page.evaluate("stream.getAudioTracks()[0].dispatchEvent(new Event('ended'))")
    page.locator("#status.error").get_by_text("The microphone was disconnected. Connect it").wait_for()
    assert page.evaluate("stream.getAudioTracks()[0].readyState") == "ended"
    assert page.locator("article:not(.error)").count() == 1
    page.evaluate(
        """() => {
          window.every = setInterval, window.resume = AudioContext.prototype.resume;
          window.setInterval = (run, ms) => every(run, ms / 20);
          AudioContext.prototype.resume = function () { return this.suspend(); };
        }"""
    )
    start_live(page)
    page.locator("#status.error").get_by_text("The microphone sent no samples for 5 s.").wait_for()
    page.evaluate("() => { window.setInterval = every; AudioContext.prototype.resume = resume; }")
    assert page.locator("article.error").get_by_text("got 0.000 s; expected at least 0.1 s").is_visible()
    page.evaluate(KEEP, True)
    start_live(page)
    page.locator("#status.error").get_by_text("Got a sampling rate of ").wait_for()
    assert "Hz in mid-stream; expected " in page.locator("#status").inner_text()
    assert page.locator("article:not(.error)").count() == 2


def test_a_model_that_fails_is_loaded_again(page):
    page.evaluate(
        """async () => {
          const {Model} = await import('./model.js'), run = Model.prototype.run;
          Model.prototype.run = async () => { Model.prototype.run = run; throw new Error('out of memory'); };
        }"""
    )
    page.get_by_role("button", name="Start live").click()
    page.locator("#status.error").get_by_text("The model failed (out of memory). Use a shorter window.").wait_for()
    start_live(page)
    wait_for_windows(page, 1)
    stop_live(page)
    assert page.locator("article:not(.error)").count() == 1


def test_memory_of_a_long_stream_is_limited_and_lost_sound_is_counted(page):
    found = page.evaluate(
        """async () => {
          const page = await fetch('page.json').then(found => found.json());
          const {LiveMode} = await import('./live_mode.js'), {LiveView} = await import('./live_view.js');
          const view = new LiveView(document.querySelector('#live'), page);
          const values = page.model.labels.map((_, place) => 1 / (place + 1));
          const options = {...page.live, window_s: 0.1, hop_s: 0.1};
          const live = new LiveMode(page, options, async () => values, {level() {}, end() {},
            answers(windows, speed) { if (windows.at(-1).end > 1000) view.add(windows, speed); }});
          const block = new Float32Array(20 * 16000).fill(0.1);
          for (let number = 0; number < 51; number++) {
            live.take(block, 16000, 0.1);
            await live.classified;
          }
          view.end();
          const sizes = [live.windows.length, live.recognizer.cutter.held.length, live.meter.latenciesMs.length,
            view.windows.length, live.pending_s, live.lost_s];
          const slow = new LiveMode(page, options, () => new Promise(() => {}), {level() {}, end() {}, answers() {}});
          for (let number = 0; number < 40; number++) slow.take(new Float32Array(16000).fill(0.1), 16000, 0.1);
          return [sizes, live.meter.windows, live.summary, slow.pending_s, slow.summary];
        }"""
    )
    sizes, windows, summary, pending_s, lost = found
    assert sizes == [10_000, 0, 1000, 60, 0, 0] and windows == 10_200 and "last 10000 windows are kept" in summary
    assert pending_s == 30 and "10.0 s of sound were lost, because the model is slower than the microphone" in lost


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"window_s": 0.05}, "Window in seconds: got 0.05; expected 0.1 to 60 seconds."),
        ({"hop_s": 2}, "Hop in seconds: got 2; expected 0.1 seconds to the length of a window, which is 0.5 s."),
        ({"hop_s": ""}, "Hop in seconds: got no number; expected"),
        ({"gate_dbfs": -80}, "Gate in dBFS: got -80; expected a level from -60 to 0 dBFS."),
        ({"smooth_windows": 1.5}, "Windows to average: got 1.5; expected an integer"),
        ({"smooth_windows": 2, "smooth_weight": 0.5}, "Weight of the newest window: got 0.5; expected nothing"),
        ({"switch_margin": 1}, "Margin of a new label: got 1; expected a number from 0, below 1."),
    ],
)
def test_invalid_options_are_rejected_at_their_field(page, values, message):
    before = {name: page.locator(f"#live-form [name={name}]").input_value() for name in values}
    set_options(page, **values)
    page.get_by_role("button", name="Start live").click()
    page.locator("#status.error").get_by_text(message).wait_for()
    focused = page.evaluate("[document.activeElement.name, document.activeElement.getAttribute('aria-invalid')]")
    assert focused == [list(values)[-1], "true"]
    set_options(page, **before)


def test_silence_below_the_gate_has_no_answer(page):
    set_options(page, gate_dbfs=0, min_active_s=0.5)
    start_live(page)
    page.locator("#live-answer").get_by_text("Silence").wait_for()
    page.locator("#live-said").get_by_text("Silence").wait_for(state="attached")
    stop_live(page)
    set_options(page, min_active_s=0)
    assert "got silence; expected a peak above the gate" in page.locator("article.error").inner_text()


CONTRAST = """() => {
  const canvas = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});
  const channels = colour => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => [r, g, b].map(each => each / 255)
    .map(each => each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4)
    .reduce((sum, each, place) => sum + each * [0.2126, 0.7152, 0.0722][place], 0);
  const behind = found => {
    const colour = channels(getComputedStyle(found).backgroundColor);
    return colour[3] === 255 ? colour : behind(found.parentElement);
  };
  const low = [];
  let count = 0;
  for (const found of document.querySelectorAll('main *')) {
    const text = [...found.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
    if (!(text || found.matches('input[type=number]')) || found.matches(':disabled')) continue;
    if (!found.checkVisibility()) continue;
    const [first, second] = [channels(getComputedStyle(found).color), behind(found)].map(light);
    const ratio = (Math.max(first, second) + 0.05) / (Math.min(first, second) + 0.05);
    count++;
    if (ratio < 4.5) low.push(`${found.outerHTML.slice(0, 80)} ${ratio.toFixed(2)}`);
  }
  return [count, low];
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_names_contrast_and_focus(page, scheme):
    page.emulate_media(color_scheme=scheme)
    start_live(page)
    wait_for_windows(page, 1)
    count, low = page.evaluate(CONTRAST)
    assert count > 30 and low == []
    stop_live(page)
    assert page.evaluate(CONTRAST)[1] == []
    nodes = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    named = [
        (node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node.get("ignored")
    ]
    wanted = ("button", "spinbutton", "image", "meter", "region", "table", "heading", "DisclosureTriangle")
    assert [role for role, name in named if role in wanted and not name] == []
    assert ("spinbutton", "Hop in seconds") in named and ("button", "Start live") in named
    live = [node for node in nodes if any(each["name"] == "live" for each in node.get("properties", ()))]
    assert {node["role"]["value"] for node in live} >= {"status"}
    page.get_by_role("heading", name="Which emotion").click()
    reached = []
    for _ in range(20):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate(
                """() => {
                  const focused = document.activeElement;
                  const ring = getComputedStyle(focused.id === 'files' ? focused.parentElement : focused);
                  return [focused.id || focused.name || focused.tagName, ring.outlineStyle, ring.outlineWidth];
                }"""
            )
        )
        if reached[-1][0] == "clear":
            break
    assert all((style, size) == ("solid", "3px") for _, style, size in reached)
    names = [name for name, _, _ in reached]
    assert names[:3] == ["files", "record", "live-toggle"] and names[-1] == "clear" and "switch_windows" in names
