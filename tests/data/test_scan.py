"""The scan: what is kept, what is quarantined and why, what is stored, and how a broken scan goes on."""

import errno
import hashlib
import io
import itertools
import json
import os
import random
import wave
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import soxr

from hf_ser.data import scan as scans
from hf_ser.data.examination import Limits, ScanError, content_sha256
from hf_ser.data.found_recordings import find
from hf_ser.data.scan import scan
from hf_ser.errors import SerError

PACK = 32  # stems in a pack


def take(emotion: int, statement: int = 1, repetition: int = 1, intensity: int = 1, actor: int = 1) -> str:
    """The stem of a RAVDESS recording."""
    return f"03-01-{emotion:02d}-{intensity:02d}-{statement:02d}-{repetition:02d}-{actor:02d}"


def takes(number: int) -> list[str]:
    """The first stems of RAVDESS in path order."""
    everything = itertools.product(range(1, 25), range(1, 9), (1, 2), (1, 2), (1, 2))
    stems = [
        take(emotion, statement, repetition, intensity, actor)
        for actor, emotion, intensity, statement, repetition in everything
        if (emotion, intensity) != (1, 2)
    ]
    return stems[:number]


def scan_ravdess(folder: Path, packs: Path, num_proc: int = 1, limits: Limits | None = None) -> scans.ScanResult:
    return scan(find({"ravdess": folder}), packs, limits=limits, num_proc=num_proc, progress=False)


def reasons(result: scans.ScanResult) -> dict[str, str]:
    return {item.path: item.reason for item in result.quarantined}


def kept(result: scans.ScanResult) -> list[str]:
    return [clip.utterance.id for clip in result.clips]


def stored(result: scans.ScanResult, packs: Path) -> dict[str, bytes]:
    """The bytes that were stored for every clip kept."""
    return {
        clip.utterance.id: (packs / clip.pack).read_bytes()[clip.offset : clip.offset + clip.size]
        for clip in result.clips
    }


# --- what is quarantined


@pytest.fixture(scope="module")
def odd(tmp_path_factory, noise, encode, put) -> tuple[Path, dict[str, str]]:
    """A folder with every kind of file, and what each must come to ("" is kept)."""
    folder = tmp_path_factory.mktemp("odd") / "ravdess"
    good = encode(noise(1))
    flac = encode(noise(2), format="FLAC")
    with_nan, with_inf = noise(3).astype(np.float32) / 32768, noise(4).astype(np.float32) / 32768
    with_nan[100], with_inf[7] = np.nan, -np.inf
    opposite = noise(5, channels=2)
    opposite[:, 1] = -opposite[:, 0]
    just_silent, just_loud = np.full(8000, -32, np.int16), np.zeros(8000, np.int16)
    just_loud[17] = -33  # 20 log10(33 / 32768) is -59.94 dBFS
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 123456\n"
    files: list[tuple[str, bytes, str]] = [
        (f"Actor_01/{take(1)}.wav", good, ""),
        (f"Actor_01/{take(1, 2)}.flac", flac, ""),
        (f"Actor_01/{take(1, 2, 2)}.WAV", encode(noise(6, 4800)), ""),  # 0.3 s to the sample
        (f"Actor_01/{take(2)}.wav", encode(np.zeros(41_120, np.int16)), "silent"),
        (f"Actor_01/{take(2, 2)}.wav", encode(just_silent), "silent"),
        (f"Actor_01/{take(2, 1, 2)}.wav", encode(just_loud), ""),
        (f"Actor_01/{take(2, 2, 2)}.wav", encode(opposite), "silent"),  # the channels cancel out
        (f"Actor_01/{take(3)}.wav", b"", "empty"),
        (f"Actor_01/{take(3, 2)}.wav", encode(np.zeros(0, np.int16)), "empty"),  # a header and no samples
        (f"Actor_01/{take(3, 1, 2)}.wav", good[:44], "truncated"),  # a header that promises samples
        (f"Actor_01/{take(3, 2, 2)}.wav", good[:20], "undecodable"),  # half a header
        (f"Actor_01/{take(4)}.wav", good[:-100], "truncated"),
        (f"Actor_01/{take(4, 2)}.flac", flac[:-100], "truncated"),
        (f"Actor_01/{take(4, 1, 2)}.wav", b"404: file not found\n" * 50, "undecodable"),
        (f"Actor_01/{take(4, 2, 2)}.wav", pointer, "lfs_pointer"),
        (f"Actor_01/{take(5)}.wav", encode(with_nan, subtype="FLOAT"), "not_finite"),
        (f"Actor_01/{take(5, 2)}.wav", encode(with_inf, subtype="FLOAT"), "not_finite"),
        (f"Actor_01/{take(5, 1, 2)}.wav", encode(noise(7, 4799)), "too_short"),
        (f"Actor_01/{take(5, 2, 2)}.wav", encode(noise(8, 12_000), sampling_rate=48_000), "too_short"),
        (f"Actor_02/{take(6, actor=2)}.wav", encode(noise(9)), "conflicting_labels"),
        (f"Actor_02/{take(7, actor=2)}.wav", encode(noise(9)), "conflicting_labels"),
        (f"Actor_02/{take(6, 2, actor=2)}.wav", encode(noise(9)), "conflicting_labels"),
        (f"Actor_02/{take(8, actor=2)}.wav", encode(noise(10)), ""),
        (f"Actor_02/{take(8, 2, actor=2)}.wav", encode(noise(10)), "duplicate_audio"),
        (f"nested/Actor_01/{take(1)}.wav", good, "duplicate_stem"),
        ("Actor_01/03-01-09-01-01-01-01.wav", good, "name"),  # no such emotion
        ("Actor_01/noise.wav", good, "name"),
        (f"Actor_01/{take(6)}.mp3", good, "name"),  # no corpus has MP3: reported, not passed over
        (f"Actor_01/{take(7)}.aiff", good, "name"),
    ]
    for path, content, _ in files:
        put(folder / path, content)
    (folder / f"Actor_01/{take(8)}.wav").symlink_to("nowhere.wav")
    (folder / f"Actor_01/{take(8, 2)}.wav").symlink_to(f"{take(8, 2)}.wav")  # to itself: exists, cannot be opened
    for path in ("readme.txt", "Actor_01/notes.csv"):
        put(folder / path, b"no recording")
    for path in (f".git/{take(1)}.wav", f"Actor_01/.cache/deep/{take(1, 2)}.wav"):
        put(folder / path, good)
    fates = {path: fate for path, _, fate in files}
    return folder, fates | {f"Actor_01/{take(8)}.wav": "not_found", f"Actor_01/{take(8, 2)}.wav": "not_found"}


@pytest.fixture(scope="module")
def odd_result(odd, tmp_path_factory) -> scans.ScanResult:
    return scan_ravdess(odd[0], tmp_path_factory.mktemp("odd_packs"))


def test_every_odd_file_is_quarantined_with_its_reason(odd, odd_result):
    expected = {path: fate for path, fate in odd[1].items() if fate}
    assert reasons(odd_result) == expected
    assert len(odd_result.quarantined) == len(expected)
    assert set(expected.values()) == {
        *("silent", "empty", "truncated", "undecodable", "lfs_pointer", "not_finite", "too_short", "not_found"),
        *("conflicting_labels", "duplicate_audio", "duplicate_stem", "name"),
    }


def test_every_good_file_is_kept(odd, odd_result):
    folder, fates = odd
    expected = sorted(path for path, fate in fates.items() if not fate)
    assert sorted(clip.utterance.path.relative_to(folder).as_posix() for clip in odd_result.clips) == expected
    assert kept(odd_result) == sorted(f"ravdess/{Path(path).stem}" for path in expected)


def test_every_file_is_in_exactly_one_list(odd, odd_result):
    folder, fates = odd
    in_lists = [clip.utterance.path.relative_to(folder).as_posix() for clip in odd_result.clips]
    in_lists += [item.path for item in odd_result.quarantined]
    assert sorted(in_lists) == sorted(fates)


def test_files_that_are_no_recordings_are_counted(odd):
    found = find({"ravdess": odd[0]})
    assert found.other_files == {"ravdess": 2}
    assert sum(len(copies) for copies in found.copies) + len(found.refused) == len(odd[1])


def test_details_say_what_was_got_and_expected(odd_result):
    details = {item.path: item.detail for item in odd_result.quarantined}
    assert details[f"Actor_01/{take(3)}.wav"] == "got 0 bytes; expected an audio file"
    assert details[f"Actor_01/{take(3, 2)}.wav"] == "got 0 samples; expected at least 1 sample"
    assert (
        details[f"Actor_01/{take(4)}.wav"]
        == "got 7950 of 8000 frames (100 bytes are missing); expected the whole recording"
    )
    assert details[f"Actor_01/{take(4, 2, 2)}.wav"].startswith("got a Git LFS pointer")
    assert details[f"Actor_01/{take(5)}.wav"] == "got 1 NaN or infinite samples of 8000; expected finite samples"
    assert details[f"Actor_01/{take(5, 2, 2)}.wav"] == "got 0.250 s; expected at least 0.3 s"
    assert details[f"Actor_01/{take(2, 2)}.wav"] == (
        "got a peak of 0.000977 of full scale; expected at least -60 dBFS"
    )
    assert (
        details[f"Actor_02/{take(6, actor=2)}.wav"]
        == f"same samples as ravdess/{take(6, 2, actor=2)} (fearful), ravdess/{take(7, actor=2)} (disgust)"
    )
    assert details[f"Actor_02/{take(8, 2, actor=2)}.wav"] == f"same samples as ravdess/{take(8, actor=2)} (surprised)"
    assert details[f"nested/Actor_01/{take(1)}.wav"] == f"same name as Actor_01/{take(1)}.wav"
    assert details["Actor_01/noise.wav"].startswith("got the stem 'noise'; expected seven two-digit codes")
    assert details[f"Actor_01/{take(6)}.mp3"] == "got the suffix '.mp3'; expected one of .wav, .flac"


def test_a_quarantined_file_carries_its_id_unless_its_name_is_the_fault(odd_result):
    for item in odd_result.quarantined:
        named = item.utterance and item.utterance.id
        assert named == (None if item.reason == "name" else f"ravdess/{Path(item.path).stem}")
        assert item.corpus == "ravdess"


def test_limits_decide_what_is_too_short_and_what_is_silent(odd, odd_result, tmp_path):
    loose = reasons(scan_ravdess(odd[0], tmp_path, limits=Limits(min_duration_s=0.2, silence_dbfs=-61)))
    changed = {path for path, reason in reasons(odd_result).items() if loose.get(path) != reason}
    assert changed == {
        f"Actor_01/{take(5, 1, 2)}.wav",
        f"Actor_01/{take(5, 2, 2)}.wav",
        f"Actor_01/{take(2, 2)}.wav",
    }


def test_a_flac_with_a_damaged_header_is_quarantined(tmp_path, noise, encode, put):
    content = bytearray(encode(noise(1, channels=8), format="FLAC"))
    content[21] |= 0x0F  # the number of samples is 36 bits wide ...
    content[22:26] = b"\xff" * 4  # ... and all of them are set: a terabyte
    put(tmp_path / "in" / f"{take(1)}.flac", bytes(content))
    put(tmp_path / "in" / f"{take(2)}.wav", encode(noise(2)))
    result = scan_ravdess(tmp_path / "in", tmp_path / "packs")
    assert reasons(result) == {f"{take(1)}.flac": "truncated"}
    assert kept(result) == [f"ravdess/{take(2)}"]


def test_a_folder_whose_name_is_not_utf8_is_scanned(tmp_path, noise, encode):
    folder = os.fsencode(tmp_path) + b"/f\xfcr"  # Latin-1, as old archives unpack
    try:
        os.mkdir(folder)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    with open(folder + f"/{take(1)}.wav".encode(), "wb") as file:
        file.write(encode(noise(1)))
    assert kept(scan_ravdess(tmp_path, tmp_path / "packs")) == [f"ravdess/{take(1)}"]


# --- copies and identical audio


def test_a_corpus_nested_in_itself_is_counted_once(tmp_path, noise, encode, put):
    stems = takes(5)
    for seed, stem in enumerate(stems):
        put(tmp_path / "in/Actor_01" / f"{stem}.wav", encode(noise(seed)))
        put(tmp_path / "in/audio_speech_actors_01-24/Actor_01" / f"{stem}.wav", encode(noise(seed)))
    result = scan_ravdess(tmp_path / "in", tmp_path / "packs")
    assert kept(result) == [f"ravdess/{stem}" for stem in stems]
    assert reasons(result) == {f"audio_speech_actors_01-24/Actor_01/{stem}.wav": "duplicate_stem" for stem in stems}


@pytest.mark.parametrize(("damage", "reason"), [(b"", "empty"), (b"no sound", "undecodable")])
def test_the_first_copy_that_can_be_used_is_kept(tmp_path, noise, encode, put, damage, reason):
    put(tmp_path / "in/a" / f"{take(1)}.wav", damage)
    put(tmp_path / "in/b" / f"{take(1)}.wav", encode(noise(1)))
    put(tmp_path / "in/c" / f"{take(1)}.flac", encode(noise(2), format="FLAC"))
    result = scan_ravdess(tmp_path / "in", tmp_path / "packs")
    assert [clip.utterance.path for clip in result.clips] == [tmp_path / "in/b" / f"{take(1)}.wav"]
    assert reasons(result) == {f"a/{take(1)}.wav": reason, f"c/{take(1)}.flac": "duplicate_stem"}
    assert result.quarantined[1].detail == f"same name as b/{take(1)}.wav"


def test_a_stem_whose_copies_are_all_damaged_is_quarantined_with_each_reason(tmp_path, noise, encode, put):
    put(tmp_path / "in/a" / f"{take(1)}.wav", b"")
    put(tmp_path / "in/b" / f"{take(1)}.wav", encode(np.zeros(8000, np.int16)))
    result = scan_ravdess(tmp_path / "in", tmp_path / "packs")
    assert result.clips == []
    assert reasons(result) == {f"a/{take(1)}.wav": "empty", f"b/{take(1)}.wav": "silent"}


def test_one_performance_in_two_releases_is_kept_once(tmp_path, noise, encode, put):
    """RAVDESS's soundtracks (01) are the audio files (03) in another encoding, rate and length."""
    video, audio = (take(5).replace("03-", modality, 1) for modality in ("01-", "03-"))
    put(tmp_path / "in/a" / f"{video}.wav", encode(noise(1, 24_000), sampling_rate=48_000))
    put(tmp_path / "in/b" / f"{audio}.wav", encode(noise(2)))
    put(tmp_path / "in/c" / f"{audio}.wav", encode(noise(2)))
    put(tmp_path / "in/c" / f"{video}.flac", encode(noise(3), format="FLAC"))
    put(tmp_path / "in/a" / f"{take(6)}.wav", encode(noise(4)))
    result = scan_ravdess(tmp_path / "in", tmp_path / "packs")
    assert kept(result) == [f"ravdess/{audio}", f"ravdess/{take(6)}"]
    performance, stem = "duplicate_performance", "duplicate_stem"
    assert reasons(result) == {f"a/{video}.wav": performance, f"c/{audio}.wav": stem, f"c/{video}.flac": performance}
    details = {item.path: item.detail for item in result.quarantined}
    assert details[f"a/{video}.wav"] == f"same performance as b/{audio}.wav"
    assert {item.utterance.performance for item in result.quarantined} == {audio[3:]}


def test_the_other_release_is_kept_where_the_preferred_one_cannot_be_used(tmp_path, noise, encode, put):
    video = take(5).replace("03-", "01-", 1)
    put(tmp_path / "in" / f"{video}.wav", encode(noise(1)))
    put(tmp_path / "in" / f"{take(5)}.wav", b"")
    result = scan_ravdess(tmp_path / "in", tmp_path / "packs")
    assert kept(result) == [f"ravdess/{video}"] and reasons(result) == {f"{take(5)}.wav": "empty"}


def test_the_hash_of_a_recording_is_that_of_its_mono_samples(tmp_path, noise, encode, put):
    samples = noise(1)
    expected = hashlib.sha256(samples.tobytes()).hexdigest()
    twice = np.stack([samples, samples], axis=1)
    for mono in (samples, samples[:, None], twice, (twice / np.float32(32768)).astype(np.float32)):
        assert content_sha256(mono) == expected
    path = put(tmp_path / "x.wav", encode(twice))
    assert scans.examine(path, Limits())[1] == expected


def test_known_misnamings_are_copies_of_the_right_name(tmp_path, noise, encode, put):
    for seed, name in enumerate(("1040_ITH_SAD_X.wav", "1040_ITH_SAD_XX.wav")):
        put(tmp_path / "crema_d" / name, encode(noise(seed)))
    for seed, name in enumerate(("OA_bite_neutral.wav", "oaf_BITE_Neutral.wav")):
        put(tmp_path / "tess" / name, encode(noise(10 + seed)))
    folders = {"crema_d": tmp_path / "crema_d", "tess": tmp_path / "tess"}
    result = scan(find(folders), tmp_path / "packs", num_proc=1, progress=False)
    assert kept(result) == ["crema_d/1040_ITH_SAD_XX", "tess/OAF_bite_neutral"]
    assert reasons(result) == {"1040_ITH_SAD_XX.wav": "duplicate_stem", "oaf_BITE_Neutral.wav": "duplicate_stem"}


def test_identical_audio_is_found_across_containers_rates_of_wrapping_and_folders(tmp_path, noise, encode, put):
    samples = noise(1)
    stereo = np.stack([samples, samples], axis=1)
    contents = {
        f"a/{take(3, 2, 2)}.wav": encode(samples),
        f"b/{take(3)}.flac": encode(samples, format="FLAC"),
        f"c/{take(3, 1, 2)}.wav": encode(samples, format="AIFF"),
        f"d/{take(3, 2)}.wav": encode(stereo),
        f"e/{take(3, 1, 1, 2)}.wav": encode(samples.astype(np.float32) / 32768, subtype="FLOAT"),
        f"f/{take(3, 1, 2, 2)}.flac": encode(samples / 32768, format="FLAC", subtype="PCM_24"),
    }
    for path, content in contents.items():
        put(tmp_path / "in" / path, content)
    result = scan_ravdess(tmp_path / "in", tmp_path / "packs")
    assert kept(result) == [f"ravdess/{take(3)}"]  # the first id, not the first path
    assert reasons(result) == {path: "duplicate_audio" for path in contents if not path.startswith("b/")}


def test_identical_audio_is_found_across_corpora(tmp_path, noise, encode, put):
    put(tmp_path / "ravdess" / f"{take(3)}.wav", encode(noise(1)))  # happy in both
    put(tmp_path / "crema_d" / "1001_DFA_HAP_XX.wav", encode(noise(1)))
    put(tmp_path / "ravdess" / f"{take(4)}.wav", encode(noise(2)))  # sad and angry
    put(tmp_path / "crema_d" / "1001_DFA_ANG_XX.wav", encode(noise(2)))
    folders = {"ravdess": tmp_path / "ravdess", "crema_d": tmp_path / "crema_d"}
    result = scan(find(folders), tmp_path / "packs", num_proc=1, progress=False)
    assert kept(result) == ["crema_d/1001_DFA_HAP_XX"]
    assert reasons(result) == {
        f"{take(3)}.wav": "duplicate_audio",
        f"{take(4)}.wav": "conflicting_labels",
        "1001_DFA_ANG_XX.wav": "conflicting_labels",
    }


def test_audio_that_differs_in_one_sample_is_kept_twice(tmp_path, noise, encode, put):
    samples = noise(1)
    put(tmp_path / "in" / f"{take(3)}.wav", encode(samples))
    samples[-1] += 1
    put(tmp_path / "in" / f"{take(3, 2)}.wav", encode(samples))
    assert len(scan_ravdess(tmp_path / "in", tmp_path / "packs").clips) == 2


# --- what is stored


def test_the_hash_is_of_the_mono_16_bit_samples(corpora, tmp_path):
    result = scan(find(corpora), tmp_path, num_proc=1, progress=False)
    assert len(result.clips) == 160
    for clip in result.clips:
        with wave.open(str(clip.utterance.path)) as file:
            assert file.getnchannels() == 1 and file.getsampwidth() == 2
            samples = file.readframes(file.getnframes())
            assert clip.duration == file.getnframes() / file.getframerate()
        assert clip.sha256 == hashlib.sha256(samples).hexdigest()


def test_the_hash_of_stereo_is_of_the_rounded_mean(tmp_path, noise, encode, put):
    stereo = noise(1, channels=2)
    put(tmp_path / "in" / f"{take(1)}.wav", encode(stereo))
    (clip,) = scan_ravdess(tmp_path / "in", tmp_path / "packs").clips
    mean = np.array([round((int(left) + int(right)) / 2) for left, right in stereo], dtype="<i2")
    assert clip.sha256 == hashlib.sha256(mean.tobytes()).hexdigest()


@pytest.mark.parametrize("rate", [8_000, 16_000, 24_414, 44_100, 48_000, 96_000])
def test_stored_flac_decodes_to_the_resampled_samples(tmp_path, noise, encode, put, rate):
    samples = noise(rate, rate // 2)
    put(tmp_path / "in" / f"{take(1)}.wav", encode(samples, rate))
    result = scan_ravdess(tmp_path / "in", tmp_path / "packs")
    (content,) = stored(result, tmp_path / "packs").values()
    decoded, decoded_rate = sf.read(io.BytesIO(content), dtype="int16", always_2d=True)
    assert content[:4] == b"fLaC" and decoded_rate == 16_000 and decoded.shape[1] == 1
    expected = samples
    if rate != 16_000:
        resampled = soxr.resample(samples.astype(np.float32) / 32768, rate, 16_000, quality="HQ")
        expected = np.clip(np.round(resampled.astype(np.float64) * 32768), -32768, 32767).astype(np.int16)
    np.testing.assert_array_equal(decoded[:, 0], expected)


def test_loud_samples_are_clipped_and_not_wrapped(tmp_path, encode, put):
    square = np.where(np.arange(48_000) // 100 % 2, 32767, -32768).astype(np.int16)  # resampling overshoots
    put(tmp_path / "in" / f"{take(1)}.wav", encode(square, 48_000))
    result = scan_ravdess(tmp_path / "in", tmp_path / "packs")
    (content,) = stored(result, tmp_path / "packs").values()
    decoded = sf.read(io.BytesIO(content), dtype="int16")[0].astype(int)
    middle = decoded[8:24]  # samples 24 to 72 of the original: the first plateau
    assert decoded.max() == 32767 and decoded.min() == -32768
    assert (middle < -25_000).all()


@pytest.mark.parametrize(
    ("subtype", "rate", "channels", "as_it_is"),
    [
        ("PCM_16", 16_000, 1, True),
        ("PCM_24", 16_000, 1, False),
        ("PCM_16", 48_000, 1, False),
        ("PCM_16", 16_000, 2, False),
    ],
)
def test_16_khz_mono_flac_is_stored_as_it_is(tmp_path, tone, put, subtype, rate, channels, as_it_is):
    buffer = io.BytesIO()  # at a compression that the package does not use, so that encoding anew would show
    sf.write(buffer, tone(1.0, rate, channels), rate, format="FLAC", subtype=subtype, compression_level=0.0)
    put(tmp_path / "in" / f"{take(1)}.flac", buffer.getvalue())
    result = scan_ravdess(tmp_path / "in", tmp_path / "packs")
    (flac,) = stored(result, tmp_path / "packs").values()
    assert (flac == buffer.getvalue()) is as_it_is
    info = sf.info(io.BytesIO(flac))
    assert (info.samplerate, info.channels, info.subtype, info.frames) == (16_000, 1, "PCM_16", 16_000)


def test_the_row_of_a_clip_holds_what_protocols_look_at(corpora, tmp_path):
    result = scan(find({"tess": corpora["tess"]}), tmp_path, num_proc=1, progress=False)
    row = next(clip.row for clip in result.clips if clip.utterance.id == "tess/OAF_back_ps")
    assert row[:-2] == (
        *("tess/OAF_back_ps", "tess", "tess_OAF", "surprised", "female"),
        *("Say the word back", "speech"),
    )
    assert len(row.sha256) == 64


# --- results do not depend on the machine


def many(folder: Path, noise, encode, put, number: int = 70) -> list[str]:
    """Write recordings for three packs of 32, 32 and 6 stems, some odd ones among them."""
    stems = takes(number)
    for seed, stem in enumerate(stems):
        put(folder / f"Actor_{stem[-2:]}" / f"{stem}.wav", encode(noise(seed, 5000)))
    odd_ones = {5: b"", 33: encode(noise(2, 5000)), 40: encode(noise(41, 5000)), 69: encode(np.zeros(5000, np.int16))}
    for index, content in odd_ones.items():
        put(folder / f"Actor_{stems[index][-2:]}" / f"{stems[index]}.wav", content)
    return stems


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_results_do_not_depend_on_the_number_of_processes(tmp_path, noise, encode, put):
    many(tmp_path / "in", noise, encode, put)
    one = scan_ravdess(tmp_path / "in", tmp_path / "one", num_proc=1)
    two = scan_ravdess(tmp_path / "in", tmp_path / "two", num_proc=2)
    assert Counter(reasons(one).values()) == {"empty": 1, "silent": 1, "conflicting_labels": 2, "duplicate_audio": 1}
    assert len(one.clips) == 65
    assert one == two
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")
    assert len(files_of(tmp_path / "one")) == 6  # three packs and their journals


def test_results_do_not_depend_on_the_order_of_the_file_system(tmp_path, monkeypatch, noise, encode, put):
    many(tmp_path / "in", noise, encode, put)
    plain = scan_ravdess(tmp_path / "in", tmp_path / "plain")
    walk, shuffler = os.walk, random.Random(0)

    def shuffled(top, *args, **options):
        for parent, folders, names in walk(top, *args, **options):
            shuffler.shuffle(folders)
            shuffler.shuffle(names)
            yield parent, folders, names

    monkeypatch.setattr(os, "walk", shuffled)
    for number in range(3):
        assert scan_ravdess(tmp_path / "in", tmp_path / f"shuffled{number}") == plain


def test_results_do_not_depend_on_the_order_of_the_corpora(corpora, tmp_path):
    plain = scan(find(corpora), tmp_path / "plain", num_proc=1, progress=False)
    backwards = dict(reversed(corpora.items()))
    other = scan(find(backwards), tmp_path / "backwards", num_proc=1, progress=False)
    assert [(clip.utterance, clip.sha256) for clip in plain.clips] == [
        (clip.utterance, clip.sha256) for clip in other.clips
    ]
    assert stored(plain, tmp_path / "plain") == stored(other, tmp_path / "backwards")


def test_a_folder_given_with_a_hidden_name_is_scanned(tmp_path, noise, encode, put):
    put(tmp_path / ".data/in" / f"{take(1)}.wav", encode(noise(1)))
    assert kept(scan_ravdess(tmp_path / ".data", tmp_path / "packs")) == [f"ravdess/{take(1)}"]


def test_linked_files_are_scanned(tmp_path, noise, encode, put):
    blob = put(tmp_path / "blobs/5d208e", encode(noise(1)))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / f"{take(1)}.wav").symlink_to(blob)
    assert kept(scan_ravdess(tmp_path / "in", tmp_path / "packs")) == [f"ravdess/{take(1)}"]


# --- going on


@pytest.fixture
def examined(monkeypatch) -> list[str]:
    """The stems that are decoded from here on (with one process)."""
    stems: list[str] = []
    real = scans.examine

    def examine(path, limits):
        stems.append(path.stem)
        return real(path, limits)

    monkeypatch.setattr(scans, "examine", examine)
    return stems


def test_a_second_scan_decodes_nothing(tmp_path, noise, encode, put, examined):
    stems = many(tmp_path / "in", noise, encode, put)
    first = scan_ravdess(tmp_path / "in", tmp_path / "packs")
    assert examined == stems
    examined.clear()
    before = files_of(tmp_path / "packs")
    assert scan_ravdess(tmp_path / "in", tmp_path / "packs") == first
    assert examined == []
    assert files_of(tmp_path / "packs") == before


def test_another_limit_decodes_everything_again(tmp_path, noise, encode, put, examined):
    stems = many(tmp_path / "in", noise, encode, put)
    scan_ravdess(tmp_path / "in", tmp_path / "packs")
    examined.clear()
    result = scan_ravdess(tmp_path / "in", tmp_path / "packs", limits=Limits(min_duration_s=0.4))
    assert examined == stems
    assert result.clips == []  # 5000 samples at 16 kHz are 0.3125 s
    assert Counter(reasons(result).values()) == {"too_short": 69, "empty": 1}


@pytest.mark.parametrize("change", ["content", "time", "removed", "added copy"])
def test_a_changed_file_is_examined_again_with_its_pack(tmp_path, noise, encode, put, examined, change):
    stems = many(tmp_path / "in", noise, encode, put)
    first = scan_ravdess(tmp_path / "in", tmp_path / "packs")
    examined.clear()
    path = tmp_path / "in/Actor_02" / f"{stems[66]}.wav"  # in the third pack
    if change == "content":
        put(path, encode(noise(1000, 6000)))
    elif change == "time":
        os.utime(path, ns=(1, 1))
    elif change == "removed":
        path.unlink()
    else:
        put(tmp_path / "in/z" / path.name, path.read_bytes())
    second = scan_ravdess(tmp_path / "in", tmp_path / "packs")
    assert examined == [stem for stem in stems[64:] if change != "removed" or stem != stems[66]]
    changed = {clip.utterance.stem for clip in set(second.clips) ^ set(first.clips)} - set(stems[64:])
    assert changed == set()
    assert second == scan_ravdess(tmp_path / "in", tmp_path / "fresh")


@pytest.mark.parametrize("broken_at", [1, 31, 33, 40, 66, 70])
def test_a_broken_scan_goes_on_from_its_finished_packs(tmp_path, noise, encode, put, monkeypatch, examined, broken_at):
    stems = many(tmp_path / "in", noise, encode, put)
    examine = scans.examine  # the one that counts

    def interrupted(path, limits):
        if len(examined) == broken_at - 1:
            raise KeyboardInterrupt
        return examine(path, limits)

    monkeypatch.setattr(scans, "examine", interrupted)
    with pytest.raises(KeyboardInterrupt):
        scan_ravdess(tmp_path / "in", tmp_path / "packs")
    assert examined == stems[: broken_at - 1]
    examined.clear()
    monkeypatch.setattr(scans, "examine", examine)
    result = scan_ravdess(tmp_path / "in", tmp_path / "packs")
    assert examined == stems[(broken_at - 1) // PACK * PACK :]
    assert result == scan_ravdess(tmp_path / "in", tmp_path / "fresh")
    assert files_of(tmp_path / "packs") == files_of(tmp_path / "fresh")  # and no half-written pack is left


@pytest.mark.parametrize("lost", ["journal", "journal and half the pack", "pack"])
def test_a_pack_without_its_journal_is_made_again(tmp_path, noise, encode, put, examined, lost):
    stems = many(tmp_path / "in", noise, encode, put)
    first = scan_ravdess(tmp_path / "in", tmp_path / "packs")
    before = files_of(tmp_path / "packs")
    pack = tmp_path / "packs" / next(clip.pack for clip in first.clips if clip.utterance.stem == stems[0])
    if lost != "pack":
        pack.with_suffix(".json").unlink()
    if lost == "pack":
        pack.unlink()
    elif lost != "journal":
        pack.write_bytes(pack.read_bytes()[:1000])
    examined.clear()
    assert scan_ravdess(tmp_path / "in", tmp_path / "packs") == first
    assert examined == stems[:PACK]
    assert files_of(tmp_path / "packs") == before


def test_half_written_files_of_a_killed_scan_do_no_harm(tmp_path, noise, encode, put):
    many(tmp_path / "in", noise, encode, put)
    first = scan_ravdess(tmp_path / "in", tmp_path / "fresh")
    packs = tmp_path / "packs"
    for clip in first.clips:
        put(packs / Path(clip.pack).with_suffix(".part"), b"half")
        put(packs / Path(clip.pack).with_suffix(".json.part"), b'{"clips": [[')
    assert scan_ravdess(tmp_path / "in", packs) == first
    whole = {name: content for name, content in files_of(packs).items() if not str(name).endswith(".part")}
    assert whole == files_of(tmp_path / "fresh")


@pytest.mark.parametrize("damage", ["pack cut short", "journal cut short"])
def test_damaged_packs_and_journals_are_made_again(tmp_path, noise, encode, put, damage):
    many(tmp_path / "in", noise, encode, put)
    packs = tmp_path / "packs"
    first = scan_ravdess(tmp_path / "in", packs)
    before = files_of(packs)
    for path in packs.glob("*.pack" if damage == "pack cut short" else "*.json"):
        path.write_bytes(path.read_bytes()[:-9])
    assert scan_ravdess(tmp_path / "in", packs) == first
    assert files_of(packs) == before


def test_linked_folders_are_followed_once(tmp_path, noise, encode, put):
    put(tmp_path / "elsewhere" / f"{take(1)}.wav", encode(noise(1)))
    (tmp_path / "in").mkdir()
    for name in ("one", "two"):
        (tmp_path / "in" / name).symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "loop").symlink_to(tmp_path / "in")
    result = scan_ravdess(tmp_path / "in", tmp_path / "packs")
    assert kept(result) == [f"ravdess/{take(1)}"] and result.quarantined == []


def test_journals_hold_paths_and_numbers_only(tmp_path, noise, encode, put):
    put(tmp_path / "in" / f"{take(1)}.wav", encode(noise(1)))
    put(tmp_path / "in" / f"{take(2)}.wav", b"")
    (clip,) = scan_ravdess(tmp_path / "in", tmp_path / "packs").clips
    (journal,) = (tmp_path / "packs").glob("*.json")
    content = json.loads(journal.read_text())
    where = [str(clip.utterance.path), 0.5, clip.sha256, clip.pack, 0, clip.size, []]
    assert content["clips"] == [where]
    assert [item[:2] for item in content["refused"]] == [[str(tmp_path / "in" / f"{take(2)}.wav"), "empty"]]


# --- errors


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(ScanError) as error:
        find({"savee": tmp_path / "none"})
    assert str(error.value) == (f"--savee {tmp_path / 'none'}: no such folder; expected a folder of SAVEE recordings.")
    assert isinstance(error.value, SerError)


def test_a_file_in_place_of_a_folder_is_an_error(tmp_path, put):
    path = put(tmp_path / "ravdess.zip", b"PK")
    with pytest.raises(ScanError, match="no such folder"):
        find({"ravdess": path})


def test_a_folder_without_recordings_is_an_error(tmp_path, put):
    put(tmp_path / "Audio_Speech_Actors_01-24.zip", b"PK")
    put(tmp_path / "readme.txt", b"hello")
    put(tmp_path / ".hidden" / f"{take(1)}.wav", b"RIFF")
    with pytest.raises(ScanError) as error:
        find({"ravdess": tmp_path})
    assert str(error.value) == (
        f"--ravdess {tmp_path}: found no recordings among 2 files; expected RAVDESS files with the suffix .wav "
        "or .flac. Unpack archives first."
    )


def test_a_folder_with_unparsable_names_only_is_no_error_but_a_report(tmp_path, noise, encode, put):
    put(tmp_path / "in/x.wav", encode(noise(1)))
    result = scan_ravdess(tmp_path / "in", tmp_path / "packs")
    assert (result.clips, reasons(result)) == ([], {"x.wav": "name"})


def test_an_unknown_corpus_is_an_error(tmp_path):
    with pytest.raises(ScanError) as error:
        find({"aibo": tmp_path})
    names = "ravdess, crema_d, tess, savee, emodb, iemocap"
    assert str(error.value) == f"unknown corpus 'aibo'; expected one of {names}."


def test_folders_that_cannot_be_read_are_named(tmp_path, monkeypatch):
    """Root may read everything, so the system call is replaced."""
    (tmp_path / "Actor_01").mkdir()
    (tmp_path / "Actor_01" / "03-01-01-01-01-01-01.wav").touch()
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith("Actor_01"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(ScanError, match="1 folders below .* cannot be read: .*Actor_01 .Permission denied."):
        find({"ravdess": tmp_path})
