"""The `folded` scan on a GPU (csrc/folded.cu, csrc/folded_wide.cu): which kernel, which layout, and the launch.

Both kernels do the same arithmetic and every layout adds in the same order, so y has the same bits whatever the batch,
the length and the GPU's size.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from .build import CudaKernel, cuda_kernel
from .kernels import addresses, empty_cuda
from .types import ScanError

__all__ = ["Layout", "build_record", "folded_cuda", "plan", "scan_on_gpu"]

_ARGUMENTS = "{21P6i}"  # struct Arguments of csrc/folded_device.h
_FLAGS = ("--device-as-default-execution-space",)  # for the lambdas, which NVRTC else takes for host functions
_GRID_Y = 65535
_TABLES = 68928  # bytes, sizeof Tables of csrc/folded_device.h
TAP_NAMES = ("softplus", "decay", "drive", "recurrence", "contraction", "skip", "gate")
"""In the order in which the tapped kernel writes them, one after the other."""


@dataclass(frozen=True)
class Layout:
    """How a problem is laid over the GPU.

    ``states``: n padded to a power of two; ``lane_states`` of them a lane.  ``channels`` and ``items``: of a team in
    folded_wide.cu, of a block in folded.cu; ``teams``: of a block, 0 for folded.cu.  ``helpers``: threads that prepare
    and finish, of a team or a block.  ``tile``: steps between barriers of folded.cu (of folded_wide.cu: 32).
    """

    states: int
    lane_states: int
    channels: int
    items: int = 1
    teams: int = 0
    helpers: int = 128
    tile: int = 32

    @property
    def integrating(self) -> int:
        """Threads that carry states, of a team or a block."""
        return self.channels * self.items * self.states // self.lane_states

    @property
    def threads(self) -> int:
        return (self.integrating + self.helpers) * max(self.teams, 1)

    @property
    def batch(self) -> int:
        """Items that a block handles at once."""
        return self.items * max(self.teams, 1)

    def shared(self, aligned: bool) -> int:
        """Bytes of shared memory, as laid out at the head of each kernel."""
        lanes, rows = self.states // self.lane_states, self.channels * self.items
        if self.teams:
            codes = 2 * 3 * rows * 16 * (2 if aligned else 3)
            out = rows + 8 if lanes == 8 and rows % 16 == 0 else rows
            return _TABLES + self.teams * (codes + 2 * self.items * 32 * 2 * self.states * 4 + 2 * 32 * out * 2)
        padded, codes = -(-rows // 8) * 8, 8 if rows * self.tile // 8 >= self.helpers else 4
        kept = -(-rows * self.tile // codes // self.helpers) * self.helpers * 16
        steps, parts = self.tile * padded * 16, 2 * (self.tile // 4) * lanes * padded * 16
        return _TABLES + steps + parts + 2 * kept + 2 * self.items * self.tile * 2 * self.states * 4 + 4 * self.channels

    def expression(self, aligned: bool, taps: bool) -> str:
        """The template instantiation that NVRTC builds."""
        head = f"{self.states}, {self.lane_states}, {self.channels}, {self.items}"
        if self.teams:
            return f"folded_wide<{head}, {self.teams}, {self.helpers}, {str(aligned).lower()}>"
        return f"folded_scan<{head}, {self.tile}, {self.helpers}, {str(aligned).lower()}, {str(taps).lower()}>"


def _wide_layouts(shared: int) -> list[Layout]:
    """The layouts of folded_wide.cu with at most twelve integrating warps, three for each scheduler."""
    found = []
    for lane_states, most in ((2, 1), (4, 4), (8, 8)):
        for channels in (16, 24, 32, 40, 48):
            items = 1 if channels * 16 // lane_states % 32 == 0 else 2
            for teams in range(1, most + 1):
                helpers = 32 if teams * items > 2 else 128 if (lane_states, channels) == (2, 48) else 64
                layout = Layout(16, lane_states, channels, items, teams, helpers)
                if layout.integrating * teams <= 384 and layout.shared(aligned=False) <= shared:
                    found.append(layout)
    return found


def _fitting(layouts: list[Layout], n: int, shared: int) -> Layout:
    """The first that fits into so many bytes of shared memory."""
    for layout in layouts:
        if layout.shared(aligned=False) <= shared:
            return layout
    raise ScanError(
        f"folded needs {layouts[-1].shared(aligned=False)} bytes of shared memory a block for n = {n}, and the GPU has "
        f"{shared}: choose torch_int8, or move the inputs to the CPU"
    )


# Cycles of a step of a warp with that many states a lane when one, two or three of them share a scheduler: with three
# as measured on an H200 (docs/folded.md), with fewer estimated from its bare loop.
_CYCLES = {2: (42, 36, 33), 4: (68, 59, 55), 8: (112, 97, 90)}


@lru_cache(maxsize=4096)
def plan(b: int, d: int, n: int, g: int, *, taps: bool = False, processors: int = 132, shared: int = 232448) -> Layout:
    """The layout for a problem on a GPU of so many multiprocessors with so many bytes of shared memory a block.

    Raises :class:`ScanError` where no layout fits into them: n above 64 on a small GPU.
    """
    states = max(4, 1 << (n - 1).bit_length())
    few = -(-b * d // (4 * processors)) * 4  # rows of a multiprocessor, whole warps
    if states != 16:
        lane_states = min(states, 4 if states < 32 else 8)
        return _fitting([Layout(states, lane_states, min(32, max(4, 64 * lane_states // states)), tile=16)], n, shared)
    if taps:
        return _fitting([Layout(16, 4, 16), Layout(16, 4, 16, tile=16)], n, shared)
    if few <= 12:
        tiles = ((64, 256), (32, 256), (16, 128))
        return _fitting([Layout(16, 2, few, helpers=helpers, tile=tile) for tile, helpers in tiles], n, shared)

    def cost(layout: Layout) -> float:
        blocks = -(-(d // g) // layout.channels) * g * -(-b // layout.batch)
        warps = layout.integrating * layout.teams // 32
        crowd = -(-warps // 4)
        beside = (warps + layout.batch) / 100  # the fewer items, the less to prepare for as many rows
        return -(-blocks // processors) * (crowd * _CYCLES[layout.lane_states][crowd - 1] + beside)

    return min(_wide_layouts(shared), key=cost)


@lru_cache(maxsize=256)
def _kernel(layout: Layout, aligned: bool, taps: bool, device: int) -> CudaKernel:
    source = "folded_wide.cu" if layout.teams else "folded.cu"
    kernel = cuda_kernel(source, layout.expression(aligned, taps), _ARGUMENTS, _FLAGS, device)
    kernel.allow_shared(layout.shared(aligned), device)
    return kernel


@lru_cache(maxsize=4096)
def _prepared(b: int, d: int, n: int, g: int, aligned: bool, taps: bool, device: int):
    """The kernel with its grid, threads and shared memory, and the record of its build."""
    gpu = torch.cuda.get_device_properties(device)
    if gpu.major < 8:
        has = f"{gpu.name} has compute capability {gpu.major}.{gpu.minor}"
        raise ScanError(f"folded needs 8.0 or later on a GPU, {has}: choose torch_int8, or move the inputs to the CPU")
    shared = getattr(gpu, "shared_memory_per_multiprocessor", 102400) - 1024  # a block's share is kept by the driver
    layout = plan(b, d, n, g, taps=taps, processors=gpu.multi_processor_count, shared=shared)
    across = -(-(d // g) // layout.channels) * g
    items = -(-b // layout.batch)
    if layout.teams and items * across > gpu.multi_processor_count:  # several items in turn: one set of tables
        items = max(1, gpu.multi_processor_count // across)
    kernel = _kernel(layout, aligned, taps, device)
    record = f"folded, CUDA: {layout.expression(aligned, taps)}, {kernel.build_record}"
    return kernel, (across, min(items, _GRID_Y), 1), layout.threads, layout.shared(aligned), record


def scan_on_gpu(
    operands: tuple, at: tuple[int, ...], sizes: tuple[int, int, int, int, int], initial: Tensor | None = None,
    taps: Tensor | None = None,
) -> tuple[Tensor, Tensor, str]:  # fmt: skip
    """y, float16 (b, l, d), the last state and the build's record.

    ``operands``, ``at``: as ``kernels.flatten`` and ``kernels.addresses`` give them.  ``sizes``: (b, d, l, n, g).
    ``initial``: float32 (b, d, n) in real units, contiguous.  ``taps``: float32, 4 b d l + 3 b d l n elements, filled
    in the order of ``TAP_NAMES``.  Runs on u's device and torch's current stream; nothing synchronizes.
    """
    u, state_scale, softplus = operands[0], operands[16], operands[17]
    if u.dtype is not torch.int8:
        raise ScanError(f"folded takes u as torch.int8 on a GPU, not {u.dtype}: quantize u, or choose torch_fp32")
    device = u.get_device()
    if device != torch._C._cuda_getDevice():
        with torch.cuda.device(device):
            return scan_on_gpu(operands, at, sizes, initial, taps)
    b, d, l, n, g = sizes
    aligned = l % 16 == 0 and not (at[0] | at[1] | at[2] | at[3] | at[4]) & 15
    kernel, grid, threads, shared, record = _prepared(b, d, n, g, aligned, taps is not None, device)
    y = empty_cuda((b, l, d), (l * d, d, 1), torch.float16)
    state = empty_cuda((b, d, n), (d * n, n, 1), torch.float32 if state_scale is None else torch.int8)
    first, tapped = 0 if initial is None else initial.data_ptr(), 0 if taps is None else taps.data_ptr()
    kernel(grid, threads, shared, *at, first, y.data_ptr(), state.data_ptr(), tapped, b, d, l, n, g, softplus)
    return y, state, record


def folded_cuda(operands: tuple) -> tuple[Tensor, Tensor]:
    """y and the last state of operands as ``kernels.flatten`` orders them: what ``torch.ops`` calls."""
    (b, d, l), n, g = operands[0].shape, operands[5].shape[1], operands[2].shape[1]
    return scan_on_gpu(operands, addresses(operands), (b, d, l, n, g))[:2]


def build_record(b: int, d: int, l: int, n: int, g: int, device: int) -> str:
    """What runs for these sizes: kernel, layout, compiler, flags, source."""
    return _prepared(b, d, n, g, l % 16 == 0, False, device)[-1]
