"""Chinese of the notebooks' prose, by the English paragraph."""

from __future__ import annotations

__all__ = ["PARAGRAPHS"]

PARAGRAPHS: dict[str, str] = {}
