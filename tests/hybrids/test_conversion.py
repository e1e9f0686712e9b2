import subprocess
import sys

import hypothesis
import hypothesis.strategies as st
import lightgbm
import numpy as np
import pytest
import torch
from sklearn.ensemble import ExtraTreesClassifier, GradientBoostingClassifier, RandomForestClassifier

from hf_ser.hybrids import ConversionError, from_forest, from_lightgbm, read_booster

LABELS = ["neutral", "happy", "sad", "angry", "fearful"]


def table(rng, samples, features, ties=False, absent=0.0):
    """Features (samples, features), with a constant column, perhaps few distinct values, and perhaps NaN."""
    values = rng.normal(size=(samples, features))
    if ties:
        values = np.round(values)
    values[:, -1] = 1.0
    values[rng.random(values.shape) < absent] = np.nan
    return values


def probes(rng, data, thresholds, features, infinite=True):
    """Rows to classify: NaN, infinities, zeros, tiny numbers, and thresholds with their neighbours."""
    thresholds = thresholds[np.isfinite(thresholds) | infinite]
    special = [np.nan, 0.0, -0.0, 1e-36, -1e-35, float(np.float32(1e-35)), 2e-35, 1e30, -1e30]
    special += [np.inf, -np.inf] if infinite else []
    pool = [*special, *thresholds, *np.nextafter(thresholds, np.inf), *np.nextafter(thresholds, -np.inf)]
    return np.concatenate(
        [data[:20], rng.choice(np.asarray(pool), size=(100, features)), np.full((1, features), np.nan)]
    )


def assert_equal(model, expected, rows):
    """Compare in one batch, in small batches, and on no rows."""
    whole = model(torch.from_numpy(rows))
    assert whole.dtype == torch.float64
    np.testing.assert_allclose(whole.numpy(), expected, rtol=0, atol=1e-6)
    for size in (1, 3):
        np.testing.assert_allclose(model(torch.from_numpy(rows[:size])).numpy(), expected[:size], rtol=0, atol=1e-6)
    assert model(torch.from_numpy(rows[:0])).shape == (0, expected.shape[1])


def fit(seed=0, classes=3, samples=200, features=4, rounds=4, ties=False, absent=0.0, **options):
    rng = np.random.default_rng(seed)
    data = table(rng, samples, features, ties, absent)
    truth = np.concatenate([np.arange(classes), rng.integers(0, classes, samples - classes)])
    data[:, 0] += truth
    objective = {"objective": "binary"} if classes == 2 else {"objective": "multiclass", "num_class": classes}
    options = {"verbose": -1, "min_data_in_leaf": 3, "num_threads": 1, "num_leaves": 8, **objective, **options}
    return lightgbm.train(options, lightgbm.Dataset(data, truth), rounds), data, rng


def by_libraries(booster, rows):
    expected = booster.predict(rows, num_threads=1)
    return np.stack([1 - expected, expected], axis=1) if expected.ndim == 1 else expected


@hypothesis.settings(max_examples=30)
@hypothesis.given(
    seed=st.integers(0, 999),
    classes=st.integers(2, 5),
    samples=st.sampled_from([8, 60, 200]),
    ties=st.booleans(),
    absent=st.sampled_from([0.0, 0.2]),
    options=st.fixed_dictionaries(
        {
            "num_leaves": st.sampled_from([2, 7, 31, 70]),
            "max_depth": st.sampled_from([-1, 2]),
            "zero_as_missing": st.booleans(),
            "use_missing": st.booleans(),
            "learning_rate": st.sampled_from([0.02, 0.3]),
        }
    ),
)
def test_boosters_stay_as_they_are(seed, classes, samples, ties, absent, options):
    booster, data, rng = fit(seed, classes, samples, ties=ties, absent=absent, **options)
    model = from_lightgbm(booster, LABELS[:classes])
    rows = probes(rng, data, model.tables().thresholds, data.shape[1])
    assert_equal(model, by_libraries(booster, rows), rows)


@pytest.mark.parametrize(
    "options",
    [
        {"boosting": "dart"},
        {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6},
        {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6, "classes": 2},
        {"classes": 2, "sigmoid": 2.5},
        {"classes": 2, "is_unbalance": True},
        {"boost_from_average": False},
    ],
)
def test_other_kinds_of_booster_stay_as_they_are(options):
    booster, data, rng = fit(rounds=6, **options)
    model = from_lightgbm(booster, LABELS[: options.get("classes", 3)])
    rows = probes(rng, data, model.tables().thresholds, data.shape[1])
    assert_equal(model, by_libraries(booster, rows), rows)


@hypothesis.settings(max_examples=25)
@hypothesis.given(
    seed=st.integers(0, 999),
    ids=st.sampled_from([[0, 1], [0, 1, 2], [0, 2, 4], [3], [1, 2, 3, 4]]),
    samples=st.sampled_from([6, 60, 400]),
    ties=st.booleans(),
    absent=st.sampled_from([0.0, 0.2]),
    kind=st.sampled_from([RandomForestClassifier, ExtraTreesClassifier]),
    options=st.fixed_dictionaries({"max_depth": st.sampled_from([None, 1, 4]), "bootstrap": st.booleans()}),
)
def test_forests_stay_as_they_are(seed, ids, samples, ties, absent, kind, options):
    rng = np.random.default_rng(seed)
    data, truth = table(rng, samples, 4, ties, absent), rng.choice(ids, samples)
    forest = kind(6, random_state=seed, **options).fit(data, truth)
    model = from_forest(forest, LABELS)
    rows = probes(rng, data, model.tables().thresholds if model.config.num_nodes else np.zeros(1), 4, infinite=False)
    expected = np.zeros((len(rows), len(LABELS)))
    expected[:, forest.classes_] = forest.predict_proba(rows)
    assert_equal(model, expected, rows)


def test_portions_of_the_batch_change_nothing(monkeypatch):
    from hf_ser.remote_code import tree_inference

    booster, data, rng = fit(rounds=20, samples=400)
    monkeypatch.setattr(tree_inference, "_PATHS", 64)
    model = from_lightgbm(booster, LABELS[:3])
    assert_equal(model, by_libraries(booster, data), data)


def test_only_the_best_iterations_are_kept():
    booster, data, _ = fit(rounds=10)
    every = from_lightgbm(booster, LABELS[:3])
    booster.best_iteration = 4
    model = from_lightgbm(booster, LABELS[:3])
    assert (model.config.num_trees, every.config.num_trees) == (12, 30)
    assert_equal(model, by_libraries(booster, data), data)


def test_names_travel():
    booster, data, _ = fit()
    config = from_lightgbm(booster, LABELS[:3]).config
    assert config.id2label == dict(enumerate(LABELS[:3])) and config.label2id["sad"] == 2
    assert config.feature_names == ["Column_0", "Column_1", "Column_2", "Column_3"]
    assert from_lightgbm(booster, LABELS[:3], list("wxyz")).config.feature_names == list("wxyz")
    with pytest.raises(ConversionError, match="got 3 names for a booster with 4 features"):
        from_lightgbm(booster, LABELS[:3], list("xyz"))
    with pytest.raises(ConversionError, match="3 classes"):
        from_lightgbm(booster, LABELS)


def test_what_cannot_be_converted_is_refused():
    booster, data, rng = fit(linear_tree=True, rounds=2)
    with pytest.raises(ConversionError, match="linear trees"):
        from_lightgbm(booster, LABELS[:3])
    codes = rng.integers(0, 6, (200, 2))
    options = {"objective": "binary", "verbose": -1, "min_data_per_group": 1, "cat_smooth": 0, "max_cat_to_onehot": 1}
    booster = lightgbm.train(options, lightgbm.Dataset(codes, codes[:, 0] % 2, categorical_feature=[0]), 2)
    with pytest.raises(ConversionError, match="categorical"):
        from_lightgbm(booster, LABELS[:2])
    for objective in ("regression", "multiclassova"):
        options = {"objective": objective, "verbose": -1, "num_class": 3 if objective == "multiclassova" else 1}
        booster = lightgbm.train(options, lightgbm.Dataset(data, np.arange(200) % 3), 2)
        with pytest.raises(ConversionError, match=f"got objective {objective}"):
            from_lightgbm(booster, LABELS[:3])
    with pytest.raises(ConversionError, match="expected a fitted RandomForestClassifier"):
        from_forest(GradientBoostingClassifier(), LABELS)
    with pytest.raises(ConversionError, match="expected a fitted RandomForestClassifier"):
        from_forest(RandomForestClassifier(), LABELS)
    with pytest.raises(ConversionError, match="expected label ids from 0 to 4"):
        from_forest(RandomForestClassifier(2).fit(data, np.arange(200) % 7), LABELS)
    with pytest.raises(ConversionError, match="expected label ids"):
        from_forest(RandomForestClassifier(2).fit(data, np.resize(["happy", "sad"], 200)), LABELS)


def test_a_whole_booster_is_read(tmp_path):
    booster, data, _ = fit()
    booster.save_model(tmp_path / "booster.txt")
    np.testing.assert_array_equal(read_booster(tmp_path / "booster.txt").predict(data), booster.predict(data))


def test_a_booster_cut_anywhere_is_refused(tmp_path):
    booster, _, rng = fit(rounds=3)
    whole, path = booster.model_to_string().encode(), tmp_path / "booster.txt"
    # What is left off after the last figure of pandas_categorical is white space.
    for size in [0, 1, 5, *rng.integers(0, len(whole.rstrip()), 400), len(whole.rstrip()) - 1]:
        if whole[:size].rstrip().endswith(b"end of parameters"):
            continue
        path.write_bytes(whole[:size])
        with pytest.raises(ConversionError, match="booster"):
            read_booster(path)


def test_a_damaged_booster_is_refused(tmp_path):
    booster, _, _ = fit(rounds=1)
    lines = booster.model_to_string().split("\n")
    place = next(number for number, line in enumerate(lines) if line.startswith("leaf_value="))
    lines[place] = "leaf_value=" + "inf".ljust(lines[place].index(" ") - 11) + lines[place][lines[place].index(" ") :]
    (tmp_path / "booster.txt").write_text("\n".join(lines))
    with pytest.raises(ConversionError, match="leaf values: got inf"):
        from_lightgbm(read_booster(tmp_path / "booster.txt"), LABELS[:3])


def test_what_is_no_booster_is_refused(tmp_path):
    with pytest.raises(ConversionError, match="cannot be read as text"):
        read_booster(tmp_path / "absent.txt")
    for content in (b"", b"\xff\xfe\x00", b"tree\n", b"{}", b"tree\ntree_sizes=3\n\nTree=0\n"):
        (tmp_path / "booster.txt").write_bytes(content)
        with pytest.raises(ConversionError):
            read_booster(tmp_path / "booster.txt")


def test_a_fresh_process_needs_neither_the_libraries_nor_this_package(tmp_path):
    booster, data, _ = fit(absent=0.1)
    from_lightgbm(booster, LABELS[:3]).save_pretrained(tmp_path / "booster")
    truth = np.arange(len(data)) % 3
    forest = RandomForestClassifier(5, random_state=0).fit(data, truth)
    from_forest(forest, LABELS[:3]).save_pretrained(tmp_path / "forest")
    np.save(tmp_path / "data.npy", data)
    child = """
import sys

class Without:  # a finder that knows everything but these
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, *args):
        return None if name.split(".")[0] in ("hf_ser", "lightgbm", "sklearn") else self.finder.find_spec(name, *args)

    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
import numpy as np, torch
from transformers import AutoModel
for absent in ("hf_ser", "lightgbm", "sklearn"):
    try:
        __import__(absent)
    except ImportError:
        continue
    raise AssertionError(absent)
for kind in ("booster", "forest"):
    model = AutoModel.from_pretrained(kind, trust_remote_code=True)
    np.save(kind + ".npy", model(torch.from_numpy(np.load("data.npy"))).numpy())
assert not {"hf_ser", "lightgbm", "sklearn"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", child], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.load(tmp_path / "booster.npy"), booster.predict(data), rtol=0, atol=1e-6)
    np.testing.assert_allclose(np.load(tmp_path / "forest.npy"), forest.predict_proba(data), rtol=0, atol=1e-6)
