"""Step 3: do the scans turn codes into the same values?  Proven over all 256 codes, not sampled.

The plan's four questions: (a) is the value always code × scale, (b) in which order are scales applied, (c) is a code
clipped, (d) is the conversion of types the same.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd

from .. import scans
from ..scans import OPERANDS, ScanInputs
from ..texts import listed, paragraph, say
from .four_questions import answers_to, tables_by_question, wrong_audits
from .probes import audit_operand, drive_association, skip_position, state_rounding
from .result import StepResult, chart, control
from .what_if import what_if

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .workbook import Workbook

__all__ = ["Dequantization", "audit", "dequantization"]

def auditable(extra: Iterable[str] = ()) -> list[str]:
    """The registered scans that can run here, those of ``extra`` first."""
    ordered = [*dict.fromkeys([*extra, *scans.names()])]
    return [name for name in ordered if name in scans.names() and scans.unavailable(name) is None]


@functools.lru_cache(maxsize=4096)
def _probe(name: str, fn: Any, operand: str, scale: float) -> Any:
    """One audit, kept: layers that share a scale share its answer."""
    import torch

    return audit_operand(functools.partial(scans.run, name), operand, torch.tensor(scale))


def audit(inputs_by_layer: dict[int, ScanInputs], names: Sequence[str]) -> pd.DataFrame:
    """One row per layer, scan and operand: how many of the 256 codes have the value code × scale.

    ``exact`` is NaN where nothing could be seen: the scan refused the probe, or the operand has no codes in this mode.
    """
    rows = []
    for layer, inputs in inputs_by_layer.items():
        for name in names:
            for operand, quantized in inputs.operands().items():
                if quantized.scale is None:
                    note = say("float32 in this mode: there is no code to give a value to")
                    row = {"operand": operand, "seen_in": "nothing", "bits": 0, "conversion": "not seen", "note": note}
                else:
                    row = asdict(_probe(name, scans.get(name).fn, operand, float(quantized.scale)))
                rows.append({"layer": layer, "scan": name, **row, **({} if row["bits"] else {"exact": float("nan")})})
    columns = ["layer", "scan", "operand", "scale", "seen_in", "bits", "exact", "worst_ulp", "worst_code", "lowest",
               "highest", "conversion", "note"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def _orders(inputs_by_layer: dict[int, ScanInputs], names: Sequence[str]) -> pd.DataFrame:
    """One row per scan: association of dt·B·u, where D·u enters, rounding and range of the returned state.

    ``share ...``: how much of the states equals each association bit for bit, the least over the layers' scales.
    """
    rows = []
    for name in names:
        run = functools.partial(scans.run, name)
        row: dict[str, Any] = {"scan": name}
        try:
            by_layer = [drive_association(run, inputs) for inputs in inputs_by_layer.values()]
            matches = {key: min(found[key] for found in by_layer) for key in by_layer[0]}
            best = max(matches, key=matches.get) if matches else say("not visible: no float32 state")
            exact = not matches or matches[best] == 1.0
            row["association"] = best if exact else say("none exactly; nearest {best}", best=best)
            row["skip_enters"] = skip_position(run)
            row |= {f"state_{key}": value for key, value in state_rounding(run).items()}
            row |= {f"share {key}": value for key, value in matches.items()}
        except Exception as error:  # a stranger's scan may raise anything
            row["association"] = say("not seen: {name}: {error}", name=type(error).__name__, error=error)
        rows.append(row)
    return pd.DataFrame(rows, columns=["scan", *dict.fromkeys(key for row in rows for key in row if key != "scan")])


@dataclass(frozen=True, eq=False, kw_only=True)
class Dequantization(StepResult):
    """The audit of step 3; ``what_if_by_layer`` holds what each alternative would do to y."""

    STEP = 3
    NAME = "dequantization"
    TITLE = "Dequantization, proven over all 256 codes"
    pair: tuple[str, str] = ("", "")
    what_if_by_layer: dict[int, pd.DataFrame] = field(default_factory=dict, repr=False)

    def figures(self) -> list[tuple[str, Figure, str]]:
        audit_table = self.frames["Audit"]
        if audit_table.empty:
            return []
        wrong = len(wrong_audits(audit_table))
        alt = say(
            "Codes out of 256 with the value code × scale, for each scan and operand, the least over the layers: "
            "{found}.",
            found=say("{wrong} of {total} audits find fewer", wrong=wrong, total=len(audit_table))
            if wrong
            else say("all 256 everywhere"),
        )
        pictures = [("audit", self.figure(), alt)]
        if self.what_if_by_layer:
            layer = next(iter(self.what_if_by_layer))
            table = self.what_if_by_layer[layer]
            worst = table.loc[table["error_rms"].idxmax()]
            pictures.append(
                (
                    "what-if",
                    self.what_if_figure(layer),
                    say(
                        "What each alternative dequantization would do to y at layer {layer}; the largest, "
                        "{alternative}, would change {part} % of the values, error/RMS {error}. {none} of {total} "
                        "alternatives change no bit.",
                        layer=layer, alternative=worst["alternative"], error=f"{worst['error_rms']:.2g}",
                        part=f"{100 * worst['share_of_y_changed']:.3g}", none=int((table["effect"] == "none").sum()),
                        total=len(table),
                    ),
                )
            )
        return pictures

    def figure(self, layer: int | None = None) -> Figure:
        """Scans x operands: the number of exact codes, at one layer or the least over the layers."""
        from .. import plots

        table = self.frames["Audit"]
        table = table if layer is None else table[table["layer"] == layer]
        cells = table.pivot_table(index="scan", columns="operand", values="exact", aggfunc="min", sort=False)
        cells = cells.reindex(columns=[name for name in OPERANDS if name in cells.columns])
        where = "least over the layers" if layer is None else say("layer {layer}", layer=layer)
        return plots.grid(
            cells, title=say("Codes out of 256 whose value is code × scale ({where})", where=where), good=256,
            label="operand",
        )

    def what_if_figure(self, layer: int) -> Figure:
        """Error/RMS of y under each alternative that changes a bit, and under each clip if its code occurred."""
        from .. import plots

        table = self.what_if_by_layer[layer]
        rows = [
            {"label": row["alternative"], "value": row["error_rms"], "group": "2-1"}
            for row in table.to_dict("records")
            if row["error_rms"] > 0
        ]
        rows += [
            {"label": say("{clip}, if it occurred", clip=row["alternative"]), "value": row["forced_error_rms"],
             "group": "0"}
            for row in table.to_dict("records")
            if not row["error_rms"] > 0 and row["forced_error_rms"] > 0
        ]  # fmt: skip
        shown = pd.DataFrame(rows, columns=["label", "value", "group"]).assign(low=float("nan"), high=float("nan"))
        ratio = table["error_rms"] / table["times_cast"].where(table["times_cast"] > 0)
        cast = ratio.dropna()
        return plots.dots(
            shown, title=say("What it would do to y, layer {layer}", layer=layer),
            xlabel=say("RMS of the change / RMS of y (dashed: float16 alone)"),
            reference=float(cast.iloc[0]) if len(cast) else None, log=True,
        )  # fmt: skip

    def view_data(self) -> dict[str, Any]:
        table = self.frames["Audit"]
        layers = sorted(int(v) for v in table["layer"].unique())
        if not layers:
            return super().view_data()
        frames = {}
        for layer in layers:
            part = table[table["layer"] == layer]
            frames[(layer,)] = {
                "columns": ["scan", "operand", "scale", "exact of 256", "seen in", "worst ULP"],
                "rows": part[["scan", "operand", "scale", "exact", "seen_in", "worst_ulp"]].values.tolist(),
            }
        charts = [
            chart("audit", "Codes whose value is code × scale", self.verdict, "table", ["layer"], frames),
        ]
        effects = {
            (layer,): {"series": [{"name": "change of y", "values": part["error_rms"].tolist()}]}
            for layer, part in self.what_if_by_layer.items()
        }
        if effects:
            for layer in layers:
                none = {"series": [], "note": say("This layer's alternatives were not computed.")}
                effects.setdefault((layer,), none)
            first = next(iter(self.what_if_by_layer.values()))
            charts.append(
                chart(
                    "what-if", "What each difference would do to y", self.figures()[-1][2], "bars", ["layer"], effects,
                    x={"label": "alternative", "values": first["alternative"].tolist()},
                    y={"label": "RMS of the change / RMS of y", "scale": "log"},
                )
            )  # fmt: skip
        return {"controls": [control("layer", "Layer", layers)], "charts": charts}


def audit_scans(
    inputs_by_layer: dict[int, ScanInputs], pair: tuple[str, str], settings: dict[str, Any],
    names: Sequence[str] | None = None, what_if_layers: Sequence[int] | None = None,
) -> Dequantization:  # fmt: skip
    """Step 3 on given inputs: ``pair`` names the two scans in question, ``names`` all that are audited."""
    names = auditable(pair) if names is None else list(names)
    audit_table = audit(inputs_by_layer, names)
    first = next(iter(inputs_by_layer.values()), None)
    orders = _orders(inputs_by_layer, names) if first is not None else pd.DataFrame(columns=["scan"])
    chosen = list(inputs_by_layer)[:1] if what_if_layers is None else what_if_layers
    effects = {layer: what_if(inputs_by_layer[layer]) for layer in chosen if layer in inputs_by_layer}
    together = pd.concat(effects.values(), ignore_index=True) if effects else None
    questions = answers_to(audit_table, orders, together, pair)
    of_pair = audit_table[audit_table["scan"].isin(pair)]
    seen, wrong = of_pair[of_pair["bits"] > 0], wrong_audits(of_pair)
    missing = [name for name in dict.fromkeys(pair) if name not in names]
    if seen.empty:
        why = say("no layer was chosen") if first is None else say("the scans showed nothing to the probes")
        status, verdict = "unknown", say("No dequantization could be audited: {why}.", why=why)
    elif not wrong.empty:
        worst = wrong.loc[wrong["exact"].idxmin()]
        status = "fault"
        verdict = say(
            "A difference in dequantization: {scan} gives {count} of the 256 codes of {operand} a value other than "
            "code × scale (layer {layer}; {conversion} fits).",
            scan=worst["scan"], count=256 - int(worst["exact"]), operand=worst["operand"], layer=worst["layer"],
            conversion=worst["conversion"],
        )
    else:
        rows = orders[orders["scan"].isin(pair)]
        status = "identical" if rows["association"].nunique() <= 1 and not missing else "rounding"
        verdict = say(
            "Dequantization is not the cause: {scans} give all 256 codes of every operand the value code × scale "
            "({audits} audits, {codes} codes); {order}",
            scans=listed(dict.fromkeys(s for s in pair if s in names)), audits=len(seen), codes=f"{256 * len(seen):,}",
            order=say("they also multiply the scales in the same order.")
            if status == "identical"
            else say("what differs is the order of the products that follow, which rounds differently."),
        )  # fmt: skip
    if missing:
        lacking = say("{scans} cannot run here and was not audited.", scans=listed(missing))
        verdict = paragraph([verdict, lacking])
    numbers = {
        "audits": len(seen), "codes": 256 * len(seen), "wrong_audits": len(wrong), "layers": list(inputs_by_layer),
        "scans": names, "not_available": missing,
        "not_audited": {n: scans.unavailable(n) or "not asked for" for n in scans.names() if n not in names},
        "others_wrong": sorted(set(wrong_audits(audit_table)["scan"]) - set(pair)),
    }  # fmt: skip
    frames = {"The plan's four questions": questions, "Audit": audit_table, **tables_by_question(audit_table, orders)}
    for layer, table in effects.items():
        frames[say("What each difference would do to y, layer {layer}", layer=layer)] = table
    return Dequantization(
        status=status, verdict=verdict, settings=settings, numbers=numbers, frames=frames, pair=pair,
        what_if_by_layer=effects,
    )  # fmt: skip


def dequantization(
    run: Workbook, mode_a: str, mode_b: str, layers: Sequence[int] | None = None, item: int = 0
) -> Dequantization:
    """Step 3 for two modes: every registered scan is audited at every layer's scales.

    The alternatives of "what would it do" are applied to the inputs of ``item`` at the first, middle and last layer.
    """
    chosen = run.check_layers(layers)
    inputs = {layer: run.scan_inputs(mode_a, layer, item) for layer in chosen}
    pair = (run.scan_of(mode_a), run.scan_of(mode_b))
    shown = sorted({chosen[0], chosen[len(chosen) // 2], chosen[-1]}) if chosen else []
    settings = run.settings(mode_a=mode_a, mode_b=mode_b, layers=chosen, items=[item])
    return audit_scans(inputs, pair, settings, what_if_layers=shown)
