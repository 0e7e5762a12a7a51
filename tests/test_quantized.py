"""Codes, scales and rounding rules, against exact rational arithmetic."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quamba_lab.quantized import (
    AWAY_SATURATE,
    AWAY_WRAP,
    EVEN_SATURATE,
    EVEN_SYMMETRIC,
    Quantized,
    RoundingRule,
    check_scale,
    round_half_away,
)

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
NEAR_CODES = st.one_of(
    FLOATS, st.floats(-140, 140, width=32), st.integers(-300, 300).map(lambda k: k / 2), st.just(0.49999997)
)
RULES = st.builds(
    RoundingRule,
    ties=st.sampled_from(["even", "away"]),
    low=st.sampled_from([-128, -127, 0]),
    high=st.sampled_from([127, 7]),
    overflow=st.sampled_from(["saturate", "wrap"]),
)


def exact_round(value: float, ties: str) -> int:
    """The nearest integer of a finite float, by rational arithmetic."""
    x = Fraction(value)
    if ties == "even":
        return round(x)
    return int(abs(x) + Fraction(1, 2)) * (1 if x >= 0 else -1)


def exact_code(value: float, rule: RoundingRule) -> int:
    whole = exact_round(value, rule.ties)
    if rule.overflow == "saturate":
        return min(max(whole, rule.low), rule.high)
    whole = min(max(whole, -(2**31)), 2**31 - 1)
    return (whole + 128) % 256 - 128


@settings(max_examples=300, deadline=None)
@given(st.lists(NEAR_CODES, min_size=1, max_size=20), RULES)
def test_codes_are_those_of_exact_arithmetic(values, rule):
    codes = rule(torch.tensor(values, dtype=torch.float32))
    assert codes.dtype == torch.int8
    assert codes.tolist() == [exact_code(v, rule) for v in np.float32(values).tolist()]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20), RULES)
def test_float64_rounds_as_exactly(values, rule):
    assert rule(torch.tensor(values, dtype=torch.float64)).tolist() == [exact_code(v, rule) for v in values]


@settings(max_examples=200, deadline=None)
@given(st.lists(FLOATS, min_size=1, max_size=20))
def test_round_half_away_is_roundf(values):
    x = torch.tensor(values, dtype=torch.float32)
    assert [int(v) for v in round_half_away(x).tolist()] == [exact_round(v, "away") for v in x.tolist()]


def test_the_largest_float_below_one_half_rounds_to_zero():
    assert round_half_away(torch.tensor([0.49999997, -0.49999997])).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (EVEN_SATURATE, [0, 2, 2, -2, 127, 127, -128, -128]),
        (AWAY_SATURATE, [1, 2, 3, -3, 127, 127, -128, -128]),
        (AWAY_WRAP, [1, 2, 3, -3, -128, -56, 127, -128]),
        (EVEN_SYMMETRIC, [0, 2, 2, -2, 127, 127, -127, -127]),
    ],
)
def test_ties_and_range_of_the_named_rules(rule, expected):
    values = torch.tensor([0.5, 1.5, 2.5, -2.5, 127.5, 200.0, -129.0, -128.0])
    assert rule(values).tolist() == expected


def test_nan_and_infinity():
    values = torch.tensor([float("nan"), float("inf"), -float("inf"), 2.0**31, -(2.0**31), 2.0**40])
    assert EVEN_SATURATE(values).tolist() == [0, 127, -128, 127, -128, 127]
    # a C conversion saturates to int32 first: 2^31 - 1 ends in 0xFF, -2^31 in 0x00
    assert AWAY_WRAP(values).tolist() == [0, -1, 0, -1, 0, -1]


def test_wrap_takes_the_low_byte_near_the_edge_of_int32():
    values = torch.tensor([2147483520.0, -2147483648.0, 2147483392.0])  # the last floats below 2^31
    assert AWAY_WRAP(values).tolist() == [exact_code(v, AWAY_WRAP) for v in values.tolist()] == [-128, 0, 0]


@pytest.mark.parametrize(
    "arguments", [{"ties": "up"}, {"overflow": "clip"}, {"low": -129}, {"high": 128}, {"low": 5, "high": 5}]
)
def test_an_impossible_rule_is_refused(arguments):
    with pytest.raises(ValueError, match=str(next(iter(arguments.values())))):
        RoundingRule(**arguments)


@settings(max_examples=200, deadline=None)
@given(st.integers(-128, 127), st.floats(2.0**-60, 2.0**60, width=32))
def test_dequantization_is_one_rounding(code, scale):
    q = Quantized(torch.tensor([code], dtype=torch.int8), torch.tensor(scale, dtype=torch.float32))
    exact = Fraction(code) * Fraction(scale)
    assert q.dequantize().item() == np.float32(float(exact))  # float(Fraction) is exact here: 8 + 24 bits
    assert Fraction(q.dequantize(torch.float64).item()) == exact


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=30), st.floats(0.0078125, 2, width=32))
def test_quantizing_errs_by_half_a_step_inside_the_range(values, scale):
    x = torch.tensor(values, dtype=torch.float32)
    q = Quantized.from_float(x, torch.tensor(scale, dtype=torch.float32))
    inside = (x / scale).abs() <= 127
    error = (q.dequantize(torch.float64) - x.double()).abs()[inside]
    # half a step, and the rounding of the quotient x / scale: at most 127.5 * 2^-24 of a step
    assert (error <= scale * (0.5 + 127.5 * 2.0**-24)).all()


def test_without_a_scale_the_largest_value_gets_the_largest_code():
    q = Quantized.from_float(torch.tensor([-3.0, 1.5, 0.0]))
    assert q.values.tolist() == [-127, 64, 0]
    assert q.scale.item() == np.float32(3.0) / np.float32(127.0)
    assert Quantized.from_float(torch.zeros(3)).values.tolist() == [0, 0, 0]


def test_floats_without_a_scale_pass_through():
    x = torch.randn(5)
    q = Quantized(x, None)
    assert torch.equal(q.dequantize(), x)
    assert q.map(lambda v: v[:2]).shape == (2,)
    assert q.to("cpu").device == torch.device("cpu")


def test_codes_need_a_scale_and_floats_take_none():
    with pytest.raises(ValueError, match="without a scale"):
        Quantized(torch.zeros(2, dtype=torch.int8), None)
    with pytest.raises(ValueError, match="must be int8"):
        Quantized(torch.zeros(2), torch.tensor(1.0))


@pytest.mark.parametrize(
    "scale",
    [
        torch.tensor(0.0), torch.tensor(-1.0), torch.tensor(float("nan")), torch.tensor(float("inf")),
        torch.tensor([1.0, 2.0]), torch.tensor(1.0, dtype=torch.float64), 0.5,
    ],
)  # fmt: skip
def test_a_scale_is_one_finite_positive_float32(scale):
    with pytest.raises(ValueError, match="state_scale"):
        check_scale(scale, "state_scale")
    check_scale(torch.tensor([0.5]))
