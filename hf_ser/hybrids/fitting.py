"""Fitting a hybrid of either kind, from its arguments to its folder."""

from typing import Any

from hf_ser.data.splits import DataArguments, SplitData
from hf_ser.hybrids.arguments import HybridArguments
from hf_ser.hybrids.forest import fit_forest
from hf_ser.hybrids.stacking import fit_stack


def fit_hybrid(data: SplitData, data_args: DataArguments, args: HybridArguments, name: str) -> dict[str, Any]:
    """Fit the kind that `args` names, score validation and test, and write the folder.

    Returns:
        What stands in results.json.
    """
    fit = fit_forest if args.kind == "random_forest" else fit_stack
    return fit(data, data_args, args, name)
