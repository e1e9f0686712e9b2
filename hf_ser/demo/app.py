"""The page itself, in Gradio, and serving it: nothing is fetched from elsewhere or sent anywhere."""

import logging
import os
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hf_ser.demo.clip_inference import DemoModel, classify, load_model
from hf_ser.demo.demo_errors import DemoError
from hf_ser.demo.examples import GENERATED, make_examples
from hf_ser.demo.page import CSS, render, render_error
from hf_ser.demo.words import EXAMPLES, LIMITS, PRIVACY, SENTENCE, TITLE
from hf_ser.extras import needs_extra
from hf_ser.inference import resolve_precision

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before gradio reads it
with needs_extra():
    import gradio as gr

_LOGGER = logging.getLogger(__name__)
_FONTS = ("system-ui", "sans-serif")
# White on gradio's own orange has too little contrast.
_BUTTON = {"button_primary_background_fill": "#332288", "button_primary_background_fill_hover": "#4a37a8"}
_BUTTON |= {f"{name}_dark": colour for name, colour in _BUTTON.items()}
_KEPT_S = (1800, 3600)  # uploads are looked through every half hour, and deleted when they are an hour old
_WAITING = 32
_MAX_FILE_SIZE = "100mb"
# Screen readers announce an answer only in a region that was there before it.
_ON_LOAD = "() => { document.querySelector('#answer')?.setAttribute('aria-live', 'polite'); }"


def build(models: Mapping[str, DemoModel], examples: Sequence[Path] = ()) -> gr.Blocks:
    """Make the page.

    Args:
        models: by name, the first chosen at the start.
        examples: recordings to try.
    """

    def recognise(recording: str | None, model: str) -> str:
        return answer(models, recording, model)

    with gr.Blocks(analytics_enabled=False, title=TITLE, delete_cache=_KEPT_S) as page:
        gr.Markdown(f"# {TITLE}\n\n{SENTENCE}")
        chosen = gr.Radio(list(models), value=next(iter(models)), label="Model", elem_id="models")
        recording = gr.Audio(
            sources=["upload", "microphone"], type="filepath", label="Recording", elem_id="recording", buttons=[]
        )
        if examples:
            paths = [str(path) for path in examples]
            names = [path.stem.removeprefix(GENERATED).replace("_", " ") for path in examples]
            gr.Examples(paths, recording, example_labels=names, cache_examples=False, label="Generated examples")
            gr.Markdown(EXAMPLES)
        button = gr.Button("Recognise", variant="primary", elem_id="recognise")
        shown = gr.HTML(elem_id="answer", min_height=120)
        gr.Markdown("\n".join(["## Limits", "", *(f"- {limit}" for limit in LIMITS), "", PRIVACY]), elem_id="limits")
        button.click(recognise, [recording, chosen], shown, api_name="recognise", concurrency_limit=1)
        page.load(None, js=_ON_LOAD)
    return page.queue(max_size=_WAITING)


def answer(models: Mapping[str, DemoModel], recording: str | None, model: str) -> str:
    """The answer to one recording as HTML; an error is shown in its place.

    Args:
        models: by name.
        recording: a path, or None where there is none yet.
        model: name of the chosen one.

    >>> "There is no recording yet" in answer({}, None, "runs/audio_cnn")
    True
    """
    if recording is None:
        return render_error("There is no recording yet: choose a file, speak into the microphone, or take an example.")
    if model not in models:
        return render_error(f"Got the model {model}; expected one of {', '.join(models)}.")
    try:
        return render(classify(models[model], recording), models[model], model)
    except DemoError as error:
        return render_error(f"This recording cannot be used. {error}")
    except Exception:  # such as a full memory: the page goes on for everybody else
        _LOGGER.exception("the demo could not answer")
        return render_error("Something went wrong on the machine that runs this page. Try another recording.")


def serve(
    models: Mapping[str, str],
    *,
    device: str | None = None,
    precision: str = "auto",
    host: str | None = None,
    port: int | None = None,
    examples: str | Path | None = None,
) -> None:
    """Load models and serve the page until Ctrl-C.

    Args:
        models: folders or Hub ids and their revisions.
        device: cpu, cuda, ...; None for a GPU where there is one.
        precision: auto, bf16, fp16 or fp32.
        host: address to listen at; None for the one that a Space gives, or else this machine only.
        port: to listen at; None for the one that a Space gives, or else the first free one from 7860.
        examples: folder of recordings to try; None to generate some.

    Raises:
        SerError: a model, the device, the address or the port cannot be used.

    >>> serve({"runs/audio_cnn": "main"})  # doctest: +SKIP
    Serving at http://127.0.0.1:7860/ in fp32 (Ctrl-C ends it)
    >>> serve({"runs/audio_cnn": "main"}, port=80_000)
    Traceback (most recent call last):
        ...
    hf_ser.demo.demo_errors.DemoError: --port 80000; expected a number from 1 to 65535.
    """
    choice = resolve_precision(precision, device)
    if port is not None and not 1 <= port <= 65_535:
        raise DemoError(f"--port {port}; expected a number from 1 to 65535.")
    loaded = {name: load_model(name, revision, device, precision) for name, revision in models.items()}
    with tempfile.TemporaryDirectory() as work:
        paths = make_examples(Path(work)) if examples is None else sorted(Path(examples).glob("*.flac"))
        page = build(loaded, paths)
        try:
            address = launch(page, host, port)
            print(f"Serving at {address} in {choice} (Ctrl-C ends it)", flush=True)  # noqa: T201
            threading.Event().wait()
        finally:
            page.close(verbose=False)


def launch(page: gr.Blocks, host: str | None = None, port: int | None = None) -> str:
    """Start serving and return at once, with the address.

    Raises:
        DemoError: nothing can listen there.
    """
    theme = gr.themes.Default(primary_hue="indigo", font=_FONTS, font_mono=("monospace",))
    options: dict[str, Any] = {"theme": theme.set(**_BUTTON), "css": CSS}
    options |= {"share": False, "ssr_mode": False, "run_history": False, "enable_monitoring": False, "pwa": False}
    options |= {"footer_links": [], "quiet": True, "max_file_size": _MAX_FILE_SIZE, "mcp_server": False}
    try:
        _, address, _ = page.launch(server_name=host, server_port=port, prevent_thread_lock=True, **options)
    except OSError as error:
        raise DemoError(
            f"--host {host} --port {port}: cannot listen there ({' '.join(str(error).split())}); expected an address "
            "of this machine and a free port."
        ) from error
    return address
