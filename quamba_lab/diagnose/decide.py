"""From outcomes to one operation.

The rules are asked in the order of the ladder, and the first that recognizes something answers.  A rule looks at the
rung it owns, knowing that the rungs before it have nothing to say, so what its rung adds is what is left to blame;
and it
separates the candidates that share a rung by numbers:

* a value that is not a function of scale·code alone is a fault of dequantization; one that is, of the operation;
* log |y| against log |value| (an elasticity) tells an unused operand (0) from one used twice (2), and a scale from a
  code;
* A is read off two decays: linear in dt and wrong in A_log is dequantize.A, not linear in dt is decay;
* a failure at one position whatever the length is a chunk boundary (recurrence), at the end of every length a tail
  (layout).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from .bounds import bounds
from .records import Findings, Record, judge

__all__ = ["Finding", "decide"]


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


def _operation(operand: str) -> str:
    return OPERATION.get(operand, f"dequantize.{operand}")


def _near(a: float, b: float, by: float = 0.02) -> bool:
    return bool(np.isfinite(a)) and abs(a - b) <= by


def _at(records: list[Record], scale: float, code: int) -> Record | None:
    return next((r for r in records if r.about.get("scale") == scale and r.about.get("code") == code), None)


def _elasticity(records: list[Record], scale: float, code: int) -> float:
    """log |y| against log |scale·code|, from (1, 1)."""
    one, other = _at(records, 1, 1), _at(records, scale, code)
    if one is None or other is None or not one.observed or not other.observed:
        return float("nan")
    with np.errstate(all="ignore"):
        return float(np.log(abs(other.observed / one.observed)) / np.log(abs(scale * code)))


def _inconsistent(records: list[Record]) -> Record | None:
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


def repeat(f: Findings) -> Finding | None:
    changed = [r for r in f.records if r.again]
    if changed:
        return Finding(
            "determinism", None, f"the same call gave two answers ({changed[0].probe.name})", tuple(changed), 1.0
        )
    return None


def operands(f: Findings) -> Finding | None:
    names = ("u", "dt", "B", "C")
    wrong = {name: f.bad(f"operand.{name}", operand=name) for name in names}
    if not any(wrong.values()) and not f.bad("operand.u"):
        for name in ("B", "u", "dt", "C"):
            state = f.state_bad(f"operand.{name}", operand=name)
            others = [other for other in names if other != name and f.state_bad(f"operand.{other}", operand=other)]
            if state and not others:
                return Finding(
                    _operation(name),
                    "drive",
                    f"y is right and the state is not when {name} is not 1",
                    tuple(state),
                    0.8,
                )
            if state:
                return None
        return None
    whole = {name: f.on(f"operand.{name}", operand=name) for name in names}
    by_scale = {name: _elasticity(whole[name], 4, 1) for name in names}
    by_code = {name: _elasticity(whole[name], 1, 4) for name in names}
    missing = [n for n in names if _near(by_scale[n], 0) and _near(by_code[n], 1)]
    twice = [n for n in names if _near(by_scale[n], 2) and _near(by_code[n], 1)]
    unused = [n for n in names if _near(by_scale[n], 0) and _near(by_code[n], 0)]
    doubled = [n for n in names if _near(by_scale[n], 2) and _near(by_code[n], 2)]
    if f.bad("unit") and not f.embed:
        alive = [n for n in names if _inconsistent(whole[n])]
        if len(alive) == 1:
            return Finding(
                _operation(alive[0]),
                "drive",
                f"codes of {alive[0]} are not worth scale x code",
                tuple(wrong[alive[0]]),
                0.9,
            )
        return None
    if missing:
        name = missing[0]
        also = f" and {twice[0]}'s scale twice" if twice else ""
        return Finding(_operation(name), _operation(twice[0]) if twice else "drive",
                       f"y does not depend on the scale of {name}{also}", tuple(wrong[name]), 1.0)  # fmt: skip
    if unused:
        name = unused[0]
        operation = "contraction" if name == "C" else "drive"
        instead = f" and on {doubled[0]} twice" if doubled else ""
        return Finding(operation, _operation(name), f"y does not depend on {name}{instead}", tuple(wrong[name]), 1.0)
    if twice:
        return Finding(
            _operation(twice[0]), "drive", f"the scale of {twice[0]} is applied twice", tuple(wrong[twice[0]]), 1.0
        )
    if doubled:
        operation = "contraction" if doubled[0] == "C" else "drive"
        return Finding(operation, _operation(doubled[0]), f"{doubled[0]} is used twice", tuple(wrong[doubled[0]]), 0.95)
    return _single_values(f, wrong, whole)


def _single_values(f: Findings, wrong: dict, whole: dict) -> Finding | None:
    """Elasticities are right, single values are not: clips, signs, ranges, formats."""
    bad = [name for name in wrong if wrong[name]]
    split = [name for name in bad if _inconsistent(whole[name])]
    if len(split) == 1 or (split and len(bad) == 1):
        record = _inconsistent(whole[split[0]])
        return Finding(
            _operation(split[0]),
            "drive" if split[0] != "C" else "contraction",
            f"{split[0]} = {record.about['scale']:g} x {record.about['code']} is not worth {record.about['value']:g}",
            (record, *wrong[split[0]]),
            1.0,
        )
    if len(bad) == 1:
        return Finding(_operation(bad[0]), "contraction" if bad[0] == "C" else "drive",
                       f"some values of {bad[0]} come out wrong", tuple(wrong[bad[0]]), 0.9)  # fmt: skip
    if bad == ["u", "dt", "B"]:
        return Finding("recurrence", "drive", "large or small states come out wrong, whichever operand makes them so",
                       tuple(wrong["u"]), 0.8)  # fmt: skip
    if len(bad) == 4 and any(np.isfinite(r.observed) for name in bad for r in wrong[name]):
        return Finding(
            "output_cast", "drive", "the answer is wrong wherever it takes certain values", tuple(wrong["u"]), 0.7
        )
    if bad:
        return Finding(
            "drive", _operation(bad[0]), f"products of {', '.join(bad)} come out wrong", tuple(wrong[bad[0]]), 0.6
        )
    if f.bad("operand.u"):
        return Finding(
            "recurrence", "drive", "a very large or very small state comes out wrong", tuple(f.bad("operand.u")), 0.7
        )
    return None


def unit(f: Findings) -> Finding | None:
    """All ones fail in every room: only gross faults do."""
    bad = f.bad("unit")
    if not bad or f.embed is not None:
        return None
    record = bad[0]
    if _near(record.observed, np.log1p(np.e), 0.01):
        return Finding("softplus", "drive", "dt passes through softplus although softplus is off", tuple(bad), 0.9)
    held = f.on("carry", hold=1)
    later = held and all(float(r.y[0, -1, 0]) == float(r.bounds.value[0, 1, 0]) for r in held[:1])
    if later or (record.outcome.state is not None and not record.bad_state):
        return Finding(
            "contraction", "output_cast", "the state is right and y is not, with all operands 1", tuple(bad), 0.85
        )
    if f.on("skip", operand="D") and not f.bad("skip", operand="D"):
        certainty = 0.9 if record.bad_state else 0.6
        return Finding(
            "drive", "contraction", "y is wrong with all operands 1, and right with C = 0", tuple(bad), certainty
        )
    return Finding("output_cast", "layout", "y is wrong with all operands 1", tuple(bad), 0.4)


def skip(f: Findings) -> Finding | None:
    bad = f.bad("skip")
    if not bad:
        return None
    alone = f.on("skip", operand="D")
    by_scale, by_code = _elasticity(alone, 4, 1), _elasticity(alone, 1, 4)
    wrong = f.bad("skip", operand="D")
    if not wrong:
        return Finding("skip", "output_cast", "D·u is right alone and wrong beside Σ C·h", tuple(bad), 0.95)
    if _near(by_scale, 0) and _near(by_code, 1):
        return Finding("dequantize.D", "skip", "y does not depend on the scale of D", tuple(wrong), 1.0)
    if _near(by_scale, 2) and _near(by_code, 1):
        return Finding("dequantize.D", "skip", "the scale of D is applied twice", tuple(wrong), 1.0)
    if all(r.observed == 0 for r in alone):
        return Finding("skip", "dequantize.D", "D·u never reaches y", tuple(wrong), 1.0)
    if (record := _inconsistent(alone)) is not None and not all(r.bad_y for r in alone):
        return Finding("dequantize.D", "skip",
                       f"D = {record.about['scale']:g} x {record.about['code']} is not worth {record.about['value']:g}",
                       (record, *wrong), 1.0)  # fmt: skip
    return Finding("skip", "dequantize.D", "D·u comes out wrong for every D", tuple(wrong), 0.9)


def order(f: Findings) -> Finding | None:
    bad = f.bad("order")
    if bad:
        return Finding("layout", "recurrence", "one token alone does not come out at its own place", tuple(bad), 0.9)
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
    geometric = all(_near(k, factor**hold, 0.01) for hold, values in kept.items() for k in values)
    if f.bad("carry", hold=1) and (f.clean("decay") or (geometric and 0 < factor < 1)):
        return Finding("decay", "recurrence", f"where dt is 0 the state is multiplied by {factor:g}", tuple(bad), 0.95)
    return Finding("recurrence", "layout", "a state that nothing should change does not stay", tuple(bad), 0.9)


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
        return Finding("drive", "contraction", "y is what B and C exchanged would give", tuple(bad), 1.0)
    return None


def integrate(f: Findings) -> Finding | None:
    bad = f.bad("integrate") + f.bad("time")
    if not bad or f.bad("rates") or f.bad("decay"):
        return None
    return Finding("recurrence", "drive", "a sum over tokens is wrong while a state alone is held", tuple(bad), 0.9)


def exactness(f: Findings) -> Finding | None:
    bad = {part: f.bad("exactness", part=part) for part in ("drive", "contraction", "skip", "recurrence")}
    if not any(bad.values()) or len(f.failures) > 0.9 * len(f.records):
        return None
    reason = "a format with fewer bits than float32: integers of 12 bits and more are lost in "
    held = f.clean("integrate", "time")
    if bad["recurrence"] and held:
        return Finding("recurrence", "drive", reason + "the state", tuple(bad["recurrence"]), 0.97)
    if bad["drive"] and held:
        return Finding("drive", "recurrence", reason + "dt·B·u", tuple(bad["drive"]), 0.95)
    if bad["contraction"]:
        return Finding("contraction", "output_cast", reason + "Σ C·h", tuple(bad["contraction"]), 0.95)
    if bad["skip"]:
        return Finding("skip", "dequantize.D", reason + "D·u", tuple(bad["skip"]), 0.95)
    return None


def cast(f: Findings) -> Finding | None:
    bad = f.bad("cast")
    if not bad:
        return None
    forms = {
        "truncated instead of rounded": lambda v: np.float16(0) if v == 0 else _toward_zero(v),
        "rounded to bfloat16": lambda v: _bfloat16(v),
        "saturated at 65504": lambda v: np.float16(np.clip(v, -65504, 65504)),
    }
    for name, form in forms.items():
        with np.errstate(over="ignore"):
            if all(float(form(r.expected)) == r.observed for r in f.on("cast")):
                return Finding("output_cast", None, f"y is {name}", tuple(bad), 1.0)
    kinds = sorted({r.about["kind"] for r in bad})
    return Finding(
        "output_cast",
        "contraction",
        f"exact values are rounded wrongly to float16 ({', '.join(kinds)})",
        tuple(bad),
        0.95,
    )


def _toward_zero(v: float) -> np.float16:
    half = np.float16(v)
    return half if abs(float(half)) <= abs(v) else np.nextafter(half, np.float16(0))


def _bfloat16(v: float) -> np.float16:
    bits = np.float32(v).view(np.uint32)
    rounded = (int(bits) + 0x7FFF + ((int(bits) >> 16) & 1)) & 0xFFFF0000
    return np.float16(np.uint32(rounded).view(np.float32))


def precise(f: Findings) -> Finding | None:
    bad = {name: f.bad(f"precise.{name}") for name in ("u", "dt", "B", "C", "D")}
    wrong = [name for name, records in bad.items() if records]
    if not wrong:
        return None
    worst = max(wrong, key=lambda name: len(bad[name]))
    if len(wrong) == 1 or len(bad[worst]) > 2 * sum(len(bad[n]) for n in wrong if n != worst):
        return Finding(_operation(worst), "skip" if worst == "D" else "drive",
                       f"{worst} loses bits when its scale has 24 of them", tuple(bad[worst]), 0.95)  # fmt: skip
    if "D" in wrong and "u" not in wrong:
        return Finding("skip", "dequantize.D", "D·u loses bits", tuple(bad["D"]), 0.8)
    return Finding("drive", "output_cast", "products lose bits whichever operand has them", tuple(bad[worst]), 0.7)


def gate(f: Findings) -> Finding | None:
    bad = f.bad("gate")
    if not bad:
        return None
    alone, wrong = f.on("gate", path="contraction"), f.bad("gate", path="contraction")
    if not wrong:
        ungated = all(_near(r.observed, 4 * 1.0, 0.01) for r in f.on("gate", path="skip"))
        return Finding(
            "gate",
            "skip",
            "D·u passes the gate by" if ungated else "D·u is gated wrongly and Σ C·h rightly",
            tuple(bad),
            0.9 if ungated else 0.7,
        )
    many = len(wrong) > 0.8 * len(alone)
    record = _inconsistent(alone)
    if record is not None and not (many and all(_near(r.observed, 4, 0.01) for r in alone)):
        return Finding("dequantize.z", "gate",
                       f"z = {record.about['scale']:g} x {record.about['code']} is not worth {record.about['value']:g}",
                       (record, *wrong), 1.0)  # fmt: skip
    forms = {
        "y is not gated": lambda z: 4.0 + 0 * z,
        "the gate is sigmoid(z) and not z·sigmoid(z)": lambda z: 4 / (1 + np.exp(-z)),
        "the gate is ReLU": lambda z: 4 * np.maximum(z, 0),
    }
    z, y = (np.array([r.about["value"] for r in alone]), np.array([r.observed for r in alone]))
    for reason, form in forms.items():
        if np.allclose(y, form(z.astype(float)), rtol=2e-3, atol=1e-4):
            return Finding("gate", "dequantize.z", reason, tuple(wrong), 1.0)
    if any(np.isnan(r.observed) for r in wrong):
        return Finding("gate", "output_cast", "the gate gives NaN for legal z", tuple(wrong), 0.97)
    return Finding("gate", "dequantize.z", "·silu(z) comes out wrong", tuple(wrong), 0.93)


def bias(f: Findings) -> Finding | None:
    bad = f.bad("bias")
    if not bad:
        return None
    alone = f.on("bias", dt=0)
    if not f.bad("bias", dt=0):
        return Finding(
            "dequantize.dt", "dequantize.dt_bias", "the value of dt changes when a bias is there", tuple(bad), 0.9
        )
    if all(r.observed == 0 for r in alone):
        return Finding("dequantize.dt_bias", "softplus", "the bias never reaches dt", tuple(bad), 0.97)
    record = _inconsistent(f.on("bias"))
    reason = "the bias of dt comes out wrong" if record is None else (
        f"bias = {record.about['scale'] / 4:g} x {record.about['code']} is not worth {record.about['value'] / 4:g}"
    )  # fmt: skip
    return Finding("dequantize.dt_bias", "softplus", reason, tuple(bad), 0.97)


def softplus(f: Findings) -> Finding | None:
    alone, with_bias = f.bad("softplus", bias=False), f.bad("softplus", bias=True)
    if not alone and not with_bias:
        return None
    if all(np.isnan(r.observed) for r in alone + with_bias) and (f.bad("rates") or f.bad("decay", softplus=False)):
        return None  # a decay that is NaN spoils even the first token, whose decay meets no state
    if not alone:
        return Finding("softplus", "dequantize.dt_bias", "softplus is right without a bias and wrong with one: "
                       "the bias is not added before it", tuple(with_bias), 0.97)  # fmt: skip
    values = sorted({r.about["value"] for r in alone})
    within = [r for r in f.on("softplus", bias=False) if -4 <= r.about["value"] <= 20]
    raw = f.bad("decay", softplus=True)
    if raw and all(
        abs(r.observed - r.expected * _raw(r)) <= 2e-3 * abs(r.expected * _raw(r)) + 1e-6
        for r in f.on("decay", softplus=True)
    ):
        return Finding(
            "drive", "softplus", "the decay gets softplus(dt) and the drive gets dt itself", tuple(alone + raw), 0.97
        )
    if all(abs(r.observed - r.about["value"] * _gain(r)) <= 2e-3 * abs(r.about["value"] * _gain(r)) for r in within):
        return Finding("softplus", "dequantize.dt", "dt does not pass through softplus", tuple(alone), 1.0)
    return Finding(
        "softplus", "dequantize.dt", f"softplus is wrong between {values[0]:g} and {values[-1]:g}", tuple(alone), 0.95
    )


def _gain(record: Record) -> float:
    return float(record.probe.inputs.u.scale)


def _raw(record: Record) -> float:
    """dt of a decay probe over its softplus."""
    value = record.about["value"]
    return value / float(np.logaddexp(value, 0.0))


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
        record = _inconsistent(every) or bad[0]
        return Finding("dequantize.A", "decay",
                       f"A is right for A_log = 0 and wrong for {record.about['scale']:g} x {record.about['code']}",
                       (record, *bad), 0.97)  # fmt: skip
    if np.allclose(at_zero, 1, atol=0.01):
        return Finding("dequantize.A", "decay", "A lacks its minus: decays grow", tuple(bad), 0.97)
    values = np.array([r.about["value"] for r in every])
    read = np.array([_rate(r) for r in every])
    if np.allclose(at_zero, 0, atol=0.01):
        seen = np.isfinite(read) & (np.array([2**-12 < abs(r.observed) < 60000 for r in every]))
        if np.allclose(read[seen], -values[seen], atol=0.05, rtol=0.05) and np.ptp(values[seen]) > 1:
            return Finding("dequantize.A", "decay", "A is A_log itself: exp is missing", tuple(bad), 0.97)
        if np.allclose(read, 0, atol=0.01):
            return Finding("decay", "dequantize.A", "nothing decays", tuple(bad), 0.95)
        if linear:
            return Finding("dequantize.A", "decay", "A is 0 for A_log = 0", tuple(bad), 0.9)
    if not linear or decays:
        return Finding("decay", "dequantize.A", "exp(dt·A) is wrong, and not by a wrong A", tuple(bad + decays), 0.93)
    return Finding("dequantize.A", "decay", "A comes out wrong", tuple(bad), 0.8)


def decay(f: Findings) -> Finding | None:
    plain, after = f.bad("decay", softplus=False), f.bad("decay", softplus=True)
    if plain:
        values = sorted({r.about["value"] for r in plain})
        return Finding(
            "decay",
            "recurrence",
            f"exp(−x) is wrong for x between {values[0]:g} and {values[-1]:g}",
            tuple(plain),
            0.95,
        )
    if after:
        return Finding(
            "decay",
            "softplus",
            "exp(dt·A) is right with softplus off; with it on, the drive gets softplus(dt) and the decay does not",
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
                f"the last bits of {part} are wrong between {values[0]:g} and {values[-1]:g}",
                tuple(bad),
                0.95,
            )
    return None


def deferred(f: Findings) -> Finding | None:
    bad = f.bad("integrate") + f.bad("time")
    if bad:
        return Finding("recurrence", "decay", "a sum over tokens is wrong", tuple(bad), 0.6)
    return None


def states(f: Findings) -> Finding | None:
    bad = f.bad("states")
    room = f.embed is not None and f.embed.states > 1
    if not bad and not room:
        return None
    if bad and all(r.about.get("rates") for r in bad):
        return Finding("decay", "dequantize.A", "states with rates of their own decay wrongly", tuple(bad), 0.8)
    if bad and all(r.bad_state for r in bad):
        return Finding("drive", "contraction", "some states are wrong when there are several", tuple(bad), 0.8)
    lost = sorted({r.about["hot"] + 1 for r in bad if "hot" in r.about and r.observed == 0})
    tail = f" (lost: {', '.join(map(str, lost[:6]))})" if lost else ""
    return Finding("contraction", "layout", f"Σ over the states is wrong{tail}", tuple(bad or f.bad("unit")), 0.95)


def tail(f: Findings) -> Finding | None:
    """Examined with many tokens, because one alone fails."""
    if f.embed is None or f.embed.length == 1:
        return None
    key = tuple(f.bad("unit") + f.bad("ragged") + f.bad("long"))
    return Finding("layout", "recurrence", "a single token fails and the first of many does not", key, 0.9)


def index(f: Findings) -> Finding | None:
    bad = f.bad("index")
    if not bad:
        return None
    same = [r for r in bad if r.about["operand"] is None]
    batched = [r for r in same if r.about["shape"][0] > 1 and r.about["shape"][1:] == (1, 1, 1, 1)]
    if batched and all((r.y != r.bounds.value).all() for r in batched):
        return Finding("determinism", "layout", "equal batch items give another y than one alone", tuple(batched), 0.95)
    if same:
        return Finding(
            "layout",
            "determinism",
            "the same item, channel or token, several times over, comes out unequal",
            tuple(same),
            0.9,
        )
    moved = sorted({r.about["operand"] for r in bad})
    permuted = [r for r in bad if _permuted(r)]
    if moved == ["D"]:
        return Finding("skip", "layout", "channels get another channel's D", tuple(bad), 0.97)
    if not permuted and all(r.about["shape"][0] > 1 for r in bad):
        return Finding("determinism", "layout", "y of one batch item depends on the others", tuple(bad), 0.9)
    names = ", ".join("A_log" if name == "A_log" else str(name) for name in moved)
    return Finding(
        "layout", "determinism", f"values arrive at another item, group, channel or token ({names})", tuple(bad), 0.95
    )


def _permuted(record: Record) -> bool:
    """Every wrong y is the y due elsewhere."""
    due = np.sort(np.unique(record.bounds.rounded.astype(np.float64)))
    return bool(np.isin(record.y, due).all())


def lengths(f: Findings) -> Finding | None:
    ragged, sums = f.bad("ragged"), f.bad("long")
    if not ragged and not sums:
        return None
    at = _boundary(f, "ragged") or _boundary(f, "long")
    if at is not None:
        return Finding(
            "recurrence", "layout", f"y goes wrong at token {at + 1}, whatever the length", tuple(sums + ragged), 0.97
        )
    lost = ", ".join(map(str, sorted({r.about["length"] for r in ragged or sums})[:8]))
    if ragged:
        return Finding(
            "layout", "recurrence", f"with the memory off, lengths {lost} … have wrong tokens", tuple(ragged), 0.93
        )
    return Finding(
        "recurrence", "layout", f"running sums go wrong at lengths {lost}, at no fixed token", tuple(sums), 0.7
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
            f"decaying states go wrong from token {t + 1} on, running sums do not",
            tuple(bad),
            0.9,
        )
    return None


def state(f: Findings) -> Finding | None:
    during = f.bad("state", kind="during")
    if during:
        return Finding(
            "state_quantization", "recurrence", "y changes when the state is asked for as INT8", tuple(during), 0.97
        )
    codes = f.state_bad("state", kind="tie") + f.state_bad("state", kind="range") + f.state_bad("state", kind="during")
    floats = f.state_bad("state", kind="float")
    if codes and not floats:
        ties = not f.state_bad("state", kind="range") and not f.state_bad("state", kind="during")
        reason = (
            "ties of the returned state are not rounded away from zero"
            if ties
            else "the returned state has wrong codes"
        )
        return Finding("state_quantization", "recurrence", reason, tuple(codes), 0.97)
    if floats or codes:
        integer = floats and np.issubdtype(floats[0].outcome.state.dtype, np.integer)
        name = "state_quantization" if integer else "recurrence"
        return Finding(name, "layout", "y is right and the returned state is not", tuple(floats + codes), 0.85)
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
                operation, "recurrence", f"the returned state leaves its bound ({bad[0].probe.name})", tuple(bad), 0.8
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
                           f"{record.probe.name}: passes without {part}", tuple(bad), 0.5)  # fmt: skip
    return Finding("recurrence", "layout", f"{record.probe.name} fails and every part of it passes", tuple(bad), 0.3)


RULES = (
    repeat,
    operands,
    unit,
    skip,
    order,
    carry,
    time,
    integrate,
    exactness,
    cast,
    precise,
    gate,
    bias,
    softplus,
    rates,
    decay,
    fine,
    deferred,
    tail,
    states,
    index,
    lengths,
    memory,
    returned,
    state,
    compound,
)


def decide(f: Findings) -> Finding | None:
    """The first rule that recognizes something; None when no bound was left."""
    for rule in RULES:
        finding = rule(f)
        if finding is not None:
            return finding
    if f.failures:
        return Finding("layout", "determinism", "a bound was left where no rule looks", tuple(f.failures), 0.2)
    return None
