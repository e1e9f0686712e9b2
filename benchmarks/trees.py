"""Speed of `TreeEnsemble` relative to the library that fitted the trees.

python benchmarks/trees.py [--rounds 9] [--iterations 500]

Three ensembles on generated features of eight classes: a stacking booster on two models' probabilities (learning rate
0.02, early stopping), a booster on 512 deep features, and a random forest of 500 trees on 300 features. Both sides use
their defaults: LightGBM and torch their default threads, scikit-learn one job. Rows are clips, and a call has a whole
batch. The ratio is computed for each round; above 1, `TreeEnsemble` is faster. The last column is the largest
difference of any probability.

Run it on an idle machine: OpenMP threads of both sides spin while they wait, and lose time slices if other programs
need the CPUs. On a busy machine, set OMP_WAIT_POLICY=PASSIVE or OMP_NUM_THREADS=1.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import lightgbm
import numpy as np
import torch
from machine import describe_machine
from sklearn.ensemble import RandomForestClassifier

from hf_ser.hybrids import from_forest, from_lightgbm
from hf_ser.labels import EMOTIONS
from hf_ser.remote_code.tree_ensemble import TreeEnsemble

BATCHES = (1, 8, 64, 512)
CLASSES = len(EMOTIONS)
BOOSTER = {"objective": "multiclass", "num_class": CLASSES, "num_leaves": 31, "verbose": -1, "seed": 0}
Kind = tuple[str, Callable[[np.ndarray], np.ndarray], TreeEnsemble, np.ndarray]


def stacking(rng: np.random.Generator) -> Kind:
    labels = rng.integers(0, CLASSES, 10_000)
    scores = rng.normal(size=(len(labels), 2, CLASSES))
    scores[np.arange(len(labels)), :, labels] += 1.4
    powers = np.exp(1.5 * scores)
    features = (powers / powers.sum(axis=2, keepdims=True)).reshape(len(labels), -1)
    train, valid = (lightgbm.Dataset(features[rows], labels[rows]) for rows in (slice(0, 5000), slice(5000, 6000)))
    stop = lightgbm.early_stopping(50, verbose=False)
    options = BOOSTER | {"learning_rate": 0.02}
    booster = lightgbm.train(options, train, 5000, valid_sets=[valid], callbacks=[stop])
    name = f"stacking, 16 features, {booster.best_iteration} x {CLASSES} trees"
    return name, booster.predict, from_lightgbm(booster, EMOTIONS), features[-max(BATCHES) :]


def clusters(rng: np.random.Generator, columns: int, shift: float) -> tuple[np.ndarray, np.ndarray]:
    labels = rng.integers(0, CLASSES, 4000 + max(BATCHES))
    return rng.normal(size=(len(labels), columns)) + shift * rng.normal(size=(CLASSES, columns))[labels], labels


def deep_features(rng: np.random.Generator, iterations: int) -> Kind:
    features, labels = clusters(rng, 512, 0.12)
    data = lightgbm.Dataset(features[:2500], labels[:2500])
    booster = lightgbm.train(BOOSTER | {"learning_rate": 0.05, "feature_fraction": 0.3}, data, iterations)
    name = f"deep features, 512 features, {iterations} x {CLASSES} trees"
    return name, booster.predict, from_lightgbm(booster, EMOTIONS), features[-max(BATCHES) :]


def random_forest(rng: np.random.Generator) -> Kind:
    features, labels = clusters(rng, 300, 0.15)
    forest = RandomForestClassifier(500, random_state=0, n_jobs=-1).fit(features[:4000], labels[:4000])
    forest.n_jobs = None
    name = "random forest, 300 features, 500 trees"
    return name, forest.predict_proba, from_forest(forest, EMOTIONS), features[-max(BATCHES) :]


def seconds(call: Callable[..., object], rows: np.ndarray | torch.Tensor, repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        call(rows)
    return (time.perf_counter() - start) / repeats


def measure(kind: Kind, rounds: int) -> None:
    name, predict, model, features = kind
    for batch in BATCHES:
        rows = features[:batch]
        tensor = torch.from_numpy(rows)
        difference = np.abs(predict(rows) - model(tensor).numpy()).max()  # also the warm-up
        repeats = max(1, 64 // batch)
        pairs = [(seconds(predict, rows, repeats), seconds(model, tensor, repeats)) for _ in range(rounds)]
        ratios = [library / own for library, own in pairs]
        library, own = (batch / statistics.median(pair[side] for pair in pairs) for side in (0, 1))
        print(
            f"| {name} | {batch} | {library:.0f} | {own:.0f} "
            f"| {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) | {difference:.0e} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--iterations", type=int, default=500, help="iterations of the booster on deep features")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    kinds = [stacking(rng), deep_features(rng, args.iterations), random_forest(rng)]
    print(describe_machine())
    print(f"{args.rounds} rounds, medians, {torch.get_num_threads()} threads")
    print("| ensemble | batch | library, clips/s | TreeEnsemble, clips/s | ratio per round | difference |")
    print("|---|---|---|---|---|---|")
    for kind in kinds:
        measure(kind, args.rounds)


if __name__ == "__main__":
    main()
