"""The page in Gradio, and serving it. It loads nothing from other servers and sends nothing to them."""

import json
import logging
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any

from hf_ser.default_model import NAME, default_model, is_default
from hf_ser.demo.browser_script import ON_LOAD
from hf_ser.demo.clip_inference import DemoModel, classify, load_model
from hf_ser.demo.demo_errors import DemoError
from hf_ser.demo.examples import CLIPS, NOTICES, example_clips
from hf_ser.demo.live_page import render_waiting
from hf_ser.demo.live_session import WINDOW_S, LiveSession, live_answer
from hf_ser.demo.page import CSS, render, render_error, render_progress
from hf_ser.demo.words import BUSY, EXAMPLES, PRIVACY
from hf_ser.extras import needs_extra
from hf_ser.inference import resolve_precision
from hf_ser.page_words import LIMITS, SENTENCE, TITLE

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before gradio reads it
with needs_extra():
    import gradio as gr
    from starlette.middleware import Middleware

    from hf_ser.demo.request_limits import MAX_FILE_BYTES, RequestLimits

_LOGGER = logging.getLogger(__name__)
_FONTS = ("system-ui", "sans-serif")
# White on gradio's own orange has too little contrast.
_BUTTON = {"button_primary_background_fill": "#332288", "button_primary_background_fill_hover": "#4a37a8"}
_BUTTON |= {f"{name}_dark": colour for name, colour in _BUTTON.items()}
_KEPT_S = (1800, 3600)  # every half hour, uploads that are more than an hour old are deleted
_TEMP_DIR = "GRADIO_TEMP_DIR"
_TERMINATED = 128 + 15  # as shells report a program that SIGTERM ended
_WAITING = 32
_LIVE_SESSIONS = 4  # visitors who speak at the same time; others wait


def build(models: Mapping[str, DemoModel], examples: Sequence[Path] = ()) -> gr.Blocks:
    """Make the page.

    Args:
        models: by name; the first one is selected.
        examples: recordings to try.
    """
    with gr.Blocks(analytics_enabled=False, title=TITLE, delete_cache=_KEPT_S) as page:
        gr.Markdown(f"# {TITLE}\n\n{SENTENCE}")
        chosen = _model_choice(models)
        with gr.Tab("Recording"):
            _recording_tab(models, chosen, examples)
        with gr.Tab("Live", elem_id="live_tab"):
            _live_tab(models, chosen)
        gr.Markdown("\n".join(["## Limits", "", *(f"- {limit}" for limit in LIMITS), "", PRIVACY]), elem_id="limits")
        page.load(None, js=ON_LOAD)
    return page.queue(max_size=_WAITING)


def _recording_tab(models: Mapping[str, DemoModel], chosen: gr.Radio, examples: Sequence[Path]) -> None:
    """A recording, examples, the button and the answer."""

    def recognise(recording: str | None, model: str) -> str:
        return answer(models, recording, model)

    recording = gr.Audio(
        sources=["upload", "microphone"], type="filepath", label="Recording", elem_id="recording", buttons=[]
    )
    if examples:
        names = [path.stem.replace("_", " ") for path in examples]
        gr.Examples(
            [str(path) for path in examples],
            recording,
            example_labels=names,
            cache_examples=False,
            examples_per_page=len(names),
        )
    if any(path.parent.joinpath(NOTICES[0]).is_file() for path in examples):
        gr.Markdown(EXAMPLES)
    button = gr.Button("Recognise", variant="primary", elem_id="recognise")
    shown = gr.HTML(elem_id="answer", min_height=120)
    # Gradio's own progress would be drawn over the previous answer: replace the answer instead.
    started = button.click(None, None, shown, js=_show(render_progress()), show_progress="hidden")
    done = started.then(
        recognise, [recording, chosen], shown, api_name="recognise", concurrency_limit=1, show_progress="hidden"
    )
    done.failure(None, None, shown, js=_show(render_error(BUSY)))


def _live_tab(models: Mapping[str, DemoModel], chosen: gr.Radio) -> None:
    """A microphone whose sound is classified while it is recorded."""

    def classify_chunk(chunk: str | None, session: LiveSession | None, model: str) -> tuple[Any, LiveSession | None]:
        html, session = live_answer(models, session, chunk, model)
        return gr.skip() if html is None else html, session

    microphone = gr.Audio(
        sources=["microphone"], streaming=True, type="filepath", label="Microphone", elem_id="microphone", buttons=[]
    )
    shown = gr.HTML(elem_id="live_answer", min_height=120)
    session = gr.State(time_to_live=_KEPT_S[1])
    microphone.start_recording(
        lambda: (render_waiting(WINDOW_S), None), None, [shown, session], queue=False, show_progress="hidden"
    )
    microphone.stream(
        classify_chunk,
        [microphone, session, chosen],
        [shown, session],
        concurrency_limit=_LIVE_SESSIONS,
        show_progress="hidden",
        api_visibility="private",
    )


def _model_choice(models: Mapping[str, DemoModel]) -> gr.Radio:
    """A choice with a description of each model; only the description if there is a single one."""
    descriptions = {name: f"{name}: {model.summary}" for name, model in models.items()}
    if len(models) == 1:
        gr.HTML(f"<p>{escape(next(iter(descriptions.values())))}</p>", elem_id="model")
    return gr.Radio(
        [(description, name) for name, description in descriptions.items()],
        value=next(iter(models)),
        label="Model",
        elem_id="models",
        visible=True if len(models) > 1 else "hidden",
    )


def _show(html: str) -> str:
    """A script that returns this HTML as the new content of the answer."""
    return f"() => {json.dumps(html)}"


def answer(models: Mapping[str, DemoModel], recording: str | None, model: str) -> str:
    """Classify one recording and return the answer, or an error message, as HTML.

    Args:
        models: by name.
        recording: a path; None if the person has not chosen one yet.
        model: name of the selected model.

    >>> "There is no recording yet" in answer({}, None, "runs/audio_cnn")
    True
    """
    if recording is None:
        return render_error("There is no recording yet. Choose a file, record your voice, or select an example.")
    if model not in models:
        return render_error(f"Got the model {model}; expected one of {', '.join(models)}.")
    try:
        return render(classify(models[model], recording), models[model], model)
    except DemoError as error:
        return render_error(f"This recording cannot be used. {error}")
    except Exception:  # such as a full memory: the page stays up for everybody else
        _LOGGER.exception("the demo failed to classify a recording")
        return render_error("Something went wrong on the machine that runs this page. Try another recording.")


def serve(
    models: Mapping[str, str] | None = None,
    *,
    device: str | None = None,
    precision: str = "auto",
    host: str | None = None,
    port: int | None = None,
    examples: str | Path = CLIPS,
) -> None:
    """Load models and serve the page until Ctrl-C or SIGTERM, then delete the uploaded recordings.

    The page shows the names of model folders, not their paths.

    Args:
        models: model folders or Hub ids, and their revisions; default: the model that comes with the package.
        device: cpu, cuda, ...; None for a GPU if there is one.
        precision: auto, bf16, fp16 or fp32.
        host: address to listen on; None for the one that a Space sets, or else this machine only.
        port: port to listen on; None for the one that a Space sets, or else the first free one from 7860.
        examples: folder of FLAC files to try.

    Raises:
        SerError: a model, the device, the address or the port is not usable.

    >>> serve({"runs/audio_cnn": "main"})  # doctest: +SKIP
    Serving at http://127.0.0.1:7860/ in fp32 (press Ctrl-C to stop)
    >>> serve({"runs/audio_cnn": "main"}, port=80_000)
    Traceback (most recent call last):
        ...
    hf_ser.demo.demo_errors.DemoError: --port 80000; expected a number from 1 to 65535.
    """
    choice = resolve_precision(precision, device)
    if port is not None and not 1 <= port <= 65_535:
        raise DemoError(f"--port {port}; expected a number from 1 to 65535.")
    models = models or {default_model(): "main"}
    labels = _labels(list(models))
    loaded = {labels[name]: load_model(name, revision, device, precision) for name, revision in models.items()}
    with _uploads():
        page = build(loaded, example_clips(examples))
        try:
            address = launch(page, host, port)
            print(f"Serving at {address} in {choice} (press Ctrl-C to stop)", flush=True)  # noqa: T201
            threading.Event().wait()
        finally:
            page.close(verbose=False)


def _labels(names: Sequence[str]) -> dict[str, str]:
    """What the page calls each model: a Hub id, or the last part of a folder's path that no other model has.

    The model that comes with the package has a name of its own.
    """
    labels = {}
    for name in names:
        if is_default(name):
            labels[name] = NAME
            continue
        parts = Path(name).resolve().parts if Path(name).is_dir() else (name,)
        others = [Path(other).resolve().parts for other in names if other != name and Path(other).is_dir()]
        count = next(
            (count for count in range(1, len(parts)) if all(other[-count:] != parts[-count:] for other in others)), 0
        )
        labels[name] = "/".join(parts[-count:])
    return labels


@contextmanager
def _uploads() -> Iterator[None]:
    """Keep uploads in a folder of this process, which is deleted when it ends, by SIGTERM too."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(_TERMINATED))
    with tempfile.TemporaryDirectory(prefix="hf_ser_demo_", ignore_cleanup_errors=True) as folder:
        before = os.environ.get(_TEMP_DIR)
        os.environ[_TEMP_DIR] = before or folder  # gradio reads it when the page is built
        try:
            yield
        finally:
            if before is None:
                del os.environ[_TEMP_DIR]


def launch(page: gr.Blocks, host: str | None = None, port: int | None = None) -> str:
    """Start serving in the background and return the address.

    Raises:
        DemoError: the address or the port is not usable.
    """
    theme = gr.themes.Default(primary_hue="indigo", font=_FONTS, font_mono=("monospace",))
    options: dict[str, Any] = {"theme": theme.set(**_BUTTON), "css": CSS}
    options |= {"share": False, "ssr_mode": False, "run_history": False, "enable_monitoring": False, "pwa": False}
    options |= {"footer_links": [], "quiet": True, "max_file_size": MAX_FILE_BYTES, "mcp_server": False}
    options["app_kwargs"] = {"middleware": [Middleware(RequestLimits)]}
    try:
        _, address, _ = page.launch(server_name=host, server_port=port, prevent_thread_lock=True, **options)
    except OSError as error:
        raise DemoError(
            f"--host {host} --port {port}: cannot listen there ({' '.join(str(error).split())}); expected an "
            "address of this machine and a free port."
        ) from error
    return address
