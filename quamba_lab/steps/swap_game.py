"""The game of swapping: the switches by which two scans differ, and what a set of them is worth, wherever measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from .. import scans
from ..model import QuantizedMamba
from ..scans import ScanInputs, ScanOutput
from ..scans.variants import Variant
from ..scans.variants import run as run_variant
from ..scans.variants import taps as variant_taps
from .swaps import Design

__all__ = ["CAUSES", "INPUTS", "SWITCH_OF", "Game", "certified", "groups_of", "same_inputs", "switches",
           "variant_installed"]  # fmt: skip

CAUSES = {
    1: "the scan itself: its exp, softplus, gate and output",
    2: "how the scale is applied: the order of the products",
    3: "quantization of the state",
    4: "order of the floating-point operations, FMA",
    0: "what the scan is given",
}
"""The debug plan's four causes by its numbers; 0 is what lies outside the scan."""

INPUTS = "inputs"
"""The player that stands for the scans' inputs, where the two modes give their scans different ones."""

SWITCH_OF: dict[str, tuple[int, str, tuple[str, ...]]] = {
    INPUTS: (0, "layout", ()),
    "bias": (4, "dequantize.dt", ("bias",)),
    "softplus": (1, "softplus", ("softplus",)),
    "exp": (1, "decay", ("exp",)),
    "association": (2, "drive", ("association",)),
    "order": (4, "recurrence", ("order", "chunk", "threads", "items")),
    "fma": (4, "recurrence", ("fma",)),
    "contraction": (4, "contraction", ("contraction",)),
    "skip": (4, "skip", ("skip",)),
    "gate": (1, "gate", ("gate",)),
    "cast": (1, "output_cast", ("cast",)),
    "dtype": (1, "recurrence", ("dtype",)),
    "requantize": (3, "state_quantization", ("requantize",)),
    "rule": (3, "state_quantization", ("rule",)),
}
"""Switch -> (the plan's cause, the operation it belongs to, the fields of a Variant that it moves)."""

CHANNELS = 24
"""About so many channels, evenly spread, stand for the layer where every switch is moved by itself."""


def switches(a: Variant, b: Variant, inputs_differ: bool = False) -> list[str]:
    """The switches in which two settings differ, in the order of computation."""
    moved = [n for n, (_, _, fields) in SWITCH_OF.items() if any(getattr(a, f) != getattr(b, f) for f in fields)]
    return ([INPUTS] if inputs_differ else []) + moved


def _setting(a: Variant, b: Variant, moved: set[str]) -> Variant:
    """``a`` with the switches ``moved`` set as in ``b``."""
    return replace(a, **{f: getattr(b, f) for name in moved for f in SWITCH_OF[name][2]})


@contextmanager
def variant_installed(model: QuantizedMamba, variant: Variant) -> Iterator[None]:
    """Every scan of ``model`` computes ``variant`` for as long as the context lasts."""

    def replaced(module: Any, args: tuple, output: ScanOutput) -> ScanOutput:
        return run_variant(args[0], variant)

    handles = [layer.scan.register_forward_hook(replaced) for layer in model.layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def same_inputs(a: ScanInputs, b: ScanInputs) -> bool:
    pairs = [(q, b.operands()[name]) for name, q in a.operands().items()]
    return all(torch.equal(p.dequantize(), q.dequantize()) for p, q in pairs)


def _energy(x: Tensor, reference: Tensor) -> float:
    """Squared difference in units of the reference's own square."""
    own = float(reference.double().square().sum())
    return float((x.double() - reference.double()).square().sum()) / own if own else 0.0


@dataclass(frozen=True, eq=False)
class Game:
    """The players of one comparison with what a set of them makes of a scan or of the whole model."""

    names: list[str]
    a: Variant
    b: Variant

    def moved(self, cell: frozenset[int]) -> tuple[Variant, bool]:
        """The setting of the scan, and whether the inputs are those of the other mode."""
        names = {self.names[i] for i in cell}
        return _setting(self.a, self.b, names - {INPUTS}), INPUTS in names

    def at_y(self, xs: tuple[ScanInputs, ScanInputs], plan: Design, pairs: bool) -> dict[frozenset[int], float]:
        """Worth of every cell at y, on a sample of the channels; ``pairs`` adds every pair of switches alone."""
        k = len(self.names)
        every = max(1, xs[0].channels // CHANNELS)
        if xs[0].groups == 1 and every > 1:
            xs = tuple(x.narrow(channels=slice(None, None, every)) for x in xs)
        wanted = [frozenset(c) for i in range(k) for c in ([i], *([i, j] for j in range(i)))] if pairs else []
        worth, base = {}, None
        stage = "output_cast" if "cast" in self.names else "gate"
        for cell in dict.fromkeys([*plan.cells, *wanted]):
            setting, other_inputs = self.moved(cell)
            y = variant_taps(xs[int(other_inputs)], setting)[stage]
            base = y if base is None else base
            worth[cell] = _energy(y, base)
        return worth

    def at_residual(
        self, layer: Any, xs: tuple[ScanInputs, ScanInputs], groups: list[list[int]], plan: Design
    ) -> dict[frozenset[int], float]:
        """Worth of every set of groups in what the layer adds to the residual stream."""
        worth, base = {}, None
        for cell in plan.cells:
            setting, other_inputs = self.moved(frozenset(p for g in cell for p in groups[g]))
            out = layer._after_scan(run_variant(xs[int(other_inputs)], setting).y)
            base = out if base is None else base
            worth[cell] = _energy(out, base)
        return worth

    def at_logits(self, views: tuple[QuantizedMamba, QuantizedMamba], tokens: Tensor, groups: list[list[int]],
              plan: Design) -> dict[frozenset[int], float]:  # fmt: skip
        """Worth of every set of groups at the last token's logits, every layer switched."""
        worth, base = {}, None
        for cell in plan.cells:
            setting, other_inputs = self.moved(frozenset(p for g in cell for p in groups[g]))
            view = views[int(other_inputs)]
            with variant_installed(view, setting):
                logits = view(tokens)[0, -1]
            base = logits if base is None else base
            worth[cell] = _energy(logits, base)
        return worth


def groups_of(players: Sequence[str]) -> dict[int, list[int]]:
    """The players of each cause that has any, by the cause's number."""
    found: dict[int, list[int]] = {}
    for i, name in enumerate(players):
        found.setdefault(SWITCH_OF[name][0], []).append(i)
    return {cause: found[cause] for cause in CAUSES if cause in found}


def certified(names: tuple[str, str], variants: tuple[Variant, Variant], xs: tuple[ScanInputs, ScanInputs]) -> bool:
    """Whether each setting gives the bits of the registered scan that it stands for, on the first layer and item."""
    outputs = [(scans.run(n, x).y, run_variant(x, v).y) for n, v, x in zip(names, variants, xs, strict=True)]
    return all(torch.equal(p, q) for p, q in outputs)
