"""The model card: the template `model_card.md` filled only from results.json."""

from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

_HERE = Path(__file__).parent
# A checkout holds the template at its top level; an installed wheel beside this file.
_TEMPLATES = (_HERE.parents[1] / "model_card.md", _HERE / "model_card.md")


def render_model_card(results: dict[str, Any]) -> str:
    """Render a model folder's README.md from what stands in its results.json."""
    template = next(path for path in _TEMPLATES if path.is_file())
    labels = next(iter(results["splits"].values()))["labels"]
    data = ModelCardData(
        language="en",
        license="other",
        license_name="see-the-corpora",
        library_name="transformers",
        pipeline_tag="audio-classification",
        tags=["speech-emotion-recognition", *(["synthetic"] if results["dataset"]["synthetic"] else [])],
        metrics=["accuracy", "f1", "recall"],
        model_name=results["name"],
        eval_results=_eval_results(results),
    )
    return str(
        ModelCard.from_template(
            data, template_path=str(template), name=results["name"], results={**results, "labels": labels}
        )
    )


def write_model_card(folder: Path, results: dict[str, Any]) -> None:
    """Write the card into a model folder."""
    (folder / "README.md").write_text(render_model_card(results), encoding="utf-8")


def _eval_results(results: dict[str, Any]) -> list[EvalResult]:
    dataset, protocol = results["dataset"], results["protocol"]
    names = {"accuracy": "accuracy", "f1_weighted": "weighted F1", "f1_macro": "macro F1", "uar": "UAR"}
    return [
        EvalResult(
            task_type="audio-classification",
            task_name="Speech emotion recognition",
            dataset_type=dataset["name"],
            dataset_name=f"{dataset['name']} ({dataset['configuration']}, {protocol['name']})",
            dataset_config=dataset["configuration"],
            dataset_split=split,
            metric_type="recall" if metric == "uar" else metric.partition("_")[0],
            metric_name=name,
            metric_value=scored["scores"][metric],
        )
        for split, scored in results["splits"].items()
        if split == "test"
        for metric, name in names.items()
    ]
