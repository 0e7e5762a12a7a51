"""Views over what was captured: where two modes differ, and one number on its way through the stages."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..compare import relative_rms
from ..quantized import Quantized
from ..steps.tensors import AXES, DEFAULT_AXES, real_values, same_values, summary_rows, token_errors
from ..texts import paragraph, say
from .sources import Sources, trace_needs
from .view import View

__all__ = ["ALONG", "CODES", "MAP", "NUMBER", "STAGE_NAMES", "TENSOR"]

STAGE_NAMES = (
    "in_proj", "conv1d", "split", "x_proj", "dt_proj", "scan.u", "scan.dt", "scan.B", "scan.C", "scan.z", "scan.y",
    "hadamard", "out_proj", "residual",
)  # fmt: skip
"""What the Stage control offers, in the order of the computation."""

RUNS = ("free run", "lockstep")


def _rms(x: Tensor) -> float:
    return float(x.double().square().mean().sqrt())


def difference_map(
    sources: Sources, *, mode_a: str, mode_b: str, item: int, stage: str, run: str
) -> dict[str, Any]:
    """Layer x token: RMS over channels of the difference of a stage, as a share of the stage's RMS in mode A."""
    a, b = sources.traces(mode_a, mode_b, item, run)
    rows = []
    for layer in sources.layers:
        size = _rms(real_values(a[stage, layer]))
        errors = token_errors(stage, a[stage, layer], b[stage, layer])
        rows.append([float(f"{v:.2g}") for v in (errors / size if size else errors).tolist()])
    largest = max(((v, r, c) for r, row in enumerate(rows) for c, v in enumerate(row)), default=(0.0, 0, 0))
    where = (
        say(
            "the largest difference, {size} of the stage's RMS, is at layer {layer}, token {token}",
            size=f"{largest[0]:.2g}", layer=sources.layers[largest[1]], token=largest[2]
        )
        if largest[0] > 0
        else say("no value differs")
    )
    return {
        "rows": rows, "note": say(
            "{stage} of mode {mode_b} against mode {mode_a}, item {item}, {run}: {where}.",
            stage=stage, mode_b=mode_b, mode_a=mode_a, item=item, run=run, where=where
        ),
        "x": {"label": "token", "control": "token", "values": list(range(len(rows[0]) if rows else 0))},
        "y": {"label": "layer", "control": "layer", "values": list(sources.layers)},
    }  # fmt: skip


MAP = View(
    "map", "Where the two modes differ", "heatmap", ("mode_a", "mode_b", "item", "stage", "run"), difference_map,
    trace_needs, {"scale": "log"}, marks=("layer", "token"), wide=True,
)  # fmt: skip


def _channels(stage: str, value: Quantized | Tensor) -> int:
    """How many rows a stage has beside time, groups and states together."""
    axes = AXES.get(stage, DEFAULT_AXES)
    return int(np.prod([n for name, n in zip(axes, value.shape, strict=True) if name not in ("item", "token")]))


def _row(stage: str, value: Quantized | Tensor, channel: int) -> Tensor:
    """One channel along the tokens, real values (l,)."""
    x = real_values(value).double()
    time = AXES.get(stage, DEFAULT_AXES).index("token")
    return x[0].movedim(time - 1, -1).reshape(-1, x.shape[time])[channel]  # (channels, l) -> (l,)


def along(
    sources: Sources, *, mode_a: str, mode_b: str, item: int, layer: int, stage: str, channel: int, run: str
) -> dict[str, Any]:
    """One channel of a stage along the tokens, in both modes."""
    a, b = (trace[stage, layer] for trace in sources.traces(mode_a, mode_b, item, run))
    count = _channels(stage, a)
    row = channel % count
    values = {mode_a: _row(stage, a, row)} | {mode_b: _row(stage, b, row)}
    unequal = int((_row(stage, a, row) != _row(stage, b, row)).sum())
    note = say(
        "{stage} of layer {layer}, channel {row}, {run}: {unequal} of {total} differ.",
        stage=stage, layer=layer, row=row, run=run, unequal=unequal, total=len(next(iter(values.values())))
    )
    if row != channel:
        stands = say(
            "This stage has {count} rows, so row {row} stands for channel {channel}.",
            count=count, row=row, channel=channel,
        )  # fmt: skip
        note = paragraph([note, stands])
    length = len(next(iter(values.values())))
    return {
        "series": [{"name": mode, "values": [float(f"{v:.5g}") for v in x.tolist()]} for mode, x in values.items()],
        "x": {"label": "token", "control": "token", "values": list(range(length))},
        "y": {"label": "value", "scale": "linear"}, "note": note,
    }  # fmt: skip


ALONG = View(
    "along", "One channel along the tokens", "lines",
    ("mode_a", "mode_b", "item", "layer", "stage", "channel", "run"), along, trace_needs, marks=("token",), page=False,
)  # fmt: skip


def number(
    sources: Sources, *, mode_a: str, mode_b: str, item: int, layer: int, token: int, channel: int
) -> dict[str, Any]:
    """One number through the stages: its code and its value in both modes, at one layer, token and channel."""
    a, b = sources.traces(mode_a, mode_b, item, "free run")
    rows = []
    for stage in STAGE_NAMES:
        x, y = a[stage, layer], b[stage, layer]
        row, cells = channel % _channels(stage, x), []
        for value in (x, y):
            codes = _row(stage, Quantized(value.values.double(), None), row) if isinstance(value, Quantized) else None
            cells += ["" if codes is None else int(codes[token]), float(_row(stage, value, row)[token])]
        difference = cells[3] - cells[1]
        rows.append([stage, row, *cells, difference if math.isfinite(difference) else None])
    sides = [(say("code, {mode}", mode=mode), say("value, {mode}", mode=mode)) for mode in (mode_a, mode_b)]
    columns = ["stage", "row", *sides[0], *sides[1],
               "difference"]  # fmt: skip
    note = say("Layer {layer}, token {token}, channel {channel}, free run.", layer=layer, token=token, channel=channel)
    return {"columns": columns, "rows": rows, "note": note}


NUMBER = View(
    "number", "One number through the stages", "table",
    ("mode_a", "mode_b", "item", "layer", "token", "channel"), number, trace_needs, page=False,
)  # fmt: skip


def _codes(value: Quantized | Tensor, scale: float) -> np.ndarray:
    """How often each of the 256 codes occurs; real values are read on the grid of ``scale``."""
    codes = value.values if isinstance(value, Quantized) else (value.double() / scale).round().nan_to_num(0)
    return torch.bincount(codes.reshape(-1).long().clamp(-128, 127) + 128, minlength=256).cpu().numpy()


def codes(
    sources: Sources, *, mode_a: str, mode_b: str, item: int, layer: int, stage: str, run: str
) -> dict[str, Any]:
    """How often each INT8 code occurs in a stage of both modes; of a stage without codes, its values in 255 bins."""
    a, b = (trace[stage, layer] for trace in sources.traces(mode_a, mode_b, item, run))
    scale = next((float(v.scale) for v in (a, b) if isinstance(v, Quantized) and v.scale is not None), None)
    note = say("{stage} of layer {layer}, {run}.", stage=stage, layer=layer, run=run)
    if scale is None:
        scale = max(float(real_values(a).abs().max()), float(real_values(b).abs().max())) / 127 or 1.0
        grid = say("The stage has no codes: one step stands for {scale}.", scale=f"{scale:.3g}")
        note = paragraph([note, grid])
    series = {mode: _codes(value, scale).tolist() for mode, value in ((mode_a, a), (mode_b, b))}
    return {"series": [{"name": mode, "values": counts} for mode, counts in series.items()], "note": note}


CODES = View(
    "codes", "How often each code occurs", "lines", ("mode_a", "mode_b", "item", "layer", "stage", "run"), codes,
    trace_needs, {"x": {"label": "code", "values": list(range(-128, 128))}, "y": {"label": "values", "scale": "log"}},
    page=False,
)  # fmt: skip


def tensor(
    sources: Sources, *, mode_a: str, mode_b: str, item: int, layer: int, stage: str, run: str
) -> dict[str, Any]:
    """A stage of both modes in figures: dtype, shape, scale, range, moments."""
    a, b = (trace[stage, layer] for trace in sources.traces(mode_a, mode_b, item, run))
    pairs = [(mode_a, a), (mode_b, b)]
    rows = [row for mode, value in pairs for row in summary_rows({}, {mode: value})]
    shown = ("dtype", "shape", "scale", "low", "high", "mean", "std", "distinct")
    table = [[name, *(row[name] if row[name] == row[name] else "none" for row in rows)] for name in shown]
    size = relative_rms(real_values(b).double(), real_values(a).double())
    word = say("equal") if same_values(a, b) else say("{size} of the RMS apart", size=f"{size:.3g}")
    note = say("{stage} of layer {layer}, {run}: {word}.", stage=stage, layer=layer, run=run, word=word)
    columns = ["", *(say("mode {mode}", mode=mode) for mode in (mode_a, mode_b))]
    return {"columns": columns, "rows": table, "note": note}


TENSOR = View(
    "tensor", "The tensor in both modes", "table", ("mode_a", "mode_b", "item", "layer", "stage", "run"), tensor,
    trace_needs, page=False,
)  # fmt: skip
