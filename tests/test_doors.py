"""`load_audio`, the pipeline, the scan and `hf-ser predict` give the same outcome for a recording."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from transformers import AutoConfig

sys.path.insert(0, str(Path(__file__).parent))
import odd_files

from hf_ser import cli
from hf_ser.audio import AudioError, load_audio
from hf_ser.data import DataArguments
from hf_ser.data.examination import Limits, examine
from hf_ser.demo import clip_inference
from hf_ser.evaluation import EvaluateArguments, evaluate
from hf_ser.inference import label_names, load_classifier
from hf_ser.models import AudioCNNConfig, AudioCNNForAudioClassification, SpeechEmotionPipeline, make_feature_extractor
from hf_ser.remote_code import media as media_module
from hf_ser.remote_code.decoder import decode
from hf_ser.remote_code.windows import MIN_DURATION_S, WindowPlan, read_windows
from hf_ser.scoring.predictions import read_predictions

FILES = {odd.name: odd for odd in odd_files.make_odd_files()}
NAMES = [name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace") for name in FILES]


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("doors") / "model"
    torch.manual_seed(0)
    config = AudioCNNConfig(channels=(4, 4), kernel_sizes=(5, 3), hidden_size=8, duration_s=0.5, n_mels=24)
    AudioCNNForAudioClassification(config).save_pretrained(folder)
    make_feature_extractor().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """All odd files in one folder."""
    folder = tmp_path_factory.mktemp("odd")
    for odd in FILES.values():
        odd_files.write(folder, odd)
    return folder


@pytest.fixture(scope="module")
def classify(model_dir):
    model = AudioCNNForAudioClassification.from_pretrained(model_dir)
    return SpeechEmotionPipeline(model=model, feature_extractor=make_feature_extractor(), task="audio-classification")


@pytest.fixture(scope="module")
def answers(folder, model_dir, tmp_path_factory):
    """Output of `hf-ser predict` by printed file name."""
    output = tmp_path_factory.mktemp("answers") / "answers.jsonl"
    paths = [os.path.join(folder, name) for name in FILES]
    cli.main(["predict", *paths, "--model", str(model_dir), "--output", str(output)])
    rows = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    return {os.path.basename(row["file"]): row for row in rows}


@pytest.mark.parametrize(("name", "shown"), zip(FILES, NAMES, strict=True), ids=NAMES)
def test_every_door_says_the_same_and_the_right_thing(folder, classify, answers, name, shown):
    odd, path = FILES[name], os.path.join(folder, name)
    answer, printed = classify(path, on_error="report"), answers[shown]
    if odd.seconds is None:
        assert answer["reason"] == odd.reason == printed["reason"] and answer["error"] == printed["error"]
        scanned = pytest.raises(AudioError, examine, Path(path), Limits(min_duration_s=MIN_DURATION_S))
        assert scanned.value.reason == odd.reason
        if odd.reason not in ("silent", "too_short"):  # `load_audio` accepts these
            assert pytest.raises(AudioError, load_audio, path).value.reason == odd.reason
        return
    waveform = load_audio(path)
    assert len(waveform) / 16_000 == pytest.approx(odd.seconds, abs=0.06)
    (window,) = read_windows(path, WindowPlan(10.0, 5.0, 30.0))
    np.testing.assert_array_equal(window.waveform, waveform)
    if odd.exact:
        np.testing.assert_allclose(waveform, odd_files.tone(), atol=1e-4)
    scores = {score["label"]: score["score"] for score in answer}
    assert {score["label"]: score["score"] for score in printed["scores"]} == pytest.approx(scores, abs=1e-6)
    examined = examine(Path(path), Limits())
    np.testing.assert_allclose(load_audio(examined.flac), np.clip(waveform, -1, 1), atol=1 / 32768)
    noted = tuple(note for note in examined.notes if "were clipped" not in note)  # in what 16 bits cannot hold
    assert noted == decode(path).notes and examined.duration == pytest.approx(odd.seconds, abs=0.06)


def test_channels_that_cancel_are_called_so(folder, classify, answers):
    path = os.path.join(folder, "opposite.wav")
    said = [
        classify(path, on_error="report")["error"],
        answers["opposite.wav"]["error"],
        str(pytest.raises(AudioError, examine, Path(path), Limits()).value),
    ]
    assert all("channels that cancel each other (peak" in text for text in said)


def test_without_pyav_the_line_that_installs_it_is_named(folder, classify, monkeypatch):
    if not odd_files.has_av():
        pytest.skip("PyAV is not installed (extra media)")
    monkeypatch.setattr(media_module, "av", None)
    for name in ("phone.m4a", "browser.webm", "voice.amr", "adts.aac"):
        answer = classify(os.path.join(folder, name), on_error="report")
        assert answer["reason"] == "undecodable" and 'pip install "hf-ser[media]"' in answer["error"]


def test_the_page_of_the_documentation_is_what_this_machine_says():
    if not odd_files.has_av():
        pytest.skip("PyAV is not installed (extra media)")
    page = Path(__file__).parents[1] / "docs" / "odd_files.md"
    assert page.read_text(encoding="utf-8") == odd_files.table(), "python tests/odd_files.py > docs/odd_files.md"


# --- what is done to recordings before a model ------------------------------------------------------------------


STEPS = {"trim_db": 30.0, "duration_s": 2.0, "normalize": True}
_FRESH = """
import json, sys
folder, native, *paths = sys.argv[1:]
from transformers import pipeline
if native == "native":
    import hf_ser.models
    classify = pipeline("speech-emotion-recognition", model=folder, device="cpu")
else:
    classify = pipeline("audio-classification", model=folder, trust_remote_code=True, device="cpu")
    assert "hf_ser" not in sys.modules
answers = classify(paths, batch_size=4)
print(json.dumps([{its["label"]: its["score"] for its in answer} for answer in answers]))
"""


@pytest.fixture(scope="module", params=["wav2vec2", "audio_cnn"])
def trained(request, finetune, dataset_dir, tiny_config, tmp_path_factory):
    """Folder of a trained model whose clips were trimmed, scaled and cropped: kind and path."""
    folder = tmp_path_factory.mktemp("trained") / request.param
    small = {"model_type": "ser-audio-cnn", "channels": [4, 4], "kernel_sizes": [5, 3], "hidden_size": 8, "n_mels": 24}
    config = tiny_config if request.param == "wav2vec2" else small
    fields = {"model_config": config, "dataset": str(dataset_dir), "output_dir": str(folder), **STEPS}
    finetune(**fields, num_train_epochs=1, learning_rate=3e-3)
    return request.param, folder


def doors(kind, folder, paths, labels, tmp_path):
    """Entry point -> probabilities of every recording (recordings, labels), in the order of the model's labels."""
    names = label_names(AutoConfig.from_pretrained(folder))
    found = {}
    output = tmp_path / "answers.jsonl"
    cli.main(["predict", *paths, "--model", str(folder), "--output", str(output)])
    rows = {row["file"]: row for row in map(json.loads, output.read_text(encoding="utf-8").splitlines())}
    found["hf-ser predict"] = [{score["label"]: score["score"] for score in rows[path]["scores"]} for path in paths]
    native = "native" if kind == "wav2vec2" else "remote"
    environment = os.environ | {"PYTHONPATH": str(Path(cli.__file__).parents[1]) if native == "native" else ""}
    command = [sys.executable, "-P", "-c", _FRESH, str(folder), native, *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path, env=environment)
    found["pipeline"] = json.loads(done.stdout.splitlines()[-1])
    demo_model = clip_inference.load_model(str(folder), device="cpu")
    found["demo"] = [clip_inference.classify(demo_model, path).scores for path in paths]
    with open(tmp_path / "list.csv", "w", encoding="utf-8") as file:
        file.write("path,label\n" + "".join(f"{path},{label}\n" for path, label in zip(paths, labels, strict=True)))
    listed = str(tmp_path / "list.csv")
    args = EvaluateArguments(str(tmp_path / "evaluated"), model=str(folder), csv=listed, allow_seen=True)
    evaluate(args, DataArguments())
    table = read_predictions(tmp_path / "evaluated" / "predictions.parquet")
    order = {path: dict(zip(table.labels, row, strict=True)) for path, row in
             zip(table.clips["id"], table.probabilities, strict=True)}  # fmt: skip
    found["evaluate"] = [order[path] for path in paths]
    return {door: np.array([[row[name] for name in names] for row in rows]) for door, rows in found.items()}


@pytest.mark.slow
def test_trimming_scaling_and_cropping_are_the_same_at_every_door(trained, tmp_path):
    kind, folder = trained
    paths, rates = [], (16_000, 22_050, 48_000)
    for number in range(6):
        samples = np.pad(odd_files.tone(rates[number % 3], 0.7 + 0.5 * number), 4000 * number)
        samples = np.stack([samples, 0.5 * samples], axis=1) if number % 2 else samples
        paths.append(str(tmp_path / f"{number}.wav"))
        sf.write(paths[-1], samples, rates[number % 3])
    check_doors(doors(kind, folder, paths, ["happy", "sad"] * 3, tmp_path), len(paths))


def check_doors(found, clips):
    expected = found["hf-ser predict"]
    assert expected.shape == (clips, 8) and np.ptp(expected, axis=0).min() > 1e-4
    for door, probabilities in found.items():
        np.testing.assert_allclose(probabilities, expected, atol=1e-5, err_msg=door)


@pytest.mark.slow
@pytest.mark.corpora
def test_real_recordings_have_the_same_scores_at_every_door(trained, corpora_dir, tmp_path):
    kind, folder = trained
    stereo = [f"Actor_{stem[-2:]}/{stem}" for stem in ("03-01-02-01-01-02-01", "03-01-08-01-02-02-01",
              "03-01-02-01-02-02-05", "03-01-03-01-02-01-20", "03-01-06-01-01-02-20")]  # fmt: skip
    others = (
        sorted((corpora_dir / "crema_d").rglob("*.flac"))[::170]
        + sorted((corpora_dir / "tess").rglob("*.flac"))[::100]
    )
    paths = [str(corpora_dir / "ravdess" / f"{name}.flac") for name in stereo] + [str(path) for path in others][:15]
    assert len(paths) == 20 and all(sf.info(path).channels == 2 for path in paths[:5])
    check_doors(doors(kind, folder, paths, ["happy"] * 20, tmp_path), 20)


def test_a_folder_of_an_earlier_version_is_read_and_told(trained, tmp_path, caplog):
    kind, folder = trained
    old = shutil.copytree(folder, tmp_path / "old")
    config = json.loads((old / "preprocessor_config.json").read_text())
    assert config.pop("preprocessing") == STEPS
    (old / "preprocessor_config.json").write_text(json.dumps(config))
    sf.write(tmp_path / "clip.wav", np.pad(odd_files.tone(22_050, 1.3), 9000), 22_050)
    answers = []
    for place in (folder, old):
        caplog.clear()
        model, extractor = load_classifier(str(place))
        classify = SpeechEmotionPipeline(model=model, feature_extractor=extractor, task="audio-classification")
        answers.append({score["label"]: score["score"] for score in classify(str(tmp_path / "clip.wav"))})
    assert answers[0] == pytest.approx(answers[1], abs=1e-7)
    said = [record.getMessage() for record in caplog.records if "saved by an earlier version" in record.getMessage()]
    assert len(said) == 1 and "trim_db 30.0, normalize True, duration_s 2.0" in said[0]
    SpeechEmotionPipeline(model=model, feature_extractor=extractor, task="audio-classification").save_pretrained(old)
    assert json.loads((old / "preprocessor_config.json").read_text())["preprocessing"] == STEPS
