"""Section of report.md on the configurations that nested cross-validation chose."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from hf_ser import markdown
from hf_ser.results_file import number


def selection_section(selection: Mapping[str, Any] | None) -> list[str]:
    """How often each candidate was chosen, and by which scores; nothing for one configuration.

    Args:
        selection: `training.selection` of results.json.
    """
    if not selection:
        return []
    names = selection["candidates"]
    times = Counter(choice["chosen"] for choice in selection["choices"])
    counted = ", ".join(f"{name} {times[name]} times" for name in names)
    rows = [
        (choice["fold"] or "-", choice["seed"], choice["chosen"], *(number(choice["uar"][name]) for name in names))
        for choice in selection["choices"]
    ]
    return [
        "## Chosen configurations",
        f"Chosen for each run by UAR over {selection['nested_folds']} nested folds of its training clips: {counted}. "
        "Test clips were not used.",
        markdown.table(("fold", "seed", "chosen", *(f"UAR of {name}" for name in names)), rows),
    ]
