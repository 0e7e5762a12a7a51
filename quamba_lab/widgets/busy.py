"""A bar for cells that take longer than a moment: seconds and prompts so far, and how to stop."""

from __future__ import annotations

import contextvars
import threading
import time
from html import escape
from typing import Any

from IPython.display import display
from torch import nn

from ..model import QuantizedMamba
from ..texts import say

__all__ = ["Busy", "watch_cells"]

PATIENCE = 1.5
"""Seconds before a cell is worth a bar."""
BEAT = 0.5


class Busy:
    """Shows, below a running cell, how long it has run and how many prompts have gone through the model.

    The bar goes when the cell ends.  It moves by itself in the browser, since nobody knows how much is left.
    """

    def __init__(self) -> None:
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._prompts = 0
        self._hook: Any = None

    def start(self, *_: Any) -> None:
        self.stop()
        self._over, self._prompts = threading.Event(), 0
        self._hook = nn.modules.module.register_module_forward_hook(self._count)
        context = contextvars.copy_context()  # so that the bar belongs to the cell's output
        self._thread = threading.Thread(target=context.run, args=(self._watch, self._over), daemon=True)
        self._thread.start()

    def stop(self, *_: Any) -> None:
        self._over.set()
        if self._hook is not None:
            self._hook.remove()
            self._hook = None
        if self._thread is not None:
            self._thread.join(5)
            self._thread = None

    def _count(self, module: nn.Module, inputs: tuple, output: Any) -> None:
        if isinstance(module, QuantizedMamba):
            self._prompts += len(inputs[0])

    def _watch(self, over: threading.Event) -> None:
        began, handle = time.monotonic(), None
        wait = PATIENCE
        while not over.wait(wait):
            wait = BEAT
            bundle = {"text/html": self._html(time.monotonic() - began), "text/plain": ""}
            if handle is None:
                handle = display(bundle, raw=True, display_id=True)
            else:
                handle.update(bundle, raw=True)
        if handle is not None:
            handle.update({"text/plain": ""}, raw=True)

    def _html(self, seconds: float) -> str:
        words = say(
            "{seconds} s, {prompts} prompts through the model; the square in the toolbar stops it",
            seconds=f"{seconds:.0f}", prompts=f"{self._prompts:,}",
        )  # fmt: skip
        return f'<progress style="vertical-align:middle;margin-right:.8em"></progress><span>{escape(words)}</span>'


def watch_cells() -> None:
    """Give every cell of this kernel that takes longer a bar; once."""
    from IPython import get_ipython

    shell = get_ipython()
    if shell is None or getattr(shell, "kernel", None) is None or getattr(shell, "quamba_lab_busy", None):
        return
    busy = shell.quamba_lab_busy = Busy()
    shell.events.register("pre_run_cell", busy.start)
    shell.events.register("post_run_cell", busy.stop)
