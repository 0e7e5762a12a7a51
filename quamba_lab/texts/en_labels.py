"""English words for names that are identifiers in the code; a name that already is a word needs no entry."""

from __future__ import annotations

__all__ = ["COLUMNS"]

COLUMNS: dict[str, str] = {}
