"""Test scores in `.eval_results/`, the Hub's format for scores on a benchmark dataset.

Source: https://huggingface.co/docs/hub/eval-results
"""

from collections.abc import Mapping
from typing import Any

import yaml
from huggingface_hub import EvalResultEntry, constants, eval_result_entries_to_yaml

FOLDER = ".eval_results"
# Settings under which the test clips are others than those of the dataset's own test split.
_OTHER_CLIPS = ("protocol", "fold", "channel", "merge_calm")


def evaluation_file(
    results: Mapping[str, Any], recipe: Mapping[str, Any] | None, repository: str | None = None
) -> tuple[str, str] | None:
    """The file of a run's test score in `.eval_results/`.

    The format needs a dataset on the Hub, and its task is one configuration and split of that dataset. There is no
    file for a run on a local dataset, on generated recordings, or on test clips other than the configuration's own.

    Args:
        results: the contents of results.json.
        recipe: the settings of the run; None if they are unknown.
        repository: the model's Hub id, which becomes the source of the score; None before it is pushed.

    Returns:
        The path in the repository and its content, or None.

    >>> evaluation_file({"dataset": {"name": "emotions", "synthetic": []}, "splits": {}}, {}) is None
    True
    """
    dataset = results["dataset"]
    value, notes = _headline(results)
    if "/" not in dataset["name"] or dataset["synthetic"] or value is None:
        return None
    if recipe is None or any(name in recipe for name in _OTHER_CLIPS):
        return None
    source = {"source_url": f"{constants.ENDPOINT}/{repository}", "source_name": "Model card"} if repository else {}
    entry = EvalResultEntry(
        dataset_id=dataset["name"], task_id=dataset["configuration"], value=value, notes=notes, **source
    )
    content = yaml.safe_dump(eval_result_entries_to_yaml([entry]), sort_keys=False)
    return f"{FOLDER}/{dataset['name'].partition('/')[2]}.yaml", content


def _headline(results: Mapping[str, Any]) -> tuple[float | None, str]:
    dimensions = results.get("dimensions")
    if dimensions:
        names = " and ".join(dimensions["test"]["per_dimension"]) if "test" in dimensions else ""
        return dimensions.get("test", {}).get("ccc"), f"mean concordance correlation coefficient of {names}"
    return results["splits"].get("test", {}).get("scores", {}).get("uar"), "UAR (mean recall)"
