"""Work that takes longer than a hand waits: in its own thread, with progress, stopped by a button or an interrupt."""

from __future__ import annotations

import contextvars
import ctypes
import signal
import threading
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["Job", "listen_for_interrupts", "stop_all"]


class Stopped(KeyboardInterrupt):
    """Raised inside the working thread when it is told to stop."""


_running: set[Job] = set()


class Job:
    """``parts``, (words, call), done one after the other.

    ``on_progress(done, words)`` is told before each part; ``on_end(error)`` once at the end, with None when all was
    done, :class:`Stopped` when it was stopped, else what was raised.  What a part was doing when stopped is lost, what
    earlier parts have done is kept.
    """

    def __init__(
        self, parts: Sequence[tuple[str, Callable[[], Any]]], on_progress: Callable[[int, str], None],
        on_end: Callable[[BaseException | None], None],
    ):  # fmt: skip
        self._parts, self._on_progress, self._on_end = parts, on_progress, on_end
        self._wanted = True
        # The thread's messages belong to the cell that started it, as the context says.
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._run,), daemon=True)

    def start(self) -> None:
        _running.add(self)
        self._thread.start()

    def wait(self, seconds: float | None = None) -> None:
        """Until it is done, at most ``seconds``."""
        self._thread.join(seconds)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        """Stop at the next step of the interpreter, which is after the tensor operation that is going on."""
        self._wanted = False
        if self._thread.is_alive() and self._thread.ident is not None:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread.ident), ctypes.py_object(Stopped))

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            for done, (words, call) in enumerate(self._parts):
                if not self._wanted:
                    raise Stopped
                self._on_progress(done, words)
                call()
        except KeyboardInterrupt:
            error = Stopped()
        except Exception as raised:
            error = raised
        finally:
            _running.discard(self)
        self._on_end(error)


def stop_all() -> bool:
    """Stop every job; whether there was one."""
    found = list(_running)
    for job in found:
        job.stop()
    return bool(found)


def listen_for_interrupts() -> None:
    """Let the kernel's interrupt stop jobs while no cell runs, when ipykernel itself would ignore it.

    Called in a cell: ipykernel restores ``saved_sigint_handler`` as its idle handler when the cell ends.
    """
    from IPython import get_ipython

    kernel = getattr(get_ipython(), "kernel", None)
    previous = getattr(kernel, "saved_sigint_handler", None)
    if previous is None or getattr(previous, "stops_jobs", False):
        return

    def handler(number: int, frame: Any) -> None:
        if not stop_all() and callable(previous) and previous is not signal.default_int_handler:
            previous(number, frame)

    handler.stops_jobs = True
    kernel.saved_sigint_handler = handler
