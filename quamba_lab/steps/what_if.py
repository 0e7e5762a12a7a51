"""What each possible difference in dequantization would do to y, if it were there.

So that "there is no difference" and "there is one that cannot matter" are told apart: every alternative is applied to
the layer's real inputs, in the PyTorch scan's arithmetic, and y is compared with the unaltered y and with FP64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pandas as pd
import torch

from ..compare import difference, relative_rms
from ..quantized import Quantized
from ..scans import ScanInputs, ScanOutput
from ..scans.oracle import oracle_float64
from ..scans.variants import TORCH_INT8, Arithmetic, Variant
from ..scans.variants import run as run_variant
from ..thresholds import threshold

__all__ = ["ALTERNATIVES", "what_if"]


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


class _HalfValues(Arithmetic):
    """code x scale rounded to float16 before anything else."""

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


ALTERNATIVES: dict[str, tuple[str, Callable[[ScanInputs], ScanOutput]]] = {
    "B·(dt·u) for (dt·B)·u": ("scale order", lambda x: run_variant(x, Variant(association="B*(dt*u)"))),
    "dt·(B·u) for (dt·B)·u": ("scale order", lambda x: run_variant(x, Variant(association="(B*u)*dt"))),
    "scales of B and u applied last": ("scale order", lambda x: _ScaleLast()(x)),
    "D·u first for last": ("scale order", lambda x: run_variant(x, Variant(skip="first", contraction="ascending"))),
    **{f"code -128 of {name} clipped to -127": ("clipping", _clip(name)) for name in ("u", "dt", "B", "C", "z")},
    "scales rounded to float16": ("formula", _scales(torch.float16)),
    "scales rounded to bfloat16": ("formula", _scales(torch.bfloat16)),
    "dequantized values rounded to float16": ("conversion", lambda x: _HalfValues()(x)),
}
"""Name of each alternative, the plan's question it belongs to, and the scan that has it."""


def what_if(x: ScanInputs) -> pd.DataFrame:
    """One row per alternative: how y changes, in ULP of float16 and in error/RMS, and whether that can be seen.

    ``error_rms``: RMS of the change of y / RMS of y.  ``times_cast``: the same in units of the error that rounding y to
    float16 makes anyway.  ``effect``: ``none`` (no bit of y changes), ``rounding`` (within the bounds that honest
    float32 scans keep, in error/RMS and in the share of elements) or ``visible``.
    """
    base = run_variant(x, TORCH_INT8).y
    truth, _ = oracle_float64(x)
    cast = relative_rms(truth.half(), truth)
    bounds = threshold("y.error_rms", torch.float16), threshold("y.mismatch", torch.float16)
    rows = []
    for name, (question, scan) in ALTERNATIVES.items():
        changed = difference(base, scan(x).y)
        within = changed.relative_rms <= bounds[0] and changed.share <= bounds[1]
        rows.append(
            {
                "alternative": name,
                "question": question,
                "share_of_y_changed": changed.share,
                "max_ulp": changed.max_ulp,
                "max_abs": changed.max_abs,
                "error_rms": changed.relative_rms,
                "times_cast": changed.relative_rms / cast if cast else float("nan"),
                "effect": "none" if changed.equal else "rounding" if within else "visible",
            }
        )
    return pd.DataFrame(rows)
