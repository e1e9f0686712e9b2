"""Broken audio, configurations, weights, results and tables end in this package's own errors, or in sane values."""

import json
import math
import os
import random
import shutil
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from decoding import LIBSNDFILE, PYAV, decode, process
from example_results import make_results
from mutations import mutate_bytes, mutate_value

from hf_ser.arguments import parse
from hf_ser.data import DataArguments
from hf_ser.data.seen import Record
from hf_ser.data.splits_file import SPLITS_FILE
from hf_ser.errors import SerError
from hf_ser.evaluation.clip_sources import clips_of_csv
from hf_ser.hub.card import CardError, render_model_card
from hf_ser.inference import load_classifier
from hf_ser.results_file import check_results, model_results, read_results
from hf_ser.scoring import Predictions, read_predictions, score_split
from hf_ser.training import ModelArguments, SerTrainingArguments

ROOT = Path(__file__).parents[2]
SAVED = ROOT / "tests/saved_folders/0.1.0"
WHOLE = os.environ.get("HF_SER_FAULTS") == "all"  # make faults
TRIALS = 20 if WHOLE else 1  # times as many as in CI


def _seeds(count):
    return range(count * TRIALS)


@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory of a process")
@pytest.mark.parametrize(
    ("format", "with_pyav"),
    [
        *(
            pytest.param(format, False, marks=pytest.mark.faults("broken audio, decoded by libsndfile"))
            for format in LIBSNDFILE
        ),
        *(
            pytest.param(format, True, marks=pytest.mark.faults("broken audio, decoded by PyAV"))
            for format in LIBSNDFILE
        ),
        *(pytest.param(format, False, marks=pytest.mark.faults("broken audio, decoded by PyAV")) for format in PYAV),
    ],
)
def test_audio(format, with_pyav, decoder, subtests):
    outcomes = Counter()
    for seed in _seeds(20):
        with subtests.test(seed=seed):
            outcomes[decoder.submit(decode, format, seed, with_pyav=with_pyav).result(timeout=60)] += 1
    assert outcomes["rejected"] and (outcomes["decoded"] or not WHOLE)


@pytest.fixture(scope="module")
def decoder():
    with process() as pool:
        yield pool


@pytest.fixture
def copied(tmp_path):
    def copy(name):
        shutil.rmtree(tmp_path / name, ignore_errors=True)
        return Path(shutil.copytree(SAVED / name, tmp_path / name))

    return copy


@pytest.mark.faults("broken configuration of a model")
@pytest.mark.parametrize("name", ["audio_cnn", "cnn_gru", "stacking", "random_forest", "wav2vec2"])
@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json"])
def test_configurations_of_models(copied, name, subtests, file):
    folder = copied(name)
    good = json.loads((folder / file).read_text())
    for seed in _seeds(4):
        with subtests.test(seed=seed):
            rng = random.Random(seed)
            (folder / file).write_text(json.dumps(mutate_value(good, rng)))
            try:
                load_classifier(str(folder))
            except SerError as error:
                assert "\n" not in str(error)


@pytest.mark.faults("broken weights")
@pytest.mark.parametrize("name", ["audio_cnn", "stacking", "wav2vec2"])
def test_weights(copied, name, subtests):
    folder = copied(name)
    good = (folder / "model.safetensors").read_bytes()
    for seed in _seeds(4):
        with subtests.test(seed=seed):
            rng = random.Random(seed)
            (folder / "model.safetensors").write_bytes(mutate_bytes(good, rng))
            try:
                model, _ = load_classifier(str(folder))
            except SerError as error:
                assert "\n" not in str(error)
            else:
                assert all(bool(weights.isfinite().all()) for weights in model.parameters())


@pytest.mark.faults("broken YAML of recipes")
@pytest.mark.parametrize("name", ["audio_cnn_plus.yaml", "wav2vec2_base.yaml"])
def test_yaml(tmp_path, name, subtests):
    text = (ROOT / "recipes/configs" / name).read_text()
    path = tmp_path / "config.yaml"
    rest = ["--dataset", "x", "--output_dir", str(tmp_path / "run"), "--use_cpu", "true"]
    for seed in _seeds(30):
        with subtests.test(seed=seed):
            rng = random.Random(seed)
            if seed % 2:
                path.write_text(yaml.safe_dump(mutate_value(yaml.safe_load(text), rng)))
            else:
                path.write_bytes(mutate_bytes(text.encode(), rng))
            try:
                parse(ModelArguments, DataArguments, SerTrainingArguments, argv=["--config", str(path), *rest])
            except SerError as error:
                assert len(str(error)) < 5000


def _predictions():
    rows, labels = 12, ("neutral", "happy", "sad")
    clips = {"id": [f"clip_{row}" for row in range(rows)], "label": [row % 3 for row in range(rows)]}
    clips |= {"speaker": [f"ravdess_{row % 4}" for row in range(rows)], "corpus": ["ravdess"] * rows}
    clips |= {"gender": ["female"] * rows, "intensity": ["normal"] * rows}
    return Predictions(clips, np.full((rows, 3), 1 / 3), labels)


def _renders(results):
    try:
        card = render_model_card(results)
    except CardError as error:
        assert "\n" not in str(error)
        return 0
    assert "<script" not in card.split("---", 2)[2]
    return 1


@pytest.mark.faults("broken results.json")
def test_results(copied, subtests):
    folder = copied("audio_cnn")
    (folder / "results.json").write_text(json.dumps(make_results()))
    good = make_results({"test": score_split([_predictions()], files=["predictions.parquet"])})
    rendered = 0
    for seed in _seeds(60):
        with subtests.test(seed=seed):
            rng = random.Random(seed)
            (folder / "results.json").write_text(json.dumps(mutate_value(good, rng)))
            try:
                results = read_results(folder)
                model_results(str(folder))
            except SerError as error:
                assert "\n" not in str(error)
            else:
                check_results(results, "results.json")
                rendered += _renders(results)
    assert rendered > 0


@pytest.mark.faults("broken splits.csv")
def test_splits(copied, subtests):
    path = copied("audio_cnn") / SPLITS_FILE
    good = b"id,split,sha256\n" + b"".join(b"clip_%d,train,%064d\n" % (number, number) for number in range(20))
    for seed in _seeds(40):
        with subtests.test(seed=seed):
            rng = random.Random(seed)
            path.write_bytes(mutate_bytes(good, rng))
            try:
                record = Record.read(path)
            except SerError as error:
                assert "\n" not in str(error)
            else:
                assert all(isinstance(clip, str) for clip in record.splits)


@pytest.mark.faults("broken CSV file of clips")
def test_csv(tmp_path, tone, encode, subtests):
    names = [f"{number}.wav" for number in range(3)]
    for name in names:
        (tmp_path / name).write_bytes(encode(tone()))
    header, path = "path,label,speaker,gender,intensity\n", tmp_path / "clips.csv"
    good = (header + "".join(f"{name},happy,s{name[0]},female,strong\n" for name in names)).encode()
    usable = 0
    for seed in _seeds(60):
        with subtests.test(seed=seed):
            path.write_bytes(mutate_bytes(good, random.Random(seed)))
            try:
                clips = clips_of_csv(path, DataArguments())
            except SerError as error:
                assert "\n" not in str(error) and len(str(error)) < 2000
            else:
                assert len(clips.durations) == len(clips.columns["id"]) > 0 and min(clips.durations) > 0
                usable += 1
    assert usable


@pytest.fixture
def table(tmp_path):
    rows, labels = 6, ("angry", "sad", "happy")
    content = {
        "id": [f"clip_{row}" for row in range(rows)],
        "corpus": ["ravdess"] * rows,
        "speaker": [f"ravdess_{row % 3}" for row in range(rows)],
        "gender": ["female"] * rows,
        "label": [labels[row % 3] for row in range(rows)],
        "intensity": ["normal"] * rows,
        **{f"p_{label}": [1 / 3] * rows for label in labels},
    }
    path = tmp_path / "predictions.parquet"
    pq.write_table(pa.table(content), path)
    return path, content


def test_the_table_itself_can_be_read(table):
    assert read_predictions(table[0]).probabilities.shape == (6, 3)


_COLUMNS = ([["a"]], [1], [None], [1.5], [float("nan")], [b"\xff"], [{"a": 1}], [-1.0], [True], ["x" * 100_000])


@pytest.mark.faults("broken predictions (Parquet)")
@pytest.mark.parametrize("column", ["id", "corpus", "speaker", "gender", "label", "intensity", "p_sad"])
@pytest.mark.parametrize("value", _COLUMNS, ids=lambda value: str(value)[:12])
def test_columns_of_another_type(table, column, value):
    path, content = table
    pq.write_table(pa.table({**content, column: value * 6}), path)
    _read(path)


@pytest.mark.faults("broken predictions (Parquet)")
def test_broken_tables(table, subtests):
    path, _ = table
    good = path.read_bytes()
    for seed in _seeds(100):
        with subtests.test(seed=seed):
            rng = random.Random(seed)
            path.write_bytes(mutate_bytes(good, rng))
            _read(path)


def _read(path):
    try:
        predictions = read_predictions(path)
    except SerError as error:
        assert "\n" not in str(error).strip()
    else:
        assert all(math.isfinite(value) for value in predictions.probabilities.ravel())
