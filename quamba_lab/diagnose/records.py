"""What came of the probes: one record each, and questions asked of all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch

from ..quantized import Quantized
from ..scans import ScanInputs
from .bounds import Bounds, Precision, bounds
from .probes import Embed, Probe, ladder, units
from .sandbox import Outcome, Sandbox

__all__ = ["EMBEDS", "U_DTYPES", "Findings", "Record", "judge", "measured_ladder", "measured_units", "uses"]

EMBEDS = (
    Embed(),
    Embed(64),
    Embed(1, 16),
    Embed(1, 16, 7),
    Embed(1, 4, 1),
    Embed(64, 16),
    Embed(64, 16, 7),
    Embed(1024, 16, 7),
)
"""Rooms to try: a scan that drops its ragged tail or its last state cannot be examined with one token or one state."""


@dataclass(frozen=True)
class Record:
    """One probe's outcome.  ``bad_y``, ``bad_state``: outside the bound.  ``where``: (b, t, c) of the first bad y, or
    of
    the watched y that lies furthest out; ``observed``, ``expected``: y there.  ``again``: a second call differed."""

    probe: Probe
    bounds: Bounds
    outcome: Outcome
    bad_y: bool = False
    bad_state: bool = False
    where: tuple[int, int, int] = (0, 0, 0)
    observed: float = float("nan")
    expected: float = float("nan")
    again: bool = False

    @property
    def bad(self) -> bool:
        return self.bad_y or self.bad_state

    @property
    def about(self) -> dict:
        return self.probe.about

    @property
    def y(self) -> np.ndarray:
        """The watched y, float64 (b, l, d)."""
        return self.outcome.y[:, : self.probe.watch].astype(np.float64)

    @property
    def excess(self) -> float:
        """By how many bounds (each the honest error and half a float16 spacing) the worst y misses; 0 when inside."""
        if self.outcome.y is None:
            return float("inf")
        watch = slice(0, self.probe.watch)
        value = self.bounds.value[:, watch]
        room = self.bounds.error[:, watch] + np.spacing(np.abs(value).clip(2.0**-14, 60000.0).astype(np.float16)) / 2
        with np.errstate(invalid="ignore", over="ignore"):
            miss = np.abs(self.y - value) / room
        miss = np.where(self.bounds.violations(self.outcome.y)[:, watch], np.nan_to_num(miss, nan=np.inf), 0.0)
        return float(miss.max()) if self.bad_y else 0.0


def judge(probe: Probe, limit: Bounds, outcome: Outcome, again: bool = False) -> Record:
    """Hold one outcome against its bound."""
    if outcome.y is None:
        return Record(probe, limit, outcome)
    watch = slice(0, probe.watch)
    outside = limit.violations(outcome.y)[:, watch]
    state = outcome.state is not None and probe.watch is None and bool(limit.state_violations(outcome.state).any())
    where = tuple(int(i) for i in (np.argwhere(outside)[0] if outside.any() else np.zeros(3)))
    if not outside.any() and probe.watch is not None:
        where = (0, probe.watch - 1, 0)
    elif not outside.any():
        where = (0, outcome.y.shape[1] - 1, 0)
    return Record(
        probe,
        limit,
        outcome,
        bool(outside.any()),
        state,
        where,
        float(outcome.y[where]),
        float(limit.value[where]),
        again,
    )


U_DTYPES = {"int8": torch.int8, "float32": torch.float32, "float16": torch.float16}
"""What a scan may take as u: codes, or values without a scale."""


def _as_taken(probes: Iterable[Probe], u: str) -> Iterator[Probe]:
    """The probes with u as the scan takes it; those whose u float16 cannot hold are left out."""
    for probe in probes:
        if u != "int8":
            values = probe.inputs.u.dequantize().to(U_DTYPES[u])
            if not bool(torch.isfinite(values).all()):
                continue
            probe = replace(probe, inputs=replace(probe.inputs, u=Quantized(values, None)))
        yield probe


@lru_cache(maxsize=8)
def measured_ladder(embed: Embed, seed: int, precision: str, u: str = "int8") -> tuple[tuple[Probe, Bounds], ...]:
    """The ladder with its bounds; kept, since it is the same for every scan."""
    limit = Precision.parse(precision)
    return tuple((probe, bounds(probe.inputs, limit)) for probe in _as_taken(ladder(embed, seed), u))


@lru_cache(maxsize=8)
def measured_units(precision: str, u: str = "int8") -> tuple[tuple[Probe, Bounds], ...]:
    """The probes of the first rung with their bounds."""
    limit = Precision.parse(precision)
    return tuple((probe, bounds(probe.inputs, limit)) for probe in _as_taken(units(EMBEDS), u))


def uses(x: ScanInputs) -> set[str]:
    """The operations that these inputs exercise visibly: an operand counts when its scale or a code is not trivial."""
    found = {"drive", "contraction", "output_cast", "determinism"}
    for name, q in x.operands().items():
        if q.scale is None or float(q.scale) != 1.0 or bool(((q.values != 0) & (q.values != 1)).any()):
            found.add(f"dequantize.{'A' if name == 'A_log' else name}")
    if x.softplus:
        found.add("softplus")
    if x.length > 1:
        found |= {"decay", "recurrence", "dequantize.A"}
    if x.D is not None:
        found.add("skip")
    if x.z is not None:
        found.add("gate")
    if x.state_scale is not None:
        found.add("state_quantization")
    if max(x.batch, x.channels, x.length) > 1:
        found.add("layout")
    return found


class Findings:
    """All records of one scan.  ``call``: runs the scan on further inputs, for the rules that ask again."""

    def __init__(
        self, records: list[Record], embed: Embed | None, call: Callable[[ScanInputs], Outcome] | Sandbox
    ) -> None:
        self.records, self.embed, self.call = records, embed, call

    def on(self, rung: str, **about) -> list[Record]:
        """The answered records of a rung, those whose ``about`` agrees."""
        return [
            r for r in self.records
            if r.probe.rung == rung and r.outcome.y is not None and all(r.about.get(k) == v for k, v in about.items())
        ]  # fmt: skip

    def bad(self, rung: str, **about) -> list[Record]:
        """Those of :meth:`on` whose y left its bound."""
        return [r for r in self.on(rung, **about) if r.bad_y]

    def state_bad(self, rung: str, **about) -> list[Record]:
        """Those of :meth:`on` whose y is right and whose last state is not."""
        return [r for r in self.on(rung, **about) if r.bad_state and not r.bad_y]

    def clean(self, *rungs: str) -> bool:
        return not any(self.bad(rung) for rung in rungs)

    @property
    def failures(self) -> list[Record]:
        return [r for r in self.records if r.bad or r.again]
