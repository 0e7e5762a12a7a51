"""Headings: what stands over a column, a table or an axis, beside a control, or as a kind in a cell.

In the results these are names (``error_rms``, ``lockstep``) by which code selects; only where they are shown do they
become words.  A name without an entry is data (a mode, a scan, an operand) and is shown as it is.
"""

from __future__ import annotations

import re
from typing import Any

from .en_labels import COLUMNS
from .speech import LANGUAGES, Said, current_language, language, say, within
from .zh_labels import LABELS as ZH

__all__ = ["FREE_TEXT", "LABELS", "heading", "label", "localized"]

FREE_TEXT = frozenset({"text", "word", "words", "token", "target", "answer", "answer of A", "answer of B", ""})
"""Columns whose cells are a task's own words, which no table of labels may touch."""
PLACE = re.compile(r"(item|token|channel|group|state|row|word|layer|mode) (\d[\d-]*)")
CHUNK = re.compile(r"every (\d+) tokens")
AGAINST = re.compile(r"(\d[\d-]*) against (\d[\d-]*)")
NUMBER = re.compile(r"[\d-]+")
JOINTS = ((": ", "："), (", ", "，"), (" / ", " / "))

LABELS: dict[str, dict[str, str]] = {"en": COLUMNS, "zh": ZH}
"""By language: the name in the code and the words for a reader."""


def label(name: Any, lang: str | None = None) -> Any:
    """The words for ``name`` in ``lang``, the language of the process by default; what is no string stays as it is."""
    lang = lang or current_language()
    if isinstance(name, Said):
        return within(name, lang)
    if not isinstance(name, str):
        return name
    found = LABELS[lang].get(name)
    if found is None and lang != LANGUAGES[0]:
        found = _compound(name, lang)
    return name if found is None else found


def _compound(name: str, lang: str) -> str | None:
    """The words for names that are joined from labels, such as ``item 0, token 66`` or ``prefill: every token, even``;
    None for any other name."""
    if place := PLACE.fullmatch(name):
        return f"{LABELS[lang][place[1]]} {place[2]}"
    if chunk := CHUNK.fullmatch(name):
        return str(say("every {count} tokens", count=chunk[1]).within(lang))
    if pair := AGAINST.fullmatch(name):
        return str(say("{b} against {a}", b=pair[1], a=pair[2]).within(lang))
    for separator, shown in JOINTS:
        first, found, rest = name.partition(separator)
        if found:
            parts = [LABELS[lang].get(part) or _compound(part, lang) for part in (first, rest)]
            if parts[1] is not None and (parts[0] is not None or NUMBER.fullmatch(first)):
                return f"{parts[0] or first}{shown}{parts[1]}"
    return None


def heading(name: Any) -> str:
    """The words over a column: its label, or the name without its underscores."""
    found = label(name)
    return found.replace("_", " ") if found is name and isinstance(name, str) else str(found)


def localized(view: dict[str, Any], lang: str | None = None) -> dict[str, Any]:
    """A result's ``view_data()`` with its titles, labels and columns in words of ``lang`` (that of the process by
    default); names that select stay, and get a ``label`` (series) or ``labels`` (a control's options) beside them."""
    with language(lang or current_language()):
        return _localized(view)


def _localized(view: dict[str, Any]) -> dict[str, Any]:
    return {
        **view,
        "controls": [
            {**control, "label": label(control["label"]), "labels": [label(option) for option in control["options"]]}
            for control in view.get("controls", [])
        ],
        "charts": [_chart(chart) for chart in view.get("charts", [])],
    }


def _chart(chart: dict[str, Any]) -> dict[str, Any]:
    frames = {key: _frame(frame) for key, frame in chart.get("frames", {}).items()}
    return _frame(chart) | {"title": label(chart["title"]), "frames": frames}


def _frame(frame: dict[str, Any]) -> dict[str, Any]:
    """The parts of a chart or of one of its frames that hold words."""
    found = dict(frame)
    for axis in ("x", "y"):
        if axis in found and isinstance(found[axis], dict):
            found[axis] = _axis(found[axis])
    if "series" in found:
        found["series"] = [{**one, "label": label(one["name"])} for one in found["series"]]
    if "columns" in found:
        free = [column in FREE_TEXT for column in found["columns"]]
        found["columns"] = [heading(column) for column in found["columns"]]
        found["rows"] = [
            [cell if words else label(cell) for cell, words in zip(row, free, strict=True)] for row in found["rows"]
        ]
    if "answers" in found:
        found["answers"] = {**found["answers"], "columns": [heading(name) for name in found["answers"]["columns"]]}
    return found


def _axis(axis: dict[str, Any]) -> dict[str, Any]:
    found = {**axis, "label": label(axis.get("label", ""))}
    if "values" in found and "control" not in found:  # those of a control are what a click chooses
        found["values"] = [label(value) for value in found["values"]]
    return found
