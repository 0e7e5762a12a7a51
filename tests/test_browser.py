"""In a real browser: the report (no request, no error, what is shown agrees with the controls) and JupyterLab."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import nbformat
import papermill
import pytest
from tiny import HOSTILE, write_workbook

from quamba_lab.parameters import Settings
from quamba_lab.sweep import notebooks as workbook
from quamba_lab.sweep import sweep

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

PAGES = ("index.html", "1_is_it_real.html")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    notebooks = write_workbook(folder / "notebooks", extra={"2_scan_inputs": "raise ValueError('no such mode')"})
    sweep(Settings(layers=(0, 1)), folder / "reports", folder=notebooks, timeout=120, command="quamba-lab report")
    return folder / "reports"


@pytest.fixture(scope="module")
def browser(chromium):
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


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
        assert page.locator(".charts.js-only figure").count() == 5
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


def test_a_click_on_a_map_chooses_its_layer(browser, report):
    with opened(browser, report / "1_is_it_real.html") as (page, _):
        page.locator("figure[data-chart=map] rect.cell").nth(5 * 4 + 1).click()
        assert page.locator("figure[data-chart=error]").get_attribute("data-frame") == "2-1|4"
        assert page.locator("input[data-control=layer]").input_value() == "4"


def test_choices_hold_on_the_next_page_and_after_a_reload(browser, report):
    with opened(browser, report / "1_is_it_real.html") as (page, _):
        page.select_option("select[data-control=mode_b]", "2-0")
        page.reload()
        assert page.locator("figure[data-chart=error]").get_attribute("data-frame") == "2-0|0"
        page.goto((report / "index.html").as_uri())
        assert page.locator("select[data-control=mode_b]").input_value() == "2-0"


def test_without_javascript_the_default_figure_stands(browser, report):
    with opened(browser, report / "1_is_it_real.html", java_script_enabled=False) as (page, _):
        assert page.locator(".controls").is_hidden()
        assert page.locator(".views img").is_visible()
        assert page.locator("main table").first.is_visible()


@pytest.mark.parametrize("width", [360, 768, 1600])
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


def test_data_and_pictures_download(browser, report):
    with opened(browser, report / "1_is_it_real.html", accept_downloads=True) as (page, wrong):
        tools = page.locator("figure[data-chart=error] .tools a")
        with page.expect_download() as download:
            tools.nth(1).click()
        lines = open(download.value.path()).read().splitlines()  # noqa: SIM115
        assert lines[0] == "token,2-1,floor low,floor high"
        assert len(lines) == 6
        with page.expect_download() as download:
            tools.nth(0).click()
        assert "var(--" not in open(download.value.path()).read()  # noqa: SIM115
        assert wrong == []


def test_an_unfinished_step_carries_a_banner(browser, report):
    with opened(browser, report / "2_scan_inputs.html") as (page, _):
        assert "no such mode" in page.locator(".banner").first.inner_text()
    with opened(browser, report / "index.html") as (page, _):
        assert "1 of 3" in page.locator(".banner").first.inner_text()


def test_it_prints(browser, report, tmp_path):
    with opened(browser, report / "index.html") as (page, _):
        page.emulate_media(media="print")
        assert page.locator(".side").is_hidden()
        assert len(page.pdf()) > 10_000


# The notebooks in a real JupyterLab ----------------------------------------------------------------------------------

TOKEN = "for-the-tests-only"
QUICK = {"limit": 4, "layers": [0, 7]}


def _quick_copy(source: Path, target: Path) -> None:
    """A notebook with small settings, as papermill would inject them."""
    notebook = papermill.execute_notebook(str(source), None, parameters=QUICK, prepare_only=True, progress_bar=False)
    nbformat.write(notebook, target)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The address of a running JupyterLab over quick copies of the notebooks."""
    folder = tmp_path_factory.mktemp("lab")
    for name, path in workbook().items():
        _quick_copy(path, folder / f"{name}.ipynb")
    # Without virtual scrolling: a cell out of sight would not be in the page, and could not be asked.
    settings = folder / ".config" / "lab" / "user-settings" / "@jupyterlab"
    for name, content in {
        "notebook-extension/tracker": '{"windowingMode": "none", "autoStartDefaultKernel": true}',
        "apputils-extension/notification": '{"fetchNews": "false"}',
    }.items():
        target = settings / f"{name}.jupyterlab-settings"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", f"--port={port}", "--ip=127.0.0.1",
        f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={folder}", "--ServerApp.port_retries=0",
        "--LabApp.news_url=None", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.extension_manager=readonly", *(["--allow-root"] if os.geteuid() == 0 else []),
    ]  # fmt: skip
    environment = os.environ | {"JUPYTER_CONFIG_DIR": str(folder / ".config"), "OMP_NUM_THREADS": "1"}
    with (folder / "lab.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    address = f"http://127.0.0.1:{port}"
    for _ in range(150):
        if server.poll() is not None:
            raise AssertionError((folder / "lab.log").read_text())
        try:
            urllib.request.urlopen(f"{address}/api?token={TOKEN}", timeout=2).read()
            break
        except OSError:
            time.sleep(0.4)
    yield address
    server.terminate()
    try:
        server.wait(20)
    except subprocess.TimeoutExpired:
        server.kill()


def _run_all(page, address: str, name: str) -> None:
    page.goto(f"{address}/lab/tree/{name}.ipynb?token={TOKEN}&reset")
    page.locator(".jp-Notebook").wait_for(timeout=120_000)
    # The indicator is idle before there is a kernel; the status bar names the kernel once there is one.
    status = page.locator("#jp-main-statusbar")
    playwright.expect(status).to_contain_text(re.compile(r"Python 3.*\| Idle"), timeout=120_000)
    page.wait_for_timeout(1000)
    select = page.locator(".jp-Dialog button.jp-mod-accept")
    if select.count():
        select.click()
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name=re.compile("^Run All Cells")).click()
    last = page.locator(".jp-CodeCell").last.locator(".jp-InputPrompt")
    playwright.expect(last).to_have_text(re.compile(r"\[\d+\]:"), timeout=180_000)


@pytest.mark.parametrize("name", [name for name in workbook() if not name.startswith("0")])
def test_in_jupyterlab_a_control_changes_the_picture(browser, lab, name):
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: message.type == "error" and errors.append(message.text))
    _run_all(page, lab, name)
    assert page.locator(".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.error']").count() == 0
    pictures = page.locator(".jp-OutputArea .widget-image, .jp-OutputArea .jupyter-widgets img")
    pictures.first.scroll_into_view_if_needed()
    for control in _controls(page):
        before = pictures.evaluate_all(SOURCES)
        control.scroll_into_view_if_needed()
        if control.evaluate("node => node.tagName") == "SELECT":
            count = control.locator("option").count()
            now = control.evaluate("node => node.selectedIndex")
            control.select_option(index=(now + 1) % count)
        else:
            control.focus()
            now = float(control.get_attribute("aria-valuenow"))
            page.keyboard.press("ArrowRight" if now < float(control.get_attribute("aria-valuemax")) else "ArrowLeft")
        deadline = time.monotonic() + 30
        while pictures.evaluate_all(SOURCES) == before:
            assert time.monotonic() < deadline, f"no picture follows {control.evaluate('node => node.outerHTML')[:200]}"
            page.wait_for_timeout(100)
    assert errors == []
    context.close()


SOURCES = "nodes => nodes.map((node) => node.src)"


def _controls(page):
    """The dropdowns of the control bar, and the handles of its sliders, that offer a choice at all."""
    return page.locator(".widget-dropdown select, .jupyter-widgets .noUi-handle").all()
