"""What results.json says about votes, in words and tables."""

from collections.abc import Mapping
from typing import Any

from hf_ser import markdown
from hf_ser.results_file import bounds, number

_VOTES = {
    "jensen_shannon": "Jensen-Shannon divergence (bits, lower is better)",
    "kl": "KL divergence from the votes (nats, lower is better)",
    "brier": "Brier score (lower is better)",
    "cosine": "cosine similarity",
    "all_inclusive_f1": "macro F1, all-inclusive rule",
}
_CLASSES = {"accuracy": "accuracy", "uar": "UAR", "f1_weighted": "weighted F1", "f1_macro": "macro F1"}
_MAJORITY = _CLASSES | {"top_2": "top-2 accuracy", "top_3": "top-3 accuracy"}


def votes_section(votes: Mapping[str, Any] | None) -> list[str]:
    """The section of a report on one split; empty for clips without votes."""
    if not votes:
        return []
    model, rater = votes["model"], votes["rater"]
    chance = votes["chance"]
    header = ("score", "model", "one rater against the others", "one answer for all clips")
    against_votes = [
        (title, *(_cell(of.get(name)) for of in (model["votes"], rater["votes"], chance["votes"])))
        for name, title in _VOTES.items()
    ]
    against_majority = [
        (title, *(_cell(of.get(name)) for of in (model["majority"], rater["majority"], chance["majority"])))
        for name, title in _MAJORITY.items()
    ]
    against_acted = [
        (title, *(_cell(of.get(name)) for of in (model["acted"], rater["acted"], votes["majority"]["acted"])))
        for name, title in _CLASSES.items()
    ]
    agreed = [
        (f"{100 * row['threshold']:.0f} %", row["clips"], _cell(row["majority"]), _cell(row["acted"]))
        for row in votes["by_agreement"]
    ]
    return [
        "### Votes of raters",
        _described(votes) + f" Intervals are {'over clips' if votes['method'] == 'plain' else votes['method']}.",
        "Against the distribution of votes, on all of these clips:",
        markdown.table(header, against_votes),
        "Against the majority, on the clips without a tie:",
        markdown.table(header, against_majority),
        "Against the label of the dataset:",
        markdown.table(("score", "model", "one rater", "majority of the raters"), against_acted),
        "Accuracy on clips with at least this agreement (share of the raters who chose the most frequent class):",
        markdown.table(("agreement", "clips", "against the majority", "against the label"), agreed),
    ]


def _described(votes: Mapping[str, Any]) -> str:
    clips, left = votes["clips"], votes["left_out"]
    said = f"{clips:,} clip{'' if clips == 1 else 's'} with votes of {votes['raters']:.1f} raters on average"
    said += f" ({left:,} without, or with fewer than {votes['min_raters']})" if left else ""
    return (
        f"{said}; {number(votes['agreement'])} of a clip's raters chose its most frequent class. {votes['ties']:,} "
        "clips have several most frequent classes."
    )


def votes_text(split: str, votes: Mapping[str, Any]) -> str:
    """The sentences of a card on one split.

    >>> score = {"value": 0.5, "interval": [0.4, 0.6]}
    >>> votes = {"clips": 90, "ties": 5, "raters": 9.3, "model": {"majority": {"accuracy": score},
    ...          "votes": {"jensen_shannon": score}}, "rater": {"majority": {"accuracy": score}}}
    >>> votes_text("test", votes)[:67]
    'On the 90 clips of test with votes (9.3 raters per clip on average)'
    """
    model, rater = votes["model"], votes["rater"]
    return (
        f"On the {votes['clips']:,} clips of {split} with votes ({votes['raters']:.1f} raters per clip on average), "
        f"the accuracy against the majority of the raters is {_said(model['majority']['accuracy'])}, without "
        f"{votes['ties']:,} tied clips. A single rater agrees with the majority of the others on "
        f"{_said(rater['majority']['accuracy'])}. The Jensen-Shannon divergence of the probabilities from the votes "
        f"is {_said(model['votes']['jensen_shannon'])} bits."
    )


def _said(score: Mapping[str, Any]) -> str:
    ends = bounds(score["interval"])
    return number(score["value"]) + ("" if ends == "-" else f" (95 % interval {ends})")


def _cell(score: Mapping[str, Any] | None) -> str:
    """A score with its interval, or a dash."""
    if score is None or score["value"] is None:
        return "-"
    ends = bounds(score["interval"])
    return number(score["value"]) + ("" if ends == "-" else f" [{ends.replace(' to ', ', ')}]")
