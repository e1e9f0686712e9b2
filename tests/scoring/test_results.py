import json

import jsonschema
import numpy as np
import pytest
from example_results import make_results

from hf_ser import results_file
from hf_ser.reporting.run_report import write_run
from hf_ser.scoring import Predictions, ResultsError, read_results, score_split, write_json
from hf_ser.scoring.results import check_results

LABELS = ("sad", "happy", "angry")
CLIPS = {
    "id": ["a/1", "a/2", "b/1", "b/2"],
    "corpus": ["a", "a", "b", "b"],
    "speaker": ["a_1", "a_2", "b_1", "b_1"],
    "gender": ["female", "male", "male", "male"],
    "intensity": ["normal", "strong", None, None],
    "label": [0, 1, 2, 2],
}
PROBABILITIES = np.array([[0.8, 0.1, 0.1], [0.2, 0.5, 0.3], [0.1, 0.2, 0.7], [0.6, 0.2, 0.2]])
PREDICTIONS = Predictions(CLIPS, PROBABILITIES, LABELS)


def _results(**splits):
    return make_results(splits, dataset={"train_classes": ["sad", "happy"]}, protocol={"notes": ["a note"]})


def test_scores_of_a_split():
    scored = score_split(PREDICTIONS, files=["p.parquet"])
    assert scored["clips"] == 4 and scored["speakers"] == 3 and scored["predictions"] == ["p.parquet"]
    assert scored["scores"]["accuracy"] == 0.75 and scored["std"] is None
    assert scored["confusion"] == [[1, 0, 0], [0, 1, 0], [1, 0, 1]]
    assert scored["per_class"]["angry"]["recall"] == 0.5 and scored["absent"] == []
    assert [interval["method"] for interval in scored["intervals"]] == ["clustered on speakers", "plain"]
    assert [interval["clusters"] for interval in scored["intervals"]] == [3, 4]
    corpora = scored["groups"]["corpus"]["groups"]
    assert corpora["a"]["scores"]["accuracy"] == 1.0 and corpora["a"]["clips"] == 2
    assert corpora["b"]["scores"]["accuracy"] == 0.5 and corpora["b"]["interval"] is None
    assert set(scored["groups"]["intensity"]["groups"]) == {"a/normal", "a/strong"}
    assert scored["chance"]["accuracy_of_the_largest_class"] == 0.5
    assert scored["calibration"]["temperature"] is None and scored["left_out"] == {}


def test_unknown_speakers_are_not_counted_and_intervals_are_over_clips():
    def scored(*speakers):
        return score_split(Predictions(CLIPS | {"speaker": speakers}, PROBABILITIES, LABELS), files=["p.parquet"])

    for missing in ("", None):
        unknown = scored(*[missing] * 4)
        first, plain = unknown["intervals"]
        assert unknown["speakers"] is None and first == plain and (plain["method"], plain["clusters"]) == ("plain", 4)
        group = unknown["groups"]["corpus"]["groups"]["b"]
        assert group["speakers"] is None and group["interval"] is not None  # of two clips
        assert unknown["groups"]["speaker"]["groups"] == {}
        check_results(json.loads(json.dumps(_results(test=unknown))), "results.json")
    some = scored("a_1", "", "b_1", "b_1")
    assert some["speakers"] is None and some["groups"]["corpus"]["groups"]["b"]["speakers"] == 1
    assert [(one["method"], one["clusters"]) for one in some["intervals"]] == [
        ("clustered on speakers", 3),
        ("plain", 4),
    ]


def test_several_seeds_give_means_with_their_standard_deviation():
    other = Predictions(CLIPS, PROBABILITIES[[0, 1, 3, 3]], LABELS)
    one, two = (score_split(predictions, files=["p"])["scores"] for predictions in (PREDICTIONS, other))
    both = score_split([PREDICTIONS, other], files=["p", "q"])
    assert both["clips"] == 4 and both["speakers"] == 3
    for name in ("accuracy", "uar", "f1_weighted", "log_loss"):
        assert both["scores"][name] == pytest.approx((one[name] + two[name]) / 2)
        assert both["std"][name] == pytest.approx(abs(one[name] - two[name]) / np.sqrt(2))
    assert np.sum(both["confusion"]) == 8
    same = score_split([PREDICTIONS, PREDICTIONS], files=["p", "q"])
    single = score_split(PREDICTIONS, files=["p"])
    assert same["std"]["uar"] == 0 and same["intervals"][:2] == single["intervals"]
    assert [one["method"] for one in same["intervals"]][2:] == ["clustered on speakers and seeds"]
    assert same["clips_hash"] == single["clips_hash"]


def test_a_run_is_written_whole_and_read_back(tmp_path):
    results = _results(test=score_split(PREDICTIONS, files=["predictions_test.parquet"], temperature=1.5))
    write_run(tmp_path, results, {"test": [PREDICTIONS]})
    assert read_results(tmp_path) == results
    report = (tmp_path / "report.md").read_text()
    for text in ("a note", "| UAR ", "0.833", "clustered on speakers", "temperature 1.500", "Worst: b", "| happy "):
        assert text in report
    for line in report.splitlines():
        if line.startswith("!["):
            assert (tmp_path / line.partition("](")[2].rstrip(")")).is_file()
    assert not list(tmp_path.glob("*.part"))


def test_the_schema_is_one_and_refuses_what_does_not_follow_it(tmp_path):
    jsonschema.Draft202012Validator.check_schema(json.loads(results_file._SCHEMA.read_text()))
    good = _results(test=score_split(PREDICTIONS, files=["p"]))
    check_results(good, "r")
    for place, change in (
        ("splits/test/scores", lambda results: results["splits"]["test"]["scores"].pop("uar")),
        ("splits/test/scores/accuracy", lambda results: results["splits"]["test"]["scores"].update(accuracy=75)),
        ("schema_version", lambda results: results.update(schema_version=99)),
        ("the top", lambda results: results.pop("protocol")),
        ("the top", lambda results: results.update(extra=1)),
        ("splits/test/clips", lambda results: results["splits"]["test"].update(clips=0)),
    ):
        bad = json.loads(json.dumps(good))
        change(bad)
        with pytest.raises(ResultsError, match=f"does not follow its schema at {place}:"):
            check_results(bad, "r")


@pytest.mark.parametrize(
    ("content", "message"), [(None, "has no results.json"), ("{", "not valid JSON"), ("[]", "schema")]
)
def test_results_that_cannot_be_read_are_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "results.json").write_text(content)
    with pytest.raises(ResultsError, match=message):
        read_results(tmp_path)


def test_json_is_written_in_one_step_and_refuses_nan(tmp_path):
    write_json(tmp_path / "r.json", {"score": 0.5})
    with pytest.raises(ValueError, match="NaN|nan"):
        write_json(tmp_path / "r.json", {"score": float("nan")})
    assert json.loads((tmp_path / "r.json").read_text()) == {"score": 0.5}
