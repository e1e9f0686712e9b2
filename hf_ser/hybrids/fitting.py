"""Fitting a hybrid of any kind, from its arguments to its folder."""

import logging
from collections.abc import Callable
from typing import Any

from hf_ser.data.splits import DataArguments, SplitData
from hf_ser.hybrids.deep_features import fit_deep_features
from hf_ser.hybrids.forest import fit_forest
from hf_ser.hybrids.hybrid_arguments import HybridArguments
from hf_ser.hybrids.stacking import fit_stack
from hf_ser.inference import resolve_precision

logger = logging.getLogger(__name__)
_FITS: dict[str, Callable[..., dict[str, Any]]] = {
    "stacking": fit_stack,
    "deep_features": fit_deep_features,
    "random_forest": fit_forest,
}


def fit_hybrid(data: SplitData, data_args: DataArguments, args: HybridArguments, name: str) -> dict[str, Any]:
    """Fit the kind that `args` names, score validation and test, and write the folder.

    Returns:
        What stands in results.json.
    """
    if args.bases:
        resolve_precision(args.precision, args.device).log(logger)
    return _FITS[args.kind](data, data_args, args, name)
