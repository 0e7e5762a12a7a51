"""The reference: the selective scan in FP64, sequential in t, every operation the correctly rounded float64 one.

The scales are float32 numbers and are taken as exact; codes are exact; so the only error against the real numbers is
float64 rounding, some 10^9 times smaller than that of the scans it judges.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..quantized import AWAY_SATURATE, RoundingRule
from .types import ScanInputs, ScanOutput

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


def oracle_float64(
    x: ScanInputs, chunk: int = 256, channel_chunk: int = 64, initial_state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """y before the output cast, float64 (b, l, d), and the last state, float64 (b, d, n).

    Runs in chunks of time and, within whole groups, of channels, so memory stays bounded.
    """
    y = torch.empty(x.batch, x.length, x.channels, dtype=torch.float64, device=x.device)
    last = torch.empty(x.batch, x.channels, x.states, dtype=torch.float64, device=x.device)
    step = min(channel_chunk, x.channels // x.groups)
    while (x.channels // x.groups) % step:
        step -= 1
    for first in range(0, x.channels, step):
        channels = slice(first, first + step)
        h = None if initial_state is None else initial_state[:, channels]
        for start in range(0, x.length, chunk):
            part = x.narrow(channels=channels, length=slice(start, start + chunk))
            taps = oracle_taps(part, h)
            y[:, start : start + chunk, channels] = taps["gate"].transpose(1, 2)
            h = taps["recurrence"][:, :, -1]
        last[:, channels] = h
    return y, last


def oracle(x: ScanInputs) -> ScanOutput:
    """The scan in FP64, rounded once to float16 at the end."""
    y, last = oracle_float64(x)
    state = last.float() if x.state_scale is None else quantize_state(last, x.state_scale)
    return ScanOutput(to_half(y), state, f"torch {torch.__version__} float64, sequential, {x.device.type}")
