"""Draw docs/images/folded_h200.png: how much of its floors each scan reaches on the shapes of folded_gpu.py.

    python benchmarks/plot_folded.py [results.json] [--output picture.png]

A scan can be no faster than the slower of two floors: ex2 (16 per (b, d, t), 16 a clock on each multiprocessor) and
memory (every byte of inputs and outputs once, at the bandwidth of a large copy).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parent
SCANS = (
    ("folded_ms", "folded", "#0072B2", "o"),
    ("mamba_ssm_ms", "mamba_ssm, FP16", "#E69F00", "s"),
    ("published_ms", "published", "#D55E00", "^"),
)


def draw(record: dict) -> Figure:
    """Shares of the exp floor (left) and the memory floor (right), percent on a logarithmic axis, a row per shape."""
    rows = record["rows"]
    figure = Figure(figsize=(9.0, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2, sharey=True)
    places = range(len(rows))
    floors = (("exp_floor_ms", "share of the ex2 floor"), ("memory_floor_ms", "share of the memory floor"))
    for axes, (floor, title) in zip(panels, floors, strict=True):
        for key, label, color, marker in SCANS:
            shares = [100 * row[floor] / row[key] if row.get(key) else float("nan") for row in rows]
            axes.plot(shares, places, marker, color=color, label=label, markersize=7)
        axes.axvline(100, color="#555555", linewidth=1)
        axes.set(xscale="log", xlim=(0.5, 130), xlabel="floor / time, %", title=title)
        axes.set_xticks([1, 2, 5, 10, 20, 50, 100], ["1", "2", "5", "10", "20", "50", "100"])
        axes.minorticks_off()
        axes.grid(axis="both", color="#DDDDDD", linewidth=0.6)
        axes.set_axisbelow(True)
    panels[0].set_yticks(list(places), [", ".join(map(str, row["shape"])) for row in rows])
    panels[0].set_ylabel("b, d, l")
    panels[0].invert_yaxis()
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle(f"{record['device']}, {record['date']}: the share of its floors that each scan reaches")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("results", nargs="?", type=Path, default=ROOT / "results" / "folded_h200.json")
    parser.add_argument("--output", type=Path, default=ROOT.parent / "docs" / "images" / "folded_h200.png")
    chosen = parser.parse_args()
    partial = chosen.output.with_name("." + chosen.output.name)
    draw(json.loads(chosen.results.read_text())).savefig(partial, format="png", dpi=150)
    partial.replace(chosen.output)


if __name__ == "__main__":
    main()
