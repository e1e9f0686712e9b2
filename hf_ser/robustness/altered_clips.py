"""The clips of a model, decoded once, and changed by conditions when they are asked for."""

import dataclasses
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

import numpy as np

from hf_ser.conditions import ConditionError, Surroundings, changed_clip
from hf_ser.conditions.condition_list import BABBLE, CONDITIONS, Level
from hf_ser.console import progress_bar
from hf_ser.evaluation.clip_sources import Clips
from hf_ser.remote_code.reading_ahead import available_processors

_CHUNK = 64


class AlteredClips:
    """Clips that can be had clean or under any condition.

    Args:
        clips: the source.
        rows: numbers of the clips to use.
        seed: of the conditions.
        responses: of measured rooms (samples,).
    """

    def __init__(self, clips: Clips, rows: Sequence[int], seed: int, responses: Sequence[np.ndarray] = ()) -> None:
        self.columns = {name: [column[row] for row in rows] for name, column in clips.columns.items()}
        self.ids: list[str] = self.columns["id"]
        self._clips, self._rows, self._seed, self._responses = clips, list(rows), seed, responses
        self._voices: dict[str, list[np.ndarray]] = {}  # speaker -> clips of the others

    @cached_property
    def waveforms(self) -> list[np.ndarray]:
        """The decoded clips (samples,); they take 64 kB of memory per second."""
        made: list[np.ndarray] = []
        bar = progress_bar(total=len(self._rows), desc="Reading clips", unit="clips")
        with bar:
            for start in range(0, len(self._rows), _CHUNK):
                made += self._clips.decode(self._rows[start : start + _CHUNK])
                bar.update(len(made) - start)
        return made

    def clean(self) -> Clips:
        """The clips as they are."""
        return self._source(lambda numbers: [self.waveforms[number] for number in numbers])

    def under(self, name: str, level: Level) -> Clips:
        """The clips under a condition, which is applied as they are decoded."""

        def decode(numbers: list[int]) -> list[np.ndarray]:
            with ThreadPoolExecutor(available_processors()) as pool:  # codecs and filters release the GIL
                return list(pool.map(lambda number: self.changed(number, name, level), numbers))

        return self._source(decode)

    def changed(self, number: int, name: str, level: Level) -> np.ndarray:
        """A clip under a condition (samples,).

        Raises:
            ConditionError: nothing but silence is left of it.
        """
        voices = self._others(number) if name == BABBLE else ()
        around = Surroundings(self._seed, voices, self._responses)
        return changed_clip(self.waveforms[number], name, level, self.ids[number], around)

    def check(self, chosen: Mapping[str, Sequence[Level]]) -> None:
        """Check, before any prediction, that the conditions can be applied to every clip.

        Raises:
            ConditionError: a silent clip, one that a condition silences, or no other speaker for babble.
        """
        silent = [self.ids[number] for number, clip in enumerate(self.waveforms) if not clip.any()]
        if silent:
            raise ConditionError(
                f"got {len(silent)} silent clips ({', '.join(silent[:3])}), which have no signal-to-noise ratio. "
                "Leave them out."
            )
        if BABBLE in chosen:
            alone = [self.ids[number] for number in range(len(self.ids)) if not self._others(number)]
            if alone:
                raise ConditionError(
                    f"{BABBLE} is made of clips by other speakers, and there are none for {alone[0]}; expected clips "
                    f"of at least two speakers for each model. Pass more clips, or leave out {BABBLE}."
                )
        for name, levels in chosen.items():
            if CONDITIONS[name].may_silence:
                for level in levels:
                    for number in range(len(self.ids)):
                        self.changed(number, name, level)

    def _others(self, number: int) -> Sequence[np.ndarray]:
        """The clips of other speakers, by id; of all other clips, if the speaker is unknown."""
        speakers: Sequence[str] = self.columns["speaker"]
        key = speakers[number] or self.ids[number]
        if key not in self._voices:
            units = [speaker or clip for speaker, clip in zip(speakers, self.ids, strict=True)]
            order = sorted(range(len(self.ids)), key=lambda other: self.ids[other])
            self._voices[key] = [self.waveforms[other] for other in order if units[other] != key]
        return self._voices[key]

    def _source(self, decode: object) -> Clips:
        durations = [self._clips.durations[row] for row in self._rows]
        return dataclasses.replace(self._clips, columns=self.columns, durations=durations, decode=decode)  # type: ignore[arg-type]


def drawn_rows(clips: Clips, rows: Sequence[int], most: int | None, seed: int) -> list[int]:
    """At most so many clips, in equal parts from the classes as far as these have clips.

    The draw depends on the ids of the clips and the seed, not on their order.

    Args:
        clips: the source.
        rows: numbers of the clips to draw from.
        most: number of clips; None for all.
        seed: of the draw.
    """
    if most is None or len(rows) <= most:
        return list(rows)
    by_id = sorted(rows, key=lambda row: clips.columns["id"][row])
    shuffled = [by_id[index] for index in np.random.default_rng(seed).permutation(len(by_id))]
    turns: dict[str, int] = {}
    ranked = []
    for row in shuffled:  # the first clip of each class, then the second of each, ...
        label = clips.columns["label"][row]
        turns[label] = turns.get(label, 0) + 1
        ranked.append((turns[label], row))
    ranked.sort(key=lambda entry: entry[0])
    return sorted(row for _, row in ranked[:most])


def counted_groups(columns: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Corpora, and genders within them -> number of speakers; groups with an unknown speaker are left out."""
    found: dict[str, set[str]] = {}
    for corpus, gender, speaker in zip(columns["corpus"], columns["gender"], columns["speaker"], strict=True):
        for group in (corpus, f"{corpus}/{gender}" if gender else None):
            if group:
                found.setdefault(group, set()).add(speaker)
    return {group: len(speakers) for group, speakers in found.items() if "" not in speakers}
