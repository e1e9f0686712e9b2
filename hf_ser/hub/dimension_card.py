"""The card of a model of dimensions."""

from collections.abc import Mapping, Sequence
from typing import Any

from huggingface_hub import ModelCardData

from hf_ser import markdown
from hf_ser.results_file import bounds, clips_and_speakers, number


def render_dimension_card(data: ModelCardData, results: Mapping[str, Any], place: str, corpora: Sequence[str]) -> str:
    """Render the README.md of a model folder.

    Args:
        data: the metadata.
        results: the contents of results.json.
        place: folder or Hub id of the model, for the example.
        corpora: titles of the corpora that the model was trained on.
    """
    data.metrics = ["concordance correlation coefficient"]
    scored = next(iter(results["dimensions"].values()))
    names = ", ".join(scored["per_dimension"])
    dataset, protocol = results["dataset"], results["protocol"]
    synthetic = "> **Trained on generated voices.** The scores say nothing about real speech.\n\n"
    trained = clips_and_speakers(dataset["train_clips"], dataset["train_speakers"])
    return (
        f"---\n{data.to_yaml()}\n---\n# {data.model_name}\n\n"
        f"{synthetic if dataset['synthetic'] else ''}"
        f"This model predicts dimensions of emotion from a voice recording: {names}, in the range of the annotations "
        f"(0 to 1). It was trained on {trained} from {', '.join(corpora)}.\n\n"
        "## Use\n\n```bash\n"
        f"hf-ser predict recording.wav --model {place}\n```\n\n"
        'The values are no probabilities, but `pipeline("audio-classification")` of transformers applies a softmax to '
        "those of models without code of their own.\n\n"
        f"## Scores\n\nProtocol {protocol['name']}. CCC is the concordance correlation coefficient, with its 95 % "
        "interval.\n\n"
        f"{_table(results['dimensions'])}\n\n"
        "Do not use its output to make decisions about people.\n"
    )


def _table(splits: Mapping[str, Any]) -> str:
    rows = []
    for split, scored in splits.items():
        interval = scored["intervals"][0]
        rows += [
            (split, name, number(values["ccc"]), bounds(interval["per_dimension"][name]), number(values["rmse"]))
            for name, values in scored["per_dimension"].items()
        ]
        rows.append((split, "mean", number(scored["ccc"]), bounds(interval["ccc"]), ""))
    return markdown.table(("split", "dimension", "CCC", "95 % interval", "root mean square error"), rows)
