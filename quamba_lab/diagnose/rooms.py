"""What a probe is made of: inputs from a few codes, one token at a time, in a room of a chosen size."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import torch

from ..quantized import Quantized
from ..scans import OPERANDS, ScanInputs

__all__ = ["FACTORINGS", "FORGET", "GONE", "SLOW", "Embed", "Probe", "Room", "build", "units"]


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


class Room:
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
              Room(e)("unit", "").inputs, 1 if e.length > 1 else None, {"embed": e})
        for e in embeds
    ]  # fmt: skip
