"""Speech emotion recognition pipeline: from a recording to the scores of all emotions."""

import logging
import warnings
from collections.abc import Callable, Mapping
from os import PathLike
from typing import Any, ClassVar

import numpy as np
import torch
from transformers import Pipeline

from .call_options import PARAMETERS, check_options
from .decoder import SAMPLING_RATE
from .dimensions import are_dimensions, is_dimensional
from .encoder_inputs import keep_classifier_inputs, max_input_s, min_samples, model_inputs, takes_any_length
from .forward_precision import ForwardPass, choose_precision
from .hardware import PrecisionChoice, check_device
from .preprocessing import Preprocessing, complete_preprocessing, trained_on_synthetic
from .recording_answers import SYNTHETIC, BatchOutput, WindowClassifier

_LOGGER = logging.getLogger(__name__)
# Field of config.json that makes pipeline("audio-classification", ..., trust_remote_code=True) use the class below.
CUSTOM_PIPELINES = {
    "audio-classification": {
        "impl": "speech_emotion_pipeline.SpeechEmotionPipeline",
        "pt": ["AutoModelForAudioClassification"],
    }
}
_PARAMETERS = (*PARAMETERS[:4], "return_embeddings", "on_error", "precision", "abstain")
_FLOAT32 = (torch.float32, "float32")
MISMATCH = (
    "problem_type is {!r}; expected regression for outputs that are named arousal, valence or dominance, and only for "
    "these. Change problem_type or id2label in config.json."
)


class SpeechEmotionPipeline(Pipeline):
    """Classify recordings with a model of this package or of the wav2vec2 family.

    Without a model, the package's own is used: `SpeechEmotionPipeline()`.

    Scores are probabilities, calibrated if the model is; for a model of arousal, valence and dominance they are its
    values of these dimensions, in the order of its outputs. A recording has the same scores alone and in any batch, up
    to the fifth digit in float32 and about 0.01 in bfloat16 and float16.

    `precision` is auto, bf16, fp16 or fp32, for the pipeline or for one call. With auto, float32 models compute in
    bfloat16 if the hardware supports it natively, in float16 on older CUDA GPUs, and otherwise in float32. A model
    that was loaded in another dtype computes in that dtype.

    >>> import hf_ser.models
    >>> from transformers import pipeline
    >>> classify = pipeline("speech-emotion-recognition", model="runs/audio_cnn")
    >>> sorted(classify("voice.wav", top_k=1)[0])
    ['label', 'score']
    >>> classify(["voice.wav", "missing.wav"])[1]["reason"]
    'not_found'
    """

    _load_processor = False  # type: ignore[assignment]
    _load_image_processor = False  # type: ignore[assignment]
    _load_feature_extractor = True  # type: ignore[assignment]
    _load_tokenizer = False  # type: ignore[assignment]
    # Set by hf_ser.models; this file alone, as in a folder on the Hub, has no model.
    load_default: ClassVar[Callable[[], tuple[Any, Any]] | None] = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if not args and kwargs.get("model") is None:
            kwargs["model"], kwargs["feature_extractor"] = self._default_parts(kwargs.get("feature_extractor"))
        check_device(kwargs.get("device"))
        if kwargs.get("dtype") in _FLOAT32 and kwargs.get("precision") is None:
            kwargs["precision"] = "fp32"
        self._passes: dict[Any, ForwardPass] = {}
        super().__init__(*args, **kwargs)
        rate = getattr(self.feature_extractor, "sampling_rate", None)
        if rate != SAMPLING_RATE:
            got = "none" if rate is None else f"one for {rate} Hz"
            raise ValueError(f"feature_extractor: got {got}; expected a feature extractor for {SAMPLING_RATE} Hz.")
        name, commit = str(self.model.name_or_path), getattr(self.model.config, "_commit_hash", None)
        complete_preprocessing(self.model, self.feature_extractor, name, commit)
        if trained_on_synthetic(name, commit):
            warnings.warn(f"{name} was {SYNTHETIC}.", stacklevel=2)
        if is_dimensional(self.model.config) != are_dimensions((self.model.config.id2label or {}).values()):
            raise ValueError(f"model: {MISMATCH.format(self.model.config.problem_type)}")
        self.preprocessing = Preprocessing.of(self.feature_extractor)
        self.precision.log(_LOGGER)

    def _default_parts(self, extractor: Any) -> tuple[Any, Any]:
        """The model and feature extractor of a pipeline that was given no model."""
        if extractor is not None:
            raise ValueError("got a feature_extractor without a model; expected both or neither. Pass model=.")
        load = type(self).load_default
        if load is None:
            raise ValueError("got no model; expected a loaded model and its feature extractor. Pass model=.")
        return load()

    @property
    def precision(self) -> PrecisionChoice:
        """Precision of calls without the argument `precision`, and the reason for it."""
        return choose_precision(self.model, self._postprocess_params.get("precision", "auto"), self.device)

    def _forward_pass(self, precision: str) -> ForwardPass:
        key = precision, self.model.dtype, self.device  # the choice depends on these
        made = self._passes.get(key)
        if made is None or made.model is not self.model:
            taken = choose_precision(self.model, precision, self.device).precision
            made = self._passes[key] = ForwardPass(self.model, taken)
        return made

    def _sanitize_parameters(self, **pipeline_parameters: Any) -> Any:
        given = check_options(pipeline_parameters, _PARAMETERS, self._stored_threshold)
        if given.get("abstain") and is_dimensional(self.model.config):
            raise ValueError("abstain: a model of dimensions has no probabilities; expected False.")
        if "precision" in given:
            choose_precision(self.model, given["precision"], self.device)
        return {}, {}, given

    @property
    def _stored_threshold(self) -> float | None:
        return getattr(self.model.config, "abstention_threshold", None)

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Classify one or more recordings.

        Args:
            inputs: a path, URL, bytes, file object, array or tensor (samples,) at 16 kHz, dict with `raw` or `array`
                and `sampling_rate`, `datasets` audio dict, or a list, dataset column, generator or other iterable of
                these.
            *args: ignored.
            **kwargs: these parameters.
                `top_k`: number of labels to return; None for all.
                `batch_size`: windows per forward pass.
                `window_s`, `stride_s`: length and stride of overlapping windows. By default recordings of more than
                30 s are split into windows of 10 s every 5 s. If the model uses only the first seconds of a clip,
                windows have that length, and recordings of more than twice that length are split.
                `return_timeline`: return the scores of every window.
                `return_embeddings`: return the input of the classifier.
                `on_error`: "raise" (default for one recording) or "report" (default for several), which returns an
                error entry for recordings that cannot be used.
                `precision`: auto, bf16, fp16 or fp32.
                `abstain`: whether to report that the top score is below a threshold: False (default), True for the
                threshold of the model, which was chosen on validation clips, or a threshold from 0 to 1. The scores
                do not change.

        Returns:
            For one recording a list of `{"label", "score"}`, best first. With `return_timeline`,
            `return_embeddings` or `abstain` a dict: `scores` as before, `timeline` (`start` and `end` in seconds,
            `scores` and `silent` of every window), `embedding` (dim,), and `abstained` (whether the top score is
            below the threshold) with `threshold`. For a list a list of these, for other iterables an
            iterator. Recordings that cannot be used give `{"error", "reason"}`.

        Raises:
            AudioError: a recording cannot be used, because it is not found, undecodable, too short or silent.
        """
        batch_size = kwargs.pop("batch_size", None) or self._batch_size or 1
        kwargs.pop("num_workers", None)
        options = {**self._postprocess_params, **self._sanitize_parameters(**kwargs)[2]}
        return self.window_classifier(options).answer(inputs, batch_size, options)

    def window_classifier(self, options: Mapping[str, Any] | None = None) -> WindowClassifier:
        """The model with the options of a call; None for those of the pipeline. `hf_ser.live` uses it for streams."""
        options = self._postprocess_params if options is None else options
        precision, embeddings = options.get("precision", "auto"), bool(options.get("return_embeddings"))
        return WindowClassifier(
            compute=lambda waveforms: self._compute(waveforms, self._forward_pass(precision), embeddings),
            labels=self.model.config.id2label,  # type: ignore[arg-type]
            any_length=takes_any_length(self.model.config, self.feature_extractor),
            max_input_s=max_input_s(self.model, self.preprocessing),
            abstention_threshold=self._stored_threshold,
            prepare=self.preprocessing,
            finite_remedy="Use precision fp32, or check the weights of the model.",
        )

    def _compute(self, waveforms: list[np.ndarray], forward: ForwardPass, embeddings: bool) -> BatchOutput:
        """Compute the probabilities and, if requested, the embeddings of a batch of waveforms (samples,)."""
        kept: list[np.ndarray] = []
        hook = keep_classifier_inputs(forward.module, kept) if embeddings else None
        try:
            outputs: Any = self.forward(self.preprocess(waveforms), forward=forward)
        finally:
            if hook is not None:
                hook.remove()
        return BatchOutput(outputs["probabilities"].cpu().numpy(), kept[-len(waveforms) :] if embeddings else None)

    def preprocess(self, input_: Any, **preprocess_parameters: Any) -> Any:
        """Waveforms (samples,) at 16 kHz -> the model's inputs, padded to one length of at least the minimum."""
        extractor: Any = self.feature_extractor
        return model_inputs(extractor, input_, min_samples(self.model.config))

    def _forward(self, input_tensors: Any, **forward_parameters: Any) -> Any:
        forward = forward_parameters.get("forward") or self._forward_pass("auto")
        logits = forward(**input_tensors).logits.cpu()  # not every accelerator has float64
        if is_dimensional(self.model.config):
            return {"probabilities": logits.double()}
        return {"probabilities": torch.softmax(logits.double(), dim=-1)}

    def postprocess(self, model_outputs: Any, **postprocess_parameters: Any) -> Any:
        """Probabilities of one clip (1, labels) -> labels and scores, best first."""
        probabilities = model_outputs["probabilities"][0].cpu().numpy()
        return self.window_classifier({}).ranked(probabilities, postprocess_parameters.get("top_k"))

    def save_pretrained(self, save_directory: str | PathLike, **kwargs: Any) -> None:
        """Save the model and its feature extractor to a folder that `pipeline` loads.

        The base class would add code to the folders of stock transformers models, and replace the field
        custom_pipelines of a companion model's configuration.
        """
        for part in (self.model, self.feature_extractor):
            part.save_pretrained(save_directory, **kwargs)  # type: ignore[union-attr]
