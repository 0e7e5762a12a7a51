"""Pictures of the scan's inside: pure functions of numbers, in the style and colours of :mod:`quamba_lab.plots`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from .lettering import drawn
from .plots import _columns, _finish, _log_if_possible, _new, with_data

__all__ = ["PART_COLORS", "areas", "curves"]

PART_COLORS = {
    "inherited": "#BBBBBB",
    "decay": "#0072B2",
    "drive": "#E69F00",
    "rounding": "#009E73",
    "unexplained": "#D55E00",
}
"""One colour for each part of an error budget."""

_HATCHES = {"inherited": "", "decay": "//", "drive": "..", "rounding": "xx", "unexplained": "\\\\"}
_POLICY_STYLES = ("-", "--", "-.", ":")
_POLICY_COLORS = ("#000000", "#0072B2", "#E69F00", "#D55E00", "#009E73", "#CC79A7")


def areas(
    x: Sequence[float], parts: Mapping[str, ArrayLike], total: ArrayLike, *, title: str, xlabel: str, ylabel: str,
    total_label: str = "observed error", names: Mapping[str, str] | None = None,
) -> Figure:  # fmt: skip
    """Signed parts of a whole along ``x`` as stacked areas: positive ones upwards, negative ones downwards, and the
    whole as a line.  Where a part changes sign it changes sides.  ``names``: what the legend calls a part."""
    figure, axes = _new(height=3.8)
    axis = axes[0, 0]
    places = np.asarray(x, dtype=float)
    up, down = np.zeros(len(places)), np.zeros(len(places))
    for name, values in parts.items():
        heights = np.nan_to_num(np.asarray(values, dtype=float))
        style = {
            "facecolor": PART_COLORS.get(name, "#56B4E9"), "hatch": _HATCHES.get(name, "++"), "edgecolor": "white",
            "linewidth": 0.0,
        }  # fmt: skip
        positive, negative = heights.clip(min=0), heights.clip(max=0)
        axis.fill_between(places, up, up + positive, label=drawn((names or {}).get(name, name)), **style)
        if negative.any():
            axis.fill_between(places, down, down + negative, **style)
        up, down = up + positive, down + negative
    axis.plot(places, np.asarray(total, dtype=float), color="black", linewidth=1.2, label=drawn(total_label))
    axis.axhline(0, color="#444444", linewidth=0.6)
    axis.legend(fontsize=8, frameon=False, ncols=3)
    _finish(axis, title, xlabel, ylabel)
    return with_data(figure, _columns(x, xlabel, {**parts, total_label: total}))


def curves(
    x: Sequence[float], series: Mapping[str, ArrayLike], *, title: str, xlabel: str, ylabel: str,
    mark: float | None = None, mark_label: str = "", log: bool = True,
) -> Figure:  # fmt: skip
    """Curves told apart by colour and dash, for choices that are no modes; ``mark`` draws a vertical line."""
    figure, axes = _new(height=3.8)
    axis = axes[0, 0]
    for i, (name, values) in enumerate(series.items()):
        axis.plot(
            x, np.asarray(values, dtype=float), label=drawn(name), color=_POLICY_COLORS[i % len(_POLICY_COLORS)],
            linestyle=_POLICY_STYLES[i % len(_POLICY_STYLES)], linewidth=1.5,
        )  # fmt: skip
    if mark is not None:
        axis.axvline(mark, color="#444444", linewidth=0.8, linestyle=":")
        axis.annotate(drawn(mark_label), (mark, 0.02), xycoords=("data", "axes fraction"), fontsize=8, va="bottom")
    _log_if_possible(axis, list(series.values()), log)
    axis.legend(fontsize=8, frameon=False)
    _finish(axis, title, xlabel, ylabel)
    return with_data(figure, _columns(x, xlabel, series))
