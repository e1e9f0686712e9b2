"""Normalisation by test speaker: what it changes, what it refuses, and that it is a protocol of its own."""

import numpy as np
import pytest

from hf_ser.arguments import ConfigError
from hf_ser.data import DataArguments
from hf_ser.evaluation import EvaluateArguments, evaluate
from hf_ser.reporting.comparison import group, load_runs
from hf_ser.scoring import Predictions, PredictionsError, read_predictions, softmax
from hf_ser.scoring.predictions import write_predictions
from hf_ser.scoring.transductive import TRANSDUCTIVE, normalize_by_speaker, transductive_protocol


def biased(per_class: int = 10) -> Predictions:
    """Two speakers whose logits point to the right class, but are shifted towards another one by speaker."""
    rng = np.random.default_rng(0)
    label_ids = np.tile(np.repeat([0, 1], per_class), 2)
    speakers = np.repeat(["c_a", "c_b"], 2 * per_class).tolist()
    logits = 2.0 * np.eye(2)[label_ids] + rng.normal(0, 0.1, (len(label_ids), 2))
    logits += np.where(np.asarray(speakers)[:, None] == "c_a", [[3.0, 0.0]], [[0.0, 3.0]])
    clips = {
        "id": [f"c/{n}" for n in range(len(label_ids))],
        "corpus": ["c"] * len(label_ids),
        "speaker": speakers,
        "gender": ["female"] * len(label_ids),
        "intensity": [None] * len(label_ids),
        "label": label_ids.tolist(),
    }
    return Predictions(clips, softmax(logits), ("happy", "sad"))


def test_a_shift_by_speaker_is_removed():
    before, after = biased(), normalize_by_speaker(biased())
    assert (before.predicted == before.label_ids).mean() == 0.5  # each speaker gets one class only
    assert (after.predicted == after.label_ids).all()
    assert np.allclose(after.probabilities.sum(axis=1), 1)
    assert after.clips == before.clips


def test_no_label_is_used():
    flipped = biased()
    flipped = Predictions(
        {**flipped.clips, "label": (1 - flipped.label_ids).tolist()}, flipped.probabilities, flipped.labels
    )
    assert np.array_equal(normalize_by_speaker(flipped).probabilities, normalize_by_speaker(biased()).probabilities)


def test_speakers_without_spread_are_centred():
    same = biased()
    same = Predictions(same.clips, np.tile([[0.6, 0.4]], (len(same.label_ids), 1)), same.labels)
    assert np.allclose(normalize_by_speaker(same).probabilities, [[0.6, 0.4]])


@pytest.mark.parametrize(
    ("rows", "speakers", "message"),
    [
        (slice(None), {0: ""}, "needs the speaker of every clip; 1 of 40 clips have none"),
        (slice(0, 20), {}, "at least two speakers; got only c_a"),
        (slice(0, 21), {}, "at least two clips of every speaker; got one of c_b"),
    ],
)
def test_clips_that_cannot_be_normalised_are_refused(rows, speakers, message):
    part = biased().select(np.arange(40)[rows])
    names = [speakers.get(place, name) for place, name in enumerate(part.clips["speaker"])]
    part = Predictions({**part.clips, "speaker": names}, part.probabilities, part.labels)
    with pytest.raises(PredictionsError, match=message):
        normalize_by_speaker(part)


def test_it_is_a_protocol_of_its_own(tmp_path):
    table = tmp_path / "table.parquet"
    write_predictions(table, biased())
    made = {}
    for name, on in (("plain", False), ("transductive", True)):
        args = EvaluateArguments(
            str(tmp_path / name), predictions=str(table), figures=False, transductive_speaker_normalization=on
        )
        made[name] = evaluate(args, DataArguments())
    assert made["transductive"]["protocol"]["name"] == f"all_clips+{TRANSDUCTIVE}"
    assert any(note.startswith("transductive: ") for note in made["transductive"]["protocol"]["notes"])
    assert made["plain"]["splits"]["all"]["scores"]["uar"] == 0.5
    assert made["transductive"]["splits"]["all"]["scores"]["uar"] == 1.0
    assert (read_predictions(tmp_path / "transductive" / "predictions.parquet").predicted == biased().label_ids).all()
    assert "transductive-speaker-normalization" in (tmp_path / "transductive" / "report.md").read_text(
        encoding="utf-8"
    )
    ranked = group(load_runs([tmp_path / "plain", tmp_path / "transductive"]))
    assert sorted(len(runs) for runs in ranked.values()) == [1, 1]


def test_the_hash_changes_with_it():
    plain = {"name": "emobox", "fold": 1, "folds": None, "seed": 0, "hash": "ab" * 32, "notes": ["a note"]}
    made = transductive_protocol(plain)
    assert made["hash"] not in (None, plain["hash"]) and made["notes"][0] == "a note" and plain["notes"] == ["a note"]
    assert transductive_protocol({**plain, "hash": "cd" * 32})["hash"] != made["hash"]


def test_it_is_refused_beside_calibrate_and_cross_validation(tmp_path):
    with pytest.raises(ConfigError, match="calibrate and transductive_speaker_normalization are both given"):
        EvaluateArguments(str(tmp_path), model="m", calibrate=True, transductive_speaker_normalization=True)
    with pytest.raises(ConfigError, match="transductive_speaker_normalization together with model_recipe"):
        EvaluateArguments(str(tmp_path), transductive_speaker_normalization=True).refuse_model_options()
