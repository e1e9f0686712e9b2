"""Prosodic functionals of sounds whose pitch, level and voicing are known."""

import numpy as np
import pytest
import torch

from hf_ser.models import ProsodicFunctionals
from hf_ser.remote_code.prosody import _derivative, _summary

RATE = 16_000


def voice(hz, duration_s=1.0, level=0.1, harmonics=12):
    """A sum of harmonics whose pitch is a number, or an array of one value per sample in Hz."""
    hz = np.broadcast_to(hz, round(duration_s * RATE))
    phase = 2 * np.pi * np.cumsum(hz) / RATE
    waves = sum(np.sin(number * phase) / number for number in range(1, harmonics + 1))
    return torch.from_numpy(level * waves).float()


@pytest.fixture(scope="module")
def functionals():
    return ProsodicFunctionals()


@pytest.fixture(scope="module")
def column(functionals):
    """Values of a column by name."""

    def of(name, *waveforms):
        number = functionals.names.index(f"prosodic_{name}")
        return [functionals(waveform[None])[0, number].item() for waveform in waveforms]

    return of


@pytest.mark.parametrize("hz", [90.0, 131.0, 220.0, 317.0, 450.0])
def test_the_pitch_of_a_voice_is_found(hz, column):
    wave = voice(hz)
    assert column("pitch_median", wave)[0] == pytest.approx(12 * np.log2(hz / 55), abs=0.1)  # semitones
    assert column("voiced_rate", wave)[0] > 0.95
    assert column("pitch_change", wave)[0] < 0.1


def test_noise_is_not_voiced_and_a_rising_pitch_has_a_slope(column):
    noise = torch.from_numpy(np.random.default_rng(0).normal(0, 0.1, RATE)).float()
    rising = voice(150 * 2 ** np.linspace(0, 0.5, RATE))  # six semitones in a second
    steady = voice(150)
    assert column("voiced_rate", noise)[0] < 0.1
    slopes = column("pitch_slope", rising, steady)
    assert slopes[0] == pytest.approx(6, abs=0.7) and slopes[1] == pytest.approx(0, abs=0.1)
    clean, rough = column("harmonics_to_noise_db_median", steady, steady + noise / 2)
    assert clean > rough + 5


def test_segments_and_silence_are_measured(column):
    pause = torch.zeros(RATE // 2)
    wave = torch.cat([pause, voice(200, 0.5), pause, voice(200, 0.5), pause])
    assert column("active_s", wave)[0] == pytest.approx(1.0, abs=0.2)
    assert column("active_rate", wave)[0] == pytest.approx(0.4, abs=0.08)
    assert column("segments_per_s", wave)[0] == pytest.approx(2, abs=0.4)
    assert column("segment_s", wave)[0] == pytest.approx(0.5, abs=0.1)


def test_only_the_absolute_level_depends_on_the_gain(functionals):
    wave = voice(200 * 2 ** np.linspace(0, 0.3, RATE)) + 1e-2 * torch.randn(RATE, generator=torch.manual_seed(0))
    loud, soft = functionals(wave[None])[0], functionals(wave[None] / 4)[0]
    differ = {name for name, one, two in zip(functionals.names, loud, soft, strict=True) if abs(one - two) > 0.01}
    assert differ == {"prosodic_level_db", "prosodic_level_peak_db"}
    number = functionals.names.index("prosodic_level_db")
    assert loud[number] - soft[number] == pytest.approx(20 * np.log10(4), abs=0.01)


def test_a_clip_in_a_padded_batch_has_the_row_it_has_alone(functionals):
    clips = [voice(hz, duration_s) for hz, duration_s in ((120, 0.7), (240, 1.3), (180, 0.11))]
    clips.append(torch.zeros(RATE // 3))
    padded = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True)
    mask = torch.arange(padded.shape[1]) < torch.tensor([len(clip) for clip in clips])[:, None]
    together = functionals(padded + 0.3 * ~mask, mask.long())  # padding is ignored, whatever it is
    for row, clip in zip(together, clips, strict=True):
        torch.testing.assert_close(row, functionals(clip[None])[0], rtol=1e-4, atol=1e-3)
    assert torch.isfinite(together).all()


def test_names_are_stable_and_values_finite_for_short_and_silent_clips(functionals):
    assert len(functionals.names) == len(set(functionals.names)) == 313
    assert functionals.names[0] == "prosodic_mfcc_1_mean" and functionals.names[-1] == "prosodic_level_peak_db"
    for wave in (torch.zeros(RATE), torch.zeros(1), voice(200, 0.02), torch.ones(RATE)):
        assert torch.isfinite(functionals(wave[None])).all()
    with pytest.raises(ValueError, match="finite"):
        functionals(torch.full((1, RATE), torch.nan))


def test_statistics_and_slopes_are_those_of_the_chosen_frames():
    values = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 9, 2))).float()
    chosen = torch.tensor([[False, True, True, False, True, True, True, True, True]])
    rows = values[0, chosen[0]].numpy()
    expected = np.concatenate([rows.mean(axis=0), rows.std(axis=0), np.quantile(rows, 0.25, axis=0)])
    np.testing.assert_allclose(_summary(values, chosen, ("mean", "std", "quartile_1"))[0], expected, atol=1e-5)
    ramp = 3 * torch.arange(9.0)[None, :, None]
    slope, inside = _derivative(ramp, chosen)
    assert inside[0].nonzero().flatten().tolist() == [6]
    assert slope[0, 6, 0] == pytest.approx(3)
    assert (_summary(values, torch.zeros(1, 9, dtype=torch.bool), ("mean", "max")) == 0).all()


def test_it_can_be_built_on_the_meta_device():
    with torch.device("meta"):
        built = ProsodicFunctionals()
    assert torch.isfinite(built(voice(200)[None])).all()
