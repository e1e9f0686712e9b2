"""What a training learns from votes: the rules for ties and few raters, the loss, and rejected settings."""

import datasets
import numpy as np
import pytest
import torch
from scipy.stats import entropy
from torch.nn import functional
from transformers import set_seed
from transformers.modeling_outputs import SequenceClassifierOutput

from hf_ser.arguments import ConfigError
from hf_ser.data import DataArguments, load_splits
from hf_ser.scoring import read_results
from hf_ser.training import (
    ModelArguments,
    SerTrainingArguments,
    build_model,
    check_clips,
    evaluate_saved,
    make_trainer,
    save_model,
    write_reports,
)
from hf_ser.training.losses import Mix
from hf_ser.training.vote_targets import VoteLoss, choose_targets

COMPANION = {"model_type": "ser-mel-cnn", "duration_s": 0.5, "n_mels": 16, "channels": [4, 4, 4]}
VOTES = datasets.List({"label": datasets.Value("string"), "count": datasets.Value("int32")})
NEUTRAL, HAPPY, SAD = 0, 2, 3


def with_votes(data, votes, corpus=None):
    """The splits with these votes, in turn, for the clips of a corpus; None for no votes."""
    for split, part in data.splits.items():
        given = [
            votes[row % len(votes)] if corpus in (None, name) else None for row, name in enumerate(part["corpus"])
        ]
        column = [clip and [{"label": label, "count": count} for label, count in clip.items()] for clip in given]
        data.splits[split] = part.add_column("votes", column, feature=VOTES)
    return data


@pytest.fixture
def data(dataset_dir):
    return load_splits(DataArguments(str(dataset_dir), "ravdess", duration_s=0.5))


@pytest.fixture
def arguments(tmp_path):
    def make(**changes):
        settings = {"per_device_train_batch_size": 8, "use_cpu": True, "disable_tqdm": True, "figures": False}
        return SerTrainingArguments(
            **{"output_dir": str(tmp_path / "run"), **settings, "num_train_epochs": 1, **changes}
        )

    return make


MIXED = [{"happy": 3, "sad": 1}, {"happy": 2, "sad": 2}, {"sad": 1, "bored": 5}, {"neutral": 5}]


def test_a_majority_leaves_out_ties_and_clips_with_few_raters(data, arguments):
    chosen = choose_targets(with_votes(data, MIXED), arguments(target="majority"))
    clips = len(data.splits["train"])
    each = [len(range(start, clips, 4)) for start in range(4)]
    assert set(chosen.data.splits["train"]["label"]) == {HAPPY, NEUTRAL} and chosen.distributions is None
    assert chosen.data.splits["train"]["id"] == [
        clip for row, clip in enumerate(data.splits["train"]["id"]) if row % 4 in (0, 3)
    ]
    assert chosen.summary == {
        **{"target": "majority", "min_raters": 3, "train_clips_used": each[0] + each[3]},
        **{"clips_with_votes": clips - each[2], "ties": each[1], "too_few_raters": each[2]},
        "clips_of_corpora_without_votes": 0,
    }
    assert data.splits["train"].features["label"] == chosen.data.splits["train"].features["label"]
    assert chosen.data.splits["test"] is data.splits["test"]


def test_votes_keep_ties_and_validation_has_the_majority(data, arguments):
    chosen = choose_targets(with_votes(data, MIXED), arguments(target="votes", min_raters=4))
    assert chosen.distributions[:3, [NEUTRAL, HAPPY, SAD]].tolist() == [[0, 0.75, 0.25], [0, 0.5, 0.5], [1, 0, 0]]
    assert len(chosen.distributions) == len(chosen.data.splits["train"]) == chosen.summary["train_clips_used"]
    assert set(chosen.data.splits["validation"]["label"]) == {HAPPY, NEUTRAL}
    whole = len(data.splits["validation"])
    assert chosen.calibration.shape == (whole, len(data.labels))
    assert np.isnan(chosen.calibration[2::4]).all() and chosen.calibration[1, [HAPPY, SAD]].tolist() == [0.5, 0.5]
    assert choose_targets(data, arguments(target="votes", min_raters=1)).summary["too_few_raters"] == 0


def test_clips_of_corpora_without_votes_keep_their_label(dataset_dir, arguments):
    data = load_splits(DataArguments(str(dataset_dir), "all", duration_s=0.5))
    corpus = np.asarray(data.splits["train"]["corpus"])
    chosen = choose_targets(with_votes(data, [{"sad": 3}], "ravdess"), arguments(target="votes"))
    own = np.asarray(data.splits["train"]["label"])
    assert (chosen.distributions.argmax(axis=1) == np.where(corpus == "ravdess", SAD, own)).all()
    assert chosen.summary["clips_of_corpora_without_votes"] == (corpus != "ravdess").sum() > 0


def test_the_loss_is_the_cross_entropy_and_its_smallest_value_is_0_for_kl():
    shares = np.random.default_rng(0).dirichlet(np.ones(4), 5)
    labels = torch.tensor([[0, 4], [1, 2], [3, 0]])
    logits = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    outputs, rows = SequenceClassifierOutput(logits=logits), shares[[4, 2, 0]]
    probabilities = logits.softmax(dim=1).detach().numpy()
    expected = np.mean([entropy(p) + entropy(p, q) for p, q in zip(rows, probabilities, strict=True)])
    soft, kl = VoteLoss(shares)(outputs, labels), VoteLoss(shares, kl=True)(outputs, labels)
    assert soft.item() == pytest.approx(expected, rel=1e-5)
    assert kl.item() == pytest.approx(
        np.mean([entropy(p, q) for p, q in zip(rows, probabilities, strict=True)]), rel=1e-5
    )
    torch.testing.assert_close(*(torch.autograd.grad(loss, logits, retain_graph=True)[0] for loss in (soft, kl)))
    perfect = SequenceClassifierOutput(logits=torch.tensor(rows).log())
    assert float(VoteLoss(shares, kl=True)(perfect, labels)) == pytest.approx(0, abs=1e-6)
    one_hot = VoteLoss(np.eye(4), kl=True, label_smoothing=0.0)(outputs, torch.tensor([[0, 1], [0, 2], [0, 3]]))
    torch.testing.assert_close(one_hot, functional.cross_entropy(logits, torch.tensor([1, 2, 3])))
    smooth = VoteLoss(np.eye(4), label_smoothing=0.2)(outputs, torch.tensor([[0, 1], [0, 2], [0, 3]]))
    torch.testing.assert_close(smooth, functional.cross_entropy(logits, torch.tensor([1, 2, 3]), label_smoothing=0.2))


def test_accumulated_parts_sum_to_the_whole_and_mixup_mixes_distributions():
    loss = VoteLoss(np.random.default_rng(0).dirichlet(np.ones(4), 6))
    logits, labels = torch.randn(6, 4), torch.stack([torch.zeros(6, dtype=torch.long), torch.arange(6)], dim=1)
    whole = loss(SequenceClassifierOutput(logits=logits), labels)
    parts = [
        loss(SequenceClassifierOutput(logits=logits[rows]), labels[rows], num_items_in_batch=6)
        for rows in (slice(0, 2), slice(2, 6))
    ]
    torch.testing.assert_close(sum(parts), whole)
    order = torch.arange(6).roll(1)
    outputs = SequenceClassifierOutput(logits=logits)
    mixed = Mix(0.25, order).loss(loss)(outputs, labels)
    torch.testing.assert_close(mixed, 0.25 * loss(outputs, labels) + 0.75 * loss(outputs, labels[order]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target": "consensus"}, "target is 'consensus'; expected one of acted, majority, votes"),
        ({"target": "votes", "vote_loss": "js"}, "vote_loss is 'js'; expected one of cross_entropy, kl"),
        ({"target": "majority", "vote_loss": "kl"}, "vote_loss is kl and target majority; expected target votes"),
        ({"target": "votes", "min_raters": 0}, "min_raters is 0; expected at least 1"),
        ({"target": "votes", "loss": "focal"}, "target is votes and loss is focal; expected one of them"),
        ({"target": "votes", "copy_paste": 0.5}, "target is votes and copy_paste is 0.5"),
        ({"target": "votes", "class_weights": True}, "target is votes and class_weights is True"),
        ({"target": "votes", "corpus_classes": True}, "target is votes and corpus_classes is True"),
        ({"target": "votes", "supervised_contrastive": 0.1}, "target is votes and supervised_contrastive is 0.1"),
        ({"target": "votes", "teachers": ["runs/a"]}, "target is votes and teachers is"),
    ],
)
def test_settings_that_do_not_work_together_are_rejected(arguments, settings, message):
    with pytest.raises(ConfigError) as error:
        arguments(**settings)
    assert message in str(error.value)


def test_a_target_without_votes_is_rejected_before_training(data, dataset_dir, arguments):
    with pytest.raises(ConfigError, match="target is majority, and no train clip has votes of at least 3 raters"):
        check_clips(data, arguments(target="majority"))
    tied = with_votes(data, [{"happy": 2, "sad": 2}])
    with pytest.raises(ConfigError, match="target is votes, and no validation clip has"):
        check_clips(tied, arguments(target="votes"))
    stream = load_splits(DataArguments(str(dataset_dir), "ravdess", streaming=True))
    with pytest.raises(ConfigError, match="target is votes and streaming is true"):
        check_clips(stream, arguments(target="votes"))


@pytest.mark.parametrize("target", ["majority", "votes"])
def test_a_training_learns_the_votes_and_is_scored_on_the_labels(data, arguments, tmp_path, target):
    data = with_votes(data, [{"sad": 9, "happy": 1}])
    args = arguments(target=target, learning_rate=3e-2, num_train_epochs=3, logging_strategy="epoch", mixup_alpha=0.2)
    set_seed(0)
    model, extractor = build_model(ModelArguments(model_config=dict(COMPANION)), data.labels)
    trainer = make_trainer(model, extractor, data, args)
    trainer.train()
    save_model(trainer)
    results, predictions = evaluate_saved(trainer, data)
    write_reports(trainer, data, results, predictions)
    stored = read_results(tmp_path / "run")
    assert stored["training"]["target"] == target and stored["training"]["train_clips_used"] == len(
        data.splits["train"]
    )
    assert stored["splits"]["test"]["scores"]["accuracy"] < 0.5  # of the labels, which it did not learn
    [test] = predictions["test"]
    assert (test.predicted == test.labels.index("sad")).all()
    if target == "votes":  # the temperature is that of the shares
        assert test.probabilities[:, test.labels.index("sad")].mean() == pytest.approx(0.9, abs=0.08)
