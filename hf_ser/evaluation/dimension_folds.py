"""Cross-validation of models of dimensions: the target of the recipe, and the pooled predictions of its runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hf_ser.arguments import ConfigError
from hf_ser.evaluation.cross_validation_arguments import CrossValidationArguments
from hf_ser.evaluation.fold_scores import names_of_pooled
from hf_ser.scoring.dimension_scores import DimensionPredictions, concatenate_dimensions, score_dimensions
from hf_ser.scoring.results import only_one
from hf_ser.yaml_files import load_yaml

_TARGET = "dimensions"
_MATRIX = "cross_corpus"  # every model is scored on several corpora, and a clip by several models


def has_dimensions(recipe_config: str | None, overrides: Sequence[str]) -> bool:
    """Whether a recipe trains on dimensions, by its YAML file and the fields that replace those of the file.

    Raises:
        ConfigError: of `load_yaml`.
    """
    named = [value for name, _, value in (override.partition("=") for override in overrides) if name == "target"]
    if named:
        return named[-1] == _TARGET
    if recipe_config is None:
        return False
    content = load_yaml(Path(recipe_config))
    return isinstance(content, Mapping) and content.get("target") == _TARGET


def check_dimension_folds(args: CrossValidationArguments, protocol: str, thresholds: str | None = None) -> None:
    """Reject what needs classes before any fold is trained, if the recipe trains on dimensions.

    Args:
        args: the recipe and its configuration, or candidates for it.
        protocol: of the cross-validation.
        thresholds: file of limits; None for none.

    Raises:
        ConfigError: names the option.
    """
    if not any(has_dimensions(config, args.recipe_overrides) for config in (args.recipe_config, *args.candidates)):
        return
    if args.candidates:
        raise ConfigError(
            "candidates are compared by UAR, which needs classes, and the recipe has target dimensions. Pass one "
            "recipe_config."
        )
    if protocol == _MATRIX:
        raise ConfigError(
            f"protocol is {_MATRIX} and the recipe has target dimensions; its matrix of UAR needs classes. Use "
            "leave_one_corpus_out."
        )
    if thresholds is not None:
        raise ConfigError(
            "thresholds are limits for scores of classes, and the recipe has target dimensions. Leave one of them out."
        )


def pooled_dimensions(
    folders: Sequence[Path], each: Sequence[Mapping[str, Any]], seeds: Sequence[int]
) -> tuple[dict[str, Any], list[DimensionPredictions]]:
    """Score the test clips of all folds of a seed together; several seeds have the mean of their scores.

    Args:
        folders: of the runs.
        each: their results.json.
        seeds: seed of each run.

    Returns:
        The entry of test in `dimensions` of results.json, and the pooled predictions of each seed.

    Raises:
        ConfigError: no test clip of a seed has values.
    """
    parts: dict[int, list[DimensionPredictions]] = {seed: [] for seed in seeds}
    for folder, results, seed in zip(folders, each, seeds, strict=True):
        test = results["dimensions"].get("test")
        if test is not None:
            parts[seed].append(DimensionPredictions.read(folder / test["predictions"][0]))
    empty = next((seed for seed, tables in parts.items() if not tables), None)
    if empty is not None:
        raise ConfigError(
            f"no test clip of seed {empty} has values of the dimensions; expected at least one. Choose a protocol or "
            "a configuration whose test clips have them."
        )
    pooled = [concatenate_dimensions(tables) for tables in parts.values()]
    tested = [results["dimensions"]["test"] for results in each if "test" in results["dimensions"]]
    precision = only_one({test["precision"] for test in tested})
    return score_dimensions(pooled, files=names_of_pooled(list(parts)), precision=precision), pooled
