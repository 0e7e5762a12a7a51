"""Probes of several states, channels, groups, items and lengths, of the returned state, and of everything at once."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from ..scans import random_inputs
from .rooms import FORGET, GONE, Probe, Room, build

__all__ = ["compound", "index", "lengths", "memory", "state", "states"]


def states(room: Room) -> Iterator[Probe]:
    for n in (1, 2, 3, 4, 5, 7, 8, 12, 16, 17, 32, 64, 256):
        codes, every = np.arange(1, n + 1) % 127, np.ones(n, dtype=int)
        for hot in sorted({0, 1, n // 2, n - 2, n - 1} & set(range(n))):
            one = (np.arange(n) == hot).astype(int)
            for name, B, C in (("B", every, one), ("C", one, every), ("both", one, one)):
                about = {"n": n, "hot": hot}
                yield room.states("states", f"n = {n}, only state {hot + 1} in {name}", B, C, about)
        yield room.states("states", f"n = {n}, all of them", codes, codes[::-1] % 5, {"n": n})
        yield room.states("states", f"n = {n}, each with its own A", every, codes % 7, {"n": n, "rates": True}, 2,
                          A_log=(0.0625, codes % 23), dt=(0.25, 1))  # fmt: skip


def index(rng: np.random.Generator) -> Iterator[Probe]:
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


def lengths(rng: np.random.Generator) -> Iterator[Probe]:
    for length in (*LENGTHS, 2050, 4100, 8200):
        if length <= 300 or length in (1025, 4100):
            u = rng.integers(1, 100, length)
            yield Probe("ragged", f"{length} tokens, memory off", build((1, 1, length, 1, 1), u=(1, u), A_log=FORGET),
                        None, {"length": length})  # fmt: skip
        yield _running_sum(rng, length)


def _running_sum(rng: np.random.Generator, length: int) -> Probe:
    u = rng.choice([-2, -1, 0, 1, 3], length, p=[0.2, 0.25, 0.2, 0.2, 0.15])
    u[0] = 2
    return Probe("long", f"running sum over {length} tokens", build((1, 1, length, 1, 1), u=(1, u), A_log=GONE), None,
                 {"length": length})  # fmt: skip


def memory(rng: np.random.Generator) -> Iterator[Probe]:
    for length in (5, 9, 40, 130, 270):
        x = build(
            (1, 2, length, 2, 1),
            u=(0.25, rng.integers(-60, 60, (1, 2, length))),
            dt=(0.01, rng.integers(5, 60, (1, 2, length))),
            A_log=(0.5, rng.integers(-2, 2, (2, 2))),
            B=(0.25, rng.integers(-60, 60, (1, 1, 2, length))),
        )
        yield Probe("memory", f"decaying states over {length} tokens", x, None, {"length": length})


def state(rng: np.random.Generator) -> Iterator[Probe]:
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


def compound(seed: int) -> Iterator[Probe]:
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
