"""``folded``: the fast and exact scan of this project, on the CPU and on the GPU.

The state is carried in units of s_B s_u, so B, C and u enter as exact integers and every scale is applied once, in
tables built in FP64; see csrc/folded.h for the formulas and docs/folded.md for what each of them gains.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..quantized import Quantized
from .build import cpu_unavailable, cuda_unavailable
from .decode import check_step, decode_step
from .folded_cpu import folded_cpu, folded_cpu_taps
from .folded_cuda import TAP_NAMES, build_record, folded_cuda, scan_on_gpu
from .kernels import ScanOperator, checked_addresses, checked_operands
from .types import OPERANDS, ScanError, ScanInputs, ScanOutput

__all__ = ["folded", "folded_step", "folded_taps", "unavailable"]


def _host(*operands) -> tuple[Tensor, Tensor]:
    pairs = zip(OPERANDS, operands, operands[len(OPERANDS) :], strict=False)
    given = {name: Quantized(values, scale) for name, values, scale in pairs if values is not None}
    output = folded_cpu(ScanInputs(**given, state_scale=operands[-2], softplus=operands[-1]))
    return output.y, output.last_state


def _device(*operands) -> tuple[Tensor, Tensor]:
    return folded_cuda(operands)


_OPERATOR = ScanOperator("folded_scan", cpu=_host, cuda=_device)


def unavailable() -> str | None:
    """None when some build can run here, else why the host build cannot and what to install."""
    return cpu_unavailable() if cuda_unavailable() else None


@torch.compiler.assume_constant_result
def _record(sizes: tuple[int, ...], device: int) -> str:
    return build_record(*sizes, device)


def folded(x: ScanInputs, *, deterministic: str = "run", initial_state: Tensor | None = None) -> ScanOutput:
    """The scan with folded scales: the closest to FP64 and the fastest.  Every run gives the same bits.

    ``deterministic``: ``"run"``, or ``"invariant"``: each item's y is the same bits whatever batch it sits in and
    whatever tokens follow.  Here both are the same and neither costs anything: every layout adds in one order.
    ``initial_state``: float32 (b, d, n) in real units, zero when None.  Raises :class:`ScanError`.
    """
    if deterministic not in ("run", "invariant"):
        raise ScanError(f"deterministic={deterministic!r}: choose 'run' or 'invariant'")
    if torch.compiler.is_compiling() and initial_state is None:
        sizes, on_gpu = x.check_shapes(), x.u.values.is_cuda
        y, state = _OPERATOR(x)
        return ScanOutput(y, state, _record(sizes, x.u.values.get_device()) if on_gpu else "folded, CPU")
    operands, sizes = checked_operands(x)
    if not operands[0].is_cuda:
        return folded_cpu(x, initial_state)
    initial = None if initial_state is None else _checked_state(x, initial_state)
    return ScanOutput(*scan_on_gpu(operands, checked_addresses(operands), sizes, initial))


def _checked_state(x: ScanInputs, state: Tensor) -> Tensor:
    expected = (x.batch, x.channels, x.states)
    if tuple(state.shape) != expected or state.dtype != torch.float32 or state.device != x.device:
        got = f"{state.dtype} {tuple(state.shape)} on {state.device}"
        raise ScanError(f"the initial state is {got}: expected torch.float32 {expected} on {x.device}")
    return state.contiguous()


def folded_step(x: ScanInputs, state: Tensor, exact: bool = False) -> ScanOutput:
    """One token: the published decode, or with ``exact`` this scan going on from a float32 state."""
    if not exact:
        return decode_step(x, state)
    check_step(x, state, exact)
    return folded(replace(x, state_scale=None), initial_state=state.float())


def folded_taps(x: ScanInputs) -> dict[str, Tensor]:
    """What the scan held after every operation, in real units, keyed and shaped as ``oracle_taps``.

    On a GPU float32 from a template flag of the same kernel.  ``output_cast`` is the untapped y bit for bit.
    """
    if not x.u.values.is_cuda:
        return folded_cpu_taps(x)
    operands, sizes = checked_operands(x)
    at = checked_addresses(operands)
    b, d, l, n, _ = sizes
    buffer = torch.zeros(4 * b * d * l + 3 * b * d * l * n, dtype=torch.float32, device=x.device)
    y, *_ = scan_on_gpu(operands, at, sizes, taps=buffer)
    taps, start = {}, 0
    for name in TAP_NAMES:
        shape = (b, d, l, n) if name in ("decay", "drive", "recurrence") else (b, d, l)
        size = b * d * l * (n if len(shape) == 4 else 1)
        taps[name] = buffer[start : start + size].view(shape)
        start += size
    return {**taps, "output_cast": y}
