"""The pictures of the README, from a finished report: ``python -m tools.take_pictures reports docs/images``."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

SHOTS = (
    ("summary", "index.html", "light", {"width": 1280, "height": 860}, ""),
    ("step", "4_scan_outputs.html", "dark", {"width": 1280, "height": 860}, ".views"),
    ("words", "index.html", "light", {"width": 1280, "height": 860}, ".views"),
)
"""Name, page, colour scheme, window, and the part from which on it is shown; nothing for the top."""


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
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
