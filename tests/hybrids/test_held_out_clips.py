"""What selects trees, penalty or forest: the loss or F1 on one corpus, the mean UAR over several."""

from types import SimpleNamespace

import numpy as np
import pytest

from hf_ser.hybrids import deep_features, meta_learners, random_forest, stacking
from hf_ser.hybrids.folds import Fold
from hf_ser.hybrids.held_out_clips import HeldOutClips, log_loss, mean_loss
from hf_ser.hybrids.hybrid_arguments import HybridArguments
from hf_ser.scoring import score
from hf_ser.scoring.corpus_mean import uar_by_corpus

FAST = {"learning_rate": 0.2, "early_stopping_rounds": 10, "num_leaves": 4, "min_child_samples": 5, "max_trees": 60}
NAMES = [f"column_{place}" for place in range(4)]
CLIPS = 120


def arguments(**fields):
    return HybridArguments("out", kind="stacking", bases=["a"], **(FAST | fields))


@pytest.fixture(scope="module")
def clips():
    """Probabilities of 120 clips; "large" has 100 that the features tell apart, "small" has 20 under other rules."""
    rng = np.random.default_rng(0)
    truth = np.arange(CLIPS) % 4
    corpora = ["large"] * 100 + ["small"] * 20
    said = np.where(np.asarray(corpora) == "large", truth, (truth + 1) % 4)
    features = rng.dirichlet(np.full(4, 0.6), CLIPS) * 0.55 + np.eye(4)[said] * 0.45
    return features, truth, corpora


@pytest.fixture(scope="module")
def folds():
    order = np.random.default_rng(1).permutation(CLIPS)
    return [Fold(np.setdiff1d(order, part), np.sort(part)) for part in np.array_split(order, 3)]


def test_one_corpus_has_the_mean_loss_and_several_their_mean_uar(clips, folds):
    features, truth, corpora = clips
    for one in ([], ["large"] * CLIPS):
        deciding = HeldOutClips(truth, one, folds)
        assert deciding.cost(features) == mean_loss(features, truth, folds)
        assert deciding.described(-0.5) == {}
    deciding = HeldOutClips(truth, corpora, folds)
    assert deciding.cost(features) == pytest.approx(-uar_by_corpus(truth, features, corpora))
    assert deciding.described(-0.5) == {"best_metric": "uar_by_corpus", "best_value": 0.5}
    # Corpora of clips that no fold holds out play no part.
    held_out = [Fold(np.arange(100, CLIPS), np.arange(100))]
    assert HeldOutClips(truth, corpora, held_out).cost(features) == log_loss(features[:100], truth[:100])


def test_inner_folds_select_the_number_of_trees(clips, folds):
    features, truth, corpora = clips
    args = arguments()
    fitted = meta_learners.fit_lightgbm(features, truth, 4, NAMES, folds, args, corpora)
    grown = [meta_learners._grower(features, truth, 4, NAMES, args, fold) for fold in folds]
    values, losses = [], []
    for trees in range(1, 31):
        rows = np.zeros((CLIPS, 4))
        for booster, fold in zip(grown, folds, strict=True):
            booster.update()
            rows[fold.held_out] = booster.predict(features[fold.held_out], num_iteration=trees)
        values.append(uar_by_corpus(truth, rows, corpora))
        losses.append(mean_loss(rows, truth, folds))
    best = fitted.training["trees_per_class"]
    assert best + FAST["early_stopping_rounds"] <= 30 and best == int(np.argmax(values)) + 1
    assert best != int(np.argmin(losses)) + 1
    assert fitted.training["best_value"] == pytest.approx(max(values))
    assert fitted.training["best_value"] == pytest.approx(uar_by_corpus(truth, fitted.held_out, corpora))
    assert fitted.training["inner_log_loss"] == pytest.approx(losses[best - 1])


def test_validation_stops_the_booster(clips):
    features, truth, corpora = clips
    fit, decide = np.arange(0, CLIPS, 2), np.arange(1, CLIPS, 2)
    labels = truth.copy()
    labels[decide] = (truth[decide] - 1) % 4  # 0 and 2, which every second clip has
    own = [corpora[row] for row in decide]
    parts = (features[fit], truth[fit] // 2), (features[decide], labels[decide] // 2)
    fitted = meta_learners.fit_early_stopped(*parts, 2, NAMES, arguments(), own)
    whole = meta_learners._classifier(arguments(), 2, 40).fit(*parts[0]).booster_
    rows = [whole.predict(features[decide], num_iteration=trees) for trees in range(1, 41)]
    values = [uar_by_corpus(parts[1][1], each, own) for each in rows]
    best = fitted.training["trees_per_class"]
    assert best == fitted.booster.best_iteration == int(np.argmax(values)) + 1
    assert fitted.training["best_metric"] == "uar_by_corpus"
    assert fitted.training["best_value"] == pytest.approx(max(values))
    np.testing.assert_allclose(fitted.held_out, rows[best - 1], atol=1e-12)


def test_inner_folds_select_the_penalty(clips, folds):
    features, truth, corpora = clips
    args = arguments(penalties=[1e-5, 10.0])
    alone = {
        penalty: meta_learners.fit_logistic(features, truth, 4, folds, arguments(penalties=[penalty])).held_out
        for penalty in args.penalties
    }
    values = {penalty: uar_by_corpus(truth, rows, corpora) for penalty, rows in alone.items()}
    losses = {penalty: mean_loss(rows, truth, folds) for penalty, rows in alone.items()}
    merged = meta_learners.fit_logistic(features, truth, 4, folds, args, corpora=corpora)
    assert merged.training["C"] == max(values, key=values.get) != min(losses, key=losses.get)
    assert merged.training["best_value"] == pytest.approx(max(values.values()))
    single = meta_learners.fit_logistic(features, truth, 4, folds, args, corpora=["large"] * CLIPS)
    assert single.training["C"] == min(losses, key=losses.get) and "best_metric" not in single.training


def splits_of(clips, **corpora):
    _, truth, own = clips
    return {
        split: {"label": truth, "corpus": corpora.get(split, own), "speaker": own} for split in ("train", "validation")
    }


@pytest.mark.parametrize("corpora", [["large"] * 100 + ["small"] * 20, ["large"] * CLIPS], ids=["several", "one"])
def test_kinds_of_hybrids_pass_the_corpora_of_the_deciding_clips(clips, corpora):
    """Those of the training clips, which are of several corpora here, do not matter."""
    features, _, own = clips
    data = SimpleNamespace(splits=splits_of(clips, train=own, validation=corpora))
    by_split, classes = {"train": features, "validation": features[::-1].copy()}, [0, 1, 2, 3]
    found = [
        stacking._fit_out_of_fold(data, by_split, classes, NAMES, arguments(fit_on="out_of_fold", meta=meta)).training
        for meta in ("lightgbm", "logistic")
    ]
    deep = HybridArguments("out", kind="deep_features", bases=["a"], fit_on="train", **FAST)
    found.append(deep_features._fit(data, by_split, classes, NAMES, deep)[0].training)
    expected = "uar_by_corpus" if len(set(corpora)) > 1 else None
    assert [training.get("best_metric") for training in found] == [expected] * 3


@pytest.mark.parametrize("corpora", [["large"] * 100 + ["small"] * 20, ["large"] * CLIPS], ids=["several", "one"])
def test_validation_selects_the_forest(clips, corpora):
    features, truth, _ = clips
    data = SimpleNamespace(splits=splits_of(clips, validation=corpora), labels=tuple("abcd"))
    by_split = {"train": features, "validation": np.roll(features, 4, axis=0)}
    options = {"kind": "random_forest", "n_estimators": 10, "max_features": [0.5]}
    values = {}
    for leaf in (1, 30):
        args = HybridArguments("out", min_samples_leaf=[leaf], **options)
        forest, chosen = random_forest._choose(data, by_split, args)
        rows = forest.predict_proba(by_split["validation"])
        several = len(set(corpora)) > 1
        value = uar_by_corpus(truth, rows, corpora) if several else score(truth, rows, list("abcd"))["f1_weighted"]
        assert chosen["best_metric"] == ("uar_by_corpus" if several else "f1_weighted")
        assert chosen["best_value"] == pytest.approx(value)
        values[leaf] = value
    _, chosen = random_forest._choose(data, by_split, HybridArguments("out", min_samples_leaf=[1, 30], **options))
    assert values[1] != values[30] and chosen["min_samples_leaf"] == max(values, key=values.get)
