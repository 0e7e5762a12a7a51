"""Make a failing input small: fewer items, tokens, channels and states, then smaller and rounder values.

Greedy reduction to a local minimum (Zeller and Hildebrandt's delta debugging, 2002, with the scan's own structure in
place of a list): a cut is kept when the scan still leaves the bound of the cut input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch

from ..quantized import Quantized
from ..scans import ScanError, ScanInputs
from .bounds import Bounds, Precision, bounds
from .finding import Finding
from .sandbox import Outcome

__all__ = ["Smallest", "shrink"]

CALLS = 400


@dataclass(frozen=True)
class Smallest:
    """``inputs`` on which ``outcome`` leaves ``limit``, in y or (``state``) in the returned state; ``repeated``: it
    takes a
    second call to see it."""

    inputs: ScanInputs
    limit: Bounds
    outcome: Outcome
    state: bool
    repeated: bool = False


def _size(x: ScanInputs) -> int:
    return x.batch * x.channels * x.length * x.states


def shrink(call: Callable[[ScanInputs], Outcome], finding: Finding, precision: Precision) -> Smallest | None:
    """The smallest input found that shows ``finding``; None when its probes do not fail any more."""
    repeated = any(r.again for r in finding.key)
    budget = [CALLS]

    def attempt(x: ScanInputs, state: bool) -> Smallest | None:
        if budget[0] <= 0:
            return None
        budget[0] -= 1
        outcome = call(x)
        if outcome.y is None:
            return None
        limit = bounds(x, precision)
        if repeated:
            for _ in range(8):
                second = call(x)
                if second.y is not None and second.y.tobytes() != outcome.y.tobytes():
                    return Smallest(x, limit, outcome, False, True)
                call(replace(x, u=x.u.map(torch.neg)))
        if limit.violations(outcome.y).any():
            return Smallest(x, limit, outcome, False)
        if state and outcome.state is not None and limit.state_violations(outcome.state).any():
            return Smallest(x, limit, outcome, True)
        return None

    candidates = sorted((r for r in finding.key if r.bad or r.again), key=lambda r: _size(r.probe.inputs))
    for record in candidates[:5]:
        by_state = record.bad_state and not record.bad_y
        found = attempt(record.probe.inputs, by_state)
        if found is not None:
            return _reduce(found, attempt)
    return None


def _reduce(found: Smallest, attempt: Callable[[ScanInputs, bool], Smallest | None]) -> Smallest:
    improved = True
    while improved:
        improved = False
        for smaller in _smaller(found.inputs):
            trial = attempt(smaller, found.state)
            if trial is not None and trial.state == found.state:
                found, improved = trial, True
                break
    return found


def _smaller(x: ScanInputs) -> Iterator[ScanInputs]:
    """Cuts of ``x``, the boldest first."""
    for name, size in (("batch", x.batch), ("length", x.length), ("channels", x.channels), ("states", x.states)):
        for keep in _spans(size):
            try:
                cut = x.narrow(**{name: keep})
                cut.check_shapes()
            except ScanError:
                continue
            yield cut
    for name in ("z", "D", "dt_bias", "state_scale"):
        if getattr(x, name) is not None:
            yield replace(x, **{name: None})
    if x.softplus:
        yield replace(x, softplus=False)
    for name, q in x.operands().items():
        yield from _simpler(x, name, q)


def _spans(size: int) -> Iterator[slice]:
    if size > 1:
        half = size // 2
        yield slice(0, half)
        yield slice(half, size)
        yield slice(0, size - 1)
        yield slice(1, size)


def _simpler(x: ScanInputs, name: str, q: Quantized) -> Iterator[ScanInputs]:
    values, one = q.values, torch.tensor(1.0, dtype=torch.float32)
    for simple in (0, 1):
        flat = torch.full_like(values, simple)
        if not torch.equal(values, flat) and not (simple == 1 and torch.equal(values, torch.zeros_like(values))):
            yield replace(x, **{name: Quantized(flat, q.scale)})
    if q.scale is not None and float(q.scale) != 1.0:
        yield replace(x, **{name: Quantized(values, one.to(values.device))})
    low = torch.div(values, 2, rounding_mode="trunc")
    if not torch.equal(low, values) and values.numel() <= 64 and int(values.abs().max()) > 4:
        yield replace(x, **{name: Quantized(low, q.scale)})
