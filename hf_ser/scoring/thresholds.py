"""Thresholds for scores and differences between groups, so that continuous integration can guard a model.

A YAML file holds limits for the whole split and for groupings:

    overall: {min_uar: 0.6}
    gender: {max_gap: 0.1, max_equalized_odds_difference: 0.3}
    speaker: {min_worst: 0.4}
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hf_ser.arguments import did_you_mean
from hf_ser.errors import ConfigError
from hf_ser.scoring.groups import GROUPINGS
from hf_ser.yaml_files import load_yaml

OVERALL = "overall"
_OF_ALL = {f"min_{name}": name for name in ("uar", "accuracy", "f1_weighted", "f1_macro")}
_OF_GROUPS = ("max_gap", "min_worst", "max_equalized_odds_difference")
Thresholds = Mapping[str, Mapping[str, float]]


def read_thresholds(path: str | Path) -> dict[str, dict[str, float]]:
    """Read a file of thresholds.

    Raises:
        ConfigError: there is no such file, it is empty, or it has unknown names or limits outside 0 to 1.

    >>> _ = Path("limits.yaml").write_text("gender: {max_gap: 0.1}", encoding="utf-8")
    >>> read_thresholds("limits.yaml")
    {'gender': {'max_gap': 0.1}}
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"--thresholds {path}: no such file; expected YAML such as gender: {{max_gap: 0.1}}.")
    content = load_yaml(path)
    if not isinstance(content, dict) or not content:
        raise ConfigError(f"--thresholds {path} has no thresholds; expected YAML such as gender: {{max_gap: 0.1}}.")
    known = (OVERALL, *GROUPINGS)
    found: dict[str, dict[str, float]] = {}
    for name, limits in content.items():
        if name not in known:
            raise ConfigError(
                f"--thresholds {path} has {name!r}{did_you_mean(str(name), known)}; expected {', '.join(known)}."
            )
        if not isinstance(limits, dict) or not limits:
            raise ConfigError(f"--thresholds {path}: {name} is {limits!r}; expected limits such as {{max_gap: 0.1}}.")
        allowed = tuple(_OF_ALL) if name == OVERALL else _OF_GROUPS
        for limit, value in limits.items():
            if limit not in allowed:
                raise ConfigError(
                    f"--thresholds {path}: {name} has {limit!r}{did_you_mean(str(limit), allowed)}; expected "
                    f"{', '.join(allowed)}."
                )
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
                raise ConfigError(f"--thresholds {path}: {name} {limit} is {value!r}; expected a number from 0 to 1.")
        found[name] = {limit: float(value) for limit, value in limits.items()}
    return found


def missed_thresholds(results: Mapping[str, Any], path: str | Path) -> list[str]:
    """Check the scored split of results.json, test if there are several, against a file; see `check_thresholds`."""
    splits, thresholds = results["splits"], read_thresholds(path)
    if not splits:
        return ["nothing can be checked: the folds are not pooled, since they have different classes"]
    return check_thresholds(splits.get("test") or next(iter(splits.values())), thresholds)


def check_thresholds(scored: Mapping[str, Any], thresholds: Thresholds) -> list[str]:
    """Check a scored split; a threshold that cannot be checked counts as missed.

    Args:
        scored: a split of results.json.
        thresholds: of `read_thresholds`.

    Returns:
        A sentence for each threshold that is missed; empty if the model passes.
    """
    missed = []
    for name, limits in thresholds.items():
        if name == OVERALL:
            # The headline: the mean over corpora if there are several.
            scores = (scored.get("by_corpus") or scored)["scores"]
            for limit, least in limits.items():
                value = scores[_OF_ALL[limit]]
                if value is None or value < least:
                    missed.append(f"{_OF_ALL[limit]} is {_shown(value)}; expected at least {least:g}")
            continue
        compared = {key: found for key, found in scored["fairness"].items() if key.partition("/")[0] == name}
        if not compared:
            missed.append(f"{name} cannot be checked: the clips have fewer than two groups with a common class")
        for key, found in compared.items():
            missed += _missed(key, found, limits)
    return missed


def _missed(key: str, found: Mapping[str, Any], limits: Mapping[str, float]) -> list[str]:
    missed = []
    for limit, bound in limits.items():
        if limit == "max_gap" and found["gap"] > bound:
            few = (
                f"; one speaker: {', '.join(found['one_speaker'])}"
                if found["one_speaker"] and key != "speaker"
                else ""
            )
            missed.append(
                f"{key}: the gap in UAR between {found['best']} and {found['worst']} is {_shown(found['gap'])}"
                f"; expected at most {bound:g}{few}"
            )
        if limit == "min_worst" and found["groups"][found["worst"]] < bound:
            value = _shown(found["groups"][found["worst"]])
            missed.append(f"{key}: the UAR of {found['worst']} is {value}; expected at least {bound:g}")
        value = found["equalized_odds_difference"]
        if limit == "max_equalized_odds_difference" and value > bound:
            missed.append(f"{key}: the equalised-odds difference is {_shown(value)}; expected at most {bound:g}")
    return missed


def _shown(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"
