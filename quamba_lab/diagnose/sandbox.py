"""Call a stranger's scan without being taken down by it.

One worker thread makes every call; the caller waits at most ``time_limit`` seconds for each, and :data:`FIRST_CALL`
times as long for the first, in which a scan may compile itself.  A call that does not come
back is sent an exception (which ends a Python loop at its next instruction) and the worker is left behind as a daemon:
a fork would be cleaner, and is unsafe once torch's thread pools or CUDA are up.
"""

from __future__ import annotations

import ctypes
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..quantized import Quantized
from ..scans import ScanError, ScanInputs, ScanOutput
from ..texts import say

__all__ = ["FIRST_CALL", "Outcome", "Sandbox"]

FIRST_CALL = 6
"""Time limits that a first call may take: a compiler on a busy machine needs minutes."""


@dataclass(frozen=True)
class Outcome:
    """One call.  ``status``: ``ok``, ``declined`` (ScanError or NotImplementedError), ``error``, ``timeout``,
    ``invalid output`` or ``mutates inputs``; ``detail``: one sentence; ``y``: float16 (b, l, d);
    ``state``: (b, d, n) or None."""

    status: str
    detail: str = ""
    y: np.ndarray | None = None
    state: np.ndarray | None = None
    dtype: str = "float16"


class _Abandoned(BaseException):
    """Sent into a worker whose call ran out of time."""


class Sandbox:
    """Calls ``fn`` on copies of the inputs; use as a context manager.  ``calls``: how many were made."""

    def __init__(self, fn: Callable, time_limit: float) -> None:
        self.fn, self.time_limit, self.calls, self.seconds = fn, time_limit, 0, 0.0
        self._tasks: queue.SimpleQueue = queue.SimpleQueue()
        self._results: queue.SimpleQueue = queue.SimpleQueue()
        self._worker = threading.Thread(target=self._work, daemon=True)
        self._worker.start()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_) -> None:
        self._tasks.put(None)

    def _work(self) -> None:
        tasks, results = self._tasks, self._results
        while (x := tasks.get()) is not None:
            try:
                with torch.no_grad():
                    results.put((self.fn(x), None))
            except _Abandoned:
                return
            except BaseException as error:
                results.put((None, error))

    def __call__(self, x: ScanInputs) -> Outcome:
        """Run the scan on ``x``; never raises on the scan's account."""
        given = _copy(x)
        limit = self.time_limit * (1 if self.calls else FIRST_CALL)
        started = time.perf_counter()
        self.calls += 1
        self._tasks.put(given)
        try:
            result, error = self._results.get(timeout=limit)
        except queue.Empty:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._worker.ident), ctypes.py_object(_Abandoned))
            return Outcome("timeout", say(
                "the call took longer than {time_limit} s and was abandoned", time_limit=f"{limit:g}"
            ))
        finally:
            self.seconds += time.perf_counter() - started
        if error is not None:
            kind = "declined" if isinstance(error, (ScanError, NotImplementedError)) else "error"
            return Outcome(kind, say(
                "raised {name}: {message}",
                name=type(error).__name__, message=str(error).strip().partition(chr(10))[0][:200]
            ))
        for name, q in given.operands().items():
            kept = getattr(x, name)
            same_scale = q.scale is None or torch.equal(q.scale, kept.scale)
            if q.shape != kept.shape or not torch.equal(q.values, kept.values) or not same_scale:
                return Outcome("mutates inputs", say("the call changed its input {name}", name=name))
        if x.state_scale is not None and not torch.equal(given.state_scale, x.state_scale):
            return Outcome("mutates inputs", say("the call changed its input state_scale"))
        return _checked(result, x)


def _copy(x: ScanInputs) -> ScanInputs:
    """What the scan receives: it may write there without spoiling the probe."""
    copies = {
        name: Quantized(q.values.clone(), None if q.scale is None else q.scale.clone())
        for name, q in x.operands().items()
    }
    return replace(x, **copies, state_scale=None if x.state_scale is None else x.state_scale.clone())


def _checked(result: object, x: ScanInputs) -> Outcome:
    output = result if isinstance(result, ScanOutput) else ScanOutput(result)  # type: ignore[arg-type]
    y, state = output.y, output.last_state
    expected = (x.batch, x.length, x.channels)
    if not isinstance(y, Tensor):
        return Outcome("invalid output", say(
            "returned {name}: expected a ScanOutput or a float16 tensor", name=type(y).__name__
        ))
    if tuple(y.shape) != expected:
        return Outcome("invalid output", say(
            "y has shape {shape}: expected (b, l, d) = {expected}", shape=tuple(y.shape), expected=expected
        ))
    if y.dtype not in (torch.float16, torch.bfloat16):
        return Outcome("invalid output", say("y is {dtype}: expected torch.float16", dtype=y.dtype))
    if state is not None:
        shape = (x.batch, x.channels, x.states)
        if not isinstance(state, Tensor) or tuple(state.shape) != shape:
            got = tuple(state.shape) if isinstance(state, Tensor) else type(state).__name__
            return Outcome("invalid output", say(
                "last_state is {got}: expected a tensor of shape (b, d, n) = {shape}", got=got, shape=shape
            ))
        state = state.detach().cpu().numpy() if state.dtype != torch.bfloat16 else state.detach().cpu().float().numpy()
    name = str(y.dtype).removeprefix("torch.")
    return Outcome("ok", "", y.detach().half().cpu().numpy(), state, name)
