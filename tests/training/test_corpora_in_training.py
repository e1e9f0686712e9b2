"""Balanced corpora and a softmax over the classes of each corpus: exact, repeatable, and for training clips only."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import set_seed
from transformers.modeling_outputs import SequenceClassifierOutput

from hf_ser.arguments import ConfigError
from hf_ser.data import DataArguments, load_splits
from hf_ser.scoring import read_results
from hf_ser.training import ModelArguments, SerTrainingArguments, build_model, make_trainer
from hf_ser.training.corpora_in_training import CorpusBalancedSampler, CorpusLoss
from hf_ser.training.losses import Mix, make_loss

COMPANION = {"model_type": "ser-mel-cnn", "duration_s": 0.5, "n_mels": 16, "channels": [4, 4, 4]}
BOTH = {"balance_corpora": True, "corpus_classes": True}
SHORT = {"num_train_epochs": 1, "eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}


@pytest.fixture
def trainer_of_all(dataset_dir, tmp_path):
    """Make a Trainer over both corpora, RAVDESS with eight classes and CREMA-D with six: 56 clips, 7 steps."""

    def make(name="run", streaming=False, **changes):
        settings = {"per_device_train_batch_size": 8, "learning_rate": 3e-3, "logging_strategy": "steps"}
        settings |= {"logging_steps": 1, "use_cpu": True, "disable_tqdm": True, "output_dir": str(tmp_path / name)}
        args = SerTrainingArguments(**{**settings, **changes})
        set_seed(args.seed)
        data = load_splits(DataArguments(str(dataset_dir), duration_s=0.5, streaming=streaming))
        model, extractor = build_model(ModelArguments(model_config=dict(COMPANION)), data.labels)
        return make_trainer(model, extractor, data, args)

    return make


def _losses(trainer, **options):
    trainer.train(**options)
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


# --- balanced corpora ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [{"a": 50, "b": 7, "c": 13}, {"a": 9, "b": 90}, {"a": 5}], ids=str)
def test_every_epoch_has_the_same_number_of_clips_of_each_corpus(sizes):
    corpora = [name for name, size in sizes.items() for _ in range(size)]
    sampler = CorpusBalancedSampler(corpora, seed=0)
    drawn = list(sampler)
    assert len(drawn) == len(sampler) == len(corpora)
    counts = Counter(corpora[clip] for clip in drawn)
    assert max(counts.values()) - min(counts.values()) <= 1 and set(counts) == set(sizes)
    for name, size in sizes.items():
        clips = Counter(clip for clip in drawn if corpora[clip] == name)
        if counts[name] >= size:  # whole passes: every clip, and none twice more often than another
            assert len(clips) == size and max(clips.values()) - min(clips.values()) <= 1
        else:
            assert max(clips.values()) == 1


def test_corpora_are_mixed_within_an_epoch():
    corpora = ["a"] * 900 + ["b"] * 100
    drawn = [corpora[clip] for clip in CorpusBalancedSampler(corpora, seed=1)]
    for start in range(0, 1000, 250):
        assert 90 < drawn[start : start + 250].count("b") < 160


def test_the_order_depends_on_seed_and_epoch_only():
    corpora = ["a"] * 30 + ["b"] * 10
    one, two, other = (CorpusBalancedSampler(corpora, seed) for seed in (3, 3, 4))
    first = list(one)
    assert list(one) == first == list(two) != list(other)
    one.set_epoch(1)
    assert list(one) != first
    one.set_epoch(0)
    assert list(one) == first


def test_training_draws_each_corpus_equally_often_and_anew_in_every_epoch(trainer_of_all, monkeypatch):
    trainer = trainer_of_all(**SHORT, **BOTH)
    batches = list(trainer.get_train_dataloader())
    corpora = torch.cat([batch["corpora"] for batch in batches])
    counts = corpora.bincount().tolist()
    assert len(corpora) == len(trainer.train_dataset) and max(counts) - min(counts) <= 1
    plain = Counter(trainer.train_dataset.numbers)
    assert plain[0] != plain[1]  # so that balance changes something
    epochs = []
    monkeypatch.setattr(
        CorpusBalancedSampler, "set_epoch", lambda self, epoch: (epochs.append(epoch), setattr(self, "epoch", epoch))
    )
    trainer_of_all("two", **{**SHORT, "num_train_epochs": 2}, balance_corpora=True).train()
    assert set(epochs) == {0, 1}


# --- classes of a corpus ------------------------------------------------------------------------------------------

CLASSES = [[0, 1, 2, 3], [1, 3], [0, 2, 3]]


def _batch(size=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(size, 4, generator=generator, requires_grad=True)
    corpora = torch.arange(size) % 3
    labels = torch.tensor([CLASSES[corpus][index % len(CLASSES[corpus])] for index, corpus in enumerate(corpora)])
    return logits, torch.stack([labels, corpora], dim=1)


def _corpus_loss(**options):
    return CorpusLoss(CLASSES, [make_loss(**options) for _ in CLASSES])


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_a_cross_entropy_of_masked_logits(smoothing):
    logits, labels = _batch()
    loss = _corpus_loss(label_smoothing=smoothing)(SequenceClassifierOutput(logits=logits), labels)
    expected = []
    for row, (label, corpus) in zip(logits, labels.tolist(), strict=True):
        target = torch.zeros(4)
        target[CLASSES[corpus]] = smoothing / len(CLASSES[corpus])
        target[label] += 1 - smoothing
        mask = torch.full((4,), -torch.inf)
        mask[CLASSES[corpus]] = 0.0
        logs = (row + mask).log_softmax(dim=0)
        expected.append(-(target[CLASSES[corpus]] * logs[CLASSES[corpus]]).sum())
    torch.testing.assert_close(loss, torch.stack(expected).mean())


@pytest.mark.parametrize("name", ["cross_entropy", "focal"])
def test_classes_that_a_corpus_lacks_get_no_gradient(name):
    logits, labels = _batch()
    _corpus_loss(name=name, label_smoothing=0.1)(SequenceClassifierOutput(logits=logits), labels).backward()
    for row, corpus in zip(logits.grad, labels[:, 1].tolist(), strict=True):
        lacking = [index for index in range(4) if index not in CLASSES[corpus]]
        assert (row[lacking] == 0).all() and (row[CLASSES[corpus]] != 0).all()


def test_gradients_are_those_of_finite_differences():
    logits, labels = _batch(6)
    loss = CorpusLoss(
        CLASSES,
        [
            lambda outputs, target, num_items_in_batch: (
                functional.cross_entropy(outputs.logits, target, reduction="sum", label_smoothing=0.1)
                / num_items_in_batch
            )
        ]
        * 3,
    )
    assert torch.autograd.gradcheck(
        lambda values: loss(SequenceClassifierOutput(logits=values), labels), logits.detach().double().requires_grad_()
    )


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1}, {"class_weights": [0.5, 2.0, 1.0, 1.5]}], ids=str)
def test_with_all_classes_it_is_the_plain_loss(options):
    logits, labels = _batch()
    loss = CorpusLoss([range(4)] * 3, [make_loss(**options)] * 3)(SequenceClassifierOutput(logits=logits), labels)
    torch.testing.assert_close(loss, make_loss(**options)(SequenceClassifierOutput(logits=logits), labels[:, 0]))


@pytest.mark.parametrize("sizes", [[3, 3, 3, 3], [11, 1]], ids=str)
def test_parts_of_an_accumulated_batch_add_up_to_the_whole(sizes):
    logits, labels = _batch()
    loss = _corpus_loss(label_smoothing=0.1)
    parts = [
        loss(SequenceClassifierOutput(logits=part), own, num_items_in_batch=12)
        for part, own in zip(logits.split(sizes), labels.split(sizes), strict=True)
    ]
    torch.testing.assert_close(sum(parts), loss(SequenceClassifierOutput(logits=logits), labels))


def test_mixed_clips_keep_the_classes_of_both_corpora():
    logits, labels = _batch()
    order, loss, outputs = torch.arange(12).roll(1), _corpus_loss(), SequenceClassifierOutput(logits=logits)
    mixed = Mix(0.3, order).loss(loss)(outputs, labels, num_items_in_batch=12)
    torch.testing.assert_close(mixed, 0.3 * loss(outputs, labels) + 0.7 * loss(outputs, labels[order]))


def test_calm_and_surprised_get_no_gradient_from_crema_d(trainer_of_all):
    """The classes come from the training clips: CREMA-D (number 0) has neither, RAVDESS has all eight."""
    trainer = trainer_of_all(**SHORT, **BOTH, label_smoothing=0.1)
    batch = next(iter(trainer.get_train_dataloader()))
    names = [trainer.model.config.id2label[index] for index in range(8)]
    lacking = [names.index("calm"), names.index("surprised")]
    for corpus, silent in ((0, True), (1, False)):
        trainer.model.zero_grad()
        rows = batch["corpora"] == corpus
        trainer.compute_loss(trainer.model.train(), {name: value[rows] for name, value in batch.items()}).backward()
        gradient = trainer.model.classifier.bias.grad
        assert rows.any() and (gradient[lacking] == 0).all() == silent
    assert "corpora" in batch  # the batch is not changed


# --- runs ---------------------------------------------------------------------------------------------------------


def test_validation_is_that_without_the_options(trainer_of_all):
    aided, plain = trainer_of_all("aided", **BOTH).evaluate(), trainer_of_all("plain").evaluate()
    scores = [name for name in plain if not name.endswith(("time", "per_second"))]
    assert "eval_loss" in scores and {name: aided[name] for name in scores} == {name: plain[name] for name in scores}


def test_runs_are_repeatable_and_differ_from_those_without(trainer_of_all):
    options = [{**BOTH, "mixup_alpha": 0.4}, {**BOTH, "mixup_alpha": 0.4}, {"mixup_alpha": 0.4}]
    one, two, plain = (_losses(trainer_of_all(**SHORT, **each)) for each in options)
    assert one == two and not any(a == pytest.approx(b, rel=1e-6) for a, b in zip(one, plain, strict=True))


def test_a_run_resumes_in_the_middle_of_an_epoch(trainer_of_all):
    settings = {**BOTH, "mixup_alpha": 0.4, "num_train_epochs": 2, "eval_strategy": "no"}
    settings |= {"load_best_model_at_end": False, "save_strategy": "steps", "save_steps": 3, "save_total_limit": None}
    trainer = trainer_of_all(**settings)
    losses = _losses(trainer)
    resumed = trainer_of_all(**settings)
    assert _losses(resumed, resume_from_checkpoint=f"{trainer.args.output_dir}/checkpoint-3") == losses
    for name, tensor in trainer.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], tensor), name


def test_it_learns(trainer_of_all):
    trainer = trainer_of_all(**{**SHORT, "num_train_epochs": 12}, **BOTH)
    losses = _losses(trainer)
    assert np.mean(losses[-7:]) < np.mean(losses[:7]) - 0.1


def test_settings_that_do_not_work_together_are_rejected(trainer_of_all):
    with pytest.raises(ConfigError, match="balance_corpora is true and train_sampling_strategy is group_by_length"):
        trainer_of_all(balance_corpora=True, train_sampling_strategy="group_by_length")
    for name in BOTH:
        with pytest.raises(ConfigError, match=f"{name} is true and streaming is true"):
            trainer_of_all(streaming=True, **{name: True})


def test_the_options_and_auxiliary_corpora_are_in_the_results(finetune, dataset_dir, tmp_path):
    fields = {"model_config": COMPANION, "dataset": str(dataset_dir), "num_train_epochs": 1}
    fields |= {"per_device_train_batch_size": 8, "output_dir": str(tmp_path / "run"), "auxiliary_corpora": ["crema_d"]}
    finetune(**fields, **BOTH, class_weights=True)
    results = read_results(tmp_path / "run")
    assert results["training"]["balance_corpora"] is True and results["training"]["corpus_classes"] is True
    assert results["protocol"]["auxiliary_corpora"] == ["crema_d"]
    assert set(results["splits"]["test"]["groups"]["corpus"]["groups"]) == {"ravdess"}
    assert "auxiliary_corpora:\n- crema_d" in (tmp_path / "run/recipe.yaml").read_text()
