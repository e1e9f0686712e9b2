"""Base models of a stack: their locations, stored probabilities and training clips."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from hf_ser.arguments import ConfigError
from hf_ser.data import DataArguments
from hf_ser.data.seen import Marks
from hf_ser.data.splits import SplitData
from hf_ser.hybrids.base_models import (
    StackError,
    check_leaks,
    name_and_location,
    open_base_models,
    probabilities,
    training_notes,
)
from hf_ser.hybrids.hybrid_arguments import HybridArguments
from hf_ser.scoring.predictions import PredictionsError

LABELS = ("neutral", "happy", "sad")


@pytest.fixture
def split():
    """Twelve clips of three speakers, as a split of a prepared dataset."""
    count = 12
    features = {name: Value("string") for name in ("id", "corpus", "speaker", "gender", "intensity")}
    columns = {
        "id": [f"c/{number:02}" for number in range(count)],
        "corpus": ["c"] * count,
        "speaker": [f"c_{number % 3}" for number in range(count)],
        "gender": ["female"] * count,
        "intensity": [None] * count,
        "label": [number % 3 for number in range(count)],
    }
    return Dataset.from_dict(columns, Features(features | {"label": ClassLabel(names=list(LABELS))}))


@pytest.fixture
def table(tmp_path):
    """Write a table of probabilities, and the split assignment of its model's training next to it."""

    def write(ids, values, labels=LABELS, name="text", splits=None, **more):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        columns = {"id": list(ids), **more} | {f"p_{label}": values[:, k] for k, label in enumerate(labels)}
        pq.write_table(pa.table(columns), folder / "p.parquet")
        if splits is not None:
            lines = [f"{clip},{split}" for clip, split in splits.items()]
            (folder / "splits.csv").write_text("\n".join(["id,split", *lines, ""]))
        return f"{name}={folder}/p.parquet"

    return write


def _rows(count, classes=3, seed=0):
    return np.random.default_rng(seed).dirichlet(np.ones(classes), count)


def _open(tmp_path, data_args=None, **fields):
    args = HybridArguments(str(tmp_path / "out"), **fields)
    return open_base_models(args, data_args or DataArguments()), args


def _ask(tmp_path, split, *tables, classes=(0, 1, 2)):
    bases, args = _open(tmp_path, predictions=list(tables), trust_bases=True)
    data = SplitData({"test": split}, LABELS, None, ())
    return [probabilities(base, data, "test", classes, args) for base in bases]


def test_placeholders_follow_a_cross_validation(tmp_path):
    args = DataArguments(protocol="emobox", fold=3, protocol_seed=2)
    assert name_and_location("runs/a_{protocol}/seed_{protocol_seed}/fold_{fold}", args) == (
        "a_emobox",
        "runs/a_emobox/seed_2/fold_3",
    )
    assert name_and_location("b=x/{fold}.parquet", args) == ("b", "x/3.parquet")
    with pytest.raises(ConfigError, match=r"base a/\{fold\} contains \{fold\}; pass --fold"):
        name_and_location("a/{fold}", DataArguments())
    with pytest.raises(ConfigError, match=r"base \{protocol\} contains \{protocol\}; pass --protocol\."):
        name_and_location("{protocol}", DataArguments())
    with pytest.raises(
        ConfigError, match=r"\{seed\} is not a placeholder; expected one of \{protocol\}, \{protocol_seed\}, \{fold\}"
    ):
        name_and_location("a/{seed}", args)


def test_a_folder_of_folds_is_followed_into_the_fold_that_is_asked_for(tmp_path):
    (tmp_path / "runs/a/seed_0/fold_3").mkdir(parents=True)
    template = f"{tmp_path}/runs/a/seed_{{protocol_seed}}"
    inside = name_and_location(template, DataArguments(protocol="emobox", fold=3))
    assert inside == ("a", f"{tmp_path}/runs/a/seed_0/fold_3")
    assert name_and_location(template, DataArguments(protocol="emobox", fold=2))[1] == f"{tmp_path}/runs/a/seed_0"


def test_names_come_from_the_folders(tmp_path):
    for place in ("runs/cnn/seed_1", "runs/gru/seed_1/fold_2", "mine"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "splits.csv").write_text("id,split\na,train\n")
    places = ["runs/cnn/seed_{protocol_seed}", "runs/gru/seed_1/fold_{fold}", "mine"]
    args = DataArguments(protocol="emobox", fold=2, protocol_seed=1)
    places = [f"{tmp_path}/{place}" for place in places]
    bases, _ = _open(tmp_path, args, bases=[*places, f"an other={places[0]}"])
    assert [base.name for base in bases] == ["cnn", "gru", "mine", "an_other"]
    assert bases[0].splits == {"a": "train"}
    with pytest.raises(ConfigError, match="Several base models have the name mine. Name each of them"):
        _open(tmp_path, args, bases=[places[2], places[2]])


def test_rows_are_joined_on_the_clip_and_others_are_passed_over(tmp_path, split, table):
    values = _rows(14)
    ids = [*split["id"], "c/other", "d/other"]
    shuffled = np.random.default_rng(1).permutation(14)
    expected = values[:12]
    for name, order in (("a", np.arange(14)), ("b", shuffled)):
        (found,) = _ask(tmp_path, split, table([ids[row] for row in order], values[order], name=name))
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_one_name_may_have_several_files(tmp_path, split, table):
    values = _rows(12)
    first = table(split["id"][:5], values[:5], name="a", splits={"c/00": "test", "x": "validation"})
    second = table(split["id"][5:], values[5:], name="b", splits={"c/00": "train"}).replace("b=", "a=", 1)
    np.testing.assert_allclose(_ask(tmp_path, split, first, second)[0], values)
    (base,), _ = _open(tmp_path, predictions=[first, second])
    assert base.splits == {"c/00": "train", "x": "validation"}  # what was trained on anywhere was trained on


def test_classes_that_the_stack_does_not_know_are_left_out(tmp_path, split, table):
    split = split.filter(lambda label: label != 1, input_columns="label")
    values = _rows(len(split))
    whole, some = _ask(
        tmp_path,
        split,
        table(split["id"], values, name="whole"),
        table(split["id"], values[:, [0, 2]] / values[:, [0, 2]].sum(1, keepdims=True), ("neutral", "sad"), "some"),
        classes=(0, 2),
    )
    np.testing.assert_allclose(whole, some, atol=1e-9)
    assert whole.shape == (8, 2)


@pytest.mark.parametrize(
    ("labels", "change", "message"),
    [
        (
            ("happy", "neutral", "sad"),
            {},
            "has the classes happy, neutral, sad; expected neutral, happy, sad, in this",
        ),
        (("neutral", "happy", "bored"), {}, "has the classes neutral, happy, bored; expected neutral, happy, sad"),
        (("neutral", "sad"), {}, "has no column for happy"),
        (LABELS, {"drop": 2}, r"has no probabilities for 2 of 12 clips \(c/10, c/11\), and no model to predict"),
        (LABELS, {"nan": True}, r"got 1 clips with NaN or infinite probabilities \(c/03\)"),
        (LABELS, {"scale": 2.0}, "12 clips whose probabilities do not sum to 1"),
        (LABELS, {"twice": True}, "contains 1 clips twice"),
        (LABELS, {"label": "sad"}, "c/00 has the label sad; expected neutral"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, split, table, labels, change, message):
    values = _rows(12, len(labels)) * change.get("scale", 1)
    ids, more = list(split["id"]), {}
    if change.get("nan"):
        values[3, 1] = np.nan
    if change.get("twice"):
        ids[1] = ids[0]
    if change.get("label"):
        more["label"] = [change["label"]] * 12
    kept = 12 - change.get("drop", 0)
    with pytest.raises((StackError, PredictionsError), match=message):
        _ask(tmp_path, split, table(ids[:kept], values[:kept], labels, **more))


def test_training_clips_of_a_base_are_refused_by_id(tmp_path, split, table):
    ids = split["id"]
    splits = {ids[0]: "train", ids[1]: "train", ids[2]: "validation", ids[3]: "test"}
    (base,), _ = _open(tmp_path, predictions=[table(ids, _rows(12), splits=splits)])
    check_leaks(base, Marks(ids[2:4]), Marks(ids[3:]), False)  # fitted on what validated and tested it
    with pytest.raises(StackError, match=r"base text .* was trained on 2 of the 4 fitting clips \(c/00, c/01\)"):
        check_leaks(base, Marks(ids[:4]), Marks(ids[4:]), False)
    check_leaks(base, Marks(ids[:4]), Marks(ids[4:]), True)
    for allowed in (False, True):  # leaks of test clips are never allowed
        with pytest.raises(StackError, match=r"was trained on 1 of the 11 test clips \(c/01\)"):
            check_leaks(base, Marks(ids[3:4]), Marks(ids[1:]), allowed)
        with pytest.raises(StackError, match=r"was selected on 1 of the 10 test clips \(c/02\)"):
            check_leaks(base, Marks(ids[3:4]), Marks(ids[2:]), allowed)


def test_training_clips_of_a_base_are_refused_under_other_ids(tmp_path, table):
    """Clips are compared by samples, and by the performance that a corpus's file name encodes."""
    place = table(["mine/a", "ravdess/03-01-05-01-02-01-07"], _rows(2), splits={})
    lines = ["id,split,sha256", "mine/a,train,11", "mine/b,validation,22", "ravdess/03-01-05-01-02-01-07,train,", ""]
    (tmp_path / "text" / "splits.csv").write_text("\n".join(lines))
    (base,), _ = _open(tmp_path, predictions=[place])
    other = Marks(["c/x", "c/y"], lambda: ["33", ""])
    check_leaks(base, other, other, False)
    for marks, message in (
        (Marks(["c/x", "c/y"], lambda: ["11", "33"]), r"was trained on 1 of the 2 fitting clips \(c/x is mine/a\)"),
        (Marks(["ravdess/01-01-05-01-02-01-07"]), r"\(ravdess/01-01-\S+ is ravdess/03-01-05-01-02-01-07\)"),
    ):
        with pytest.raises(StackError, match=message):
            check_leaks(base, marks, other, False)
        with pytest.raises(StackError, match="was trained on 1 of the . test clips"):
            check_leaks(base, other, marks, True)
    with pytest.raises(StackError, match=r"was selected on 1 of the 1 test clips \(c/x is mine/b\)"):
        check_leaks(base, other, Marks(["c/x"], lambda: ["22"]), False)


def test_bases_that_were_checked_by_name_are_noted(tmp_path, split, table):
    hashed = split.add_column("sha256", [f"{number:02}" for number in range(len(split))])
    old, new = (table(split["id"], _rows(12), name=name, splits={"a": "train"}) for name in ("old", "new"))
    (tmp_path / "new" / "splits.csv").write_text("id,split,sha256\na,train,ff\n")
    (first, second), _ = _open(tmp_path, predictions=[old, new])
    ours = {
        name: SplitData({"validation": part, "test": part}, LABELS, None, ())
        for name, part in (("with", hashed), ("without", split))
    }
    (note,) = training_notes([first, second], ours["with"], "stack")
    assert note.startswith(
        "whether base old was trained on these clips was checked by name only, because its splits.csv"
    )
    assert [note.split()[2] for note in training_notes([first, second], ours["without"], "stack")] == ["old", "new"]


def test_a_base_that_does_not_tell_its_training_is_refused_unless_trusted(tmp_path, split, table):
    place = table(split["id"], _rows(12))
    (tmp_path / "model").mkdir()
    for fields in ({"predictions": [place]}, {"bases": [str(tmp_path / "model")]}):
        with pytest.raises(StackError, match=r"has no splits.csv, .*--trust_bases true"):
            _open(tmp_path, **fields)
        (base,), _ = _open(tmp_path, **fields, trust_bases=True)
        assert base.splits is None and base.splits_hash is None


def test_places_that_hold_no_base_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="bases is empty"):
        _open(tmp_path)
    with pytest.raises(StackError, match="base cnn: .*/cnn: no such folder"):
        _open(tmp_path, bases=[f"{tmp_path}/cnn"])
    with pytest.raises(StackError, match="base text: .*/t.parquet is not a file"):
        _open(tmp_path, predictions=[f"text={tmp_path}/t.parquet"])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"bases": ["a"], "meta": "xgboost"}, "meta is 'xgboost'; expected one of lightgbm, logistic, pool, mean"),
        (
            {"kind": "stack"},
            r"kind is 'stack'; expected one of stacking, deep_features, .* \(did you mean stacking\?\)",
        ),
        ({"predictions": ["p.parquet"]}, "predictions has 'p.parquet'; expected NAME=FILE.parquet"),
        ({"kind": "random_forest", "predictions": ["a=b"]}, "predictions is for kind stacking only"),
        ({"kind": "deep_features", "allow_leak": True}, "allow_leak is for kind stacking only"),
        ({"bases": ["a"], "layer": 3}, "layer has no effect with kind stacking"),
        ({"kind": "random_forest", "layer": 3}, "layer needs an encoder"),
        ({"bases": ["a"], "precision": "half"}, "precision is 'half'; expected one of auto, bf16, fp16, fp32"),
        ({"bases": ["a"], "precision": "fp16", "device": "cpu"}, "precision fp16: float16 needs a CUDA GPU"),
        ({"kind": "deep_features", "bases": ["a"], "layer": -1}, "layer is -1; expected 0 or more"),
        ({"kind": "deep_features", "fit_on": "test"}, "fit_on is 'test'; expected one of train, validation"),
        ({"bases": ["a"], "meta": "mean", "allow_leak": True}, "allow_leak has no effect with meta mean"),
        ({"bases": ["a"], "inner_folds": 1}, "inner_folds is 1; expected at least 2"),
        ({"bases": ["a"], "learning_rate": 0.0}, "learning_rate is 0.0; expected more than 0"),
        ({"bases": ["a"], "penalties": []}, r"penalties is \[\]; expected at least one positive number"),
        ({"bases": ["a"], "max_features": [2.0]}, "expected fractions of the features, at most 1"),
        ({"kind": "functionals", "bases": ["a"]}, "bases has no effect with kind functionals"),
        ({"kind": "random_forest", "forest": "birch"}, "forest is 'birch'; expected one of random, extra"),
        ({"kind": "random_forest", "feature_sets": ["pitch"]}, "feature_sets is 'pitch'; expected one of published"),
        ({"kind": "random_forest", "feature_sets": []}, r"feature_sets is \[\]; expected one or more different names"),
        (
            {"bases": ["a"], "feature_sets": ["prosodic"]},
            "feature_sets has no effect with base models",
        ),
        ({"bases": ["a"], "device": "abacus"}, "device is 'abacus'"),
    ],
)
def test_bad_arguments(tmp_path, fields, message):
    with pytest.raises(ConfigError, match=message):
        HybridArguments(str(tmp_path / "out"), **fields)
