"""Tiny folders in the layouts of checkpoints of other authors, with random weights."""

import json

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, Wav2Vec2FeatureExtractor

EIGHT = ("angry", "calm", "disgust", "fearful", "happy", "neutral", "sad", "surprised")
DIMENSIONS = ("arousal", "dominance", "valence")
LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
# author -> model type, name of the output layer, labels, pooling, whether the file is a pickle with old names
LAYOUTS = {
    "ehcalabres": ("wav2vec2", "output", EIGHT, None, True),
    "m3hrdadfi": ("hubert", "out_proj", EIGHT[:5], "mean", False),
    "max": ("wav2vec2", "out_proj", EIGHT[:4], "max", False),
    "sum": ("wavlm", "out_proj", EIGHT[:4], "sum", False),
    "audeering": ("wav2vec2", "out_proj", DIMENSIONS, "mean", True),
}


def write_folder(folder, tiny_config, model_type, last, labels, pooling, pickled):
    """Write a folder with these keys in config.json and these names of weights; return the encoder and the head."""
    torch.manual_seed(0)
    fields = {key: value for key, value in tiny_config.items() if key != "model_type"} | LARGE
    if model_type == "hubert":
        fields["feat_extract_norm"] = "group"
    encoder = AutoModel.from_config(AutoConfig.for_model(model_type, **fields)).eval()
    size = fields["hidden_size"]
    head = {
        "classifier.dense.weight": torch.randn(size, size) / 4,
        "classifier.dense.bias": torch.randn(size),
        f"classifier.{last}.weight": torch.randn(len(labels), size) / 4,
        f"classifier.{last}.bias": torch.randn(len(labels)),
    }
    encoder.save_pretrained(folder)
    weights = {f"{model_type}.{key}": value for key, value in load_file(folder / "model.safetensors").items()} | head
    if pickled:
        (folder / "model.safetensors").unlink()
        for new, old in (("weight.original0", "weight_g"), ("weight.original1", "weight_v")):
            weights = {key.replace(f"parametrizations.{new}", old): value for key, value in weights.items()}
        torch.save(weights, folder / "pytorch_model.bin")
    else:
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config |= {
        "architectures": ["Wav2Vec2ForSpeechClassification"],
        "finetuning_task": "wav2vec2_clf",
        "final_dropout": 0.1,
        "id2label": {str(index): label for index, label in enumerate(labels)},
        "label2id": {label: index for index, label in enumerate(labels)},
    }
    if pooling is not None:
        config["pooling_mode"] = pooling
    if labels == DIMENSIONS:
        config |= {"problem_type": "regression", "finetuning_task": "wav2vec2_reg", "vocab_size": None}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    mask = fields["feat_extract_norm"] == "layer"
    Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=mask).save_pretrained(folder)
    return encoder, head
