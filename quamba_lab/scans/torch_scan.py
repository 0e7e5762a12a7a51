"""The PyTorch scans that the debug plan blames: dequantize everything first, then a software recurrence.

Order of operations (every one a separate PyTorch operation with its own rounding in ``dtype``):

    u, dt, B, C, z, D, bias <- codes * scale         dt <- softplus(dt + bias)       A <- -exp(A_log)
    decay <- exp(dt * A)                             drive <- (dt * B) * u
    h <- decay * h + drive    (a product, then a sum: no fused multiply-add; sequential in t)
    y <- sum over n of h * C  (the library's reduction), then + D * u, then * silu(z), then float16
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .oracle import quantize_state
from .types import ScanInputs, ScanOutput

__all__ = ["plain_scan", "torch_fp32", "torch_fp64", "torch_int8", "torch_taps"]


def _operands(x: ScanInputs, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Dequantized u, dt (b, d, l), A (d, n), B, C (b, d, l, n)."""
    u, dt = x.u.dequantize(dtype), x.dt.dequantize(dtype)
    if x.dt_bias is not None:
        dt = dt + x.dt_bias.dequantize(dtype)[None, :, None]
    if x.softplus:
        dt = F.softplus(dt)
    A = -torch.exp(x.A_log.dequantize(dtype))
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


def torch_int8(x: ScanInputs) -> ScanOutput:
    """The PyTorch INT8 scan (the plan's mode 2-1): FP32 arithmetic on dequantized codes."""
    return plain_scan(x)


def torch_fp32(x: ScanInputs) -> ScanOutput:
    """The PyTorch FP32 scan (modes 2-2, 2-4, 3, 1): the same arithmetic, made for ``u`` in float32."""
    return plain_scan(x)


def torch_fp64(x: ScanInputs) -> ScanOutput:
    """The same scan in float64: the plan's last resort when PyTorch must be used."""
    return plain_scan(x, torch.float64)
