"""A tensor of codes with its scale, and the rounding rules that turn numbers into codes.

Rounding is never implicit here: every place of the layer that produces an INT8 code owns a
:class:`RoundingRule`, so a rule can be read, compared and exchanged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

__all__ = [
    "AWAY_SATURATE",
    "AWAY_WRAP",
    "EVEN_SATURATE",
    "EVEN_SYMMETRIC",
    "Quantized",
    "RoundingRule",
    "check_scale",
    "round_half_away",
]

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1


def round_half_away(x: Tensor) -> Tensor:
    """Round to the nearest integer, ties away from zero: C's ``roundf``.

    ``trunc(x + 0.5)`` is wrong for 0.49999997, where the sum itself rounds to 1.  Adding the largest number below one
    half instead is right for every input: a true tie still rounds up to the next integer in the addition, and nothing
    below a tie reaches it (the lowering that LLVM uses for ``llvm.round``).
    """
    return torch.trunc(_past_half(x))


def _past_half(x: Tensor) -> Tensor:
    """What truncates to ``x`` rounded away from zero at ties; a conversion to an integer truncates."""
    return x + torch.copysign(_BELOW_HALF[x.dtype].to(x.device), x)


_BELOW_HALF = {
    dtype: torch.nextafter(torch.tensor(0.5, dtype=dtype), torch.tensor(0.0, dtype=dtype))
    for dtype in (torch.float32, torch.float64)
} | {torch.float16: torch.tensor(0.5 - 2.0**-12, dtype=torch.float16)}
"""The largest number below one half."""


@dataclass(frozen=True)
class RoundingRule:
    """How a real number becomes an INT8 code.

    ``ties``: ``"even"`` (PyTorch's ``round``, CUDA's ``rint`` and ``cvt.rni``) or ``"away"`` (C's ``roundf``).
    ``low``, ``high``: the legal codes.  ``overflow``: ``"saturate"`` clamps to them; ``"wrap"`` converts to
    int32 and keeps the low byte, as a C cast from ``int`` to ``signed char`` does.
    NaN becomes 0, as in a CUDA float-to-int conversion.
    """

    ties: Literal["even", "away"] = "even"
    low: int = -128
    high: int = 127
    overflow: Literal["saturate", "wrap"] = "saturate"

    def __post_init__(self) -> None:
        if self.ties not in ("even", "away"):
            raise ValueError(f"ties={self.ties!r}: choose 'even' or 'away'")
        if self.overflow not in ("saturate", "wrap"):
            raise ValueError(f"overflow={self.overflow!r}: choose 'saturate' or 'wrap'")
        if not -128 <= self.low < self.high <= 127:
            raise ValueError(f"codes {self.low}..{self.high} are outside INT8's -128..127")

    def integers(self, x: Tensor) -> Tensor:
        """Round ``x`` (any float dtype) to integers, still unclipped and still in ``x``'s dtype."""
        return torch.round(x) if self.ties == "even" else round_half_away(x)

    def __call__(self, x: Tensor) -> Tensor:
        """INT8 codes of ``x`` (already divided by the scale); same shape."""
        if x.dtype not in (torch.float32, torch.float64):
            x = x.float()
        whole = torch.round(x) if self.ties == "even" else _past_half(x)  # the conversion below truncates
        whole = torch.nan_to_num(whole, nan=0.0, posinf=float(INT32_MAX), neginf=float(INT32_MIN))
        if self.overflow == "saturate":
            return whole.clamp_(self.low, self.high).to(torch.int8)
        whole.clamp_(INT32_MIN, INT32_MAX)  # in float32 the upper bound is 2^31
        return whole.to(torch.int64).clamp_(max=INT32_MAX).to(torch.int8)  # int64 to int8 keeps the low byte


EVEN_SATURATE = RoundingRule("even")
AWAY_SATURATE = RoundingRule("away")
AWAY_WRAP = RoundingRule("away", overflow="wrap")
EVEN_SYMMETRIC = RoundingRule("even", low=-127)


def check_scale(scale: Tensor, name: str = "scale") -> None:
    """Raise ``ValueError`` unless ``scale`` is one finite, positive float32.  Reads the value, so it synchronizes."""
    if not isinstance(scale, Tensor) or scale.dtype != torch.float32 or scale.numel() != 1:
        what = f"{scale.dtype} of shape {tuple(scale.shape)}" if isinstance(scale, Tensor) else type(scale).__name__
        raise ValueError(f"{name} is {what}: pass one float32 tensor, for example torch.tensor(0.02)")
    value = float(scale)
    if not 0.0 < value < float("inf"):
        raise ValueError(f"{name} = {value}: a scale must be finite and above 0; calibrate the model again")


@dataclass(frozen=True)
class Quantized:
    """Codes and the scale that gives them a value: ``values * scale``.

    ``values``: int8 of any shape and ``scale`` a float32 scalar tensor; or float32 values and ``scale=None``,
    for a tensor that some modes leave unquantized.
    """

    values: Tensor
    scale: Tensor | None

    def __post_init__(self) -> None:
        if self.scale is None and not self.values.is_floating_point():
            raise ValueError(f"{self.values.dtype} codes without a scale have no value: pass a float32 scalar tensor")
        if self.scale is not None and self.values.dtype != torch.int8:
            raise ValueError(f"values with a scale must be int8 codes, not {self.values.dtype}; floats take scale=None")

    @classmethod
    def from_float(cls, x: Tensor, scale: Tensor | None = None, rule: RoundingRule = EVEN_SYMMETRIC) -> Quantized:
        """Quantize ``x`` by ``rule``; without a scale, absmax/127 (the published layer's rule for parameters)."""
        if scale is None:
            scale = (x.abs().max().float() / 127.0).clamp(min=torch.finfo(torch.float32).tiny)
        return cls(rule(x.float() / scale), scale)

    @property
    def shape(self) -> torch.Size:
        return self.values.shape

    @property
    def device(self) -> torch.device:
        return self.values.device

    def dequantize(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """``values * scale`` as ONE rounding in ``dtype`` (float32: what every kernel here computes per element)."""
        values = self.values.to(dtype)
        return values if self.scale is None else values * self.scale.to(values.device, dtype)

    def map(self, fn) -> Quantized:
        """The same scale over ``fn(values)``: slicing, reshaping, copying."""
        return Quantized(fn(self.values), self.scale)

    def to(self, device: torch.device | str) -> Quantized:
        return Quantized(self.values.to(device), None if self.scale is None else self.scale.to(device))
