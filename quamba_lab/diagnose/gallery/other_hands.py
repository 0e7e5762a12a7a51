"""Honest scans that no switch of the configurable one reaches: compensated sums, folded scales, tables, other trees."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ...scans import ScanInputs, ScanOutput
from ...scans.oracle import quantize_state
from ...scans.variants import Arithmetic, Variant
from .plant import Scan

__all__ = ["other_hands"]


class Kahan(Arithmetic):
    """Compensated sums over time and over the states (Kahan, 1965)."""

    def recurrence(self, decay: Tensor, drive: Tensor, exponent: Tensor, x: ScanInputs) -> Tensor:
        states, h, lost = torch.empty_like(drive), *torch.zeros(2, *drive[:, :, 0].shape, dtype=drive.dtype)
        for t in range(drive.shape[2]):
            kept = decay[:, :, t] * h
            rest = drive[:, :, t] - decay[:, :, t] * lost
            h = kept + rest
            lost = (h - kept) - rest
            states[:, :, t] = h
        return states

    def contraction(self, h: Tensor, C: Tensor, start: Tensor | None) -> Tensor:
        total, lost = torch.zeros_like(h[..., 0]), torch.zeros_like(h[..., 0])
        for n in range(h.shape[-1]):
            rest = h[..., n] * C[..., n] - lost
            more = total + rest
            lost, total = (more - total) - rest, more
        return total if start is None else start + total


class Blelloch(Arithmetic):
    """A work-efficient tree, up and down (Blelloch, 1990), over a length filled up to a power of two."""

    def recurrence(self, decay: Tensor, drive: Tensor, exponent: Tensor, x: ScanInputs) -> Tensor:
        size = 1 << (drive.shape[2] - 1).bit_length()
        fill = (*drive.shape[:2], size - drive.shape[2], *drive.shape[3:])
        a, b = torch.cat([decay, decay.new_ones(fill)], 2), torch.cat([drive, drive.new_zeros(fill)], 2)
        step = 1
        while step < size:
            right, left = slice(2 * step - 1, None, 2 * step), slice(step - 1, None, 2 * step)
            b[:, :, right] = a[:, :, right] * b[:, :, left] + b[:, :, right]
            a[:, :, right] = a[:, :, right] * a[:, :, left]
            step *= 2
        step = size // 4
        while step >= 1:
            source, target = slice(2 * step - 1, size - step, 2 * step), slice(3 * step - 1, None, 2 * step)
            b[:, :, target] = a[:, :, target] * b[:, :, source] + b[:, :, target]
            a[:, :, target] = a[:, :, target] * a[:, :, source]
            step //= 2
        return b[:, :, : drive.shape[2]]


class Folded(Arithmetic):
    """The state in units of the scales of B and u; those of B, u and C applied once, to the sum over the states."""

    def __call__(self, x: ScanInputs) -> ScanOutput:
        if x.u.scale is None:
            return super().__call__(x)
        one = torch.ones((), dtype=torch.float32)
        unit = x.B.scale * x.u.scale
        bare = replace(
            x,
            u=replace(x.u, scale=one),
            B=replace(x.B, scale=one),
            C=replace(x.C, scale=one),
            D=None,
            z=None,
            state_scale=None,
        )
        taps = self.taps(bare)
        y = taps["contraction"] * (unit * x.C.scale)
        if x.D is not None:
            y = y + x.D.dequantize()[None, :, None] * x.u.dequantize()
        if x.z is not None:
            y = self.gate(y, x.z.dequantize())
        last = taps["recurrence"][:, :, -1] * unit
        return ScanOutput(self.output_cast(y), last if x.state_scale is None else quantize_state(last, x.state_scale))


class Tables(Arithmetic):
    """Softplus and SiLU as tables of float32 built in float64, A·log2(e) rounded once, 2^x for e^x."""

    def softplus(self, total: Tensor) -> Tensor:
        return torch.logaddexp(total.double(), torch.zeros((), dtype=torch.float64)).to(total.dtype)

    def gate(self, value: Tensor, z: Tensor) -> Tensor:
        wide = z.double()
        return value * (wide * torch.sigmoid(wide)).to(value.dtype)

    def decay(self, dt: Tensor, A: Tensor) -> Tensor:
        rates = (A.double() * 1.4426950408889634).to(dt.dtype)
        return torch.exp2(dt[..., None] * rates[None, :, None, :])


class Halved(Arithmetic):
    """e^x as the square of e^(x/2)."""

    def exp(self, x: Tensor) -> Tensor:
        return torch.exp(0.5 * x).square()


class Flushed(Arithmetic):
    """Every stage flushes what is below the smallest normal float32 to zero."""

    def __call__(self, x: ScanInputs) -> ScanOutput:
        torch.set_flush_denormal(True)
        try:
            return super().__call__(x)
        finally:
            torch.set_flush_denormal(False)


class StatesApart(Arithmetic):
    """Odd and even states in two sums, each from the last to the first, D·u between them."""

    def contraction(self, h: Tensor, C: Tensor, start: Tensor | None) -> Tensor:
        terms = (h * C).flip(-1)
        even, odd = terms[..., ::2].sum(-1), terms[..., 1::2].sum(-1)
        return even + odd if start is None else (even + start) + odd


class InTwoHalves(Arithmetic):
    """The second half of the tokens starts from zero and gets the first half's state through its own decays."""

    def recurrence(self, decay: Tensor, drive: Tensor, exponent: Tensor, x: ScanInputs) -> Tensor:
        middle = drive.shape[2] // 2
        if not middle:
            return self._sequential(decay, drive)
        first = self._sequential(decay[:, :, :middle], drive[:, :, :middle])
        second = self._sequential(decay[:, :, middle:], drive[:, :, middle:])
        carried = torch.cumprod(decay[:, :, middle:], 2) * first[:, :, -1:]
        return torch.cat([first, second + carried], 2)


def _in_place(x: ScanInputs) -> ScanOutput:
    """Float32, channel by channel, the state written over itself and y accumulated by dot products."""
    v = {name: q.dequantize() for name, q in x.operands().items()}
    dt = v["dt"] + (v["dt_bias"][None, :, None] if "dt_bias" in v else 0.0)
    dt = torch.where(dt > 20, dt, torch.log1p(torch.exp(dt.clamp(max=20)))) if x.softplus else dt
    A, per_group = -torch.exp(v["A_log"]), x.channels // x.groups
    y, last = torch.empty(x.batch, x.length, x.channels), torch.empty(x.batch, x.channels, x.states)
    for b, c in ((b, c) for b in range(x.batch) for c in range(x.channels)):
        h, g = torch.zeros(x.states), c // per_group
        decay = torch.exp(dt[b, c, :, None] * A[c])  # (l, n)
        pushed = v["B"][b, g].T * (v["u"][b, c] * dt[b, c])[:, None]
        for t in range(x.length):
            h.mul_(decay[t]).add_(pushed[t])
            y[b, t, c] = torch.dot(h, v["C"][b, g, :, t])
        last[b, c] = h
    if "D" in v:
        y += v["D"] * v["u"].transpose(1, 2)
    if "z" in v:
        y *= torch.nn.functional.silu(v["z"]).transpose(1, 2)
    return ScanOutput(y.half(), last if x.state_scale is None else quantize_state(last, x.state_scale))


def other_hands() -> dict[str, Scan]:
    """By name; a diagnosis must answer ``rounding`` or ``identical`` for each."""
    return {
        "compensated sums": Kahan(),
        "tree, up and down": Blelloch(),
        "scales folded, applied once": Folded(),
        "scales folded, states from the last": Folded(Variant(contraction="descending", fma=True)),
        "tables in float64": Tables(),
        "e^x as a square": Halved(Variant(gate="quotient", softplus="stable")),
        "below normal flushed": Flushed(Variant(exp="fast", softplus="log1p")),
        "states apart, D between": StatesApart(Variant(skip="first")),
        "two halves joined": InTwoHalves(),
        "chunks of 7, fused": Arithmetic(Variant(order="tree", chunk=7, fma=True, contraction="pairwise")),
        "float64 inside, tables": Tables(Variant(dtype=torch.float64)),
        "channel by channel": _in_place,
    }
