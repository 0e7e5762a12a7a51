"""Taps that have been checked: the tapped scan must be the scan.

A scan's taps come from a second run with recording switched on, and an instrument can change what it measures.  So the
untapped scan is run beside it, on the same inputs, and the taps are shown only when both y agree bit for bit and the
last tap before the cast leads to that y.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from . import get, run, unavailable
from .types import ScanInputs, ScanOutput

__all__ = ["TAPPED", "CertifiedTaps", "certified_taps", "certify"]

TAPPED = ("softplus", "decay", "drive", "recurrence", "contraction", "skip", "gate", "output_cast")
"""The operations that have a tap, in the order of computation."""


@dataclass(frozen=True, eq=False)
class CertifiedTaps:
    """``taps``: {operation: tensor} as from ``oracle_taps``, or empty when they are refused; ``reason`` then says why.

    ``output``: what the untapped scan returned on the same inputs, None when it could not run.
    """

    scan: str
    taps: dict[str, Tensor] = field(default_factory=dict, repr=False)
    output: ScanOutput | None = field(default=None, repr=False)
    reason: str = ""

    @property
    def certified(self) -> bool:
        return not self.reason


def certified_taps(name: str, inputs: ScanInputs) -> CertifiedTaps:
    """Run the scan ``name`` with and without taps on ``inputs`` and compare every bit of y.

    Never raises for a scan without taps, one that cannot run here or one whose taps are wrong: ``reason`` says it in a
    sentence.  Raises ``ValueError`` for a name that is not registered.
    """
    scan = get(name)
    if scan.taps is None:
        return CertifiedTaps(name, reason=f"{name} has no taps: register it with taps=fn to look inside")
    why = unavailable(name)
    if why is not None:
        return CertifiedTaps(name, reason=f"{name} cannot run here: {why}")
    if not scan.takes(inputs.u):
        return CertifiedTaps(name, reason=f"{name} does not take u as {inputs.u.values.dtype}")
    return certify(name, inputs, scan.taps(inputs), run(name, inputs))


def certify(name: str, inputs: ScanInputs, taps: dict[str, Tensor], output: ScanOutput) -> CertifiedTaps:
    """The same check of ``taps`` and an untapped ``output`` that were computed elsewhere, as on a recorded GPU."""
    reason = _fault(name, inputs, taps, output.y)
    return CertifiedTaps(name, {} if reason else taps, output, reason)


def _fault(name: str, x: ScanInputs, taps: dict[str, Tensor], y: Tensor) -> str:
    """Why these taps must not be shown, or nothing."""
    per_step = (x.batch, x.channels, x.length)
    shapes = dict.fromkeys(("softplus", "contraction", "skip", "gate"), per_step)
    shapes |= dict.fromkeys(("decay", "drive", "recurrence"), (*per_step, x.states))
    shapes["output_cast"] = (x.batch, x.length, x.channels)
    for key in TAPPED:
        if key not in taps:
            return f"the taps of {name} lack {key}, so they are not shown"
        if tuple(taps[key].shape) != shapes[key]:
            return f"the tap {key} of {name} has shape {tuple(taps[key].shape)}, not {shapes[key]}: it is not shown"
    tapped = taps["output_cast"]
    if tapped.dtype != torch.float16:
        return f"the tapped y of {name} is {tapped.dtype}, not torch.float16, so its taps are not shown"
    differing = int((tapped.contiguous().view(torch.int16) != y.contiguous().view(torch.int16)).sum())
    if differing:
        return (
            f"the tapped y of {name} differs from the untapped y in {differing} of {y.numel()} values on the same "
            "inputs, so its taps show another computation and are not shown"
        )
    before, after = taps["gate"].transpose(1, 2).double(), y.double()  # (b, l, d)
    reach = after.abs() * 2.0**-7 + 2.0**-24  # wide enough for a cast that truncates or goes through bfloat16
    inside = torch.isfinite(after) & (before.abs() <= torch.finfo(torch.float16).max)
    astray = int((((before - after).abs() > reach) & inside).sum())
    if astray:
        return f"the tap gate of {name} does not lead to its y in {astray} of {y.numel()} values: it is not shown"
    return ""
