"""Grouped convolutions as matrix products: outputs and gradients are those of torch's convolution."""

import copy

import pytest
import torch
from torch import nn

from hf_ser.remote_code.grouped_convolution import GroupedConvolution, use_matrix_products

# batch, channels, output channels, groups, taps, padding, frames
SHAPES = [(2, 32, 32, 4, 128, 64, 20), (3, 8, 8, 2, 5, 2, 17), (1, 6, 9, 3, 4, 0, 9), (2, 16, 16, 16, 7, 6, 3)]


@pytest.mark.parametrize(("batch", "channels", "made", "groups", "taps", "padding", "frames"), SHAPES)
def test_outputs_and_gradients_are_those_of_conv1d(batch, channels, made, groups, taps, padding, frames):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, channels, frames, dtype=torch.double, generator=generator, requires_grad=True)
    weight = torch.randn(made, channels // groups, taps, dtype=torch.double, generator=generator, requires_grad=True)
    expected = nn.functional.conv1d(x, weight, padding=padding, groups=groups)
    found = GroupedConvolution.apply(x, weight, groups, padding)
    torch.testing.assert_close(found, expected)
    direction = torch.randn(expected.shape, dtype=torch.double, generator=generator)
    for own, stock in zip(
        torch.autograd.grad((found * direction).sum(), (x, weight)),
        torch.autograd.grad((expected * direction).sum(), (x, weight)),
        strict=True,
    ):
        torch.testing.assert_close(own, stock)


def test_a_frozen_weight_gets_no_gradient():
    x = torch.randn(1, 4, 9, dtype=torch.double, requires_grad=True)
    weight = torch.randn(4, 2, 3, dtype=torch.double)
    GroupedConvolution.apply(x, weight, 2, 1).sum().backward()
    assert x.grad is not None and weight.grad is None


def test_an_encoder_computes_the_same_on_cpu_and_keeps_its_parameters(tiny_config):
    from hf_ser.labels import EMOTIONS
    from hf_ser.training import ModelArguments, build_model

    model, _ = build_model(ModelArguments(model_config=tiny_config), EMOTIONS)
    model.eval()
    convolution = model.wav2vec2.encoder.pos_conv_embed.conv
    assert "_conv_forward" in vars(convolution)  # training uses it
    waveforms = torch.randn(2, 4000)
    changed = model(waveforms).logits
    copied = copy.deepcopy(model)
    assert vars(copied.wav2vec2.encoder.pos_conv_embed.conv)["_conv_forward"].args[0] is not convolution
    assert torch.equal(copied(waveforms).logits, changed)
    names = list(model.state_dict())
    del convolution._conv_forward
    assert list(model.state_dict()) == names
    assert torch.equal(model(waveforms).logits, changed)


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv1d(4, 4, 3),
        nn.Conv1d(4, 4, 3, groups=2, stride=2),
        nn.Conv1d(4, 4, 3, groups=2, dilation=2),
        nn.Conv1d(4, 4, 3, groups=2, padding="same"),
        nn.Conv1d(4, 4, 3, groups=2, padding=1, padding_mode="reflect"),
    ],
)
def test_other_convolutions_are_left_alone(convolution):
    use_matrix_products(nn.Sequential(convolution))
    assert "_conv_forward" not in vars(convolution)
