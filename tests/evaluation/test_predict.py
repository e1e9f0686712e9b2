"""Prediction: the same logits for a clip in any batch and any order, shares, embeddings, and decoding ahead."""

import threading

import numpy as np
import pytest
import torch
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForSequenceClassification

from hf_ser.evaluation import predict as module
from hf_ser.evaluation import predict_logits
from hf_ser.models import model_inputs, takes_attention_mask
from hf_ser.remote_code.encoder_inputs import fewest_samples

# float32 through a network this small; batches of other sizes are summed in another order.
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def make(tiny_config, norm, *, return_attention_mask=None, **changes):
    torch.manual_seed(0)
    content = {key: value for key, value in tiny_config.items() if key != "model_type"} | changes
    model = Wav2Vec2ForSequenceClassification(Wav2Vec2Config(**content, feat_extract_norm=norm, num_labels=4))
    extractor = Wav2Vec2FeatureExtractor(
        return_attention_mask=norm == "layer" if return_attention_mask is None else return_attention_mask
    )
    with torch.no_grad():  # spread the answers: a fresh head hardly tells clips apart
        model.classifier.weight.mul_(30)
    return model, extractor


@pytest.fixture(params=["group", "layer"])
def classifier(request, tiny_config):
    return make(tiny_config, request.param)


@pytest.fixture(scope="module")
def waveforms():
    """Clips of many lengths, three of each, some shorter than the receptive field."""
    rng = np.random.default_rng(0)
    lengths = [*rng.integers(600, 6000, 12), 3000, 3000, 100, 5, 1] * 2 + [3000] * 6
    return [(rng.normal(0, 0.1, length) * np.linspace(0.2, 1, length)).astype(np.float32) for length in lengths]


def predict(classifier, waveforms, order=None, **options):
    """Logits in the order of `waveforms`."""
    order = np.arange(len(waveforms)) if order is None else order
    calls = []

    def decode(numbers):
        calls.append(list(numbers))
        return [waveforms[order[number]] for number in numbers]

    durations = [len(waveforms[number]) / 16_000 for number in order]
    rows, logits = predict_logits(*classifier, durations, decode, progress=False, **options)
    assert sorted(rows) == list(range(len(order))) == sorted(number for call in calls for number in call)
    result = np.empty_like(logits)
    result[np.asarray(order)[rows]] = logits
    return result


@pytest.fixture
def alone(classifier, waveforms):
    return np.concatenate([predict(classifier, [waveform]) for waveform in waveforms])


@pytest.mark.parametrize("batch_size", [1, 2, 3, 8, 64])
def test_a_clip_s_logits_are_the_same_in_any_batch(classifier, waveforms, alone, batch_size):
    together = predict(classifier, waveforms, batch_size=batch_size)
    assert together.shape == (len(waveforms), 4) and together.std(axis=0).min() > 100 * CLOSE["atol"]
    np.testing.assert_allclose(together, alone, **CLOSE)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_clip_s_logits_are_the_same_in_any_order(classifier, waveforms, alone, seed):
    order = np.random.default_rng(seed).permutation(len(waveforms))
    np.testing.assert_allclose(predict(classifier, waveforms, order, batch_size=4), alone, **CLOSE)


def test_durations_only_sort(classifier, waveforms, alone):
    rows, logits = predict_logits(
        *classifier,
        [1.0] * len(waveforms),
        lambda numbers: [waveforms[n] for n in numbers],
        batch_size=5,
        progress=False,
    )
    np.testing.assert_allclose(logits, alone[rows], **CLOSE)


def test_logits_are_those_of_the_model_called_by_hand(classifier, waveforms):
    model, extractor = classifier
    model.eval()
    waveform = waveforms[0]
    with torch.no_grad():
        inputs = extractor(waveform, sampling_rate=16_000, return_tensors="pt", return_attention_mask=False)
        expected = model(inputs.input_values).logits
    np.testing.assert_allclose(predict(classifier, [waveform]), expected.numpy(), **CLOSE)


def test_an_extractor_that_gives_no_mask_does_not_let_neighbours_in(tiny_config, waveforms):
    # What `Wav2Vec2FeatureExtractor()` saves by default, beside a model of the layer kind.
    classifier = make(tiny_config, "layer", return_attention_mask=False)
    alone = np.concatenate([predict(classifier, [waveform]) for waveform in waveforms])
    np.testing.assert_allclose(predict(classifier, waveforms, batch_size=8), alone, **CLOSE)


def test_an_extractor_that_gives_a_mask_beside_a_model_without(tiny_config, waveforms):
    classifier = make(tiny_config, "group", return_attention_mask=True)
    alone = np.concatenate([predict(classifier, [waveform]) for waveform in waveforms])
    np.testing.assert_allclose(predict(classifier, waveforms, batch_size=8), alone, **CLOSE)


def test_the_model_is_set_to_evaluation(tiny_config, waveforms):
    model, extractor = make(tiny_config, "layer", hidden_dropout=0.5, attention_dropout=0.5, feat_proj_dropout=0.5)
    model.train()
    one, two = (predict((model, extractor), waveforms[:6]) for _ in range(2))
    assert not model.training
    np.testing.assert_array_equal(one, two)


# --- short clips ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"mask_time_prob": 0.0}, 20 + 15 * 16),
        ({"mask_time_prob": 0.05, "mask_time_length": 1}, 20 + 15 * 16),
        ({"mask_time_prob": 0.05, "mask_time_length": 5}, 20 + 15 * 16 + 4 * 160),
    ],
    ids=["no-masking", "spans-of-1", "spans-of-5"],
)
def test_the_fewest_samples_give_just_as_many_frames(tiny_config, changes, expected):
    model, _ = make(tiny_config, "layer", **changes)
    fewest, frames = fewest_samples(model.config), changes.get("mask_time_length", 1)
    assert fewest == expected
    assert model._get_feat_extract_output_lengths(fewest).item() == frames
    assert model._get_feat_extract_output_lengths(fewest - 1).item() < frames


@pytest.mark.parametrize("length", [1, 100, 259, 260])
def test_short_clips_are_filled_with_silence(tiny_config, length):
    classifier = make(tiny_config, "layer", mask_time_prob=0.0)
    waveform = np.random.default_rng(0).normal(0, 0.1, length).astype(np.float32)
    inputs = model_inputs(classifier[1], [waveform], 260)
    assert inputs["input_values"].shape == inputs["attention_mask"].shape == (1, 260)
    filled = np.pad(waveform, (0, 260 - length))
    np.testing.assert_allclose(predict(classifier, [waveform]), predict(classifier, [filled]), **CLOSE)
    assert np.isfinite(predict(classifier, [waveform])).all()


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("lengths", [[300], [500, 300, 20]])
def test_where_there_is_only_padding_to_do_it_is_that_of_the_extractor(lengths, masked):
    extractor = Wav2Vec2FeatureExtractor(do_normalize=False, return_attention_mask=masked)
    rng = np.random.default_rng(0)
    waveforms = [rng.normal(0, 0.1, length).astype(np.float32) for length in lengths]
    inputs = model_inputs(extractor, waveforms, 260)
    filled = [np.pad(waveform, (0, max(0, 260 - len(waveform)))) for waveform in waveforms]
    expected = extractor(filled, sampling_rate=16_000, padding=True, return_tensors="pt")
    for name, tensor in expected.items():
        ones = torch.ones_like(tensor)  # a mask where nothing is padded, which is left out
        assert torch.equal(inputs.get(name, ones).to(tensor.dtype), tensor)
    assert ("attention_mask" in inputs) == (masked and len({len(waveform) for waveform in filled}) > 1)


def test_which_models_take_a_mask(tiny_config):
    assert takes_attention_mask(make(tiny_config, "layer")[0].config)
    assert not takes_attention_mask(make(tiny_config, "group")[0].config)


# --- shares -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("count", [7, 24])
def test_shares_cover_all_clips_once(classifier, waveforms, alone, processes, count):
    first = waveforms[:count]
    parts = [
        predict_logits(
            *classifier,
            [len(waveform) / 16_000 for waveform in first],
            lambda numbers: [first[number] for number in numbers],
            batch_size=2,
            share=(rank, processes),
            progress=False,
        )
        for rank in range(processes)
    ]
    rows = np.concatenate([part[0] for part in parts])
    assert sorted(rows) == list(range(count))
    np.testing.assert_allclose(np.concatenate([part[1] for part in parts]), alone[rows], **CLOSE)
    if count == 24:
        assert max(len(part[0]) for part in parts) - min(len(part[0]) for part in parts) <= 2


def test_a_share_without_clips_joins_the_others(classifier, waveforms):
    parts = [
        predict_logits(*classifier, [0.1] * 2, lambda n: [waveforms[i] for i in n], share=(rank, 2), progress=False)
        for rank in range(2)
    ]
    assert [len(part[0]) for part in parts] == [2, 0]
    assert np.concatenate([part[1] for part in parts]).shape == (2, 4)


def test_no_clip(classifier):
    rows, logits = predict_logits(*classifier, [], lambda numbers: pytest.fail("decoded"), progress=False)
    assert len(rows) == len(logits) == 0


# --- embeddings -------------------------------------------------------------------------------------------------


def test_embeddings_are_what_enters_the_last_layer(classifier, waveforms):
    model, _ = classifier
    embeddings = []
    rows, logits = predict_logits(
        *classifier,
        [len(waveform) / 16_000 for waveform in waveforms],
        lambda numbers: [waveforms[number] for number in numbers],
        batch_size=4,
        embeddings=embeddings,
        progress=False,
    )
    assert len(embeddings) == len(rows) and {vector.shape for vector in embeddings} == {(16,)}
    with torch.no_grad():
        np.testing.assert_allclose(model.classifier(torch.tensor(np.stack(embeddings))), logits, **CLOSE)
    assert not model.classifier._forward_pre_hooks


def test_the_hook_is_removed_after_an_error(classifier):
    with pytest.raises(ZeroDivisionError):
        predict_logits(*classifier, [1.0], lambda numbers: [1 / 0], embeddings=[], progress=False)
    assert not classifier[0].classifier._forward_pre_hooks


# --- decoding ---------------------------------------------------------------------------------------------------


def test_decoding_runs_ahead_of_the_model(tiny_config, waveforms, monkeypatch):
    classifier = make(tiny_config, "layer")
    monkeypatch.setattr(module, "_CHUNK", 1)
    decoded, asked = [threading.Event() for _ in range(4)], []

    def decode(numbers):
        asked.append((threading.current_thread(), len(numbers)))
        decoded[len(asked) - 1].set()
        return [waveforms[number] for number in numbers]

    seen = []

    def forward(*_):
        # While the model works on a batch, the next one is being decoded; and no more than that one.
        seen.append(len(seen) == 3 or decoded[len(seen) + 1].wait(timeout=20))
        seen[-1] = seen[-1] and len(asked) <= len(seen) + 1

    hook = classifier[0].register_forward_pre_hook(forward)
    predict_logits(*classifier, [1.0] * 8, decode, batch_size=2, progress=False)
    hook.remove()
    assert seen == [True] * 4 and [count for _, count in asked] == [2] * 4
    assert {thread for thread, _ in asked}.isdisjoint({threading.main_thread()})


@pytest.mark.parametrize("bad", [0, 20, 39], ids=["first", "in-between", "last"])
def test_an_error_in_decoding_reaches_the_caller(tiny_config, waveforms, bad):
    def decode(numbers):
        if bad in numbers:
            raise OSError(f"clip {bad}")
        return [waveforms[number] for number in numbers]

    with pytest.raises(OSError, match=f"clip {bad}"):
        predict_logits(*make(tiny_config, "layer"), np.arange(40.0), decode, batch_size=2, progress=False)
