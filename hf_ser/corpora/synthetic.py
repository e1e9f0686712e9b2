"""Small SYNTHETIC corpora in the folder layouts of RAVDESS, CREMA-D, TESS and SAVEE.

Tests and the quickstart read them as if they were the originals, without a download. Nobody speaks in them, and no
score on them says anything about real speech; `SYNTHETIC.json` in each folder says so too.

Each clip depends on the seed, its corpus and its name alone, so more speakers, more clips or other corpora leave its
bytes as they are (for one version of numpy and scipy on one kind of machine: rounding may differ between others).
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf

from hf_ser.console import progress_bar
from hf_ser.corpora import crema_d, ravdess, savee, tess, voice
from hf_ser.errors import SerError
from hf_ser.labels import EMOTIONS

MARKER = "SYNTHETIC.json"
NOTICE = (
    "These recordings are synthetic: hf_ser computed them. They stand for no real person, they are no part of the "
    "corpus whose file names they imitate, and no result on them says anything about real speech."
)
_VERSION = 1  # goes up when the same arguments give other clips, so that folders made before are made anew
_INTENSITIES = {"01": 1.0, "02": 1.4, "LO": 0.6, "MD": 1.0, "HI": 1.4, "XX": 1.0}


class SyntheticError(SerError):
    """An argument of `generate` that cannot be met, or a folder in its way that it did not write."""


@dataclass(frozen=True)
class Clip:
    """One file to write."""

    path: str  # relative to the corpus folder, with forward slashes
    speaker: str
    emotion: str  # one of `hf_ser.labels.EMOTIONS`
    text: str  # the same text has the same syllables
    intensity: float = 1.0
    sung: bool = False


@dataclass(frozen=True)
class Layout:
    """How one corpus names its files, and how much room its names leave."""

    sampling_rate: int  # Hz
    speakers: tuple[str, ...]
    clips_per_class: int  # default
    most_clips_per_class: int  # what the names can tell apart
    name: Callable[[str, int], list[Clip]]  # (speaker, clips per class) -> clips
    is_male: Callable[[str], bool]


def _codes(meanings: dict[str, str]) -> dict[str, str]:
    """Emotion -> the code that file names have for it, in the order of the labels."""
    codes = {emotion: code for code, emotion in meanings.items()}
    return {emotion: codes[emotion] for emotion in EMOTIONS if emotion in codes}


# Intensity, statement, repetition: in an order in which any first few are varied, and whose "normal" ones (all that
# neutral has) say the statements in the same order, so that what is said does not give the emotion away.
_RAVDESS_TAKES = ("010101", "020201", "010202", "020101", "010201", "020202", "010102", "020102")

# The sentences that have known faults in the original (TIE, IWW, WSI, MTI) come last, so that a loader that knows
# those files by name finds none of them in a set of the default size.
_CREMA_D_TAKES = tuple(
    "DFA_XX IEO_HI ITS_XX TSI_XX IEO_LO TAI_XX IOM_XX IEO_MD IWL_XX ITH_XX TIE_XX IWW_XX WSI_XX MTI_XX".split()
)

# The originals' folder names, in all their wordings.
_TESS_FOLDERS = {
    "OAF": ("neutral", "happy", "Sad", "angry", "Fear", "disgust", "Pleasant_surprise"),
    "YAF": ("neutral", "happy", "sad", "angry", "fear", "disgust", "pleasant_surprised"),
}
_TESS_WORDS = tuple(
    """
    back bar base bath bean beg bite boat bone book bought burn cab calm came cat cause chain chair chalk chat check
    cheek chief choice cool dab date dead death deep dime dip ditch dodge dog doll door fail fall far fat fit five food
    gap gas gaze germ get gin goal good goose gun half hall hash hate have haze hire hit hole home hurl hush jail jar
    join judge jug juice keen keep keg kick kill king kite knock late laud lean learn lease lid life limb live loaf
    long lore lose lot love luck make match merge mess met mill mob mode mood moon mop mouse nag name near neat nice
    note numb pad page pain pass peg perch phone pick pike pole pool puff rag raid rain raise rat reach read red ring
    ripe road room rose rot rough rush sail said search seize sell shack shall shawl sheep shirt should shout size soap
    soup sour south sub such sure take talk tape team tell thin third thought thumb time tip tire ton tool tough turn
    vine voice void vote wag walk wash week wheat when which whip white wife wire witch yearn yes young youth
    """.split()
)


def _name_ravdess(speaker: str, clips_per_class: int, vocal_channel: str = "01") -> list[Clip]:
    clips = []
    for emotion, code in _codes(ravdess.EMOTION_CODES).items():
        if vocal_channel == "02" and emotion not in ravdess.SUNG:
            continue
        takes = [take for take in _RAVDESS_TAKES if emotion != "neutral" or take.startswith("01")]
        for take in takes[:clips_per_class]:
            intensity, statement, repetition = take[:2], take[2:4], take[4:]
            stem = f"03-{vocal_channel}-{code}-{intensity}-{statement}-{repetition}-{speaker}"
            path = f"Actor_{speaker}/{stem}.wav"
            text = f"ravdess {statement}"
            clips.append(Clip(path, speaker, emotion, text, _INTENSITIES[intensity], sung=vocal_channel == "02"))
    return clips


def _name_ravdess_with_song(speaker: str, clips_per_class: int) -> list[Clip]:
    song = [] if speaker == "18" else _name_ravdess(speaker, clips_per_class, vocal_channel="02")
    return _name_ravdess(speaker, clips_per_class) + song


def _name_crema_d(speaker: str, clips_per_class: int) -> list[Clip]:
    neutral = tuple(dict.fromkeys(take[:4] + "XX" for take in _CREMA_D_TAKES))
    clips = []
    for emotion, code in _codes(crema_d.EMOTION_CODES).items():
        for take in (neutral if emotion == "neutral" else _CREMA_D_TAKES)[:clips_per_class]:
            sentence, level = take.split("_")
            path = f"AudioWAV/{speaker}_{sentence}_{code}_{level}.wav"
            clips.append(Clip(path, speaker, emotion, f"crema_d {sentence}", _INTENSITIES[level]))
    return clips


def _name_tess(speaker: str, clips_per_class: int) -> list[Clip]:
    return [
        Clip(f"{speaker}_{folder}/{speaker}_{word}_{code}.wav", speaker, emotion, f"tess {word}")
        for (emotion, code), folder in zip(_codes(tess.EMOTION_CODES).items(), _TESS_FOLDERS[speaker], strict=True)
        for word in _TESS_WORDS[:clips_per_class]
    ]


def _name_savee(speaker: str, clips_per_class: int) -> list[Clip]:
    clips = []
    for emotion, code in _codes(savee.EMOTION_CODES).items():
        takes = 2 if emotion == "neutral" else 1  # the original has twice as many neutral clips
        for number in range(1, takes * clips_per_class + 1):
            text = f"savee {(number - 1) // takes}"
            clips.append(Clip(f"AudioData/{speaker}/{code}{number:02d}.wav", speaker, emotion, text))
    return clips


def _is_odd(speaker: str) -> bool:
    return int(speaker) % 2 == 1


def _is_male_in_crema_d(speaker: str) -> bool:
    return crema_d.demographics(int(speaker))[1] == "male"


LAYOUTS: dict[str, Layout] = {
    "ravdess": Layout(48_000, tuple(f"{n:02d}" for n in ravdess.ACTORS), 3, 8, _name_ravdess, _is_odd),
    "crema_d": Layout(16_000, tuple(map(str, crema_d.ACTORS)), 3, 14, _name_crema_d, _is_male_in_crema_d),
    "tess": Layout(24_414, tuple(tess.AGES), 9, len(_TESS_WORDS), _name_tess, lambda speaker: False),
    "savee": Layout(44_100, savee.SPEAKERS, 3, 15, _name_savee, lambda speaker: True),
}
_AGES = {"OAF": tess.AGES["OAF"]}  # the others speak as adults of 30


@dataclass
class GenerateArguments:
    """What to generate; see `generate`."""

    output_dir: str = field(
        default="data/synthetic", metadata={"help": "Folder to write the corpora's folders into; made if missing."}
    )
    corpora: list[str] = field(
        default_factory=lambda: list(LAYOUTS), metadata={"help": f"Which layouts: any of {', '.join(LAYOUTS)}."}
    )
    clips_per_class: int | None = field(
        default=None,
        metadata={
            "help": "Clips of each emotion by each speaker (SAVEE: twice as many neutral ones; RAVDESS and CREMA-D: "
            "no more neutral ones than have names, 4 and 12). Default: "
            + ", ".join(f"{name} {layout.clips_per_class}" for name, layout in LAYOUTS.items())
            + "; at most: "
            + ", ".join(f"{name} {layout.most_clips_per_class}" for name, layout in LAYOUTS.items())
            + "."
        },
    )
    speakers_per_corpus: int = field(
        default=8, metadata={"help": "Speakers of each corpus, as far as it has them (TESS 2, SAVEE 4)."}
    )
    seed: int = field(default=0, metadata={"help": "Another seed gives other voices and other clips."})
    duration_s: list[float] = field(
        default_factory=lambda: [1.0, 1.6], metadata={"help": "Shortest and longest clip in seconds."}
    )
    include_song: bool = field(default=False, metadata={"help": "RAVDESS: write song clips (03-02-...) as well."})


def generate(
    output_dir: str | Path,
    *,
    corpora: Sequence[str] = tuple(LAYOUTS),
    clips_per_class: int | None = None,
    speakers_per_corpus: int = 8,
    seed: int = 0,
    duration_s: Sequence[float] = (1.0, 1.6),
    include_song: bool = False,
) -> dict[str, Path]:
    """Write synthetic corpora, each in the layout, sampling rate and 16-bit WAV format of the original.

    A corpus that is there with the same arguments is left as it is; with other arguments it is made anew. Each is
    written to `NAME.incomplete` and renamed when it is whole.

    Args:
        output_dir: folder to write the corpora's folders into; made if missing.
        corpora: names of layouts, from `LAYOUTS`.
        clips_per_class: clips of each emotion by each speaker; default: the layout's.
        speakers_per_corpus: speakers of each corpus, as far as it has them.
        seed: another seed gives other voices and other clips.
        duration_s: shortest and longest clip in seconds.
        include_song: RAVDESS: write song clips as well.

    Returns:
        The folder of each corpus, in the order of `corpora`.

    Raises:
        SyntheticError: if an argument cannot be met, or a folder in the way holds anything that this did not write.

    >>> generate("data/synthetic", corpora=["tess"], clips_per_class=1, speakers_per_corpus=1)["tess"].name
    'tess'
    """
    _check(corpora, clips_per_class, speakers_per_corpus, duration_s)
    output_dir = Path(output_dir)
    if output_dir.exists() and not output_dir.is_dir():
        raise SyntheticError(f"output_dir {output_dir} is a file; expected a folder, or a path at which to make one")
    jobs = {}
    for corpus in corpora:
        arguments: dict[str, Any] = {
            "corpus": corpus,
            "clips_per_class": clips_per_class or LAYOUTS[corpus].clips_per_class,
            "speakers_per_corpus": min(speakers_per_corpus, len(LAYOUTS[corpus].speakers)),
            "seed": seed,
            "duration_s": [float(value) for value in duration_s],
            "include_song": include_song and corpus == "ravdess",
            "version": _VERSION,
        }
        jobs[corpus] = (output_dir / corpus, arguments)
    # Refuse before the first clip, not after three of four corpora.
    is_done = {corpus: _is_done(folder, arguments) for corpus, (folder, arguments) in jobs.items()}
    for corpus, (folder, arguments) in jobs.items():
        if not is_done[corpus]:
            _write_corpus(folder, arguments)
    return {corpus: folder for corpus, (folder, _) in jobs.items()}


def _check(
    corpora: Sequence[str], clips_per_class: int | None, speakers_per_corpus: int, duration_s: Sequence[float]
) -> None:
    if isinstance(corpora, str) or not corpora:
        raise SyntheticError(f"corpora is {corpora!r}; expected a list of some of {', '.join(LAYOUTS)}")
    for corpus in corpora:
        if corpus not in LAYOUTS:
            raise SyntheticError(f"corpora holds {corpus!r}; expected some of {', '.join(LAYOUTS)}")
        most = LAYOUTS[corpus].most_clips_per_class
        if clips_per_class is not None and not 1 <= clips_per_class <= most:
            raise SyntheticError(
                f"clips_per_class is {clips_per_class}; expected 1 to {most}, for the names of {corpus} tell no more "
                "apart. Lower it, or generate this corpus by itself."
            )
    if speakers_per_corpus < 1:
        raise SyntheticError(f"speakers_per_corpus is {speakers_per_corpus}; expected at least 1")
    if len(duration_s) != 2 or not 0.5 <= duration_s[0] < duration_s[1] <= 10.0:
        raise SyntheticError(
            f"duration_s is {tuple(duration_s)}; expected the shortest and the longest clip in seconds, the "
            "first below the second, both between 0.5 and 10"
        )


def plan(arguments: dict[str, Any]) -> list[Clip]:
    """Return the clips of one corpus; `arguments` are those in its `SYNTHETIC.json`."""
    layout = LAYOUTS[arguments["corpus"]]
    name = _name_ravdess_with_song if arguments["include_song"] else layout.name
    speakers = layout.speakers[: arguments["speakers_per_corpus"]]
    return [clip for speaker in speakers for clip in name(speaker, arguments["clips_per_class"])]


def _is_done(folder: Path, arguments: dict[str, Any]) -> bool:
    """Tell whether the corpus is there already; refuse a folder that holds what this did not write."""
    incomplete = _incomplete(folder)
    # An interrupted run may have left nothing but a marker cut short.
    if incomplete.exists() and (not incomplete.is_dir() or _files(incomplete) - {MARKER}):
        _refuse_foreign(incomplete)
    if not folder.exists():
        return False
    written = _read_marker(folder)
    if written["arguments"] == arguments and _files(folder) >= set(written["files"]):
        return True
    _refuse_foreign(folder)
    return False


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


def _refuse_foreign(folder: Path) -> None:
    foreign = _files(folder) - {MARKER, *_read_marker(folder)["files"]}
    if foreign:
        raise SyntheticError(
            f"{folder} is to be generated anew, but holds files that were not generated, such as {min(foreign)}; "
            "nothing was changed. Pass another output_dir, or remove the folder yourself."
        )


def _remove(folder: Path) -> None:
    """Remove a folder that has been checked, its marker last, so that the next run can go on if this is cut short."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir():
            path.rmdir()
        elif path != folder / MARKER:
            path.unlink()
    (folder / MARKER).unlink(missing_ok=True)
    folder.rmdir()


def _incomplete(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.incomplete")


def _read_marker(folder: Path) -> dict[str, Any]:
    try:
        written = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        if written["notice"] and isinstance(written["arguments"], dict) and isinstance(written["files"], list):
            return written
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise SyntheticError(
        f"{folder} exists and has no {MARKER} of this generator, so it may hold real recordings; nothing was changed. "
        "Pass another output_dir."
    )


def _write_corpus(folder: Path, arguments: dict[str, Any]) -> None:
    clips = plan(arguments)
    incomplete = _incomplete(folder)
    if incomplete.exists():
        _remove(incomplete)
    incomplete.mkdir(parents=True)
    # The marker comes first: a run that is cut short leaves a folder that the next one knows for its own.
    content = {"notice": NOTICE, "arguments": arguments, "files": [clip.path for clip in clips]}
    (incomplete / MARKER).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8", newline="\n")
    speakers = {clip.speaker: _speaker(arguments, clip.speaker) for clip in clips}
    for clip in progress_bar(clips, desc=f"Generating {folder.name}", unit="synthetic clips"):
        _write_clip(incomplete / clip.path, clip, speakers[clip.speaker], arguments)
    if folder.exists():
        _remove(folder)
    incomplete.rename(folder)


def _speaker(arguments: dict[str, Any], speaker: str) -> voice.Speaker:
    rng = np.random.default_rng(voice.stable_seed(arguments["seed"], arguments["corpus"], "speaker", speaker))
    is_male = LAYOUTS[arguments["corpus"]].is_male(speaker)
    return voice.make_speaker(rng, male=is_male, age=_AGES.get(speaker, 30))


def _write_clip(path: Path, clip: Clip, speaker: voice.Speaker, arguments: dict[str, Any]) -> None:
    sampling_rate = LAYOUTS[arguments["corpus"]].sampling_rate
    seed = voice.stable_seed(arguments["seed"], arguments["corpus"], "clip", clip.path)
    duration_s = np.random.default_rng(seed).uniform(*arguments["duration_s"])
    waveform = voice.synthesize(
        clip.emotion,
        speaker,
        sampling_rate=sampling_rate,
        duration_s=duration_s,
        seed=voice.stable_seed(seed, "voice"),
        text=clip.text,
        intensity=clip.intensity,
        sung=clip.sung,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, waveform, sampling_rate, subtype="PCM_16", format="WAV")
