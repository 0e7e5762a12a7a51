"""Rows of tables about tensors: what each is, how two modes' versions differ, and which is closer to FP64."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from ..compare import ULP_BINS, Difference, closer_to, difference, summarize
from ..quantized import Quantized
from .ledger import place

__all__ = ["difference_rows", "difference_tables", "mode_name", "real_values", "same_values", "summary_rows", "worst"]

Value = Quantized | Tensor
LOGITS = "logits"


def real_values(x: Value) -> Tensor:
    """The values that codes stand for, or the tensor itself."""
    return x.dequantize() if isinstance(x, Quantized) else x


def same_values(a: Value, b: Value) -> bool:
    """Whether two tensors stand for the same numbers, whatever their dtypes: codes and their dequantized floats do."""
    same_shape = tuple(a.shape) == tuple(b.shape)
    return same_shape and difference(real_values(a).float(), real_values(b).float()).differing == 0


def mode_name(which: str, a: str, b: str) -> str:
    """``"a"`` or ``"b"`` of :func:`closer_to` as the mode's name; anything else as it is."""
    return {"a": a, "b": b}.get(which, which)


def summary_rows(where: dict[str, Any], modes: dict[str, Value | None]) -> list[dict[str, Any]]:
    """One row per mode: shape, dtype, scale, range, moments, distinct values; a mode without the tensor has no row."""
    rows = []
    for mode, value in modes.items():
        if value is not None:
            s = summarize(value)
            rows.append(
                {
                    **where, "mode": mode, "shape": "x".join(map(str, s.shape)), "dtype": s.dtype,
                    "scale": math.nan if s.scale is None else s.scale, "low": s.low, "high": s.high, "mean": s.mean,
                    "std": s.std, "distinct": s.distinct, "not_finite": s.not_finite,
                }
            )  # fmt: skip
    return rows


AXES = {
    "scan.y": ("item", "token", "channel"), "hadamard": ("item", "token", "channel"),
    "out_proj": ("item", "token", "channel"), "residual": ("item", "token", "channel"),
    "x_proj": ("item", "token", "row"), "logits": ("item", "token", "word"),
    "scan.B": ("item", "group", "state", "token"), "scan.C": ("item", "group", "state", "token"),
}  # fmt: skip
DEFAULT_AXES = ("item", "channel", "token")


ULPS = "ulps"
"""Key under which a row carries its histogram, until :func:`difference_tables` takes it out."""


def difference_row(
    stage: str, where: dict[str, Any], a: Value, b: Value, names: tuple[str, str],
    truths: tuple[Tensor, Tensor] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """One row: how much ``b`` differs from ``a``, where first, and each one's error against its FP64 truth."""
    d: Difference = difference(a, b)
    row = {
        **where, "stage": stage, "equal": d.equal, "elements": d.elements, "differing": d.differing, "share": d.share,
        "first_difference": place(d.first, AXES.get(stage, DEFAULT_AXES), where),
        "first_a": d.first_values[0] if d.first_values else math.nan,
        "first_b": d.first_values[1] if d.first_values else math.nan,
        "max_abs": d.max_abs, "mean_abs": d.mean_abs, "error_rms": d.relative_rms, "sqnr_db": d.sqnr_db,
        "cosine": d.cosine, "max_ulp": math.nan if d.max_ulp is None else d.max_ulp, "note": d.note, ULPS: d.ulps,
    }  # fmt: skip
    if truths is not None:
        value_a, value_b = real_values(a), real_values(b)
        _, error_a, _ = closer_to(truths[0], value_a, value_a)
        _, error_b, _ = closer_to(truths[1], value_b, value_b)
        known = not (math.isnan(error_a) or math.isnan(error_b))
        closer = "unknown" if not known else "equal" if error_a == error_b else names[int(error_b < error_a)]
        row |= {"error_of_a": error_a, "error_of_b": error_b, "closer_to_fp64": closer}
    return row


def difference_rows(
    stages: Iterable[str], layers: Sequence[int | None], a: dict, b: dict, names: tuple[str, str],
    truth: tuple[dict, dict] | None = None, **where: Any,
) -> list[dict[str, Any]]:  # fmt: skip
    """Rows for every (layer, stage) that both captured, the logits once as layer -1.

    ``truth``: captures of each mode with the FP64 scan.
    """
    stages = tuple(stages)
    places = [(stage, layer) for layer in layers for stage in stages if stage != LOGITS]
    rows = []
    for key in [*places, *([(LOGITS, None)] if layers and LOGITS in stages else [])]:
        if key in a and key in b:
            exact = None
            if truth is not None and key in truth[0] and key in truth[1]:
                exact = (real_values(truth[0][key]), real_values(truth[1][key]))
            at = {**where, "layer": -1 if key[1] is None else key[1]}
            rows.append(difference_row(key[0], at, a[key], b[key], names, exact))
    return rows


def difference_tables(rows: Sequence[dict[str, Any]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of :func:`difference_rows` as a table, and their histograms as another.

    A histogram counts distances in ULP of the tensor's own dtype, in codes for INT8; a row without a difference, or of
    two dtypes, has none.
    """
    table = pd.DataFrame([{key: value for key, value in row.items() if key != ULPS} for row in rows])
    where = ("run", "item", "layer", "stage", "elements")
    counted = [
        {**{key: row[key] for key in where if key in row}, **row[ULPS]}
        for row in rows
        if row.get(ULPS) and row["differing"]
    ]
    return table, pd.DataFrame(counted, columns=[*where, *ULP_BINS])


def worst(table: pd.DataFrame, column: str) -> pd.Series | None:
    """The row with the largest ``column``; NaN counts as larger than anything, because it could not be measured."""
    if table.empty:
        return None
    values = table[column].astype(float).fillna(math.inf)
    return table.loc[values.idxmax()]


def token_errors(stage: str, a: Value, b: Value) -> Tensor:
    """RMS over everything but time of (b - a), float64 (l,), of the first item."""
    axes = AXES.get(stage, DEFAULT_AXES)
    x, y = real_values(a).double(), real_values(b).double()
    if x.shape != y.shape or not x.numel():
        return torch.zeros(0, dtype=torch.float64)
    time = axes.index("token")
    squared = (y - x).square().nan_to_num(0.0)
    return squared.mean([axis for axis in range(squared.dim()) if axis != time]).sqrt()
