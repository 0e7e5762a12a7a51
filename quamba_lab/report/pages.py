"""Blocks into HTML, by the templates in quamba_lab/templates.  Everything is escaped; a page requests nothing."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import unicodedata
from datetime import datetime, timezone
from functools import cache
from typing import Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup

from ..manifest import Manifest
from ..parameters import Settings
from ..texts import Texts, texts
from .cells import Block, Page
from .packing import packed
from .summary import Lead, lead_of
from .unbroken import unbroken

__all__ = ["render_changes", "render_index", "render_step", "when"]

SUMMARY = "0_summary"
MOST_ROWS = 60
"""Rows of a table that a page shows; its CSV holds all."""
LONG_CSV = 20_000
"""Characters of a CSV that may go beside a page that would be too large."""
PROSE = 32
"""Characters above which a cell is prose and may break."""
UPRIGHT, TURNED = 510, 750
"""Width of an A4 page between its margins, in points, upright and turned."""
LETTER, PADDING = 4.6, 7
"""Points of a letter and beside a cell, as style.css prints tables."""


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("quamba_lab", "templates"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.globals |= {"most_rows": MOST_ROWS, "prose": PROSE}
    environment.filters["json_data"] = _json_data
    environment.filters["packed"] = packed
    environment.filters["cell"] = _cell
    environment.filters["width"] = _width
    environment.filters["paper"] = _paper
    environment.filters["csv"] = _csv
    environment.filters["when"] = when
    environment.filters["sentences"] = _sentences
    environment.filters["lead"] = lambda text: _sentences(text)[0]
    environment.filters["rest"] = lambda text: "".join(text.split(_sentences(text)[0], 1)).strip()
    environment.filters["asset"] = lambda name: Markup(environment.loader.get_source(environment, name)[0])
    return environment


def _page(template: str, **values: Any) -> str:
    return unbroken(_environment().get_template(template).render(**values))


def _json_data(value: Any) -> Markup:
    """JSON that can stand inside a script element: no character of it can end the element or open markup."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _paper(table: dict[str, Any]) -> str:
    """How a table is printed: as it is, on a turned page where it is wide, and with its words broken where it is wider
    still."""
    widths = []
    for at, heading in enumerate(table["headings"]):
        words = [str(row[at]) for row in table["shown"]]
        longest = max((_width(word) for word in words), default=0)
        # What is prose breaks anywhere; the rest keeps its longest word whole.
        unbroken = 26 if longest > PROSE else max((_width(part) for word in words for part in word.split()), default=0)
        widths.append(max(unbroken, *(_width(part) for part in str(heading).split()), 2) * LETTER + PADDING)
    return "" if sum(widths) <= UPRIGHT else "turned" if sum(widths) <= TURNED else "turned dense"


def when(manifest: Manifest) -> str:
    """When the run began and ended, in UTC; nothing where the manifest has no times, as in an example."""
    try:
        times = [datetime.fromisoformat(time).astimezone(timezone.utc) for time in (manifest.started, manifest.finished)
                 if time]  # fmt: skip
    except ValueError:
        return ""
    if not times:
        return ""
    same_day = times[0].date() == times[-1].date()
    ends = [f" – {end:{'%H:%M' if same_day else '%Y-%m-%d %H:%M'}}" for end in times[1:]]
    return f"{times[0]:%Y-%m-%d %H:%M}{''.join(ends)} UTC"


def _width(text: Any) -> int:
    """Letters that a text takes the room of; a Chinese character takes that of two."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in str(text))


def _cell(value: Any) -> str:
    """A value of a view's table in words, as the page's script writes it."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)


def _sentences(text: str) -> list[str]:
    """A paragraph's sentences, one at least; none of them begins with a digit in English."""
    return [part for part in re.split(r"(?<=\.)\s+(?=[A-Z])|(?<=。)", text) if part] or [""]


@jinja2.pass_context
def _csv(context: jinja2.runtime.Context, table: dict[str, Any]) -> str:
    """Where a table's columns and rows are, as CSV: in a data URI, or in a file where the page would be too large."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table["columns"])
    # Ten digits, as the results have: more than float32 holds.
    writer.writerows([f"{v:.10g}" if isinstance(v, float) else v for v in row] for row in table["rows"])
    beside = context.get("beside")
    if beside is None or len(text.getvalue()) < LONG_CSV:
        return "data:text/csv;charset=utf-8," + quote(text.getvalue(), safe=",;:()*+/=@ ")
    name = f"data/{hashlib.sha256(text.getvalue().encode()).hexdigest()[:12]}.csv"  # the same table is kept once
    beside[name] = text.getvalue()
    return name


def _script_words(words: Texts) -> dict[str, Any]:
    """What the page's script says, and the colours of the modes."""
    from ..plots import MODE_COLORS

    told = {name: words(f"script.{name}") for name in ("equal", "same", "different", "target", "missing", "log")}
    return told | {
        "colours": MODE_COLORS, "csv": words("download.csv"), "svg": words("download.svg"), "true": words("yes"),
        "false": words("no"),
    }  # fmt: skip


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
    return {"say": words, "lang": lang, "entries": entries, "manifest": manifest, "words": _script_words(words)}


def render_step(
    name: str, pages: dict[str, Page | None], manifest: Manifest, verdict: dict[str, Any], lang: str,
    beside: dict[str, str] | None = None,
) -> str:  # fmt: skip
    """The page of one step, with a banner when its notebook did not finish.

    ``beside``: takes the long tables' CSV by file name, which the page then links to instead of holding them.
    """
    common = _common(manifest, verdict, lang, name)
    entries = common["entries"]
    position = next(i for i, entry in enumerate(entries) if entry["name"] == name)
    page = pages[name] or Page(entries[position]["title"], (), ())
    return _page(
        "step.html", **common, page=page, entry=entries[position], beside=beside,
        before=entries[position - 1] if position else None,
        after=entries[position + 1] if position + 1 < len(entries) else None,
    )  # fmt: skip


def render_index(
    pages: dict[str, Page | None], manifest: Manifest, verdict: dict[str, Any], settings: Settings,
    results: dict[str, dict[str, Any] | None],
) -> str:  # fmt: skip
    """The first page: the summary, the steps with their verdicts, settings, versions, how to make it again."""
    common = _common(manifest, verdict, settings.lang, SUMMARY)
    page = pages.get(SUMMARY) or Page(common["say"]("title"), (), ())
    entry = next((entry for entry in common["entries"] if entry["name"] == SUMMARY), None)
    lead = lead_of(results, settings, common["say"]) if verdict["steps"][SUMMARY]["status"] != "unknown" else None
    return _page(
        "index.html", **common, page=page, blocks_of_page=_without_lead(page, lead), entry=entry, settings=settings,
        lead=lead,
    )  # fmt: skip


def _without_lead(page: Page, lead: Lead | None) -> list[Block]:
    """The summary's blocks without what the head of the page says already: the title, the settings, the verdict."""
    blocks = [block for block in page.blocks if block.kind != "settings" and (lead is None or block.kind != "verdict")]
    return [
        Block("text", {**block.data, "html": re.sub(r"<h1 .*?</h1>\s*", "", block.data["html"])})
        if block.kind == "text" else block
        for block in blocks
    ]  # fmt: skip


def render_changes(changes: Any, lang: str) -> str:
    """The page that lays two reports side by side; ``changes`` as in :mod:`quamba_lab.report.changes`."""
    say = texts(lang)
    return _page("changes.html", say=say, lang=lang, changes=changes, words=_script_words(say))
