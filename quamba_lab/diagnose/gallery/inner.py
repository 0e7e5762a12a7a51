"""Planted faults of softplus, decay and drive, the recurrence and the quantization of the state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ...quantized import EVEN_SATURATE, EVEN_SYMMETRIC, RoundingRule
from ...scans.oracle import quantize_state
from ...scans.variants import Arithmetic, Variant
from .plant import Fault, Scan, method, to

__all__ = ["decay_and_drive_faults", "recurrence_faults", "softplus_faults", "state_faults"]


def softplus_faults() -> list[Fault]:
    def bias_after(arithmetic, stage, dt, bias, x):
        value = arithmetic.softplus(dt) if x.softplus else dt
        return value if bias is None else value + bias[None, :, None]

    def plain(form: Callable[[Tensor], Tensor]):
        return method("softplus", lambda a, f, v: form(v))

    return [
        Fault("softplus missing", "softplus", "", plain(lambda v: v)),
        Fault("softplus is ReLU", "softplus", "", plain(torch.relu)),
        Fault("softplus linear above 10", "softplus", "threshold", plain(lambda v: F.softplus(v, threshold=10.0))),
        Fault("softplus linear above 2", "softplus", "threshold", plain(lambda v: F.softplus(v, threshold=2.0))),
        Fault("softplus without threshold", "softplus", "overflow to inf", plain(lambda v: torch.log1p(torch.exp(v)))),
        Fault("softplus as log(1 + exp)", "softplus", "loses very negative input",
              plain(lambda v: torch.where(v > 20, v, torch.log(1 + torch.exp(v.clamp(max=20)))))),
        Fault("softplus is 0 below −8", "softplus", "", method("softplus", lambda a, f, v: f(v) * (v > -8))),
        Fault("softplus capped at 20", "softplus", "", method("softplus", lambda a, f, v: f(v).clamp(max=20))),
        Fault("softplus of base 2", "softplus", "", plain(lambda v: torch.log2(1 + torch.exp2(v.clamp(max=60))))),
        Fault("softplus in float16", "softplus", "", method("softplus", lambda a, f, v: to(torch.float16)(f(v)))),
        Fault("bias added after softplus", "softplus", "", method("step_size", bias_after)),
    ]  # fmt: skip


def decay_and_drive_faults() -> list[Fault]:
    def pipeline(decay_raw: bool = False, drive_raw: bool = False, exchange: str = "") -> Callable[[Variant], Scan]:
        def scan(variant: Variant) -> Scan:
            arithmetic = Arithmetic(variant)
            step_size, decay, drive = arithmetic.step_size, arithmetic.decay, arithmetic.drive
            raw: dict[str, Tensor] = {}

            def remember(dt, bias, x):
                raw["dt"] = dt if bias is None else dt + bias[None, :, None]
                raw["C"] = arithmetic.per_channel(arithmetic.dequantize("C", x.C, x), x)
                raw["B"] = arithmetic.per_channel(arithmetic.dequantize("B", x.B, x), x)
                return step_size(dt, bias, x)

            arithmetic.step_size = remember
            if decay_raw:
                arithmetic.decay = lambda dt, A: decay(raw["dt"], A)
            if drive_raw:
                arithmetic.drive = lambda dt, B, u: drive(raw["dt"], B, u)
            if exchange:
                arithmetic.drive = lambda dt, B, u: drive(dt, raw["C"], u)
            if exchange == "both":
                contraction = arithmetic.contraction
                arithmetic.contraction = lambda h, C, start: contraction(h, raw["B"], start)
            if decay_raw:
                # the matrix form takes exponents, so it would escape this fault
                arithmetic.v = replace(variant, order="sequential") if variant.order == "segments" else variant
            return lambda x: arithmetic(x)

        return scan

    def decay(change: Callable) -> Callable[[Variant], Scan]:
        return method("decay", lambda a, f, dt, A: change(f(dt, A), dt[..., None] * A[None, :, None, :], A))

    def drive(change: Callable) -> Callable[[Variant], Scan]:
        return method("drive", lambda a, f, dt, B, u: change(f(dt, B, u), dt[..., None], B, u[..., None]))

    half, brain = to(torch.float16), to(torch.bfloat16)
    return [
        Fault("decay with dt before softplus", "decay", "", pipeline(decay_raw=True)),
        Fault("decay in float16", "decay", "", decay(lambda a, e, A: half(a))),
        Fault("decay in bfloat16", "decay", "", decay(lambda a, e, A: brain(a))),
        Fault("decay's exponent in bfloat16", "decay", "", decay(lambda a, e, A: torch.exp(brain(e)))),
        Fault("decay at least 0.01", "decay", "clamped", decay(lambda a, e, A: a.clamp(min=0.01))),
        Fault("decay at most 0.999", "decay", "clamped", decay(lambda a, e, A: a.clamp(max=0.999))),
        Fault("decay's exponent at least −10", "decay", "clamped", decay(lambda a, e, A: torch.exp(e.clamp(min=-10)))),
        Fault("decay as 1 + dt·A", "decay", "Euler's rule", decay(lambda a, e, A: (1 + e).clamp(min=0))),
        Fault("decay of base 2", "decay", "log2(e) forgotten", decay(lambda a, e, A: torch.exp2(e))),
        Fault("decay without dt", "decay", "", decay(lambda a, e, A: torch.exp(A)[None, :, None, :] + 0 * e)),
        Fault("no decay", "decay", "", decay(lambda a, e, A: torch.ones_like(a))),
        Fault("drive without dt", "drive", "", drive(lambda b, dt, B, u: B * u + 0 * dt)),
        Fault("drive with dt before softplus", "drive", "", pipeline(drive_raw=True)),
        Fault("drive with C for B", "drive", "", pipeline(exchange="one")),
        Fault("B and C exchanged", "drive", "", pipeline(exchange="both")),
        Fault("drive with dt squared", "drive", "", drive(lambda b, dt, B, u: b * dt)),
        Fault("drive without u", "drive", "", drive(lambda b, dt, B, u: dt * B + 0 * u)),
        Fault("drive in float16", "drive", "", drive(lambda b, dt, B, u: half(b))),
        Fault("drive in bfloat16", "drive", "", drive(lambda b, dt, B, u: brain(b))),
    ]


def recurrence_faults() -> list[Fault]:
    def chunked(chunk: int, carry: Callable) -> Callable[[Variant], Scan]:
        """Chunks joined by ``carry(true state, chunk's own decay product, state before that)``."""

        def recurrence(arithmetic, stage, decay, drive, exponent, x):
            pieces, joined = [], torch.zeros_like(drive[:, :, 0])
            before = joined
            for start in range(0, drive.shape[2], chunk):
                part = slice(start, start + chunk)
                first = carry(joined, before, start)
                own = stage(decay[:, :, part], drive[:, :, part], exponent[:, :, part], x)
                pieces.append(own + torch.cumprod(decay[:, :, part], 2) * first[:, :, None])
                before, joined = joined, pieces[-1][:, :, -1]
            return torch.cat(pieces, 2)

        return method("recurrence", recurrence)

    def undecayed(chunk: int) -> Callable[[Variant], Scan]:
        def recurrence(arithmetic, stage, decay, drive, exponent, x):
            decay = decay.clone()
            decay[:, :, chunk::chunk] = 1.0
            return arithmetic._sequential(decay, drive)

        return method("recurrence", recurrence)

    def stored(dtype: torch.dtype) -> Callable[[Variant], Scan]:
        def recurrence(arithmetic, stage, decay, drive, exponent, x):
            states, h = torch.empty_like(drive), torch.zeros_like(drive[:, :, 0])
            for t in range(drive.shape[2]):
                h = to(dtype)(decay[:, :, t] * h + drive[:, :, t])
                states[:, :, t] = h
            return states

        return method("recurrence", recurrence)

    def late(arithmetic, stage, decay, drive, exponent, x):
        shifted = torch.cat([torch.ones_like(decay[:, :, :1]), decay[:, :, :-1]], 2)
        return arithmetic._sequential(shifted, drive)

    found = []
    for chunk in (1, 3, 16, 100, 128, 2048):
        found.append(Fault(f"carry lost every {chunk}", "recurrence", "", chunked(chunk, lambda h, p, t: 0 * h)))
    for chunk in (5, 64, 256):
        found.append(Fault(f"carry doubled every {chunk}", "recurrence", "", chunked(chunk, lambda h, p, t: 2 * h)))
    for chunk in (4, 32, 512):
        found.append(
            Fault(f"carry stale every {chunk}", "recurrence", "one chunk old", chunked(chunk, lambda h, p, t: p))
        )
    return [
        *found,
        Fault(
            "carry kept from the first chunk only",
            "recurrence",
            "",
            chunked(16, lambda h, p, t: h if t == 16 else 0 * h),
        ),
        Fault("carry not decayed every 8", "recurrence", "", undecayed(8)),
        Fault("decay of the token before", "recurrence", "a_(t−1) for a_t", method("recurrence", late)),
        Fault("state in float16", "recurrence", "", stored(torch.float16)),
        Fault("state in bfloat16", "recurrence", "", stored(torch.bfloat16)),
    ]


def state_faults() -> list[Fault]:
    def requantized(every: str, chunk: int = 16) -> Callable[[Variant], Scan]:
        return lambda variant: Arithmetic(replace(variant, requantize=every, chunk=chunk))

    def rule(change: Callable) -> Callable[[Variant], Scan]:
        return method("state_quantization", lambda a, f, h, s: change(h, s))

    return [
        Fault("state quantized every token", "state_quantization", "", requantized("token")),
        Fault("state quantized every 16 tokens", "state_quantization", "", requantized("chunk")),
        Fault(
            "state rounded to even", "state_quantization", "", rule(lambda h, s: quantize_state(h, s, EVEN_SATURATE))
        ),
        Fault(
            "state truncated",
            "state_quantization",
            "",
            rule(lambda h, s: torch.trunc(h / s).clamp(-128, 127).to(torch.int8)),
        ),
        Fault(
            "state wraps",
            "state_quantization",
            "",
            rule(lambda h, s: quantize_state(h, s, RoundingRule("away", overflow="wrap"))),
        ),
        Fault(
            "state clipped to ±127",
            "state_quantization",
            "",
            rule(lambda h, s: quantize_state(h, s, RoundingRule("away", low=-127))),
        ),
        Fault(
            "state multiplied by its scale",
            "state_quantization",
            "",
            rule(lambda h, s: quantize_state(h * s, torch.ones(()))),
        ),
        Fault("state not quantized", "state_quantization", "", rule(lambda h, s: h.float())),
        Fault(
            "state even and symmetric",
            "state_quantization",
            "",
            rule(lambda h, s: quantize_state(h, s, EVEN_SYMMETRIC)),
        ),
    ]
