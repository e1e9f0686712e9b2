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
        clips["corpus"] = [clip.partition("/")[0] for clip in clips["id"]]
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


def make_dimension_model(folder, corpora=("own",), synthetic=(), figures=False):
    """Write the folder of a tiny companion that predicts arousal and valence, as if it had been trained."""
    from hf_ser.hub import write_model_card
    from hf_ser.models import MelCNNConfig, MelCNNForAudioClassification, make_feature_extractor
    from hf_ser.reporting.dimension_report import write_dimension_run
    from hf_ser.scoring import write_json
    from hf_ser.scoring.dimension_scores import DimensionPredictions, score_dimensions

    torch.manual_seed(0)
    config = MelCNNConfig(**TINY, id2label={0: "arousal", 1: "valence"}, problem_type="regression")
    model = MelCNNForAudioClassification(config)
    for part in (model, make_feature_extractor()):
        part.save_pretrained(folder)
    rng, scores, tables = np.random.default_rng(0), {}, {}
    for split in ("validation", "test"):
        clips = {"id": [f"{corpora[0]}/{split}_{number}" for number in range(24)], "corpus": [corpora[0]] * 24}
        clips |= {"speaker": [f"{split}_{number % 4}" for number in range(24)], "gender": ["female"] * 24}
        true = rng.uniform(0, 1, (24, 2))
        table = DimensionPredictions(
            clips | {"intensity": [None] * 24}, ("arousal", "valence"), true, true + rng.normal(0, 0.1, true.shape)
        )
        scores[split] = score_dimensions(table, files=[f"predictions_{split}.parquet"], precision="fp32")
        tables[split] = [table]
    training = {"corpora": list(corpora), "loss": "ccc", "target": "dimensions", "best_metric": "ccc"}
    training |= {"best_value": 0.9, "optimizer": "adamw_torch", "schedule": "linear", "precision": "fp32"}
    results = make_results(
        name=folder.name,
        model_type=config.model_type,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        dataset={"synthetic": list(synthetic), "licence": "cc-by-4.0"},
        training=training,
        dimensions=scores,
    )
    history = [{"epoch": 1.0, "loss": 0.5, "eval_loss": 0.4, "eval_ccc": 0.6, "eval_ccc_arousal": 0.7}]
    write_dimension_run(folder, results, tables, history=history, figures=figures)
    write_json(folder / "training_history.json", history)
    (folder / "splits.csv").write_text(f"id,split\n{corpora[0]}/a,train\n")
    write_model_card(folder, results)
    return folder
