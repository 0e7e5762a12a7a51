"""Scans written in csrc as ``torch.library`` operators: one schema, and the tensor's device picks the build.

    scan = ScanOperator("published_scan", cpu=host_function, cuda=device_function)
    y, last_state = scan(inputs)            # ScanInputs, checked

Both functions take the flattened operands (see ``OPERANDS``, then the scales, ``state_scale`` and ``softplus``) and
return y, float16 (b, l, d), and the last state.  Eager calls go to the build directly; under ``torch.compile`` they go
through ``torch.ops.quamba_lab``, whose fake kernel tells the compiler shapes and dtypes.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable

import torch
from torch import Tensor

from ..quantized import check_scale
from .types import OPERANDS, ScanError, ScanInputs

__all__ = ["ScanOperator", "check_scales", "flatten", "outputs"]

_OPTIONAL = ("z", "D", "dt_bias")
_SCHEMA = "({operands}, {scales}, Tensor? state_scale, bool softplus) -> (Tensor, Tensor)".format(
    operands=", ".join(f"Tensor{'?' if name in _OPTIONAL else ''} {name}" for name in OPERANDS),
    scales=", ".join(f"Tensor? {name}_scale" for name in OPERANDS),
)
_LIBRARY = torch.library.Library("quamba_lab", "FRAGMENT")
_CHECKED: dict[int, tuple[weakref.ref, int]] = {}


def check_scales(x: ScanInputs) -> None:
    """Raise :class:`ScanError` unless every scale is one finite, positive float32 on the operands' device.

    A scale's value is read once per tensor and version, so a model that keeps its scales never synchronizes for it
    again.  Raises :class:`ScanError` during CUDA graph capture of a scale that was never seen: run once before.
    """
    device = x.u.values.device
    for name in (*OPERANDS, "state"):
        operand = x.state_scale if name == "state" else getattr(x, name)
        scale = operand if name == "state" or operand is None else operand.scale
        if scale is None:
            continue
        seen = _CHECKED.get(id(scale))
        if seen is not None and seen[0]() is scale and seen[1] == scale._version:
            if scale.device != device:
                raise ScanError(f"the scale of {name} is on {scale.device} and u on {device}: move them with .to()")
            continue
        if not isinstance(scale, Tensor) or scale.device != device:
            where = getattr(scale, "device", type(scale).__name__)
            raise ScanError(f"the scale of {name} is on {where} and u on {device}: move them with .to()")
        if device.type == "cuda" and torch.cuda.is_current_stream_capturing():
            raise ScanError(f"the scale of {name} is new during CUDA graph capture: run the scan once before capturing")
        try:
            check_scale(scale, f"the scale of {name}")
        except ValueError as error:
            raise ScanError(str(error)) from None
        key = id(scale)
        _CHECKED[key] = (weakref.ref(scale, lambda _, key=key: _CHECKED.pop(key, None)), scale._version)


def flatten(x: ScanInputs) -> tuple:
    """The operands, contiguous, then their scales, the state's scale and the softplus flag: the operators' order."""
    operands = (x.u, x.dt, x.B, x.C, x.z, x.A_log, x.D, x.dt_bias)
    values = [None if q is None else q.values.contiguous() for q in operands]
    scales = [None if q is None else q.scale for q in operands]
    return (*values, *scales, x.state_scale, x.softplus)


def outputs(u: Tensor, A_log: Tensor, state_scale: Tensor | None) -> tuple[Tensor, Tensor]:
    """Uninitialized y, float16 (b, l, d), and last state (b, d, n): int8 codes when it has a scale, else float32."""
    b, d, l = u.shape
    y = torch.empty((b, l, d), dtype=torch.float16, device=u.device)
    dtype = torch.float32 if state_scale is None else torch.int8
    return y, torch.empty((b, d, A_log.shape[1]), dtype=dtype, device=u.device)


def _fake(*args):
    return outputs(args[OPERANDS.index("u")], args[OPERANDS.index("A_log")], args[-2])


class ScanOperator:
    """A scan with a host build and a CUDA build behind one operator, ``torch.ops.quamba_lab.<name>``.

    ``cpu``, ``cuda``: functions of the flattened operands, returning (y, last state).
    """

    def __init__(self, name: str, cpu: Callable, cuda: Callable):
        self.name = name
        self._implementations = {"cpu": cpu, "cuda": cuda}
        _LIBRARY.define(name + _SCHEMA)
        _LIBRARY.impl(name, cpu, "CPU")
        _LIBRARY.impl(name, cuda, "CUDA")
        torch.library.register_fake(f"quamba_lab::{name}", _fake, lib=_LIBRARY)
        self._operator = getattr(torch.ops.quamba_lab, name).default

    def __call__(self, x: ScanInputs) -> tuple[Tensor, Tensor]:
        """Run on checked shapes.  Raises :class:`ScanError` for bad scales and for a device without a build."""
        if torch.compiler.is_compiling():
            return self._operator(*flatten(x))
        check_scales(x)
        device = x.u.values.device
        implementation = self._implementations.get(device.type)
        if implementation is None:
            raise ScanError(f"{self.name} has no build for {device}: move the inputs to cpu or cuda")
        return implementation(*flatten(x))
