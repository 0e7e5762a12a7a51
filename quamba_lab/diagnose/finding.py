"""What a rule answers, and the comparisons that rules share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .records import Record

__all__ = ["Finding", "at_factoring", "elasticity", "inconsistent", "near", "operation_of"]


@dataclass(frozen=True)
class Finding:
    """``operation`` named, the ``runner_up``, the ``reason`` in one sentence, the ``key`` records; ``certainty`` of
    the rule
    itself: 1 for a signature in numbers, less for what is left over."""

    operation: str
    runner_up: str | None
    reason: str
    key: tuple[Record, ...]
    certainty: float = 0.95


OPERATION = {"A_log": "dequantize.A"}


def operation_of(operand: str) -> str:
    return OPERATION.get(operand, f"dequantize.{operand}")


def near(a: float, b: float, by: float = 0.02) -> bool:
    return bool(np.isfinite(a)) and abs(a - b) <= by


def at_factoring(records: list[Record], scale: float, code: int) -> Record | None:
    return next((r for r in records if r.about.get("scale") == scale and r.about.get("code") == code), None)


def elasticity(records: list[Record], scale: float, code: int) -> float:
    """log |y| against log |scale·code|, from (1, 1)."""
    one, other = at_factoring(records, 1, 1), at_factoring(records, scale, code)
    if one is None or other is None or not one.observed or not other.observed:
        return float("nan")
    with np.errstate(all="ignore"):
        return float(np.log(abs(other.observed / one.observed)) / np.log(abs(scale * code)))


def inconsistent(records: list[Record]) -> Record | None:
    """A record whose y differs from that of another factoring of the same value, one of them within its bound or
    not."""
    seen: dict[tuple, Record] = {}
    for record in records:
        key = tuple(record.about.get(k) for k in ("value", "dt", "path", "bias"))
        first = seen.setdefault(key, record)
        room = 2e-3 * max(abs(first.observed), abs(record.observed), 1e-6)
        same = abs(first.observed - record.observed) <= room or (np.isnan(first.observed) and np.isnan(record.observed))
        if not same and first.observed != record.observed and (first.bad_y or record.bad_y):
            return record if record.bad_y else first
    return None
