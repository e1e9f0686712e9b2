import random
import sys
import warnings
from pathlib import Path

import datasets
import numpy as np
import pytest
import soundfile as sf
import torch
from torch.utils.data import DataLoader

from hf_ser.arguments import ConfigError, parse
from hf_ser.extras import MissingExtraError
from hf_ser.training import SerTrainingArguments
from hf_ser.training.augmentation import AugmentationError, AugmentedDataset, apply_transforms, make_transforms, seeded

ALL = [
    {"transform": "AddGaussianSNR", "min_snr_db": 5, "max_snr_db": 30, "p": 0.5},
    {"transform": "Gain", "min_gain_db": -6, "max_gain_db": 6, "p": 0.5},
    {"transform": "Shift", "min_shift": -0.1, "max_shift": 0.1, "rollover": False, "p": 0.5},
    {"transform": "TimeStretch", "min_rate": 0.9, "max_rate": 1.1, "leave_length_unchanged": False, "p": 0.5},
    {"transform": "PitchShift", "min_semitones": -2, "max_semitones": 2, "p": 0.5},
]


class _Decode:
    """Waveforms of numbers; workers that are not forked get it by pickling."""

    def __init__(self, made):
        self.made = made

    def __call__(self, batch):
        return {"waveform": [self.made[number] for number in batch["number"]], "label": batch["number"]}


@pytest.fixture(scope="module")
def clips(tone):
    """A dataset as `decoded` gives it: twelve clips of different lengths."""
    made = [tone(0.2 + 0.02 * number) for number in range(12)]
    return datasets.Dataset.from_dict({"number": list(range(12))}).with_transform(_Decode(made))


def _same(items, others):
    return [np.array_equal(a["waveform"], b["waveform"]) for a, b in zip(items, others, strict=True)]


def _read(dataset, **options):
    options = {"batch_size": 4, **options}
    return [item for batch in DataLoader(dataset, collate_fn=list, **options) for item in batch]


def test_a_clip_depends_on_seed_epoch_and_number_only(clips):
    dataset = AugmentedDataset(clips, make_transforms(ALL), seed=3)
    items = _read(dataset)
    assert [item["label"] for item in items] == list(range(12)) and len(dataset) == 12
    assert all(_same(items, _read(dataset, batch_size=5)))
    assert all(_same(items, _read(dataset, num_workers=2)))
    assert all(_same(items[::-1], [dataset[number] for number in range(-1, -13, -1)]))
    assert all(_same(items, _read(AugmentedDataset(clips, make_transforms(ALL), seed=3))))
    changed = _same(items, _read(AugmentedDataset(clips, make_transforms(ALL), seed=4)))
    assert sum(changed) < 4  # a clip that no transform is drawn for stays as it is
    with pytest.raises(IndexError):
        dataset[12]


def test_items_are_float32_and_differ_from_the_clips(clips):
    items = _read(AugmentedDataset(clips, make_transforms(ALL), seed=0))
    assert sum(_same(items, [clips[number] for number in range(12)])) < 4
    for item in items:
        assert item["waveform"].dtype == np.float32 and item["waveform"].ndim == 1
        assert len(item["waveform"]) > 0 and np.isfinite(item["waveform"]).all()
    stretched = [len(item["waveform"]) != len(clips[item["label"]]["waveform"]) for item in items]
    assert 0 < sum(stretched) < 12


def test_an_epoch_draws_anew_also_in_workers_that_outlive_it(clips):
    dataset = AugmentedDataset(clips, make_transforms(ALL), seed=0)
    loader = DataLoader(dataset, batch_size=4, collate_fn=list, num_workers=2, persistent_workers=True)
    epochs = []
    for epoch in (0, 1, 0):
        dataset.set_epoch(epoch)
        epochs.append([item for batch in loader for item in batch])
        assert all(_same(epochs[-1], [dataset[number] for number in range(12)]))
    assert all(_same(epochs[0], epochs[2]))
    assert sum(_same(epochs[0], epochs[1])) < 4


def test_other_draws_go_on_as_if_nothing_had_been_augmented(clips):
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    expected = random.random(), np.random.random(), torch.rand(()).item()
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    _ = AugmentedDataset(clips, make_transforms(ALL), seed=0)[0]
    assert (random.random(), np.random.random(), torch.rand(()).item()) == expected


def test_states_are_put_back_after_an_error():
    before = random.getstate(), np.random.get_state()[1].tolist()
    with pytest.raises(KeyError), seeded(1, 2):
        raise KeyError
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before


def test_clips_themselves_are_not_written_into(tone):
    waveform = tone()
    kept = waveform.copy()
    with seeded(0):
        apply_transforms(waveform, make_transforms([{**entry, "p": 1} for entry in ALL]))
    np.testing.assert_array_equal(waveform, kept)


def test_what_leaves_nothing_of_a_clip_is_an_error(tone):
    transforms = make_transforms([{"transform": "Gain", "p": 1}])
    with pytest.raises(AugmentationError, match="Gain returned samples that are not finite for a clip of 4800"):
        apply_transforms(tone() * np.float32(np.inf), transforms)
    with pytest.raises(AugmentationError, match="Gain returned no samples"):
        apply_transforms(np.zeros(0), transforms)


@pytest.mark.parametrize("folders", [("",), ("b", "a")])
def test_impulse_responses_from_a_folder(tmp_path, tone, folders):
    for number, folder in enumerate(folders):
        (tmp_path / folder).mkdir(exist_ok=True)
        delay = 100 * (number + 1)
        sf.write(tmp_path / folder / "room.wav", np.r_[np.zeros(delay), 1.0, 0.0], 16_000)
    (transform,) = make_transforms([{"transform": "ApplyImpulseResponse", "ir_path": str(tmp_path), "p": 1}])
    assert transform.ir_files == sorted(transform.ir_files) and len(transform.ir_files) == len(folders)
    clip = tone()
    with seeded(0):
        moved = apply_transforms(clip, [transform])
    delay = 200 if Path(transform.parameters["ir_file_path"]).parent.name == "a" else 100
    expected = np.r_[np.zeros(delay), clip[:-delay]]
    np.testing.assert_allclose(moved, expected * 0.5 / np.abs(clip).max(), atol=2e-3)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ("Gain", "augmentation is 'Gain'; expected a list"),
        (["Gain"], "expected a mapping with a transform"),
        ([{"min_gain_db": 0}], "expected a mapping with a transform"),
        ([{"transform": "Gian"}], "no waveform transform 'Gian' .did you mean Gain"),
        ([{"transform": "Compose"}], "no waveform transform 'Compose'; expected one of AddBackgroundNoise"),
        ([{"transform": "Lambda"}], "no waveform transform 'Lambda'"),
        ([{"transform": "__version__"}], "no waveform transform"),
        ([{"transform": "Gain", "min_gain": 0}], "Gain has no parameter 'min_gain' .did you mean min_gain_db"),
        ([{"transform": "Gain", "p": 2}], r"Gain\(p=2\) is invalid"),
        ([{"transform": "Gain", "min_gain_db": "low"}], "min_gain_db='low'"),
        ([{"transform": "Gain", "min_gain_db": 3, "max_gain_db": 1}], "cannot be greater than max_gain_db"),
        ([{"transform": "AddColorNoise", "min_f_decay": None, "max_f_decay": None}], "AddColorNoise"),
        ([{"transform": "ApplyImpulseResponse"}], "ir_path"),
        ([{"transform": "ApplyImpulseResponse", "ir_path": "/no/such/folder"}], "ir_path .* is /no/such/folder"),
        ([{"transform": "AddBackgroundNoise", "sounds_path": ["/no/such/folder"]}], "sounds_path .* /no/such/folder"),
        ([{"transform": "TimeStretch", "min_rate": 0.4}], "not reproducible with a seed; expected at least 0.5"),
        ([{"transform": "RoomSimulator"}], "not reproducible with a seed; expected use_ray_tracing: false"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_with_the_arguments(entries, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        SerTrainingArguments(output_dir=str(tmp_path), use_cpu=True, augmentation=entries)


def test_an_empty_folder_of_impulse_responses_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="No impulse response files"):
        make_transforms([{"transform": "ApplyImpulseResponse", "ir_path": str(tmp_path)}])


def test_it_comes_from_yaml_and_from_nowhere_else(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(f"output_dir: {tmp_path}\nuse_cpu: true\naugmentation:\n  - {{transform: Gain, p: 0.5}}\n")
    (args,) = parse(SerTrainingArguments, argv=["--config", str(config)])
    assert args.augmentation == [{"transform": "Gain", "p": 0.5}]
    with pytest.raises(ConfigError, match="in the YAML file"):
        parse(SerTrainingArguments, argv=["--output_dir", str(tmp_path), "--use_cpu", "--augmentation", "Gain"])


def test_usual_transforms_warn_of_nothing(tone):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        transforms = make_transforms([{**entry, "p": 1} for entry in ALL])
        assert len(apply_transforms(tone(), transforms)) > 0


def test_a_trainer_augments_training_clips_only(trainer_for):
    augmented, plain = trainer_for(augmentation=ALL, data_seed=7), trainer_for()
    assert isinstance(augmented.train_dataset, AugmentedDataset) and augmented.train_dataset.seed == 7
    assert not any(isinstance(each, AugmentedDataset) for each in (plain.train_dataset, augmented.eval_dataset))
    assert all(_same(list(augmented.eval_dataset), list(plain.eval_dataset)))
    unchanged = AugmentedDataset(augmented.train_dataset.clips, [], 7, length=augmented.train_dataset.length)
    assert all(_same(list(unchanged), list(plain.train_dataset)))


SHORT = {"augmentation": ALL, "num_train_epochs": 2, "eval_strategy": "no", "load_best_model_at_end": False}


def test_a_run_does_not_change_with_its_workers(trainer_for, run):
    losses = run(trainer_for("none", **SHORT, save_strategy="no"))
    workers = {"dataloader_num_workers": 2, "dataloader_persistent_workers": True}
    assert len(losses) == 8
    assert run(trainer_for("two", **SHORT, save_strategy="no", **workers)) == pytest.approx(losses, rel=1e-6)
    other = run(trainer_for("other", **{**SHORT, "augmentation": None}, save_strategy="no"))
    assert not any(a == pytest.approx(b, rel=1e-6) for a, b in zip(losses, other, strict=True))


@pytest.mark.parametrize("sampling", ["random", "group_by_length"])
def test_a_run_repeats_and_goes_on_in_the_middle_of_an_epoch(trainer_for, run, sampling):
    settings = {**SHORT, "mixup_alpha": 0.4, "save_strategy": "steps", "save_steps": 1, "save_total_limit": None}
    settings |= {"train_sampling_strategy": sampling}
    losses = run(trainer_for("first", **settings))
    assert len(losses) == 8  # four an epoch: the sixth step lies within the second
    assert run(trainer_for("again", **settings)) == losses
    resumed = trainer_for("first", **settings)
    assert run(resumed, resume_from_checkpoint=f"{resumed.args.output_dir}/checkpoint-6") == losses


def test_without_audiomentations_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "audiomentations", None)
    with pytest.raises(MissingExtraError, match=r'pip install "hf-ser\[augmentation\]"'):
        make_transforms([{"transform": "Gain"}])


def test_a_missing_package_of_a_transform_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyroomacoustics", None)
    with pytest.raises(ConfigError, match=r"RoomSimulator needs pyroomacoustics, .* pip install pyroomacoustics$"):
        make_transforms([{"transform": "RoomSimulator", "use_ray_tracing": False}])
