"""Rules about time: placement, the carry, A, the decays, lengths and chunk boundaries."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..texts import say
from .bounds import bounds
from .finding import Finding, inconsistent, near
from .records import Findings, Record

__all__ = ["carry", "decay", "deferred", "fine", "integrate", "lengths", "memory", "order", "rates", "time"]


def order(f: Findings) -> Finding | None:
    bad = f.bad("order")
    if bad:
        return Finding("layout", "recurrence", say(
            "one token alone does not come out at its own place"
        ), tuple(bad), 0.9)
    return None


def carry(f: Findings) -> Finding | None:
    bad = f.bad("carry")
    if not bad:
        return None
    kept = {
        hold: [float(r.y[0, -1, 0] / r.bounds.value[0, r.y.shape[1] - 1, 0]) for r in f.on("carry", hold=hold)]
        for hold in (1, 2, 3)
    }
    factor = kept[1][0]
    geometric = all(near(k, factor**hold, 0.01) for hold, values in kept.items() for k in values)
    if f.bad("carry", hold=1) and (f.clean("decay") or (geometric and 0 < factor < 1)):
        return Finding("decay", "recurrence", say(
            "where dt is 0 the state is multiplied by {factor}", factor=f"{factor:g}"
        ), tuple(bad), 0.95)
    return Finding("recurrence", "layout", say("a state that nothing should change does not stay"), tuple(bad), 0.9)


def time(f: Findings) -> Finding | None:
    bad = f.bad("time")
    if not bad or f.bad("carry"):
        return None
    exchanged = 0
    for record in bad:
        x = record.probe.inputs
        other = bounds(replace(x, B=x.C, C=x.B))
        exchanged += not other.violations(record.outcome.y)[:, : record.probe.watch].any()
    if exchanged == len(bad):
        return Finding("drive", "contraction", say("y is what B and C exchanged would give"), tuple(bad), 1.0)
    return None


def integrate(f: Findings) -> Finding | None:
    bad = f.bad("integrate") + f.bad("time")
    if not bad or f.bad("rates") or f.bad("decay"):
        return None
    return Finding("recurrence", "drive", say(
        "a sum over tokens is wrong while a state alone is held"
    ), tuple(bad), 0.9)


def _rate(record: Record) -> float:
    """A as read off one decay: log(y / C·h_0) / dt."""
    x = record.probe.inputs
    held = float(x.C.scale) * 1.0
    with np.errstate(all="ignore"):
        return float(np.log(abs(record.observed) / held) / record.about["dt"])


def rates(f: Findings) -> Finding | None:
    bad, decays = f.bad("rates"), f.bad("decay", softplus=False)
    if not bad:
        return None
    every = f.on("rates")
    zero = [r for r in every if r.about["value"] == 0]
    linear = True
    for record in every:
        partner = [
            r for r in every if r.about["value"] == record.about["value"] and r.about["scale"] == record.about["scale"]
        ]
        found = [_rate(r) for r in partner]
        if not np.all(np.isfinite(found)) or max(found) - min(found) > 0.02 * max(1e-3, max(map(abs, found))) + 2e-3:
            linear = False
    at_zero = np.array([_rate(r) for r in zero])
    if not any(r.bad_y for r in zero) and not decays:
        record = inconsistent(every) or bad[0]
        return Finding("dequantize.A", "decay",
                       say(
                           "A is right for A_log = 0 and wrong for {scale} x {code}",
                           scale=f"{record.about['scale']:g}", code=record.about["code"]
                       ),
                       (record, *bad), 0.97)  # fmt: skip
    if np.allclose(at_zero, 1, atol=0.01):
        return Finding("dequantize.A", "decay", say("A lacks its minus: decays grow"), tuple(bad), 0.97)
    values = np.array([r.about["value"] for r in every])
    read = np.array([_rate(r) for r in every])
    if np.allclose(at_zero, 0, atol=0.01):
        seen = np.isfinite(read) & (np.array([2**-12 < abs(r.observed) < 60000 for r in every]))
        if np.allclose(read[seen], -values[seen], atol=0.05, rtol=0.05) and np.ptp(values[seen]) > 1:
            return Finding("dequantize.A", "decay", say("A is A_log itself: exp is missing"), tuple(bad), 0.97)
        if np.allclose(read, 0, atol=0.01):
            return Finding("decay", "dequantize.A", "nothing decays", tuple(bad), 0.95)
        if linear:
            return Finding("dequantize.A", "decay", say("A is 0 for A_log = 0"), tuple(bad), 0.9)
    if not linear or decays:
        return Finding("decay", "dequantize.A", say(
            "exp(dt·A) is wrong, and not by a wrong A"
        ), tuple(bad + decays), 0.93)
    return Finding("dequantize.A", "decay", "A comes out wrong", tuple(bad), 0.8)


def decay(f: Findings) -> Finding | None:
    plain, after = f.bad("decay", softplus=False), f.bad("decay", softplus=True)
    if plain:
        values = sorted({r.about["value"] for r in plain})
        return Finding(
            "decay",
            "recurrence",
            say(
                "exp(−x) is wrong for x between {low} and {high}",
                low=f"{values[0]:g}", high=f"{values[-1]:g}"
            ),
            tuple(plain),
            0.95,
        )
    if after:
        return Finding(
            "decay",
            "softplus",
            say("exp(dt·A) is right with softplus off; with it on, the drive gets softplus(dt) and the decay does not"),
            tuple(after),
            0.97,
        )
    return None


def fine(f: Findings) -> Finding | None:
    for part, runner_up in (("softplus", "dequantize.dt"), ("decay", "recurrence")):
        bad = f.bad("fine", part=part)
        if bad:
            values = sorted({r.about["value"] for r in bad})
            return Finding(
                part,
                runner_up,
                say(
                    "the last bits of {part} are wrong between {low} and {high}",
                    part=part, low=f"{values[0]:g}", high=f"{values[-1]:g}"
                ),
                tuple(bad),
                0.95,
            )
    return None


def deferred(f: Findings) -> Finding | None:
    bad = f.bad("integrate") + f.bad("time") + f.bad("shift")
    if bad:
        return Finding("recurrence", "decay", say("a sum over tokens is wrong"), tuple(bad), 0.6)
    return None


def lengths(f: Findings) -> Finding | None:
    ragged, sums = f.bad("ragged"), f.bad("long")
    if not ragged and not sums:
        return None
    at = _boundary(f, "ragged")
    if at is not None and not sums:
        return Finding("recurrence", "layout", say(
            "at token {at}, whatever the length, the state does not decay", at=at + 1
        ),
                       tuple(ragged), 0.9)  # fmt: skip
    if at is not None:
        return Finding("layout", "recurrence", say(
            "from token {at} on y goes wrong, with the memory off too", at=at + 1
        ),
                       tuple(ragged), 0.95)  # fmt: skip
    if not ragged and (at := _boundary(f, "long")) is not None:
        return Finding(
            "recurrence", "layout", say("y goes wrong at token {at}, whatever the length", at=at + 1), tuple(sums), 0.97
        )
    lost = ", ".join(map(str, sorted({r.about["length"] for r in ragged or sums})[:8]))
    if ragged:
        return Finding(
            "layout", "recurrence", say(
                "with the memory off, lengths {lost} … have wrong tokens", lost=lost
            ), tuple(ragged), 0.93
        )
    return Finding(
        "recurrence", "layout", say(
            "running sums go wrong at lengths {lost}, at no fixed token", lost=lost
        ), tuple(sums), 0.7
    )


def _boundary(f: Findings, rung: str) -> int | None:
    """The token at which every longer input first fails, when no shorter one does."""
    first = {r.about["length"]: int(np.argwhere(r.bounds.violations(r.outcome.y))[:, 1].min()) for r in f.bad(rung)}
    if not first:
        return None
    at = min(first.values())
    longer = [r.about["length"] for r in f.on(rung) if r.about["length"] > at + 8]
    late = [first.get(n) for n in longer]
    steady = all(t is not None and t <= 2 * at + 8 for t in late)
    return at if longer and steady and min(first) > at else None


def memory(f: Findings) -> Finding | None:
    bad = f.bad("memory")
    if bad:
        t = min(r.where[1] for r in bad)
        return Finding(
            "recurrence",
            "decay",
            say("decaying states go wrong from token {t} on, running sums do not", t=t + 1),
            tuple(bad),
            0.9,
        )
    return None
