"""The configurable scan: two of its points are the registered scans, bit for bit; every switch changes something."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quamba_lab import scans
from quamba_lab.compare import difference, relative_rms
from quamba_lab.quantized import EVEN_SATURATE
from quamba_lab.scans import random_inputs
from quamba_lab.scans.host_arithmetic import fused, fused_by_tensors
from quamba_lab.scans.oracle import oracle_float64
from quamba_lab.scans.published import published, published_taps
from quamba_lab.scans.torch_scan import torch_int8, torch_taps
from quamba_lab.scans.variants import PUBLISHED, SWITCHES, TORCH_INT8, Variant, run, taps


@st.composite
def problems(draw):
    groups = draw(st.integers(1, 2))
    length = draw(st.one_of(st.integers(1, 40), st.sampled_from([127, 128, 129, 257, 513, 1025, 2049])))
    return random_inputs(
        draw(st.integers(1, 2)), groups * draw(st.integers(1, 3)), length, draw(st.sampled_from([1, 3, 16, 17])),
        groups, seed=draw(st.integers(0, 999)), z=draw(st.booleans()), D=draw(st.booleans()),
        dt_bias=draw(st.booleans()), softplus=draw(st.booleans()), extreme=draw(st.sampled_from([False, False, True])),
        state_scale=draw(st.sampled_from([None, 0.02])),
    )  # fmt: skip


def assert_same(got, expected):
    assert difference(got.y, expected.y).equal or bool((got.y.isnan() == expected.y.isnan()).all())
    assert torch.equal(torch.nan_to_num(got.y, 7.0), torch.nan_to_num(expected.y, 7.0))
    assert torch.equal(torch.nan_to_num(got.last_state, 7.0), torch.nan_to_num(expected.last_state, 7.0))


@settings(max_examples=40, deadline=None)
@given(problems())
def test_the_published_point_is_the_host_build(x):
    assert_same(run(x, PUBLISHED), published(x))


@settings(max_examples=40, deadline=None)
@given(problems())
def test_the_torch_point_is_the_torch_scan(x):
    assert_same(run(x, TORCH_INT8), torch_int8(x))


@pytest.mark.parametrize("length", [1, 100, 300, 600, 1500])
def test_inside_too_both_points_are_the_scans(length):
    x = random_inputs(1, 6, length, 16, seed=length)
    for variant, expected in ((PUBLISHED, published_taps(x)), (TORCH_INT8, torch_taps(x))):
        found = taps(x, variant)
        for name, tensor in expected.items():
            assert torch.equal(found[name], tensor), name


def test_a_layer_of_the_shipped_model_is_covered_too():
    from quamba_lab.steps import Workbook

    book = Workbook(limit=1, cache_dir=False)
    for layer in (0, 7):
        x = book.scan_inputs("0", layer)
        assert torch.equal(run(x, PUBLISHED).y, published(x).y)
        assert torch.equal(run(x, TORCH_INT8).y, torch_int8(x).y)
        assert torch.equal(run(x, PUBLISHED).last_state, published(x).last_state)


def _exact(a, b, c) -> np.float32:
    """The float32 nearest to a·b + c, ties to even, by rational arithmetic."""
    value = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
    guess = np.float32(float(value))
    around = [np.nextafter(guess, np.float32(-np.inf)), guess, np.nextafter(guess, np.float32(np.inf))]
    finite = [v for v in around if np.isfinite(v)]
    return min(finite, key=lambda v: (abs(Fraction(float(v)) - value), int(v.view(np.int32)) & 1))


floats = st.floats(-1e6, 1e6, width=32)


@settings(max_examples=300, deadline=None)
@given(floats, floats, floats)
def test_fused_rounds_once(a, b, c):
    for form in (fused, fused_by_tensors):
        got = form(*(torch.tensor([v], dtype=torch.float32) for v in (a, b, c))).numpy()[0]
        assert got == _exact(*map(np.float32, (a, b, c)))


@pytest.mark.parametrize("fused", [fused, fused_by_tensors])
def test_fused_at_a_double_rounding(fused):
    """1 + 2^-24 + a product too small for float64 to keep: two roundings give 1, one gives the next number."""
    one = torch.tensor([1.0])
    tiny, a = torch.tensor([2.0**-40]), torch.tensor([2.0**-12 + 2.0**-35])
    # the product is 2^-24 + 2^-46 + 2^-70: just above the middle of 1 and the next float32
    assert fused(a, a, one).item() == 1.0 + 2.0**-23
    assert fused(tiny, tiny, one).item() == 1.0
    # just above the middle by less than a float64 can say
    c = torch.tensor([1.0])
    a, b = torch.tensor([2.0**-24 * (1 + 2.0**-23)]), torch.tensor([1.0 - 2.0**-23 + 2.0**-24])
    assert fused(a, b, c).item() == _exact(a.numpy()[0], b.numpy()[0], np.float32(1.0))
    assert fused(-a, b, -c).item() == -fused(a, b, c).item()


@pytest.mark.parametrize("fused", [fused, fused_by_tensors])
def test_fused_below_the_normal_range(fused):
    a, b = torch.tensor([3.0 * 2.0**-75]), torch.tensor([1.0 * 2.0**-75])
    c = torch.tensor([2.0**-149 * 5])
    assert fused(a, b, c).item() == _exact(a.numpy()[0], b.numpy()[0], c.numpy()[0])


@pytest.mark.parametrize("name", [name for name in SWITCHES if name not in ("cast", "requantize")])
def test_every_value_of_every_switch_is_an_honest_scan(name):
    """Within float32 rounding of FP64, whatever one switch says, from either of the two points."""
    x = random_inputs(1, 8, 140, 16, seed=4)
    truth, _ = oracle_float64(x)
    for base in (TORCH_INT8, PUBLISHED):
        for value in SWITCHES[name]:
            got = run(x, replace(base, **{name: value})).y
            assert relative_rms(got, truth) < 4e-4, (name, value)


@pytest.mark.parametrize("name", ["association", "exp", "order", "contraction", "skip", "gate", "bias", "softplus"])
def test_every_switch_alone_changes_a_bit_inside(name):
    x = random_inputs(1, 16, 140, 16, seed=5)
    base, other = (PUBLISHED, TORCH_INT8) if name == "skip" else (TORCH_INT8, PUBLISHED)
    moved = replace(base, **{name: getattr(other, name)})
    assert not torch.equal(taps(x, moved)["gate"], taps(x, base)["gate"])


def test_where_the_skip_enters_matters_only_to_a_sum_that_is_taken_term_by_term():
    x = random_inputs(1, 16, 140, 16, seed=5)
    assert torch.equal(taps(x, replace(TORCH_INT8, skip="first"))["gate"], taps(x, TORCH_INT8)["gate"])


def test_state_switches_change_the_state_and_its_codes():
    x = random_inputs(1, 16, 60, 16, seed=6, state_scale=0.02)
    per_token = run(x, replace(TORCH_INT8, requantize="token"))
    assert relative_rms(per_token.y, run(x, TORCH_INT8).y) > 1e-3
    assert run(x, replace(TORCH_INT8, requantize="never")).last_state.dtype == torch.float32
    half = replace(x, state_scale=torch.tensor(1.0))
    assert run(half, replace(TORCH_INT8, rule=EVEN_SATURATE)).last_state.dtype == torch.int8


def test_both_points_are_in_the_registry():
    assert {"published", "torch_int8"} <= set(scans.names())
    assert Variant() == TORCH_INT8
