"""An executed notebook as the blocks of a page: texts, folded code, verdicts, pictures, tables, views, errors.

Outputs are recognised by the metadata that quamba_lab/notebook.py puts on them.  Any other output shows as text or as a
picture; HTML and scripts from a notebook are never taken over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ..notebook import KEY
from .markdown import headings, to_html
from .vector import size_of, svg_uri

__all__ = ["Block", "Page", "read_page"]

ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
HIDDEN = {"hide-code", "injected-parameters", "parameters"}
"""Tags of cells whose code a reader of the page has no use for: the settings table shows what was chosen."""


@dataclass(frozen=True)
class Block:
    """One block of a page; ``data`` is what its part of the template reads."""

    kind: str
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Page:
    """A page's blocks, its title (the first H1) and its contents list of (anchor, text)."""

    title: str
    blocks: tuple[Block, ...]
    contents: tuple[tuple[str, str], ...]

    def first(self, kind: str) -> Block | None:
        return next((block for block in self.blocks if block.kind == kind), None)


def read_page(notebook: dict[str, Any]) -> Page:
    """The page of a notebook in nbformat 4 (a dict as read from JSON)."""
    blocks, contents, title = [], [], ""
    for cell in notebook["cells"]:
        source = _joined(cell["source"])
        tags = set(cell.get("metadata", {}).get("tags", []))
        if "notebook-only" in tags:
            continue  # the page says it in a way of its own
        if cell["cell_type"] == "markdown":
            for level, text, anchor in headings(source):
                if level == 1 and not title:
                    title = text
                elif level == 2:
                    contents.append((anchor, text))
            blocks.append(Block("text", {"html": to_html(source)}))
        elif cell["cell_type"] == "code" and source.strip():
            if not tags & HIDDEN:
                blocks.append(Block("code", {"source": source}))
            blocks += [block for output in cell.get("outputs", []) if (block := _output(output)) is not None]
    return Page(title, tuple(_with_anchors(blocks)), tuple(contents))


def _with_anchors(blocks: list[Block]) -> Iterator[Block]:
    """Number the blocks that a script must find again."""
    for number, block in enumerate(blocks):
        yield Block(block.kind, {**block.data, "id": f"block-{number}"})


def _joined(text: str | list[str]) -> str:
    return text if isinstance(text, str) else "".join(text)


def _output(output: dict[str, Any]) -> Block | None:
    kind = output["output_type"]
    if kind == "error":
        trace = ANSI.sub("", "\n".join(output.get("traceback", [])))
        return Block("error", {"name": output["ename"], "value": ANSI.sub("", output["evalue"]), "trace": trace})
    if kind == "stream":
        text = _joined(output["text"])
        if output.get("name") == "stderr" or "\r" in text or not text.strip():
            return None  # progress bars and warnings belong to the person who watched the run
        return Block("stream", {"text": ANSI.sub("", text)})
    data, told = output.get("data", {}), output.get("metadata", {}).get(KEY)
    if told is not None:
        return _told(told, data)
    if "application/vnd.jupyter.widget-view+json" in data:
        return None  # a widget without its kernel does nothing: the views stand for it
    if picture := _picture(data):
        return Block("figure", {"name": "picture", "alt": _joined(data.get("text/plain", "")), **picture})
    text = _joined(data.get("text/plain", ""))
    return Block("stream", {"text": text}) if text.strip() else None


def _told(told: dict[str, Any], data: dict[str, Any]) -> Block:
    if told["kind"] == "figure":
        return Block("figure", {**told, **_picture(data)})
    if told["kind"] == "views":
        return Block("views", {**told, **_picture(data), "tables": _first_tables(told["data"])})
    if "rows" in told:
        numeric = [_numeric(column) for column in zip(*told["rows"], strict=True)]
        columns = told["columns"]
        return Block(told["kind"], {"headings": columns, **told, "numeric": numeric or [False] * len(columns)})
    return Block(told["kind"], dict(told))


def _first_tables(view: dict[str, Any]) -> list[dict[str, Any]]:
    """The tables of a view's default choices, for a reader without JavaScript."""
    chosen = {control["name"]: str(control["default"]) for control in view["controls"]}
    tables = []
    for chart in view["charts"]:
        frame = chart["frames"].get("|".join(chosen[name] for name in chart["depends"]))
        if frame is not None and "columns" in (table := frame.get("answers", frame)):
            tables.append({"title": chart["title"], "columns": table["columns"], "rows": table["rows"]})
    return tables


def _numeric(column: tuple[Any, ...]) -> bool:
    """Whether a column holds numbers, so that it is set to the right; what is infinite stands there as a word."""
    values = [value for value in column if value is not None]
    return bool(values) and all(
        v in ("inf", "-inf") or (isinstance(v, int | float) and not isinstance(v, bool)) for v in values
    )


def _picture(data: dict[str, Any]) -> dict[str, Any]:
    """A picture as a data URI: an <img> runs no script, whatever the SVG holds."""
    if "image/svg+xml" in data:
        svg = _joined(data["image/svg+xml"])
        return {"src": svg_uri(svg), "extension": "svg", **size_of(svg)}
    if "image/png" in data:
        return {"src": f"data:image/png;base64,{_joined(data['image/png']).strip()}", "extension": "png"}
    return {}
