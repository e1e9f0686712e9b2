"""The mean over corpora: each over its own classes, one voice does not decide, and intervals within corpora."""

import numpy as np
import pytest

from hf_ser.data import DataArguments
from hf_ser.evaluation import EvaluateArguments, evaluate
from hf_ser.reporting.comparison import group, load_runs
from hf_ser.reporting.comparison_tables import make_tables
from hf_ser.reporting.paired_tests import paired
from hf_ser.reporting.run_report import summary
from hf_ser.scoring import Predictions, score_split
from hf_ser.scoring.bootstrap import IntervalError
from hf_ser.scoring.corpus_mean import compare_by_corpus, score_by_corpus, uar_by_corpus
from hf_ser.scoring.predictions import write_predictions
from hf_ser.scoring.significance import exchanges

LABELS = ("neutral", "calm", "happy")  # in the order of the package, in which comparisons put classes


def merged(right: dict[str, float], seed: int = 0) -> Predictions:
    """RAVDESS has four speakers and three classes; TESS has one speaker, two classes and most clips."""
    rng = np.random.default_rng(seed)
    rows = [("ravdess", f"ravdess_{who}", label) for who in range(4) for label in (0, 1, 2) for _ in range(10)]
    rows += [("tess", "tess_OAF", label) for label in (0, 2) for _ in range(300)]
    probabilities = np.full((len(rows), 3), 0.1)
    for row, (corpus, _, label) in enumerate(rows):
        hit = rng.random() < right[corpus]
        probabilities[row, label if hit else (label + 1) % 3] = 0.8
    columns = dict(zip(("corpus", "speaker", "label"), map(list, zip(*rows, strict=True)), strict=True))
    clips = {"id": [f"{row[0]}/{n}" for n, row in enumerate(rows)], **columns}
    clips |= {"gender": ["female"] * len(rows), "intensity": [None] * len(rows)}
    return Predictions(clips, probabilities, LABELS)


def test_each_corpus_counts_equally_and_over_its_own_classes():
    found = score_by_corpus([merged({"ravdess": 0.5, "tess": 1.0})])
    assert {name: part["classes"] for name, part in found["corpora"].items()} == {
        "ravdess": ["neutral", "calm", "happy"],
        "tess": ["neutral", "happy"],
    }
    each = [part["uar"] for part in found["corpora"].values()]
    assert found["scores"]["uar"] == pytest.approx(np.mean(each))
    assert each[1] == 1.0 and 0.35 < each[0] < 0.65
    pooled = score_split(merged({"ravdess": 0.5, "tess": 1.0}), files=["x"])
    assert pooled["scores"]["accuracy"] > 0.9 > found["scores"]["accuracy"]  # 600 of 720 clips are of one voice
    assert pooled["by_corpus"]["scores"] == found["scores"]


def test_a_class_that_a_corpus_lacks_is_no_answer_for_it():
    calm = merged({"ravdess": 1.0, "tess": 1.0})
    rows = np.asarray(calm.clips["corpus"]) == "tess"
    values = calm.probabilities.copy()
    values[rows] = np.where(np.eye(3)[calm.label_ids[rows]] == 1, 0.4, 0.1)
    values[rows, 1] = 0.5  # calm is the most probable class, but TESS has none
    found = score_by_corpus([Predictions(calm.clips, values / values.sum(axis=1, keepdims=True), LABELS)])
    assert found["scores"]["uar"] == 1.0


def test_intervals_draw_speakers_within_corpora_and_name_those_with_one():
    found = score_by_corpus([merged({"ravdess": 0.5, "tess": 0.8})])
    low, high = found["intervals"]["uar"]
    assert low < found["scores"]["uar"] < high and found["fixed"] == ["tess"]
    single = merged({"ravdess": 0.5, "tess": 0.8})
    one = Predictions({**single.clips, "speaker": single.clips["corpus"]}, single.probabilities, LABELS)
    assert score_by_corpus([one])["intervals"]["uar"] is None


def test_seeds_are_averaged():
    runs = [merged({"ravdess": 0.5, "tess": 0.9}, seed) for seed in (0, 1)]
    means = [score_by_corpus([run])["scores"]["uar"] for run in runs]
    assert score_by_corpus(runs)["scores"]["uar"] == pytest.approx(np.mean(means))


def test_one_corpus_has_none():
    alone = merged({"ravdess": 0.5, "tess": 0.9}).where("corpus", "ravdess")
    assert score_by_corpus([alone]) is None and "by_corpus" not in score_split(alone, files=["x"])


def test_the_validation_score_is_the_same_number():
    predictions = merged({"ravdess": 0.4, "tess": 0.7})
    value = uar_by_corpus(predictions.label_ids, predictions.probabilities, predictions.clips["corpus"])
    assert value == pytest.approx(score_by_corpus([predictions])["scores"]["uar"])
    assert value == pytest.approx(
        uar_by_corpus(predictions.label_ids, np.log(predictions.probabilities), predictions.clips["corpus"])
    )


def test_paired_tests_are_of_the_mean_over_corpora_and_seeds():
    runs = {right: [merged({"ravdess": right, "tess": 1.3 - right}, seed) for seed in (0, 1)] for right in (0.5, 0.6)}
    tested = compare_by_corpus(*runs.values())
    for name in ("uar", "accuracy"):
        of_a, of_b = (score_by_corpus(tables)["scores"][name] for tables in runs.values())
        assert tested[name]["difference"] == pytest.approx(of_a - of_b)
    same = compare_by_corpus(runs[0.5], runs[0.5])["uar"]
    assert (same["permutation_p"], same["interval"], same["significant"]) == (1.0, [0.0, 0.0], False)


def test_the_paired_bootstrap_draws_the_speakers_of_the_headline_interval():
    """Without a wrong answer of B, the difference is that of A's headline and 1 in every draw."""
    a, b = merged({"ravdess": 0.5, "tess": 0.8}), merged({"ravdess": 1.0, "tess": 1.0})
    tested = compare_by_corpus([a], [b])["uar"]
    low, high = score_by_corpus([a])["intervals"]["uar"]
    assert tested["interval"] == pytest.approx([low - 1, high - 1])
    assert low < high and tested["units"] == 4  # four speakers of RAVDESS; that of TESS is in every draw
    assert tested["standard_error"] > 0 and tested["significant"]


def test_the_permutation_test_exchanges_the_speakers_of_all_corpora():
    a, b = merged({"ravdess": 0.7, "tess": 0.5}, 0), merged({"ravdess": 0.5, "tess": 0.55}, 1)
    names = np.unique(a.clips["speaker"])

    def difference(exchanged):
        rows = np.isin(a.clips["speaker"], names[exchanged])[:, None]
        sides = (np.where(rows, one.probabilities, other.probabilities) for one, other in ((b, a), (a, b)))
        of_a, of_b = (score_by_corpus([Predictions(a.clips, side, LABELS)])["scores"]["uar"] for side in sides)
        return of_a - of_b

    every = np.array([difference(row) for row in exchanges(len(names))])
    expected = np.mean(np.abs(every) >= abs(difference(np.zeros(len(names), dtype=bool))) - 1e-12)
    assert len(every) == 32 and 0.05 < expected < 1
    assert compare_by_corpus([a], [b])["uar"]["permutation_p"] == pytest.approx(expected)


def test_corpora_with_one_speaker_each_cannot_be_tested():
    single = merged({"ravdess": 0.5, "tess": 0.8})
    one = Predictions({**single.clips, "speaker": single.clips["corpus"]}, single.probabilities, LABELS)
    with pytest.raises(IntervalError, match="one speaker in each part"):
        compare_by_corpus([one], [one])


def test_it_is_the_headline_of_summary_report_and_ranking(tmp_path):
    for name, right in (("voice", {"ravdess": 0.5, "tess": 1.0}), ("both", {"ravdess": 0.9, "tess": 0.9})):
        table = tmp_path / f"table_{name}" / "merged.parquet"
        table.parent.mkdir()
        write_predictions(table, merged(right))
        args = EvaluateArguments(str(tmp_path / name), predictions=str(table), name=name, figures=False)
        results = evaluate(args, DataArguments())
        mean = results["splits"]["all"]["by_corpus"]["scores"]["uar"]
        first = summary(results).splitlines()[0]
        assert first.startswith(f"all clips: mean over 2 corpora, UAR {mean:.3f} [")
        report = (tmp_path / name / "report.md").read_text(encoding="utf-8")
        assert report.index("### Mean over the 2 corpora") < report.index("### All clips together")
        assert "The interval treats tess (one speaker) as given." in report
    ranked = group(load_runs([tmp_path / "voice", tmp_path / "both"]))
    (runs,) = ranked.values()
    assert [run.shown for run in runs] == ["both", "voice"]
    assert runs[0].scores["accuracy"] < runs[1].scores["accuracy"]
    table, _, differences = make_tables(ranked)
    assert table.header[1] == "UAR, mean over corpora"
    assert table.rows[0][1].value == runs[0].by_corpus["scores"]["uar"]
    # Over all clips together, the voice of TESS makes the other model more accurate.
    pooled, mean = (paired(runs[1], runs[0], merged)["accuracy"]["difference"] for merged in (False, None))
    assert pooled > 0.01 and mean < -0.1
    assert differences.caption.startswith("UAR, mean over corpora, minus that of both, the best run.")
    ((name, difference, *_),) = differences.rows
    gap = runs[1].headline(True)[0] - runs[0].headline(True)[0]
    assert name == "voice" and difference == f"{gap:+.3f}".replace("-", "−") and gap < -0.1
