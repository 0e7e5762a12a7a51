"""Exact integer products on every path, and the requantization sites."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quamba_lab.projections import FLOAT32_BLOCK, INT32_LIMIT, PATHS, Projection, default_path, integer_product
from quamba_lab.quantized import AWAY_SATURATE, EVEN_SATURATE, Quantized
from quamba_lab.sites import ASSOCIATIONS, PUBLISHED, RequantizationSite

EXTREME = (-128, -127, -1, 0, 1, 127)


# torch's INT8 product is left out where this processor's is not exact: default_path gives it to no one there either.
HERE = [path for path in PATHS if path != "int_mm" or default_path("cpu") == "int_mm"]


@pytest.mark.parametrize("path", HERE)
@pytest.mark.parametrize(("left", "right"), [(-128, -128), (127, -128), (-128, 127), (127, 127)])
def test_k_5120_with_extreme_codes(path, left, right):
    a = torch.full((3, 5120), left, dtype=torch.int8)
    b = torch.full((16, 5120), right, dtype=torch.int8)
    assert set(integer_product(a, b, path).flatten().tolist()) == {sum(left * right for _ in range(5120))}


@pytest.mark.parametrize("path", HERE)
@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 9), st.sampled_from([1, 7, 96, 1024, 1025, 5120]), st.integers(1, 9))
def test_against_python_integers(path, seed, r, k, n):
    pool = torch.tensor(EXTREME, dtype=torch.int8)
    generator = torch.Generator().manual_seed(seed)
    a = pool[torch.randint(len(pool), (r, k), generator=generator)]
    b = pool[torch.randint(len(pool), (n, k), generator=generator)]
    rows, columns = a.tolist(), b.tolist()
    expected = [[sum(x * y for x, y in zip(row, column, strict=True)) for column in columns] for row in rows]
    found = integer_product(a, b, path)
    assert found.dtype == torch.int32
    assert found.tolist() == expected


def test_the_fp32_block_is_the_longest_exact_one():
    assert FLOAT32_BLOCK * 128 * 128 == 2**24
    assert INT32_LIMIT * 128 * 128 == 2**31


def test_too_many_inputs_and_unknown_paths_are_refused():
    a = torch.zeros(1, INT32_LIMIT, dtype=torch.int8)
    with pytest.raises(ValueError, match=str(INT32_LIMIT)):
        integer_product(a, a)
    with pytest.raises(ValueError, match="float32_blocks"):
        integer_product(a[:, :8], a[:, :8], "bf16")


def projection(name="x_proj", sites=PUBLISHED, output_scale=0.03, **options):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randint(-127, 128, (32, 48), dtype=torch.int8, generator=generator)
    scales = [torch.tensor(x, dtype=torch.float32) for x in (0.0031, 0.017)]
    return Projection(
        name, sites, weight, *scales, None if output_scale is None else torch.tensor(output_scale), **options
    )


def codes(*shape, seed=1):
    values = torch.randint(-128, 128, shape, dtype=torch.int8, generator=torch.Generator().manual_seed(seed))
    return Quantized(values, torch.tensor(0.017))


def exact(layer, x):
    """The real quotient of every output, as fractions."""
    s_w, s_in, s_out = (Fraction(float(s)) for s in (layer.weight_scale, layer.input_scale, layer.output_scale))
    acc = integer_product(x.values.reshape(-1, x.shape[-1]), layer.weight, "float64").flatten().tolist()
    return [int(a) * s_w * s_in / s_out for a in acc]


@pytest.mark.parametrize("association", ASSOCIATIONS[:3])
def test_every_association_is_within_half_a_code_of_the_real_quotient(association):
    site = RequantizationSite("x_proj", association, EVEN_SATURATE)
    layer = projection(sites={**PUBLISHED, "x_proj": site})
    x = codes(2, 5, 48)
    for code, real in zip(layer(x).values.flatten().tolist(), exact(layer, x), strict=True):
        clipped = max(-128, min(127, real))
        assert abs(code - clipped) <= Fraction(1, 2) + abs(clipped) * Fraction(1, 2**22)


def test_the_associations_are_different_arithmetic():
    accumulator = torch.arange(-200_000, 200_000, dtype=torch.float32)
    factors = projection().factors
    results = []
    for association in ASSOCIATIONS[:3]:
        value = accumulator.clone()
        for factor in factors[association]:
            value = value * factor
        results.append(value)
    assert len({tuple(value.tolist()) for value in results}) == 3
    assert all(torch.allclose(value, results[0], rtol=3e-7) for value in results)


def test_the_factors_are_those_of_the_published_layer():
    layer = projection()
    s_w, s_in, s_out = layer.weight_scale, layer.input_scale, layer.output_scale
    ratio = float(torch.tensor(float(s_in) / float(s_out), dtype=torch.float32))
    assert layer.factors["weight·(ratio·acc)"] == (ratio, float(s_w))
    assert layer.factors["ratio·(weight·acc)"] == (float(s_w), ratio)
    assert layer.factors["alpha·acc"] == (float(s_w * s_in / s_out),)


def test_one_row_takes_the_one_row_site_unless_the_sequence_is_last():
    always_127 = RequantizationSite("x_proj/one_row", "alpha·acc", AWAY_SATURATE)
    seen = []
    for options in ({}, {"sequence_last": True}):
        layer = projection(sites={**PUBLISHED, "x_proj/one_row": always_127}, **options)
        for name in ("prompt_rounding", "one_row_rounding", "rows_rounding"):
            getattr(layer, name).register_forward_hook(lambda *_, n=name: seen.append(n))
        layer(codes(1, 1, 48))
        layer(codes(1, 3, 48))
        layer.step(codes(1, 48))
        layer.step(codes(2, 48))
    one, prompt, rows = "one_row_rounding", "prompt_rounding", "rows_rounding"
    assert seen == [one, prompt, one, rows, prompt, prompt, one, rows]


def test_shapes_and_dtypes():
    x = codes(2, 5, 48)
    rows, last = projection()(x), projection(sequence_last=True, name="in_proj")(x)
    assert tuple(rows.shape) == (2, 5, 32)
    assert tuple(last.shape) == (2, 32, 5)
    assert last.values.is_contiguous()
    half = projection(output_scale=None, name="out_proj")(x)
    assert half.dtype == torch.float16
    assert tuple(half.shape) == (2, 5, 32)


def test_an_unknown_association_is_refused():
    with pytest.raises(ValueError, match="acc·magic"):
        RequantizationSite("x_proj", "acc·magic", EVEN_SATURATE)
