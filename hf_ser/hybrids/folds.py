"""Classes that a hybrid is fitted on, and inner folds of the fitting clips.

The inner folds select the number of trees or the penalty, and score the hybrid on held-out clips.
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
    """Indices of the rows that a model is fitted on, and of the held-out rows."""

    fitted: np.ndarray
    held_out: np.ndarray


def inner_folds(data: SplitData, split: str, wanted: int, seed: int) -> list[Fold]:
    """Divide the clips of a split into folds, stratified by class.

    If the protocol is speaker-disjoint, so are the folds; otherwise, or if speakers are unknown, clips with identical
    audio stay together.

    Args:
        data: the dataset.
        split: split that the hybrid is fitted on.
        wanted: number of folds; reduced if there are fewer speakers, or fewer clips of a class.
        seed: seed for shuffling.

    Raises:
        StackError: there are too few clips or speakers for two folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    part = data.splits[split]
    labels = np.asarray(part["label"])
    apart = data.protocol not in SHARES_SPEAKERS and all(part["speaker"])
    column = "speaker" if apart else "sha256" if "sha256" in part.column_names else "id"
    groups = np.asarray([value or clip for value, clip in zip(part[column], part["id"], strict=True)])
    label, rarest = min(Counter(labels.tolist()).items(), key=lambda item: item[1])
    found = {f"clips of {data.labels[label]}": rarest, "speakers" if apart else "clips": len(set(groups))}
    what, most = min(found.items(), key=lambda item: item[1])
    if most < 2:
        raise StackError(
            f"the fitting split has {most} {what} under {data.protocol}; expected at least 2, for two inner folds. "
            "Choose a protocol with a larger validation split, --fit_on out_of_fold, or --meta mean."
        )
    if most < wanted:
        logger.info("Using %d inner folds instead of %d, because there are only %d %s", most, wanted, most, what)
    splitter = StratifiedGroupKFold(min(wanted, most), shuffle=True, random_state=seed)
    with warnings.catch_warnings():  # classes with fewer clips than folds are handled above
        warnings.simplefilter("ignore", UserWarning)
        folds = [Fold(*pair) for pair in splitter.split(labels, labels, groups)]
    folds = [fold for fold in folds if len(fold.fitted) and len(fold.held_out)]
    if len(folds) < 2:
        raise StackError(f"the {len(set(groups))} {what} cannot be divided into two inner folds; use --meta mean.")
    return folds


def known_classes(data: SplitData, fit_on: str, meta: str = "lightgbm") -> list[int]:
    """Ids of the classes of a hybrid: those in train and in the split that it is fitted on.

    Classes that only auxiliary corpora have do not count.

    Raises:
        StackError: there are fewer than two, or a class is missing from the split that the hybrid is fitted on.
    """
    train, auxiliary = data.splits["train"], data.assignment.auxiliary
    trained_on = {
        label for label, corpus in zip(train["label"], train["corpus"], strict=True) if corpus not in auxiliary
    }
    fitted_on = set(data.splits[fit_on]["label"])
    missing = [data.labels[index] for index in sorted(trained_on - fitted_on)]
    if missing and meta != "mean":
        raise StackError(
            f"the {fit_on} split, which the hybrid is fitted on, has no clips of {', '.join(missing)}; expected every "
            "class that the base models were trained on. Choose another protocol or seed, or --meta mean."
        )
    classes = sorted(trained_on | fitted_on)
    if len(classes) < 2:
        raise StackError(f"all clips have the class {data.labels[classes[0]]}; expected at least two classes.")
    return classes
