"""What to do about it: the plan's remedies and this project's own, each with what it changes and what it costs.

What a remedy changes is measured on the inputs at hand.  What it costs in time is taken from the benchmarks that the
project keeps (benchmarks/results), so that a result does not depend on what else the machine was doing.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd

from .. import scans
from ..compare import difference
from ..modes import Mode
from ..texts import clauses, paragraph, say
from .result import share, significant
from .workbook import Workbook

__all__ = ["SHAPE", "costs", "remedies", "remedy_sentence"]

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"
SHAPE = (8, 1536, 512)
"""(b, d, l) of the times: a batch of prompts at the width of a 130-million-parameter Mamba."""

OTHERS = {
    "folded": "the scan with folded scales in its place",
    "torch_fp64": "the PyTorch scan in float64 (the plan's last resort)",
}


def costs() -> dict[str, dict[str, float]]:
    """Milliseconds at :data:`SHAPE` by machine and scan; empty where the benchmarks are not at hand."""
    found: dict[str, dict[str, float]] = {}
    for entry in _rows("cpu_scan.json", "speed"):
        found["cpu_ms"] = {name: float(row["minimum_ms"]) for name, row in entry["scans"].items()}
    for row in _rows("folded_h200.json", "rows"):
        found["h200_ms"] = {name: float(row[f"{name}_ms"]) for name in ("folded", "published") if f"{name}_ms" in row}
    return found


def _rows(name: str, key: str) -> list[dict[str, Any]]:
    """The entries of a benchmark's file at :data:`SHAPE`; none where the file is not at hand."""
    try:
        entries = json.loads((RESULTS / name).read_text(encoding="utf-8"))[key]
    except (OSError, KeyError, ValueError):
        return []
    return [entry for entry in entries if tuple(entry["shape"]) == SHAPE]


def remedies(run: Workbook, mode_a: str | Mode, mode_b: str | Mode, layer: int, item: int = 0) -> pd.DataFrame:
    """One row for each scan that could run in mode B's place, on what the scan of ``layer`` receives in mode A.

    ``y_differing``: share of y that is not mode A's; ``not_nearest``: share that is not the float16 nearest to FP64;
    ``cpu_ms``, ``h200_ms``: at :data:`SHAPE`, from the benchmarks; ``times_b``: the CPU's, over that of mode B's scan.
    """
    x = run.scan_inputs(mode_a, layer, item)
    first, second = run.scan_of(mode_a), run.scan_of(mode_b)
    what = {second: "leave mode B as it is", first: "the scan of mode A (the plan: modes 0 and 2-0)", **OTHERS}
    reference, truth, times = scans.run(first, x).y, scans.run("oracle", x).y, costs()
    rows = []
    for scan, remedy in what.items():
        if scan not in scans.names() or scans.unavailable(scan) or not scans.get(scan).takes(x.u):
            continue
        y = scans.run(scan, x).y
        row: dict[str, Any] = {
            "remedy": remedy, "scan": scan, "y_differing": difference(reference, y).share,
            "not_nearest": difference(truth, y).share,
        }  # fmt: skip
        row |= {machine: by_scan.get(scan, math.nan) for machine, by_scan in times.items()}
        own = times.get("cpu_ms", {})
        row["times_b"] = own.get(scan, math.nan) / own.get(second, math.nan)
        rows.append(row)
    return pd.DataFrame(rows)


def remedy_sentence(table: pd.DataFrame, mode_a: str, mode_b: str) -> str:
    """What each scan in mode B's place would change, and at which cost; empty when there is nothing to choose from."""
    if len(table) < 2:
        return ""
    parts = []
    for row in table.iloc[1:].itertuples(index=False):
        known = not math.isnan(row.times_b)
        words = {"scan": row.scan, "differ": share(row.y_differing), "miss": share(row.not_nearest)}
        parts.append(
            say("{scan}: {differ} of y unlike mode {a}'s, {miss} not the nearest float16, {times} times the time",
                **words, a=mode_a, times=significant(row.times_b))
            if known else
            say("{scan}: {differ} of y unlike mode {a}'s, {miss} not the nearest float16", **words, a=mode_a)
        )  # fmt: skip
    own = table.iloc[0]
    return paragraph([
        say("In place of {scan} in mode {b} ({miss} of y not the nearest float16) one can run {choices}.",
            scan=own["scan"], b=mode_b, miss=share(own["not_nearest"]), choices=clauses(parts)),
        say("Times: on a CPU, from the project's benchmarks.") if table["times_b"].notna().any() else "",
    ])  # fmt: skip
