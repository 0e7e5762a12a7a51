"""Probes that ask for many values at once, one for each channel or token: every code, dense grids, scales, ranges.

Each set of values comes in two orders.  What is wrong for the same values in both is a fault of the values; what is
wrong at the same places is a fault of the places.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .rooms import FORGET, GONE, Probe, Room, build

__all__ = ["codes", "dense", "ranges", "scales", "several", "shifts", "starts"]

CODES = np.arange(-128, 128)
STEP = (2.0, 0.75)
"""Two scales for the same codes: what is wrong for a code whatever its scale is no fault of a range of values."""


def shifts(room: Room) -> Iterator[Probe]:
    """Three tokens that all differ, in z and in D·u: an operand that comes a token late or early shows as itself."""
    yield room("shift", "three tokens with z", 3, z=(1, [1, -2, 3]), u=(1, [4, 8, 16]), A_log=GONE)
    yield room("shift", "three tokens with D", 3, D=(1, 1), C=(1, 0), u=(1, [3, 5, 11]))


def starts(room: Room) -> Iterator[Probe]:
    """Nothing goes in, so nothing comes out, whatever holds the nothing."""
    for name in ("u", "B", "dt", "C"):
        yield room("start", f"{name} = 0", 1, about={"operand": name}, **{name: (1, 0)})


def ranges(room: Room) -> Iterator[Probe]:
    """States of many sizes; ``single``: made in one step, ``sum``: of sixteen steps, each a sixteenth of it."""
    for k in (7, 10, 14, 17, 20, 30, 45, 60, 80, 100, -12, -16, -20, -25, -30, -45, -60, -80, -100):
        size = 2.0 ** (k // 2), 2.0 ** (k - k // 2)
        for sign in (1, -1):
            yield room(
                "range",
                f"a state of {sign * 2.0**k:g} in one step",
                1,
                u=(size[0], sign),
                B=(size[1], 1),
                C=(2.0**-k, 1),
                about={"kind": "single", "size": k},
            )
            if k > 0:
                yield room(
                    "range",
                    f"a state of {sign * 2.0**k:g} in sixteen steps",
                    16,
                    u=(size[0] / 4, [sign] * 16),
                    B=(size[1] / 4, [1] * 16),
                    dt=(1, [1] * 16),
                    C=(2.0**-k, [1] * 16),
                    A_log=GONE,
                    about={"kind": "sum", "size": k},
                )


def _orders(rng: np.random.Generator, values: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    yield 0, values
    yield 1, values[rng.permutation(len(values))]


def codes(rng: np.random.Generator) -> Iterator[Probe]:
    """Every code of every operand, at two scales and in two orders; by channel, and by token for B and C."""
    channels, tokens = (1, len(CODES), 1, 1, 1), (1, 1, len(CODES), 1, 1)
    for name in ("u", "dt", "z", "D", "dt_bias", "A_log", "B", "C"):
        by_token = name in ("B", "C")
        for (k, order), scale in zip(_orders(rng, CODES), STEP, strict=True):
            about = {"operand": name, "order": k, "values": order, "axis": "token" if by_token else "channel"}
            placed, shape = {name: (scale, order)}, tokens if by_token else channels
            if name in ("u", "dt", "z"):
                placed = {name: (scale if name != "z" else scale / 32, order[:, None])}
            if name == "dt":
                placed |= {"A_log": GONE}
            if name == "D":
                placed |= {"C": (1, 0)}
            if name == "dt_bias":
                placed |= {"dt": (1, 0), "A_log": GONE}
            if name == "A_log":
                shape = (1, len(CODES), 2, 1, 1)
                placed = {name: (min(scale, 1) / 64, order[:, None]), "C": (4, [0, 1]), "B": (1, [1, 0])}
            if by_token:
                placed |= {"A_log": FORGET}
            yield Probe(
                "codes",
                f"every code of {name}, scale {placed[name][0]:g}, order {k + 1}",
                build(shape, **placed),
                None,
                about,
            )


def dense(rng: np.random.Generator) -> Iterator[Probe]:
    """Softplus, decay and gate over dense grids, one value for each channel."""
    for scale in (0.125, 0.0371):
        for k, order in _orders(rng, CODES):
            about = {"order": k, "values": order * scale, "axis": "channel", "scale": scale}
            yield Probe(
                "dense",
                f"softplus over ±{128 * scale:g}, order {k + 1}",
                build(
                    (1, len(CODES), 1, 1, 1),
                    softplus=True,
                    dt=(scale, order[:, None]),
                    u=(2.0**10, 1),
                    A_log=(0.5, -1),
                ),
                None,
                {**about, "part": "softplus"},
            )
            yield Probe(
                "dense",
                f"z over ±{128 * scale:g}, order {k + 1}",
                build(
                    (1, len(CODES), 1, 1, 1),
                    z=(scale, order[:, None]),
                    u=(8, 1),
                ),
                None,
                {**about, "part": "gate"},
            )
    steps = np.arange(1, 128)
    for scale in (2.0**-13, 0.0009, 0.013, 0.1):
        for k, order in _orders(rng, steps):
            dt = np.stack([np.full(len(steps), 127), order], 1)  # (d, l)
            yield Probe(
                "dense",
                f"exp(−x) for x to {127 * scale:g}, order {k + 1}",
                build(
                    (1, len(steps), 2, 1, 1),
                    dt=(scale, dt),
                    u=(1 / scale, 1),
                    B=(1, [1, 0]),
                    C=(8, [0, 1]),
                ),
                None,
                {"order": k, "values": order * scale, "axis": "channel", "scale": scale, "part": "decay"},
            )


def scales() -> Iterator[Probe]:
    """Each operand with a scale of its own, in several groups at once."""
    for groups in (2, 3):
        for name in ("u", "dt", "B", "C", "D", "dt_bias"):
            placed = (
                {name: (4, 1)} | ({"C": (1, 0)} if name == "D" else {}) | ({"dt": (1, 0)} if name == "dt_bias" else {})
            )
            yield Probe(
                "scales",
                f"{name} of scale 4 in {groups} groups",
                build((2, 2 * groups, 1, 2, groups), A_log=FORGET, **placed),
                None,
                {"operand": name, "groups": groups},
            )


def several(rng: np.random.Generator) -> Iterator[Probe]:
    """Running sums of several items, channels and states at once, and sizes beyond the usual."""
    for b, d, l, n in ((2, 3, 40, 2), (3, 2, 70, 3), (2, 2, 270, 2), (1, 3, 600, 1), (5, 1, 17, 1)):
        u = rng.integers(-2, 3, (b, d, l))
        u[:, :, 0] = np.arange(1, b * d + 1).reshape(b, d)
        yield Probe(
            "long",
            f"running sums of {b} items, {d} channels, {n} states over {l} tokens",
            build((b, d, l, n, 1), u=(1, u), A_log=GONE, B=(1, np.arange(1, n + 1)[:, None])),
            None,
            {"length": l, "several": True},
        )
    for shape in (
        (17, 1, 1, 1, 1),
        (33, 2, 1, 1, 1),
        (130, 1, 1, 1, 1),
        (1, 100, 1, 1, 1),
        (1, 129, 2, 1, 1),
        (1, 300, 1, 1, 1),
        (2, 520, 1, 1, 1),
        (1, 1025, 1, 1, 1),
        (1, 1536, 1, 1, 1),
        (1, 24, 1, 1, 12),
        (40, 3, 2, 1, 1),
    ):
        b, d, l = shape[:3]
        yield Probe(
            "index",
            f"all ones, (b, d, l, n, g) = {shape}",
            build(shape, A_log=FORGET, D=(1, 1)),
            None,
            {"operand": None, "shape": shape, "large": True},
        )
        for name in ("u", "D") if d > 1 else ("u",):
            size = (d,) if name == "D" else (b, d, l)
            placed = {name: (1, rng.integers(20, 127, size))} | ({"C": (1, 0)} if name == "D" else {})
            yield Probe(
                "index",
                f"{name} told apart, (b, d, l, n, g) = {shape}",
                build(shape, **{"A_log": FORGET, **placed}),
                None,
                {"operand": name, "shape": shape, "large": True},
            )
