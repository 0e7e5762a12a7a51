"""What a line of a page must not break inside: a number and its per cent sign, 4.06e-04, mode 2-1, p = 0.5."""

from __future__ import annotations

import re

__all__ = ["unbroken"]

PIECES = re.compile(r"<(script|style|pre|code|math|svg)\b.*?</\1>|<[^>]*>|[^<]+", re.DOTALL)
"""A page as whole elements whose text is not prose, single tags, and texts; the templates escape < and > elsewhere."""
PER_CENT = re.compile(r"(?<=\d) (?=%)")
EQUATION = re.compile(r"\b([a-zA-Z]) = (?=-?\d)")
HYPHENATED = re.compile(r"(?<![\w.&#-])(-?\d+(?:\.\d+)?e-\d+|[0-3]-[0-4])(?![\w-]|\.\d)")
"""Numbers with a negative exponent, and names of modes: a browser would break them after the hyphen."""


def unbroken(html: str) -> str:
    """The same page; only no-break spaces and ``<span class="whole">`` are added to its texts."""
    return PIECES.sub(lambda piece: piece[0] if piece[0].startswith("<") else _text(piece[0]), html)


def _text(text: str) -> str:
    text = EQUATION.sub("\\1\u00a0=\u00a0", PER_CENT.sub("\u00a0", text))
    return HYPHENATED.sub(r'<span class="whole">\1</span>', text)
