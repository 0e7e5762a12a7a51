"""Every kernel of `folded` on shapes that fit nothing, for compute-sanitizer.

    compute-sanitizer --tool memcheck python -m tools.ragged_scans
    compute-sanitizer --tool racecheck python -m tools.ragged_scans --every-lane-arrives

One lane arrives at a signal for its warp, after a __syncwarp that lets it speak for all lanes.  Where
the compiler finds a warp converged it leaves no instruction of that __syncwarp, and racecheck, which follows each lane
by itself, takes what the other lanes wrote for unordered.  With --every-lane-arrives they all arrive, in a copy of csrc
that differs in nothing else.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from quamba_lab.scans import build
from quamba_lab.scans.folded import folded, folded_taps
from quamba_lab.scans.types import ScanInputs, random_inputs

SIZES = (
    (1, 37, 1), (1, 100, 65), (2, 40, 171), (3, 6, 50, 16, 3), (1, 24, 600), (1, 1000, 130), (5, 100, 50),
    (17, 1000, 40), (4, 1040, 33), (9, 1536, 48), (8, 1536, 48), (8, 1536, 70), (8, 5120, 20), (64, 200, 31),
    (1, 8, 64, 64, 1), (1, 4, 40, 256, 1), (2, 20, 40, 5, 2), (20, 1536, 16),
)  # fmt: skip

ARRIVALS = "constexpr unsigned kArrivals = 1;"


def every_lane_arrives(folder: Path) -> Path:
    """A copy of csrc in ``folder`` in which each lane arrives at signals.

    Raises ValueError where the header is not as ``ARRIVALS`` has it.
    """
    copy = folder / "csrc"
    shutil.copytree(build.CSRC, copy)
    header = copy / "folded_device.h"
    text = header.read_text()
    if text.count(ARRIVALS) != 1:
        raise ValueError(f"{header.name} has {ARRIVALS!r} {text.count(ARRIVALS)} times, not once")
    header.write_text(text.replace(ARRIVALS, ARRIVALS.replace("1", "32")))
    return copy


def odd_address(x: ScanInputs) -> ScanInputs:
    """``x`` with its u one byte after the start of an allocation, all of which is written."""
    values = x.u.values
    buffer = torch.zeros(values.numel() + 1, dtype=values.dtype, device=values.device)
    buffer[1:] = values.flatten()
    return replace(x, u=replace(x.u, values=buffer[1:].view(values.shape)))


def run() -> int:
    """Scan them all, one after the other.  Returns their number."""

    def inputs(*sizes: int, **options: object) -> ScanInputs:
        return random_inputs(*sizes, device="cuda", seed=1, **options)

    calls = [inputs(*sizes) for sizes in SIZES]
    calls += [odd_address(inputs(2, 16, 64)), inputs(2, 24, 50, state_scale=0.02), inputs(1, 24, 600, softplus=False)]
    calls += [inputs(1, 24, 60, z=False, D=False, dt_bias=False)]
    for x in calls:
        folded(x)
    tapped = [inputs(2, 24, 37), inputs(1, 5, 20, 40)]
    for x in tapped:
        folded_taps(x)
    torch.cuda.synchronize()
    return len(calls) + len(tapped)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        if "--every-lane-arrives" in sys.argv:
            build.CSRC = every_lane_arrives(Path(folder))
        print(f"ran {run()} scans")
