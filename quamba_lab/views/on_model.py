"""A diagnosed scan on the model's own inputs, beside the scans of the two chosen modes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from .. import scans
from ..diagnose.gallery import faults
from ..scans import ScanInputs
from ..scans.oracle import oracle_float64
from ..scans.variants import Variant
from ..texts import say
from .sources import Sources, trace_needs
from .view import View

__all__ = ["ON_MODEL"]

PLANTED = "planted: "


def _y(name: str, inputs: ScanInputs) -> torch.Tensor:
    """The output of a registered scan or of a planted fault, float64 (b, l, d)."""
    if name.startswith(PLANTED):
        found = faults()[name.removeprefix(PLANTED)].scan(Variant())(inputs)
    else:
        found = scans.run(name, inputs)
    return getattr(found, "y", found).double()


def on_model(
    sources: Sources, *, scan: str, mode_a: str, mode_b: str, item: int, layer: int, channel: int
) -> dict[str, Any]:
    """Error of y against FP64 along the tokens, one channel, all scans on the inputs that mode A gives its own."""
    need = ("trace", mode_a, item)

    def compute(trace: Mapping) -> tuple[ScanInputs, torch.Tensor]:
        inputs = sources.run.scan_inputs(mode_a, layer, item)
        return inputs, oracle_float64(inputs)[0]

    inputs, truth = sources.derived(need, f"oracle of layer {layer}", compute)
    named = {mode: sources.run.scan_of(mode) for mode in (mode_a, mode_b)} | {scan: scan}
    series = []
    for name, which in named.items():
        y = sources.derived(need, f"{which} at layer {layer}", lambda _, which=which: _y(which, inputs))
        error = (y - truth)[0, :, channel].abs()
        series.append({"name": name, "values": [float(f"{v:.3g}") for v in error.tolist()]})
    return {
        "series": series, "note": say(
            "Layer {layer}, channel {channel}, the inputs of mode {mode_a}, item {item}.",
            layer=layer, channel=channel, mode_a=mode_a, item=item
        ),
        "x": {"label": "token", "control": "token", "values": list(range(truth.shape[1]))},
        "y": {"label": "|y − y(FP64)|", "scale": "log"},
    }  # fmt: skip


ON_MODEL = View(
    "on-model", "This scan on the model's own inputs", "lines",
    ("scan", "mode_a", "mode_b", "item", "layer", "channel"), on_model, trace_needs, marks=("token",), wide=True,
    page=False,
)  # fmt: skip
