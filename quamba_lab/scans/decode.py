"""Decoding: one token at a time, the state carried from call to call.

The published layer decodes with other arithmetic than it prefills with.  Its decode (enyac-group/Quamba,
quamba/triton/selective_state_update.py, 2025-06) keeps the state as INT8 codes and requantizes it after EVERY token:

    h <- codes * s_state            h <- h * exp(A dt) + (B dt) u          codes <- clamp(rint((100 h) / (100 s_state)))
    y <- sum over n of h * C  + u * D,  then * (z * sigmoid(z))            (of h before it is rounded to codes)

Ties go to even there, away from zero in prefill.  Its product and sum in h are left to Triton's compiler; here they are
two roundings.  The exact alternative keeps the state as it is: float32, or float64 for the float64 scans.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..quantized import EVEN_SATURATE
from .kernels import check_scales, flatten
from .types import ScanError, ScanInputs, ScanOutput

__all__ = ["check_step", "decode_step", "exact_dtype", "prefill_then_decode", "step_in"]

_SCALE_GUARD = 100.0
"""The published decode multiplies state and scale by it before dividing, against an inexact division in Triton."""


def exact_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype of an exact state for arithmetic in ``dtype``: never below float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def check_step(x: ScanInputs, state: Tensor, exact: bool) -> None:
    """Raise :class:`ScanError` unless ``x`` is one token and ``state`` fits it."""
    x.check_shapes()
    check_scales(flatten(x))
    if x.length != 1:
        raise ScanError(f"a step takes one token, not l={x.length}: take inputs.narrow(length=slice(t, t + 1))")
    if not exact and x.state_scale is None:
        raise ScanError("an INT8 step needs state_scale: give it in ScanInputs, or pass exact=True and a float state")
    allowed = (torch.float32, torch.float64) if exact else (torch.int8,)
    expected = (x.batch, x.channels, x.states)
    if tuple(state.shape) != expected or state.dtype not in allowed or state.device != x.device:
        got = f"{state.dtype} {tuple(state.shape)} on {state.device}"
        kind = "float32 or float64" if exact else "int8 codes"
        raise ScanError(f"the state is {got}: a step with exact={exact} takes {kind} {expected} on {x.device}")


def decode_step(x: ScanInputs, state: Tensor, exact: bool = False, dtype: torch.dtype = torch.float32) -> ScanOutput:
    """One token in ``dtype`` with the published decode's association, (B dt) u.

    ``state``: (b, d, n), int8 codes of ``x.state_scale``, or with ``exact`` a float state.  Returns y, float16
    (b, 1, d), and the next state of the same kind.  Raises :class:`ScanError` (see :func:`check_step`).
    """
    check_step(x, state, exact)
    per_group = x.channels // x.groups
    u, dt = x.u.dequantize(dtype)[..., 0], x.dt.dequantize(dtype)[..., 0]  # (b, d)
    if x.dt_bias is not None:
        dt = dt + x.dt_bias.dequantize(dtype)
    if x.softplus:
        dt = F.softplus(dt)
    A = -torch.exp(x.A_log.dequantize(dtype))  # (d, n)
    B = x.B.dequantize(dtype)[..., 0].repeat_interleave(per_group, 1)  # (b, d, n)
    C = x.C.dequantize(dtype)[..., 0].repeat_interleave(per_group, 1)
    h = state.to(dtype) if exact else state.to(dtype) * x.state_scale.to(dtype)
    h = h * torch.exp(A * dt[..., None]) + (B * dt[..., None]) * u[..., None]  # (b, d, n)
    y = (h * C).sum(-1)  # (b, d)
    if x.D is not None:
        y = y + u * x.D.dequantize(dtype)
    if x.z is not None:
        z = x.z.dequantize(dtype)[..., 0]
        y = y * (z * torch.sigmoid(z))
    if exact:
        following = h.to(exact_dtype(dtype))
    else:
        following = EVEN_SATURATE((h * _SCALE_GUARD) / (x.state_scale.to(dtype) * _SCALE_GUARD))
    kept = "state kept" if exact else "state requantized"
    build = f"torch {torch.__version__} {dtype} decode, {kept}, {x.device.type}"
    return ScanOutput(y.half()[:, None], following, build)


def step_in(dtype: torch.dtype) -> Callable[[ScanInputs, Tensor, bool], ScanOutput]:
    """:func:`decode_step` in ``dtype``, as a scan's ``step``."""
    return lambda x, state, exact=False: decode_step(x, state, exact, dtype)


def prefill_then_decode(
    run: Callable[[ScanInputs], ScanOutput],
    step: Callable[[ScanInputs, Tensor, bool], ScanOutput],
    x: ScanInputs,
    prefill: int,
    exact: bool = False,
) -> ScanOutput:
    """``run`` on the first ``prefill`` tokens, then ``step`` on each that follows: what generation computes.

    Returns y, float16 (b, l, d), and the last state.  Compare with ``run`` on all of ``x``: the difference is what
    decoding adds.  Raises :class:`ScanError` unless 1 <= prefill <= l.
    """
    if not 1 <= prefill <= x.length:
        raise ScanError(f"prefill={prefill}: choose 1 to l={x.length} tokens")
    first = replace(x.narrow(length=slice(0, prefill)), state_scale=None if exact else x.state_scale)
    output = run(first)
    rows, state = [output.y], output.last_state
    for t in range(prefill, x.length):
        token = step(x.narrow(length=slice(t, t + 1)), state, exact)
        rows.append(token.y)
        state = token.last_state
    return ScanOutput(torch.cat(rows, 1), state, output.build)
