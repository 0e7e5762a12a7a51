"""Two reports side by side: which verdicts changed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..files import write_text
from ..texts import texts
from .pages import render_changes

__all__ = ["Changes", "ReportError", "compare_reports"]


class ReportError(ValueError):
    """A folder that is no report: one sentence with the way out."""


@dataclass(frozen=True)
class Changes:
    """``changed``: names of the steps whose verdict differs; ``path``: the page; ``summary``: one sentence."""

    changed: tuple[str, ...]
    path: Path
    summary: str


def compare_reports(old: Path, new: Path, output: Path, lang: str = "en") -> Changes:
    """Write ``output/changes.html``.  Raises :class:`ReportError` for a folder without a verdict."""
    from . import read_verdict

    verdicts = []
    for folder in (old, new):
        try:
            verdicts.append(read_verdict(folder))
        except (OSError, ValueError):
            raise ReportError(f"{folder} holds no verdict.json: name the folder of a finished report") from None
    before, after = (verdict["steps"] for verdict in verdicts)
    words = texts(lang)
    rows = []
    for name in dict.fromkeys((*before, *after)):
        a, b = (side.get(name, {"status": "", "verdict": "", "numbers": {}}) for side in (before, after))
        rows.append({
            "name": name, "title": words.get(f"step.{name}", name), "old": a["verdict"], "new": b["verdict"],
            "old_status": a["status"], "new_status": b["status"], "changed": a != b,
        })  # fmt: skip
    changed = tuple(row["name"] for row in rows if row["changed"])
    summary = words("compare.some", count=len(changed), total=len(rows)) if changed else words("compare.none")
    Path(output).mkdir(parents=True, exist_ok=True)
    path = Path(output) / "changes.html"
    write_text(path, render_changes(rows, summary, Path(old).name, Path(new).name, lang))
    return Changes(changed, path, summary)
