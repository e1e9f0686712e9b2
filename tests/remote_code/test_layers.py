import pytest
import torch

from hf_ser.remote_code.layers import AttentivePooling, ConvBlock, Dropout, max_pooled


@pytest.mark.parametrize("probability", [0.1, 0.3, 0.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_drops_its_share_and_keeps_the_mean(probability, dtype):
    torch.manual_seed(0)
    inputs = torch.ones(64, 32, 10, 15, dtype=dtype)
    outputs = Dropout(probability).train()(inputs)
    assert outputs.dtype == dtype
    assert (outputs == 0).float().mean().item() == pytest.approx(probability, abs=0.004)
    assert set(outputs.float().unique().tolist()) == {0.0, float(torch.tensor(1 / (1 - probability)).to(dtype))}
    assert outputs.float().mean().item() == pytest.approx(1, abs=0.015)


def test_dropout_is_independent_from_value_to_value():
    torch.manual_seed(0)
    kept = (Dropout(0.5).train()(torch.ones(200_000)) != 0).float() - 0.5
    for lag in (1, 2, 3, 4, 8):
        assert (kept[lag:] * kept[:-lag]).mean().abs() < 0.005


@pytest.mark.parametrize("shape", [(), (0, 4), (5,), (3, 7, 2, 5)])
def test_dropout_takes_any_shape_and_layout(shape):
    inputs = torch.ones(shape)
    assert Dropout(0.4).train()(inputs).shape == shape
    if inputs.ndim == 4:
        outputs = Dropout(0.4).train()(inputs.to(memory_format=torch.channels_last))
        assert outputs.is_contiguous(memory_format=torch.channels_last)
    if inputs.ndim > 1:
        outputs = Dropout(0.4).train()(inputs.transpose(0, 1))
        assert outputs.shape == inputs.transpose(0, 1).shape


def test_dropout_passes_gradients_where_it_passes_values():
    inputs = torch.rand(40, 50, requires_grad=True)
    outputs = Dropout(0.5).train()(inputs)
    outputs.sum().backward()
    assert torch.equal(inputs.grad != 0, outputs != 0) and set(inputs.grad.unique().tolist()) == {0.0, 2.0}


def test_dropout_repeats_with_a_seed_and_rests_in_evaluation():
    inputs, layer = torch.rand(100), Dropout(0.3)
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append(layer.train()(inputs))
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
    assert torch.equal(layer.eval()(inputs), inputs) and torch.equal(Dropout(0.0).train()(inputs), inputs)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.05)])
def test_a_block_gives_the_same_with_its_normalisation_in_the_weights(residual, dtype, tolerance):
    torch.manual_seed(0)
    block = ConvBlock(3, 8, 3, 2, 0.3, residual=residual, squeeze_excitation=True)
    features = torch.randn(16, 3, 20, 30)
    for _ in range(5):
        block.train()(2 + 3 * features)  # running statistics that are not those of the start
    block = block.eval().to(dtype)
    apart = block(features.to(dtype))
    with torch.no_grad():
        together = block(features.to(dtype))
        torch.testing.assert_close(together.float(), apart.float(), rtol=tolerance, atol=tolerance)
        before = {name: buffer.clone() for name, buffer in block.named_buffers()}
        block.train()(features.to(dtype))  # which normalises by the batch, and learns its statistics
    assert not torch.equal(before["norm.running_mean"], block.norm.running_mean)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("shape", "size"), [((8, 10), 2), ((9, 11), 2), ((2, 3), 2), ((9, 11), 3)])
def test_pooling_without_training_is_max_pooling(shape, size, memory_format, dtype):
    maps = torch.randn(2, 4, *shape).to(dtype, memory_format=memory_format)
    maps[0, 0, 0, 0] = torch.nan
    with torch.inference_mode():
        pooled = max_pooled(maps, size)
    torch.testing.assert_close(pooled, torch.nn.functional.max_pool2d(maps, size), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("statistics", [False, True])
def test_each_head_pools_its_part_with_its_own_weights(statistics):
    torch.manual_seed(0)
    pooling, sequence = AttentivePooling(12, statistics=statistics, heads=3).eval(), torch.randn(4, 9, 12)
    num_frames = torch.tensor([9, 5, 1, 7])
    pooled = pooling(sequence, num_frames)
    assert pooled.shape == (4, 24 if statistics else 12)
    for clip, frames in enumerate(num_frames.tolist()):
        values = sequence[clip, :frames].double()
        weights = pooling.score(sequence[clip, :frames]).double().softmax(dim=0).repeat_interleave(4, dim=1)
        mean = (weights * values).sum(dim=0)
        torch.testing.assert_close(pooled[clip, :12].double(), mean, atol=1e-6, rtol=1e-5)
        if statistics:
            deviation = (weights * (values - mean) ** 2).sum(dim=0).clamp(min=1e-6).sqrt()
            torch.testing.assert_close(pooled[clip, 12:].double(), deviation, atol=1e-5, rtol=1e-4)
    changed = sequence.clone()
    changed[1, 5:] = 100
    torch.testing.assert_close(pooling(changed, num_frames), pooled)
