"""Live speech on the static page in Debian's Chromium: microphone, options, lost sound and accessibility."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from live_streams import CLIP, assert_same, in_python

from hf_ser.audio import load_audio, resample

pytestmark = pytest.mark.browser
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
