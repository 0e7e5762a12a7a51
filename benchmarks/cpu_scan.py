"""The scans on a CPU: speed at (b, d, l) = (8, 1536, 512) beside what people use today, and accuracy by length.

    python benchmarks/cpu_scan.py [--output benchmarks/results/cpu_scan.json]

All in one run.  The yardsticks: a sequential loop as `selective_scan_ref` of state-spaces/mamba is built (einsums per
step), this project's plain loop, and the fallback of transformers' Mamba (installed from PyPI).  Scans take turns,
round by round, so that other work on the machine meets all of them; times are the minimum and the median over calls,
and the factors compare minima.  With --cpu-time the clock is the CPU time of one thread, which other work
disturbs least: the factor is then that of one core.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from quamba_lab import scans
from quamba_lab.bench import machine_record
from quamba_lab.scans import ScanInputs, random_inputs
from quamba_lab.scans.folded_cpu import folded_cpu, folded_cpu_taps
from quamba_lab.scans.oracle import oracle_float64, to_half
from quamba_lab.scans.torch_scan import plain_scan, torch_fp64, torch_int8, torch_taps

SPEED_SHAPE = (8, 1536, 512)
WORKBOOK_SHAPE = (45, 384, 90)
LENGTHS = (100, 512, 2048, 3000)
Clock = Callable[[], float]


def dequantized(x: ScanInputs) -> dict[str, torch.Tensor]:
    """Every operand in float32, A as -exp(A_log); for scans that know no codes."""
    values = {name: q.dequantize() for name, q in x.operands().items()}
    values["A"] = -torch.exp(values.pop("A_log"))
    return values


def einsum_loop(v: dict[str, torch.Tensor]) -> torch.Tensor:
    """y (b, d, l) by a sequential loop over einsums, one group of B and C: the form of `selective_scan_ref`."""
    dt = F.softplus(v["dt"] + v["dt_bias"][:, None])
    B, C = v["B"][:, 0], v["C"][:, 0]  # (b, n, l)
    decay = torch.exp(torch.einsum("bdl,dn->bdln", dt, v["A"]))
    drive = torch.einsum("bdl,bnl,bdl->bdln", dt, B, v["u"])
    h = torch.zeros_like(decay[:, :, 0])
    outputs = []
    for t in range(dt.shape[-1]):
        h = decay[:, :, t] * h + drive[:, :, t]
        outputs.append(torch.einsum("bdn,bn->bd", h, C[:, :, t]))
    y = torch.stack(outputs, -1) + v["u"] * v["D"][:, None]
    return y * F.silu(v["z"])


def transformers_fallback() -> tuple[Callable[[dict[str, torch.Tensor]], Any] | None, str]:
    """The plain-PyTorch scan of the installed transformers, and its version or why there is none."""
    try:
        import transformers
        from transformers.models.mamba.modeling_mamba import mamba_selective_scan
    except ImportError as error:
        return None, f"needs transformers 5 or later ({error})"

    def run(v: dict[str, torch.Tensor]) -> Any:
        return mamba_selective_scan(
            v["u"], v["dt"], v["A"], v["B"][:, 0], v["C"][:, 0], D=v["D"], z=v["z"], delta_bias=v["dt_bias"],
            delta_softplus=True,
        )  # fmt: skip

    return run, transformers.__version__


def timed(calls: dict[str, tuple[Callable[[], object], int]], rounds: int, clock: Clock) -> dict[str, dict[str, float]]:
    """Minimum and median milliseconds of each scan, after one call to warm up: ``calls`` names a scan and how often it
    is called in a round; all take turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call, _ in calls.values():
        call()
    for _ in range(rounds):
        for name, (call, often) in calls.items():
            for _ in range(often):
                start = clock()
                call()
                times[name].append((clock() - start) * 1e3)
    return {name: {"minimum_ms": min(t), "median_ms": statistics.median(t)} for name, t in times.items()}


def speed(shape: tuple[int, int, int], rounds: int, clock: Clock) -> dict[str, Any]:
    """Times of every scan at ``shape``, and how many times as fast as each yardstick folded is."""
    x = random_inputs(*shape, seed=1)
    v = dequantized(x)
    fallback, version = transformers_fallback()
    agreed = folded_cpu(x).y.transpose(1, 2).float()
    torch.testing.assert_close(einsum_loop(v), agreed, rtol=2e-3, atol=2e-3)
    calls: dict[str, tuple[Callable[[], object], int]] = {
        "folded": (lambda: folded_cpu(x), 10),
        "torch_int8": (lambda: torch_int8(x), 2),
        "torch_fp64": (lambda: torch_fp64(x), 1),
        "plain torch loop": (lambda: plain_scan(x), 1),
        "einsum loop": (lambda: einsum_loop(v), 1),
    }
    if scans.unavailable("published") is None:
        calls["published"] = (lambda: scans.run("published", x), 2)
    if fallback is not None:
        result = fallback(v)
        y = result[0] if isinstance(result, tuple) else result
        torch.testing.assert_close(y, agreed, rtol=2e-3, atol=2e-3)
        calls["transformers fallback"] = (lambda: fallback(v), 1)
    with torch.inference_mode():
        rows = timed(calls, rounds, clock)
    base = rows["folded"]["minimum_ms"]
    for row in rows.values():
        row["times_folded"] = row["minimum_ms"] / base
    return {"shape": list(shape), "transformers": version, "scans": rows, "build": folded_cpu(x).build}


def accuracy(length: int, batch: int = 4, channels: int = 96) -> dict[str, dict[str, float]]:
    """Of each scan against FP64: the share of float16 outputs that are not the correctly rounded ones, and
    RMS(error)/RMS(y) before the cast (which alone has some 2^-13)."""
    x = random_inputs(batch, channels, length, seed=length)
    exact, _ = oracle_float64(x)
    rounded, size = to_half(exact), exact.square().mean().sqrt()
    taps = {"folded": folded_cpu_taps(x), "torch_int8": torch_taps(x)}
    if scans.unavailable("published") is None:
        taps["published"] = scans.get("published").taps(x)
    return {
        name: {
            "mismatch_percent": 100 * (t["output_cast"] != rounded).double().mean().item(),
            "error_over_rms": ((t["gate"].transpose(1, 2).double() - exact).square().mean().sqrt() / size).item(),
            "error_over_rms_after_cast": ((t["output_cast"].double() - exact).square().mean().sqrt() / size).item(),
        }
        for name, t in taps.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "cpu_scan.json")
    parser.add_argument("--rounds", type=int, default=3, help="turns of all scans (default: 3)")
    parser.add_argument("--cpu-time", action="store_true", help="CPU time of one thread instead of time on 2 cores")
    parser.add_argument("--note", default="", help="a remark on the conditions, kept in the file")
    options = parser.parse_args()
    clock, clocked = time.perf_counter, "wall time"
    if options.cpu_time:
        torch.set_num_threads(1)
        clock, clocked = time.thread_time, "CPU time of one thread"
    result = {
        "machine": machine_record(torch.device("cpu"))
        | {"cores": os.cpu_count(), "clock": clocked, "note": options.note},
        "speed": [speed(shape, options.rounds, clock) for shape in (SPEED_SHAPE, WORKBOOK_SHAPE)],
        "accuracy": {str(length): accuracy(length) for length in LENGTHS},
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    partial = options.output.with_suffix(".partial")
    partial.write_text(json.dumps(result, indent=1) + "\n")
    partial.replace(options.output)
    for table in result["speed"]:
        print(f"(b, d, l) = {tuple(table['shape'])}, {clocked}")
        for name, row in table["scans"].items():
            times = f"{row['minimum_ms']:10.2f} ms, median {row['median_ms']:10.2f}"
            print(f"  {name:24}{times}, {row['times_folded']:7.1f} x folded")
    for length, row in result["accuracy"].items():
        print(f"l = {length}")
        for name, numbers in row.items():
            mismatch, error = numbers["mismatch_percent"], numbers["error_over_rms"]
            print(f"  {name:12} mismatch {mismatch:.4f} %  error/RMS {error:.3e}")


if __name__ == "__main__":
    main()
