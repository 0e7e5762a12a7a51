"""The reference: the selective scan in FP64, sequential in t, every operation the correctly rounded float64 one.

The scales are float32 numbers and are taken as exact; codes are exact; so the only error against the real numbers is
float64 rounding, some 10^9 times smaller than that of the scans it judges.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..quantized import AWAY_SATURATE, RoundingRule
from .types import ScanInputs, ScanOutput

_BLOCK_BYTES = 1 << 20  # of decays in flight: half of a common second-level cache

__all__ = ["oracle", "oracle_float64", "oracle_taps", "quantize_state", "to_half"]


def quantize_state(h: Tensor, scale: Tensor, rule: RoundingRule = AWAY_SATURATE) -> Tensor:
    """INT8 codes of a state; the published prefill rounds ties away from zero and saturates."""
    return rule(h / scale.to(h.device, h.dtype))


def to_half(x: Tensor) -> Tensor:
    """float64 to float16 in ONE rounding (nearest even).

    A direct ``.half()`` goes through float32 and rounds twice.  Here the float32 is rounded to odd first, which keeps
    every tie of the second rounding honest (Boldo and Melquiond, 2008).
    """
    single = x.float()
    magnitude_up = single.double().abs() > x.abs()
    bits = single.view(torch.int32) - magnitude_up.to(torch.int32)
    inexact = bits.view(torch.float32).double() != x
    return (bits | (inexact & torch.isfinite(x)).to(torch.int32)).view(torch.float32).half()


def oracle_taps(x: ScanInputs, initial_state: Tensor | None = None) -> dict[str, Tensor]:
    """Every operation's output in float64.

    Returns ``softplus`` (b, d, l), ``decay``, ``drive``, ``recurrence`` (b, d, l, n), ``contraction``, ``skip``
    (the value before the gate), ``gate`` (b, d, l) and ``output_cast``: float16 (b, l, d).
    """
    f64 = torch.float64
    u, dt = x.u.dequantize(f64), x.dt.dequantize(f64)  # (b, d, l)
    if x.dt_bias is not None:
        dt = dt + x.dt_bias.dequantize(f64)[None, :, None]
    if x.softplus:
        dt = torch.logaddexp(dt, torch.zeros((), dtype=f64, device=dt.device))
    A = -torch.exp(x.A_log.dequantize(f64))  # (d, n)
    per_group = x.channels // x.groups
    B = x.B.dequantize(f64).repeat_interleave(per_group, 1).transpose(2, 3)  # (b, d, l, n)
    C = x.C.dequantize(f64).repeat_interleave(per_group, 1).transpose(2, 3)
    decay = torch.exp(dt[..., None] * A[None, :, None, :])
    drive = (dt * u)[..., None] * B
    h = torch.zeros(x.batch, x.channels, x.states, dtype=f64, device=x.device)
    if initial_state is not None:
        h = initial_state.to(f64)
    states = torch.empty_like(drive)
    for t in range(x.length):
        h = decay[:, :, t] * h + drive[:, :, t]
        states[:, :, t] = h
    contraction = (states * C).sum(-1)  # (b, d, l)
    skip = contraction if x.D is None else contraction + x.D.dequantize(f64)[None, :, None] * u
    gate = skip
    if x.z is not None:
        z = x.z.dequantize(f64)
        gate = skip * z * torch.sigmoid(z)
    return {
        "softplus": dt, "decay": decay, "drive": drive, "recurrence": states, "contraction": contraction,
        "skip": skip, "gate": gate, "output_cast": to_half(gate.transpose(1, 2)),
    }  # fmt: skip


def oracle_float64(x: ScanInputs, initial_state: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """y before the output cast, float64 (b, l, d), and the last state, float64 (b, d, n).

    The same operations as :func:`oracle_taps`, with time outermost, in blocks of steps that fit the cache and in place.
    """
    f64 = torch.float64
    b, d, l, n, g = x.batch, x.channels, x.length, x.states, x.groups
    u, dt = x.u.dequantize(f64), x.dt.dequantize(f64)  # (b, d, l)
    if x.dt_bias is not None:
        dt = dt + x.dt_bias.dequantize(f64)[None, :, None]
    if x.softplus:
        dt = torch.logaddexp(dt, torch.zeros((), dtype=f64, device=dt.device))
    grouped = (g, d // g)
    A = -torch.exp(x.A_log.dequantize(f64)).view(*grouped, n)
    B = x.B.dequantize(f64).permute(3, 0, 1, 2).contiguous()[:, :, :, None]  # (l, b, g, 1, n)
    C = x.C.dequantize(f64).permute(3, 0, 1, 2).contiguous()[:, :, :, None]
    steps = dt.permute(2, 0, 1).contiguous().view(l, b, *grouped, 1)
    inputs = (dt * u).permute(2, 0, 1).contiguous().view(l, b, *grouped, 1)
    y = torch.empty(l, b, *grouped, dtype=f64, device=x.device)
    h = torch.zeros(b, *grouped, n, dtype=f64, device=x.device)
    if initial_state is not None:
        h = initial_state.to(f64).reshape(h.shape)
    size = max(1, min(l, _BLOCK_BYTES // (b * d * n * f64.itemsize)))
    decays, drives = torch.empty(2, size, *h.shape, dtype=f64, device=x.device)
    for start in range(0, l, size):
        part = slice(start, min(start + size, l))
        count = part.stop - start
        decay, states = decays[:count], drives[:count]  # each drive becomes the state of its step, in place
        torch.exp_(torch.mul(steps[part], A, out=decay))
        torch.mul(inputs[part], B[part], out=states)
        for t in range(count):
            h = states[t].add_(decay[t].mul_(h))
        h = h.clone()
        torch.sum(states.mul_(C[part]), -1, out=y[part])
    y = y.view(l, b, d).transpose(0, 1).contiguous()  # (b, l, d)
    if x.D is not None:
        y += x.D.dequantize(f64) * u.transpose(1, 2)
    if x.z is not None:
        z = x.z.dequantize(f64).transpose(1, 2)
        y *= z * torch.sigmoid(z)
    return y, h.view(b, d, n)


def oracle(x: ScanInputs) -> ScanOutput:
    """The scan in FP64, rounded once to float16 at the end."""
    y, last = oracle_float64(x)
    state = last.float() if x.state_scale is None else quantize_state(last, x.state_scale)
    return ScanOutput(to_half(y), state, f"torch {torch.__version__} float64, sequential, {x.device.type}")
