"""Broken audio, configurations, weights, results and tables end in this package's own errors, or in sane values."""

import json
import math
import os
import random
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from example_results import make_results
from mutations import mutate_bytes, mutate_value
from odd_files import encoded

from hf_ser.arguments import parse
from hf_ser.audio import AudioError, load_audio
from hf_ser.data import DataArguments
from hf_ser.data.seen import Record
from hf_ser.data.splits import SPLITS_FILE
from hf_ser.errors import SerError
from hf_ser.hub.card import CardError, render_model_card
from hf_ser.inference import load_classifier
from hf_ser.results_file import check_results, model_results, read_results
from hf_ser.scoring import Predictions, read_predictions, score_split
from hf_ser.training import ModelArguments, SerTrainingArguments

pytestmark = pytest.mark.faults
ROOT = Path(__file__).parents[2]
SAVED = ROOT / "tests/saved_folders/0.1.0"
WHOLE = os.environ.get("HF_SER_FAULTS") == "all"  # make faults
TRIALS = 20 if WHOLE else 1  # times as many as in CI


def _draws(count):
    return [random.Random(seed) for seed in range(count * TRIALS)]


@pytest.mark.parametrize("format", ["WAV", "FLAC", "OGG", "MP3", "AIFF"])
def test_audio(format):
    subtype = {"OGG": "VORBIS", "MP3": "MPEG_LAYER_III"}.get(format, "PCM_16")
    good = encoded(format, subtype)
    for rng in _draws(20):
        try:
            waveform = load_audio(mutate_bytes(good, rng))
        except AudioError as error:
            assert "\n" not in str(error)
        else:
            assert np.isfinite(waveform).all() and 0 < waveform.size < 1 << 26


@pytest.fixture
def copied(tmp_path):
    def copy(name):
        shutil.rmtree(tmp_path / name, ignore_errors=True)
        return Path(shutil.copytree(SAVED / name, tmp_path / name))

    return copy


@pytest.mark.parametrize("name", ["audio_cnn", "cnn_gru", "stacking", "random_forest", "wav2vec2"])
@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json"])
def test_configurations_of_models(copied, name, file):
    folder = copied(name)
    good = json.loads((folder / file).read_text())
    for rng in _draws(4):
        (folder / file).write_text(json.dumps(mutate_value(good, rng)))
        try:
            load_classifier(str(folder))
        except SerError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("name", ["audio_cnn", "stacking", "wav2vec2"])
def test_weights(copied, name):
    folder = copied(name)
    good = (folder / "model.safetensors").read_bytes()
    for rng in _draws(4):
        (folder / "model.safetensors").write_bytes(mutate_bytes(good, rng))
        try:
            model, _ = load_classifier(str(folder))
        except SerError as error:
            assert "\n" not in str(error)
        else:
            assert all(bool(weights.isfinite().all()) for weights in model.parameters())


@pytest.mark.parametrize("name", ["audio_cnn_plus.yaml", "wav2vec2_base.yaml"])
def test_yaml(tmp_path, name):
    text = (ROOT / "recipes/configs" / name).read_text()
    path = tmp_path / "config.yaml"
    for number, rng in enumerate(_draws(30)):
        if number % 2:
            path.write_text(yaml.safe_dump(mutate_value(yaml.safe_load(text), rng)))
        else:
            path.write_bytes(mutate_bytes(text.encode(), rng))
        argv = ["--config", str(path), "--dataset", "x", "--output_dir", str(tmp_path / "run"), "--use_cpu", "true"]
        try:
            parse(ModelArguments, DataArguments, SerTrainingArguments, argv=argv)
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


def test_results(copied):
    folder = copied("audio_cnn")
    (folder / "results.json").write_text(json.dumps(make_results()))
    good = make_results({"test": score_split([_predictions()], files=["predictions.parquet"])})
    rendered = 0
    for rng in _draws(60):
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


def test_splits(copied):
    path = copied("audio_cnn") / SPLITS_FILE
    good = b"id,split,sha256\n" + b"".join(b"clip_%d,train,%064d\n" % (number, number) for number in range(20))
    for rng in _draws(40):
        path.write_bytes(mutate_bytes(good, rng))
        try:
            record = Record.read(path)
        except SerError as error:
            assert "\n" not in str(error)
        else:
            assert all(isinstance(clip, str) for clip in record.splits)


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


@pytest.mark.parametrize("column", ["id", "corpus", "speaker", "gender", "label", "intensity", "p_sad"])
@pytest.mark.parametrize("value", _COLUMNS, ids=lambda value: str(value)[:12])
def test_columns_of_another_type(table, column, value):
    path, content = table
    pq.write_table(pa.table({**content, column: value * 6}), path)
    _read(path)


def test_broken_tables(table):
    path, _ = table
    good = path.read_bytes()
    for rng in _draws(100):
        path.write_bytes(mutate_bytes(good, rng))
        _read(path)


def _read(path):
    try:
        predictions = read_predictions(path)
    except SerError as error:
        assert "\n" not in str(error).strip()
    else:
        assert all(math.isfinite(value) for value in predictions.probabilities.ravel())
