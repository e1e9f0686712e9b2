"""What a model learns: the intended emotion of each clip, the majority of its raters, or the distribution of votes."""

import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from hf_ser.arguments import ConfigError
from hf_ser.data.class_labels import with_labels
from hf_ser.data.clip_votes import votes_of_split
from hf_ser.data.splits import SplitData
from hf_ser.scoring.votes import MIN_RATERS, vote_counts
from hf_ser.training.dimension_targets import TARGET as DIMENSIONS
from hf_ser.training.numbered_clips import NumberedLoss

if TYPE_CHECKING:
    import datasets

    from hf_ser.training.training_arguments import SerTrainingArguments

logger = logging.getLogger(__name__)
ACTED, MAJORITY, VOTES = "acted", "majority", "votes"
TARGETS = (ACTED, MAJORITY, VOTES, DIMENSIONS)
VOTE_LOSSES = ("cross_entropy", "kl")


@dataclass(kw_only=True)
class TargetArguments:
    """What a training learns from clips with votes.

    >>> TargetArguments(target="votes").vote_loss
    'cross_entropy'
    """

    target: str = field(
        default=ACTED,
        metadata={
            "help": "what to learn: acted (the label), majority (of the raters), votes (their distribution), or "
            "dimensions (arousal, valence, dominance)"
        },
    )
    vote_loss: str = field(
        default="cross_entropy", metadata={"help": "loss with target votes: cross_entropy (soft) or kl"}
    )
    min_raters: int = field(
        default=MIN_RATERS, metadata={"help": "with another target than acted: leave out clips with fewer raters"}
    )

    def check_target(self, others: dict[str, Any]) -> None:
        """Reject unknown targets, and other options that do not work with them.

        Args:
            others: the other options of the training that are turned on, with their values.

        Raises:
            ConfigError: names the option.
        """
        for name, known in (("target", TARGETS), ("vote_loss", VOTE_LOSSES)):
            if getattr(self, name) not in known:
                raise ConfigError(f"{name} is {getattr(self, name)!r}; expected one of {', '.join(known)}.")
        if self.min_raters < 1:
            raise ConfigError(f"min_raters is {self.min_raters}; expected at least 1.")
        if self.target != VOTES and self.vote_loss != "cross_entropy":
            raise ConfigError(f"vote_loss is {self.vote_loss} and target {self.target}; expected target votes.")
        # Each of these needs one class per clip, or replaces the loss too.
        for name in ("loss", "class_weights", "copy_paste", "supervised_contrastive", "corpus_classes", "teachers"):
            if self.target == VOTES and name in others:
                raise ConfigError(
                    f"target is votes and {name} is {others[name]}; expected one of them, since a distribution of "
                    "votes is no single class. Leave one out, or use target majority."
                )


@dataclass(frozen=True)
class Targets:
    """The clips that train and select a model, with what they teach it.

    Args:
        data: the splits; with another target than acted, train and validation are without the clips that the target
            has no label for, and the labels of the others are those of the target.
        distributions: of the votes for each training clip (clips, classes); None unless the target is votes.
        calibration: distribution of each clip of the whole validation split (clips, classes), to which the temperature
            is fitted, NaN for clips that are left out; None for the labels.
        summary: target and numbers of clips, for results.json; empty for the target acted.
    """

    data: SplitData
    distributions: np.ndarray | None = None
    calibration: np.ndarray | None = None
    summary: dict[str, Any] = field(default_factory=dict)


class VoteLoss(NumberedLoss):
    """Cross entropy with the distribution of votes, or the Kullback-Leibler divergence from it.

    They differ by the entropy of the votes, which does not depend on the model: the gradients are equal, and the
    divergence is 0 if the model's probabilities equal the shares of the votes.

    Args:
        distributions: of each training clip (clips, classes).
        kl: whether to subtract the entropy.
        label_smoothing: share of each distribution that is spread evenly over the classes.
    """

    numbers = "clips"  # the input of a batch with the numbers of its clips

    def __init__(self, distributions: np.ndarray, *, kl: bool = False, label_smoothing: float = 0.0) -> None:
        smooth = (1 - label_smoothing) * distributions + label_smoothing / distributions.shape[1]
        self.targets, self.kl = torch.from_numpy(smooth).float(), kl

    def _loss(
        self, logits: torch.Tensor, labels: torch.Tensor, numbers: torch.Tensor, count: torch.Tensor | int
    ) -> torch.Tensor:
        targets = self.targets[numbers.cpu()].to(logits.device)
        loss = functional.cross_entropy(logits.float(), targets, reduction="sum")
        if self.kl:
            loss = loss + torch.special.xlogy(targets, targets).sum()
        return loss / count


def choose_targets(data: SplitData, args: "SerTrainingArguments") -> Targets:
    """Replace labels by what `target` asks for.

    Clips of corpora without votes keep their label. Of the others, clips with fewer than `min_raters` raters are left
    out. The target majority also leaves out clips without a single most frequent class; the target votes keeps them.
    Validation clips always have the majority, by which the checkpoint is selected.

    Raises:
        ConfigError: streaming, or no training or validation clip with votes is left.
    """
    if args.target in (ACTED, DIMENSIONS):
        return Targets(data)
    if data.stream is not None:
        raise ConfigError(f"target is {args.target} and streaming is true; streaming does not support it. Remove one.")
    voted = {
        corpus
        for split in ("train", "validation")
        for corpus, votes in zip(data.splits[split]["corpus"], votes_of_split(data.splits[split]), strict=True)
        if votes
    }
    parts = {split: _Part.of(data.splits[split], data.labels, voted, args.min_raters) for split in data.splits}
    train, validation = parts["train"], parts["validation"]
    rows = np.flatnonzero(train.has_majority if args.target == MAJORITY else train.usable)
    chosen = np.flatnonzero(validation.has_majority)
    for split, part, kept in (("train", train, rows), ("validation", validation, chosen)):
        if not (part.voted & np.isin(np.arange(len(part.voted)), kept)).any():
            raise ConfigError(
                f"target is {args.target}, and no {split} clip has votes of at least {args.min_raters} raters; "
                "expected a dataset that was prepared with --crema_d_votes FILE, or with a column votes."
            )
    splits = data.splits | {
        "train": with_labels(data.splits["train"].select(rows), train.labels[rows].tolist(), data.labels),
        "validation": with_labels(
            data.splits["validation"].select(chosen), validation.labels[chosen].tolist(), data.labels
        ),
    }
    shares = train.distributions[rows] if args.target == VOTES else None
    fitted = validation.distributions if args.target == VOTES else validation.one_hot
    summary = {"target": args.target, "min_raters": args.min_raters, "train_clips_used": len(rows)}
    summary |= train.counts_of_clips()
    if args.target == VOTES:
        summary["vote_loss"] = args.vote_loss
    return Targets(replace(data, splits=splits), shares, fitted, summary)


def vote_loss(args: "SerTrainingArguments", targets: Targets) -> VoteLoss | None:
    """Make the loss of the target votes; None for other targets."""
    if targets.distributions is None:
        return None
    return VoteLoss(targets.distributions, kl=args.vote_loss == "kl", label_smoothing=args.label_smoothing)


@dataclass(frozen=True)
class _Part:
    """A split: its labels and votes, and which clips a target can use; all (clips,) but counts (clips, classes)."""

    acted: np.ndarray
    counts: np.ndarray
    won: np.ndarray  # class id of the majority, or TIED
    in_voted_corpus: np.ndarray
    voted: np.ndarray  # with enough raters

    @classmethod
    def of(cls, part: "datasets.Dataset", labels: tuple[str, ...], voted: set[str], min_raters: int) -> "_Part":
        from hf_ser.metrics.emotion_votes import majority  # here: it imports evaluate

        counts = vote_counts(votes_of_split(part), labels)
        return cls(
            np.asarray(part["label"], dtype=np.int64),
            counts,
            majority(counts),
            np.asarray([corpus in voted for corpus in part["corpus"]], dtype=bool),
            counts.sum(axis=1) >= min_raters,
        )

    @property
    def usable(self) -> np.ndarray:
        return self.voted | ~self.in_voted_corpus

    @property
    def has_majority(self) -> np.ndarray:
        return (self.voted & (self.won >= 0)) | ~self.in_voted_corpus

    @property
    def labels(self) -> np.ndarray:
        """The majority, or for ties the first of the most frequent classes; the label of corpora without votes."""
        return np.where(self.in_voted_corpus, self.counts.argmax(axis=1), self.acted)

    @property
    def one_hot(self) -> np.ndarray:
        """Distributions with one class; NaN without a majority."""
        return np.where(self.has_majority[:, None], np.eye(self.counts.shape[1])[self.labels], np.nan)

    @property
    def distributions(self) -> np.ndarray:
        """Shares of the votes; NaN for clips with too few raters."""
        shares = self.counts / np.maximum(self.counts.sum(axis=1, keepdims=True), 1)
        own = np.where(self.in_voted_corpus[:, None], shares, np.eye(shares.shape[1])[self.acted])
        return np.where(self.usable[:, None], own, np.nan)

    def counts_of_clips(self) -> dict[str, int]:
        """Training clips by what their votes allow."""
        few = self.in_voted_corpus & ~self.voted
        return {
            "clips_with_votes": int((self.in_voted_corpus & self.voted).sum()),
            "ties": int((self.in_voted_corpus & self.voted & (self.won < 0)).sum()),
            "too_few_raters": int(few.sum()),
            "clips_of_corpora_without_votes": int((~self.in_voted_corpus).sum()),
        }
