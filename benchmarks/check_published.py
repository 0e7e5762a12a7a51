"""Compare the `published` scan on a GPU, bit for bit, with a reference build of the kernel it stands for.

    python benchmarks/check_published.py --reference libreference_scan.so [--recorded data/recorded] [--json out.json]

The reference is a shared library that the user builds from the public kernel's sources with that project's own flags
and wraps in one C function; nothing of it lives in this repository.  Every pointer is a device pointer, absent operands
are null, scales are float32 scalars, tensors are contiguous:

    int reference_scan(int b, int d, int l, int n, int g, int softplus,
                       u, dt, A_log, B, C, D, z, dt_bias,                                    // int8, as ScanInputs
                       u_scale, dt_scale, A_log_scale, B_scale, C_scale, D_scale, z_scale, dt_bias_scale, state_scale,
                       y,                          // out, float16 (b, d, l)
                       x,                          // out, int8 (b, d, ceil(l / 2048), n): the state after each chunk
                       cudaStream_t stream);

Without --reference only the checks of the build against itself run: taps, determinism, the host build.
"""

from __future__ import annotations

import argparse
import ctypes
import itertools
import json
import statistics
import sys
import time
from pathlib import Path

import torch

from quamba_lab import scans
from quamba_lab.bench import machine_record
from quamba_lab.recorded import load_recorded
from quamba_lab.scans.published import published_taps

LENGTHS = (1, 31, 32, 33, 100, 127, 128, 129, 171, 255, 256, 257, 512, 513, 1000, 1024, 1025, 2047, 2048, 2049, 4096,
           5000)  # fmt: skip
ORDER = ("u", "dt", "A_log", "B", "C", "D", "z", "dt_bias")
SPEED_SHAPES = ((1, 1536, 512), (8, 1536, 512), (8, 1536, 2048))


def reference(library: ctypes.CDLL, x: scans.ScanInputs, poison: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
    """y, float16 (b, l, d), and the INT8 last state of the reference library; its outputs start poisoned."""
    chunks = -(-x.length // 2048)
    y = torch.empty((x.batch, x.channels, x.length), dtype=torch.float16, device=x.device)
    state = torch.empty((x.batch, x.channels, chunks, x.states), dtype=torch.int8, device=x.device)
    if poison:
        y.fill_(float("nan"))
        state.fill_(99)
    operands = [getattr(x, name) for name in ORDER]
    tensors = [None if q is None else q.values for q in operands] + [None if q is None else q.scale for q in operands]
    pointers = [ctypes.c_void_p(None if t is None else t.data_ptr()) for t in [*tensors, x.state_scale, y, state]]
    stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
    sizes = (x.batch, x.channels, x.length, x.states, x.groups, int(x.softplus))
    if code := library.reference_scan(*sizes, *pointers, stream):
        sys.exit(f"the reference's launch failed with CUDA error {code}")
    return y.transpose(1, 2).contiguous(), state[:, :, -1]


def cases(recorded: Path | None):
    """(what, inputs): every length, with and without z, g 1 and 2, ordinary and extreme codes; then recorded files."""
    grid = itertools.product(LENGTHS, (True, False), (1, 2), (False, True))
    for number, (length, z, groups, extreme) in enumerate(grid):
        x = scans.random_inputs(2, 64, length, 16, groups, seed=number, z=z, extreme=extreme, state_scale=0.05,
                                D=number % 5 != 4, dt_bias=number % 7 != 6)  # fmt: skip
        yield {"l": length, "z": z, "g": groups, "extreme": extreme}, x
    for length in (512, 513, 2048, 2049):  # large enough for y to be written sequence last
        x = scans.random_inputs(2, 1536, length, 16, seed=length, state_scale=0.05)
        yield {"l": length, "b": 2, "d": 1536}, x
    for one in load_recorded(recorded)[1] if recorded else []:
        yield {"recorded": f"item {one.item}, layer {one.layer}", "l": one.inputs.length}, one.inputs


def same_bits(a: torch.Tensor, b: torch.Tensor) -> int:
    """How many elements differ in their bits."""
    view = {torch.float16: torch.int16, torch.float32: torch.int32, torch.int8: torch.int8}[a.dtype]
    return int((a.view(view) != b.view(view)).sum())


def compare(library: ctypes.CDLL | None, recorded: Path | None) -> dict:
    """Counts of equal cases and of differing values, and the host build's difference from the GPU build."""
    rows, host = [], []
    for what, on_cpu in cases(recorded):
        x = on_cpu.to("cuda")
        mine, again, taps = scans.run("published", x), scans.run("published", x), published_taps(x)
        row = {**what, "repeat": same_bits(mine.y, again.y), "taps": same_bits(mine.y, taps["output_cast"])}
        if library is not None:
            y, state = reference(library, x)
            row |= {"y": same_bits(mine.y, y), "state": same_bits(mine.last_state, state.contiguous())}
        there = scans.run("published", on_cpu)
        finite = torch.isfinite(there.y) & torch.isfinite(mine.y.cpu())
        here, host_y = mine.y.cpu()[finite].double(), there.y[finite].double()
        rms, difference = float(host_y.pow(2).mean().sqrt()), (here - host_y).abs()
        host.append({
            "values": int((mine.y.cpu() != there.y).sum()), "of": there.y.numel(),
            "largest / RMS(y)": float(difference.max()) / rms if rms else 0.0,
            "state codes": int((mine.last_state.cpu() != there.last_state).sum()),
        })  # fmt: skip
        rows.append(row)
    keys = [k for k in ("y", "state", "taps", "repeat") if k in rows[0]]
    return {
        "cases": len(rows),
        "equal": {k: sum(row[k] == 0 for row in rows) for k in keys},
        "differing values": {k: sum(row[k] for row in rows) for k in keys},
        "host against GPU": {
            "share of y": sum(h["values"] for h in host) / sum(h["of"] for h in host),
            "largest / RMS(y)": max(h["largest / RMS(y)"] for h in host),
            "state codes": sum(h["state codes"] for h in host),
        },
        "rows": rows,
    }


def graph_ms(call, repeats: int = 20, rounds: int = 15) -> float:
    """Median milliseconds of one call inside a replayed CUDA graph of ``repeats`` calls."""
    for _ in range(3):
        call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(repeats):
            call()
    times = []
    for _ in range(rounds):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end) / repeats)
    return statistics.median(times)


def python_us(call, count: int = 300) -> float:
    """Microseconds of host time per call while the GPU keeps up with it."""
    call()
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(count):
        call()
    host = time.perf_counter() - start
    torch.cuda.synchronize()
    return host / count * 1e6


def speed(library: ctypes.CDLL | None) -> list[dict]:
    """Graph replay of both kernels (the reference with its transpose), one input set, so partly from the L2 cache."""
    rows = []
    for b, d, l in SPEED_SHAPES:
        x = scans.random_inputs(b, d, l, 16, state_scale=0.05, device="cuda")
        row = {"shape": [b, d, l], "published ms": graph_ms(lambda x=x: scans.run("published", x))}
        if library is not None:
            row["reference ms"] = graph_ms(lambda x=x: reference(library, x, poison=False))
        rows.append(row)
    x = scans.random_inputs(1, 64, 4, 16, state_scale=0.05, device="cuda")
    small = {"shape": [1, 64, 4], "call us": python_us(lambda: scans.run("published", x)),
             "replay us": graph_ms(lambda: scans.run("published", x)) * 1e3}  # fmt: skip
    return [*rows, small]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--reference", type=Path, help="shared library with reference_scan (see the head of this file)")
    parser.add_argument("--recorded", type=Path, help="folder of recorded ScanInputs to compare on as well")
    parser.add_argument("--json", type=Path, help="write the results here")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("no CUDA device: this comparison needs one")
    library = ctypes.CDLL(str(arguments.reference.resolve())) if arguments.reference else None
    start = time.perf_counter()
    build = scans.run("published", scans.random_inputs(1, 64, 100, device="cuda")).build
    result = {
        **machine_record(torch.device("cuda")), "build": build,
        "first call s": round(time.perf_counter() - start, 3),
        **compare(library, arguments.recorded), "speed": speed(library),
    }  # fmt: skip
    if arguments.json:
        partial = arguments.json.with_name(arguments.json.name + ".partial")
        partial.write_text(json.dumps(result, indent=1) + "\n")
        partial.replace(arguments.json)
    shown = {key: value for key, value in result.items() if key != "rows"}
    print(json.dumps(shown, indent=1))
    for row in result["rows"]:
        if any(row.get(key) for key in ("y", "state", "taps", "repeat")):
            print("differs:", row)
    return int(any(result["differing values"].values()))


if __name__ == "__main__":
    sys.exit(main())
