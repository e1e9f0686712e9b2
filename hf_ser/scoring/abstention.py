"""Abstention: a threshold on the top probability, chosen on validation, below which a model gives no answer.

A selective classifier answers a clip if its top probability reaches a threshold (Geifman and El-Yaniv 2017, "Selective
Classification for Deep Neural Networks"). Scores and labels do not change; programs decide what to do with clips that
are not answered.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from transformers import PreTrainedModel

from hf_ser.arguments import ConfigError
from hf_ser.scoring.bootstrap import CLUSTERED, PLAIN, ratio_interval
from hf_ser.scoring.predictions import Predictions

FIELD = "abstention_threshold"  # of a model's configuration
_POINTS = 50  # at most, of a risk-coverage curve
_ROUNDING = 1e-12  # of shares that are sums of weights


@dataclass(frozen=True)
class AbstentionRule:
    """How the threshold is chosen.

    >>> AbstentionRule(target_accuracy=0.9).min_coverage
    0.2
    """

    target_accuracy: float = 0.8  # of the answered validation clips
    min_coverage: float = 0.2  # share of the validation clips that must be answered
    equal_corpora: bool = False  # whether each corpus has the same weight in both shares

    @classmethod
    def of(cls, described: Mapping[str, Any]) -> "AbstentionRule":
        """The rule in what `describe_abstention` returned."""
        return cls(described["target_accuracy"], described["min_coverage"], described.get("equal_corpora", False))


@dataclass(kw_only=True)
class AbstentionArguments:
    """The rule of abstention, as fields of a recipe.

    >>> AbstentionArguments(abstention_target_accuracy=0.9).abstention_min_coverage
    0.2
    """

    abstention_target_accuracy: float = field(
        default=AbstentionRule.target_accuracy,
        metadata={"help": "accuracy on answered validation clips that the abstention threshold has to reach"},
    )
    abstention_min_coverage: float = field(
        default=AbstentionRule.min_coverage,
        metadata={"help": "share of the validation clips that must be answered at the abstention threshold"},
    )

    @property
    def abstention_rule(self) -> AbstentionRule:
        """The rule that both fields describe."""
        return AbstentionRule(self.abstention_target_accuracy, self.abstention_min_coverage)

    def check_abstention(self) -> None:
        """Raise `ConfigError` for values outside of (0, 1]."""
        for name in ("abstention_target_accuracy", "abstention_min_coverage"):
            value = getattr(self, name)
            if not 0 < value <= 1:
                raise ConfigError(f"{name} is {value}; expected above 0 to 1, such as {getattr(type(self), name)}.")


def choose_threshold(
    probabilities: np.ndarray, label_ids: np.ndarray, rule: AbstentionRule, weights: np.ndarray | None = None
) -> float | None:
    """The smallest threshold at which the answered clips reach the target accuracy.

    A clip is answered if its top probability is at least the threshold. The threshold lies halfway between the top
    probabilities of the last clip that is answered and the first one that is not, so that rounding does not change
    which clips are answered. It is 0, and every clip is answered, if all clips together reach the target.

    Args:
        probabilities: calibrated probabilities of validation clips (clips, classes).
        label_ids: true class ids (clips,).
        rule: target accuracy and minimum coverage.
        weights: of the clips (clips,), such as those of `corpus_weights`, in both shares; default: equal.

    Returns:
        The threshold; None if no threshold reaches the target with the minimum coverage.

    >>> probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.55, 0.45]])
    >>> round(choose_threshold(probabilities, np.array([0, 0, 1, 0]), AbstentionRule(0.9)), 3)
    0.7
    >>> choose_threshold(probabilities, np.array([1, 1, 1, 1]), AbstentionRule(0.9)) is None
    True
    """
    top = probabilities.max(axis=1)
    coverage, accuracy, levels = _curve(top, probabilities.argmax(axis=1) == label_ids, weights)
    least_accuracy, least_coverage = rule.target_accuracy - _ROUNDING, rule.min_coverage - _ROUNDING
    reached = np.flatnonzero((accuracy >= least_accuracy) & (coverage >= least_coverage))
    if len(reached) == 0:
        return None
    last = int(reached[-1])  # the levels descend, so this one is the smallest
    return 0.0 if last == len(levels) - 1 else float((levels[last] + levels[last + 1]) / 2)


def _curve(
    top: np.ndarray, correct: np.ndarray, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coverage and accuracy if the clips with at least a top probability are answered, for each one, descending."""
    order = np.argsort(-top, kind="stable")
    ordered = np.ones(len(top)) if weights is None else weights[order]
    levels, hits, answered = top[order], np.cumsum(correct[order] * ordered), np.cumsum(ordered)
    ends = np.append(np.flatnonzero(np.diff(levels)), len(levels) - 1)  # clips of equal probability stay together
    return answered[ends] / answered[-1], hits[ends] / answered[ends], levels[ends]


def describe_abstention(
    runs: Sequence[Predictions], thresholds: Sequence[np.ndarray | float | None], rule: AbstentionRule | None
) -> dict[str, Any]:
    """Coverage and accuracy of the answered clips, with 95 % intervals, and the risk-coverage curve.

    Args:
        runs: predictions of one run, or of several with different seeds, which are pooled.
        thresholds: per run, the threshold of the model, or one per clip (clips,) if several models made the
            predictions; None if any of them has no threshold.
        rule: by which the threshold was chosen on validation; None if unknown.

    >>> from pathlib import Path
    >>> from hf_ser.scoring import read_predictions
    >>> predictions = read_predictions(Path("runs/audio_cnn/predictions_test.parquet"))
    >>> describe_abstention([predictions], [0.0], None)["coverage"]
    1.0
    """
    top = np.concatenate([run.probabilities.max(axis=1) for run in runs])
    correct = np.concatenate([run.predicted == run.label_ids for run in runs])
    coverage, accuracy, levels = _curve(top, correct)
    kept = np.unique(np.linspace(0, len(levels) - 1, min(_POINTS, len(levels))).round().astype(int))
    described: dict[str, Any] = {
        "threshold": None,
        "target_accuracy": rule.target_accuracy if rule else None,
        "min_coverage": rule.min_coverage if rule else None,
        **({"equal_corpora": True} if rule and rule.equal_corpora else {}),
        "answered": None,
        "coverage": None,
        "accuracy": None,
        "interval": None,
        "risk_coverage": {
            "coverage": coverage[kept].tolist(),
            "accuracy": accuracy[kept].tolist(),
            "threshold": levels[kept].tolist(),
        },
    }
    if any(threshold is None for threshold in thresholds):
        return described
    limits = np.concatenate(
        [np.broadcast_to(np.asarray(limit), len(run.label_ids)) for run, limit in zip(runs, thresholds, strict=True)]
    )
    answered = top >= limits
    known = any(any(run.clips["speaker"]) for run in runs)
    clusters = [unit for run in runs for unit in (run.clusters if known else run.clips["id"])]
    return described | {
        "threshold": float(limits[0]) if len(set(limits.tolist())) == 1 else None,
        "answered": int(answered.sum()),
        "coverage": float(answered.mean()),
        "accuracy": float(correct[answered].mean()) if answered.any() else None,
        "interval": {
            "method": CLUSTERED if known else PLAIN,
            "clusters": len(set(clusters)),
            "coverage": ratio_interval(answered, np.ones(len(answered)), clusters),
            "accuracy": ratio_interval(correct & answered, answered, clusters),
        },
    }


def store_threshold(model: PreTrainedModel, threshold: float | None) -> None:
    """Record the abstention threshold in a model's config, where the pipeline and `hf-ser predict` find it.

    >>> from hf_ser.models import MelCNNConfig, MelCNNForAudioClassification
    >>> model = MelCNNForAudioClassification(MelCNNConfig(channels=[8, 8, 8], hidden_size=16))
    >>> store_threshold(model, 0.6)
    >>> stored_threshold(model.config)
    0.6
    """
    if threshold is None and not hasattr(model.config, FIELD):
        return  # configurations of models without one stay as they are
    setattr(model.config, FIELD, threshold)


def stored_threshold(config: Any) -> float | None:
    """The abstention threshold of a model; None if it has none.

    >>> from transformers import Wav2Vec2Config
    >>> stored_threshold(Wav2Vec2Config(abstention_threshold=0.6)), stored_threshold(Wav2Vec2Config())
    (0.6, None)
    """
    return getattr(config, FIELD, None)
