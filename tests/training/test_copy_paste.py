"""CopyPaste: training clips joined to others of their class, which seed, epoch and number decide."""

import collections
import json

import datasets
import numpy as np
import pytest
from torch.utils.data import DataLoader
from transformers import set_seed

from hf_ser.arguments import ConfigError
from hf_ser.audio import Preprocessing
from hf_ser.data import DataArguments, load_splits
from hf_ser.training import ModelArguments, SerTrainingArguments, build_model, make_trainer
from hf_ser.training.augmentation import AugmentedDataset, make_transforms
from hf_ser.training.copy_paste import CopyPaste
from hf_ser.training.speed import at_drawn_speed

LABELS = [0, 1, 0, 1, 0, 2, 0, 1, 0, 0, 1, 0]  # clip 5 is alone in its class
CORPORA = ["savee"] * 8 + ["tess"] * 4
SHORT = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}


def _draws(seed=0):
    return np.random.default_rng(seed)


class _Decode:
    def __init__(self, made):
        self.made = made

    def __call__(self, batch):
        return {"waveform": [self.made[number] for number in batch["number"]], "label": batch["number"]}


@pytest.fixture(scope="module")
def clips():
    """A dataset as `decoded` gives it: twelve clips of different lengths, each sample the clip's number + 1."""
    made = [np.full(1000 + 100 * number, number + 1, np.float32) for number in range(12)]
    return datasets.Dataset.from_dict({"number": list(range(12))}).with_transform(_Decode(made))


def _read(dataset, **options):
    options = {"batch_size": 4, **options}
    return [item["waveform"] for batch in DataLoader(dataset, collate_fn=list, **options) for item in batch]


def _same(waveforms, others):
    return [np.array_equal(a, b) for a, b in zip(waveforms, others, strict=True)]


def test_partners_are_other_clips_of_the_same_class_and_corpus():
    paste = CopyPaste(LABELS, CORPORA, 1.0, 0)
    partners = collections.defaultdict(collections.Counter)
    for number in range(12):
        for epoch in range(300):
            drawn = paste.draw(epoch=epoch, number=number)
            partners[number][None if drawn is None else drawn.partner] += 1
    assert set(partners[0]) == {2, 4, 6} and set(partners[9]) == {8, 11} and set(partners[3]) == {1, 7}
    assert set(partners[5]) == set(partners[10]) == {None}
    assert all(70 < count < 130 for count in partners[0].values())


def test_the_probability_is_the_share_of_joined_clips():
    for probability in (0.0, 0.3, 1.0):
        paste = CopyPaste([0] * 1000, ["tess"] * 1000, probability, 0)
        joined = [paste.draw(epoch=0, number=number) is not None for number in range(1000)]
        assert np.mean(joined) == pytest.approx(probability, abs=0.05 if 0 < probability < 1 else 0)


def test_a_joined_clip_is_a_part_of_both_in_either_order():
    own, other = np.arange(1, 7, dtype=np.float32), -np.arange(1, 5, dtype=np.float32)
    orders = [np.concatenate([own, other]), np.concatenate([other, own])]
    paste = CopyPaste([0], ["tess"], 1.0, 0, num_samples=8)
    found = {tuple(paste.join(own, other, _draws(seed))) for seed in range(200)}
    assert found == {tuple(order[start : start + 8]) for order in orders for start in range(3)}
    whole = {tuple(CopyPaste([0], ["tess"], 1.0, 0, num_samples=20).join(own, other, _draws(n))) for n in range(20)}
    assert whole == {tuple(order) for order in orders}  # not padded
    assert CopyPaste([0], ["tess"], 1.0, 0).join(own, other, _draws()).size == 6  # the longer of the two


def test_no_pause_is_between_the_clips_of_a_model_that_trims(tone):
    silence = np.zeros(8000, np.float32)
    padded = np.concatenate([silence, tone(0.5), silence])
    joined = CopyPaste([0], ["tess"], 1.0, 0, trim_db=30.0, num_samples=48_000).join(padded, padded, _draws())
    assert 16_000 <= joined.size < 22_000
    plain = CopyPaste([0], ["tess"], 1.0, 0, num_samples=48_000).join(padded, padded, _draws())
    assert plain.size == 48_000


def test_a_clip_depends_on_seed_epoch_and_number_only(clips):
    def made(seed, epoch, **options):
        dataset = AugmentedDataset(clips, [], seed, paste=CopyPaste(LABELS, CORPORA, 0.6, seed))
        dataset.set_epoch(epoch)
        return _read(dataset, **options)

    waveforms = made(3, 1)
    assert all(_same(waveforms, made(3, 1, batch_size=5))) and all(_same(waveforms, made(3, 1, num_workers=2)))
    assert not all(_same(waveforms, made(4, 1))) and not all(_same(waveforms, made(3, 2)))
    sources = [set(waveform.tolist()) for waveform in waveforms]
    assert 0 < sum(len(values) == 2 for values in sources) < 12
    for number, values in enumerate(sources):
        others = {int(value) - 1 for value in values} - {number}
        assert all(LABELS[other] == LABELS[number] and CORPORA[other] == CORPORA[number] for other in others)


def test_speeds_come_first_and_the_fixed_duration_and_augmentation_after(clips):
    gain = make_transforms([{"transform": "Gain", "min_gain_db": 6, "max_gain_db": 6, "p": 1}])
    length, paste = Preprocessing(duration_s=0.1), CopyPaste([0] * 12, ["tess"] * 12, 1.0, 0, num_samples=1600)
    dataset = AugmentedDataset(clips, gain, 0, speed_factors=[0.8, 1.25], paste=paste, length=length)
    for number in range(12):
        drawn = paste.draw(epoch=0, number=number)
        parts = [
            at_drawn_speed(clips[each]["waveform"], [0.8, 1.25], seed=0, epoch=0, number=each)
            for each in (number, drawn.partner)
        ]
        expected = length(paste.join(*parts, drawn.draws)) * 10 ** (6 / 20)
        np.testing.assert_allclose(dataset[number]["waveform"], expected, rtol=1e-5, atol=1e-5)


def test_a_trainer_joins_training_clips_only(trainer_for):
    joined, plain = trainer_for(copy_paste=1.0, data_seed=7), trainer_for()
    paste = joined.train_dataset.paste
    assert (paste.seed, paste.probability, paste.num_samples, paste.trim_db) == (7, 1.0, 8000, None)
    assert not any(_same(_read(joined.train_dataset), _read(plain.train_dataset)))
    assert {len(waveform) for waveform in _read(joined.train_dataset)} == {8000}
    assert all(_same(_read(joined.eval_dataset), _read(plain.eval_dataset)))


def test_the_duration_and_trimming_of_a_companion_apply(dataset_dir, tmp_path):
    data = load_splits(DataArguments(str(dataset_dir), "ravdess"))
    config = {"model_type": "ser-mel-cnn", "duration_s": 0.7, "trim_db": 30.0, "normalize": "clip"}
    config |= {"channels": [8, 8, 8], "hidden_size": 32, "dropout": 0.0, "head_dropout": 0.0}
    settings = {"copy_paste": 1.0, "use_cpu": True, "disable_tqdm": True, "num_train_epochs": 20, **SHORT}
    settings |= {"learning_rate": 3e-3, "logging_strategy": "epoch"}
    args = SerTrainingArguments(str(tmp_path), **settings)
    set_seed(args.seed)
    trainer = make_trainer(*build_model(ModelArguments(model_config=config), data.labels), data, args)
    paste = trainer.train_dataset.paste
    assert (paste.num_samples, paste.trim_db) == (11_200, 30.0)
    sizes = [len(waveform) for waveform in _read(trainer.train_dataset)]
    assert max(sizes) <= 11_200 and np.mean(np.array(sizes) == 11_200) > 0.5
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 20 and losses[-1] < 0.5 * losses[0]  # it learns


def test_a_run_does_not_change_with_batches_and_continues_in_the_middle_of_an_epoch(trainer_for, run):
    settings = {"num_train_epochs": 2, **SHORT, "copy_paste": 0.5, "speed_factors": [0.9, 1.1]}
    saving = {"save_strategy": "steps", "save_steps": 2, "save_total_limit": None}
    losses = run(trainer_for("first", **{**settings, **saving}))
    resumed = trainer_for("first", **{**settings, **saving})
    assert run(resumed, resume_from_checkpoint=f"{resumed.args.output_dir}/checkpoint-6") == losses
    layout = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    assert len(losses) == 8 and run(trainer_for("parts", **settings, **layout)) == pytest.approx(losses, rel=1e-3)
    plain = run(trainer_for("plain", **{**settings, "copy_paste": 0.0}))
    assert not any(a == pytest.approx(b, rel=1e-6) for a, b in zip(losses, plain, strict=True))


def test_it_is_recorded_and_compared_when_a_run_is_resumed(finetune, dataset_dir, tiny_config, tmp_path):
    fields = {"model_config": tiny_config, "dataset": str(dataset_dir), "configuration": "ravdess", "duration_s": 0.4}
    fields |= {"num_train_epochs": 1, "per_device_train_batch_size": 16, "output_dir": str(tmp_path / "run")}
    results = finetune(**fields, copy_paste=0.5, speed_factors=[0.9, 1.1])
    assert results["training"]["copy_paste"] == 0.5 and results["training"]["speed_factors"] == [0.9, 1.1]
    assert "copy_paste: 0.5" in (tmp_path / "run" / "recipe.yaml").read_text()
    (tmp_path / "run" / "results.json").unlink()
    settings = {"copy_paste": 0.5, "speed_factors": [1.1]}
    (tmp_path / "run" / "settings.json").write_text(json.dumps(settings))
    expected = r"other settings: .*speed_factors was \[1.1\] and is None; copy_paste was 0.5 and is 0.0"
    with pytest.raises(ConfigError, match=expected):
        finetune(**fields, resume_from_checkpoint=True)


def test_a_stream_is_rejected(dataset_dir, tiny_config, tmp_path):
    data = load_splits(DataArguments(str(dataset_dir), "ravdess", streaming=True))
    args = SerTrainingArguments(str(tmp_path), use_cpu=True, copy_paste=0.5)
    with pytest.raises(ConfigError, match="copy_paste is 0.5 and streaming is true; .* Leave one of them out"):
        make_trainer(*build_model(ModelArguments(model_config=tiny_config), data.labels), data, args)


@pytest.mark.parametrize("probability", [-0.1, 1.1, float("nan")])
def test_invalid_probabilities_are_rejected(tmp_path, probability):
    with pytest.raises(ConfigError, match="copy_paste is .*; expected a probability from 0"):
        SerTrainingArguments(output_dir=str(tmp_path), use_cpu=True, copy_paste=probability)
