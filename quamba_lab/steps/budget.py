"""The error budget of the recurrence: where the error of every state comes from, to the last digit.

The recurrence is linear given its decays.  With a, b, h the scan's own tapped decay, drive and state, and a*, b*, h*
those of the FP64 scan, the error e_t = h_t − h*_t of one state obeys, exactly,

    e_t  =  a*_t e_(t−1)  +  (a_t − a*_t) h_(t−1)  +  (b_t − b*_t)  +  [h_t − (a_t h_(t−1) + b_t)]
            inherited        decay-induced           drive-induced    the update itself

The last part is what an update leaves over.  Up to the most that float32 can leave in any order of summation it is
called rounding; what goes beyond is *unexplained*, and then the budget does not close: a carry was lost, a state was
rounded to codes, an index was wrong.  Carried on by a*, the sources add up to e_t themselves: ``origins``.

Bounds, all of float32 with u = 2⁻²⁴ (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 4.2).
Update: each of the k terms of h_t passes at most k products and k sums in any tree, so |error of h_t| ≤ 3k u M_t with
M_t = a_t M_(t−1) + |b_t|; of two neighbouring states, what the update leaves over is at most the sum of both.
Decay and drive: quamba_lab/thresholds.py, with the error of softplus passed on to both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..scans import ScanInputs
from ..scans.oracle import oracle_taps
from ..texts import say
from ..thresholds import operation_bound, unit_roundoff

__all__ = ["FP64_NOISE", "ORIGINS", "PARTS", "Budget", "budget_of", "half_lives"]

U, SMALLEST = unit_roundoff(torch.float32), torch.finfo(torch.float32).tiny

PARTS = ("inherited", "decay", "drive", "rounding", "unexplained")
"""The parts of one token's error, in the order of the formula."""

ORIGINS = ("decay", "drive", "rounding", "unexplained")
"""Where an error was made; inherited error was made earlier."""

FP64_NOISE = 64 * 2.0**-53
"""What the sum of the parts may miss the error by, relative to the magnitudes that entered: 20 float64 roundings."""


@dataclass(frozen=True, eq=False)
class Budget:
    """One scan's budget on one set of inputs; every tensor float64 (b, d, l, n).

    ``error``: e.  ``state``: the exact one.  ``parts``: by :data:`PARTS`, sum to ``error``.  ``origins``: by
    :data:`ORIGINS`, each carried on by the exact decays, sum to ``error``.  ``miss``: the largest |sum − error| in
    units of the magnitudes that entered.  ``beyond``: for decay, drive and the update ("unexplained"), the places
    (batch, channel, token, state) that err by more than float32 can, in order of token.  ``hint``: what the unexplained
    updates look like.
    """

    error: Tensor
    state: Tensor
    parts: dict[str, Tensor]
    origins: dict[str, Tensor]
    miss: float
    beyond: dict[str, Tensor]
    hint: str = ""

    @property
    def sums_up(self) -> bool:
        """Whether the parts and the origins sum to the error to FP64 noise."""
        return self.miss <= FP64_NOISE

    @property
    def closes(self) -> bool:
        """Whether they do, and no update leaves over more than rounding can."""
        return self.sums_up and not len(self.beyond["unexplained"])

    def shares(self) -> dict[str, float]:
        """Share of each origin in Σ e², Σ(origin · e) / Σ(e · e): they sum to 1.  NaN without any error."""
        whole = float(self.error.square().sum())
        return {
            name: float((part * self.error).sum()) / whole if whole else math.nan
            for name, part in self.origins.items()
        }

    @property
    def relative(self) -> float:
        """RMS of the error / RMS of the exact state."""
        size = float(self.state.square().mean().sqrt())
        return float(self.error.square().mean().sqrt()) / size if size else math.nan


def budget_of(x: ScanInputs, taps: dict[str, Tensor], exact: dict[str, Tensor] | None = None) -> Budget:
    """The budget of a scan's ``taps`` on ``x``; ``exact``: those of the FP64 scan, computed when not given."""
    exact = oracle_taps(x) if exact is None else exact
    a, b, h = (taps[name].double() for name in ("decay", "drive", "recurrence"))  # (b, d, l, n)
    a_true, b_true, h_true = (exact[name] for name in ("decay", "drive", "recurrence"))
    error = h - h_true
    before, e_before = _shifted(h), _shifted(error)
    left = h - (a * before + b)
    left_true = h_true - (a_true * _shifted(h_true) + b_true)  # the FP64 scan's own rounding, 10⁻¹⁶
    odd = ~(left.abs() <= _update_limit(a, b))
    nothing = torch.zeros_like(left)
    parts = {
        "inherited": a_true * e_before,
        "decay": (a - a_true) * before,
        "drive": b - b_true,
        "rounding": torch.where(odd, nothing, left - left_true),
        "unexplained": torch.where(odd, left - left_true, nothing),
    }
    origins = {name: _carried(a_true, parts[name]) for name in ORIGINS}
    entered = h.abs() + h_true.abs() + a.abs() * before.abs() + b.abs() + b_true.abs()
    entered = torch.maximum(entered, entered.cumsum(2) * 2.0**-3)  # a sum carried over many tokens rounds at each
    misses = [(sum(parts.values()) - error).abs(), (sum(origins.values()) - error).abs()]
    miss = max(float((m / entered.clamp(min=torch.finfo(torch.float64).tiny)).max()) for m in misses)
    decay_limit, drive_limit = _source_limits(x, exact)
    beyond = {
        "decay": _in_order(~((a - a_true).abs() <= decay_limit)),
        "drive": _in_order(~((b - b_true).abs() <= drive_limit)),
        "unexplained": _in_order(odd),
    }
    hint = _hint(a, b, h, x.state_scale, beyond["unexplained"])
    return Budget(error, h_true, parts, origins, math.inf if math.isnan(miss) else miss, beyond, hint)


def _in_order(where: Tensor) -> Tensor:
    """The places where ``where`` (b, d, l, n) holds, (k, 4), the earliest token first."""
    places = torch.nonzero(where)
    return places[places[:, 2].argsort(stable=True)]


def _hint(a: Tensor, b: Tensor, h: Tensor, state_scale: Tensor | None, places: Tensor) -> str:
    """What unexplained updates have in common, from the largest state that was handed to one of them."""
    if not len(places):
        return ""
    places = places[places[:, 2] > 0]
    if not len(places):
        return say("the state before the first token is not zero")
    at, earlier = tuple(places.T), tuple((places - places.new_tensor([0, 0, 1, 0])).T)
    handed = a[at] * h[earlier]
    clear = handed.abs() >= 0.5 * handed.abs().max()  # where float32 noise is small beside what was carried
    carried, handed, decay, state = (h - b)[at][clear], handed[clear], a[at][clear], h[at][clear]
    close = 1e-3 * handed.abs()

    def on_grid(x: Tensor) -> bool:
        codes = x / float(state_scale)
        return bool(((codes - codes.round()).abs() <= 1e-3).all())

    if bool((carried.abs() <= close).all()):
        return "the state before was lost"
    if bool(((carried - 2 * handed).abs() <= close).all()):
        return say("the state before was counted twice")
    if state_scale is not None and (on_grid(carried / decay) or on_grid(state)):
        return say("the state was rounded to INT8 codes of its scale")
    return ""


def _shifted(x: Tensor) -> Tensor:
    """The value of the token before, zero before the first; (b, d, l, n)."""
    return torch.cat([torch.zeros_like(x[:, :, :1]), x[:, :, :-1]], 2)


def _carried(decay: Tensor, source: Tensor) -> Tensor:
    """E_t = a_t E_(t−1) + source_t, (b, d, l, n)."""
    out = torch.empty_like(source)
    carried = torch.zeros_like(source[:, :, 0])
    for t in range(source.shape[2]):
        carried = decay[:, :, t] * carried + source[:, :, t]
        out[:, :, t] = carried
    return out


def _source_limits(x: ScanInputs, exact: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The most by which a float32 decay and drive may err, (b, d, l, n)."""
    f64 = torch.float64
    size = x.dt.dequantize(f64).abs()  # (b, d, l)
    if x.dt_bias is not None:
        size = size + x.dt_bias.dequantize(f64).abs()[None, :, None]
    step = operation_bound("softplus") * U * (1 + size)[..., None]  # of dt: forming 1 + e costs a unit of 1
    A = torch.exp(x.A_log.dequantize(f64))[None, :, None, :]
    exponent = exact["softplus"].abs()[..., None] * A
    decay = 1.01 * exact["decay"] * (operation_bound("decay") * U * (1 + exponent) + A * step)
    B = x.B.dequantize(f64).abs().repeat_interleave(x.channels // x.groups, 1).transpose(2, 3)
    per_step = x.u.dequantize(f64).abs()[..., None] * B
    drive = 1.01 * (operation_bound("drive") * U * exact["drive"].abs() + per_step * step)
    return decay + SMALLEST, drive + SMALLEST


def _update_limit(decay: Tensor, drive: Tensor) -> Tensor:
    """The most that float32, in any order, leaves over of one update (see the head of this module)."""
    magnitude = _carried(decay.abs(), drive.abs() + SMALLEST)
    terms = torch.arange(1, drive.shape[2] + 1, dtype=torch.float64, device=drive.device)[None, None, :, None]
    limit = 3 * U * terms * magnitude
    return limit + decay.abs() * _shifted(limit) + SMALLEST


def half_lives(decay: Tensor) -> Tensor:
    """Tokens after which an error in a state is half as large, ln 2 / mean(−ln a) over the tokens: (b, d, n).

    Infinite for a state that forgets nothing.
    """
    rate = -torch.log(decay.clamp(min=torch.finfo(torch.float64).tiny)).mean(2)
    return math.log(2) / rate
