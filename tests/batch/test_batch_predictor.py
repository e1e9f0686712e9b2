"""BatchPredictor: a function of a table for engines, with the answers of `hf-ser predict`."""

import pickle

import pandas as pd
import pyarrow as pa
import pytest
from batch_tools import read, same_rows

from hf_ser.batch import BatchError, BatchPredictor, batch_predictor


@pytest.fixture
def paths(few_recordings):
    (few_recordings / "empty.wav").write_bytes(b"")
    return [*sorted(map(str, few_recordings.iterdir())), str(few_recordings / "missing.wav")]


@pytest.fixture
def expected(predict, paths, tmp_path):
    """The rows that the command writes, without the columns that belong to files and windows."""
    predict(*paths, "--output", tmp_path / "one.parquet")
    others = ("start", "end", "windows", "model", "options")
    return [{key: row[key] for key in row if key not in others} for row in read(tmp_path / "one.parquet")]


def test_tables_mappings_and_frames_get_the_answers_of_the_command(tiny_model, paths, expected):
    predictor = BatchPredictor(str(tiny_model), keep=("id",))
    table = pa.table({"id": range(5), "path": paths, "other": paths})
    answers = predictor(table)
    assert answers.schema == predictor.schema(table.schema) and answers["id"].to_pylist() == [0, 1, 2, 3, 4]
    assert same_rows(answers.drop_columns("id").to_pylist(), expected)
    assert predictor(table.to_pydict()) == answers.to_pydict()
    (frame,) = predictor.frames([table.to_pandas()])
    assert isinstance(frame, pd.DataFrame) and frame["emotion"].tolist()[:3] == answers["emotion"].to_pylist()[:3]
    assert frame["error"].isna().tolist() == [True, True, True, False, False]


def test_bytes_are_named_by_a_column(tiny_model, paths, expected):
    contents = [bytearray(open(path, "rb").read()) for path in paths[:4]]
    predictor = BatchPredictor(str(tiny_model), column="content", name="path")
    answers = predictor({"content": contents, "path": paths[:4]})
    for name in [name for name in answers if name != "error"]:
        assert answers[name] == pytest.approx([row[name] for row in expected[:4]])
    assert [error is None for error in answers["error"]] == [True, True, True, False]


def test_a_pickled_predictor_is_small_and_the_model_is_loaded_once_per_process(tiny_model, paths, monkeypatch):
    loaded, load_model = [], batch_predictor.load_model

    def load(*args):
        loaded.append(args)
        return load_model(*args)

    monkeypatch.setattr(batch_predictor, "load_model", load)
    predictor = BatchPredictor(str(tiny_model), batch_size=3)
    first = predictor({"path": paths})
    content = pickle.dumps(predictor)
    assert len(content) < 1_000
    assert [pickle.loads(content)({"path": paths}) for _ in range(2)] == [first] * 2 and len(loaded) == 1


def test_the_columns_follow_the_threshold_of_the_model(tiny_model):
    assert "abstained" not in BatchPredictor(str(tiny_model)).schema().names
    schema = BatchPredictor(str(tiny_model), abstain="0.5").schema()
    assert schema.field("abstained").type == pa.bool_() and schema.field("p_sad").type == pa.float64()
    row = BatchPredictor(str(tiny_model), abstain="1")({"path": ["missing.wav"]})
    assert list(row) == schema.names and row["abstained"] == [None]


def test_wrong_use_is_one_line(tiny_model):
    with pytest.raises(BatchError, match="got a table with the columns file, id; expected a column path"):
        BatchPredictor(str(tiny_model))({"file": ["a.wav"], "id": [1]})
    with pytest.raises(BatchError, match="--batch_size 0"):
        BatchPredictor(batch_size=0)
