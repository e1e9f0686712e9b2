"""The metadata of the exported graph that the tests of the static page use."""

from hf_ser.labels import EMOTIONS

METADATA = {
    "schema_version": 1,
    "labels": list(EMOTIONS),
    "sampling_rate": 16_000,
    "model_type": "ser-audio-cnn",
    "needs_mask": False,
    "any_length": True,
    "min_samples": 1600,
    "max_input_s": 1.0,
    "abstention_threshold": 0.3,
    "name": "tiny <b>model</b>",
    "source": "runs/tiny",
    "revision": None,
    "results_sha256": None,
    "licence": "cc-by-4.0",
    "precision": "float32",
    "synthetic": True,
}
