"""When, how and with which scale a scan's state becomes INT8: the choices, and a scan that makes them.

    when     never, at the end (only the state that is handed on), every chunk of tokens, every token
    rule     ties to even (the published decode), ties away from zero (the published prefill), toward zero (a cast)
    scale    calibrated, half, double, or min-max: the smallest that clips no state of this very sequence

Everything else is the PyTorch scan's float32 arithmetic, so a difference between two policies is theirs alone.  The y
of a token reads its state before that is rounded, as the published decode does; the next token starts from the codes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..quantized import AWAY_SATURATE, EVEN_SATURATE
from ..scans import ScanError, ScanInputs, ScanOutput
from ..scans.oracle import quantize_state
from ..scans.variants import Arithmetic

__all__ = ["CHUNK", "RULES", "SCALES", "WHEN", "Policy", "QuantizedStateScan", "TowardZero"]

CHUNK = 16
"""Tokens between two roundings of the policy ``chunk``."""


@dataclass(frozen=True)
class TowardZero:
    """INT8 codes by cutting the fraction off, as a C cast does, saturating; NaN becomes 0."""

    def __call__(self, x: Tensor) -> Tensor:
        return torch.trunc(torch.nan_to_num(x, nan=0.0)).clamp(-128, 127).to(torch.int8)


WHEN = ("never", "end", "chunk", "token")
RULES = {"even": EVEN_SATURATE, "away": AWAY_SATURATE, "toward zero": TowardZero()}
SCALES: dict[str, float | None] = {"calibrated": 1.0, "half": 0.5, "double": 2.0, "min-max": None}
"""By name: the factor on the calibrated scale, or None for the largest state of the sequence over 127."""


@dataclass(frozen=True)
class Policy:
    """One choice.  ``prefill``: None when all tokens are one prompt; else the number of tokens of the prompt, inside
    which the state is never rounded; it is handed on by this policy, as are the states of the tokens after it.

    Raises ``ValueError`` for a word that is not in :data:`WHEN`, :data:`RULES` or :data:`SCALES`.
    """

    when: str = "token"
    rule: str = "even"
    scale: str = "calibrated"
    prefill: int | None = None
    chunk: int = CHUNK

    def __post_init__(self) -> None:
        for name, allowed in (("when", WHEN), ("rule", RULES), ("scale", SCALES)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}={getattr(self, name)!r}: choose one of {', '.join(allowed)}")
        if self.chunk < 1 or (self.prefill is not None and self.prefill < 1):
            raise ValueError(f"chunk={self.chunk}, prefill={self.prefill}: both must be at least 1 token")

    @property
    def label(self) -> str:
        if self.when == "never":
            return "never"
        when = {"end": "at the end", "chunk": f"every {self.chunk} tokens", "token": "every token"}[self.when]
        if self.when == "end" and self.prefill is not None:
            when = "at the hand-over"
        return f"{when}, {self.rule}, {self.scale}"

    def rounds_after(self, length: int) -> list[bool]:
        """For each token, whether the state that it leaves behind is rounded."""
        first = length - 1 if self.prefill is None else self.prefill - 1
        if self.when in ("never", "end"):
            return [self.when == "end" and t == first for t in range(length)]
        start = -1 if self.prefill is None else first
        every = 1 if self.when == "token" else self.chunk
        return [t >= max(start, 0) and (t - start) % every == 0 for t in range(length)]

    def scale_for(self, x: ScanInputs, states: Tensor) -> Tensor:
        """The scale, float32; ``states``: the ones that are never rounded, for min-max."""
        factor = SCALES[self.scale]
        if factor is None:
            return (states.abs().max().float() / 127.0).clamp(min=torch.finfo(torch.float32).tiny)
        if x.state_scale is None:
            raise ScanError(f"scale={self.scale!r} needs state_scale in the inputs: give one, or choose min-max")
        return x.state_scale * factor


class QuantizedStateScan(Arithmetic):
    """:func:`quamba_lab.scans.torch_int8`'s arithmetic with the state rounded by ``policy``."""

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self.policy = policy
        self.clipped = 0.0
        """Share of the rounded states that had no code, in the last run."""

    def recurrence(self, decay: Tensor, drive: Tensor, exponent: Tensor, x: ScanInputs) -> Tensor:
        return self.states(decay, drive, x)

    def states(self, decay: Tensor, drive: Tensor, x: ScanInputs, exact: Tensor | None = None) -> Tensor:
        """All states before rounding, (b, d, l, n).  ``exact``: the never rounded ones, computed when needed."""
        policy, length = self.policy, drive.shape[2]
        rounds = policy.rounds_after(length)
        self.clipped = 0.0
        if not any(rounds[: length - 1]):
            return self._sequential(decay, drive) if exact is None else exact
        if exact is None and SCALES[policy.scale] is None:
            exact = self._sequential(decay, drive)
        scale = policy.scale_for(x, drive if exact is None else exact)
        rule = RULES[policy.rule]
        states = torch.empty_like(drive) if exact is None else exact.clone()
        begin = 0 if exact is None else rounds.index(True)  # up to there nothing was rounded
        h = torch.zeros_like(drive[:, :, 0])
        for t in range(begin, length):
            if t > begin or exact is None:
                states[:, :, t] = self.multiply_add(decay[:, :, t], h, drive[:, :, t])
            h = states[:, :, t]
            if rounds[t]:
                h = quantize_state(h, scale, rule).to(h.dtype) * scale
        seen = states[:, :, torch.tensor(rounds)] / scale
        self.clipped = float(((seen > 127.5) | (seen < -128.5)).double().mean())
        return states

    def __call__(self, x: ScanInputs) -> ScanOutput:
        output = super().__call__(x)
        return ScanOutput(output.y, output.last_state, f"torch_int8 with the state rounded {self.policy.label}")
