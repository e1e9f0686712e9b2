"""Measure a model on what it was not trained on: other corpora, bad channels, and sounds without speech.

python benchmarks/in_the_wild.py --recordings data/raw/tess data/raw/emodb data/raw/ravdess data/raw/crema_d \
    [--model hf_ser/pretrained] [--clips 200] [--output results/pretrained_in_the_wild.json]

Clips of a corpus that the model was trained on are scored only if they are in its test split. Every clip passes
through `SpeechEmotionPipeline`, with all labels of the model. Clips of classes that the model does not have are left
out and counted. Altered clips and babble are made from test clips of the training corpora. The file follows
`benchmarks/in_the_wild.schema.json`; the tables between the markers of --docs are replaced.
"""

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import wild_sounds
from in_the_wild_tables import fill
from machine import describe_machine

from hf_ser.data import DataArguments
from hf_ser.data.seen import Record, find_seen
from hf_ser.data.splits_file import SPLITS_FILE
from hf_ser.errors import SerError
from hf_ser.evaluation.clip_sources import Clips, clips_of_folder
from hf_ser.inference import label_names, load_classifier
from hf_ser.models import SpeechEmotionPipeline
from hf_ser.scoring import Predictions, intervals, score, stored_threshold
from hf_ser.scoring.abstention import describe_abstention
from hf_ser.scoring.results import versions, write_json

SCHEMA = Path(__file__).with_suffix(".schema.json")
SPEECH, ALTERED, NO_SPEECH = "speech", "altered speech", "no speech"
SOUNDS_PER_CONDITION = 20
LEVELS_DBFS = (-20.0, -40.0, -60.0)


@dataclass
class Condition:
    """Clips that are scored together."""

    name: str
    kind: str
    waveforms: list[np.ndarray]  # (samples,) each
    labels: list[str] = field(default_factory=list)  # empty for sounds without speech
    speakers: list[str] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)  # clips of other classes than those of the model


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="hf_ser/pretrained", help="model folder")
    parser.add_argument("--recordings", nargs="+", required=True, help="folders of corpora")
    parser.add_argument("--clips", type=int, help="clips per condition at most; default: all")
    parser.add_argument("--output", default="results/pretrained_in_the_wild.json", help="file with the results")
    parser.add_argument("--docs", default="docs/in_the_wild.md", help="page with the tables")
    args = parser.parse_args(argv)
    print(describe_machine("fp32"))
    results = measure(Path(args.model), [Path(folder) for folder in args.recordings], args.clips)
    jsonschema.validate(results, json.loads(SCHEMA.read_text(encoding="utf-8")))
    write_json(Path(args.output), results)
    fill(Path(args.docs), results)
    print(f"{args.output}: {len(results['conditions'])} conditions; tables in {args.docs}")


def measure(folder: Path, recordings: Sequence[Path], most: int | None) -> dict[str, Any]:
    """Score a model under every condition.

    Args:
        folder: of the model; its splits.csv tells which clips it was trained on.
        recordings: folders of corpora.
        most: clips per condition; None for all.
    """
    model, extractor = load_classifier(str(folder))
    classify = SpeechEmotionPipeline(
        model=model, feature_extractor=extractor, device="cpu", precision="fp32", task="audio-classification"
    )
    labels, threshold = label_names(model.config), stored_threshold(model.config)
    conditions = []
    for condition in all_conditions(folder, recordings, labels, most):
        conditions.append(scored(condition, classify, labels, threshold))
        print(f"{condition.name}: {len(condition.waveforms)} clips", flush=True)
    return {
        "schema_version": 1,
        "model": folder.name,
        "labels": list(labels),
        "threshold": threshold,
        "versions": versions(),
        "conditions": conditions,
    }


def all_conditions(
    folder: Path, recordings: Sequence[Path], labels: Sequence[str], most: int | None
) -> Iterator[Condition]:
    """Corpora, then test clips of the training corpora through bad channels, then sounds without speech."""
    record = Record.read(folder / SPLITS_FILE)
    own: list[Condition] = []
    for source in recordings:
        with tempfile.TemporaryDirectory() as packs:
            clips = clips_of_folder(source, DataArguments(), Path(packs))
            condition, is_own = of_corpus(clips, record, labels, most)
        own += [condition] if is_own else []
        yield condition
    held_out = joined(own, most)
    if held_out.waveforms:
        yield from altered(held_out)
    yield from without_speech(held_out.waveforms)


def of_corpus(clips: Clips, record: Record, labels: Sequence[str], most: int | None) -> tuple[Condition, bool]:
    """The clips of a corpus that the model was not trained on, and whether it was trained on other ones.

    Raises:
        SerError: clips that are scored have the samples of training clips.
    """
    ids, corpus = clips.columns["id"], clips.columns["corpus"][0]
    is_own = any(clip.partition("/")[0] == corpus for clip in record.splits)
    rows = [row for row, clip in enumerate(ids) if not is_own or record.splits.get(clip) == "test"]
    seen = {match.clip for match in find_seen(record, clips.marks)} & {ids[row] for row in rows}
    if seen:
        raise SerError(f"{corpus}: the model was trained on {len(seen)} of the clips to score, such as {min(seen)}.")
    known = [row for row in rows if clips.columns["label"][row] in labels]
    left_out = Counter(clips.columns["label"][row] for row in rows if row not in set(known))
    kept = spread(known, most)
    name = f"{corpus}: {'test clips' if is_own else 'all clips'}"
    return (
        Condition(
            name,
            SPEECH,
            clips.decode(kept),
            [clips.columns["label"][row] for row in kept],
            [clips.columns["speaker"][row] for row in kept],
            dict(sorted(left_out.items())),
        ),
        is_own,
    )


def spread(rows: Sequence[Any], most: int | None) -> list[Any]:
    """At most so many rows, evenly spaced."""
    if most is None or len(rows) <= most:
        return list(rows)
    return [rows[index] for index in np.linspace(0, len(rows) - 1, most).astype(int)]


def joined(conditions: Sequence[Condition], most: int | None) -> Condition:
    """The clips of several corpora together, which later conditions alter."""
    rows = [row for one in conditions for row in zip(one.waveforms, one.labels, one.speakers, strict=True)]
    kept = spread(rows, most)
    return Condition("test clips", SPEECH, *([row[part] for row in kept] for part in range(3)))


def altered(clips: Condition) -> Iterator[Condition]:
    """The same clips unchanged and through bad channels."""
    rng = np.random.default_rng(0)
    white, pink = (wild_sounds.noise(colour, -20)(rng) for colour in ("white", "pink"))
    crowd = wild_sounds.babble(clips.waveforms, rng)
    channels: dict[str, Any] = {
        "unchanged": lambda clip: clip,
        "telephone band, 300 to 3400 Hz": wild_sounds.telephone,
        "room, reverberation time 0.4 s": lambda clip: wild_sounds.room(clip, 0.4, rng),
        "room, reverberation time 1.0 s": lambda clip: wild_sounds.room(clip, 1.0, rng),
        "level -50 dBFS, 16 bits": lambda clip: wild_sounds.quieter(clip, -50),
        "white noise, 20 dB SNR": lambda clip: wild_sounds.with_noise(clip, white, 20),
        "pink noise, 10 dB SNR": lambda clip: wild_sounds.with_noise(clip, pink, 10),
        "pink noise, 0 dB SNR": lambda clip: wild_sounds.with_noise(clip, pink, 0),
        "babble of 8 voices, 10 dB SNR": lambda clip: wild_sounds.with_noise(clip, crowd, 10),
    }
    for name, channel in channels.items():
        waveforms = [channel(clip) for clip in clips.waveforms]
        yield Condition(f"test clips, {name}", ALTERED, waveforms, clips.labels, clips.speakers)


def without_speech(voices: Sequence[np.ndarray]) -> Iterator[Condition]:
    """Generated sounds; babble only if there are voices to mix."""
    makers: dict[str, Any] = {
        f"{colour} noise, {level:.0f} dBFS": wild_sounds.noise(colour, level)
        for colour in ("white", "pink", "brown")
        for level in LEVELS_DBFS
    }
    makers |= {
        "mains hum": wild_sounds.hum,
        "synthetic music (chords)": wild_sounds.music,
        "clicks": wild_sounds.clicks,
        "digital silence": wild_sounds.silence,
    }
    if voices:
        makers["babble of 8 voices"] = lambda rng: wild_sounds.babble(voices, rng)
    for number, (name, make) in enumerate(makers.items()):
        rng = np.random.default_rng([1, number])
        yield Condition(name, NO_SPEECH, [make(rng) for _ in range(SOUNDS_PER_CONDITION)])


def scored(condition: Condition, classify: Any, labels: Sequence[str], threshold: float | None) -> dict[str, Any]:
    """Classify the clips of a condition and describe the results; the fields are those of the schema."""
    answers = classify(list(condition.waveforms), batch_size=8, on_error="report")
    usable = [row for row, answer in enumerate(answers) if isinstance(answer, list)]
    errors = Counter(answer["reason"] for answer in answers if isinstance(answer, dict))
    probabilities = np.zeros((len(usable), len(labels)))
    for row, index in enumerate(usable):
        given = {one["label"]: one["score"] for one in answers[index]}
        probabilities[row] = [given[label] for label in labels]
    top = probabilities.max(axis=1) if usable else np.zeros(0)
    predicted = Counter(labels[index] for index in probabilities.argmax(axis=1)) if usable else Counter()
    described: dict[str, Any] = {
        "name": condition.name,
        "kind": condition.kind,
        "clips": len(answers),
        "errors": dict(sorted(errors.items())),
        "left_out": condition.left_out,
        "mean_top_probability": float(top.mean()) if usable else None,
        "answered": float((top >= threshold).mean()) if usable and threshold is not None else None,
        "predicted": {label: predicted[label] / len(usable) for label in labels if predicted[label]},
        "scores": None,
    }
    if condition.labels and usable:
        described["scores"] = _scores(condition, usable, probabilities, labels, threshold)
    return described


def _scores(
    condition: Condition,
    usable: Sequence[int],
    probabilities: np.ndarray,
    labels: Sequence[str],
    threshold: float | None,
) -> dict[str, Any]:
    label_ids = [labels.index(condition.labels[row]) for row in usable]
    speakers = [condition.speakers[row] for row in usable]
    number = len(usable)
    clips: dict[str, Any] = {"id": [str(row) for row in usable], "corpus": [condition.name] * number}
    clips |= {"speaker": speakers, "gender": [""] * number, "intensity": [None] * number, "label": label_ids}
    predictions = Predictions(clips, probabilities, tuple(labels))
    whole = score(predictions.label_ids, probabilities, labels)
    bounds = intervals(predictions.label_ids, predictions.predicted, speakers, len(labels))
    abstention = describe_abstention([predictions], [threshold], None)
    interval = abstention["interval"] or {"coverage": [None, None], "accuracy": [None, None]}
    return {
        "speakers": len(set(speakers)),
        "accuracy": whole["accuracy"],
        "accuracy_interval": bounds["accuracy"],
        "uar": whole["uar"],
        "uar_interval": bounds["uar"],
        "ece": whole["ece"],
        "recalls": {label: part["recall"] for label, part in whole["per_class"].items() if part["support"]},
        "answered_interval": interval["coverage"],
        "accuracy_on_answered": abstention["accuracy"],
        "accuracy_on_answered_interval": interval["accuracy"],
    }


if __name__ == "__main__":
    main()
