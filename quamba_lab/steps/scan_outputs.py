"""Step 4: how far apart are the scans' outputs, and who is closer to the truth?

Lockstep: both scans get the reference's inputs at every layer, so only what the scan adds shows, and FP64 on the same
inputs judges both.  Free run: each mode runs its whole model, differences accumulate.  Beside every difference stands
the floor: what legal reorderings of the reference change at the same place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..compare import ULP_BINS, difference, relative_rms
from ..quantized import Quantized
from ..scans.oracle import oracle_float64
from ..texts import paragraph, plural, say
from ..thresholds import threshold
from .ledger import CLASSES, flip_table
from .reorderings import other_tree, stochastic_ulp
from .result import StepResult, chart, control, share, significant
from .tensors import difference_rows, real_values, same_values, summary_rows, token_errors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .workbook import Workbook

__all__ = ["STAGES_AFTER", "ScanOutputs", "scan_outputs"]

STAGES_AFTER = ("scan.y", "hadamard", "out_proj", "residual")
FLOORS = ("chunk 16", "ulp 1")
"""The legal reorderings that stand under the curves: another order of the recurrence, and one ULP of y."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ScanOutputs(StepResult):
    """Step 4's result; ``values`` keeps y of the first item for the pictures, by (layer, run): ("0", "2-1")."""

    STEP = 4
    NAME = "scan_outputs"
    TITLE = "What the scans return"
    mode_a: str = ""
    mode_b: str = ""
    chosen: tuple[int, ...] = ()
    values: dict[tuple[int, str], tuple[Tensor, Tensor]] = field(default_factory=dict, repr=False)
    histograms: dict[int, dict[str, int]] = field(default_factory=dict, repr=False)

    def _curve(self, kind: str) -> dict[str, list[float]]:
        table = self.frames["y by layer"]
        part = table[table["run"] == kind].groupby("layer")
        return {
            column: [float(part[column].max().get(layer, np.nan)) for layer in self.chosen]
            for column in ("error_rms", "floor_chunk", "floor_ulp", "error_of_a", "error_of_b")
        }

    def error_figure(self, kind: str = "lockstep") -> Figure:
        """Difference of y along the layers with the floor as a band, in lockstep or free run."""
        from .. import plots

        curve = self._curve(kind)
        top = np.fmax(curve["floor_chunk"], curve["floor_ulp"])
        low = np.fmin(curve["floor_chunk"], curve["floor_ulp"])
        apart = say("{b} from {a}", a=self.mode_a, b=self.mode_b)
        series, colors, dashed = {apart: curve["error_rms"]}, {apart: self.mode_b}, []
        if kind == "lockstep":
            for mode, errors in ((self.mode_a, curve["error_of_a"]), (self.mode_b, curve["error_of_b"])):
                name = say("{mode} from FP64", mode=mode)
                series[name], colors[name] = errors, mode
                dashed.append(name)
        return plots.lines(
            list(self.chosen), series, title=say("Scan output y, {kind}", kind=kind), xlabel="layer",
            ylabel="RMS of the difference / RMS of y", band=(low, top), band_label="legal reorderings",
            dashed=dashed, colors=colors,
        )  # fmt: skip

    def map_figure(self, kind: str = "free run") -> Figure:
        """Layer x token map of the difference of y."""
        from .. import plots

        rows = [token_errors("scan.y", *self.values[layer, kind]).numpy() for layer in self.chosen]
        return plots.heatmap(
            np.stack(rows), xlabel="token",
            title=say("Where y differs ({kind}), mode {b} from {a}", kind=kind, b=self.mode_b, a=self.mode_a),
            ylabel="layer", rows=self.chosen, label="RMS over channels",
        )  # fmt: skip

    def channel_figure(self, layer: int, kind: str = "lockstep") -> Figure:
        """RMS of the difference of each channel, sorted, at one layer."""
        from .. import plots

        a, b = (v.double() for v in self.values[layer, kind])
        profile = (b - a).square().mean((0, 1)).sqrt().sort(descending=True).values
        return plots.lines(
            list(range(len(profile))), {self.mode_b: profile.numpy()},
            title=say("Channels of layer {layer}, {kind}", layer=layer, kind=kind),
            xlabel="channel, sorted by difference", ylabel="RMS over tokens",
        )  # fmt: skip

    def figure(self, layer: int | None = None, token: int | None = None, kind: str = "lockstep") -> Figure:
        """y of the reference against y of the other mode at one layer (and token), both runs' values on one line."""
        from .. import plots

        layer = self.chosen[0] if layer is None else layer
        a, b = self.values[layer, kind]
        if token is not None:
            a, b = a[:, token : token + 1], b[:, token : token + 1]
        x, y = a.double().flatten().numpy(), b.double().flatten().numpy()
        if x.size > 20_000:  # every differing value is kept, equal ones are thinned
            keep = np.flatnonzero(x != y)
            keep = np.union1d(keep[:10_000], np.arange(0, x.size, x.size // 10_000))
            x, y = x[keep], y[keep]
        return plots.scatter(
            x, y, highlight=x != y, highlight_label="not equal",
            title=say("y at layer {layer}, {kind}", layer=layer, kind=kind)
            if token is None
            else say("y at layer {layer}, {kind}, token {token}", layer=layer, kind=kind, token=token),
            xlabel=say("mode {mode}", mode=self.mode_a), ylabel=say("mode {mode}", mode=self.mode_b),
        )  # fmt: skip

    def figures(self) -> list[tuple[str, Figure, str]]:
        from .. import plots

        if not self.chosen:
            return []
        pictures = []
        for kind in ("lockstep", "free run"):
            curve = self._curve(kind)
            top = float(np.nanmax(np.fmax(curve["floor_chunk"], curve["floor_ulp"])))
            largest = float(np.nanmax(curve["error_rms"]))
            pictures.append(
                (
                    f"error-{kind.replace(' ', '-')}", self.error_figure(kind),
                    say(
                        "In {kind}, y of mode {b} differs from mode {a} by at most {largest} of its RMS; legal "
                        "reorderings reach {top}.",
                        kind=kind, b=self.mode_b, a=self.mode_a, largest=significant(largest), top=significant(top),
                    ),
                )
            )  # fmt: skip
        counts = {
            bin_name: sum(self.histograms[layer][bin_name] for layer in self.chosen if layer in self.histograms)
            for bin_name in ULP_BINS
        }
        total, equal = sum(counts.values()), counts["0"]
        pictures.append(
            (
                "ulp", plots.histogram({self.mode_b: counts}, title="Difference of y in lockstep, all layers",
                                       xlabel="units in the last place of float16"),
                say(
                    "{equal} of {total} values of y are bit-equal in lockstep; {one} are one ULP apart.",
                    equal=f"{equal:,}", total=f"{total:,}", one=f"{counts['1']:,}"
                ),
            )
        )  # fmt: skip
        pictures.append(
            ("map", self.map_figure(), say("Where along layers and tokens y differs in free run; white: bit-equal."))
        )
        last = self.chosen[-1]
        pictures.append(
            (
                "channels", self.channel_figure(last),
                say("How the difference in lockstep spreads over the channels of layer {last}.", last=last),
            )
        )  # fmt: skip
        pictures.append(
            (
                "scatter", self.figure(),
                say("y of both modes at layer {layer} in lockstep, unequal values marked.", layer=self.chosen[0]),
            )
        )
        return pictures

    def view_data(self) -> dict[str, Any]:
        if not self.chosen:
            return super().view_data()
        layers, kinds = list(self.chosen), ["lockstep", "free run"]
        curves, along, tokens_of = {}, {}, 0
        for kind in kinds:
            curve = self._curve(kind)
            top = np.fmax(curve["floor_chunk"], curve["floor_ulp"])
            low = np.fmin(curve["floor_chunk"], curve["floor_ulp"])
            curves[(kind,)] = {
                "series": [{"name": self.mode_b, "values": curve["error_rms"]},
                           {"name": "floor", "low": low.tolist(), "high": top.tolist()}]
            }  # fmt: skip
            for layer in layers:
                error = token_errors("scan.y", *self.values[layer, kind])
                tokens_of = len(error)
                along[(layer, kind)] = {"series": [{"name": self.mode_b, "values": error.tolist()}]}
        bins = {
            (layer,): {"series": [{"name": self.mode_b, "values": [counts[b] for b in ULP_BINS]}]}
            for layer, counts in self.histograms.items()
        }
        maps = {
            (kind,): {"rows": [[v if v > 0 else None for v in along[(layer, kind)]["series"][0]["values"]]
                               for layer in layers]}
            for kind in kinds
        }  # fmt: skip
        tokens = {"label": "token", "values": list(range(tokens_of))}
        return {
            "controls": [control("layer", "Layer", layers), control("kind", "Run", kinds)],
            "charts": [
                chart("layers", "Difference of y by layer", self.verdict, "lines", ["kind"], curves,
                      x={"label": "layer", "values": layers}, y={"label": "difference / RMS(y)", "scale": "log"}),
                chart("tokens", "Difference of y by token", self.verdict, "lines", ["layer", "kind"], along, x=tokens,
                      y={"label": "RMS over channels", "scale": "log"}),
                chart("ulp", "ULP of y in lockstep", self.verdict, "bars", ["layer"], bins,
                      x={"label": "ULP", "values": list(ULP_BINS)}, y={"label": "elements", "scale": "log"}),
                chart("map", "Layer x token", self.verdict, "heatmap", ["kind"], maps, x=tokens,
                      y={"label": "layer", "values": layers}, scale="log"),
            ],
        }  # fmt: skip


def _lockstep_floors(run: Workbook, mode: str, layer: int, item: int, y: Tensor) -> dict[str, float]:
    """What another order of the recurrence and one ULP do to ``y`` when the inputs are the same."""
    from ..scans.variants import run as run_variant

    inputs = run.scan_inputs(mode, layer, item)
    moved = stochastic_ulp(y, torch.Generator().manual_seed(run.seed + layer))
    other = run_variant(inputs, other_tree(run.scan_of(mode))).y
    return {"floor_chunk": relative_rms(other, y), "floor_ulp": relative_rms(moved, y)}


def scan_outputs(
    run: Workbook, mode_a: str, mode_b: str, layers: Sequence[int] | None = None, items: Sequence[int] = (0,)
) -> ScanOutputs:
    """Step 4 for two modes at ``layers`` (all by default) and ``items`` of the task."""
    chosen = run.check_layers(layers)
    items = [run.check_item(item) for item in items]
    settings = run.settings(mode_a=mode_a, mode_b=mode_b, layers=chosen, items=items)
    names = (mode_a, mode_b)
    rows, stages, summaries, ledgers, counts = [], [], [], [], []
    histograms: dict[int, dict[str, int]] = {}
    values: dict[tuple[int, str], tuple[Tensor, Tensor]] = {}
    inputs_equal = True
    for item in items if chosen else []:
        a, free_b, lock_b = run.free(mode_a, item), run.free(mode_b, item), run.lockstep(mode_a, mode_b, item)
        truth_a, truth_b = run.free(run.truth_of(mode_a), item), run.free(run.truth_of(mode_b), item)
        lock_truth = run.lockstep(mode_a, run.truth_of(mode_a), item), run.lockstep(mode_a, run.truth_of(mode_b), item)
        floors = {name: run.reordered(mode_a, name, item) for name in FLOORS}
        for kind, b, truth in (("lockstep", lock_b, lock_truth), ("free run", free_b, (truth_a, truth_b))):
            where = {"run": kind, "item": item}
            stages += difference_rows((*STAGES_AFTER, "logits"), chosen, a, b, names, truth, **where)
            ledger, count = flip_table(a, b, run.view(mode_a).sites, run.view(mode_b).sites, chosen, **where)
            ledgers.append(ledger)
            counts.append(count)
            for layer in chosen:
                key = ("scan.y", layer)
                d = difference(a[key], b[key])
                if kind == "lockstep":
                    exact = [_exact_y(run, mode, mode_a, layer, item) for mode in names]
                    errors = [_error(y[key], t) for y, t in zip((a, b), exact, strict=True)]
                    floor = _lockstep_floors(run, mode_a, layer, item, a[key])
                    seen = histograms.setdefault(layer, dict.fromkeys(ULP_BINS, 0))
                    for name, count_of in (d.ulps or {}).items():
                        seen[name] += count_of
                    inputs_equal &= same_values(a["scan.u", layer], b["scan.u", layer])
                else:
                    errors = [_error(y[key], t[key]) for y, t in zip((a, b), truth, strict=True)]
                    floor = {
                        "floor_chunk": relative_rms(real_values(floors["chunk 16"][key]), a[key]),
                        "floor_ulp": relative_rms(real_values(floors["ulp 1"][key]), a[key]),
                    }
                if item == items[0]:
                    values[layer, kind] = (a[key].cpu(), b[key].cpu())
                closer = "equal" if errors[0] == errors[1] else names[int(errors[1] < errors[0])]
                top = max(floor.values())
                rows.append(
                    {
                        **where, "layer": layer, "equal": d.equal, "differing": d.differing, "share": d.share,
                        "max_ulp": d.max_ulp, "max_abs": d.max_abs, "mean_abs": d.mean_abs, "error_rms": d.relative_rms,
                        "sqnr_db": d.sqnr_db, **floor, "times_floor": d.relative_rms / top if top else np.nan,
                        "error_of_a": errors[0], "error_of_b": errors[1], "closer_to_fp64": closer, "note": d.note,
                    }
                )  # fmt: skip
                summaries += summary_rows({"layer": layer, **where}, {mode_a: a[key], mode_b: b[key]})
    columns = ["run", "item", "layer", "equal", "differing", "share", "max_ulp", "max_abs", "mean_abs", "error_rms",
               "sqnr_db", "floor_chunk", "floor_ulp", "times_floor", "error_of_a", "error_of_b", "closer_to_fp64",
               "note"]  # fmt: skip
    table = pd.DataFrame(rows, columns=columns)
    by_site = pd.concat(counts, ignore_index=True) if counts else pd.DataFrame(columns=["run", "site", *CLASSES])
    frames = {
        "y by layer": table, "Summaries of y": pd.DataFrame(summaries),
        "Every stage after the scan": pd.DataFrame(stages),
        "Code flips by site": by_site,
        "Ledger of code flips": pd.concat(ledgers, ignore_index=True) if ledgers else pd.DataFrame(),
        "Values beyond the codes": _overflow_table(run, mode_a, items),
    }  # fmt: skip
    status, verdict, numbers = _judge(table, by_site, frames["Values beyond the codes"], inputs_equal, mode_a, mode_b)
    return ScanOutputs(
        status=status, verdict=verdict, settings=settings, numbers=numbers, frames=frames, mode_a=mode_a, mode_b=mode_b,
        chosen=tuple(chosen), values=values, histograms=histograms,
    )  # fmt: skip


def _exact_y(run: Workbook, mode: str, reference: str, layer: int, item: int) -> Tensor:
    """y in float64 from the inputs that ``mode`` gives its scan in lockstep with ``reference``."""
    pair = run.layer_inputs(reference, item)[layer]
    return oracle_float64(run.view(mode).layers[layer].scan_inputs(*pair))[0]


def _error(y: Quantized | Tensor, truth: Quantized | Tensor) -> float:
    return relative_rms(real_values(y), real_values(truth))


def _overflow_table(run: Workbook, mode: str, items: Sequence[int]) -> pd.DataFrame:
    """How often each rounding site of the reference meets a value beyond the codes, over the given items."""
    from ..trace import ROUNDING_STAGES
    from .ledger import SITE_OF

    totals: dict[str, list[int]] = {}
    for item in items:
        trace = run.free(mode, item)
        for (stage, _), value in trace.items():
            if stage in ROUNDING_STAGES:
                rule = run.view(mode).sites[SITE_OF[stage]].rule
                whole = rule.integers(value)
                seen = totals.setdefault(SITE_OF[stage], [0, 0])
                seen[0] += value.numel()
                seen[1] += int(((whole < rule.low) | (whole > rule.high)).sum())
    rows = [
        {
            "site": site, "overflow": run.view(mode).sites[site].rule.overflow, "codes": total, "beyond": beyond,
            "share": beyond / total if total else 0.0,
        }
        for site, (total, beyond) in totals.items()
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["site", "overflow", "codes", "beyond", "share"])


def _judge(
    table: pd.DataFrame, flips: pd.DataFrame, overflow: pd.DataFrame, inputs_equal: bool, a: str, b: str
) -> tuple[str, str, dict[str, Any]]:
    if table.empty:
        return "unknown", say("No layer or no item was chosen, so no scan output was compared."), {}
    lock, free = table[table["run"] == "lockstep"], table[table["run"] == "free run"]
    bounds = threshold("y.error_rms", "float16"), threshold("y.mismatch", "float16")
    worst = lock.loc[lock["error_rms"].fillna(np.inf).idxmax()]
    wraps = int(overflow.loc[overflow["overflow"] == "wrap", "beyond"].sum())
    numbers = {
        "lockstep_error_rms": float(worst["error_rms"]), "lockstep_share": float(lock["share"].max()),
        "lockstep_times_floor": float(lock["times_floor"].max()), "free_error_rms": float(free["error_rms"].max()),
        "free_times_floor": float(free["times_floor"].max()),
        "layers_where_b_is_closer": int((lock["closer_to_fp64"] == b).sum()),
        "layers_where_a_is_closer": int((lock["closer_to_fp64"] == a).sum()), "layers": len(lock),
        "flips_free_run": int(flips.loc[flips["run"] == "free run", "flips"].sum()), "wrapped_values": wraps,
        "inputs_equal": inputs_equal,
    }  # fmt: skip
    if lock["note"].str.contains("shapes").any():
        sentence = say("Modes {a} and {b} return y of different shapes: {note}.", a=a, b=b, note=worst["note"])
        return "fault", sentence, numbers
    unknown = lock["error_rms"].isna() | lock["note"].ne("")
    if lock["equal"].all():
        sentence = say("With equal inputs, modes {a} and {b} return the same y bit for bit at every layer.", a=a, b=b)
        free_run = say("So they do in free run.") if free["equal"].all() else say("In free run they part.")
        sentence = paragraph([sentence, free_run])
        return "identical", sentence, numbers
    if unknown.any():
        layer = int(lock[unknown]["layer"].iloc[0])
        sentence = say("y could not be compared at layer {layer}: {note}.", layer=layer, note=worst["note"])
        return "fault", sentence, numbers
    beyond = lock[(lock["error_rms"] > bounds[0]) | (lock["share"] > bounds[1])]
    closer = lock["closer_to_fp64"].value_counts()
    nearest = max((a, b), key=lambda mode: closer.get(mode, 0))
    who = (
        say(
            "mode {mode} is closer to FP64 at {count} of {total} layers",
            mode=nearest, count=closer.get(nearest, 0), total=len(lock),
        )
        if closer.get(a, 0) != closer.get(b, 0)
        else say("neither is closer to FP64")
    )
    size = say(
        "at most {error} of RMS(y) (layer {layer}), in {part} of the values, {times} times the floor",
        error=significant(float(worst["error_rms"])), layer=int(worst["layer"]),
        part=share(float(lock["share"].max())), times=significant(float(lock["times_floor"].max())),
    )  # fmt: skip
    grown = say(
        "In free run the difference grows to {error}, {times} times what legal reorderings do there.",
        error=significant(float(free["error_rms"].max())), times=significant(float(free["times_floor"].max())),
    )  # fmt: skip
    if wraps:
        wrapped = plural(
            wraps, "{count} value wraps around after the Hadamard, a fault of the published layer in every mode.",
            "{count} values wrap around after the Hadamard, a fault of the published layer in every mode.",
        )  # fmt: skip
        grown = paragraph([grown, wrapped])
    if not inputs_equal:
        sentence = say("The scans' inputs differ already, so y does: {size}; {who}.", size=size, who=who)
        return "established", paragraph([sentence, grown]), numbers
    if beyond.empty:
        sentence = say("With equal inputs, y differs by rounding only: {size}; {who}.", size=size, who=who)
        return "rounding", paragraph([sentence, grown]), numbers
    sentence = say("With equal inputs, y differs by more than rounding: {size}; {who}.", size=size, who=who)
    return "fault", paragraph([sentence, grown]), numbers
