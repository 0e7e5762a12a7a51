"""The `folded` scan on a CPU (csrc/folded_cpu.cpp): tables of decays in FP64, exact integer B, C and u, one scale last.

Built for the widest vectors of this CPU (AVX-512, AVX2 or plain C++; every build gives the same bits) and run by as
many threads as torch uses; the threads, the batch and later tokens change no bit of y.
"""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from . import build
from .oracle import quantize_state
from .types import ScanInputs, ScanOutput

__all__ = ["folded_cpu", "folded_cpu_taps"]

_SCALED = ("u", "dt", "B", "C", "z", "A_log", "D", "dt_bias")  # the order of `Scales` in csrc/folded_cpu.cpp
_TAPS = ("softplus", "decay", "drive", "recurrence", "contraction", "skip", "gate")  # the order of `Taps`


def _run(x: ScanInputs, initial_state: Tensor | None, taps: dict[str, Tensor] | None, isa: str | None) -> ScanOutput:
    """Check, call the library, and give the last state its unit.  ``taps``: tensors to fill, by name."""
    x.check()
    library = build.cpu_library("folded_cpu.cpp", isa=isa)
    b, d, l, n = x.batch, x.channels, x.length, x.states
    operands = x.operands()
    scale = {name: 1.0 if q.scale is None else float(q.scale) for name, q in operands.items()}
    unit = scale["B"] * scale["u"]  # of the state
    initial = None
    if initial_state is not None:
        initial = (initial_state.double() / unit).float().contiguous()  # (b, d, n)
    values = {name: q.values.contiguous() for name, q in operands.items()}
    quantized = x.u.scale is not None
    tensors = [
        values["u"] if quantized else None, None if quantized else values["u"],
        *(values.get(name) for name in ("dt", "B", "C", "z", "A_log", "D", "dt_bias")), initial,
    ]  # fmt: skip
    y = torch.empty(b, l, d, dtype=torch.float16)
    last = torch.empty(b, d, n)
    pointers = (ctypes.c_void_p * len(tensors))(*[None if t is None else t.data_ptr() for t in tensors])
    scales = (ctypes.c_double * len(_SCALED))(*[scale.get(name, 1.0) for name in _SCALED])
    filled = None if taps is None else (ctypes.c_void_p * len(_TAPS))(*[taps[name].data_ptr() for name in _TAPS])
    sizes = (ctypes.c_int64 * 5)(b, d, l, n, x.groups)
    library.folded_cpu(
        pointers, scales, ctypes.c_void_p(y.data_ptr()), ctypes.c_void_p(last.data_ptr()), filled, sizes,
        int(x.softplus),
    )  # fmt: skip
    state = last.double() * unit
    state = state.float() if x.state_scale is None else quantize_state(state, x.state_scale)
    return ScanOutput(y, state, f"folded, CPU: {library.build_record}")


def folded_cpu(x: ScanInputs, initial_state: Tensor | None = None, *, isa: str | None = None) -> ScanOutput:
    """The scan on CPU tensors: y float16 (b, l, d), the last state int8 or float32 (b, d, n).

    ``initial_state``: (b, d, n) in real units, zero when None.  ``isa``: one of ``build.ISA_FLAGS``, by default the
    widest of this CPU.  Raises :class:`ScanError` for inputs that no scan could take, ``build.BuildError`` without a
    C++ compiler.
    """
    return _run(x, initial_state, None, isa)


def folded_cpu_taps(x: ScanInputs, initial_state: Tensor | None = None, *, isa: str | None = None) -> dict[str, Tensor]:
    """What the kernel held after every operation, keyed and shaped as by ``oracle_taps``; float64, in real units.

    The kernel's own FP32 numbers times its exact units, so nothing is rounded again that matters; ``output_cast`` is
    the untapped y, bit for bit.
    """
    b, d, l, n = x.batch, x.channels, x.length, x.states
    wide = {"decay", "drive", "recurrence"}
    taps = {name: torch.empty((b, d, l, n) if name in wide else (b, d, l), dtype=torch.float64) for name in _TAPS}
    output = _run(x, initial_state, taps, isa)
    return {**taps, "output_cast": output.y}
