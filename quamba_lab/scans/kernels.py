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

__all__ = ["ScanOperator", "addresses", "check_scales", "flatten", "outputs"]

_OPTIONAL = ("z", "D", "dt_bias")
_SCHEMA = "({operands}, {scales}, Tensor? state_scale, bool softplus) -> (Tensor, Tensor)".format(
    operands=", ".join(f"Tensor{'?' if name in _OPTIONAL else ''} {name}" for name in OPERANDS),
    scales=", ".join(f"Tensor? {name}_scale" for name in OPERANDS),
)
_LIBRARY = torch.library.Library("quamba_lab", "FRAGMENT")
_CHECKED: dict[tuple[int, ...], tuple[list[int], list[weakref.ref]]] = {}
"""Versions of the scales that were checked together, by device and identity; an entry goes when one of them does."""


def flatten(x: ScanInputs) -> tuple:
    """The operands, contiguous, then their scales, the state's scale and the softplus flag: the operators' order."""
    u, dt, B, C, z, A_log, D, bias = x.u, x.dt, x.B, x.C, x.z, x.A_log, x.D, x.dt_bias
    z_values, z_scale = (None, None) if z is None else (z.values.contiguous(), z.scale)
    D_values, D_scale = (None, None) if D is None else (D.values.contiguous(), D.scale)
    bias_values, bias_scale = (None, None) if bias is None else (bias.values.contiguous(), bias.scale)
    return (
        u.values.contiguous(), dt.values.contiguous(), B.values.contiguous(), C.values.contiguous(), z_values,
        A_log.values.contiguous(), D_values, bias_values,
        u.scale, dt.scale, B.scale, C.scale, z_scale, A_log.scale, D_scale, bias_scale,
        x.state_scale, x.softplus,
    )  # fmt: skip


def check_scales(operands: tuple) -> None:
    """Raise :class:`ScanError` unless every scale in ``operands`` is one finite, positive float32 on u's device.

    ``operands``: as :func:`flatten` orders them.  Values are read once per set of tensors and their versions, so a
    model that keeps its scales never synchronizes for them again.  Raises :class:`ScanError` during CUDA graph capture
    for a set that was never seen: run once before.
    """
    scales = operands[8:17]
    key = (operands[0].get_device(), *map(id, scales))
    versions = [0 if s is None else s._version for s in scales]
    seen = _CHECKED.get(key)
    if seen is not None and seen[0] == versions:
        return
    device = operands[0].device
    for name, scale in zip((*OPERANDS, "state"), scales, strict=True):
        if scale is None:
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
    watchers = [weakref.ref(s, lambda _: _CHECKED.pop(key, None)) for s in scales if s is not None]
    _CHECKED[key] = versions, watchers


def outputs(
    u: Tensor, A_log: Tensor, state_scale: Tensor | None, sequence_last: bool = False
) -> tuple[Tensor, Tensor]:
    """Uninitialized y, float16 (b, l, d), and last state (b, d, n): int8 codes when it has a scale, else float32.

    ``sequence_last``: y as (b, d, l) instead, for a kernel that leaves the transposition to torch.
    """
    (b, d, l), device = u.shape, u.device  # torch.empty: new_empty takes the host three times as long
    y = torch.empty((b, d, l) if sequence_last else (b, l, d), dtype=torch.float16, device=device)
    kind = torch.float32 if state_scale is None else torch.int8
    return y, torch.empty((b, d, A_log.shape[1]), dtype=kind, device=device)


def addresses(operands: tuple) -> list[int]:
    """Where the operands and scales of ``operands`` lie, in the order of :func:`flatten`; 0 for what is absent."""
    return [0 if t is None else t.data_ptr() for t in operands[:17]]


def _fake(*args):
    return outputs(args[OPERANDS.index("u")], args[OPERANDS.index("A_log")], args[-2])


class ScanOperator:
    """A scan with a host build and a CUDA build behind one operator, ``torch.ops.quamba_lab.<name>``.

    ``cpu``, ``cuda``: functions of the flattened operands, returning (y, last state).
    """

    def __init__(self, name: str, cpu: Callable, cuda: Callable):
        self.name = name
        self._cpu, self._cuda = cpu, cuda
        _LIBRARY.define(name + _SCHEMA)
        _LIBRARY.impl(name, cpu, "CPU")
        _LIBRARY.impl(name, cuda, "CUDA")
        torch.library.register_fake(f"quamba_lab::{name}", _fake, lib=_LIBRARY)
        self._operator = getattr(torch.ops.quamba_lab, name).default

    def __call__(self, x: ScanInputs) -> tuple[Tensor, Tensor]:
        """Run on checked shapes.  Raises :class:`ScanError` for bad scales and for a device without a build."""
        operands = flatten(x)
        if torch.compiler.is_compiling():
            return self._operator(*operands)
        check_scales(operands)
        u = operands[0]
        if u.is_cuda:
            return self._cuda(*operands)
        if u.is_cpu:
            return self._cpu(*operands)
        raise ScanError(f"{self.name} has no build for {u.device}: move the inputs to cpu or cuda")
