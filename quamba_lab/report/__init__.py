"""The report: pages of HTML that need no kernel and no network, and ``verdict.json``.

Drawn from what a sweep has left in a folder: ``notebooks/*.ipynb`` (executed), ``results/*.json`` and the manifest.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..files import write_text
from ..manifest import Manifest
from ..parameters import Settings
from .cells import Page, read_page
from .pages import render_index, render_step

__all__ = ["read_verdict", "write_report"]

SUMMARY = "0_summary"
LARGEST_PAGE = 2_000_000
"""Bytes."""


def write_report(
    folder: Path, manifest: Manifest, settings: Settings, largest: int = LARGEST_PAGE
) -> dict[str, Any]:  # fmt: skip
    """Write ``index.html``, a page per step and ``verdict.json`` into ``folder``; returns the verdict.

    A page of more than ``largest`` bytes keeps the CSV of its long tables in ``folder/data``.
    """
    results = {name: _read_result(folder / "results" / f"{name}.json") for name in manifest.runs}
    pages = {name: _read_notebook(folder / "notebooks" / f"{name}.ipynb") for name in manifest.runs}
    verdict = {
        "schema": 1,
        "settings": settings.public(),
        "complete": manifest.complete,
        "steps": {
            name: {key: result.get(key, {}) for key in ("status", "verdict", "verdicts", "numbers")}
            if (result := results[name]) and manifest.runs[name].status == "done"
            else {"status": "unknown", "verdict": "", "verdicts": {}, "numbers": {}}
            for name in manifest.runs
        },
    }
    for name in manifest.runs:
        if name != SUMMARY:
            _write_step(folder, name, pages, manifest, verdict, settings.lang, largest)
    write_text(folder / "index.html", render_index(pages, manifest, verdict, settings, results))
    write_text(folder / "verdict.json", json.dumps(verdict, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    return verdict


def _write_step(
    folder: Path, name: str, pages: dict[str, Page | None], manifest: Manifest, verdict: dict[str, Any], lang: str,
    largest: int,
) -> None:  # fmt: skip
    """One page; the CSV of its long tables goes beside it when the page would be larger than a page may be."""
    text = render_step(name, pages, manifest, verdict, lang)
    if len(text.encode("utf-8")) > largest:
        beside: dict[str, str] = {}
        text = render_step(name, pages, manifest, verdict, lang, beside)
        (folder / "data").mkdir(exist_ok=True)
        for file, content in beside.items():
            write_text(folder / file, content)
    write_text(folder / f"{name}.html", text)


def read_verdict(folder: Path) -> dict[str, Any]:
    """The verdict of a report's folder.  Raises OSError, or ValueError for a file that is none."""
    verdict = json.loads((Path(folder) / "verdict.json").read_text(encoding="utf-8"))
    if not isinstance(verdict, dict) or verdict.get("schema") != 1:
        raise ValueError(f"{folder} holds no report of this version: make it again with `quamba-lab report`")
    return verdict


def _read_result(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _read_notebook(path: Path) -> Page | None:
    return read_page(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None
