"""What a run is called in figures, reports and printed scores: its model, dataset and protocol."""

from collections.abc import Mapping
from typing import Any

from hf_ser.corpora import CORPORA

SYNTHETIC = "Synthetic recordings: these scores say nothing about real speech."
_ARCHITECTURES = {
    "ser-mel-cnn": "MelCNN",
    "ser-audio-cnn": "AudioCNN",
    "ser-audio-lstm": "AudioLSTM",
    "ser-cnn-rnn": "CNN-RNN",
}


def run_title(model_type: str, dataset: Mapping[str, Any], protocol: Mapping[str, Any]) -> str:
    """Name model, dataset and protocol, and say where the recordings are synthetic.

    Args:
        model_type: as in results.json.
        dataset: the field of results.json.
        protocol: the field of results.json.

    >>> run_title("ser-audio-cnn", {"name": "ravdess", "synthetic": []}, {"name": "emobox", "fold": None, "folds": 6})
    'AudioCNN, RAVDESS, emobox, 6 folds'
    """
    corpus = CORPORA.get(dataset["name"])
    model, named = _ARCHITECTURES.get(model_type, model_type), corpus.title if corpus else dataset["name"]
    return with_synthetic(f"{model}, {named}, {protocol_title(protocol)}", dataset)


def with_synthetic(text: str, dataset: Mapping[str, Any]) -> str:
    """Append that the recordings are synthetic, where they are."""
    return f"{text}, synthetic recordings" if dataset["synthetic"] else text


def protocol_title(protocol: Mapping[str, Any]) -> str:
    """A protocol with its fold or folds: `emobox, fold 2`."""
    if protocol["name"] == "all_clips":  # recordings or a table, which no protocol divides
        return "all clips"
    fold = f", fold {protocol['fold']}" if protocol["fold"] else ""
    folds = f", {protocol['folds']} folds" if protocol["folds"] else ""
    return protocol["name"].replace("_", "-") + fold + folds
