"""How a fault is planted: one stage of an honest scan is replaced, all others stay as they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ...scans import ScanInputs, ScanOutput
from ...scans.variants import Arithmetic, Variant

__all__ = ["Fault", "Scan", "around", "dequantized", "method", "to"]

Scan = Callable[[ScanInputs], ScanOutput]


@dataclass(frozen=True)
class Fault:
    """One planted fault.  ``operation``: what a diagnosis must answer; ``verdict``: ``fault``, or a verdict of its own
    kind (``error``, ``timeout``, ``invalid output``, ``mutates inputs``); ``scan(variant)``: the faulty scan."""

    name: str
    operation: str | None
    summary: str
    scan: Callable[[Variant], Scan]
    verdict: str = "fault"


def to(dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    return lambda x: x.to(dtype).to(x.dtype)


def method(name: str, change: Callable) -> Callable[[Variant], Scan]:
    """A scan whose stage ``name`` is ``change(arithmetic, honest stage, *arguments)``."""

    def scan(variant: Variant) -> Scan:
        arithmetic = Arithmetic(variant)
        stage = getattr(arithmetic, name)
        setattr(arithmetic, name, lambda *arguments: change(arithmetic, stage, *arguments))

        def planted(x: ScanInputs) -> ScanOutput:
            return arithmetic(x)

        planted.__qualname__ = f"<an honest scan with another {name}>"  # what a diagnosis calls it
        return planted

    return scan


def dequantized(operand: str, change: Callable) -> Callable[[Variant], Scan]:
    """A scan that dequantizes one operand as ``change(value, codes, scale, inputs)``."""

    def dequantize(arithmetic, stage, name, q, x):
        value = stage(name, q, x)
        return change(value, q.values.to(value.dtype), q.scale.to(value.dtype), x) if name == operand else value

    return method("dequantize", dequantize)


def around(change_inputs: Callable | None = None, change_output: Callable | None = None) -> Callable[[Variant], Scan]:
    """A scan that is honest about changed inputs, or whose output is changed."""

    def scan(variant: Variant) -> Scan:
        arithmetic = Arithmetic(variant)

        def call(x: ScanInputs) -> ScanOutput:
            output = arithmetic(x if change_inputs is None else change_inputs(x))
            return output if change_output is None else change_output(output, x)

        return call

    return scan
