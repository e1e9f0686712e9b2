"""`hf-ser export`: from a trained model to a file that runs without this package, with proof that it says the same."""

import functools
import json
import platform
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import hf_ser
from hf_ser.data import DataArguments, load_splits
from hf_ser.data.splits import SplitData
from hf_ser.default_model import description, is_default
from hf_ser.export.classifier_graph import ClassifierGraph
from hf_ser.export.export_error import ExportError
from hf_ser.export.exporters import to_onnx, to_openvino, to_torch
from hf_ser.export.graph_metadata import describe_graph
from hf_ser.export.graph_session import GraphSession
from hf_ser.export.output_folder import new_folder
from hf_ser.export.quantization import check_loss, is_static, to_float16, to_int8, training_clips
from hf_ser.export.transformers_js import FILE as JS_FILE
from hf_ser.export.transformers_js import LogitsGraph, LogitsProgram, write_folder
from hf_ser.export.verification import LARGEST_DIFFERENCE, Program, Verification, verify
from hf_ser.export.written_programs import OpenVINOProgram, TorchProgram
from hf_ser.extras import needs_extra
from hf_ser.inference import label_names, load_classifier
from hf_ser.recipe_file import read_recipe
from hf_ser.remote_code.dimensions import is_dimensional
from hf_ser.runtime.graph_contract import KEY
from hf_ser.runtime.graph_file import file_sha256

JS = "transformers.js"
FORMATS = ("onnx", "torch", "openvino", "web", JS)
REPORT = "export.json"
_FILES = {"onnx": "model.onnx", "torch": "model.pt2", "openvino": "model.xml", "web": "model.onnx", JS: JS_FILE}
_SPLIT = ("configuration", "protocol", "fold", "protocol_seed", "channel", "merge_calm", "auxiliary_corpora")
_PACKAGES = ("torch", "transformers", "onnx", "onnxscript", "onnxruntime", "openvino")


@dataclass(frozen=True)
class ExportArguments:
    """The options of `hf-ser export`; `hf-ser export --help` describes them.

    >>> ExportArguments(model="runs/audio_cnn", output="exported").file
    'model.onnx'
    """

    model: str
    output: str
    revision: str = "main"
    format: str = "onnx"
    int8: bool = False
    float16: bool = False
    dataset: str | None = None
    verify: Sequence[str] = ()
    onnxruntime_web: str | None = None

    def __post_init__(self) -> None:
        """Reject unknown formats and options that do not go together.

        Raises:
            ExportError: naming the option.
        """
        if self.format not in FORMATS:
            raise ExportError(f"--format {self.format}; expected one of {', '.join(FORMATS)}.")
        if self.int8 and self.float16:
            raise ExportError("--int8 and --float16 are both given; expected one of them.")
        if (self.int8 or self.float16) and self.format not in ("onnx", "web"):
            raise ExportError(f"--int8 and --float16 need --format onnx or web; got {self.format}.")
        if self.onnxruntime_web is not None and self.format != "web":
            raise ExportError(f"--onnxruntime_web is only used with --format web; got {self.format}.")
        if self.dataset is not None and not self.int8:
            raise ExportError("--dataset is only used with --int8. Remove it or pass --int8.")

    @property
    def file(self) -> str:
        """Name of the file of the graph."""
        return _FILES[self.format]

    @property
    def precision(self) -> str:
        """Precision of the weights."""
        return "int8" if self.int8 else "float16" if self.float16 else "float32"


def export(args: ExportArguments) -> str:
    """Export a model as the arguments say -> what was written and measured, as text.

    Raises:
        SerError: see `export_graph`, and `hf_ser.web.write_page`.

    >>> print(export(ExportArguments(model="runs/audio_cnn", output="exported")))
    exported/model.onnx  ... MB
    largest difference of a probability ..., same class for 100 % of 8 clips (generated voices)
    pytorch, 1 thread: ... ms per clip
    ...
    """
    if args.format != "web":
        return describe_export(export_graph(args), Path(args.output))
    with needs_extra("export"):
        from hf_ser.web import describe_page, write_page
    with tempfile.TemporaryDirectory() as hidden:
        hidden_args = replace(args, format="onnx", onnxruntime_web=None, output=f"{hidden}/graph")
        report = export_graph(hidden_args, dimensions=False)
        about = [_about(args.model, report["metadata"])]
        folder = write_page(f"{hidden}/graph/{args.file}", args.output, args.onnxruntime_web, about)
    return f"{describe_page(folder)}\n{_describe_proof(report)}"


def _about(model: str, metadata: dict[str, Any]) -> str:
    if is_default(model):
        return f"The model that comes with hf_ser: {description()}."
    licence = metadata["licence"]
    return f"Model {metadata['name']}, {len(metadata['labels'])} classes{f', licence {licence}' if licence else ''}."


def export_graph(args: ExportArguments, *, dimensions: bool = True) -> dict[str, Any]:
    """Write a model as one graph, from waveforms to calibrated probabilities or values of dimensions, and its report.

    Args:
        args: of the command.
        dimensions: whether models of dimensions are accepted; in ONNX only, and not in int8.

    Returns:
        The report, which is written to export.json.

    Raises:
        SerError: the model cannot be exported, a recording cannot be used, or the graph's answers differ; nothing is
            written then.

    >>> report = export_graph(ExportArguments(model="runs/audio_cnn", output="exported"))
    >>> report["metadata"]["labels"][:2], report["verification"]["same_label"]
    (['neutral', 'calm'], 1.0)
    """
    with new_folder(Path(args.output), REPORT) as folder:
        model, extractor = load_classifier(args.model, args.revision, dimensions=True)
        if is_dimensional(model.config):
            _check_dimensions(args, label_names(model.config), dimensions)
        graph = (LogitsGraph if args.format == JS else ClassifierGraph)(model, extractor)
        metadata = describe_graph(graph, args.model, args.revision, args.precision)
        data = _data(args, graph) if args.int8 else None
        report: dict[str, Any] = {"file": args.file, "metadata": metadata}
        if args.format == "torch":
            to_torch(graph, folder / args.file)
        elif args.format == JS:
            write_folder(graph, extractor, folder)
        else:
            proto, loss = _onnx(args, graph, metadata, data)
            report |= {} if loss is None else {"quantization": loss}
            if args.format == "openvino":
                to_openvino(proto, folder / args.file)
            else:
                (folder / args.file).write_bytes(proto.SerializeToString())
        compared = functools.partial(verify, graph, extractor, recordings=args.verify)
        found = compared(_sessions(args, folder / args.file, metadata, extractor))
        _check(found, args)
        report["verification"] = asdict(found)
        if args.format == "openvino":
            usual = functools.partial(OpenVINOProgram, folder / args.file, metadata)
            report["default_precision"] = {"precision": usual().precision, **asdict(compared(usual))}
        licence = Path(args.model) / "LICENSE"
        if licence.is_file():
            shutil.copyfile(licence, folder / "LICENSE")
        report |= {"versions": _versions(), "machine": platform.machine(), "sha256": _hashes(folder)}
        (folder / REPORT).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8", newline="\n")
    return report


def _check_dimensions(args: ExportArguments, names: Sequence[str], accepted: bool) -> None:
    """Reject what shows or compares classes."""
    if not accepted or args.format != "onnx" or args.int8:
        asked = "--int8" if args.int8 else f"--format {args.format if accepted else 'web'}"
        raise ExportError(
            f"{asked}: {args.model} predicts {', '.join(names)}; expected a classifier of emotions. Pass --format "
            "onnx without --int8."
        )


def _onnx(
    args: ExportArguments, graph: ClassifierGraph, metadata: dict[str, Any], data: SplitData | None
) -> tuple[Any, dict[str, Any] | None]:
    """The graph in the requested precision with its metadata, and the loss of int8."""
    proto, loss = to_onnx(graph), None
    if args.float16:
        proto = to_float16(proto)
    if data is not None:
        quantized = to_int8(graph, proto, metadata, training_clips(data) if is_static(graph) else ())
        before, after = (GraphSession(each.SerializeToString(), metadata) for each in (proto, quantized))
        proto, loss = quantized, check_loss(before, after, data).to_dict()
    entry = proto.metadata_props.add()
    entry.key, entry.value = KEY, json.dumps(metadata)
    return proto, loss


def _sessions(args: ExportArguments, path: Path, metadata: dict[str, Any], extractor: Any) -> Callable[[int], Program]:
    """How to load the written file in float32 with a number of threads."""
    if args.format == JS:
        return functools.partial(LogitsProgram, path, extractor, metadata["min_samples"])
    if args.format == "torch":
        program = TorchProgram(path, metadata)
        return lambda threads: program  # `verify` sets the threads of PyTorch
    if args.format == "openvino":
        return functools.partial(OpenVINOProgram, path, metadata, precision="f32")
    return functools.partial(GraphSession, path.read_bytes(), metadata)


def _check(found: Verification, args: ExportArguments) -> None:
    largest = LARGEST_DIFFERENCE.get(args.precision)  # int8 is judged by its loss on validation clips
    what = "probabilities" if found.same_label is not None else "values"
    if largest is not None and not found.largest_difference <= largest:
        raise ExportError(
            f"the graph's {what} differ from PyTorch's by up to {found.largest_difference:.2g} on "
            f"{found.clips} clips ({found.source}); expected at most {largest:g}. Please report this model type."
        )


def _data(args: ExportArguments, graph: ClassifierGraph) -> SplitData:
    """The splits of the model's training, from its recipe.yaml."""
    settings = read_recipe(Path(args.model)) or {}
    dataset = args.dataset or settings.get("dataset")
    if dataset is None:
        clips = "training clips to calibrate on, and validation clips" if is_static(graph) else "validation clips"
        raise ExportError(
            f"--int8 needs {clips} to compare with. Pass --dataset: the prepared dataset of its training."
        )
    fields = {name: settings[name] for name in _SPLIT if name in settings}
    return load_splits(DataArguments(dataset, **fields))


def _hashes(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): file_sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()
    }


def _versions() -> dict[str, str]:
    found = {"hf_ser": hf_ser.__version__}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def describe_export(report: dict[str, Any], folder: Path) -> str:
    """What `hf-ser export` prints: files and sizes, differences and speed."""
    lines = [f"{folder / name}  {(folder / name).stat().st_size / 1e6:.1f} MB" for name in report["sha256"]]
    return "\n".join([*lines, _describe_proof(report)])


def _describe_proof(report: dict[str, Any]) -> str:
    lines = []
    if "quantization" in report:
        loss = report["quantization"]
        interval = "" if loss["interval"] is None else " (95 % [{:+.3f}, {:+.3f}])".format(*loss["interval"])
        lines.append(
            f"int8: UAR {loss['uar']:.3f}, in float32 {loss['uar_float32']:.3f}, on {loss['clips']} validation clips "
            f"of {loss['speakers']} speakers{interval}"
        )
    usual = report.get("default_precision")
    lines += [*([] if usual is None else ["INFERENCE_PRECISION_HINT f32:"]), *_comparison(report["verification"])]
    if usual is not None:
        lines += [f"INFERENCE_PRECISION_HINT {usual['precision']}, the default on this CPU:", *_comparison(usual)]
    return "\n".join(lines)


def _comparison(found: dict[str, Any]) -> list[str]:
    clips = f"{found['clips']} clips ({found['source']})"
    if found["same_label"] is None:
        first = f"largest difference of a value {found['largest_difference']:.1e} on {clips}"
    else:
        share = f"same class for {100 * found['same_label']:.0f} % of {clips}"
        first = f"largest difference of a probability {found['largest_difference']:.1e}, {share}"
    return [first, *(f"{name}: {1000 * seconds:.1f} ms per clip" for name, seconds in found["seconds"].items())]
