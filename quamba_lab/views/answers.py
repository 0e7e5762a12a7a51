"""Views over the answers of two modes: every item's log-probability, and the items that flip."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..statistics import paired_accuracy
from ..texts import say
from .sources import Need, Sources
from .view import View

__all__ = ["FLIPS", "ITEMS"]

MOST_ITEMS, MOST_FLIPS = 500, 200


def needs(sources: Sources, *, mode_a: str, mode_b: str, **_: Any) -> list[Need]:
    return [("answers", mode_a), ("answers", mode_b)]


def items(sources: Sources, *, mode_a: str, mode_b: str) -> dict[str, Any]:
    """The change of every item's log-probability from mode A to mode B."""
    a, b = (sources.get(("answers", mode)) for mode in (mode_a, mode_b))
    change = (b.log_probability - a.log_probability)[:MOST_ITEMS]
    paired = paired_accuracy(a.correct, b.correct)
    note = say(
        "{only_a} of {n} items are right only in mode {mode_a}, {only_b} only in mode {mode_b} (exact McNemar p = {p});"
        " the mean change is {nats} nats.",
        only_a=paired.only_a, n=paired.n, mode_a=mode_a, only_b=paired.only_b, mode_b=mode_b, p=f"{paired.p:.3g}",
        nats=f"{float(change.mean()):+.3g}"
    )
    return {
        "series": [{"name": mode_b, "values": [float(f"{v:.4g}") for v in change]}], "note": note,
        "x": {"label": "item", "control": "item", "values": list(range(len(change)))},
    }  # fmt: skip


ITEMS = View(
    "items", "Change of each item's log-probability from mode A to mode B", "lines", ("mode_a", "mode_b"), items,
    needs, {"y": {"label": "nats", "scale": "linear"}}, marks=("item",), wide=True,
)  # fmt: skip


def flips(sources: Sources, *, mode_a: str, mode_b: str) -> dict[str, Any]:
    """The items that only one of the two modes answers rightly."""
    a, b = (sources.get(("answers", mode)) for mode in (mode_a, mode_b))
    change = b.log_probability - a.log_probability
    moved = np.flatnonzero(a.correct != b.correct)[:MOST_FLIPS]
    rows = [
        [int(i), mode_a if a.correct[i] else mode_b, sources.run.task.items[i].target.strip(),
         float(f"{change[i]:.4g}"), float(f"{a.margin[i]:.4g}")]
        for i in moved
    ]  # fmt: skip
    note = "" if rows else say("Modes {mode_a} and {mode_b} answer every item alike.", mode_a=mode_a, mode_b=mode_b)
    return {"columns": ["item", "right only in", "target", "change (nats)", "margin in A"], "rows": rows, "note": note}


FLIPS = View(
    "flips", "Items that only one mode answers rightly", "table", ("mode_a", "mode_b"), flips, needs, wide=True
)
