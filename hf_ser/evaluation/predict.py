"""Forward passes over many clips: sorted by length, decoded ahead of the model, the same for a clip in any batch."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from tqdm import tqdm
from transformers import PreTrainedModel

from hf_ser.models import min_samples, model_inputs
from hf_ser.models.encoder_inputs import batches_by_length, keep_classifier_inputs, takes_any_length

_CHUNK = 8  # batches that are decoded together


def predict_logits(
    model: PreTrainedModel,
    extractor: Any,
    durations: Sequence[float],
    decode: Callable[[list[int]], list[np.ndarray]],
    *,
    batch_size: int = 8,
    device: torch.device | str = "cpu",
    share: tuple[int, int] = (0, 1),
    progress: bool = True,
    embeddings: list[np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Predict clips in batches of similar length.

    Models without an attention mask (wav2vec2-base) take padding for silence, so that their batches hold clips of one
    length only: a clip's scores do not depend on its neighbours.

    Args:
        model: a classifier; it is moved to `device` and set to evaluation.
        extractor: its feature extractor.
        durations: of each clip in seconds, for sorting.
        decode: clip numbers to waveforms (samples,), float32 at 16 kHz; a second thread calls it, ahead of the model.
        batch_size: clips per forward pass at most.
        device: where to compute.
        share: (rank, processes): this process takes every n-th batch's worth of clips.
        progress: whether to show a bar.
        embeddings: if given, each clip's input of the last layer (dim,) is put there, in the order of the result.

    Returns:
        The numbers of the clips that this process predicted (n,), and their logits (n, classes).
    """
    model.eval()
    model.to(device)  # type: ignore[arg-type]
    order = np.argsort(np.asarray(durations), kind="stable")[::-1]
    rank, processes = share
    starts = range(rank * batch_size, len(order), processes * batch_size)
    mine = [int(clip) for start in starts for clip in order[start : start + batch_size]]
    rows: list[int] = []
    logits: list[np.ndarray] = []
    hook = keep_classifier_inputs(model, embeddings) if embeddings is not None else None
    bar = tqdm(total=len(mine), desc="Predicting", unit="clip", disable=not progress)
    try:
        with torch.inference_mode(), bar:
            for batch, waveforms in batches(mine, decode, batch_size, takes_any_length(model.config, extractor)):
                inputs = model_inputs(extractor, waveforms, min_samples(model.config))
                output = model(**{name: tensor.to(device) for name, tensor in inputs.items()}).logits
                rows += batch
                logits.append(output.float().cpu().numpy())
                bar.update(len(batch))
    finally:
        if hook is not None:
            hook.remove()
    return np.asarray(rows, dtype=int), np.concatenate(logits) if logits else np.zeros(
        (0, model.config.num_labels or 0)
    )


def batches(
    clips: list[int], decode: Callable[[list[int]], list[np.ndarray]], batch_size: int, any_length: bool
) -> Iterator[tuple[list[int], list[np.ndarray]]]:
    """Clips and waveforms batch by batch, longest first within a chunk, the next chunk decoded while the model works.

    Args:
        clips: their numbers.
        decode: clip numbers to waveforms (samples,).
        batch_size: clips in a batch at most.
        any_length: whether a batch may hold clips of different lengths.
    """
    size = batch_size * _CHUNK
    chunks = [clips[start : start + size] for start in range(0, len(clips), size)]
    with ThreadPoolExecutor(max_workers=1) as pool:
        coming = pool.submit(decode, chunks[0]) if chunks else None
        for number, chunk in enumerate(chunks):
            assert coming is not None
            waveforms = coming.result()
            coming = pool.submit(decode, chunks[number + 1]) if number + 1 < len(chunks) else None
            for batch in batches_by_length([len(waveform) for waveform in waveforms], batch_size, any_length):
                yield [chunk[i] for i in batch], [waveforms[i] for i in batch]
