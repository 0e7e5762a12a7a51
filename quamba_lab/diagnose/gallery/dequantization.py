"""Planted faults of the eight dequantizations."""

from __future__ import annotations

import torch
from torch import Tensor

from .plant import Fault, dequantized, method, to

__all__ = ["dequantization_faults"]


def low_byte(x: Tensor) -> Tensor:
    return torch.remainder(x, 256)


def dequantization_faults() -> list[Fault]:
    found = []
    names = {"u": "u", "dt": "dt", "B": "B", "C": "C", "z": "z", "A_log": "A", "D": "D", "dt_bias": "dt_bias"}
    others = {"u": "dt", "dt": "B", "B": "C", "C": "B", "z": "u", "A_log": "dt", "D": "u", "dt_bias": "dt"}
    for operand, name in names.items():
        operation = f"dequantize.{name}"
        found += [
            Fault(
                f"scale of {name} missing",
                operation,
                "codes used as values",
                dequantized(operand, lambda v, q, s, x: q),
            ),
            Fault(
                f"scale of {name} twice",
                operation,
                "multiplied by the scale again",
                dequantized(operand, lambda v, q, s, x: v * s),
            ),
            Fault(
                f"{name} clipped to ±127",
                operation,
                "−128 is legal and becomes −127",
                dequantized(operand, lambda v, q, s, x: q.clamp(min=-127) * s),
            ),
            Fault(
                f"{name} with the scale of {others[operand]}",
                operation,
                "a neighbour's scale",
                dequantized(operand, lambda v, q, s, x, o=others[operand]: q * getattr(x, o).scale.to(q.dtype)),
            ),
        ]
    for operand in ("u", "B", "z", "D"):
        found.append(Fault(f"{operand} read as unsigned", f"dequantize.{operand}", "−1 becomes 255",
                           dequantized(operand, lambda v, q, s, x: low_byte(q) * s)))  # fmt: skip
    for operand, dtype in (("u", torch.bfloat16), ("B", torch.bfloat16), ("C", torch.float16), ("D", torch.bfloat16),
                           ("dt", torch.bfloat16)):  # fmt: skip
        found.append(Fault(f"{operand} in {str(dtype)[6:]}", f"dequantize.{operand}", "dequantized in low precision",
                           dequantized(operand, lambda v, q, s, x, t=dtype: to(t)(v))))  # fmt: skip
    found += [
        Fault(
            "zero point of 1 in C", "dequantize.C", "codes shifted", dequantized("C", lambda v, q, s, x: (q - 1) * s)
        ),
        Fault("bias left out", "dequantize.dt_bias", "", dequantized("dt_bias", lambda v, q, s, x: v * 0)),
        Fault("bias subtracted", "dequantize.dt_bias", "", dequantized("dt_bias", lambda v, q, s, x: -v)),
        Fault("A without its minus", "dequantize.A", "decays grow", method("rates", lambda a, f, v: -f(v))),
        Fault("A without exp", "dequantize.A", "A = −A_log", method("rates", lambda a, f, v: -v)),
        Fault("A in bfloat16", "dequantize.A", "", method("rates", lambda a, f, v: to(torch.bfloat16)(f(v)))),
    ]
    return found
