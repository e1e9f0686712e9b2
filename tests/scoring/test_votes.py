"""Votes in the table of predictions."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hf_ser.scoring import Predictions, PredictionsError, read_predictions, restrict
from hf_ser.scoring.predictions import concatenate, write_predictions
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
