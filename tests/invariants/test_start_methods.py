"""Workers under fork, forkserver and spawn change nothing: datasets, losses and searches are those without workers."""

import json
import multiprocessing
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import start_methods
import yaml

from hf_ser.corpora import synthetic

ROOT = Path(__file__).parents[2]
METHODS = ("fork", "forkserver", "spawn")
# Makes a method the default of every process, as it is on other systems and Pythons; Python imports it by itself. The
# server of forkserver imports once what spawned workers import each.
SITECUSTOMIZE = """
import multiprocessing, os
multiprocessing.set_start_method(os.environ["START_METHOD"], force=True)
multiprocessing.set_forkserver_preload(["datasets", "hf_ser.training"])
"""


@pytest.fixture(scope="module")
def setting(tmp_path_factory, tiny_config):
    """Corpora, a configuration of two short epochs with augmentation, and a search space."""
    root = tmp_path_factory.mktemp("start_methods")
    synthetic.generate(
        root / "corpora",
        corpora=("ravdess", "savee"),
        clips_per_class=1,
        speakers_per_corpus=4,
        duration_s=(0.5, 0.6),
    )
    config = {
        "model_config": tiny_config,
        "duration_s": 0.4,
        "augmentation": [{"transform": "AddGaussianSNR", "p": 0.8}, {"transform": "Gain", "p": 0.5}],
        "num_train_epochs": 2,
        "per_device_train_batch_size": 16,
        "learning_rate": 3e-3,
        "logging_strategy": "steps",
        "logging_steps": 1,
        "use_cpu": True,
        "figures": False,
        "disable_tqdm": True,
        "stream_buffer": 8,
    }
    (root / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    (root / "space.yaml").write_text("mixup_alpha: {low: 0.1, high: 0.4}\n", encoding="utf-8")
    (root / "sitecustomize.py").write_text(SITECUSTOMIZE, encoding="utf-8")
    return root


def _run(launch, setting, method, workers):
    output = setting / f"{method}_{workers}"
    output.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        variables = {"PYTHONPATH": os.pathsep.join([str(setting), str(ROOT)]), "START_METHOD": method}
        for name, value in variables.items():
            patch.setenv(name, value)
        patch.chdir(output)
        if method == "fork":
            _run_here(setting, output, workers)
        else:
            words = [start_methods.__file__, setting, output, workers]
            launch(*words, cwd=output, env=variables, timeout_s=1200)
    found = json.loads((output / "results.json").read_text(encoding="utf-8"))
    assert found.pop("start_method") == method
    files = sorted((output / "dataset" / "data").glob("*.parquet"))
    return found, {path.name: pq.ParquetFile(path).read().to_pylist() for path in files}


def _run_here(setting, output, workers):
    """A forked worker needs nothing of the program that started it, so that this process does as well as a new one."""
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method("fork", force=True)
    try:
        start_methods.run(setting, output, workers)
    finally:
        multiprocessing.set_start_method(before, force=True)


@pytest.fixture(scope="module")
def without_workers(launch, setting):
    found, dataset = _run(launch, setting, "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn", 0)
    assert len(found["streamed"]) == len(found["cross_validated"]) >= 4
    return found, dataset


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_workers_change_nothing(launch, setting, without_workers, method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no {method}")
    found, dataset = _run(launch, setting, method, 2)
    assert dataset == without_workers[1]
    for name, expected in without_workers[0].items():
        assert found[name] == pytest.approx(expected, rel=1e-6), name
