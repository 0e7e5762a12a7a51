"""Every operation of the scan on both sides, its inputs being equal: what it adds to the difference by itself.

Two scans compute on from their own earlier results, so an operation's outputs can differ only because its inputs do.
Three ways take that away, and each is used where it can be:

    codes    dequantization: the value of all 256 codes, from the outside
    taps     the other operations: F is the operation in FP64 and (B − F(inputs of B)) − (A − F(inputs of A)) what B
             adds beyond A.  Where a scan is a point of the configurable one, bit for bit on these very inputs, the
             operation of B also runs on the inputs of A, and the bits that differ then are its own alone
    runs     state quantization, layout and determinism: the scan is called again

An operation diverges when what it adds is more than its floor: as many unit roundoffs as either side may err by legally
(quamba_lab/thresholds.py), so twice the bound of one, or no code at all.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from .. import scans
from ..compare import relative_rms
from ..scans import OPERATIONS, ScanInputs, ScanOutput
from ..scans.oracle import quantize_state
from ..scans.variants import VARIANT_OF, Arithmetic
from ..texts import say
from ..thresholds import operation_bound, threshold, unit_roundoff
from .ladder import LADDER, Exact, in_units
from .probes import CONVERSIONS, OperandAudit, audit_operand

__all__ = ["COLUMNS", "first_divergence", "on_equal_inputs", "stages_on", "tapped"]

COLUMNS = [
    "operation",
    "seen_by",
    "unit",
    "floor",
    "added_by_a",
    "added_by_b",
    "apart",
    "beyond",
    "compared",
    "bits_differ",
    "place",
]
"""``added_by_a``, ``added_by_b``: what each adds by itself; ``apart``: what B adds beyond A; all in ``unit``.
``compared``: elements whose inputs are equal in every bit; ``bits_differ``: those of them whose output is not."""

SLACK = 8 * 2.0**-24
"""Relative room of h / scale around a rounding boundary, within which a fast division may fall to either side."""


def stages_on(x: ScanInputs, scan: str, taps: dict[str, Tensor], inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Every operation of ``scan`` on the inputs that ``inputs`` (another scan's taps) hold for it.

    Empty when the scan is no known point of the configurable scan, or that point does not give ``taps`` bit for bit.
    """
    if scan not in VARIANT_OF:
        return {}
    part = Arithmetic(VARIANT_OF[scan])
    own = part.taps(x)
    if not all(torch.equal(own[name], taps[name]) for name in LADDER):
        return {}
    dtype = part.v.dtype
    value = {name: part.dequantize(name, q, x) for name, q in x.operands().items()}
    B, C = part.per_channel(value["B"], x), part.per_channel(value["C"], x)
    given = {name: tap if name == "output_cast" else tap.to(dtype) for name, tap in inputs.items()}
    dt, A = given["softplus"], part.rates(value["A_log"])
    through = part.skip(value["D"], value["u"]) if "D" in value else None
    states = given["recurrence"]
    if through is None:
        total = given["contraction"]
    elif part.v.skip == "first":
        total = part.contraction(states, C, through)
    else:
        total = given["contraction"] + through
    return {
        "softplus": own["softplus"],
        "decay": part.decay(dt, A),
        "drive": part.drive(dt, B, value["u"]),
        "recurrence": part.recurrence(given["decay"], given["drive"], dt[..., None] * A[None, :, None, :], x),
        "contraction": part.contraction(states, C, None),
        "skip": total,
        "gate": part.gate(given["skip"], value["z"]) if "z" in value else given["skip"],
        "output_cast": part.output_cast(given["gate"]),
    }


def _bits_equal(a: Tensor, b: Tensor) -> Tensor:
    return (a == b) | (a.isnan() & b.isnan())


def _inputs_equal(name: str, a: dict[str, Tensor], b: dict[str, Tensor]) -> Tensor:
    """Mask, shaped as the operation's output: where all that it reads is equal in every bit on both sides."""
    same = {key: _bits_equal(a[key], b[key]) for key in LADDER}
    if name == "softplus":
        return torch.ones_like(same["softplus"])
    if name in ("decay", "drive"):
        return same["softplus"][..., None].expand_as(same[name])
    if name == "recurrence":  # a tree may read every token before
        return (same["decay"] & same["drive"]).int().cummin(2).values.bool()
    if name == "contraction":
        return same["recurrence"].all(-1)
    if name == "skip":
        return same["recurrence"].all(-1) & same["contraction"]
    return same["skip"] if name == "gate" else same["gate"].transpose(1, 2)


def tapped(
    x: ScanInputs, taps: tuple[dict, dict], exact: tuple[Exact, Exact], scan_b: str | None = None
) -> list[dict[str, Any]]:
    """Rows of the tapped operations; with one side's taps only, what that side adds.  ``scan_b``: the scan whose
    operations also run on the inputs of A; None for taps of another machine."""
    swapped = stages_on(x, scan_b, taps[1], taps[0]) if all(taps) and scan_b else {}
    rows = []
    for name in LADDER:
        unit = unit_roundoff(torch.float16 if name == "output_cast" else torch.float32)
        added, sizes = [], []
        for found, truth in zip(taps, exact, strict=True):
            if found:
                value, size = truth[name]
                added.append(found[name].double() - value)
                sizes.append(unit * size)
        by_side = [in_units(error, size) for error, size in zip(added, sizes, strict=True)]
        own = [float(units.max()) for units in by_side]
        row = {
            "operation": name,
            "seen_by": "taps",
            "unit": "unit roundoffs",
            "floor": 2 * operation_bound(name),
            "added_by_a": own[0] if taps[0] else math.nan,
            "added_by_b": own[-1] if taps[1] else math.nan,
            "apart": math.nan,
            "compared": 0,
            "bits_differ": 0,
        }
        worst = by_side[-1]
        if all(taps):
            worst = in_units(added[1] - added[0], torch.maximum(*sizes))
            row["apart"] = float(worst.max())
            if swapped:
                row |= _differing(torch.ones_like(worst, dtype=torch.bool), taps[0][name], swapped[name])
            else:
                row |= _differing(_inputs_equal(name, *taps), taps[0][name], taps[1][name])
        limit = operation_bound(name)
        row["beyond"] = bool(row["apart"] > row["floor"]) or any(value > limit for value in own)
        row["place"] = str(tuple(int(i) for i in torch.unravel_index(worst.argmax(), worst.shape)))
        rows.append(row)
    return rows


def _differing(mask: Tensor, a: Tensor, b: Tensor) -> dict[str, int]:
    return {"compared": int(mask.sum()), "bits_differ": int((mask & ~_bits_equal(a, b.to(a.dtype))).sum())}


@functools.lru_cache(maxsize=4096)
def _audited(scan: str, fn: Callable, operand: str, scale: float) -> OperandAudit:
    """One audit, kept: layers that share a scale share its answer; ``fn`` tells apart scans of one name."""
    return audit_operand(functools.partial(scans.run, scan), operand, torch.tensor(scale))


def _misread(found: OperandAudit) -> bool:
    """Single codes, or a known wrong conversion; where all codes look wrong, what reads them is at fault."""
    wrong = 256 - found.exact
    known = found.conversion in CONVERSIONS and found.conversion != next(iter(CONVERSIONS))
    return not found.note and wrong > 0 and (known or wrong < 128)


def _dequantized(x: ScanInputs, sides: tuple[str, str]) -> list[dict[str, Any]]:
    """All 256 codes of every operand: how many have another value than code × scale."""
    rows = []
    for operand, q in x.operands().items():
        if q.scale is None:
            continue
        found = [_audited(scan, scans.get(scan).fn, operand, float(q.scale)) for scan in sides]
        wrong = [256 - one.exact if not one.note else math.nan for one in found]
        rows.append(
            {
                "operation": f"dequantize.{'A' if operand == 'A_log' else operand}",
                "seen_by": "codes",
                "unit": "codes of 256",
                "floor": 0.0,
                "added_by_a": wrong[0],
                "added_by_b": wrong[1],
                "apart": abs(wrong[1] - wrong[0]),
                "beyond": any(_misread(one) for one in found),
                "compared": 256,
                "bits_differ": int(max(w if w == w else 0 for w in wrong)),
                "place": next(
                    (say("code {code}", code=one.worst_code) for one, w in zip(found, wrong, strict=True) if w > 0), ""
                ),
            }
        )
    return rows


def _called(x: ScanInputs, sides: tuple[str, str], outputs: tuple[ScanOutput | None, ...], taps: tuple[dict, dict]):
    """Rows of the operations that show when a scan is called again, or in the state that it returns."""
    measures: list[tuple[str, str, float, Callable[[str, ScanOutput, dict], float]]] = [
        ("state_quantization", "codes of the state", 0.0, lambda scan, out, found: _state_codes(x, out, found)),
        ("layout", "RMS of y", threshold("y.error_rms", torch.float16), lambda scan, out, found: _cut(x, scan, out)),
        ("determinism", "values of y", 0.0, lambda scan, out, found: _again(x, scan, out)),
    ]
    rows = []
    for name, unit, floor, measure in measures:
        own = [
            math.nan if out is None else measure(scan, out, found)
            for scan, out, found in zip(sides, outputs, taps, strict=True)
        ]
        rows.append(
            {
                "operation": name,
                "seen_by": "runs",
                "unit": unit,
                "floor": floor,
                "added_by_a": own[0],
                "added_by_b": own[1],
                "apart": abs(own[1] - own[0]),
                "beyond": any(v > floor for v in own),
                "compared": 0,
                "bits_differ": 0,
                "place": "",
            }
        )
    return rows


def _state_codes(x: ScanInputs, output: ScanOutput, taps: dict[str, Tensor]) -> float:
    """Codes of the returned state that are not those of the scan's own last state, ties away from zero."""
    state = output.last_state
    if state is None or not taps:
        return math.nan
    last = taps["recurrence"][:, :, -1].double()
    if x.state_scale is None:
        return float((state != last.to(state.dtype)).sum())
    quotient = last / x.state_scale.to(last.device).double()
    low, high = (quantize_state(quotient * (1 + side * SLACK), torch.ones(())) for side in (-1, 1))
    low, high = torch.minimum(low, high), torch.maximum(low, high)
    return float(((state < low) | (state > high)).sum()) if state.dtype == torch.int8 else float(state.numel())


def _cut(x: ScanInputs, scan: str, output: ScanOutput) -> float:
    """Largest change of y, error/RMS, when every second channel (or group) or the last token is left out."""
    cuts = []
    if x.channels > 1 and x.groups == 1:
        cuts.append((x.narrow(channels=slice(1, None, 2)), output.y[:, :, 1::2]))
    if x.length > 1:
        cuts.append((x.narrow(length=slice(0, x.length - 1)), output.y[:, :-1]))
    return max((relative_rms(scans.run(scan, less).y.double(), due.double()) for less, due in cuts), default=0.0)


def _again(x: ScanInputs, scan: str, output: ScanOutput) -> float:
    return float((~_bits_equal(scans.run(scan, x).y, output.y)).sum())


def on_equal_inputs(
    x: ScanInputs,
    sides: tuple[str, str],
    taps: tuple[dict, dict],
    exact: tuple[Exact, Exact],
    outputs: tuple[ScanOutput | None, ...],
) -> pd.DataFrame:
    """One row for each operation of the closed list, in the order of computation.

    ``sides``: two registered scans; ``taps``: certified ones, empty for a side that shows none; ``exact``: what
    :func:`exact_operations` says of each; ``outputs``: what each returned on ``x``, None for one that cannot run.
    Codes are read from outside through y, so they are asked only of two scans whose taps are known to be theirs.
    """
    rows = _dequantized(x, sides) if all(taps) else []
    rows += tapped(x, taps, exact, sides[1]) if any(taps) else []
    rows += _called(x, sides, outputs, taps)
    order = {name: k for k, name in enumerate(OPERATIONS)}
    return pd.DataFrame(sorted(rows, key=lambda row: order[row["operation"]]), columns=COLUMNS)


def first_divergence(table: pd.DataFrame) -> pd.Series | None:
    """The first operation, in the order of computation, that adds more than its floor; over the layers of ``table``."""
    beyond = table[table["beyond"].astype(bool)]
    if beyond.empty:
        return None
    rank = beyond["operation"].map({name: k for k, name in enumerate(OPERATIONS)})
    return beyond.loc[rank.idxmin()]
