"""Every text that a person reads exists in every language, with the same fields, and none is left over."""

import ast
import pickle
import re
import string
import warnings
from pathlib import Path

import matplotlib as mpl
import nbformat
import pytest
from matplotlib.font_manager import fontManager

import quamba_lab
from quamba_lab import lettering, plots
from quamba_lab.notebook import figure_output
from quamba_lab.sweep import notebooks
from quamba_lab.texts import (
    LABELS,
    LANGUAGES,
    PROSE,
    WORDS,
    clauses,
    label,
    language,
    listed,
    localized,
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
        if path.parent.name == "texts" and path.name != "labels.py":
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


def test_values_of_a_sentence_are_no_translated_labels():
    """``say(..., kind=label(kind))`` could not be read in another language: say() itself labels a name."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in TEMPLATES_AT:
                values = [keyword.value for keyword in node.keywords]
                frozen = [v for v in values if isinstance(v, ast.Call) and getattr(v.func, "id", "") == "label"]
                assert not frozen or path.parent.name == "widgets", f"{path.name}:{node.lineno}"


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


SHOWN = {
    "title", "xlabel", "ylabel", "label", "band_label", "total_label", "mark_label", "highlight_label"
}  # fmt: skip
"""Keywords and keys whose literals a reader sees on a picture or above a table."""
CALLS = {"chart": 1, "control": 1, "View": 1, "drawn": 0, "lettered": 0}
"""Calls with such a literal at that place."""


def shown_literals():
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.parent.name not in ("steps", "views", "diagnose", "widgets") and not path.name.startswith("plots"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            found = []
            if isinstance(node, ast.Call):
                found += [keyword.value for keyword in node.keywords if keyword.arg in SHOWN]
                name = getattr(node.func, "id", "")
                found += node.args[CALLS[name] : CALLS[name] + 1] if name in CALLS else []
            elif isinstance(node, ast.Dict):
                found += [v for k, v in zip(node.keys, node.values, strict=True) if getattr(k, "value", "") == "label"]
            elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "TITLE":
                found.append(node.value)
            for literal in found:
                if isinstance(literal, ast.Constant) and re.search("[A-Za-z]{3}", str(literal.value)):
                    yield f"{path.name}:{literal.lineno}", literal.value


@pytest.mark.parametrize("lang", OTHERS)
def test_every_title_and_label_is_translated(lang):
    missing = {name: where for where, name in shown_literals() if name not in LABELS[lang]}
    assert missing == {}, "without a label"


def test_english_headings_hold_no_identifiers():
    for name, heading in LABELS["en"].items():
        assert not re.search("[a-z]_[a-z]", heading), name
        assert name in LABELS["zh"], name


def test_cells_of_a_task_are_never_translated():
    told = {"columns": ["target", "run"], "rows": [["run", "lockstep"]]}
    frame = localized({"charts": [{"title": "Items", "frames": {"": told}}]}, "zh")["charts"][0]["frames"][""]
    assert frame == {"columns": ["目标词", "运行方式"], "rows": [["run", "锁步"]]}


def test_places_are_read_in_every_language():
    assert label("item 0, token 66, channel 4", "zh") == "样本 0，词元 66，通道 4"
    assert label("item 0, token 66", "en") == "item 0, token 66"


def characters():
    tables = (*TRANSLATIONS["zh"].values(), *LABELS["zh"].values())
    return "".join(sorted({letter for text in tables for letter in text}))


def test_pictures_have_every_glyph():
    if lettering.cjk_font() is None:
        pytest.skip("no font with Chinese glyphs: install one (apt-get install fonts-noto-cjk)")
    letters = characters()
    title = "\n".join(letters[at : at + 60] for at in range(0, len(letters), 60))
    with language("zh"), warnings.catch_warnings():
        warnings.filterwarnings("error", message="Glyph")
        assert lettering.drawn("lockstep") == "锁步"
        figure = plots.lines([0, 1], {"lockstep": [1, 2], "free run": [3, 1e-3]}, title=title, xlabel="layer",
                             ylabel="error_rms")  # fmt: skip
        figure.set_size_inches(12, 12)
        figure_output(figure)
        largest = figure_output(plots.lines([0], {"lockstep": [1]}, title="层", xlabel="layer", ylabel="error_rms"))
    assert len(largest["image/svg+xml"]) < 60_000
    figure = plots.lines([0, 1], {"a": [1, 2]}, title="English", xlabel="x", ylabel="y")
    assert lettering.cjk_font() not in figure.axes[0].title.get_fontfamily()


def test_a_font_is_found_that_was_installed_after_matplotlib_wrote_its_list(monkeypatch):
    if (font := lettering.cjk_font()) is None:
        pytest.skip("no font with Chinese glyphs: install one (apt-get install fonts-noto-cjk)")
    since = {entry.fname for entry in fontManager.ttflist if entry.name in lettering.CJK_FONTS}
    older = [entry for entry in fontManager.ttflist if entry.fname not in since]
    monkeypatch.setattr(fontManager, "ttflist", older)
    lettering.cjk_font.cache_clear()
    assert lettering.cjk_font() == font


def test_english_pictures_look_for_no_font(monkeypatch):
    monkeypatch.setattr(lettering, "cjk_font", lambda: pytest.fail("looked for"))
    monkeypatch.setitem(mpl.rcParams, "font.family", mpl.rcParamsDefault["font.family"])
    plots.lines([0, 1], {"a": [1, 2]}, title="English", xlabel="x", ylabel="y")


def test_pictures_without_a_font_are_lettered_in_english(monkeypatch):
    monkeypatch.setattr(lettering, "cjk_font", lambda: None)
    with language("zh"):
        assert lettering.drawn(say("mode {mode}", mode="2-1")) == "mode 2-1"
        figure = plots.lines([0, 1], {"lockstep": [1, 2]}, title=say("mode {mode}", mode="2-1"), xlabel="layer",
                             ylabel="error_rms")  # fmt: skip
    axis = figure.axes[0]
    assert (axis.get_title(loc="left"), axis.get_xlabel(), axis.get_ylabel()) == ("mode 2-1", "layer", "error / RMS")


def test_the_workbook_is_written_in_chinese(tmp_path, capsys):
    from quamba_lab.cli import main

    command = ["notebooks", str(tmp_path / "workbook"), "--lang", "zh"]
    assert main(command) == 0
    written = {Path(line).stem: Path(line) for line in capsys.readouterr().out.split()}
    assert written.keys() == notebooks().keys()
    for name, path in written.items():
        cells, english = (nbformat.read(p, as_version=4).cells for p in (path, notebooks()[name]))
        code, same = (
            [c.source for c in side if c.cell_type == "code" and "parameters" not in c.metadata.get("tags", [])]
            for side in (cells, english)
        )
        assert code == same
        prose = [part for c in cells if c.cell_type == "markdown" for part in paragraphs(c.source)]
        assert all(re.search("[\u4e00-\u9fff]", part) or part.startswith("$$") for part in prose)
        assert any('lang: str = "zh"' in c.source for c in cells)
    assert main(command) == 2, "never over notebooks that are there"
    assert "is there already" in capsys.readouterr().err


def test_refusals_are_in_the_language_asked_for(capsys):
    from quamba_lab.cli import main

    assert main(["compare", "--mode_b", "2-9", "--lang", "zh"]) == 2
    assert "没有这种模式" in capsys.readouterr().err
    assert main(["compare", "--mode_b", "2-9"]) == 2
    assert "which is no mode" in capsys.readouterr().err
    assert main(["report", "--lang", "fr"]) == 2
