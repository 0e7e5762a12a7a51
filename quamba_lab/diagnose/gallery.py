"""A gallery of scans to learn from: honest ones that differ by free choices, and faulty ones with one planted fault each.

    honest()                    name -> Honest(variant): sequential, trees, blocks, matrix form, fast math, FMA, FP64 ...
    faults()                    name -> Fault(operation, summary, ...): one stage of an honest scan replaced
    faults()["D missing"].scan(variant)      the fault planted into any honest variant

``python -m quamba_lab.diagnose.gallery`` plants every fault into several honest scans, diagnoses them all and prints the
table of the operation named against the operation planted (Markdown).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..quantized import EVEN_SATURATE, EVEN_SYMMETRIC, RoundingRule
from ..scans import ScanInputs, ScanOutput
from ..scans.oracle import quantize_state, to_half
from ..scans.variants import Arithmetic, Variant

__all__ = ["BASES", "Fault", "faults", "honest"]

Scan = Callable[[ScanInputs], ScanOutput]

PUBLISHED_LIKE = Variant(
    association="B*(dt*u)", exp="fast", softplus="log1p", fma=True, order="block", contraction="ascending",
    skip="first", gate="quotient",
)  # fmt: skip

BASES: dict[str, Variant] = {
    "torch fp32": Variant(),
    "block scan, fast math": PUBLISHED_LIKE,
    "tree of 16": Variant(order="tree", chunk=16, association="(B*u)*dt", contraction="pairwise", gate="sigmoid"),
    "tree of 37": Variant(order="tree", chunk=37, exp="exp2", softplus="stable", skip="first", contraction="descending"),
    "float64": Variant(dtype=torch.float64),
}
"""The honest scans into which the faults are planted."""


def honest() -> dict[str, Variant]:
    """Honest scans: a diagnosis must answer ``rounding`` or ``identical`` for each."""
    found = dict(BASES)
    for chunk in (2, 3, 8, 64, 100, 128):
        found[f"tree of {chunk}"] = Variant(order="tree", chunk=chunk)
    for threads, items in ((32, 4), (32, 16), (64, 16), (4, 3), (1, 7), (16, 1)):
        found[f"block of {threads} x {items}"] = Variant(order="block", threads=threads, items=items)
    for chunk in (8, 32):
        found[f"matrix form in segments of {chunk}"] = Variant(order="segments", chunk=chunk)
    for name in ("exp2", "fast", "float64", "two_ulp"):
        found[f"exp {name}"] = Variant(exp=name, softplus="log1p", gate="quotient")
    for name in ("log1p", "stable"):
        found[f"softplus {name}, exp two_ulp"] = Variant(softplus=name, exp="two_ulp")
    for name in ("B*(dt*u)", "(B*u)*dt"):
        found[f"drive {name}"] = Variant(association=name)
    for name in ("ascending", "descending", "pairwise"):
        found[f"states {name}"] = Variant(contraction=name)
        found[f"states {name}, fused"] = Variant(contraction=name, fma=True)
    for name in ("quotient", "sigmoid", "tanh"):
        found[f"gate {name}"] = Variant(gate=name)
    found["D first"] = Variant(skip="first")
    found["fused multiply-add"] = Variant(fma=True)
    found["all at once"] = replace(PUBLISHED_LIKE, order="tree", chunk=5, exp="two_ulp", contraction="descending")
    found["float64, block, D first"] = Variant(dtype=torch.float64, order="block", threads=4, items=2, skip="first")
    return found


@dataclass(frozen=True)
class Fault:
    """One planted fault.  ``operation``: what a diagnosis must answer; ``verdict``: ``fault``, or a verdict of its own
    kind (``error``, ``timeout``, ``invalid output``, ``mutates inputs``); ``scan(variant)``: the faulty scan."""

    name: str
    operation: str | None
    summary: str
    scan: Callable[[Variant], Scan]
    verdict: str = "fault"


def _low_byte(x: Tensor) -> Tensor:
    return torch.remainder(x, 256)


def _to(dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    return lambda x: x.to(dtype).to(x.dtype)


def _method(name: str, change: Callable) -> Callable[[Variant], Scan]:
    """A scan whose stage ``name`` is ``change(arithmetic, honest stage, *arguments)``."""

    def scan(variant: Variant) -> Scan:
        arithmetic = Arithmetic(variant)
        stage = getattr(arithmetic, name)
        setattr(arithmetic, name, lambda *arguments: change(arithmetic, stage, *arguments))
        return lambda x: arithmetic(x)

    return scan


def _operand(operand: str, change: Callable) -> Callable[[Variant], Scan]:
    """A scan that dequantizes one operand as ``change(value, codes, scale, inputs)``."""

    def dequantize(arithmetic, stage, name, q, x):
        value = stage(name, q, x)
        return change(value, q.values.to(value.dtype), q.scale.to(value.dtype), x) if name == operand else value

    return _method("dequantize", dequantize)


def _around(change_inputs: Callable | None = None, change_output: Callable | None = None) -> Callable[[Variant], Scan]:
    """A scan that is honest about changed inputs, or whose output is changed."""

    def scan(variant: Variant) -> Scan:
        arithmetic = Arithmetic(variant)

        def call(x: ScanInputs) -> ScanOutput:
            output = arithmetic(x if change_inputs is None else change_inputs(x))
            return output if change_output is None else change_output(output, x)

        return call

    return scan


def _dequantization() -> list[Fault]:
    found = []
    names = {"u": "u", "dt": "dt", "B": "B", "C": "C", "z": "z", "A_log": "A", "D": "D", "dt_bias": "dt_bias"}
    others = {"u": "dt", "dt": "B", "B": "C", "C": "B", "z": "u", "A_log": "dt", "D": "u", "dt_bias": "dt"}
    for operand, name in names.items():
        operation = f"dequantize.{name}"
        found += [
            Fault(f"scale of {name} missing", operation, "codes used as values", _operand(operand, lambda v, q, s, x: q)),
            Fault(f"scale of {name} twice", operation, "multiplied by the scale again",
                  _operand(operand, lambda v, q, s, x: v * s)),
            Fault(f"{name} clipped to ±127", operation, "−128 is legal and becomes −127",
                  _operand(operand, lambda v, q, s, x: q.clamp(min=-127) * s)),
            Fault(f"{name} with the scale of {others[operand]}", operation, "a neighbour's scale",
                  _operand(operand, lambda v, q, s, x, o=others[operand]: q * getattr(x, o).scale.to(q.dtype))),
        ]  # fmt: skip
    for operand in ("u", "B", "z", "D"):
        found.append(Fault(f"{operand} read as unsigned", f"dequantize.{operand}", "−1 becomes 255",
                           _operand(operand, lambda v, q, s, x: _low_byte(q) * s)))  # fmt: skip
    for operand, dtype in (("u", torch.bfloat16), ("B", torch.bfloat16), ("C", torch.float16), ("D", torch.bfloat16),
                           ("dt", torch.bfloat16)):  # fmt: skip
        found.append(Fault(f"{operand} in {str(dtype)[6:]}", f"dequantize.{operand}", "dequantized in low precision",
                           _operand(operand, lambda v, q, s, x, t=dtype: _to(t)(v))))  # fmt: skip
    found += [
        Fault("zero point of 1 in C", "dequantize.C", "codes shifted", _operand("C", lambda v, q, s, x: (q - 1) * s)),
        Fault("bias left out", "dequantize.dt_bias", "", _operand("dt_bias", lambda v, q, s, x: v * 0)),
        Fault("bias subtracted", "dequantize.dt_bias", "", _operand("dt_bias", lambda v, q, s, x: -v)),
        Fault("A without its minus", "dequantize.A", "decays grow", _method("rates", lambda a, f, v: -f(v))),
        Fault("A without exp", "dequantize.A", "A = −A_log", _method("rates", lambda a, f, v: -v)),
        Fault("A in bfloat16", "dequantize.A", "", _method("rates", lambda a, f, v: _to(torch.bfloat16)(f(v)))),
    ]
    return found


def _softplus() -> list[Fault]:
    def bias_after(arithmetic, stage, dt, bias, x):
        value = arithmetic.softplus(dt) if x.softplus else dt
        return value if bias is None else value + bias[None, :, None]

    def plain(form: Callable[[Tensor], Tensor]):
        return _method("softplus", lambda a, f, v: form(v))

    return [
        Fault("softplus missing", "softplus", "", plain(lambda v: v)),
        Fault("softplus is ReLU", "softplus", "", plain(torch.relu)),
        Fault("softplus linear above 10", "softplus", "threshold", plain(lambda v: F.softplus(v, threshold=10.0))),
        Fault("softplus linear above 2", "softplus", "threshold", plain(lambda v: F.softplus(v, threshold=2.0))),
        Fault("softplus without threshold", "softplus", "overflow to inf", plain(lambda v: torch.log1p(torch.exp(v)))),
        Fault("softplus as log(1 + exp)", "softplus", "loses very negative input",
              plain(lambda v: torch.where(v > 20, v, torch.log(1 + torch.exp(v.clamp(max=20)))))),
        Fault("softplus is 0 below −8", "softplus", "", _method("softplus", lambda a, f, v: f(v) * (v > -8))),
        Fault("softplus capped at 20", "softplus", "", _method("softplus", lambda a, f, v: f(v).clamp(max=20))),
        Fault("softplus of base 2", "softplus", "", plain(lambda v: torch.log2(1 + torch.exp2(v.clamp(max=60))))),
        Fault("softplus in float16", "softplus", "", _method("softplus", lambda a, f, v: _to(torch.float16)(f(v)))),
        Fault("bias added after softplus", "softplus", "", _method("step_size", bias_after)),
    ]  # fmt: skip


def _decay_and_drive() -> list[Fault]:
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
        return _method("decay", lambda a, f, dt, A: change(f(dt, A), dt[..., None] * A[None, :, None, :], A))

    def drive(change: Callable) -> Callable[[Variant], Scan]:
        return _method("drive", lambda a, f, dt, B, u: change(f(dt, B, u), dt[..., None], B, u[..., None]))

    half, brain = _to(torch.float16), _to(torch.bfloat16)
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


def _recurrence() -> list[Fault]:
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

        return _method("recurrence", recurrence)

    def undecayed(chunk: int) -> Callable[[Variant], Scan]:
        def recurrence(arithmetic, stage, decay, drive, exponent, x):
            decay = decay.clone()
            decay[:, :, chunk::chunk] = 1.0
            return arithmetic._sequential(decay, drive)

        return _method("recurrence", recurrence)

    def stored(dtype: torch.dtype) -> Callable[[Variant], Scan]:
        def recurrence(arithmetic, stage, decay, drive, exponent, x):
            states, h = torch.empty_like(drive), torch.zeros_like(drive[:, :, 0])
            for t in range(drive.shape[2]):
                h = _to(dtype)(decay[:, :, t] * h + drive[:, :, t])
                states[:, :, t] = h
            return states

        return _method("recurrence", recurrence)

    def late(arithmetic, stage, decay, drive, exponent, x):
        shifted = torch.cat([torch.ones_like(decay[:, :, :1]), decay[:, :, :-1]], 2)
        return arithmetic._sequential(shifted, drive)

    found = []
    for chunk in (1, 3, 16, 100, 128, 2048):
        found.append(Fault(f"carry lost every {chunk}", "recurrence", "", chunked(chunk, lambda h, p, t: 0 * h)))
    for chunk in (5, 64, 256):
        found.append(Fault(f"carry doubled every {chunk}", "recurrence", "", chunked(chunk, lambda h, p, t: 2 * h)))
    for chunk in (4, 32, 512):
        found.append(Fault(f"carry stale every {chunk}", "recurrence", "one chunk old", chunked(chunk, lambda h, p, t: p)))
    return [
        *found,
        Fault("carry kept from the first chunk only", "recurrence", "", chunked(16, lambda h, p, t: h if t == 16 else 0 * h)),
        Fault("carry not decayed every 8", "recurrence", "", undecayed(8)),
        Fault("decay of the token before", "recurrence", "a_(t−1) for a_t", _method("recurrence", late)),
        Fault("state in float16", "recurrence", "", stored(torch.float16)),
        Fault("state in bfloat16", "recurrence", "", stored(torch.bfloat16)),
    ]


def _state() -> list[Fault]:
    def requantized(every: str, chunk: int = 16) -> Callable[[Variant], Scan]:
        return lambda variant: Arithmetic(replace(variant, requantize=every, chunk=chunk))

    def rule(change: Callable) -> Callable[[Variant], Scan]:
        return _method("state_quantization", lambda a, f, h, s: change(h, s))

    return [
        Fault("state quantized every token", "state_quantization", "", requantized("token")),
        Fault("state quantized every 16 tokens", "state_quantization", "", requantized("chunk")),
        Fault("state rounded to even", "state_quantization", "", rule(lambda h, s: quantize_state(h, s, EVEN_SATURATE))),
        Fault("state truncated", "state_quantization", "", rule(lambda h, s: torch.trunc(h / s).clamp(-128, 127).to(torch.int8))),
        Fault("state wraps", "state_quantization", "",
              rule(lambda h, s: quantize_state(h, s, RoundingRule("away", overflow="wrap")))),
        Fault("state clipped to ±127", "state_quantization", "",
              rule(lambda h, s: quantize_state(h, s, RoundingRule("away", low=-127)))),
        Fault("state multiplied by its scale", "state_quantization", "", rule(lambda h, s: quantize_state(h * s, torch.ones(())))),
        Fault("state not quantized", "state_quantization", "", rule(lambda h, s: h.float())),
        Fault("state even and symmetric", "state_quantization", "", rule(lambda h, s: quantize_state(h, s, EVEN_SYMMETRIC))),
    ]  # fmt: skip


def _contraction_skip_gate() -> list[Fault]:
    def contraction(change: Callable) -> Callable[[Variant], Scan]:
        def stage(a, f, h, C, start):
            total = change(h, C)
            return total if start is None else start + total

        return _method("contraction", stage)

    def masked(state: int) -> Callable[[Variant], Scan]:
        def change(h, C):
            mask = torch.ones(h.shape[-1], dtype=h.dtype)
            mask[state] = 0
            return (h * C * mask).sum(-1)

        return contraction(change)

    def accumulate_half(h, C):
        total = torch.zeros_like(h[..., 0])
        for n in range(h.shape[-1]):
            total = _to(torch.float16)(total + h[..., n] * C[..., n])
        return total

    def ungated_skip(variant: Variant) -> Scan:
        """(Σ C·h)·silu(z) + D·u."""
        arithmetic = Arithmetic(replace(variant, skip="last"))
        gate, skip = arithmetic.gate, arithmetic.skip
        kept: dict[str, Tensor] = {}

        def keep(D, u):
            kept["skip"] = skip(D, u)
            return 0 * u

        def ungated(value, z):
            return gate(value, z) + kept["skip"] if "skip" in kept else gate(value, z)

        arithmetic.skip, arithmetic.gate = keep, ungated

        def call(x: ScanInputs) -> ScanOutput:
            kept.clear()
            if x.z is None:
                return Arithmetic(variant)(x)
            return arithmetic(x)

        return call

    def skip_of_gated(variant: Variant) -> Scan:
        """g + D·g, with g the gated contraction: D meets the gated value and not u."""

        def call(x: ScanInputs) -> ScanOutput:
            bare = Arithmetic(variant)
            taps = bare.taps(replace(x, D=None))
            y = taps["gate"]
            if x.D is not None:
                y = y + y * bare.dequantize("D", x.D, x)[None, :, None]
            return ScanOutput(bare.output_cast(y), None)

        return call

    def skip(change: Callable) -> Callable[[Variant], Scan]:
        return _method("skip", lambda a, f, D, u: change(D, u))

    def gate(change: Callable) -> Callable[[Variant], Scan]:
        return _method("gate", lambda a, f, v, z: change(v, z))

    return [
        Fault("last state missing", "contraction", "", masked(-1)),
        Fault("first state missing", "contraction", "", masked(0)),
        Fault("states past the 8th missing", "contraction", "", contraction(lambda h, C: (h * C)[..., :8].sum(-1))),
        Fault("C·h in float16", "contraction", "", contraction(lambda h, C: _to(torch.float16)(h * C).sum(-1))),
        Fault("Σ C·h accumulated in float16", "contraction", "", contraction(accumulate_half)),
        Fault("h and C in bfloat16 for Σ C·h", "contraction", "",
              contraction(lambda h, C: (_to(torch.bfloat16)(h) * _to(torch.bfloat16)(C)).sum(-1))),
        Fault("states read in reverse by C", "contraction", "", contraction(lambda h, C: (h.flip(-1) * C).sum(-1))),
        Fault("C squared", "contraction", "", contraction(lambda h, C: (h * C * C).sum(-1))),
        Fault("D missing", "skip", "", skip(lambda D, u: 0 * u)),
        Fault("D of the next channel", "skip", "", skip(lambda D, u: D.roll(1)[None, :, None] * u)),
        Fault("D of the first channel", "skip", "", skip(lambda D, u: D[:1][None, :, None] * u)),
        Fault("D without u", "skip", "", skip(lambda D, u: D[None, :, None] + 0 * u)),
        Fault("D subtracted", "skip", "", skip(lambda D, u: -D[None, :, None] * u)),
        Fault("D·u in bfloat16", "skip", "", skip(lambda D, u: _to(torch.bfloat16)(D[None, :, None] * u))),
        Fault("D applied to the gated value", "skip", "g + D·g", skip_of_gated),
        Fault("gate before D", "gate", "D·u is not gated", ungated_skip),
        Fault("gate missing", "gate", "", gate(lambda v, z: v)),
        Fault("sigmoid for SiLU", "gate", "", gate(lambda v, z: v * torch.sigmoid(z))),
        Fault("ReLU for SiLU", "gate", "", gate(lambda v, z: v * torch.relu(z))),
        Fault("GELU for SiLU", "gate", "", gate(lambda v, z: v * F.gelu(z))),
        Fault("SiLU in bfloat16", "gate", "", gate(lambda v, z: v * _to(torch.bfloat16)(F.silu(z)))),
        Fault("SiLU in float16", "gate", "", gate(lambda v, z: v * _to(torch.float16)(F.silu(z)))),
        Fault("SiLU overflows", "gate", "NaN above 88", gate(lambda v, z: v * z * torch.exp(z.float()) / (1 + torch.exp(z.float())))),
    ]  # fmt: skip


def _cast() -> list[Fault]:
    def cast(change: Callable) -> Callable[[Variant], Scan]:
        return _method("output_cast", lambda a, f, y: change(y.transpose(1, 2)))

    def switch(name: str) -> Callable[[Variant], Scan]:
        return lambda variant: Arithmetic(replace(variant, cast=name))

    def away(y: Tensor) -> Tensor:
        """To nearest, ties away from zero: a nudge outwards before the honest rounding."""
        return to_half(y.double() * (1 + 2.0**-40))

    return [
        Fault("y truncated", "output_cast", "towards zero", switch("truncate")),
        Fault("y in bfloat16", "output_cast", "", switch("bfloat16")),
        Fault("y returned as bfloat16", "output_cast", "", cast(lambda y: y.bfloat16())),
        Fault("y saturates", "output_cast", "65504 where inf is due", switch("saturate")),
        Fault("y rounded with ties away", "output_cast", "", cast(away)),
        Fault("y flushes subnormals", "output_cast", "", cast(lambda y: torch.where(y.abs() < 2.0**-14, 0 * y, y).half())),
        Fault("y rounded down", "output_cast", "", cast(lambda y: torch.where(
            y.half().to(y.dtype) > y, torch.nextafter(y.half(), torch.full_like(y, -float("inf")).half()), y.half()))),
    ]  # fmt: skip


def _layout() -> list[Fault]:
    def group(change: Callable) -> Callable[[Variant], Scan]:
        return _method("per_channel", lambda a, f, v, x: change(v, x))

    def mapped(name: str, change: Callable) -> Callable[[Variant], Scan]:
        return _around(lambda x: replace(x, **{name: getattr(x, name).map(change)}) if getattr(x, name) is not None else x)

    def tail(multiple: int, change: Callable) -> Callable[[Variant], Scan]:
        def output(o: ScanOutput, x: ScanInputs) -> ScanOutput:
            whole = x.length // multiple * multiple
            y = o.y.clone()
            if whole < x.length:
                y[:, whole:] = change(y, whole)
            return replace(o, y=y)

        return _around(None, output)

    def previous(y: Tensor, whole: int) -> Tensor:
        return y[:, whole - 1 : whole] if whole else 0 * y[:, :1]

    def interleaved(v, x):
        return v.transpose(2, 3)[:, torch.arange(x.channels) % x.groups]

    def y(change: Callable) -> Callable[[Variant], Scan]:
        return _around(None, lambda o, x: replace(o, y=change(o.y)))

    return [
        Fault("groups exchanged", "layout", "", group(lambda v, x: v.transpose(2, 3).flip(1).repeat_interleave(x.channels // x.groups, 1))),
        Fault("groups interleaved", "layout", "c mod g", group(interleaved)),
        Fault("first group for all", "layout", "", group(lambda v, x: v.transpose(2, 3)[:, :1].expand(-1, x.channels, -1, -1))),
        Fault("batch items exchanged", "layout", "", y(lambda v: v.flip(0))),
        Fault("B of the next batch item", "layout", "", mapped("B", lambda v: v.roll(1, 0))),
        Fault("channels exchanged", "layout", "", y(lambda v: v.roll(1, 2))),
        Fault("z of the next channel", "layout", "", mapped("z", lambda v: v.roll(1, 1))),
        Fault("bias of the next channel", "layout", "", mapped("dt_bias", lambda v: v.roll(1, 0))),
        Fault("odd and even channels exchanged", "layout", "", y(lambda v: torch.cat([v[..., 1::2], v[..., 0::2]], 2))),
        Fault("tail past a multiple of 4 is zero", "layout", "", tail(4, lambda v, whole: 0 * v[:, whole:])),
        Fault("tail past a multiple of 32 is zero", "layout", "", tail(32, lambda v, whole: 0 * v[:, whole:])),
        Fault("tail past a multiple of 8 repeats", "layout", "", tail(8, previous)),
        Fault("last token of an odd length doubled", "layout", "", tail(2, lambda v, whole: 2 * v[:, whole:])),
        Fault("time reversed", "layout", "", y(lambda v: v.flip(1))),
        Fault("u one token late", "layout", "", mapped("u", lambda v: v.roll(1, 2))),
    ]  # fmt: skip


def _determinism() -> list[Fault]:
    def counting(change: Callable) -> Callable[[Variant], Scan]:
        def scan(variant: Variant) -> Scan:
            arithmetic, calls, last = Arithmetic(variant), [0], [None]

            def call(x: ScanInputs) -> ScanOutput:
                output = arithmetic(x)
                calls[0] += 1
                y = change(output.y, calls[0], last[0])
                last[0] = output.y
                return replace(output, y=y)

            return call

        return scan

    generator = torch.Generator().manual_seed(7)
    return [
        Fault("every second call a little larger", "determinism", "",
              counting(lambda y, n, last: y * (1 + 2.0**-9) if n % 2 else y)),
        Fault("every seventh call wrong", "determinism", "", counting(lambda y, n, last: y + 1 if n % 7 == 0 else y)),
        Fault("noise of one ulp", "determinism", "",
              counting(lambda y, n, last: y * (1 + 2.0**-10 * torch.randint(0, 2, y.shape, generator=generator)).half())),
        Fault("the last call leaks", "determinism", "",
              counting(lambda y, n, last: y if last is None else y + 0.01 * last.flatten()[:1].nan_to_num(0, 0, 0))),
        Fault("larger in a larger batch", "determinism", "",
              _around(None, lambda o, x: replace(o, y=o.y * (1 + 2.0**-8 * (x.batch - 1))))),
        Fault("mean of the batch leaks", "determinism", "",
              _around(None, lambda o, x: replace(o, y=o.y + (0.01 * (o.y - o.y.float().mean(0).half())).nan_to_num(0, 0, 0)))),
    ]  # fmt: skip


def _own_verdicts() -> list[Fault]:
    def raising(x: ScanInputs) -> ScanInputs:
        raise RuntimeError("no kernel image is available")

    def odd(x: ScanInputs) -> ScanInputs:
        if x.length % 4 == 3:
            raise RuntimeError(f"misaligned length {x.length}")
        return x

    def endless(x: ScanInputs) -> ScanInputs:
        while x.length > 4:
            time.sleep(0.001)
        return x

    def writing(x: ScanInputs) -> ScanInputs:
        x.u.values.clamp_(min=-127, max=100)
        return x

    return [
        Fault("raises always", None, "", _around(raising), "error"),
        Fault("raises at some lengths", None, "", _around(odd), "error"),
        Fault("hangs past four tokens", None, "", _around(endless), "timeout"),
        Fault("returns (b, d, l)", "layout", "", _around(None, lambda o, x: replace(o, y=o.y.transpose(1, 2)[..., None])), "invalid output"),
        Fault("returns float32", "output_cast", "", _around(None, lambda o, x: replace(o, y=o.y.float())), "invalid output"),
        Fault("returns nothing", None, "", _around(None, lambda o, x: None), "invalid output"),
        Fault("writes into u", None, "", _around(writing), "mutates inputs"),
    ]  # fmt: skip


def faults() -> dict[str, Fault]:
    """Every planted fault by name."""
    found = [
        *_dequantization(), *_softplus(), *_decay_and_drive(), *_recurrence(), *_state(), *_contraction_skip_gate(),
        *_cast(), *_layout(), *_determinism(), *_own_verdicts(),
    ]  # fmt: skip
    return {fault.name: fault for fault in found}
