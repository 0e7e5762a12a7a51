"""Probes of a few tokens: placement, the carry, A, decays, and the last bits of softplus and decay."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .probes_token import STEPS, split
from .rooms import GONE, Probe, Room

__all__ = ["decay", "fine", "rates", "time"]


def time(room: Room) -> Iterator[Probe]:
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


def rates(room: Room) -> Iterator[Probe]:
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


def decay(room: Room) -> Iterator[Probe]:
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
        for code, by in ((1, "C"), (2, "C"), (1, "B")):  # the gain after the decay, or before it
            B = code / (3 - code) / value * (gain if by == "B" else 1)
            yield room(
                "decay",
                f"exp(−{value:g}), dt = {value / code:g} x {code}, gain at {by}",
                2,
                dt=(value / code, [3 - code, code]),
                B=(B, [1, 0]),
                C=(gain if by == "C" else 1, [0, 1]),
                about={"value": value, "softplus": False, "gain": by},
            )
    for value in (-4, -2, -1, 0, 1, 2, 4, 8):
        step = float(np.logaddexp(value, 0.0))
        for bias in (None, 0.5, -1):
            placed = {} if bias is None else {"dt_bias": split(bias)}
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
    scale, code = split(value)
    return scale, [code, code]


def fine(room: Room) -> Iterator[Probe]:
    """y = C·h + D·u with D·u = −(C·h rounded to float32): what is left are the last bits."""
    for value in STEPS:
        if abs(value) > 60:
            continue
        step = float(np.float32(np.logaddexp(value, 0.0)))
        gain = 2.0 ** (20 - round(np.log2(step)))
        yield room("fine", f"softplus({value:g}) against D", softplus=True, dt=split(value), D=(step, -1), u=(gain, 1),
                   about={"part": "softplus", "value": value})  # fmt: skip
    for value in (2**-14, 2**-10, 2**-7, 0.03, 0.1, 0.3, 0.7, 1, 1.7, 2.5, 4, 6.3, 9, 12.7, 20, 33, 47, 60):
        decayed = float(np.float32(np.exp(-np.float64(np.float32(value)))))
        gain = 2.0 ** (20 - round(np.log2(decayed)))
        yield room("fine", f"exp(−{value:g}) against D", 2, dt=(value, [1, 1]), u=(gain, 1), B=(1 / value, [1, 0]),
                   D=(decayed * float(np.float32(value)) * float(np.float32(1 / value)), -1),
                   about={"part": "decay", "value": value})  # fmt: skip
