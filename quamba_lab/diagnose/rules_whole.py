"""Rules about the whole: repetition, sizes, indexing, the returned state, and what is left over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..texts import listed, say
from .bounds import bounds
from .finding import Finding
from .records import Findings, Record, judge

__all__ = ["compound", "index", "repeat", "returned", "state", "states", "tail"]


def repeat(f: Findings) -> Finding | None:
    changed = [r for r in f.records if r.again]
    if changed:
        return Finding(
            "determinism", None, say(
                "the same call gave two answers ({name})", name=changed[0].probe.name
            ), tuple(changed), 1.0
        )
    return None


def tail(f: Findings) -> Finding | None:
    """Examined with many tokens, because one alone fails."""
    if f.embed is None or f.embed.length == 1:
        return None
    key = tuple(f.bad("unit") + f.bad("ragged") + f.bad("long"))
    return Finding("layout", "recurrence", say("a single token fails and the first of many does not"), key, 0.9)


def states(f: Findings) -> Finding | None:
    bad = f.bad("states")
    room = f.embed is not None and f.embed.states > 1
    if not bad and not room:
        return None
    if bad and all(r.about.get("rates") for r in bad):
        return Finding("decay", "dequantize.A", say("states with rates of their own decay wrongly"), tuple(bad), 0.8)
    if bad and all(r.bad_state for r in bad):
        return Finding("drive", "contraction", say("some states are wrong when there are several"), tuple(bad), 0.8)
    lost = sorted({r.about["hot"] + 1 for r in bad if "hot" in r.about and r.observed == 0})
    tail = say(" (lost: {states})", states=listed(map(str, lost[:6]))) if lost else ""
    return Finding("contraction", "layout", say(
        "Σ over the states is wrong{tail}", tail=tail
    ), tuple(bad or f.bad("unit")), 0.95)


def index(f: Findings) -> Finding | None:
    bad = f.bad("index")
    if not bad:
        return None
    same = [r for r in bad if r.about["operand"] is None]
    batched = [r for r in same if r.about["shape"][0] > 1 and r.about["shape"][1:] == (1, 1, 1, 1)]
    if batched and all((r.y != r.bounds.value).all() for r in batched):
        return Finding("determinism", "layout", say(
            "equal batch items give another y than one alone"
        ), tuple(batched), 0.95)
    if same:
        return Finding(
            "layout",
            "determinism",
            say("the same item, channel or token, several times over, comes out unequal"),
            tuple(same),
            0.9,
        )
    moved = sorted({r.about["operand"] for r in bad})
    permuted = [r for r in bad if _permuted(r)]
    if moved == ["D"]:
        return Finding("skip", "layout", "channels get another channel's D", tuple(bad), 0.97)
    if not permuted and all(r.about["shape"][0] > 1 for r in bad):
        return Finding("determinism", "layout", say("y of one batch item depends on the others"), tuple(bad), 0.9)
    names = ", ".join("A_log" if name == "A_log" else str(name) for name in moved)
    return Finding(
        "layout", "determinism", say(
            "values arrive at another item, group, channel or token ({names})", names=names
        ), tuple(bad), 0.95
    )


def _permuted(record: Record) -> bool:
    """Every wrong y is the y due elsewhere."""
    due = np.sort(np.unique(record.bounds.rounded.astype(np.float64)))
    return bool(np.isin(record.y, due).all())


def state(f: Findings) -> Finding | None:
    during = f.bad("state", kind="during")
    if during:
        return Finding(
            "state_quantization", "recurrence", say(
                "y changes when the state is asked for as INT8"
            ), tuple(during), 0.97
        )
    codes = f.state_bad("state", kind="tie") + f.state_bad("state", kind="range") + f.state_bad("state", kind="during")
    floats = f.state_bad("state", kind="float")
    if codes and not floats:
        ties = not f.state_bad("state", kind="range") and not f.state_bad("state", kind="during")
        reason = (
            say("ties of the returned state are not rounded away from zero")
            if ties
            else say("the returned state has wrong codes")
        )
        return Finding("state_quantization", "recurrence", reason, tuple(codes), 0.97)
    if floats or codes:
        integer = floats and np.issubdtype(floats[0].outcome.state.dtype, np.integer)
        name = "state_quantization" if integer else "recurrence"
        return Finding(name, "layout", say("y is right and the returned state is not"), tuple(floats + codes), 0.85)
    return None


RUNG_OF_STATE = {
    "precise.u": "dequantize.u", "precise.dt": "dequantize.dt", "precise.B": "dequantize.B", "softplus": "softplus",
    "bias": "dequantize.dt_bias", "rates": "dequantize.A", "decay": "decay", "fine": "softplus", "exactness": "drive",
    "carry": "recurrence", "integrate": "recurrence", "states": "drive", "index": "layout", "long": "recurrence",
    "memory": "recurrence",
}  # fmt: skip


def returned(f: Findings) -> Finding | None:
    """Every y is inside its bound and a returned float32 state is not: it shows bits that float16 hides."""
    if f.state_bad("unit") or f.state_bad("operand.u"):
        return None
    for rung, operation in RUNG_OF_STATE.items():
        bad = f.state_bad(rung)
        if bad:
            return Finding(
                operation, "recurrence", say(
                    "the returned state leaves its bound ({name})", name=bad[0].probe.name
                ), tuple(bad), 0.8
            )
    return None


def compound(f: Findings) -> Finding | None:
    """Only everything at once fails: take ingredients away, one by one, and see which makes it pass."""
    bad = f.bad("compound") + f.state_bad("compound")
    if not bad:
        return None
    record = min(bad, key=lambda r: r.probe.inputs.u.values.numel() * r.probe.inputs.states)
    x = record.probe.inputs
    trials: list[tuple[str, str, Callable]] = [
        ("state_quantization", "state_scale", lambda v: replace(v, state_scale=None)),
        ("gate", "z", lambda v: replace(v, z=None)),
        ("skip", "D", lambda v: replace(v, D=None)),
        ("dequantize.dt_bias", "dt_bias", lambda v: replace(v, dt_bias=None)),
        ("layout", "the other batch items", lambda v: v.narrow(batch=slice(0, 1))),
        ("recurrence", "all tokens but the first", lambda v: v.narrow(length=slice(0, 1))),
        ("contraction", "all states but the first", lambda v: v.narrow(states=slice(0, 1))),
    ]
    for operation, part, without in trials:
        less = without(x)
        outcome = f.call(less)
        if outcome.y is not None and not judge(record.probe, bounds(less), outcome).bad_y:
            return Finding(operation, "recurrence" if operation != "recurrence" else "layout",
                           say(
                               "{name}: passes without {part}", name=record.probe.name, part=part
                           ), tuple(bad), 0.5)  # fmt: skip
    return Finding("recurrence", "layout", say(
        "{name} fails and every part of it passes", name=record.probe.name
    ), tuple(bad), 0.3)
