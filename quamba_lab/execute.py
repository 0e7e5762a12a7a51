"""Execute one notebook with papermill in a process of its own: ``python -m quamba_lab.execute job.json``.

The job names the notebook, the output, the parameters and a status file, in which this process keeps how far it is and,
at the end, what became of it: papermill's output alone does not tell a finished notebook from one whose kernel died.
"""

from __future__ import annotations

import json
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any
from uuid import uuid4

import papermill
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.paths import jupyter_runtime_dir
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from traitlets import default

from .files import write_text
from .texts import LANGUAGES, say, set_language

__all__ = ["IPCKernelManager", "execute"]

KERNEL = "python3"
"""The portable kernel name: every installation of ipykernel has it."""

LONGEST_FOLDER = 80
"""Characters: a socket's whole path may have 107 on Linux and 103 on macOS."""


class IPCKernelManager(AsyncKernelManager):
    """Kernels that speak over files instead of TCP ports, which collide when several start at once."""

    @default("transport")
    def _transport_default(self) -> str:
        return "tcp" if sys.platform == "win32" else "ipc"

    @default("ip")
    def _ip_default(self) -> str:
        # For files the "address" is a path.  jupyter_client's own default is one name in the working folder, which
        # every kernel would share.
        if self.transport != "ipc":
            return super()._ip_default()
        folder = Path(jupyter_runtime_dir())
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # a new account has none yet
        if len(str(folder)) > LONGEST_FOLDER:
            folder = Path(tempfile.mkdtemp(prefix="quamba-lab-"))
        return str(folder / f"k{uuid4().hex[:12]}")


def execute(notebook: Path, output: Path, parameters: dict[str, Any], status: Path) -> dict[str, Any]:
    """Run ``notebook`` and write ``output``; returns (and keeps in ``status``) the state, a reason and cell counts."""
    if parameters.get("lang") in LANGUAGES:
        set_language(parameters["lang"])
    state: dict[str, Any] = {"status": "running", "reason": "", "cells_done": 0, "cells": 0}

    def keep(**changes: Any) -> None:
        state.update(changes)
        write_text(status, json.dumps(state))

    def count(cell: Any, cell_index: int, **_: Any) -> None:
        keep(cells_done=cell_index + 1)

    keep(cells=len(json.loads(notebook.read_text(encoding="utf-8"))["cells"]) + 1)  # papermill injects one
    try:
        papermill.execute_notebook(
            str(notebook), str(output), parameters=parameters, kernel_name=KERNEL, progress_bar=False,
            kernel_manager_class=IPCKernelManager, on_cell_complete=count,
        )  # fmt: skip
    except papermill.PapermillExecutionError as error:
        keep(status="failed", reason=f"{error.ename}: {error.evalue}")
    except DeadKernelError:
        keep(status="killed", reason=say("The kernel died, perhaps for want of memory."))
    except CellTimeoutError:
        keep(status="timed out", reason=say("A cell took longer than it may."))
    except KeyboardInterrupt:
        keep(status="interrupted", reason=say("It was told to stop."))
    else:
        keep(status="done", cells_done=state["cells"])
    return state


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    signal.signal(signal.SIGTERM, _stop)
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    state = execute(Path(job["notebook"]), Path(job["output"]), job["parameters"], Path(job["status"]))
    return 0 if state["status"] == "done" else 1


if __name__ == "__main__":
    sys.exit(main())
