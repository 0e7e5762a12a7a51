"""A frame as a matplotlib figure, and as an SVG that takes its ink from the page around it."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from ..lettering import drawn as lettered
from ..lettering import use_font
from ..plots import FLOOR_COLOR, MODE_COLORS, color_of

__all__ = ["Drawing", "draw", "svg"]

INK, GRID = "#101112", "#d7d8d9"
"""Stand-ins that :func:`svg` replaces by the page's own colours."""
WIDTH = 7.4
"""Inches, of a picture that stands alone; cards choose their own so that text has one size in all of them."""
DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#7F7F7F", "#882255")
BAND_NAMES = ("floor", "bound")


@dataclass(frozen=True)
class Drawing:
    """A figure; ``box``: left, top, width and height of its axes as shares of the figure; ``limits``: of the x axis.

    ``places``: where on the x axis each of the chart's x values stands; empty when they stand elsewhere.
    """

    figure: Figure
    box: tuple[float, float, float, float]
    limits: tuple[float, float]
    places: tuple[float, ...] = ()

    def at(self, x: float) -> float:
        """Where ``x`` stands, as a share of the figure's width."""
        low, high = self.limits
        return self.box[0] + self.box[2] * (x - low) / (high - low)


def _colour(name: str, index: int) -> str:
    if name in BAND_NAMES:
        return FLOOR_COLOR
    if name == "1":
        return INK
    return color_of(name) if name in MODE_COLORS else PALETTE[index % len(PALETTE)]


def _axes(width: float, height: float, left: float, right: float, bottom: float, top: float) -> Axes:
    """One axes in a figure of ``width`` x ``height`` inches; the others are inches left free on each side."""
    figure = Figure(figsize=(width, height))
    figure.patch.set_alpha(0)
    axis = figure.add_axes((left / width, bottom / height, 1 - (left + right) / width, 1 - (bottom + top) / height))
    axis.patch.set_alpha(0)
    axis.spines[["top", "right"]].set_visible(False)
    for side in ("left", "bottom"):
        axis.spines[side].set_color(GRID)
    axis.tick_params(colors=INK, labelsize=9, length=0, pad=5)
    axis.xaxis.label.set_color(INK)
    axis.yaxis.label.set_color(INK)
    return axis


def _drawing(axis: Axes, places: Sequence[float] = ()) -> Drawing:
    place = axis.get_position()
    box = tuple(map(float, (place.x0, 1 - place.y1, place.width, place.height)))
    return Drawing(axis.figure, box, tuple(map(float, axis.get_xlim())), tuple(map(float, places)))


def draw(chart: Mapping[str, Any], width: float = WIDTH) -> Drawing:
    """Draw a chart with one frame's data in it.  Raises ``ValueError`` for a kind that is no picture."""
    kind = chart["kind"]
    if kind not in ("lines", "bars", "heatmap"):
        raise ValueError(f"a {kind} is no picture: show it as text, or choose lines, bars or a heatmap")
    use_font()
    with mpl.rc_context({"font.size": 9, "svg.fonttype": "none"}):
        return _heatmap(chart, width) if kind == "heatmap" else _series(chart, kind, width)


def _numbers(values: Any) -> np.ndarray:
    return np.array([math.nan if not isinstance(v, int | float) else float(v) for v in values], dtype=float)


LETTER = 0.078
"""Inches that a letter of a label takes, about."""


def _legend_rows(names: list[str], room: float) -> tuple[int, int]:
    """Columns and rows of a legend of ``names`` in ``room`` inches."""
    columns = max(1, min(len(names), int(room / (0.62 + LETTER * max(map(len, names), default=0)))))
    return columns, math.ceil(len(names) / columns)


def _series(chart: Mapping[str, Any], kind: str, wide: float) -> Drawing:
    x, y = chart.get("x") or {}, chart.get("y") or {}
    labels = [v if isinstance(v, int | float) else str(v) for v in x.get("values") or []]
    series = chart.get("series") or []
    numeric = kind == "lines" and all(not isinstance(v, str) for v in labels)
    longest = max((len(str(v)) for v in labels), default=0)
    crowded = not numeric and LETTER * (longest + 1) * len(labels) > wide - 0.9
    if kind == "bars" and crowded and longest > 9:
        return _lying_bars(chart, wide, longest)
    below = min(1.1, 0.05 * longest + 0.05) if crowded else 0
    names = [str(one.get("label", one["name"])) for one in series]
    columns, rows = _legend_rows(names, wide - 0.84)
    above = 0.12 + 0.2 * rows if len(series) > 1 else 0.12
    axis = _axes(wide, 2.2 + above + below, left=0.72, right=0.12, bottom=0.46 + below, top=above)
    axis.grid(True, axis="y", color=GRID, linewidth=0.7)
    axis.set_axisbelow(True)
    places = np.asarray(labels, dtype=float) if numeric else np.arange(len(labels))
    drawn = [s for s in series if s.get("values") is not None]
    every = []
    for index, (name, one) in enumerate(zip(names, series, strict=True)):
        colour = _colour(str(one.get("mode", one["name"])), index)
        if one.get("values") is None:
            low, high = _numbers(one["low"]), _numbers(one["high"])
            every += [low, high]
            axis.fill_between(places, low, high, color=colour, alpha=0.35, linewidth=0, label=name)
            continue
        values = _numbers(one["values"])
        every.append(values)
        if kind == "bars":
            width = 0.8 / max(len(drawn), 1)
            shift = (drawn.index(one) - (len(drawn) - 1) / 2) * width
            axis.bar(places + shift, values, width * 0.94, color=colour, label=name)
        else:
            axis.plot(
                places, values, color=colour, linewidth=1.7, linestyle=DASHES[index % 4], label=name,
                marker="o" if len(labels) <= 24 else None, markersize=3.6,
            )  # fmt: skip
    _scale(axis, "y", every, y.get("scale") == "log", kind)
    if not numeric:
        rotation = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if crowded else {}
        axis.set_xticks(places, [str(v) for v in labels], **rotation)
    elif labels:
        axis.set_xlim(min(labels) - 0.5, max(labels) + 0.5)
        axis.xaxis.get_major_locator().set_params(integer=True)
    axis.set_xlabel("" if crowded else x.get("label", ""))
    axis.set_ylabel(y.get("label", ""))
    if len(series) > 1:
        axis.legend(
            loc="lower left", bbox_to_anchor=(0, 1.0), ncols=columns, frameon=False, labelcolor=INK, borderaxespad=0.2,
            handlelength=1.8, columnspacing=1.4,
        )  # fmt: skip
    return _drawing(axis, places)


def _lying_bars(chart: Mapping[str, Any], wide: float, longest: int) -> Drawing:
    """Bars along x, for labels that are too long to stand side by side."""
    labels, series = [str(v) for v in chart["x"]["values"]], chart.get("series") or []
    left = min(0.55 * wide, 0.2 + LETTER * longest)
    axis = _axes(wide, 0.65 + 0.3 * len(labels), left=left, right=0.15, bottom=0.46, top=0.1)
    axis.grid(True, axis="x", color=GRID, linewidth=0.7)
    axis.set_axisbelow(True)
    thick, places, every = 0.75 / max(len(series), 1), np.arange(len(labels)), []
    for index, one in enumerate(series):
        values = _numbers(one["values"])
        every.append(values)
        shift = (index - (len(series) - 1) / 2) * thick
        axis.barh(places + shift, values, thick * 0.94, color=_colour(str(one.get("mode", one["name"])), index))
    _scale(axis, "x", every, (chart.get("y") or {}).get("scale") == "log", "bars")
    axis.set_yticks(places, labels)
    axis.invert_yaxis()
    axis.set_xlabel((chart.get("y") or {}).get("label", ""))
    return _drawing(axis)


def _scale(axis: Axes, which: str, every: list[np.ndarray], log: bool, kind: str) -> None:
    """A logarithmic axis where there is something to show on it; zeros stand on its floor."""
    values = np.concatenate(every) if every else np.empty(0)
    positive = values[np.isfinite(values) & (values > 0)]
    set_scale, lower = getattr(axis, f"set_{which}scale"), getattr(axis, f"set_{which}lim")
    ticks = getattr(axis, f"{which}axis")
    if log and positive.size:
        if np.any(values == 0) and kind == "lines":
            set_scale("symlog", linthresh=float(positive.min()))
            lower(0)
        else:
            set_scale("log")
        ticks.get_major_locator().set_params(numticks=6)
    elif not positive.size and not np.any(values < 0):
        lower(0, 1)
        getattr(axis, f"set_{which}ticks")([0])
    else:
        ticks.set_major_formatter(lambda value, _: f"{value:.4g}")


def _heatmap(chart: Mapping[str, Any], wide: float) -> Drawing:
    x, y = chart.get("x") or {}, chart.get("y") or {}
    rows = chart.get("rows") or []
    matrix = np.array([_numbers(row) for row in rows], dtype=float) if rows else np.zeros((1, 1)) * math.nan
    names, labels = list(x.get("values") or []), list(y.get("values") or [])
    numeric = all(isinstance(v, int | float) for v in names)
    long = 0.0 if numeric else min(1.4, 0.066 * max((len(str(n)) for n in names), default=0))
    left = 0.5 if all(isinstance(v, int | float) for v in labels) else 1.25
    tall = max(1.0, 0.235 * len(matrix))
    axis = _axes(wide, 0.56 + long + tall, left=left, right=0.85, bottom=0.46 + long, top=0.1)
    shown = np.ma.masked_invalid(matrix)
    norm, zeros = None, False
    if chart.get("scale") == "log":
        zeros = bool(np.any(shown == 0))
        shown = np.ma.masked_less_equal(shown, 0)
        if shown.count():
            low, high = float(shown.min()), float(shown.max())
            norm = LogNorm(low, high if high > low else low * 10)
    elif shown.count():
        norm = mpl.colors.Normalize(min(0.0, float(shown.min())), float(shown.max()) or 1.0)
    image = axis.imshow(shown, aspect="auto", interpolation="nearest", cmap="viridis", norm=norm)
    axis.spines[["left", "bottom"]].set_visible(False)
    axis.patch.set(alpha=0.3, facecolor=GRID)  # where nothing differs is a cell too
    if not numeric:
        axis.set_xticks(range(len(names)), [str(n) for n in names], rotation=40, ha="right", rotation_mode="anchor")
    axis.set_yticks(range(len(labels)), [str(v) for v in labels])
    axis.set_xlabel(x.get("label", ""))
    axis.set_ylabel(y.get("label", ""))
    if shown.count():
        place = axis.get_position()
        bar = axis.figure.add_axes((place.x1 + 0.14 / wide, place.y0, 0.12 / wide, place.height))
        low, high = image.norm.vmin, image.norm.vmax
        # A picture of 64 steps and not a colorbar, whose 256 quadrangles take longer than all the rest.
        bar.imshow(np.arange(64)[::-1, None], aspect="auto", cmap="viridis", extent=(0, 1, 0, 1))
        bar.set_xticks([])
        middle = math.sqrt(low * high) if isinstance(image.norm, LogNorm) else (low + high) / 2
        bar.set_yticks([0, 0.5, 1], [f"{v:.1e}" if 0 < v < 1e-2 else f"{v:.2g}" for v in (low, middle, high)])
        bar.yaxis.tick_right()
        bar.tick_params(colors=INK, labelsize=8, length=0)
        bar.spines[:].set_visible(False)
        if zeros:
            bar.set_xlabel(lettered("blank: 0"), fontsize=8, color=INK)
    else:
        none = lettered("equal everywhere")
        axis.text(0.5, 0.5, none, transform=axis.transAxes, ha="center", va="center", color=INK)
    return _drawing(axis, range(len(names)))


def svg(drawing: Drawing) -> str:
    """The figure as an SVG element to stand inside HTML: its ink is the page's, its text is text."""
    text = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "quamba_lab"}):
        drawing.figure.savefig(text, format="svg", metadata={"Date": None}, facecolor="none")
    body = text.getvalue()
    body = body[body.index("<svg ") :]
    width, height = (72 * inches for inches in drawing.figure.get_size_inches())
    head = f'<svg class="ql-svg" viewBox="0 0 {width:.6g} {height:.6g}" role="img" xmlns="http://www.w3.org/2000/svg" '
    head += 'xmlns:xlink="http://www.w3.org/1999/xlink">'
    return (head + body[body.index(">") + 1 :]).replace(INK, "currentColor").replace(GRID, "var(--ql-line)")
