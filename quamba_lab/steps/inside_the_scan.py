"""Step 5: the scan's operations one after the other, and the first that adds more than its rounding."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .. import scans
from ..recorded import FOLDER, RecordedScan, load_recorded
from ..scans import ScanInputs
from ..scans.oracle import oracle_taps
from ..scans.taps import certified_taps
from ..texts import say
from .equal_inputs import on_equal_inputs
from .inside_verdict import judge, recorded_sentence
from .ladder import LADDER, exact_operations, ladder_table, local_errors
from .recorded_ladder import recorded_ladder
from .result import StepResult, chart, control, significant

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .workbook import Workbook

__all__ = ["EQUAL", "RECORDED", "InsideTheScan", "inside_the_scan", "walk"]


EQUAL = "Every operation, on equal inputs"
RECORDED = "Recorded on a GPU"


@dataclass(frozen=True, eq=False, kw_only=True)
class InsideTheScan(StepResult):
    """Step 5's result; ``along`` holds the RMS error of the state along the tokens, by (layer, side)."""

    STEP = 5
    NAME = "inside_the_scan"
    TITLE = "Inside the scan"
    mode_a: str = ""
    mode_b: str = ""
    chosen: tuple[int, ...] = ()
    along: dict[tuple[int, str, str], np.ndarray] = field(default_factory=dict, repr=False)

    def _ladder(self, layer: int | None) -> pd.DataFrame:
        table = self.frames["Ladder"]
        if layer is not None:
            table = table[table["layer"] == layer]
        return table.groupby("operation", sort=False).max(numeric_only=True).reindex(LADDER)

    def figure(self, layer: int | None = None, operation: str | None = None) -> Figure:
        """Error after each operation on both sides; with ``operation``, its error along the tokens instead."""
        from .. import plots

        if operation is not None and operation != "all":
            layer = self.chosen[0] if layer is None else layer
            where = say("layer {layer}", layer=layer)
            series = {
                mode: self.along[layer, operation, side]
                for side, mode in (("a", self.mode_a), ("b", self.mode_b))
                if (layer, operation, side) in self.along
            }
            length = max((len(v) for v in series.values()), default=0)
            return plots.lines(
                list(range(length)), series, xlabel="token",
                title=say("Error of {operation} along the tokens ({where})", operation=operation, where=where),
                ylabel="RMS error against FP64", dashed=[self.mode_b],
            )  # fmt: skip
        where = "largest over the layers" if layer is None else say("layer {layer}", layer=layer)
        table = self._ladder(layer)
        a, b = (say("mode {mode}", mode=mode) for mode in (self.mode_a, self.mode_b))
        series = {a: table["error_of_a"], b: table["error_of_b"]}
        colors = {a: self.mode_a, b: self.mode_b}
        if "difference_rms" in table:
            apart = say("{b} from {a}", a=self.mode_a, b=self.mode_b)
            series[apart], colors[apart] = table["difference_rms"], "3"
        return plots.ladder(
            LADDER, {k: v.to_numpy() for k, v in series.items()},
            title=say("Error after each operation ({where})", where=where),
            ylabel="RMS error / RMS of the operation's output", colors=colors,
        )  # fmt: skip

    def local_figure(self, layer: int | None = None) -> Figure:
        """What each operation adds by itself, in unit roundoffs, with its bound."""
        from .. import plots

        table = self._ladder(layer)
        a, b = (say("mode {mode}", mode=mode) for mode in (self.mode_a, self.mode_b))
        return plots.ladder(
            LADDER,
            {
                a: table["local_units_a"].to_numpy(),
                b: table["local_units_b"].to_numpy(),
            },
            title="What each operation adds by itself, largest over all elements", band=table["bound_units"].to_numpy(),
            ylabel="unit roundoffs of what enters",
            colors={a: self.mode_a, b: self.mode_b},
        )  # fmt: skip

    def figures(self) -> list[tuple[str, Figure, str]]:
        if not self.chosen or self.frames["Ladder"].empty:
            return []
        table = self._ladder(None)
        known = table["error_of_b"].dropna()
        inner = known.drop("output_cast", errors="ignore")
        alt = (
            say(
                "The largest error against FP64 inside the scan, before the cast to float16, is {error} in mode "
                "{mode}, after {operation}; the cast itself makes {cast}.",
                error=significant(float(inner.max())), mode=self.mode_b, operation=inner.idxmax(),
                cast=significant(float(known.get("output_cast", float("nan")))),
            )
            if len(inner)
            else say("This scan shows no operation.")
        )
        shares = (table[["local_units_a", "local_units_b"]].max(axis=1) / table["bound_units"]).dropna()
        local_alt = (
            say(
                "No operation adds more than its bound; {operation} comes nearest, at {part} %.",
                operation=shares.idxmax(), part=f"{100 * shares.max():.0f}",
            )
            if len(shares) and shares.max() <= 1
            else say(
                "{operation} adds {times} times its bound.",
                operation=shares.idxmax(), times=significant(float(shares.max())),
            )
            if len(shares)
            else say("No operation could be seen.")
        )
        pictures = [
            ("ladder", self.figure(), alt),
            ("local", self.local_figure(), local_alt),
            (
                "along",
                self.figure(operation="recurrence"),
                say("Error of the state along the tokens, layer {layer}.", layer=self.chosen[0]),
            ),
        ]
        recorded = self.frames.get(RECORDED)
        if recorded is not None and len(recorded):
            pictures.append(("recorded", self.recorded_figure(), recorded_sentence(recorded, self.numbers["recorded"])))
        return pictures

    def recorded_figure(self, scan: str | None = None) -> Figure:
        """Error after each operation of a GPU's own kernel, as recorded, and of this machine's build of it."""
        from .. import plots

        table = self.frames[RECORDED]
        scan = table["scan"].iloc[-1] if scan is None else scan
        own = table[table["scan"] == scan].set_index("operation").reindex(LADDER)
        gpu, host = say("recorded on {device}", device=self.numbers["recorded"]["device"]), say("this machine")
        return plots.ladder(
            LADDER, {gpu: own["error_gpu"].to_numpy(), host: own["error_host"].to_numpy()},
            title=say("Error after each operation of {scan}, on a GPU and here", scan=scan),
            ylabel="RMS error / RMS of the operation's output", colors={gpu: self.mode_a, host: self.mode_b},
        )  # fmt: skip

    def view_data(self) -> dict[str, Any]:
        if not self.chosen or self.frames["Ladder"].empty:
            return super().view_data()
        layers = list(self.chosen)
        ladder, local, along = {}, {}, {}
        names = {"a": self.mode_a, "b": self.mode_b}
        sides = [side for side in names if side == "a" or self.mode_a != self.mode_b]
        for layer in layers:
            table = self._ladder(layer)
            ladder[(layer,)] = {
                "series": [{"name": names[s], "values": table[f"error_of_{s}"].tolist()} for s in sides]
            }
            local[(layer,)] = {
                "series": [
                    *({"name": names[s], "values": table[f"local_units_{s}"].tolist()} for s in sides),
                    {"name": "bound", "low": [0.0] * len(table), "high": table["bound_units"].tolist()},
                ]
            }
            for operation in LADDER:
                series = [
                    {"name": names[s], "values": self.along[layer, operation, s].tolist()}
                    for s in sides
                    if (layer, operation, s) in self.along
                ]
                tokens = len(series[0]["values"]) if series else 0
                along[(layer, operation)] = {"series": series, "x": {"label": "token", "values": list(range(tokens))}}
        x = {"label": "operation", "values": list(LADDER)}
        return {
            "controls": [
                control("layer", "Layer", layers),
                control("operation", "Operation", ["all", *LADDER]),
            ],
            "charts": [
                chart("ladder", "Error after each operation", self.verdict, "lines", ["layer"], ladder, x=x,
                      y={"label": "RMS error / RMS", "scale": "log"}),
                chart("local", "What each operation adds by itself", self.verdict, "lines", ["layer"], local, x=x,
                      y={"label": "unit roundoffs", "scale": "log"}),
                chart("along", "Error along the tokens", self.verdict, "lines", ["layer", "operation"],
                      along | {(layer, "all"): along[(layer, "recurrence")] for layer in layers},
                      x={"label": "token", "values": []}, y={"label": "RMS error against FP64", "scale": "log"}),
            ],
        }  # fmt: skip


def _along(tap: Any, truth: Any, operation: str) -> np.ndarray:
    """RMS error over everything but time, (l,)."""
    exact = truth.transpose(1, 2) if operation == "output_cast" else truth
    squared = (tap.double() - exact).square()
    time = 1 if operation == "output_cast" else 2
    return squared.mean([axis for axis in range(squared.dim()) if axis != time]).sqrt().cpu().numpy()


def walk(
    inputs_by_layer: dict[int, ScanInputs],
    scan_a: str,
    scan_b: str,
    names: tuple[str, str],
    settings: dict[str, Any],
    recordings: tuple[dict[str, Any], list[RecordedScan]] | None = None,
) -> InsideTheScan:
    """Step 5 on given inputs: both scans get the same ones at every layer.

    ``recordings``: what a GPU did with inputs of its own, as ``load_recorded`` returns it, for a table beside.
    """
    tables, equal, along, refused = [], [], {}, []
    for layer, inputs in inputs_by_layer.items():
        truth = oracle_taps(inputs)
        found = [certified_taps(scan, inputs) for scan in (scan_a, scan_b)]
        refused += [one.reason for one in found if not one.certified]
        taps = tuple(one.taps for one in found)
        exact = tuple(exact_operations(inputs, one) if one else {} for one in taps)
        local = tuple(local_errors(inputs, *pair) if pair[0] else {} for pair in zip(taps, exact, strict=True))
        tables.append(ladder_table(truth, taps, local, names).assign(layer=layer))
        outputs = tuple(one.output for one in found)
        equal.append(on_equal_inputs(inputs, (scan_a, scan_b), taps, exact, outputs).assign(layer=layer))
        for side, shown in zip("ab", taps, strict=True):
            for operation in shown.keys() & set(LADDER):
                due = truth["gate" if operation == "output_cast" else operation]
                along[layer, operation, side] = _along(shown[operation], due, operation)
    frames = {"Ladder": _layer_first(tables), EQUAL: _layer_first(equal)}
    gpu: dict[str, Any] = {}
    if recordings is not None:
        index, recorded = recordings
        frames[RECORDED], complaints = recorded_ladder(recorded)
        gpu = {"device": index["device"], "recordings": len(recorded), "refused": complaints}
    status, verdict, numbers = judge(
        frames["Ladder"], frames[EQUAL], frames.get(RECORDED), (scan_a, scan_b), names,
        list(dict.fromkeys(refused)), gpu,
    )  # fmt: skip
    return InsideTheScan(
        status=status, verdict=verdict, settings=settings, numbers=numbers, frames=frames,
        mode_a=names[0], mode_b=names[1], chosen=tuple(inputs_by_layer), along=along,
    )  # fmt: skip


def _layer_first(tables: list[pd.DataFrame]) -> pd.DataFrame:
    whole = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["layer", "operation"])
    return whole[["layer", *[c for c in whole.columns if c != "layer"]]]


def inside_the_scan(
    run: Workbook, mode_a: str, mode_b: str, layers: Sequence[int] | None = None, item: int = 0,
    recordings: bool | None = None,
) -> InsideTheScan:  # fmt: skip
    """Step 5 for two modes: both scans get what mode ``mode_a`` gives its own, layer by layer.

    A scan that takes no INT8 ``u`` cannot occur here; one that takes only INT8 is given the reference's codes.
    ``recordings``: with the ladder of the recorded GPU; None for yes when it was recorded on this very model.
    """
    chosen = run.check_layers(layers)
    scan_a, scan_b = run.scan_of(mode_a), run.scan_of(mode_b)
    inputs = {}
    for layer in chosen:
        found = run.scan_inputs(mode_a, layer, item)
        if found.u.scale is None and not all(scans.get(s).takes(found.u) for s in (scan_a, scan_b)):
            other = run.scan_inputs(mode_b, layer, item).u
            found = replace(found, u=other) if other.scale is not None else found
        inputs[layer] = found
    settings = run.settings(mode_a=mode_a, mode_b=mode_b, layers=chosen, items=[run.check_item(item)])
    return walk(inputs, scan_a, scan_b, (mode_a, mode_b), settings, _recordings(run.name, recordings))


@functools.lru_cache(maxsize=1)
def _loaded() -> tuple[dict[str, Any], list[RecordedScan]]:
    return load_recorded()


def _recordings(model: str, wanted: bool | None) -> tuple[dict[str, Any], list[RecordedScan]] | None:
    """The recordings, when they are wanted, or there and of this model.  Raises what ``load_recorded`` does."""
    if wanted is False or (wanted is None and not (FOLDER / "index.json").exists()):
        return None
    found = _loaded()
    return found if wanted or found[0].get("model") == model else None
