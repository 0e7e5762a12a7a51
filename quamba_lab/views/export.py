"""The views' data for the report: every choice that the page offers, as numbers, within a page's size."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..report.packing import packed
from ..steps.result import plain
from ..texts import say
from .sources import SLOW, Sources
from .view import View

__all__ = ["BUDGET", "export"]

BUDGET = 300_000
"""Bytes of one section's data as a page carries them; a page of several sections is to stay under 2 MB."""
SHARED = 16
"""How much smaller than the default frame the others may be as packed, on average: equal lists are kept once, and most
choices show less."""
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


def _itself(choices: Mapping[str, Any]) -> bool:
    return "mode_b" in choices and choices.get("mode_a") == choices["mode_b"]


def _frame(sources: Sources, view: View, choices: dict[str, Any]) -> dict[str, Any]:
    if _itself(choices):
        empty = {"table": {"columns": [], "rows": []}, "tokens": {"tokens": [], "values": []}, "heatmap": {"rows": []}}
        note = say("Mode {mode} is held against itself.", mode=choices["mode_b"])
        return {**empty.get(view.kind, {"series": []}), "note": note}
    return plain(view.frame(sources, **choices))


def _bytes(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def _chart(
    sources: Sources, view: View, keys: Sequence[dict[str, Any]], default: Mapping[str, Any],
    made: dict[tuple[str, str], dict[str, Any]],
) -> dict[str, Any]:  # fmt: skip
    """A view with its frames for these choices; ``made`` keeps frames from one attempt to the next."""
    frames = {}
    for choices in keys:
        key = "|".join(str(value) for value in choices.values())
        if (view.name, key) not in made:
            frame = _frame(sources, view, choices)
            made[view.name, key] = {part: v for part, v in frame.items() if plain(view.axes.get(part)) != v}
        frames[key] = made[view.name, key]
    first = _frame(sources, view, view.choose(default))
    axes = {name: plain(view.axes[name]) for name in ("x", "y", "scale") if name in view.axes}
    return {
        "name": view.name, "title": view.title, "alt": first.get("alt") or first.get("note", ""),
        "kind": view.kind, "depends": list(view.depends), **axes, "frames": frames,
    }  # fmt: skip


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
    made: dict[tuple[str, str], dict[str, Any]] = {}
    single = {view.name: _bytes(packed(_frame(sources, view, view.choose(default)))) for view in shown}
    for name in (None, *NARROWED):
        if name in options:
            options[name] = [default[name]]
        elif name is not None:
            continue
        wanted = {
            view.name: [c for c in _keys(view, options) if _affordable(sources, view, c, default)] for view in shown
        }
        likely = sum(single[view] * sum(not _itself(c) for c in keys) for view, keys in wanted.items())
        if likely > SHARED * budget:
            continue  # frames are computed only for what has a chance to fit
        charts = [_chart(sources, view, wanted[view.name], default, made) for view in shown]
        if _bytes(packed({"charts": charts})) <= budget:
            break
    else:
        charts = [_chart(sources, view, wanted[view.name], default, made) for view in shown]
    offered = [
        {"name": c["name"], "label": c["label"], "options": options[c["name"]], "default": default[c["name"]]}
        for c in controls
        if c["name"] in used
    ]
    return {"controls": offered, "charts": charts}
