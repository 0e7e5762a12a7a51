"""One row of the table planted against named; apart from the command, so that other processes can make it."""

from __future__ import annotations

from ...scans.variants import Arithmetic
from ..engine import diagnose
from . import BASES, faults, honest, other_hands

__all__ = ["innocent", "planted"]


def planted(task: tuple[str, str]) -> tuple[bool, str]:
    """One fault in one honest scan: whether it is named rightly, and its row."""
    fault, base = faults()[task[0]], task[1]
    limit = 2.0 if fault.verdict == "timeout" else 60.0
    found = diagnose(fault.scan(BASES[base]), time_limit=limit, reproducer=False)
    right = (found.verdict, found.operation) == (fault.verdict, fault.operation)
    due, named = fault.operation or fault.verdict, found.operation or found.verdict
    return right, (
        f"| {fault.name} | {base} | {due} | {named}{'' if right else ' **(wrong)**'} | {found.runner_up or ''} "
        f"| {found.confidence:.2f} | {found.evidence[0]} |"
    )


def innocent(name: str) -> tuple[bool, str]:
    """One honest scan: whether it is left alone, and its row."""
    scan = other_hands().get(name) or Arithmetic(honest()[name])
    found = diagnose(scan, reproducer=False)
    return found.verdict in ("rounding", "identical"), f"| {name} | {found.verdict} | {found.evidence[0]} |"
