"""Every text that a person reads exists in every language, with the same fields, and none is left over."""

import ast
import pickle
import re
import string
from pathlib import Path

import nbformat
import pytest

import quamba_lab
from quamba_lab.sweep import notebooks
from quamba_lab.texts import (
    LANGUAGES,
    PROSE,
    WORDS,
    clauses,
    language,
    listed,
    paragraph,
    plural,
    say,
    texts,
)
from quamba_lab.texts.prose import paragraphs
from quamba_lab.texts.speech import STRICT, TRANSLATIONS

PACKAGE = Path(quamba_lab.__file__).parent
OTHERS = LANGUAGES[1:]
TEMPLATES_AT = {"say": (0,), "plural": (1, 2)}


def fields(template):
    return {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}


def formulas(markdown):
    """The formulas of a text, in any order, without the words in them."""
    return sorted(re.sub(r"\\text\{[^}]*\}", "", formula) for formula in re.findall(r"\$+[^$]+\$+", markdown))


def templates():
    """Every template in the sources, with where it stands; one that is no literal has None."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.parent.name == "texts":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else None
            for at in TEMPLATES_AT.get(name, ()):
                argument = node.args[at]
                literal = isinstance(argument, ast.Constant) and isinstance(argument.value, str)
                given = {keyword.arg for keyword in node.keywords} | ({"count"} if name == "plural" else set())
                yield f"{path.name}:{node.lineno}", argument.value if literal else None, given


def test_templates_are_literals_and_their_fields_are_given():
    for where, template, given in templates():
        assert template is not None, f"{where}: the template of say() must be a plain string"
        if None not in given:  # **values: they are known when it is said
            assert fields(template) <= given, f"{where}: {fields(template) - given} is not given"
        assert all(name.isidentifier() for name in fields(template)), f"{where}: no expressions in {template!r}"


@pytest.mark.parametrize("lang", OTHERS)
def test_every_sentence_is_translated_and_no_translation_is_stale(lang):
    wanted, table = {template for _, template, _ in templates()}, TRANSLATIONS[lang]
    assert sorted(wanted - table.keys()) == [], "without a translation"
    assert sorted(table.keys() - wanted) == [], "translated, but said nowhere"
    for template, translated in table.items():
        assert fields(translated) == fields(template), template


@pytest.mark.parametrize("lang", OTHERS)
def test_every_paragraph_of_the_notebooks_is_translated(lang):
    wanted = {
        part for path in notebooks().values() for cell in nbformat.read(path, as_version=4).cells
        if cell.cell_type == "markdown" for part in paragraphs(cell.source)
    }  # fmt: skip
    assert sorted(wanted - PROSE[lang].keys()) == [], "without a translation"
    assert sorted(PROSE[lang].keys() - wanted) == [], "translated, but in no notebook"
    for english, translated in PROSE[lang].items():
        assert formulas(english) == formulas(translated), english


def test_every_language_has_every_word():
    for lang, table in WORDS.items():
        assert table.keys() == WORDS["en"].keys(), lang
        for key, text in table.items():
            assert text, key
            assert fields(text) == fields(WORDS["en"][key]), key
    assert tuple(WORDS) == LANGUAGES


def test_what_was_said_can_be_read_in_another_language(monkeypatch):
    monkeypatch.setitem(TRANSLATIONS["zh"], "Layer {n} differs.", "第 {n} 层不同。")
    english = say("Layer {n} differs.", n="3")
    with language("zh"):
        chinese = say("Layer {n} differs.", n="3")
    assert (english, chinese) == ("Layer 3 differs.", "第 3 层不同。")
    assert (english.within("zh"), chinese.within("en")) == (chinese, english)
    assert pickle.loads(pickle.dumps(english)).within("zh") == chinese
    assert paragraph([english, "", english]).within("zh") == "第 3 层不同。第 3 层不同。"
    assert (english + " x").within("zh") == "第 3 层不同。 x"
    assert clauses([english, english]) == "Layer 3 differs.; Layer 3 differs."
    assert (listed(["a", "b", "c"]), listed(["a"]), listed([])) == ("a, b and c", "a", "")
    assert listed(["a", "b", "c"]).within("zh") == "a、b 和 c"


def test_a_sentence_without_a_translation_stays_english_or_raises(monkeypatch):
    said = say("Nobody translated {what}.", what="this")
    monkeypatch.delenv(STRICT, raising=False)
    assert said.within("zh") == "Nobody translated this."
    monkeypatch.setenv(STRICT, "1")
    with pytest.raises(KeyError, match="Nobody translated"):
        said.within("zh")


def test_numbers_choose_between_one_and_many():
    assert plural(1, "{count} layer", "{count} layers") == "1 layer"
    assert plural(1200, "{count} layer", "{count} layers") == "1,200 layers"


def test_a_language_that_has_no_table_is_refused():
    with pytest.raises(ValueError, match="lang is 'fr': choose one of en, zh"), language("fr"):
        pass
    assert texts("zh")("verdict") == "结论"
