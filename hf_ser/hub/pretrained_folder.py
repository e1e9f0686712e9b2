"""Packaging a trained run as the model that comes with the package: `hf_ser/pretrained`.

The folder has everything that a model folder has except code: the package has that. Weights are stored in float16 if
the scores of test stay the same, and loaded in float32.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save
from transformers import PreTrainedModel

from hf_ser.corpora import CORPORA
from hf_ser.data.splits import SplitData, decoded
from hf_ser.data.splits_file import SPLITS_FILE
from hf_ser.default_model import LICENCE
from hf_ser.errors import SerError
from hf_ser.evaluation import predict_probabilities
from hf_ser.evaluation.clip_sources import clip_columns
from hf_ser.hub.card import render_model_card, trained_on
from hf_ser.hub.licences import TERMS, LicenceError
from hf_ser.inference import load_classifier
from hf_ser.recipe_file import RECIPE, read_recipe
from hf_ser.reporting import write_run
from hf_ser.results_file import read_results
from hf_ser.run_folder import refuse_unfinished
from hf_ser.scoring import AbstentionRule, Predictions, restrict, score_split, stored_threshold, write_json
from hf_ser.scoring.abstention import describe_abstention
from hf_ser.scoring.results import score, write_text

SUMS = "SHA256SUMS"
WEIGHTS = "model.safetensors"
NAME = "hf_ser_pretrained"
MAX_BYTES = 8_000_000
TOLERANCE = 0.002  # of every score on test, for float16 weights
_LICENCE_TEXT = Path(__file__).with_name("pretrained_licence.txt")
_BATCH_SIZE = 32


class PackagingError(SerError):
    """A run that cannot be packaged."""


@dataclass
class PackageArguments:
    """The folder to make, and the run to make it from.

    >>> PackageArguments().package_dir
    'hf_ser/pretrained'
    """

    package_dir: str = field(default="hf_ser/pretrained", metadata={"help": "folder of the packaged model"})
    run_folder: str | None = field(
        default=None, metadata={"help": "finished run to package, on the same dataset; default: train one"}
    )


@dataclass(frozen=True)
class Packaged:
    """A packaged model.

    Args:
        folder: where it is.
        dtype: of the stored weights.
        changes: score -> how far it is on test from the score of the float32 weights.
        num_bytes: size of the folder.
        comparison: how it differs from the folder that it replaced, in one line.
    """

    folder: Path
    dtype: str
    changes: Mapping[str, float]
    num_bytes: int
    comparison: str

    def __str__(self) -> str:
        name = max(self.changes, key=lambda key: self.changes[key])
        return (
            f"{self.folder}: {self.num_bytes / 1e6:.1f} MB, weights stored in {self.dtype}. In float16, scores on "
            f"test change by up to {self.changes[name]:.4f} ({name}); at most {TOLERANCE} is allowed.\n"
            f"{self.comparison}"
        )


def check_licences(data: SplitData) -> None:
    """Reject datasets with recordings whose licence does not allow sharing a model that was trained on them.

    Raises:
        LicenceError: names the corpora.
    """
    found = {corpus for part in data.splits.values() for corpus in part["corpus"]}
    refused = sorted(corpus for corpus in found if corpus not in TERMS or not TERMS[corpus].open)
    if refused:
        named = [f"{CORPORA[name].title} ({CORPORA[name].licence})" if name in CORPORA else name for name in refused]
        allowed = " and ".join(CORPORA[name].title for name in sorted(TERMS) if TERMS[name].open)
        raise LicenceError(
            f"--dataset {data.args.dataset} contains {', '.join(named)}; expected only {allowed}, whose licences "
            "allow sharing a model. Prepare a dataset without the others."
        )


def package(run: str | Path, data: SplitData, target: str | Path, *, device: str = "cpu") -> Packaged:
    """Package a finished run, and replace the folder of an earlier one.

    Args:
        run: folder of the run.
        data: the splits that it was trained on; validation and test are scored again with the stored weights.
        target: folder to write.
        device: of the computation, in float32.

    Raises:
        SerError: the run is unfinished or was trained on other splits, or the folder would exceed 8 MB.
    """
    run, target = Path(run), Path(target)
    refuse_unfinished(run, "--run_folder")
    results = read_results(run)
    if results["protocol"]["hash"] != data.assignment.hash:
        raise PackagingError(
            f"--run_folder {run}: got the assignment of clips {results['protocol']['hash'][:16]}; expected that of "
            f"{data.args.dataset}, {data.assignment.hash[:16]}. Pass the dataset and configuration of the run."
        )
    model, extractor = load_classifier(str(run))
    before = _scores(data, _probabilities(model, extractor, data, "test", device), "test")
    whole = {name: weights.clone() for name, weights in model.state_dict().items()}
    model.load_state_dict(_halved(whole))
    probabilities = _probabilities(model, extractor, data, "test", device)
    after = _scores(data, probabilities, "test")
    changes = {name: abs(after[name] - value) for name, value in before.items()}
    dtype = "float16" if all(change <= TOLERANCE for change in changes.values()) else "float32"
    if dtype == "float32":
        model.load_state_dict(whole)
        probabilities = _probabilities(model, extractor, data, "test", device)
    of_split = {"validation": _probabilities(model, extractor, data, "validation", device), "test": probabilities}
    draft = target.with_name(f".{target.name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    _write(
        draft, run, results, _score_again(data, of_split, model, results), _Stored(model, extractor, dtype, changes)
    )
    num_bytes = sum(path.stat().st_size for path in draft.rglob("*") if path.is_file())
    if num_bytes > MAX_BYTES:
        shutil.rmtree(draft)
        raise PackagingError(
            f"{target} would have {num_bytes:,} bytes; expected at most {MAX_BYTES:,}. Train a smaller model."
        )
    comparison = compare(target, draft) if target.is_dir() else "There was no earlier folder."
    _replace(draft, target)
    return Packaged(target, dtype, changes, num_bytes, comparison)


@dataclass(frozen=True)
class _Stored:
    """The model as its folder stores it."""

    model: PreTrainedModel
    extractor: Any
    dtype: str
    changes: Mapping[str, float]


def _halved(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights rounded to float16, in their own dtype."""
    return {
        name: value.half().to(value.dtype) if value.is_floating_point() else value for name, value in weights.items()
    }


def _probabilities(model: PreTrainedModel, extractor: Any, data: SplitData, split: str, device: str) -> np.ndarray:
    """Probabilities of the clips of a split (clips, classes), computed in float32."""
    clips = data.splits[split]
    items = decoded(clips)
    return predict_probabilities(
        model,
        extractor,
        clips["duration"],
        lambda numbers: items[numbers]["waveform"],
        batch_size=_BATCH_SIZE,
        device=device,
        precision="fp32",
        desc=f"Scoring {split}",
    )


def _predictions(data: SplitData, probabilities: np.ndarray, split: str) -> tuple[Predictions, dict[str, int]]:
    whole = Predictions(clip_columns(data.splits[split]), probabilities, data.labels)
    return restrict(whole, data.scored_classes(split))


def _scores(data: SplitData, probabilities: np.ndarray, split: str) -> dict[str, float]:
    scored, _ = _predictions(data, probabilities, split)
    scores = score(scored.label_ids, scored.probabilities, scored.labels)
    return {name: value for name, value in scores.items() if isinstance(value, float)}


def _score_again(
    data: SplitData, probabilities: Mapping[str, np.ndarray], model: PreTrainedModel, results: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, list[Predictions]]]:
    """Scores and predictions by split, for results.json; the weights include the temperature.

    The abstention threshold is the one that the run chose on validation; `results` of the run have its rule.
    """
    temperature = getattr(model.config, "calibration_temperature", None)
    scores, predictions = {}, {}
    for split, values in probabilities.items():
        scored, left_out = _predictions(data, values, split)
        files = [f"predictions_{split}.parquet"]
        earlier = results["splits"][split].get("abstention")
        abstention = None
        if earlier is not None:
            threshold = stored_threshold(model.config)
            abstention = describe_abstention([scored], [threshold], AbstentionRule.of(earlier))
        scores[split] = score_split(
            scored, files=files, temperature=temperature, left_out=left_out, precision="fp32", abstention=abstention
        )
        predictions[split] = [scored]
    return scores, predictions


def _write(
    draft: Path,
    run: Path,
    results: dict[str, Any],
    scored: tuple[dict[str, Any], dict[str, list[Predictions]]],
    stored: _Stored,
) -> None:
    """Write all files of the folder."""
    results = results | {"name": NAME, "splits": scored[0]}
    write_run(draft, results, scored[1], figures=False)
    (draft / WEIGHTS).write_bytes(save(_as_stored(stored), {"format": "pt"}))
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    for code in ("auto_map", "custom_pipelines"):  # the package has the code
        config.pop(code, None)
    write_json(draft / "config.json", config | {"dtype": "float32"})
    stored.extractor.save_pretrained(draft)
    for name in (SPLITS_FILE, RECIPE):
        if (run / name).is_file():
            shutil.copyfile(run / name, draft / name)
    shutil.copyfile(_LICENCE_TEXT, draft / "LICENSE")
    card = render_model_card(
        results,
        corpora=trained_on(results, run),
        figures=(),
        recipe=read_recipe(run),
        folder="hf_ser/pretrained",
        package=_facts(results, scored[1], stored),
    )
    write_text(draft / "README.md", card)
    files = sorted(path for path in draft.iterdir() if path.name != SUMS)
    write_text(draft / SUMS, "".join(f"{_sha256(path)}  {path.name}\n" for path in files))


def _as_stored(stored: _Stored) -> dict[str, torch.Tensor]:
    """The weights in the dtype of the file."""
    dtype = getattr(torch, stored.dtype)
    return {
        name: (value.to(dtype) if value.is_floating_point() else value).cpu().contiguous().clone()
        for name, value in stored.model.state_dict().items()
    }


def _facts(
    results: Mapping[str, Any], predictions: Mapping[str, list[Predictions]], stored: _Stored
) -> dict[str, Any]:
    """What the card says about the package's model only."""
    speakers = {split: sorted(set(runs[0].clips["speaker"])) for split, runs in predictions.items()}
    return {
        "speakers": speakers,
        "dtype": stored.dtype,
        "loaded_dtype": "float32",
        "sums": SUMS,
        "change": max(stored.changes.values()),
        "licence": LICENCE,
    }


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def compare(old: Path, new: Path) -> str:
    """Compare two packaged models: identical, or the largest difference of weights and of scores on test.

    Args:
        old: a folder.
        new: another folder.

    Raises:
        PackagingError: the old folder is incomplete.
    """
    missing = [name for name in ("config.json", WEIGHTS, "results.json") if not (old / name).is_file()]
    if missing:
        raise PackagingError(
            f"{old} has no {missing[0]}; expected a packaged model. Remove the folder to make it again."
        )
    if all((old / name).read_bytes() == (new / name).read_bytes() for name in ("config.json", WEIGHTS)):
        return "The weights are identical to those of the earlier folder."
    before, after = load_file(old / WEIGHTS), load_file(new / WEIGHTS)
    scores = [read_results(folder)["splits"]["test"]["scores"] for folder in (old, new)]
    moved = {
        name: abs(value - scores[1][name])
        for name, value in scores[0].items()
        if value is not None and scores[1].get(name) is not None
    }
    name = max(moved, key=lambda key: moved[key])
    shown = f"scores on test differ by up to {moved[name]:.4f} ({name})"
    if {key: value.shape for key, value in before.items()} != {key: value.shape for key, value in after.items()}:
        return f"The earlier folder holds another architecture; {shown}."
    largest = max(
        float((before[key].float() - after[key].float()).abs().max()) for key in before if before[key].numel()
    )
    return f"Weights differ from those of the earlier folder by up to {largest:.2g}; {shown}."


def _replace(draft: Path, target: Path) -> None:
    """Move the draft to its place; the earlier folder stays there if that fails."""
    earlier = target.with_name(f".{target.name}.old")
    shutil.rmtree(earlier, ignore_errors=True)
    if target.exists():
        os.replace(target, earlier)
    try:
        os.replace(draft, target)
    except OSError:
        if earlier.exists():
            os.replace(earlier, target)
        raise
    shutil.rmtree(earlier, ignore_errors=True)
