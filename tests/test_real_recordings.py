"""The real recordings behind HF_SER_CORPORA: names, oddities and samples, against soundfile and librosa."""

import csv
import hashlib
import os
import wave
from collections import Counter
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile as sf

from hf_ser.audio import decode, load_audio, trim_silence
from hf_ser.corpora import CORPORA
from hf_ser.corpora.crema_d import demographics
from hf_ser.remote_code.flac import decode_flac16

# RAVDESS speech in stereo, left equal to right (CORPORA.md).
STEREO = {
    "03-01-02-01-01-02-01",
    "03-01-08-01-02-02-01",
    "03-01-02-01-02-02-05",
    "03-01-03-01-02-01-20",
    "03-01-06-01-01-02-20",
}
# Identical bytes: one duplicate under one label, three pairs under conflicting labels.
SAME_BYTES = [
    ("ravdess/Actor_07/03-01-03-01-02-01-07", "ravdess/Actor_07/03-01-03-01-02-02-07"),
    ("crema_d/AudioWAV/1006_TIE_HAP_XX", "crema_d/AudioWAV/1006_TIE_NEU_XX"),
    ("crema_d/AudioWAV/1013_WSI_DIS_XX", "crema_d/AudioWAV/1013_WSI_SAD_XX"),
    ("crema_d/AudioWAV/1017_IWW_ANG_XX", "crema_d/AudioWAV/1017_IWW_FEA_XX"),
]


@pytest.fixture(scope="module")
def recordings(corpora_dir):
    """Corpus -> its FLAC files, sorted."""
    return {name: sorted((corpora_dir / name).rglob("*.flac")) for name in ("ravdess", "crema_d", "tess")}


@pytest.fixture(scope="module")
def sample(recordings):
    """40 of the recordings: two of the stereo ones, and others from all over the three corpora."""
    everything = [path for paths in recordings.values() for path in paths if path.stem not in STEREO]
    stereo = [path for path in recordings["ravdess"] if path.stem in STEREO]
    chosen = np.random.default_rng(0).choice(len(everything), 38, replace=False)
    return stereo[:2] + [everything[index] for index in chosen]


@pytest.fixture(scope="module")
def originals(corpora_dir):
    return corpora_dir / "odd_originals"


def pcm16(path):
    """The 16-bit samples of a WAV, read by the standard library."""
    with wave.open(str(path), "rb") as file:
        assert file.getsampwidth() == 2
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, file.getnchannels())


# --- names ------------------------------------------------------------------------------------------------------


@pytest.mark.corpora
def test_every_name_parses(recordings):
    assert {name: len(paths) for name, paths in recordings.items()} == {"ravdess": 1440, "crema_d": 1621, "tess": 558}
    for name, paths in recordings.items():
        assert len({CORPORA[name].parse(path).id for path in paths}) == len(paths)


@pytest.mark.corpora
def test_every_odd_original_parses(originals):
    paths = {name: sorted((originals / name).rglob("*.wav")) for name in ("ravdess", "crema_d", "tess")}
    assert {name: len(found) for name, found in paths.items()} == {"ravdess": 5, "crema_d": 9, "tess": 5}
    utterances = {path.stem: CORPORA[name].parse(path) for name, found in paths.items() for path in found}
    assert utterances["1040_ITH_SAD_X"].stem == "1040_ITH_SAD_XX"
    assert (utterances["OA_bite_neutral"].stem, utterances["OA_bite_neutral"].speaker) == (
        "OAF_bite_neutral",
        "tess_OAF",
    )
    assert (utterances["YAF_dog_ps"].emotion, utterances["YAF_dog_ps"].age) == ("surprised", 26)


@pytest.mark.corpora
def test_published_counts_are_those_of_the_files(recordings):
    counts = {}
    for name, paths in recordings.items():
        utterances = [CORPORA[name].parse(path) for path in paths]
        counts[name] = Counter((each.speaker, each.emotion) for each in utterances)
    assert counts["ravdess"] == CORPORA["ravdess"].published_counts("speech")
    actors = {f"crema_d_{actor}" for actor in range(1001, 1021)}
    published = CORPORA["crema_d"].published_counts("speech").items()
    assert counts["crema_d"] == {key: count for key, count in published if key[0] in actors}
    # 40 of TESS's 200 words, less the two recordings that are among the odd originals only.
    whole = {key: 40 for key in CORPORA["tess"].published_counts("speech")}
    assert counts["tess"] == whole | {("tess_OAF", "fearful"): 39, ("tess_YAF", "fearful"): 39}


@pytest.mark.corpora
def test_emo_db_is_whole(corpora_dir):
    paths = sorted((corpora_dir / "emodb").rglob("*.flac"))
    utterances = [CORPORA["emodb"].parse(path) for path in paths]
    assert len({each.id for each in utterances}) == 535
    counts = Counter((each.speaker, each.emotion) for each in utterances)
    assert counts == CORPORA["emodb"].published_counts("speech")
    infos = [sf.info(path) for path in paths]
    assert {(info.samplerate, info.channels) for info in infos} == {(16_000, 1)}
    durations_s = [info.duration for info in infos]
    assert 1.22 < min(durations_s) and max(durations_s) < 8.99


@pytest.mark.corpora
def test_crema_d_demographics_are_those_of_the_csv(corpora_dir):
    with (corpora_dir / "crema_d" / "VideoDemographics.csv").open(newline="", encoding="utf-8") as file:
        rows = {int(row["ActorID"]): (int(row["Age"]), row["Sex"].lower()) for row in csv.DictReader(file)}
    assert {actor: demographics(actor) for actor in range(1001, 1092)} == rows


# --- odd originals at the audio door ----------------------------------------------------------------------------


@pytest.mark.corpora
def test_every_16_bit_sample_of_the_originals_is_exact(originals):
    checked = 0
    for path in sorted(originals.rglob("*.wav")):
        if path.read_bytes()[:4] == b"RIFF":
            decoded = decode(path)
            assert decoded.samples.dtype == np.int16
            assert np.array_equal(decoded.samples, pcm16(path))
            if decoded.sampling_rate == 16_000:
                assert np.array_equal(load_audio(path) * 32768, pcm16(path)[:, 0])
            checked += 1
    assert checked == 17


@pytest.mark.corpora
@pytest.mark.parametrize(("stem", "num_samples"), [("YAF_germ_angry", 53_847), ("YAF_neat_fear", 40_156)])
def test_aiff_data_named_wav(originals, stem, num_samples):
    (path,) = originals.rglob(f"{stem}.wav")
    content = path.read_bytes()
    assert (content[:4], content[8:12]) == (b"FORM", b"AIFF")
    decoded = decode(path)
    assert (decoded.samples.shape, decoded.sampling_rate) == ((num_samples, 1), 24_414)
    start = content.index(b"SSND") + 16  # past the chunk's size, offset and block size
    stored = np.frombuffer(content[start : start + 2 * num_samples], ">i2")
    assert np.array_equal(decoded.samples[:, 0], stored)
    assert abs(load_audio(path).size - num_samples * 16_000 / 24_414) <= 1


@pytest.mark.corpora
def test_the_96_khz_file(originals):
    (path,) = originals.rglob("OAF_food_fear.wav")
    assert (decode(path).sampling_rate, decode(path).samples.shape) == (96_000, (145_172, 1))
    waveform = load_audio(path)
    assert abs(waveform.size - 145_172 / 6) <= 1
    assert np.abs(waveform).max() > 0.01


@pytest.mark.corpora
@pytest.mark.parametrize("stem", ["03-01-02-01-01-02-01", "03-01-06-01-01-02-20"])
def test_stereo_originals_hold_the_same_channel_twice(originals, stem):
    (path,) = originals.rglob(f"{stem}.wav")
    decoded = decode(path)
    assert decoded.samples.shape[1] == 2
    left, right = decoded.samples.T
    assert np.array_equal(left, right)
    mono = load_audio(path, target_sampling_rate=48_000)
    assert np.array_equal(mono, left / np.float32(32768))


@pytest.mark.corpora
def test_the_silent_file_decodes_to_zeros(originals):
    (path,) = originals.rglob("1076_MTI_SAD_XX.wav")
    for waveform in (load_audio(path), load_audio(path, trim_db=20, normalize=True)):
        assert waveform.size == 41_108  # 2.57 s
        assert not waveform.any()


@pytest.mark.corpora
@pytest.mark.parametrize(("first", "second"), SAME_BYTES)
def test_identical_recordings(originals, first, second):
    digests = [hashlib.sha256((originals / f"{stem}.wav").read_bytes()).hexdigest() for stem in (first, second)]
    assert digests[0] == digests[1]
    assert np.array_equal(load_audio(originals / f"{first}.wav"), load_audio(originals / f"{second}.wav"))
    corpus = first.split("/")[0]
    emotions = [CORPORA[corpus].parse(originals / f"{stem}.wav").emotion for stem in (first, second)]
    assert (emotions[0] == emotions[1]) is (corpus == "ravdess")


@pytest.mark.corpora
def test_originals_equal_their_flac(corpora_dir, originals):
    pairs = [
        (path, twin)
        for path in originals.rglob("*.wav")
        if (twin := (corpora_dir / path.relative_to(originals)).with_suffix(".flac")).is_file()
    ]
    assert len(pairs) == 13
    for path, twin in pairs:
        assert np.array_equal(decode(path).samples, decode(twin).samples)
        assert np.array_equal(load_audio(path), load_audio(twin))


# --- FLAC -------------------------------------------------------------------------------------------------------


@pytest.mark.corpora
def test_rates_and_channels_of_all_recordings(recordings):
    stereo = set()
    rates = {"ravdess": 48_000, "crema_d": 16_000, "tess": 24_414}
    for name, paths in recordings.items():
        for path in paths:
            info = sf.info(str(path))
            assert (info.samplerate, info.subtype) == (rates[name], "PCM_16")
            if info.channels == 2:
                stereo.add(path.stem)
    assert stereo == STEREO


@pytest.mark.corpora
def test_the_fast_path_decodes_what_libsndfile_decodes(sample):
    for path in sample:
        expected, rate = sf.read(path, dtype="int16", always_2d=True)
        decoded, decoded_rate = decode_flac16(path.read_bytes())
        assert decoded_rate == rate
        assert np.array_equal(decoded, expected)
        assert np.array_equal(decode(path).samples, expected)


@pytest.mark.corpora
def test_load_audio_agrees_with_librosa(sample):
    for path in sample:
        waveform = load_audio(path)
        expected, _ = librosa.load(path, sr=16_000)
        assert abs(waveform.size - expected.size) <= 1
        common = min(waveform.size, expected.size)
        assert np.abs(waveform[:common] - expected[:common]).max() <= 1e-6


@pytest.mark.corpora
@pytest.mark.parametrize("trim_db", [20, 30, 40])
def test_trimming_agrees_with_librosa(sample, trim_db):
    shorter = 0
    for path in sample:
        waveform = load_audio(path)
        expected, _ = librosa.effects.trim(waveform, top_db=trim_db)
        assert np.array_equal(trim_silence(waveform, trim_db), expected)
        shorter += expected.size < waveform.size
    assert shorter > 10


@pytest.mark.corpora
def test_trimming_at_60_db_agrees_with_librosa(recordings):
    (path,) = (path for path in recordings["ravdess"] if path.stem == "03-01-02-02-02-02-09")
    waveform = load_audio(path)
    assert np.array_equal(trim_silence(waveform, 60), librosa.effects.trim(waveform, top_db=60)[0])


# --- the guard in conftest.py -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("require", "words", "returncode", "reason"),
    [
        ("1", ["-n", "2", "-k", "demographics or silent"], 1, "2 tests marked corpora were skipped"),
        ("1", ["-n", "0", "-k", "silent"], 1, "1 tests marked corpora were skipped"),
        ("1", ["-n", "0", "-k", "no_such_test"], 1, "no test marked corpora passed"),
        ("0", ["-n", "0", "-k", "silent"], 0, None),
    ],
)
def test_required_recordings_that_are_absent_fail_the_session(launch, tmp_path, require, words, returncode, reason):
    changes = dict.fromkeys(name for name in os.environ if name.startswith(("PYTEST_", "HF_SER_REQUIRE_")))
    changes |= {"HF_SER_CORPORA": str(tmp_path / "none"), "HF_SER_REQUIRE_CORPORA": require}
    command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "corpora", *words, __file__]
    done = launch(*command, env=changes, cwd=Path(__file__).parents[1], check=False)
    assert done.returncode == returncode, done.stdout + done.stderr
    if reason is None:
        assert "HF_SER_REQUIRE_CORPORA" not in done.stdout
    else:
        assert f"FAILED: HF_SER_REQUIRE_CORPORA=1, but {reason}" in done.stdout
