"""Probes of one token: operands, skip, exactness, the cast, the gate, the bias, softplus."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from .rooms import FACTORINGS, GONE, SLOW, Probe, Room

__all__ = ["STEPS", "bias", "cast", "exactness", "gate", "operands", "precise", "skip", "softplus", "split"]


def _operand(room: Room, name: str, scale: float, code: int) -> Probe:
    """One operand off 1.  A 64th of dt, so that the first decay, e^(−dt·A), which meets no state, stays small."""
    about = {"operand": name, "scale": scale, "code": code, "value": scale * code}
    placed = {name: (scale / 64, code), "u": (64, 1)} if name == "dt" else {name: (scale, code)}
    return room(f"operand.{name}", f"{name} = {scale:g} x {code}", about=about, **placed)


def operands(room: Room) -> Iterator[Probe]:
    for name in ("u", "dt", "B", "C"):
        for scale, code in FACTORINGS:
            yield _operand(room, name, scale, code)
        for code in range(-126, 127, 7):
            yield _operand(room, name, 0.25, code)


def skip(room: Room) -> Iterator[Probe]:
    for scale, code in FACTORINGS:
        about = {"operand": "D", "scale": scale, "code": code, "value": scale * code}
        yield room("skip", f"D = {scale:g} x {code} alone", about=about, D=(scale, code), C=(1, 0), u=(0.25, 4))
    for u, D, C in ((3, 2, 5), (-4, 1, 1), (2, -3, 7), (5, 1, -1), (0, 3, 4)):
        yield room("skip", f"D = {D}, u = {u}, C = {C}", D=(1, D), u=(1, u), C=(1, C), about={"sum": True})


def exactness(room: Room) -> Iterator[Probe]:
    """Integers of 12 bits and more inside, at most 8 bits in the answer: only a coarser format inside can be wrong."""

    def probe(part: str, name: str, tokens: int = 1, **operands) -> Probe:
        return room("exactness", name, tokens, about={"part": part}, **operands)

    for sign in (1, -1):
        late = {"C": (1, [0, 1]), "A_log": GONE}
        yield probe("drive", f"B·dt = {sign * 4095}", 2, B=(1, [65 * sign, -64 * sign]), dt=(1, [63, 63]), **late)
        yield probe("drive", f"B·u = {sign * 4095}", 2, B=(1, [65 * sign, -64 * sign]), u=(1, [63, 63]), **late)
        yield probe("drive", f"dt·u = {sign * 4095}", 2, dt=(1, [65, 64]), u=(1, [63 * sign, -63 * sign]), **late)
        yield probe("contraction", f"h = {sign * 4095}", B=(1, 65 * sign), u=(1, 63), D=(1, -64 * sign))
        yield probe("contraction", f"C·h = {sign * 4095}", C=(1, 65 * sign), B=(1, 63), D=(32, -126 * sign))
        yield probe("skip", f"D·u = {sign * 4095}", D=(1, 65 * sign), u=(1, 63), B=(1, -64 * sign))
        for dt, size in ((1, 16), (1, 32), (1, 64), (2, 64), (8, 64)):
            yield probe("recurrence", f"running sum {sign * dt * size * size}, 1, {-sign * dt * size * size}", 3,
                        dt=(1, [dt, 1, dt]), u=(1, [size * sign, 1, -size * sign]), B=(1, [size, 1, size]),
                        C=(1, [0, 0, 1]), A_log=GONE)  # fmt: skip
    for order in ((0, 1, 2), (1, 0, 2), (0, 2, 1), (2, 0, 1), (1, 2, 0), (2, 1, 0)):
        B, C = np.array([64, 1, 64])[list(order)], np.array([64, 1, -64])[list(order)]
        yield room.states("exactness", f"Σ C·h of {list(B * C)}", B, C, {"part": "contraction"})


def cast(room: Room) -> Iterator[Probe]:
    ties = [(a, b) for a, b in product(range(3, 126, 2), repeat=2) if a < b and 2048 < a * b < 4096][::40]
    longer = [(a, b) for a, b in product(range(63, 128, 2), repeat=2) if a < b][::37]
    for (a, b), sign in product(ties, (1, -1)):
        yield room("cast", f"{sign * a * b}: a tie", u=(1, a * sign), B=(1, b), about={"kind": "tie"})
    for (a, b), sign in product(longer, (1, -1)):
        yield room("cast", f"{sign * a * b}", u=(1, a * sign), B=(1, b), about={"kind": "inexact"})
    for u, B, C in ((127, 127, 4), (117, 70, 8), (90, 91, 8), (126, 65, 8), (127, 127, 5), (127, 127, 127)):
        for sign in (1, -1):
            yield room("cast", f"{sign * u * B * C}", u=(1, u * sign), B=(1, B), C=(1, C), about={"kind": "large"})
    for code in (1, 2, 3, 5, 7, 13, 100, 127):
        for scale in (2**-25, 2**-24, 2**-20, 2**-17):
            yield room(
                "cast", f"{code} x {scale:g}", u=(scale * 2**12, code), C=(2**-12, 1), about={"kind": "subnormal"}
            )


def precise(room: Room, rng: np.random.Generator) -> Iterator[Probe]:
    codes = {"u": 3, "dt": 1, "B": 5, "C": 7, "D": 11}
    for name in ("u", "dt", "B", "C", "D"):
        for scale in rng.uniform(0.5, 1.0, 16).astype(np.float32):
            scale = float(scale)
            placed = {key: (scale if key == name else 1, codes[key]) for key in ("u", "dt", "B", "C")}
            if name == "D":
                placed |= {"D": (scale, codes["D"]), "C": (1, 0)}
            yield room(f"precise.{name}", f"scale of {name} {scale:.9g}", about={"operand": name}, **placed)


def gate(room: Room) -> Iterator[Probe]:
    zs = [*FACTORINGS, *((0.1, code) for code in range(-128, 128, 5)), (1, 0)]
    zs += [(1, code * sign) for code in (88, 90, 100, 110) for sign in (1, -1)]
    for scale, code in zs:
        about = {"operand": "z", "scale": scale, "code": code, "value": scale * code}
        yield room("gate", f"z = {scale:g} x {code}", about={**about, "path": "contraction"}, z=(scale, code), u=(1, 4))
    for scale, code in ((0.5, 3), (1, -1), (0.25, -7), (1, 4)):
        about = {"operand": "z", "scale": scale, "code": code, "value": scale * code}
        yield room("gate", f"z = {scale:g} x {code}, C = 0", about={**about, "path": "skip"}, z=(scale, code),
                   C=(1, 0), D=(1, 4))  # fmt: skip
        yield room("gate", f"z = {scale:g} x {code}, with D", about={**about, "path": "both"}, z=(scale, code),
                   C=(1, 2), D=(1, 5))  # fmt: skip


def bias(room: Room) -> Iterator[Probe]:
    for dt, (scale, code) in product((0, 1), FACTORINGS):
        about = {"operand": "dt_bias", "scale": scale, "code": code, "value": scale * code, "dt": dt}
        yield room(
            "bias",
            f"bias = {scale:g} x {code}, dt = {dt}",
            about=about,
            dt=(2**-6, dt),
            dt_bias=(scale / 64, code),
            u=(64, 1),
        )


STEPS = (
    -100,
    -90,
    -86,
    -80,
    -60,
    -40,
    -25,
    -20,
    -17,
    -15,
    -12,
    -10,
    -8,
    -6,
    -4,
    -3,
    -2,
    -1,
    -0.5,
    -0.125,
    0,
    0.125,
    0.5,
    1,
    2,
    3,
    4,
    4.5,
    5,
    5.5,
    6,
    7,
    7.5,
    8,
    8.5,
    9,
    9.5,
    10,
    10.25,
    10.5,
    11,
    12,
    13,
    14,
    15,
    16,
    17,
    18,
    19,
    20,
    20.5,
    21,
    25,
    30,
    40,
    60,
    80,
    88,
    89,
    90,
    100,
    120,
)
"""Arguments of softplus: both sides of every threshold in use, of the overflow of e^x and of its underflow."""


def split(value: float) -> tuple[float, int]:
    """(scale, code) with scale·code = value, the code as large as the value's bits allow."""
    return (0.125, round(value * 8)) if abs(value) < 16 else (0.5 if abs(value) <= 60 else 1.0, 0) if value == 0 else (
        (0.5, round(value * 2)) if abs(value) <= 60 else (1.0, round(value))
    )  # fmt: skip


def softplus(room: Room) -> Iterator[Probe]:
    for value in STEPS:
        result = float(np.logaddexp(value, 0.0))
        gain = 2.0 ** -round(np.log2(max(result, 1e-37)))
        for scale, code in {split(value), (value or 1.0, 1 if value else 0)}:
            about = {"operand": "dt", "scale": scale, "code": code, "value": value, "bias": False}
            yield room(
                "softplus",
                f"softplus({value:g}), dt = {scale:g} x {code}",
                about=about,
                softplus=True,
                A_log=SLOW,
                dt=(scale, code) if scale > 0 else (-scale, -code),
                u=(gain, 1),
            )
        for part in (0.5, 1.0):
            bias = value * part
            about = {"operand": "dt_bias", "value": value, "bias": True}
            yield room(
                "softplus",
                f"softplus({value - bias:g} + bias {bias:g})",
                about=about,
                softplus=True,
                A_log=SLOW,
                dt=split(value - bias),
                dt_bias=split(bias),
                u=(gain, 1),
            )
