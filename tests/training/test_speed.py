"""Speed perturbation: each training clip at one of a few speeds, which seed, epoch and number decide."""

import collections

import datasets
import numpy as np
import pytest
from torch.utils.data import DataLoader

from hf_ser.arguments import ConfigError, parse
from hf_ser.audio import SAMPLING_RATE, Preprocessing
from hf_ser.training import SerTrainingArguments
from hf_ser.training.augmentation import AugmentedDataset, make_transforms
from hf_ser.training.speed import at_drawn_speed, change_speed

FACTORS = [0.9, 1.0, 1.1]
SHORT = {"num_train_epochs": 2, "eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}


class _Decode:
    def __init__(self, made):
        self.made = made

    def __call__(self, batch):
        return {"waveform": [self.made[number] for number in batch["number"]], "label": batch["number"]}


@pytest.fixture(scope="module")
def clips(tone):
    """A dataset as `decoded` gives it: twelve clips of different lengths."""
    made = [tone(0.2 + 0.02 * number) for number in range(12)]
    return datasets.Dataset.from_dict({"number": list(range(12))}).with_transform(_Decode(made))


def _read(dataset, **options):
    options = {"batch_size": 4, **options}
    return [item["waveform"] for batch in DataLoader(dataset, collate_fn=list, **options) for item in batch]


def _same(waveforms, others):
    return [np.array_equal(a, b) for a, b in zip(waveforms, others, strict=True)]


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.0, 1.1, 1.37, 2.0])
def test_tempo_and_pitch_change_together(tone, factor):
    clip = tone(1.0, frequency_hz=440.0, noise=0.01)
    changed = change_speed(clip, factor)
    assert changed.dtype == np.float32 and abs(len(changed) - len(clip) / factor) <= 1
    loudest_hz = np.abs(np.fft.rfft(changed)).argmax() * SAMPLING_RATE / len(changed)
    assert loudest_hz == pytest.approx(440 * factor, rel=0.005)
    assert np.sqrt(np.mean(changed**2)) == pytest.approx(np.sqrt(np.mean(clip**2)), rel=0.02)


def test_a_sample_is_left_of_every_clip():
    assert change_speed(np.ones(1, np.float32), 2.0).size == 1


def test_a_clip_depends_on_seed_epoch_and_number_only(clips):
    def made(seed, epoch, **options):
        dataset = AugmentedDataset(clips, [], seed, speed_factors=FACTORS)
        dataset.set_epoch(epoch)
        return _read(dataset, **options)

    waveforms = made(3, 1)
    assert all(_same(waveforms, made(3, 1, batch_size=5))) and all(_same(waveforms, made(3, 1, num_workers=2)))
    assert not all(_same(waveforms, made(4, 1))) and not all(_same(waveforms, made(3, 2)))
    unchanged = _same(waveforms, [clips[number]["waveform"] for number in range(12)])
    assert 0 < sum(unchanged) < 12  # 1.0 is one of the factors


def test_factors_are_equally_likely_and_independent_of_the_augmentation(tone):
    clip = tone(0.1)
    sizes = {len(change_speed(clip, factor)): factor for factor in FACTORS}
    drawn = [
        sizes[len(at_drawn_speed(clip, FACTORS, seed=0, epoch=epoch, number=number))]
        for epoch in range(3)
        for number in range(200)
    ]
    counts = collections.Counter(drawn)
    assert all(abs(counts[factor] - 200) < 40 for factor in FACTORS)
    assert drawn[:200] != drawn[200:400]
    gain = make_transforms([{"transform": "Gain", "min_gain_db": -6, "max_gain_db": 6, "p": 1}])
    clips = [{"waveform": np.ones(1600, np.float32), "label": 0}] * 200
    items = AugmentedDataset(datasets.Dataset.from_list(clips).with_format("numpy"), gain, 0)
    gains = [items[number]["waveform"][0] for number in range(200)]
    assert abs(np.corrcoef(gains, drawn[:200])[0, 1]) < 0.2


def test_it_composes_with_augmentation_and_comes_before_the_cut(clips):
    gain = make_transforms([{"transform": "Gain", "min_gain_db": 6, "max_gain_db": 6, "p": 1}])
    length = Preprocessing(duration_s=0.3)
    dataset = AugmentedDataset(clips, gain, 0, speed_factors=[1.25], length=length)
    for number in range(12):
        expected = length(change_speed(clips[number]["waveform"], 1.25)) * 10 ** (6 / 20)
        np.testing.assert_allclose(dataset[number]["waveform"], expected, rtol=1e-5, atol=1e-6)
        assert len(expected) == 4800


def test_a_trainer_changes_the_speed_of_training_clips_only(trainer_for):
    changed, plain = trainer_for(speed_factors=FACTORS, data_seed=7), trainer_for()
    assert changed.train_dataset.seed == 7 and changed.train_dataset.speed_factors == FACTORS
    assert not isinstance(plain.train_dataset, AugmentedDataset)
    same = _same(_read(changed.train_dataset), _read(plain.train_dataset))
    assert 0 < sum(same) < len(same)
    assert all(_same(_read(changed.eval_dataset), _read(plain.eval_dataset)))
    assert {len(waveform) for waveform in _read(changed.train_dataset)} == {8000}


def test_a_run_does_not_change_with_batches_or_workers(trainer_for, run):
    losses = run(trainer_for("whole", speed_factors=FACTORS, **SHORT))
    layout = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    accumulated = run(trainer_for("parts", speed_factors=FACTORS, **SHORT, **layout))
    assert len(losses) == 8 and accumulated == pytest.approx(losses, rel=1e-4)
    workers = {"dataloader_num_workers": 2, "dataloader_persistent_workers": True}
    assert run(trainer_for("workers", speed_factors=FACTORS, **SHORT, **workers)) == pytest.approx(losses, rel=1e-6)
    plain = run(trainer_for("plain", **SHORT))
    assert not any(a == pytest.approx(b, rel=1e-6) for a, b in zip(losses, plain, strict=True))


def test_a_run_continues_in_the_middle_of_an_epoch(trainer_for, run):
    settings = {**SHORT, "speed_factors": FACTORS, "mixup_alpha": 0.4}
    settings |= {"save_strategy": "steps", "save_steps": 2, "save_total_limit": None}
    losses = run(trainer_for("first", **settings))
    resumed = trainer_for("first", **settings)
    assert run(resumed, resume_from_checkpoint=f"{resumed.args.output_dir}/checkpoint-6") == losses


@pytest.mark.parametrize("factors", [[], "0.9", ["fast"], [0.0, 1.0], [0.9, 2.1], [float("nan")]], ids=str)
def test_invalid_factors_are_rejected(tmp_path, factors):
    with pytest.raises(ConfigError, match=r"speed_factors is .*; expected a list of numbers from 0.5 to 2"):
        SerTrainingArguments(output_dir=str(tmp_path), use_cpu=True, speed_factors=factors)


def test_factors_come_from_yaml_or_the_command_line(tmp_path):
    words = ["--output_dir", str(tmp_path), "--use_cpu", "true"]
    (args,) = parse(SerTrainingArguments, argv=[*words, "--speed_factors", "0.9", "1.1"])
    assert args.speed_factors == [0.9, 1.1]
    (tmp_path / "config.yaml").write_text("speed_factors: [0.9, 1, 1.1]\n")
    (args,) = parse(SerTrainingArguments, argv=[*words, "--config", str(tmp_path / "config.yaml")])
    assert args.speed_factors == [0.9, 1, 1.1] and args.given["speed_factors"] == [0.9, 1, 1.1]
