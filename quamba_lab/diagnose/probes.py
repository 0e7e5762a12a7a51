"""The probes: small inputs, each of which exercises as few operations as can be.

They form a ladder.  The first rung uses one batch item, channel, state and token, no softplus, D, z or bias, and
codes and
scales of 1; every further rung adds one ingredient.  So the first rung that leaves its bound names the ingredient, and
what passes clears the operations it exercised.  Rungs, with the operation a failure points to first:

    repeat      the same call again                       determinism
    unit        everything is 1                           (whatever is left when the rest is understood)
    operand.X   value = scale x code, in several factorings of one product, for u, dt, B, C     dequantize.X, drive, ...
    skip        C = 0: y = D·u                            dequantize.D, skip
    order       one token of three at a time              layout
    carry       dt = 0 after the first token: h is held   recurrence
    time        two tokens, operands told apart           drive, contraction
    integrate   A underflows to 0: h is a running sum     recurrence
    exactness   integers that float32 keeps and float16 or bfloat16 cannot; the answer itself is short
    cast        exact values between float16 numbers      output_cast
    precise.X   a scale of 24 significant bits            dequantize.X
    gate        z over its range, with and without D      dequantize.z, gate
    bias        softplus off                              dequantize.dt_bias
    softplus    softplus on, without and with bias        softplus
    rates       A_log in several factorings               dequantize.A
    decay       exp(dt·A) over its range                  decay
    fine        a difference against D·u that shows the last bits of softplus and decay
    states      one-hot states                            contraction
    index       one-hot batch items, channels, groups, tokens, operand by operand      layout, skip
    ragged      every length from 1, memory off           layout
    long        running sums over lengths to 8,200        recurrence
    memory      decaying states over long inputs          recurrence
    state       the returned state, and y when it is asked for      state_quantization
    compound    everything at once

Every probe has the bound of :mod:`quamba_lab.diagnose.bounds`; none has a tolerance of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import product

import numpy as np
import torch

from ..quantized import Quantized
from ..scans import OPERANDS, ScanInputs, random_inputs

__all__ = ["RUNGS", "Embed", "Probe", "build", "ladder", "units"]

RUNGS = (
    "repeat",
    "unit",
    "operand.u",
    "operand.dt",
    "operand.B",
    "operand.C",
    "skip",
    "order",
    "carry",
    "time",
    "integrate",
    "exactness",
    "cast",
    "precise.u",
    "precise.dt",
    "precise.B",
    "precise.C",
    "precise.D",
    "gate",
    "bias",
    "softplus",
    "rates",
    "decay",
    "fine",
    "states",
    "index",
    "ragged",
    "long",
    "memory",
    "state",
    "compound",
)


@dataclass(frozen=True)
class Probe:
    """``inputs`` and where to look: the first ``watch`` tokens of y (None: all).  ``about``: what distinguishes this
    probe from its neighbours on the rung."""

    rung: str
    name: str
    inputs: ScanInputs
    watch: int | None = None
    about: dict = field(default_factory=dict)

    @property
    def optional(self) -> bool:
        """Whether the probe asks for something that a scan may decline (several groups, no z, no D, softplus off …)."""
        x = self.inputs
        return x.groups > 1 or not x.softplus or None in (x.z, x.D, x.dt_bias, x.state_scale)


@dataclass(frozen=True)
class Embed:
    """The room in which the one-token probes are placed: ``length`` tokens, ``states`` states, ``hot`` the one in
    use."""

    length: int = 1
    states: int = 1
    hot: int = 0


def build(shape: tuple[int, int, int, int, int], softplus: bool = False, state_scale: float | None = None, **operands):
    """ScanInputs of ``shape`` (b, d, l, n, g).  Each operand is (scale, codes), the codes broadcast to its shape;
    ``D``, ``z``, ``dt_bias`` may be left out.  Defaults: u, dt, B, C of scale 1 and code 1, A_log 0."""
    b, d, l, n, g = shape
    full = {
        "u": (b, d, l), "dt": (b, d, l), "z": (b, d, l), "B": (b, g, n, l), "C": (b, g, n, l),
        "A_log": (d, n), "D": (d,), "dt_bias": (d,),
    }  # fmt: skip
    given = {"u": (1, 1), "dt": (1, 1), "B": (1, 1), "C": (1, 1), "A_log": (1, 0), **operands}
    parts = {}
    for name in OPERANDS:
        if given.get(name) is not None:
            scale, codes = given[name]
            values = np.broadcast_to(np.asarray(codes), full[name]).astype(np.int8)
            parts[name] = Quantized(torch.from_numpy(values.copy()), torch.tensor(float(scale), dtype=torch.float32))
    state = None if state_scale is None else torch.tensor(state_scale, dtype=torch.float32)
    return ScanInputs(**parts, state_scale=state, softplus=softplus)


GONE = (2.0, -100)  # A_log = −200: A underflows to 0, so every decay is exactly 1
SLOW = (0.5, -1)  # A = −0.6: a first decay, which meets no state, stays finite even when A has lost its minus or exp
FORGET = (1.0, 8)  # A_log = 8: a step of dt = 1 decays by e^−2981, that is to 0


class _Room:
    """Builds probes of few tokens within an :class:`Embed`."""

    def __init__(self, embed: Embed) -> None:
        self.embed = embed

    def __call__(self, rung: str, name: str, tokens: int = 1, about: dict | None = None, **operands) -> Probe:
        """Operand codes are scalars (the same at every used token) or a list with one per used token."""
        length, states = max(self.embed.length, tokens), self.embed.states
        hot = np.arange(states) == self.embed.hot
        softplus, state_scale = operands.pop("softplus", False), operands.pop("state_scale", None)
        placed = {}
        for key in ("u", "dt", "B", "C", "z"):
            default = None if key == "z" else (1, 1)
            given = operands.pop(key, default)
            if given is None:
                continue
            codes = np.zeros(length, dtype=int)
            codes[:tokens] = given[1]
            placed[key] = (given[0], hot[:, None] * codes if key in "BC" else codes)
        shape = (1, 1, length, states, 1)
        x = build(shape, softplus=softplus, state_scale=state_scale, **placed, **operands)
        return Probe(rung, name, x, tokens if length > tokens else None, about or {})

    def states(self, rung: str, name: str, B, C, about: dict, tokens: int = 1, **operands) -> Probe:
        """One token (or ``tokens``, driven at the first) with codes ``B`` and ``C`` over the states."""
        length, n = max(self.embed.length, tokens), len(np.atleast_1d(B))
        first, used = np.arange(length) == 0, np.arange(length) < tokens
        x = build(
            (1, 1, length, n, 1),
            B=(1, np.asarray(B)[:, None] * first),
            C=(1, np.asarray(C)[:, None] * used),
            **operands,
        )
        return Probe(rung, name, x, tokens if length > tokens else None, about)


FACTORINGS = (
    (1, 1), (4, 1), (1, 4), (2, 2), (0.125, 1), (0.0625, 2), (1, 16), (16, 1), (1, -1), (0.5, -2), (1, 64), (64, 1),
    (2, 32), (1, -64), (0.5, -128), (1, 127), (1.984375, 64), (1, -127), (1.984375, -64), (0.25, -128), (0.5, 5),
    (2.5, 1), (0.015625, -128), (1, -2), (2, -1), (0.0078125, 100), (1, 3), (3, 1), (0.375, 8),
)  # fmt: skip
"""(scale, code): few products, each in several factorings, so that a value that depends on more than the product
shows."""


def units(embeds: Iterable[Embed]) -> list[Probe]:
    """All ones, in rooms of several sizes."""
    return [
        Probe("unit", f"all ones, {e.length} tokens, state {e.hot + 1} of {e.states}",
              _Room(e)("unit", "").inputs, 1 if e.length > 1 else None, {"embed": e})
        for e in embeds
    ]  # fmt: skip


def _operand(room: _Room, name: str, scale: float, code: int) -> Probe:
    """One operand off 1.  A 64th of dt, so that the first decay, e^(−dt·A), which meets no state, stays small."""
    about = {"operand": name, "scale": scale, "code": code, "value": scale * code}
    placed = {name: (scale / 64, code), "u": (64, 1)} if name == "dt" else {name: (scale, code)}
    return room(f"operand.{name}", f"{name} = {scale:g} x {code}", about=about, **placed)


def _operands(room: _Room) -> Iterator[Probe]:
    for name in ("u", "dt", "B", "C"):
        for scale, code in FACTORINGS:
            yield _operand(room, name, scale, code)
        for code in range(-126, 127, 7):
            yield _operand(room, name, 0.25, code)
    for name, (u, B, C) in {"large state": (128, 64, 2**-12), "small state": (2**-8, 2**-7, 2**15)}.items():
        yield room("operand.u", name, about={"range": name}, u=(u, 1), B=(B, 1), C=(C, 1))


def _skip(room: _Room) -> Iterator[Probe]:
    for scale, code in FACTORINGS:
        about = {"operand": "D", "scale": scale, "code": code, "value": scale * code}
        yield room("skip", f"D = {scale:g} x {code} alone", about=about, D=(scale, code), C=(1, 0), u=(0.25, 4))
    for u, D, C in ((3, 2, 5), (-4, 1, 1), (2, -3, 7), (5, 1, -1), (0, 3, 4)):
        yield room("skip", f"D = {D}, u = {u}, C = {C}", D=(1, D), u=(1, u), C=(1, C), about={"sum": True})


def _time(room: _Room) -> Iterator[Probe]:
    for t in range(3):
        hot = [int(k == t) for k in range(3)]
        yield room("order", f"token {t + 1} of 3", 3, u=(3, hot), dt=(1, hot), B=(1, hot), C=(1, hot))
    for hold in (1, 2, 3):
        for size in (1, 5):
            yield room("carry", f"a state of {size} held for {hold} tokens", hold + 1,
                       u=(1, [size] + [0] * hold), dt=(1, [1] + [0] * hold), about={"hold": hold})  # fmt: skip
    yield room("carry", "no dt, no drive", 2, dt=(1, [1, 0]), u=(1, [1, 7]), about={"hold": 1})
    for B, C in (([3, 0], [0, 5]), ([2, 1], [1, 3]), ([0, 3], [5, 1])):
        yield room("time", f"B = {B}, C = {C}", 2, B=(1, B), C=(1, C), A_log=GONE)
    yield room("integrate", "1, 1, −1, 2", 4, u=(1, [1, 1, -1, 2]), A_log=GONE)
    yield room("integrate", "3, −2, 0, 5", 4, u=(1, [3, -2, 0, 5]), B=(2, 1), A_log=GONE)
    yield room("integrate", "dt of 1, 2, 3", 3, dt=(1, [1, 2, 3]), A_log=GONE)


def _exactness(room: _Room) -> Iterator[Probe]:
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


def _cast(room: _Room) -> Iterator[Probe]:
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


def _precise(room: _Room, rng: np.random.Generator) -> Iterator[Probe]:
    codes = {"u": 3, "dt": 1, "B": 5, "C": 7, "D": 11}
    for name in ("u", "dt", "B", "C", "D"):
        for scale in rng.uniform(0.5, 1.0, 16).astype(np.float32):
            scale = float(scale)
            placed = {key: (scale if key == name else 1, codes[key]) for key in ("u", "dt", "B", "C")}
            if name == "D":
                placed |= {"D": (scale, codes["D"]), "C": (1, 0)}
            yield room(f"precise.{name}", f"scale of {name} {scale:.9g}", about={"operand": name}, **placed)


def _gate(room: _Room) -> Iterator[Probe]:
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


def _bias(room: _Room) -> Iterator[Probe]:
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


def _split(value: float) -> tuple[float, int]:
    """(scale, code) with scale·code = value, the code as large as the value's bits allow."""
    return (0.125, round(value * 8)) if abs(value) < 16 else (0.5 if abs(value) <= 60 else 1.0, 0) if value == 0 else (
        (0.5, round(value * 2)) if abs(value) <= 60 else (1.0, round(value))
    )  # fmt: skip


def _softplus(room: _Room) -> Iterator[Probe]:
    for value in STEPS:
        result = float(np.logaddexp(value, 0.0))
        gain = 2.0 ** -round(np.log2(max(result, 1e-37)))
        for scale, code in {_split(value), (value or 1.0, 1 if value else 0)}:
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
                dt=_split(value - bias),
                dt_bias=_split(bias),
                u=(gain, 1),
            )


def _rates(room: _Room) -> Iterator[Probe]:
    pairs = (
        (1, 0),
        (4, 0),
        (1, 1),
        (0.25, 4),
        (0.015625, 64),
        (1, 2),
        (2, 1),
        (0.5, 4),
        (1, -1),
        (0.25, -4),
        (1, -2),
        (2, -1),
        (0.03125, 64),
        (1, -4),
        (0.5, -8),
        (0.03125, -128),
        (0.03125, -127),
        (0.0625, -63.5 + 0.5),
        (0.03125, 127),
        (0.03125, 100),
        (0.1, 7),
        (0.1, 30),
        (0.02, -128),
        (0.0256, -100),
        (0.02, 127),
    )
    for scale, code in pairs:
        value = scale * code
        step = 2.0 ** round(np.log2(2 * np.exp(-value)))
        for power in (1, 2):
            about = {"operand": "A_log", "scale": scale, "code": code, "value": value, "dt": step * power}
            yield room(
                "rates",
                f"A_log = {scale:g} x {code}, dt = {step * power:g}",
                2,
                about=about,
                A_log=(scale, int(code)),
                dt=(step, [1, power]),
                B=(1 / step, [1, 0]),
                C=(4.0**power, [0, 1]),
            )


def _decay(room: _Room) -> Iterator[Probe]:
    for value in (
        2**-12,
        2**-8,
        0.01,
        0.1,
        0.25,
        0.5,
        1,
        1.5,
        2,
        3,
        4,
        5,
        6,
        8,
        10,
        12,
        16,
        20,
        30,
        40,
        50,
        60,
        70,
        80,
        1.37,
        2.713,
        5.31,
        7.77,
        11.73,
        17.7,
        23.93,
    ):
        gain = 2.0 ** round(value * 1.4427)
        for code in (1, 2):
            yield room(
                "decay",
                f"exp(−{value:g}), dt = {value / code:g} x {code}",
                2,
                dt=(value / code, [3 - code, code]),
                B=(code / (3 - code) / value, [1, 0]),
                C=(gain, [0, 1]),
                about={"value": value, "softplus": False},
            )
    for value in (-4, -2, -1, 0, 1, 2, 4, 8):
        step = float(np.logaddexp(value, 0.0))
        for bias in (None, 0.5, -1):
            placed = {} if bias is None else {"dt_bias": _split(bias)}
            yield room(
                "decay",
                f"exp(−softplus({value:g})), bias {bias}",
                2,
                softplus=True,
                B=(1 / step, [1, 0]),
                dt=_pair(value - (bias or 0)),
                C=(2.0 ** round(step * 1.4427), [0, 1]),
                about={"value": value, "softplus": True},
                **placed,
            )


def _pair(value: float) -> tuple[float, list[int]]:
    scale, code = _split(value)
    return scale, [code, code]


def _fine(room: _Room) -> Iterator[Probe]:
    """y = C·h + D·u with D·u = −(C·h rounded to float32): what is left are the last bits."""
    for value in STEPS:
        if abs(value) > 60:
            continue
        step = float(np.float32(np.logaddexp(value, 0.0)))
        gain = 2.0 ** (20 - round(np.log2(step)))
        yield room("fine", f"softplus({value:g}) against D", softplus=True, dt=_split(value), D=(step, -1), u=(gain, 1),
                   about={"part": "softplus", "value": value})  # fmt: skip
    for value in (2**-14, 2**-10, 2**-7, 0.03, 0.1, 0.3, 0.7, 1, 1.7, 2.5, 4, 6.3, 9, 12.7, 20, 33, 47, 60):
        decayed = float(np.float32(np.exp(-np.float64(np.float32(value)))))
        gain = 2.0 ** (20 - round(np.log2(decayed)))
        yield room("fine", f"exp(−{value:g}) against D", 2, dt=(value, [1, 1]), u=(gain, 1), B=(1 / value, [1, 0]),
                   D=(decayed * float(np.float32(value)) * float(np.float32(1 / value)), -1),
                   about={"part": "decay", "value": value})  # fmt: skip


def _states(room: _Room) -> Iterator[Probe]:
    for n in (1, 2, 3, 4, 5, 7, 8, 12, 16, 17, 32):
        codes, every = np.arange(1, n + 1), np.ones(n, dtype=int)
        for hot in sorted({0, 1, n // 2, n - 2, n - 1} & set(range(n))):
            one = (np.arange(n) == hot).astype(int)
            for name, B, C in (("B", every, one), ("C", one, every), ("both", one, one)):
                about = {"n": n, "hot": hot}
                yield room.states("states", f"n = {n}, only state {hot + 1} in {name}", B, C, about)
        yield room.states("states", f"n = {n}, all of them", codes, codes[::-1] % 5, {"n": n})
        yield room.states("states", f"n = {n}, each with its own A", every, codes % 7, {"n": n, "rates": True}, 2,
                          A_log=(0.0625, codes % 23), dt=(0.25, 1))  # fmt: skip


def _index(rng: np.random.Generator) -> Iterator[Probe]:
    def probe(name: str, shape, about, **operands) -> Probe:
        return Probe(
            "index", f"{name}, (b, d, l, n, g) = {shape}", build(shape, **operands), None, {**about, "shape": shape}
        )

    for shape in ((2, 1, 1, 1, 1), (3, 1, 1, 1, 1), (1, 2, 1, 1, 1), (1, 5, 1, 1, 1), (2, 4, 1, 1, 2), (1, 1, 5, 1, 1),
                  (1, 64, 1, 1, 1), (9, 1, 1, 1, 1)):  # fmt: skip
        yield probe("all ones", shape, {"operand": None}, A_log=FORGET, D=(1, 1))
    shapes = ((3, 1, 1, 1, 1), (1, 4, 1, 1, 1), (2, 4, 1, 2, 2), (1, 6, 1, 1, 3), (2, 6, 1, 1, 2), (1, 4, 1, 2, 4),
              (1, 1, 6, 1, 1), (2, 3, 4, 2, 1), (2, 4, 3, 1, 2))  # fmt: skip
    for shape in shapes:
        b, d, l, n, g = shape
        sizes = {"u": (b, d, l), "dt": (b, d, l), "B": (b, g, n, l), "C": (b, g, n, l), "z": (b, d, l), "D": (d,),
                 "dt_bias": (d,)}  # fmt: skip
        for name, size in sizes.items():
            ids = rng.permutation(np.arange(20, 127))[: np.prod(size)].reshape(size)
            placed = {name: (0.5 if name == "dt_bias" else 1, ids)}
            if name in ("D", "z"):
                placed |= {"C": (1, 0), "D": (1, ids if name == "D" else 1)}
            if name in ("dt", "dt_bias"):
                placed["A_log"] = (1, 6)
            yield probe(f"{name} told apart", shape, {"operand": name}, **{"A_log": FORGET, **placed})
    for shape in ((1, 4, 2, 1, 1), (1, 3, 2, 2, 1)):
        b, d, l, n, g = shape
        ids = rng.permutation(d * n).reshape(d, n)
        one = np.ones((n, 1)) * [1, 0]
        for hot in range(n):
            yield probe(f"A_log told apart, state {hot + 1}", shape, {"operand": "A_log"}, A_log=(0.125, ids),
                        B=(1, one), C=(1, (np.arange(n) == hot)[:, None]))  # fmt: skip


LENGTHS = (*range(1, 36), 48, 49, 63, 64, 65, 96, 97, 100, 127, 128, 129, 200, 255, 256, 257, 300, 511, 513, 1000, 1025)


def _lengths(rng: np.random.Generator) -> Iterator[Probe]:
    for length in LENGTHS:
        if length <= 300:
            u = rng.integers(1, 100, length)
            yield Probe("ragged", f"{length} tokens, memory off", build((1, 1, length, 1, 1), u=(1, u), A_log=FORGET),
                        None, {"length": length})  # fmt: skip
        yield _running_sum(rng, length)
    for length in (2050, 4100, 8200):
        yield _running_sum(rng, length)


def _running_sum(rng: np.random.Generator, length: int) -> Probe:
    u = rng.choice([-2, -1, 0, 1, 3], length, p=[0.2, 0.25, 0.2, 0.2, 0.15])
    u[0] = 2
    return Probe("long", f"running sum over {length} tokens", build((1, 1, length, 1, 1), u=(1, u), A_log=GONE), None,
                 {"length": length})  # fmt: skip


def _memory(rng: np.random.Generator) -> Iterator[Probe]:
    for length in (5, 9, 40, 130, 270):
        x = build(
            (1, 2, length, 2, 1),
            u=(0.25, rng.integers(-60, 60, (1, 2, length))),
            dt=(0.01, rng.integers(5, 60, (1, 2, length))),
            A_log=(0.5, rng.integers(-2, 2, (2, 2))),
            B=(0.25, rng.integers(-60, 60, (1, 1, 2, length))),
        )
        yield Probe("memory", f"decaying states over {length} tokens", x, None, {"length": length})


def _state(rng: np.random.Generator) -> Iterator[Probe]:
    def probe(name: str, shape, about: dict, **operands) -> Probe:
        return Probe("state", name, build(shape, **operands), None, about)

    yield probe("float32 state", (1, 1, 3, 1, 1), {"kind": "float"}, u=(1, [1, 3, 2]), A_log=GONE)
    yield probe(
        "float32 state that decays",
        (2, 3, 20, 2, 1),
        {"kind": "float"},
        dt=(0.01, rng.integers(1, 90, (2, 3, 20))),
        u=(0.1, rng.integers(-90, 90, (2, 3, 20))),
    )
    for value in (*range(-9, 10, 2), 63, -63, 127, -127):
        yield probe(f"h = {value} at a scale of 2", (1, 1, 1, 1, 1), {"kind": "tie"}, B=(1, value), state_scale=2.0)
    for size, scale in product((4, 64, 100, 127, -4, -100, -127, -128), (1.0, 0.75, 0.03125)):
        yield probe(
            f"h = {size} at a scale of {scale}", (1, 1, 1, 1, 1), {"kind": "range"}, B=(1, size), state_scale=scale
        )
    for scale in (1.0, 0.37, 2.0):
        x = {"u": (1, rng.integers(-3, 4, 20)), "A_log": GONE, "B": (0.25, 3), "state_scale": scale}
        yield probe(f"running sum, state scale {scale}", (1, 1, 20, 1, 1), {"kind": "during"}, **x)
    for length in (3, 17, 40, 300):
        yield probe(f"decaying states, {length} tokens, state scale 0.5", (1, 2, length, 2, 1), {"kind": "during"},
                    u=(0.1, rng.integers(-90, 90, (1, 2, length))), dt=(0.01, rng.integers(1, 60, (1, 2, length))),
                    state_scale=0.5)  # fmt: skip


def _compound(seed: int) -> Iterator[Probe]:
    shapes = {
        "a layer in small": (2, 8, 40, 16, 1), "two groups": (2, 8, 24, 8, 2), "odd sizes": (3, 5, 37, 3, 1),
        "one state": (1, 3, 20, 1, 1), "four groups": (1, 8, 33, 4, 4), "longer": (1, 4, 150, 16, 1),
    }  # fmt: skip
    for k, (name, (b, d, l, n, g)) in enumerate(shapes.items()):
        for extreme in (False, True):
            x = random_inputs(b, d, l, n, g, seed=seed * 100 + k, extreme=extreme, state_scale=0.02)
            yield Probe("compound", name + (", extreme codes" if extreme else ""), x, None, {"extreme": extreme})
    plain = {"z": False, "D": False, "dt_bias": False}
    for name in (*plain, None):
        switches = {name: False} if name else plain
        x = random_inputs(2, 6, 30, 16, 1, seed=seed * 100 + 50, state_scale=0.02, **switches)
        yield Probe("compound", f"without {name}" if name else "bare", x, None, {"without": name})


def ladder(embed: Embed = Embed(), seed: int = 0) -> list[Probe]:
    """All probes past ``repeat`` and ``unit``, in the order of the rungs.  Deterministic in ``embed`` and ``seed``."""
    room, rng = _Room(embed), np.random.default_rng(seed)
    probes = [
        *_operands(room),
        *_skip(room),
        *_time(room),
        *_exactness(room),
        *_cast(room),
        *_precise(room, rng),
        *_gate(room),
        *_bias(room),
        *_softplus(room),
        *_rates(room),
        *_decay(room),
        *_fine(room),
        *_states(room),
        *_index(rng),
        *_lengths(rng),
        *_memory(rng),
        *_state(rng),
        *_compound(seed),
    ]
    return sorted(probes, key=lambda probe: RUNGS.index(probe.rung))
