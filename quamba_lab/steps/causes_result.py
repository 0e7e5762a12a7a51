"""What taking a difference apart comes to: shares by cause and by switch, their pictures and their sentences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from ..texts import clauses, listed, paragraph, say
from ..thresholds import threshold
from .result import StepResult, chart, control, share, significant
from .swap_game import CAUSES, INPUTS, SWITCH_OF, Game
from .swaps import Design, share_intervals

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["OUTCOMES", "Causes", "causes_result"]

OUTCOMES = ("y", "residual", "logits")

SATURATED = 1.5
"""Sum of what the causes do alone, above which the whole is no longer their sum even roughly."""

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

        table = self.frames["Causes"]
        shown = [o for o in OUTCOMES if table[o].notna().any()] if outcome is None else [outcome]
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


def _sentence(cause: int, members: list[str], row: dict[str, np.ndarray], items: int) -> str:
    """``items``: how many the interval at y rests on."""
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
        parts = [say("{text} (95 % of resamplings of {count} items: {low} to {high})", text=parts[0], count=items,
                     low=share(low), high=share(high))]  # fmt: skip
    parts += [
        say("{part} at the {where}", part=share(row[outcome][0]), where=outcome)
        for outcome in ("residual", "logits")
        if outcome in row and not np.isnan(row[outcome][0])
    ]
    return clauses(parts) + say(".")


def causes_result(
    seed: int, game: Game, plan: Design, groups: dict[int, list[int]], shares: dict[str, list[np.ndarray]],
    details: list[dict[str, np.ndarray]], alone: np.ndarray, certified: bool | None, settings: dict[str, Any],
) -> Causes:  # fmt: skip
    """The result: ``shares`` by outcome and item, absolute; ``details``: what the cells at y say beside the shares;
    ``alone``: what each cause does alone at the logits; ``certified``: whether the settings give the scans' own bits.
    """
    players = game.names
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
        cause_rows.append(row | {"sentence": _sentence(cause, members, by_cause[cause], len(shares["y"]))})
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
        say("cause {cause} ({title}) {part}", cause=r["cause"], title=r["title"], part=share(r["y"]))
        for r in ranked
    )
    size = (
        say("The whole is error/RMS {rms}, within what honest float32 scans differ by.", rms=significant(rms))
        if status == "rounding"
        else say("The whole is error/RMS {rms}, beyond what honest float32 scans differ by.", rms=significant(rms))
    )
    verdict = say(
        "Of the squared difference at y, {operation} ({switch}) makes the largest part, {part}; by cause: {parts}.",
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
