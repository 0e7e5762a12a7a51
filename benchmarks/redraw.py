"""How long the notebooks' cards take to follow each control, in the kernel, on the shipped model.

    python benchmarks/redraw.py [--layers 0 7] [--output benchmarks/results/redraw.json]

Every value is the wall time from setting the control to all of the section's cards holding the new HTML; what the
browser then needs to show it is not in it.  ``first``: the first time that a choice is made, with whatever has to be
computed for it (a trace for another mode or item); ``again``: a choice made before in this kernel.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import torch

from quamba_lab import steps
from quamba_lab.bench import machine_record
from quamba_lab.files import write_text
from quamba_lab.parameters import check
from quamba_lab.views import VIEWS, Sources
from quamba_lab.widgets import ControlBar, Explorer, Selection

VIEW_NAMES = ("text", "stages", "map", "codes", "along", "tensor", "number")
MOST = 12
"""Values of a control that are tried."""


def values_of(widget) -> list:
    """Up to MOST values of a control, spread over its range, the present one first."""
    if hasattr(widget, "options"):
        found = [option[1] if isinstance(option, tuple) else option for option in widget.options]
    else:
        found = list(range(widget.min, widget.max + 1))
    return [value for value in found[:: max(1, len(found) // MOST)] if value != widget.value][:MOST]


def measure(layers: list[int]) -> dict[str, dict[str, float]]:
    """Median milliseconds by control."""
    settings = check(layers=layers)
    run = steps.Workbook(modes=list(settings.modes), limit=settings.limit, cache_dir=False)
    bar = ControlBar(Sources(run, settings.layers), settings, Selection())
    section = Explorer([VIEWS[name] for name in VIEW_NAMES], bar.sources, bar.selection, bar)
    section.wait()
    found = {}
    for name, widget in section.controls.items():
        start, rounds = widget.value, {}
        for which in ("first", "again"):
            times = []
            for value in values_of(widget):
                began = time.perf_counter()
                widget.value = value
                section.wait()
                times.append(1000 * (time.perf_counter() - began))
                if section.job_error is not None:
                    raise section.job_error
            rounds[which] = {"median": round(statistics.median(times), 1), "largest": round(max(times), 1)}
            widget.value = start
            section.wait()
        found[name] = rounds
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--layers", type=int, nargs="*", default=[], help="layers that are looked at, all by default")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "redraw.json")
    options = parser.parse_args()
    found = measure(options.layers)
    record = {"milliseconds": found, "cards": list(VIEW_NAMES), "machine": machine_record(torch.device("cpu"))}
    write_text(options.output, json.dumps(record, indent=1, sort_keys=True) + "\n")
    for name, rounds in found.items():
        first, again = rounds["first"], rounds["again"]
        print(f"{name:8} first {first['median']:7.1f} ms (largest {first['largest']:.1f}), "
              f"again {again['median']:7.1f} ms (largest {again['largest']:.1f})")  # fmt: skip


if __name__ == "__main__":
    main()
