"""The page in Debian's Chromium: upload, keyboard, microphone, narrow screens, dark mode."""

import os
import re
import threading
from pathlib import Path

import pytest

from hf_ser.demo import app

pytestmark = pytest.mark.browser
ANSWER = "#answer h2"
# Nothing has moved for a second. Without this wait, the test of the keyboard failed once on a busy machine.
SETTLED = """() => new Promise(settled => {
  let timer = setTimeout(settled, 1000);
  const moved = () => { clearTimeout(timer); timer = setTimeout(settled, 1000); };
  new MutationObserver(moved).observe(document, {subtree: true, childList: true, attributes: true});
})"""


@pytest.fixture
def open_page(chromium, address):
    """Open the page; at the end, check that it made no request to other servers and that no script failed."""
    contexts, foreign, faults = [], [], []

    def make(width=1280, **options):
        context = chromium.new_context(viewport={"width": width, "height": 800}, permissions=["microphone"], **options)
        contexts.append(context)
        context.set_default_timeout(20_000)
        page = context.new_page()
        page.on("request", lambda asked: foreign.append(asked.url) if is_foreign(asked.url) else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("filechooser", lambda chooser: None)  # listen from the start: an earlier dialog would be missed
        page.goto(address)
        page.get_by_role("button", name="Recognise").wait_for()
        page.locator("#recording input[type=file]").wait_for(state="attached")  # its scripts come last
        page.evaluate(SETTLED)
        return page

    def is_foreign(url):
        return not url.startswith((f"{address}/", "data:", "blob:"))

    yield make
    for context in contexts:
        context.close()
    assert (foreign, faults) == ([], [])


def upload(page, path):
    page.locator("#recording input[type=file]").set_input_files(path)
    page.locator("#recording").get_by_role("button", name="Clear").wait_for()


def recognise(page):
    page.get_by_role("button", name="Recognise").click()
    page.locator(ANSWER).wait_for()
    return page.locator("#answer").inner_text()


def expect_no_overflow(page):
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def tab_to(page, role, name, most=40):
    """Press Tab until the element has the focus, and check that the focus is visible."""
    wanted = page.get_by_role(role, name=name, exact=True)
    for _ in range(most):
        page.keyboard.press("Tab")
        if wanted.evaluate("element => element === document.activeElement"):
            assert wanted.evaluate("element => getComputedStyle(element).outlineStyle") != "none"
            return
    raise AssertionError(f"the {role} {name} cannot be reached")


def contrast(page, selector):
    """The WCAG contrast between the text of an element and its background."""
    return page.locator(selector).first.evaluate(
        """element => {
          const channels = text => text.match(/[\\d.]+/g).map(Number);
          const light = rgb => { const [r, g, b] = rgb.slice(0, 3).map(v => (v /= 255) <= 0.04045 ? v / 12.92
            : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
          let behind = element;
          const fill = e => channels(getComputedStyle(e).backgroundColor);
          const seen = e => fill(e).length < 4 || fill(e)[3] > 0;
          while (!seen(behind) && behind.parentElement) behind = behind.parentElement;
          const pair = [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor]
            .map(channels).map(light).sort((a, b) => b - a);
          return (pair[0] + 0.05) / (pair[1] + 0.05);
        }"""
    )


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (360, "dark")])
def test_a_clip_is_uploaded_and_its_result_can_be_read(open_page, recordings, width, scheme):
    page = open_page(width, color_scheme=scheme)
    assert page.locator("#limits").get_by_role("heading", name="Limits").is_visible()
    for word in ("Acted speech", "Few classes", "AI Act", "Consent", "does not measure what a person feels"):
        assert word in page.locator("#limits").inner_text()
    expect_no_overflow(page)
    upload(page, recordings / "voice.wav")
    text = recognise(page)
    assert text.startswith("Sounds most like: ") and len(re.findall(r"[\d.]+ %", text)) >= 9
    assert page.locator("#answer tbody tr").count() == 8
    page.get_by_text("About the model").click()
    assert page.get_by_text("Model: first/model").is_visible()
    picture = page.get_by_role("img", name="Waveform and log-mel spectrogram of the recording, 1.2 s.")
    assert picture.locator("img").evaluate("image => image.complete && image.naturalWidth > 50")
    assert 0.7 * min(width, 1024) < picture.bounding_box()["width"] <= width
    expect_no_overflow(page)
    for selector in (ANSWER, "#answer td.number", "#limits li", "#recognise"):
        assert contrast(page, selector) >= 4.5, selector


def test_a_long_recording_has_a_timeline_on_a_narrow_screen_too(open_page, recordings):
    page = open_page(360)
    upload(page, recordings / "long.flac")
    recognise(page)
    assert page.get_by_role("img", name="Probability of each class in every window").is_visible()
    page.get_by_text("The timeline as a table").click()
    assert page.locator("#answer .timeline").get_by_text("silence").is_visible()
    expect_no_overflow(page)


def test_bad_recordings_get_a_message_and_the_next_one_an_answer(open_page, recordings):
    page = open_page()
    assert "There is no recording yet" in recognise(page)
    for name, message in (("text.wav", "got a file starting with b"), ("silence.wav", "got silence")):
        upload(page, recordings / name)
        page.get_by_role("button", name="Recognise").click()
        page.get_by_text(f"{name}: {message}").wait_for()
        assert "Traceback" not in page.content()
        page.locator("#recording").get_by_role("button", name="Clear").click()
    page.locator("#recording input[type=file]").set_input_files(recordings / "words.txt")
    page.get_by_text("Invalid file type: words.txt").wait_for()
    upload(page, recordings / "voice.wav")
    page.get_by_role("button", name="Recognise").click()
    page.get_by_text("Sounds most like").wait_for()


def test_everything_can_be_done_with_the_keyboard(open_page):
    page = open_page()

    tab_to(page, "radio", "second/model: Training data and accuracy are unknown: the model has no results.json.")
    page.keyboard.press("Space")
    page.locator("#models input:checked[value='second/model']").wait_for()
    tab_to(page, "button", "long")
    page.keyboard.press("Enter")
    page.locator("#recording").get_by_role("button", name="Clear").wait_for()
    tab_to(page, "button", "Recognise")
    page.keyboard.press("Enter")
    page.locator(ANSWER).wait_for()
    assert "Model: second/model" in page.locator("#answer").text_content()
    assert page.locator("#answer").get_attribute("aria-live") == "polite"
    assert not page.locator("#answer .timeline").is_visible()
    for _ in range(3):
        page.keyboard.press("Tab")
        if page.locator("#answer summary").first.evaluate("element => element === document.activeElement"):
            break
    page.keyboard.press("Enter")
    assert page.locator("#answer .timeline").is_visible()


def test_a_voice_memo_that_the_browser_takes_for_a_video_is_classified(open_page, recordings):
    pytest.importorskip("av", reason="PyAV is not installed (extra media)")
    page = open_page()
    upload(page, recordings / "voice.webm")
    assert recognise(page).startswith("Sounds most like")
    page.locator("#recording").get_by_role("button", name="Clear").click()
    page.evaluate(
        """() => {
          const all = new DataTransfer();
          all.items.add(new File(['words'], 'memo.mp4', {type: 'video/mp4'}));
          const options = {bubbles: true, cancelable: true, dataTransfer: all};
          document.querySelector('#recording button').dispatchEvent(new DragEvent('drop', options));
        }"""
    )
    page.locator("#recording").get_by_role("button", name="Clear").wait_for()
    page.get_by_role("button", name="Recognise").click()
    page.get_by_text("memo.mp4: got a file starting").wait_for()


def test_the_progress_replaces_the_previous_answer(open_page, recordings, monkeypatch):
    page = open_page()
    upload(page, recordings / "voice.wav")
    recognise(page)
    answered, release = app.answer, threading.Event()
    monkeypatch.setattr(app, "answer", lambda *args: release.wait(20) and answered(*args))
    page.get_by_role("button", name="Recognise").click()
    page.get_by_text("Classifying the recording").wait_for()
    assert page.locator("#answer .ser").inner_text() == "Classifying the recording …"
    own = "document.querySelector('#answer .wrap')"  # Gradio's progress, which would cover the answer
    assert page.evaluate(f"{own} === null || getComputedStyle({own}).opacity === '0'")
    release.set()
    page.locator(ANSWER).wait_for()


def test_files_are_chosen_with_the_keyboard(open_page, recordings):
    page = open_page()
    tab_to(page, "button", "Drop an audio file here to upload")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(recordings / "voice.wav")
    page.locator("#recording").get_by_role("button", name="Clear").wait_for()
    assert recognise(page).startswith("Sounds most like")


def test_a_microphone_recording_is_classified(open_page):
    page = open_page()
    page.locator("#recording").get_by_role("button", name="Record audio").click()
    page.locator("#recording").get_by_role("button", name="Record", exact=True).click()
    page.wait_for_timeout(1500)
    page.locator("#recording").get_by_role("button", name="Stop", exact=True).click()
    page.locator("#recording").get_by_role("button", name="Clear").wait_for()
    assert recognise(page).startswith("Sounds most like")


# --- the guard in tests/conftest.py -----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_browser_that_is_required_and_absent_fails_the_session(launch, tmp_path):
    changes = dict.fromkeys(name for name in os.environ if name.startswith("PYTEST_"))
    changes |= {"PATH": str(tmp_path), "HF_SER_CHROMIUM": "", "HF_SER_REQUIRE_BROWSER": "1"}
    command = ["-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "-k", "microphone", __file__]
    done = launch(*command, env=changes, cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == 1 and "no Chromium: apt-get install chromium" in done.stdout, done.stdout
    assert "FAILED: HF_SER_REQUIRE_BROWSER=1, but 1 tests marked browser were skipped" in done.stdout
