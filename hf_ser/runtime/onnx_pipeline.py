"""The interface of `SpeechEmotionPipeline` for an exported graph."""

import os
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from hf_ser.remote_code.audio_sources import printable
from hf_ser.remote_code.call_options import PARAMETERS, check_options
from hf_ser.remote_code.dimensions import are_dimensions
from hf_ser.remote_code.recording_answers import SYNTHETIC, BatchOutput, WindowClassifier
from hf_ser.runtime.graph_contract import GraphMetadata
from hf_ser.runtime.graph_file import CPU, open_graph


class OnnxPipeline:
    """Classify recordings with an exported graph, without torch and transformers.

    The answers are those of `SpeechEmotionPipeline` with the exported model in float32, also values of dimensions.
    Scores of a float32 graph differ by less than 1e-4.

    Args:
        model: path of an ONNX file that hf_ser exported.
        num_threads: threads that compute one batch; None for OMP_NUM_THREADS, or else the CPUs available to this
            process.
        providers: execution providers of onnxruntime, in the order of preference.
        batch_size: windows per forward pass.
        **parameters: `top_k`, `window_s`, `stride_s`, `return_timeline`, `on_error` and `abstain` for all calls; see
            `__call__`.

    Raises:
        GraphError: the file is not a complete graph that hf_ser exported, or a newer version exported it.
        ValueError: a parameter does not exist or is invalid.
        MissingExtraError: onnxruntime is not installed.

    >>> from hf_ser.runtime import OnnxPipeline
    >>> classify = OnnxPipeline("model.onnx", num_threads=1)
    >>> sorted(classify("voice.wav", top_k=1)[0])
    ['label', 'score']
    >>> classify(["voice.wav", "missing.wav"])[1]["reason"]
    'not_found'
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        num_threads: int | None = None,
        providers: Sequence[str] = (CPU,),
        batch_size: int = 1,
        **parameters: Any,
    ) -> None:
        self.metadata: GraphMetadata
        self._session, self.metadata = open_graph(model, num_threads, providers)
        self._batch_size = batch_size
        self._parameters = self._checked(parameters)
        self._classifier = WindowClassifier(
            compute=self._compute,
            labels=self.metadata.labels,
            any_length=self.metadata.any_length,
            max_input_s=self.metadata.max_input_s,
            abstention_threshold=self.metadata.abstention_threshold,
            prepare=_unchanged,  # the graph contains the preprocessing
            finite_remedy="Check the weights of the model, or export it in float32.",
        )
        if self.metadata.synthetic:
            warnings.warn(f"{printable(os.fspath(model))} was {SYNTHETIC}.", stacklevel=2)

    def __call__(self, inputs: Any, *, batch_size: int | None = None, **parameters: Any) -> Any:
        """Classify one or more recordings.

        Args:
            inputs: a path, URL, bytes, file object, array (samples,) at 16 kHz, dict with `raw` or `array` and
                `sampling_rate`, `datasets` audio dict, or a list, dataset column, generator or other iterable of
                these.
            batch_size: windows per forward pass; None for the one of the pipeline.
            **parameters: these parameters.
                `top_k`: number of labels to return; None for all.
                `window_s`, `stride_s`: length and stride of overlapping windows. By default recordings of more than
                30 s are split into windows of 10 s every 5 s. If the model uses only the first seconds of a clip,
                windows have that length, and recordings of more than twice that length are split.
                `return_timeline`: return the scores of every window.
                `on_error`: "raise" (default for one recording) or "report" (default for several), which returns an
                error entry for recordings that cannot be used.
                `abstain`: False (default), True for the threshold of the model, or a threshold from 0 to 1.

        Returns:
            For one recording a list of `{"label", "score"}`, best first. With `return_timeline` or `abstain` a dict:
            `scores` as before, `timeline` (`start` and `end` in seconds, `scores` and `silent` of every window), and
            `abstained` (whether the top score is below the threshold) with `threshold`. For a list a list of these,
            for other iterables an iterator. Recordings that cannot be used give `{"error", "reason"}`.

        Raises:
            AudioError: a recording cannot be used, because it is not found, undecodable, too short or silent.
            ValueError: a parameter does not exist or is invalid.
        """
        options = {**self._parameters, **self._checked(parameters)}
        return self._classifier.answer(inputs, batch_size or self._batch_size, options)

    def window_classifier(self) -> WindowClassifier:
        """What classifies windows of a recording. `hf_ser.live` uses it for streams."""
        return self._classifier

    def _checked(self, parameters: dict[str, Any]) -> dict[str, Any]:
        if "return_embeddings" in parameters:
            raise ValueError(
                "return_embeddings: an exported graph has no embeddings; expected no such parameter. Use "
                "SpeechEmotionPipeline with the folder of the model."
            )
        if "precision" in parameters:
            raise ValueError(
                f"precision: got {parameters['precision']!r}; expected no such parameter, because a graph computes in "
                f"the precision of its export ({self.metadata.precision}). Export the model in another precision."
            )
        given = check_options(parameters, PARAMETERS, self.metadata.abstention_threshold)
        if given.get("abstain") and are_dimensions(self.metadata.labels):
            raise ValueError("abstain: a model of dimensions has no probabilities; expected False.")
        return given

    def _compute(self, waveforms: list[np.ndarray]) -> BatchOutput:
        """Compute the probabilities of a batch of waveforms (samples,)."""
        inputs = padded_batch(waveforms, self.metadata.min_samples, self.metadata.needs_mask)
        return BatchOutput(self._session.run([self.metadata.output], inputs)[0])


def padded_batch(waveforms: Sequence[np.ndarray], min_samples: int, needs_mask: bool) -> dict[str, np.ndarray]:
    """Pad waveforms (samples,) with zeros to a batch, as `hf_ser.remote_code.encoder_inputs.model_inputs` does.

    Args:
        waveforms: float32 at 16 kHz.
        min_samples: minimum length. The mask covers this padding, but not the padding to the longest waveform.
        needs_mask: whether to return an attention mask.

    Returns:
        input_values (batch, samples), float32, and attention_mask (batch, samples), int64, if requested.
    """
    lengths = np.asarray([max(min_samples, len(waveform)) for waveform in waveforms])
    values = np.zeros((len(waveforms), lengths.max()), np.float32)
    for row, waveform in zip(values, waveforms, strict=True):
        row[: len(waveform)] = waveform
    if not needs_mask:
        return {"input_values": values}
    return {"input_values": values, "attention_mask": (np.arange(lengths.max()) < lengths[:, None]).astype(np.int64)}


def _unchanged(waveform: np.ndarray) -> np.ndarray:
    return waveform
