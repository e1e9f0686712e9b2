"""How far scores for women and men differ, and what explains the difference on CREMA-D.

python benchmarks/gender_gap.py --votes data/raw/crema_d/processedResults/tabulatedVotes.csv \
    [--results results] [--dataset data/emotions] [--output results/gender_gap.json] [--docs docs/gender_gap.md]

Part 1 reads the predictions of stored runs: UAR of women and men for each run and corpus, with the difference and its
95 % interval. The bootstrap draws speakers, women and men separately, so it covers which actors were recorded.
Part 2 takes the test clips of CREMA-D in the improved companions' `merged` runs. It compares the gap with that of
people who listened to the same clips (voice only: the rows of CREMA-D's votes whose number starts with 1), and adjusts
it by linear regression for emotion, votes, level and pitch. Nothing is trained.
"""

import argparse
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchaudio
from gender_gap_page import draw, fill
from machine import describe_machine

from hf_ser.audio import load_audio
from hf_ser.corpora.crema_d_votes import read_votes
from hf_ser.data import DataArguments, load_splits
from hf_ser.errors import SerError
from hf_ser.scoring import read_predictions
from hf_ser.scoring.results import write_json

RUNS = ("*_merged", "*_emobox")
EXPLAINED = ("mel_cnn", "audio_cnn", "audio_lstm", "cnn_lstm", "cnn_gru")  # their plus versions, run merged
_REPLICATES = 2000
_FRAME_S, _MIN_HZ, _MAX_HZ = 0.02, 60, 500


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--votes", required=True, help="tabulatedVotes.csv of CREMA-D")
    parser.add_argument("--results", default="results", help="folder of the stored runs")
    parser.add_argument("--dataset", default="data/emotions", help="prepared dataset with the clips")
    parser.add_argument("--output", default="results/gender_gap.json", help="file with the results")
    parser.add_argument("--docs", default="docs/gender_gap.md", help="page with the tables")
    args = parser.parse_args(argv)
    print(describe_machine())
    clips = explained_clips(Path(args.results), args.dataset, Path(args.votes))
    results = {
        "runs": [row for pattern in RUNS for run in sorted(Path(args.results).glob(pattern)) for row in gaps(run)],
        "speakers": speakers(args.dataset),
        "crema_d": explain(clips) | {"listeners_all": listeners_all(args.dataset, Path(args.votes))},
    }
    write_json(Path(args.output), results)
    draw(results, Path(args.docs).parent / "images" / "gender_gap")
    fill(Path(args.docs), results)
    print(f"{args.output}: {len(results['runs'])} runs and corpora; tables in {args.docs}")


def gaps(run: Path) -> list[dict[str, Any]]:
    """UAR of women and men in a run, for each corpus with both; of several seeds, the first."""
    predictions = read_predictions(min(run.glob("predictions*.parquet")))
    clips = {name: np.asarray(predictions.clips[name]) for name in ("corpus", "speaker", "gender")}
    correct = predictions.predicted == predictions.label_ids
    rows = []
    for corpus in sorted(set(clips["corpus"])):
        here = clips["corpus"] == corpus
        if not {"female", "male"} <= set(clips["gender"][here]):
            continue
        columns = [predictions.label_ids, correct, clips["speaker"], clips["gender"]]
        found = uar_gap(*(column[here] for column in columns))
        rows.append({"run": run.name, "corpus": corpus, **found})
    return rows


def uar_gap(
    label_ids: np.ndarray, correct: np.ndarray, speaker: np.ndarray, gender: np.ndarray, seed: int = 0
) -> dict[str, Any]:
    """UAR of women and men, their difference, and its 95 % interval over speakers.

    Args:
        label_ids: true class ids (clips,).
        correct: whether the prediction is correct (clips,).
        speaker: (clips,).
        gender: female or male (clips,).
        seed: of the resampling.
    """
    rng, found, samples = np.random.default_rng(seed), {}, []
    for name in ("female", "male"):
        rows = gender == name
        names, of = np.unique(speaker[rows], return_inverse=True)
        counts = np.zeros((len(names), int(label_ids.max()) + 1, 2))  # clips and hits by speaker and class
        np.add.at(counts, (of, label_ids[rows]), np.column_stack([np.ones(rows.sum()), correct[rows]]))
        draws = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=_REPLICATES)
        samples.append(_uar(np.tensordot(draws.astype(float), counts, axes=1)))
        uar = float(_uar(counts.sum(axis=0)[None])[0])
        found[name] = {"speakers": len(names), "clips": int(rows.sum()), "uar": uar}
    difference = samples[0] - samples[1]
    return {
        **found,
        "gap": found["female"]["uar"] - found["male"]["uar"],
        "interval": np.percentile(difference, [2.5, 97.5]).tolist(),
    }


def _uar(counts: np.ndarray) -> np.ndarray:
    """Clips and hits (n, classes, 2) -> mean recall of the classes with clips (n,)."""
    clips, hits = counts[..., 0], counts[..., 1]
    recall = np.divide(hits, clips, out=np.full_like(hits, np.nan), where=clips > 0)
    return np.nanmean(recall, axis=1)


def speakers(dataset: str) -> dict[str, Any]:
    """Women and men of each corpus in the splits of the protocol random: speakers and clips."""
    data = load_splits(DataArguments(dataset=dataset, configuration="all", protocol="random"))
    table: dict[str, Any] = defaultdict(dict)
    for split, part in data.splits.items():
        columns = list(zip(part["corpus"], part["gender"], part["speaker"], strict=True))
        for corpus, gender in sorted({(corpus, gender) for corpus, gender, _ in columns}):
            own = [speaker for other, sex, speaker in columns if (other, sex) == (corpus, gender)]
            table[corpus].setdefault(split, {})[gender] = {"speakers": len(set(own)), "clips": len(own)}
    return dict(table)


def explained_clips(results: Path, dataset: str, votes: Path) -> list[dict[str, Any]]:
    """The test clips of CREMA-D: share of models and of listeners that were right, level and pitch."""
    right: dict[str, list[bool]] = defaultdict(list)
    for name in EXPLAINED:
        predictions = read_predictions(results / f"{name}_plus_merged" / "predictions.parquet")
        for clip, hit in zip(predictions.clips["id"], predictions.predicted == predictions.label_ids, strict=True):
            right[clip].append(bool(hit))
    counts = read_votes(votes)
    data = load_splits(DataArguments(dataset=dataset, configuration="all", protocol="random"))
    clips = []
    for row in data.splits["test"]:
        if row["corpus"] != "crema_d":
            continue
        if len(right[row["id"]]) != len(EXPLAINED):
            raise SerError(f"{row['id']}: not in the predictions of every run; prepare the dataset of these runs.")
        label = data.labels[row["label"]]
        level, pitch, spread = voice(load_audio(row["audio"]))
        clips.append(
            {
                "id": row["id"],
                "speaker": row["speaker"],
                "gender": row["gender"],
                "label": label,
                "models": float(np.mean(right[row["id"]])),
                "listeners": _share(counts[row["id"].partition("/")[2]], label),
                "level_dbfs": level,
                "pitch_hz": pitch,
                "pitch_spread": spread,
            }
        )
    return clips


def listeners_all(dataset: str, votes: Path) -> dict[str, Any]:
    """The gap of the listeners over all clips of CREMA-D, not only the test clips."""
    counts = read_votes(votes)
    data = load_splits(DataArguments(dataset=dataset, configuration="all", protocol="random"))
    rows = []
    for part in data.splits.values():
        columns = zip(part["id"], part["corpus"], part["speaker"], part["gender"], part["label"], strict=True)
        rows += [
            {
                "speaker": speaker,
                "gender": gender,
                "listeners": _share(counts[clip.partition("/")[2]], data.labels[label]),
            }
            for clip, corpus, speaker, gender, label in columns
            if corpus == "crema_d"
        ]
    return {"clips": len(rows), **adjusted(rows, "listeners", ())}


def _share(counts: Mapping[str, int], label: str) -> float:
    """Share of the raters who chose the label."""
    return counts[label] / sum(counts.values())


def voice(clip: np.ndarray) -> tuple[float, float, float]:
    """RMS level in dBFS of the loud frames, median pitch in Hz, and its standard deviation in semitones.

    Loud frames are those within 25 dB of the loudest one; others are pauses.
    """
    size = round(16_000 * _FRAME_S)
    frames = clip[: len(clip) // size * size].reshape(-1, size)
    power = 10 * np.log10(np.mean(np.square(frames, dtype=float), axis=1) + 1e-12)
    loud = power > power.max() - 25
    pitch = torchaudio.functional.detect_pitch_frequency(
        torch.from_numpy(clip)[None], 16_000, frame_time=_FRAME_S, freq_low=_MIN_HZ, freq_high=_MAX_HZ
    )[0].numpy()
    number = min(len(pitch), len(loud))
    voiced = pitch[:number][loud[:number]]
    median = float(np.median(voiced))
    semitones = 12 * np.log2(np.clip(voiced / median, 0.5, 2.0))  # beyond an octave, the detector erred
    return float(power[loud].mean()), median, float(semitones.std())


# --- what explains the gap --------------------------------------------------------------------------------------

ADJUSTMENTS: dict[str, tuple[str, ...]] = {
    "nothing": (),
    "emotion": ("label",),
    "emotion, listeners": ("label", "listeners"),
    "emotion, level": ("label", "level_dbfs"),
    "emotion, spread of the pitch": ("label", "pitch_spread"),
    "emotion, listeners, level, spread of the pitch": ("label", "listeners", "level_dbfs", "pitch_spread"),
}


def explain(clips: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The gap of models and listeners, adjusted, by emotion, and by actor."""
    women = np.asarray([clip["gender"] == "female" for clip in clips])
    of = {name: np.asarray([clip[name] for clip in clips]) for name in clips[0]}
    actors = [
        {
            "speaker": str(speaker),
            "gender": str(of["gender"][of["speaker"] == speaker][0]),
            "clips": int((of["speaker"] == speaker).sum()),
            **{name: float(of[name][of["speaker"] == speaker].mean()) for name in ("models", "listeners")},
        }
        for speaker in sorted(set(of["speaker"]))
    ]
    correlation = np.corrcoef([actor["models"] for actor in actors], [actor["listeners"] for actor in actors])[0, 1]
    return {
        "clips": len(clips),
        "models": adjusted(clips, "models", ()),
        "listeners": adjusted(clips, "listeners", ()),
        "adjusted": {name: adjusted(clips, "models", given) for name, given in ADJUSTMENTS.items()},
        "by_emotion": {
            label: {
                who: {
                    "women": float(of[who][women & (of["label"] == label)].mean()),
                    "men": float(of[who][~women & (of["label"] == label)].mean()),
                }
                for who in ("models", "listeners")
            }
            for label in sorted(set(of["label"]))
        },
        "by_listeners": _by_listeners(of, women),
        "voice": {
            name: {"women": float(of[name][women].mean()), "men": float(of[name][~women].mean())}
            for name in ("level_dbfs", "pitch_hz", "pitch_spread")
        },
        "actors": actors,
        "correlation_of_actors": float(correlation),
        "without_one_actor": _without_one_actor(clips),
    }


def _by_listeners(of: Mapping[str, np.ndarray], women: np.ndarray) -> list[dict[str, Any]]:
    """Share of correct models where few, some and most listeners were right."""
    rows = []
    for low, high in ((0.0, 1 / 3), (1 / 3, 2 / 3), (2 / 3, 1.01)):
        inside = (of["listeners"] >= low) & (of["listeners"] < high)
        row: dict[str, Any] = {"from": low, "to": min(high, 1.0)}
        for name, rows_of in (("women", inside & women), ("men", inside & ~women)):
            row[name] = {"clips": int(rows_of.sum()), "models": float(of["models"][rows_of].mean())}
        rows.append(row)
    return rows


def _without_one_actor(clips: Sequence[Mapping[str, Any]]) -> list[float]:
    """The smallest and largest gap of the models if any one actor is left out."""
    found = []
    for speaker in {clip["speaker"] for clip in clips}:
        kept = [clip for clip in clips if clip["speaker"] != speaker]
        means = [np.mean([c["models"] for c in kept if c["gender"] == gender]) for gender in ("female", "male")]
        found.append(float(means[0] - means[1]))
    return [min(found), max(found)]


def adjusted(clips: Sequence[Mapping[str, Any]], outcome: str, given: Sequence[str]) -> dict[str, Any]:
    """The coefficient of women against men in a least-squares fit of the outcome, with its interval over speakers.

    Args:
        clips: rows.
        outcome: name of the share to explain.
        given: names of what is adjusted for; label is taken as classes.
    """
    women = np.asarray([clip["gender"] == "female" for clip in clips], dtype=float)
    columns = [np.ones(len(clips)), women]
    for name in given:
        values = [clip[name] for clip in clips]
        columns += _classes(values) if name == "label" else [np.asarray(values) - np.mean(values)]
    design, target = np.column_stack(columns), np.asarray([clip[outcome] for clip in clips])
    by_speaker: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row, clip in enumerate(clips):
        by_speaker[clip["gender"], clip["speaker"]].append(row)
    parts = {
        gender: [(design[r].T @ design[r], design[r].T @ target[r]) for (g, _), r in by_speaker.items() if g == gender]
        for gender in ("female", "male")
    }
    rng, samples = np.random.default_rng(0), []
    for _ in range(_REPLICATES):
        gram, product = np.zeros((design.shape[1],) * 2), np.zeros(design.shape[1])
        for own in parts.values():
            for index in rng.integers(0, len(own), len(own)):
                gram, product = gram + own[index][0], product + own[index][1]
        samples.append(np.linalg.lstsq(gram, product, rcond=None)[0][1])
    gap = float(np.linalg.lstsq(design, target, rcond=None)[0][1])
    means = {name: float(target[women == value].mean()) for name, value in (("women", 1), ("men", 0))}
    return {**means, "gap": gap, "interval": np.percentile(samples, [2.5, 97.5]).tolist()}


def _classes(values: Sequence[str]) -> list[np.ndarray]:
    return [np.asarray([value == name for value in values], dtype=float) for name in sorted(set(values))[1:]]


if __name__ == "__main__":
    main()
