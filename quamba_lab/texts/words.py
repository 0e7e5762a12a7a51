"""The report's own words by key: what its templates and the notebooks' helpers write by themselves."""

from __future__ import annotations

from .en_words import WORDS as EN
from .zh_words import WORDS as ZH

__all__ = ["WORDS", "Texts", "texts"]

WORDS: dict[str, dict[str, str]] = {"en": EN, "zh": ZH}
"""The tables by language; every table has the same keys with the same fields."""


class Texts:
    """One language's table: ``texts("en")("banner", status=..., reason=...)``."""

    def __init__(self, lang: str):
        self.lang = lang
        self._table = WORDS[lang]

    def __call__(self, key: str, **values: object) -> str:
        return self._table[key].format(**values) if values else self._table[key]

    def get(self, key: str, default: str) -> str:
        """The text of ``key``, or ``default`` for a name that is data (a step or a control of one's own)."""
        return self._table.get(key, default)


def texts(lang: str = "en") -> Texts:
    """The texts of a language.  Raises KeyError for one that has no table."""
    return Texts(lang)
