"""The static page in Debian's Chromium: probabilities as in Python, microphone, bad input, offline, keyboard."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from hf_ser.audio import load_audio
from hf_ser.batch.answer_rows import columns
from hf_ser.labels import EMOTIONS
from hf_ser.remote_code.windows import WindowPlan, cut_waveform, read_windows

pytestmark = pytest.mark.browser
CLIP = Path(__file__).parents[2] / "examples" / "clips" / "angry_woman.flac"
WAIT_MS = 120_000  # on a busy machine


@pytest.fixture(scope="module")
def recordings(tmp_path_factory, tone):
    """Recordings good and bad, by name."""
    folder = tmp_path_factory.mktemp("recordings")
    voice, pause = load_audio(CLIP), np.zeros(16_000 * 2)
    sounds = {"voice": tone(1.2), "long": np.concatenate([voice, pause, tone(1.7), 0.3 * voice])}
    sounds |= {"silence": np.zeros(16_000), "short": tone(0.02), "tiny": tone(0.1)}
    sounds["cancelled"] = np.stack([tone(0.5), -tone(0.5)], axis=1)
    for name, samples in sounds.items():
        sf.write(folder / f"{name}.wav", samples, 16_000)
    for rate, channels in ((44_100, 2), (48_000, 1), (8000, 1)):
        samples = tone(1.5, rate, channels, frequency_hz=300.0)
        sf.write(folder / f"at_{rate}.wav", samples, rate)
    sf.write(folder / "eleven_minutes.wav", np.zeros(660 * 8000, np.float32), 8000, subtype="PCM_U8")
    (folder / "text.wav").write_text("words, not sound\n" * 40)
    (folder / "empty.wav").write_bytes(b"")
    with open(folder / "large.wav", "wb") as file:
        file.truncate(101 * 10**6)
    return folder


@pytest.fixture(scope="module")
def browser(launch_chromium, recordings, tmp_path_factory, tone):
    """Chromium whose microphone repeats a tone."""
    path = tmp_path_factory.mktemp("microphone") / "tone.wav"
    sf.write(path, tone(5.0, 48_000, frequency_hz=300.0, noise=0.01), 48_000)
    return launch_chromium("--disable-gpu", f"--use-file-for-fake-audio-capture={path}")


def classify(page, *paths):
    """Give files to the page and wait until all have an answer."""
    before = page.locator("article").count()
    page.locator("#files").set_input_files(paths)
    page.locator("article").nth(before + len(paths) - 1).wait_for()
    page.locator("#status:not(.busy)").wait_for()


def downloaded(page, name):
    with page.expect_download() as download:
        page.get_by_role("button", name=name).click()
    return Path(download.value.path()).read_text(encoding="utf-8")


def answers(page):
    return {answer["file"]: answer for answer in json.loads(downloaded(page, "Download JSON"))}


@pytest.fixture(scope="module")
def in_python(page_graph):
    """Classify the windows of a recording with onnxruntime -> start, end and probabilities or None for each."""
    import onnxruntime

    session = onnxruntime.InferenceSession(page_graph.read_bytes())

    def run(path):
        windows = []
        for window in read_windows(path, WindowPlan.for_model(1.0)):
            samples = np.pad(window.waveform, (0, max(0, 1600 - len(window.waveform))))[None]
            values = None if window.silent else session.run(None, {"input_values": samples})[0][0]
            windows.append((window.start_s, window.end_s, values))
        return windows

    return run


def mean(windows):
    sounding = [(end - start, values) for start, end, values in windows if values is not None]
    lengths = np.asarray([length for length, _ in sounding])
    return lengths / lengths.sum() @ np.stack([values for _, values in sounding])


def vector(scores):
    by_label = {score["label"]: score["score"] for score in scores}
    return np.asarray([by_label[label] for label in EMOTIONS])


def difference(answer, windows):
    return np.abs(vector(answer["scores"]) - mean(windows)).max()


def test_the_probabilities_are_those_of_python(page, recordings, in_python):
    names = ["voice.wav", "tiny.wav", "long.wav", CLIP.name]
    classify(page, *(recordings / name for name in names[:-1]), CLIP)
    found = answers(page)
    assert list(found) == names, "one after the other"
    for name in names:
        windows = in_python(CLIP if name == CLIP.name else recordings / name)
        assert difference(found[name], windows) < 1e-5, name
        assert found[name]["abstained"] == bool(mean(windows).max() < 0.3) and found[name]["threshold"] == 0.3
        timeline = found[name].get("timeline", [])
        assert len(timeline) == (len(windows) if len(windows) > 1 else 0)
        for part, (start, end, values) in zip(timeline, windows, strict=bool(timeline)):
            assert (part["start"], part["end"], part["silent"]) == (start, end, values is None)
            assert values is None or np.abs(vector(part["scores"]) - values).max() < 1e-5
    assert any(part["silent"] for part in found["long.wav"]["timeline"])
    rows = list(csv.reader(io.StringIO(downloaded(page, "Download CSV"))))
    assert rows[0] == columns(EMOTIONS, abstains=True) and len(rows) > 1 + len(names)
    assert {row[-1] for row in rows[1:]} == {found["voice.wav"]["warning"]}
    page.get_by_role("button", name="Copy as JSON").click()
    page.get_by_text("Copied.").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert {answer["file"]: answer for answer in json.loads(copied)} == found
    page.get_by_role("button", name="Clear").click()
    assert page.locator("article").count() == 0 and page.get_by_role("button", name="Clear").count() == 0


def test_other_sampling_rates_change_little(page, recordings, in_python):
    """The browser's filter is shorter than soxr's; the tone itself is the same."""
    names = [f"at_{rate}.wav" for rate in (44_100, 48_000, 8000)]
    classify(page, *(recordings / name for name in names))
    found = answers(page)
    for name in names:
        assert difference(found[name], in_python(recordings / name)) < 0.05, name


def test_windows_silence_and_weights_follow_the_rules_of_python(page):
    lengths = [0, 1, 15_999, 16_000, 16_001, 31_999, 32_000, 32_001, 40_000, 40_001, 48_000, 48_001, 100_003]
    for plan in (WindowPlan.for_model(1.0), WindowPlan.for_model(None, 0.5, 0.2), WindowPlan(0.7, 0.7, 0.7)):
        sizes = [plan.whole_s * 16_000, round(plan.window_s * 16_000), round(plan.stride_s * 16_000)]
        found = page.evaluate(
            """async ([lengths, [whole, size, step]]) => {
              const {cut} = await import('./windows.js');
              return lengths.map(length => cut(length, {whole, size, step}).map(({start, end}) => [start, end]));
            }""",
            [lengths, sizes],
        )
        for length, windows in zip(lengths, found, strict=True):
            expected = cut_waveform(np.zeros(length, np.float32), plan)
            assert [[start / 16_000, end / 16_000] for start, end in windows] == [
                [window.start_s, window.end_s] for window in expected
            ], (length, plan)
    peaks = page.evaluate(
        """async () => {
          const {peak} = await import('./windows.js');
          return [peak(new Float32Array(0)), peak(new Float32Array([0.25, -0.5])), peak(new Float32Array([NaN, 1]))];
        }"""
    )
    assert peaks[:2] == [0, 0.5] and np.isnan(peaks[2])


def test_bad_recordings_get_one_sentence_each_and_the_next_one_an_answer(page, recordings):
    messages = {
        "text.wav": "got a file that this browser cannot decode; expected a file with sound",
        "empty.wav": "got an empty file",
        "silence.wav": "got silence (peak 0.000000 of full scale); expected a peak above -60 dBFS.",
        "cancelled.wav": "got channels that cancel each other",
        "short.wav": "got 0.020 s; expected at least 0.1 s.",
        "eleven_minutes.wav": "got 11.0 minutes; expected at most 10 minutes.",
        "large.wav": "got 101 MB; expected at most 100 MB.",
    }
    classify(page, *(recordings / name for name in messages), recordings / "voice.wav")
    assert page.locator("#status").inner_text().startswith("voice.wav: ")
    found = answers(page)
    for name, message in messages.items():
        assert found[name]["error"].startswith(message) and "\n" not in found[name]["error"], name
        assert found[name]["reason"] in ("undecodable", "empty", "silent", "too_short", "too_long")
        assert page.get_by_text(f"No answer: {found[name]['error']}", exact=True).is_visible()
    assert "scores" in found["voice.wav"]


def test_files_are_dropped_anywhere_on_the_page(page, recordings):
    content = list((recordings / "voice.wav").read_bytes())
    page.evaluate(
        """content => {
          const all = new DataTransfer();
          for (const name of ['<img src=x onerror=alert(1)>.wav', 'second.wav']) {
            all.items.add(new File([new Uint8Array(content)], name));
          }
          document.querySelector('#limits').dispatchEvent(
            new DragEvent('drop', {bubbles: true, cancelable: true, dataTransfer: all}));
        }""",
        content,
    )
    page.locator("article").nth(1).wait_for()
    page.locator("#status:not(.busy)").wait_for()
    assert list(answers(page)) == ["<img src=x onerror=alert(1)>.wav", "second.wav"]
    assert page.locator("article img").count() == 0 and page.locator("#model b, #details i").count() == 0
    assert page.locator("#model").inner_text() == "tiny <b>model</b>. Trained on <i>nothing</i>."


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (360, "dark")])
def test_the_microphone_is_classified_with_the_keyboard_alone(page, recordings, width, scheme):
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme)
    page.get_by_role("heading", name="Which emotion").click()  # from here, Tab goes to the first control
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "files"
    assert page.locator("#drop").evaluate("drop => getComputedStyle(drop).outlineStyle") == "solid"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_text("Recording. Speak now.").wait_for()
    level = page.get_by_role("meter")
    page.locator("#level[aria-valuenow='-6']").wait_for()  # the tone has a peak of half the full scale
    assert level.bounding_box()["width"] > 100
    page.wait_for_timeout(1000)
    page.keyboard.press("Enter")
    page.locator("article").wait_for()
    page.locator("#status:not(.busy)").wait_for()
    name = page.locator("article .name").inner_text()
    assert name.startswith("Recording ") and page.locator("#status").inner_text().startswith(f"{name}: ")
    assert page.locator("#record").inner_text() == "Record" and not level.is_visible()
    assert "scores" in answers(page)[name]
    classify(page, recordings / "long.wav")
    page.get_by_text("The timeline as a table").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("table.timeline").first.get_by_text("silence").first.is_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == (
        "rgb(255, 255, 255)" if scheme == "light" else "rgb(15, 15, 17)"
    )


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("throw new DOMException('', 'NotAllowedError')", "The microphone is blocked. Allow it for this page"),
        ("throw new DOMException('', 'NotFoundError')", "No microphone was found. Connect one, or choose a file."),
        (None, "This browser allows no microphone at this address."),
    ],
)
def test_without_a_microphone_files_still_work(page, recordings, script, message):
    replaced = f"{{getUserMedia: async () => {{ {script} }}}}" if script else "undefined"
    page.evaluate(f"Object.defineProperty(navigator, 'mediaDevices', {{value: {replaced}, configurable: true}})")
    page.get_by_role("button", name="Record", exact=True).click()
    page.locator("#status.error").get_by_text(message).wait_for()
    page.evaluate("delete navigator.mediaDevices")  # the one of the browser is back
    classify(page, recordings / "voice.wav")
    assert page.locator("#status").inner_text().startswith("voice.wav: ")


def test_a_browser_without_webassembly_or_a_missing_file_is_told(open_page):
    absent = "WebAssembly is turned off in this browser"
    open_page(prepare=lambda page: page.add_init_script("delete globalThis.WebAssembly"), ready=absent)
    missing = "The model cannot be loaded: model.onnx.gz could not be downloaded (HTTP 404). Reload the page"

    def without_graph(page):
        page.context.route("**/model.onnx.gz", lambda route: route.fulfill(status=404))

    page = open_page(prepare=without_graph, ready=missing)
    assert page.locator("#status.error").is_visible()


def test_the_page_works_offline_after_the_first_visit(page, server, recordings):
    classify(page, recordings / "voice.wav")
    before = answers(page)
    page.get_by_text("Saved for offline use.").wait_for()
    server.broken = True
    try:
        page.context.set_offline(True)
        page.reload(timeout=WAIT_MS)
        page.locator("#status").get_by_text("Ready.").wait_for()
        classify(page, recordings / "voice.wav")
        assert answers(page) == before
    finally:
        page.context.set_offline(False)
        server.broken = False
    manifest = page.evaluate("fetch(document.querySelector('link[rel=manifest]').href).then(found => found.json())")
    assert manifest["display"] == "standalone" and manifest["icons"][0]["sizes"] == "any"
