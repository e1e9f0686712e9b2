"""A closer look at clips before training: speakers, durations, levels, leaks between splits, and likely problems."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hf_ser.data.protocols import Assignment
from hf_ser.data.report import text_table
from hf_ser.data.scan import Clip
from hf_ser.remote_code.flac import decode_flac16

_SPEAKERS_SHOWN = 30
_FULL_SCALE = 32767
_CLIPPED_RUN = 3  # consecutive samples at full scale
_LEVEL_GAP_DB = 6.0  # between the medians of two classes


class Level(NamedTuple):
    """Level of a clip, and whether its samples were cut off at full scale."""

    rms_dbfs: float
    peak_dbfs: float
    clipped: bool


def measure(clips: Sequence[Clip], packs_dir: Path) -> list[Level]:
    """Measure the level of every clip.

    Args:
        clips: from a scan.
        packs_dir: folder with the packs of that scan.
    """
    levels = []
    for clip in clips:
        with open(packs_dir / clip.pack, "rb") as pack:
            pack.seek(clip.offset)
            decoded = decode_flac16(pack.read(clip.size))
        assert decoded is not None  # the scan encoded it
        levels.append(level(decoded[0][:, 0]))
    return levels


def level(samples: np.ndarray) -> Level:
    """Level of 16-bit samples (frames,).

    >>> level(np.array([16384, -16384] * 100, dtype=np.int16))
    Level(rms_dbfs=-6.0, peak_dbfs=-6.0, clipped=False)
    """
    values = samples.astype(np.float64)
    at_limit = np.abs(values) >= _FULL_SCALE
    runs = np.convolve(at_limit, np.ones(_CLIPPED_RUN), mode="valid") if len(values) >= _CLIPPED_RUN else at_limit
    rms, peak = np.sqrt(np.mean(values**2)), np.abs(values).max()
    return Level(_decibels(rms), _decibels(peak), bool((runs >= _CLIPPED_RUN).any()))


def _decibels(value: float) -> float:
    return round(20 * float(np.log10(max(value, 1e-3) / (_FULL_SCALE + 1))), 1)


def summarise(clips: Sequence[Clip], levels: Sequence[Level], assignments: Mapping[str, Assignment]) -> str:
    """Render classes, speakers, leaks between train and test, and what to look at.

    Args:
        clips: the clips that preparation would keep.
        levels: their levels.
        assignments: protocol -> its assignment of the clips to splits.
    """
    blocks = [_classes(clips, levels), _speakers(clips), _leaks(clips, assignments)]
    remarks = _remarks(clips, levels)
    blocks.append("Look at:\n" + "\n".join(f"- {remark}" for remark in remarks) if remarks else "No problems found.")
    return "\n\n".join(block for block in blocks if block)


def _by_label(clips: Sequence[Clip]) -> dict[str, list[int]]:
    """Label -> numbers of its clips."""
    numbers: dict[str, list[int]] = defaultdict(list)
    for number, clip in enumerate(clips):
        numbers[clip.utterance.emotion].append(number)
    return dict(sorted(numbers.items()))


def _classes(clips: Sequence[Clip], levels: Sequence[Level]) -> str:
    rows = []
    for label, numbers in _by_label(clips).items():
        seconds = [clips[number].duration for number in numbers]
        own = [levels[number] for number in numbers]
        rows.append(
            (
                label,
                len(numbers),
                _speaker_count([clips[number] for number in numbers]),
                f"{sum(seconds) / 60:.1f}",
                f"{min(seconds):.1f}, {np.median(seconds):.1f}, {max(seconds):.1f}",
                f"{np.median([each.rms_dbfs for each in own]):.0f}",
                f"{np.median([each.peak_dbfs for each in own]):.0f}",
                sum(each.clipped for each in own),
            )
        )
    header = (
        "class",
        "clips",
        "speakers",
        "minutes",
        "shortest, median, longest (s)",
        "RMS dBFS",
        "peak dBFS",
        "clipped",
    )
    return text_table(header, rows)


def _speaker_count(clips: Sequence[Clip]) -> str:
    known = {clip.utterance.speaker for clip in clips}
    return "unknown" if "" in known else str(len(known))


def _speakers(clips: Sequence[Clip]) -> str:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for clip in clips:
        counts[clip.utterance.speaker][clip.utterance.emotion] += 1
    if list(counts) == [""]:
        return ""
    labels = sorted({clip.utterance.emotion for clip in clips})
    most = sorted(counts.items(), key=lambda item: (-item[1].total(), item[0]))
    rows = [(name or "unknown", own.total(), *(own[label] or "-" for label in labels)) for name, own in most]
    text = text_table(("speaker", "clips", *labels), rows[:_SPEAKERS_SHOWN])
    rest = rows[_SPEAKERS_SHOWN:]
    return text + (
        f"\n... and {len(rest)} more speakers with {rest[-1][1]} to {rest[0][1]} clips each." if rest else ""
    )


def _leaks(clips: Sequence[Clip], assignments: Mapping[str, Assignment]) -> str:
    """Test clips that share a speaker, a recording or a text with a training clip, per protocol."""
    traits: dict[str, Callable[[Clip], str]] = {
        "speaker in train": lambda clip: clip.utterance.speaker,
        "recording in train": lambda clip: str(clip.utterance.path) if clip.utterance.is_segment else "",
        "text in train": lambda clip: clip.utterance.text or "",
    }
    rows = []
    for protocol, assignment in assignments.items():
        parts = {
            split: [clip for clip in clips if assignment.splits.get(clip.utterance.id) == split]
            for split in ("train", "test")
        }
        cells: list[object] = []
        for of in traits.values():
            seen = {of(clip) for clip in parts["train"]} - {""}
            known = any(of(clip) for clip in parts["test"])
            cells.append(sum(of(clip) in seen for clip in parts["test"]) if known else "unknown")
        rows.append((protocol, len(parts["test"]), *cells))
    return text_table(("protocol", "test clips", *traits), rows)


def _remarks(clips: Sequence[Clip], levels: Sequence[Level]) -> list[str]:
    numbers = _by_label(clips)
    remarks = []
    sizes = {label: len(own) for label, own in numbers.items()}
    few = {label: size for label, size in sizes.items() if size < 20}
    if few:
        shown = ", ".join(f"{label} ({size})" for label, size in few.items())
        remarks.append(f"few clips: {shown}. Scores of these classes are not reliable below about 20 test clips.")
    largest, smallest = max(sizes, key=sizes.__getitem__), min(sizes, key=sizes.__getitem__)
    if sizes[largest] > 5 * sizes[smallest]:
        remarks.append(
            f"{largest} has {sizes[largest] / sizes[smallest]:.0f} times as many clips as {smallest}. Train with "
            "--class_weights true, and compare UAR rather than accuracy."
        )
    speakers = Counter(clip.utterance.speaker for clip in clips)
    if "" in speakers:
        remarks.append(
            f"speakers of {speakers['']} clips are unknown. Only a random split is possible, and its scores may "
            "include voices of the training data. Add a speaker column."
        )
    elif len(speakers) < 6:
        remarks.append(f"only {len(speakers)} speakers. Scores on new speakers will vary widely.")
    remarks += _gaps(clips, levels, numbers)
    clipped = sum(each.clipped for each in levels)
    if clipped:
        remarks.append(f"{clipped} clips are cut off at full scale. Lower the recording level.")
    return remarks


def _gaps(clips: Sequence[Clip], levels: Sequence[Level], numbers: Mapping[str, Sequence[int]]) -> list[str]:
    """Differences between classes that a model could use instead of the emotion."""
    remarks = []
    rms = {label: float(np.median([levels[number].rms_dbfs for number in own])) for label, own in numbers.items()}
    loud, quiet = max(rms, key=rms.__getitem__), min(rms, key=rms.__getitem__)
    if rms[loud] - rms[quiet] > _LEVEL_GAP_DB:
        remarks.append(
            f"{loud} is {rms[loud] - rms[quiet]:.0f} dB louder than {quiet}. If the classes were recorded with "
            "different equipment, a model learns the equipment: train with --normalize true."
        )
    seconds = {label: float(np.median([clips[number].duration for number in own])) for label, own in numbers.items()}
    long, short = max(seconds, key=seconds.__getitem__), min(seconds, key=seconds.__getitem__)
    if seconds[long] > 2 * seconds[short]:
        remarks.append(
            f"clips of {long} are {seconds[long] / seconds[short]:.1f} times as long as those of {short}. A model can "
            "use the duration: train with a fixed --duration_s."
        )
    return remarks
