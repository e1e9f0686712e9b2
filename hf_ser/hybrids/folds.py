"""The inner folds of a stack: they decide how much is fitted, and score it on clips that it has not seen."""

import logging
import warnings
from collections import Counter
from typing import Any, NamedTuple

import numpy as np

from hf_ser.data.splits import SplitData
from hf_ser.hybrids.bases import StackError

logger = logging.getLogger(__name__)
SHARES_SPEAKERS = ("random",)  # protocols that put clips of one speaker on both sides


class Fold(NamedTuple):
    """Row numbers: those that a model is fitted on, and those that it is asked about."""

    fitted: np.ndarray
    held_out: np.ndarray


def inner_folds(split: Any, data: SplitData, wanted: int, seed: int) -> list[Fold]:
    """Divide fitting clips as the protocol divides clips, classes in proportion.

    Where the protocol keeps speakers apart, so do the folds; otherwise clips of identical audio stay together.

    Args:
        split: the clips that a stack is fitted on.
        data: where they come from.
        wanted: folds; fewer where there are fewer speakers, or fewer clips of a class.
        seed: decides every free choice.

    Raises:
        StackError: not enough clips or speakers for two folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    truth = np.asarray(split["label"])
    apart = data.protocol not in SHARES_SPEAKERS
    column = "speaker" if apart else "sha256" if "sha256" in split.column_names else "id"
    groups = np.asarray([value or clip for value, clip in zip(split[column], split["id"], strict=True)])
    label, rarest = min(Counter(truth.tolist()).items(), key=lambda item: item[1])
    found = {f"clips of {data.labels[label]}": rarest, "speakers" if apart else "clips": len(set(groups))}
    what, most = min(found.items(), key=lambda item: item[1])
    if most < 2:
        raise StackError(
            f"the fitting split has {most} {what} under {data.protocol}; expected at least 2, one for each of two "
            "inner folds. Choose a protocol with more of them in validation, or --meta mean."
        )
    if most < wanted:
        logger.info("%d inner folds instead of %d: there are only %d %s", most, wanted, most, what)
    splitter = StratifiedGroupKFold(min(wanted, most), shuffle=True, random_state=seed)
    with warnings.catch_warnings():  # a class with fewer clips than folds is dealt with above
        warnings.simplefilter("ignore", UserWarning)
        folds = [Fold(*pair) for pair in splitter.split(truth, truth, groups)]
    folds = [fold for fold in folds if len(fold.fitted) and len(fold.held_out)]
    if len(folds) < 2:
        raise StackError(f"the {len(set(groups))} {what} cannot be divided into two inner folds; use --meta mean.")
    return folds
