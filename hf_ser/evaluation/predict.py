"""Forward passes over many clips: sorted by length, decoded ahead, with scores that do not depend on the batch."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from hf_ser.audio import Preprocessing
from hf_ser.console import progress_bar
from hf_ser.models import min_samples, model_inputs
from hf_ser.remote_code.dimensions import is_dimensional
from hf_ser.remote_code.encoder_inputs import keep_classifier_inputs, max_input_s, takes_any_length
from hf_ser.remote_code.forward_precision import ForwardPass, choose_precision
from hf_ser.remote_code.recording_answers import batches_by_length
from hf_ser.remote_code.windows import Window, WindowPlan, cut_waveform
from hf_ser.scoring import softmax

_CHUNK = 8  # batches that are decoded together
_LEAST = 1e-300  # keeps the logarithm of a zero probability finite


def predict_logits(
    model: PreTrainedModel,
    extractor: Any,
    durations: Sequence[float],
    decode: Callable[[list[int]], list[np.ndarray]],
    *,
    batch_size: int = 8,
    device: torch.device | str = "cpu",
    precision: str = "auto",
    share: tuple[int, int] = (0, 1),
    progress: bool = True,
    desc: str = "Predicting",
    embeddings: list[np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Predict clips in batches of similar length, as the pipeline does.

    Clips are preprocessed according to the feature extractor. Long clips are cut into windows, whose probabilities
    are averaged. Models without an attention mask (wav2vec2-base) treat padding as silence, so their batches hold
    clips of one length only: a clip's scores do not depend on its batch, up to rounding.

    Args:
        model: a classifier; it is moved to `device` and set to evaluation mode.
        extractor: its feature extractor.
        durations: of each clip in seconds, for sorting.
        decode: clip numbers to whole waveforms (samples,), float32 at 16 kHz; called ahead of the model in another
            thread.
        batch_size: maximum number of clips per forward pass.
        device: of the computation.
        precision: auto, bf16, fp16 or fp32; see `choose_precision`.
        share: (rank, processes): this process takes every n-th batch of clips.
        progress: whether to show a progress bar.
        desc: label of the progress bar.
        embeddings: if given, the input of the last layer (dim,) of each clip is appended, in the order of the result.

    Returns:
        The numbers of the clips that this process predicted (n,), and their logits (n, classes); for a clip with
        several windows, the logarithms of the mean probabilities. For a model of dimensions, their (mean) values.

    >>> from hf_ser.audio import load_audio
    >>> from hf_ser.inference import load_classifier
    >>> model, extractor = load_classifier("runs/audio_cnn")
    >>> waveform = load_audio("voice.wav")
    >>> rows, logits = predict_logits(model, extractor, [0.5], lambda numbers: [waveform], progress=False)
    >>> rows.tolist(), logits.shape
    ([0], (1, 8))
    """
    model.eval()
    model.to(device)  # type: ignore[arg-type]
    order = np.argsort(np.asarray(durations), kind="stable")[::-1]
    rank, processes = share
    starts = range(rank * batch_size, len(order), processes * batch_size)
    mine = [int(clip) for start in starts for clip in order[start : start + batch_size]]
    steps = Preprocessing.of(extractor)
    cut = _Cut(steps, WindowPlan.for_model(max_input_s(model, steps)), decode)
    answers = _Answers(embeddings is not None, is_dimensional(model.config))
    kept: list[np.ndarray] = []
    forward = ForwardPass(model, choose_precision(model, precision, device).precision)
    hook = keep_classifier_inputs(forward.module, kept) if embeddings is not None else None
    bar = progress_bar(total=len(mine), desc=desc, unit="clips", show=progress)
    try:
        with torch.inference_mode(), bar:
            for windows, waveforms in batches(mine, cut, batch_size, takes_any_length(model.config, extractor)):
                inputs = model_inputs(extractor, waveforms, min_samples(model.config))
                output = forward(**{name: tensor.to(device) for name, tensor in inputs.items()}).logits
                answers.add(windows, output.float().cpu().numpy(), kept)
                kept.clear()
                bar.update(sum(window.first for window in windows))
    finally:
        if hook is not None:
            hook.remove()
    rows, logits, inputs_of_last = answers.together(model.config.num_labels or 0)
    if embeddings is not None:
        embeddings += inputs_of_last
    return rows, logits


def predict_probabilities(
    model: PreTrainedModel,
    extractor: Any,
    durations: Sequence[float],
    decode: Callable[[list[int]], list[np.ndarray]],
    **options: Any,
) -> np.ndarray:
    """Probabilities of all clips in the given order (clips, classes).

    Args:
        model: see `predict_logits`.
        extractor: see `predict_logits`.
        durations: see `predict_logits`.
        decode: see `predict_logits`.
        options: other arguments of `predict_logits`, without a share or embeddings.

    >>> from hf_ser.audio import load_audio
    >>> from hf_ser.inference import load_classifier
    >>> model, extractor = load_classifier("runs/audio_cnn")
    >>> waveform = load_audio("voice.wav")
    >>> predict_probabilities(model, extractor, [0.5], lambda numbers: [waveform], progress=False).shape
    (1, 8)
    """
    rows, logits = predict_logits(model, extractor, durations, decode, **options)
    return softmax(logits[np.argsort(rows)])


class _Part:
    """A window of a clip: the number of the clip, the weight of the window, and whether it is the first."""

    __slots__ = ("clip", "first", "share")

    def __init__(self, clip: int, share: float, first: bool) -> None:
        self.clip, self.share, self.first = clip, share, first


class _Cut:
    """Decode clips, cut long ones into windows and preprocess each."""

    def __init__(
        self, steps: Preprocessing, plan: WindowPlan, decode: Callable[[list[int]], list[np.ndarray]]
    ) -> None:
        self.steps, self.plan, self.decode = steps, plan, decode

    def __call__(self, clips: list[int]) -> tuple[list[_Part], list[np.ndarray]]:
        parts: list[_Part] = []
        waveforms: list[np.ndarray] = []
        for clip, waveform in zip(clips, self.decode(clips), strict=True):
            windows = self._sounding(waveform)
            whole = sum(len(window.waveform) for window in windows)
            for number, window in enumerate(windows):
                parts.append(_Part(clip, len(window.waveform) / whole, number == 0))
                waveforms.append(self.steps(window.waveform))
        return parts, waveforms

    def _sounding(self, waveform: np.ndarray) -> list[Window]:
        windows = list(cut_waveform(waveform, self.plan))
        return [window for window in windows if not window.silent] or windows  # a silent clip is scored too


class _Answers:
    """Logits of clips, merged from those of their windows in any order."""

    def __init__(self, embeddings: bool, dimensional: bool = False) -> None:
        self._embeddings, self._mean = embeddings, _mean_values if dimensional else _mean_logits
        self._parts: dict[int, list[tuple[float, np.ndarray, np.ndarray | None]]] = {}

    def add(self, parts: Sequence[_Part], logits: np.ndarray, kept: Sequence[np.ndarray]) -> None:
        """Add the output of a batch; if the last layer was called several times, the last calls count."""
        for row, part in enumerate(parts):
            vector = kept[row - len(parts)] if self._embeddings else None
            self._parts.setdefault(part.clip, []).append((part.share, logits[row], vector))

    def together(self, num_labels: int) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
        """Clips (n,), logits (n, classes), and embeddings, if these were requested."""
        rows = np.asarray(list(self._parts), dtype=int)
        logits = [self._mean(parts) for parts in self._parts.values()]
        vectors = [_mean_vector(parts) for parts in self._parts.values() if self._embeddings]
        return rows, np.stack(logits) if logits else np.zeros((0, num_labels)), vectors


def _mean_vector(parts: Sequence[tuple[float, np.ndarray, Any]]) -> np.ndarray:
    return parts[0][2] if len(parts) == 1 else np.stack([share * vector for share, _, vector in parts]).sum(axis=0)


def _mean_values(parts: Sequence[tuple[float, np.ndarray, Any]]) -> np.ndarray:
    return parts[0][1] if len(parts) == 1 else np.stack([share * values for share, values, _ in parts]).sum(axis=0)


def _mean_logits(parts: Sequence[tuple[float, np.ndarray, Any]]) -> np.ndarray:
    if len(parts) == 1:
        return parts[0][1]
    logits = torch.from_numpy(np.stack([logits for _, logits, _ in parts])).double()
    shares = torch.tensor([share for share, _, _ in parts], dtype=torch.float64)
    return (shares @ torch.softmax(logits, dim=1)).clamp_min(_LEAST).log().float().numpy()


def batches(
    clips: list[int],
    decode: Callable[[list[int]], tuple[list[Any], list[np.ndarray]]],
    batch_size: int,
    any_length: bool,
) -> Iterator[tuple[list[Any], list[np.ndarray]]]:
    """Yield items and waveforms in batches, longest first within a chunk; the next chunk is decoded meanwhile.

    Args:
        clips: their numbers.
        decode: clip numbers to items, one or more per clip, and their waveforms (samples,).
        batch_size: maximum number of items in a batch.
        any_length: whether a batch may hold clips of different lengths.
    """
    size = batch_size * _CHUNK
    chunks = [clips[start : start + size] for start in range(0, len(clips), size)]
    with ThreadPoolExecutor(max_workers=1) as pool:
        coming = pool.submit(decode, chunks[0]) if chunks else None
        for number in range(len(chunks)):
            assert coming is not None
            items, waveforms = coming.result()
            coming = pool.submit(decode, chunks[number + 1]) if number + 1 < len(chunks) else None
            for batch in batches_by_length([len(waveform) for waveform in waveforms], batch_size, any_length):
                yield [items[i] for i in batch], [waveforms[i] for i in batch]
