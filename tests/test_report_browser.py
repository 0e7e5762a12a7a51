"""The report in a real browser: no request, no error, and what is shown always agrees with the controls."""

from __future__ import annotations

import csv
import io
import re
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from tiny import HOSTILE, Result, write_workbook

from quamba_lab.parameters import Settings
from quamba_lab.plots import MODE_COLORS
from quamba_lab.sweep import sweep

pytest.importorskip("playwright.sync_api")
pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

PAGES = ("index.html", "1_is_it_real.html")
CHARTS = 6
EXAMPLE = Path(__file__).resolve().parents[1] / "docs" / "example-report"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    notebooks = write_workbook(folder / "notebooks", extra={"2_scan_inputs": "raise ValueError('no such mode')"})
    sweep(Settings(layers=(0, 1)), folder / "reports", folder=notebooks, timeout=120)
    return folder / "reports"


@contextmanager
def opened(browser, path, **options):
    """A page, and the list of everything that went wrong on it: errors and requests beyond the file itself."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
    page = context.new_page()
    wrong: list[str] = []
    page.on("console", lambda message: message.type in ("error", "warning") and wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))

    def route(route):
        if route.request.url.startswith(("file:", "data:", "blob:")):
            route.continue_()
        else:
            wrong.append(f"request to {route.request.url}")
            route.abort()

    context.route("**/*", route)
    page.goto(path.as_uri())
    yield page, wrong
    context.close()


@pytest.mark.parametrize("name", PAGES)
def test_no_request_no_error_and_no_script_of_others(browser, report, name):
    with opened(browser, report / name) as (page, wrong):
        assert page.locator(".charts.js-only figure").count() == CHARTS
        assert HOSTILE in page.inner_text("main")
        assert page.title() != "owned"
        assert wrong == []


def test_every_control_redraws_and_agrees_with_what_is_shown(browser, report):
    with opened(browser, report / "1_is_it_real.html") as (page, wrong):
        error = page.locator("figure[data-chart=error]")
        assert error.get_attribute("data-frame") == "2-1|0"
        before = error.locator("svg").inner_html()
        page.select_option("select[data-control=mode_b]", "2-2")
        assert error.get_attribute("data-frame") == "2-2|0"
        slider = page.locator("input[data-control=layer]")
        slider.focus()
        for _ in range(3):
            page.keyboard.press("ArrowRight")
        assert error.get_attribute("data-frame") == "2-2|3"
        assert page.locator("input[data-control=layer] + output").inner_text() == "3"
        assert error.locator("svg").inner_html() != before
        assert page.locator("figure[data-chart=numbers] td.number").inner_text() == "0.375"
        assert wrong == []


def test_a_click_on_a_map_chooses_layer_and_token(browser, report):
    with opened(browser, report / "1_is_it_real.html") as (page, _):
        page.locator("figure[data-chart=map] rect.cell").nth(5 * 4 + 3).click()
        assert page.locator("figure[data-chart=error]").get_attribute("data-frame") == "2-1|4"
        assert page.locator("input[data-control=layer]").input_value() == "4"
        assert page.locator("input[data-control=token]").input_value() == "3"
        assert page.locator("figure[data-chart=text] .tokens .chosen").inner_text() == " of"
        assert page.locator("figure[data-chart=map] rect.chosen").count() == 1


def test_a_click_on_a_word_or_a_point_chooses_its_token(browser, report):
    with opened(browser, report / "1_is_it_real.html") as (page, _):
        page.locator("figure[data-chart=text] .tokens span").nth(4).click()
        assert page.locator("input[data-control=token] + output").inner_text() == "4"
        page.locator("figure[data-chart=error] rect.area").nth(2).click()
        assert page.locator("input[data-control=token] + output").inner_text() == "2"


def test_a_text_shows_what_the_model_wrote_as_text(browser, report):
    with opened(browser, report / "1_is_it_real.html") as (page, wrong):
        text = page.locator("figure[data-chart=text]")
        assert text.locator(".tokens span").all_inner_texts() == ["Once", f" {HOSTILE}", " key", " of", " oak"]
        assert text.locator(".tokens .target").all_inner_texts() == [" of", " oak"]
        assert HOSTILE in text.locator(".tokenkey").inner_text()
        assert text.locator("td").all_inner_texts() == ["0", HOSTILE]
        assert text.locator("script").count() == 0
        assert wrong == []


def test_a_stage_table_has_signs_and_says_when_a_choice_was_not_computed(browser, report):
    with opened(browser, report / "1_is_it_real.html") as (page, _):
        stages = page.locator("figure[data-chart=stages]")
        assert stages.locator(".mark").all_inner_texts() == ["= same", "≠ different"]
        assert page.locator("select[data-control=run] option").all_inner_texts() == ["equal inputs", "whole model"]
        page.select_option("select[data-control=run]", label="whole model")
        assert stages.get_attribute("data-frame") == "free run"
        assert stages.locator("table").count() == 0
        assert "Not computed" in stages.inner_text()


def test_a_control_with_one_option_is_words(browser, report):
    with opened(browser, report / "1_is_it_real.html") as (page, _):
        assert page.locator("[data-control=mode_a]").count() == 0
        assert page.locator(".controls .fixed").inner_text().split() == ["Mode", "A", "0"]


def test_a_mode_has_one_colour_everywhere(browser, report):
    with opened(browser, report / "1_is_it_real.html") as (page, _):
        for mode in ("2-0", "2-1", "2-2"):
            page.select_option("select[data-control=mode_b]", mode)
            for chart in ("error path[fill=none]", "bars rect[fill]:not(.area)"):
                name, element = chart.split(" ", 1)
                attribute = "stroke" if name == "error" else "fill"
                drawn = page.locator(f"figure[data-chart={name}] {element}").first
                assert drawn.get_attribute(attribute) == MODE_COLORS[mode]


def test_choices_hold_on_the_next_page_and_after_a_reload(browser, report):
    with opened(browser, report / "1_is_it_real.html") as (page, _):
        page.select_option("select[data-control=mode_b]", "2-0")
        page.reload()
        assert page.locator("figure[data-chart=error]").get_attribute("data-frame") == "2-0|0"
        page.goto((report / "index.html").as_uri())
        assert page.locator("select[data-control=mode_b]").input_value() == "2-0"


def test_without_javascript_the_default_figure_and_every_table_stand(browser, report):
    with opened(browser, report / "1_is_it_real.html", java_script_enabled=False) as (page, _):
        assert page.locator(".controls").is_hidden()
        assert page.locator(".views img").is_visible()
        tables = page.locator("main table")
        assert tables.count() >= 4  # the accuracy; of the views: the answers, the stages, the numbers
        assert all(table.is_visible() for table in tables.all())


@pytest.mark.parametrize("width", [360, 390, 768, 1600])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_screen(browser, report, width, scheme):
    options = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme}
    for name in PAGES:
        with opened(browser, report / name, **options) as (page, wrong):
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert wrong == []


def test_text_and_ground_differ_enough_in_both_schemes(browser, report):
    """WCAG's contrast of at least 4.5 for the text and for the softer text."""
    script = """() => {
        const rgb = (c) => c.match(/[\\d.]+/g).slice(0, 3).map(Number);
        const light = (c) => rgb(c).map((v) => v / 255)
            .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
            .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
        const ground = light(getComputedStyle(document.querySelector("main")).backgroundColor);
        return ["main h1", "main p", "figcaption", "main a", ".foot", ".chip"].map((selector) => {
            const ink = light(getComputedStyle(document.querySelector(selector)).color);
            return (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05);
        });
    }"""
    for scheme in ("light", "dark"):
        with opened(browser, report / "index.html", color_scheme=scheme) as (page, _):
            assert min(page.evaluate(script)) >= 4.5


def _downloaded(page, link) -> str:
    with page.expect_download() as download:
        link.click()
    return Path(download.value.path()).read_text(encoding="utf-8")


def test_the_data_of_a_view_download_as_shown(browser, report):
    with opened(browser, report / "1_is_it_real.html", accept_downloads=True) as (page, wrong):
        page.select_option("select[data-control=mode_b]", "2-2")
        tools = page.locator("figure[data-chart=error] .tools a")
        rows = list(csv.reader(io.StringIO(_downloaded(page, tools.nth(1)))))
        assert rows[0] == ["token", "2-2", "floor low", "floor high"]
        shown = Result().view_data()["charts"][0]["frames"]["2-2|0"]["series"][0]["values"]
        assert [float(row[1]) for row in rows[1:]] == pytest.approx(shown)
        assert "var(--" not in _downloaded(page, tools.nth(0))
        words = list(csv.reader(io.StringIO(_downloaded(page, page.locator("figure[data-chart=text] .tools a")))))
        assert words[2] == [f" {HOSTILE}", "-0.4"]
        assert wrong == []


def test_the_data_of_a_picture_and_of_a_table_download_in_full(browser, report):
    with opened(browser, report / "1_is_it_real.html", accept_downloads=True) as (page, wrong):
        picture = page.locator("main > figure .tools a")
        assert _downloaded(page, picture.nth(0)).startswith("<svg")
        rows = list(csv.reader(io.StringIO(_downloaded(page, picture.nth(1)))))
        assert rows[0] == ["token", f"error {HOSTILE}"]
        assert [float(row[1]) for row in rows[1:]] == [0.0, 0.25, 0.5, 0.75, pytest.approx(1 / 3, rel=1e-9)]
        table = page.locator(".tabletitle .tools a").first
        assert list(csv.reader(io.StringIO(_downloaded(page, table))))[2] == [HOSTILE, "0.36123456"]
        assert wrong == []


def test_type_has_one_scale(browser, report):
    script = """() => {
        const probe = document.body.appendChild(document.createElement("i")), scale = new Set();
        for (const step of ["--s-1", "--s0", "--s1", "--s2", "--s3"]) {
            probe.style.fontSize = `var(${step})`;
            scale.add(getComputedStyle(probe).fontSize);
        }
        probe.remove();
        return [...document.querySelectorAll("body *:not(math, math *, script, style)")]
            .filter((node) => !scale.has(getComputedStyle(node).fontSize))
            .map((node) => `${node.tagName} ${node.className} ${getComputedStyle(node).fontSize}`);
    }"""
    for name in PAGES:
        for width in (390, 1280):
            with opened(browser, report / name, viewport={"width": width, "height": 800}) as (page, _):
                assert page.evaluate(script) == []


def test_an_unfinished_step_carries_a_banner(browser, report):
    with opened(browser, report / "2_scan_inputs.html") as (page, _):
        assert "no such mode" in page.locator(".banner").first.inner_text()
    with opened(browser, report / "index.html") as (page, _):
        assert "1 of 3" in page.locator(".banner").first.inner_text()


# On paper ----------------------------------------------------------------------------------------------------------

MARGIN = 12 / 25.4 * 72
"""Points from the edge of a sheet that must stay white; style.css keeps 15 mm free."""


def printed_pages() -> list[Path | str]:
    """The pages of the committed example, which has real figures and wide tables, and the tiny report's."""
    return [*PAGES, *sorted(EXAMPLE.glob("*.html"))]


@pytest.mark.parametrize("name", printed_pages(), ids=lambda name: Path(name).stem)
def test_every_sheet_of_paper_is_whole(browser, report, tmp_path, name):
    pdfium = pytest.importorskip("pypdfium2")
    path = name if isinstance(name, Path) else report / name
    with opened(browser, path) as (page, _):
        page.emulate_media(media="print")
        for pressed in (".side", ".controls", ".tools", ".pager"):
            assert not any(node.is_visible() for node in page.locator(pressed).all())
        headings = {_plain(text) for text in page.locator("h1, h2, h3, h4, .tabletitle").all_text_contents()}
        page.pdf(path=tmp_path / "page.pdf", prefer_css_page_size=True)
    sheets = pdfium.PdfDocument(tmp_path / "page.pdf")
    for number, sheet in enumerate(sheets):
        ink = np.asarray(sheet.render(scale=1).to_pil().convert("L")) < 250
        edge = int(MARGIN)
        inside = ink[edge:-edge, edge:-edge]
        assert inside.mean() > 0.002, f"sheet {number + 1} of {path.name} is blank"
        assert ink.sum() == inside.sum(), f"something of sheet {number + 1} of {path.name} stands in its margin"
        lines = [_plain(line) for line in sheet.get_textpage().get_text_bounded().splitlines() if line.strip()]
        if number + 1 < len(sheets) and lines:
            assert lines[-1] not in headings, f"sheet {number + 1} of {path.name} ends with a heading: {lines[-1]}"


def _plain(text: str) -> str:
    return re.sub(r"\W+", "", text)


def test_paper_says_what_was_chosen(browser, report):
    with opened(browser, report / "1_is_it_real.html") as (page, _):
        page.select_option("select[data-control=mode_b]", "2-2")
        page.emulate_media(media="print")
        assert "Mode B: 2-2" in page.locator(".choices").inner_text()


def test_the_example_report_is_small_and_names_no_machine():
    pages = sorted(EXAMPLE.glob("*.html"))
    assert {"index.html", "5_inside_the_scan.html"} <= {path.name for path in pages}
    assert sum(path.stat().st_size for path in EXAMPLE.rglob("*")) < 6_000_000
    for path in pages:
        text = path.read_text(encoding="utf-8")
        assert len(text.encode()) < 2_000_000
        assert not re.search(r"/(root|home|tmp|work|opt)/\w", text), path.name


CROWDED = """() => [...document.querySelectorAll('svg.chart')].flatMap((svg) => {
  const box = svg.getBoundingClientRect(), name = svg.closest('figure').dataset.chart;
  const words = [...svg.querySelectorAll('text')].map((t) => (
    { text: t.textContent, turned: t.hasAttribute('transform'), box: t.getBoundingClientRect() }));
  const outside = words.filter((w) => w.box.left < box.left - 2 || w.box.right > box.right + 2
    || w.box.top < box.top - 2 || w.box.bottom > box.bottom + 2);
  const upright = words.filter((w) => !w.turned), covered = upright.filter((w, i) => upright.slice(0, i).some((v) =>
    w.box.left < v.box.right - 1 && v.box.left < w.box.right - 1
    && w.box.top < v.box.bottom - 3 && v.box.top < w.box.bottom - 3));
  return [...outside, ...covered].map((w) => `${name}: ${w.text}`);
})"""
"""Labels of a drawing that lie outside it or on one another; those that are turned may touch at their corners."""


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLE.glob("*.html")))
def test_every_label_of_a_drawing_can_be_read(browser, name, width):
    with opened(browser, EXAMPLE / name, viewport={"width": width, "height": 900}) as (page, wrong):
        assert page.evaluate(CROWDED) == []
        assert wrong == []


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLE.glob("*.html")))
def test_every_bar_of_a_drawing_has_its_label(browser, name):
    with opened(browser, EXAMPLE / name) as (page, _):
        for figure in page.locator(".charts.js-only figure:has(svg title)").all():
            bars = figure.locator("svg > rect[rx] > title").all_text_contents()
            shown = " ".join(figure.locator("svg text").all_text_contents())
            assert [bar for bar in bars if bar.rsplit(": ", 1)[0].split(" ")[-1] not in shown] == []
