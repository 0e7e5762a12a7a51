"""How long each scan takes, beside the floors that no implementation can go below.

On a GPU a time is the median over replays of a CUDA graph of 20 calls, whose inputs rotate so that they do not sit in
the second-level cache; beside it stands the cost of one call through Python.  On a CPU it is the median over calls.

    memory floor   bytes of inputs and outputs, once each, at the bandwidth of a large copy measured in the same run
    exp floor      GPU: one ex2 per (b, d, l, n), 16 a clock on each multiprocessor (CUDA programming guide,
                   arithmetic instructions: special functions); a CPU scan can look its decays up, so it has none
"""

from __future__ import annotations

import ctypes
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from . import scans
from .scans import ScanInputs, random_inputs
from .scans.torch_scan import plain_scan
from .witness import nvidia_driver

__all__ = [
    "CPU_SHAPES", "GPU_SHAPES", "SCANS", "BenchError", "Benchmark", "Timing", "bandwidth", "benchmark",
    "machine_record", "mamba_ssm", "scan_bytes",
]  # fmt: skip

Shape = tuple[int, int, int]
GPU_SHAPES: tuple[Shape, ...] = (
    (1, 1536, 128), (1, 1536, 512), (1, 1536, 2048), (8, 1536, 512), (8, 1536, 2048), (16, 1536, 171),
    (16, 1536, 2048), (64, 1536, 512), (4, 1536, 8192), (1, 5120, 2048), (8, 5120, 2048),
)  # fmt: skip
CPU_SHAPES: tuple[Shape, ...] = ((45, 384, 90), (1, 1536, 128), (1, 1536, 512), (8, 1536, 512))
SCANS = ("published", "plain torch loop", "torch_int8", "folded", "mamba_ssm FP16")
"""The columns; the plain loop and mamba_ssm are no registered scans."""

_CALLS = 20  # in one CUDA graph
_COPY_BYTES = 1 << 28


class BenchError(ValueError):
    """A benchmark that cannot be run as asked for."""


@dataclass(frozen=True)
class Timing:
    """One scan on one shape.  ``milliseconds``: median per call; ``python_milliseconds``: of a call from Python, GPU
    only.  ``how``: "graph", "eager" or "cpu".  ``absent``: why there is no time."""

    scan: str
    shape: Shape
    milliseconds: float | None = None
    python_milliseconds: float | None = None
    how: str = ""
    build: str = ""
    absent: str | None = None


@dataclass(frozen=True)
class Benchmark:
    """All timings of a run, the floors per shape in milliseconds (None: there is none), and the machine."""

    timings: tuple[Timing, ...]
    memory_floor: dict[Shape, float]
    exp_floor: dict[Shape, float | None]
    machine: dict[str, Any]

    def floor(self, shape: Shape) -> float:
        """The higher of the two floors, milliseconds."""
        return max(self.memory_floor[shape], self.exp_floor[shape] or 0.0)

    def table(self):
        """A pandas table: a row per shape; times and floors in milliseconds, and the share of the floor that the
        fastest scan reached."""
        import pandas as pd

        rows = []
        for shape in self.memory_floor:
            times = {t.scan: t.milliseconds for t in self.timings if t.shape == shape}
            best = min((v for v in times.values() if v), default=None)
            row = {"(b, d, l)": ",".join(map(str, shape)), **times, "memory floor": self.memory_floor[shape]}
            rows.append(row | {"exp floor": self.exp_floor[shape], "floor / best": best and self.floor(shape) / best})
        return pd.DataFrame(rows)

    def to_json(self) -> dict[str, Any]:
        """A dictionary that json can write."""
        floors = [
            {"shape": list(s), "memory_milliseconds": self.memory_floor[s], "exp_milliseconds": self.exp_floor[s]}
            for s in self.memory_floor
        ]
        return {"schema": 1, "machine": self.machine, "timings": [asdict(t) for t in self.timings], "floors": floors}

    def text(self) -> str:
        """The table for a terminal, with why a column is empty under it."""
        shown = self.table().to_string(index=False, na_rep="", float_format=lambda v: f"{v:.4g}")
        reasons = dict.fromkeys(f"{t.scan}: {t.absent}" for t in self.timings if t.absent)
        machine = ", ".join(str(self.machine[key]) for key in ("device", "torch", "date"))
        return "\n".join([f"{machine}; milliseconds per call", shown, *reasons])


def machine_record(device: torch.device) -> dict[str, Any]:
    """Device, driver, versions and date of a measurement."""
    record: dict[str, Any] = {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "python": platform.python_version(), "torch": torch.__version__, "threads": torch.get_num_threads(),
    }  # fmt: skip
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return record | {
            "device": properties.name, "multiprocessors": properties.multi_processor_count,
            "driver": nvidia_driver(), "cuda": torch.version.cuda,
        }  # fmt: skip
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)
    return record | {
        "device": name or platform.processor() or platform.machine(),
        "vector instructions": torch.backends.cpu.get_cpu_capability(),
    }


def scan_bytes(x: ScanInputs) -> int:
    """Of everything that a scan must read and write once, the float32 last state included."""
    read = sum(q.values.numel() * q.values.element_size() for q in x.operands().values())
    return read + 2 * x.batch * x.channels * x.length + 4 * x.batch * x.channels * x.states


def _median_cpu(call: Callable[[], object], seconds: float) -> float:
    """Milliseconds: the median of at least three calls after one to warm up, for about ``seconds``."""
    call()
    times: list[float] = []
    start = time.perf_counter()
    while len(times) < 3 or (time.perf_counter() - start < seconds and len(times) < 1000):
        before = time.perf_counter()
        call()
        times.append(time.perf_counter() - before)
    return statistics.median(times) * 1e3


def _events(call: Callable[[], object]) -> float:
    """Milliseconds between two events around ``call`` on the current stream."""
    first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    first.record()
    call()
    last.record()
    last.synchronize()
    return first.elapsed_time(last)


def _median_cuda(call: Callable[[int], object], seconds: float) -> tuple[float, float, str]:
    """Milliseconds per replayed call and per call from Python, and how the first was measured.

    ``call(i)`` runs on the i-th set of inputs.  What cannot be captured in a graph is timed as calls from Python.
    """
    for i in range(3):
        call(i)
    torch.cuda.synchronize()

    def many() -> None:
        for i in range(_CALLS):
            call(i)

    eager = min(_events(many) for _ in range(3)) / _CALLS
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            many()
    except RuntimeError:
        torch.cuda.synchronize()
        return eager, eager, "eager"
    for _ in range(3):
        graph.replay()
    count = max(5, min(200, int(seconds * 1e3 / max(_events(graph.replay), 1e-3))))
    return statistics.median(_events(graph.replay) for _ in range(count)) / _CALLS, eager, "graph"


def bandwidth(device: torch.device) -> float:
    """Bytes per millisecond of a large copy, read and written bytes both counted."""
    source = torch.zeros(_COPY_BYTES, dtype=torch.int8, device=device)
    target = torch.empty_like(source)
    if device.type == "cuda":
        target.copy_(source)
        elapsed = min(_events(lambda: target.copy_(source)) for _ in range(10))
    else:
        elapsed = _median_cpu(lambda: target.copy_(source), 0.3)
    return 2 * _COPY_BYTES / elapsed


def _exp_per_millisecond(device: torch.device) -> float | None:
    """ex2 instructions of a GPU per millisecond at its highest clock; None on a CPU."""
    if device.type != "cuda":
        return None
    kilohertz, clock_rate = ctypes.c_int(), 13  # CU_DEVICE_ATTRIBUTE_CLOCK_RATE
    driver = ctypes.CDLL("nvcuda.dll" if platform.system() == "Windows" else "libcuda.so.1")
    handle = ctypes.c_int()
    driver.cuDeviceGet(ctypes.byref(handle), device.index or 0)
    driver.cuDeviceGetAttribute(ctypes.byref(kilohertz), clock_rate, handle)
    return 16.0 * torch.cuda.get_device_properties(device).multi_processor_count * kilohertz.value


def mamba_ssm(sets: Sequence[ScanInputs]) -> Callable[[int], object]:
    """mamba_ssm's own kernel on the same numbers in FP16, softplus and gate inside.  Raises ImportError."""
    from mamba_ssm.ops.selective_scan_interface import selective_scan_fn

    half, prepared = torch.float16, []
    for x in sets:
        optional = {"D": x.D and x.D.dequantize(), "z": x.z and x.z.dequantize(half)}
        bias = x.dt_bias and x.dt_bias.dequantize()
        needed = [x.u.dequantize(half), x.dt.dequantize(half), -torch.exp(x.A_log.dequantize())]
        needed += [x.B.dequantize(half), x.C.dequantize(half)]
        prepared.append((needed, {**optional, "delta_bias": bias, "delta_softplus": x.softplus}))

    def call(i: int) -> object:
        needed, optional = prepared[i % len(prepared)]
        return selective_scan_fn(*needed, **optional)

    return call


def _caller(name: str, sets: Sequence[ScanInputs]) -> tuple[Callable[[int], object], str]:
    """A function of the number of a set, and the build record.  Raises BenchError saying why it cannot run."""
    if name == "mamba_ssm FP16":
        if sets[0].device.type != "cuda":
            raise BenchError("its kernel runs on CUDA only")
        try:
            return mamba_ssm(sets), "mamba_ssm"
        except ImportError as error:
            raise BenchError(f"not installed ({error})") from None
    if name == "plain torch loop":
        return lambda i: plain_scan(sets[i % len(sets)]), f"torch {torch.__version__}"
    if name not in scans.names():
        raise BenchError("not registered")
    if reason := scans.unavailable(name):
        raise BenchError(reason)
    return lambda i: scans.run(name, sets[i % len(sets)]), scans.run(name, sets[0]).build


def _timing(name: str, shape: Shape, sets: Sequence[ScanInputs], seconds: float) -> Timing:
    try:
        call, build = _caller(name, sets)
    except BenchError as error:
        return Timing(name, shape, absent=str(error))
    if sets[0].device.type != "cuda":
        return Timing(name, shape, _median_cpu(lambda: call(0), seconds), how="cpu", build=build)
    if name == "plain torch loop":  # thousands of launches: a call keeps the GPU waiting whatever one does
        call(0)
        elapsed = min(_events(lambda: call(0)) for _ in range(2))
        return Timing(name, shape, elapsed, elapsed, "eager", build)
    return Timing(name, shape, *_median_cuda(call, seconds), build)


def benchmark(
    device: str | torch.device = "cpu",
    shapes: Sequence[Shape] | None = None,
    names: Sequence[str] = SCANS,
    seconds: float = 0.5,
    progress: Callable[[str], None] | None = None,
) -> Benchmark:
    """Time ``names`` on ``shapes``, n = 16, for about ``seconds`` each, all in one run.

    ``progress``: called with a line before each measurement.  Raises :class:`BenchError` for a device that is not here,
    a shape that is not (b, d, l) and a name that is neither registered nor one of :data:`SCANS`.
    """
    try:
        where = torch.device(device)
    except RuntimeError:
        raise BenchError(f"device {device!r} is none: choose cpu or cuda") from None
    if where.type not in ("cpu", "cuda") or (where.type == "cuda" and not torch.cuda.is_available()):
        raise BenchError(f"device {device} is not available: choose cpu, or install a CUDA build of torch")
    if where.type == "cuda":
        where = torch.device("cuda", torch.cuda.current_device() if where.index is None else where.index)
    shapes = tuple(shapes or (GPU_SHAPES if where.type == "cuda" else CPU_SHAPES))
    for shape in shapes:
        if len(shape) != 3 or min(shape) < 1:
            raise BenchError(f"shape {shape} is not (b, d, l) with every one at least 1: for example (1, 1536, 512)")
    for name in names:
        if name not in SCANS and name not in scans.names():
            known = ", ".join(dict.fromkeys([*SCANS, *scans.names()]))
            raise BenchError(f"unknown scan {name!r}: choose among {known}")
    copied, exponentials = bandwidth(where), _exp_per_millisecond(where)
    timings, memory, exp = [], {}, {}
    for shape in shapes:
        first = random_inputs(*shape, device=where)
        sets = [first]
        if where.type == "cuda":
            cache = 2 * torch.cuda.get_device_properties(where).L2_cache_size
            count = min(_CALLS, -(-cache // scan_bytes(first)))
            sets += [random_inputs(*shape, seed=i, device=where) for i in range(1, count)]
        memory[shape] = scan_bytes(first) / copied
        exp[shape] = None if exponentials is None else shape[0] * shape[1] * shape[2] * first.states / exponentials
        for name in names:
            if progress:
                progress(f"{name} at (b, d, l) = {shape}")
            timings.append(_timing(name, shape, sets, seconds))
    return Benchmark(tuple(timings), memory, exp, machine_record(where))
