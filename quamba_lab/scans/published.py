"""``published``: the arithmetic of the published INT8 scan, from csrc/published.*, on the CPU and on the GPU.

On the GPU the same tree of operations, the same fast math and the same contraction as the published kernel
(enyac-group/Quamba, csrc/selective_scan, 2025-06).  On the CPU the same tree in the same order with standard math.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor

from .build import CudaKernel, cpu_library, cpu_unavailable, cuda_kernel, cuda_unavailable
from .decode import check_step, decode_step
from .kernels import ScanOperator, addresses, check_scales, flatten, outputs
from .types import ScanError, ScanInputs, ScanOutput

__all__ = [
    "partition", "published", "published_build", "published_continued", "published_step", "published_taps",
    "unavailable",
]  # fmt: skip

_LAYOUT = "27P7i4x"  # struct PublishedScan of csrc/published.h
_PACK = struct.Struct("@" + _LAYOUT)
_NO_TAPS = (0,) * 7
_TRANSPOSE_FROM = 1 << 18  # elements of y from which a second kernel that transposes costs less than scattered writes
_ONE_THREAD_BELOW = 1_000_000  # (b, d, l, n) elements, about 2 ms: waking a second thread would cost more than it saves


def partition(length: int) -> tuple[int, int]:
    """Threads and items per thread for a sequence: they fix the tree of the sums, so the length fixes the rounding."""
    if length <= 512:
        return 32, 4 if length <= 128 else 8 if length <= 256 else 16
    return (64, 16) if length <= 1024 else (128, 16)


@lru_cache(maxsize=1)
def _host():
    library = cpu_library("published.cpp")
    if library.published_size() != _PACK.size:
        raise AssertionError(f"PublishedScan has {library.published_size()} bytes in C++, {_PACK.size} in Python")
    return library


@lru_cache(maxsize=64)
def _device_kernel(length_class: tuple[int, int], taps: bool, device: int) -> CudaKernel:
    threads, items = length_class
    name = f"published_scan<{threads}, {items}, {str(taps).lower()}>"
    return cuda_kernel("published.cu", name, f"{{{_LAYOUT}}}", ("--use_fast_math",), device)


def _arguments(
    operands: tuple, y: Tensor, state: Tensor, initial: Tensor | None, taps: tuple[int, ...], sequence_last: bool
) -> tuple:
    """The fields of struct PublishedScan, in order."""
    b, d, l = operands[0].shape
    n, g = operands[5].shape[1], operands[2].shape[1]
    first = 0 if initial is None else initial.data_ptr()
    at = (*addresses(operands), first, y.data_ptr(), state.data_ptr())
    return (*at, *taps, b, d, l, n, g, operands[17], sequence_last)


def _run_host(arguments: tuple, length: int, elements: int) -> None:
    threads = 1 if elements < _ONE_THREAD_BELOW else torch.get_num_threads()
    _host().published_scan(_PACK.pack(*arguments), *partition(length), threads)


def _run_device(arguments: tuple, u: Tensor, tapped: bool) -> None:
    b, d, l = u.shape
    if b > 65535:
        raise ScanError(f"b={b}: the CUDA grid takes at most 65535 sequences, split the batch")
    threads, items = partition(l)
    kernel = _device_kernel((threads, items), tapped, u.get_device())
    kernel((d, b, 1), threads, 0, *arguments)


def _scan(operands: tuple, initial: Tensor | None = None, taps: tuple[int, ...] = _NO_TAPS) -> tuple[Tensor, Tensor]:
    """y, float16 (b, l, d), and the last state.  ``taps``: addresses to fill, in the order of the struct."""
    u = operands[0]
    if u.dtype != torch.int8:
        raise ScanError(f"published takes u as torch.int8, not {u.dtype}: quantize u, or choose torch_fp32")
    on_gpu = u.is_cuda
    transpose = on_gpu and u.numel() >= _TRANSPOSE_FROM
    y, state = outputs(u, operands[5], operands[16], sequence_last=transpose)
    arguments = _arguments(operands, y, state, initial, taps, transpose)
    if not on_gpu:
        _run_host(arguments, u.shape[2], state.numel() * u.shape[2])
        return y, state
    if u.get_device() == torch._C._cuda_getDevice():
        _run_device(arguments, u, taps is not _NO_TAPS)
    else:
        with torch.cuda.device(u.device):
            _run_device(arguments, u, taps is not _NO_TAPS)
    return (y.transpose(1, 2).contiguous() if transpose else y), state  # (b, l, d)


def _published(*operands) -> tuple[Tensor, Tensor]:
    return _scan(operands)


_OPERATOR = ScanOperator("published_scan", cpu=_published, cuda=_published)


def unavailable() -> str | None:
    """None when some build can run here, else why the host build cannot and what to install."""
    return cpu_unavailable() if cuda_unavailable() else None


@lru_cache(maxsize=64)
def _build_text(device_type: str, index: int, threads: int, items: int) -> str:
    if device_type == "cuda":
        return f"cuda build: {_device_kernel((threads, items), False, index).build_record}, tree {threads}x{items}"
    return f"host build: {_host().build_record}, standard math, tree {threads}x{items}"


@torch.compiler.assume_constant_result
def published_build(device_type: str, index: int, threads: int, items: int) -> str:
    """What runs on this device for this partition: compiler, flags, source; builds it if need be."""
    return _build_text(device_type, index, threads, items)


def _record(x: ScanInputs) -> str:
    device = x.u.values.device
    return published_build(device.type, device.index or 0, *partition(x.u.values.shape[2]))


def published(x: ScanInputs) -> ScanOutput:
    """The published INT8 kernel's arithmetic (modes 0 and 2-0): CUDA on a GPU, the same tree on the host elsewhere."""
    y, state = _OPERATOR(x)
    return ScanOutput(y, state, _record(x))


def published_continued(x: ScanInputs, state: Tensor) -> ScanOutput:
    """:func:`published` starting from ``state``, float32 (b, d, n), instead of zero.

    Raises :class:`ScanError` for a state of another shape, dtype or device.
    """
    x.check_shapes()
    operands = flatten(x)
    check_scales(operands)
    expected = (x.batch, x.channels, x.states)
    if tuple(state.shape) != expected or state.dtype != torch.float32 or state.device != x.device:
        got = f"{state.dtype} {tuple(state.shape)} on {state.device}"
        raise ScanError(f"the state is {got}: expected torch.float32 {expected} on {x.device}")
    y, last = _scan(operands, state.contiguous())
    return ScanOutput(y, last, _record(x))


def published_step(x: ScanInputs, state: Tensor, exact: bool = False) -> ScanOutput:
    """One token: the published decode, or with ``exact`` the kernel itself going on from a float32 state."""
    if not exact:
        return decode_step(x, state)
    check_step(x, state, exact)
    return published_continued(replace(x, state_scale=None), state.float())


def published_taps(x: ScanInputs) -> dict[str, Tensor]:
    """Every operation's output from inside the kernel, float32, keyed and shaped as ``oracle_taps``.

    A template flag of the same kernel: its y is the untapped y bit for bit.  ``contraction`` is summed on its own from
    zero in the same order, because the kernel's accumulator starts with D*u.
    """
    x.check_shapes()
    operands = flatten(x)
    check_scales(operands)
    per_step = {name: torch.empty(x.u.shape, dtype=torch.float32, device=x.device)
                for name in ("softplus", "contraction", "skip", "gate")}  # (b, d, l)  # fmt: skip
    per_state = {name: torch.empty((*x.u.shape, x.states), dtype=torch.float32, device=x.device)
                 for name in ("decay", "drive", "recurrence")}  # (b, d, l, n)  # fmt: skip
    taps = {**per_step, **per_state}
    order = ("softplus", "decay", "drive", "recurrence", "contraction", "skip", "gate")
    y, _ = _scan(operands, None, tuple(taps[name].data_ptr() for name in order))
    return {**{name: taps[name] for name in order}, "output_cast": y}
