"""Planted faults that hide: in one code, one range, one size, one group, or in bits that float16 seldom shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ...scans import ScanInputs, ScanOutput
from ...scans.oracle import to_half
from ...scans.variants import Arithmetic, Variant
from .plant import Fault, Scan, around, dequantized, method

__all__ = ["subtle_faults"]


def tf32(x: Tensor) -> Tensor:
    """Rounded to the 10 explicit bits that a tensor core reads of a float32."""
    bits = x.float().view(torch.int32)
    rounded = bits + 0xFFF + ((bits >> 13) & 1)
    return (rounded & ~0x1FFF).view(torch.float32).to(x.dtype)


def stored(change: Callable[[Tensor], Tensor]) -> Callable[[Variant], Scan]:
    """The state passes through ``change`` after every token."""

    def recurrence(arithmetic, stage, decay, drive, exponent, x):
        states, h = torch.empty_like(drive), torch.zeros_like(drive[:, :, 0])
        for t in range(drive.shape[2]):
            h = change(decay[:, :, t] * h + drive[:, :, t])
            states[:, :, t] = h
        return states

    return method("recurrence", recurrence)


def carried(change: Callable[[Tensor, int, ScanInputs], Tensor]) -> Callable[[Variant], Scan]:
    """What token t receives is ``change(h, t, inputs)``; h: (b, d, n)."""

    def recurrence(arithmetic, stage, decay, drive, exponent, x):
        states, h = torch.empty_like(drive), torch.zeros_like(drive[:, :, 0])
        for t in range(drive.shape[2]):
            h = decay[:, :, t] * change(h, t, x) + drive[:, :, t]
            states[:, :, t] = h
        return states

    return method("recurrence", recurrence)


def one_code(wrong: int, read: int) -> Callable:
    return lambda v, q, s, x: torch.where(q == wrong, read * s, v)


def _dequantization() -> list[Fault]:
    def group_scale(v, q, s, x):
        v = v.clone()
        v[:, 1:] = q[:, 1:] * x.C.scale.to(q.dtype)
        return v

    def group_plain(v, q, s, x):
        return v if x.groups == 1 else torch.cat([v[:, :-1], q[:, -1:]], 1)

    return [
        Fault("code 75 of C read as 74", "dequantize.C", "one entry of a table", dequantized("C", one_code(75, 74))),
        Fault("code −37 of dt read as −36", "dequantize.dt", "one entry", dequantized("dt", one_code(-37, -36))),
        Fault("code 90 of z read as 91", "dequantize.z", "one entry", dequantized("z", one_code(90, 91))),
        Fault("code −19 of D read as 19", "dequantize.D", "one entry", dequantized("D", one_code(-19, 19))),
        Fault("code 101 of A read as 100", "dequantize.A", "one entry", dequantized("A_log", one_code(101, 100))),
        Fault("code −3 of the bias read as −4", "dequantize.dt_bias", "", dequantized("dt_bias", one_code(-3, -4))),
        Fault("B: −128 read as 128", "dequantize.B", "", dequantized("B", one_code(-128, 128))),
        Fault(
            "u clipped below −100 only", "dequantize.u", "", dequantized("u", lambda v, q, s, x: q.clamp(min=-100) * s)
        ),
        Fault("B of the later groups with the scale of C", "dequantize.B", "", dequantized("B", group_scale)),
        Fault("B of the last group without scale", "dequantize.B", "", dequantized("B", group_plain)),
        Fault("bias added twice", "dequantize.dt_bias", "", dequantized("dt_bias", lambda v, q, s, x: 2 * v)),
        Fault(
            "scale of z in float16", "dequantize.z", "", dequantized("z", lambda v, q, s, x: q * s.half().to(q.dtype))
        ),
        Fault(
            "scale of the bias in bfloat16",
            "dequantize.dt_bias",
            "",
            dequantized("dt_bias", lambda v, q, s, x: q * s.bfloat16().to(q.dtype)),
        ),
        Fault(
            "scale of A in float16",
            "dequantize.A",
            "",
            dequantized("A_log", lambda v, q, s, x: q * s.half().to(q.dtype)),
        ),
    ]


def _softplus_and_decay() -> list[Fault]:
    def plain(form: Callable[[Tensor], Tensor]) -> Callable[[Variant], Scan]:
        return method("softplus", lambda a, f, v: form(v))

    def decay(change: Callable) -> Callable[[Variant], Scan]:
        return method("decay", lambda a, f, dt, A: change(f(dt, A), dt[..., None] * A[None, :, None, :]))

    return [
        Fault(
            "softplus is 15 above 15",
            "softplus",
            "wrong branch",
            plain(lambda v: torch.where(v > 15, 15.0, F.softplus(v))),
        ),
        Fault(
            "softplus a line near 0",
            "softplus",
            "",
            plain(lambda v: torch.where(v.abs() < 0.1, 0.6931472 + v / 2, F.softplus(v))),
        ),
        Fault(
            "softplus as exp below −5",
            "softplus",
            "e^x without −e^2x/2",
            plain(lambda v: torch.where(v < -5, torch.exp(v), F.softplus(v))),
        ),
        Fault("softplus linear above 11", "softplus", "", plain(lambda v: F.softplus(v, threshold=11.0))),
        Fault("decay 1 − x for small x", "decay", "", decay(lambda a, e: torch.where(e > -0.02, 1 + e, a))),
        Fault("decay gone below e^−40", "decay", "", decay(lambda a, e: torch.where(e < -40, 0 * a, a))),
        Fault(
            "decay 1 for x above −0.001",
            "decay",
            "",
            decay(lambda a, e: torch.where(e > -0.001, torch.ones_like(a), a)),
        ),
        Fault("decay from a table of 64 steps", "decay", "", decay(lambda a, e: torch.exp(torch.round(e * 64) / 64))),
        Fault("log2(e) in float16", "decay", "", decay(lambda a, e: torch.exp2(e * 1.4423828125))),
        Fault("decay's exponent in TF32", "decay", "", decay(lambda a, e: torch.exp(tf32(e)))),
    ]


def _drive_and_recurrence() -> list[Fault]:
    def drive(change: Callable) -> Callable[[Variant], Scan]:
        return method("drive", lambda a, f, dt, B, u: change(f(dt, B, u), dt[..., None], B, u[..., None]))

    def before(v: Tensor) -> Tensor:
        return torch.cat([torch.zeros_like(v[:, :, :1]), v[:, :, :-1]], 2)

    def at(test: Callable[[int, ScanInputs], bool], change: Callable = lambda h: 0 * h) -> Callable[[Variant], Scan]:
        return carried(lambda h, t, x: change(h) if t and test(t, x) else h)

    def some(where: Callable[[Tensor], None], every: int) -> Callable[[Variant], Scan]:
        def change(h, t, x):
            if t and t % every == 0:
                h = h.clone()
                where(h)
            return h

        return carried(change)

    def zero(*index) -> Callable[[Tensor], None]:
        return lambda h: h[index].zero_()

    def leaking(arithmetic, stage, decay, drive, exponent, x):
        """The state is not cleared between batch items."""
        states, h = torch.empty_like(drive), torch.zeros_like(drive[:1, :, 0])
        for b in range(drive.shape[0]):
            for t in range(drive.shape[2]):
                h = decay[b : b + 1, :, t] * h + drive[b : b + 1, :, t]
                states[b : b + 1, :, t] = h
        return states

    every = slice(None)
    return [
        Fault(
            "drive by the trapezoid",
            "drive",
            "mean of two tokens' drives",
            drive(lambda b, dt, B, u: (b + before(b)) / 2),
        ),
        Fault("drive in TF32", "drive", "", drive(lambda b, dt, B, u: tf32(b))),
        Fault("drive clamped to ±1000", "drive", "", drive(lambda b, dt, B, u: b.clamp(-1000, 1000))),
        Fault(
            "drive of small products gone",
            "drive",
            "",
            drive(lambda b, dt, B, u: torch.where(b.abs() < 1e-7, 0 * b, b)),
        ),
        Fault("state in TF32", "recurrence", "", stored(tf32)),
        Fault("state flushed below 1e-6", "recurrence", "", stored(lambda h: torch.where(h.abs() < 1e-6, 0 * h, h))),
        Fault("state flushed below 1e-20", "recurrence", "", stored(lambda h: torch.where(h.abs() < 1e-20, 0 * h, h))),
        Fault("state clamped to ±65504", "recurrence", "", stored(lambda h: h.clamp(-65504, 65504))),
        Fault("state not below 0", "recurrence", "", stored(lambda h: h.clamp(min=0))),
        Fault("carry lost every 1024", "recurrence", "", at(lambda t, x: t % 1024 == 0)),
        Fault("carry lost at 4096", "recurrence", "", at(lambda t, x: t == 4096)),
        Fault("carry doubled at 300", "recurrence", "", at(lambda t, x: t == 300, lambda h: 2 * h)),
        Fault(
            "carry into the last token lost when odd",
            "recurrence",
            "",
            at(lambda t, x: x.length % 2 == 1 and t == x.length - 1),
        ),
        Fault(
            "carry lost every 64 in channels past the first", "recurrence", "", some(zero(every, slice(1, None)), 64)
        ),
        Fault("carry lost every 16 in later batch items", "recurrence", "", some(zero(slice(1, None)), 16)),
        Fault("carry lost every 32 in the last state", "recurrence", "", some(zero(every, every, -1), 32)),
        Fault("state starts at 0.01", "recurrence", "", carried(lambda h, t, x: h if t else h + 0.01)),
        Fault("state of the item before leaks in", "recurrence", "", method("recurrence", leaking)),
    ]


def _outside() -> list[Fault]:
    def contraction(change: Callable) -> Callable[[Variant], Scan]:
        def stage(a, f, h, C, start):
            total = change(h, C)
            return total if start is None else start + total

        return method("contraction", stage)

    def skip_by_group(variant: Variant) -> Scan:
        arithmetic = Arithmetic(variant)
        stage = arithmetic.skip

        def call(x: ScanInputs) -> ScanOutput:
            size = x.channels // x.groups
            arithmetic.skip = lambda D, u: stage(D[torch.arange(len(D)) // size * size] if x.groups > 1 else D, u)
            return arithmetic(x)

        return call

    def skip_without_gate(variant: Variant) -> Scan:
        arithmetic = Arithmetic(variant)
        stage = arithmetic.skip

        def call(x: ScanInputs) -> ScanOutput:
            arithmetic.skip = lambda D, u: stage(D, u) * (2 if x.z is None else 1)
            return arithmetic(x)

        return call

    def gate(change: Callable) -> Callable[[Variant], Scan]:
        return method("gate", lambda a, f, v, z: change(v, z))

    def cast(change: Callable) -> Callable[[Variant], Scan]:
        return method("output_cast", lambda a, f, y: change(y.transpose(1, 2)))

    def nudged_ties(y: Tensor) -> Tensor:
        return torch.where(y < 0, to_half(y.double() * (1 + 2.0**-40)), y.half())

    return [
        Fault("states past the 32nd missing", "contraction", "", contraction(lambda h, C: (h * C)[..., :32].sum(-1))),
        Fault(
            "states past a multiple of 4 missing",
            "contraction",
            "",
            contraction(lambda h, C: (h * C)[..., : max(1, h.shape[-1] // 4 * 4)].sum(-1)),
        ),
        Fault("Σ C·h in TF32", "contraction", "", contraction(lambda h, C: (tf32(h) * tf32(C)).sum(-1))),
        Fault(
            "Σ C·h averaged past 16 states",
            "contraction",
            "",
            contraction(lambda h, C: (h * C).sum(-1) * (1 if h.shape[-1] <= 16 else 0.5)),
        ),
        Fault("D of the group's first channel", "skip", "", skip_by_group),
        Fault("D·u twice without z", "skip", "", skip_without_gate),
        Fault(
            "D·u of the token before",
            "skip",
            "",
            method("skip", lambda a, f, D, u: f(D, u.roll(1, 2) * (torch.arange(u.shape[2]) > 0))),
        ),
        Fault("gate 0 below −12", "gate", "", gate(lambda v, z: v * F.silu(z) * (z > -12))),
        Fault("gate z above 7", "gate", "", gate(lambda v, z: v * torch.where(z > 7, z, F.silu(z)))),
        Fault("gate as z·σ(z) in TF32", "gate", "", gate(lambda v, z: v * tf32(F.silu(z)))),
        Fault("y saturates below only", "output_cast", "", cast(lambda y: y.clamp(min=-65504).half())),
        Fault("ties of negative y away", "output_cast", "", cast(nudged_ties)),
        Fault(
            "y: inf becomes NaN",
            "output_cast",
            "",
            cast(lambda y: torch.where(y.half().isinf(), float("nan"), y).half()),
        ),
        Fault(
            "y to 10 bits past 1024",
            "output_cast",
            "",
            cast(lambda y: torch.where(y.abs() > 1024, y.bfloat16().to(y.dtype), y).half()),
        ),
    ]


def _sizes() -> list[Fault]:
    def y(change: Callable[[Tensor, ScanInputs], Tensor]) -> Callable[[Variant], Scan]:
        return around(None, lambda o, x: replace(o, y=change(o.y.clone(), x)))

    def late(name: str) -> Callable[[Variant], Scan]:
        """An operand's codes one token late, nothing for the first."""

        def shift(v: Tensor) -> Tensor:
            return torch.cat([torch.zeros_like(v[..., :1]), v[..., :-1]], -1)

        return around(lambda x: x if getattr(x, name) is None else replace(x, **{name: getattr(x, name).map(shift)}))

    def zeroed(*index) -> Callable[[Tensor, ScanInputs], Tensor]:
        def change(v, x):
            v[index] = 0
            return v

        return change

    def last_channel(v, x):
        if x.channels % 32 and x.channels > 1:
            v[:, :, -1] = v[:, :, -2]
        return v

    def random_order(v, x):
        return v if x.length < 1000 else (v * (1 + 2.0**-9 * torch.randint(-1, 2, v.shape))).half()

    every = slice(None)
    return [
        Fault("C of the token before", "layout", "", late("C")),
        Fault("z of the token before", "layout", "", late("z")),
        Fault("last channel is the one before, d no multiple of 32", "layout", "", y(last_channel)),
        Fault("batch items past the 16th missing", "layout", "", y(zeroed(slice(16, None)))),
        Fault("channels past the 64th missing", "layout", "", y(zeroed(every, every, slice(64, None)))),
        Fault("channels past the 256th missing", "layout", "", y(zeroed(every, every, slice(256, None)))),
        Fault("tokens past the 4096th missing", "layout", "", y(zeroed(every, slice(4096, None)))),
        Fault(
            "tokens past the 1000th repeat", "layout", "", y(lambda v, x: v[:, torch.arange(x.length).clamp(max=999)])
        ),
        Fault("long inputs differ from run to run", "determinism", "", y(random_order)),
    ]


def subtle_faults() -> list[Fault]:
    """All of them."""
    return [*_dequantization(), *_softplus_and_decay(), *_drive_and_recurrence(), *_outside(), *_sizes()]
