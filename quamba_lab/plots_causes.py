"""Pictures of causes, amplifiers and answers: pure functions of numbers, in the style of :mod:`quamba_lab.plots`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from .lettering import drawn
from .plots import _finish, _log_if_possible, _matrix, _new, stacked, with_data

__all__ = ["gains", "patches", "share_dots", "shares"]

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#7F7F7F"


def shares(parts: Mapping[str, ArrayLike], labels: Sequence[str], *, title: str) -> Figure:
    """How the whole divides among causes, one bar for each place where it is measured."""
    figure = stacked(labels, parts, title=title, xlabel="share of the squared difference", ylabel="", horizontal=True)
    figure.axes[0].legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.2))
    return figure


def share_dots(
    labels: Sequence[str], value: ArrayLike, low: ArrayLike, high: ArrayLike, alone: ArrayLike | None, *, title: str
) -> Figure:
    """A share with its interval in each row; crosses show what the switch does when it is moved alone."""
    figure, axes = _new(height=0.9 + 0.34 * max(len(labels), 2))
    axis = axes[0, 0]
    rows = np.arange(len(labels))
    value, low, high = (np.asarray(v, dtype=float) for v in (value, low, high))
    axis.hlines(rows, low, high, color=BLUE, linewidth=2.2)
    axis.plot(value, rows, "o", color=BLUE, markeredgecolor="white", markersize=7, label=drawn("Shapley share"))
    if alone is not None:
        axis.plot(np.asarray(alone, dtype=float), rows, "x", color=ORANGE, markersize=7, label=drawn("moved alone"))
        # Above the axis: the longest interval may end in any corner.
        axis.legend(fontsize=8, frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0.3)
    axis.axvline(0, color="#444444", linewidth=1, linestyle="--")
    axis.set_yticks(rows, [drawn(name) for name in labels])
    axis.set_ylim(len(labels) - 0.5, -0.5)
    _finish(axis, title, "part of the whole", "")
    table = pd.DataFrame({"switch": list(labels), "share": value, "low": low, "high": high})
    return with_data(figure, table if alone is None else table.assign(alone=np.asarray(alone, dtype=float)))


def gains(hits: ArrayLike, gain: ArrayLike, kinds: Sequence[str], *, title: str) -> Figure:
    """Sites by how often an item hits them and by how much they enlarge a difference; a marker for each kind."""
    figure, axes = _new(height=4.0)
    axis = axes[0, 0]
    hits, gain, kinds = np.asarray(hits, dtype=float), np.asarray(gain, dtype=float), np.asarray(kinds)
    palette = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F")
    for i, kind in enumerate(dict.fromkeys(kinds.tolist())):
        chosen = kinds == kind
        axis.plot(hits[chosen], gain[chosen], "os^DvPX"[i % 7], color=palette[i % 7], alpha=0.8, label=drawn(kind))
    _log_if_possible(axis, [hits], True, "x")
    _log_if_possible(axis, [gain], True)
    if gain.size and not np.any(gain < 0):  # what a symmetric scale would leave of the room below zero shows nothing
        axis.set_ylim(bottom=-0.4 * gain[gain > 0].min(initial=1.0) if np.any(gain == 0) else None,
                      top=1.6 * gain.max() or None)  # fmt: skip
    if len(kinds):
        axis.legend(fontsize=8, frameon=False)
    _finish(axis, title, "hits per item", "gain (change out / change in)")
    return with_data(figure, pd.DataFrame({"kind": kinds, "hits per item": hits, "gain": gain}))


def patches(counts: ArrayLike, stages: Sequence[str], layers: Sequence[int], *, title: str) -> Figure:
    """For how many items a patch at each stage (row) and layer (column) turns the answer back."""
    matrix = np.asarray(counts, dtype=float)
    figure, axes = _new(width=2.6 + 0.5 * max(len(layers), 6), height=1.4 + 0.34 * max(len(stages), 2))
    axis = axes[0, 0]
    axis.grid(False)
    image = axis.imshow(matrix, cmap="viridis", aspect="auto", vmin=0, vmax=max(float(matrix.max(initial=0)), 1))
    for (row, column), number in np.ndenumerate(matrix):
        if number:
            shade = "k" if number > matrix.max() / 2 else "w"
            axis.text(column, row, f"{number:.0f}", ha="center", va="center", fontsize=8, color=shade)
    axis.set_xticks(range(len(layers)), [str(v) for v in layers], fontsize=8)
    axis.set_yticks(range(len(stages)), [drawn(stage) for stage in stages], fontsize=8)
    figure.colorbar(image, ax=axis, label=drawn("items"), ticks=MaxNLocator(integer=True))
    _finish(axis, title, "layer", "")
    return with_data(figure, _matrix(matrix, stages, layers, "stage \\ layer"))
