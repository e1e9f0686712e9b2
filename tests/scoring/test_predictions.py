"""The predictions table: what it refuses, its file, and the joining, restricting and concatenating of tables."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_ser.scoring.predictions import (
    CLIP_COLUMNS,
    Predictions,
    PredictionsError,
    concatenate,
    read_predictions,
    restrict,
    softmax,
    write_predictions,
)

LABELS = ("neutral", "happy", "sad")
TABLE = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.25, 0.25, 0.5], [0.5, 0.3, 0.2]])


def clips(count=4, start=0, **changes):
    numbers = range(start, start + count)
    columns = {
        "id": [f"ravdess/{number:03d}" for number in numbers],
        "corpus": ["ravdess"] * count,
        "speaker": [f"ravdess_{number % 2:02d}" for number in numbers],
        "gender": ["female" if number % 2 else "male" for number in numbers],
        "intensity": [None if number % 2 else "strong" for number in numbers],
        "label": [number % 3 for number in numbers],
    }
    return columns | changes


def named(columns, labels=LABELS):
    return columns | {"label": [labels[label] for label in columns["label"]]}


def rows_where(row, count, total=8):
    """A table whose first `count` rows are `row`."""
    table = np.tile([0.6, 0.3, 0.1], (total, 1))
    table[:count] = row
    return table


# --- what is refused --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ([np.nan, 0.5, 0.5], "NaN or infinite"),
        ([np.inf, 0.5, 0.5], "NaN or infinite"),
        ([-np.inf, 0.5, 0.5], "NaN or infinite"),
        ([-0.1, 0.6, 0.5], "negative"),
        ([0.5, 0.5, 0.01], "do not sum to 1"),
        ([0.0, 0.0, 0.0], "do not sum to 1"),
    ],
    ids=["nan", "inf", "minus-inf", "negative", "too-much", "nothing"],
)
@pytest.mark.parametrize("count", [1, 5, 7])
def test_rows_that_are_no_probabilities_are_refused_by_id(row, problem, count):
    with pytest.raises(PredictionsError, match=f"got {count} clips .*{problem}") as error:
        Predictions(clips(8), rows_where(row, count), LABELS)
    shown = re.findall(r"ravdess/\d{3}", str(error.value))
    assert shown == [f"ravdess/{number:03d}" for number in range(min(count, 5))]
    assert ("and 2 more" in str(error.value)) == (count == 7)


@pytest.mark.parametrize("label", [-1, 3, 1.5], ids=["minus-one", "one-too-far", "a-fraction"])
def test_unknown_class_ids_are_refused_by_id(label):
    with pytest.raises(
        PredictionsError, match=r"got 1 clips of an unknown class \(ravdess/002\).*neutral, happy, sad"
    ):
        Predictions(clips(4, label=[0, 1, label, 2]), TABLE, LABELS)


def test_no_clip_is_refused():
    with pytest.raises(PredictionsError, match="got no clip.*split, corpus or channel"):
        Predictions(clips(0), np.zeros((0, 3)), LABELS)


def test_repeated_ids_are_refused_once_each():
    with pytest.raises(PredictionsError, match=r"got 2 repeated clip ids \(a, b\); expected each clip once"):
        Predictions(clips(8, id=list("bababcde")), rows_where([1, 0, 0], 8), LABELS)


@pytest.mark.parametrize("shape", [(3, 3), (5, 3), (4, 2), (4, 4), (4,)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(PredictionsError, match=rf"shape {re.escape(str(shape))}; expected \(4, 3\)"):
        Predictions(clips(), np.full(shape, 1 / 3), LABELS)


def test_rounded_probabilities_pass():
    rounded = np.float32(TABLE).astype(np.float64).round(4)
    assert Predictions(clips(), rounded, LABELS).predicted.tolist() == [0, 1, 2, 0]


# --- parts ------------------------------------------------------------------------------------------------------


def test_select_and_where_keep_clip_and_row_together():
    whole = Predictions(clips(), TABLE, LABELS)
    part = whole.select(np.array([3, 1]))
    assert part.clips["id"] == ["ravdess/003", "ravdess/001"] and part.label_ids.tolist() == [0, 1]
    np.testing.assert_array_equal(part.probabilities, TABLE[[3, 1]])
    assert whole.where("gender", "female").clips["id"] == ["ravdess/001", "ravdess/003"]
    assert whole.where("intensity", None).clips["id"] == ["ravdess/001", "ravdess/003"]
    with pytest.raises(PredictionsError, match="no clip"):
        whole.where("corpus", "tess")


def test_softmax_of_extreme_logits():
    found = softmax(np.array([[1e4, 0.0, -1e4], [-1e4, -1e4, -1e4], [0.0, np.log(3), -np.inf]], dtype=np.float32))
    np.testing.assert_allclose(found, [[1, 0, 0], [1 / 3] * 3, [0.25, 0.75, 0]], atol=1e-7)
    assert found.dtype == np.float64


# --- the file ---------------------------------------------------------------------------------------------------


@pytest.fixture
def table(tmp_path):
    """Write a predictions table; `change` gets its columns."""

    def make(count=4, change=lambda columns: columns, start=0):
        path = tmp_path / "table.parquet"
        probabilities = np.random.default_rng(0).dirichlet([1, 1, 1], count)
        write_predictions(path, Predictions(clips(count, start), probabilities, LABELS))
        pq.write_table(pa.table(change(pq.read_table(path).to_pydict())), path)
        return path, probabilities

    return make


@pytest.mark.parametrize("intensity", [[None, "strong", None, "x"], [None] * 4], ids=["some", "none"])
def test_what_is_written_is_what_is_read(tmp_path, intensity):
    written = Predictions(clips(intensity=intensity), np.random.default_rng(0).dirichlet([1, 1, 1], 4), LABELS)
    write_predictions(tmp_path / "p.parquet", written)
    read = read_predictions(tmp_path / "p.parquet")
    assert {name: list(read.clips[name]) for name in CLIP_COLUMNS} == written.clips
    assert read.labels == LABELS
    np.testing.assert_array_equal(read.probabilities, written.probabilities)
    assert [path.name for path in tmp_path.iterdir()] == ["p.parquet"]
    columns = pq.read_table(tmp_path / "p.parquet").schema
    assert columns.names == [*CLIP_COLUMNS, "p_neutral", "p_happy", "p_sad"]
    assert columns.field("intensity").type == pa.string()


def test_a_failed_write_leaves_the_earlier_table(tmp_path, monkeypatch):
    path = tmp_path / "p.parquet"
    write_predictions(path, Predictions(clips(), TABLE, LABELS))
    before = path.read_bytes()

    def half(_, where):
        where.write_bytes(b"PAR1")
        raise OSError("disk full")

    monkeypatch.setattr(pq, "write_table", half)
    with pytest.raises(OSError, match="disk full"):
        write_predictions(path, Predictions(clips(), TABLE[::-1], LABELS))
    assert path.read_bytes() == before


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]], ids=str)
def test_the_table_is_joined_on_id(table, order):
    path, probabilities = table()
    wanted = {name: [column[row] for row in order] for name, column in named(clips()).items()}
    read = read_predictions(path, wanted)
    np.testing.assert_array_equal(read.probabilities, probabilities[order])
    assert read.clips["id"] == wanted["id"] and [LABELS[label] for label in read.label_ids] == wanted["label"]


def test_id_and_probabilities_are_enough_beside_clips(table):
    kept = {"id", *(f"p_{label}" for label in LABELS)}
    path, probabilities = table(change=lambda columns: {k: v for k, v in columns.items() if k in kept})
    np.testing.assert_array_equal(read_predictions(path, named(clips())).probabilities, probabilities)
    with pytest.raises(PredictionsError, match="expected id, corpus, speaker, gender, label and p_LABEL"):
        read_predictions(path)


def test_intensity_may_be_missing(table):
    path, _ = table(change=lambda columns: {k: v for k, v in columns.items() if k != "intensity"})
    assert read_predictions(path).clips["intensity"] == [None] * 4


def test_columns_may_stand_in_any_order(table):
    path, probabilities = table(change=lambda columns: dict(reversed(columns.items())))
    read = read_predictions(path)
    assert read.labels == LABELS[::-1]
    np.testing.assert_array_equal(read.probabilities, probabilities[:, ::-1])
    assert [read.labels[label] for label in read.label_ids] == ["neutral", "happy", "sad", "neutral"]


def test_missing_predictions_are_refused(table):
    path, _ = table(4)
    with pytest.raises(PredictionsError, match="got 6 clips without a prediction .ravdess/004, .*and 1 more"):
        read_predictions(path, named(clips(10)))


def test_predictions_of_other_clips_are_refused(table):
    path, _ = table(5)
    with pytest.raises(PredictionsError, match=r"got 1 predictions for unknown clips \(ravdess/004\)"):
        read_predictions(path, named(clips(4)))


@pytest.mark.parametrize("joined", [True, False], ids=["joined", "alone"])
def test_repeated_predictions_are_refused(table, joined):
    path, _ = table(4, lambda columns: {name: [*column, column[1]] for name, column in columns.items()})
    with pytest.raises(PredictionsError, match=r"got 1 repeated clip ids \(ravdess/001\)"):
        read_predictions(path, named(clips(4)) if joined else None)


def test_labels_that_differ_are_refused(table):
    path, _ = table(4, lambda columns: columns | {"label": ["neutral", "happy", "happy", "neutral"]})
    with pytest.raises(PredictionsError, match=r"got 1 clips whose label differs from the dataset's \(ravdess/002\)"):
        read_predictions(path, named(clips(4)))


@pytest.mark.parametrize("joined", [True, False], ids=["joined", "alone"])
def test_labels_without_a_column_are_refused(table, joined):
    path, _ = table(4, lambda columns: {k: v for k, v in columns.items() if k != "p_sad"})
    with pytest.raises(
        PredictionsError, match=r"got 1 clips of an unknown class \(ravdess/002\).*neutral, happy, the"
    ):
        read_predictions(path, named(clips(4)) if joined else None)


def test_a_table_without_probabilities_is_refused(table):
    path, _ = table(4, lambda columns: {k: v for k, v in columns.items() if k[:2] != "p_"})
    with pytest.raises(PredictionsError, match="has the columns .*p_LABEL"):
        read_predictions(path, named(clips(4)))


def test_a_null_probability_is_refused(table):
    path, _ = table(4, lambda columns: columns | {"p_sad": [None, *columns["p_sad"][1:]]})
    with pytest.raises(PredictionsError, match=r"got 1 clips with NaN or infinite probabilities \(ravdess/000\)"):
        read_predictions(path)


def test_an_empty_table_is_refused(table):
    path, _ = table(4, lambda columns: {name: pa.array(column, type=None)[:0] for name, column in columns.items()})
    with pytest.raises(PredictionsError, match="got no clip"):
        read_predictions(path)
    with pytest.raises(PredictionsError, match="4 clips without a prediction"):
        read_predictions(path, named(clips()))


@pytest.mark.parametrize("content", [None, b"", b"id,p_happy\na,1\n", "half"], ids=["none", "empty", "csv", "half"])
def test_what_is_no_table_is_refused(tmp_path, table, content):
    path = tmp_path / "other.parquet"
    if content == "half":
        whole = table()[0].read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(PredictionsError, match="other.parquet.*expected a Parquet file of predictions"):
        read_predictions(path)


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(PredictionsError):
        read_predictions(tmp_path)


def test_probabilities_that_are_text_are_refused(table):
    path, _ = table(4, lambda columns: columns | {"p_sad": ["a lot"] * 4})
    with pytest.raises(PredictionsError, match="p_sad"):
        read_predictions(path)


def test_ids_that_are_numbers_are_refused_or_read(table):
    path, _ = table(4, lambda columns: columns | {"id": [1, 2, 3, 3]})
    with pytest.raises(PredictionsError, match="id"):
        read_predictions(path)


# --- restrict ---------------------------------------------------------------------------------------------------


def test_restrict_leaves_out_clips_and_columns():
    whole = Predictions(clips(7), np.random.default_rng(0).dirichlet([1, 1, 1], 7), LABELS)
    part, left_out = restrict(whole, ["sad", "happy", "surprised"])
    assert part.labels == ("happy", "sad")  # the order of the columns, not that of the request
    assert left_out == {"neutral": 3}
    assert part.clips["id"] == [f"ravdess/{number:03d}" for number in (1, 2, 4, 5)]
    assert part.label_ids.tolist() == [0, 1, 0, 1]
    kept = whole.probabilities[[1, 2, 4, 5]][:, 1:]
    np.testing.assert_allclose(part.probabilities, kept / kept.sum(axis=1, keepdims=True), rtol=1e-12)
    assert whole.clips["label"] == [0, 1, 2, 0, 1, 2, 0]  # untouched


def test_restrict_counts_no_class_without_clips():
    whole = Predictions(clips(4, label=[0, 0, 0, 0]), TABLE, LABELS)
    part, left_out = restrict(whole, ["neutral", "happy"])
    assert left_out == {} and len(part.label_ids) == 4 and part.labels == ("neutral", "happy")


@pytest.mark.parametrize("classes", [LABELS, LABELS[::-1], (*LABELS, "calm")], ids=["same", "reversed", "more"])
def test_restrict_to_all_classes_changes_nothing(classes):
    whole = Predictions(clips(), TABLE, LABELS)
    part, left_out = restrict(whole, classes)
    assert part is whole and left_out == {}


@pytest.mark.parametrize("classes", [[], ["calm"], ["sad"]], ids=["none", "unknown", "without-clips"])
def test_restrict_to_no_clip_is_refused(classes):
    whole = Predictions(clips(2), TABLE[:2], LABELS)
    with pytest.raises(
        PredictionsError, match=f"got no clips of {classes[0] if classes == ['sad'] else 'any shared'}"
    ):
        restrict(whole, classes)


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        ([1e-320, 0.0], [0.5, 0.5]),
        ([0.0, 0.0], [0.5, 0.5]),
        ([1e-200, 3e-200], [0.25, 0.75]),
        ([1e-150, 0.0], [1.0, 0.0]),
        ([0.0, 1e-12], [0.0, 1.0]),
    ],
    ids=["subnormal", "zero", "tiny", "tiny-and-zero", "zero-and-small"],
)
def test_rows_whose_kept_classes_are_all_but_impossible_sum_to_1(kept, expected):
    rows = np.array([[1.0, *kept], [0.2, 0.4, 0.4]])
    part, _ = restrict(Predictions(clips(2, label=[1, 2]), rows, LABELS), ["happy", "sad"])
    np.testing.assert_allclose(part.probabilities, [expected, [0.5, 0.5]], atol=1e-12)


four = st.lists(st.floats(1e-9, 1.0), min_size=4, max_size=4)
probabilities_of_4 = four.map(lambda values: np.array(values) / sum(values))


@given(
    rows=st.lists(probabilities_of_4, min_size=1, max_size=6),
    kept=st.sets(st.sampled_from("abcd"), min_size=1),
    labels=st.lists(st.integers(0, 3), min_size=6, max_size=6),
)
def test_restrict_keeps_the_ratios_of_the_kept_classes(rows, kept, labels):
    whole = Predictions(clips(len(rows), label=labels[: len(rows)]), np.stack(rows), tuple("abcd"))
    staying = [row for row, label in enumerate(labels[: len(rows)]) if "abcd"[label] in kept]
    if not staying:
        with pytest.raises(PredictionsError):
            restrict(whole, sorted(kept))
        return
    part, left_out = restrict(whole, sorted(kept))
    columns = ["abcd".index(label) for label in part.labels]
    before, after = whole.probabilities[staying][:, columns], part.probabilities
    np.testing.assert_allclose(after.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(after / after[:, :1], before / before[:, :1], rtol=1e-9)
    assert sum(left_out.values()) + len(staying) == len(rows)
    assert [part.labels[label] for label in part.label_ids] == ["abcd"[labels[row]] for row in staying]


# --- concatenate ------------------------------------------------------------------------------------------------


def test_concatenate_joins_the_clips_of_all_parts():
    one, two = Predictions(clips(2), TABLE[:2], LABELS), Predictions(clips(2, start=2), TABLE[2:], LABELS)
    whole = concatenate([two, one])
    assert whole.clips["id"] == [f"ravdess/{number:03d}" for number in (2, 3, 0, 1)]
    np.testing.assert_array_equal(whole.probabilities, TABLE[[2, 3, 0, 1]])
    assert whole.label_ids.tolist() == [2, 0, 0, 1]


def test_concatenate_refuses_clips_that_stand_twice():
    one, two = Predictions(clips(3), TABLE[:3], LABELS), Predictions(clips(2, start=2), TABLE[2:], LABELS)
    with pytest.raises(PredictionsError, match=r"got 1 repeated clip ids \(ravdess/002\)"):
        concatenate([one, two])


@pytest.mark.parametrize("labels", [LABELS[::-1], ("neutral", "happy", "angry")], ids=["another-order", "another"])
def test_concatenate_refuses_other_classes(labels):
    one, two = Predictions(clips(2), TABLE[:2], LABELS), Predictions(clips(2, start=2), TABLE[2:], labels)
    with pytest.raises(PredictionsError, match="expected the same classes in all parts"):
        concatenate([one, two])
    with pytest.raises(PredictionsError):
        concatenate([])
