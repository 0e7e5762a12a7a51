"""The fast forms of the PyTorch scans give the bits of the plain loop: y and the last state, on every shape."""

from __future__ import annotations

import ctypes
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quamba_lab.quantized import Quantized
from quamba_lab.scans import build, random_inputs, torch_scan
from quamba_lab.scans.torch_scan import plain_scan, torch_fp32, torch_fp64, torch_int8

DTYPES = (torch.float32, torch.float64)


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Equal as bits, so that -0 differs from 0; every NaN counts as the same."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if not a.is_floating_point():
        return torch.equal(a, b)
    a, b = (torch.where(x.isnan(), torch.full_like(x, float("nan")), x) for x in (a, b))
    integer = {2: torch.int16, 4: torch.int32, 8: torch.int64}[a.element_size()]
    return torch.equal(a.contiguous().view(integer), b.contiguous().view(integer))


def assert_equal_to_plain(x, dtype, forms=None):
    expected = plain_scan(x, dtype)
    for form in forms or (torch_scan._scan, torch_scan._blocked):
        got = form(x, dtype)
        assert same_bits(got.y, expected.y), (form.__name__, x.u.shape, x.states)
        assert same_bits(got.last_state, expected.last_state), (form.__name__, x.u.shape, x.states)


@st.composite
def problems(draw):
    groups = draw(st.integers(1, 4))
    length = draw(st.one_of(st.integers(1, 70), st.sampled_from([127, 128, 129, 255, 256, 257, 300, 513])))
    states = draw(st.sampled_from([1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 16, 16, 17, 31, 32, 33]))
    x = random_inputs(
        draw(st.integers(1, 3)), groups * draw(st.integers(1, 6)), length, states, groups,
        seed=draw(st.integers(0, 999)), z=draw(st.booleans()), D=draw(st.booleans()), dt_bias=draw(st.booleans()),
        softplus=draw(st.booleans()), extreme=draw(st.sampled_from([False, False, True])),
        state_scale=draw(st.sampled_from([None, 0.02])),
    )  # fmt: skip
    if draw(st.booleans()):
        x = replace(x, u=Quantized(x.u.dequantize() * 1.1, None))
    return x


@settings(max_examples=120, deadline=None)
@given(problems(), st.sampled_from(DTYPES))
def test_every_form_equals_the_plain_loop(x, dtype):
    assert_equal_to_plain(x, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(5, 48, 90, 16, 1), (1, 24, 1023, 16, 3), (2, 8, 3000, 16, 1), (1, 2, 40, 256, 2)])
def test_larger_shapes_equal_the_plain_loop(dtype, shape):
    assert_equal_to_plain(random_inputs(*shape, seed=1, state_scale=0.01), dtype)


def test_tensors_that_are_views_of_another_layout():
    x = random_inputs(2, 24, 200, 16, seed=3)

    def permuted(q):
        return q.map(lambda v: v.transpose(1, 2).contiguous().transpose(1, 2))

    assert_equal_to_plain(replace(x, u=permuted(x.u), dt=permuted(x.dt), z=permuted(x.z)), torch.float32)


@pytest.mark.parametrize("threads", [1, 2])
def test_any_number_of_threads_equals_the_plain_loop_of_as_many(threads):
    """softplus itself depends on how torch splits a tensor, so the plain loop runs with the same number."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert_equal_to_plain(random_inputs(3, 37, 301, 16, seed=5), torch.float32)
    finally:
        torch.set_num_threads(before)


def test_softplus_at_the_ragged_end_gets_rows_of_its_own():
    """softplus ends a tensor with other code than it uses inside; the table of decays must not hide that."""
    x = random_inputs(1, 7, 297, 16, seed=2)
    dt = torch_scan._per_channel(x, torch.float32)[1]
    library = build.cpu_library("recurrence.cpp")
    A = -torch.exp(x.A_log.dequantize())
    index, rows = torch_scan._decay_rows(x, dt, A, slice(0, 7), library)
    exact = torch.exp(dt[..., None] * A[None, :, None, :])
    assert same_bits(rows[index.long()], exact)
    # a dt that no code gives, at more places than the first guess of how many there are
    odd = dt.clone()
    odd[0, 2, 5:205] *= 1.0000001
    index, rows = torch_scan._decay_rows(x, odd, A, slice(0, 7), library)
    assert rows.shape[0] >= 7 * 256 + 200
    assert same_bits(rows[index.long()], torch.exp(odd[..., None] * A[None, :, None, :]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 12, 16, 17, 31, 64, 100, 255, 256])
def test_the_sum_has_the_order_of_the_library(dtype, n):
    lanes = torch_scan._sum_lanes(dtype, n)
    assert lanes is not None, "torch.sum adds in an order that csrc/recurrence.cpp does not know: teach it that order"
    generator = torch.Generator().manual_seed(7)
    add = getattr(build.cpu_library("recurrence.cpp"), f"library_sum_{torch_scan._SUFFIX[dtype]}")
    for shape in [(1, 1, 1, n), (2, 3, 500, n), (1, 1, 4001, n), (3, 1, 1, n)]:
        products = torch.randn(shape, generator=generator, dtype=dtype)
        mine = torch.empty(shape[:-1], dtype=dtype)
        pointers = (ctypes.c_void_p(t.data_ptr()) for t in (products, mine))
        add(lanes, *pointers, ctypes.c_int64(mine.numel()), n)
        assert same_bits(products.sum(-1), mine)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 255, 1000, 4097, 70001])
def test_exp_does_not_depend_on_where_a_number_stands(dtype, size):
    x = torch.rand(70001, generator=torch.Generator().manual_seed(1), dtype=dtype) * -30
    whole = torch.exp(x)
    for start in {0, 1, 3, 70001 - size} if size < 60000 else {0}:
        part = torch.exp(x[start : start + size].clone())
        assert same_bits(part, whole[start : start + size])


def test_without_a_compiler_the_blocks_take_over(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    torch_scan._sum_lanes.cache_clear()
    x = random_inputs(2, 6, 40, seed=4)
    output = torch_int8(x)
    torch_scan._sum_lanes.cache_clear()
    assert "blocks of steps" in output.build
    assert same_bits(output.y, plain_scan(x).y)


def test_the_record_says_what_ran():
    x = random_inputs(1, 4, 10)
    assert "float32" in torch_fp32(x).build
    assert "C++" in torch_int8(x).build
    assert "float64" in torch_fp64(x).build


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "shape", [(1, 6, 1, 16, 1), (2, 24, 33, 16, 3), (3, 64, 513, 16, 1), (1, 1536, 300, 16, 1), (2, 4, 50, 100, 2)]
)
def test_the_kernel_equals_the_plain_loop_on_a_gpu(dtype, shape):
    x = random_inputs(*shape, seed=1, state_scale=0.01, device="cuda")
    expected, got = plain_scan(x, dtype), torch_scan._scan(x, dtype)
    assert "CUDA" in got.build
    assert same_bits(got.y, expected.y)
    assert same_bits(got.last_state, expected.last_state)
