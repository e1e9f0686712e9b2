import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForSequenceClassification

from hf_ser.inference import CheckpointError, load_classifier


@pytest.fixture
def folder(tmp_path, tiny_config):
    config = Wav2Vec2Config(**tiny_config, num_labels=8, mask_time_prob=0.05)
    Wav2Vec2ForSequenceClassification(config).save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path)
    return tmp_path


def _rewrite(folder, change):
    file = folder / "model.safetensors"
    save_file(change(load_file(file)), file, metadata={"format": "pt"})


def test_a_whole_classifier_loads(folder):
    model, extractor = load_classifier(str(folder))
    assert extractor.sampling_rate == 16_000
    torch.testing.assert_close(
        model.classifier.weight.detach(), load_file(folder / "model.safetensors")["classifier.weight"]
    )


def test_a_head_under_other_names_is_refused(folder):
    _rewrite(
        folder, lambda weights: {key.replace("classifier.", "classifier.dense."): weights[key] for key in weights}
    )
    with pytest.raises(CheckpointError, match="2 weights .classifier.bias, classifier.weight."):
        load_classifier(str(folder))


def test_the_mask_embedding_may_be_missing(folder):
    _rewrite(folder, lambda weights: {key: weights[key] for key in weights if "masked_spec_embed" not in key})
    load_classifier(str(folder))


def test_a_missing_model_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="nothing"):
        load_classifier(str(tmp_path / "nothing"))


def test_weights_of_another_size_are_refused(folder):
    _rewrite(folder, lambda weights: weights | {"classifier.weight": torch.zeros(8, 5)})
    with pytest.raises(CheckpointError, match="do not fit config.json or are broken|classifier.weight"):
        load_classifier(str(folder))


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "preprocessor_config.json"])
def test_half_a_file_is_refused(folder, name):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match=str(folder)):
        load_classifier(str(folder))
