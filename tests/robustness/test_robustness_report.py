"""`recipes/robustness.py`: what it measures, stores, resumes, draws and writes, and how it refuses."""

import csv
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from hf_ser.arguments import ConfigError, run
from hf_ser.conditions import ConditionError
from hf_ser.data import DataArguments
from hf_ser.default_model import default_model
from hf_ser.evaluation import EvaluateArguments, evaluate
from hf_ser.labels import EMOTIONS
from hf_ser.robustness import (
    ReportError,
    RobustnessArguments,
    RobustnessError,
    measure_robustness,
    measurement,
    read_report,
)
from hf_ser.robustness.altered_clips import AlteredClips, drawn_rows
from hf_ser.robustness.condition_report import PERCEPTION
from hf_ser.robustness.condition_scores import describe_change, flips_per_clip
from hf_ser.scoring import Predictions, PredictionsError, read_predictions

ROOT = Path(__file__).parents[2]
LEVELS = ["white_noise=10,0", "gain=-20,10", "telephone=alaw"]
NAMES = ["white_noise", "gain", "telephone"]
SHORT = {"conditions": NAMES, "levels": LEVELS, "device": "cpu", "figures": False}


@pytest.fixture(scope="module")
def data(sounds_dir):
    return DataArguments(str(sounds_dir), "ravdess", protocol="random")


@pytest.fixture(scope="module")
def measured(companions, data, tmp_path_factory):
    """The folder and the content of a report on a tiny model."""
    folder = tmp_path_factory.mktemp("robustness") / "report"
    args = RobustnessArguments(str(folder), [str(companions[0])], **SHORT)
    return folder, measure_robustness(args, data)


def test_the_clean_scores_are_those_of_evaluate(measured, companions, data, tmp_path):
    folder, report = measured
    args = EvaluateArguments(str(tmp_path / "scored"), model=str(companions[0]), device="cpu", figures=False)
    scored = evaluate(args, data)["splits"]["test"]
    assert report["clean"]["scores"]["uar"] == pytest.approx(scored["scores"]["uar"])
    assert report["clean"]["intervals"]["uar"] == pytest.approx(scored["intervals"][0]["uar"])
    assert (report["clips"], report["speakers"]) == (scored["clips"], scored["speakers"])
    one, other = (
        read_predictions(path)
        for path in (folder / "predictions/clean.parquet", tmp_path / "scored/predictions.parquet")
    )
    assert list(one.clips["id"]) == list(other.clips["id"])
    np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-6)


def test_scores_differences_and_flips_are_those_of_the_stored_predictions(measured):
    folder, report = measured
    assert read_report(folder) == report and [one["name"] for one in report["conditions"]] == NAMES
    clean = read_predictions(folder / report["clean"]["predictions"])
    per_clip = np.zeros(len(clean.label_ids), int)
    for condition in report["conditions"]:
        for level in condition["levels"]:
            changed = read_predictions(folder / level["predictions"])
            assert list(changed.clips["id"]) == list(clean.clips["id"])
            right, was = changed.predicted == changed.label_ids, clean.predicted == clean.label_ids
            flipped = changed.predicted != clean.predicted
            per_clip += flipped
            assert level["scores"]["accuracy"] == pytest.approx(right.mean())
            assert level["degradation"]["accuracy"]["difference"] == pytest.approx(right.mean() - was.mean())
            low, high = level["degradation"]["uar"]["interval"]
            assert low <= level["degradation"]["uar"]["difference"] <= high
            shares = [level["flips"][name] for name in ("share", "right_to_wrong", "wrong_to_right")]
            assert shares == pytest.approx([part.mean() for part in (flipped, was & ~right, right & ~was)])
            assert level["mean_confidence"] == pytest.approx(changed.probabilities.max(axis=1).mean())
    table = pq.read_table(folder / "flips.parquet").to_pydict()
    assert table["flips"] == per_clip.tolist() and "gain_-20" in table and len(table) == 4 + 5
    counts = report["flips_per_clip"]["counts"]
    assert np.add(*counts.values()).tolist() == np.bincount(per_clip, minlength=6).tolist()


def test_changes_are_counted_by_clip_and_direction():
    clips = {"id": list("abcdef"), "corpus": ["x"] * 6, "speaker": ["1", "1", "1", "2", "2", "2"]}
    clips |= {"gender": [""] * 6, "intensity": [None] * 6, "label": [0, 0, 0, 1, 1, 1]}

    def answers(*classes):
        return Predictions(clips, np.eye(3)[list(classes)] * 0.7 + 0.1, ("happy", "sad", "calm"))

    clean, changed = answers(0, 0, 1, 1, 2, 0), answers(1, 0, 0, 1, 0, 0)
    found = describe_change(clean, changed)
    assert found["flips"]["share"] == 0.5 and found["flips"]["interval"] == [
        pytest.approx(1 / 3),
        pytest.approx(2 / 3),
    ]
    assert found["flips"]["right_to_wrong"] == found["flips"]["wrong_to_right"] == pytest.approx(1 / 6)
    assert found["degradation"]["uar"]["difference"] == 0
    counted = flips_per_clip(clean, {"hum_0": changed, "hum_10": answers(0, 0, 1, 1, 0, 0)})
    assert counted["counts"] == {"right_when_clean": [2, 1, 0], "wrong_when_clean": [1, 1, 1]}
    assert counted["mean"] == pytest.approx(4 / 6) and counted["never"] == 0.5
    assert counted["most"][0] == {"id": "e", "label": "sad", "predicted_when_clean": "calm", "flips": 2}


def test_the_report_says_what_it_must(measured):
    folder, report = measured
    text = (folder / "robustness.md").read_text(encoding="utf-8")
    assert PERCEPTION in text and "**Synthetic recordings" in text
    for condition in report["conditions"]:
        for level in condition["levels"]:
            assert f"{level['scores']['uar']:.3f} [" in text
    assert not list(folder.rglob("*.part")) and not (folder / "unfinished.json").exists()


def test_a_report_resumes_where_it_was_interrupted(measured, companions, data, tmp_path, monkeypatch):
    done, predict = [], measurement._predict

    def interrupted(model, name, level):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append((name, level))
        return predict(model, name, level)

    folder = tmp_path / "report"
    args = RobustnessArguments(str(folder), [str(companions[0])], **SHORT)
    monkeypatch.setattr(measurement, "_predict", interrupted)
    with pytest.raises(KeyboardInterrupt):
        measure_robustness(args, data)
    assert not (folder / "robustness.json").exists() and len(list((folder / "predictions").iterdir())) == 3
    (folder / "predictions/white_noise_0.parquet.part").write_bytes(b"half a file")
    counted = []
    monkeypatch.setattr(measurement, "_predict", lambda *words: counted.append(words[1:]) or predict(*words))
    assert measure_robustness(args, data) == measured[1]
    assert counted == [("gain", -20.0), ("gain", 10.0), ("telephone", "alaw")] and len(done) == 3
    # More levels are added, and nothing is computed again.
    counted.clear()
    more = RobustnessArguments(
        str(folder), [str(companions[0])], **SHORT | {"levels": [*LEVELS[1:], "white_noise=5,0"]}
    )
    measure_robustness(more, data)
    assert counted == [("white_noise", 5.0)]
    with pytest.raises(ConfigError, match="another seed.*--overwrite true"):
        measure_robustness(RobustnessArguments(str(folder), [str(companions[0])], seed=1, **SHORT), data)


def test_samples_do_not_depend_on_the_order_of_clips_and_requests(sounds_dir, data):
    from hf_ser.data.splits import load_splits
    from hf_ser.evaluation.clip_sources import clips_of_split

    clips = clips_of_split(load_splits(data).splits["test"])
    rows = list(range(6))
    forward, backward = (AlteredClips(clips, order, 3) for order in (rows, rows[::-1]))
    for name, level in (("babble", 0), ("white_noise", 5), ("packet_loss", 20)):
        one = forward.under(name, level).decode([0, 1, 2])
        other = backward.under(name, level).decode([5])
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], backward.under(name, level).decode([3, 4])[1])


def test_drawn_clips_have_equal_parts_of_the_classes(data):
    from hf_ser.data.splits import load_splits
    from hf_ser.evaluation.clip_sources import clips_of_split

    clips = clips_of_split(load_splits(data).splits["train"])
    rows = list(range(len(clips.columns["id"])))
    drawn = drawn_rows(clips, rows, 16, seed=0)
    labels = [clips.columns["label"][row] for row in drawn]
    assert sorted(labels.count(label) for label in set(labels)) == [2] * 8
    assert drawn == sorted(drawn_rows(clips, rows[::-1], 16, seed=0)) != drawn_rows(clips, rows, 16, seed=1)
    assert drawn_rows(clips, rows, None, 0) == rows


# --- several models ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folds(companions, save_companion, tmp_path_factory):
    """Folders of two untrained models whose results.json names fold 1 and 2 of speaker_folds_5."""
    root = tmp_path_factory.mktemp("folds")
    results = json.loads((companions[0] / "results.json").read_text(encoding="utf-8"))
    for fold in (1, 2):
        save_companion(root / f"fold_{fold}", EMOTIONS, seed=fold)
        protocol = results["protocol"] | {"name": "speaker_folds_5", "fold": fold, "folds": 5, "hash": "0" * 64}
        content = json.dumps(results | {"protocol": protocol, "name": "tiny"})
        (root / f"fold_{fold}/results.json").write_text(content, encoding="utf-8")
    return root


def test_models_of_folds_are_pooled_and_shown_beside_others(folds, sounds_dir, tmp_path):
    dataset = DataArguments(str(sounds_dir), "ravdess")
    each = {}
    for name, models in (
        ("both", [f"{folds}/fold_*"]),
        ("first", [f"{folds}/fold_1"]),
        ("again", [f"{folds}/fold_*"]),
    ):
        beside = [str(tmp_path / "both")] if name == "again" else []
        args = RobustnessArguments(
            str(tmp_path / name),
            models,
            conditions=["hum"],
            levels=["hum=0"],
            device="cpu",
            name=name,
            beside=beside,
            figures=False,
            clips=40,
            seed=0,
        )
        each[name] = measure_robustness(args, dataset)
    assert [model["fold"] for model in each["both"]["models"]] == [1, 2]
    assert each["both"]["clips"] == 40 and each["both"]["models"][0]["clips"] == 20
    pooled = read_predictions(tmp_path / "both/predictions/hum_0.parquet")
    alone = read_predictions(tmp_path / "first/predictions/hum_0.parquet")
    row_of = {clip: row for row, clip in enumerate(alone.clips["id"])}
    shared = [row for row, clip in enumerate(pooled.clips["id"]) if clip in row_of]
    assert len(shared) >= 20 and len(set(pooled.clips["id"])) == 40
    rows = [row_of[pooled.clips["id"][row]] for row in shared]
    np.testing.assert_allclose(pooled.probabilities[shared], alone.probabilities[rows], atol=1e-6)
    text = (tmp_path / "again/robustness.md").read_text(encoding="utf-8")
    assert "## Beside both" in text and "again minus both" in text and "+0.000 [+0.000, +0.000]" in text


def test_models_with_common_clips_or_other_classes_are_rejected(folds, companions, save_companion, data, tmp_path):
    out = str(tmp_path / "out")
    shutil.copytree(folds / "fold_1", tmp_path / "copy")
    with pytest.raises(RobustnessError, match="have the test clip .* in common"):
        args = RobustnessArguments(out, [str(folds / "fold_1"), str(tmp_path / "copy")], **SHORT)
        measure_robustness(args, DataArguments(data.dataset, "ravdess"))
    other = save_companion(tmp_path / "other", ("happy", "sad"))
    with pytest.raises(RobustnessError, match="has the classes happy, sad, but"):
        measure_robustness(RobustnessArguments(out, [str(companions[0]), str(other)], **SHORT), data)
    with pytest.raises(ConfigError, match="2 models with csv"):
        args = RobustnessArguments(out, [str(folds / "fold_*")], csv="a.csv", **SHORT)
        measure_robustness(args, DataArguments())


# --- bad input --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"conditions": ["hiss"]}, "no condition is called 'hiss'"),
        ({"conditions": ["hum"], "levels": ["hum=99"]}, "hum=99; expected dB SNR from -30 to 60"),
        ({"conditions": ["measured_room"]}, "pass --room_responses FOLDER"),
        ({"conditions": ["hum"], "room_responses": "halls"}, "measured_room is not among"),
        ({"recordings": "a", "csv": "b"}, "got both recordings and csv"),
        ({"allow_seen": True, "skip_seen": True}, "got both allow_seen and skip_seen"),
        ({"clips": 1}, "clips is 1; expected at least 2"),
        ({"split": "tset"}, "split is 'tset'"),
        ({"models": ["runs/none_*"]}, "no folder matches"),
        ({"models": ["a/b", "a/b"]}, "got a/b twice"),
        ({"update_card": True}, "update_card needs one model"),
    ],
)
def test_invalid_arguments_are_rejected(fields, said):
    with pytest.raises((ConfigError, ConditionError), match=said):
        RobustnessArguments("runs/none", figures=False, **fields).check_models()


def test_clips_are_checked_before_any_prediction(companions, data, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(measurement, "_predict", lambda *words: pytest.fail("a prediction was made"))
    out = str(tmp_path / "out")
    model = [str(companions[0])]
    with pytest.raises(ConfigError, match="got no clips; expected one of dataset, recordings and csv"):
        measure_robustness(RobustnessArguments(out, model, **SHORT), DataArguments())
    with pytest.raises(PredictionsError, match="was trained on .*--skip_seen true"):
        measure_robustness(RobustnessArguments(out, model, split="train", **SHORT), data)
    with pytest.raises(ReportError, match="has no robustness.json"):
        measure_robustness(RobustnessArguments(out, model, beside=[str(tmp_path)], **SHORT), data)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.tex").touch()
    with pytest.raises(ConfigError, match="holds other files .thesis.tex"):
        measure_robustness(RobustnessArguments(str(tmp_path / "full"), model, **SHORT), data)
    listing = tmp_path / "one.csv"
    files = sorted((Path(data.dataset).parent / "corpora/ravdess").rglob("*.wav"))[:3]
    with listing.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("path", "label", "speaker"), *((path, "calm", "anna") for path in files)])
    common = {"csv": str(listing), "allow_seen": True, "device": "cpu", "figures": False}
    with pytest.raises(ConditionError, match="babble is made of clips by other speakers"):
        measure_robustness(RobustnessArguments(out, model, conditions=["babble"], **common), DataArguments())
    with pytest.raises(ConditionError, match="gain=-60 leaves nothing but silence|packet_loss=90 leaves"):
        silencing = {"conditions": ["gain", "packet_loss"], "levels": ["gain=-60", "packet_loss=90"]}
        quiet = AlteredClips.waveforms.func
        monkeypatch.setattr(AlteredClips, "waveforms", property(lambda self: [clip / 1000 for clip in quiet(self)]))
        measure_robustness(RobustnessArguments(out, model, **silencing, **common), DataArguments())
    assert "All clips are by one speaker: there will be no intervals" in caplog.text
    assert not (tmp_path / "out/robustness.json").exists()


# --- the recipe, the card and the model of the package ----------------------------------------------------------


def test_the_recipe_prints_a_summary_and_updates_the_card(
    companions, data, tmp_path, load_recipe, monkeypatch, capsys
):
    from hf_ser.hub.push_checks import MODEL_FILES

    model = tmp_path / "model"
    shutil.copytree(companions[0], model)
    words = ["--models", model, "--dataset", data.dataset, "--configuration", "ravdess", "--conditions", "hum", "gain"]
    words += [
        "--quick",
        "true",
        "--clips",
        "12",
        "--device",
        "cpu",
        "--update_card",
        "true",
        "--output_dir",
        tmp_path / "out",
    ]
    monkeypatch.setattr(sys, "argv", ["robustness.py", *map(str, words)])
    with pytest.raises(SystemExit, match="0"):
        run(load_recipe("robustness").main)
    shown = capsys.readouterr().out
    assert "clean: UAR" in shown and "mains hum, " in shown and "of answers change" in shown
    text = (tmp_path / "out/robustness.md").read_text(encoding="utf-8")
    for name in ("robustness_uar", "robustness_calibration", "robustness_flips", "flips_per_clip"):
        assert f"(figures/{name}.png)" in text and (tmp_path / f"out/figures/{name}.svg").is_file()
    card = (model / "README.md").read_text(encoding="utf-8")
    assert "## Robustness" in card and PERCEPTION in card and "(figures/robustness_uar.png)" in card
    assert (model / "figures/robustness_uar.png").is_file() and "robustness.json" in MODEL_FILES
    from hf_ser.hub.card import folder_card
    from hf_ser.scoring import read_results

    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    (model / "config.json").write_text(json.dumps(config | {"abstention_threshold": 0.9}), encoding="utf-8")
    assert "## Robustness" not in folder_card(model, read_results(model))  # it was about another model


def test_the_docstring_opens_with_a_command_that_parses(load_recipe):
    from hf_ser.arguments import parse

    first = load_recipe("robustness").__doc__.splitlines()[2].split()
    assert first[:2] == ["python", "recipes/robustness.py"]
    assert parse(DataArguments, RobustnessArguments, argv=first[2:])[1].most_clips == 64


# UAR, and share of clips whose answer changes, of the model in the package on the example clips.
GOLDEN = {"clean": (2 / 3, None), "pink_noise_0": (3 / 4, 4 / 11), "packet_loss_40": (1 / 2, 5 / 11)}


def test_the_model_of_the_package_on_the_examples(tmp_path):
    listing = tmp_path / "clips.csv"
    with listing.open("w", encoding="utf-8", newline="") as file:
        rows = [
            (path, path.stem, *path.stem.split("_")[:2])  # noise depends on ids, which would contain the folder
            for path in sorted((ROOT / "examples/clips").glob("*.flac"))
        ]
        csv.writer(file).writerows([("path", "id", "label", "speaker"), *rows])
    common = {"conditions": ["pink_noise", "packet_loss"], "levels": ["pink_noise=0", "packet_loss=40"]}
    args = RobustnessArguments(
        str(tmp_path / "out"),
        [default_model()],
        csv=str(listing),
        device="cpu",
        precision="fp32",
        figures=False,
        **common,
    )
    report = measure_robustness(args, DataArguments())
    found = {"clean": (report["clean"]["scores"]["uar"], None)}
    for condition in report["conditions"]:
        (level,) = condition["levels"]
        found[f"{condition['name']}_{level['level']}"] = (level["scores"]["uar"], level["flips"]["share"])
    assert report["clips"] == 11 and report["clean"]["abstention"]["coverage"] is not None
    assert found.keys() == GOLDEN.keys()
    for name, (uar, flips) in GOLDEN.items():
        assert found[name] == (pytest.approx(uar), None if flips is None else pytest.approx(flips))
