"""Rules about many values at once: operands a token away, ranges of the state, single codes, dense grids, groups."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from ..quantized import Quantized
from ..scans import ScanInputs
from ..texts import say
from .bounds import bounds
from .finding import Finding, operation_of
from .records import Findings, Record

__all__ = ["codes", "dense", "displaced", "held", "ranges", "scales", "start"]

AGREE = 0.5
"""Overlap of two sets of values above which they are called the same."""

MANY = 128
"""As many wrong codes of an operand, or more, are no fault of single codes."""


def _moved(q: Quantized, by: int, around: bool) -> Quantized:
    """Codes moved by ``by`` tokens; what comes in at the edge is 0, or what goes out at the other one."""

    def move(values: torch.Tensor) -> torch.Tensor:
        moved = values.roll(by, -1)
        if not around:
            edge = slice(0, by) if by > 0 else slice(by, None)
            moved[..., edge] = 0
        return moved

    return q.map(move)


def displaced(f: Findings) -> Finding | None:
    """Every probe of a few tokens is what one operand, a token late or early, would give."""
    records = [r for rung in ("order", "shift", "time", "integrate", "carry") for r in f.on(rung)]
    if not any(r.bad_y for r in records):
        return None
    for name, by, around in ((n, k, w) for n in ("u", "dt", "B", "C", "z") for k in (1, -1) for w in (False, True)):
        used = [r for r in records if getattr(r.probe.inputs, name) is not None]
        bad = [r for r in used if r.bad_y]
        others = [r for r in records if r.bad_y and getattr(r.probe.inputs, name) is None]
        if bad and not others and all(_explained(r, name, by, around) for r in used):
            where = "late" if by == 1 else "early"
            return Finding(
                "layout",
                {"z": "gate", "C": "contraction"}.get(name, "drive"),
                say("y is what {name} one token {where} would give", name=name, where=where),
                tuple(bad),
                0.97,
            )
    return None


def _explained(record: Record, name: str, by: int, around: bool) -> bool:
    x: ScanInputs = record.probe.inputs
    other = bounds(replace(x, **{name: _moved(getattr(x, name), by, around)}))
    return not other.violations(record.outcome.y)[:, : record.probe.watch].any()


def start(f: Findings) -> Finding | None:
    """Something is there before the first token, whichever operand is 0, and C reads it."""
    bad = {r.about["operand"] for r in f.bad("start")}
    if {"u", "B", "dt"} <= bad and "C" not in bad:
        return Finding("recurrence", "drive", say(
            "the state before the first token is not 0"
        ), tuple(f.bad("start")), 0.95)
    return None


def held(f: Findings) -> bool:
    """Whether the smallest state that comes out wrong, made in one step, comes out wrong in many small ones too."""
    sizes = [r.about["size"] for r in f.bad("range", kind="single") if r.about["size"] > 0]
    return bool(sizes) and any(r.about["size"] == min(sizes) for r in f.bad("range", kind="sum"))


def ranges(f: Findings) -> Finding | None:
    """Very large or small states: the step that makes them, or the state that holds them?"""
    single, sums = f.bad("range", kind="single"), f.bad("range", kind="sum")
    if not single:
        return None
    small = any(r.about["size"] < 0 for r in single)
    fading = small and bool(f.bad("decay", gain="C")) and not f.bad("decay", gain="B")
    sizes = sorted(r.about["size"] for r in single)
    if held(f) or fading:
        return Finding(
            "recurrence",
            "drive",
            say(
                "states of about 2^{low} to 2^{high} come out wrong, however they arise",
                low=sizes[0], high=sizes[-1]
            ),
            tuple(single + sums),
            0.9,
        )
    if small and f.bad("decay", gain="C"):
        return None
    return Finding(
        "drive",
        "recurrence",
        say(
            "dt·B·u of about 2^{low} to 2^{high} comes out wrong, a state of that size does not",
            low=sizes[0], high=sizes[-1]
        ),
        tuple(single),
        0.85,
    )


def _wrong(record: Record) -> tuple[set[int], set[float]]:
    """Places and values of the wrong y, or of the wrong state when every y is right."""
    if record.bad_state and not record.bad_y and record.about["axis"] == "channel":
        along = record.bounds.state_violations(record.outcome.state).any((0, 2))  # (b, d, n) to (d,)
    else:
        outside = record.bounds.violations(record.outcome.y)  # (b, l, d)
        along = outside.any((0, 1)) if record.about["axis"] == "channel" else outside.any((0, 2))
    places = np.flatnonzero(along).tolist()
    return set(places), {round(float(record.about["values"][p]), 9) for p in places}


def _overlap(a: set, b: set) -> float:
    return len(a & b) / len(a | b) if a | b else 0.0


def _of_values(first: Record, second: Record) -> set[float]:
    """The values that are wrong in both orders, when it is they and not the places that agree."""
    (places, values), (other_places, other_values) = _wrong(first), _wrong(second)
    same = _overlap(values, other_values)
    return values & other_values if same >= AGREE and same > _overlap(places, other_places) else set()


def codes(f: Findings) -> Finding | None:
    found = {}
    for name in ("u", "dt", "B", "C", "z", "D", "dt_bias", "A_log"):
        pair = f.on("codes", operand=name)
        wrong = _of_values(*pair) if len(pair) == 2 else set()
        if 0 < len(wrong) < MANY:
            found[name] = (sorted(int(v) for v in wrong), pair)
    if len(found) != 1:
        return None
    name, (wrong, pair) = next(iter(found.items()))
    listed = ", ".join(map(str, wrong[:6])) + (" …" if len(wrong) > 6 else "")
    runner_up = {"C": "contraction", "z": "gate", "D": "skip", "dt_bias": "softplus", "A_log": "decay"}.get(
        name, "drive"
    )
    return Finding(
        operation_of(name),
        runner_up,
        say("{name} is read wrongly for the codes {listed}, whatever the scale", name=name, listed=listed),
        tuple(r for r in pair if r.bad),
        0.95,
    )


def dense(f: Findings) -> Finding | None:
    for part, runner_up in (("softplus", "dequantize.dt"), ("decay", "recurrence"), ("gate", "dequantize.z")):
        every = f.on("dense", part=part)
        for scale in dict.fromkeys(r.about["scale"] for r in every):
            pair = [r for r in every if r.about["scale"] == scale]
            wrong = sorted(_of_values(*pair)) if len(pair) == 2 else []
            if 0 < len(wrong) <= len(pair[0].about["values"]) // 2:  # wrong all over is no fault of a range
                name = {"softplus": "softplus(x)", "decay": "exp(−x)", "gate": "silu(x)"}[part]
                return Finding(
                    part,
                    runner_up,
                    say(
                        "{name} is wrong for x between {low} and {high}",
                        name=name, low=f"{wrong[0]:g}", high=f"{wrong[-1]:g}"
                    ),
                    tuple(r for r in pair if r.bad),
                    0.93,
                )
    return None


def scales(f: Findings) -> Finding | None:
    """With every scale 1 the groups are right; an operand's own scale does not reach all of them."""
    bad = f.bad("scales")
    if not bad or any(r.probe.inputs.groups > 1 for r in f.bad("index")):
        return None
    lacking = [r for r in bad if _as_if_unscaled(r)]
    name = (lacking or bad)[0].about["operand"]
    others = sorted({r.about["operand"] for r in bad} - {name})
    return Finding(
        operation_of(name),
        operation_of(others[0]) if others else "layout",
        say("with several groups, {name} has its scale in some of them only", name=name),
        tuple(bad),
        0.95,
    )


def _as_if_unscaled(record: Record) -> bool:
    """Every wrong y is what a scale of 1 would give."""
    x, name = record.probe.inputs, record.about["operand"]
    operand = getattr(x, name)
    if operand.scale is None:
        return False
    one = Quantized(operand.values, torch.ones((), dtype=torch.float32))
    plain = bounds(replace(x, **{name: one}))
    outside = record.bounds.violations(record.outcome.y)
    return not (outside & plain.violations(record.outcome.y)).any()
