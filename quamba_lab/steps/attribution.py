"""What a changed answer hangs on: the wrap after the Hadamard, a near tie of the two best answers, or ties of codes."""

from __future__ import annotations

import functools
from typing import Any

from ..modes import Mode
from ..quantized import AWAY_SATURATE
from ..sites import PUBLISHED
from .patching import answer, ask, changed, fits, patched, put, values_of
from .workbook import Workbook

__all__ = ["ATTRIBUTED", "WRAPPED", "attribute"]

WRAPPED = 128
"""A code that moves by this much or more has wrapped round."""
ATTRIBUTED = ["item", "amplifier", "margin_a", "margin_b", "one_ulp_moves_logits_by", "near_tie", "wrapped_layers",
              "unwrapping_turns_back", "alike_when_clamped"]  # fmt: skip
"""Columns of the table of changed answers."""


def _wraps(run: Workbook, mode_a: str | Mode, mode_b: str | Mode, item: int) -> dict[str, Any]:
    """Both modes' answers to an item, and what becomes of them without the wrap."""
    question, views = ask(run, item), (run.view(mode_a), run.view(mode_b))
    (right_a, margin_a), (right_b, margin_b) = (answer(v(question.tokens), question) for v in views)
    values = [values_of(v, question.tokens) for v in views]
    wraps = {}
    for layer in range(run.layers):
        where = ("hadamard", layer)
        if fits(values[0][where], values[1][where]):
            far = (values[0][where].values.int() - values[1][where].values.int()).abs() >= WRAPPED
            if bool(far.any()):
                wraps[where] = put(values[0][where], far & changed(values[0][where], values[1][where]))
    by_wrap = False
    if wraps and right_a != right_b:
        with patched(views[1], wraps):
            by_wrap = answer(views[1](question.tokens), question)[0] == right_a
    clamped = PUBLISHED["hadamard"].with_rule(AWAY_SATURATE)
    in_clamped = [answer(v.with_sites(hadamard=clamped)(question.tokens), question)[0] for v in views]
    return {
        "right_a": right_a, "right_b": right_b, "margin_a": margin_a, "margin_b": margin_b, "layers": len(wraps),
        "turns_back": by_wrap, "alike_when_clamped": in_clamped[0] == in_clamped[1],
    }  # fmt: skip


def attribute(run: Workbook, mode_a: str | Mode, mode_b: str | Mode, item: int, floor: float) -> dict[str, Any]:
    """What an item's changed answer hangs on: the wrap, a near tie of the two best answers, or ties of codes.

    ``wrap``: the answer turns back when only the wrapped codes after the Hadamards are taken from mode A, or when the
    Hadamards of both modes clamp.  Near tie: the lead of mode A's answer is at most twice ``floor``, the RMS change of
    logits that a one-ULP perturbation makes.
    """
    compute = functools.partial(_wraps, run, mode_a, mode_b, item)
    found = run.remember(mode_a, f"wraps {run.named(item)}", compute, other=mode_b)
    near = abs(found["margin_a"]) <= 2 * floor
    if found["right_a"] == found["right_b"]:
        kind = "alike alone"
    elif found["turns_back"] or (found["layers"] and found["alike_when_clamped"]):
        kind = "wrap"
    elif near:
        kind = "near tie of answers"
    else:
        kind = "ties of codes"
    return {
        "item": item, "amplifier": kind, "margin_a": found["margin_a"], "margin_b": found["margin_b"],
        "one_ulp_moves_logits_by": floor, "near_tie": near, "wrapped_layers": found["layers"],
        "unwrapping_turns_back": found["turns_back"], "alike_when_clamped": found["alike_when_clamped"],
    }  # fmt: skip
