"""The published scan's host arithmetic as tensor operations: fused multiply-add, its exp, its prefix scan.

With these, :mod:`quamba_lab.scans.variants` has a point that equals the host build of ``published`` bit for bit, so the
way from one scan to the other can be walked a switch at a time.
"""

from __future__ import annotations

import ctypes
import functools

import torch
import torch.nn.functional as F
from torch import Tensor

from .build import cpu_library, cpu_unavailable

__all__ = ["fused", "fused_by_tensors", "log1p_once", "prefix_scan", "standard_exp"]

WARP = 32
"""Threads that scan together; their totals are chained (csrc/published.h)."""

_DROPPED = (1 << 29) - 1  # the bits by which a float64 is longer than a float32
_TIE = 1 << 28
_TINY = 2.0**-126


def fused(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """a·b + c of float32 tensors, rounded once: C's ``fmaf`` (csrc/fused.cpp), or :func:`fused_by_tensors`; shapes
    broadcast."""
    library = _fused_library() if a.device.type == "cpu" else None
    if library is None:
        return fused_by_tensors(a, b, c)
    operands = [t.contiguous() for t in torch.broadcast_tensors(a, b, c)]
    result = torch.empty_like(operands[0])
    pointers = (ctypes.c_void_p(t.data_ptr()) for t in (*operands, result))
    library.fused_multiply_add(*pointers, ctypes.c_int64(result.numel()))
    return result


@functools.lru_cache(maxsize=1)
def _fused_library() -> ctypes.CDLL | None:
    """The compiled fused multiply-add, asked for once: a scan calls it for every token and state."""
    return None if cpu_unavailable() else cpu_library("fused.cpp")


def fused_by_tensors(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """:func:`fused` without a compiler.

    The product is exact in float64.  The sum may round to the middle of two float32, or below their normal range, and
    would then be rounded twice; there it is rounded to odd first (Boldo and Melquiond, 2008).
    """
    product, addend = a.double() * b.double(), c.double()
    total = product + addend
    result = total.float()
    bits = total.view(torch.int64)
    doubtful = (bits & _DROPPED == _TIE) | ((total.abs() < _TINY) & (total != 0))
    if bool(doubtful.any()):
        product, addend = (t.expand(total.shape)[doubtful] for t in (product, addend))
        total, bits = total[doubtful], bits[doubtful]
        back = total - product
        error = (product - (total - back)) + (addend - back)  # exact: Knuth's two-sum
        odd = bits + torch.where((error > 0) == (total > 0), 1, -1)
        result[doubtful] = torch.where((error == 0) | (bits & 1 == 1), bits, odd).view(torch.float64).float()
    return result


def standard_exp(x: Tensor) -> Tensor:
    """e^x of float32 ``x`` as the host build computes it (csrc/scan_math.h, below 1.05 ULP).

    Raises ``BuildError`` without a C++ compiler.
    """
    source = x.float().cpu().contiguous()
    result = torch.empty_like(source)
    pointers = (ctypes.c_void_p(t.data_ptr()) for t in (source, result))
    cpu_library("published.cpp").standard_exponentials(*pointers, ctypes.c_int64(source.numel()))
    return result.to(x.device)


def log1p_once(x: Tensor) -> Tensor:
    """log(1 + x) computed in float64 and rounded once."""
    return torch.log1p(x.double()).to(x.dtype)


def prefix_scan(
    decay: Tensor, drive: Tensor, carry: Tensor, threads: int, items: int, multiply_add=fused
) -> tuple[Tensor, Tensor]:
    """One chunk of the published prefix scan: all its states (b, d, l, n), and the state that the next chunk receives.

    ``decay``, ``drive``: (b, d, l, n) with l at most threads · items; ``carry``: (b, d, n).  The five phases of
    csrc/published.h; the state handed on is joined from the warps' totals and need not be the last state's bits.
    """
    length = decay.shape[2]
    padding = (0, 0, 0, threads * items - length)
    a = F.pad(decay, padding, value=1.0).unflatten(2, (threads, items))  # (b, d, threads, items, n)
    b = F.pad(drive, padding, value=0.0).unflatten(2, (threads, items))
    total_a, total_h = a[:, :, :, 0], b[:, :, :, 0]  # (b, d, threads, n)
    for i in range(1, items):
        total_h = multiply_add(a[:, :, :, i], total_h, b[:, :, :, i])
        total_a = a[:, :, :, i] * total_a
    width = min(WARP, threads)
    total_a, total_h = (t.unflatten(2, (threads // width, width)) for t in (total_a, total_h))  # (b, d, warps, w, n)
    offset = 1
    while offset < width:
        joined = multiply_add(total_a[:, :, :, offset:], total_h[:, :, :, :-offset], total_h[:, :, :, offset:])
        product = total_a[:, :, :, offset:] * total_a[:, :, :, :-offset]
        total_h = torch.cat([total_h[:, :, :, :offset], joined], 3)
        total_a = torch.cat([total_a[:, :, :, :offset], product], 3)
        offset *= 2
    prefixes = []
    block_a = block_h = None
    for warp in range(threads // width):
        before_a, before_h = total_a[:, :, warp, :-1], total_h[:, :, warp, :-1]
        first = carry
        if block_a is not None:
            first = multiply_add(block_a, carry, block_h)
            before_h = multiply_add(before_a, block_h[:, :, None], before_h)
            before_a = before_a * block_a[:, :, None]
        prefixes += [first[:, :, None], multiply_add(before_a, carry[:, :, None], before_h)]
        last_a, last_h = total_a[:, :, warp, -1], total_h[:, :, warp, -1]
        if block_a is None:
            block_a, block_h = last_a, last_h
        else:
            block_a, block_h = last_a * block_a, multiply_add(last_a, block_h, last_h)
    h = torch.cat(prefixes, 2)  # (b, d, threads, n)
    states = torch.empty_like(b)
    for i in range(items):
        h = multiply_add(a[:, :, :, i], h, b[:, :, :, i])
        states[:, :, :, i] = h
    return states.flatten(2, 3)[:, :, :length], multiply_add(block_a, carry, block_h)
