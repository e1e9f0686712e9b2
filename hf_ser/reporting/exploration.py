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
from hf_ser.scoring.results import describe_protocol

REPORT = "explore.md"
_UNKNOWN = "unknown"


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
    chosen = _choose(_columns(train, "label", "corpus", "speaker", "text"), len(dataset.labels))
    clips = {label: train[index] for label, index in chosen.items()}
    waveforms = {dataset.labels[label]: dataset.args.steps(load_audio(clip["audio"])) for label, clip in clips.items()}
    emotion, first = next(iter(waveforms.items()))
    clip = next(iter(clips.values()))
    shown = f"{clip['id']} ({emotion})"
    plot_clip(first, SAMPLING_RATE, folder / "clip", f"{_title(dataset)}: {shown}")
    plot_emotions(waveforms, SAMPLING_RATE, folder / "emotions", f"{_title(dataset)}: one clip per class")

    speakers = list(dict.fromkeys(str(clip["speaker"]) for clip in clips.values()))
    who = f"speaker {speakers[0]}" if len(speakers) == 1 else f"{len(speakers)} speakers ({', '.join(speakers)})"
    emotions = "1 emotion" if len(clips) == 1 else f"{len(clips)} emotions"
    return {
        "clip": f"Waveform and log-mel spectrogram of the training clip {shown}, {first.size / SAMPLING_RATE:.2f} s.",
        "emotions": f"Log-mel spectrograms of {emotions} by {who}, with shared time and power scales.",
    }


def _choose(columns: Mapping[str, Sequence[Any]], num_labels: int) -> dict[int, int]:
    """Choose a clip of each emotion, with the same speaker and text where possible.

    Returns:
        Positions in the columns by class id; emotions without clips are left out.
    """
    clips = [(label, (corpus, who), text) for label, corpus, who, text in zip(*columns.values(), strict=True)]
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
    parts = {split: _columns(part, "label", "corpus", "speaker", "gender") for split, part in dataset.splits.items()}
    split = [name for name, part in parts.items() for _ in part["label"]]
    whole = {name: [value for part in parts.values() for value in part[name]] for name in parts["train"]}
    emotions = [dataset.labels[label] for label in whole["label"]]
    genders = [gender or _UNKNOWN for gender in whole["gender"]]

    def draw(by: str, groups: Sequence[str], order: Sequence[str]) -> str:
        counts = {group: Counter(e for g, e in zip(groups, emotions, strict=True) if g == group) for group in order}
        name = "classes" if by == "all" else f"classes_by_{by}"
        title = _title(dataset) + (f", {protocol_title(describe_protocol(dataset))}" if by == "split" else "")
        plot_class_distribution(counts, dataset.labels, folder / name, by, title)
        return name

    used = [name for name, part in parts.items() if part["label"]]
    captions = {
        draw("all", ["all"] * len(emotions), ["all"]): f"Clips per emotion ({len(emotions)} in total).",
        draw("split", split, used): f"Clips per emotion and split (protocol {dataset.protocol}).",
        draw("gender", genders, sorted(set(genders))): "Clips per emotion and gender of the speaker.",
        draw("corpus", whole["corpus"], sorted(set(whole["corpus"]))): "Clips per emotion and corpus.",
    }
    clips = Counter(zip(whole["corpus"], genders, strict=True))
    speakers = set(zip(whole["corpus"], genders, whole["speaker"], strict=True))
    speaker_counts = _nested(Counter((corpus, gender) for corpus, gender, _ in speakers))
    plot_gender_distribution(_nested(clips), speaker_counts, folder / "genders", _title(dataset))
    captions["genders"] = f"Clips and speakers ({len(speakers)} in total) of each corpus by gender."
    return captions


def _title(dataset: SplitData) -> str:
    """The dataset's name for the figures' titles."""
    name = Path(str(dataset.args.dataset)).name
    named = CORPORA[name].title if name in CORPORA else name
    configuration = "" if dataset.args.configuration == "all" else f", configuration {dataset.args.configuration}"
    return named + configuration + (", synthetic recordings" if dataset.synthetic else "")


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
