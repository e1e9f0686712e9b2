"""Exploration of a prepared dataset: spectrograms of clips, and numbers of clips and speakers."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets

from hf_ser.audio import SAMPLING_RATE, load_audio
from hf_ser.corpora import CORPORA
from hf_ser.data import SplitData
from hf_ser.reporting.plots import (
    plot_class_distribution,
    plot_clip,
    plot_emotions,
    plot_gender_distribution,
)
from hf_ser.reporting.run_titles import protocol_title
from hf_ser.scoring.predictions import count_speakers
from hf_ser.scoring.results import describe_protocol

REPORT = "explore.md"
_UNKNOWN = "unknown"
_SONG = "song"


def explore(dataset: SplitData, output_dir: Path) -> list[Path]:
    """Draw clips and counts of a dataset, and write explore.md with the figures.

    Args:
        dataset: from `load_splits`; training clips are drawn with the preprocessing of its arguments.
        output_dir: folder to write to; created if missing.

    Returns:
        The PNG files (each has an SVG file next to it), then explore.md.
    """
    dataset.args.refuse_streaming("the exploration")
    captions = _draw_clips(dataset, output_dir) | _draw_counts(dataset, output_dir)
    figures = [output_dir / f"{name}.png" for name in captions]
    report = output_dir / REPORT
    report.write_text(_report(dataset, captions), encoding="utf-8", newline="\n")
    return [*figures, report]


def _draw_clips(dataset: SplitData, folder: Path) -> dict[str, str]:
    """Draw one clip, and one clip of each emotion; return the captions by figure."""
    train = dataset.splits["train"]
    chosen = _choose(_columns(train, "label", "corpus", "speaker", "channel", "text"), len(dataset.labels))
    clips = {label: train[index] for label, index in chosen.items()}
    waveforms = {
        dataset.labels[label] + (f", {_SONG}" if clip["channel"] == _SONG else ""): dataset.args.steps(
            load_audio(clip["audio"])
        )
        for label, clip in clips.items()
    }
    named, first = next(iter(waveforms.items()))
    clip = next(iter(clips.values()))
    shown = f"{clip['id']} ({named})"
    plot_clip(first, SAMPLING_RATE, folder / "clip", f"{_title(dataset)}: {shown}")
    plot_emotions(waveforms, SAMPLING_RATE, folder / "emotions", f"{_title(dataset)}: one clip per class")

    speakers = list(dict.fromkeys(str(clip["speaker"] or _UNKNOWN) for clip in clips.values()))
    who = f"speaker {speakers[0]}" if len(speakers) == 1 else f"{len(speakers)} speakers ({', '.join(speakers)})"
    who = "unknown speakers" if _UNKNOWN in speakers else who
    emotions = "1 emotion" if len(clips) == 1 else f"{len(clips)} emotions"
    return {
        "clip": f"Waveform and log-mel spectrogram of the training clip {shown}, {first.size / SAMPLING_RATE:.2f} s.",
        "emotions": f"Log-mel spectrograms of {emotions} by {who}, with shared time and power scales.",
    }


def _choose(columns: Mapping[str, Sequence[Any]], num_labels: int) -> dict[int, int]:
    """Choose a clip of each emotion, with the same speaker, vocal channel and text where possible.

    Returns:
        Positions in the columns by class id; emotions without clips are left out.
    """
    clips = [(label, tuple(who), text) for label, *who, text in zip(*columns.values(), strict=True)]
    speaker = _richest([(label, who) for label, who, _ in clips])
    text = _richest([(label, said) for label, who, said in clips if who == speaker])
    best: dict[int, tuple[bool, bool, int]] = {}
    for index, (label, who, said) in enumerate(clips):
        preference = (who != speaker, said != text, index)
        best[label] = min(best.get(label, preference), preference)
    return {label: best[label][2] for label in range(num_labels) if label in best}


def _richest(pairs: Sequence[tuple[int, Any]]) -> Any:
    """The key with the most classes among pairs (class id, key); the first of equals."""
    classes: dict[Any, set[int]] = defaultdict(set)
    for label, key in pairs:
        classes[key].add(label)
    return max(classes, key=lambda key: len(classes[key]))


def _draw_counts(dataset: SplitData, folder: Path) -> dict[str, str]:
    """Draw the numbers of clips and speakers; return the captions by figure."""
    names = ("label", "corpus", "speaker", "gender", "channel")
    parts = {split: _columns(part, *names) for split, part in dataset.splits.items()}
    split = [name for name, part in parts.items() for _ in part["label"]]
    whole = {name: [value for part in parts.values() for value in part[name]] for name in parts["train"]}
    emotions = [dataset.labels[label] for label in whole["label"]]
    genders = [gender or _UNKNOWN for gender in whole["gender"]]
    channels = [channel or _UNKNOWN for channel in whole["channel"]]
    both = set(zip(whole["corpus"], channels, strict=True))  # a corpus with speech and song is two groups
    mixed = Counter(corpus for corpus, _ in both)
    corpora = [
        f"{corpus}, {channel}" if mixed[corpus] > 1 else corpus
        for corpus, channel in zip(whole["corpus"], channels, strict=True)
    ]

    def draw(by: str, groups: Sequence[str], order: Sequence[str]) -> str:
        counts = {group: Counter(e for g, e in zip(groups, emotions, strict=True) if g == group) for group in order}
        name = "classes" if by == "all" else f"classes_by_{by}"
        title = _title(dataset) + (f", {protocol_title(describe_protocol(dataset))}" if by == "split" else "")
        plot_class_distribution(counts, dataset.labels, folder / name, by, title)
        return name

    used = [name for name, part in parts.items() if part["label"]]
    sung = _channels(dataset)
    captions = {
        draw("all", ["all"] * len(emotions), ["all"]): f"Clips per emotion{sung} ({len(emotions)} in total).",
        draw("split", split, used): f"Clips per emotion and split{sung} (protocol {dataset.protocol}).",
        draw("gender", genders, sorted(set(genders))): f"Clips per emotion and gender of the speaker{sung}.",
        draw("corpus", corpora, sorted(set(corpora))): f"Clips per emotion and corpus{sung}.",
    }
    if len(counted := Counter(channels)) > 1:
        listed = ", ".join(f"{number} {channel}" for channel, number in sorted(counted.items(), reverse=True))
        name = draw("channel", channels, sorted(counted, reverse=True))
        captions[name] = f"Clips per emotion and vocal channel ({listed})."
    clips = Counter(zip(whole["corpus"], genders, strict=True))
    speakers = set(zip(whole["corpus"], genders, whole["speaker"], strict=True))
    speaker_counts = _nested(Counter((corpus, gender) for corpus, gender, _ in speakers))
    plot_gender_distribution(_nested(clips), speaker_counts, folder / "genders", _title(dataset))
    total = _UNKNOWN if count_speakers(whole["speaker"]) is None else f"{len(speakers)} in total"
    captions["genders"] = f"Clips and speakers ({total}) of each corpus by gender{sung}."
    return captions


def _title(dataset: SplitData) -> str:
    """The dataset's name for the figures' titles, with the vocal channels if there is song."""
    name = Path(str(dataset.args.dataset)).name
    named = CORPORA[name].title if name in CORPORA else name
    configuration = "" if dataset.args.configuration == "all" else f", configuration {dataset.args.configuration}"
    synthetic = ", synthetic recordings" if dataset.synthetic else ""
    return named + configuration + _channels(dataset) + synthetic


def _channels(dataset: SplitData) -> str:
    """The vocal channels, to follow a title or caption with a comma; empty for speech only."""
    found = {channel for part in dataset.splits.values() for channel in _columns(part, "channel")["channel"]}
    if _SONG not in found:
        return ""
    return f", {_SONG}" if found == {_SONG} else f", speech and {_SONG}"


def _nested(counts: Mapping[tuple[str, str], int]) -> dict[str, dict[str, int]]:
    """Corpus -> gender -> number, in alphabetical order."""
    nested: dict[str, dict[str, int]] = defaultdict(dict)
    for (corpus, gender), number in sorted(counts.items()):
        nested[corpus][gender] = number
    return nested


def _columns(part: datasets.Dataset, *names: str) -> dict[str, list[Any]]:
    """Metadata columns by name; missing columns are filled with None."""
    return {name: list(part[name]) if name in part.column_names else [None] * len(part) for name in names}


def _report(dataset: SplitData, captions: Mapping[str, str]) -> str:
    name = Path(str(dataset.args.dataset)).name
    lines = [f"# {name}, configuration {dataset.args.configuration}", ""]
    if dataset.synthetic:
        lines += [f"**The recordings of {', '.join(dataset.synthetic)} are synthetic.**", ""]
    for figure, caption in captions.items():
        lines += [f"![{caption}]({figure}.png)", "", caption, ""]
    return "\n".join(lines)
