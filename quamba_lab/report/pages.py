"""Blocks into HTML, by the templates in quamba_lab/templates.  Everything is escaped; a page requests nothing."""

from __future__ import annotations

import csv
import io
import json
import re
from functools import cache
from typing import Any

import jinja2
from markupsafe import Markup

from ..manifest import Manifest
from ..parameters import Settings
from ..texts import texts
from .cells import Page

__all__ = ["render_changes", "render_index", "render_step"]

SUMMARY = "0_summary"
MOST_ROWS = 150
"""Rows of a table that a page shows; its CSV holds all."""


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("quamba_lab", "templates"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.globals["most_rows"] = MOST_ROWS
    environment.filters["json_data"] = _json_data
    environment.filters["csv"] = _csv
    environment.filters["lead"] = lambda text: _sentences(text)[0]
    environment.filters["rest"] = lambda text: _sentences(text)[1]
    environment.filters["asset"] = lambda name: Markup(environment.loader.get_source(environment, name)[0])
    return environment


def _json_data(value: Any) -> Markup:
    """JSON that can stand inside a script element: no character of it can end the element or open markup."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _sentences(text: str) -> tuple[str, str]:
    """The first sentence, and the others."""
    parts = re.split(r"(?<=[.。])\s+(?=[A-Z])", text, maxsplit=1)
    return parts[0], parts[1] if len(parts) > 1 else ""


def _csv(table: dict[str, Any]) -> str:
    """A table's columns and rows as CSV in a data URI."""
    from urllib.parse import quote

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table["columns"])
    writer.writerows(table["rows"])
    return "data:text/csv;charset=utf-8," + quote(text.getvalue(), safe=",;:()*+/=@ ")


def _mode_colours() -> dict[str, str]:
    from ..plots import MODE_COLORS

    return dict(MODE_COLORS)


def _common(manifest: Manifest, verdict: dict[str, Any], lang: str, current: str) -> dict[str, Any]:
    words = texts(lang)
    entries = [
        {
            "name": name, "href": "index.html" if name == SUMMARY else f"{name}.html",
            "title": words.get(f"step.{name}", name), "status": verdict["steps"][name]["status"],
            "verdict": verdict["steps"][name]["verdict"], "run": manifest.runs[name], "current": name == current,
        }
        for name in manifest.runs
    ]  # fmt: skip
    return {"say": words, "lang": lang, "entries": entries, "manifest": manifest, "colours": _mode_colours()}


def render_step(
    name: str, pages: dict[str, Page | None], manifest: Manifest, verdict: dict[str, Any], lang: str
) -> str:
    """The page of one step, with a banner when its notebook did not finish."""
    common = _common(manifest, verdict, lang, name)
    entries = common["entries"]
    position = next(i for i, entry in enumerate(entries) if entry["name"] == name)
    page = pages[name] or Page(entries[position]["title"], (), ())
    return _environment().get_template("step.html").render(
        **common, page=page, entry=entries[position],
        before=entries[position - 1] if position else None,
        after=entries[position + 1] if position + 1 < len(entries) else None,
    )  # fmt: skip


def render_index(
    pages: dict[str, Page | None], manifest: Manifest, verdict: dict[str, Any], settings: Settings
) -> str:
    """The first page: the summary, the steps with their verdicts, settings, versions, how to make it again."""
    common = _common(manifest, verdict, settings.lang, SUMMARY)
    page = pages.get(SUMMARY) or Page(common["say"]("title"), (), ())
    entry = next((entry for entry in common["entries"] if entry["name"] == SUMMARY), None)
    return _environment().get_template("index.html").render(**common, page=page, entry=entry, settings=settings)


def render_changes(rows: list[dict[str, Any]], summary: str, old: str, new: str, lang: str) -> str:
    """The page that lays two reports side by side."""
    return _environment().get_template("changes.html").render(
        say=texts(lang), lang=lang, rows=rows, summary=summary, old=old, new=new, colours={}
    )  # fmt: skip
