"""The conditions by name: their levels from mild to severe, and how they change a clip."""

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hf_ser.arguments import did_you_mean
from hf_ser.conditions import channels, voice_changes
from hf_ser.conditions.condition_error import ConditionError
from hf_ser.conditions.noises import VOICES, babble, coloured_noise, mains_hum, with_noise

Level = float | str
ROOM, MEASURED_ROOM, BABBLE = "room", "measured_room", "babble"
GIVEN = "given"  # level of the responses in a folder
VERSION = 1  # of what the conditions do to a clip; stored predictions of another one are not used again


@dataclass(frozen=True)
class Surroundings:
    """What conditions need besides the clip.

    Args:
        seed: of all draws.
        voices: (samples,) of clips by other speakers, for babble.
        responses: impulse responses of measured rooms (samples,).

    >>> Surroundings(seed=1).voices
    ()
    """

    seed: int = 0
    voices: Sequence[np.ndarray] = ()
    responses: Sequence[np.ndarray] = ()


@dataclass(frozen=True)
class Condition:
    """A way to change clips, at several levels.

    Args:
        title: for figures and tables.
        unit: of the levels; empty for names.
        levels: the default ones, from mild to severe.
        quick: those of a quick report.
        change: clip (samples,), level, random generator and surroundings -> (samples,).
        bounds: lowest and highest level; None for levels that are names.
        choices: levels that are names.
        keeps_length: whether clips keep their number of samples.
        may_silence: whether a clip can be silent afterwards.
        check: raises an error if a package or codec for a level is missing.
        whole: levels must be multiples of this number; 0 for any.
        neutral: the level that changes nothing, if there are levels on both sides of it.

    >>> CONDITIONS["gain"].levels, CONDITIONS["gain"].keeps_length
    ((-30, -20, -10, 10, 20), True)
    """

    title: str
    unit: str
    levels: tuple[Level, ...]
    quick: tuple[Level, ...]
    change: Callable[[np.ndarray, Any, np.random.Generator, Surroundings], np.ndarray] = field(repr=False)
    bounds: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    keeps_length: bool = True
    may_silence: bool = False
    check: Callable[[Level], None] | None = None
    whole: int = 0
    neutral: float | None = None


def _needs_audiomentations(_: Level) -> None:
    voice_changes.check_audiomentations()


def _noise(title: str, make: Callable[[np.ndarray, np.random.Generator, Surroundings], np.ndarray]) -> Condition:
    return Condition(
        title,
        "dB SNR",
        (20, 15, 10, 5, 0, -5),
        (10, 0),
        lambda clip, level, rng, around: with_noise(clip, make(clip, rng, around), level),
        bounds=(-30, 60),
    )


def _cut(title: str, change: Callable[[np.ndarray, float], np.ndarray]) -> Condition:
    return Condition(
        title,
        "% of the clip",
        (10, 25, 50),
        (25, 50),
        lambda clip, level, rng, around: change(clip, level),
        bounds=(1, 90),
        keeps_length=False,
        may_silence=True,
    )


CONDITIONS: dict[str, Condition] = {
    "white_noise": _noise("white noise", lambda clip, rng, around: coloured_noise("white", len(clip), rng)),
    "pink_noise": _noise("pink noise", lambda clip, rng, around: coloured_noise("pink", len(clip), rng)),
    BABBLE: _noise(
        f"babble of {VOICES} voices", lambda clip, rng, around: babble(around.voices, len(clip), rng, VOICES)
    ),
    "hum": _noise("mains hum", lambda clip, rng, around: mains_hum(len(clip), rng)),
    ROOM: Condition(
        "room, reverberation time",
        "s",
        (0.3, 0.6, 1.0),
        (0.6,),
        lambda clip, level, rng, around: channels.in_room(
            clip, channels.generated_responses(float(level), around.seed), rng
        ),
        bounds=(0.2, 1.5),
        check=lambda level: channels.check_rooms(),
    ),
    MEASURED_ROOM: Condition(
        "measured rooms",
        "",
        (GIVEN,),
        (GIVEN,),
        lambda clip, level, rng, around: channels.in_room(clip, around.responses, rng),
        choices=(GIVEN,),
    ),
    "telephone": Condition(
        "telephone, 8 kHz",
        "",
        ("alaw", "mulaw", "gsm"),
        ("mulaw",),
        lambda clip, level, rng, around: channels.telephone(clip, level),
        choices=tuple(channels.TELEPHONE_SUBTYPES),
        may_silence=True,
        check=lambda level: channels.check_format("telephone", level),
    ),
    "mp3": Condition(
        "MP3",
        "kbit/s",
        (64, 32, 16, 8),
        (16,),
        lambda clip, level, rng, around: channels.mp3(clip, level),
        bounds=(8, 160),
        whole=8,
        check=lambda level: channels.check_format("mp3", level),
    ),
    "opus": Condition(
        "Opus",
        "kbit/s",
        (32, 16, 6),
        (16,),
        lambda clip, level, rng, around: channels.opus(clip, level),
        bounds=(6, 256),
        check=lambda level: channels.check_format("opus", level),
    ),
    "clipping": Condition(
        "clipping",
        "% of samples",
        (2, 10, 20, 40),
        (20,),
        lambda clip, level, rng, around: voice_changes.clipped(clip, level),
        bounds=(2, 80),
        whole=2,  # audiomentations rounds each half to whole per cent
        check=_needs_audiomentations,
    ),
    "gain": Condition(
        "gain",
        "dB",
        (-30, -20, -10, 10, 20),
        (-20, 20),
        lambda clip, level, rng, around: voice_changes.gain(clip, level),
        neutral=0,
        bounds=(-60, 40),
        may_silence=True,
        check=_needs_audiomentations,
    ),
    "resampling": Condition(
        "resampling",
        "Hz",
        (11_025, 8000, 6000, 4000),
        (8000,),
        lambda clip, level, rng, around: channels.resampled(clip, level),
        bounds=(2000, 16_000),
    ),
    "start_cut": _cut("start cut off", voice_changes.without_start),
    "end_cut": _cut("end cut off", voice_changes.without_end),
    "speed": Condition(
        "speed with pitch",
        "x",
        (0.8, 0.9, 1.1, 1.25),
        (0.8, 1.25),
        lambda clip, level, rng, around: voice_changes.speed(clip, level),
        neutral=1,
        bounds=(0.5, 2),
        keeps_length=False,
    ),
    "tempo": Condition(
        "tempo",
        "x",
        (0.8, 0.9, 1.1, 1.25),
        (0.8, 1.25),
        lambda clip, level, rng, around: voice_changes.tempo(clip, level),
        neutral=1,
        bounds=(0.5, 2),
        keeps_length=False,
        check=_needs_audiomentations,
    ),
    "pitch": Condition(
        "pitch",
        "semitones",
        (-4, -2, 2, 4),
        (-4, 4),
        lambda clip, level, rng, around: voice_changes.pitch(clip, level),
        neutral=0,
        bounds=(-12, 12),
        check=_needs_audiomentations,
    ),
    "packet_loss": Condition(
        "packets of 20 ms lost",
        "%",
        (1, 5, 10, 20, 40),
        (10, 40),
        lambda clip, level, rng, around: channels.packets_lost(clip, level, rng),
        bounds=(0.1, 90),
        may_silence=True,
    ),
}
DEFAULTS = tuple(name for name in CONDITIONS if name != MEASURED_ROOM)


def changed_clip(clip: np.ndarray, name: str, level: Level, clip_id: str, around: Surroundings) -> np.ndarray:
    """Change a clip by a condition.

    The draws depend on the seed, the condition and the id of the clip only, so not on batches, the order of clips or
    the level: noise is the same at every level.

    Args:
        clip: (samples,) at 16 kHz.
        name: of the condition.
        level: of the condition.
        clip_id: name of the clip.
        around: seed, and sounds that some conditions need.

    Returns:
        (samples,) float32.

    Raises:
        ConditionError: no samples, only zeros, or samples that are not finite are left of the clip.

    >>> clip = np.sin(np.arange(16_000) / 20).astype(np.float32)
    >>> changed_clip(clip, "end_cut", 25, "ravdess/1", Surroundings()).shape
    (12000,)
    """
    digest = hashlib.sha256(f"{name}\n{clip_id}".encode()).digest()
    rng = np.random.default_rng([around.seed, int.from_bytes(digest[:8], "little")])
    made = np.ascontiguousarray(CONDITIONS[name].change(clip, level, rng, around), dtype=np.float32)
    if not made.any():
        raise ConditionError(
            f"{name}={level_text(level)} leaves nothing but silence of {clip_id} ({len(clip)} samples). Use a milder "
            "level with --levels, or leave the clip out."
        )
    if not np.isfinite(made).all():
        raise ConditionError(f"{name}={level_text(level)} makes samples of {clip_id} that are not finite.")
    return made


def level_text(level: Level) -> str:
    """A level as in `--levels` and in file names.

    >>> level_text(-5.0), level_text("alaw")
    ('-5', 'alaw')
    """
    return level if isinstance(level, str) else f"{level:g}"


def described_level(name: str, level: Level) -> str:
    """A condition with a level and its unit.

    >>> described_level("white_noise", 10), described_level("telephone", "gsm")
    ('white noise, 10 dB SNR', 'telephone, 8 kHz, gsm')
    """
    condition = CONDITIONS[name]
    return f"{condition.title}, {level_text(level)}{' ' if condition.unit else ''}{condition.unit}"


def chosen_levels(names: Sequence[str], words: Iterable[str], *, quick: bool = False) -> dict[str, tuple[Level, ...]]:
    """The conditions to use and their levels.

    Args:
        names: of conditions.
        words: levels other than the default ones, as NAME=LEVEL,LEVEL.
        quick: whether the default levels are those of a quick report.

    Raises:
        ConditionError: an unknown condition or level, a level out of bounds, or one for a condition not in `names`.

    >>> chosen_levels(["white_noise", "telephone"], ["white_noise=10,0", "telephone=gsm"])
    {'white_noise': (10.0, 0.0), 'telephone': ('gsm',)}
    """
    for name in names:
        if name not in CONDITIONS:
            hint = did_you_mean(name, CONDITIONS) or f"; expected {', '.join(CONDITIONS)}"
            raise ConditionError(f"--conditions: no condition is called {name!r}{hint}.")
    repeated = sorted({name for name in names if list(names).count(name) > 1})
    if repeated or not names:
        raise ConditionError(f"--conditions: got {repeated[0]} twice." if repeated else "--conditions is empty.")
    chosen = {name: CONDITIONS[name].quick if quick else CONDITIONS[name].levels for name in names}
    given: set[str] = set()
    for word in words:
        found = re.fullmatch(r"(\w+)=(\S+)", word)
        if found is None:
            raise ConditionError(f"--levels: got {word!r}; expected NAME=LEVEL,LEVEL such as white_noise=20,10,0.")
        name = found[1]
        if name not in chosen or name in given:
            state = "is given twice" if name in given else "is not among the conditions of this report"
            hint = did_you_mean(name, chosen)
            raise ConditionError(f"--levels: {name} {state}{hint}; the conditions are {', '.join(chosen)}.")
        given.add(name)
        chosen[name] = tuple(_level(name, text) for text in found[2].split(","))
        if len(set(chosen[name])) < len(chosen[name]):
            raise ConditionError(f"--levels: {word} has a level twice; expected different ones.")
    return chosen


def _level(name: str, text: str) -> Level:
    condition = CONDITIONS[name]
    if condition.bounds is None:
        if text not in condition.choices:
            raise ConditionError(f"--levels: {name}={text!r}; expected one of {', '.join(condition.choices)}.")
        return text
    low, high = condition.bounds
    multiples = f" in multiples of {condition.whole}" if condition.whole else ""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high or (condition.whole and value % condition.whole):
        raise ConditionError(
            f"--levels: {name}={text}; expected {condition.unit} from {low:g} to {high:g}{multiples}, separated by "
            "commas."
        )
    return value


def check_installed(chosen: dict[str, tuple[Level, ...]]) -> None:
    """Check that the packages and codecs of all conditions are there.

    Raises:
        ConditionError: a package or an encoder is missing; says what to install or leave out.
    """
    for name, levels in chosen.items():
        check = CONDITIONS[name].check
        for level in levels if check else ():
            assert check is not None
            try:
                check(level)
            except ImportError as error:
                others = " ".join(other for other in chosen if other != name)
                raise ConditionError(f"{name}: {error}, or leave the condition out: --conditions {others}") from error
