"""The `folded` scan on a GPU: which kernel (folded_few.cu, folded_wide.cu, folded.cu), how laid out, and the launch.

All three do the same arithmetic and every layout adds in the same order, so y has the same bits whatever the batch,
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

__all__ = ["AnyStates", "FewRows", "Layout", "ManyRows", "build_record", "folded_cuda", "plan", "scan_on_gpu"]

_ARGUMENTS = "{21P8i}"  # struct Arguments of csrc/folded_device.h
_EXPONENT = 0x4B000000  # of 2^23, its last member
_FLAGS = ("--device-as-default-execution-space",)  # for the lambdas, which NVRTC else takes for host functions
_GRID = 65535  # the most blocks in the second and the third direction
TAP_NAMES = ("softplus", "decay", "drive", "recurrence", "contraction", "skip", "gate")
"""In the order in which the tapped kernel writes them, one after the other."""


def table_bytes(channels: int, states: int) -> int:
    """Bytes of the tables of so many channels in shared memory: ``Tables::kBytes`` of csrc/folded_lookup.h."""
    beside = 2048 + 8 * (32 + 2 * channels) + 4 * (80 + 2 * channels * states + channels)
    return -(-(65536 + beside) // 16) * 16


def _arguments(*values: int | bool) -> str:
    return ", ".join(str(value).lower() for value in values)


@dataclass(frozen=True)
class FewRows:
    """csrc/folded_few.cu: n padded to 16, ``channels`` of one item a block, ``preparers`` threads beside those that
    integrate and those that finish."""

    channels: int
    preparers: int = 192
    source = "folded_few.cu"
    states, batch, share_tables = 16, 1, False

    @property
    def threads(self) -> int:
        return 16 * self.channels + self.preparers

    def shared(self, aligned: bool) -> int:
        """Bytes of shared memory, as laid out at the head of the kernel."""
        steps = 64 * 16 * (8 if self.channels == 8 else self.channels + 2)
        codes = 80 * (8 * 2 * self.channels + 4 * (self.channels + 32))
        return table_bytes(self.channels, 16) + steps + 65536 + 16384 + codes + 64

    def expression(self, aligned: bool, taps: bool) -> str:
        """The template instantiation that NVRTC builds."""
        return f"folded_few<{_arguments(self.channels, self.preparers, aligned)}>"


@dataclass(frozen=True)
class ManyRows:
    """csrc/folded_wide.cu: n padded to 16, ``lane_states`` of them a lane; ``teams`` of a block with ``channels`` of
    ``items`` and ``helpers`` threads each.  ``whole``: tables at an address that saves an addition a lookup, where they
    fit."""

    lane_states: int
    channels: int
    items: int
    teams: int
    helpers: int
    whole: bool = False
    source = "folded_wide.cu"
    states, share_tables = 16, True

    @property
    def integrating(self) -> int:
        """Threads that carry states, of a team."""
        return self.channels * self.items * 16 // self.lane_states

    @property
    def threads(self) -> int:
        return (self.integrating + self.helpers) * self.teams

    @property
    def batch(self) -> int:
        """Items that a block handles at once."""
        return self.items * self.teams

    def shared(self, aligned: bool) -> int:
        """Bytes of shared memory, as laid out at the head of the kernel."""
        lanes, rows = 16 // self.lane_states, self.channels * self.items
        pairs = lanes >= 4
        tile = 32 if pairs or self.batch <= 4 else 16
        out = rows + 8 if lanes == 8 and rows % 16 == 0 else rows
        codes = self.teams * (3 if pairs else 2) * 3 * rows * 16 * (2 if aligned else 3)
        steps = self.teams * tile * rows * 16 if pairs else 0
        front = self.teams * (2 * self.items * tile * 32 * 4 + 2 * tile * out * 2)
        if self.whole and front > 65536 - 2048:  # what stands before the table; the first 1024 bytes are the driver's
            return 1 << 30
        return (65536 if self.whole else front) + table_bytes(self.channels, 16) + codes + steps

    def expression(self, aligned: bool, taps: bool) -> str:
        """The template instantiation that NVRTC builds."""
        team = self.lane_states, self.channels, self.items, self.teams, self.helpers
        return f"folded_wide<{_arguments(16, *team, aligned, self.whole)}>"


@dataclass(frozen=True)
class AnyStates:
    """csrc/folded.cu: n padded to ``states``, ``lane_states`` of them a lane; ``channels`` of ``items`` a block,
    ``helpers`` threads beside those that integrate, barriers ``tile`` steps apart.  The only one with taps."""

    states: int
    lane_states: int
    channels: int
    items: int = 1
    helpers: int = 128
    tile: int = 32
    source = "folded.cu"
    share_tables = False

    @property
    def threads(self) -> int:
        return self.channels * self.items * self.states // self.lane_states + self.helpers

    @property
    def batch(self) -> int:
        """Items that a block handles at once."""
        return self.items

    def shared(self, aligned: bool) -> int:
        """Bytes of shared memory, as laid out at the head of the kernel."""
        lanes, rows = self.states // self.lane_states, self.channels * self.items
        padded, codes = -(-rows // 8) * 8, 8 if rows * self.tile // 8 >= self.helpers else 4
        kept = -(-rows * self.tile // codes // self.helpers) * self.helpers * 16
        steps, parts = self.tile * padded * 16, 2 * (self.tile // 4) * lanes * padded * 16
        weights = 2 * self.items * self.tile * 2 * self.states * 4
        return table_bytes(self.channels, self.states) + steps + parts + 2 * kept + weights

    def expression(self, aligned: bool, taps: bool) -> str:
        """The template instantiation that NVRTC builds."""
        block = self.channels, self.items, self.tile, self.helpers
        return f"folded_scan<{_arguments(self.states, self.lane_states, *block, aligned, taps)}>"


Layout = FewRows | ManyRows | AnyStates
"""How a problem is laid over the GPU.  Of each: ``source``, ``expression``, ``threads`` and ``shared`` memory of a
block, ``channels`` and items (``batch``) that it handles at once, and ``share_tables``: where there is more to do than
for one block a multiprocessor, whether blocks had better take items in turn, with one set of tables."""


# Cycles of a step of a warp with that many states a lane when one, two, ... of them share a scheduler: of the most as
# measured on an H200 (docs/folded.md), of fewer as estimated from its bare loop.
_CYCLES = {2: (38, 32, 29), 4: (65, 57, 53), 8: (110, 96, 89, 90, 90)}


@lru_cache(maxsize=8)
def many_rows_layouts(shared: int) -> tuple[ManyRows, ...]:
    """Those of folded_wide.cu that fit into so many bytes of shared memory a block."""
    found = []
    for lane_states, items, most_teams in ((2, 1, 1), (4, 1, 4), (8, 1, 8), (8, 2, 4)):
        for channels in (16, 24, 32, 40, 48):
            for teams in range(1, most_teams + 1):
                helpers = 32 if teams * items > 2 else 128 if lane_states == 2 else 64
                for whole in (True, False):
                    layout = ManyRows(lane_states, channels, items, teams, helpers, whole)
                    most = 4 * 32 * len(_CYCLES[lane_states])
                    if layout.integrating % 32 or layout.integrating * teams > most or layout.threads > 768:
                        break
                    if layout.shared(aligned=False) <= shared:
                        found.append(layout)
                        break
    return tuple(found)


def _fitting(layouts: list[Layout], n: int, shared: int) -> Layout:
    """The first that fits into so many bytes of shared memory."""
    for layout in layouts:
        if layout.shared(aligned=False) <= shared:
            return layout
    raise ScanError(
        f"folded needs {layouts[-1].shared(aligned=False)} bytes of shared memory a block for n = {n}, and the GPU has "
        f"{shared}: choose torch_int8, or move the inputs to the CPU"
    )


def _grid(layout: Layout, b: int, d: int, g: int, processors: int) -> tuple[int, int]:
    """Blocks for the channels of a group, and for the items."""
    across, deep = -(-(d // g) // layout.channels), -(-b // layout.batch)
    if layout.share_tables and across * g * deep > processors:
        deep = max(1, processors // (across * g))
    return across, min(deep, _GRID)


@lru_cache(maxsize=4096)
def plan(b: int, d: int, n: int, g: int, *, taps: bool = False, processors: int = 132, shared: int = 232448) -> Layout:
    """The layout for a problem on a GPU of so many multiprocessors with so many bytes of shared memory a block.

    Raises :class:`ScanError` where no layout fits into them: n above 64 on a small GPU.
    """
    states = max(4, 1 << (n - 1).bit_length())
    if states != 16:
        lane_states = min(states, 4 if states < 32 else 8)
        channels = min(32, max(4, 64 * lane_states // states))
        return _fitting([AnyStates(states, lane_states, c, tile=16) for c in (channels, channels // 2)], n, shared)
    if taps:
        return _fitting([AnyStates(16, 4, 16, tile=tile) for tile in (32, 16)], n, shared)
    few = -(-b * d // (4 * processors)) * 4  # rows of a multiprocessor, whole warps
    if few <= 12:
        small = [AnyStates(16, 2, few, helpers=helpers, tile=tile) for tile, helpers in ((32, 256), (16, 128))]
        return _fitting([FewRows(few), *small], n, shared)

    def cost(layout: ManyRows) -> float:
        across, deep = _grid(layout, b, d, g, processors)
        rounds = -(-across * g * deep // processors) * -(-b // (layout.batch * deep))
        warps = layout.integrating * layout.teams // 32
        crowd = -(-warps // 4)
        beside = (warps + 8 * layout.items - layout.teams) / 100  # among equals: teams drift apart, their items do not
        return rounds * (crowd * _CYCLES[layout.lane_states][crowd - 1] + beside)

    return min(many_rows_layouts(shared), key=cost)


@lru_cache(maxsize=256)
def _kernel(layout: Layout, aligned: bool, taps: bool, device: int) -> CudaKernel:
    kernel = cuda_kernel(layout.source, layout.expression(aligned, taps), _ARGUMENTS, _FLAGS, device, overlaps=True)
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
    if g > _GRID:
        raise ScanError(f"g={g}: the CUDA grid takes at most {_GRID} groups; move the inputs to the CPU")
    across, deep = _grid(layout, b, d, g, gpu.multi_processor_count)
    kernel = _kernel(layout, aligned, taps, device)
    record = f"folded, CUDA: {layout.expression(aligned, taps)}, {kernel.build_record}"
    return kernel, (across, deep, g), layout.threads, layout.shared(aligned), record


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
    kernel(grid, threads, shared, *at, first, y.data_ptr(), state.data_ptr(), tapped, b, d, l, n, g, d // g, softplus,
           _EXPONENT)  # fmt: skip
    return y, state, record


def folded_cuda(operands: tuple) -> tuple[Tensor, Tensor]:
    """y and the last state of operands as ``kernels.flatten`` orders them: what ``torch.ops`` calls."""
    (b, d, l), n, g = operands[0].shape, operands[5].shape[1], operands[2].shape[1]
    return scan_on_gpu(operands, addresses(operands), (b, d, l, n, g))[:2]


def build_record(b: int, d: int, l: int, n: int, g: int, device: int) -> str:
    """What runs for these sizes: kernel, layout, compiler, flags, source."""
    return _prepared(b, d, n, g, l % 16 == 0, False, device)[-1]
