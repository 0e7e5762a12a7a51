"""Everything that a person reads, in every language; one table per language.

``say("Mode {a} is nearer.", a=name)``: the English template is the key, a plain literal with named fields (tests
collect them from the sources); values are formatted before.  ``plural(n, "{count} layer", "{count} layers")`` chooses
by number; ``listed`` (a, b and c), ``clauses`` (a; b), ``paragraph`` (A. B.) and ``+`` join what was said.

    say        a sentence or a title that the code composes; its Chinese stands in zh_sentences.py
    label      a name that is data first and a heading second (a column, a table's title, a control, a kind in a cell)
    texts      the report's own words by key ("banner", "contents")
    prose      a paragraph of a notebook's markdown

The language is a setting of the process, chosen once by ``set_language`` (the notebooks' ``begin``, the command line).
What ``say`` returns is a string that can still be read in another language: ``sentence.within("en")``.
"""

from .labels import FREE_TEXT, LABELS, heading, label, localized
from .prose import PROSE, prose
from .speech import (
    LANGUAGES,
    Said,
    clauses,
    current_language,
    first_sentence,
    language,
    listed,
    paragraph,
    plural,
    say,
    set_language,
    within,
)
from .words import WORDS, Texts, texts

__all__ = [
    "FREE_TEXT",
    "LABELS",
    "LANGUAGES",
    "PROSE",
    "WORDS",
    "Said",
    "Texts",
    "clauses",
    "current_language",
    "first_sentence",
    "heading",
    "label",
    "language",
    "listed",
    "localized",
    "paragraph",
    "plural",
    "prose",
    "say",
    "set_language",
    "texts",
    "within",
]
