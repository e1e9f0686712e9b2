"""CopyPaste: a training clip joined to another one of its class.

Pappagari et al. 2020, https://arxiv.org/abs/2010.14602 (same-emotion CopyPaste).
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hf_ser.audio import fix_length, trim_silence

_DRAWS = 2  # keeps these draws apart from those of other changes of the same clip


class Pasted(NamedTuple):
    """The clip to join to another one, and the generator of the other draws."""

    partner: int
    draws: np.random.Generator


class CopyPaste:
    """Join clips with others of the same class and corpus, with draws that depend only on seed, epoch and number.

    Args:
        labels: class id of each training clip.
        corpora: corpus of each training clip.
        probability: share of the clips that are joined to another one.
        seed: of the training.
        trim_db: silent ends below this level are cut before clips are joined, so that no pause is between them; None
            if the model does not cut them.
        num_samples: the model's duration, to which the joined clip is cut; None for that of the longer clip.
    """

    def __init__(
        self,
        labels: Sequence[int],
        corpora: Sequence[str],
        probability: float,
        seed: int,
        *,
        trim_db: float | None = None,
        num_samples: int | None = None,
    ) -> None:
        self.probability, self.seed, self.trim_db, self.num_samples = probability, seed, trim_db, num_samples
        self._keys = list(zip(labels, corpora, strict=True))
        self._groups: dict[tuple[int, str], list[int]] = defaultdict(list)
        for number, key in enumerate(self._keys):
            self._groups[key].append(number)

    def draw(self, *, epoch: int, number: int) -> Pasted | None:
        """Draw a partner for a clip; None for a clip that stays alone in this epoch.

        Args:
            epoch: from 0.
            number: position of the clip among the training clips.
        """
        draws = np.random.default_rng(np.random.SeedSequence((self.seed, epoch, number), spawn_key=(_DRAWS,)))
        group = self._groups[self._keys[number]]
        if draws.random() >= self.probability or len(group) < 2:
            return None
        drawn = int(draws.integers(len(group) - 1))  # among the others, in their order
        return Pasted(group[drawn] if group[drawn] < number else group[drawn + 1], draws)

    def join(self, waveform: np.ndarray, other: np.ndarray, draws: np.random.Generator) -> np.ndarray:
        """Join two clips in random order, and keep a random part of the model's duration.

        Args:
            waveform: (samples,) float32 at 16 kHz.
            other: of the partner.
            draws: of `draw`.

        Returns:
            (samples,) float32, at most `num_samples`.
        """
        parts = (
            [waveform, other] if self.trim_db is None else [trim_silence(w, self.trim_db) for w in (waveform, other)]
        )
        size = max(part.size for part in parts) if self.num_samples is None else self.num_samples
        joined = np.concatenate(parts if draws.integers(2) else parts[::-1])
        return joined if joined.size <= size else fix_length(joined, size, draws)
