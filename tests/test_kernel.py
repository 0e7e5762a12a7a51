"""In a real kernel: long cells show a bar, and an interrupt stops cells and what the controls have started."""

from __future__ import annotations

import time

import pytest
from jupyter_client.manager import start_new_kernel

pytestmark = [pytest.mark.notebooks, pytest.mark.timeout(240)]

START = """
import time
from quamba_lab.widgets.busy import watch_cells
from quamba_lab.widgets.job import Job, listen_for_interrupts
watch_cells()
listen_for_interrupts()
ended = []
def endless():
    while True:
        time.sleep(0.01)
"""


@pytest.fixture
def kernel():
    manager, client = start_new_kernel(startup_timeout=120)
    said: list = []
    client.execute_interactive(START, output_hook=said.append, timeout=120)
    assert [m for m in said if m["msg_type"] == "error"] == []
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def outputs(client, code):
    said: list = []
    reply = client.execute_interactive(code, output_hook=said.append, timeout=60)
    return reply["content"], said


def test_a_long_cell_has_a_bar_that_goes(kernel):
    _, client = kernel
    _, quick = outputs(client, "1 + 1")
    assert [m for m in quick if m["msg_type"] == "display_data"] == []
    reply, said = outputs(client, "time.sleep(3)")
    assert reply["status"] == "ok"
    shown = [m["content"]["data"] for m in said if m["msg_type"] in ("display_data", "update_display_data")]
    assert "<progress" in shown[0]["text/html"]
    assert shown[-1] == {"text/plain": ""}


def test_an_interrupt_stops_a_cell_and_the_kernel_lives(kernel):
    manager, client = kernel
    message = client.execute("from quamba_lab import steps\nrun = steps.Workbook(limit=100, cache_dir=False)\n"
                             "run.answers('0')\nendless()", stop_on_error=False)  # fmt: skip
    time.sleep(6)
    manager.interrupt_kernel()
    reply = client._recv_reply(message, timeout=60)
    assert reply["content"]["status"] == "error"
    assert "Interrupt" in reply["content"]["ename"]
    assert outputs(client, "run.answers('0').mode")[0]["status"] == "ok"


def test_an_interrupt_stops_what_a_control_has_started(kernel):
    manager, client = kernel
    outputs(client, "job = Job([('endless', endless)], lambda *_: None, ended.append)\njob.start()")
    assert outputs(client, "assert job.alive")[0]["status"] == "ok"
    manager.interrupt_kernel()
    reply, _ = outputs(client, "job.wait(20)\nassert type(ended[0]).__name__ == 'Stopped', ended")
    assert reply["status"] == "ok", reply
    assert outputs(client, "1")[0]["status"] == "ok"
