"""A small synthesizer of speech-like sounds with emotions, based on numpy and scipy, for tests and the quickstart.

A source-filter model after Klatt (1980, "Software for a cascade/parallel formant synthesizer"): glottal pulses and
noise pass through formants that move from phone to phone. The output is not intelligible, and scores on it say nothing
about real speech. It only has enough of the structure of speech for a model to learn from.

The direction in which each emotion changes the voice follows Juslin and Laukka (2003, "Communication of emotions in
vocal expression and music performance", table 7) and Scherer (2003, "Vocal communication of emotion"). The amounts are
our choice.
"""

import hashlib
from dataclasses import astuple, dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.signal import lfilter

Array = NDArray[np.floating]

HOP_S = 0.01
SILENT_DB = -60.0
PEAK = 0.95


@dataclass(frozen=True)
class Speaker:
    """Properties of a voice that are the same in all its clips."""

    f0_hz: float  # fundamental frequency in neutral speech
    tract: float  # formant frequencies, relative to an adult male: a shorter vocal tract has higher ones
    tempo: float  # factor on the syllable rate
    level_db: float  # RMS of neutral speech in dB of full scale
    tilt_db: float  # added to the fall of the source spectrum, dB per octave (negative: duller)
    jitter: float  # added to the cycle-to-cycle variation of the period, as a fraction of it
    noise_db: float  # RMS of the recording's background noise in dB of full scale
    expressiveness: float  # factor on how far an emotion moves this voice away from neutral


@dataclass(frozen=True)
class Expression:
    """How a clip is spoken. `f0_st` and `level_db` are relative to the neutral voice of the speaker."""

    f0_st: float  # mean pitch
    range_st: float  # height of the pitch accents
    slope_st: float  # rise (or fall, when negative) of pitch from the first to the last syllable
    tremor_st: float  # depth of a pitch modulation at about 6 Hz
    jitter: float  # cycle-to-cycle variation of the period, as a fraction of it
    creak: float  # 0: modal voice; 1: every second glottal pulse is weak and late
    rate_hz: float  # syllables per second
    pause_s: float  # silence between words
    level_db: float  # loudness
    tilt_db: float  # spectral slope of the source, dB per octave: higher is brighter
    breath_db: float  # aspiration noise relative to the voiced source
    formants: float  # factor on all formants: lips spread (above 1) or drawn back into the throat (below 1)
    clarity: float  # 1: vowels reach their targets; 0: all vowels are the same
    attack_s: float  # duration of the onset and offset of sounds


EXPRESSIONS: dict[str, Expression] = {
    # in the order of the fields: f0, range, slope, tremor, jitter, creak, rate, pause, level, tilt, breath, formants,
    # clarity, attack
    "neutral": Expression(0.0, 1.6, -2.0, 0.05, 0.004, 0.08, 4.6, 0.10, 0.0, -11.0, -26.0, 1.00, 0.90, 0.012),
    "calm": Expression(-1.5, 1.0, -1.5, 0.05, 0.002, 0.03, 3.6, 0.15, -4.5, -12.5, -20.0, 0.99, 0.80, 0.025),
    "happy": Expression(4.5, 4.5, -0.5, 0.10, 0.005, 0.00, 5.3, 0.06, 4.0, -9.5, -28.0, 1.05, 1.05, 0.009),
    "sad": Expression(-0.8, 0.8, -4.0, 0.30, 0.007, 0.10, 3.2, 0.22, -7.0, -14.0, -13.0, 0.97, 0.60, 0.030),
    "angry": Expression(3.0, 3.0, -2.5, 0.10, 0.008, 0.05, 5.6, 0.04, 9.0, -7.0, -30.0, 1.02, 1.15, 0.005),
    "fearful": Expression(7.0, 1.8, 0.5, 0.60, 0.012, 0.00, 6.1, 0.12, 1.0, -10.0, -16.0, 1.03, 0.85, 0.010),
    "disgust": Expression(-2.5, 1.8, -4.0, 0.10, 0.008, 0.60, 3.7, 0.13, -1.5, -10.5, -23.0, 0.93, 1.00, 0.015),
    "surprised": Expression(5.5, 4.0, 7.0, 0.10, 0.004, 0.00, 4.7, 0.05, 3.0, -9.5, -21.0, 1.01, 1.00, 0.009),
}
# Standard deviation between clips of one speaker and emotion, minimum and maximum of each field.
_SPREAD = (1.0, 0.5, 1.2, 0.06, 0.002, 0.08, 0.40, 0.03, 1.8, 0.8, 2.5, 0.015, 0.08, 0.003)
_LEAST = (-8.0, 0.2, -10.0, 0.0, 0.0005, 0.0, 2.0, 0.0, -15.0, -18.0, -40.0, 0.85, 0.3, 0.004)
_GREATEST = (12.0, 8.0, 12.0, 1.2, 0.03, 0.9, 8.0, 0.4, 14.0, -5.0, -8.0, 1.15, 1.3, 0.05)

# Formants 1 to 3 of the vowels of adult males in Hz: Peterson and Barney (1952), table II.
_VOWELS = np.array(
    [
        [270, 2290, 3010],  # beat
        [390, 1990, 2550],  # bit
        [530, 1840, 2480],  # bet
        [660, 1720, 2410],  # bat
        [730, 1090, 2440],  # father
        [570, 840, 2410],  # bought
        [440, 1020, 2240],  # foot
        [300, 870, 2240],  # boot
        [640, 1190, 2390],  # but
        [490, 1350, 1690],  # bird
    ],
    dtype=np.float64,
)
_SCHWA = np.array([500.0, 1500.0, 2500.0])
_BANDWIDTHS_HZ = (80.0, 110.0, 150.0)
# A phone: duration in s; voicing, aspiration and frication in dB; the frication's centre and formants 1 to 3 in Hz.
_REST: tuple[float, ...] = (0.0, SILENT_DB, SILENT_DB, SILENT_DB, 3000.0, 500.0, 1500.0, 2500.0)
_CLOSURE: tuple[float, ...] = (0.05, SILENT_DB, SILENT_DB, SILENT_DB, 3000.0, 300.0, 1500.0, 2500.0)
_ONSETS: tuple[tuple[tuple[float, ...], ...], ...] = (
    (_CLOSURE, (0.02, SILENT_DB, -16.0, -14.0, 1000.0, 350.0, 900.0, 2300.0)),  # p
    (_CLOSURE, (0.025, SILENT_DB, -16.0, -8.0, 4500.0, 350.0, 1800.0, 2600.0)),  # t
    (_CLOSURE, (0.03, SILENT_DB, -14.0, -10.0, 2000.0, 350.0, 1900.0, 2300.0)),  # k
    ((0.04, -16.0, SILENT_DB, SILENT_DB, 3000.0, 220.0, 1000.0, 2300.0),),  # b
    ((0.09, SILENT_DB, -30.0, -9.0, 6000.0, 350.0, 1700.0, 2600.0),),  # s
    ((0.09, SILENT_DB, -26.0, -8.0, 3000.0, 350.0, 1800.0, 2400.0),),  # sh
    ((0.08, SILENT_DB, -26.0, -22.0, 7500.0, 350.0, 1100.0, 2300.0),),  # f
    ((0.06, SILENT_DB, -10.0, SILENT_DB, 3000.0, 500.0, 1500.0, 2500.0),),  # h
    ((0.06, -9.0, SILENT_DB, SILENT_DB, 3000.0, 260.0, 1050.0, 2250.0),),  # m
    ((0.06, -9.0, SILENT_DB, SILENT_DB, 3000.0, 260.0, 1500.0, 2450.0),),  # n
    ((0.06, -5.0, SILENT_DB, SILENT_DB, 3000.0, 360.0, 1200.0, 2700.0),),  # l
    ((0.06, -5.0, SILENT_DB, SILENT_DB, 3000.0, 300.0, 700.0, 2200.0),),  # w
)
_SCALE_ST = np.array([0.0, 2.0, 4.0, 5.0, 7.0])


def stable_seed(*parts: object) -> int:
    """Return a 64-bit seed that depends only on `parts` (unlike `hash`, which differs between processes)."""
    digest = hashlib.blake2b("\0".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def make_speaker(rng: np.random.Generator, *, male: bool, age: int = 30) -> Speaker:
    """Draw a voice. Age (in years) above 40 makes it lower, slower and rougher (Linville, 2001)."""
    height = rng.normal()
    aging = max(age - 40, 0) / 10
    f0_hz = (115.0 if male else 205.0) * 2 ** ((rng.normal() * 1.6 - 0.6 * aging) / 12)
    return Speaker(
        f0_hz=float(np.clip(f0_hz, 80.0 if male else 150.0, 160.0 if male else 270.0)),
        tract=float((1.0 if male else 1.16) * (1 - 0.025 * np.clip(height, -2, 2))),
        tempo=float(np.clip(rng.normal(1.0 - 0.04 * aging, 0.07), 0.8, 1.2)),
        level_db=float(rng.normal(-30.0, 1.5)),
        tilt_db=float(rng.normal(0.0 if male else -0.5, 0.5)),
        jitter=float(0.001 + 0.001 * rng.random() + 0.001 * aging),
        noise_db=float(rng.uniform(-72.0, -60.0)),
        expressiveness=float(rng.uniform(0.85, 1.2)),
    )


def express(emotion: str, rng: np.random.Generator, *, intensity: float = 1.0) -> Expression:
    """Draw the expression of one clip.

    Args:
        emotion: one of `hf_ser.labels.EMOTIONS`.
        rng: source of the variation between clips.
        intensity: factor on the distance from neutral; 0 is neutral, 1 is the value in `EXPRESSIONS`.

    Raises:
        KeyError: if `emotion` is unknown.
    """
    neutral, target = np.array(astuple(EXPRESSIONS["neutral"])), np.array(astuple(EXPRESSIONS[emotion]))
    values = neutral + intensity * (target - neutral) + rng.normal(size=len(_SPREAD)) * _SPREAD
    return Expression(*np.clip(values, _LEAST, _GREATEST).tolist())


def synthesize(
    emotion: str,
    speaker: Speaker,
    *,
    sampling_rate: int,
    duration_s: float,
    seed: int,
    text: str = "",
    intensity: float = 1.0,
    sung: bool = False,
) -> NDArray[np.float32]:
    """Synthesize one clip.

    Args:
        emotion: one of `hf_ser.labels.EMOTIONS`.
        speaker: the voice.
        sampling_rate: sampling rate in Hz.
        duration_s: duration of the clip, with a short silence at each end, filled with as many syllables as fit.
        seed: random seed of the variation between clips with the same arguments.
        text: determines the syllables, independent of speaker and emotion; it is not pronounced as English.
        intensity: factor on the distance from neutral (0.6 weak, 1.4 strong).
        sung: sing a melody that the text determines, at half the speaking rate and with vibrato.

    Returns:
        Waveform of shape (round(duration_s * sampling_rate),), float32, within -0.95 and 0.95.

    Raises:
        KeyError: if `emotion` is unknown.
        ValueError: if the clip is shorter than 0.3 s or `sampling_rate` is below 8000.
    """
    if duration_s < 0.3 or sampling_rate < 8000:
        raise ValueError(f"got {duration_s} s at {sampling_rate} Hz; expected at least 0.3 s and 8000 Hz")
    rng = np.random.default_rng(seed)
    expression = express(emotion, rng, intensity=intensity * speaker.expressiveness)
    num_samples, hop_length = round(duration_s * sampling_rate), round(HOP_S * sampling_rate)
    times = np.arange(-(-num_samples // hop_length) + 1) * (hop_length / sampling_rate)

    rate_hz = expression.rate_hz * speaker.tempo * (0.5 if sung else 1.0)
    phones, ends, accents, notes = _phones(text, rate_hz, expression.pause_s, duration_s, rng)
    index = np.minimum(np.searchsorted(ends, times), len(ends) - 1)
    f0_hz = _pitch(times, accents[index], notes[index], speaker, expression, sung, rng)
    tracks = _smooth(phones[index], expression.attack_s)
    tracks[:, 1] += 1.5 * gaussian_filter1d(accents[index], 3.0) - 3.0 * times / duration_s

    pulses = _pulses(times, f0_hz, num_samples + 2 * hop_length, sampling_rate, speaker, expression, rng)
    noise = rng.standard_normal(len(pulses), dtype=np.float32)
    waveform = _filter(pulses, noise, tracks, hop_length, sampling_rate, speaker, expression)[:num_samples]

    level = 10 ** ((speaker.level_db + expression.level_db) / 20)
    waveform *= min(level / np.sqrt(np.mean(waveform**2)), 0.9 * PEAK / np.abs(waveform).max())
    hiss = lfilter([1.0], [1.0, -0.8], rng.standard_normal(num_samples, dtype=np.float32))
    waveform += 10 ** (speaker.noise_db / 20) * hiss / np.sqrt(np.mean(hiss**2))
    return np.clip(waveform, -PEAK, PEAK).astype(np.float32)


def _phones(
    text: str, rate_hz: float, pause_s: float, duration_s: float, rng: np.random.Generator
) -> tuple[Array, Array, Array, Array]:
    """Return the timing of the syllables: phones (phones, 8), their ends in s, pitch accents and sung notes."""
    of_text = np.random.default_rng(stable_seed("text", text))
    lead_s, tail_s = rng.uniform(0.04, 0.10, size=2)
    rows, ends, accents, notes = [_REST], [lead_s], [0.0], [0.0]
    while True:
        onset = _ONSETS[of_text.integers(len(_ONSETS))]
        vowel = _VOWELS[of_text.integers(len(_VOWELS))]
        stress, word_ends, note = of_text.random(), of_text.random() < 0.4, _SCALE_ST[of_text.integers(5)]
        syllable_s = (0.75 + 0.5 * stress) * rng.uniform(0.9, 1.1) / rate_hz
        start_s = ends[-1]
        if start_s + syllable_s > duration_s - tail_s and len(rows) > 1:
            break
        shrink = min(1.0, 0.5 * syllable_s / sum(phone[0] for phone in onset))
        for phone in onset:
            rows.append(phone)
            ends.append(ends[-1] + shrink * phone[0])
        rows.append((0.0, 0.0, SILENT_DB, SILENT_DB, 3000.0, *vowel))
        ends.append(min(start_s + syllable_s, duration_s - 0.02))
        accents += [2 * stress - 0.8 + 0.3 * rng.normal()] * (len(onset) + 1)
        notes += [note] * (len(onset) + 1)
        if word_ends:
            rows.append(_REST)
            ends.append(ends[-1] + pause_s)
            accents.append(0.0)
            notes.append(note)
    rows.append(_REST)
    return (
        np.array(rows),
        np.array([*ends, duration_s + 1.0]),
        np.array([*accents, 0.0]),
        np.array([*notes, notes[-1]]),
    )


def _smooth(targets: Array, attack_s: float) -> Array:
    """Smooth the transitions between phones: formants slowly, loudness within the attack time."""
    tracks = targets.copy()
    tracks[:, 1:3] = gaussian_filter1d(targets[:, 1:3], attack_s / HOP_S, axis=0)
    tracks[:, 3] = gaussian_filter1d(targets[:, 3], 0.5)
    tracks[:, 5:] = gaussian_filter1d(targets[:, 5:], 2.0, axis=0)
    return tracks


def _pitch(
    times: Array,
    accents: Array,
    notes: Array,
    speaker: Speaker,
    expression: Expression,
    sung: bool,
    rng: np.random.Generator,
) -> Array:
    """Return f0 in Hz, (frames,): declination, accents and tremor around the mean, or a melody with vibrato."""
    position = times / times[-1] - 0.5
    rate_hz, phase = rng.uniform(5.0, 7.0), rng.uniform(0, 2 * np.pi)
    waver = np.sin(2 * np.pi * rate_hz * times + phase)
    if sung:
        semitones = gaussian_filter1d(notes, 2.0) - 2.0 + (0.35 + expression.tremor_st) * waver
    else:
        semitones = expression.slope_st * position + expression.range_st * gaussian_filter1d(accents, 5.0)
        semitones += expression.tremor_st * waver + 0.3 * gaussian_filter1d(rng.normal(size=len(times)), 3.0)
    return np.clip(speaker.f0_hz * 2 ** ((expression.f0_st + semitones) / 12), 50.0, 700.0)


def _pulses(
    times: Array,
    f0_hz: Array,
    num_samples: int,
    sampling_rate: int,
    speaker: Speaker,
    expression: Expression,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Return glottal pulses of unit mean power, (num_samples,), each distributed over its two nearest samples."""
    phase = np.concatenate([[0.0], np.cumsum(0.5 * (f0_hz[1:] + f0_hz[:-1]) * np.diff(times))])
    cycles = np.arange(1, int(phase[-1]))
    at_s = np.interp(cycles, phase, times)
    period_s = 1.0 / np.interp(at_s, times, f0_hz)
    weak = expression.creak * (cycles % 2)
    at_s = at_s + period_s * (rng.normal(size=len(cycles)) * (expression.jitter + speaker.jitter) + 0.25 * weak)
    shimmer = 1 + 8 * expression.jitter * rng.normal(size=len(cycles))
    height = np.sqrt(sampling_rate * period_s) * (1 - 0.7 * weak) * np.clip(shimmer, 0.3, 1.7)

    position = np.clip(at_s * sampling_rate, 0, num_samples - 2)
    before = position.astype(np.int64)
    share = position - before
    pulses = np.bincount(before, height * (1 - share), num_samples)
    return (pulses + np.bincount(before + 1, height * share, num_samples)).astype(np.float32)


def _filter(
    pulses: NDArray[np.float32],
    noise: NDArray[np.float32],
    tracks: Array,
    hop_length: int,
    sampling_rate: int,
    speaker: Speaker,
    expression: Expression,
) -> NDArray[np.float32]:
    """Filter both sources frame by frame with the moving formants; overlap-add the frames, (frames * hop_length,)."""
    num_frames, fft_length = len(tracks), 4 * hop_length  # half of it is for the decay of a frame
    window = np.sin(np.pi * np.arange(2 * hop_length) / (2 * hop_length)).astype(np.float32) ** 2
    frequencies = scipy.fft.rfftfreq(fft_length, 1 / sampling_rate).astype(np.float32)
    voiced, breathed = (_spectra(source, num_frames, window, fft_length) for source in (pulses, noise))

    tilt_db = expression.tilt_db + speaker.tilt_db
    voicing = 10 ** (tracks[:, 1] / 20)
    aspiration = 10 ** (tracks[:, 2] / 20) + voicing * 10 ** (expression.breath_db / 20)
    spectra = voiced * _column(voicing) * _slope(frequencies, tilt_db)
    spectra += breathed * _column(aspiration) * _slope(frequencies, 0.6 * tilt_db)
    spectra *= _formants(tracks[:, 5:], frequencies, speaker, expression)

    hissing = tracks[:, 3] > SILENT_DB + 5
    octaves = np.log2(np.maximum(frequencies, 50.0) / _column(tracks[hissing, 4] * speaker.tract**0.5))
    spectra[hissing] += breathed[hissing] * _column(0.12 * 10 ** (tracks[hissing, 3] / 20)) / (1 + (2 * octaves) ** 2)

    frames = scipy.fft.irfft(spectra, fft_length, axis=1)
    output = np.zeros((num_frames + 3) * hop_length, dtype=np.float32)
    for start in range(0, fft_length, hop_length):
        output[start : start + num_frames * hop_length] += frames[:, start : start + hop_length].ravel()
    return output[hop_length:]


def _spectra(
    source: NDArray[np.float32], num_frames: int, window: NDArray[np.float32], fft_length: int
) -> NDArray[np.complex64]:
    """Return the spectra of half-overlapping frames, (frames, bins); frame i is centred on sample i * hop_length."""
    hop_length = len(window) // 2
    padded = np.zeros((num_frames + 1) * hop_length, dtype=np.float32)
    kept = source[: num_frames * hop_length]
    padded[hop_length : hop_length + len(kept)] = kept
    blocks = padded.reshape(num_frames + 1, hop_length)
    return scipy.fft.rfft(np.hstack([blocks[:-1], blocks[1:]]) * window, fft_length, axis=1)


def _column(values: Array) -> NDArray[np.float32]:
    return values.astype(np.float32)[:, None]


def _slope(frequencies: NDArray[np.float32], db_per_octave: float) -> NDArray[np.complex64]:
    """Return a causal low-pass, (bins,): the slope above 300 Hz, another pole at 6 kHz, a high-pass at 60 Hz."""
    edges = frequencies / (frequencies + 60.0) / (1 + 1j * frequencies / 6000.0)
    return (edges * (1 + 1j * frequencies / 300.0) ** (db_per_octave / 6.02)).astype(np.complex64)


def _formants(
    targets: Array, frequencies: NDArray[np.float32], speaker: Speaker, expression: Expression
) -> NDArray[np.complex64]:
    """Return the response of the vocal tract, (frames, bins): parallel resonances of alternating sign.

    The sign alternates because neighbouring resonances have opposite phase between their peaks and would cancel.
    Resonances from the fourth hardly move in speech and are fixed at those of a tube, 1000 Hz apart.
    """
    scale = speaker.tract * expression.formants
    moving = scale * (_SCHWA + expression.clarity * (targets - _SCHWA))
    response = np.zeros(len(frequencies), dtype=np.complex64)
    for number, centre in enumerate(np.arange(3500.0 * scale, frequencies[-1], 1000.0 * scale)):
        response += (-1) ** (number + 1) / (1 + 1j * (frequencies - centre) / (40.0 + 0.025 * centre))
    total = np.tile(response, (len(targets), 1))
    for number, bandwidth_hz in enumerate(_BANDWIDTHS_HZ):
        offsets = (frequencies - _column(np.maximum(moving[:, number], 180.0))) * np.float32(2 / bandwidth_hz)
        total += np.complex64((-1) ** number) / (1 + np.complex64(1j) * offsets)
    return total
