"""What each condition does to a clip: its level, length and samples, which depend on clip, condition and seed only."""

import builtins

import numpy as np
import pytest
import soundfile

from hf_ser.conditions import CONDITIONS, ConditionError, Surroundings, changed_clip, channels, chosen_levels
from hf_ser.conditions.condition_list import DEFAULTS, check_installed, level_text
from hf_ser.conditions.noises import level_dbfs, with_noise

RATE = 16_000
NOISES = ("white_noise", "pink_noise", "babble", "hum")


def _voice(seed, seconds=0.8, peak=0.05):
    """A chirping voice with pauses, quiet enough to leave room for noise at -5 dB."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    pitch = 110 + 90 * rng.random() + 40 * time
    wave = sum(np.sin(2 * np.pi * k * pitch * time) / k for k in range(1, 12))
    return (peak * wave / np.abs(wave).max() * (np.sin(2 * np.pi * 2 * time) > -0.5)).astype(np.float32)


CLIP = _voice(0)
AROUND = Surroundings(7, [_voice(seed, 0.6) for seed in range(1, 5)], [np.array([1, 0, 0.5], np.float32)])
WITHOUT_ROOM = [name for name in CONDITIONS if name != "room"]


def _changed(name, level, clip=CLIP, clip_id="corpus/1", around=AROUND):
    return changed_clip(clip, name, level, clip_id, around)


@pytest.mark.parametrize("name", NOISES)
@pytest.mark.parametrize("seconds", [0.03, 0.8])
def test_noise_has_its_ratio(name, seconds):
    clip = _voice(3, seconds)
    for level in (20, 0, -5):
        noise = _changed(name, level, clip).astype(float) - clip
        assert level_dbfs(clip) - level_dbfs(noise) == pytest.approx(level, abs=0.1)


def test_a_sum_above_full_scale_is_scaled_down_as_a_whole():
    loud = with_noise(20 * CLIP, CLIP[::-1], 0)
    assert np.abs(loud).max() == pytest.approx(1) and np.corrcoef(loud, CLIP + CLIP[::-1])[0, 1] > 0.9999


def test_pink_noise_falls_by_3_db_per_octave_and_hum_has_a_mains_frequency():
    power = np.abs(np.fft.rfft(_changed("pink_noise", -5).astype(float) - CLIP)) ** 2
    low, high = (10 * np.log10(power[round(f * 0.8) : round(2 * f * 0.8)].mean()) for f in (500, 2000))
    assert low - high == pytest.approx(6, abs=1)
    power = np.abs(np.fft.rfft(_changed("hum", 0).astype(float) - CLIP)) ** 2
    assert power.argmax() / 0.8 in (50, 60)


@pytest.mark.parametrize("name", WITHOUT_ROOM)
def test_samples_depend_on_clip_condition_and_seed_only(name):
    condition = CONDITIONS[name]
    for level in (condition.levels[0], condition.levels[-1]):
        first = _changed(name, level)
        assert first.dtype == np.float32 and first.ndim == 1 and np.isfinite(first).all() and first.any()
        assert (len(first) == len(CLIP)) == condition.keeps_length
        np.random.seed(1)  # the global generators must not matter
        _changed(name, level, _voice(9), "corpus/9")  # nor the clips before
        np.testing.assert_array_equal(_changed(name, level), first)
    assert not np.array_equal(CLIP, first)  # the clip itself is never modified
    np.testing.assert_array_equal(CLIP, _voice(0))


@pytest.mark.parametrize("name", [*NOISES, "packet_loss"])
def test_other_clips_and_seeds_have_other_draws(name):
    level = CONDITIONS[name].levels[-1]
    other = _changed(name, level, around=Surroundings(8, AROUND.voices))
    assert not np.array_equal(_changed(name, level), other)
    assert not np.array_equal(_changed(name, level), _changed(name, level, clip_id="corpus/2"))


def test_the_noise_of_a_clip_is_the_same_at_every_level():
    mild, severe = (_changed("white_noise", level).astype(float) - CLIP for level in (20, 0))
    np.testing.assert_allclose(severe, 10 * mild, atol=1e-6)


def test_lost_packets_are_counted_and_stay_lost():
    packets = np.ones(50 * channels.PACKET, np.float32)
    lost = {percent: _changed("packet_loss", percent, packets).reshape(50, -1) == 0 for percent in (10, 40)}
    assert {percent: int(rows.all(axis=1).sum()) for percent, rows in lost.items()} == {10: 5, 40: 20}
    assert (lost[40] >= lost[10]).all() and (lost[40].any(axis=1) == lost[40].all(axis=1)).all()


@pytest.mark.parametrize("kbps", [8, 32, 64])
def test_mp3_has_its_bit_rate_and_no_delay(kbps):
    clip = _voice(0, 2.0, 0.5)
    rate = len(channels.mp3_bytes(clip, kbps)) * 8 / 2.0 / 1000
    assert rate == pytest.approx(kbps, rel=0.12)
    _is_aligned(clip, channels.mp3(clip, kbps))


@pytest.mark.parametrize("kbps", [6, 32])
def test_opus_has_about_its_bit_rate_and_no_delay(kbps):
    clip = _voice(0, 2.0, 0.5)
    rate = len(channels.opus_bytes(clip, kbps)) * 8 / 2.0 / 1000
    assert 0.5 * kbps < rate < kbps + 6  # the container needs some
    _is_aligned(clip, channels.opus(clip, kbps))


def _is_aligned(clip, coded):
    shifts = range(-200, 201, 4)
    best = max(shifts, key=lambda shift: float(np.roll(coded, -shift) @ clip))
    assert len(coded) == len(clip) and abs(best) <= 8


def test_narrow_bands_are_narrow_and_quantization_differs():
    noise = np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32)
    for name, level, top in (("telephone", "alaw", 3400), ("telephone", "gsm", 4000), ("resampling", 4000, 2000)):
        power = np.abs(np.fft.rfft(_changed(name, level, noise))) ** 2
        assert power[top + 400 :].mean() < 0.01 * power[500 : top - 400].mean()
    a_law, mu_law = (_changed("telephone", level, noise) for level in ("alaw", "mulaw"))
    assert 0 < np.abs(a_law - mu_law).max() < 0.05


def test_level_clipping_cuts_and_speed_are_those_asked_for():
    assert level_dbfs(_changed("gain", -10)) - level_dbfs(CLIP) == pytest.approx(-10, abs=0.1)
    loud = _changed("gain", 40)
    assert loud.max() < 1 and loud.min() == -1 and (loud * 32768 == np.rint(loud * 32768)).all()
    clipped = _changed("clipping", 20)
    assert (clipped == clipped.max()).mean() == pytest.approx(0.1, abs=0.02)
    np.testing.assert_array_equal(_changed("start_cut", 25), CLIP[len(CLIP) // 4 :])
    np.testing.assert_array_equal(_changed("end_cut", 25), CLIP[: -len(CLIP) // 4])
    assert len(_changed("tempo", 1.25)) == pytest.approx(len(CLIP) / 1.25, abs=2)
    tone = np.sin(2 * np.pi * 200 * np.arange(RATE) / RATE).astype(np.float32)
    for name, level, hertz in (("speed", 1.25, 250), ("tempo", 1.25, 200), ("pitch", 12, 400)):
        made = _changed(name, level, tone)
        power = np.abs(np.fft.rfft(made * np.hanning(len(made))))
        assert power.argmax() * RATE / len(made) == pytest.approx(hertz, abs=4), name


def test_generated_rooms_have_their_reverberation_time():
    pytest.importorskip("pyroomacoustics", reason="pyroomacoustics is not installed (extra robustness)")
    responses = channels.generated_responses(0.2, 0)
    assert [channels.measured_decay(one) for one in responses] == pytest.approx([0.2] * channels.ROOMS, rel=0.1)
    assert all(np.abs(one).argmax() == 0 for one in responses)  # from the direct sound on
    wet = _changed("room", 0.2)
    np.testing.assert_array_equal(wet, _changed("room", 0.2))
    assert wet.shape == CLIP.shape and level_dbfs(wet) == pytest.approx(level_dbfs(CLIP), abs=0.2)


def test_responses_of_a_folder(tmp_path):
    soundfile.write(
        tmp_path / "hall.wav", np.r_[np.zeros(400), 1.0, np.zeros(9), 0.5].astype(np.float32), RATE, "FLOAT"
    )
    (response,) = channels.responses_in(tmp_path)
    np.testing.assert_allclose(response, np.r_[1, np.zeros(9), 0.5], atol=1e-6)
    for folder, reason in ((tmp_path / "none", "no such folder"), (tmp_path / "empty", "no audio files")):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(ConditionError, match=reason):
            channels.responses_in(folder)
    soundfile.write(tmp_path / "empty/silent.wav", np.zeros(500), RATE)
    with pytest.raises(ConditionError, match="silent.wav is silent"):
        channels.responses_in(tmp_path / "empty")


# --- bad input --------------------------------------------------------------------------------------------------


def test_a_clip_that_a_condition_silences_is_named():
    starting = np.r_[CLIP, np.zeros(3 * len(CLIP), np.float32)]
    with pytest.raises(ConditionError, match=r"start_cut=50 leaves nothing but silence of corpus/1 .*milder"):
        _changed("start_cut", 50, starting)
    with pytest.raises(ConditionError, match="gain=-60 leaves nothing"):
        _changed("gain", -60, CLIP / 100)


@pytest.mark.parametrize(
    ("names", "words", "said"),
    [
        (["white_nose"], [], "did you mean white_noise"),
        (["zzz"], [], "expected white_noise, pink_noise"),
        ([], [], "is empty"),
        (["hum", "hum"], [], "hum twice"),
        (["hum"], ["hum:10"], "expected NAME=LEVEL"),
        (["hum"], ["room=0.5"], "not among the conditions"),
        (["hum"], ["hum=10", "hum=0"], "is given twice"),
        (["hum"], ["hum=10,10"], "a level twice"),
        (["hum"], ["hum=loud"], "dB SNR from -30 to 60"),
        (["hum"], ["hum=nan"], "from -30 to 60"),
        (["packet_loss"], ["packet_loss=100"], "from 0.1 to 90"),
        (["clipping"], ["clipping=5"], "in multiples of 2"),
        (["telephone"], ["telephone=g729"], "expected one of alaw, mulaw, gsm"),
    ],
)
def test_unknown_conditions_and_levels_are_named(names, words, said):
    with pytest.raises(ConditionError, match=said):
        chosen_levels(names, words)


def test_default_levels_are_within_their_bounds_and_quick_ones_among_them():
    for name, condition in CONDITIONS.items():
        words = [f"{name}={','.join(map(level_text, condition.levels))}"]
        assert chosen_levels([name], words) == {name: condition.levels}
        assert set(condition.quick) <= set(condition.levels)
    assert len(DEFAULTS) == len(CONDITIONS) - 1


def test_missing_codecs_and_packages_are_named_with_the_remedy(monkeypatch):
    monkeypatch.setattr(soundfile, "available_subtypes", lambda format: {"PCM_16": ""})
    with pytest.raises(ConditionError, match="mp3=64: libsndfile .* has no encoder for MPEG_LAYER_III.*leave out mp3"):
        check_installed({"mp3": (64,)})
    real = builtins.__import__

    def absent(name, *rest):
        if name in ("pyroomacoustics", "audiomentations"):
            raise ModuleNotFoundError(name=name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ConditionError, match=r'hf-ser\[robustness\]", or leave .*: --conditions hum'):
        check_installed({"hum": (10,), "room": (0.3,)})
    with pytest.raises(ConditionError, match=r"gain: audiomentations is not installed"):
        check_installed({"gain": (10,), "hum": (10,)})
