"""A frame as the HTML of a card.  Every text that comes from a model, a task or a parameter is escaped here."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from html import escape
from typing import Any

from ..texts import label, say
from ..views.draw import Drawing, draw, svg
from ..views.view import View

__all__ = ["body", "card", "drawing"]

NEGATIVE, POSITIVE = "#0072B2", "#D55E00"
"""Less and more likely in mode B: the two ends of Okabe and Ito's palette, apart for every kind of colour vision."""
STRONGEST = 60
"""Percent of the colour at the largest change, so that the text stays readable on it."""
NARROW, WIDE = 6.0, 12.6
"""Inches of the pictures, in the proportion of the cards."""
SIGNS = {"equal": "=", "different": "≠"}


def drawing(view: View, frame: Mapping[str, Any]) -> tuple[Drawing, str] | None:
    """The picture of a frame and its SVG, or None for a table, a text, or when there is nothing to draw."""
    if view.kind not in ("lines", "bars", "heatmap") or not (frame.get("series") or frame.get("rows")):
        return None
    drawn = draw(frame, WIDE if view.wide else NARROW)
    return drawn, svg(drawn)


def card(view: View, inner: str, frame: Mapping[str, Any]) -> str:
    """Title, content and the sentence below."""
    note = frame.get("note") or frame.get("alt") or ""
    below = f'<p class="ql-note">{escape(note)}</p>' if note else ""
    return f'<div data-view="{escape(view.name)}"><h4>{escape(str(label(view.title)))}</h4>{inner}{below}</div>'


def body(
    view: View, frame: Mapping[str, Any], picture: tuple[Drawing, str] | None, choices: Mapping[str, Any]
) -> str:
    """What stands inside the card of a view."""
    if view.kind == "table":
        return _table(frame) if frame.get("rows") else ""
    if view.kind == "tokens":
        return _text(frame, choices)
    return _picture(view, frame, *picture, choices) if picture else ""


def _attribute(value: Any) -> str:
    return escape(json.dumps(value, ensure_ascii=False), quote=True)


def _picture(view: View, frame: Mapping[str, Any], drawn: Drawing, text: str, choices: Mapping[str, Any]) -> str:
    """The SVG with the mark of the present choice, and what a click into it means."""
    x, y = frame.get("x") or {}, frame.get("y") or {}
    left, top, width, height = drawn.box
    across, down = x.get("control"), y.get("control") if view.kind == "heatmap" else None
    told, mark = {}, ""
    rows = y.get("values") or []
    sides = (("x", across, x.get("values"), drawn.limits, drawn.places),
             ("y", down, rows, (-0.5, len(rows) - 0.5), range(len(rows))))  # fmt: skip
    for side, control, values, (low, high), places in sides:
        if control in view.marks and control in choices and len(places) == len(values):
            told[side] = {
                "control": control, "options": [*values], "places": [*places], "low": low, "high": high,
                "chosen": choices[control],
            }  # fmt: skip
    at = {side: one["options"].index(one["chosen"]) for side, one in told.items() if one["chosen"] in one["options"]}
    if view.kind == "heatmap" and set(at) == {"x", "y"}:
        wide, tall = width / len(drawn.places), height / len(rows)
        mark = _mark("ql-cell", left + wide * at["x"], top + tall * at["y"], wide, tall)
    elif view.kind != "heatmap" and "x" in at:
        mark = _mark("ql-rule", drawn.at(drawn.places[at["x"]]), top, 0, height)
    attributes = "".join(f' data-{side}="{_attribute(value)}"' for side, value in told.items())
    if told:
        keys = "arrow keys move the choice" if view.kind == "heatmap" else "left and right arrow move the choice"
        name = escape(say("{title}: click to choose, {keys}", title=label(view.title), keys=label(keys)), quote=True)
        attributes += f' data-box="{_attribute(list(drawn.box))}" tabindex="0" data-key="{escape(view.name)}" '
        attributes += f'role="application" aria-label="{name}"'
    return f'<div class="ql-picture"{attributes}>{text}{mark}</div>'


def _mark(kind: str, left: float, top: float, width: float, height: float) -> str:
    sizes = zip(("left", "top", "width", "height"), (left, top, width, height), strict=True)
    return f'<div class="ql-mark {kind}" style="{";".join(f"{k}:{100 * v:.3f}%" for k, v in sizes)}"></div>'


def number(value: Any) -> str:
    """A cell's text: four significant digits."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, bool):
        return str(label(str(value)))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _cell(value: Any, right: bool) -> str:
    text = number(value)
    if isinstance(value, str) and value in SIGNS:
        return f'<td><span class="ql-sign" aria-hidden="true">{SIGNS[value]}</span>{escape(text)}</td>'
    kind = "ql-number" if right else "ql-prose" if len(text) > 26 else ""
    return f'<td class="{kind}">{escape(text)}</td>' if kind else f"<td>{escape(text)}</td>"


def _table(frame: Mapping[str, Any]) -> str:
    rows, marks = frame["rows"], frame.get("marks") or []
    numeric = [any(_is_number(row[i]) for row in rows) for i in range(len(frame["columns"]))]
    head = "".join(
        f'<th scope="col"{" class=ql-number" if right else ""}>{escape(str(name))}</th>'
        for name, right in zip(frame["columns"], numeric, strict=True)
    )
    lines = "".join(
        f'<tr{" class=ql-flag" if mark == "different" else ""}>{"".join(map(_cell, row, numeric))}</tr>'
        for row, mark in zip(rows, [*marks, *[""] * len(rows)], strict=False)
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>"
    return f'<div class="ql-scroll" tabindex="0">{table}</div>'


def _shade(value: float, largest: float) -> str:
    share = STRONGEST * abs(value) / largest if largest else 0.0
    return f"background:color-mix(in srgb,{NEGATIVE if value < 0 else POSITIVE} {share:.0f}%,transparent)"


def _text(frame: Mapping[str, Any], choices: Mapping[str, Any]) -> str:
    """The words with their colours, target underlined, chosen token framed; the answers beside, the legend below."""
    tokens, values = frame["tokens"], frame["values"]
    if not tokens:
        return ""
    largest = max((abs(v) for v in values if v is not None), default=0.0)
    chosen, target = choices.get("token"), range(*frame.get("target", (0, 0)))
    words = []
    for i, (token, value) in enumerate(zip(tokens, values, strict=True)):
        kinds = " ".join(k for k, on in (("ql-chosen", i == chosen), ("ql-target", i in target)) if on)
        style = "" if value is None else f' style="{_shade(value, largest)}"'
        title = say("token {i}", i=i) if value is None else say("token {i}: {change} nats", i=i, change=f"{value:+.3g}")
        words.append(
            f'<span{f" class={kinds!r}" if kinds else ""}{style} title="{escape(title)}" '
            f'data-choose="{_attribute({"token": i})}">{escape(token)}</span>'
        )
    axis = {"control": "token", "options": list(range(len(tokens))), "chosen": chosen}
    answers = _table(frame["answers"]) if frame.get("answers") else ""
    less, more = frame.get("low", ""), frame.get("high", "")
    ramp = f"linear-gradient(90deg,color-mix(in srgb,{NEGATIVE} {STRONGEST}%,transparent),transparent,"
    ramp += f"color-mix(in srgb,{POSITIVE} {STRONGEST}%,transparent))"
    return (
        f'<div class="ql-reading"><p class="ql-text" tabindex="0" data-key="text" data-x="{_attribute(axis)}" '
        f'aria-label="{say("The item; left and right arrow choose a token")}">{"".join(words)}</p>'
        f"{answers}</div>"
        f'<div class="ql-legend"><span>{escape(less)}</span><span>{-largest:.2g}</span>'
        f'<span class="ql-ramp" style="background:{ramp}"></span><span>+{largest:.2g}</span>'
        f"<span>{escape(more)}</span></div>"
    )
