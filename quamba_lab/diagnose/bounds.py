"""Which outputs could an honest scan give?  A forward error bound, run beside the values in float64.

The class of honest scans.  Unit roundoff u = 2⁻²⁴ (float32), or a stated larger one for a named operation:

* every product, sum and dequantization rounds once, in any association and any order of summation, over states and
  over time together, products of decays in any tree, fused multiply-adds or not;
* e^x errs by at most 2 ULP beyond the rounding of its argument, which includes ``ex2.approx(x·log2 e)`` with flush to
  zero; e^0 is 1; division errs by at most 2 ULP; log1p by 2 ULP (``log(1 + e^x)`` is not a log1p: it loses every digit
  of a very negative x);
* decays may be products, or e^(A·(P_t − P_s)) with P the running sum of dt (the matrix form);
* y is rounded to float16 once, to nearest even; numbers below 2⁻¹²⁶ may become 0.

Method (Higham, *Accuracy and Stability of Numerical Algorithms*, 2002, sections 3.1 to 3.3 and 4.2): next to every
value
the sum of magnitudes that entered it is carried, and each operation adds its own roundoff times that sum.  For the
recurrence, M_t = a_t·M_(t−1) + |b_t| is the sum of magnitudes and E_t = a_t·(E_(t−1) + (δ_a + u)·M_(t−1)) + δ_b its
error;
a sum of k terms in any order adds at most (k−1)·u·M.  Additions of zero are exact and are not counted.
First-order terms are inflated by 1 % for the higher ones.

When every scale is a power of two, every decay 1 or gone, and all partial sums fit the significand, nothing rounds
in any order and the bound is zero (:func:`rounds_nowhere`): such probes decide exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from ..quantized import AWAY_SATURATE
from ..scans import ScanInputs
from ..scans.oracle import to_half

__all__ = ["FP32", "ROUNDOFF", "Bounds", "Precision", "bounds", "rounds_nowhere"]

U32 = 2.0**-24
TINY = 2.0**-126
ROUNDOFF = {"fp64": 2.0**-53, "fp32": U32, "tf32": 2.0**-11, "fp16": 2.0**-11, "bf16": 2.0**-8}
"""Unit roundoff of the formats that a scan may state."""

_PARTS = {
    "state": "recurrence", "recurrence": "recurrence", "drive": "drive", "decay": "decay", "softplus": "softplus",
    "contraction": "contraction", "skip": "skip", "gate": "gate", "output": "output_cast", "output_cast": "output_cast",
}  # fmt: skip


@dataclass(frozen=True)
class Precision:
    """Unit roundoff of each operation: float32 unless stated.  ``Precision.parse("bf16 state, fp16 contraction")``."""

    stated: Mapping[str, float] = field(default_factory=dict)
    text: str = "fp32"

    def __getitem__(self, operation: str) -> float:
        return self.stated.get(operation, U32)

    @property
    def coarsest(self) -> float:
        return max([U32, *self.stated.values()])

    @classmethod
    def parse(cls, text: str) -> Precision:
        """Read ``"fp32"``, ``"bf16"`` (every operation) or a list like ``"bf16 state, fp16 contraction"``.

        Raises ``ValueError`` for a format or a part that does not exist.
        """
        stated: dict[str, float] = {}
        for item in text.replace(",", " , ").split(" , "):
            words = item.split()
            if not words or words[0] not in ROUNDOFF or len(words) > 2 or (len(words) == 2 and words[1] not in _PARTS):
                raise ValueError(
                    f"precision {item.strip()!r}: write a format ({', '.join(ROUNDOFF)}) and, if only one operation "
                    f"has it, its name ({', '.join(_PARTS)}), for example 'bf16 state'"
                )
            for operation in set(_PARTS.values()) if len(words) == 1 else {_PARTS[words[1]]}:
                if not (len(words) == 1 and operation == "output_cast"):
                    stated[operation] = max(U32, ROUNDOFF[words[0]])
        return cls(stated, text)


FP32 = Precision()


@dataclass(frozen=True)
class Bounds:
    """What an honest scan may return.

    ``value``: float64 (b, l, d), exact;  ``error``: float64, the bound on any honest value before the cast;
    ``low``, ``high``: float16, the first and last allowed y;  ``rounded``: float16, the correctly rounded one.
    ``state``, ``state_low``, ``state_high``: float64 (b, d, n), last state (codes when the inputs have a state_scale).
    ``exact``: nothing rounds before the cast.
    """

    value: np.ndarray
    error: np.ndarray
    low: np.ndarray
    high: np.ndarray
    rounded: np.ndarray
    state: np.ndarray
    state_low: np.ndarray
    state_high: np.ndarray
    exact: bool

    def violations(self, y: np.ndarray) -> np.ndarray:
        """bool (b, l, d): where the float16 ``y`` lies outside (NaN always does)."""
        return ~((y >= self.low) & (y <= self.high))

    def state_violations(self, state: np.ndarray) -> np.ndarray:
        """bool (b, d, n): where the last state lies outside."""
        state = state.astype(np.float64)
        return ~((state >= self.state_low) & (state <= self.state_high))


def _exp_error(x: np.ndarray) -> np.ndarray:
    """Relative error of an honest e^x: 2 ULP (4u) and the rounding of x·log2(e) and of that constant; 0 at x = 0."""
    return np.where(np.abs(x) < TINY, 0.0, (6 + 4 * np.abs(x)) * U32)


def _power_of_two(scale) -> bool:
    return float(np.frexp(float(scale))[0]) == 0.5


def _values(x: ScanInputs) -> dict[str, np.ndarray]:
    return {name: q.dequantize(torch.float64).cpu().numpy() for name, q in x.operands().items()}


def rounds_nowhere(x: ScanInputs, significand: int = 24) -> bool:
    """True when no honest scan rounds before the cast, whatever its order: see the module's text."""
    if x.softplus or x.z is not None:
        return False
    operands = {name: q for name, q in x.operands().items() if name != "A_log"}
    if any(q.scale is None or not _power_of_two(q.scale) for q in operands.values()):
        return False
    v = _values(x)
    dt = v["dt"] if x.dt_bias is None else v["dt"] + v["dt_bias"][None, :, None]
    exponent = dt[..., None] * -np.exp(v["A_log"])[None, :, None, :]
    exponent = exponent[:, :, 1:]  # the first decay meets no state
    if not np.all((np.abs(exponent) < TINY) | (exponent < -104)):
        return False
    grid = {name: float(q.scale) for name, q in operands.items()}
    dt_grid = grid["dt"] if x.dt_bias is None else min(grid["dt"], grid["dt_bias"])
    per_group = x.channels // x.groups
    b = np.abs(v["B"]).repeat(per_group, 1) * np.abs(dt * v["u"])[:, :, None]  # (b, d, n, l)
    c = np.abs(v["C"]).repeat(per_group, 1)
    total = (b.cumsum(-1) * c).sum(2)  # (b, d, l)
    y_grid = dt_grid * grid["u"] * grid["B"] * grid["C"]
    if x.D is not None:
        total = total + np.abs(v["D"])[None, :, None] * np.abs(v["u"])
        y_grid = min(y_grid, grid["D"] * grid["u"])
    limit = 2.0**significand
    return bool((total / y_grid).max() < limit and (b.sum(-1) / (dt_grid * grid["u"] * grid["B"])).max() < limit)


def bounds(x: ScanInputs, precision: Precision = FP32) -> Bounds:
    """The bound for ``x``.  Time grows with b·d·n·l, in numpy."""
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        return _bounds(x, precision)


def _bounds(x: ScanInputs, precision: Precision) -> Bounds:
    v, u = _values(x), U32
    U, DT = v["u"], v["dt"]  # (b, d, l)
    per_group = x.channels // x.groups
    B = np.moveaxis(v["B"].repeat(per_group, 1), 3, 2)  # (b, d, l, n)
    C = np.moveaxis(v["C"].repeat(per_group, 1), 3, 2)
    bias = 0.0 if x.dt_bias is None else v["dt_bias"][None, :, None]
    dt = DT + bias
    dt_error = 2 * u * (np.abs(DT) + np.abs(bias))
    if x.softplus:
        sigmoid = 0.5 * (1 + np.tanh(0.5 * dt))
        sigmoid = np.where(dt < -30, np.exp(np.minimum(dt, 0.0)), sigmoid)
        exp_error = sigmoid * (dt_error + _exp_error(np.clip(dt, None, 30.0)))
        dt = np.logaddexp(dt, 0.0)
        dt_error = exp_error + 6 * precision["softplus"] * dt + 2 * TINY
    A = -np.exp(v["A_log"])  # (d, n)
    A_error = (7 + 4 * np.abs(v["A_log"])) * u
    exponent = dt[..., None] * A[None, :, None, :]  # (b, d, l, n)
    exponent_error = np.abs(A)[None, :, None, :] * dt_error[..., None]
    exponent_error += np.abs(exponent) * (A_error[None, :, None, :] + 2 * u)
    decay = np.exp(exponent)
    decay_error = np.where(
        np.abs(exponent) < TINY, 0.0,
        np.expm1(np.minimum(_exp_error(exponent) + exponent_error + 4 * (precision["decay"] - u), 50.0)),
    )  # fmt: skip
    drive = (dt * U)[..., None] * B
    drive_error = dt_error[..., None] * np.abs(U[..., None] * B) + (5 * u + precision["drive"]) * np.abs(drive)
    magnitude_in = np.abs(drive)

    elapsed = np.abs(A)[None, :, None, :] * np.cumsum(np.abs(dt), -1)[..., None]
    elapsed = np.where(elapsed < TINY, 0.0, elapsed) * 4 * u  # the matrix form's error of P_t − P_s
    count = np.cumsum(drive != 0, axis=2)
    h = np.zeros_like(drive[:, :, 0])
    magnitude, error, past = h.copy(), h.copy(), h.copy()
    H, M, E = np.empty_like(drive), np.empty_like(drive), np.empty_like(drive)
    state_u = precision["recurrence"]
    for t in range(x.length):
        a = decay[:, :, t]
        past = a * magnitude
        rounding = np.where(a == 1.0, 0.0, u)
        error = a * (1 + decay_error[:, :, t]) * error + (decay_error[:, :, t] + rounding) * past
        error += drive_error[:, :, t]
        magnitude = past + magnitude_in[:, :, t]
        if state_u > u:
            error += 2 * state_u * (magnitude + error)
        h = a * h + drive[:, :, t]
        H[:, :, t], M[:, :, t], E[:, :, t] = h, magnitude, error + elapsed[:, :, t] * past
    flushed = TINY * (2 + np.cumsum(magnitude_in, 2))
    E += (np.maximum(count - 1, 0) * max(u, 0.0)) * M + flushed

    terms = C * H
    weight = np.abs(C) * M
    y = terms.sum(-1)  # (b, d, l)
    total = weight.sum(-1)
    many = (C != 0).sum(-1)
    y_error = (np.abs(C) * E).sum(-1) + ((many + 5) * precision["contraction"]) * total
    y_error += (np.abs(C) * TINY).sum(-1)
    if x.D is not None:
        skip = v["D"][None, :, None] * U
        y = y + skip
        y_error += (many + 4) * precision["skip"] * np.abs(skip) + 2 * u * total
        total = total + np.abs(skip)
    if x.z is not None:
        z = v["z"]
        sigmoid = np.exp(-np.logaddexp(0.0, -z))
        silu = z * sigmoid
        gate_u = precision["gate"]
        silu_error = 2 * gate_u * np.abs(z) + np.abs(silu) * (
            8 * gate_u + (1 - sigmoid) * _exp_error(np.minimum(np.abs(z), 100.0))
        )
        silu_error = silu_error + 4 * TINY * (1 + np.abs(z))
        y_error = np.abs(silu) * y_error + np.abs(y) * silu_error + 3 * u * total * np.abs(silu) + TINY
        y = y * silu
    y_error = 1.01 * (y_error + u * np.abs(y)) + TINY

    exact = rounds_nowhere(x, round(-np.log2(precision.coarsest)))
    state_error = np.full_like(h, 2 * TINY) if exact else 1.01 * E[:, :, -1]
    if exact:
        y_error = np.full_like(y, 4 * TINY)
    y, y_error = y.transpose(0, 2, 1), y_error.transpose(0, 2, 1)
    if x.state_scale is None:
        state, state_low, state_high = h, h - state_error, h + state_error
        state_low, state_high = state_low.astype(np.float32) - TINY, state_high.astype(np.float32) + TINY
    else:
        scale = float(x.state_scale)
        quotient = 0.0 if exact and _power_of_two(scale) else 4 * u * np.abs(h / scale)
        state, state_low, state_high = (
            AWAY_SATURATE(torch.from_numpy(h / scale + side * (state_error / scale + quotient))).numpy().astype(float)
            for side in (0.0, -1.0, 1.0)
        )
    if exact and x.state_scale is not None:
        state_low = state_high = state
    low, high, rounded = (_half(y + side * y_error, precision) for side in (-1.0, 1.0, 0.0))
    return Bounds(y, y_error, low, high, rounded, state, state_low, state_high, exact)


def _half(y: np.ndarray, precision: Precision) -> np.ndarray:
    value = torch.from_numpy(np.ascontiguousarray(y))
    if precision.stated.get("output_cast") == ROUNDOFF["bf16"]:
        return value.float().bfloat16().half().numpy()
    return to_half(value).numpy()
