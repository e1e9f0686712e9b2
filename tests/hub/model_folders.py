"""Folders as a training leaves them, without the training, and what a repository holds after a push."""

import numpy as np
import torch
from example_results import make_results

LABELS = ("neutral", "happy", "sad")
TINY = {"duration_s": 0.5, "n_mels": 24, "n_mfcc": 12, "channels": (8, 8), "kernel_sizes": (5, 3), "hidden_size": 8}


def make_model(folder, corpora=("ravdess",), synthetic=(), model=None, seed=0):
    """Write the folder of a tiny companion, or of another model with these labels, as if it had been trained."""
    from hf_ser.models import MelCNNConfig, MelCNNForAudioClassification, make_feature_extractor
    from hf_ser.reporting import write_run
    from hf_ser.scoring import Predictions, score_split, write_json

    torch.manual_seed(seed)
    names = {"id2label": dict(enumerate(LABELS)), "label2id": {name: i for i, name in enumerate(LABELS)}}
    model = model or MelCNNForAudioClassification(MelCNNConfig(**TINY, **names))
    for part in (model, make_feature_extractor()):
        part.save_pretrained(folder)
    rng, splits, predictions = np.random.default_rng(seed), {}, {}
    for split in ("validation", "test"):
        clips = {
            "label": list(np.arange(24) % 3),
            "id": [f"{corpora[i % len(corpora)]}/{split}_{i}" for i in range(24)],
        }
        clips["corpus"] = [its.partition("/")[0] for its in clips["id"]]
        clips["speaker"] = [f"{corpus}_{i % 4}" for i, corpus in enumerate(clips["corpus"])]
        clips |= {"gender": ["female", "male"] * 12, "intensity": ["normal"] * 24}
        predictions[split] = [Predictions(clips, rng.dirichlet(np.ones(3), 24), LABELS)]
        splits[split] = score_split(predictions[split], files=[f"predictions_{split}.parquet"], temperature=1.25)
    results = make_results(
        splits,
        name=folder.name,
        model_type=model.config.model_type,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        dataset={"synthetic": list(synthetic)},
        training={"corpora": list(corpora), "quarantined": {corpora[0]: {"silent": 7}}},
    )
    write_run(folder, results, predictions, figures=False)
    write_json(folder / "training_history.json", [])
    (folder / "splits.csv").write_text(f"id,split\n{corpora[0]}/a,train\n")
    (folder / "figures").mkdir()
    (folder / "figures/confusion_test.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return folder


def contents(hub, name="owner/tiny", kind="models", revision="main"):
    """What a repository holds at a revision, as path -> bytes."""
    files = hub.stored(name, kind).resolve(revision).files
    return {path: blob.content for path, blob in files.items() if path != ".gitattributes"}
