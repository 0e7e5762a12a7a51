"""Chinese of the headings: the columns, titles, axes, controls, and the kinds that stand in cells."""

from __future__ import annotations

__all__ = ["LABELS"]

LABELS: dict[str, str] = {}
