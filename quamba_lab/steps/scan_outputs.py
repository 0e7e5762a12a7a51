"""Step 4: how far apart are the scans' outputs, and who is closer to the truth?

Lockstep: both scans get the reference's inputs at every layer, so only what the scan adds shows, and FP64 on the same
inputs judges both.  Free run: each mode runs its whole model, differences accumulate.  Beside every difference stands
the floor: what legal reorderings of the reference change at the same place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from ..compare import ULP_BINS
from ..texts import say
from .output_tables import STAGES_AFTER, measure
from .output_verdict import judge_outputs
from .overflow import HADAMARD, Wrapping, wrapping
from .result import StepResult, chart, control, share, significant
from .tensors import token_errors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .workbook import Workbook

__all__ = ["STAGES_AFTER", "ScanOutputs", "scan_outputs"]

@dataclass(frozen=True, eq=False, kw_only=True)
class ScanOutputs(StepResult):
    """Step 4's result; ``values`` keeps y of the first item for the pictures, by (layer, run): ("0", "2-1")."""

    STEP = 4
    NAME = "scan_outputs"
    TITLE = "What the scans return"
    mode_a: str = ""
    mode_b: str = ""
    chosen: tuple[int, ...] = ()
    values: Mapping[tuple[int, str], tuple[Tensor, Tensor]] = field(default_factory=dict, repr=False)
    histograms: dict[int, dict[str, int]] = field(default_factory=dict, repr=False)
    wraps: Wrapping | None = field(default=None, repr=False)

    def _curve(self, kind: str) -> dict[str, list[float]]:
        table = self.frames["y by layer"]
        part = table[table["run"] == kind].groupby("layer")
        return {
            column: [float(part[column].max().get(layer, np.nan)) for layer in self.chosen]
            for column in (
                "error_rms", "floor_chunk", "floor_ulp", "error_of_a", "error_of_b", "not_nearest_a", "not_nearest_b",
            )
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
            list(self.chosen), series, xlabel="layer",
            title=say("Scan output y of modes {a} and {b}, {kind}", a=self.mode_a, b=self.mode_b, kind=kind),
            ylabel="RMS of the difference / RMS of y", band=(low, top), band_label="legal reorderings",
            dashed=dashed, colors=colors,
        )  # fmt: skip

    def truth_figure(self) -> Figure:
        """Share of y, in lockstep, that is not the float16 nearest to FP64, of both modes along the layers."""
        from .. import plots

        curve = self._curve("lockstep")
        shares = ((self.mode_a, curve["not_nearest_a"]), (self.mode_b, curve["not_nearest_b"]))
        named = {say("mode {mode}", mode=mode): (mode, values) for mode, values in shares}
        return plots.lines(
            list(self.chosen), {name: values for name, (_, values) in named.items()},
            colors={name: mode for name, (mode, _) in named.items()}, dashed=list(named)[1:],
            title=say("Scan output y, lockstep: who is closer to FP64"), xlabel="layer",
            ylabel=say("share of y that is not the nearest float16"), log=False,
        )  # fmt: skip

    def range_figure(self) -> Figure:
        """The largest value before the Hadamard's cast, by layer, against the last one that is a code."""
        from .. import plots

        made = self.wraps.sites[self.wraps.sites["site"] == HADAMARD]
        largest = say("largest, {items} items of mode {mode}", items=self.wraps.numbers["items"], mode=self.mode_a)
        figure = plots.lines(
            made["layer"].tolist(), {largest: made[["lowest", "highest"]].abs().max(axis=1).to_numpy()},
            title=say("Values before the cast after the Hadamard"), xlabel="layer",
            ylabel=say("distance from zero, in codes"), log=False, colors={largest: self.mode_a},
        )  # fmt: skip
        edge = str(say("127.5: beyond it the code wraps around"))
        figure.axes[0].axhline(127.5, color="#444444", linestyle="--", linewidth=1, label=edge)
        figure.axes[0].legend(fontsize=8, frameon=False)
        return figure

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
            title=say(
                "y of mode {b} from {a} by channel, layer {layer}, {kind}",
                a=self.mode_a, b=self.mode_b, layer=layer, kind=kind,
            ),
            xlabel="channel, sorted by difference", ylabel="RMS of the difference over tokens",
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

    def _map_alt(self, kind: str = "free run") -> str:
        errors = np.stack([token_errors("scan.y", *self.values[layer, kind]).numpy() for layer in self.chosen])
        row, token = np.unravel_index(int(np.nanargmax(errors)), errors.shape)
        return say(
            "In free run y differs at {share} of the pairs of layer and token, most at layer {layer}, token {token}; "
            "white: bit-equal.",
            share=share(float((errors > 0).mean())), layer=self.chosen[row], token=int(token),
        )  # fmt: skip

    def _channels_alt(self, layer: int) -> str:
        a, b = self.values[layer, "lockstep"]
        unequal = int((a != b).any(dim=1).any(dim=0).sum())
        return say(
            "In lockstep at layer {layer}, y differs in {count} of {total} channels; here they stand in order.",
            layer=layer, count=f"{unequal:,}", total=f"{a.shape[-1]:,}",
        )  # fmt: skip

    def _scatter_alt(self, layer: int) -> str:
        a, b = self.values[layer, "lockstep"]
        return say(
            "In lockstep at layer {layer}, {count} of {total} values of y are not equal in the two modes (marked).",
            layer=layer, count=f"{int((a != b).sum()):,}", total=f"{a.numel():,}",
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
        curve = self._curve("lockstep")
        missed = [float(np.nanmean(curve[name])) for name in ("not_nearest_a", "not_nearest_b")]
        pictures.append(
            (
                "truth", self.truth_figure(),
                say(
                    "{a} of the values of y of mode {mode_a} and {b} of mode {mode_b} are not the float16 nearest to "
                    "FP64, on the same inputs.",
                    a=share(missed[0]), b=share(missed[1]), mode_a=self.mode_a, mode_b=self.mode_b,
                ),
            )
        )  # fmt: skip
        if self.wraps is not None and (self.wraps.sites["site"] == HADAMARD).any():
            pictures.append(("range", self.range_figure(), self.wraps.sentence))
        counts = {
            bin_name: sum(self.histograms[layer][bin_name] for layer in self.chosen if layer in self.histograms)
            for bin_name in ULP_BINS
        }
        total, equal = sum(counts.values()), counts["0"]
        pictures.append(
            (
                "ulp", plots.histogram(
                    {self.mode_b: counts}, xlabel="units in the last place of float16",
                    title=say(
                        "Difference of y in lockstep, all layers, mode {b} from {a}", a=self.mode_a, b=self.mode_b
                    ),
                ),
                say(
                    "{equal} of {total} values of y are bit-equal in lockstep; {one} are one ULP apart.",
                    equal=f"{equal:,}", total=f"{total:,}", one=f"{counts['1']:,}"
                ),
            )
        )  # fmt: skip
        pictures.append(
            ("map", self.map_figure(), self._map_alt())
        )
        last = self.chosen[-1]
        pictures.append(
            (
                "channels", self.channel_figure(last),
                self._channels_alt(last),
            )
        )  # fmt: skip
        pictures.append(
            (
                "scatter", self.figure(),
                self._scatter_alt(self.chosen[0]),
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


def scan_outputs(
    run: Workbook, mode_a: str, mode_b: str, layers: Sequence[int] | None = None, items: Sequence[int] = (0,)
) -> ScanOutputs:
    """Step 4 for two modes at ``layers`` (all by default) and ``items`` of the task.

    What wraps around after the Hadamard is counted over all items of the run, whatever ``items`` are looked at closely.
    """
    chosen = run.check_layers(layers)
    items = [run.check_item(item) for item in items]
    settings = run.settings(mode_a=mode_a, mode_b=mode_b, layers=chosen, items=items)
    measured = measure(run, mode_a, mode_b, chosen, items)
    wraps = wrapping(run, mode_a, mode_b) if chosen and items else None
    frames = dict(measured.frames)
    if wraps is not None:
        frames |= {
            "Values beyond the codes": wraps.sites, "What the wrap does": wraps.effects,
            "The item with the most wraps": wraps.layers,
        }  # fmt: skip
    status, verdict, numbers = judge_outputs(measured, wraps, mode_a, mode_b)
    if measured.y["note"].str.contains("shapes").any():
        chosen = []  # nothing to draw: the verdict says why
    return ScanOutputs(
        status=status, verdict=verdict, settings=settings, numbers=numbers, frames=frames, mode_a=mode_a, mode_b=mode_b,
        chosen=tuple(chosen), values=measured.values, histograms=measured.histograms, wraps=wraps,
    )  # fmt: skip
