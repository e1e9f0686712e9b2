"""How to repeat a run: the commands in a model's card, and what they cannot repeat."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from hf_ser.corpora import CORPORA
from hf_ser.recipe_file import RECIPE

_PREPARED = "data/emotions"
_WIDTH = 95  # characters


def recipe_of(results: Mapping[str, Any]) -> str:
    """The name of the recipe that trained or fitted a model."""
    if is_hybrid(results):
        return "fit_hybrid"
    return "train_companion" if results["model_type"].startswith("ser-") else "finetune"


def is_hybrid(results: Mapping[str, Any]) -> bool:
    """Whether a run fitted a hybrid."""
    return "sources" in results["training"]


def commands(results: Mapping[str, Any], corpora: Sequence[str], place: str, on_hub: bool) -> list[str]:
    """The commands that repeat a run with a recipe.yaml; only folders of corpora or of the dataset are placeholders.

    Args:
        results: the contents of results.json.
        corpora: those that trained or selected the model.
        place: the model's folder or Hub id.
        on_hub: whether it is a Hub id.
    """
    dataset, lines = results["dataset"]["name"], []
    config = RECIPE if on_hub else f"{place}/{RECIPE}"
    if on_hub:
        lines.append(f"hf download {place} {RECIPE} --local-dir .")
    if "/" not in dataset and not prepared_corpora(results, corpora):
        dataset = "DATASET"
    elif "/" not in dataset:
        dataset = _PREPARED
        folders = [f"--{corpus} {folder_name(corpus)}" for corpus in prepared_corpora(results, corpora)]
        lines.append(
            " ".join(["python recipes/prepare.py", *folders, *_preparation(results), f"--output_dir {dataset}"])
        )
    recipe = f"python recipes/{recipe_of(results)}.py --config {shlex.quote(config)} --dataset {dataset}"
    lines.append(f"{recipe} --output_dir runs/again")
    # In two lines where a page would scroll.
    return [line if len(line) <= _WIDTH else line.replace(" --output_dir", " \\\n    --output_dir") for line in lines]


def folder_name(corpus: str) -> str:
    """The placeholder for a corpus's folder."""
    return f"{corpus.upper()}_FOLDER"


def prepared_corpora(results: Mapping[str, Any], corpora: Sequence[str]) -> list[str]:
    """The corpora of the dataset that a run used: those of training, and those of which other clips were scored.

    Empty if there are recordings of other origin among them, which the options of preparation do not name.
    """
    scored = {corpus for split in results["splits"].values() for corpus in split["groups"]["corpus"]["groups"]}
    used = scored | set(corpora)
    return [corpus for corpus in CORPORA if corpus in used] if used <= set(CORPORA) else []


def _preparation(results: Mapping[str, Any]) -> list[str]:
    fields = results["training"].get("preparation") or {}
    words = {name: value if isinstance(value, list) else [value] for name, value in fields.items()}
    return [f"--{name} {' '.join(shlex.quote(str(word)) for word in given)}" for name, given in words.items()]


def limits(results: Mapping[str, Any], recipe: Mapping[str, Any]) -> list[str]:
    """What the commands need besides the corpora, and what may differ, as sentences.

    Args:
        results: the contents of results.json.
        recipe: the settings of the run.
    """
    training = results["training"]
    found = []
    base = training.get("base_model")
    if base and "/" not in base:
        found.append(
            f"The model was trained from a local checkpoint, `{base}`, which the commands cannot fetch. Set "
            f"`model_name_or_path` in {RECIPE} to its folder."
        )
    if results["dataset"].get("label_mapping") and "/" not in results["dataset"]["name"]:
        found.append(
            "Preparation mapped labels. Write `label_mapping` of [results.json](results.json) into a YAML file and "
            "prepare the dataset with `--config FILE.yaml`."
        )
    local = [entry["name"] for entry in training.get("bases") or () if "repository" not in entry]
    if local:
        found.append(
            f"The base models ({', '.join(local)}) are separate runs. Before the last command, train them into the "
            f"folders under `bases` in {RECIPE}, or change these folders."
        )
    files = sorted(
        {key for transform in recipe.get("augmentation") or () for key in transform if key.endswith("_path")}
    )
    if files:
        found.append(f"Augmentation used local recordings. Set {', '.join(files)} in {RECIPE} to their folders.")
    if training.get("processes"):
        found.append(
            f"The run used {training['processes']} processes. Start the recipe with `accelerate launch "
            f"--num_processes {training['processes']}` to get the same total batch size."
        )
    if training.get("earlier_precisions"):
        found.append("The run was resumed in another precision, which these commands do not repeat.")
    if results["protocol"]["fold"]:
        found.append("This model is one fold of a cross-validation; the commands train this fold only.")
    return found
