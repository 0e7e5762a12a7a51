"""The views that a step's result offers by itself (``view_data()``), for any pair of modes."""

from __future__ import annotations

from typing import Any

from ..texts import paragraph, say
from .sources import Need, Sources
from .view import View

__all__ = ["SHARED", "of_result"]

SHARED = ("mode_a", "mode_b", "item", "layer", "token", "stage", "channel")
"""The choices of the control bar, the same in every notebook."""
SIDE = "side"
"""A result's control between its two modes: which of them the bar's pair is, since their names change with it."""
RENAMED = {"error_budget": {"channel": "rank", "mode": SIDE}, "scan_outputs": {"kind": "run"}}
"""Controls of a result that mean something else than the bar's control of the same name."""
AXES = ("x", "y", "scale")


def _charts(result: Any) -> dict[str, dict[str, Any]]:
    return {chart["name"]: chart for chart in result.view_data()["charts"]}


def of_result(result: Any, step: str = "") -> tuple[list[View], list[dict[str, Any]]]:
    """A result's charts as views, and those of its controls that are not the control bar's.

    ``step``: the function of ``quamba_lab.steps`` that made it, which is then run for any other pair and item that is
    chosen; without one the views show this result whatever the pair.
    """
    data, renamed = result.view_data(), RENAMED.get(step, {})
    pair = ("mode_a", "mode_b", "item") if step else ()
    views = []
    for chart in data["charts"]:
        own = {name: renamed.get(name, name) for name in chart["depends"]}
        depends = tuple(dict.fromkeys((*pair, *own.values())))

        def needs(sources: Sources, **choices: Any) -> list[Need]:
            return [(step, *(choices[name] for name in pair))] if step else []

        def frame(sources: Sources, _chart: dict = chart, _own: dict = own, **choices: Any) -> dict[str, Any]:
            if step:
                charts = sources.derived((step, *(choices[name] for name in pair)), "charts", _charts)
                if not charts:
                    found = sources.get((step, *(choices[name] for name in pair)))
                    return {"series": [], "rows": [], "columns": [], "note": found.verdict}
                _chart = charts.get(_chart["name"], {"frames": {}})
            sides = {"A": choices.get("mode_a"), "B": choices.get("mode_b")}
            key = "|".join(
                str(sides[choices[name]] if name == SIDE else choices[name]) for name in _own.values()
            )
            if key not in _chart["frames"]:
                return {"series": [], "rows": [], "columns": [], "note": say("Nothing was measured for this choice.")}
            axes = {name: _chart[name] for name in AXES if name in _chart}
            shown = {**axes, **_chart["frames"][key]}
            if step:
                shown["note"] = paragraph([_whose(sides, choices.get(SIDE)), shown.get("note", "")])
            return shown

        views.append(
            View(
                chart["name"], chart["title"], chart["kind"], depends, frame, needs,
                {name: chart[name] for name in AXES if name in chart}, wide=chart["kind"] == "table",
                marks=tuple(
                    axis["control"] for side in ("x", "y") if "control" in (axis := chart.get(side) or {})
                ),
            )
        )  # fmt: skip
    controls = [{**control, "name": renamed.get(control["name"], control["name"])} for control in data["controls"]]
    controls = [
        {**control, "label": "Side", "options": ["A", "B"], "default": "B"} if control["name"] == SIDE else control
        for control in controls
    ]
    return views, [control for control in controls if not step or control["name"] not in SHARED]


def _whose(sides: dict[str, Any], side: str | None) -> str:
    """Which modes a card is of: two pairs may give the same picture."""
    if side is None:
        return say("Modes {a} and {b}.", a=sides["A"], b=sides["B"])
    return say("Mode {mode}, of the pair {a} and {b}.", mode=sides[side], a=sides["A"], b=sides["B"])
