"""Fit a hybrid of any kind and write its folder."""

import logging
from typing import Any

from hf_ser.data.splits import SplitData
from hf_ser.hybrids.deep_features import fit_deep_features
from hf_ser.hybrids.hybrid_arguments import HybridArguments
from hf_ser.hybrids.out_of_fold import train_nested_folds
from hf_ser.hybrids.random_forest import fit_random_forest
from hf_ser.hybrids.stacking import fit_stack, open_checked
from hf_ser.inference import resolve_precision
from hf_ser.run_folder import held

logger = logging.getLogger(__name__)
_FITS = {
    "stacking": fit_stack,
    "deep_features": fit_deep_features,
    "functionals": fit_deep_features,
    "random_forest": fit_random_forest,
}


def fit_hybrid(data: SplitData, args: HybridArguments, name: str) -> dict[str, Any]:
    """Fit a hybrid of kind `args.kind`, score validation and test, and write the folder.

    Returns:
        The contents of results.json.
    """
    if args.bases:
        resolve_precision(args.precision, args.device).log(logger)
    with held(args.output_dir):
        return _FITS[args.kind](data, args, name)


def train_bases_of_stack(data: SplitData, args: HybridArguments) -> None:
    """Train the nested folds of a stack's base models without fitting it, so that stacks can share them."""
    train_nested_folds(open_checked(data, args), data, args)
