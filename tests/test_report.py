"""The report: escaped, self-contained, small, complete without a script."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from html import escape, unescape
from html.parser import HTMLParser
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import HOSTILE, NAMES, Result, write_workbook

from quamba_lab.manifest import Manifest
from quamba_lab.notebook import KEY, figure_output, json_rows
from quamba_lab.parameters import Settings
from quamba_lab.report import read_verdict, write_report
from quamba_lab.report.cells import read_page
from quamba_lab.report.changes import ReportError, compare_reports
from quamba_lab.report.markdown import headings, to_html
from quamba_lab.report.packing import packed
from quamba_lab.report.pages import when
from quamba_lab.report.unbroken import unbroken
from quamba_lab.report.vector import lean, size_of, svg_uri
from quamba_lab.sweep import sweep
from tools.example_report import make_example

PAGES = ("index.html", "1_is_it_real.html", "2_scan_inputs.html")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The folder of a finished report over the tiny workbook."""
    folder = tmp_path_factory.mktemp("report")
    notebooks = write_workbook(folder / "notebooks")
    settings = Settings(model="/home/me/<b>model</b>", layers=(0, 1), flags={"FP32_SSM_INPUT": "true"})
    sweep(settings, folder / "reports", folder=notebooks, timeout=120)
    return folder / "reports"


class Elements(HTMLParser):
    """Every element of a page with its attributes, and the ids."""

    def __init__(self, text: str):
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def elements(report, page):
    return Elements((report / page).read_text(encoding="utf-8")).found


@pytest.mark.parametrize("page", PAGES)
def test_a_page_names_nothing_outside_itself(report, page):
    for tag, attributes in elements(report, page):
        for name in ("src", "href", "srcset", "action", "poster", "data"):
            value = attributes.get(name) or ""
            assert re.match(r"data:|#|\d_\w+\.html$|index\.html$|$", value), (tag, name, value[:60])
    text = (report / page).read_text(encoding="utf-8")
    assert not re.search(r"@import|url\((?!data:|%23)|fetch\(|XMLHttpRequest|WebSocket", text)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_small_and_has_one_h1(report, page):
    assert (report / page).stat().st_size < 2_000_000
    assert sum(tag == "h1" for tag, _ in elements(report, page)) == 1


@pytest.mark.parametrize("page", PAGES)
def test_no_text_becomes_markup(report, page):
    text = (report / page).read_text(encoding="utf-8")
    assert HOSTILE not in text
    assert "&lt;script&gt;document.title" in text, "it shows as text"
    scripts = [a for tag, a in elements(report, page) if tag == "script"]
    assert len([a for a in scripts if "type" not in a]) == 1, "only the page's own script runs"


@pytest.mark.parametrize("page", PAGES)
def test_without_javascript_figures_and_tables_are_there(report, page):
    found = elements(report, page)
    pictures = [a for tag, a in found if tag == "img"]
    assert len(pictures) >= 2
    assert all(a["src"].startswith("data:image/") and a["alt"] for a in pictures)
    assert any(tag == "table" for tag, _ in found)


@pytest.mark.parametrize("page", PAGES)
def test_formulas_are_mathml_and_ids_are_unique(report, page):
    found = elements(report, page)
    assert sum(tag == "math" for tag, _ in found) >= 2
    ids = [a["id"] for _, a in found if "id" in a]
    assert len(ids) == len(set(ids))


def test_local_links_lead_somewhere(report):
    for page in PAGES:
        found = elements(report, page)
        ids = {a["id"] for _, a in found if "id" in a}
        for tag, attributes in found:
            href = attributes.get("href") or ""
            if attributes.get("class") == "js-only picture-link":
                continue  # its script puts the picture there
            if tag == "a" and href.startswith("#"):
                assert href[1:] in ids, (page, href)
            elif tag == "a" and href.endswith(".html"):
                assert (report / href).is_file(), (page, href)


def test_the_verdict_has_neither_times_nor_paths(report):
    verdict = read_verdict(report)
    assert set(verdict["steps"]) == set(NAMES)
    assert verdict["steps"]["1_is_it_real"]["numbers"]["p"] == 0.5
    text = (report / "verdict.json").read_text(encoding="utf-8")
    assert not re.search(r"\d\d:\d\d|/home/me|/tmp", text)


def unpacked(packed):
    """What views.js makes of the data in a page."""

    def opened(value):
        if isinstance(value, dict):
            return packed["pool"][value["@"]] if "@" in value else {k: opened(v) for k, v in value.items()}
        return [opened(entry) for entry in value] if isinstance(value, list) else value

    return opened(packed["view"])


@given(st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-1e9, 1e9).map(lambda v: float(f"{v:.5g}")) | st.text(),
    lambda inner: st.lists(inner, max_size=15) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=4),
    max_leaves=40,
))  # fmt: skip
def test_packed_data_open_to_what_they_were(view):
    assert unpacked(json.loads(json.dumps(packed(view)))) == json.loads(json.dumps(view))


def test_a_list_that_occurs_often_stands_once():
    curve = [i / 7 for i in range(50)]
    data = packed({"a": curve, "b": {"c": curve}, "x": list(range(50))})
    assert len(data["pool"]) == 1
    assert data["view"]["a"] == data["view"]["b"]["c"] == {"@": 0}
    assert data["pool"][0] == pytest.approx(curve, rel=1e-4)


def test_a_lean_picture_is_smaller_and_draws_the_same():
    figure = Result().figure()
    svg = figure_output(figure)["image/svg+xml"]
    small = lean(svg)
    assert len(small) < 0.9 * len(svg)
    before, after = (re.findall(r"[-\d.]+", re.search(r' d="(M[^"]*L[^"]*)"', text)[1]) for text in (svg, small))
    assert [float(v) for v in after] == pytest.approx([float(v) for v in before], abs=0.01)
    assert unquote(svg_uri(svg)).endswith(small.replace('"', "'"))
    assert not set('<>"&#') & set(svg_uri(svg))
    assert size_of(svg) == {"width": 576, "height": 288}  # 6 x 3 inches


def test_the_summary_stands_first(report):
    text = (report / "index.html").read_text(encoding="utf-8")
    places = [text.index(part) for part in (
        "<h1", 'class="verdict', "What to do", 'id="all-steps"', 'id="background"', 'id="all-settings"',
        'id="reproduce"', 'id="versions"',
    )]  # fmt: skip
    assert places == sorted(places)


def test_a_picture_has_its_data(report):
    text = (report / "1_is_it_real.html").read_text(encoding="utf-8")
    href = re.search(r'download="curve.csv" href="([^"]*)"', text)[1]
    rows = list(csv.reader(io.StringIO(unquote(unescape(href)).split(",", 1)[1])))
    assert rows[0] == ["token", f"error {HOSTILE}"]
    assert rows[5] == ["4", "0.3333333333"]


def test_a_page_that_would_be_too_large_links_to_its_long_tables(report, tmp_path):
    manifest = Manifest.read(report / "manifest.json")
    page = json.loads((report / "notebooks" / "1_is_it_real.ipynb").read_text())
    outputs = [output["metadata"].get(KEY, {}) for cell in page["cells"] for output in cell.get("outputs", [])]
    told = next(output for output in outputs if output.get("kind") == "table")
    told["rows"], told["shown"] = told["rows"] * 2000, told["shown"] * 2000
    for folder in ("notebooks", "results"):
        shutil.copytree(report / folder, tmp_path / folder)
    (tmp_path / "notebooks" / "1_is_it_real.ipynb").write_text(json.dumps(page))
    write_report(tmp_path, manifest, Settings(), largest=200_000)
    text = (tmp_path / "1_is_it_real.html").read_text(encoding="utf-8")
    assert len(text.encode()) < 200_000
    file = tmp_path / re.search(r'href="(data/[^"]*)"', text)[1]
    assert len(list(csv.reader(file.open()))) == 1 + len(told["rows"])


def test_an_example_holds_no_times_and_is_the_same_twice(report, tmp_path):
    for name in ("one", "two"):
        make_example(report, tmp_path / name)
    files = {path.name for path in (tmp_path / "one").iterdir()}
    assert files == {*PAGES, "verdict.json"}
    for name in files:
        content = (tmp_path / "one" / name).read_bytes()
        assert content == (tmp_path / "two" / name).read_bytes()
        assert not re.search(rb"20\d\d-\d\d-\d\dT", content)


def test_the_page_carries_the_data_of_every_choice(report):
    text = (report / "1_is_it_real.html").read_text(encoding="utf-8")
    shipped = json.loads(re.search(r'class="view-data">(.*?)</script>', text, re.DOTALL).group(1))
    assert unpacked(shipped) == unpacked(json.loads(json.dumps(packed(Result().view_data()))))


def test_settings_and_flags_are_shown(report):
    text = (report / "index.html").read_text(encoding="utf-8")
    assert "FP32_SSM_INPUT=true" in text
    assert "&lt;b&gt;" not in text.split("</title>")[0]
    assert "quamba-lab report" in text


def test_two_reports_side_by_side(report, tmp_path):
    same = compare_reports(report, report, tmp_path)
    assert same.changed == ()
    assert same.conditions == ()
    other = tmp_path / "other"
    other.mkdir()
    verdict = read_verdict(report)
    verdict["settings"]["device"] = "cuda"
    verdict["steps"]["1_is_it_real"]["status"] = "established"
    verdict["steps"]["2_scan_inputs"]["numbers"]["p"] = 0.25
    (other / "verdict.json").write_text(json.dumps(verdict))
    manifest = json.loads((report / "manifest.json").read_text())
    manifest["versions"]["torch"] = "9.9"
    (other / "manifest.json").write_text(json.dumps(manifest))
    changes = compare_reports(report, other, tmp_path)
    assert changes.changed == ("1_is_it_real", "2_scan_inputs")
    assert [row.kind for row in changes.rows] == ["same", "status", "numbers"]
    assert changes.rows[2].numbers == (("p", 0.5, 0.25),)
    assert [(name, new) for name, _, new in changes.conditions] == [("Device", "cuda"), ("torch", "9.9")]
    text = changes.path.read_text(encoding="utf-8")
    assert HOSTILE not in text
    assert "2 of 3 verdicts changed" in text
    with pytest.raises(ReportError, match=r"verdict\.json"):
        compare_reports(report, tmp_path / "nowhere", tmp_path)


@pytest.mark.parametrize(
    ("source", "wanted", "unwanted"),
    [
        ("a <b>c</b>", "&lt;b&gt;", "<b>"),
        ("[x](javascript:alert(1))", "x", "javascript:"),
        ("![alt](http://127.0.0.1/x.png)", "alt", "<img"),
        ("$a < b$", "<math", "$"),
        ("$$\\frac{1}{2}$$", "<mfrac>", "$"),
        ("it costs 5 $ or 6 $ a day", "5 $", "<math"),
    ],
)
def test_markdown(source, wanted, unwanted):
    html = to_html(source)
    assert wanted in html
    assert unwanted not in html


def test_headings_in_code_are_none():
    assert headings("# A *b*\n\n```\n# no\n```\n## C & D") == [(1, "A b", "s-a-b"), (2, "C & D", "s-c-d")]


def test_html_and_progress_of_foreign_outputs_are_not_taken_over():
    def cell(*outputs):
        return {"cell_type": "code", "source": "x", "metadata": {}, "outputs": list(outputs)}

    page = read_page({"cells": [cell(
        {"output_type": "display_data", "data": {"text/html": HOSTILE, "text/plain": "plain"}, "metadata": {}},
        {"output_type": "stream", "name": "stderr", "text": "50%|#####"},
        {"output_type": "stream", "name": "stdout", "text": "\rworking"},
        {"output_type": "error", "ename": "E", "evalue": "v", "traceback": ["\x1b[31mred\x1b[0m"]},
    )]})  # fmt: skip
    kinds = [block.kind for block in page.blocks]
    assert kinds == ["code", "stream", "error"]
    assert page.blocks[1].data["text"] == "plain"
    assert page.blocks[2].data["trace"] == "red"


@pytest.mark.parametrize(
    ("html", "wanted"),
    [
        ("<p>95 % of 4.06e-04</p>", '<p>95\u00a0% of <span class="whole">4.06e-04</span></p>'),
        ("<p>modes 2-0 and 2-1 (p = 0.5)</p>",
         '<p>modes <span class="whole">2-0</span> and <span class="whole">2-1</span> (p\u00a0=\u00a00.5)</p>'),
        ('<img alt="95 % of 2-1"><code>p = 1e-5 %</code>', '<img alt="95 % of 2-1"><code>p = 1e-5 %</code>'),
        ('<script>"mode 2-1, 5 %"</script>', '<script>"mode 2-1, 5 %"</script>'),
        ("<td>2026-11-22</td><td>12-2-1</td><td>a-1e-5</td>", "<td>2026-11-22</td><td>12-2-1</td><td>a-1e-5</td>"),
    ],
)  # fmt: skip
def test_a_number_is_never_broken_at_the_end_of_a_line(html, wanted):
    assert unbroken(html) == wanted


@given(st.text(alphabet="ab 0123456789-.e%=&;<", max_size=40))
def test_keeping_numbers_whole_changes_no_word(text):
    html = f"<p>{escape(text)}</p>"
    found = re.sub(r"<[^>]*>", "", unbroken(html)).replace("\u00a0", " ")
    assert unescape(found) == text


def test_a_column_with_something_infinite_is_a_column_of_numbers():
    table = pd.DataFrame({"odds": [0.5, np.inf, np.nan], "mode": ["2-1", "0", "1"]})
    told = {"kind": "table", "title": "t", "columns": list(table), "headings": list(table), "rows": json_rows(table),
            "shown": [["0.5", "2-1"], ["∞", "0"], ["", "1"]]}  # fmt: skip
    assert told["rows"] == [[0.5, "2-1"], ["inf", "0"], [None, "1"]]
    output = {"output_type": "display_data", "data": {"text/plain": ""}, "metadata": {KEY: told}}
    cell = {"cell_type": "code", "source": "x", "metadata": {}, "outputs": [output]}
    assert read_page({"cells": [cell]}).first("table").data["numeric"] == [True, False]


@pytest.mark.parametrize(
    ("started", "finished", "shown"),
    [
        ("2026-11-22T22:40:46+00:00", "2026-11-22T22:42:52+00:00", "2026-11-22 22:40 – 22:42 UTC"),
        ("2026-11-23T01:30:00+02:00", "2026-11-23T02:10:00+02:00", "2026-11-22 23:30 – 2026-11-23 00:10 UTC"),
        ("2026-11-22T22:40:46+00:00", "", "2026-11-22 22:40 UTC"),
        ("", "", ""),
    ],
)
def test_times_are_written_for_people(report, started, finished, shown):
    manifest = Manifest.read(report / "manifest.json")
    manifest.started, manifest.finished = started, finished
    assert when(manifest) == shown
