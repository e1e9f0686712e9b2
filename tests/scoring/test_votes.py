"""Votes in the table of predictions, in results.json, in reports and in cards."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from example_results import make_results

from hf_ser.hub.card import render_model_card
from hf_ser.metrics import EmotionVotes
from hf_ser.reporting import CompareArguments, plots, write_run
from hf_ser.reporting.comparison_report import compare_runs
from hf_ser.scoring import Predictions, PredictionsError, read_predictions, restrict, score_split
from hf_ser.scoring.predictions import concatenate, write_predictions
from hf_ser.scoring.vote_scores import describe_votes
from hf_ser.scoring.votes import vote_counts

LABELS = ("angry", "happy", "sad")


def predictions(votes, labels=(0, 1, 2, 0), prefix="a", seed=0):
    """Predictions of clips with these votes; two speakers."""
    size = len(labels)
    clips = {
        "id": [f"{prefix}/{n}" for n in range(size)],
        "corpus": [prefix] * size,
        "speaker": [f"{prefix}_{n % 2}" for n in range(size)],
        "gender": ["female"] * size,
        "intensity": [None] * size,
        "label": list(labels),
    }
    probabilities = np.random.default_rng(seed).dirichlet(np.ones(3), size)
    return Predictions(clips | ({} if votes is None else {"votes": list(votes)}), probabilities, LABELS)


VOTES = [{"angry": 3, "sad": 1}, None, {"sad": 5}, {"happy": 2, "angry": 2}]


def test_votes_are_written_and_read(tmp_path):
    write_predictions(tmp_path / "p.parquet", predictions(VOTES))
    table = pq.read_table(tmp_path / "p.parquet")
    assert table["votes_angry"].to_pylist() == [3, None, 0, 2]
    read = read_predictions(tmp_path / "p.parquet")
    assert vote_counts(read.clips["votes"], LABELS).tolist() == vote_counts(VOTES, LABELS).tolist()
    assert read.clips["votes"][1] is None
    write_predictions(tmp_path / "plain.parquet", predictions(None))
    assert not [name for name in pq.read_table(tmp_path / "plain.parquet").column_names if name.startswith("votes")]
    assert "votes" not in read_predictions(tmp_path / "plain.parquet").clips


def test_other_programs_may_write_missing_votes_as_nan(tmp_path):
    write_predictions(tmp_path / "p.parquet", predictions(VOTES))
    table = pq.read_table(tmp_path / "p.parquet")

    def with_votes(values):
        column = table.column_names.index("votes_sad")
        pq.write_table(table.set_column(column, "votes_sad", pa.array(values)), tmp_path / "q.parquet")
        return read_predictions(tmp_path / "q.parquet").clips["votes"]

    assert with_votes([1.0, float("nan"), 5.0, 0.0]) == EXPECTED
    for bad in (-1.0, 0.5, float("inf")):
        with pytest.raises(PredictionsError, match="got 1 clips with invalid votes .a/0.; expected whole numbers"):
            with_votes([bad, float("nan"), 5.0, 0.0])
    pq.write_table(table.drop_columns(["votes_sad"]), tmp_path / "q.parquet")
    with pytest.raises(PredictionsError, match="has columns of votes, but none for sad"):
        read_predictions(tmp_path / "q.parquet")


EXPECTED = [
    {"angry": 3, "happy": 0, "sad": 1},
    None,
    {"angry": 0, "happy": 0, "sad": 5},
    {"angry": 2, "happy": 2, "sad": 0},
]


def test_joined_and_restricted_predictions_keep_their_votes():
    joined = concatenate([predictions(VOTES), predictions(None, prefix="b")])
    assert joined.clips["votes"] == [*VOTES, *[None] * 4]
    kept, _ = restrict(predictions(VOTES), ("angry", "happy"))
    assert kept.clips["votes"] == [VOTES[0], None, VOTES[3]]


# --- scores in results.json


def many(seed=0, clips=60):
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(8, [0.5, 0.3, 0.2], size=clips)
    votes = [dict(zip(LABELS, map(int, row), strict=True)) for row in counts]
    made = predictions(votes, rng.integers(0, 3, clips).tolist(), seed=seed)
    made.clips["speaker"][:] = [f"a_{n % 6}" for n in range(clips)]
    return made


def test_scores_are_those_of_the_metric_and_lie_in_their_intervals():
    run = many()
    found = score_split(run, files=["p.parquet"])["votes"]
    counts = vote_counts(run.clips["votes"], LABELS)
    metric = EmotionVotes(keep_in_memory=True).compute(
        predictions=run.probabilities, references=counts, acted=run.label_ids
    )
    assert (found["clips"], found["left_out"], found["ties"]) == (60, 0, metric["ties"])
    assert (found["method"], found["clusters"]) == ("clustered on speakers", 6)
    for name in ("jensen_shannon", "kl", "cosine", "brier", "all_inclusive_f1"):
        assert found["model"]["votes"][name]["value"] == pytest.approx(metric[name])
    for name in ("accuracy", "uar", "f1_weighted", "f1_macro"):
        assert found["model"]["majority"][name]["value"] == pytest.approx(metric["majority"][name])
        assert found["rater"]["majority"][name]["value"] == pytest.approx(metric["human"][name])
        assert found["rater"]["acted"][name]["value"] == pytest.approx(metric["human_acted"][name])
    assert found["rater"]["votes"]["brier"]["value"] == pytest.approx(metric["human"]["brier"])
    assert found["model"]["majority"]["top_2"]["value"] == pytest.approx(metric["top_2"])
    assert found["intended_perceived"] == metric["intended_perceived"]
    for row, expected in zip(found["by_agreement"], metric["by_agreement"], strict=True):
        assert row["clips"] == expected["clips"]
        assert row["majority"]["value"] == pytest.approx(expected["accuracy"])
    scores = [score for of in found["model"].values() for score in of.values()]
    assert all(score["interval"][0] <= score["value"] <= score["interval"][1] for score in scores)
    assert score_split(run, files=["p.parquet"])["scores"]["accuracy"] == found["model"]["acted"]["accuracy"]["value"]


def test_several_seeds_are_pooled_and_count_each_clip_once():
    one, other = many(), many()
    other = Predictions(other.clips, np.roll(other.probabilities, 1, axis=1), LABELS)
    alone, both = (describe_votes(runs) for runs in ([one], [one, other]))
    second = describe_votes([other])
    assert (both["clips"], both["ties"]) == (alone["clips"], alone["ties"])
    assert both["intended_perceived"] == alone["intended_perceived"]
    values = [found["model"]["votes"]["kl"]["value"] for found in (alone, second, both)]
    assert values[2] == pytest.approx((values[0] + values[1]) / 2)
    same = describe_votes([one, one])
    for name in ("value", "interval"):
        assert same["model"]["votes"]["brier"][name] == pytest.approx(alone["model"]["votes"]["brier"][name])


def test_clips_without_enough_votes_are_left_out_or_there_is_no_block():
    found = describe_votes([predictions(VOTES)])
    assert (found["clips"], found["left_out"], found["ties"]) == (3, 1, 1)
    assert describe_votes([predictions([{"sad": 2}] * 4)]) is None
    assert "votes" not in score_split(predictions(None), files=["p.parquet"])


def test_a_single_speaker_has_no_intervals_and_unknown_ones_are_clips():
    run = many()
    run.clips["speaker"][:] = ["a_1"] * 60
    assert describe_votes([run])["model"]["votes"]["kl"]["interval"] == [None, None]
    run.clips["speaker"][:] = [""] * 60
    found = describe_votes([run])
    assert (found["method"], found["clusters"]) == ("plain", 60)


def test_the_report_and_its_figures_have_the_votes(tmp_path):
    run = many()
    scored = score_split(run, files=["p.parquet"])
    write_run(tmp_path, make_results({"test": scored}), {"test": [run]}, figures=False)  # follows the schema
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    shown = scored["votes"]["rater"]["majority"]["accuracy"]["value"]
    assert "### Votes of raters" in text
    assert f"{shown:.3f} [" in text and "Against the distribution of votes, on all of these clips" in text
    drawn = plots.draw_votes(tmp_path / "figures", "test", scored, "tiny model")
    assert set(drawn) == {"intended_perceived_test", "agreement_test"}
    assert all((tmp_path / "figures" / f"{name}.png").stat().st_size > 5000 for name in drawn)
    assert plots.draw_votes(tmp_path / "figures", "test", {"votes": None}, "") == {}


def test_a_comparison_has_a_table_of_votes(tmp_path):
    for name, run in (("one", many()), ("other", many(seed=0))):
        scored = score_split(run, files=["p.parquet"])
        write_run(tmp_path / name, make_results({"test": scored}, name=name), {"test": [run]}, figures=False)
    text, _ = compare_runs(CompareArguments([str(tmp_path / "one"), str(tmp_path / "other")], figures=False))
    table = text[text.index("### Votes of raters: ") :]
    shown = scored["votes"]["rater"]["majority"]["uar"]["value"]
    assert "60 clips with votes of 8.0 raters on average" in table
    assert re.search(rf"one rater against the others +\| [^|]+\| {shown:.3f} ", table)
    plain = score_split(predictions(None), files=["p.parquet"])
    write_run(tmp_path / "plain", make_results({"test": plain}), {"test": [predictions(None)]}, figures=False)
    assert "Votes" not in compare_runs(CompareArguments([str(tmp_path / "plain")], figures=False))[0]


def test_the_card_describes_votes_and_target():
    scored = score_split(many(), files=["p.parquet"])
    settings = {"target": "majority", "min_raters": 3, "train_clips_used": 50, "clips_with_votes": 59}
    counts = {"ties": 7, "too_few_raters": 1, "clips_of_corpora_without_votes": 0}
    results = make_results({"test": scored})
    plain = render_model_card(results)
    results["training"] |= settings | counts
    card = render_model_card(results)
    assert f"A single rater agrees with the majority of the others on {_three(scored)}" in card
    assert (
        "It learned the majority of the raters' votes on 50 training clips (7 with a tie and 1 with fewer than 3"
        in card
    )
    assert "It learned" not in plain and "![Agreement test](figures/agreement_test.png)" in card


def _three(scored):
    return f"{scored['votes']['rater']['majority']['accuracy']['value']:.3f}"
