"""The folded scan on a GPU: accuracy against FP64, layouts, taps, invariance, streams, graphs, compile, bad inputs."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from nvcc import ARCHITECTURES, NVCC, compiles

from quamba_lab import scans
from quamba_lab.scans.build import CSRC
from quamba_lab.scans.folded import folded, folded_taps
from quamba_lab.scans.folded_cuda import (
    AnyStates,
    FewRows,
    _grid,
    _prepared,
    many_rows_layouts,
    plan,
    table_bytes,
)
from quamba_lab.scans.oracle import oracle_float64, quantize_state, to_half
from quamba_lab.scans.types import ScanError, random_inputs
from tools.ragged_scans import every_lane_arrives

gpu = pytest.mark.gpu


def on_gpu(*sizes, **options):
    return random_inputs(*sizes, device="cuda", **options)


def check(x, tolerance=4e-6, share=1.2e-3):
    """y within one FP16 step of FP64, plus ``tolerance`` of its RMS where terms cancel; ``share`` rounded otherwise."""
    output = folded(x)
    y, last = oracle_float64(x)
    exact = to_half(y)
    assert torch.isfinite(output.y).all()
    spacing = exact.double().abs().clamp(min=2.0**-14) * 2.0**-10
    off = (output.y.double() - exact.double()).abs()
    assert bool((off <= spacing + tolerance * y.square().mean().sqrt()).all())
    assert float((off > 0).float().mean()) <= max(share, 3 / y.numel())
    if x.state_scale is None:
        scale = last.square().mean().sqrt().clamp(min=1e-30)
        assert float((output.last_state.double() - last).square().mean().sqrt() / scale) <= tolerance
    else:
        assert output.last_state.dtype == torch.int8
        difference = (output.last_state.int() - quantize_state(last, x.state_scale).int()).abs()
        assert int(difference.max()) <= 1
        assert float((difference > 0).float().mean()) < 1e-2
    return output


def magnitudes(codes):
    return codes.int().abs().clamp(max=127).to(torch.int8)  # in int8 the magnitude of -128 is -128


@pytest.mark.parametrize("sizes", [(1, 1536), (8, 5120), (2, 32), (300, 2), (1, 4096), (8, 1536), (64, 1536)])
@pytest.mark.parametrize("n", [1, 3, 16, 17, 64, 200, 256])
@pytest.mark.parametrize(("shared", "most_states"), [(99 * 1024, 64), (163 * 1024, 128), (227 * 1024, 256)])
@pytest.mark.parametrize("taps", [False, True])
def test_a_layout_fits_the_multiprocessor(sizes, n, shared, most_states, taps):
    if n > most_states:
        with pytest.raises(ScanError, match=f"n = {n}.*choose torch_int8"):
            plan(*sizes, n, 1, taps=taps, shared=shared)
        return
    layout = plan(*sizes, n, 1, taps=taps, shared=shared)
    assert layout.states >= n
    assert layout.threads % 32 == 0
    assert layout.threads <= 1024
    assert max(layout.shared(True), layout.shared(False)) <= shared


if NVCC:  # where no CUDA compiler is present there is nothing to check

    @pytest.mark.parametrize("arch", ARCHITECTURES)
    @pytest.mark.parametrize("b", [1, 4, 16])
    @pytest.mark.parametrize("shared", [99 * 1024, 163 * 1024, 227 * 1024])
    def test_layouts_compile_ahead_of_time(arch, b, shared, tmp_path):
        layout = plan(b, 1536, 16, 1, shared=shared)
        tables = f"folded::Tables<{layout.channels}, 16, {str(getattr(layout, 'whole', False)).lower()}>"
        kernel = layout.expression(aligned=False, taps=False)
        checks = f"static_assert({tables}::kBytes == {table_bytes(layout.channels, 16)});"
        compiles(layout.source, kernel, arch, tmp_path, "--extended-lambda", checks=checks)

    @pytest.mark.parametrize("arch", ARCHITECTURES)
    @pytest.mark.parametrize(("n", "taps"), [(16, True), (64, False), (256, False)])
    def test_layouts_for_any_states_compile_ahead_of_time(arch, n, taps, tmp_path):
        layout = plan(1, 40, n, 1, taps=taps)
        compiles(layout.source, layout.expression(aligned=True, taps=taps), arch, tmp_path, "--extended-lambda")

    def test_a_build_whose_lanes_all_arrive_compiles(tmp_path):
        source = every_lane_arrives(tmp_path) / "folded_few.cu"
        compiles(str(source), FewRows(12).expression(aligned=False, taps=False), "sm_90", tmp_path, "--extended-lambda")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_checks_of_a_gpu_need_one(tmp_path):
    command = ["bash", str(CSRC.parent / "tools" / "gpu_checks.sh"), str(tmp_path / "new")]
    environment = {**os.environ, "PYTHON": sys.executable}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (2, "")
    assert "sees no GPU: `quamba-lab doctor` says what is missing" in result.stderr
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("b", [1, 4, 8, 16, 24, 64, 1000])
@pytest.mark.parametrize("d", [1536, 2048, 5120])
def test_a_layout_fills_the_gpu(b, d):
    layout = plan(b, d, 16, 1)
    across, deep = _grid(layout, b, d, 1, 132)
    assert across * layout.channels >= d
    rounds = -(-across * deep // 132) * -(-b // (layout.batch * deep))
    assert b * d / (132 * layout.channels * layout.batch * rounds) > 0.8, layout


@gpu
@pytest.mark.parametrize("l", [1, 2, 15, 16, 17, 31, 32, 33, 100, 171, 256, 2049])
def test_lengths(l):
    check(on_gpu(2, 40, l, seed=l))


@gpu
@pytest.mark.parametrize(
    "sizes", [(1, 1, 1, 1, 1), (3, 6, 50, 16, 3), (1, 33, 70, 16, 1), (2, 20, 40, 5, 2), (1, 8, 64, 64, 1),
              (1, 4, 40, 256, 1), (2, 3, 37, 100, 1), (1, 1, 90, 16, 1), (5, 7, 19, 2, 7), (3, 12, 48, 32, 1)]
)  # fmt: skip
def test_sizes(sizes):
    check(on_gpu(*sizes, seed=3))


@gpu
@pytest.mark.parametrize("sizes", [(16, 1056, 48), (16, 1056, 45), (9, 1536, 1040), (70, 240, 33), (4, 4103, 30)])
def test_layouts_of_many_channels(sizes):
    check(on_gpu(*sizes, seed=5))


@gpu
@pytest.mark.parametrize(
    "options", [{"z": False}, {"D": False}, {"dt_bias": False}, {"softplus": False}, {"state_scale": 0.02},
                {"z": False, "D": False, "dt_bias": False}]
)  # fmt: skip
@pytest.mark.parametrize("sizes", [(2, 24, 50), (17, 1000, 40)])
def test_options(options, sizes):
    x = on_gpu(*sizes, **options)
    if not x.softplus:
        bias = x.dt_bias  # what takes the place of softplus must not be negative: a decay above 1 has no bound
        x = replace(x, dt=x.dt.map(magnitudes), dt_bias=bias and bias.map(magnitudes))
    check(x)


@gpu
@pytest.mark.parametrize("sizes", [(2, 24, 100), (17, 1000, 64)])
def test_extreme_codes(sizes):
    check(on_gpu(*sizes, extreme=True, seed=2), share=2e-3)


@gpu
def test_steps_beyond_the_range_of_an_exponential():
    x = on_gpu(2, 16, 40)
    x = replace(x, dt=replace(x.dt, scale=torch.tensor(8.0, device="cuda")))
    check(x)


@gpu
def test_views_that_start_on_odd_addresses():
    x = on_gpu(2, 16, 64)
    buffer = torch.empty(x.u.values.numel() + 1, dtype=torch.int8, device="cuda")
    odd = buffer[1:].view(x.u.shape)
    odd.copy_(x.u.values)
    assert torch.equal(folded(replace(x, u=replace(x.u, values=odd))).y, folded(x).y)


@gpu
@pytest.mark.parametrize("batch", [3, 9, 17])
def test_two_runs_agree_and_batch_and_later_tokens_do_not_matter(batch):
    x = on_gpu(batch, 1000, 96, seed=7)
    whole = folded(x, deterministic="invariant").y
    assert torch.equal(whole, folded(x).y)
    for items in (slice(1, 2), slice(1, 3)):
        assert torch.equal(folded(x.narrow(batch=items)).y, whole[items])
        assert torch.equal(folded(x.narrow(batch=items, length=slice(0, 41))).y, whole[items, :41])


@gpu
def test_the_state_carries_on():
    x = on_gpu(2, 40, 96)
    whole = folded(x)
    first = folded(x.narrow(length=slice(0, 41)))
    rest = folded(x.narrow(length=slice(41, 96)), initial_state=first.last_state)
    assert float((rest.y.float() - whole.y[:, 41:].float()).abs().max()) <= float(whole.y.abs().max()) * 2e-3


@gpu
@pytest.mark.parametrize("sizes", [(2, 24, 37, 16), (1, 40, 64, 16), (1, 5, 20, 40)])
def test_taps(sizes):
    x = on_gpu(*sizes)
    taps, reference = folded_taps(x), scans.get("oracle").taps(x)
    assert torch.equal(taps["output_cast"], folded(x).y)
    assert taps.keys() == reference.keys()
    for name, value in taps.items():
        expected = reference[name].double()
        assert value.shape == expected.shape
        scale = expected.square().mean().sqrt()
        assert float((value.double() - expected).abs().max() / scale) < (2e-3 if name == "output_cast" else 3e-5), name


@gpu
def test_captured_and_compiled():
    x = on_gpu(1, 64, 96)
    expected = scans.run("folded", x).y
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        assert torch.equal(scans.run("folded", x).y, expected)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = scans.run("folded", x).y
    y.zero_()
    graph.replay()
    assert torch.equal(y, expected)
    assert torch.equal(torch.compile(lambda x: scans.run("folded", x).y)(x), expected)


@gpu
def test_bad_inputs_are_refused_before_a_launch():
    x = on_gpu(1, 16, 16)
    with pytest.raises(ScanError, match="int8"):
        scans.run("folded", replace(x, u=type(x.u)(x.u.values.float(), None)))
    with pytest.raises(ScanError, match="deterministic"):
        folded(x, deterministic="always")
    with pytest.raises(ScanError, match="initial state"):
        folded(x, initial_state=torch.zeros(1, 16, 3, device="cuda"))


OTHERS = [FewRows(4), FewRows(8), FewRows(12), AnyStates(16, 4, 16), AnyStates(16, 4, 8, items=3)]
OTHERS += [AnyStates(16, 8, 32), AnyStates(16, 2, 12, helpers=256, tile=64), AnyStates(16, 16, 32, helpers=64)]
OTHERS += [layout for shared in (227 * 1024, 163 * 1024) for layout in many_rows_layouts(shared)]


@gpu
@pytest.mark.parametrize("length", [50, 112])
def test_other_layouts_give_the_same_bits(length, monkeypatch):
    x = on_gpu(5, 100, length)
    first = folded(x)
    for layout in OTHERS:
        monkeypatch.setattr("quamba_lab.scans.folded_cuda.plan", lambda *a, _l=layout, **k: _l)
        _prepared.cache_clear()
        other = folded(x)
        assert torch.equal(other.y, first.y), layout
        assert torch.equal(other.last_state, first.last_state), layout
    monkeypatch.undo()
    _prepared.cache_clear()
