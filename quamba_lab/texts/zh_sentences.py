"""Chinese of every sentence that the code composes, by its English template; fields keep their names."""

from __future__ import annotations

__all__ = ["SENTENCES"]

SENTENCES: dict[str, str] = {}
