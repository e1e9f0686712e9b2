"""Stacks of generated probabilities with known structure, from fitting to the folder."""

import csv
import logging
from dataclasses import replace
from pathlib import Path

import lightgbm
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from hf_ser.data import Assignment, DataArguments, SplitData, load_splits
from hf_ser.data.splits_file import read_assignment, read_hashes
from hf_ser.hybrids import meta_learners
from hf_ser.hybrids.base_models import StackError
from hf_ser.hybrids.fitting import fit_hybrid
from hf_ser.hybrids.folds import inner_folds, known_classes
from hf_ser.hybrids.hybrid_arguments import HybridArguments
from hf_ser.labels import EMOTIONS
from hf_ser.remote_code.reading_ahead import computing_threads
from hf_ser.scoring import read_predictions, read_results

LABELS = ("neutral", "happy", "sad", "angry")
CLIPS = {"train": 160, "validation": 240, "test": 240}
FAST = {"learning_rate": 0.1, "early_stopping_rounds": 20, "num_leaves": 4, "min_child_samples": 5, "calibrate": False}
TEXT = ("id", "corpus", "speaker", "gender", "intensity", "sha256")


def make_data(labels_of=None, protocol="random", speakers=6, clips=CLIPS):
    """Splits without audio: alternating classes, and different speakers in every split."""
    splits, given = {}, {}
    for split, count in clips.items():
        truth = [labels_of(split, row) if labels_of else row % 4 for row in range(count)]
        columns = {
            "id": [f"c/{split}_{row:03}" for row in range(count)],
            "corpus": ["c"] * count,
            "speaker": [f"c_{split}_{row // 4 % speakers}" for row in range(count)],
            "gender": ["female"] * count,
            "intensity": [None] * count,
            "sha256": [f"{split}_{row}" for row in range(count)],
            "label": truth,
        }
        features = {name: Value("string") for name in TEXT} | {"label": ClassLabel(names=list(LABELS))}
        splits[split] = Dataset.from_dict(columns, Features(features))
        given |= dict.fromkeys(columns["id"], split)
    return SplitData(
        splits, LABELS, Assignment(protocol, None, 0, (0.5, 0.25, 0.25), given), (), args=DataArguments("d")
    )


def half_right(truth, knows, rng):
    """Probabilities mostly correct for known classes, and random but confident between the other two."""
    others = [label for label in range(4) if label not in knows]
    rows = rng.dirichlet(np.full(4, 0.5), len(truth)) * 0.2
    for row, label in enumerate(truth):
        if label in knows:
            said = label if rng.random() < 0.9 else rng.integers(4)
            rows[row, said] += rng.uniform(0.4, 0.6)
        else:
            rows[row, rng.choice(others)] += rng.uniform(1.5, 2.5)
    return rows / rows.sum(axis=1, keepdims=True)


@pytest.fixture
def world(tmp_path):
    """Data, and tables of three base models: a for neutral and happy, b for sad and angry, and noise."""

    class World:
        data = make_data()
        number = 0

        def table(self, name, make, splits=None, order=None):
            parts = self.data.splits.values()
            clips = [pair for part in parts for pair in zip(part["id"], part["label"], strict=True)]
            values = make(np.asarray([label for _, label in clips]))
            rows = np.arange(len(clips)) if order is None else order(len(clips))
            folder = tmp_path / f"{name}_{self.number}"
            World.number += 1
            folder.mkdir()
            columns = {"id": [clips[row][0] for row in rows]}
            columns |= {f"p_{label}": values[rows, k] for k, label in enumerate(LABELS)}
            pq.write_table(pa.table(columns), folder / "p.parquet")
            given = self.data.assignment.splits if splits is None else splits
            lines = [f"{clip},{split}" for clip, split in given.items()]
            (folder / "splits.csv").write_text("\n".join(["id,split", *lines, ""]))
            return f"{name}={folder}/p.parquet"

        def a(self, **options):
            return self.table("a", lambda truth: half_right(truth, (0, 1), np.random.default_rng(1)), **options)

        def b(self, **options):
            return self.table("b", lambda truth: half_right(truth, (2, 3), np.random.default_rng(2)), **options)

        def noise(self):
            return self.table("noise", lambda truth: np.random.default_rng(3).dirichlet(np.ones(4), len(truth)))

        def fit(self, *tables, **fields):
            World.number += 1
            folder = tmp_path / f"stack_{self.number}"
            args = HybridArguments(str(folder), predictions=list(tables), figures=False, **(FAST | fields))
            return folder, fit_hybrid(self.data, args, "stack")

        def uar(self, *tables, **fields):
            return self.fit(*tables, **fields)[1]["splits"]["test"]["scores"]["uar"]

    return World()


@pytest.mark.parametrize("meta", ["lightgbm", "logistic"])
def test_it_beats_its_bases_and_their_mean_and_noise_does_no_harm(world, meta):
    a, b, noise = world.a(), world.b(), world.noise()
    alone = max(world.uar(base, meta="mean") for base in (a, b))
    mean, stack = world.uar(a, b, meta="mean"), world.uar(a, b, meta=meta)
    assert stack > max(alone, mean) + 0.1
    assert world.uar(a, b, noise, meta=meta) > stack - 0.04


@pytest.mark.parametrize("meta", ["lightgbm", "logistic"])
def test_on_several_corpora_the_mean_over_them_selects(world, meta):
    """In validation, every clip is scored by a model of an inner fold, by which the setting was selected."""
    splits = {
        name: part.remove_columns("corpus").add_column("corpus", ["c"] * (len(part) - 40) + ["d"] * 40)
        for name, part in world.data.splits.items()
    }
    world.data = replace(world.data, splits=splits)
    _, results = world.fit(world.a(), world.b(), meta=meta)
    assert results["training"]["best_metric"] == "uar_by_corpus"
    mean = results["splits"]["validation"]["by_corpus"]["scores"]["uar"]
    assert results["training"]["best_value"] == pytest.approx(mean)


def test_a_mean_is_the_mean(world):
    a, b = world.a(), world.b()
    folder, results = world.fit(a, b, meta="mean")
    tables = [world.fit(base, meta="mean")[0] for base in (a, b)]
    parts = [read_predictions(table / "predictions_test.parquet").probabilities for table in tables]
    found = read_predictions(folder / "predictions_test.parquet").probabilities
    np.testing.assert_allclose(found, np.mean(parts, axis=0), atol=1e-12)
    training = results["training"]
    assert training["inner_folds"] is None and training["fitted_parameters"] == 0
    assert results["parameters"] is None  # unknown for tables
    assert not (folder / "booster.txt").exists()


def test_a_pool_weighs_bases_by_what_they_know(world):
    a, b, noise = world.a(), world.b(), world.noise()
    _, results = world.fit(a, noise, b, meta="pool")
    weights = results["training"]["weights"]
    assert weights[1] < 0.2 < min(weights[0], weights[2]) and results["training"]["fitted_parameters"] == 3
    assert results["training"]["inner_folds"] == 5
    log_loss = results["splits"]["test"]["scores"]["log_loss"]
    for base in (a, b):  # calibrated, as the pool calibrates itself
        assert log_loss < world.fit(base, meta="mean", calibrate=True)[1]["splits"]["test"]["scores"]["log_loss"]


def test_a_pools_weights_are_those_that_made_the_labels():
    rng = np.random.default_rng(0)
    features = rng.dirichlet(np.ones(4), (6000, 2)).reshape(6000, 8)
    scores = np.log(features).reshape(6000, 2, 4)
    truth = (1.5 * scores[:, 0] + 0.25 * scores[:, 1] + rng.gumbel(size=(6000, 4))).argmax(axis=1)
    folds = [folds_of(np.arange(6000) % 2 == 0), folds_of(np.arange(6000) % 2 == 1)]
    fitted = meta_learners.fit_pool(features, truth, 4, folds)
    np.testing.assert_allclose(fitted.training["weights"], [1.5, 0.25], atol=0.1)
    powers = features[:, :4] ** fitted.training["weights"][0] * features[:, 4:] ** fitted.training["weights"][1]
    np.testing.assert_allclose(fitted.predict(features), powers / powers.sum(axis=1, keepdims=True), atol=1e-4)
    # Of one base, the weight is what calibrates it: one over the temperature.
    assert meta_learners.fit_pool(features[:, :4], truth, 4, folds).training["weights"][0] == pytest.approx(
        1.4, abs=0.2
    )


def folds_of(held_out):
    return meta_learners.Fold(np.flatnonzero(~held_out), np.flatnonzero(held_out))


def test_the_folder_is_a_whole_run(world):
    folder, results = world.fit(world.a(), world.b())
    assert read_results(folder) == results
    names = {"recipe.yaml", "booster.txt", "importances.csv", "predictions_test.parquet"}
    names |= {"predictions_validation.parquet", "report.md", "results.json", "splits.csv"}
    assert {path.name for path in folder.iterdir()} == names
    training = results["training"]
    assert training["meta"] == "lightgbm" and training["fit_on"] == "validation" and training["inner_folds"] == 5
    digest = world.data.assignment.hash
    assert training["bases"] == [{"name": "a", "splits_hash": digest}, {"name": "b", "splits_hash": digest}]
    booster = lightgbm.Booster(model_file=folder / "booster.txt")
    assert booster.num_trees() == 4 * training["trees_per_class"]
    assert booster.feature_name()[:2] == ["a.neutral", "a.happy"]
    assert "a model that was not fitted on it" in (folder / "report.md").read_text()
    # Fitting clips count as training clips in later evaluations and stacks.
    splits = read_assignment(folder / "splits.csv")
    assert set(splits.values()) == {"train", "test"}
    assert {clip for clip, split in splits.items() if split == "test"} == set(world.data.splits["test"]["id"])


def test_what_its_bases_were_trained_on_elsewhere_counts_as_its_training(world):
    splits = world.data.assignment.splits
    a, b = world.a(splits=splits | {"x/1": "train", "x/2": "validation"}), world.b()
    path = Path(a.partition("=")[2]).with_name("splits.csv")
    lines = [f"{clip},{split},{'ff' if clip == 'x/1' else ''}" for clip, split in read_assignment(path).items()]
    path.write_text("\n".join(["id,split,sha256", *lines, ""]))
    folder, results = world.fit(a, b)
    whole = read_assignment(folder / "splits.csv")
    assert whole.keys() == splits.keys() | {"x/1"} and whole["x/1"] == "train"
    assert read_hashes(folder / "splits.csv") == world.data.hashes | {"x/1": "ff"}
    named = [note for note in results["protocol"]["notes"] if "by name only" in note]
    assert [note.split()[2] for note in named] == ["a", "b"]


def test_the_stored_booster_gives_the_test_predictions(world):
    a, b = world.a(), world.b()
    folder, _ = world.fit(a, b)
    bases = [pq.read_table(table.partition("=")[2]).to_pydict() for table in (a, b)]
    ids = list(world.data.splits["test"]["id"])
    rows = [bases[0]["id"].index(clip) for clip in ids]
    columns = np.column_stack([np.asarray(base[f"p_{label}"])[rows] for base in bases for label in LABELS])
    stored = read_predictions(folder / "predictions_test.parquet")
    assert stored.clips["id"] == ids
    answers = lightgbm.Booster(model_file=folder / "booster.txt").predict(columns)
    np.testing.assert_allclose(stored.probabilities, answers, atol=1e-9)


@pytest.mark.parametrize("meta", ["lightgbm", "logistic", "pool"])
def test_no_validation_clip_is_scored_by_a_model_that_saw_it(world, monkeypatch, meta):
    """Fitted and predicted rows are compared by value, as rows differ between clips."""
    seen, asked = {}, []

    def keys(rows):
        return {row.tobytes() for row in np.asarray(rows)}

    if meta == "lightgbm":
        grow, predict = meta_learners._grower, lightgbm.Booster.predict

        def growing(*rest):
            booster = grow(*rest)
            seen[id(booster)] = (booster, keys(booster.train_set.get_data()))
            return booster

        def predicting(self, rows, **options):
            asked.append((seen.get(id(self), (None, None))[1], keys(rows)))
            return predict(self, rows, **options)

        monkeypatch.setattr(meta_learners, "_grower", growing)
        monkeypatch.setattr(lightgbm.Booster, "predict", predicting)
        monkeypatch.setattr(lightgbm.Dataset, "__init__", _keep_raw(lightgbm.Dataset.__init__))
    elif meta == "pool":
        pooled, latest = meta_learners._pooled, [None]

        def weighing(rows, truth):
            latest[0] = keys(rows) if len(rows) < CLIPS["validation"] else None
            return np.ones(rows.shape[1])

        def pooling(rows, weights):
            asked.append((latest[0], keys(rows)))
            return pooled(rows, weights)

        monkeypatch.setattr(meta_learners, "_pool_weights", weighing)
        monkeypatch.setattr(meta_learners, "_pooled", pooling)
    else:
        regress, pad = meta_learners.regression, meta_learners.class_probabilities

        def regressing(rows, *rest):
            model = regress(rows, *rest)
            seen[id(model)] = (model, keys(rows) if len(rows) < CLIPS["validation"] else None)
            return model

        def padding(model, rows, *rest):
            asked.append((seen[id(model)][1], keys(rows)))
            return pad(model, rows, *rest)

        monkeypatch.setattr(meta_learners, "regression", regressing)
        monkeypatch.setattr(meta_learners, "class_probabilities", padding)
    world.fit(world.a(), world.b(), meta=meta)
    inner = [(fitted, held) for fitted, held in asked if fitted is not None]
    assert len(set().union(*(held for _, held in inner))) == CLIPS["validation"]
    for fitted, held in inner:
        assert len(fitted) + len(held) == CLIPS["validation"] and not fitted & held


def _keep_raw(init):
    def initialise(self, *rest, **options):
        init(self, *rest, **(options | {"free_raw_data": False}))

    return initialise


def test_the_order_of_tables_and_the_machine_do_not_matter(world):
    first, _ = world.fit(world.a(), world.b())
    shuffled = np.random.default_rng(5).permutation
    again, _ = world.fit(world.a(order=shuffled), world.b(order=shuffled))
    assert (first / "booster.txt").read_text() == (again / "booster.txt").read_text()
    for split in ("validation", "test"):
        one, two = (read_predictions(folder / f"predictions_{split}.parquet") for folder in (first, again))
        assert one.clips == two.clips
        np.testing.assert_array_equal(one.probabilities, two.probabilities)


def test_validation_is_the_default_of_a_stack(world):
    a, b = world.a(), world.b()
    folders = [world.fit(a, b, fit_on=fit_on)[0] for fit_on in (None, "validation")]
    assert len({(folder / "booster.txt").read_bytes() for folder in folders}) == 1
    assert len({(folder / "predictions_test.parquet").read_bytes() for folder in folders}) == 1


def test_sampling_follows_the_seed():
    rng = np.random.default_rng(0)
    features, truth = rng.random((80, 8)), np.arange(80) % 4
    texts = []
    for seed in (0, 0, 1):
        args = HybridArguments("out", predictions=["a=b"], subsample=0.5, colsample_bytree=0.5, seed=seed, **FAST)
        booster = meta_learners._classifier(args, 4, 3).fit(features, truth).booster_
        texts.append(booster.model_to_string().partition("parameters:")[0])
    assert texts[0] == texts[1] != texts[2]


def test_a_base_that_was_taught_fitting_or_test_clips_is_refused(world):
    splits = dict(world.data.assignment.splits)
    taught = splits | dict.fromkeys(world.data.splits["validation"]["id"][:7], "train")
    with pytest.raises(StackError, match="base b .* was trained on 7 of the 240 fitting clips .*c/validation_000"):
        world.fit(world.a(), world.b(splits=taught))
    taught = splits | {"c/test_009": "validation"}
    for meta in ("lightgbm", "mean"):
        with pytest.raises(StackError, match=r"base a .* was selected on 1 of the 240 test clips \(c/test_009\)"):
            world.fit(world.a(splits=taught), meta=meta)


def test_a_leak_that_is_asked_for_is_marked(world):
    def by_heart(truth):
        rows = half_right(truth, (0, 1), np.random.default_rng(1))
        rows[: CLIPS["train"]] = 0.01 + 0.96 * np.eye(4)[truth[: CLIPS["train"]]]
        return rows

    parrot, b = world.table("parrot", by_heart), world.b()
    folder, results = world.fit(parrot, b, allow_leak=True)
    assert results["training"]["fit_on"] == "train (leaky)" and results["training"]["fit_clips"] == CLIPS["train"]
    assert any(note.startswith("LEAKY, do not report") for note in results["protocol"]["notes"])
    assert "LEAKY, do not report" in (folder / "report.md").read_text()
    honest = world.uar(parrot, b)
    assert results["splits"]["test"]["scores"]["uar"] < honest - 0.1


def test_a_class_that_the_fitting_split_lacks_is_named(world):
    world.data = make_data(lambda split, row: row % 4 if split != "validation" else row % 3)
    with pytest.raises(StackError, match="validation split, which the hybrid is fitted on, has no clips of angry"):
        world.fit(world.a(), world.b())
    assert world.fit(world.a(), world.b(), meta="mean")[1]["splits"]["test"]["clips"] == CLIPS["test"]


def test_classes_that_nobody_was_taught_get_nothing(world):
    world.data = make_data(lambda split, row: row % 4 if split == "test" else row % 3)
    folder, _ = world.fit(world.a(), world.b())
    stored = read_predictions(folder / "predictions_test.parquet")
    assert stored.labels == LABELS and (stored.probabilities[:, 3] == 0).all()


def test_two_classes(world):
    world.data = make_data(lambda split, row: row % 2)
    for meta in ("lightgbm", "logistic"):
        folder, results = world.fit(world.a(), world.b(), meta=meta)
        assert results["splits"]["test"]["labels"] == ["neutral", "happy"]
        assert results["splits"]["test"]["scores"]["uar"] > 0.8


def test_constant_columns_are_told_once(world, caplog):
    flat = world.table("flat", lambda truth: np.full((len(truth), 4), 0.25))
    with caplog.at_level(logging.WARNING):
        world.fit(world.a(), flat)
    (message,) = [record.message for record in caplog.records if "features are constant" in record.message]
    assert message.endswith("flat.neutral, flat.happy, flat.sad, flat.angry") and message.startswith("4 ")
    with pytest.raises(StackError, match="all 4 features are constant over the 240 fitting clips"):
        world.fit(flat)


def test_the_explanations_find_who_knows_what(world):
    folder, _ = world.fit(world.a(), world.b())
    with open(folder / "importances.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["column"] for row in rows] == [f"{base}.{label}" for base in "ab" for label in LABELS]

    def part(base, label):
        return sum(float(row[f"contribution_to_{label}"]) for row in rows if row["base"] == base)

    assert part("b", "sad") > part("a", "sad") and part("a", "happy") > part("b", "happy")
    text = (folder / "report.md").read_text()
    assert (
        "Share of each base model in the predicted class's score" in text
        and "The base models predict different classes for" in text
    )


def test_contributions_add_up_to_the_score():
    rng = np.random.default_rng(0)
    features, truth = rng.random((80, 8)), np.arange(80) % 4
    args = HybridArguments("out", predictions=["a=b"], **FAST)
    booster = meta_learners._classifier(args, 4, 5).fit(features, truth).booster_
    parts = meta_learners.contributions(booster, features, 4).sum(axis=2)
    raw = booster.predict(features, raw_score=True)
    difference = raw - parts  # the same for every clip: what is expected without knowing any column
    np.testing.assert_allclose(difference, np.broadcast_to(difference[0], raw.shape), atol=1e-9)


@pytest.mark.parametrize("protocol", ["speaker_disjoint", "emobox", "leave_one_corpus_out"])
def test_folds_never_share_a_speaker(protocol):
    data = make_data(protocol=protocol)
    split = data.splits["validation"]
    speakers = np.asarray(split["speaker"])
    folds = inner_folds(data, "validation", 5, 0)
    assert sorted(np.concatenate([fold.held_out for fold in folds])) == list(range(len(split)))
    for fold in folds:
        assert not set(speakers[fold.fitted]) & set(speakers[fold.held_out])


def test_folds_of_the_random_protocol_are_stratified_and_keep_copies_together():
    data = make_data()
    split = data.splits["validation"]
    copies = [f"sound {row // 8 * 4 + row % 4}" for row in range(len(split))]  # of one class, two by two
    split = data.splits["validation"] = split.remove_columns("sha256").add_column("sha256", copies)
    folds = inner_folds(data, "validation", 5, 0)
    assert len(folds) == 5
    for fold in folds:
        assert not {copies[row] for row in fold.fitted} & {copies[row] for row in fold.held_out}
        counts = np.bincount(np.asarray(split["label"])[fold.held_out], minlength=4)
        assert counts.max() - counts.min() <= 2


def test_few_speakers_make_fewer_folds_and_one_makes_none(caplog):
    data = make_data(protocol="speaker_disjoint", speakers=3)
    with caplog.at_level(logging.INFO):
        assert len(inner_folds(data, "validation", 5, 0)) == 3
    assert "3 inner folds instead of 5, because there are only 3 speakers" in caplog.text
    data = make_data(protocol="speaker_disjoint", speakers=1)
    with pytest.raises(StackError, match="has 1 speakers under speaker_disjoint; expected at least 2"):
        inner_folds(data, "validation", 5, 0)
    data = make_data(lambda split, row: 3 if row == 0 else row % 3)
    with pytest.raises(StackError, match="has 1 clips of angry under random; expected at least 2"):
        inner_folds(data, "validation", 5, 0)


def test_threads_are_those_given(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert computing_threads() == 3
    for said in ("", "0", "many"):
        monkeypatch.setenv("OMP_NUM_THREADS", said)
        assert computing_threads() >= 1


def test_classes_of_auxiliary_corpora_only_need_no_fitting_clips(dataset_dir):
    data = load_splits(DataArguments(str(dataset_dir), protocol="speaker_disjoint", auxiliary_corpora=["ravdess"]))
    crema_d = sorted({EMOTIONS.index(name) for name in ("neutral", "happy", "sad", "angry", "fearful", "disgust")})
    assert set(data.splits["train"]["label"]) > set(crema_d)
    assert known_classes(data, "validation") == crema_d
