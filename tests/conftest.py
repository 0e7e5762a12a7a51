"""Shared by every test: in CI (QUAMBA_LAB_CI=1) nothing may be skipped except tests that are marked gpu."""

from __future__ import annotations

import os
import shutil

import pytest

STRICT = os.environ.get("QUAMBA_LAB_CI") == "1"


def _refuse(report, reason: object) -> None:
    report.outcome = "failed"
    report.longrepr = f"skipped in CI, where only gpu tests may be: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if STRICT and report.skipped and not hasattr(report, "wasxfail") and item.get_closest_marker("gpu") is None:
        _refuse(report, report.longrepr)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    report = yield
    if STRICT and report.skipped:
        _refuse(report, report.longrepr)
    return report


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of an installed Chromium: the browser tests drive that one and download none."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    pytest.skip("no chromium on the PATH: install it (apt-get install chromium)")


@pytest.fixture(scope="module")
def browser(chromium):
    """A running Chromium, driven by playwright."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()
