"""On a CUDA GPU: forward as on the CPU, a training step in the automatic precision, the pipeline, torch.compile.

HF_SER_TEST_DEVICE=cpu tries the tests themselves where there is no GPU; with HF_SER_REQUIRE_GPU=1 a run that skips
them fails.
"""

import os

import numpy as np
import pytest
import torch
from transformers import set_seed

from hf_ser.data import DataArguments, load_splits
from hf_ser.labels import EMOTIONS
from hf_ser.models import SpeechEmotionPipeline, min_samples
from hf_ser.remote_code.grouped_convolution import use_matrix_products
from hf_ser.remote_code.hardware import choose, detect
from hf_ser.training import ModelArguments, SerTrainingArguments, build_model, make_trainer
from hf_ser.training.batches import AudioCollator

DEVICE = os.environ.get("HF_SER_TEST_DEVICE", "cuda")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(DEVICE == "cuda" and not torch.cuda.is_available(), reason="no CUDA GPU"),
]
BLOCKS = {"channels": [8, 8], "kernel_sizes": [5, 3], "n_mels": 24, "duration_s": 0.5}
MODELS = {
    "mel_cnn": {"model_type": "ser-mel-cnn", "hidden_size": 16, **BLOCKS},
    "audio_cnn": {"model_type": "ser-audio-cnn", "hidden_size": 16, "pooling": "statistics", **BLOCKS},
    "audio_lstm": {"model_type": "ser-audio-lstm", "hidden_size": 8, "duration_s": 0.5, "pooling": "attention"},
    "cnn_lstm": {"model_type": "ser-cnn-rnn", "cell": "lstm", "hidden_size": 8, **BLOCKS},
    "cnn_gru": {"model_type": "ser-cnn-rnn", "cell": "gru", "hidden_size": 8, **BLOCKS},
}
KINDS = [*MODELS, "wav2vec2", "wav2vec2 with mask"]


@pytest.fixture(autouse=True)
def float32_as_float32():
    """Disable TF32, which cuDNN uses by default for float32."""
    places = (torch.backends.cudnn.conv, torch.backends.cudnn.rnn, torch.backends.cuda.matmul)
    before = [place.fp32_precision for place in places]
    for place in places:
        place.fp32_precision = "ieee"
    yield
    for place, precision in zip(places, before, strict=True):
        place.fp32_precision = precision


@pytest.fixture
def built(tiny_config):
    """Make a model of a kind, always with the same weights, and its feature extractor."""

    def make(kind):
        masked = {"feat_extract_norm": "layer", "do_stable_layer_norm": True} if kind == "wav2vec2 with mask" else {}
        set_seed(0)
        model, extractor = build_model(
            ModelArguments(model_config=MODELS.get(kind, {**tiny_config, **masked})), EMOTIONS
        )
        return model.eval(), extractor

    return make


@pytest.fixture
def waveforms():
    rng = np.random.default_rng(0)
    return [rng.uniform(-0.5, 0.5, number).astype(np.float32) for number in (8000, 5000, 9000)]


def _inputs(model, extractor, waveforms):
    collate = AudioCollator(extractor, min_samples(model.config))
    batch = collate([{"waveform": waveform, "label": 0} for waveform in waveforms])
    return {name: batch[name] for name in ("input_values", "attention_mask")}


def _apart(found, expected):
    return ((found.double().cpu() - expected.double()).norm() / expected.double().norm()).item()


@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_those_of_the_cpu(built, waveforms, kind):
    model, extractor = built(kind)
    inputs = _inputs(model, extractor, waveforms)
    with torch.inference_mode():
        expected = model(**inputs).logits
        model.to(DEVICE)
        inputs = {name: value.to(DEVICE) for name, value in inputs.items()}
        assert _apart(model(**inputs).logits, expected) < 1e-3
        for dtype in (torch.bfloat16, torch.float16):
            with torch.autocast(DEVICE, dtype):
                assert _apart(model(**inputs).logits, expected) < 0.1
        if kind in MODELS:  # loaded in half the precision, as pipelines may be
            assert _apart(model.to(torch.bfloat16)(**inputs).logits, expected) < 0.1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_positional_convolution_is_that_of_float32(dtype):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 60, 768, generator=generator).to(DEVICE).transpose(1, 2).requires_grad_()
    convolution = torch.nn.Conv1d(768, 768, 128, padding=64, groups=16).to(DEVICE)
    convolution(x).square().sum().backward()
    expected = [convolution(x), x.grad, convolution.weight.grad]
    x.grad = None
    convolution.zero_grad()
    use_matrix_products(convolution)
    with torch.autocast(DEVICE, dtype):
        found = convolution(x)
    assert found.dtype == dtype and found.shape == expected[0].shape
    found.float().square().sum().backward()
    for own, stock in zip([found, x.grad, convolution.weight.grad], expected, strict=True):
        assert (own.float() - stock).norm() <= 2e-2 * stock.norm()


@pytest.mark.parametrize("precision", ["auto", "fp16", "fp32"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_training_step_moves_every_part_of_the_model(built, dataset_dir, tmp_path, kind, precision):
    if DEVICE == "cpu" and precision == "fp16":
        pytest.skip("float16 needs a GPU")
    args = SerTrainingArguments(
        output_dir=str(tmp_path / "run"),
        precision=precision,
        max_steps=2,
        per_device_train_batch_size=8,
        learning_rate=1e-3,
        eval_strategy="no",
        save_strategy="no",
        load_best_model_at_end=False,
        dataloader_num_workers=2,
        use_cpu=DEVICE == "cpu",
        disable_tqdm=True,
        report_to="none",
    )
    taken = args.precision_choice.precision
    assert taken == (choose(detect(DEVICE))[0] if precision == "auto" else precision)
    assert (args.bf16, args.fp16) == (taken == "bf16", taken == "fp16") and args.device.type == DEVICE
    data = load_splits(DataArguments(dataset=str(dataset_dir), configuration="ravdess"))
    model, extractor = built(kind)
    before = {name: value.clone() for name, value in model.named_parameters() if value.requires_grad}
    trainer = make_trainer(model, extractor, data, args)
    trainer.train()
    after = dict(trainer.model.named_parameters())
    assert all(torch.isfinite(value).all() for value in after.values())
    if taken != "fp16":  # its scaler may pass over the first steps
        still = [name for name, value in before.items() if torch.equal(after[name].cpu(), value)]
        assert not [name for name in still if "masked_spec_embed" not in name]


@pytest.mark.parametrize("kind", ["audio_cnn", "cnn_lstm", "wav2vec2"])
def test_the_pipeline_answers_as_on_the_cpu(built, waveforms, kind):
    recordings = [{"raw": waveform, "sampling_rate": 16_000} for waveform in waveforms]

    def probabilities(device, precision="fp32"):
        model, extractor = built(kind)
        pipeline = SpeechEmotionPipeline(
            model=model, feature_extractor=extractor, device=device, precision=precision, task="audio-classification"
        )
        assert pipeline.device.type == device
        answers = pipeline(recordings, batch_size=2)
        return [sorted((each["label"], each["score"]) for each in answer) for answer in answers]

    exact = probabilities("cpu")
    for precision, limit in (("fp32", 1e-3), ("auto", 0.02)):
        for found, expected in zip(probabilities(DEVICE, precision), exact, strict=True):
            assert [label for label, _ in found] == [label for label, _ in expected]
            assert np.abs(np.subtract([score for _, score in found], [score for _, score in expected])).max() < limit


def test_a_compiled_companion_answers_as_before(built, waveforms):
    model, extractor = built("audio_cnn")
    model.to(DEVICE)
    inputs = {name: value.to(DEVICE) for name, value in _inputs(model, extractor, waveforms).items()}
    with torch.no_grad():
        expected = model(**inputs).logits.cpu()
        assert _apart(torch.compile(model)(**inputs).logits, expected) < 1e-3
