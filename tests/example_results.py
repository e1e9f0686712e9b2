"""Example contents of results.json, for tests that need a run without training."""


def make_results(splits=None, **changes):
    """The content of a results.json that follows the schema.

    Args:
        splits: split -> result of `score_split`.
        changes: changed fields; for mappings, the changed keys.
    """
    from hf_ser.scoring import versions
    from hf_ser.scoring.results import SCHEMA_VERSION

    results = {
        "schema_version": SCHEMA_VERSION,
        "kind": "training",
        "name": "tiny",
        "model_type": "wav2vec2",
        "parameters": 1234,
        "dataset": {
            "name": "emotions",
            "configuration": "all",
            "synthetic": [],
            "train_clips": 70,
            "train_speakers": 7,
            "train_classes": ["neutral", "happy", "sad"],
        },
        "protocol": {"name": "random", "fold": None, "folds": None, "seed": 0, "hash": "0a" * 32, "notes": []},
        "preprocessing": {
            "duration_s": None,
            "trim_db": 20.0,
            "normalize": False,
            "merge_calm": False,
            "channel": None,
        },
        "training": {
            "seed": 3,
            "epochs": 2.0,
            "steps": 10,
            "learning_rate": 0.001,
            "batch_size": 16,
            "best_metric": "f1_weighted",
            "best_step": 5,
        },
        "seeds": [3],
        "versions": versions(),
        "splits": splits or {},
    }
    for name, value in changes.items():
        known = results.get(name)
        results[name] = known | value if isinstance(known, dict) and isinstance(value, dict) else value
    return results
