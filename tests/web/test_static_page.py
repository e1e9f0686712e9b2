"""Writing the page: its files, and graphs, packages and folders that are rejected."""

import base64
import gzip
import hashlib
import io
import json
import os
import re
import sys
import tarfile

import pytest
from web_metadata import METADATA

from hf_ser.live import StreamingRecognizer
from hf_ser.runtime import GraphError
from hf_ser.web import WebError, describe_page, onnxruntime_web, write_page
from hf_ser.web.exported_graph import read_graph
from hf_ser.web.static_page import page_files

FILES = {onnxruntime_web.SCRIPT: b"// script", onnxruntime_web.WASM: b"\0asm" * 50}


@pytest.fixture(autouse=True)
def small_package(monkeypatch):
    """The hashes are those of a small package; the real one is in test_page_in_browser.py."""
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
    monkeypatch.setattr(onnxruntime_web, "SHA256", hashes)


@pytest.fixture
def package(tmp_path):
    folder = tmp_path / "package"
    (folder / "dist").mkdir(parents=True)
    about = {"name": "onnxruntime-web", "version": onnxruntime_web.VERSION}
    (folder / "package.json").write_text(json.dumps(about))
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def changed(page_graph, tmp_path):
    """Write the graph with other metadata; return its path."""
    import onnx

    def change(text=None, **fields):
        model = onnx.load(page_graph)
        entry = next(entry for entry in model.metadata_props if entry.key == "hf_ser")
        entry.value = text or json.dumps({**json.loads(entry.value), **fields})
        onnx.save(model, tmp_path / "changed.onnx")
        return tmp_path / "changed.onnx"

    return change


def make_archive(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def pin(monkeypatch, archive):
    digest = base64.b64encode(hashlib.sha512(archive).digest()).decode()
    monkeypatch.setattr(onnxruntime_web, "INTEGRITY", f"sha512-{digest}")


# --- the folder ---------------------------------------------------------------------------------------------------


def test_the_folder_has_all_files_and_nothing_of_another_origin(page_graph, package, tmp_path):
    folder = write_page(page_graph, tmp_path / "site" / "page", package, ["Trained on nothing.", "More."])
    settings, names = page_files(folder)
    assert sorted(path.name for path in folder.iterdir()) == names
    assert gzip.decompress((folder / "model.onnx.gz").read_bytes()) == page_graph.read_bytes()
    assert gzip.decompress((folder / "ort.wasm.gz").read_bytes()) == FILES[onnxruntime_web.WASM]
    assert settings["windows"] == {"whole": 32_000, "size": 16_000, "step": 8000}
    live = StreamingRecognizer.__init__.__kwdefaults__
    assert settings["live"] == {**{name: live[name] for name in live if name != "abstain"}, "frame": 320}
    fields = re.findall(r'name="(\w+_\w+)" type="number"', (folder / "index.html").read_text(encoding="utf-8"))
    assert [*fields, "frame"] == list(settings["live"])
    assert settings["about"] == ["Trained on nothing.", "More."] and "synthetic voices" in settings["warning"]
    assert len(settings["colours"]) == len(settings["model"]["labels"]) == 8
    for path in folder.iterdir():
        if path.suffix in (".html", ".css", ".js", ".json", ".webmanifest") and path.name != "ort.js":
            text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
            assert not re.search(r"https?:", text), path.name
            assert "__" not in text and not re.search(r"\son\w+=\"", text), path.name
    worker = (folder / "service-worker.js").read_text()
    kept = json.loads(re.search(r"FILES = (\[.*?\]);", worker)[1])
    assert set(names) - set(kept) == {"README.md", "service-worker.js"}
    imported = {name for path in folder.glob("*.js") for name in re.findall(r'from "\./(.*?)"', path.read_text())}
    assert imported <= set(kept) and len(imported) > 8
    lines = describe_page(folder).splitlines()
    assert len(lines) == len(names) + 1 and lines[-1].endswith("in all") and "model.onnx.gz" in lines[0]


def test_a_new_version_of_the_page_has_a_new_cache(page_graph, changed, package, tmp_path):
    workers = [
        (write_page(graph, tmp_path / "page", package) / "service-worker.js").read_text()
        for graph in (page_graph, page_graph, changed(name="other"))
    ]
    assert workers[0] == workers[1] != workers[2]
    assert json.loads((tmp_path / "page/page.json").read_text())["model"]["name"] == "other"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_folders_with_other_files_are_kept(page_graph, package, tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    with pytest.raises(WebError, match=r"--output .*notes contains thesis.txt, which is no file of a page"):
        write_page(page_graph, folder, package)
    page = write_page(page_graph, tmp_path / "page", package)
    (page / "thesis.txt").write_text("years of work")
    with pytest.raises(WebError, match="contains thesis.txt"):
        write_page(page_graph, page, package)
    assert (page / "thesis.txt").exists() and [path.name for path in folder.iterdir()] == ["thesis.txt"]


def test_an_interrupted_write_leaves_the_earlier_page(page_graph, changed, package, tmp_path, monkeypatch):
    page = write_page(page_graph, tmp_path / "page", package)
    before = {path.name: path.read_bytes() for path in page.iterdir()}
    other, rename = changed(name="other"), os.rename

    def fail(source, target):
        if str(source).endswith("/page") and str(target) == str(page):
            if os.path.basename(os.path.dirname(source)).startswith(".page."):
                if not os.path.exists(os.path.join(os.path.dirname(source), "earlier")):
                    raise AssertionError("the earlier page is moved first")
                raise OSError(28, "No space left on device", str(target))
        rename(source, target)

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(ValueError, match="No space left on device"):
        write_page(other, page, package)
    assert {path.name: path.read_bytes() for path in page.iterdir()} == before
    assert not list(tmp_path.glob(".page.*"))


# --- graphs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "fields", "message"),
    [
        (None, {"schema_version": 2}, "a newer version of hf_ser"),
        (None, {"labels": ["happy", "sad"]}, r"expected probabilities float32 \(batch, 2\)"),
        (None, {"needs_mask": True}, "expected input_values .*, attention_mask"),
        ("[", {}, "not valid JSON"),
    ],
)
def test_metadata_that_do_not_fit_are_rejected(changed, tmp_path, text, fields, message):
    with pytest.raises(GraphError, match=message) as error:
        write_page(changed(text, **fields), tmp_path / "page", tmp_path)
    assert "\n" not in str(error.value) and not (tmp_path / "page").exists()


def test_files_that_are_no_exported_graphs_are_rejected(tmp_path, monkeypatch):
    from onnx import TensorProto, helper, save

    (tmp_path / "text.onnx").write_text("words")
    with pytest.raises(GraphError, match="not a complete ONNX file"):
        read_graph(tmp_path / "text.onnx")
    with pytest.raises(ValueError, match="absent.onnx: No such file"):
        read_graph(tmp_path / "absent.onnx")
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch"]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "graph", tensors[:1], tensors[1:])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), tmp_path / "other.onnx")
    with pytest.raises(GraphError, match="without the metadata"):
        read_graph(tmp_path / "other.onnx")
    monkeypatch.setattr("hf_ser.web.exported_graph.MAX_BYTES", 10)
    with pytest.raises(WebError, match="expected at most 0 MB, since browsers cannot load more"):
        read_graph(tmp_path / "other.onnx")


# --- the package --------------------------------------------------------------------------------------------------


def test_the_folder_must_hold_the_pinned_package(package, tmp_path):
    nested = tmp_path / "project" / "node_modules" / "onnxruntime-web"
    nested.parent.mkdir(parents=True)
    os.symlink(package, nested)
    assert onnxruntime_web.runtime_files(tmp_path / "project") == onnxruntime_web.runtime_files(package)
    with pytest.raises(WebError, match="is not an npm package; expected the unpacked package onnxruntime-web"):
        onnxruntime_web.runtime_files(tmp_path)
    (package / onnxruntime_web.SCRIPT).write_text("// another script")
    with pytest.raises(WebError, match="its hash differs"):
        onnxruntime_web.runtime_files(package)
    (package / onnxruntime_web.SCRIPT).unlink()
    with pytest.raises(ValueError, match="No such file"):
        onnxruntime_web.runtime_files(package)
    (package / "package.json").write_text('{"name": "onnxruntime-web", "version": "1.2.3"}')
    with pytest.raises(WebError, match=r"holds onnxruntime-web 1\.2\.3; expected onnxruntime-web"):
        onnxruntime_web.runtime_files(package)


def fake_npm(folder, monkeypatch, code):
    folder.mkdir()
    (folder / "npm").write_text(f"#!{sys.executable}\nimport sys\n{code}\n")
    (folder / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def test_npm_fetches_the_package_and_its_archive_is_checked(tmp_path, monkeypatch):
    good = {f"package/{name}": content for name, content in FILES.items()}
    archive = make_archive({**good, "../../outside.txt": b"x", "/absolute.txt": b"x"})
    (tmp_path / "good.tgz").write_bytes(archive)
    copy = f"import shutil; shutil.copy({str(tmp_path / 'good.tgz')!r}, sys.argv[-1])"
    fake_npm(tmp_path / "bin", monkeypatch, f"assert '--ignore-scripts' in sys.argv; {copy}")
    pin(monkeypatch, archive)
    before = set(tmp_path.rglob("*"))
    assert onnxruntime_web.runtime_files()["ort.js"] == FILES[onnxruntime_web.SCRIPT]
    assert set(tmp_path.rglob("*")) == before
    pin(monkeypatch, archive + b"x")
    with pytest.raises(WebError, match="the archive of onnxruntime-web .* its hash differs"):
        onnxruntime_web.runtime_files()


def test_npm_that_is_absent_or_fails_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    both = "Install npm, or run `npm pack onnxruntime-web@.*` elsewhere.* --onnxruntime_web"
    with pytest.raises(WebError, match=f"npm is not installed; .*{both}"):
        onnxruntime_web.runtime_files()
    code = "print('npm error code ENOTFOUND\\nnpm error https://user:secret@registry', file=sys.stderr); sys.exit(1)"
    fake_npm(tmp_path / "bin", monkeypatch, code)
    with pytest.raises(WebError, match=f"npm could not fetch onnxruntime-web .*ENOTFOUND.*{both}") as error:
        onnxruntime_web.runtime_files()
    assert "secret" not in str(error.value)


def test_an_archive_without_the_files_or_with_links_in_their_place_is_rejected(monkeypatch):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        link = tarfile.TarInfo(f"package/{onnxruntime_web.SCRIPT}")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(link)
    pin(monkeypatch, buffer.getvalue())
    with pytest.raises(WebError, match="has no dist/ort-wasm.*, dist/ort.wasm"):
        onnxruntime_web.unpacked(buffer.getvalue())


def _two_classes(path, nodes, constant):
    """Save a graph of these nodes, from input_values to probabilities of two classes."""
    from onnx import TensorProto, helper, save

    given = helper.make_tensor_value_info("input_values", TensorProto.FLOAT, ["batch", "samples"])
    made = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 2])
    graph = helper.make_graph(nodes, "graph", [given], [made], [constant])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, {"hf_ser": json.dumps({**METADATA, "labels": ["happy", "sad"]})})
    save(model, path)


def test_a_graph_that_returns_no_probabilities_is_rejected(tmp_path):
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("ReduceMean", ["input_values", "axes"], ["mean"], keepdims=1),
        helper.make_node("Concat", ["mean", "mean"], ["probabilities"], axis=1),
    ]
    _two_classes(tmp_path / "means.onnx", nodes, helper.make_tensor("axes", TensorProto.INT64, [1], [1]))
    with pytest.raises(WebError, match="expected probabilities that add up to 1"):
        read_graph(tmp_path / "means.onnx")


def test_a_graph_of_one_length_is_rejected(tmp_path):
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("MatMul", ["input_values", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    weights = helper.make_tensor("weights", TensorProto.FLOAT, [1600, 2], [0.0] * 3200)
    _two_classes(tmp_path / "fixed.onnx", nodes, weights)
    with pytest.raises(WebError, match="cannot be run on 16000 samples"):
        read_graph(tmp_path / "fixed.onnx")
