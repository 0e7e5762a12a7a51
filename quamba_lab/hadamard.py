"""Hadamard matrices of the sizes that Mamba's widths need, and their fast transform.

A Hadamard matrix has entries +1 and −1 and orthogonal rows: H Hᵀ = n I.  Sizes: 2^k, 12·2^k, 20·2^k, 28·2^k, 40·2^k.
The odd parts come from Paley's two constructions (1933) over the integers modulo a prime q:

    I   q ≡ 3 (mod 4), size q + 1:     [[1, −1], [1, I + S]],  S_ij = χ(i − j)             20 (q = 19)
    II  q ≡ 1 (mod 4), size 2(q + 1):  C ⊗ [[1, 1], [1, −1]] + I ⊗ [[1, −1], [−1, −1]]     12 (q = 5), 28 (q = 13)

with χ the quadratic character and C the symmetric conference matrix of χ; 40 is [[1, 1], [1, −1]] ⊗ 20.  These are the
matrices that the published kernel's tables hold for 12 and 40, so real checkpoints, whose weights are rotated with
them, are read correctly.  The power of two is the inner factor: H = H_base ⊗ H_(2^k).
"""

from __future__ import annotations

import ctypes
import math
from functools import cache

import torch
from torch import Tensor, nn

from .quantized import Quantized
from .scans.build import cpu_library, cpu_unavailable
from .sites import RequantizationSite, Round

__all__ = ["HadamardQuantize", "base_matrix", "hadamard_matrix", "split_size", "transform",
           "transform_by_tensors"]  # fmt: skip

SIZES = "2^k, 12·2^k, 20·2^k, 28·2^k or 40·2^k"


def quadratic_character(a: int, q: int) -> int:
    """χ(a) modulo the odd prime q: 0 for a ≡ 0, 1 for squares, −1 otherwise (Euler's criterion)."""
    if a % q == 0:
        return 0
    return 1 if pow(a, (q - 1) // 2, q) == 1 else -1


def _characters(q: int) -> Tensor:
    return torch.tensor([[quadratic_character(i - j, q) for j in range(q)] for i in range(q)], dtype=torch.int8)


def paley_one(q: int) -> Tensor:
    """Paley's first construction for a prime q ≡ 3 (mod 4): int8 (q + 1, q + 1)."""
    h = torch.ones(q + 1, q + 1, dtype=torch.int8)
    h[0, 1:] = -1
    h[1:, 1:] = _characters(q) + torch.eye(q, dtype=torch.int8)
    return h


def paley_two(q: int) -> Tensor:
    """Paley's second construction for a prime q ≡ 1 (mod 4): int8 (2q + 2, 2q + 2)."""
    conference = torch.ones(q + 1, q + 1, dtype=torch.int8)
    conference[0, 0] = 0
    conference[1:, 1:] = _characters(q)
    outer = torch.tensor([[1, 1], [1, -1]], dtype=torch.int8)
    diagonal = torch.tensor([[1, -1], [-1, -1]], dtype=torch.int8)
    return torch.kron(conference, outer) + torch.kron(torch.eye(q + 1, dtype=torch.int8), diagonal)


@cache
def base_matrix(size: int) -> Tensor:
    """The base factor of size 1, 12, 20, 28 or 40: int8 (size, size)."""
    if size == 40:
        return torch.kron(torch.tensor([[1, 1], [1, -1]], dtype=torch.int8), base_matrix(20))
    builders = {1: lambda: torch.ones(1, 1, dtype=torch.int8), 12: lambda: paley_two(5), 20: lambda: paley_one(19),
                28: lambda: paley_two(13)}  # fmt: skip
    return builders[size]()


@cache
def split_size(n: int) -> tuple[int, int]:
    """``(base, k)`` with n = base · 2^k.  Multiples of 40 take base 40, as the published layer does.

    Raises ``ValueError`` for a size that has no matrix here.
    """
    if n >= 1:
        for base in (40, 28, 20, 12, 1):
            rest, remainder = divmod(n, base)
            if remainder == 0 and rest & (rest - 1) == 0:
                return base, rest.bit_length() - 1
    raise ValueError(f"no Hadamard matrix of size {n} here: choose a width of {SIZES}")


def hadamard_matrix(n: int, dtype: torch.dtype = torch.int8) -> Tensor:
    """The ±1 matrix of size n, in ``dtype``, shape (n, n); ``transform(x) == x @ hadamard_matrix(n).T``."""
    base, k = split_size(n)
    h = base_matrix(base)
    for _ in range(k):
        h = torch.kron(h, torch.tensor([[1, 1], [1, -1]], dtype=torch.int8))
    return h.to(dtype)


def _transform_rows_last(x: Tensor, base: int, k: int) -> Tensor:
    """x (n, rows) in place of its transform, each column transformed: additions in the published kernel's order.

    First the butterflies of the power of two, strides 1, 2, 4, …; then the base matrix, its terms added from left to
    right.  Every addition is a separate elementwise operation, so the result is the same on every device.
    """
    n, rows = x.shape
    for i in range(k):
        stride = 1 << i
        pairs = x.view(n // (2 * stride), 2, stride, rows)
        upper, lower = pairs[:, 0], pairs[:, 1]
        x = torch.stack((upper + lower, upper - lower), 1).view(n, rows)
    if base == 1:
        return x
    chunks = x.view(base, n // base, rows)
    out = torch.empty_like(chunks)
    for row, signs in enumerate(base_matrix(base).tolist()):
        target = out[row]
        torch.mul(chunks[0], signs[0], out=target)
        for chunk, sign in zip(chunks[1:], signs[1:], strict=True):
            target.add_(chunk) if sign > 0 else target.sub_(chunk)
    return out.view(n, rows)


BLOCK_ELEMENTS = 1 << 18
"""Elements transformed at once: a megabyte of FP32 stays in a core's cache through all the passes."""


def transform(x: Tensor, scale: float | None = None) -> Tensor:
    """H x over the last dimension, times ``scale`` when given: (..., n) -> (..., n).

    FP16 and FP32 inputs are computed in FP32, FP64 in FP64; returns that dtype.  On a CPU with a C++ compiler by
    csrc/hadamard.cpp, else by :func:`transform_by_tensors`: the same additions in the same order, the same bits.
    Raises ``ValueError`` for a size that has no matrix.
    """
    library = _library() if x.device.type == "cpu" else None
    if library is None:
        return transform_by_tensors(x, scale)
    n = x.shape[-1]
    base, k = split_size(n)
    flat = x.to(_computed_in(x.dtype)).reshape(-1, n).contiguous()
    out = torch.empty_like(flat)
    run = library.hadamard_f64 if flat.dtype == torch.float64 else library.hadamard_f32
    run(
        ctypes.c_void_p(flat.data_ptr()), ctypes.c_void_p(out.data_ptr()), ctypes.c_int64(len(flat)), ctypes.c_int64(n),
        base, k, ctypes.c_void_p(base_matrix(base).data_ptr()), ctypes.c_double(1.0 if scale is None else scale),
    )  # fmt: skip
    return out.view(x.shape)


@cache
def _library() -> ctypes.CDLL | None:
    """csrc/hadamard.cpp, built, or None without a compiler."""
    return None if cpu_unavailable() else cpu_library("hadamard.cpp")


def _computed_in(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def transform_by_tensors(x: Tensor, scale: float | None = None) -> Tensor:
    """:func:`transform` as elementwise operations of torch, on any device: the definition of its rounding."""
    n = x.shape[-1]
    base, k = split_size(n)
    dtype = _computed_in(x.dtype)
    flat = x.reshape(-1, n)
    out = torch.empty(flat.shape, dtype=dtype, device=x.device)
    step = max(1, BLOCK_ELEMENTS // n) if x.device.type == "cpu" else max(1, len(flat))
    for start in range(0, len(flat), step):
        block = flat[start : start + step].t().to(dtype).contiguous()  # (n, rows)
        out[start : start + step] = _transform_rows_last(block, base, k).t()
    if scale is not None:
        out *= scale
    return out.view(x.shape)


class HadamardQuantize(nn.Module):
    """y -> INT8 codes of (H y / sqrt(d)): FP16 (b, l, d) -> Quantized (b, l, d).

    Both divisors are folded into one FP32 factor, 1 / (sqrt(d) · s), as the published layer does.  Its kernel does not
    clamp: a value of 128 or more leaves as a negative code (rule ``AWAY_WRAP``); give the site the rule
    ``AWAY_SATURATE`` for the clamped form.
    """

    def __init__(self, site: RequantizationSite, channels: int, scale: Tensor):
        super().__init__()
        split_size(channels)
        self.channels = channels
        self.rounding = Round(site)
        self.register_buffer("scale", scale)
        self.factor = 1.0 / math.sqrt(channels) / float(scale)

    def forward(self, y: Tensor) -> Quantized:
        return Quantized(self.rounding(transform(y, self.factor)), self.scale)
