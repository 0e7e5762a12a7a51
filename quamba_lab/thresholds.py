"""Every bound that a verdict rests on, with where it comes from.  Nobody types a tolerance elsewhere.

Two kinds: bounds that follow from the format and the operation (unit roundoff, number of terms), and bounds measured on
honest implementations and then widened.  ``u`` is the unit roundoff of a dtype, half the distance from 1 to the next
number; an operation with one correct rounding errs by at most ``u`` relative to its result.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import torch

__all__ = ["THRESHOLDS", "Threshold", "operation_bound", "table", "threshold", "unit_roundoff"]

_DIGITS = {torch.float16: 11, torch.bfloat16: 8, torch.float32: 24, torch.float64: 53}
_NAMES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32, "float64": torch.float64}


def unit_roundoff(dtype: torch.dtype) -> float:
    """Half the distance from 1 to the next larger number: 2^-11 for float16, 2^-24 for float32."""
    if dtype not in _DIGITS:
        raise ValueError(f"{dtype} has no unit roundoff here: choose float16, bfloat16, float32 or float64")
    return 2.0 ** -_DIGITS[dtype]


@dataclass(frozen=True)
class Threshold:
    """One bound: of what, in which dtype, how large, and why."""

    name: str
    dtype: str
    value: float
    unit: str
    source: str


THRESHOLDS = (
    Threshold(
        "codes", "int8", 0, "codes that differ",
        "The integer path is exact: sums of int8 products fit int32, so equal inputs give equal codes, none excepted.",
    ),
    Threshold(
        "dequantize", "float32", 0, "ULP",
        "An 8-bit code times a 24-bit scale is one rounding wherever it is done; 256 codes can be checked one by one.",
    ),
    Threshold(
        "y.error_rms", "float16", 2.0**-11, "RMS of the difference / RMS of y",
        "Unit roundoff of float16. Two correct casts of one number differ by less than this; honest FP32 scans "
        "measured on an H200 differ from FP64 by ten to a hundred times less in this measure.",
    ),
    Threshold(
        "y.mismatch", "float16", 0.01, "share of elements",
        "Honest FP32 scans differ from the correctly rounded float16 in 0.02 % to 0.10 % of the elements (measured, "
        "lengths 100 to 3000, any summation order); ten times the largest.",
    ),
    Threshold(
        "y.error_rms", "bfloat16", 2.0**-8, "RMS of the difference / RMS of y", "Unit roundoff of bfloat16.",
    ),
    Threshold(
        "y.error_rms", "float32", 2.0**-16, "RMS of the difference / RMS of y",
        "Unit roundoff of float32 times 2^8: some 16 states x 16 roundings of one size, added up without cancellation.",
    ),
    Threshold(
        "stage.error_rms", "float16", 2.0**-11, "RMS of the difference / RMS of the stage",
        "Unit roundoff of float16: the whole of a tensor rounded once more.",
    ),
    Threshold(
        "stage.error_rms", "float32", 2.0**-16, "RMS of the difference / RMS of the stage",
        "As y in float32: a reordered sum of up to a few thousand terms of random sign.",
    ),
    Threshold(
        "logits.error_rms", "float32", 2.0**-7, "RMS of the difference / RMS of the logits",
        "The float16 residual stream rounds each layer's output (2^-11) and INT8 codes on a rounding edge flip by one "
        "step of 1/127 of the range; in free run, differences of this size come from rounding alone.",
    ),
)  # fmt: skip


def threshold(name: str, dtype: str | torch.dtype) -> float:
    """The bound of that name for a dtype; ``ValueError`` naming the ones that exist."""
    wanted = str(dtype).removeprefix("torch.")
    for row in THRESHOLDS:
        if (row.name, row.dtype) == (name, wanted):
            return row.value
    known = ", ".join(f"{row.name} ({row.dtype})" for row in THRESHOLDS)
    raise ValueError(f"no threshold {name!r} for {wanted}: there are {known}")


def table() -> pd.DataFrame:
    """All of them, one row each, and the bounds of the scan's operations."""
    rows = [vars(row) for row in THRESHOLDS]
    rows += [
        {
            "name": f"operation.{name}", "dtype": "float32", "value": operation_bound(name), "unit": "u x condition",
            "source": reason,
        }
        for name, (_, reason) in _OPERATIONS.items()
    ]  # fmt: skip
    return pd.DataFrame(rows)


_OPERATIONS = {
    "softplus": (
        8.0, "code × scale twice and their sum (3 roundings), then exp, an addition and a log of 2 ULP or better.",
    ),
    "decay": (
        8.0,
        "Roundings of A_log (times |A_log|), of A (exp of 2 ULP) and of dt·A enter the exponent, and an exp of 2 ULP "
        "or better follows; relative to 1 + |dt·A| (1 + |A_log|). The fast exp2 of a GPU adds up to 2u |dt·A|.",
    ),
    "drive": (6.0, "Products of three dequantized operands in any association: at most 5 roundings."),
    "recurrence": (
        40.0,
        "Relative to H_t = a·H + |b|. One by one: 3. In a tree over 2048 tokens: 3 roundings on each of 11 levels and "
        "for a thread's own items.",
    ),
    "contraction": (20.0, "n + 4 roundings for n = 16 states in any order, relative to the sum of |C·h|."),
    "skip": (
        24.0, "As the contraction, which may start from D·u, and 3 roundings of D·u, relative to both magnitudes.",
    ),
    "gate": (10.0, "z, exp of 2 ULP, one sum, one division of 2 ULP, two products."),
    "output_cast": (1.0, "One rounding to nearest in float16, whose unit roundoff counts here."),
}  # fmt: skip


def operation_bound(operation: str) -> float:
    """How many unit roundoffs one operation of the scan may err, relative to the magnitudes that enter it.

    Local error only: the operation's own inputs are taken as exact.
    """
    return _OPERATIONS[operation][0]
