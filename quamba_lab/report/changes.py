"""Two reports side by side: which verdicts changed, which of their numbers, and what the runs had not in common."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from ..files import write_text
from ..manifest import Manifest
from ..texts import Texts, texts
from .pages import render_changes

__all__ = ["Changes", "ReportError", "Row", "compare_reports"]

SENTENCE = re.compile(r"\s|[^\x00-\xff]")
"""What words have and the names of the code have not."""
MOST_NUMBERS = 40
"""Numbers of one step that the page lists."""


class ReportError(ValueError):
    """A folder that is no report: one sentence with the way out."""


@dataclass(frozen=True)
class Row:
    """One step in both reports; ``numbers``: (name, old, new) of every number that differs."""

    name: str
    title: str
    old: Mapping[str, Any]
    new: Mapping[str, Any]
    numbers: tuple[tuple[str, Any, Any], ...] = ()

    @property
    def sides(self) -> tuple[list[tuple[str, bool]], list[tuple[str, bool]]]:
        """Both verdicts in pieces, each with whether the other side lacks it."""
        old, new = (side.get("verdict", "").split() for side in (self.old, self.new))
        pieces: tuple[list[tuple[str, bool]], list[tuple[str, bool]]] = ([], [])
        for tag, a, b, c, d in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
            for side, words in zip(pieces, (old[a:b], new[c:d]), strict=True):
                if words:
                    side.append((" ".join(words), tag != "equal"))
        return pieces

    @property
    def kind(self) -> str:
        """``same``, ``numbers`` (the words are the same, a number is not), ``words`` or ``status``."""
        if self.old.get("status") != self.new.get("status"):
            return "status"
        if self.old.get("verdict") != self.new.get("verdict"):
            return "words"
        return "numbers" if self.numbers else "same"


@dataclass(frozen=True)
class Changes:
    """``changed``: names of the steps whose verdict differs; ``path``: the page; ``summary``: one sentence.

    ``conditions``: (name, old, new) of every setting and version that differs.
    """

    changed: tuple[str, ...]
    path: Path
    summary: str
    rows: tuple[Row, ...] = field(default=(), repr=False)
    conditions: tuple[tuple[str, str, str], ...] = ()
    names: tuple[str, str] = ("", "")
    most_numbers: int = MOST_NUMBERS


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
    one_language = len({verdict["settings"].get("lang") for verdict in verdicts}) == 1
    rows = []
    for name in dict.fromkeys((*before, *after)):
        a, b = _said(before.get(name, {}), lang), _said(after.get(name, {}), lang)
        sides = [dict(_flat(side.get("numbers", {}))) for side in (a, b)]
        numbers = [entry for entry in _different(*sides) if one_language or not _sentences(entry[1:])]
        rows.append(Row(name, words.get(f"step.{name}", name), a, b, tuple(numbers)))
    changed = tuple(row.name for row in rows if row.kind != "same")
    summary = words("compare.some", count=len(changed), total=len(rows)) if changed else words("compare.none")
    Path(output).mkdir(parents=True, exist_ok=True)
    path = Path(output) / "changes.html"
    found = Changes(
        changed, path, summary, tuple(rows), tuple(_conditions(old, new, verdicts, words)), _names(old, new)
    )
    write_text(path, render_changes(found, lang))
    return found


def _said(step: Mapping[str, Any], lang: str) -> dict[str, Any]:
    """A step with its verdict in ``lang``, if the report keeps it in that language."""
    if "verdict" not in step:
        return dict(step)
    return {**step, "verdict": step.get("verdicts", {}).get(lang, step["verdict"])}


def _sentences(values: tuple[Any, ...]) -> bool:
    """Whether values are words, which differ between reports in different languages without a difference in fact."""
    return all(value is None or (isinstance(value, str) and SENTENCE.search(value)) for value in values)


def _names(old: Path, new: Path) -> tuple[str, str]:
    """The folders' names; with their parents' where those are the same."""
    a, b = Path(old).absolute(), Path(new).absolute()
    return (a.name, b.name) if a.name != b.name else (f"{a.parent.name}/{a.name}", f"{b.parent.name}/{b.name}")


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every number or word of nested dictionaries under its path; a list is one value."""
    if isinstance(value, Mapping):
        for key, entry in value.items():
            yield from _flat(entry, f"{name}.{key}" if name else str(key))
    else:
        yield name, value


def _different(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for name in dict.fromkeys((*old, *new)):
        if old.get(name) != new.get(name):
            yield name, old.get(name), new.get(name)


def _conditions(
    old: Path, new: Path, verdicts: list[dict[str, Any]], words: Texts
) -> Iterator[tuple[str, str, str]]:  # fmt: skip
    """Settings and versions that differ, so that a changed verdict can be laid to something."""
    for name, a, b in _different(*(verdict["settings"] for verdict in verdicts)):
        yield words.get(f"settings.{name}", name), _in_words(a), _in_words(b)
    versions = []
    for folder in (old, new):
        try:
            versions.append(Manifest.read(Path(folder) / "manifest.json").versions)
        except (OSError, ValueError, TypeError, KeyError):
            return  # a verdict alone can be compared too
    for name, a, b in _different(*versions):
        yield name, _in_words(a), _in_words(b)


def _in_words(value: Any) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{name}={entry}" for name, entry in value.items())
    return " ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
