"""Masks, loss and scores of masked pretraining, on generated voices and tiny encoders."""

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForPreTraining, Wav2Vec2Model

from hf_ser.arguments import ConfigError
from hf_ser.audio import load_audio
from hf_ser.data import DataArguments, DatasetError, load_splits
from hf_ser.data.seen import Marks, Record, find_seen
from hf_ser.training.checkpoints import ModelError
from hf_ser.training.preflight import check_pretraining
from hf_ser.training.pretraining import build_encoder, check_segments, load_speech
from hf_ser.training.pretraining.masked_segments import MaskedCollator, MaskedSegments, frames_of
from hf_ser.training.pretraining.pretraining_model import restore_masking
from hf_ser.training.pretraining.pretraining_trainer import (
    GumbelTemperature,
    loss_per_masked_frame,
    segment_statistics,
)
from hf_ser.training.pretraining.unlabelled_recordings import Speech, cut, hold_out
from hf_ser.training.pretraining_arguments import (
    PretrainingArguments,
    PretrainingDataArguments,
    PretrainingModelArguments,
)
from hf_ser.training.training_arguments import ModelArguments

CODEBOOK = {"codevector_dim": 8, "proj_codevector_dim": 8, "num_codevectors_per_group": 6, "num_negatives": 5}


@pytest.fixture(scope="module")
def small(tiny_config):
    return {**tiny_config, **CODEBOOK}


@pytest.fixture(scope="module")
def model_args(small):
    return PretrainingModelArguments(model_config=small, mask_time_length=4)


@pytest.fixture(scope="module")
def args(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretraining") / "run"
    return PretrainingArguments(str(folder), use_cpu=True, num_proc=1, precision="fp32")


@pytest.fixture(scope="module")
def speech(dataset_dir, args):
    folder = str(dataset_dir.parent / "corpora" / "ravdess")
    data_args = PretrainingDataArguments(recordings=[folder], max_duration_s=0.3, min_duration_s=0.2)
    return load_speech(data_args, args)


@pytest.fixture
def batch_of(speech, model_args):
    """A model in evaluation mode and the collator of its encoder, with or without attention masks."""

    def make(norm="layer"):
        torch.manual_seed(0)
        made = PretrainingModelArguments(
            model_config={**model_args.model_config, "feat_extract_norm": norm}, mask_time_length=4
        )
        model, extractor = build_encoder(made)
        items = MaskedSegments(speech, "train", model.config, made, seed=0)
        return model.eval(), MaskedCollator(extractor, model.config), items

    return make


def _outputs(model, batch):
    kept = []
    hook = model.quantizer.weight_proj.register_forward_hook(lambda module, inputs, output: kept.append(output))
    with torch.no_grad():
        outputs = model(**{name: value for name, value in batch.items() if name != "labels"})
    hook.remove()
    return outputs, kept[0]


def test_a_segment_is_a_part_of_its_recording(speech, dataset_dir):
    folder = dataset_dir.parent / "corpora" / "ravdess"
    number = speech.segments["train"][0].clip
    parts = [one for split in speech.segments.values() for one in split if one.clip == number]
    assert len(parts) == 2
    joined = np.concatenate([speech.read(part) for part in sorted(parts)])
    stem = list(speech.record)[number].partition("/")[2]
    whole = load_audio(folder / f"{stem}.wav")
    assert abs(len(joined) - len(whole)) <= 1
    assert np.abs(joined - whole[: len(joined)]).max() <= 2**-15  # packs have 16 bits


def test_segments_are_even_and_complete():
    for samples in (1, 7, 100, 101, 299):
        parts = cut(3, samples, 100)
        assert sum(part.samples for part in parts) == samples and parts[0].start == 0
        assert all(before.start + before.samples == after.start for before, after in pairwise(parts))
        assert max(part.samples for part in parts) - min(part.samples for part in parts) <= 1
        assert max(part.samples for part in parts) <= 100


def test_no_speaker_is_in_both_parts():
    groups = [f"speaker {number % 7}" for number in range(70)]
    chosen = {tuple(sorted(hold_out(groups, [10] * 70, 0.2, seed))) for seed in range(5)}
    assert all(len(held_out) == 2 for held_out in chosen) and len(chosen) > 1
    assert len(hold_out(["a", "b"], [1, 99], 0.99, 0)) == 1  # one group is always left
    with pytest.raises(DatasetError, match="got 1 speaker or recording; expected at least 2"):
        hold_out(["a", "a"], [1, 1], 0.5, 0)


def test_masks_depend_on_seed_epoch_and_segment_only(speech, model_args):
    config = build_encoder(model_args)[0].config
    before = np.random.get_state()[1].copy()
    one, same, other = (MaskedSegments(speech, "train", config, model_args, seed) for seed in (0, 0, 1))
    assert (one[3]["mask"] == same[3]["mask"]).all() and (one[3]["negatives"] == same[3]["negatives"]).all()
    assert any((one[n]["mask"] != other[n]["mask"]).any() for n in range(5))
    assert (np.random.get_state()[1] == before).all()
    first = [one[number]["mask"] for number in range(5)]
    one.set_epoch(1)
    assert any((one[number]["mask"] != first[number]).any() for number in range(5))
    one.set_epoch(0)
    assert all((one[number]["mask"] == first[number]).all() for number in range(5))


def test_negatives_are_other_masked_frames_of_the_same_segment(speech, model_args):
    config = build_encoder(model_args)[0].config
    for item in (MaskedSegments(speech, "train", config, model_args, 0)[number] for number in range(20)):
        assert item["mask"].shape == (frames_of(config, len(item["waveform"])),) and item["mask"].sum() >= 4
        masked = np.flatnonzero(item["mask"])
        for frame in masked:
            assert set(item["negatives"][frame]) <= set(masked) - {frame}


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_padding_is_not_masked_and_negatives_stay_in_their_segment(batch_of, norm):
    model, collate, items = batch_of(norm)
    short, long = (dict(items[number]) for number in (0, 1))
    short["waveform"] = short["waveform"][:3000]
    frames = frames_of(model.config, 3000)
    short["mask"], short["negatives"] = short["mask"][:frames], np.minimum(short["negatives"][:frames], frames - 1)
    batch = collate([short, long])
    assert ("attention_mask" in batch) == (norm == "layer")
    total = batch["mask_time_indices"].shape[1]
    assert total == frames_of(model.config, batch["input_values"].shape[1])
    assert not batch["mask_time_indices"][0, frames:].any()
    assert (batch["sampled_negative_indices"][1][batch["mask_time_indices"][1]] >= total).all()
    assert torch.equal(batch["labels"] == 0, batch["mask_time_indices"])
    assert set(batch["labels"].unique().tolist()) == {0, -100}


def test_the_contrastive_loss_does_not_depend_on_the_batch(batch_of):
    model, collate, items = batch_of("layer")
    chosen = [items[number] for number in range(6)]
    together, _ = _outputs(model, collate(chosen))
    apart = sum(_outputs(model, collate([item]))[0].contrastive_loss for item in chosen)
    assert torch.allclose(together.contrastive_loss, apart, rtol=1e-4)


def test_the_loss_is_divided_by_the_masked_frames_of_the_step():
    outputs = {"loss": torch.tensor(12.0)}
    labels = torch.tensor([[0, -100, 0], [-100, 0, -100]])
    assert loss_per_masked_frame(outputs, labels) == 4
    assert loss_per_masked_frame(outputs, labels, num_items_in_batch=6) == 2


def test_scores_are_those_of_transformers(batch_of):
    model, collate, items = batch_of("group")
    batch = collate([items[number] for number in range(4)])
    outputs, logits = _outputs(model, batch)
    statistics = segment_statistics(outputs, batch, logits, model.config)
    assert statistics[:, 0].sum() == batch["mask_time_indices"].sum()
    assert torch.allclose(statistics[:, 1].sum(), outputs.contrastive_loss, rtol=1e-4)
    shares = statistics[:, 3:].sum(dim=0).reshape(model.config.num_codevector_groups, -1) / statistics[:, 0].sum()
    perplexity = torch.exp(-torch.special.xlogy(shares, shares).sum(dim=1)).sum()
    assert torch.allclose(perplexity, outputs.codevector_perplexity, rtol=1e-4)


def test_a_collapsed_codebook_scores_at_chance(batch_of):
    model, collate, items = batch_of("group")
    with torch.no_grad():
        model.quantizer.weight_proj.weight.zero_()
        model.quantizer.weight_proj.bias[0] = 1.0
    batch = collate([items[0]])
    statistics = segment_statistics(*_outputs(model, batch)[:1], batch, _outputs(model, batch)[1], model.config)
    frames, loss, correct = statistics[0, :3].tolist()
    assert loss == pytest.approx(0, abs=1e-5)  # as in transformers: the best loss, which must not choose a checkpoint
    assert correct / frames == pytest.approx(1 / (1 + CODEBOOK["num_negatives"]))


def test_masked_frames_change_what_the_encoder_computes(batch_of):
    model, collate, items = batch_of("group")  # tiny_config turns SpecAugment off
    batch = collate([items[0]])
    with torch.no_grad():
        masked = model.wav2vec2(batch["input_values"], mask_time_indices=batch["mask_time_indices"])
        plain = model.wav2vec2(batch["input_values"])
    assert not torch.allclose(masked.last_hidden_state, plain.last_hidden_state, atol=1e-3)


def test_the_gumbel_temperature_follows_the_step():
    args = PretrainingModelArguments(
        "facebook/wav2vec2-base", max_gumbel_temperature=2.0, min_gumbel_temperature=0.5, gumbel_temperature_decay=0.9
    )
    model = SimpleNamespace(set=[], set_gumbel_temperature=lambda value: model.set.append(value))
    for step in (0, 1, 100):
        GumbelTemperature(args).on_step_begin(None, SimpleNamespace(global_step=step), None, model=model)
    assert model.set == [2.0, pytest.approx(1.8), 0.5]


def test_a_saved_encoder_keeps_the_masking_of_fine_tuning(small, tmp_path):
    config = Wav2Vec2Config(**{**small, "apply_spec_augment": False, "mask_time_prob": 0.05})
    Wav2Vec2ForPreTraining(config).save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path)
    args = PretrainingModelArguments(str(tmp_path))
    model, _ = build_encoder(args)
    assert (model.config.apply_spec_augment, model.config.mask_time_prob) == (True, 0.65)
    restore_masking(model.config, args)
    assert (model.config.apply_spec_augment, model.config.mask_time_prob) == (False, 0.05)


def test_a_checkpoint_without_the_weights_of_pretraining_is_rejected(small, tmp_path):
    Wav2Vec2Model(Wav2Vec2Config(**small)).save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"lacks \d+ weights of pretraining .*facebook/wav2vec2-base"):
        build_encoder(PretrainingModelArguments(str(tmp_path)))
    with pytest.raises(ModelError, match="no such folder"):
        build_encoder(PretrainingModelArguments(str(tmp_path / "missing")))
    with pytest.raises(ConfigError, match="model_type is 'hubert'; expected wav2vec2"):
        build_encoder(PretrainingModelArguments(model_config={"model_type": "hubert"}))


def test_segments_too_short_for_a_mask_are_rejected(speech, model_args, args):
    config = build_encoder(model_args)[0].config
    long = PretrainingModelArguments(model_config=model_args.model_config, mask_time_length=40)
    with pytest.raises(ConfigError, match=r"the shortest segment has 0\.2\d+ s, which are \d+ frames"):
        check_segments(config, long, speech, args)


@pytest.mark.parametrize(
    ("cls", "fields", "message"),
    [
        (PretrainingModelArguments, {}, "got neither of model_name_or_path and model_config"),
        (PretrainingModelArguments, {"model_name_or_path": "a/b", "mask_time_prob": 0}, "mask_time_prob is 0"),
        (PretrainingModelArguments, {"model_name_or_path": "a/b", "min_gumbel_temperature": 3}, "from 2.0 to 3"),
        (PretrainingDataArguments, {}, "got none of dataset, recordings and csv"),
        (PretrainingDataArguments, {"dataset": "a", "csv": "b"}, "got dataset and csv; expected one"),
        (PretrainingDataArguments, {"csv": "b", "fold": 1}, "fold is given without dataset"),
        (PretrainingDataArguments, {"recordings": ["a"], "audio_dir": "b"}, "audio_dir is given without csv"),
        (PretrainingDataArguments, {"csv": "b", "min_duration_s": 20}, "min_duration_s is 20 and max_duration_s"),
        (PretrainingDataArguments, {"csv": "b", "validation_share": 1}, "validation_share is 1"),
        (
            PretrainingArguments,
            {"output_dir": "a", "label_smoothing": 0.1},
            "label_smoothing is given, but pretraining",
        ),
        (PretrainingArguments, {"output_dir": "a", "num_proc": 0}, "num_proc is 0"),
    ],
)
def test_invalid_arguments_are_rejected(cls, fields, message):
    with pytest.raises(ConfigError, match=message):
        cls(**fields)


def test_a_list_may_name_speakers_and_splits(dataset_dir, tmp_path, args):
    folder = dataset_dir.parent / "corpora" / "ravdess"
    files = sorted(folder.rglob("*.wav"))[:6]
    splits = ["train", "", "train", "test", "validation", ""]
    rows = [
        f"{file.relative_to(folder)},voice {n % 2},{split}"
        for n, (file, split) in enumerate(zip(files, splits, strict=True))
    ]
    (tmp_path / "calls.csv").write_text("\n".join(["path,speaker,split", *rows, ""]))
    data_args = PretrainingDataArguments(csv=str(tmp_path / "calls.csv"), audio_dir=str(folder))
    speech = load_speech(data_args, args)
    assert isinstance(speech, Speech)
    assert {clip.rpartition("/")[2] for clip in speech.record} == {files[n].stem for n in (0, 1, 2, 5)}
    assert speech.groups == {"of": "speakers", "train": 1, "validation": 1} and speech.synthetic


def test_only_the_training_split_of_a_dataset_is_used(dataset_dir, args):
    fields = {"configuration": "ravdess", "protocol": "random", "protocol_seed": 3}
    speech = load_speech(PretrainingDataArguments(dataset=str(dataset_dir), **fields), args)
    data = load_splits(DataArguments(str(dataset_dir), **fields))
    assert sorted(speech.record) == data.assignment.ids("train")
    speakers = dict(zip(data.splits["train"]["id"], data.splits["train"]["speaker"], strict=True))
    parts = [
        {speakers[clip] for clip, split in speech.record.items() if split == part}
        for part in ("pretraining", "validation")
    ]
    assert all(parts) and not parts[0] & parts[1]


def test_clips_of_a_pretraining_count_as_seen(dataset_dir, tmp_path):
    data = load_splits(DataArguments(str(dataset_dir), "ravdess"))
    train, test = data.assignment.ids("train"), data.assignment.ids("test")
    lines = [f"recordings/{n},pretraining,{data.hashes[clip]}" for n, clip in enumerate(train)]
    (tmp_path / "splits.csv").write_text("\n".join(["id,split,sha256", *lines, "recordings/held,validation,", ""]))
    kept = check_pretraining(ModelArguments(str(tmp_path)), data)
    assert len(kept.pretraining) == len(train)
    kept.write_record(tmp_path / "written.csv")
    record = Record.read(tmp_path / "written.csv")
    assert {record.splits[clip] for clip in train} == {"train"} and record.splits["recordings/0"] == "pretraining"
    renamed = Marks(["other"], lambda: [data.hashes[train[0]]])
    assert find_seen(Record(dict.fromkeys(["recordings/0"], "pretraining"), kept.pretraining), renamed)
    leaked = f"recordings/leak,pretraining,{data.hashes[test[0]]}"
    (tmp_path / "splits.csv").write_text("\n".join(["id,split,sha256", *lines, leaked, ""]))
    with pytest.raises(DatasetError, match=r"was pretrained on 1 of the \d+ clips in test .*Pretrain on the training"):
        check_pretraining(ModelArguments(str(tmp_path)), data)
