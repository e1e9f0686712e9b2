"""An exported graph of a tiny model, the files of onnxruntime-web, and a page that is served."""

import functools
import http.server
import json
import shutil
import threading

import pytest
from web_metadata import METADATA

from hf_ser.labels import EMOTIONS

WAIT_MS = 120_000  # on a busy machine


@pytest.fixture(scope="session")
def page_graph(tmp_path_factory):
    """The ONNX file of a tiny AudioCNN with random weights, which uses the first second of a clip."""
    pytest.importorskip("onnxscript", reason="onnxscript is not installed (extra dev)")
    import onnx_ir
    import torch
    from torch.export import Dim
    from transformers import PreTrainedConfig, PreTrainedModel
    from transformers.exporters.exporter_onnx import OnnxConfig, OnnxExporter

    from hf_ser.models import AudioCNNConfig, AudioCNNForAudioClassification

    class Classifier(PreTrainedModel):
        config_class = PreTrainedConfig

        def __init__(self, model):
            super().__init__(PreTrainedConfig())
            self.model = model

        def forward(self, input_values):
            # The model crops clips to a second; the trace keeps the crop only, so that shorter clips need the padding.
            input_values = torch.nn.functional.pad(input_values, (0, 16_000))
            return {"probabilities": torch.softmax(20 * self.model(input_values).logits, -1)}

    torch.manual_seed(0)
    sizes = {"channels": (4, 4), "kernel_sizes": (5, 3), "hidden_size": 8, "duration_s": 1.0, "n_mels": 24}
    model = AudioCNNForAudioClassification(AudioCNNConfig(**sizes, num_labels=len(EMOTIONS)))
    dynamic = OnnxConfig(dynamic=True, dynamic_shapes={"input_values": {0: Dim.DYNAMIC, 1: Dim.DYNAMIC}})
    inputs = {"input_values": 0.1 * torch.randn(3, 40_000)}
    program = OnnxExporter().export(Classifier(model).eval(), inputs, config=dynamic).program
    program.metadata_props["hf_ser"] = json.dumps(METADATA)
    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    onnx_ir.save(program, path)
    return path


@pytest.fixture(scope="session")
def onnxruntime_web(tmp_path_factory):
    """The files of onnxruntime-web, fetched by npm as `write_page` does, in a folder like the unpacked package."""
    import gzip

    from hf_ser.web import onnxruntime_web as package

    if shutil.which("npm") is None:
        pytest.skip("no npm: apt-get install npm")
    files = package.runtime_files()
    folder = tmp_path_factory.mktemp("npm") / "onnxruntime-web"
    (folder / "dist").mkdir(parents=True)
    (folder / "package.json").write_text(json.dumps({"name": package.PACKAGE, "version": package.VERSION}))
    (folder / package.SCRIPT).write_bytes(files["ort.js"])
    (folder / package.WASM).write_bytes(gzip.decompress(files["ort.wasm.gz"]))
    return folder


@pytest.fixture(scope="session")
def page_folder(page_graph, onnxruntime_web, tmp_path_factory):
    from hf_ser.web import write_page

    about = ["Trained on <i>nothing</i>.", "More about it."]
    return write_page(page_graph, tmp_path_factory.mktemp("web") / "page", onnxruntime_web, about)


class _Server(http.server.ThreadingHTTPServer):
    """Serves a folder on this machine; while `broken` is set, every request fails."""

    broken = False


class _Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def send_head(self):
        if self.server.broken:
            self.send_error(503)
            return None
        return super().send_head()


@pytest.fixture(scope="session")
def serve():
    """Serve a folder; the server has an `address`."""
    servers = []

    def start(folder):
        server = _Server(("127.0.0.1", 0), functools.partial(_Handler, directory=str(folder)))
        server.address = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def server(serve, page_folder):
    return serve(page_folder)


@pytest.fixture(scope="module")
def open_page(browser, server):
    """Open the page in the `browser` of the module; it may make no request to other servers and break no policy."""
    contexts, foreign, faults = [], [], []

    def make(prepare=None, ready="Ready."):
        permissions = ["microphone", "clipboard-read", "clipboard-write"]
        context = browser.new_context(
            viewport={"width": 1280, "height": 800}, permissions=permissions, reduced_motion="reduce"
        )
        contexts.append(context)
        context.set_default_timeout(WAIT_MS)
        page = context.new_page()
        page.on("request", lambda asked: foreign.append(asked.url) if is_foreign(asked.url) else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda line: faults.append(line.text) if "Security Policy" in line.text else None)
        if prepare:
            prepare(page)
        page.goto(server.address, timeout=WAIT_MS)
        page.locator("#status").get_by_text(ready).wait_for()
        return page

    def is_foreign(url):
        return not url.startswith((f"{server.address}/", "blob:"))

    yield make
    for context in contexts:
        context.close()
    assert (foreign, faults) == ([], [])


@pytest.fixture(scope="module")
def opened(open_page):
    """The page, opened once: compiling the WebAssembly takes most of the time."""
    return open_page()


@pytest.fixture
def page(opened):
    """The page without answers, wide and light."""
    opened.set_viewport_size({"width": 1280, "height": 800})
    opened.emulate_media(color_scheme="light", reduced_motion="reduce")
    if opened.locator("article").count():
        opened.get_by_role("button", name="Clear").click()
    return opened
