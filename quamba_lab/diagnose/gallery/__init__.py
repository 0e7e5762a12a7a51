"""A gallery of scans to learn from: honest ones that differ by free choices, and faulty ones with one planted fault
each.

    honest()                    name -> Variant: sequential, trees, blocks, matrix form, fast math, FMA, FP64 ...
    other_hands()               name -> scan: honest ones that no Variant reaches
    faults()                    name -> Fault(operation, summary, ...): one stage of an honest scan replaced
    faults()["D missing"].scan(variant)      the fault planted into any honest variant

``python -m quamba_lab.diagnose.gallery`` plants every fault, diagnoses them all and prints the table of the operation
named against the operation planted (Markdown).
"""

from __future__ import annotations

from dataclasses import replace

import torch

from ...scans.variants import Variant
from .dequantization import dequantization_faults
from .inner import decay_and_drive_faults, recurrence_faults, softplus_faults, state_faults
from .other_hands import other_hands
from .outer import cast_faults, contraction_skip_gate_faults
from .plant import Fault
from .subtle import subtle_faults
from .whole import determinism_faults, layout_faults, own_verdict_faults

__all__ = ["BASES", "Fault", "faults", "honest", "other_hands"]

PUBLISHED_LIKE = Variant(
    association="B*(dt*u)", exp="fast", softplus="log1p", fma=True, order="block", contraction="ascending",
    skip="first", gate="quotient",
)  # fmt: skip

BASES: dict[str, Variant] = {
    "torch fp32": Variant(),
    "block scan, fast math": PUBLISHED_LIKE,
    "tree of 16": Variant(order="tree", chunk=16, association="(B*u)*dt", contraction="pairwise", gate="sigmoid"),
    "tree of 37": Variant(
        order="tree", chunk=37, exp="exp2", softplus="stable", skip="first", contraction="descending"
    ),
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


def faults() -> dict[str, Fault]:
    """Every planted fault by name."""
    found = [
        *dequantization_faults(), *softplus_faults(), *decay_and_drive_faults(), *recurrence_faults(), *state_faults(),
        *contraction_skip_gate_faults(), *cast_faults(), *layout_faults(), *determinism_faults(), *own_verdict_faults(),
        *subtle_faults(),
    ]  # fmt: skip
    return {fault.name: fault for fault in found}
