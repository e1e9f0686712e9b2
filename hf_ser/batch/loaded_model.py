"""Load the model of `hf-ser predict`: a folder or Hub id with PyTorch, or an exported graph without."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hf_ser.batch.answer_rows import SYNTHETIC
from hf_ser.batch.batch_answers import check_pipeline
from hf_ser.batch.batch_error import BatchError
from hf_ser.errors import SerError
from hf_ser.runtime import OnnxPipeline
from hf_ser.runtime.graph_file import is_graph


@dataclass(frozen=True)
class LoadedModel:
    """A pipeline and what the output says about its model."""

    classify: Any
    labels: list[str]
    abstention_threshold: float | None = None
    warning: str | None = None  # about a model that was trained on synthetic recordings


def check_graph_options(name: str, device: str | None, precision: str) -> None:
    """Reject options that choose how PyTorch computes, if the model is an exported graph.

    Args:
        name: model folder, Hub id or path of a graph.
        device: of the option --device; None if it was not given.
        precision: of the option --precision.

    Raises:
        BatchError: the message names the option.
    """
    if not is_graph(name):
        return
    if device is not None:
        raise BatchError(f"--device {device} has no effect on a graph, which runs on CPU. Remove it.")
    if precision != "auto":
        raise BatchError(
            f"--precision {precision} has no effect on a graph, whose precision is set when it is exported. Remove it."
        )


def load_model(
    name: str,
    revision: str,
    device: str | None,
    precision: str,
    options: Mapping[str, Any],
    num_threads: int | None = None,
) -> LoadedModel:
    """Load a pipeline and test it on noise.

    Args:
        name: model folder, Hub id or path of a graph.
        revision: on the Hub.
        device: such as cuda; None for a GPU if there is one. Not used for a graph.
        precision: auto, bf16, fp16 or fp32. Not used for a graph.
        options: of the calls that follow.
        num_threads: CPU threads that compute a batch, for PyTorch in the whole process; None for the default.

    Raises:
        SerError: the model cannot be used, or an option is invalid.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".* was trained on synthetic")  # the output contains it
        try:
            if is_graph(name):
                loaded = _load_graph(name, num_threads)
            else:
                loaded = _load_folder(name, revision, device, precision, num_threads)
            check_pipeline(loaded.classify, options)
        except SerError:
            raise
        except (ValueError, RuntimeError) as error:
            raise BatchError(" ".join(str(error).split())) from error
    return loaded


def _load_graph(name: str, num_threads: int | None) -> LoadedModel:
    classify = OnnxPipeline(name, num_threads=num_threads)
    metadata = classify.metadata
    warning = SYNTHETIC if metadata.synthetic else None
    return LoadedModel(classify, list(metadata.labels), metadata.abstention_threshold, warning)


def _load_folder(name: str, revision: str, device: str | None, precision: str, num_threads: int | None) -> LoadedModel:
    import torch
    import transformers

    from hf_ser.inference import label_names, load_classifier
    from hf_ser.models import SpeechEmotionPipeline
    from hf_ser.results_file import model_results

    if num_threads is not None:
        torch.set_num_threads(num_threads)
    transformers.utils.logging.disable_progress_bar()  # of the weights, which load quickly
    model, extractor = load_classifier(name, revision, dimensions=True)
    classify: Any = SpeechEmotionPipeline(
        model=model, feature_extractor=extractor, device=device, precision=precision, task="audio-classification"
    )
    results: Mapping[str, Any] = model_results(name, revision) or {}
    warning = SYNTHETIC if results.get("dataset", {}).get("synthetic") else None
    threshold = getattr(model.config, "abstention_threshold", None)
    return LoadedModel(classify, label_names(model.config), threshold, warning)
