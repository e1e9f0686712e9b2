import pytest
import torch
import torchaudio

from hf_ser.remote_code.spectra import apply_filters, filter_groups, in_portions, power_spectra


@pytest.mark.parametrize(("n_fft", "hop_length", "pad_mode"), [(400, 160, "reflect"), (1024, 256, "constant")])
def test_power_spectra_are_those_of_stft(n_fft, hop_length, pad_mode):
    waveforms, window = torch.randn(3, 5_001), torch.hann_window(n_fft)
    expected = torch.stft(waveforms, n_fft, hop_length, window=window, pad_mode=pad_mode, return_complex=True)
    ours = power_spectra(waveforms, window, hop_length, pad_mode)
    torch.testing.assert_close(ours, expected.abs().square().transpose(1, 2), atol=1e-3, rtol=1e-4)


def test_a_waveform_too_short_to_be_reflected_is_refused():
    with pytest.raises(RuntimeError, match="[Pp]adding size"):
        power_spectra(torch.zeros(1, 200), torch.hann_window(400), 160, pad_mode="reflect")
    assert power_spectra(torch.zeros(1, 201), torch.hann_window(400), 160, pad_mode="reflect").shape == (1, 2, 201)


@pytest.mark.parametrize("n_mels", [1, 3, 24, 80, 128])
def test_filters_in_groups_are_the_whole_product(n_mels):
    filters = torchaudio.functional.melscale_fbanks(201, 0.0, 8000.0, n_mels, 16_000, "slaney", "slaney")
    groups = filter_groups(filters)
    assert groups[0][0] == 0 and groups[-1][1] == n_mels
    power = torch.rand(2, 7, 201)
    torch.testing.assert_close(apply_filters(power, filters, groups), power @ filters)


def test_portions_are_put_together_in_order():
    waveforms, mask, sizes = torch.randn(5, 200_000), torch.rand(5, 200_000), []

    def total(portion, weights=None):
        sizes.append(len(portion))
        return (portion if weights is None else portion * weights).sum(dim=1)

    torch.testing.assert_close(in_portions(total, waveforms, mask), (waveforms * mask).sum(dim=1))
    torch.testing.assert_close(in_portions(total, waveforms), waveforms.sum(dim=1))
    assert sizes == [2, 2, 1] * 2
