"""Speech through a channel: rooms, the telephone, lossy codecs, low sampling rates and lost packets.

Encoders and decoders are those of libsndfile, the image method is that of pyroomacoustics.
"""

import io
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from hf_ser.audio import SAMPLING_RATE, AudioError, load_audio
from hf_ser.conditions.condition_error import ConditionError
from hf_ser.conditions.noises import at_level, level_dbfs
from hf_ser.extras import needs_extra

ROOMS = 4  # generated for each reverberation time
_MOST_REFLECTIONS = 70  # of a path: later ones are 35 dB below the direct sound and would take a minute to compute
PACKET = SAMPLING_RATE // 50  # 20 ms, as in telephony over the Internet
TELEPHONE_SUBTYPES = {"alaw": "ALAW", "mulaw": "ULAW", "gsm": "GSM610"}
_TELEPHONE_RATE = 8000
_BAND_HZ = (300, 3400)
# What libsndfile's compression level from 0 to 1 means: kbit/s at 0, and how many fewer at 1.
_MP3_SCALE, _OPUS_SCALE = (160, 152), (256, 250)
_MP3_DELAY = 1105  # samples of the encoder and the decoder, where the file does not say how many to drop
_MOST_COMPRESSED = 0.99  # libsndfile rejects 1 for MP3
_RESPONSE_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif")


def needed_format(condition: str, level: Any) -> tuple[str, str] | None:
    """The format and subtype of libsndfile that a condition writes and reads; None for other conditions."""
    if condition == "telephone":
        return "WAV", TELEPHONE_SUBTYPES[level]
    return {"mp3": ("MP3", "MPEG_LAYER_III"), "opus": ("OGG", "OPUS")}.get(condition)


def check_format(condition: str, level: Any) -> None:
    """Check that the installed libsndfile has the codec of a condition.

    Raises:
        ConditionError: it does not.
    """
    needed = needed_format(condition, level)
    if needed is not None and needed[1] not in soundfile.available_subtypes(needed[0]):
        raise ConditionError(
            f"{condition}={level}: libsndfile {soundfile.__libsndfile_version__} has no encoder for {needed[1]}; "
            "expected version 1.2 with MP3 and Opus, as in the wheels of soundfile. Install soundfile from its wheel, "
            f"or leave out {condition}."
        )


# --- codecs ---------------------------------------------------------------------------------------------------


def encoded(clip: np.ndarray, sampling_rate: int, *, compression: float | None, **form: Any) -> bytes:
    """Encode a clip (samples,) with libsndfile.

    Args:
        clip: (samples,).
        sampling_rate: Hz.
        compression: from 0 (best) to 1; None for formats without such a choice.
        form: format and subtype.
    """
    buffer = io.BytesIO()
    options: dict[str, Any] = {} if compression is None else {"compression_level": compression}
    if form["format"] == "MP3":
        options["bitrate_mode"] = "CONSTANT"
    soundfile.write(buffer, clip, sampling_rate, **form, **options)
    return buffer.getvalue()


def _decoded(content: bytes, num_samples: int, delay: int = 0) -> np.ndarray:
    """The samples of a file at its own rate; what the codec added at the ends is cut off."""
    samples, _ = soundfile.read(io.BytesIO(content), dtype="float32")
    return _of_length(samples[delay if len(samples) > num_samples else 0 :], num_samples)


def _of_length(samples: np.ndarray, num_samples: int) -> np.ndarray:
    return np.pad(samples[:num_samples], (0, max(0, num_samples - len(samples))))


def mp3_bytes(clip: np.ndarray, kbps: float) -> bytes:
    """A clip at 16 kHz as MP3 at a constant bit rate; MPEG-2 has those from 8 to 160 kbit/s."""
    level = min(_MOST_COMPRESSED, (_MP3_SCALE[0] - kbps) / _MP3_SCALE[1])
    return encoded(clip, SAMPLING_RATE, compression=level, format="MP3", subtype="MPEG_LAYER_III")


def mp3(clip: np.ndarray, kbps: float) -> np.ndarray:
    """A clip after MP3 at a bit rate in kbit/s."""
    return _decoded(mp3_bytes(clip, kbps), len(clip), _MP3_DELAY)


def opus_bytes(clip: np.ndarray, kbps: float) -> bytes:
    """A clip at 16 kHz as Opus in Ogg with a variable bit rate of about so many kbit/s, without the container."""
    level = (_OPUS_SCALE[0] - kbps) / _OPUS_SCALE[1]
    return encoded(clip, SAMPLING_RATE, compression=level, format="OGG", subtype="OPUS")


def opus(clip: np.ndarray, kbps: float) -> np.ndarray:
    """A clip after Opus at a bit rate in kbit/s."""
    return _decoded(opus_bytes(clip, kbps), len(clip))


# --- narrow bands ---------------------------------------------------------------------------------------------


def telephone_band(clip: np.ndarray, sampling_rate: int = SAMPLING_RATE) -> np.ndarray:
    """The band of a telephone, 300 to 3400 Hz."""
    from scipy import signal

    band = signal.butter(6, _BAND_HZ, "bandpass", fs=sampling_rate, output="sos")
    return signal.sosfilt(band, clip).astype(np.float32)


def telephone(clip: np.ndarray, codec: str) -> np.ndarray:
    """A clip through a telephone: its band at 8 kHz, and A-law, mu-law (both 64 kbit/s) or GSM (13 kbit/s)."""
    narrow = telephone_band(soxr.resample(clip, SAMPLING_RATE, _TELEPHONE_RATE), _TELEPHONE_RATE)
    content = encoded(
        np.clip(narrow, -1, 1), _TELEPHONE_RATE, compression=None, format="WAV", subtype=TELEPHONE_SUBTYPES[codec]
    )
    wide = soxr.resample(_decoded(content, len(narrow)), _TELEPHONE_RATE, SAMPLING_RATE)
    return _of_length(wide, len(clip))


def resampled(clip: np.ndarray, rate_hz: float) -> np.ndarray:
    """A clip recorded at a lower sampling rate, and brought back to 16 kHz."""
    low = soxr.resample(clip, SAMPLING_RATE, rate_hz)
    return _of_length(soxr.resample(low, rate_hz, SAMPLING_RATE), len(clip))


def packets_lost(clip: np.ndarray, percent: float, rng: np.random.Generator) -> np.ndarray:
    """A clip of which so many per cent of packets of 20 ms are silent; with more, the same and others are lost."""
    starts = np.arange(0, len(clip), PACKET)
    kept = clip.copy()
    for start in rng.permutation(starts)[: round(len(starts) * percent / 100)]:
        kept[start : start + PACKET] = 0.0
    return kept


# --- rooms ----------------------------------------------------------------------------------------------------


def check_rooms() -> None:
    """Import pyroomacoustics.

    Raises:
        MissingExtraError: it is not installed.
    """
    with needs_extra():  # here: it is optional, and its import takes a moment
        import pyroomacoustics  # noqa: F401


@cache
def generated_responses(decay_s: float, seed: int) -> tuple[np.ndarray, ...]:
    """Impulse responses of rooms by the image method (Allen & Berkley 1979), as pyroomacoustics computes it.

    Shoebox rooms of 30 to 200 m3, with the microphone 1 to 3 m from the talker. Sabine's formula gives the absorption
    of the walls, but image sources in a shoebox decay more slowly; an exponential window corrects the difference.

    Args:
        decay_s: time in which the reverberation falls by 60 dB.
        seed: of the rooms and positions, which are the same for every decay.

    Returns:
        (samples,) each, at 16 kHz, from the direct sound on.

    Raises:
        MissingExtraError: pyroomacoustics is not installed.
    """
    with needs_extra():
        import pyroomacoustics
    rng = np.random.default_rng([seed, ROOMS])
    found = []
    for _ in range(ROOMS):
        size, talker, microphone = _room(rng)
        absorption, order = pyroomacoustics.inverse_sabine(decay_s, size)
        material = pyroomacoustics.Material(absorption)
        order = min(order, _MOST_REFLECTIONS)
        room = pyroomacoustics.ShoeBox(size, fs=SAMPLING_RATE, materials=material, max_order=order)
        room.add_source(talker)
        room.add_microphone(microphone)
        room.compute_rir()
        found.append(_with_decay(np.asarray(room.rir[0][0]), decay_s))
    return tuple(found)


def _room(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Size, position of the talker and position of the microphone, in metres."""
    size = rng.uniform((4.0, 3.0, 2.5), (8.0, 6.5, 3.8))
    while True:
        talker, microphone = (rng.uniform(0.5, size - 0.5) for _ in range(2))
        if 1.0 <= np.linalg.norm(talker - microphone) <= 3.0:
            return size, talker, microphone


def _with_decay(response: np.ndarray, decay_s: float) -> np.ndarray:
    """A response from its direct sound on, whose energy falls by 60 dB in the time."""
    response = response[int(np.abs(response).argmax()) :]
    time = np.arange(len(response)) / SAMPLING_RATE
    for _ in range(2):  # the measured slope is that of a part of the decay
        response = response * 10 ** (-3 * time * (1 / decay_s - 1 / measured_decay(response)))
    return response.astype(np.float32)


def measured_decay(response: np.ndarray) -> float:
    """Reverberation time in seconds: the decay from -5 to -25 dB of Schroeder's integral, extrapolated to 60 dB."""
    energy = np.cumsum(np.square(response, dtype=np.float64)[::-1])[::-1]
    level = 10 * np.log10(energy / energy[0] + 1e-12)
    start, end = (int(np.argmax(level <= below)) for below in (-5.0, -25.0))
    slope = np.polyfit(np.arange(start, end) / SAMPLING_RATE, level[start:end], 1)[0]
    return float(-60 / slope)


def responses_in(folder: Path) -> tuple[np.ndarray, ...]:
    """The impulse responses in a folder, by name, at 16 kHz.

    Raises:
        ConditionError: no such folder, no responses, or a file that cannot be read or is silent.
    """
    if not folder.is_dir():
        raise ConditionError(f"--room_responses {folder}: no such folder; expected a folder of impulse responses.")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _RESPONSE_SUFFIXES)
    if not files:
        expected = ", ".join(_RESPONSE_SUFFIXES)
        raise ConditionError(
            f"--room_responses {folder}: found no audio files; expected impulse responses ({expected})."
        )
    return tuple(_read_response(path) for path in files)


def _read_response(path: Path) -> np.ndarray:
    try:
        samples = load_audio(path)
    except AudioError as error:
        raise ConditionError(f"--room_responses: {error} Remove the file or replace it.") from error
    if not samples.any():
        raise ConditionError(f"--room_responses {path} is silent; expected an impulse response. Remove the file.")
    return samples[int(np.abs(samples).argmax()) :]


def in_room(clip: np.ndarray, responses: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """A clip in one of the rooms, at its own level and length; the first sound stays where it was."""
    from scipy import signal

    response = responses[int(rng.integers(len(responses)))]
    wet = signal.fftconvolve(clip, response)[: len(clip)]
    return at_level(wet, level_dbfs(clip))
