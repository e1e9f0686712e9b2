"""Exported graphs beside PyTorch: sizes, differences and times of every kind of model.

python benchmarks/export.py [--models audio_cnn wav2vec2_base] [--folders runs/stacking runs/forest]
python benchmarks/export.py --models xlsr --keep

Models without a folder have random weights, which does not change sizes and times. Clips are generated voices of one
to five seconds, one by one, and the ranges of int8 companion models come from the same clips. Graph and PyTorch take
turns, both in float32. Writes results/export.json and the table of docs/how-to/export.md. `--keep` keeps the rows of
other models that an earlier run on the same kind of machine wrote.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from machine import describe_machine

from hf_ser import markdown
from hf_ser.default_model import default_model
from hf_ser.export.classifier_graph import ClassifierGraph
from hf_ser.export.export_error import ExportError
from hf_ser.export.exporters import to_onnx
from hf_ser.export.graph_session import GraphSession
from hf_ser.export.quantization import to_float16, to_int8
from hf_ser.export.verification import generated_voices, verify
from hf_ser.inference import load_classifier
from hf_ser.labels import EMOTIONS
from hf_ser.scoring.results import write_json, write_text
from hf_ser.training import ModelArguments, build_model
from hf_ser.yaml_files import load_yaml

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- export:begin -->", "<!-- export:end -->"
COMPANIONS = ("mel_cnn", "audio_cnn", "audio_lstm", "cnn_lstm", "cnn_gru")
CONFIGS = tuple(f"{name}{suffix}" for suffix in ("", "_plus") for name in COMPANIONS)
ENCODERS: dict[str, dict[str, Any]] = {
    "wav2vec2_base": {},
    "xlsr": {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
        "feat_extract_norm": "layer",
        "do_stable_layer_norm": True,
        "conv_bias": True,
    },
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", default=["default", *CONFIGS, *ENCODERS])
    parser.add_argument("--folders", type=Path, nargs="*", default=[], help="trained models, such as hybrids")
    parser.add_argument("--keep", action="store_true", help="keep the rows of other models in the output file")
    parser.add_argument("--output", type=Path, default=ROOT / "results" / "export.json")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs" / "how-to" / "export.md")
    args = parser.parse_args(argv)
    transformers.utils.logging.disable_progress_bar()
    machine = describe_machine()
    kept = read_rows(args.output, machine) if args.keep else []
    rows: list[dict[str, Any]] = []
    for name in [*args.models, *args.folders]:
        for row in measure(name):
            print(row, flush=True)  # noqa: T201
            rows.append(row)
    measured = {row["model"] for row in rows}
    results = {"machine": machine, "rows": [row for row in kept if row["model"] not in measured] + rows}
    write_json(args.output, results)
    before, after = markdown.around_part(args.docs.read_text(encoding="utf-8"), BEGIN, END, str(args.docs))
    write_text(args.docs, f"{before}\n\n{render(results)}\n\n{after}")


def read_rows(path: Path, machine: str) -> list[dict[str, Any]]:
    """The rows of an earlier run, which must come from the same kind of machine."""
    results = json.loads(path.read_text(encoding="utf-8"))
    if results["machine"] != machine:
        raise SystemExit(f"{path} was measured on {results['machine']!r}, this machine is {machine!r}. Omit --keep.")
    return list(results["rows"])


def load(name: str | Path) -> tuple[Any, Any]:
    """A trained model, or one with random weights."""
    if isinstance(name, Path):
        return load_classifier(str(name))
    if name == "default":
        return load_classifier(default_model())
    torch.manual_seed(0)
    if name in ENCODERS:
        labels = {"id2label": dict(enumerate(EMOTIONS))}
        config = transformers.Wav2Vec2Config(**ENCODERS[name], **labels)
        masked = config.feat_extract_norm == "layer"
        extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=masked)
        return transformers.Wav2Vec2ForSequenceClassification(config).eval(), extractor
    settings = load_yaml(ROOT / "recipes" / "configs" / f"{name}.yaml")["model_config"]
    model, extractor = build_model(ModelArguments(model_config=settings), list(EMOTIONS))
    return model.eval(), extractor


def measure(name: str | Path) -> list[dict[str, Any]]:
    """A row per precision: float32, half-precision weights, and, except for hybrids, int8."""
    model, extractor = load(name)
    graph = ClassifierGraph(model, extractor)
    metadata = {"min_samples": graph.floor, "needs_mask": graph.needs_mask, "labels": list(EMOTIONS)}
    whole = to_onnx(graph)
    # Made one at a time: those of XLSR take gigabytes.
    graphs: dict[str, Callable[[], Any]] = {"float32": lambda: whole, "float16 weights": lambda: to_float16(whole)}
    if model.config.model_type != "ser-hybrid":
        graphs["int8"] = lambda: to_int8(graph, whole, metadata, generated_voices())
    rows = []
    for precision, make in graphs.items():
        try:
            content = make().SerializeToString()
        except ExportError as error:  # nothing to quantize, as in AudioLSTM
            print(f"{name}: {error}", flush=True)  # noqa: T201
            continue
        found = verify(graph, extractor, lambda threads, content=content: GraphSession(content, metadata, threads), [])
        rows.append(
            {
                "model": name if isinstance(name, str) else _name(name),
                "precision": precision,
                "parameters": sum(weights.numel() for weights in model.parameters()),
                "megabytes": round(len(content) / 1e6, 1),
                "largest_difference": found.largest_difference,
                "same_label": found.same_label,
                "seconds": found.seconds,
            }
        )
    return rows


def _name(folder: Path) -> str:
    """The last part of a folder that is not a seed or fold."""
    return next((part for part in reversed(folder.parts) if not part.startswith(("seed_", "fold_"))), str(folder))


def render(results: Mapping[str, Any]) -> str:
    """The text between the markers of the page."""
    said = (
        "Milliseconds per clip, one by one, of PyTorch in float32 and of the graph in onnxruntime; the ratio is how "
        f"much faster the graph is. Machine: {results['machine']}."
    )
    header = (
        "model",
        "graph",
        "MB",
        "largest difference",
        "1 thread: PyTorch",
        "graph",
        "ratio",
        "all threads: ratio",
    )
    rows = []
    for row in results["rows"]:
        (torch_1, graph_1, *more) = row["seconds"].values()
        most = f"{more[0] / more[1]:.2f}" if more else "-"
        shown = (f"{1000 * torch_1:.1f}", f"{1000 * graph_1:.1f}", f"{torch_1 / graph_1:.2f}", most)
        rows.append((row["model"], row["precision"], row["megabytes"], f"{row['largest_difference']:.0e}", *shown))
    return f"{said}\n\n{markdown.table(header, rows)}"


if __name__ == "__main__":
    main()
