"""What a graph says about itself, stored in the file."""

from pathlib import Path
from typing import Any

from hf_ser.audio import SAMPLING_RATE
from hf_ser.default_model import FOLDER, NAME
from hf_ser.export.classifier_graph import ClassifierGraph
from hf_ser.inference import label_names
from hf_ser.remote_code.encoder_inputs import max_input_s
from hf_ser.remote_code.preprocessing import file_beside
from hf_ser.results_file import RESULTS, model_results
from hf_ser.runtime.graph_contract import SCHEMA_VERSION
from hf_ser.runtime.graph_file import file_sha256

_LICENCE = "cc-by-nc-sa-4.0"  # of the model in the package, in the words of the Hub


def describe_graph(graph: ClassifierGraph, name: str, revision: str, precision: str) -> dict[str, Any]:
    """The metadata of a graph, which a program needs to run it, and where the model comes from.

    Args:
        graph: the model.
        name: folder or Hub id of the model.
        revision: revision on the Hub.
        precision: float32, float16 or int8.
    """
    config: Any = graph.model.config
    results, path = model_results(name, revision), file_beside(name, RESULTS, revision)
    dataset = {} if results is None else results["dataset"]
    own = name == str(FOLDER)
    return {
        "schema_version": SCHEMA_VERSION,
        "name": str((results or {}).get("name") or name),
        "source": NAME if own else _last_part(name),
        "revision": getattr(config, "_commit_hash", None),
        "results_sha256": None if path is None else file_sha256(path),
        "licence": _LICENCE if own else dataset.get("licence"),
        "model_type": config.model_type,
        "parameters": sum(weights.numel() for weights in graph.model.parameters()),
        "labels": label_names(config),
        "sampling_rate": SAMPLING_RATE,
        "needs_mask": graph.needs_mask,
        "any_length": graph.any_length,
        "min_samples": graph.floor,
        "max_input_s": max_input_s(graph.model, graph.steps),
        "abstention_threshold": getattr(config, "abstention_threshold", None),
        "precision": precision,
        "synthetic": bool(dataset.get("synthetic")),
    }


def _last_part(name: str) -> str:
    """A Hub id as it is, and of a folder only its name: paths of this machine do not belong into a file to share."""
    return Path(name).resolve().name if Path(name).is_dir() else name
