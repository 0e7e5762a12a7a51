"""What each possible difference in dequantization would do to y, if it were there.

So that "there is no difference" and "there is one that cannot matter" are told apart: every alternative is applied to
the layer's real inputs, in the PyTorch scan's arithmetic, and y is compared with the unaltered y and with FP64.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pandas as pd
import torch

from ..compare import Difference, difference, relative_rms
from ..quantized import EVEN_SATURATE, Quantized, RoundingRule
from ..scans import OPERANDS, ScanInputs, ScanOutput
from ..scans.oracle import oracle_float64
from ..scans.variants import TORCH_INT8, Arithmetic, Variant
from ..scans.variants import run as run_variant
from ..thresholds import threshold

__all__ = ["ALTERNATIVES", "what_if"]

SYMMETRIC = RoundingRule("away", low=-127)
"""The state's rule with the range that the plan asks about."""


def _clip(name: str) -> Callable[[ScanInputs], ScanOutput]:
    def alternative(x: ScanInputs) -> ScanOutput:
        operand = getattr(x, name)
        if operand is None or operand.scale is None:
            return run_variant(x, TORCH_INT8)
        return run_variant(replace(x, **{name: operand.map(lambda v: v.clamp(min=-127))}), TORCH_INT8)

    return alternative


def _scales(dtype: torch.dtype) -> Callable[[ScanInputs], ScanOutput]:
    def alternative(x: ScanInputs) -> ScanOutput:
        rounded = {
            name: Quantized(q.values, q.scale.to(dtype).float())
            for name, q in x.operands().items()
            if q.scale is not None
        }
        return run_variant(replace(x, **rounded), TORCH_INT8)

    return alternative


class _Through(Arithmetic):
    """Codes converted to ``dtype`` before they become float32: every code fits 8 bits of significand."""

    def __init__(self, dtype: torch.dtype):
        super().__init__()
        self._dtype = dtype

    def dequantize(self, name, q, x):
        return q.values.float() if q.scale is None else q.values.to(self._dtype).float() * q.scale


class _Wide(Arithmetic):
    """code × scale in float64, rounded to float32 once."""

    def dequantize(self, name, q, x):
        return q.dequantize(torch.float64).float()


class _HalfValues(Arithmetic):
    """code × scale rounded to float16 before anything else."""

    def dequantize(self, name, q, x):
        return super().dequantize(name, q, x).half().float()


class _ScaleLast(Arithmetic):
    """B and u enter as whole numbers, their scales once at the end of the drive."""

    def taps(self, x):
        self._u_scale = x.u.scale if x.u.scale is not None else torch.tensor(1.0)
        self._scale = x.B.scale * self._u_scale
        return super().taps(x)

    def dequantize(self, name, q, x):
        return q.values.float() if name in ("B", "u") else super().dequantize(name, q, x)

    def drive(self, dt, B, u):
        return (dt[..., None] * (B * u[..., None])) * self._scale

    def skip(self, D, u):
        return D[None, :, None] * (u * self._u_scale)


CLIP = "code -128 of {} clipped to -127"

ALTERNATIVES: dict[str, tuple[str, Callable[[ScanInputs], ScanOutput]]] = {
    "B·(dt·u) for (dt·B)·u": ("scale order", lambda x: run_variant(x, Variant(association="B*(dt*u)"))),
    "dt·(B·u) for (dt·B)·u": ("scale order", lambda x: run_variant(x, Variant(association="(B*u)*dt"))),
    "scales of B and u applied last": ("scale order", lambda x: _ScaleLast()(x)),
    "D·u first for last": ("scale order", lambda x: run_variant(x, Variant(skip="first", contraction="ascending"))),
    **{CLIP.format(name): ("clipping", _clip(name)) for name in OPERANDS},
    "scales rounded to float16": ("formula", _scales(torch.float16)),
    "scales rounded to bfloat16": ("formula", _scales(torch.bfloat16)),
    "code × scale in float64, rounded once": ("formula", lambda x: _Wide()(x)),
    "dequantized values rounded to float16": ("conversion", lambda x: _HalfValues()(x)),
    "codes converted through float16": ("conversion", lambda x: _Through(torch.float16)(x)),
    "codes converted through bfloat16": ("conversion", lambda x: _Through(torch.bfloat16)(x)),
    "returned state rounded to even for away": ("clipping", lambda x: run_variant(x, Variant(rule=EVEN_SATURATE))),
    "returned state clipped to ±127": ("clipping", lambda x: run_variant(x, Variant(rule=SYMMETRIC))),
}
"""Name of each alternative, the plan's question it belongs to, and the scan that has it."""


def _clipped_operand(name: str, x: ScanInputs) -> str | None:
    """The operand that the alternative ``name`` clips, if it is one of these and has codes here."""
    operand = next((o for o in OPERANDS if name == CLIP.format(o)), None)
    quantized = getattr(x, operand) if operand else None
    return operand if quantized is not None and quantized.scale is not None else None


def _forced(operand: str, x: ScanInputs) -> Difference:
    """What the clip would do if the operand's lowest code were -128 in these inputs."""
    quantized = getattr(x, operand)
    lowest = quantized.values.min()
    edge = quantized.map(lambda v: torch.where(v == lowest, torch.full_like(v, -128), v))
    edged = replace(x, **{operand: edge})
    return difference(run_variant(edged, TORCH_INT8).y, _clip(operand)(edged).y)


def what_if(x: ScanInputs) -> pd.DataFrame:
    """One row per alternative: how y changes, in ULP of float16 and in error/RMS, and whether that can be seen.

    ``error_rms``: RMS of the change of y / RMS of y.  ``times_cast``: the same in units of the error that rounding y to
    float16 makes anyway.  ``effect``: ``none`` (no bit of y changes), ``rounding`` (within the bounds that honest
    float32 scans keep, in error/RMS and in the share of elements) or ``visible``.  For a clip, ``codes_at_stake`` is
    how often the code that it would change occurs in these inputs, and ``forced_*`` what it would do if the operand's
    lowest code here were -128; NaN elsewhere.
    """
    base = run_variant(x, TORCH_INT8).y
    truth, _ = oracle_float64(x)
    cast = relative_rms(truth.half(), truth)
    bounds = threshold("y.error_rms", torch.float16), threshold("y.mismatch", torch.float16)
    rows = []
    for name, (question, scan) in ALTERNATIVES.items():
        changed = difference(base, scan(x).y)
        operand = _clipped_operand(name, x)
        forced = _forced(operand, x) if operand else None
        stake = float((getattr(x, operand).values == -128).sum()) if operand else math.nan
        within = changed.relative_rms <= bounds[0] and changed.share <= bounds[1]
        rows.append(
            {
                "alternative": name,
                "question": question,
                "codes_at_stake": stake,
                "share_of_y_changed": changed.share,
                "max_ulp": changed.max_ulp,
                "max_abs": changed.max_abs,
                "error_rms": changed.relative_rms,
                "times_cast": changed.relative_rms / cast if cast else math.nan,
                "forced_max_ulp": math.nan if forced is None else float(forced.max_ulp),
                "forced_error_rms": math.nan if forced is None else forced.relative_rms,
                "effect": "none" if changed.equal else "rounding" if within else "visible",
            }
        )
    return pd.DataFrame(rows)
