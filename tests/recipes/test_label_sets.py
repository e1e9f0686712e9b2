"""Label sets of 2, 4, 7, 8 and 40 labels through training, evaluation, hybrids, card, push, pipeline and demo."""

import csv
import sys
from collections import Counter
from html import escape
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile as sf
import yaml
from huggingface_hub import ModelCard
from transformers import AutoConfig, pipeline

from hf_ser.arguments import ConfigError
from hf_ser.batch.answer_rows import table_text
from hf_ser.data import DataArguments, PrepareArguments, load_splits, prepare
from hf_ser.demo.clip_inference import classify, load_model
from hf_ser.demo.page import render
from hf_ser.hub import PushArguments, make_plan
from hf_ser.labels import EMOTIONS
from hf_ser.scoring import read_predictions, read_results
from hf_ser.terminal import display_width

OTHERS = ("wütend & laut", "怒り", "a|b <i>", "50 %_$x$")
SETS = {
    2: ("plötzlich wütend", "other"),
    4: ("angry", "neutral", "happy", "other"),
    7: ("neutral", "happy", "sad", "angry", "fearful", "disgust", "boredom"),
    8: EMOTIONS,
    40: (*OTHERS, *(f"topic {number}" for number in range(36))),
}
TRAINING = {
    "model_config": {
        "model_type": "ser-audio-cnn",
        "channels": [4, 4],
        "kernel_sizes": [5, 3],
        "hidden_size": 8,
        "n_mels": 24,
        "duration_s": 0.5,
    },
    "num_train_epochs": 1,
    "per_device_train_batch_size": 16,
    "class_weights": True,
    "use_cpu": True,
    "disable_tqdm": True,
    "figures": False,
}


def prepare_own(folder, recordings, labels):
    """Prepare these recordings under the labels; the first one is written as "furious" in the list.

    With two labels, the speakers are unknown; with four, the recordings are in two languages.
    """
    lines = []
    for number, path in enumerate(recordings):
        label = labels[number % len(labels)]
        renamed = label == labels[0] and number % 3 > 0
        row = {"path": path.name, "label": "furious" if renamed else label, "corpus": "calls"}
        if len(labels) != 2:
            row |= {"speaker": f"s{number // len(labels) % 12}", "gender": ("female", "male")[number % 2]}
        if len(labels) == 4:
            row["language"] = ("en", "de")[number // 48 % 2]
        lines.append(row)
    lines.append(lines[0] | {"label": "noise", "path": "noise.wav"})
    folder.mkdir()
    with open(folder / "calls.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    arguments = PrepareArguments(
        str(folder / "dataset"),
        csv=[str(folder / "calls.csv")],
        audio_dir=str(recordings[0].parent),
        labels=list(labels),
        label_mapping={"furious": labels[0], "noise": None},
        licence="cc-by-4.0",
        num_proc=1,
    )
    return prepare(arguments, progress=False).folder


@pytest.fixture(scope="module")
def recordings(tmp_path_factory, tone):
    """240 tones in noise, none like another, and one more that is dropped by its label."""
    folder = tmp_path_factory.mktemp("recordings")
    for number in range(241):
        name = f"{number:03d}.wav" if number < 240 else "noise.wav"
        sf.write(folder / name, tone(0.35, frequency_hz=200.0 + 10 * number), 16_000)
    return [folder / f"{number:03d}.wav" for number in range(240)]


@pytest.fixture(scope="module", params=SETS, ids="{} labels".format)
def run(request, recordings, tmp_path_factory, load_recipe):
    """A tiny AudioCNN that was trained on one of the label sets through its recipe."""
    root = tmp_path_factory.mktemp("labels")
    labels = SETS[request.param]
    dataset = prepare_own(root / "own", recordings, labels)
    folder = root / "model"
    config = TRAINING | {"dataset": str(dataset), "output_dir": str(folder)}
    (root / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train_companion.py", "--config", str(root / "config.yaml")])
        load_recipe("train_companion").main()
    return SimpleNamespace(labels=labels, dataset=dataset, folder=folder, root=root, results=read_results(folder))


@pytest.fixture
def call(load_recipe, monkeypatch):
    """Run a recipe with these arguments in this process."""

    def main(name, *words):
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, words)])
        load_recipe(name).main()

    return main


def test_results_and_model_carry_the_labels_in_their_order(run):
    dataset, config = run.results["dataset"], AutoConfig.from_pretrained(run.folder)
    assert tuple(dataset["labels"]) == run.labels
    assert config.id2label == dict(enumerate(run.labels)) and config.label2id == {
        label: index for index, label in enumerate(run.labels)
    }
    assert dataset["label_mapping"] == config.label_mapping == {"furious": run.labels[0], "noise": None}
    assert dataset["licence"] == "cc-by-4.0"
    data = load_splits(DataArguments(str(run.dataset)))
    assert run.results["splits"]["test"]["labels"] == list(data.scored_classes("test"))
    known = len(run.labels) != 2
    assert run.results["protocol"]["name"] == ("speaker_disjoint" if known else "random")
    assert (run.results["splits"]["test"]["speakers"] is not None) is known


def test_scores_by_language_where_there_are_several(run):
    groups = run.results["splits"]["test"]["groups"]
    assert ("language" in groups) == (len(run.labels) == 4)
    if "language" in groups:
        sizes = {name: group["clips"] for name, group in groups["language"]["groups"].items()}
        assert set(sizes) == {"de", "en"} and sum(sizes.values()) == run.results["splits"]["test"]["clips"]
        assert "### By language" in (run.folder / "report.md").read_text(encoding="utf-8")
        assert run.results["dataset"]["languages"] == ["de", "en"]


def test_the_card_tells_labels_mapping_licence_and_unknown_speakers(run):
    text = (run.folder / "README.md").read_text(encoding="utf-8")
    card = ModelCard(text)
    words = " ".join(text.split())
    for label in run.labels:
        assert label.replace("<", "&lt;").replace(">", "&gt;") in text
    listed = ", ".join(run.labels).replace("<", "&lt;").replace(">", "&gt;")
    assert f"in the order of the model's outputs: {listed}." in words
    assert f"furious as {run.labels[0]}, noise left out" in words
    assert "| calls | cc-by-4.0 |" in words
    assert ("speakers unknown" in words) == (len(run.labels) == 2)
    assert card.data.language == (["de", "en"] if len(run.labels) == 4 else None)
    assert "scripted English" not in words
    if len(run.labels) == 4:
        assert "| test | language de |" in words


def test_evaluation_gives_the_scores_of_the_training(run, call):
    output = run.root / "scored"
    call("evaluate", "--model", run.folder, "--dataset", run.dataset, "--output_dir", output, "--figures", "false")
    scored, trained = read_results(output)["splits"]["test"], run.results["splits"]["test"]
    assert scored["labels"] == trained["labels"] and scored["clips_hash"] == trained["clips_hash"]
    assert scored["scores"]["log_loss"] == pytest.approx(trained["scores"]["log_loss"], abs=1e-5)
    table = read_predictions(output / "predictions.parquet")
    expected = read_predictions(run.folder / "predictions_test.parquet")
    np.testing.assert_allclose(table.probabilities, expected.probabilities, atol=1e-5)


def test_own_recordings_are_listed_with_the_labels_of_the_model(run, call, tone):
    lines = ["path,label"]
    for number, label in enumerate(run.labels[:4]):
        sf.write(run.root / f"{number}.wav", tone(0.5, frequency_hz=200.0 * (number + 1)), 16_000)
        lines.append(f'{number}.wav,"{label}"')
    (run.root / "own.csv").write_text("\n".join(lines), encoding="utf-8")
    output = run.root / "scored_own"
    words = ["--model", run.folder, "--csv", run.root / "own.csv", "--output_dir", output, "--figures", "false"]
    call("evaluate", *words)
    scored = read_results(output)["splits"]["all"]
    assert scored["clips"] == min(4, len(run.labels)) and scored["speakers"] is None


def test_a_forest_and_a_stack_predict_these_labels(run, call):
    common = ("--dataset", run.dataset, "--figures", "false")
    forest, stack = run.root / "forest", run.root / "stack"
    small = ("--n_estimators", 4, "--max_features", 0.2)
    call("fit_hybrid", *common, "--kind", "random_forest", *small, "--output_dir", forest)
    meta = "pool" if len(run.labels) < 40 else "mean"  # validation has too few clips of each of the forty
    call("fit_hybrid", *common, "--bases", run.folder, "--meta", meta, "--output_dir", stack)
    for folder in (forest, stack):
        config = AutoConfig.from_pretrained(folder)
        assert config.id2label == dict(enumerate(run.labels)) and config.label_mapping
        assert (folder / "README.md").is_file()
        assert read_results(folder)["dataset"]["labels"] == list(run.labels)


def test_pipeline_predict_and_demo_answer_with_these_labels(run, tone):
    recording = run.root / "voice.wav"
    sf.write(recording, tone(0.7), 16_000)
    classifier = pipeline("audio-classification", model=str(run.folder), trust_remote_code=True)
    scores = classifier(str(recording))
    assert sorted(score["label"] for score in scores) == sorted(run.labels)
    lines = table_text({"file": "voice.wav", "scores": scores}).splitlines()[1:]
    starts = {display_width(line[: line.index(" 0.")]) for line in lines}
    assert len(starts) == 1  # the numbers are below each other

    model = load_model(str(run.folder), device="cpu")
    page = render(classify(model, recording), model, "own model")
    assert page.count('<th scope="row" ') == len(run.labels)
    assert all(f'<th scope="row" title="{escape(label)}">{escape(label)}</th>' in page for label in run.labels)
    colours = {part.partition('"')[0] for part in page.split("--ser-bar: ")[1:]}
    assert len(colours) == len(run.labels)


def test_a_dry_run_of_a_push_takes_the_model(run):
    plan = make_plan(PushArguments("owner/own", folder=str(run.folder)))
    assert plan.kind == "model" and "owner/own" in plan.card


def test_a_model_of_these_labels_is_a_base_for_others(run, call, dataset_dir, caplog):
    """The encoder is kept and the head is new, unless the labels are the same."""
    output = run.root / "further"
    config = {key: value for key, value in TRAINING.items() if key != "model_config"}
    (run.root / "further.yaml").write_text(yaml.safe_dump(config))
    words = ["--config", run.root / "further.yaml", "--dataset", dataset_dir, "--output_dir", output]
    with caplog.at_level("INFO", "hf_ser.training.checkpoints"):
        call("train_companion", *words, "--model_name_or_path", run.folder)
    told = [record for record in caplog.records if "the head is new" in record.getMessage()]
    assert len(told) == (run.labels != EMOTIONS)
    config = AutoConfig.from_pretrained(output)
    assert config.id2label == dict(enumerate(EMOTIONS)) and not hasattr(config, "label_mapping")


def test_a_model_of_the_eight_emotions_is_scored_on_the_classes_that_it_has(run, call, save_companion):
    output = run.root / "eight_scored"
    folder = save_companion(run.root / "eight", EMOTIONS)
    words = ["--model", folder, "--dataset", run.dataset, "--output_dir", output, "--figures", "false"]
    if len(set(run.labels) & set(EMOTIONS)) < 2:
        with pytest.raises(ConfigError, match="share fewer than two classes .none.*label_mapping"):
            call("evaluate", *words)
        return
    call("evaluate", *words)
    scored = read_results(output)["splits"]["test"]
    test = load_splits(DataArguments(str(run.dataset))).splits["test"]
    counts = Counter(run.labels[label] for label in test["label"])
    assert scored["left_out"] == {label: count for label, count in counts.items() if label not in EMOTIONS}
    assert scored["clips"] == len(test) - sum(scored["left_out"].values()) and set(scored["labels"]) == set(EMOTIONS)


def test_a_mapping_of_the_dataset_s_classes_joins_the_labels_of_the_model(run, call):
    """The labels of the model are mapped onto two classes of the same dataset."""
    first, second, *others = run.labels
    mapping = {label: label if label in (first, second) else None for label in run.labels}
    output = run.root / "mapped"
    fields = {"model": str(run.folder), "dataset": str(run.dataset), "label_mapping": mapping, "figures": False}
    (run.root / "mapped.yaml").write_text(yaml.safe_dump(fields, allow_unicode=True), encoding="utf-8")
    call("evaluate", "--config", run.root / "mapped.yaml", "--output_dir", output)
    results = read_results(output)
    assert results["label_mapping"] == mapping
    scored = results["splits"]["test"]
    assert set(scored["labels"]) == {first, second} and set(scored["left_out"]) <= set(others)
    assert scored["clips"] + sum(scored["left_out"].values()) == run.results["splits"]["test"]["clips"]


def test_streamed_clips_have_the_same_labels_and_languages(run):
    whole = load_splits(DataArguments(str(run.dataset)))
    streamed = load_splits(DataArguments(str(run.dataset), streaming=True))
    assert streamed.labels == whole.labels and streamed.languages == whole.languages
    assert streamed.label_mapping == whole.label_mapping and streamed.protocol == whole.protocol
    for split, part in whole.splits.items():
        expected = dict(zip(part["id"], part["label"], strict=True))
        found = streamed.splits[split]
        assert dict(zip(found["id"], found["label"], strict=True)) == expected
