"""Recordings to try the page with: generated ones, in which nobody speaks."""

import tempfile
from pathlib import Path

import numpy as np
import soundfile as sf

from hf_ser.audio import SAMPLING_RATE, load_audio
from hf_ser.corpora import synthetic
from hf_ser.labels import EMOTIONS

GENERATED = "generated_"  # so begin the names of the files, lest they pass for real recordings
_ALL = "all in turn"  # long enough for a timeline
_DURATION_S = (4.0, 4.5)  # eight of them are longer than one window


def make_examples(folder: Path) -> list[Path]:
    """Write one generated recording per emotion, and all of them joined, as 16 kHz mono FLAC.

    Args:
        folder: to write into; made if missing.

    Returns:
        The files, in the order of the label map, the joined one last.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        corpora = synthetic.generate(
            work, corpora=("ravdess",), clips_per_class=1, speakers_per_corpus=1, duration_s=_DURATION_S
        )
        # One clip each, whose names hold the emotions' codes in the order of the label map.
        clips = [load_audio(path) for path in sorted(corpora["ravdess"].rglob("*.wav"))]
    named = dict(zip(EMOTIONS, clips, strict=True)) | {_ALL: np.concatenate(clips)}
    paths = []
    for name, waveform in named.items():
        paths.append(folder / f"{GENERATED}{name.replace(' ', '_')}.flac")
        sf.write(paths[-1], waveform, SAMPLING_RATE, format="FLAC", subtype="PCM_16")
    return paths
