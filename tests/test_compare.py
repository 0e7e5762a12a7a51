"""A planted difference of known size and place must be reported as exactly that."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some

from quamba_lab import thresholds
from quamba_lab.compare import (
    ULP_BINS,
    closer_to,
    difference,
    first_divergence,
    relative_rms,
    spacing,
    summarize,
    ulp_distance,
    ulp_histogram,
    ulp_keys,
)
from quamba_lab.quantized import Quantized

FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def random(dtype=torch.float16, shape=(2, 5, 7), seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


@pytest.mark.parametrize("dtype", FLOATS)
def test_keys_order_all_floats_and_neighbours_differ_by_one(dtype):
    tiny = torch.finfo(dtype).tiny
    x = torch.tensor([-math.inf, -2.0, -1.0, -tiny, -0.0, 0.0, tiny, 1.0, math.inf], dtype=dtype)
    keys = ulp_keys(x)
    assert (keys.diff() >= 0).all()
    assert keys[4] == keys[5] == 0
    one = torch.tensor([1.0], dtype=dtype)
    assert ulp_distance(one, one + torch.finfo(dtype).eps).item() == 1
    assert spacing(one).item() == torch.finfo(dtype).eps


@given(some.floats(width=32, allow_nan=False), some.integers(-3, 3))
@settings(max_examples=100, deadline=None)
def test_ulp_distance_counts_steps(value, steps):
    x = torch.tensor([value], dtype=torch.float32)
    y = x.clone()
    for _ in range(abs(steps)):
        y = torch.nextafter(y, torch.tensor([math.inf if steps > 0 else -math.inf]))
    if torch.isfinite(y).all() and torch.isfinite(x).all():
        assert ulp_distance(x, y).item() == abs(steps)


def test_one_element_one_ulp_is_reported_as_that():
    a = random()
    b = a.clone()
    b.view(torch.int16)[1, 2, 3] += 1
    found = difference(a, b)
    assert (found.differing, found.first, found.max_ulp) == (1, (1, 2, 3), 1)
    assert found.first_values == (float(a[1, 2, 3]), float(b[1, 2, 3]))
    assert found.max_abs == pytest.approx(float(spacing(a)[1, 2, 3]))
    assert found.ulps["1"] == 1
    assert sum(found.ulps.values()) == a.numel()
    assert found.relative_rms == pytest.approx(relative_rms(b, a))
    assert found.sqnr_db == pytest.approx(-20 * math.log10(found.relative_rms))
    assert not found.equal


def test_equal_is_bit_equal_except_for_the_sign_of_zero_and_nan():
    a = torch.tensor([0.0, 1.0, math.nan])
    b = torch.tensor([-0.0, 1.0, math.nan])
    found = difference(a, b)
    assert found.differing == 0
    assert "not finite" in found.note
    assert difference(a[:2], b[:2]).equal


def test_codes_come_before_scales_before_values():
    a = Quantized(torch.tensor([[1, 2], [3, -128]], dtype=torch.int8), torch.tensor(0.5))
    other_scale = Quantized(a.values, torch.tensor(0.25))
    found = difference(a, other_scale)
    assert found.differing == 0
    assert "scales differ" in found.note
    assert not found.equal
    other_code = Quantized(torch.tensor([[1, 2], [4, -128]], dtype=torch.int8), a.scale)
    found = difference(a, other_code)
    assert (found.differing, found.first, found.first_values, found.max_abs) == (1, (1, 0), (3.0, 4.0), 0.5)
    assert (found.max_ulp, found.ulps["0"], found.ulps["1"]) == (1, 3, 1)  # of codes, a ULP is a code
    far = difference(a, Quantized(torch.tensor([[1, 2], [3, 127]], dtype=torch.int8), a.scale))
    assert (far.max_ulp, far.ulps["65-1024"]) == (255, 1)
    assert difference(a, a.dequantize()).equal  # values on the grid are the codes' values


@pytest.mark.parametrize(
    ("a", "b", "sentence"),
    [
        (torch.zeros(2, 3), torch.zeros(3, 2), "shapes differ"),
        (torch.zeros(0, 3), torch.zeros(0, 3), "no element"),
        (torch.tensor([1.0, math.inf]), torch.tensor([1.0, 2.0]), "not finite"),
        (torch.tensor([math.nan]), torch.tensor([1.0]), "not finite"),
    ],
)
def test_strange_tensors_end_in_a_sentence(a, b, sentence):
    found = difference(a, b)
    assert sentence in found.note
    assert not found.equal


def test_histogram_puts_every_distance_into_one_bin():
    counts = ulp_histogram(torch.tensor([0, 1, 2, 3, 4, 5, 8, 9, 16, 64, 65, 1024, 1025, -1]))
    assert counts == dict(zip(ULP_BINS, [1, 1, 1, 2, 2, 2, 1, 2, 1, 1], strict=True))


def test_who_is_closer_to_the_truth():
    truth = random(torch.float64)
    near, far = truth.float(), truth.half()
    which, error_near, error_far = closer_to(truth, near, far)
    assert which == "a"
    assert error_near < 1e-7 < 1e-4 < error_far
    assert closer_to(truth, far, far)[0] == "equal"
    assert closer_to(truth, far * math.nan, far)[0] == "unknown"


def test_first_divergence_names_the_stage_beyond_its_floor():
    a = [random(torch.float32, seed=i) for i in range(3)]
    b = [x.clone() for x in a]
    b[1] = b[1] * (1 + 2**-20)
    b[2] = b[2] * 1.01
    stages = list(zip(("first", "second", "third"), a, b, strict=True))
    assert first_divergence(stages).name == "second"
    assert first_divergence(stages, 1e-5).name == "third"
    assert first_divergence(stages[:1]) is None
    assert first_divergence([("shape", a[0], a[0][:1])], 1e-5).name == "shape"
    assert first_divergence([]) is None


def test_summary_of_codes_and_of_a_broken_tensor():
    q = Quantized(torch.tensor([[-128, 127, 127]], dtype=torch.int8), torch.tensor(0.5))
    s = summarize(q)
    assert (s.shape, s.dtype, s.scale, s.low, s.high, s.distinct) == ((1, 3), "int8", 0.5, -64.0, 63.5, 2)
    assert s.mean == pytest.approx(21.0)
    broken = summarize(torch.tensor([math.nan, math.inf]))
    assert broken.not_finite == 2
    assert math.isnan(broken.mean)


def test_every_threshold_says_where_it_comes_from():
    table = thresholds.table()
    assert (table["source"].str.len() > 20).all()
    assert (table["value"] >= 0).all()
    assert thresholds.threshold("y.error_rms", torch.float16) == thresholds.unit_roundoff(torch.float16)
    with pytest.raises(ValueError, match="no threshold 'speed'"):
        thresholds.threshold("speed", torch.float16)
