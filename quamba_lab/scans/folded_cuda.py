"""The `folded` scan on a GPU (csrc/folded.cu, csrc/folded_wide.cu): which kernel, which layout, and the launch.

Both kernels do the same arithmetic.  A lane holds ``lane_states`` of a channel's states; with four or more of them
every layout adds in the same order, so y has the same bits whatever the batch and the length.  With two (small problems
only, where more lanes are worth more) the order differs, so a caller who wants each item's y independent of its batch
asks for ``invariant``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from .build import CudaKernel, cuda_kernel
from .kernels import addresses, outputs
from .types import ScanError

__all__ = ["Layout", "build_record", "folded_cuda", "plan"]

_ARGUMENTS = "{21P6i}"  # struct Arguments of csrc/folded_device.h
_FLAGS = ("--device-as-default-execution-space",)  # for the lambdas, which NVRTC else takes for host functions
_GRID_Y = 65535
TAP_NAMES = ("softplus", "decay", "drive", "recurrence", "contraction", "skip", "gate")
"""In the order in which the tapped kernel writes them, one after the other."""


@dataclass(frozen=True)
class Layout:
    """How a problem is laid over the GPU.

    ``states``: n padded to a power of two; ``lane_states`` of them a lane; ``channels`` a block (or team);
    ``tile``: steps between barriers of the general kernel (the wide one: 32); ``teams``: items that a block of the wide
    kernel handles at once, 0 for the general kernel; ``resident``: blocks per multiprocessor that the registers are
    limited for.
    """

    states: int
    lane_states: int
    channels: int
    tile: int = 32
    teams: int = 0
    resident: int = 1

    @property
    def threads(self) -> int:
        team = self.channels * self.states // self.lane_states
        return team * self.teams if self.teams else 2 * team  # as many threads prepare as integrate

    @property
    def shared(self) -> int:
        """Bytes of shared memory, as laid out at the head of each kernel."""
        n, c, t = self.states, self.channels, self.tile
        if not self.teams:
            return 2048 + 2048 + 2 * t * c * 16 + 2 * t * 2 * n * 4 + 1024 + 2 * t * c * 2
        return 256 * c * 4 + 16384 + max(2048 + 2048, self.teams * (2 * 32 * 2 * n * 4 + 2 * 32 * c * 2))

    def expression(self, aligned: bool, taps: bool) -> str:
        """The template instantiation that NVRTC builds."""
        head = f"{self.states}, {self.lane_states}, {self.channels}"
        if self.teams:
            return f"folded_wide<{head}, {str(aligned).lower()}, {self.teams}, {self.resident}>"
        return f"folded_scan<{head}, {self.tile}, {str(aligned).lower()}, {str(taps).lower()}>"


def plan(b: int, d: int, l: int, n: int, g: int, *, invariant: bool = False, taps: bool = False) -> Layout:
    """The layout for a problem, chosen by measurement on an H200 (docs/folded.md)."""
    states = max(4, 1 << (n - 1).bit_length())
    if states != 16:
        lane_states = min(states, 4 if states < 32 else 8)
        lanes = states // lane_states
        return Layout(states, lane_states, max(4, 64 // lanes), tile=16)
    rows = b * d
    if taps:
        return Layout(16, 4, 16)
    if rows < 4096 and not invariant:
        return Layout(16, 2, 8, 64)
    if rows < 4096:
        return Layout(16, 4, 16)
    if rows < 8192:
        return Layout(16, 4, 16, teams=1, resident=6)
    if rows < 16384:
        return Layout(16, 4, 16, teams=2, resident=3)
    return Layout(16, 8, 32, teams=2, resident=3)


@lru_cache(maxsize=256)
def _kernel(layout: Layout, aligned: bool, taps: bool, device: int) -> CudaKernel:
    source = "folded_wide.cu" if layout.teams else "folded.cu"
    kernel = cuda_kernel(source, layout.expression(aligned, taps), _ARGUMENTS, _FLAGS, device)
    kernel.allow_shared(layout.shared, device)
    return kernel


@lru_cache(maxsize=4096)
def _prepared(b: int, d: int, l: int, n: int, g: int, invariant: bool, aligned: bool, taps: bool, device: int):
    """The kernel with its grid, threads and shared memory."""
    layout = plan(b, d, l, n, g, invariant=invariant, taps=taps)
    across = -(-(d // g) // layout.channels) * g
    items = -(-b // max(layout.teams, 1))
    if layout.teams:  # a block that takes several items in turn builds its tables once
        slots = torch.cuda.get_device_properties(device).multi_processor_count * layout.resident
        items = min(items, max(1, slots // across)) if items * across > 2 * slots else items
    return _kernel(layout, aligned, taps, device), (across, min(items, _GRID_Y), 1), layout.threads, layout.shared


def _launch(operands: tuple, y: Tensor, state: Tensor, initial: Tensor | None, taps: Tensor | None, invariant: bool):
    u = operands[0]
    b, d, l = u.shape
    n, g = operands[5].shape[1], operands[2].shape[1]
    at = addresses(operands)
    aligned = l % 16 == 0 and not (at[0] | at[1] | at[2] | at[3] | at[4]) & 15
    kernel, grid, threads, shared = _prepared(b, d, l, n, g, invariant, aligned, taps is not None, u.get_device())
    first, tapped = 0 if initial is None else initial.data_ptr(), 0 if taps is None else taps.data_ptr()
    kernel(grid, threads, shared, *at, first, y.data_ptr(), state.data_ptr(), tapped, b, d, l, n, g, operands[17])


def folded_cuda(
    operands: tuple, *, initial: Tensor | None = None, taps: Tensor | None = None, invariant: bool = False
) -> tuple[Tensor, Tensor]:
    """y, float16 (b, l, d), and the last state, of operands as ``kernels.flatten`` orders them.

    ``initial``: float32 (b, d, n) in real units, contiguous.  ``taps``: float32, 4 b d l + 3 b d l n elements, filled
    in the order of ``TAP_NAMES``.  Runs on u's device and torch's current stream; nothing synchronizes.
    """
    u = operands[0]
    if u.dtype != torch.int8:
        raise ScanError(f"folded takes u as torch.int8 on a GPU, not {u.dtype}: quantize u, or choose torch_fp32")
    y, state = outputs(u, operands[5], operands[16])
    if u.get_device() == torch._C._cuda_getDevice():
        _launch(operands, y, state, initial, taps, invariant)
    else:
        with torch.cuda.device(u.device):
            _launch(operands, y, state, initial, taps, invariant)
    return y, state


@lru_cache(maxsize=256)
def build_record(b: int, d: int, l: int, n: int, g: int, invariant: bool, device: int) -> str:
    """What runs for these sizes: kernel, layout, compiler, flags, source."""
    kernel, *_ = _prepared(b, d, l, n, g, invariant, l % 16 == 0, False, device)
    layout = plan(b, d, l, n, g, invariant=invariant)
    return f"folded, CUDA: {layout.expression(l % 16 == 0, False)}, {kernel.build_record}"
