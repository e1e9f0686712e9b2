import librosa
import numpy as np
import pytest
import torch

from hf_ser.audio import trim_silence
from hf_ser.models import LogMel, MelCNNConfig
from hf_ser.remote_code.frontend import normalize_rows
from hf_ser.remote_code.layers import SpecAugment
from hf_ser.remote_code.pcen import per_channel_energy


def features(build, config, waveform):
    return build(config).frontend(waveform)[0]


def test_ref_max_is_librosa_power_to_db_with_ref_max(build, tiny, tone):
    waveform = tone(0.5) * np.linspace(0, 1, 8000, dtype=np.float32) ** 8
    ours = features(build, tiny("mel_cnn", n_mels=80), torch.from_numpy(waveform)[None])[0]
    power = librosa.feature.melspectrogram(
        y=waveform, sr=16_000, n_fft=400, hop_length=160, n_mels=80, pad_mode="reflect"
    )
    np.testing.assert_allclose(ours, librosa.power_to_db(power, ref=np.max), atol=5e-3)
    assert ours.max() == 0 and ours.min() == -80


def test_each_normalisation_does_what_it_says(build, tiny, waveforms):
    inputs = waveforms(2)[0]
    decibels = LogMel(n_mels=24)(inputs)
    loudest = decibels.amax(dim=(1, 2), keepdim=True)

    def make(**changes):
        return features(build, tiny("mel_cnn", top_db=None, **changes), inputs)

    torch.testing.assert_close(make(normalize="none"), decibels)
    torch.testing.assert_close(make(normalize="ref_max"), decibels - loudest)
    torch.testing.assert_close(make(normalize="global", global_mean=-50.0, global_std=10.0), (decibels + 50) / 10)
    torch.testing.assert_close(make(normalize="pcen"), per_channel_energy(decibels, 16_000, 160))
    clip = make(normalize="clip")
    torch.testing.assert_close(clip.mean(dim=-1), torch.zeros(2, 24), atol=1e-4, rtol=0)
    torch.testing.assert_close(clip.var(dim=-1, unbiased=False), torch.ones(2, 24), atol=1e-3, rtol=0)
    limited = features(build, tiny("mel_cnn", normalize="none", top_db=20.0), inputs)
    torch.testing.assert_close(limited, torch.maximum(decibels, loudest - 20))


def test_rows_are_normalised_over_true_frames_only():
    rows = torch.randn(2, 3, 10)
    ours = normalize_rows(rows, torch.tensor([10, 4]))
    torch.testing.assert_close(ours[1, :, :4].mean(dim=-1), torch.zeros(3), atol=1e-6, rtol=0)
    assert (ours[1, :, 4:] == 0).all()
    torch.testing.assert_close(normalize_rows(rows[1:, :, :4], torch.tensor([4])), ours[1:, :, :4])


def test_rows_of_one_frame_or_one_value_stay_finite():
    assert (normalize_rows(torch.full((1, 3, 5), -100.0), torch.tensor([1])) == 0).all()


def test_deltas_are_appended(build, tiny, waveforms):
    inputs = waveforms(2)[0]
    plain, both = (features(build, tiny("audio_lstm", deltas=deltas), inputs) for deltas in (0, 2))
    assert plain.shape == (2, 12, 51) and both.shape == (2, 36, 51)
    torch.testing.assert_close(both[:, :12], plain)


def test_deltas_of_log_mels_are_channels_in_units_of_half_their_window(build, tiny, waveforms):
    inputs = waveforms(2)[0]
    plain, both = (features(build, tiny("mel_cnn", deltas=deltas), inputs) for deltas in (0, 2))
    channels = both.unflatten(1, (3, 24))
    torch.testing.assert_close(channels[:, 0], plain)
    for order in (1, 2):
        theirs = 4**order * librosa.feature.delta(plain.double().numpy(), order=order)
        np.testing.assert_allclose(channels[:, order], theirs, atol=1e-3)
    model = build(tiny("mel_cnn", deltas=2))
    maps = []
    model.stack.blocks[0].register_forward_pre_hook(lambda module, args: maps.append(args[0]))
    model(inputs)
    torch.testing.assert_close(maps[0], channels)


def test_true_frames_end_with_the_last_sound(build, tiny):
    inputs = torch.zeros(4, 16_000)
    inputs[0, :], inputs[1, :4000], inputs[2, 1999] = 0.1, 0.1, 0.1
    assert build(tiny("mel_cnn")).frontend(inputs)[1].tolist() == [51, 26, 13, 1]


def test_spec_augment_masks_in_training_only(build, tiny, waveforms):
    fields = {"spec_augment_time_masks": 2, "spec_augment_time_frames": 10, "spec_augment_frequency_masks": 1}
    model = build(tiny("mel_cnn", spec_augment_frequency_rows=6, **fields))
    inputs = waveforms(8)[0]
    plain = model.frontend(inputs)[0]
    torch.testing.assert_close(plain, build(tiny("mel_cnn")).frontend(inputs)[0])
    model.train()
    torch.manual_seed(3)
    masked = model.frontend(inputs)[0]
    torch.manual_seed(3)
    torch.testing.assert_close(masked, model.frontend(inputs)[0])
    changed = masked != plain
    assert 0 < changed.float().mean() < 0.6
    assert (changed.all(dim=2).sum(dim=1) <= 6).all() and changed.all(dim=2).any()  # whole rows
    assert (changed.all(dim=1).sum(dim=1) <= 20).all() and changed.all(dim=1).any()  # whole frames
    assert not torch.equal(changed[0], changed[1])
    default = build(tiny("mel_cnn")).train()
    torch.testing.assert_close(default.frontend(inputs)[0], plain)


def augment(deltas=0, **fields):
    """A SpecAugment in training mode with these configuration fields, named without their prefix."""
    named = {f"spec_augment_{name}": value for name, value in fields.items()}
    return SpecAugment(MelCNNConfig(deltas=deltas, **named)).train()


def test_spec_augment_reaches_every_place_and_width():
    torch.manual_seed(0)
    rows = torch.arange(20.0).expand(2000, 1, 20)
    hidden = augment(time_masks=1, time_frames=5)(rows, torch.full((2000,), 20))[0] != rows
    assert hidden.any(dim=0).all()
    assert set(hidden.sum(dim=(1, 2)).tolist()) == {0, 1, 2, 3, 4, 5}


def test_a_model_that_trims_scores_clips_as_if_they_had_been_cut(build, tiny, waveforms):
    sounds, silence = waveforms(3, duration_s=0.3)[0], torch.zeros(3, 5120)
    clips = torch.cat([silence, sounds, silence], dim=1)
    cut = torch.stack([torch.from_numpy(trim_silence(clip.numpy(), 30.0)) for clip in clips])
    assert cut.shape[1] < clips.shape[1]
    model, expected = build(tiny("audio_cnn", trim_db=30.0)), build(tiny("audio_cnn"))(cut).logits
    torch.testing.assert_close(model(clips).logits, expected)
    mask = torch.nn.functional.pad(torch.ones_like(clips), (0, 9))
    noisy = torch.nn.functional.pad(clips, (0, 9), value=1.0)
    torch.testing.assert_close(model(noisy, mask).logits, expected)
    noisy[0, -1] = float("nan")
    with pytest.raises(ValueError, match="NaN"):
        model(noisy)


def _bumps(place, clips=400):
    """Features (clips, 20 rows, 40 frames) with a peak at this row and frame, and the unpadded frames."""
    rows, frames = torch.meshgrid(torch.arange(20.0), torch.arange(40.0), indexing="ij")
    bump = torch.exp(-((rows - place[0]) ** 2 + (frames - place[1]) ** 2) / 4)
    return bump.expand(clips, 20, 40), torch.full((clips,), 30)


def test_spec_augment_stretches_time_about_the_start():
    torch.manual_seed(0)
    features, num_frames = _bumps((10, 20))
    warped, stretched = augment(stretch=0.25)(features, num_frames)
    places = warped.amax(dim=1).argmax(dim=1)
    assert (warped.amax(dim=2).argmax(dim=1) == 10).all()
    assert places.min() <= 17 and places.max() >= 24 and (places >= 16).all() and (places <= 25).all()
    assert ((stretched.float() / 30 - places / 20).abs() <= 0.08).all()  # the true frames move along
    assert augment(stretch=0.25)(features, torch.full((400,), 40))[1].max() == 40


def test_spec_augment_shifts_rows_both_ways():
    torch.manual_seed(0)
    features, num_frames = _bumps((10, 20))
    warped, same = augment(row_shift=3.0)(features, num_frames)
    assert set(warped.amax(dim=2).argmax(dim=1).tolist()) == set(range(7, 14))
    assert (warped.amax(dim=1).argmax(dim=1) == 20).all() and torch.equal(same, num_frames)


def test_spec_augment_changes_a_band_and_its_derivatives_alike():
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(50, 3, 20, 40, generator=generator) + torch.tensor([-9.0, 0, 9])[:, None, None]
    layer, num_frames = augment(deltas=2, time_masks=1, time_frames=9, frequency_masks=1), torch.full((50,), 40)
    masked = layer(maps.flatten(1, 2), num_frames)[0].unflatten(1, (3, 20))
    hidden = masked != maps
    assert hidden.any() and not hidden.all() and (hidden == hidden[:, :1]).all()
    means = maps.mean(dim=(2, 3), keepdim=True).expand_as(maps)
    torch.testing.assert_close(masked[hidden], means[hidden])
    torch.manual_seed(1)
    warped = augment(deltas=2, stretch=0.2, row_shift=3.0)(maps.flatten(1, 2), num_frames)[0].unflatten(1, (3, 20))
    for channel in range(3):
        torch.manual_seed(1)
        alone = augment(stretch=0.2, row_shift=3.0)(maps[:, channel], num_frames)[0]
        torch.testing.assert_close(warped[:, channel], alone)


def test_spec_augment_warps_low_and_middle_rows_in_proportion():
    torch.manual_seed(0)
    moved = {}
    for row in (2, 10):
        features, num_frames = _bumps((row, 20))
        warped, same = augment(warp=0.3)(features, num_frames)
        assert (warped.amax(dim=1).argmax(dim=1) == 20).all() and torch.equal(same, num_frames)
        moved[row] = warped.amax(dim=2).argmax(dim=1) - row
    # Rows are 2.15 mels apart. Row 10 is at 1.8 kHz: a factor of 1.3 is log(1.3) / log(6.4) * 27 = 3.8 mels.
    assert set(moved[2].tolist()) == {-1, 0, 1}
    assert set(moved[10].tolist()) == {-2, -1, 0, 1, 2}
    again = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        again.append(augment(warp=0.3)(features, num_frames)[0])
    assert torch.equal(again[0], again[1]) and not torch.equal(again[0], again[2])


def test_a_warp_of_frequencies_trains_and_changes_no_other_draws(build, tiny, waveforms):
    inputs, labels = waveforms(4)
    model = build(tiny("mel_cnn", spec_augment_warp=0.2)).train()
    model(inputs, labels=labels).loss.backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    assert all(torch.isfinite(gradient).all() for gradient in gradients) and any(g.abs().max() > 0 for g in gradients)
    features, num_frames = _bumps((0, 20), clips=50)  # row 0 has the lowest frequencies, which hardly move
    places = []
    for warp in (0.0, 0.1):
        torch.manual_seed(4)
        places.append(augment(stretch=0.25, warp=warp)(features, num_frames))
    assert torch.equal(places[0][1], places[1][1])


def test_spec_augment_leaves_evaluation_alone():
    features, num_frames = _bumps((10, 20), clips=3)
    evaluated = augment(time_masks=2, frequency_masks=2, stretch=0.3, row_shift=5.0, warp=0.3).eval()
    assert evaluated(features, num_frames)[0] is features and evaluated(features, num_frames)[1] is num_frames


def test_it_stays_in_float32_when_the_model_is_cast(build, tiny, waveforms):
    inputs = waveforms(2)[0]
    model = build(tiny("audio_lstm"))
    expected, before = model(inputs).logits, {name: buffer.clone() for name, buffer in model.frontend.named_buffers()}
    model.to(torch.bfloat16)
    for name, buffer in model.frontend.named_buffers():
        assert torch.equal(buffer, before[name])
    torch.testing.assert_close(model(inputs).logits.float(), expected, atol=0.02, rtol=0.05)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(model.float().frontend(inputs)[0], build(tiny("audio_lstm")).frontend(inputs)[0])


@pytest.mark.parametrize(
    ("inputs", "mask", "message"),
    [
        (torch.zeros(8000), None, r"input_values: got shape \(8000,\); expected mono waveforms \(batch, samples\)"),
        (torch.zeros(1, 2, 8000), None, r"got shape \(1, 2, 8000\)"),
        (torch.zeros(2, 0), None, r"got shape \(2, 0\)"),
        (torch.zeros(1, 8000, dtype=torch.int16), None, "got torch.int16; expected floating point"),
        (torch.full((1, 8000), torch.nan), None, "NaN or infinite"),
        (torch.full((1, 8000), torch.inf), None, "NaN or infinite"),
        (torch.zeros(1, 8000), torch.ones(1, 50), r"attention_mask: got shape \(1, 50\)"),
    ],
)
def test_what_is_no_waveform_is_refused(build, tiny, inputs, mask, message):
    with pytest.raises(ValueError, match=message):
        build(tiny("mel_cnn"))(inputs, attention_mask=mask)


def test_nan_in_the_padding_does_not_matter(build, tiny):
    inputs, mask = torch.zeros(1, 4000), torch.ones(1, 4000)
    inputs[:, 2000:], mask[:, 2000:] = torch.nan, 0
    assert torch.isfinite(build(tiny("mel_cnn"))(inputs, attention_mask=mask).logits).all()


@pytest.mark.parametrize("samples", [1, 159, 160, 161, 7_999, 8_000])
def test_a_clip_has_as_many_true_frames_as_alone(build, tiny, samples):
    inputs = torch.full((1, samples), 0.1)
    assert build(tiny("mel_cnn")).frontend(inputs)[1].item() == 1 + samples // 160
