"""Distillation: the loss is that of its paper, teachers are checked, and validation is not changed."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import set_seed
from transformers.modeling_outputs import SequenceClassifierOutput

from hf_ser.arguments import ConfigError
from hf_ser.data import DataArguments, load_splits
from hf_ser.data.run_locations import fill_in_location
from hf_ser.scoring import read_results
from hf_ser.training import ModelArguments, SerTrainingArguments, build_model, make_trainer
from hf_ser.training.distillation import Distillation, check_teachers
from hf_ser.training.losses import Mix, make_loss

COMPANION = {"model_type": "ser-mel-cnn", "duration_s": 0.5, "n_mels": 16, "channels": [4, 4, 4]}
SHORT = {"num_train_epochs": 1, "eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}


def _teachers(clips=5, classes=4, seed=0):
    return np.random.default_rng(seed).dirichlet(np.ones(classes), clips)


def _batch(size=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.stack([torch.arange(size) % 4, torch.randint(5, (size,), generator=generator)], dim=1)
    return SequenceClassifierOutput(logits=torch.randn(size, 4, generator=generator, requires_grad=True)), labels


@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0])
def test_the_loss_is_that_of_its_paper(temperature):
    teachers, (outputs, labels) = _teachers(), _batch()
    loss = Distillation(make_loss(label_smoothing=0.1), teachers, 0.3, temperature)(outputs, labels)
    softened = teachers ** (1 / temperature)
    softened /= softened.sum(axis=1, keepdims=True)
    logs = (outputs.logits / temperature).log_softmax(dim=1)
    soft = -(torch.tensor(softened[labels[:, 1]], dtype=torch.float32) * logs).sum(dim=1).mean() * temperature**2
    hard = functional.cross_entropy(outputs.logits, labels[:, 0], label_smoothing=0.1)
    torch.testing.assert_close(loss, 0.7 * hard + 0.3 * soft)


def test_a_student_with_the_logits_of_its_teacher_has_no_gradient():
    teachers, (_, labels) = _teachers(), _batch()
    logits = torch.tensor(np.log(teachers)[labels[:, 1]], dtype=torch.float32, requires_grad=True)
    Distillation(make_loss(), teachers, 1.0, 3.0)(SequenceClassifierOutput(logits=logits), labels).backward()
    assert logits.grad.abs().max() < 1e-6


def test_parts_of_an_accumulated_batch_sum_to_the_whole():
    loss, (outputs, labels) = Distillation(make_loss(), _teachers(), 0.5, 2.0), _batch()
    parts = [
        loss(SequenceClassifierOutput(logits=outputs.logits[rows]), labels[rows], num_items_in_batch=6)
        for rows in (slice(0, 2), slice(2, 6))
    ]
    torch.testing.assert_close(sum(parts), loss(outputs, labels))


def test_mixup_mixes_the_targets_of_both_clips():
    loss, (outputs, labels) = Distillation(make_loss(), _teachers(), 0.5, 2.0), _batch()
    order = torch.arange(6).roll(1)
    mixed = Mix(0.25, order).loss(loss)(outputs, labels)
    torch.testing.assert_close(mixed, 0.25 * loss(outputs, labels) + 0.75 * loss(outputs, labels[order]))


@pytest.fixture
def student(dataset_dir, tmp_path):
    """Train a teacher, and make the Trainer of a student with the same data and other settings."""

    def make(name, data=None, **changes):
        settings = {"per_device_train_batch_size": 8, "use_cpu": True, "disable_tqdm": True, **SHORT}
        args = SerTrainingArguments(**{**settings, "output_dir": str(tmp_path / name), **changes})
        data = data or load_splits(DataArguments(str(dataset_dir), "ravdess"))
        data = check_teachers(args, data)
        set_seed(args.seed)
        model, extractor = build_model(ModelArguments(model_config=dict(COMPANION)), data.labels)
        return make_trainer(model, extractor, data, args), data

    return make


def _saved(trainer, data):
    trainer.save_model()
    data.write_record(Path(trainer.args.output_dir) / "splits.csv")
    return str(trainer.args.output_dir)


def test_each_clip_learns_the_probabilities_of_its_teachers(student):
    folders = [_saved(*student(f"teacher_{seed}", seed=seed)) for seed in (0, 1)]
    trainer, data = student("student", teachers=folders, distillation_temperature=1.0)
    targets = trainer._numbered_loss.targets
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(len(targets)))
    single = [
        student(f"one_{n}", teachers=[folder], distillation_temperature=1.0)[0] for n, folder in enumerate(folders)
    ]
    torch.testing.assert_close(targets, sum(each._numbered_loss.targets for each in single) / 2, rtol=0, atol=1e-6)
    labels = list(data.splits["train"]["label"])
    for batch in trainer.get_train_dataloader():
        assert [labels[clip] for clip in batch["clips"].tolist()] == batch["labels"].tolist()


def test_teachers_change_training_but_not_validation(student, run):
    folder = _saved(*student("teacher"))
    plain, _ = student("plain", logging_steps=1, logging_strategy="steps")
    taught, data = student("taught", teachers=[folder], logging_steps=1, logging_strategy="steps")
    assert plain.evaluate()["eval_loss"] == taught.evaluate()["eval_loss"]
    assert run(plain) != run(taught)
    assert data.pretraining == {}  # the student knows no more clips than its own


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_teacher_that_was_trained_on_held_out_clips_is_refused(student, split):
    trainer, data = student("teacher")
    folder = _saved(trainer, data)
    leaked = data.assignment.ids(split)[0]
    with open(f"{folder}/splits.csv", "a") as file:
        file.write(f"{leaked},train,\n")
    with pytest.raises(ConfigError, match=rf"was trained on 1 of the \d+ {split} clips .*same protocol"):
        student("student", teachers=[folder])


def test_clips_that_only_the_teacher_knows_count_as_trained_on(student):
    folder = _saved(*student("teacher"))
    with open(f"{folder}/splits.csv", "a") as file:
        file.write("other/clip,train,\n")
    assert dict(student("student", teachers=[folder])[1].pretraining) == {"other/clip": ""}


def test_unusable_teachers_are_told(student, tmp_path):
    with pytest.raises(ConfigError, match=r"teacher: .*nowhere"):
        student("student", teachers=[str(tmp_path / "nowhere")])
    trainer, _ = student("teacher")
    trainer.save_model()
    with pytest.raises(ConfigError, match=r"has no splits.csv, so its training clips are unknown"):
        student("student", teachers=[str(trainer.args.output_dir)])


@pytest.mark.parametrize(
    "options, message",
    [
        ({"distillation_weight": 0.0}, "distillation_weight is 0.0; expected above 0 to 1"),
        ({"distillation_temperature": -1.0}, "distillation_temperature is -1.0; expected above 0"),
        ({"teachers": ["a/b"], "copy_paste": 0.5}, "teachers and copy_paste are both given"),
        ({"teachers": ["a/b"], "corpus_classes": True}, "teachers and corpus_classes are both given"),
    ],
)
def test_bad_settings_are_rejected(tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        SerTrainingArguments(output_dir=str(tmp_path), **options)


def test_a_stream_has_no_numbers_for_its_clips(student, dataset_dir):
    stream = load_splits(DataArguments(str(dataset_dir), "ravdess", streaming=True))
    with pytest.raises(ConfigError, match="streaming does not support them"):
        student("student", data=stream, teachers=["owner/model"])


def test_locations_with_placeholders(tmp_path):
    args = DataArguments("data", protocol="emobox", fold=2, protocol_seed=3)
    assert fill_in_location("runs/{protocol}/{protocol_seed}/{fold}", args, "teacher") == "runs/emobox/3/2"
    (tmp_path / "fold_2").mkdir()
    assert fill_in_location(str(tmp_path), args, "teacher") == str(tmp_path / "fold_2")
    with pytest.raises(ConfigError, match=r"teacher runs/{name}: {name} is not a placeholder"):
        fill_in_location("runs/{name}", args, "teacher")


@pytest.mark.slow
def test_the_recipe_distils_into_another_network(finetune, companions, sounds_dir, tmp_path):
    teacher = str(companions[0].parent / "seed_{protocol_seed}")
    fields = {"dataset": str(sounds_dir), "configuration": "ravdess", "protocol": "random", "model_config": COMPANION}
    results = [
        finetune(**fields, output_dir=str(tmp_path / name), num_train_epochs=2, **options)
        for name, options in (("plain", {}), ("taught", {"teachers": [teacher]}))
    ]
    plain, taught = (results["splits"]["validation"]["scores"]["log_loss"] for results in results)
    assert plain != taught
    assert results[0]["splits"]["test"]["clips"] == read_results(tmp_path / "taught")["splits"]["test"]["clips"]
    with pytest.raises(ConfigError, match="was trained on"):
        finetune(**fields, protocol_seed=1, output_dir=str(tmp_path / "other"), teachers=[str(companions[0])])
