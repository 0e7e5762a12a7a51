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

from ..quantized import Quantized, check_scale
from .types import OPERANDS, ScanError, ScanInputs

__all__ = [
    "ScanOperator", "addresses", "check_scales", "checked_addresses", "checked_operands", "empty_cuda", "flatten",
    "outputs",
]  # fmt: skip

_OPTIONAL = ("z", "D", "dt_bias")
_SCHEMA = "({operands}, {scales}, Tensor? state_scale, bool softplus) -> (Tensor, Tensor)".format(
    operands=", ".join(f"Tensor{'?' if name in _OPTIONAL else ''} {name}" for name in OPERANDS),
    scales=", ".join(f"Tensor? {name}_scale" for name in OPERANDS),
)
_LIBRARY = torch.library.Library("quamba_lab", "FRAGMENT")
_ADDRESS = Tensor.data_ptr
_CHECKED: dict[tuple[int, ...], tuple[tuple, list[weakref.ref]]] = {}
"""u's device, the addresses and the versions of scales that were checked together, by the identities of the scales; an
entry goes when one of them does."""


def _tensor_guards() -> Callable | None:
    """torch.compile's guards on tensors; None in a torch whose guards are not what is used here."""
    try:
        guards = torch._C._dynamo.guards.TensorGuards
        seen = torch.empty(1, 2, 3, dtype=torch.int8)
        alike = guards(seen, dynamic_dims_sizes=[[1, 2, 3]], dynamic_dims_strides=[[None, 3, 1]]).check
        others = seen.float(), seen[..., :2], seen.reshape(1, 3, 2).transpose(1, 2), seen.to("meta")
        return guards if alike(seen) and not any(map(alike, others)) else None
    except (AttributeError, RuntimeError, TypeError):
        return None


_Guards = _tensor_guards()
_PASSED: dict[tuple, tuple[Callable[..., bool], tuple[int, ...]]] = {}
"""By u's shape and device: whether operands look like the latest ones that passed, and the sizes of those."""
_NONE_PASSED = (lambda *_: False), ()
_MOST_PASSED = 4096


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


def checked_operands(x: ScanInputs) -> tuple[tuple, tuple[int, int, int, int, int]]:
    """:func:`flatten`, and (b, d, l, n, g) as ``x.check_shapes()`` returns them; raises what that raises.

    Operands of the types, dtypes, device, shapes and strides of some that passed need no second look: torch.compile's
    own guards compare eight tensors in half a microsecond.  What is remembered holds no tensor.
    """
    u, dt, B, C, z, A_log, D, bias = x.u, x.dt, x.B, x.C, x.z, x.A_log, x.D, x.dt_bias
    if not (
        type(u) is type(dt) is type(B) is type(C) is type(z) is type(A_log) is type(D) is type(bias) is Quantized
        and _Guards is not None and not torch.compiler.is_compiling()
    ):  # fmt: skip
        sizes = x.check_shapes()
        return flatten(x), sizes
    values = u.values, dt.values, B.values, C.values, z.values, A_log.values, D.values, bias.values
    key = values[0].shape, values[0].get_device()
    alike, sizes = _PASSED.get(key, _NONE_PASSED)
    if alike(*values):
        return (
            *values, u.scale, dt.scale, B.scale, C.scale, z.scale, A_log.scale, D.scale, bias.scale, x.state_scale,
            x.softplus,
        ), sizes  # fmt: skip
    sizes = x.check_shapes()
    operands = flatten(x)
    values = operands[:8]
    if not alike(*values):  # else only some of them were not contiguous
        steps = [[None if size == 1 else step for size, step in zip(v.shape, v.stride(), strict=True)] for v in values]
        guards = _Guards(*values, dynamic_dims_sizes=[list(v.shape) for v in values], dynamic_dims_strides=steps)
        if len(_PASSED) >= _MOST_PASSED:
            _PASSED.clear()
        _PASSED[key] = guards.check, sizes
    return operands, sizes


def check_scales(operands: tuple) -> None:
    """Raise :class:`ScanError` unless every scale in ``operands`` is one finite, positive float32 on u's device.

    ``operands``: as :func:`flatten` orders them.  Values are read once per set of tensors, their places and their
    versions, so a model that keeps its scales never synchronizes for them again.  Raises :class:`ScanError` during
    CUDA graph capture for a set that was never seen: run once before.
    """
    checked_addresses(operands)


def checked_addresses(operands: tuple) -> tuple[int, ...]:
    """The :func:`addresses`, after :func:`check_scales`: it needs them to know whether a scale was exchanged."""
    u, dt, B, C, z, A, D, bias, state = scales = operands[8:17]
    key = id(u), id(dt), id(B), id(C), id(z), id(A), id(D), id(bias), id(state)
    try:
        at = addresses(operands)
        known = (
            operands[0].get_device(), at[8:], u._version, dt._version, B._version, C._version, z._version, A._version,
            D._version, bias._version, 0 if state is None else state._version,
        )  # fmt: skip
    except (AttributeError, RuntimeError):  # an absent operand, an inference tensor, or a scale that is no tensor
        at, known = _known(operands)
    seen = _CHECKED.get(key)
    if seen is None or seen[0] != known:
        _check_values(operands[0].device, scales)
        watchers = [weakref.ref(s, lambda _: _CHECKED.pop(key, None)) for s in scales if s is not None]
        _CHECKED[key] = known, watchers
    return at


def _known(operands: tuple) -> tuple[tuple[int, ...], tuple]:
    """The addresses, and by what to know the scales again; inference tensors count no versions."""
    scales = operands[8:17]
    if not all(s is None or isinstance(s, Tensor) for s in scales):
        _check_values(operands[0].device, scales)  # names the one that is none
    at = addresses(operands)
    versions = [0 if s is None or s.is_inference() else s._version for s in scales]
    return at, (operands[0].get_device(), at[8:], *versions)


def _check_values(device: torch.device, scales: tuple) -> None:
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


def _empty_cuda(shape: tuple[int, ...], strides: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return torch.empty_strided(shape, strides, dtype=dtype, device="cuda")


empty_cuda = getattr(getattr(getattr(torch._C, "_dynamo", None), "guards", None), "_empty_strided_cuda", _empty_cuda)
"""``empty_cuda(shape, strides, dtype)``: uninitialized, on the current CUDA device, straight from the allocator, as the
code that torch.compile writes does it: torch.empty takes the host twice as long."""


def outputs(
    u: Tensor, A_log: Tensor, state_scale: Tensor | None, sequence_last: bool = False
) -> tuple[Tensor, Tensor]:
    """Uninitialized y, float16 (b, l, d), and last state (b, d, n): int8 codes when it has a scale, else float32.

    ``sequence_last``: y as (b, d, l) instead, for a kernel that leaves the transposition to torch.
    """
    (b, d, l), n, device = u.shape, A_log.shape[1], u.get_device()
    rows, columns = (d, l) if sequence_last else (l, d)
    kind = torch.float32 if state_scale is None else torch.int8
    if device >= 0 and device == torch._C._cuda_getDevice():
        y = empty_cuda((b, rows, columns), (rows * columns, columns, 1), torch.float16)
        return y, empty_cuda((b, d, n), (d * n, n, 1), kind)
    return _outputs_on(u.device, (b, rows, columns), (b, d, n), kind)


def _outputs_on(device: torch.device, y: tuple[int, ...], state: tuple[int, ...], kind: torch.dtype):
    # torch.empty: new_empty takes the host three times as long
    return torch.empty(y, dtype=torch.float16, device=device), torch.empty(state, dtype=kind, device=device)


def addresses(operands: tuple) -> tuple[int, ...]:
    """Where the operands and scales of ``operands`` lie, in the order of :func:`flatten`; 0 for what is absent."""
    state_scale = operands[16]
    try:
        return (*map(_ADDRESS, operands[:16]), 0 if state_scale is None else state_scale.data_ptr())
    except TypeError:  # no z, D or dt_bias
        return tuple([0 if t is None else t.data_ptr() for t in operands[:17]])


def _fake(*args):
    u, A_log = args[OPERANDS.index("u")], args[OPERANDS.index("A_log")]
    (b, d, l), n = u.shape, A_log.shape[1]
    return _outputs_on(u.device, (b, l, d), (b, d, n), torch.float32 if args[-2] is None else torch.int8)


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
