"""The PyTorch scans that the debug plan blames: dequantize everything first, then a software recurrence.

Order of operations (every one a separate PyTorch operation with its own rounding in ``dtype``):

    u, dt, B, C, z, D, bias <- codes * scale         dt <- softplus(dt + bias)       A <- -exp(A_log)
    decay <- exp(dt * A)                             drive <- (dt * B) * u
    h <- decay * h + drive    (a product, then a sum: no fused multiply-add; sequential in t)
    y <- sum over n of h * C  (the library's reduction), then + D * u, then * silu(z), then float16

:func:`plain_scan` is that, written down: the definition.  The registered scans compute the same bits faster, by the
first of these that the machine allows (ScanOutput.build names it):

    1  the recurrence and the contraction in C++ or CUDA, everything with a transcendental function left to torch
    2  blocks of steps that fit the cache, in place: no compiler needed
    3  the plain loop: where the library's reduction has an order that form 1 does not know
"""

from __future__ import annotations

import ctypes
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from . import build
from .oracle import quantize_state
from .types import ScanInputs, ScanOutput

_SUFFIX = {torch.float32: "f32", torch.float64: "f64"}
_BLOCK_BYTES = 1 << 20  # of decays in flight: half of a common second-level cache
_CUDA_BLOCK_BYTES = 1 << 29

__all__ = ["plain_scan", "torch_fp32", "torch_fp64", "torch_int8", "torch_taps"]


def _per_channel(x: ScanInputs, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Dequantized u, dt after softplus (b, d, l) and A (d, n)."""
    u, dt = x.u.dequantize(dtype), x.dt.dequantize(dtype)
    if x.dt_bias is not None:
        dt = dt + x.dt_bias.dequantize(dtype)[None, :, None]
    if x.softplus:
        dt = F.softplus(dt)
    return u, dt, -torch.exp(x.A_log.dequantize(dtype))


def _operands(x: ScanInputs, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Dequantized u, dt (b, d, l), A (d, n), B, C (b, d, l, n)."""
    u, dt, A = _per_channel(x, dtype)
    per_group = x.channels // x.groups
    B = x.B.dequantize(dtype).transpose(2, 3).repeat_interleave(per_group, 1)  # (b, d, l, n)
    C = x.C.dequantize(dtype).transpose(2, 3).repeat_interleave(per_group, 1)
    return u, dt, A, B, C


def torch_taps(x: ScanInputs, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Every operation's output, keyed and shaped as in :func:`quamba_lab.scans.oracle.oracle_taps`."""
    u, dt, A, B, C = _operands(x, dtype)
    decay = torch.exp(dt[..., None] * A[None, :, None, :])  # (b, d, l, n)
    drive = (dt[..., None] * B) * u[..., None]
    states = torch.empty_like(drive)
    h = torch.zeros_like(drive[:, :, 0])
    for t in range(x.length):
        h = decay[:, :, t] * h + drive[:, :, t]
        states[:, :, t] = h
    contraction = (states * C).sum(-1)  # (b, d, l)
    skip = contraction if x.D is None else contraction + x.D.dequantize(dtype)[None, :, None] * u
    gate = skip if x.z is None else skip * F.silu(x.z.dequantize(dtype))
    return {
        "softplus": dt, "decay": decay, "drive": drive, "recurrence": states, "contraction": contraction,
        "skip": skip, "gate": gate, "output_cast": gate.transpose(1, 2).half(),
    }  # fmt: skip


def plain_scan(x: ScanInputs, dtype: torch.dtype = torch.float32) -> ScanOutput:
    """The scan as one would write it first; the definition of what :func:`torch_int8` must equal bit for bit."""
    taps = torch_taps(x, dtype)
    last = taps["recurrence"][:, :, -1]
    state = last.float() if x.state_scale is None else quantize_state(last, x.state_scale)
    return ScanOutput(taps["output_cast"], state, f"torch {torch.__version__} {dtype}, {x.device.type}")


def _output(x: ScanInputs, contraction: Tensor, u: Tensor, last: Tensor, dtype: torch.dtype, how: str) -> ScanOutput:
    """Skip, gate and casts, as the plain loop ends; overwrites ``contraction`` (b, d, l)."""
    y = contraction
    if x.D is not None:
        y = y.add_(x.D.dequantize(dtype)[None, :, None] * u)
    if x.z is not None:
        y = y.mul_(F.silu(x.z.dequantize(dtype)))
    state = last.float() if x.state_scale is None else quantize_state(last, x.state_scale)
    build = f"torch {torch.__version__} {dtype}, {x.device.type}, recurrence: {how}"
    return ScanOutput(y.half().transpose(1, 2).contiguous(), state, build)


@lru_cache(maxsize=64)
def _sum_lanes(dtype: torch.dtype, n: int) -> int | None:
    """The vector width with which csrc/recurrence.cpp adds n products exactly as ``torch.sum`` does here, or None.

    The order of a library's reduction is nobody's promise, so it is compared, once per process and n, on numbers
    whose sums depend on the order; likewise that ``torch.exp`` gives the same bits wherever a number stands.
    """
    library = build.cpu_library("recurrence.cpp")
    generator = torch.Generator().manual_seed(n)
    at = torch.rand(4099, generator=generator, dtype=dtype) * -20
    whole = torch.exp(at)
    pieces = ((0, 1), (1, 3), (5, 31), (3, 1025), (2051, 2048))
    if any(not torch.equal(torch.exp(at[i : i + k].clone()), whole[i : i + k]) for i, k in pieces):
        return None
    products = [torch.randn(shape, generator=generator, dtype=dtype) for shape in ((2, 3, 37, n), (1, 1, 1, n))]
    add = getattr(library, f"library_sum_{_SUFFIX[dtype]}")
    for lanes in (8, 4, 16, 2, 1):
        mine = [torch.empty(p.shape[:-1], dtype=dtype) for p in products]
        for p, y in zip(products, mine, strict=True):
            add(lanes, _pointer(p), _pointer(y), ctypes.c_int64(y.numel()), n)
        if all(torch.equal(p.sum(-1), y) for p, y in zip(products, mine, strict=True)):
            return lanes
    return None


def _pointer(tensor: Tensor | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(0 if tensor is None else tensor.data_ptr())


def _decay_rows(x: ScanInputs, dt: Tensor, A: Tensor, channels: slice, library) -> tuple[Tensor | None, Tensor]:
    """The decays of a block of channels: which row each step takes, int32 (b, c, l), and the rows (rows, n).

    dt has 256 codes per channel, so exp(dt A) is computed once per code where there are more steps than codes
    (index None: one row per step).  softplus rounds differently at the ragged end of a tensor, where the library's
    scalar code finishes what its vectors leave over: such steps get rows of their own.
    """
    b, l, dtype = x.batch, x.length, dt.dtype
    count = channels.stop - channels.start
    if b * l <= 256:
        return None, torch.exp_(dt[:, channels, :, None] * A[None, channels, None])  # (b, c, l, n)
    table = torch.arange(-128, 128, dtype=torch.int8).to(dtype) * x.dt.scale.to(dtype)  # (256,)
    table = table.repeat(count, 1)
    if x.dt_bias is not None:
        table += x.dt_bias.dequantize(dtype)[channels, None]
    if x.softplus:
        table = F.softplus(table)  # (c, 256)
    rows = torch.exp_(table[..., None] * A[channels, None]).flatten(0, 1)  # (c * 256, n)
    codes = x.dt.values.contiguous()
    index = torch.empty(b, count, l, dtype=torch.int32)
    find = getattr(library, f"recurrence_rows_{_SUFFIX[dtype]}")
    find.restype = ctypes.c_int64
    room = 64
    while True:
        odd_dt, odd_channel = torch.empty(room, dtype=dtype), torch.empty(room, dtype=torch.int64)
        found = find(
            _pointer(codes), _pointer(dt), _pointer(table), _pointer(index), _pointer(odd_dt), _pointer(odd_channel),
            *map(ctypes.c_int64, (room, b, x.channels, l, channels.start, count)),
        )  # fmt: skip
        if found <= room:
            break
        room = found
    if found:
        odd = odd_dt[:found, None] * A[channels][odd_channel[:found]]
        rows = torch.cat([rows, torch.exp_(odd)])
    return index, rows


def _fused(x: ScanInputs, dtype: torch.dtype, lanes: int) -> ScanOutput:
    """The plain loop with its recurrence and contraction in C++ (csrc/recurrence.cpp): the same bits, no Python step.

    Blocks of channels keep the decays in the second-level cache.
    """
    library = build.cpu_library("recurrence.cpp")
    b, d, l, n, g = x.batch, x.channels, x.length, x.states, x.groups
    u, dt, A = _per_channel(x, dtype)
    B = x.B.dequantize(dtype).transpose(2, 3).contiguous()  # (b, g, l, n)
    C = x.C.dequantize(dtype).transpose(2, 3).contiguous()
    steps, inputs = dt.contiguous(), u.contiguous()
    y = torch.empty(b, d, l, dtype=dtype)
    last = torch.empty(b, d, n, dtype=dtype)
    run = getattr(library, f"recurrence_{_SUFFIX[dtype]}")
    block = max(1, min(d, _BLOCK_BYTES // (min(256, b * l) * n * dtype.itemsize)))
    for first in range(0, d, block):
        channels = slice(first, min(first + block, d))
        index, rows = _decay_rows(x, steps, A, channels, library)
        run(
            lanes, *map(_pointer, (index, rows, steps, inputs, B, C, last, y)),
            *map(ctypes.c_int64, (b, d, l, g, n, first, channels.stop - first)),
        )  # fmt: skip
    return _output(x, y, u, last, dtype, f"C++, {library.build_record}")


def _blocked(x: ScanInputs, dtype: torch.dtype) -> ScanOutput:
    """The plain loop for a machine without a C++ compiler: steps outermost, blocks that fit the cache, no copies."""
    b, d, l, n, g = x.batch, x.channels, x.length, x.states, x.groups
    u, dt, A = _per_channel(x, dtype)
    B = x.B.dequantize(dtype).permute(3, 0, 1, 2).contiguous()[:, :, :, None]  # (l, b, g, 1, n)
    C = x.C.dequantize(dtype).permute(3, 0, 1, 2).contiguous()[:, :, :, None]
    shape = (l, b, g, d // g)
    steps = dt.permute(2, 0, 1).contiguous().view(*shape, 1)
    inputs = u.permute(2, 0, 1).contiguous().view(*shape, 1)
    rates = A.view(g, d // g, n)
    block = max(1, min(l, _BLOCK_BYTES // (b * d * n * dtype.itemsize)))
    decay = torch.empty(block, *shape[1:], n, dtype=dtype, device=x.device)
    states = torch.empty_like(decay)
    y = torch.empty(shape, dtype=dtype, device=x.device)
    h = torch.zeros(*shape[1:], n, dtype=dtype, device=x.device)
    for start in range(0, l, block):
        part = slice(start, min(start + block, l))
        size = part.stop - start
        a, drive = decay[:size], states[:size]  # each drive becomes the state of its step in place
        torch.exp_(torch.mul(steps[part], rates, out=a))
        torch.mul(steps[part], B[part], out=drive).mul_(inputs[part])
        for t in range(size):
            h = drive[t].add_(a[t].mul_(h))
        h = h.clone()
        torch.sum(drive.mul_(C[part]), -1, out=y[part])
    contraction = y.view(l, b, d).permute(1, 2, 0).contiguous()
    return _output(x, contraction, u, h.view(b, d, n), dtype, "torch, blocks of steps")


def _cuda(x: ScanInputs, dtype: torch.dtype) -> ScanOutput:
    """The plain loop with its recurrence in one kernel (csrc/recurrence.cu): exp and sum over n stay with torch."""
    b, d, l, n, g = x.batch, x.channels, x.length, x.states, x.groups
    name = "float" if dtype == torch.float32 else "double"
    kernel = build.cuda_kernel("recurrence.cu", f"recurrence<{name}>", "PPPPPPiiiiiii", device=x.device.index)
    with torch.cuda.device(x.device):
        u, dt, A = _per_channel(x, dtype)
        B = x.B.dequantize(dtype).transpose(2, 3).contiguous()  # (b, g, l, n)
        C = x.C.dequantize(dtype).transpose(2, 3).contiguous()
        steps, inputs = dt.contiguous(), u.contiguous()
        y = torch.empty(b, d, l, dtype=dtype, device=x.device)
        last = torch.empty(b, d, n, dtype=dtype, device=x.device)
        block = max(1, min(d, _CUDA_BLOCK_BYTES // (b * l * n * dtype.itemsize)))
        for first in range(0, d, block):
            channels = slice(first, min(first + block, d))
            count = channels.stop - first
            products = torch.exp_(steps[:, channels, :, None] * A[None, channels, None])  # (b, c, l, n)
            operands = (t.data_ptr() for t in (products, steps, inputs, B, C, last))
            grid = (-(-b * count * n // 128), 1, 1)
            kernel(grid, 128, 0, *operands, b, d, l, g, n, first, count)
            y[:, channels] = products.sum(-1)
        return _output(x, y, u, last, dtype, f"CUDA, {kernel.build_record}")


def _scan(x: ScanInputs, dtype: torch.dtype) -> ScanOutput:
    """The fastest form that equals :func:`plain_scan` bit for bit on this device."""
    if x.device.type == "cuda" and build.cuda_unavailable() is None:
        return _cuda(x, dtype)
    if x.device.type != "cpu":
        return plain_scan(x, dtype)
    try:
        lanes = _sum_lanes(dtype, x.states)
    except build.BuildError:
        return _blocked(x, dtype)
    return plain_scan(x, dtype) if lanes is None else _fused(x, dtype, lanes)


def torch_int8(x: ScanInputs) -> ScanOutput:
    """The PyTorch INT8 scan (the plan's mode 2-1): FP32 arithmetic on dequantized codes."""
    return _scan(x, torch.float32)


def torch_fp32(x: ScanInputs) -> ScanOutput:
    """The PyTorch FP32 scan (modes 2-2, 2-4, 3, 1): the same arithmetic, made for ``u`` in float32."""
    return _scan(x, torch.float32)


def torch_fp64(x: ScanInputs) -> ScanOutput:
    """The same scan in float64: the plan's last resort when PyTorch must be used."""
    return _scan(x, torch.float64)
