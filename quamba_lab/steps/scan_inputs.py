"""Step 2: do the two modes give their scans the same inputs?  In lockstep, and in free run, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..quantized import Quantized
from ..texts import clauses, listed, paragraph, plural, say
from .ledger import CLASSES, flip_table
from .result import StepResult, chart, control, share, significant
from .rounding_sites import with_every_site
from .tensors import difference_rows, difference_tables, real_values, same_values, summary_rows, token_errors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .workbook import Workbook

__all__ = ["TENSORS", "ScanInputsResult", "scan_inputs"]

TENSORS = ("scan.u", "scan.dt", "scan.B", "scan.C", "scan.z")
UPSTREAM = ("residual", "in_proj", "conv1d", "split", "x_proj", "dt_proj")


@dataclass(frozen=True, eq=False, kw_only=True)
class ScanInputsResult(StepResult):
    """Step 2's result; ``histograms`` counts the codes of every tensor, by (layer, tensor, mode)."""

    STEP = 2
    NAME = "scan_inputs"
    TITLE = "What the scans receive"
    mode_a: str = ""
    mode_b: str = ""
    chosen: tuple[int, ...] = ()
    histograms: dict[tuple[int, str, str], np.ndarray] = field(default_factory=dict, repr=False)
    along: dict[tuple[int, str, str], np.ndarray] = field(default_factory=dict, repr=False)

    def figures(self) -> list[tuple[str, Figure, str]]:
        from .. import plots

        if not self.chosen:
            return []
        table = self.frames["Differences"]
        series, alts = {}, []
        for run_kind in ("lockstep", "free run"):
            part = table[(table["run"] == run_kind) & table["stage"].isin(TENSORS)]
            per_layer = part.groupby("layer")["share"].max()
            series[run_kind] = [per_layer.get(layer, np.nan) for layer in self.chosen]
            part = share(float(np.nanmax(series[run_kind])))
            alts.append(say("{run}: at most {part} of a tensor's values differ", run=run_kind, part=part))
        curve = plots.lines(
            list(self.chosen), series,
            title=say("Scan inputs of mode {b} that differ from mode {a}", a=self.mode_a, b=self.mode_b),
            xlabel="layer", ylabel="largest share of differing values", dashed=["lockstep"],
            colors={"free run": self.mode_b, "lockstep": self.mode_a},
        )  # fmt: skip
        pictures = [("by-layer", curve, clauses(alts) + say("."))]
        flips = self.frames["Code flips by site"]
        free = flips[flips["run"] == "free run"].groupby("site", sort=False)[list(CLASSES)].sum()
        if len(free) and free.to_numpy().sum():
            parts = {name: free[name].to_numpy() for name in CLASSES}
            most = free.sum(axis=1).idxmax()
            pictures.append(
                (
                    "flips",
                    plots.stacked(free.index.tolist(), parts, title="Code flips in free run, by site and class",
                                  xlabel="flips", ylabel="", horizontal=True),
                    say(
                        "{flips} codes flip in free run, most of them at {most}; {tie} are ties, {upstream} came in "
                        "from upstream.",
                        flips=f"{int(free.to_numpy().sum()):,}", most=most, tie=f"{int(free['tie'].sum()):,}",
                        upstream=f"{int(free['upstream'].sum()):,}"
                    ),
                )
            )  # fmt: skip
        pictures.append(("codes", self.figure(), self._codes_alt(self.chosen[0], "scan.u")))
        return pictures

    def _codes_alt(self, layer: int, tensor: str) -> str:
        table = self.frames["Differences"]
        rows = table[(table["layer"] == layer) & (table["stage"] == tensor) & (table["run"] == "lockstep")]
        if rows.empty:
            return say("Values of {tensor} at layer {layer} in the free run.", tensor=tensor, layer=layer)
        differing = int(rows["differing"].sum())
        return say(
            "Values of {tensor} at layer {layer} in the free run; in lockstep {differing} of {elements} differ.",
            tensor=tensor, layer=layer, differing=f"{differing:,}", elements=f"{int(rows['elements'].sum()):,}"
        )

    def figure(self, layer: int | None = None, tensor: str = "scan.u") -> Figure:
        """How often each INT8 grid point occurs in a tensor of both modes."""
        from .. import plots

        layer = self.chosen[0] if layer is None else layer
        series = {
            mode: self.histograms[layer, tensor, mode]
            for mode in dict.fromkeys((self.mode_a, self.mode_b))
            if (layer, tensor, mode) in self.histograms
        }
        return plots.lines(
            list(range(-128, 128)), series, dashed=[self.mode_b],
            title=say("{tensor} at layer {layer}, free run", tensor=tensor, layer=layer),
            xlabel="code (value / scale, rounded)", ylabel="elements", log=False,
        )  # fmt: skip

    def view_data(self) -> dict[str, Any]:
        if not self.chosen:
            return super().view_data()
        tensors = [t for t in TENSORS if any(key[1] == t for key in self.histograms)]
        frames, errors, tables = {}, {}, {}
        table = self.frames["Summaries"]
        shown = ["mode", "run", "dtype", "scale", "low", "high", "mean", "std", "distinct"]
        for layer in self.chosen:
            for tensor in tensors:
                series = [
                    {"name": mode, "values": self.histograms[layer, tensor, mode].tolist()}
                    for mode in dict.fromkeys((self.mode_a, self.mode_b))
                    if (layer, tensor, mode) in self.histograms
                ]
                frames[(layer, tensor)] = {"series": series, "alt": self._codes_alt(layer, tensor)}
                curves = [
                    {"name": kind, "values": self.along[layer, tensor, kind].tolist()}
                    for kind in ("lockstep", "free run")
                    if (layer, tensor, kind) in self.along
                ]
                tokens = len(curves[0]["values"]) if curves else 0
                errors[(layer, tensor)] = {"series": curves, "x": {"label": "token", "values": list(range(tokens))}}
                part = table[(table["layer"] == layer) & (table["tensor"] == tensor)]
                tables[(layer, tensor)] = {"columns": shown, "rows": part[shown].values.tolist()}
        depends = ["layer", "tensor"]
        return {
            "controls": [control("layer", "Layer", list(self.chosen)), control("tensor", "Tensor", tensors)],
            "charts": [
                chart("codes", "How often each code occurs", self._codes_alt(self.chosen[0], tensors[0]), "lines",
                      depends, frames, x={"label": "code", "values": list(range(-128, 128))},
                      y={"label": "elements", "scale": "linear"}),
                chart("along", "Difference along the tokens", self.verdict, "lines", depends, errors,
                      x={"label": "token", "values": []}, y={"label": "RMS over channels", "scale": "log"}),
                chart("summary", "The tensor in both modes", self.verdict, "table", depends, tables),
            ],
        }  # fmt: skip


def _histogram(value: Any, scale: float | None) -> np.ndarray | None:
    """Counts of the 256 codes; a float tensor is read on the grid of ``scale``."""
    if isinstance(value, Quantized):
        codes = value.values.reshape(-1).long()
    elif scale:
        codes = (value.double() / scale).round().nan_to_num(0).clamp(-128, 127).reshape(-1).long()
    else:
        return None
    return np.bincount((codes + 128).cpu().numpy(), minlength=256)


def scan_inputs(
    run: Workbook, mode_a: str, mode_b: str, layers: Sequence[int] | None = None, items: Sequence[int] = (0,)
) -> ScanInputsResult:
    """Step 2 for two modes at ``layers`` (all by default) and ``items`` of the task."""
    chosen = run.check_layers(layers)
    items = [run.check_item(item) for item in items]
    settings = run.settings(mode_a=mode_a, mode_b=mode_b, layers=chosen, items=items)
    sites = run.view(mode_a).sites, run.view(mode_b).sites
    rows, summaries, flips, counts = [], [], [], []
    histograms: dict[tuple[int, str, str], np.ndarray] = {}
    along: dict[tuple[int, str, str], np.ndarray] = {}
    unequal_in_lockstep: dict[str, list[int]] = {}
    for item in items:
        free_a, free_b = run.free(mode_a, item), run.free(mode_b, item)
        lock_b = run.lockstep(mode_a, mode_b, item)
        exact_modes = run.truth_of(mode_a), run.truth_of(mode_b)
        exact = {
            "lockstep": tuple(run.lockstep(mode_a, mode, item) for mode in exact_modes),
            "free run": tuple(run.free(mode, item) for mode in exact_modes),
        }
        every_a = with_every_site(run, free_a, mode_a, mode_a, item, chosen)
        for kind, b in (("lockstep", lock_b), ("free run", free_b)):
            where = {"run": kind, "item": item}
            rows += difference_rows((*UPSTREAM, *TENSORS), chosen, free_a, b, (mode_a, mode_b), exact[kind], **where)
            every_b = with_every_site(run, b, mode_b, mode_a if kind == "lockstep" else mode_b, item, chosen)
            table, count = flip_table(every_a, every_b, *sites, chosen, **where)
            flips.append(table)
            counts.append(count)
            summaries += [
                row
                for layer in chosen
                for stage in UPSTREAM
                if (stage, layer) in free_a and (stage, layer) in b
                for row in summary_rows(
                    {"layer": layer, "tensor": stage, "item": item, "run": kind},
                    {mode_a: free_a[stage, layer], mode_b: b[stage, layer]},
                )
            ]
        for layer in chosen:
            for tensor in TENSORS:
                a = free_a.get((tensor, layer))
                if a is None:
                    continue
                key = (tensor, layer)
                if not same_values(a, lock_b[key]):
                    unequal_in_lockstep.setdefault(tensor, []).append(layer)
                scale = next((float(v.scale) for v in (a, lock_b[key]) if isinstance(v, Quantized)), None)
                for mode, value in ((mode_a, a), (mode_b, free_b[key])):
                    found = _histogram(value, scale)
                    if found is not None:
                        histograms[layer, tensor, mode] = histograms.get((layer, tensor, mode), 0) + found
                if item == items[0]:
                    for kind, b in (("lockstep", lock_b), ("free run", free_b)):
                        along[layer, tensor, kind] = token_errors(tensor, a, b[key]).cpu().numpy()
                where = {"layer": layer, "tensor": tensor, "item": item}
                summaries += summary_rows({**where, "run": "lockstep"}, {mode_a: a, mode_b: lock_b[key]})
                summaries += summary_rows({**where, "run": "free run"}, {mode_a: a, mode_b: free_b[key]})
                dequantized = {mode_a: real_values(a), mode_b: real_values(free_b[key])}
                if isinstance(a, Quantized) or isinstance(free_b[key], Quantized):
                    summaries += summary_rows({**where, "run": "free run, dequantized"}, dequantized)
    differences, ulps = difference_tables(rows)
    ledger = pd.concat(flips, ignore_index=True) if flips else pd.DataFrame()
    by_site = pd.concat(counts, ignore_index=True) if counts else pd.DataFrame(columns=["run", "site", *CLASSES])
    frames = {
        "Summaries": pd.DataFrame(summaries), "Differences": differences, "Distances in ULP or codes": ulps,
        "Code flips by site": by_site, "Ledger of code flips": ledger,
    }  # fmt: skip
    status, verdict, numbers = _judge(differences, unequal_in_lockstep, by_site, mode_a, mode_b)
    return ScanInputsResult(
        status=status, verdict=verdict, settings=settings, numbers=numbers, frames=frames, mode_a=mode_a, mode_b=mode_b,
        chosen=tuple(chosen), histograms=histograms, along=along,
    )  # fmt: skip


def _judge(
    differences: pd.DataFrame, unequal: dict[str, list[int]], flips: pd.DataFrame, a: str, b: str
) -> tuple[str, str, dict[str, Any]]:
    if differences.empty:
        return "unknown", say("No layer or no item was chosen, so no scan input was compared."), {}
    inputs = differences[differences["stage"].isin(TENSORS)]
    lock, free = inputs[inputs["run"] == "lockstep"], inputs[inputs["run"] == "free run"]
    forms = lock[lock["note"].str.contains("shapes")]
    most = free.loc[free["share"].idxmax()]
    numbers = {
        "lockstep_unequal": {name: sorted(set(layers)) for name, layers in unequal.items()},
        "free_largest_share": float(most["share"]),
        "free_flips": int(flips.loc[flips["run"] == "free run", "flips"].sum()),
        "lockstep_flips": int(flips.loc[flips["run"] == "lockstep", "flips"].sum()),
        "wraps": int(flips["wrap"].sum()), "out_of_range": int(flips["out_of_range"].sum()),
    }  # fmt: skip
    if len(forms):
        sentence = say(
            "Modes {a} and {b} give their scans tensors of different shapes: {note}.",
            a=a, b=b, note=forms["note"].iloc[0]
        )
        return "fault", sentence, numbers
    if unequal:
        named = listed(
            plural(len(set(layers)), "{name} ({count} layer)", "{name} ({count} layers)", name=name)
            for name, layers in unequal.items()
        )
        largest = lock[lock["stage"].isin(unequal)]["error_rms"].max()
        return (
            "established",
            say(
                "With equal inputs to each layer, modes {a} and {b} give their scans different values of {named}; the "
                "largest difference is {largest} of the tensor's RMS. The modes differ before the scan.",
                a=a, b=b, named=named, largest=significant(largest)
            ),
            numbers,
        )
    first = free[free["differing"] > 0]
    sentence = say(
        "With equal inputs to each layer, modes {a} and {b} give their scans the same values of u, dt, B, C and z, bit "
        "for bit, at every layer looked at: the inputs are not the cause.",
        a=a, b=b
    )
    if first.empty:
        return "identical", paragraph([sentence, say("They are the same in free run too.")]), numbers
    start = int(first["layer"].min())
    parted = say(
        "In free run they part at layer {start}, after an earlier scan, and at most {part} of {stage} differs (layer "
        "{layer}).",
        start=start, part=share(float(most["share"])), stage=most["stage"], layer=int(most["layer"]),
    )  # fmt: skip
    return "identical", paragraph([sentence, parted]), numbers
