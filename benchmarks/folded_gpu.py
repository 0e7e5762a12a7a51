"""The `folded` scan on a GPU: times and errors beside the other scans', for docs/folded.md.

    python benchmarks/folded_gpu.py [--output results.json]

Times: median over replays of a CUDA graph, per call, over sets of inputs and outputs that together exceed the
second-level cache.  ``python``: a call from Python, the device idle before it and awaited after many, less the replay;
the least of 15 loops, because a host is seldom ours alone; beside it, timed the same way, an addition by torch.
mamba_ssm's FP16 kernel is timed on the same numbers where it is installed.  Errors: of the first two items and up to
1536 channels, against FP64: the share of FP16 values that are not the correctly rounded ones, and the RMS of the error
of the float32 value before that rounding over the RMS of y.  That value comes from the tapped variant of each scan,
whose y must equal the scan's bit for bit.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from quamba_lab import bench, scans
from quamba_lab.files import write_text
from quamba_lab.scans.folded import folded
from quamba_lab.scans.oracle import oracle_float64, to_half
from quamba_lab.scans.types import ScanInputs, random_inputs

SHAPES = (
    (1, 1536, 128), (1, 1536, 512), (1, 1536, 2048), (8, 1536, 512), (8, 1536, 2048), (16, 1536, 171),
    (16, 1536, 2048), (64, 1536, 512), (4, 1536, 8192), (1, 5120, 2048), (8, 5120, 2048),
)  # fmt: skip
SECOND_LEVEL_CACHE = 120e6  # bytes of inputs and outputs to rotate over: twice that of an H200


def inputs(b: int, d: int, l: int, seed: int) -> ScanInputs:
    """Mamba-like inputs; beyond two items, the first two again, rotated in time."""
    x = random_inputs(min(b, 2), d, l, seed=seed, device="cuda")

    def repeat(v: torch.Tensor) -> torch.Tensor:
        return torch.cat([v[i % 2 : i % 2 + 1].roll(17 * (i // 2), -1) for i in range(b)])

    return replace(x, **{name: x.operands()[name].map(repeat) for name in ("u", "dt", "B", "C", "z")})


def copies(x: ScanInputs) -> list[ScanInputs]:
    """``x`` as often as it takes to exceed the cache."""
    b, d, l = x.u.shape
    count = max(4, min(160, int(SECOND_LEVEL_CACHE / (5 * b * d * l)) + 1))
    return [x] + [replace(x, **{k: q.map(torch.clone) for k, q in x.operands().items()}) for _ in range(count - 1)]


def replay_ms(call: Callable, sets: list) -> float:
    """Median milliseconds per call in replays of a graph with one call per set."""
    for x in sets[:3]:
        call(x)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        held = [call(x) for x in sets]
    graph.replay()
    times = []
    for _ in range(9):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end) / len(sets))
    del held
    return statistics.median(times)


def python_ms(call: Callable, x: ScanInputs | torch.Tensor, calls: int = 200) -> float:
    """Milliseconds of the host per call: how long a loop of calls takes to be issued, or the device to follow."""
    times = []
    for _ in range(15):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(calls):
            call(x)
        torch.cuda.synchronize()
        times.append((time.perf_counter() - start) / calls * 1e3)
    return min(times)


def errors(names: list[str], x: ScanInputs) -> dict[str, dict[str, float]]:
    channels = min(1536, x.channels, 3 * (1 << 20) // x.length)
    part = x.narrow(batch=slice(0, 2), channels=slice(0, channels))
    y, _ = oracle_float64(part)  # (b, l, d)
    exact, rms = to_half(y), y.square().mean().sqrt()
    found = {}
    for name in names:
        ran = scans.run(name, x if name == "folded" else part).y[:2, :, :channels]
        taps = scans.get(name).taps(part)
        untapped = folded(part).y if name == "folded" else ran
        if not torch.equal(taps["output_cast"], untapped):
            raise SystemExit(f"{name}: the tapped variant's y is not the scan's, so its float32 value says nothing")
        found[name] = {
            "mismatch_percent": float((ran != exact).double().mean()) * 100,
            "error_over_rms": float((taps["gate"].transpose(1, 2).double() - y).square().mean().sqrt() / rms),
        }
    return found


def peer_ms(sets: list[ScanInputs]) -> float | None:
    """mamba_ssm's FP16 kernel, None where it is not installed.  Half the bytes more a set: half as many sets do."""
    try:
        call = bench.mamba_ssm(sets[: max(4, len(sets) // 2)])
    except ImportError:
        return None
    return replay_ms(call, list(range(max(4, len(sets) // 2))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path)
    chosen = parser.parse_args()
    clock = 1.98e9
    processors = torch.cuda.get_device_properties(0).multi_processor_count
    bandwidth = bench.bandwidth(torch.device("cuda"))
    rows = []
    for seed, (b, d, l) in enumerate(SHAPES):
        x = inputs(b, d, l, seed)
        sets = copies(x)
        row = {"shape": [b, d, l], "build": scans.run("folded", x).build}
        row["folded_ms"] = replay_ms(lambda x: scans.run("folded", x), sets)
        row["published_ms"] = replay_ms(lambda x: scans.run("published", x), sets)
        row["python_above_replay_us"] = (python_ms(lambda x: scans.run("folded", x), x) - row["folded_ms"]) * 1e3
        row["torch_addition_us"] = python_ms(lambda v: torch.add(v, v, out=v), torch.zeros(16, device="cuda")) * 1e3
        row["mamba_ssm_ms"] = peer_ms(sets)
        row["memory_floor_ms"] = bench.scan_bytes(x) / bandwidth
        row["exp_floor_ms"] = b * d * l * 16 / (16 * processors * clock) * 1e3
        row["errors"] = errors(["folded", "published", "torch_int8"], x)
        rows.append(row)
        e = row["errors"]
        print(
            f"{b},{d},{l}: folded {row['folded_ms']:.4f} "
            f"published {row['published_ms']:.4f} mamba_ssm {row['mamba_ssm_ms'] or float('nan'):.4f} "
            f"floor {row['exp_floor_ms']:.4f} ms, "
            f"python +{row['python_above_replay_us']:.1f} us (torch.add {row['torch_addition_us']:.1f} us); off % "
            + " ".join(f"{name} {e[name]['mismatch_percent']:.4f} ({e[name]['error_over_rms']:.3e})" for name in e),
            flush=True,
        )
        del sets, x
        torch.cuda.empty_cache()
    if chosen.output:
        record = {
            **bench.machine_record(torch.device("cuda")), "clock_of_the_floor_hz": clock,
            "bandwidth_gb_per_s": bandwidth / 1e6, "rows": rows,
        }  # fmt: skip
        write_text(chosen.output, json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
