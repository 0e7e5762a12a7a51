"""The folded scan on a CPU: close to FP64, the same bits in every build, for any threads, batch and later tokens."""

from __future__ import annotations

import ctypes
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quamba_lab import scans
from quamba_lab.quantized import Quantized
from quamba_lab.scans import ScanError, build, random_inputs
from quamba_lab.scans.folded_cpu import folded_cpu, folded_cpu_taps
from quamba_lab.scans.oracle import oracle, oracle_float64, oracle_taps, quantize_state, to_half
from quamba_lab.scans.taps import certified_taps
from quamba_lab.scans.torch_scan import torch_int8, torch_taps

HERE = [isa for isa in ("avx512", "avx2") if isa == build.cpu_isa() or build.cpu_isa() == "avx512"]
U = 2.0**-24  # unit roundoff of float32


def inputs(draw, longest=200):
    lengths, states = st.integers(1, longest), st.sampled_from([1, 2, 7, 15, 16, 16, 17, 33])
    groups = draw(st.integers(1, 4))
    x = random_inputs(
        draw(st.integers(1, 3)), groups * draw(st.integers(1, 9)), draw(lengths), draw(states), groups,
        seed=draw(st.integers(0, 999)), z=draw(st.booleans()), D=draw(st.booleans()), dt_bias=draw(st.booleans()),
        softplus=draw(st.sampled_from([True, True, True, False])), state_scale=draw(st.sampled_from([None, 0.02])),
    )  # fmt: skip
    if not x.softplus:  # keep the decay a decay
        x = replace(x, dt=x.dt.map(lambda v: v.abs().clamp(max=127)), dt_bias=None)
    return x


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_error_before_the_cast_stays_within_its_bound(data):
    """|error of the gate tap| <= u (4 steps + 10 + n/16) * (what the same sum gives with every term made positive).

    Each step of the recurrence errs by at most u |h| from its sum and u (|drive| + |increment|) from the fused
    increment and the drive's two products, and what is inherited shrinks by the decay; so, relative to the recurrence
    run on absolute values, the error grows by at most 4u for every step that the state remembers (at most all of
    them).  The contraction adds a product and at most log2(16) + n/16 sums; dt, the decay and the cast one u each.
    """
    x = inputs(data.draw)
    taps = folded_cpu_taps(x)
    exact, _ = oracle_float64(x)
    positive = oracle_taps(x)
    magnitude = torch.zeros_like(positive["recurrence"])
    h = torch.zeros_like(magnitude[:, :, 0])
    for t in range(x.length):
        h = positive["decay"][:, :, t] * h + positive["drive"][:, :, t].abs()
        magnitude[:, :, t] = h
    per_group = x.channels // x.groups
    C = x.C.dequantize(torch.float64).repeat_interleave(per_group, 1).transpose(2, 3).abs()
    size = (magnitude * C).sum(-1)
    if x.D is not None:
        size = size + (x.D.dequantize(torch.float64)[None, :, None] * x.u.dequantize(torch.float64)).abs()
    if x.z is not None:
        z = x.z.dequantize(torch.float64)
        size = size * (z * torch.sigmoid(z)).abs()
    steps = torch.arange(1, x.length + 1)
    bound = U * (4 * steps + 10 + x.states / 16) * size
    error = (taps["gate"] - exact.transpose(1, 2)).abs()
    assert (error <= bound).all(), (error / bound.clamp(min=1e-300)).max()


@pytest.mark.parametrize("length", [100, 512, 2048, 3000])
def test_it_is_closer_to_fp64_than_the_pytorch_scan(length):
    x = random_inputs(max(2, 6000 // length), 48, length, seed=length)  # 200,000 values and more
    exact, state = oracle_float64(x)
    rounded, rms = to_half(exact), exact.square().mean().sqrt()
    ours, theirs = folded_cpu(x), torch_int8(x)

    def mismatch(y):
        return (y != rounded).double().mean().item()

    def error(gate):
        return ((gate.transpose(1, 2).double() - exact).square().mean().sqrt() / rms).item()

    assert mismatch(ours.y) <= 4e-4
    assert mismatch(ours.y) < mismatch(theirs.y)
    assert error(folded_cpu_taps(x)["gate"]) < error(torch_taps(x)["gate"])
    assert (ours.last_state - state).abs().max() < (theirs.last_state - state).abs().max()


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_every_build_gives_the_same_bits(data):
    x = inputs(data.draw)
    if data.draw(st.booleans()):
        x = replace(x, u=Quantized(x.u.dequantize() * 0.9, None))
    portable = folded_cpu(x, isa="baseline")
    for isa in HERE:
        got = folded_cpu(x, isa=isa)
        assert torch.equal(got.y, portable.y)
        assert torch.equal(got.last_state, portable.last_state)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_the_tapped_variant_gives_the_same_y_and_real_units(data):
    x = inputs(data.draw, longest=60)
    taps, exact = folded_cpu_taps(x), oracle_taps(x)
    assert torch.equal(taps["output_cast"], folded_cpu(x).y)
    assert taps.keys() == exact.keys()
    for name, tap in taps.items():
        assert tap.shape == exact[name].shape
        if name in ("softplus", "decay", "drive"):  # at most dt, one product and one more: 3u
            torch.testing.assert_close(tap, exact[name], rtol=3 * U, atol=0 if name != "decay" else U)
    assert torch.equal(to_half(taps["gate"].transpose(1, 2)), taps["output_cast"])
    state = taps["recurrence"][:, :, -1]
    state = state.float() if x.state_scale is None else quantize_state(state, x.state_scale)
    assert torch.equal(state, folded_cpu(x).last_state)


def test_the_number_of_threads_changes_no_bit():
    x = random_inputs(5, 70, 300, groups=2, seed=1)
    before, outputs = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 7):
            torch.set_num_threads(threads)
            outputs.append(folded_cpu(x))
    finally:
        torch.set_num_threads(before)
    for output in outputs[1:]:
        assert torch.equal(output.y, outputs[0].y)
        assert torch.equal(output.last_state, outputs[0].last_state)


def test_neither_batch_nor_later_tokens_change_a_bit():
    x = random_inputs(6, 37, 400, seed=2)
    whole = folded_cpu(x).y
    for item in range(6):
        assert torch.equal(folded_cpu(x.narrow(batch=slice(item, item + 1))).y[0], whole[item])
    for length in (1, 15, 16, 17, 255, 256, 257, 399):
        assert torch.equal(folded_cpu(x.narrow(length=slice(0, length))).y, whole[:, :length])


@pytest.mark.parametrize("states", [16, 40])
def test_a_scan_can_be_continued(states):
    x = random_inputs(2, 12, 300, states, seed=3)
    whole = folded_cpu(x)
    first = folded_cpu(x.narrow(length=slice(0, 130)))
    rest = folded_cpu(x.narrow(length=slice(130, 300)), first.last_state)
    # the state passed through float32 in real units: two roundings more, so not always the same bits
    exact = to_half(oracle_float64(x)[0])
    assert (rest.y != exact[:, 130:]).double().mean() <= 4e-4
    torch.testing.assert_close(rest.last_state, whole.last_state, rtol=1e-5, atol=1e-6)


def test_u_in_float32():
    x = random_inputs(2, 20, 150, seed=4)
    on_grid = replace(x, u=Quantized(x.u.dequantize(), None))
    exact, _ = oracle_float64(on_grid)
    assert (folded_cpu(on_grid).y != to_half(exact)).double().mean() <= 1e-3


def test_the_registry_serves_u_in_float32_and_refuses_other_floats():
    """u of modes 2-2, 2-4, 3 and 1; on a GPU the kernel takes codes only."""
    x = random_inputs(2, 20, 50, seed=4)
    floating = replace(x, u=Quantized(x.u.dequantize() * 0.7, None))
    assert torch.equal(scans.run("folded", floating).y, folded_cpu(floating).y)
    assert not certified_taps("folded", floating).reason
    assert not scans.get("folded").takes(Quantized(torch.zeros(1, 1, 1, device="meta"), None))
    with pytest.raises(ScanError, match=r"u is torch\.float16: expected torch\.int8 or torch\.float32"):
        scans.run("folded", replace(x, u=Quantized(x.u.dequantize().half(), None)))


@pytest.mark.parametrize("states", [1, 16, 17, 256])
@pytest.mark.parametrize("length", [1, 16, 1500])
def test_extreme_codes(states, length):
    x = random_inputs(1, 6, length, states, groups=2, extreme=True, seed=5, state_scale=0.05)
    got, exact = folded_cpu(x), oracle(x)
    rms = exact.y.double().square().mean().sqrt()
    assert torch.isfinite(got.y).all() or not torch.isfinite(exact.y).all()
    # half a unit of float16 from each cast, and room for the few thousand float32 roundings below them
    assert (got.y.double() - exact.y.double()).square().mean().sqrt() <= 2.0**-11 * rms
    assert (got.last_state.int() - exact.last_state.int()).abs().max() <= 1


@pytest.mark.parametrize("isa", ["baseline", *HERE])
def test_the_cast_rounds_to_nearest_even_on_every_half(isa):
    """Every float16, the midpoints between neighbours and their neighbours in float32: y = u with a D of one."""
    halves = torch.arange(0, 0x7C00, dtype=torch.int16).view(torch.float16).float()
    middle = (halves[1:] + halves[:-1]) / 2
    special = torch.tensor([65504.0, 65519.0, 65520.0, 65536.0, 1e10, 1e-8, 2.0**-25, 2.0**-24, math.pi])
    below, above = middle.nextafter(torch.tensor(0.0)), middle.nextafter(torch.tensor(9e9))
    values = torch.cat([halves, middle, below, above, special])
    values = torch.cat([values, -values])
    x = random_inputs(1, 1, len(values), 1, z=False, dt_bias=False)
    one, none = torch.tensor([1], dtype=torch.int8), torch.tensor(1.0)
    x = replace(
        x, u=Quantized(values.view(1, 1, -1), None), B=Quantized(torch.zeros_like(x.B.values), none),
        C=Quantized(torch.ones_like(x.C.values), none), D=Quantized(one, none),
    )  # fmt: skip
    assert torch.equal(folded_cpu(x, isa=isa).y[0, :, 0], values.half())


def test_the_tables_match_the_formulas_in_fp64():
    """Every code of dt, for slow and fast channels: the step size and the decay, correctly rounded."""
    x = random_inputs(1, 96, 256, seed=6)
    every = torch.arange(-128, 128, dtype=torch.int8).expand(1, 96, 256).contiguous()
    x = replace(x, dt=Quantized(every, x.dt.scale))
    taps = folded_cpu_taps(x)
    raw = x.dt.dequantize(torch.float64) + x.dt_bias.dequantize(torch.float64)[None, :, None]
    size = np.logaddexp(raw.numpy(), 0.0)
    assert (taps["softplus"].numpy() == size.astype(np.float32)).mean() > 0.999
    exponent = size[..., None] * -np.exp(x.A_log.dequantize(torch.float64).numpy())[None, :, None, :]
    decay = taps["decay"].numpy()
    slow = exponent >= -np.log(2.0)  # held minus one
    assert slow.any()
    assert not slow.all()
    assert ((decay - 1.0)[slow].astype(np.float32) == np.expm1(exponent[slow]).astype(np.float32)).mean() > 0.999
    assert (decay[~slow] == np.exp(exponent[~slow]).astype(np.float32)).mean() > 0.999


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["u", "dt", "B", "C", "z", "A_log", "D", "dt_bias"])
def test_a_bad_scale_is_refused_before_anything_runs(name, wrong):
    x = random_inputs(1, 2, 3)
    bad = replace(x, **{name: Quantized(getattr(x, name).values, torch.tensor(wrong))})
    with pytest.raises(ScanError, match=f"the scale of {name} = "):
        folded_cpu(bad)


def test_a_state_that_forgets_at_once_keeps_its_digits():
    """A large input, then a small one, with decays near 0: h + (decay - 1) h would leave the large one's error."""
    x = random_inputs(1, 4, 2, z=False, D=False, seed=9)
    u = torch.tensor([127, 1], dtype=torch.int8).expand(1, 4, 2).contiguous()
    fast = torch.full((4, 16), 127, dtype=torch.int8)
    x = replace(
        x, u=Quantized(u, x.u.scale), dt=x.dt.map(lambda v: torch.full_like(v, 127)), dt_bias=None,
        B=x.B.map(lambda v: torch.full_like(v, 3)), A_log=Quantized(fast, torch.tensor(0.0125)),
    )  # fmt: skip
    _, state = oracle_float64(x)
    assert ((folded_cpu(x).last_state - state) / state).abs().max() <= 6 * U


def test_views_of_another_layout_give_the_same_bits():
    x = random_inputs(2, 12, 50, seed=8)
    turned = {name: getattr(x, name).map(lambda v: v.mT.contiguous().mT) for name in ("u", "dt", "z", "B", "C")}
    assert torch.equal(folded_cpu(replace(x, **turned)).y, folded_cpu(x).y)


def test_the_record_names_the_build():
    assert build.cpu_isa() in folded_cpu(random_inputs(1, 1, 1)).build
    assert isinstance(build.cpu_library("folded_cpu.cpp"), ctypes.CDLL)
