"""The convolution's arithmetic against exact sums, and its four outputs."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quamba_lab.conv import CausalConv, DynamicInput, EmitCodes, EmitFloat, EmitGrid, StaticInput
from quamba_lab.quantized import Quantized
from quamba_lab.sites import PUBLISHED, scalar

S_W, S_B, S_X, S_OUT = 0.011, 0.004, 0.03, 0.02


def conv(emit="fp32", *, bias=True, dynamic=False, channels=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randint(-127, 128, (channels, 4), dtype=torch.int8, generator=generator)
    offset = torch.randint(-127, 128, (channels,), dtype=torch.int8, generator=generator) if bias else None
    output = scalar(S_OUT)
    part = {
        "fp32": EmitFloat(),
        "int8": EmitCodes(PUBLISHED["conv1d"], output),
        "grid": EmitGrid(PUBLISHED["conv1d"], output),
    }[emit]
    take = DynamicInput(PUBLISHED["conv1d.input"]) if dynamic else StaticInput()
    return CausalConv(weight, scalar(S_W), offset, scalar(S_B) if bias else None, output, take, part)


def codes(b=2, d=6, l=9, seed=1):
    values = torch.randint(-128, 128, (b, d, l), dtype=torch.int8, generator=torch.Generator().manual_seed(seed))
    return Quantized(values, scalar(S_X))


def reference(layer, x):
    """FP64 throughout, one loop per output."""
    b, d, l = x.shape
    out = torch.empty(b, d, l, dtype=torch.float64)
    s_wx, s_b = float(layer.weight_scale * x.scale), float(scalar(S_B))
    for i in range(b):
        for c in range(d):
            for t in range(l):
                total = sum(
                    int(layer.weight[c, k]) * int(x.values[i, c, t - 3 + k]) for k in range(4) if t - 3 + k >= 0
                )
                value = s_wx * total + (s_b * int(layer.bias[c]) if layer.bias is not None else 0.0)
                out[i, c, t] = value / (1 + math.exp(-value))
    return out


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31), l=st.integers(1, 12), bias=st.booleans())
def test_fp32_output_is_within_an_ulp_or_two_of_the_real_one(seed, l, bias):
    layer, x = conv(bias=bias, seed=seed), codes(l=l, seed=seed + 1)
    found = layer(x)
    assert found.scale is None
    exact = reference(layer, x)
    # The bias is rounded to FP32 before it is added: where the sum cancels it, its half ulp stays.
    offset = 0 if layer.bias is None else (layer.bias.double() * float(scalar(S_B))).abs()[:, None]
    assert bool(((found.values.double() - exact).abs() <= 2.0**-21 * exact.abs() + 2.0**-23 * offset).all())


def test_codes_and_grid_are_the_rounded_fp32():
    x = codes(l=40)
    plain, whole, grid = conv()(x), conv("int8")(x), conv("grid")(x)
    assert torch.equal(whole.values, PUBLISHED["conv1d"].rule(plain.values / scalar(S_OUT)))
    assert grid.scale is None
    assert torch.equal(grid.values, whole.dequantize())
    assert (plain.values / S_OUT).max() > 128  # the case the modes differ in
    assert whole.values.max() == 127


def test_causal_and_independent_of_the_batch():
    layer, x = conv(), codes(b=3, l=30)
    whole = layer(x).values
    assert torch.equal(layer(x.map(lambda v: v[:, :, :11])).values, whole[:, :, :11])
    assert torch.equal(layer(x.map(lambda v: v[1:2])).values, whole[1:2])


def test_dynamic_scale_is_per_item():
    x = codes(b=3, l=20)
    x.values[0] //= 8
    layer = conv(dynamic=True)
    whole = layer(x).values
    for item in range(3):
        assert torch.equal(layer(x.map(lambda v, i=item: v[i : i + 1])).values, whole[item : item + 1])
    taken = layer.take(x)
    assert taken.scale.shape == (3, 1, 1)
    assert torch.allclose(taken.scale.flatten(), x.dequantize().abs().amax((1, 2)) / 127)


def test_step_by_step_follows_the_prompt_up_to_rounding():
    layer, x = conv(), codes(l=12)
    window = torch.zeros(2, 6, 4, dtype=torch.int8)
    prompt = layer(x).values
    for t in range(12):
        value, window = layer.step(x.map(lambda v, t=t: v[:, :, t]), window)
        assert torch.allclose(value.values, prompt[:, :, t], rtol=1e-5, atol=1e-6)
    assert torch.equal(window, x.values[:, :, -4:])


def test_step_refuses_a_dynamic_scale():
    with pytest.raises(ValueError, match="static scales"):
        conv(dynamic=True).step(codes().map(lambda v: v[:, :, 0]), torch.zeros(2, 6, 4, dtype=torch.int8))


@pytest.mark.parametrize("block", [1, 100, 2**40])
def test_the_size_of_a_block_changes_no_bit(monkeypatch, block):
    layer, x = conv(bias=True, seed=5), codes(b=3, l=37, seed=6)
    whole = layer(x).values
    monkeypatch.setattr("quamba_lab.conv.BLOCK", block)
    assert layer(x).values.equal(whole)
