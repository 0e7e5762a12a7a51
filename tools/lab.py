"""A JupyterLab over copies of the notebooks with small settings: for the tests and for the README's picture."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import papermill
from playwright.sync_api import Page, expect

from quamba_lab.sweep import notebooks

__all__ = ["jupyterlab", "run_all"]

TOKEN = "for-this-session-only"
SETTINGS = {
    # Without virtual scrolling: a cell out of sight would not be in the page, and could not be asked.
    "notebook-extension/tracker": {"windowingMode": "none", "autoStartDefaultKernel": True},
    "apputils-extension/notification": {"fetchNews": "false"},
}


@contextmanager
def jupyterlab(folder: Path, parameters: Mapping[str, Any], theme: str = "Light") -> Iterator[str]:
    """Copy the notebooks with ``parameters`` into ``folder`` and serve them; yields the address."""
    for name, path in notebooks().items():
        copy = papermill.execute_notebook(
            str(path), None, parameters=dict(parameters), prepare_only=True, progress_bar=False
        )
        nbformat.write(copy, folder / f"{name}.ipynb")
    wanted = SETTINGS | {"apputils-extension/themes": {"theme": f"JupyterLab {theme}"}}
    for name, content in wanted.items():
        target = folder / ".config" / "lab" / "user-settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(content))
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
    try:
        for _ in range(150):
            if server.poll() is not None:
                raise RuntimeError((folder / "lab.log").read_text())
            try:
                urllib.request.urlopen(f"{address}/api?token={TOKEN}", timeout=2).read()
                break
            except OSError:
                time.sleep(0.4)
        yield address
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()


def run_all(page: Page, address: str, name: str, seconds: float = 180) -> None:
    """Open a notebook, Run All, and wait for its last cell."""
    page.goto(f"{address}/lab/tree/{name}.ipynb?token={TOKEN}&reset")
    page.locator(".jp-Notebook").wait_for(timeout=120_000)
    # The indicator is idle before there is a kernel; the status bar names the kernel once there is one.
    expect(page.locator("#jp-main-statusbar")).to_contain_text(re.compile(r"Python 3.*\| Idle"), timeout=120_000)
    page.wait_for_timeout(1000)
    select = page.locator(".jp-Dialog button.jp-mod-accept")
    if select.count():
        select.click()
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name=re.compile("^Run All Cells")).click()
    last = page.locator(".jp-CodeCell").last.locator(".jp-InputPrompt")
    expect(last).to_have_text(re.compile(r"\[\d+\]:"), timeout=1000 * seconds)
