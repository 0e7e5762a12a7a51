"""Step 5: the scan's operations one after the other, and the first that adds more than its rounding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .. import scans
from ..compare import difference
from ..scans import ScanInputs
from .ladder import LADDER, ladder_table
from .result import StepResult, chart, control, significant

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .workbook import Workbook

__all__ = ["InsideTheScan", "certified", "inside_the_scan", "walk"]


def certified(scan: str, inputs: ScanInputs, y_of_taps: Any) -> str:
    """Empty when the tapped scan's y is the untapped scan's, bit for bit; else a sentence that says how far it is."""
    d = difference(scans.run(scan, inputs).y, y_of_taps.half())
    if d.equal:
        return ""
    return f"the taps of {scan} do not belong to it: {d.differing} of {d.elements} values of y are not the scan's own"


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

        where = "largest over the layers" if layer is None else f"layer {layer}"
        if operation is not None and operation != "all":
            layer = self.chosen[0] if layer is None else layer
            series = {
                mode: self.along[layer, operation, side]
                for side, mode in (("a", self.mode_a), ("b", self.mode_b))
                if (layer, operation, side) in self.along
            }
            length = max((len(v) for v in series.values()), default=0)
            return plots.lines(
                list(range(length)), series, title=f"Error of {operation} along the tokens ({where})", xlabel="token",
                ylabel="RMS error against FP64", dashed=[self.mode_b],
            )  # fmt: skip
        table = self._ladder(layer)
        series = {f"mode {self.mode_a}": table["error_of_a"], f"mode {self.mode_b}": table["error_of_b"]}
        colors = {f"mode {self.mode_a}": self.mode_a, f"mode {self.mode_b}": self.mode_b}
        if "difference_rms" in table:
            series[f"{self.mode_b} from {self.mode_a}"] = table["difference_rms"]
            colors[f"{self.mode_b} from {self.mode_a}"] = "3"
        return plots.ladder(
            LADDER, {k: v.to_numpy() for k, v in series.items()}, title=f"Error after each operation ({where})",
            ylabel="RMS error / RMS of the operation's output", colors=colors,
        )  # fmt: skip

    def local_figure(self, layer: int | None = None) -> Figure:
        """What each operation adds by itself, in unit roundoffs, with its bound."""
        from .. import plots

        table = self._ladder(layer)
        return plots.ladder(
            LADDER,
            {
                f"mode {self.mode_a}": table["local_units_a"].to_numpy(),
                f"mode {self.mode_b}": table["local_units_b"].to_numpy(),
            },
            title="What each operation adds by itself, largest over all elements", band=table["bound_units"].to_numpy(),
            ylabel="unit roundoffs of what enters",
            colors={f"mode {self.mode_a}": self.mode_a, f"mode {self.mode_b}": self.mode_b},
        )  # fmt: skip

    def figures(self) -> list[tuple[str, Figure, str]]:
        if not self.chosen or self.frames["Ladder"].empty:
            return []
        table = self._ladder(None)
        known = table["error_of_b"].dropna()
        inner = known.drop("output_cast", errors="ignore")
        alt = (
            f"The largest error against FP64 inside the scan, before the cast to float16, is "
            f"{significant(float(inner.max()))} in mode {self.mode_b}, after {inner.idxmax()}; the cast itself makes "
            f"{significant(float(known.get('output_cast', float('nan'))))}."
            if len(inner)
            else "This scan shows no operation."
        )
        shares = (table[["local_units_a", "local_units_b"]].max(axis=1) / table["bound_units"]).dropna()
        local_alt = (
            f"No operation adds more than its bound; {shares.idxmax()} comes nearest, at {100 * shares.max():.0f} %."
            if len(shares) and shares.max() <= 1
            else f"{shares.idxmax()} adds {significant(float(shares.max()))} times its bound."
            if len(shares)
            else "No operation could be seen."
        )
        return [
            ("ladder", self.figure(), alt),
            ("local", self.local_figure(), local_alt),
            (
                "along", self.figure(operation="recurrence"),
                f"Error of the state along the tokens, layer {self.chosen[0]}.",
            ),
        ]

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
    inputs_by_layer: dict[int, ScanInputs], scan_a: str, scan_b: str, names: tuple[str, str], settings: dict[str, Any]
) -> InsideTheScan:
    """Step 5 on given inputs: both scans get the same ones at every layer."""
    tables, along, refused = [], {}, []
    for layer, inputs in inputs_by_layer.items():
        table, taps = ladder_table(inputs, scan_a, scan_b, names)
        for side, scan in (("a", scan_a), ("b", scan_b)):
            if not taps[side]:
                reason = scans.unavailable(scan) or "it has no taps"
                refused.append(f"{scan} shows nothing of its inside: {reason}")
                continue
            complaint = certified(scan, inputs, taps[side]["output_cast"])
            if complaint:
                refused.append(complaint)
                hidden = [c for c in table.columns if c.endswith(f"_{side}") and c != f"mode_{side}"]
                table[hidden] = table[hidden].map(lambda v: "" if isinstance(v, str) else float("nan"))
                continue
            for operation in LADDER:
                if operation in taps[side]:
                    truth = taps["oracle"]["gate" if operation == "output_cast" else operation]
                    along[layer, operation, side] = _along(taps[side][operation], truth, operation)
        tables.append(table.assign(layer=layer))
    ladder = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["layer", "operation"])
    ladder = ladder[["layer", *[c for c in ladder.columns if c != "layer"]]]
    status, verdict, numbers = _judge(ladder, scan_a, scan_b, names, list(dict.fromkeys(refused)))
    return InsideTheScan(
        status=status, verdict=verdict, settings=settings, numbers=numbers, frames={"Ladder": ladder},
        mode_a=names[0], mode_b=names[1], chosen=tuple(inputs_by_layer), along=along,
    )  # fmt: skip


def inside_the_scan(
    run: Workbook, mode_a: str, mode_b: str, layers: Sequence[int] | None = None, item: int = 0
) -> InsideTheScan:
    """Step 5 for two modes: both scans get what mode ``mode_a`` gives its own, layer by layer.

    A scan that takes no INT8 ``u`` cannot occur here; one that takes only INT8 is given the reference's codes.
    """
    chosen = run.check_layers(layers)
    scan_a, scan_b = run.scan_of(mode_a), run.scan_of(mode_b)
    inputs = {}
    for layer in chosen:
        found = run.scan_inputs(mode_a, layer, item)
        if found.u.scale is None and not all(found.u.values.dtype in scans.get(s).u_dtypes for s in (scan_a, scan_b)):
            other = run.scan_inputs(mode_b, layer, item).u
            found = replace(found, u=other) if other.scale is not None else found
        inputs[layer] = found
    settings = run.settings(mode_a=mode_a, mode_b=mode_b, layers=chosen, items=[run.check_item(item)])
    return walk(inputs, scan_a, scan_b, (mode_a, mode_b), settings)


def _judge(
    ladder: pd.DataFrame, scan_a: str, scan_b: str, names: tuple[str, str], refused: list[str]
) -> tuple[str, str, dict[str, Any]]:
    tail = f" Note: {'; '.join(refused)}." if refused else ""
    seen = ladder.dropna(subset=["local_units_a", "local_units_b"], how="all") if "local_units_a" in ladder else ladder
    if seen.empty:
        return "unknown", f"Nothing inside the scans could be seen.{tail}" if refused else "No layer was chosen.", {}
    unequal = seen[~seen["equal"].astype("boolean").fillna(True)] if "equal" in seen else seen.iloc[:0]
    beyond = []
    for side, mode, scan in (("a", names[0], scan_a), ("b", names[1], scan_b)):
        part = seen[seen[f"local_units_{side}"] > seen["bound_units"]]
        for row in part.itertuples(index=False):
            place = getattr(row, f"local_place_{side}")
            beyond.append((LADDER.index(row.operation), row.layer, row.operation, mode, scan,
                           getattr(row, f"local_units_{side}"), row.bound_units, place))  # fmt: skip
    order = [op for op in LADDER if op in set(unequal["operation"])] if len(unequal) else []
    numbers = {
        "first_unequal": order[0] if order else None,
        "beyond": [
            {"operation": op, "layer": int(layer), "mode": mode, "scan": scan, "units": float(units),
             "bound": float(bound), "place": place}
            for _, layer, op, mode, scan, units, bound, place in sorted(beyond, key=lambda r: r[:2])
        ][:20],
        "error_of_a": float(seen.loc[seen["operation"] == "gate", "error_of_a"].max()),
        "error_of_b": float(seen.loc[seen["operation"] == "gate", "error_of_b"].max()),
        "not_seen": refused,
    }  # fmt: skip
    if beyond:
        _, layer, op, mode, scan, units, bound, place = min(beyond, key=lambda r: r[:2])
        return (
            "fault",
            f"The first operation that errs beyond its bound, its inputs being equal, is {op} of {scan} (mode {mode}, "
            f"layer {layer}, element {place}): {significant(units)} unit roundoffs where {significant(bound)} are "
            f"legal.{tail}",
            numbers,
        )
    gates = numbers["error_of_a"], numbers["error_of_b"]
    if not order and "difference_rms" in seen and not refused:
        sentence = f"Every operation of {scan_a} and {scan_b} gives the same bits on equal inputs.{tail}"
        return "identical", sentence, numbers
    nearer = names[0] if gates[0] < gates[1] else names[1]
    first = f"the first whose bits differ is {order[0]}; " if order else ""
    known = not any(np.isnan(gates))
    accuracy = (
        f"before the cast to float16 the errors against FP64 reach {significant(gates[0])} (mode {names[0]}) and "
        f"{significant(gates[1])} (mode {names[1]}), so mode {nearer} is the more exact one"
        if known
        else "only one side could be seen"
    )
    return (
        "rounding",
        f"No operation of the scan errs beyond its rounding on equal inputs: {first}{accuracy}.{tail}",
        numbers,
    )
