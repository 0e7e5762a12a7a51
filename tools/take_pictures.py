"""The pictures of the README: ``python -m tools.take_pictures reports docs/images``.

From a finished report, and from a JupyterLab that is started for it.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from .lab import jupyterlab, run_all

SHOTS = (
    ("summary", "index.html", "light", {"width": 1280, "height": 860}, ""),
    ("step", "4_scan_outputs.html", "dark", {"width": 1280, "height": 860}, ".views"),
    ("words", "index.html", "light", {"width": 1280, "height": 860}, ".views"),
)
"""Name, page, colour scheme, window, and the part from which on it is shown; nothing for the top."""


def _take_lab(browser: Browser, target: Path) -> None:
    """A notebook's control bar and its first cards."""
    with tempfile.TemporaryDirectory() as folder, jupyterlab(Path(folder), {"limit": 20}) as address:
        page = browser.new_page(viewport={"width": 1366, "height": 860}, device_scale_factor=1.5)
        run_all(page, address, "2_scan_inputs", seconds=300)
        page.keyboard.press("Control+b")
        section = page.locator(".ql-explorer").first
        section.evaluate("node => node.scrollIntoView({block: 'start'})")
        page.wait_for_function("section => !section.querySelector('.ql-stale')", arg=section.element_handle())
        page.wait_for_timeout(2000)
        page.screenshot(path=str(target))


def main() -> int:
    report, target = Path(sys.argv[1]), Path(sys.argv[2])
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None or not (report / "index.html").is_file():
        sys.stderr.write(f"needs chromium on the PATH and a report in {report}: make report first\n")
        return 2
    target.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name, page_name, scheme, window, part in SHOTS:
            page = browser.new_page(
                viewport=window, color_scheme=scheme, device_scale_factor=1.5, reduced_motion="reduce"
            )
            page.goto((report / page_name).absolute().as_uri())
            if part:
                page.locator(part).first.evaluate("node => node.scrollIntoView({block: 'start'})")
                page.wait_for_timeout(500)
            page.screenshot(path=str(target / f"{name}.png"))
        _take_lab(browser, target / "jupyterlab.png")
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
