"""Clips and classes that a hybrid is fitted on, and inner folds of these clips.

The inner folds decide how much is fitted, and score it on clips that it was not fitted on.
"""

import logging
import warnings
from collections import Counter
from typing import NamedTuple

import numpy as np

from hf_ser.data.protocols import SHARES_SPEAKERS
from hf_ser.data.splits import SplitData
from hf_ser.hybrids.base_models import StackError

logger = logging.getLogger(__name__)


class Fold(NamedTuple):
    """Numbers of the rows that a model is fitted on, and of those that it predicts."""

    fitted: np.ndarray
    held_out: np.ndarray


def inner_folds(data: SplitData, split: str, wanted: int, seed: int) -> list[Fold]:
    """Divide the clips of a split as the protocol divides clips, classes in proportion.

    If the protocol keeps speakers apart, so do the folds; otherwise clips of identical audio stay together.

    Args:
        data: the dataset.
        split: that the hybrid is fitted on.
        wanted: number of folds; there are fewer with fewer speakers, or with fewer clips of a class.
        seed: of the shuffling.

    Raises:
        StackError: not enough clips or speakers for two folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    part = data.splits[split]
    labels = np.asarray(part["label"])
    apart = data.protocol not in SHARES_SPEAKERS
    column = "speaker" if apart else "sha256" if "sha256" in part.column_names else "id"
    groups = np.asarray([value or clip for value, clip in zip(part[column], part["id"], strict=True)])
    label, rarest = min(Counter(labels.tolist()).items(), key=lambda item: item[1])
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
        folds = [Fold(*pair) for pair in splitter.split(labels, labels, groups)]
    folds = [fold for fold in folds if len(fold.fitted) and len(fold.held_out)]
    if len(folds) < 2:
        raise StackError(f"the {len(set(groups))} {what} cannot be divided into two inner folds; use --meta mean.")
    return folds


def known_classes(data: SplitData, fit_on: str, meta: str = "lightgbm") -> list[int]:
    """Ids of the classes that a hybrid tells apart: those of train and of the split that it is fitted on.

    Raises:
        StackError: fewer than two, or one of them is absent from the split that it is fitted on.
    """
    trained_on, fitted_on = set(data.splits["train"]["label"]), set(data.splits[fit_on]["label"])
    missing = [data.labels[index] for index in sorted(trained_on - fitted_on)]
    if missing and meta != "mean":
        raise StackError(
            f"the {fit_on} split, which the hybrid is fitted on, has no clip of {', '.join(missing)}; expected every "
            "class that the bases were trained on. Choose another protocol or seed, or --meta mean."
        )
    classes = sorted(trained_on | fitted_on)
    if len(classes) < 2:
        raise StackError(f"the clips are all {data.labels[classes[0]]}; expected at least two classes.")
    return classes
