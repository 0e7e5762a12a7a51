"""Planted faults of the contraction, the skip, the gate and the output cast."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ...scans import ScanInputs, ScanOutput
from ...scans.oracle import to_half
from ...scans.variants import Arithmetic, Variant
from .plant import Fault, Scan, method, to

__all__ = ["cast_faults", "contraction_skip_gate_faults"]


def contraction_skip_gate_faults() -> list[Fault]:
    def contraction(change: Callable) -> Callable[[Variant], Scan]:
        def stage(a, f, h, C, start):
            total = change(h, C)
            return total if start is None else start + total

        return method("contraction", stage)

    def masked(state: int) -> Callable[[Variant], Scan]:
        def change(h, C):
            mask = torch.ones(h.shape[-1], dtype=h.dtype)
            mask[state] = 0
            return (h * C * mask).sum(-1)

        return contraction(change)

    def accumulate_half(h, C):
        total = torch.zeros_like(h[..., 0])
        for n in range(h.shape[-1]):
            total = to(torch.float16)(total + h[..., n] * C[..., n])
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
        return method("skip", lambda a, f, D, u: change(D, u))

    def gate(change: Callable) -> Callable[[Variant], Scan]:
        return method("gate", lambda a, f, v, z: change(v, z))

    return [
        Fault("last state missing", "contraction", "", masked(-1)),
        Fault("first state missing", "contraction", "", masked(0)),
        Fault("states past the 8th missing", "contraction", "", contraction(lambda h, C: (h * C)[..., :8].sum(-1))),
        Fault("C·h in float16", "contraction", "", contraction(lambda h, C: to(torch.float16)(h * C).sum(-1))),
        Fault("Σ C·h accumulated in float16", "contraction", "", contraction(accumulate_half)),
        Fault(
            "h and C in bfloat16 for Σ C·h",
            "contraction",
            "",
            contraction(lambda h, C: (to(torch.bfloat16)(h) * to(torch.bfloat16)(C)).sum(-1)),
        ),
        Fault("states read in reverse by C", "contraction", "", contraction(lambda h, C: (h.flip(-1) * C).sum(-1))),
        Fault("C squared", "contraction", "", contraction(lambda h, C: (h * C * C).sum(-1))),
        Fault("D missing", "skip", "", skip(lambda D, u: 0 * u)),
        Fault("D of the next channel", "skip", "", skip(lambda D, u: D.roll(1)[None, :, None] * u)),
        Fault("D of the first channel", "skip", "", skip(lambda D, u: D[:1][None, :, None] * u)),
        Fault("D without u", "skip", "", skip(lambda D, u: D[None, :, None] + 0 * u)),
        Fault("D subtracted", "skip", "", skip(lambda D, u: -D[None, :, None] * u)),
        Fault("D·u in bfloat16", "skip", "", skip(lambda D, u: to(torch.bfloat16)(D[None, :, None] * u))),
        Fault("D applied to the gated value", "skip", "g + D·g", skip_of_gated),
        Fault("gate before D", "gate", "D·u is not gated", ungated_skip),
        Fault("gate missing", "gate", "", gate(lambda v, z: v)),
        Fault("sigmoid for SiLU", "gate", "", gate(lambda v, z: v * torch.sigmoid(z))),
        Fault("ReLU for SiLU", "gate", "", gate(lambda v, z: v * torch.relu(z))),
        Fault("GELU for SiLU", "gate", "", gate(lambda v, z: v * F.gelu(z))),
        Fault("SiLU in bfloat16", "gate", "", gate(lambda v, z: v * to(torch.bfloat16)(F.silu(z)))),
        Fault("SiLU in float16", "gate", "", gate(lambda v, z: v * to(torch.float16)(F.silu(z)))),
        Fault(
            "SiLU overflows",
            "gate",
            "NaN above 88",
            gate(lambda v, z: v * z * torch.exp(z.float()) / (1 + torch.exp(z.float()))),
        ),
    ]


def cast_faults() -> list[Fault]:
    def cast(change: Callable) -> Callable[[Variant], Scan]:
        return method("output_cast", lambda a, f, y: change(y.transpose(1, 2)))

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
        Fault(
            "y flushes subnormals", "output_cast", "", cast(lambda y: torch.where(y.abs() < 2.0**-14, 0 * y, y).half())
        ),
        Fault(
            "y rounded down",
            "output_cast",
            "",
            cast(
                lambda y: torch.where(
                    y.half().to(y.dtype) > y,
                    torch.nextafter(y.half(), torch.full_like(y, -float("inf")).half()),
                    y.half(),
                )
            ),
        ),
    ]
