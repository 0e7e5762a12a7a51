"""How far apart two tensors are, where they first part, and which of them is closer to the truth.

Codes are compared before scales and scales before values.  Nothing here decides what is too far: bounds live in
:mod:`quamba_lab.thresholds`, floors are measured by the steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .quantized import Quantized

__all__ = [
    "ULP_BINS",
    "Difference",
    "Divergence",
    "Summary",
    "closer_to",
    "difference",
    "first_divergence",
    "relative_rms",
    "spacing",
    "summarize",
    "ulp_distance",
    "ulp_histogram",
    "ulp_keys",
]

_INTEGERS = {
    torch.float16: torch.int16,
    torch.bfloat16: torch.int16,
    torch.float32: torch.int32,
    torch.float64: torch.int64,
}

ULP_BINS = ("0", "1", "2", "3-4", "5-8", "9-16", "17-64", "65-1024", ">1024", "not a number")
_EDGES = (0, 1, 2, 4, 8, 16, 64, 1024)


def ulp_keys(x: Tensor) -> Tensor:
    """Integers (int64) in the order of the floats ``x``: neighbours differ by 1, and -0 and +0 are both 0."""
    if x.dtype not in _INTEGERS:
        raise ValueError(f"{x.dtype} has no ULP: pass float16, bfloat16, float32 or float64")
    bits = x.contiguous().view(_INTEGERS[x.dtype]).long()
    lowest = torch.iinfo(_INTEGERS[x.dtype]).min
    return torch.where(bits < 0, lowest - bits, bits)


def ulp_distance(a: Tensor, b: Tensor) -> Tensor:
    """How many representable numbers lie between ``a`` and ``b`` (same shape and dtype), as int64.

    -1 where either is NaN and they are not both NaN; 0 where both are.
    """
    if a.dtype != b.dtype or a.shape != b.shape:
        raise ValueError(
            f"{a.dtype} {tuple(a.shape)} against {b.dtype} {tuple(b.shape)}: ULPs need one dtype and one shape"
        )
    distance = (ulp_keys(a) - ulp_keys(b)).abs()
    nan_a, nan_b = torch.isnan(a), torch.isnan(b)
    distance = torch.where(nan_a ^ nan_b, torch.full_like(distance, -1), distance)
    return torch.where(nan_a & nan_b, torch.zeros_like(distance), distance)


def spacing(x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """The distance from |x| to the next larger number of ``dtype`` (its own by default), in float64."""
    dtype = dtype or x.dtype
    info = torch.finfo(dtype)
    exponent = torch.frexp(x.double().abs().clamp(min=info.tiny)).exponent.double() - 1  # subnormals share one spacing
    return torch.pow(2.0, exponent) * info.eps


def ulp_histogram(distance: Tensor) -> dict[str, int]:
    """Counts of ULP distances in the bins of :data:`ULP_BINS`."""
    flat = distance.reshape(-1)
    valid = flat[flat >= 0]
    which = torch.bucketize(valid, torch.tensor(_EDGES, device=flat.device))
    counts = torch.bincount(which, minlength=len(_EDGES) + 1).tolist()
    return dict(zip(ULP_BINS, [*counts, int(flat.numel() - valid.numel())], strict=True))


@dataclass(frozen=True)
class Summary:
    """One tensor in a row of a table: what it is and how its values lie.  ``scale`` is None for floats."""

    shape: tuple[int, ...]
    dtype: str
    scale: float | None
    low: float
    high: float
    mean: float
    std: float
    rms: float
    distinct: int
    not_finite: int


def summarize(x: Tensor | Quantized) -> Summary:
    """Shape, dtype, scale, range, moments (of the dequantized values), distinct values (of the codes) and non-finites.

    Moments leave non-finite values out and are NaN when nothing is left, as for an empty tensor.
    """
    codes, scale = (x.values, x.scale) if isinstance(x, Quantized) else (x, None)
    values = (x.dequantize() if isinstance(x, Quantized) else x).double()
    finite = values[torch.isfinite(values)]
    if finite.numel():
        low, high = float(finite.min()), float(finite.max())
        moments = float(finite.mean()), float(finite.std(correction=0)), float(finite.square().mean().sqrt())
    else:
        low = high = math.nan
        moments = (math.nan, math.nan, math.nan)
    if codes.dtype == torch.int8:
        distinct = int(torch.bincount(codes.reshape(-1).long() + 128, minlength=256).count_nonzero())
    else:
        distinct = int(torch.unique(codes).numel())
    return Summary(
        tuple(codes.shape), str(codes.dtype).removeprefix("torch."), None if scale is None else float(scale),
        low, high, *moments, distinct, int(values.numel() - finite.numel()),
    )  # fmt: skip


def relative_rms(a: Tensor, b: Tensor) -> float:
    """RMS(a - b) / RMS(b) in float64; 0 for two zero tensors, infinite against a zero one, NaN with non-finites."""
    a, b = a.double(), b.double()
    top, bottom = float((a - b).square().mean().sqrt()), float(b.square().mean().sqrt())
    if bottom == 0:
        return 0.0 if top == 0 else math.inf
    return top / bottom


@dataclass(frozen=True)
class Difference:
    """How ``b`` differs from the reference ``a``.

    ``first``: index of the first differing element in row-major order, with ``first_values`` (a, b), or None.
    ``relative_rms``: RMS of the difference / RMS of a.  ``sqnr_db``: the same in decibels, larger is closer, infinite
    for equal tensors.  ``ulps``: histogram of distances when both have one float dtype (``max_ulp`` the largest), or
    of whole codes when both are INT8; else None.  ``note``: a sentence when the tensors could not be compared, or not
    wholly; the measures are then NaN.
    """

    elements: int
    differing: int
    first: tuple[int, ...] | None = None
    first_values: tuple[float, float] | None = None
    max_abs: float = 0.0
    mean_abs: float = 0.0
    relative_rms: float = 0.0
    sqnr_db: float = math.inf
    cosine: float = 1.0
    max_ulp: int | None = None
    ulps: dict[str, int] | None = None
    note: str = ""

    @property
    def equal(self) -> bool:
        """Bit-equal values (NaN equals NaN, -0 equals +0) of one shape and one scale."""
        return self.differing == 0 and not self.note

    @property
    def share(self) -> float:
        """Share of the elements that differ."""
        return self.differing / self.elements if self.elements else 0.0


def _incomparable(elements: int, note: str) -> Difference:
    nan = math.nan
    return Difference(elements, elements, None, None, nan, nan, nan, nan, nan, None, None, note)


def difference(a: Tensor | Quantized, b: Tensor | Quantized) -> Difference:
    """Compare ``b`` with the reference ``a``; codes (when both have them) decide what differs, values by how much.

    Never raises for strange data: different shapes, an empty selection, NaN and infinity end in ``note``.
    """
    shape_a, shape_b = tuple(a.shape), tuple(b.shape)
    if shape_a != shape_b:
        return _incomparable(math.prod(shape_a), f"shapes differ: {shape_a} against {shape_b}, nothing was compared")
    if math.prod(shape_a) == 0:
        return Difference(0, 0, note=f"shape {shape_a} holds no element, so there was nothing to compare")
    notes = []
    both_codes = all(isinstance(x, Quantized) and x.scale is not None for x in (a, b))
    value_a, value_b = (x.dequantize() if isinstance(x, Quantized) else x for x in (a, b))
    if both_codes:
        differs = a.values != b.values
        if float(a.scale) != float(b.scale):
            notes.append(f"scales differ: {float(a.scale)!r} against {float(b.scale)!r}")
    else:
        both_nan = torch.isnan(value_a.double()) & torch.isnan(value_b.double())
        differs = (value_a.double() != value_b.double()) & ~both_nan
    bad_a, bad_b = (int((~torch.isfinite(x.double())).sum()) for x in (value_a, value_b))
    if bad_a or bad_b:
        notes.append(f"{bad_a} elements of the reference and {bad_b} of the other are not finite and left out")
    count = int(differs.sum())
    first = first_values = None
    if count:
        first = tuple(int(i) for i in torch.nonzero(differs)[0])
        shown = (a.values, b.values) if both_codes else (value_a, value_b)
        first_values = (float(shown[0][first]), float(shown[1][first]))
    keep = torch.isfinite(value_a.double()) & torch.isfinite(value_b.double())
    x, y = value_a.double()[keep], value_b.double()[keep]
    ulps = max_ulp = None
    if both_codes:
        distance = (a.values.int() - b.values.int()).abs()
        ulps, max_ulp = ulp_histogram(distance), int(distance.max())
    elif value_a.dtype == value_b.dtype and value_a.dtype in _INTEGERS:
        distance = ulp_distance(value_a, value_b)
        ulps, max_ulp = ulp_histogram(distance), int(distance.max())
    if not x.numel():
        return Difference(
            math.prod(shape_a), count, first, first_values, math.nan, math.nan, math.nan, math.nan, math.nan,
            max_ulp, ulps, "; ".join(notes),
        )  # fmt: skip
    error = (y - x).abs()
    relative = relative_rms(y, x)
    norms = float(x.norm() * y.norm())
    equal_values = float(error.max()) == 0.0
    return Difference(
        elements=math.prod(shape_a),
        differing=count,
        first=first,
        first_values=first_values,
        max_abs=float(error.max()),
        mean_abs=float(error.mean()),
        relative_rms=relative,
        sqnr_db=math.inf if relative == 0 else -20 * math.log10(relative) if math.isfinite(relative) else -math.inf,
        cosine=1.0 if equal_values else float(x @ y) / norms if norms else math.nan,
        max_ulp=max_ulp,
        ulps=ulps,
        note="; ".join(notes),
    )


def closer_to(truth: Tensor, a: Tensor, b: Tensor) -> tuple[str, float, float]:
    """Which of ``a`` and ``b`` is closer to ``truth``: ``"a"``, ``"b"`` or ``"equal"``, with both relative RMS errors.

    ``"unknown"`` when a shape differs or a value is not finite.
    """
    if not (a.shape == b.shape == truth.shape) or truth.numel() == 0:
        return "unknown", math.nan, math.nan
    error_a, error_b = relative_rms(a, truth), relative_rms(b, truth)
    if math.isnan(error_a) or math.isnan(error_b):
        return "unknown", error_a, error_b
    if error_a == error_b:
        return "equal", error_a, error_b
    return ("a" if error_a < error_b else "b"), error_a, error_b


@dataclass(frozen=True)
class Divergence:
    """The first place of a sequence where two sides part: ``name`` of the stage, its position, and the difference."""

    name: str
    position: int
    difference: Difference
    floor: float


def first_divergence(
    stages: Iterable[tuple[str, Tensor | Quantized, Tensor | Quantized]], floors: Sequence[float] | float = 0.0
) -> Divergence | None:
    """The first (name, a, b), in the order given, that differs by more than its floor in relative RMS.

    A floor of 0 asks for bit equality.  A difference that cannot be measured (shapes, NaN) always counts.
    """
    for position, (name, a, b) in enumerate(stages):
        floor = floors if isinstance(floors, int | float) else floors[position]
        found = difference(a, b)
        beyond = not found.relative_rms <= floor if floor else not found.equal
        if beyond and found.elements:
            return Divergence(name, position, found, float(floor))
    return None
