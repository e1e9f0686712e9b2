"""Custom handler for Hugging Face Inference Endpoints: the toolkit calls it for every request.

The toolkit imports this file from the folder of the model, as a module that is in no package. `recipes/push.py` pushes
it with every model that has code of its own.
"""

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class EndpointHandler:
    """Classify the recordings of requests with the pipeline of the folder.

    Args:
        path: folder of the model; by default the one that contains this file.
    """

    def __init__(self, path: str = "") -> None:
        import torch
        from transformers import pipeline

        folder = path or str(Path(__file__).parent)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.pipeline: Any = pipeline("audio-classification", model=folder, trust_remote_code=True, device=device)

    def __call__(self, data: dict[str, Any]) -> Any:
        """Answer one request.

        Args:
            data: `inputs`: the content of an audio file as bytes or in base64, a dict with `array` (or `raw`) and
                `sampling_rate` in Hz, or a list of these. `parameters`: those of the pipeline, such as `top_k`,
                `window_s`, `stride_s`, `return_timeline` and `abstain`.

        Returns:
            Labels and scores, best first, or with `return_timeline` or `abstain` a dict; for a list a list, in which
            clips that cannot be used have an entry with `error` and `reason`.

        Raises:
            ValueError: the inputs or parameters are invalid, or a single clip cannot be used.
        """
        inputs = data.get("inputs")
        parameters = data.get("parameters") or {}
        if not isinstance(parameters, Mapping):
            raise ValueError(
                f"parameters: got a {type(parameters).__name__}; expected an object. Correct the request."
            )
        if "return_embeddings" in parameters:
            raise ValueError("return_embeddings is not a parameter of the endpoint; expected scores only. Remove it.")
        if isinstance(inputs, list):
            return self.pipeline([_recording(each, f"inputs[{i}]") for i, each in enumerate(inputs)], **parameters)
        return self.pipeline(_recording(inputs, "inputs"), **parameters)


def base64_audio(text: str, name: str) -> bytes:
    """Decode audio in base64. Other strings, such as URLs and paths, are rejected and never opened.

    Args:
        text: base64.
        name: what the text is, for messages.

    Raises:
        ValueError: the text is not base64.
    """
    try:
        return base64.b64decode("".join(text.split()), validate=True)  # some programs break it into lines
    except (binascii.Error, ValueError):
        is_url = "://" in text[:20]
        got = "a URL, which is not downloaded" if is_url else "a string that is not base64"
        remedy = "Download it and send its content." if is_url else "Encode the content of the file."
        raise ValueError(f"{name}: got {got}; expected base64-encoded audio. {remedy}") from None


def _recording(value: Any, name: str) -> Any:
    """An input of a request as an input of the pipeline."""
    if isinstance(value, str):
        value = base64_audio(value, name)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"bytes": bytes(value), "path": name}
    if isinstance(value, Mapping) and "sampling_rate" in value:
        import numpy as np

        samples = next((value[key] for key in ("array", "raw") if value.get(key) is not None), None)
        if isinstance(samples, (list, np.ndarray)):
            # A list of JSON numbers would have 64 bits per sample.
            array = np.asarray(samples, np.float32) if isinstance(samples, list) else samples
            return {"raw": array, "sampling_rate": value["sampling_rate"], "path": name}
    raise ValueError(
        f"{name}: got {type(value).__name__}; expected the content of an audio file as bytes or in base64, or array "
        "and sampling_rate. Correct the request."
    )
