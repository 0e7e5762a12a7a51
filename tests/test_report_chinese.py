"""A report in Chinese: every sentence, heading and label that a reader meets, from the real notebooks."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser

import pytest

from quamba_lab import scans
from quamba_lab.modes import MODES
from quamba_lab.parameters import check
from quamba_lab.report.changes import compare_reports
from quamba_lab.sweep import notebooks, sweep

CHINESE = re.compile(r"[\u4e00-\u9fff]")
WORDS = re.compile(r"[A-Za-z]{2,}")
CODE = {"code", "pre", "script", "style", "math", "title"}
READ = {"p", "li", "h1", "h2", "h3", "h4", "figcaption", "summary", "th", "td", "dt", "label", "small", "option", "div"}
VOID = {"img", "input", "meta", "link", "br", "hr"}


class Texts(HTMLParser):
    """The visible text of every element that is read, without code: (tag, text)."""

    def __init__(self):
        super().__init__()
        self.stack: list[tuple[str, list[str]]] = []
        self.found: list[tuple[str, str]] = []
        self.alternatives: list[str] = []
        self.language = ""

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if tag == "html":
            self.language = values["lang"]
        if tag == "img":
            self.alternatives.append(values["alt"])
        if tag not in VOID:
            self.stack.append((tag, []))

    def handle_endtag(self, tag):
        while self.stack:
            name, parts = self.stack.pop()
            text = " ".join("".join(parts).split())
            if name in READ and text:
                self.found.append((name, text))
            elif name not in CODE and self.stack:
                self.stack[-1][1].append("".join(parts))
            if name == tag:
                break

    def handle_data(self, data):
        if self.stack:
            self.stack[-1][1].append(data)


def english(text: str) -> bool:
    """Whether four English words or more stand in a row: identifiers, names and versions are fewer or hold signs."""
    return bool(re.search(r"(?:\b[A-Za-z][a-z]+\b[ ,;:]+){3,}[a-z]{2,}", text))


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A small report of the summary and of step 2 in Chinese, and the same in English."""
    root = tmp_path_factory.mktemp("chinese")
    (root / "workbook").mkdir()
    for name in ("0_summary", "2_scan_inputs"):
        shutil.copy(notebooks()[name], root / "workbook")
    for lang in ("zh", "en"):
        settings = check(limit=2, layers=[0], lang=lang)
        outcome = sweep(settings, root / lang, folder=root / "workbook", command="quamba-lab report", jobs=2)
        assert not outcome.manifest.unfinished(), [run.reason for run in outcome.manifest.unfinished()]
    return root


def read(path) -> Texts:
    texts = Texts()
    texts.feed(path.read_text(encoding="utf-8"))
    return texts


@pytest.mark.notebooks
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["index", "2_scan_inputs"])
def test_no_english_sentence_is_left(report, name):
    path = report / "zh" / f"{name}.html"
    page = read(path)
    assert page.language == "zh-CN"
    assert path.stat().st_size < 2_000_000
    assert len(page.found) > 30
    assert [found for found in page.found if english(found[1])] == []
    prose = [text for tag, text in page.found if tag in ("p", "h1", "h2", "figcaption") and WORDS.search(text)]
    assert [text for text in prose if not CHINESE.search(text)] == []
    assert [text for text in page.alternatives if not CHINESE.search(text)] == []


@pytest.mark.notebooks
@pytest.mark.timeout(900)
def test_headings_of_columns_are_words(report):
    names = {*MODES, *scans.names(), "scale", "SQNR (dB)", "RMS", "nat", ""}
    headings = {text for tag, text in read(report / "zh" / "2_scan_inputs.html").found if tag == "th"}
    assert {text for text in headings - names if WORDS.search(text) and not CHINESE.search(text)} == set()
    english_headings = {text for tag, text in read(report / "en" / "2_scan_inputs.html").found if tag == "th"}
    assert not [text for text in english_headings if re.search(r"[a-z]_[a-z]", text)]


@pytest.mark.notebooks
@pytest.mark.timeout(900)
def test_the_facts_do_not_depend_on_the_language(report):
    """Statuses and numbers are the same; the verdict is kept in both languages, so the reports compare."""
    one, other = (json.loads((report / lang / "verdict.json").read_text(encoding="utf-8")) for lang in ("zh", "en"))
    for name, step in one["steps"].items():
        assert step["status"] == other["steps"][name]["status"]
        assert step["verdicts"] == other["steps"][name]["verdicts"]
        assert CHINESE.search(step["verdict"])
        assert not CHINESE.search(other["steps"][name]["verdict"])
    changes = compare_reports(report / "en", report / "zh", report / "changes", "zh")
    assert changes.changed == ()
    page = read(changes.path)
    assert [found for found in page.found if english(found[1])] == []
