"""Rules about a single token: dequantization, drive, contraction, skip, cast, gate, bias, softplus."""

from __future__ import annotations

import numpy as np

from ..texts import listed, say
from .finding import Finding, elasticity, inconsistent, near, operation_of
from .records import Findings, Record
from .rules_many import held

__all__ = ["bias", "cast", "exactness", "gate", "operands", "precise", "skip", "softplus", "unit"]


def operands(f: Findings) -> Finding | None:
    names = ("u", "dt", "B", "C")
    wrong = {name: f.bad(f"operand.{name}", operand=name) for name in names}
    if not any(wrong.values()):
        for name in ("B", "u", "dt", "C"):
            state = f.state_bad(f"operand.{name}", operand=name)
            others = [other for other in names if other != name and f.state_bad(f"operand.{other}", operand=other)]
            if state and not others:
                return Finding(
                    operation_of(name),
                    "drive",
                    say("y is right and the state is not when {name} is not 1", name=name),
                    tuple(state),
                    0.8,
                )
            if state:
                return None
        return None
    whole = {name: f.on(f"operand.{name}", operand=name) for name in names}
    by_scale = {name: elasticity(whole[name], 4, 1) for name in names}
    by_code = {name: elasticity(whole[name], 1, 4) for name in names}
    missing = [n for n in names if near(by_scale[n], 0) and near(by_code[n], 1)]
    twice = [n for n in names if near(by_scale[n], 2) and near(by_code[n], 1)]
    unused = [n for n in names if near(by_scale[n], 0) and near(by_code[n], 0)]
    doubled = [n for n in names if near(by_scale[n], 2) and near(by_code[n], 2)]
    if f.bad("unit") and not f.embed:
        alive = [n for n in names if inconsistent(whole[n])]
        if len(alive) == 1:
            return Finding(
                operation_of(alive[0]),
                "drive",
                say("codes of {alive} are not worth scale x code", alive=alive[0]),
                tuple(wrong[alive[0]]),
                0.9,
            )
        return None
    if missing:
        name = missing[0]
        also = say(" and {twice}'s scale twice", twice=twice[0]) if twice else ""
        return Finding(operation_of(name), operation_of(twice[0]) if twice else "drive",
                       say(
                           "y does not depend on the scale of {name}{also}", name=name, also=also
                       ), tuple(wrong[name]), 1.0)  # fmt: skip
    if unused:
        name = unused[0]
        operation = "contraction" if name == "C" else "drive"
        instead = say(" and on {doubled} twice", doubled=doubled[0]) if doubled else ""
        return Finding(operation, operation_of(name), say(
            "y does not depend on {name}{instead}", name=name, instead=instead
        ), tuple(wrong[name]), 1.0)
    if twice:
        return Finding(
            operation_of(twice[0]), "drive", say(
                "the scale of {twice} is applied twice", twice=twice[0]
            ), tuple(wrong[twice[0]]), 1.0
        )
    if doubled:
        operation = "contraction" if doubled[0] == "C" else "drive"
        return Finding(
            operation, operation_of(doubled[0]), say(
                "{doubled} is used twice", doubled=doubled[0]
            ), tuple(wrong[doubled[0]]), 0.95
        )
    return _single_values(f, wrong, whole)


def _single_values(f: Findings, wrong: dict, whole: dict) -> Finding | None:
    """Elasticities are right, single values are not: clips, signs, ranges, formats."""
    bad = [name for name in wrong if wrong[name]]
    split = [name for name in bad if inconsistent(whole[name])]
    if len(split) == 1 or (split and len(bad) == 1):
        record = inconsistent(whole[split[0]])
        return Finding(
            operation_of(split[0]),
            "drive" if split[0] != "C" else "contraction",
            say(
                "{split} = {scale} x {code} is not worth {value}",
                split=split[0], scale=f"{record.about['scale']:g}", code=record.about["code"],
                value=f"{record.about['value']:g}"
            ),
            (record, *wrong[split[0]]),
            1.0,
        )
    if len(bad) == 1:
        return Finding(operation_of(bad[0]), "contraction" if bad[0] == "C" else "drive",
                       say("some values of {bad} come out wrong", bad=bad[0]), tuple(wrong[bad[0]]), 0.9)  # fmt: skip
    if bad == ["u", "dt", "B"] and f.bad("range") and not held(f):
        return Finding("drive", "recurrence", say(
            "large or small dt·B·u come out wrong, a state of that size does not"
        ),
                       tuple(wrong["u"]), 0.8)  # fmt: skip
    if bad == ["u", "dt", "B"]:
        return Finding("recurrence", "drive", say(
            "large or small states come out wrong, whichever operand makes them so"
        ),
                       tuple(wrong["u"]), 0.8)  # fmt: skip
    if len(bad) == 4 and any(np.isfinite(r.observed) for name in bad for r in wrong[name]):
        return Finding(
            "output_cast", "drive", say("the answer is wrong wherever it takes certain values"), tuple(wrong["u"]), 0.7
        )
    if bad:
        return Finding(
            "drive", operation_of(bad[0]), say(
                "products of {bad} come out wrong", bad=listed(bad)
            ), tuple(wrong[bad[0]]), 0.6
        )
    return None


def unit(f: Findings) -> Finding | None:
    """All ones fail in every room: only gross faults do."""
    bad = f.bad("unit")
    if not bad or f.embed is not None:
        return None
    record = bad[0]
    if near(record.observed, np.log1p(np.e), 0.01):
        return Finding("softplus", "drive", say("dt passes through softplus although softplus is off"), tuple(bad), 0.9)
    held = f.on("carry", hold=1)
    later = held and all(float(r.y[0, -1, 0]) == float(r.bounds.value[0, 1, 0]) for r in held[:1])
    if (later and not record.bad_state) or (record.outcome.state is not None and not record.bad_state):
        return Finding(
            "contraction", "output_cast", say("the state is right and y is not, with all operands 1"), tuple(bad), 0.85
        )
    if f.on("skip", operand="D") and not f.bad("skip", operand="D"):
        certainty = 0.9 if record.bad_state else 0.6
        return Finding(
            "drive", "contraction", say("y is wrong with all operands 1, and right with C = 0"), tuple(bad), certainty
        )
    return Finding("output_cast", "layout", say("y is wrong with all operands 1"), tuple(bad), 0.4)


def skip(f: Findings) -> Finding | None:
    bad = f.bad("skip")
    if not bad:
        return None
    alone = f.on("skip", operand="D")
    by_scale, by_code = elasticity(alone, 4, 1), elasticity(alone, 1, 4)
    wrong = f.bad("skip", operand="D")
    if not wrong:
        return Finding("skip", "output_cast", say("D·u is right alone and wrong beside Σ C·h"), tuple(bad), 0.95)
    if near(by_scale, 0) and near(by_code, 1):
        return Finding("dequantize.D", "skip", say("y does not depend on the scale of D"), tuple(wrong), 1.0)
    if near(by_scale, 2) and near(by_code, 1):
        return Finding("dequantize.D", "skip", say("the scale of D is applied twice"), tuple(wrong), 1.0)
    if all(r.observed == 0 for r in alone):
        return Finding("skip", "dequantize.D", "D·u never reaches y", tuple(wrong), 1.0)
    if (record := inconsistent(alone)) is not None and not all(r.bad_y for r in alone):
        return Finding("dequantize.D", "skip",
                       say(
                           "D = {scale} x {code} is not worth {value}",
                           scale=f"{record.about['scale']:g}", code=record.about["code"],
                           value=f"{record.about['value']:g}"
                       ),
                       (record, *wrong), 1.0)  # fmt: skip
    return Finding("skip", "dequantize.D", say("D·u comes out wrong for every D"), tuple(wrong), 0.9)


def exactness(f: Findings) -> Finding | None:
    bad = {part: f.bad("exactness", part=part) for part in ("drive", "contraction", "skip", "recurrence")}
    if not any(bad.values()) or len(f.failures) > 0.9 * len(f.records):
        return None

    def reason(place: str) -> str:
        return say(
            "a format with fewer bits than float32: integers of 12 bits and more are lost in {place}", place=place
        )

    held = f.clean("integrate", "time")
    if bad["recurrence"] and held:
        return Finding("recurrence", "drive", reason(say("the state")), tuple(bad["recurrence"]), 0.97)
    if bad["drive"] and held:
        return Finding("drive", "recurrence", reason("dt·B·u"), tuple(bad["drive"]), 0.95)
    if bad["contraction"]:
        return Finding("contraction", "output_cast", reason("Σ C·h"), tuple(bad["contraction"]), 0.95)
    if bad["skip"]:
        return Finding("skip", "dequantize.D", reason("D·u"), tuple(bad["skip"]), 0.95)
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
                return Finding("output_cast", None, say("y is {name}", name=name), tuple(bad), 1.0)
    kinds = sorted({r.about["kind"] for r in bad})
    return Finding(
        "output_cast",
        "contraction",
        say("exact values are rounded wrongly to float16 ({kinds})", kinds=listed(kinds)),
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
        return Finding(operation_of(worst), "skip" if worst == "D" else "drive",
                       say(
                           "{worst} loses bits when its scale has 24 of them", worst=worst
                       ), tuple(bad[worst]), 0.95)  # fmt: skip
    if "D" in wrong and "u" not in wrong:
        return Finding("skip", "dequantize.D", "D·u loses bits", tuple(bad["D"]), 0.8)
    return Finding("drive", "output_cast", say("products lose bits whichever operand has them"), tuple(bad[worst]), 0.7)


def gate(f: Findings) -> Finding | None:
    bad = f.bad("gate")
    if not bad:
        return None
    alone, wrong = f.on("gate", path="contraction"), f.bad("gate", path="contraction")
    if not wrong:
        ungated = all(near(r.observed, 4 * 1.0, 0.01) for r in f.on("gate", path="skip"))
        return Finding(
            "gate",
            "skip",
            say("D·u passes the gate by") if ungated else say("D·u is gated wrongly and Σ C·h rightly"),
            tuple(bad),
            0.9 if ungated else 0.7,
        )
    many = len(wrong) > 0.8 * len(alone)
    coarse = [r for r in alone if not _short(r.about["scale"])]
    if all(r in coarse for r in wrong) and 2 * len(wrong) > len(coarse):
        return Finding("dequantize.z", "gate", say("z loses bits when its scale has 24 of them"), tuple(wrong), 0.9)
    record = inconsistent(alone)
    if record is not None and not (many and all(near(r.observed, 4, 0.01) for r in alone)):
        return Finding("dequantize.z", "gate",
                       say(
                           "z = {scale} x {code} is not worth {value}",
                           scale=f"{record.about['scale']:g}", code=record.about["code"],
                           value=f"{record.about['value']:g}"
                       ),
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
        return Finding("gate", "output_cast", say("the gate gives NaN for legal z"), tuple(wrong), 0.97)
    return Finding("gate", "dequantize.z", "·silu(z) comes out wrong", tuple(wrong), 0.93)


def _short(scale: float) -> bool:
    """Whether bfloat16 holds the scale."""
    return float(_bfloat16(np.float32(scale))) == scale


def bias(f: Findings) -> Finding | None:
    bad = f.bad("bias")
    if not bad:
        return None
    alone = f.on("bias", dt=0)
    if not f.bad("bias", dt=0):
        return Finding(
            "dequantize.dt", "dequantize.dt_bias", say("the value of dt changes when a bias is there"), tuple(bad), 0.9
        )
    if all(r.observed == 0 for r in alone):
        return Finding("dequantize.dt_bias", "softplus", "the bias never reaches dt", tuple(bad), 0.97)
    record = inconsistent(f.on("bias"))
    reason = say("the bias of dt comes out wrong") if record is None else say(
        "bias = {scale} x {code} is not worth {value}",
        scale=f"{record.about['scale'] / 4:g}", code=record.about["code"], value=f"{record.about['value'] / 4:g}"
    )  # fmt: skip
    return Finding("dequantize.dt_bias", "softplus", reason, tuple(bad), 0.97)


def softplus(f: Findings) -> Finding | None:
    alone, with_bias = f.bad("softplus", bias=False), f.bad("softplus", bias=True)
    if not alone and not with_bias:
        return None
    if all(np.isnan(r.observed) for r in alone + with_bias) and (f.bad("rates") or f.bad("decay", softplus=False)):
        return None  # a decay that is NaN spoils even the first token, whose decay meets no state
    if not alone:
        return Finding("softplus", "dequantize.dt_bias", say(
            "softplus is right without a bias and wrong with one: the bias is not added before it"
        ), tuple(with_bias), 0.97)  # fmt: skip
    values = sorted({r.about["value"] for r in alone})
    within = [r for r in f.on("softplus", bias=False) if -4 <= r.about["value"] <= 20]
    raw = f.bad("decay", softplus=True)
    if raw and all(
        abs(r.observed - r.expected * _raw(r)) <= 2e-3 * abs(r.expected * _raw(r)) + 1e-6
        for r in f.on("decay", softplus=True)
    ):
        return Finding(
            "drive", "softplus", say(
                "the decay gets softplus(dt) and the drive gets dt itself"
            ), tuple(alone + raw), 0.97
        )
    if all(abs(r.observed - r.about["value"] * _gain(r)) <= 2e-3 * abs(r.about["value"] * _gain(r)) for r in within):
        return Finding("softplus", "dequantize.dt", say("dt does not pass through softplus"), tuple(alone), 1.0)
    return Finding(
        "softplus", "dequantize.dt", say(
            "softplus is wrong between {low} and {high}", low=f"{values[0]:g}", high=f"{values[-1]:g}"
        ), tuple(alone), 0.95
    )


def _gain(record: Record) -> float:
    return float(record.probe.inputs.u.dequantize().abs().max())


def _raw(record: Record) -> float:
    """dt of a decay probe over its softplus."""
    value = record.about["value"]
    return value / float(np.logaddexp(value, 0.0))
