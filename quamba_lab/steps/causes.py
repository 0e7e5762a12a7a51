"""Which of the debug plan's causes makes the difference between two scans, and how much of it.

Two scans are two settings of one configurable scan (:mod:`quamba_lab.scans.variants`).  Moving its switches from the
one setting to the other, one after the other and in many orders, gives every switch its Shapley share of the squared
difference.

    y          what the scan returns, before its cast to float16 hides most of it, by switch, in lockstep: each layer
               receives what the reference had there
    residual   what the layer adds to the residual stream, by cause, in lockstep
    logits     the answer's logits with every layer switched at once, in free run, by cause
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .. import scans
from ..model import QuantizedMamba
from ..modes import Mode
from ..scans import ScanInputs, ScanOutput
from ..scans.variants import PUBLISHED, TORCH_INT8, Variant
from ..scans.variants import run as run_variant
from ..scans.variants import taps as variant_taps
from ..texts import clauses, label, listed, paragraph, say
from ..thresholds import threshold
from .result import StepResult, chart, control, share, significant
from .swaps import Design, design, effects, shapley, share_intervals
from .workbook import Workbook

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["CAUSES", "INPUTS", "SWITCH_OF", "VARIANT_OF", "Causes", "causes", "switches", "variant_installed"]

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

VARIANT_OF = {
    "published": PUBLISHED, "torch_int8": TORCH_INT8, "torch_fp32": TORCH_INT8,
    "torch_fp64": replace(TORCH_INT8, dtype=torch.float64),
}  # fmt: skip
"""The settings that equal registered scans (on the CPU bit for bit)."""

OUTCOMES = ("y", "residual", "logits")

SATURATED = 1.5
"""Sum of what the causes do alone, above which the whole is no longer their sum even roughly."""

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


def _same_inputs(a: ScanInputs, b: ScanInputs) -> bool:
    pairs = [(q, b.operands()[name]) for name, q in a.operands().items()]
    return all(torch.equal(p.dequantize(), q.dequantize()) for p, q in pairs)


def _energy(x: Tensor, reference: Tensor) -> float:
    """Squared difference in units of the reference's own square."""
    own = float(reference.double().square().sum())
    return float((x.double() - reference.double()).square().sum()) / own if own else 0.0


@dataclass(frozen=True, eq=False)
class _Game:
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


@dataclass(frozen=True, eq=False, kw_only=True)
class Causes(StepResult):
    """Shares of the difference by cause and by switch; ``interactions`` (k, k) of the first layer and item at y."""

    STEP = 5
    NAME = "causes"
    TITLE = "Which of the plan's causes, and how much"
    interactions: pd.DataFrame = field(default_factory=pd.DataFrame, repr=False)

    def figures(self) -> list[tuple[str, Figure, str]]:
        if not self.numbers.get("switches"):
            return []
        pictures = [("causes", self.figure(), self.verdict), ("switches", self.switch_figure(), self._leading())]
        if self.interactions.shape[0] > 1:
            pictures.append(
                ("interactions", self.interaction_figure(), say("What two switches do together beyond each alone."))
            )
        return pictures

    def _leading(self) -> str:
        lead = self.numbers["leading"]
        return say(
            "The largest share of the difference at y has {switch}: {share}.",
            switch=lead["switch"], share=share(lead["share"])
        )

    def figure(self, outcome: str | None = None) -> Figure:
        """Shares of the plan's causes at y, at the residual and at the logits (or at one), stacked to the whole."""
        from .. import plots_causes

        table, shown = self.frames["Causes"], list(OUTCOMES) if outcome is None else [outcome]
        return plots_causes.shares(
            {f"{row.cause}: {row.title}": [getattr(row, o) for o in shown] for row in table.itertuples()},
            shown, title="Share of the difference by cause",
        )  # fmt: skip

    def switch_figure(self) -> Figure:
        """Shapley share of each switch at y with its interval over items, and what it does alone."""
        from .. import plots_causes

        table = self.frames["Switches"]
        return plots_causes.share_dots(
            table["switch"].tolist(), table["y"], table["y_low"], table["y_high"], table["alone"],
            title="Share of each switch in the difference at y",
        )  # fmt: skip

    def interaction_figure(self) -> Figure:
        """Interactions of pairs of switches, as parts of the whole."""
        from .. import plots

        names = list(self.interactions.columns)
        return plots.heatmap(
            self.interactions.to_numpy(), title="What two switches do together beyond the sum of each",
            xlabel="switch", ylabel="switch", label="part of the whole", columns=names, rows=names, diverging=True,
        )  # fmt: skip

    def view_data(self) -> dict[str, Any]:
        if not self.numbers.get("switches"):
            return super().view_data()
        switch_table, cause_table = self.frames["Switches"], self.frames["Causes"]
        frames = {
            (o,): {"series": [{"name": say("share at {where}", where=o), "values": cause_table[o]}]}
            for o in OUTCOMES if cause_table[o].notna().any()
        }  # fmt: skip
        y = {"label": "share", "scale": "linear"}
        return {
            "controls": [control("outcome", "Measured at", [key[0] for key in frames])],
            "charts": [
                chart("causes", "Share of each cause", self.verdict, "bars", ["outcome"], frames,
                      x={"label": "cause", "values": cause_table["title"].tolist()}, y=y),
                chart("switches", "Share of each switch at y", self._leading(), "bars", [],
                      {("",): {"series": [{"name": "share at y", "values": switch_table["y"]}]}},
                      x={"label": "switch", "values": switch_table["switch"].tolist()}, y=y),
            ],
        }  # fmt: skip


def _unknown(verdict: str, settings: dict[str, Any], status: str = "unknown") -> Causes:
    empty = pd.DataFrame(columns=["cause", "title", "switches", *OUTCOMES, "sentence"])
    return Causes(status=status, verdict=verdict, settings=settings, numbers={"switches": []}, frames={"Causes": empty})


def causes(
    run: Workbook, mode_a: str | Mode, mode_b: str | Mode, layers: Sequence[int] | None = None,
    items: Sequence[int] = (0, 1), *, variants: tuple[Variant, Variant] | None = None, logits: bool = True,
) -> Causes:  # fmt: skip
    """Take the difference between two modes apart by switch and by the plan's causes.

    ``layers``: the first, middle and last by default.  ``variants``: the settings of the two scans, where these are not
    known by name (:data:`VARIANT_OF`).  ``logits=False`` leaves the free run out.
    """
    middle = [0, run.layers // 2, run.layers - 1]
    chosen = run.check_layers(middle if layers is None else layers)
    items = [run.check_item(i) for i in items]
    names = (run.scan_of(mode_a), run.scan_of(mode_b))
    settings = run.settings(
        mode_a=run.row(mode_a).name, mode_b=run.row(mode_b).name, layers=chosen, items=items, scans=list(names)
    )
    unknown = [n for n in names if n not in VARIANT_OF]
    if variants is None and unknown:
        return _unknown(
            say(
                "The switches' setting that equals {scan} is not known: give variants=(Variant(...), Variant(...)), "
                "or let a diagnosis name its operation.",
                scan=unknown[0],
            ), settings,
        )  # fmt: skip
    if not items or not chosen:
        return _unknown(say("No item or no layer was chosen, so nothing was taken apart."), settings)
    a, b = variants or (VARIANT_OF[names[0]], VARIANT_OF[names[1]])
    views = (run.view(mode_a), run.view(mode_b))
    inputs = {
        (i, k): tuple(v.layers[k].scan_inputs(*run.layer_inputs(mode_a, i)[k]) for v in views)
        for i in items for k in chosen
    }  # fmt: skip
    differ = any(not _same_inputs(*pair) for pair in inputs.values())
    players = switches(a, b, differ)
    if not players:
        return _unknown(
            say(
                "{a} and {b} are one setting of every switch and receive the same inputs: there is no difference to "
                "take apart.",
                a=names[0], b=names[1],
            ), settings, "identical",
        )  # fmt: skip
    game, plan = _Game(players, a, b), design(len(players), run.seed)
    groups = _groups(players)
    group_plan = design(len(groups), run.seed)
    shares: dict[str, list[np.ndarray]] = {"y": [], "residual": []}
    details = []
    for i in items:
        found = [game.at_y(inputs[i, k], plan, not details and k == chosen[0]) for k in chosen]
        shares["y"].append(np.mean([shapley(worth, plan) for worth in found], axis=0))
        details += [effects(worth, len(players)) for worth in found]
        found = [game.at_residual(views[0].layers[k], inputs[i, k], list(groups.values()), group_plan) for k in chosen]
        shares["residual"].append(np.mean([shapley(worth, group_plan) for worth in found], axis=0))
    alone = np.array([])
    if logits:
        worth = [game.at_logits(views, run.tokens(i), list(groups.values()), group_plan) for i in items]
        shares["logits"] = [shapley(w, group_plan) for w in worth]
        alone = np.nanmean([effects(w, len(groups))["alone"] for w in worth if max(w.values())] or [[np.nan]], axis=0)
    certified = None if variants else _certified(names, (a, b), inputs[items[0], chosen[0]])
    return _result(run, game, plan, groups, shares, details, alone, certified, settings)


def _groups(players: Sequence[str]) -> dict[int, list[int]]:
    """The players of each cause that has any, by the cause's number."""
    found: dict[int, list[int]] = {}
    for i, name in enumerate(players):
        found.setdefault(SWITCH_OF[name][0], []).append(i)
    return {cause: found[cause] for cause in CAUSES if cause in found}


def _certified(names: tuple[str, str], variants: tuple[Variant, Variant], xs: tuple[ScanInputs, ScanInputs]) -> bool:
    """Whether each setting gives the bits of the registered scan that it stands for, on the first layer and item."""
    outputs = [(scans.run(n, x).y, run_variant(x, v).y) for n, v, x in zip(names, variants, xs, strict=True)]
    return all(torch.equal(p, q) for p, q in outputs)


def _cause_rows(groups: Mapping[int, list[int]], players: list[str], shares: dict[str, list[np.ndarray]], seed: int):
    """Shares by cause with their intervals: {cause: {outcome: (value, low, high)}}."""
    rows: dict[int, dict[str, np.ndarray]] = {cause: {} for cause in CAUSES}
    for outcome, per_item in shares.items():
        summed = per_item if outcome != "y" else [
            np.array([item[members].sum() for members in groups.values()]) for item in per_item
        ]  # fmt: skip
        table = share_intervals(summed, seed)
        whole = float(np.sum(summed))
        for cause in CAUSES:
            at = list(groups).index(cause) if cause in groups else None
            none = np.zeros(3) if whole else np.full(3, np.nan)
            rows[cause][outcome] = none if at is None else table[at]
    return rows


def _sentence(cause: int, members: list[str], row: dict[str, np.ndarray]) -> str:
    if not members:
        what = {
            3: say(
                "Neither scan quantizes its state inside a prompt, or both do it alike: the state is rounded to INT8 "
                "only when it is returned"
            ),
            0: say("Both scans receive the same inputs"),
        }.get(cause, say("The two scans do not differ here"))
        return say("{what}; its share is 0.", what=what)
    value, low, high = row["y"]
    parts = [say("{switches} together make {part} of the squared difference at y", switches=listed(members),
                 part=share(value))]  # fmt: skip
    if not np.isnan(low):
        parts = [say("{text} (95 % of resampled items: {low} to {high})", text=parts[0], low=share(low),
                     high=share(high))]  # fmt: skip
    parts += [
        say("{part} at the {where}", part=share(row[outcome][0]), where=outcome)
        for outcome in ("residual", "logits")
        if outcome in row
    ]
    return clauses(parts) + say(".")


def _result(run: Workbook, game: _Game, plan: Design, groups: dict[int, list[int]],
            shares: dict[str, list[np.ndarray]], details: list[dict[str, np.ndarray]], alone: np.ndarray,
            certified: bool | None, settings: dict[str, Any]) -> Causes:  # fmt: skip
    players, seed = game.names, run.seed
    by_cause = _cause_rows(groups, players, shares, seed)
    nan = np.full(3, np.nan)
    cause_rows = []
    for cause, title in CAUSES.items():
        members = [players[i] for i in groups.get(cause, [])]
        if cause == 0 and not members:
            continue
        row: dict[str, Any] = {"cause": cause or "outside", "title": title, "switches": ", ".join(members) or "none"}
        for outcome in OUTCOMES:
            value = by_cause[cause].get(outcome, nan)
            row |= dict(zip((outcome, f"{outcome}_low", f"{outcome}_high"), value, strict=True))
        cause_rows.append(row | {"sentence": _sentence(cause, members, by_cause[cause])})
    mean = {key: [_mean(d[key][i] for d in details) for i in range(len(players))] for key in ("alone", "last")}
    at_y = share_intervals(shares["y"], seed)
    switch_rows = []
    for i, name in enumerate(players):
        cause, operation, fields = SWITCH_OF[name]
        sides = [" ".join(str(getattr(v, f)) for f in fields[:1]) or "own" for v in (game.a, game.b)]
        row = {"switch": name, "operation": operation, "cause": cause or "outside", "from": sides[0], "to": sides[1]}
        row |= dict(zip(("y", "y_low", "y_high"), at_y[i], strict=True))
        switch_rows.append(row | {"alone": mean["alone"][i], "last": mean["last"][i]})
    switch_table = pd.DataFrame(switch_rows).sort_values("y", ascending=False, kind="stable", ignore_index=True)
    wholes = {outcome: float(np.sqrt(np.mean([s.sum() for s in per_item]))) for outcome, per_item in shares.items()}
    totals = pd.DataFrame(
        [
            {"measured at": outcome, "rms_difference": wholes[outcome], "items": len(per_item),
             "sum_of_shares": float(np.nansum([by_cause[c][outcome][0] for c in groups]))}
            for outcome, per_item in shares.items()
        ]
    )  # fmt: skip
    interactions = pd.DataFrame(details[0]["interaction"], index=players, columns=players)
    lead = switch_table.iloc[0]
    numbers = {
        "switches": players, "cells": len(plan.cells), "full": plan.full, "certified": certified, "rms": wholes,
        "alone_at_logits": alone,
        "leading": {"switch": lead["switch"], "operation": lead["operation"], "share": lead["y"],
                    "low": lead["y_low"], "high": lead["y_high"]},
        "causes": {str(r["cause"]): {o: r[o] for o in OUTCOMES} for r in cause_rows},
    }  # fmt: skip
    status, verdict = _verdict(numbers, cause_rows, wholes["y"])
    frames = {"Causes": pd.DataFrame(cause_rows), "Switches": switch_table, "The whole": totals}
    return Causes(status=status, verdict=verdict, settings=settings, numbers=numbers, frames=frames,
                  interactions=interactions)  # fmt: skip


def _mean(values) -> float:
    known = [v for v in values if np.isfinite(v)]
    return float(np.mean(known)) if known else float("nan")


def _verdict(numbers: dict[str, Any], rows: list[dict[str, Any]], rms: float) -> tuple[str, str]:
    if rms == 0:
        return "identical", say(
            "The two scans give the same bits of y on these items, so there is nothing to share out."
        )
    if INPUTS in numbers["switches"]:
        status = "established"
    else:
        status = "rounding" if rms <= threshold("y.error_rms", torch.float16) else "fault"
    lead = numbers["leading"]
    ranked = sorted(rows, key=lambda r: -r["y"])
    parts = clauses(
        say("cause {cause} ({title}) {part}", cause=r["cause"], title=label(r["title"]), part=share(r["y"]))
        for r in ranked
    )
    size = (
        say("The whole is error/RMS {rms}, within what honest float32 scans differ by.", rms=significant(rms))
        if status == "rounding"
        else say("The whole is error/RMS {rms}, beyond what honest float32 scans differ by.", rms=significant(rms))
    )
    verdict = say(
        "{switch} ({operation}) makes the largest part of the difference at y, {part} of its square; by cause: "
        "{parts}.",
        switch=lead["switch"], operation=lead["operation"], part=share(lead["share"]), parts=parts,
    )  # fmt: skip
    verdict = paragraph([verdict, size])
    alone = np.asarray(numbers["alone_at_logits"], dtype=float)
    if len(alone) > 1 and np.nansum(alone) > SATURATED:
        amplified = say(
            "At the logits each cause alone already makes {low} to {high} of the whole: the model amplifies any "
            "rounding, so shares there say little about a cause.",
            low=share(np.nanmin(alone)), high=share(np.nanmax(alone)),
        )  # fmt: skip
        verdict = paragraph([verdict, amplified])
    if numbers["certified"] is False:
        other = say(
            "On this device the switches' settings do not give the scans' own bits, so the shares are those of the "
            "settings."
        )
        verdict = paragraph([verdict, other])
    return status, verdict
