"""Hadamard matrices and their fast transform."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quamba_lab import hadamard
from quamba_lab.hadamard import (
    HadamardQuantize,
    base_matrix,
    hadamard_matrix,
    split_size,
    transform,
    transform_by_tensors,
)
from quamba_lab.quantized import AWAY_SATURATE
from quamba_lab.scans import build
from quamba_lab.sites import PUBLISHED

SIZES = [1, 2, 8, 12, 20, 24, 28, 40, 48, 56, 64, 80, 96, 112, 160, 192, 224, 384]


@pytest.mark.parametrize("n", [*SIZES, 1536])
def test_entries_are_signs_and_rows_are_orthogonal(n):
    h = hadamard_matrix(n, torch.float64)
    assert set(h.unique().tolist()) <= {-1.0, 1.0}
    assert torch.equal(h @ h.t(), n * torch.eye(n, dtype=torch.float64))


def test_the_largest_published_width_is_orthogonal():
    h = hadamard_matrix(5120, torch.float32)  # entries and sums below 2^24: exact
    rows = torch.randperm(5120, generator=torch.Generator().manual_seed(0))[:200]
    gram = h[rows] @ h.t()
    expected = torch.zeros(200, 5120)
    expected[torch.arange(200), rows] = 5120.0
    assert torch.equal(gram, expected)


@pytest.mark.parametrize(("n", "base"), [(1536, 12), (5120, 40), (384, 12), (768, 12), (2048, 1), (80, 40), (20, 20),
                                         (56, 28), (192, 12)])  # fmt: skip
def test_base_of_a_width(n, base):
    found, k = split_size(n)
    assert (found, found << k) == (base, n)


@pytest.mark.parametrize("n", [0, -4, 3, 6, 36, 44, 100, 768 * 3])
def test_a_width_without_a_matrix_is_refused(n):
    with pytest.raises(ValueError, match=f"size {n} "):
        split_size(n)


def test_first_rows_are_those_of_the_published_tables():
    rows = {
        12: ["+-++++++++++", "--+-+-+-+-+-", "+++-++----++"],
        40: ["+-------------------+-------------------", "++-++----+-+-++++--+++-++----+-+-++++--+"],
    }
    for n, expected in rows.items():
        found = ["".join("+" if x > 0 else "-" for x in row) for row in base_matrix(n)[: len(expected)].tolist()]
        assert found == expected


@pytest.mark.parametrize("n", SIZES)
def test_the_fast_transform_is_the_matrix_product(n):
    x = torch.randint(-1000, 1000, (3, 2, n), generator=torch.Generator().manual_seed(n)).double()
    assert torch.equal(transform(x), x @ hadamard_matrix(n, torch.float64).t())  # integers: exact


@settings(max_examples=25, deadline=None)
@given(st.sampled_from([8, 12, 40, 56, 192]), st.integers(0, 2**31), st.floats(1e-3, 1e3))
def test_fp32_is_close_to_fp64_and_half_is_computed_in_fp32(n, seed, size):
    x = (torch.randn(5, n, generator=torch.Generator().manual_seed(seed)) * size).half()
    exact = transform(x.double())
    single = transform(x)
    assert single.dtype == torch.float32
    bound = 2.0**-24 * n * x.double().abs().sum(-1, keepdim=True)
    assert ((single.double() - exact).abs() <= bound).all()
    assert torch.equal(single, transform(x.float()))


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([1, 2, 8, 12, 20, 28, 40, 48, 56, 80, 192, 384]), st.integers(1, 40), st.integers(0, 2**31),
    st.sampled_from([torch.float16, torch.float32, torch.float64]), st.sampled_from([None, 0.125, 0.3, 1e-3]),
    st.integers(1, 3),
)  # fmt: skip
def test_the_compiled_transform_has_the_bits_of_the_tensor_operations(n, rows, seed, dtype, scale, threads):
    generator = torch.Generator().manual_seed(seed)
    size = torch.exp2(torch.randint(-12, 12, (rows, n), generator=generator).double())  # sums that round at every step
    x = (torch.randn(rows, n, dtype=torch.float64, generator=generator) * size).to(dtype)
    x[torch.rand(rows, n, generator=generator) < 0.05] = 0.0
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        got = transform(x, scale)
    finally:
        torch.set_num_threads(before)
    expected = transform_by_tensors(x, scale)
    assert got.dtype == expected.dtype
    whole = torch.int64 if got.dtype == torch.float64 else torch.int32
    assert torch.equal(got.view(whole), expected.view(whole))


@pytest.mark.parametrize("n", [1536, 5120])
def test_the_published_widths_have_the_bits_of_the_tensor_operations(n):
    x = torch.randn(3, 17, n, generator=torch.Generator().manual_seed(n)).half()
    assert torch.equal(transform(x, 0.01).view(torch.int32), transform_by_tensors(x, 0.01).view(torch.int32))
    turned = x.transpose(0, 1)
    assert torch.equal(transform(turned), transform_by_tensors(turned))


@pytest.mark.parametrize("isa", [*build.ISA_FLAGS][[*build.ISA_FLAGS].index(build.cpu_isa()) :])
def test_every_build_of_the_transform_gives_the_same_bits(isa, monkeypatch):
    x = torch.randn(37, 384, generator=torch.Generator().manual_seed(3))
    monkeypatch.setattr(hadamard, "_library", lambda: build.cpu_library("hadamard.cpp", isa=isa))
    assert torch.equal(transform(x, 0.3), transform_by_tensors(x, 0.3))


def test_without_a_compiler_the_tensor_operations_serve(monkeypatch):
    x = torch.randn(5, 48, generator=torch.Generator().manual_seed(4))
    compiled = transform(x)
    monkeypatch.setattr(hadamard, "_library", lambda: None)
    assert torch.equal(transform(x), compiled)


def test_twice_scaled_by_the_root_gives_the_input_back():
    x = torch.randn(4, 384, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    once = transform(x, 1 / math.sqrt(384))
    back = once @ hadamard_matrix(384, torch.float64) / math.sqrt(384)
    assert torch.allclose(back, x, atol=1e-13, rtol=0)


def test_the_order_of_additions_does_not_depend_on_the_batch():
    x = torch.randn(1000, 384, generator=torch.Generator().manual_seed(2)).half()
    whole = transform(x)
    assert torch.equal(whole[:1], transform(x[:1]))
    assert torch.equal(whole[500:], transform(x[500:]))


def test_the_published_site_wraps_where_the_clamped_form_saturates():
    channels = 12
    y = torch.zeros(1, 1, channels, dtype=torch.float16)
    y[..., 0] = math.sqrt(channels)  # transforms to ±1 everywhere
    scale = torch.tensor(1 / 130.0)
    published = HadamardQuantize(PUBLISHED["hadamard"], channels, scale)(y)
    clamped = HadamardQuantize(PUBLISHED["hadamard"].with_rule(AWAY_SATURATE), channels, scale)(y)
    signs = base_matrix(12)[:, 0]
    assert torch.equal(clamped.values[0, 0], torch.where(signs > 0, 127, -128).to(torch.int8))
    assert torch.equal(published.values[0, 0], torch.where(signs > 0, 130 - 256, 256 - 130).to(torch.int8))
    assert float(published.scale) == float(scale)
