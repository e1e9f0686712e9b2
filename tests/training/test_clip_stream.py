"""Training from a stream: every clip once an epoch, in an order that seed and epoch decide, as if it lay in memory."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader
from transformers import set_seed

from hf_ser.arguments import ConfigError
from hf_ser.audio import Preprocessing
from hf_ser.data import DataArguments, DatasetError, load_splits
from hf_ser.data.splits_file import read_hashes
from hf_ser.evaluation import EvaluateArguments, evaluate
from hf_ser.hybrids.baseline import BaselineArguments, fit_baseline
from hf_ser.reporting.exploration import explore
from hf_ser.training import (
    ModelArguments,
    SerTrainingArguments,
    build_model,
    make_trainer,
)
from hf_ser.training.augmentation import AugmentedDataset, make_transforms
from hf_ser.training.clip_stream import ClipStream, StreamCollator

ROOT = Path(__file__).parents[2]
AUGMENTATION = [
    {"transform": "AddGaussianSNR", "min_snr_db": 5, "max_snr_db": 30, "p": 0.8},
    {"transform": "Shift", "min_shift": -0.1, "max_shift": 0.1, "rollover": False, "p": 0.5},
]
CLIPS, BATCH = 32, 6  # five batches, and one of two clips


@pytest.fixture(scope="module")
def loaded(dataset_dir):
    """32 training clips of RAVDESS in memory."""
    return load_splits(DataArguments(str(dataset_dir), "ravdess"))


@pytest.fixture(scope="module")
def data(dataset_dir):
    """The same as a stream."""
    return load_splits(DataArguments(str(dataset_dir), "ravdess", streaming=True))


@pytest.fixture
def clips(data):
    def make(seed=0, *, buffer_size=6, batch_size=BATCH, **options):
        options = {"buffer_size": buffer_size, "batch_size": batch_size, **options}
        return ClipStream(data.stream, data.splits["train"], seed=seed, **options)

    return make


def _numbers(stream, epoch=0):
    stream.set_epoch(epoch)
    items = list(stream)
    assert all(item["epoch"] == epoch for item in items)
    return [item["number"] for item in items]


def test_every_clip_comes_once_and_in_another_order_in_every_epoch(clips, data, loaded):
    stream = clips(seed=3)
    orders = [_numbers(stream, epoch) for epoch in range(3)]
    assert len(stream) == CLIPS and all(sorted(order) == list(range(CLIPS)) for order in orders)
    assert orders[0] != orders[1] != orders[2] != orders[0] and orders[0] != sorted(orders[0])
    assert _numbers(stream, 1) == orders[1] == _numbers(clips(seed=3), 1)
    assert _numbers(clips(seed=4), 1) != orders[1]
    train = loaded.splits["train"]
    for item in stream:
        row = train[item["number"]]
        assert (item["audio"], item["label"]) == (row["audio"], row["label"])


@pytest.mark.parametrize("buffer_size", [1, 256])
def test_a_buffer_may_hold_one_clip_or_all(clips, buffer_size):
    assert sorted(_numbers(clips(buffer_size=buffer_size))) == list(range(CLIPS))


@pytest.mark.parametrize(("batch_size", "expected"), [(6, 30), (32, 32), (8, 32), (33, 0)])
def test_an_incomplete_last_batch_may_be_left_out(clips, batch_size, expected):
    stream = clips(batch_size=batch_size, drop_last=True)
    assert len(stream) == expected == len(set(_numbers(stream)))
    assert _numbers(stream) == _numbers(clips(batch_size=batch_size))[:expected]


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than processors
@pytest.mark.parametrize(("workers", "persistent"), [(1, False), (3, True), (8, False)])
def test_workers_change_neither_batches_nor_their_order(clips, workers, persistent):
    """Six batches an epoch: of eight workers, two have none."""
    stream = clips()
    loader = DataLoader(stream, batch_size=BATCH, collate_fn=list, num_workers=workers, persistent_workers=persistent)
    for epoch in (0, 1):
        stream.set_epoch(epoch)
        batches = [[item["number"] for item in batch] for batch in loader]
        assert [len(batch) for batch in batches] == [6, 6, 6, 6, 6, 2] and len(loader) == 6
        assert sum(batches, []) == _numbers(stream, epoch)


def test_only_training_clips_come_and_with_their_labels(data):
    few = data.splits["train"].select([20, 3, 5])
    stream = ClipStream(data.stream, few, seed=0, buffer_size=4, batch_size=2)
    items = sorted(stream, key=lambda item: item["number"])
    assert [item["label"] for item in items] == few["label"][:] and len(stream) == 3


def test_lost_clips_and_ids_that_stand_twice_are_errors(data):
    train = data.splits["train"]
    strangers = train.map(lambda row: {"id": row["id"] + "x"} if row["id"] == train[0]["id"] else row)
    with pytest.raises(DatasetError, match="has 31 of 32 training clips"):
        list(ClipStream(data.stream, strangers, seed=0, buffer_size=4, batch_size=2))
    with pytest.raises(DatasetError, match="3 training clips have 2 different ids"):
        ClipStream(data.stream, train.select([0, 1, 0]), seed=0, buffer_size=4, batch_size=2)


@pytest.mark.parametrize(("augmentation", "speeds"), [(None, ()), (AUGMENTATION, ()), (AUGMENTATION, (0.9, 1.1))])
@pytest.mark.parametrize("cut", [{}, {"trim_db": 20.0, "normalize": True, "duration_s": 0.4}])
def test_waveforms_are_those_of_clips_in_memory(clips, loaded, augmentation, speeds, cut):
    steps = DataArguments(**cut).steps
    transforms = make_transforms(augmentation) if augmentation else []
    in_memory = loaded.with_steps(steps).decoded("train")
    if transforms:
        whole, length = replace(steps, duration_s=None), Preprocessing(duration_s=steps.duration_s)
        in_memory = loaded.with_steps(whole).decoded("train")
        in_memory = AugmentedDataset(in_memory, transforms, seed=5, speed_factors=speeds, length=length)
    stream, collate = clips(), StreamCollator(list, steps, transforms, seed=5, speed_factors=speeds)
    for epoch in (0, 2):
        stream.set_epoch(epoch)
        if transforms:
            in_memory.set_epoch(epoch)
        items = list(stream)
        for item, made in zip(items, collate(items), strict=True):
            expected = in_memory[item["number"]]
            np.testing.assert_array_equal(made["waveform"], expected["waveform"])
            assert made["label"] == expected["label"] and set(made) == set(expected)


@pytest.fixture
def trainer(dataset_dir, tiny_config, tmp_path):
    """Make a Trainer over 32 training clips of RAVDESS, which are streamed unless it is told otherwise."""

    def make(name="run", *, streaming=True, **changes):
        settings = {
            "output_dir": str(tmp_path / name),
            "per_device_train_batch_size": BATCH,
            "num_train_epochs": 2,
            "learning_rate": 3e-3,
            "logging_strategy": "steps",
            "logging_steps": 1,
            "eval_strategy": "no",
            "save_strategy": "no",
            "load_best_model_at_end": False,
            "use_cpu": True,
            "disable_tqdm": True,
        }
        args = SerTrainingArguments(**{**settings, **changes})
        set_seed(args.seed)
        cut = {"duration_s": 0.4, "streaming": streaming, "stream_buffer": 6}
        splits = load_splits(DataArguments(str(dataset_dir), "ravdess", **cut))
        model, extractor = build_model(ModelArguments(model_config=tiny_config), splits.labels)
        return make_trainer(model, extractor, splits, args)

    return make


def test_batches_and_steps_are_as_many_as_in_memory(trainer):
    streamed, in_memory = trainer(augmentation=AUGMENTATION), trainer("memory", streaming=False)
    assert isinstance(streamed.train_dataset, ClipStream) and streamed.train_dataset.batch_size == BATCH
    batches, others = list(streamed.get_train_dataloader()), list(in_memory.get_train_dataloader())
    assert [batch["input_values"].shape for batch in batches] == [batch["input_values"].shape for batch in others]
    assert sorted(torch.cat([b["labels"] for b in batches])) == sorted(torch.cat([b["labels"] for b in others]))
    for batch, other in zip(streamed.get_eval_dataloader(), in_memory.get_eval_dataloader(), strict=True):
        assert all(torch.equal(batch[name], other[name]) for name in other) and set(batch) == set(other)
    assert streamed.num_examples(streamed.get_train_dataloader()) == CLIPS


def test_the_last_batch_is_left_out_on_demand(trainer):
    assert len(list(trainer(dataloader_drop_last=True).get_train_dataloader())) == 5


def test_a_run_repeats_and_goes_on_in_the_middle_of_an_epoch(trainer, run):
    settings = {"save_strategy": "steps", "save_steps": 1, "save_total_limit": None, "mixup_alpha": 0.4}
    settings |= {"augmentation": AUGMENTATION}
    losses = run(trainer("first", **settings))
    assert len(losses) == 12  # six an epoch: the second step lies within the first, the ninth within the second
    assert run(trainer("again", **settings)) == losses
    assert run(trainer("data_seed", **settings, data_seed=1)) != losses
    for step in (2, 6, 9):
        resumed = trainer("first", **settings)
        assert run(resumed, resume_from_checkpoint=f"{resumed.args.output_dir}/checkpoint-{step}") == losses


def test_a_run_does_not_change_with_its_workers(trainer, run):
    losses = run(trainer(augmentation=AUGMENTATION))
    workers = {"dataloader_num_workers": 2, "dataloader_persistent_workers": True}
    assert run(trainer("two", augmentation=AUGMENTATION, **workers)) == pytest.approx(losses, rel=1e-6)


def test_a_whole_run_learns_and_leaves_a_model(finetune, dataset_dir, tmp_path, tiny_config):
    results = finetune(
        model_config=tiny_config,
        dataset=str(dataset_dir),
        configuration="ravdess",
        merge_calm=True,
        duration_s=0.4,
        streaming=True,
        output_dir=str(tmp_path / "run"),
        num_train_epochs=8,
        per_device_train_batch_size=BATCH,
        learning_rate=3e-3,
        class_weights=True,
    )
    history = json.loads((tmp_path / "run" / "training_history.json").read_text())
    losses = [entry["loss"] for entry in history if "loss" in entry]
    assert len(losses) == 8 and losses[-1] < losses[0]
    assert results["dataset"]["train_clips"] == CLIPS and results["protocol"]["name"] == "speaker_disjoint"
    assert set(results["splits"]) == {"validation", "test"} and (tmp_path / "run" / "model.safetensors").is_file()
    whole = load_splits(DataArguments(str(dataset_dir), "ravdess"))
    assert read_hashes(tmp_path / "run" / "splits.csv") == whole.hashes  # those of the streamed clips, too


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"train_sampling_strategy": "group_by_length"},
            "group_by_length and streaming is true; .* Leave one of them",
        ),
        ({"train_sampling_strategy": "sequential"}, "sequential and streaming is true"),
        ({"accelerator_config": {"dispatch_batches": True}}, "Leave dispatch_batches out"),
    ],
)
def test_what_needs_the_clips_at_hand_is_refused(trainer, changes, message):
    with pytest.raises(ConfigError, match=message):
        trainer(**changes)


def test_what_does_not_train_with_a_trainer_refuses_a_stream(dataset_dir, data, tmp_path):
    data_args = DataArguments(str(dataset_dir), "ravdess", streaming=True)
    folder = str(tmp_path / "out")
    with pytest.raises(ConfigError, match="streaming is true, but the baseline does not support it"):
        fit_baseline(replace(data, args=data_args), BaselineArguments(folder), "baseline")
    with pytest.raises(ConfigError, match="streaming is true, but the exploration"):
        explore(replace(data, args=data_args), Path(folder))
    with pytest.raises(ConfigError, match="streaming is true, but the evaluation"):
        evaluate(EvaluateArguments(folder, model="model"), data_args)
    assert not Path(folder).exists()


_PROGRAM = """
import json, sys
import torch
from transformers import set_seed
from hf_ser.data import DataArguments, load_splits
from hf_ser.training import ModelArguments, SerTrainingArguments, build_model, make_trainer

folder, dataset, model_config, batch_size = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), int(sys.argv[4])
data = load_splits(DataArguments(dataset, "ravdess", duration_s=0.4, streaming=True, stream_buffer=6))

def make(**changes):
    args = SerTrainingArguments(
        output_dir=folder, per_device_train_batch_size=batch_size, num_train_epochs=2, learning_rate=3e-3,
        logging_strategy="steps", logging_steps=1, eval_strategy="no", save_strategy="steps", save_steps=1,
        save_total_limit=None, load_best_model_at_end=False, use_cpu=True, disable_tqdm=True, **changes)
    set_seed(args.seed)
    model, extractor = build_model(ModelArguments(model_config=model_config), data.labels)
    return make_trainer(model, extractor, data, args)

def losses(trainer, **options):
    trainer.train(**options)
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]

found = {}
for workers in (0, 2):
    trainer = make(dataloader_num_workers=workers)
    trainer.data_collator = lambda clips: {"numbers": torch.tensor([(one["epoch"], one["number"]) for one in clips])}
    loader = trainer.get_train_dataloader()
    assert trainer.num_examples(loader) == 32
    for epoch in (0, 1):
        loader.set_epoch(epoch)
        found[f"{workers} {epoch}"] = [batch["numbers"].tolist() for batch in loader]
trainer = make()
found["losses"] = losses(trainer)
found["resumed"] = losses(make(), resume_from_checkpoint=folder + "/checkpoint-9")
found["samples"] = trainer.state.log_history[-1]["train_samples_per_second"]
found["runtime"] = trainer.state.log_history[-1]["train_runtime"]
with open(f"{folder}/rank_{trainer.args.process_index}.json", "w") as file:
    json.dump(found, file)
trainer.end()
"""


@pytest.fixture
def launched(launch, dataset_dir, tiny_config, tmp_path):
    """What `_PROGRAM` finds in each of so many processes."""

    def run(number):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "program.py").write_text(_PROGRAM)
        words = [folder, dataset_dir, json.dumps(tiny_config), BATCH // number]
        launch(folder / "program.py", *words, processes=number)
        return [json.loads((folder / f"rank_{rank}.json").read_text()) for rank in range(number)]

    return run


@pytest.mark.slow
def test_two_processes_see_every_clip_once_together_and_train_as_one(launched):
    (one,), both = launched(1), launched(2)
    for workers in (0, 2):
        for epoch in (0, 1):
            whole = one[f"{workers} {epoch}"]
            shares = [rank[f"{workers} {epoch}"] for rank in both]
            assert [[len(batch) for batch in share] for share in shares] == [[3] * 6] * 2
            together = [first + second for first, second in zip(*shares, strict=True)]
            assert together[:5] == whole[:5]
            assert together[5][:2] == whole[5]  # in two processes, the last batch is filled up
            assert sorted(sum(together, [])[:CLIPS]) == [[epoch, number] for number in range(CLIPS)]
    assert one["losses"] == one["resumed"] and len(one["losses"]) == 12
    assert both[0]["losses"] == both[0]["resumed"]
    assert both[0]["losses"][:5] == pytest.approx(one["losses"][:5], rel=1e-3)
    assert both[0]["samples"] * both[0]["runtime"] == pytest.approx(2 * CLIPS, rel=0.02)
