"""The views' data for the report: every choice that the page offers, as numbers, within a page's size."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..steps.result import plain
from ..texts import say
from .sources import SLOW, Sources
from .view import View

__all__ = ["BUDGET", "export"]

BUDGET = 1_200_000
"""Bytes of one section's data; a page packs them into about a quarter, and is to stay under 2 MB."""
NARROWED = ("mode_a", "run", "stage", "item", "layer", "mode_b")
"""The order in which choices are given up when a section would be too large: the default alone is left."""


def _keys(view: View, options: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    for values in itertools.product(*(options[name] for name in view.depends)):
        yield dict(zip(view.depends, values, strict=True))


def _affordable(sources: Sources, view: View, choices: Mapping[str, Any], default: Mapping[str, Any]) -> bool:
    """Whether the page may have this frame: a step's own result is not made anew for every pair of modes."""
    for need in view.needs(sources, **choices):
        if sources.has(need) or need[0] in ("trace", "lockstep", "witness", "answers"):
            continue
        if need[0] in SLOW or choices.get("mode_a") != default["mode_a"]:
            return False
    return True


def _frame(sources: Sources, view: View, choices: dict[str, Any]) -> dict[str, Any]:
    if "mode_b" in choices and choices.get("mode_a") == choices["mode_b"]:
        empty = {"table": {"columns": [], "rows": []}, "tokens": {"tokens": [], "values": []}, "heatmap": {"rows": []}}
        note = say("Mode {mode} is held against itself.", mode=choices["mode_b"])
        return {**empty.get(view.kind, {"series": []}), "note": note}
    return plain(view.frame(sources, **choices))


def _bytes(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def export(
    sources: Sources, views: Sequence[View], controls: Sequence[Mapping[str, Any]], default: Mapping[str, Any],
    budget: int = BUDGET,
) -> dict[str, Any]:  # fmt: skip
    """``view_data()`` of the report for these views (docs/report-data.md).

    ``controls``: every control with the options that the page may offer.  ``default``: the choice that stands first.
    """
    shown = [view for view in views if view.page]
    used = {name for view in shown for name in (*view.depends, *view.marks)}
    options = {c["name"]: [*c["options"]] for c in controls if c["name"] in used}
    for name in options:
        if default[name] not in options[name]:
            options[name].insert(0, default[name])
    sizes = {
        view.name: _bytes(_frame(sources, view, view.choose(default))) for view in shown
    }  # fmt: skip
    for name in NARROWED:
        total = sum(
            sizes[view.name] * sum(1 for _ in _keys(view, options))
            for view in shown
        )  # fmt: skip
        if total <= budget:
            break
        if name in options:
            options[name] = [default[name]]
    charts = []
    for view in shown:
        frames = {}
        for choices in _keys(view, options):
            if _affordable(sources, view, choices, default):
                frame = _frame(sources, view, choices)
                frames["|".join(str(value) for value in choices.values())] = {
                    key: value for key, value in frame.items() if plain(view.axes.get(key)) != value
                }
        first = _frame(sources, view, view.choose(default))
        axes = {name: plain(view.axes[name]) for name in ("x", "y", "scale") if name in view.axes}
        charts.append({
            "name": view.name, "title": view.title, "alt": first.get("alt") or first.get("note", ""),
            "kind": view.kind, "depends": list(view.depends), **axes, "frames": frames,
        })  # fmt: skip
    offered = [
        {"name": c["name"], "label": c["label"], "options": options[c["name"]], "default": default[c["name"]]}
        for c in controls
        if c["name"] in used
    ]
    return {"controls": offered, "charts": charts}
