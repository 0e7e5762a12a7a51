"""Sentences that the code composes: said in the language of the process, and readable in any other."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from .zh_sentences import SENTENCES as ZH

__all__ = [
    "LANGUAGES",
    "Said",
    "clauses",
    "current_language",
    "first_sentence",
    "language",
    "listed",
    "paragraph",
    "plural",
    "say",
    "set_language",
    "within",
]

LANGUAGES = ("en", "zh")
"""The languages that have a table; the first is the one in which the sources are written."""

TRANSLATIONS: dict[str, dict[str, str]] = {"zh": ZH}
"""By language: the English template and its translation, with the same fields."""

STRICT = "QUAMBA_LAB_STRICT_TEXTS"
"""Environment variable (the tests set it): a template without a translation raises instead of staying English."""

_JOINS = {
    "en": {"list": (", ", " and "), "clauses": ("; ", "; "), "paragraph": (" ", " ")},
    "zh": {"list": ("、", " 和 "), "clauses": ("；", "；"), "paragraph": ("", "")},
}

_current = LANGUAGES[0]


def set_language(lang: str) -> None:
    """Choose the language of everything said from now on.  Raises ``ValueError`` for one that has no table."""
    global _current
    if lang not in LANGUAGES:
        raise ValueError(f"lang is {lang!r}: choose one of {', '.join(LANGUAGES)}")
    _current = lang


def current_language() -> str:
    """The language chosen last."""
    return _current


@contextmanager
def language(lang: str) -> Iterator[None]:
    """``lang`` for a while."""
    before = _current
    set_language(lang)
    try:
        yield
    finally:
        set_language(before)


class Said(str):
    """A sentence in the language in which it was said, which :meth:`within` says again in another.

    Joined by ``+`` or by the functions of this module it stays one; an f-string makes a plain string of it.
    """

    _again: Callable[[str], str]

    def __new__(cls, again: Callable[[str], str]) -> Said:
        said = super().__new__(cls, again(_current))
        said._again = again
        return said

    def within(self, lang: str) -> str:
        return self._again(lang)

    def __add__(self, other: str) -> Said:
        return Said(partial(_together, (self, other)))

    def __radd__(self, other: str) -> Said:
        return Said(partial(_together, (other, self)))

    def __reduce__(self) -> tuple[Any, ...]:
        return Said, (self._again,)


def within(text: str, lang: str) -> str:
    """``text`` in that language if it was said, else as it is."""
    return text.within(lang) if isinstance(text, Said) else text


def say(template: str, /, **values: object) -> Said:
    """``template`` with its named fields filled in, in the language of the process.

    ``template`` is a literal and the key of the translations; ``values`` are words that are ready to be read, or names
    with a label (``lockstep``), which are translated.
    """
    return Said(partial(_fill, template, values))


def plural(count: int, one: str, many: str, /, **values: object) -> Said:
    """``one`` for a count of 1, else ``many``; both are templates of :func:`say` and may use ``{count}``."""
    return say(one if count == 1 else many, count=f"{count:,}", **values)


def listed(items: Iterable[str]) -> Said:
    """a, b and c."""
    return Said(partial(_joined, "list", tuple(items)))


def clauses(items: Iterable[str]) -> Said:
    """a; b; c."""
    return Said(partial(_joined, "clauses", tuple(items)))


def paragraph(sentences: Iterable[str]) -> Said:
    """Sentences one after the other; empty ones are left out."""
    return Said(partial(_joined, "paragraph", tuple(s for s in sentences if s)))


def _fill(template: str, values: dict[str, object], lang: str) -> str:
    found = template if lang == LANGUAGES[0] else TRANSLATIONS[lang].get(template)
    if found is None:
        if os.environ.get(STRICT):
            raise KeyError(f"no {lang} translation of {template!r}")
        found = template
    return found.format(**{name: _word(value, lang) for name, value in values.items()})


def _word(value: Any, lang: str) -> Any:
    """A value as it is read: what was said in that language, a name that has a label by its label."""
    if isinstance(value, Said):
        return value.within(lang)
    if isinstance(value, str) and lang != LANGUAGES[0]:
        from .labels import label  # labels are made of sentences too

        return label(value, lang)
    return value


def _joined(how: str, items: tuple[str, ...], lang: str) -> str:
    between, last = _JOINS[lang][how]
    words = [_word(item, lang) for item in items]
    return last.join(part for part in (between.join(words[:-1]), *words[-1:]) if part)


def _together(parts: tuple[str, ...], lang: str) -> str:
    return "".join(within(part, lang) for part in parts)


def first_sentence(text: str) -> Said:
    """The first sentence of what was said."""
    return Said(partial(_first, text))


def _first(text: str, lang: str) -> str:
    return re.split(r"(?<=[.])\s+(?=[A-Z])|(?<=。)", within(text, lang), maxsplit=1)[0]
