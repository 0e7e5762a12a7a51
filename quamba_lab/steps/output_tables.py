"""What step 4 measures: y and the stages after it, in lockstep and in free run, over floors and against FP64."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .. import statistics as st
from ..compare import ULP_BINS, difference, relative_rms
from ..scans.oracle import oracle_float64
from ..scans.variants import run as run_variant
from ..trace_store import TraceStore
from .ledger import CLASSES, flip_table
from .reorderings import other_tree, stochastic_ulp
from .rounding_sites import site_table, with_every_site
from .tensors import difference_rows, difference_tables, real_values, same_values, summary_rows

if TYPE_CHECKING:
    from .workbook import Stages, Workbook

__all__ = ["STAGES_AFTER", "Y_COLUMNS", "Measured", "OutputPairs", "measure"]

STAGES_AFTER = ("scan.y", "hadamard", "out_proj", "residual")
FLOORS = {"floor_chunk": "chunk 16", "floor_ulp": "ulp 1"}
"""The legal reorderings that stand under the curves: another order of the recurrence, and one ULP of y."""
Y_COLUMNS = [
    "run", "item", "layer", "equal", "differing", "share", "max_ulp", "max_abs", "mean_abs", "error_rms", "sqnr_db",
    "floor_chunk", "floor_ulp", "times_floor", "error_of_a", "error_of_b", "not_nearest_a", "not_nearest_b",
    "closer_to_fp64", "note",
]  # fmt: skip
"""Columns of the table of y.  ``not_nearest_*``: share of y that is not the float16 nearest to FP64."""


class OutputPairs(Mapping):
    """y of both modes by (layer, run), in memory, or read from disk where the traces lie there."""

    def __init__(self) -> None:
        self._sides: dict[tuple[int, str], tuple[Any, Any]] = {}

    def add(self, layer: int, kind: str, a: Stages, b: Stages) -> None:
        stored = isinstance(a, TraceStore) or isinstance(b, TraceStore)
        self._sides[layer, kind] = (a, b) if stored else (a["scan.y", layer].cpu(), b["scan.y", layer].cpu())

    def __getitem__(self, key: tuple[int, str]) -> tuple[Tensor, Tensor]:
        a, b = self._sides[key]
        return (a, b) if isinstance(a, Tensor) else (a["scan.y", key[0]].cpu(), b["scan.y", key[0]].cpu())

    def __iter__(self) -> Iterator[tuple[int, str]]:
        return iter(self._sides)

    def __len__(self) -> int:
        return len(self._sides)


@dataclass(eq=False)
class Measured:
    """Tables by title, y of the first item by (layer, run), ULP counts by layer, and the pooled multiples of the floor.

    ``multiples``: by run, the RMS difference of all layers together over the larger floor, with an interval over
    ``units``, ``"items"`` or (for few items) ``"tokens"``.
    """

    y: pd.DataFrame
    frames: dict[str, pd.DataFrame]
    values: OutputPairs = field(default_factory=OutputPairs)
    histograms: dict[int, dict[str, int]] = field(default_factory=dict)
    multiples: dict[str, dict[str, Any]] = field(default_factory=dict)
    inputs_equal: bool = True


class _Squares:
    """Squared differences by token, in units of the layer's RMS of y, of the modes and of each floor."""

    def __init__(self) -> None:
        self.of: dict[tuple[str, str], list[list[np.ndarray]]] = {}

    def add(self, kind: str, item: int, y: Tensor, others: dict[str, Tensor]) -> None:
        size = float(y.double().square().mean())
        for name, other in others.items():
            by_item = self.of.setdefault((kind, name), [])
            while len(by_item) <= item:
                by_item.append([])
            if other.shape == y.shape and size > 0:
                squared = (other.double() - y.double()).square().nan_to_num(0.0).mean(-1)[0] / size  # (l,)
                by_item[item].append(squared.cpu().numpy())

    def multiples(self, seed: int) -> dict[str, dict[str, Any]]:
        found = {}
        for kind in dict.fromkeys(kind for kind, _ in self.of):
            tokens = {
                name: [np.mean(layers, axis=0) for layers in by_item if layers]
                for (of_kind, name), by_item in self.of.items()
                if of_kind == kind
            }
            floors = [name for name in FLOORS if tokens.get(name)]
            if not floors or len(tokens["modes"]) != len(tokens[floors[0]]) or not tokens["modes"]:
                continue
            floor = max(floors, key=lambda name: float(np.mean(np.concatenate(tokens[name]))))
            over = "items" if len(tokens["modes"]) >= st.FEW_ITEMS else "tokens"
            top, below = (
                [float(t.mean()) for t in tokens[name]] if over == "items" else np.concatenate(tokens[name])
                for name in ("modes", floor)
            )
            ratio = st.ratio_interval(top, below, seed=seed)
            found[kind] = {
                "multiple": ratio.value, "low": ratio.interval.low, "high": ratio.interval.high, "floor": FLOORS[floor],
                "over": over, "units": ratio.n, "items": len(tokens["modes"]),
            }  # fmt: skip
        return found


def measure(run: Workbook, mode_a: str, mode_b: str, chosen: list[int], items: Sequence[int]) -> Measured:
    """Everything about the outputs of two modes at the layers ``chosen`` for ``items``."""
    names = (mode_a, mode_b)
    sites = run.view(mode_a).sites, run.view(mode_b).sites
    rows, stages, summaries, ledgers, counts = [], [], [], [], []
    found = Measured(pd.DataFrame(columns=Y_COLUMNS), {})
    squares = _Squares()
    for at, item in enumerate(items if chosen else []):
        a = run.free(mode_a, item)
        exact_modes = run.truth_of(mode_a), run.truth_of(mode_b)
        runs = {
            "lockstep": (run.lockstep(mode_a, mode_b, item), [run.lockstep(mode_a, m, item) for m in exact_modes]),
            "free run": (run.free(mode_b, item), [run.free(m, item) for m in exact_modes]),
        }
        reordered = {name: run.reordered(mode_a, row, item) for name, row in FLOORS.items()}
        every_a = with_every_site(run, a, mode_a, mode_a, item, chosen)
        for kind, (b, truth) in runs.items():
            where = {"run": kind, "item": item}
            stages += difference_rows((*STAGES_AFTER, "logits"), chosen, a, b, names, tuple(truth), **where)
            every_b = with_every_site(run, b, mode_b, mode_a if kind == "lockstep" else mode_b, item, chosen)
            ledger, count = flip_table(every_a, every_b, *sites, chosen, **where)
            ledgers.append(ledger)
            counts.append(count)
            for layer in chosen:
                key = ("scan.y", layer)
                if kind == "lockstep":
                    exact = [_exact_y(run, mode, mode_a, layer, item) for mode in names]
                    floors = _lockstep_floors(run, mode_a, layer, item, a[key])
                    found.inputs_equal &= same_values(a["scan.u", layer], b["scan.u", layer])
                else:
                    exact = [real_values(t[key]) for t in truth]
                    floors = {name: real_values(trace[key]) for name, trace in reordered.items()}
                rows.append({**where, "layer": layer} | _y_row(a[key], b[key], exact, floors, names))
                squares.add(kind, at, a[key], {"modes": b[key], **floors})
                if kind == "lockstep":
                    seen = found.histograms.setdefault(layer, dict.fromkeys(ULP_BINS, 0))
                    for name, number in (difference(a[key], b[key]).ulps or {}).items():
                        seen[name] += number
                if at == 0:
                    found.values.add(layer, kind, a, b)
                for stage in STAGES_AFTER:
                    tensors = {mode_a: a.get((stage, layer)), mode_b: b.get((stage, layer))}
                    summaries += summary_rows({"layer": layer, "tensor": stage, **where}, tensors)
    found.y = pd.DataFrame(rows, columns=Y_COLUMNS)
    found.multiples = squares.multiples(run.seed)
    by_site = pd.concat(counts, ignore_index=True) if counts else pd.DataFrame(
        columns=["run", "site", "codes", "flips", *CLASSES, "out_of_range"]
    )
    differences, ulps = difference_tables(stages)
    found.frames = {
        "y by layer": found.y, "Summaries after the scan": pd.DataFrame(summaries),
        "Every stage after the scan": differences, "Distances in ULP or codes": ulps,
        "Rounding sites": site_table(run, mode_a, by_site), "Code flips by site": by_site,
        "Ledger of code flips": pd.concat(ledgers, ignore_index=True) if ledgers else pd.DataFrame(),
    }  # fmt: skip
    return found


def _y_row(
    a: Tensor, b: Tensor, exact: Sequence[Tensor], floors: dict[str, Tensor], names: tuple[str, str]
) -> dict[str, Any]:
    d = difference(a, b)
    errors = [_error(y, t) for y, t in zip((a, b), exact, strict=True)]
    missed = [_not_nearest(y, t) for y, t in zip((a, b), exact, strict=True)]
    floor = {name: _error(other, a) for name, other in floors.items()}
    top = max(floor.values())
    unknown = any(np.isnan(errors))
    closer = "unknown" if unknown else "equal" if errors[0] == errors[1] else names[int(errors[1] < errors[0])]
    return {
        "equal": d.equal, "differing": d.differing, "share": d.share, "max_ulp": d.max_ulp, "max_abs": d.max_abs,
        "mean_abs": d.mean_abs, "error_rms": d.relative_rms, "sqnr_db": d.sqnr_db, **floor,
        "times_floor": d.relative_rms / top if top else np.nan, "error_of_a": errors[0], "error_of_b": errors[1],
        "not_nearest_a": missed[0], "not_nearest_b": missed[1], "closer_to_fp64": closer, "note": d.note,
    }  # fmt: skip


def _error(y: Tensor, truth: Tensor) -> float:
    """Relative RMS error; NaN for tensors of different shapes."""
    return relative_rms(y, truth) if y.shape == truth.shape and y.numel() else float("nan")


def _not_nearest(y: Tensor, truth: Tensor) -> float:
    if y.shape != truth.shape or not y.numel():
        return float("nan")
    return float((y != truth.to(y.dtype)).double().mean())


def _exact_y(run: Workbook, mode: str, reference: str, layer: int, item: int) -> Tensor:
    """y in float64 from the inputs that ``mode`` gives its scan in lockstep with ``reference``."""
    pair = run.layer_inputs(reference, item)[layer]
    return oracle_float64(run.view(mode).layers[layer].scan_inputs(*pair))[0]


def _lockstep_floors(run: Workbook, mode: str, layer: int, item: int, y: Tensor) -> dict[str, Tensor]:
    """``y`` after another order of the recurrence, and after one ULP, when the inputs are the same."""
    inputs = run.scan_inputs(mode, layer, item)
    other = run_variant(inputs, other_tree(run.scan_of(mode))).y
    return {"floor_chunk": other, "floor_ulp": stochastic_ulp(y, torch.Generator().manual_seed(run.seed + layer))}
