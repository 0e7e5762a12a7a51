"""The debug plan's stage table, drawn from what really ran: every stage of a layer in two modes, side by side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..compare import relative_rms
from ..quantized import Quantized
from ..steps.tensors import real_values
from ..texts import say
from .sources import Need, Sources, trace_needs
from .view import View

__all__ = ["ROWS", "STAGE_TABLE", "Row"]

Value = Quantized | Tensor


def _first_half(value: Value) -> Value:
    """The half of in_proj's rows that conv1d receives."""
    return value.map(lambda v: v[:, : v.shape[1] // 2])


@dataclass(frozen=True)
class Row:
    """A row of the table.  ``stage``: what is captured there.  ``operation``: the part that acts, whose weights are
    shown; it is equal when, on equal inputs, it gives equal outputs.  ``part`` narrows the captured tensor."""

    title: str
    stage: str = ""
    operation: str = ""
    part: Callable[[Value], Value] | None = None


ROWS = (
    Row("in_proj input", "norm"),
    Row("in_proj", "in_proj", operation="in_proj"),
    Row("in_proj output xz", "in_proj"),
    Row("conv1d input x", "in_proj", part=_first_half),
    Row("conv1d with SiLU", "conv1d", operation="conv1d"),
    Row("conv1d output x", "conv1d"),
    Row("the split: x for the scan", "split"),
    Row("x for x_proj", "split.x_proj"),
    Row("x_proj", "x_proj", operation="x_proj"),
    Row("dt_proj", "dt_proj", operation="dt_proj"),
    Row("scan input u", "scan.u"),
    Row("other scan inputs", "scan.dt"),
    Row("scan", "scan.y", operation="scan"),
    Row("scan output y", "scan.y"),
    Row("Hadamard", "hadamard"),
    Row("out_proj", "out_proj", operation="out_proj"),
    Row("out_proj output", "out_proj"),
    Row("environment"),
)
"""The rows of the debug plan's table, in its order."""

OTHERS = ("scan.dt", "scan.B", "scan.C", "scan.z")


def _dtype(value: Value) -> str:
    codes = value.values if isinstance(value, Quantized) else value
    return str(codes.dtype).removeprefix("torch.")


def _scale(value: Value) -> str:
    return f"{float(value.scale):.4g}" if isinstance(value, Quantized) and value.scale is not None else "none"


def _shape(value: Value) -> str:
    return "×".join(map(str, value.shape))


def _both(a: str, b: str) -> str:
    """One word where both modes have the same, else A's → B's."""
    return a if a == b else say("{a} → {b}", a=a, b=b)


def _weights(sources: Sources, mode: str, layer: int, operation: str) -> tuple[str, str, str]:
    """dtype, shape and scale of an operation's weights; of the scan, which one ran and in which build."""
    if operation == "scan":
        ran = sources.get(("witness", mode)).layers[layer]
        scale = "none" if ran.state_scale is None else say("state {scale}", scale=f"{ran.state_scale:.4g}")
        return ran.scan, ran.build.split(",")[0].split(" -")[0], scale
    state = sources.run.view(mode).state_dict()
    name = f"layers.{layer}.{operation}"
    weight, scale = state[f"{name}.weight"], state.get(f"{name}.weight_scale")
    return _dtype(weight), _shape(weight), "none" if scale is None else f"{float(scale):.4g}"


def _difference(a: Value, b: Value) -> tuple[str, float]:
    """Whether two tensors stand for the same numbers, and the RMS of the difference as a share of A's RMS."""
    if tuple(a.shape) != tuple(b.shape):
        return "shapes differ", float("nan")
    x, y = real_values(a).float(), real_values(b).float()
    return ("equal", 0.0) if torch.equal(x, y) else ("different", relative_rms(y, x))


def needs(sources: Sources, *, mode_a: str, mode_b: str, item: int, **_: Any) -> list[Need]:
    pair = trace_needs(sources, mode_a, mode_b, item, "lockstep")
    return [*pair, ("trace", mode_b, item), ("witness", mode_a), ("witness", mode_b)]


def stage_table(sources: Sources, *, mode_a: str, mode_b: str, item: int, layer: int) -> dict[str, Any]:
    """A row per stage: dtype, shape, scale, whether the values are equal, and the difference as a share of the RMS.

    ``added here``: the difference in lockstep, when the layer of mode B receives what mode A's had, so that what
    earlier layers did is not in it.  ``free run``: the whole difference, each mode having run by itself.
    """
    free_a, free_b = sources.traces(mode_a, mode_b, item, "free run")
    lock_b = sources.traces(mode_a, mode_b, item, "lockstep")[1]
    rows = []
    for row in ROWS:
        if not row.stage:
            flags = [" ".join(sources.run.row(mode).environment) or "none" for mode in (mode_a, mode_b)]
            rows.append([row.title, _both(*flags), "", "", "equal" if flags[0] == flags[1] else "different", "", ""])
            continue
        keys = [(stage, layer) for stage in (OTHERS if row.stage == "scan.dt" else (row.stage,))]
        part = row.part or (lambda value: value)
        found = [(part(free_a[key]), part(free_b[key]), part(lock_b[key])) for key in keys]
        a, b, _ = found[0]
        local = [_difference(x, z) for x, _, z in found]
        whole = [_difference(x, y) for x, y, _ in found]
        worst = max(error for _, error in local), max(error for _, error in whole)
        verdict = next((word for word, _ in local if word != "equal"), "equal")
        if row.operation:
            own = [_weights(sources, mode, layer, row.operation) for mode in (mode_a, mode_b)]
            what = [_both(x, y) for x, y in zip(*own, strict=True)]
        elif len(found) > 1:
            what = [
                ", ".join(dict.fromkeys(_both(_dtype(x), _dtype(y)) for x, y, _ in found)),
                "; ".join(_both(_shape(x), _shape(y)) for x, y, _ in found),
                "; ".join(_both(_scale(x), _scale(y)) for x, y, _ in found),
            ]
        else:
            what = [_both(_dtype(a), _dtype(b)), _both(_shape(a), _shape(b)), _both(_scale(a), _scale(b))]
        rows.append([row.title, *what, verdict, *(float(f"{error:.3g}") for error in worst)])
    columns = ["stage", "dtype", "shape", "scale", "on equal inputs", "added here", "free run"]
    differing = [row[0] for row in rows if row[4] != "equal" and row[0] != "environment"]
    note = (
        say(
            "Layer {layer}, item {item}. A → B where the modes differ. Given equal inputs, the first stage of mode "
            "{mode_b} whose values differ from mode {mode_a} is: {stage}.",
            layer=layer, item=item, mode_b=mode_b, mode_a=mode_a, stage=differing[0]
        )
        if differing
        else say(
            "Layer {layer}, item {item}. Given equal inputs, no stage of mode {mode_b} differs from mode {mode_a}.",
            layer=layer, item=item, mode_b=mode_b, mode_a=mode_a
        )
    )
    marks = ["same" if row[4] == "equal" else "different" for row in rows]
    return {"columns": columns, "rows": rows, "note": note, "marks": marks}


STAGE_TABLE = View(
    "stages", "The debug plan's stage table, from what ran", "table", ("mode_a", "mode_b", "item", "layer"),
    stage_table, needs, wide=True,
)  # fmt: skip
