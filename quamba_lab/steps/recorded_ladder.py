"""The ladder of a GPU's own kernels without a GPU: the recorded taps against FP64 and against this machine's build."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
import torch

from .. import scans
from ..compare import difference
from ..recorded import RecordedScan
from ..scans import ScanInputs
from ..scans.oracle import oracle_taps
from ..scans.taps import certified_taps, certify
from ..texts import say
from .equal_inputs import tapped
from .ladder import exact_operations, ladder_table, local_errors

__all__ = ["channels_only", "recorded_ladder"]


def channels_only(x: ScanInputs, channels: Sequence[int]) -> ScanInputs:
    """The problem of some channels alone, g = 1; each channel's y stays what it was."""
    at = torch.tensor(channels, device=x.device)
    axes = {"u": 1, "dt": 1, "z": 1, "A_log": 0, "D": 0, "dt_bias": 0}
    cut = {
        name: getattr(x, name).map(lambda v, axis=axis: v.index_select(axis, at).contiguous())
        for name, axis in axes.items()
        if getattr(x, name) is not None
    }
    return replace(x, **cut)


def recorded_ladder(recorded: Sequence[RecordedScan]) -> tuple[pd.DataFrame, list[str]]:
    """One row for each scan and operation, the largest over the recordings; and the refusals, in words.

    ``gpu_adds``, ``host_adds``: what the operation adds by itself, in unit roundoffs of what enters; ``apart``: the one
    beyond the other on equal inputs, whose floor is ``floor``; ``error_gpu``, ``error_host``: error/RMS against FP64
    after it; ``y_differing``: share of the GPU's y, over all channels, that this machine's build gives otherwise.
    """
    rows, refused = [], []
    for one in recorded:
        x = channels_only(one.inputs, one.tap_channels)
        truth = oracle_taps(x)
        for scan, output in one.outputs.items():
            at = torch.tensor(one.tap_channels)
            gpu = certify(scan, x, one.taps[scan], replace(output, y=output.y.index_select(2, at).contiguous()))
            host = certified_taps(scan, x) if scan in scans.names() else None
            if not gpu.certified:
                place = {"item": one.item, "layer": one.layer}
                refused.append(say("item {item}, layer {layer}: {reason}", reason=gpu.reason, **place))
                continue
            own = host.taps if host is not None and host.certified else {}
            taps = (gpu.taps, own)
            exact = tuple(exact_operations(x, found) if found else {} for found in taps)
            local = tuple(local_errors(x, *pair) if pair[0] else {} for pair in zip(taps, exact, strict=True))
            table = ladder_table(truth, taps, local, ("gpu", "host")).set_index("operation")
            y = difference(output.y, scans.run(scan, one.inputs).y).share if own else float("nan")
            for row in tapped(x, taps, exact):
                errors = table.loc[row["operation"]]
                rows.append(
                    {
                        "scan": scan,
                        "operation": row["operation"],
                        "floor": row["floor"],
                        "gpu_adds": row["added_by_a"],
                        "host_adds": row["added_by_b"],
                        "apart": row["apart"],
                        "beyond": row["beyond"],
                        "error_gpu": errors["error_of_a"],
                        "error_host": errors["error_of_b"],
                        "y_differing": y,
                    }
                )
    table = pd.DataFrame(rows)
    if table.empty:
        return table, refused
    return table.groupby(["scan", "operation"], sort=False, as_index=False).max(), list(dict.fromkeys(refused))
