"""The notebooks' markdown in other languages, paragraph by paragraph.

The English paragraph is the key, so that a paragraph that was rewritten shows as one without a translation (a test
collects them from notebooks/text); one that stands in several notebooks is translated once.
"""

from __future__ import annotations

import re

from .speech import LANGUAGES
from .zh_prose import PARAGRAPHS as ZH

__all__ = ["PROSE", "paragraphs", "prose"]

PROSE: dict[str, dict[str, str]] = {"zh": ZH}
"""By language: the English paragraph and its translation."""


def paragraphs(markdown: str) -> list[str]:
    """The paragraphs of a cell, in order; a table or a list is one."""
    return [part.strip() for part in re.split(r"\n\s*\n", markdown) if part.strip()]


def prose(markdown: str, lang: str) -> str:
    """A cell's markdown in that language; a paragraph without a translation stays English."""
    if lang == LANGUAGES[0]:
        return markdown
    return "\n\n".join(PROSE[lang].get(part, part) for part in paragraphs(markdown))
