"""Pictures: pure functions of numbers that return a matplotlib figure.  Nothing here computes or decides.

Every picture can be read alone (title, units, legend), in grey and by colour-blind eyes: categorical colours are those
of Okabe and Ito (2008) with a marker each, quantities use viridis or a blue-orange diverging map.  A mode has the same
colour and marker in every picture.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import ArrayLike

from .lettering import drawn, use_font

__all__ = [
    "MODE_COLORS",
    "color_of",
    "data_of",
    "dots",
    "fingerprint",
    "grid",
    "heatmap",
    "histogram",
    "ladder",
    "lines",
    "scatter",
    "stacked",
    "with_data",
]

MODE_COLORS = {
    "0": "#0072B2",
    "2-0": "#56B4E9",
    "2-1": "#D55E00",
    "2-2": "#E69F00",
    "2-3": "#CC79A7",
    "2-4": "#009E73",
    "3": "#7F7F7F",
    "1": "#000000",
}
"""One colour for each mode of the debug plan, the same everywhere."""

_OTHERS = ("#882255", "#117733", "#332288", "#AA4499", "#999933", "#44AA99")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
FLOOR_COLOR = "#BBBBBB"
DIVERGING = "PuOr"
LETTERS_BELOW = 100
"""Letters of equally wide labels that find room below a heat map, side by side."""


def color_of(name: str) -> str:
    """The colour of a mode, or a fixed one for any other name."""
    return MODE_COLORS.get(str(name)) or _OTHERS[sum(map(ord, str(name))) % len(_OTHERS)]


def _marker_of(name: str) -> str:
    known = list(MODE_COLORS)
    return _MARKERS[known.index(name) % len(_MARKERS)] if name in known else _MARKERS[len(name) % len(_MARKERS)]


def with_data(figure: Figure, table: pd.DataFrame) -> Figure:
    """The figure with the numbers that it draws, for whoever wants to download them."""
    figure.quamba_data = table
    return figure


def data_of(figure: Figure) -> pd.DataFrame | None:
    """The numbers behind a figure of this package."""
    return getattr(figure, "quamba_data", None)


def _columns(x: ArrayLike, name: str, series: Mapping[str, ArrayLike]) -> pd.DataFrame:
    """Curves or bars as a table: the places first, a column for each."""
    return pd.DataFrame({name: list(x)} | {str(key): np.asarray(values) for key, values in series.items()})


def _matrix(values: ArrayLike, rows: Sequence | None, columns: Sequence | None, name: str) -> pd.DataFrame:
    """A matrix as a table, its row names first."""
    shown = np.ma.filled(np.ma.asarray(values, dtype=float), np.nan)
    table = pd.DataFrame(shown, columns=[str(c) for c in (range(shown.shape[1]) if columns is None else columns)])
    table.insert(0, name, list(range(shown.shape[0])) if rows is None else list(rows), allow_duplicates=True)
    return table


def _new(width: float = 7.2, height: float = 3.6, rows: int = 1, columns: int = 1, **share: bool) -> tuple[Figure, ...]:
    use_font()
    figure = Figure(figsize=(width, height), layout="constrained")
    with mpl.rc_context({"font.size": 9}):
        axes = figure.subplots(rows, columns, squeeze=False, **share)
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(True, color="#E4E4E4", linewidth=0.6)
        axis.set_axisbelow(True)
    return figure, axes


def _finish(axis: Axes, title: str, xlabel: str, ylabel: str) -> None:
    axis.set_title(drawn(title), loc="left", fontsize=10)
    axis.set_xlabel(drawn(xlabel))
    axis.set_ylabel(drawn(ylabel))


def _log_if_possible(axis: Axes, values: Sequence[ArrayLike], log: bool, which: str = "y") -> None:
    numbers = np.concatenate([np.ravel(np.asarray(v, dtype=float)) for v in values]) if values else np.empty(0)
    positive = numbers[np.isfinite(numbers) & (numbers > 0)]
    if log and positive.size:
        scale = {"linthresh" if np.any(numbers <= 0) else "nonpositive": positive.min() if np.any(numbers <= 0)
                 else "mask"}  # fmt: skip
        getattr(axis, f"set_{which}scale")("symlog" if np.any(numbers <= 0) else "log", **scale)
        low, high = positive.min(), positive.max()
        if low == numbers.min() and low > 1e-3 and high < min(100 * low, 1e4):
            which_axis = getattr(axis, f"{which}axis")
            which_axis.set_major_formatter(FuncFormatter(_plain_tick))
            which_axis.set_minor_formatter(FuncFormatter(_plain_tick))


def _plain_tick(value: float, _: int) -> str:
    """0.5 rather than 5 x 10^-1; only 1, 2, 3 and 5 of a decade, so that none meets its neighbour."""
    text = f"{value:g}"
    return text if text.strip("0.")[:1] in ("1", "2", "3", "5") else ""


def dots(
    table: pd.DataFrame, *, title: str, xlabel: str, reference: float | None = None, log: bool = False
) -> Figure:
    """Values with their intervals, one row each: columns ``label``, ``value``, ``low``, ``high``, optional ``group``.

    ``group`` (a mode) gives the colour; ``reference`` draws a line, such as 0 for no difference.
    """
    figure, axes = _new(height=0.9 + 0.34 * max(len(table), 2))
    axis = axes[0, 0]
    for row, entry in enumerate(table.itertuples(index=False)):
        name = str(getattr(entry, "group", entry.label))
        if np.isfinite(entry.low) and np.isfinite(entry.high):
            axis.plot([entry.low, entry.high], [row, row], color=color_of(name), linewidth=2.2, solid_capstyle="butt")
        if np.isfinite(entry.value):
            axis.plot(entry.value, row, _marker_of(name), color=color_of(name), markersize=7, markeredgecolor="white")
    if reference is not None:
        axis.axvline(reference, color="#444444", linewidth=1, linestyle="--")
    axis.set_yticks(range(len(table)), [drawn(name) for name in table["label"]])
    axis.set_ylim(max(len(table), 1) - 0.5, -0.5)
    _log_if_possible(axis, [table["value"]], log, "x")
    _finish(axis, title, xlabel, "")
    columns = [c for c in ("label", "group", "value", "low", "high") if c in table]
    return with_data(figure, table[columns].reset_index(drop=True))


def lines(
    x: Sequence, series: Mapping[str, ArrayLike], *, title: str, xlabel: str, ylabel: str,
    band: tuple[ArrayLike, ArrayLike] | None = None, band_label: str = "floor", log: bool = True,
    dashed: Sequence[str] = (), colors: Mapping[str, str] | None = None,
) -> Figure:  # fmt: skip
    """Curves over ``x`` (numbers or labels), with an optional grey band.

    ``dashed``: names drawn dashed.  ``colors``: the mode whose colour a curve takes, when its name is not the mode's.
    """
    figure, axes = _new()
    axis = axes[0, 0]
    numeric = all(isinstance(v, int | float | np.number) for v in x)
    places = np.asarray(x, dtype=float) if numeric else np.arange(len(x))
    if band is not None:
        low, high = (np.asarray(b, dtype=float) for b in band)
        axis.fill_between(places, low, high, color=FLOOR_COLOR, alpha=0.6, label=drawn(band_label), linewidth=0)
    for name, values in series.items():
        mode = (colors or {}).get(name, name)
        axis.plot(
            places, np.asarray(values, dtype=float), label=drawn(name), color=color_of(mode), linewidth=1.4,
            marker=_marker_of(mode) if len(places) <= 40 else None, markersize=4,
            linestyle="--" if name in dashed else "-",
        )  # fmt: skip
    if not numeric:
        axis.set_xticks(places, [str(drawn(v)) for v in x], rotation=35, ha="right", fontsize=8)
    _log_if_possible(axis, [*series.values(), *(band or ())], log)
    if len(series) > 1 or band is not None:
        axis.legend(fontsize=8, frameon=False)
    _finish(axis, title, xlabel, ylabel)
    limits = {} if band is None else {f"{band_label} (low)": band[0], f"{band_label} (high)": band[1]}
    return with_data(figure, _columns(x, xlabel, {**series, **limits}))


def ladder(
    operations: Sequence[str], series: Mapping[str, ArrayLike], *, title: str, ylabel: str,
    band: ArrayLike | None = None, band_label: str = "bound", colors: Mapping[str, str] | None = None,
) -> Figure:  # fmt: skip
    """Error after each operation in its order, one curve for each side; ``band``: from 0 up to the bound of each."""
    limits = None if band is None else (np.full(len(operations), 1e-30), np.asarray(band, dtype=float))
    figure = lines(
        operations, series, title=title, xlabel="operation, in order of computation", ylabel=ylabel, band=limits,
        band_label=band_label, colors=colors,
    )  # fmt: skip
    values = np.concatenate([np.ravel(np.asarray(v, dtype=float)) for v in series.values()])
    positive = values[np.isfinite(values) & (values > 0)]
    if positive.size:
        top = max(positive.max(), np.nanmax(band) if band is not None else 0)
        figure.axes[0].set_ylim(positive.min() / 5 if (values > 0).all() else 0, top * 5)
    bounds = {} if band is None else {band_label: band}
    return with_data(figure, _columns(operations, "operation", {**series, **bounds}))


def heatmap(
    values: ArrayLike, *, title: str, xlabel: str, ylabel: str, label: str, columns: Sequence | None = None,
    rows: Sequence | None = None, log: bool = True, diverging: bool = False,
) -> Figure:  # fmt: skip
    """A matrix (rows x columns) as colours; NaN and, on a log scale, 0 stay white."""
    figure, axes = _new(height=3.4)
    axis = axes[0, 0]
    axis.grid(False)
    matrix = np.ma.masked_invalid(np.asarray(values, dtype=float))
    norm = None
    if diverging and matrix.count():
        reach = max(float(np.abs(matrix).max()), 1e-300)
        norm = TwoSlopeNorm(0.0, -reach, reach)
    elif log:
        matrix = np.ma.masked_less_equal(matrix, 0)
        if matrix.count() and matrix.max() > matrix.min():
            norm = LogNorm(float(matrix.min()), float(matrix.max()))
    image = axis.imshow(
        matrix, aspect="auto", interpolation="nearest", norm=norm, cmap=DIVERGING if diverging else "viridis"
    )
    if columns is not None and len(columns) <= 30:
        names = [str(drawn(c)) for c in columns]
        turned = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"}
        crowded = len(names) * max(map(len, names), default=0) > LETTERS_BELOW
        axis.set_xticks(range(len(names)), names, fontsize=8, **(turned if crowded else {}))
    if rows is not None and len(rows) <= 40:
        axis.set_yticks(range(len(rows)), [str(drawn(r)) for r in rows], fontsize=8)
    figure.colorbar(image, ax=axis, label=drawn(label))
    _finish(axis, title, xlabel, ylabel)
    return with_data(figure, _matrix(values, rows, columns, f"{ylabel} \\ {xlabel}"))


def grid(table: pd.DataFrame, *, title: str, good: float, label: str, text: str = "{:.0f}") -> Figure:
    """A table of numbers as coloured cells with the number in each; ``good`` is the value that needs no attention."""
    figure, axes = _new(width=1.8 + 0.75 * max(table.shape[1], 4), height=1.1 + 0.36 * max(len(table), 2))
    axis = axes[0, 0]
    axis.grid(False)
    values = table.to_numpy(dtype=float)
    shade = np.where(np.isnan(values), np.nan, (values == good).astype(float))
    axis.imshow(np.ma.masked_invalid(shade), cmap=mpl.colors.ListedColormap(["#E69F00", "#CFE3F1"]), vmin=0, vmax=1,
                aspect="auto")  # fmt: skip
    for (r, c), value in np.ndenumerate(values):
        shown = "–" if np.isnan(value) else text.format(value)
        axis.text(c, r, shown, ha="center", va="center", fontsize=8, fontweight="bold" if value != good else "normal")
    axis.set_xticks(range(table.shape[1]), [str(drawn(c)) for c in table.columns], fontsize=8)
    axis.set_yticks(range(len(table)), [str(drawn(i)) for i in table.index], fontsize=8)
    _finish(axis, title, label, "")
    return with_data(figure, table.reset_index())


def histogram(counts: Mapping[str, Mapping[str, int]], *, title: str, xlabel: str, ylabel: str = "elements") -> Figure:
    """Bars over named bins on a logarithmic count axis, one colour per name (a mode)."""
    figure, axes = _new()
    axis = axes[0, 0]
    bins = list(next(iter(counts.values()))) if counts else []
    width = 0.8 / max(len(counts), 1)
    for i, (name, values) in enumerate(counts.items()):
        places = np.arange(len(bins)) + (i - (len(counts) - 1) / 2) * width
        heights = [values[b] for b in bins]
        axis.bar(places, heights, width, label=drawn(name), color=color_of(name), hatch=("", "//", "..", "xx")[i % 4],
                 edgecolor="white", linewidth=0.5)  # fmt: skip
        if len(counts) == 1:
            for x, h in zip(places, heights, strict=True):
                if h:
                    axis.annotate(f"{h:,}", (x, h), ha="center", va="bottom", fontsize=7)
    axis.set_xticks(range(len(bins)), [textwrap.fill(drawn(b), 9) for b in bins], fontsize=8)
    if any(v for values in counts.values() for v in values.values()):
        axis.set_yscale("log")
    if len(counts) > 1:
        axis.legend(fontsize=8, frameon=False)
    _finish(axis, title, xlabel, ylabel)
    heights = {name: [values[b] for b in bins] for name, values in counts.items()}
    return with_data(figure, _columns(bins, xlabel, heights))


def stacked(
    labels: Sequence, parts: Mapping[str, ArrayLike], *, title: str, xlabel: str, ylabel: str, horizontal: bool = False
) -> Figure:
    """Stacked bars: how a whole divides into named parts, for each label."""
    figure, axes = _new()
    axis = axes[0, 0]
    palette = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#7F7F7F")
    base = np.zeros(len(labels))
    for i, (name, values) in enumerate(parts.items()):
        heights = np.nan_to_num(np.asarray(values, dtype=float))
        style = {"label": drawn(name), "color": palette[i % len(palette)], "edgecolor": "white", "linewidth": 0.5,
                 "hatch": ("", "//", "..", "xx", "\\\\")[i % 5]}  # fmt: skip
        if horizontal:
            axis.barh(np.arange(len(labels)), heights, left=base, **style)
        else:
            axis.bar(np.arange(len(labels)), heights, bottom=base, **style)
        base = base + heights
    set_ticks = axis.set_yticks if horizontal else axis.set_xticks
    set_ticks(range(len(labels)), [str(drawn(v)) for v in labels], fontsize=8)
    if horizontal:
        axis.invert_yaxis()
    axis.legend(fontsize=8, frameon=False)
    _finish(axis, title, xlabel, ylabel)
    return with_data(figure, _columns(labels, (ylabel if horizontal else xlabel) or "label", parts))


def scatter(
    x: ArrayLike, y: ArrayLike, *, title: str, xlabel: str, ylabel: str, highlight: ArrayLike | None = None,
    highlight_label: str = "", diagonal: bool = True,
) -> Figure:  # fmt: skip
    """Points of one quantity against another with the line of equality; ``highlight`` marks some of them."""
    figure, axes = _new(width=4.8, height=4.4)
    axis = axes[0, 0]
    x, y = (np.asarray(v, dtype=float) for v in (x, y))
    marked = np.zeros(x.shape, dtype=bool) if highlight is None else np.asarray(highlight, dtype=bool)
    axis.plot(x[~marked], y[~marked], "o", markersize=2.5, alpha=0.5, color="#0072B2", rasterized=x.size > 2000)
    if marked.any():
        axis.plot(x[marked], y[marked], "^", markersize=5, color="#D55E00", label=drawn(highlight_label))
        axis.legend(fontsize=8, frameon=False)
    finite = np.concatenate([x[np.isfinite(x)], y[np.isfinite(y)]])
    if diagonal and finite.size:
        ends = [finite.min(), finite.max()]
        axis.plot(ends, ends, color="#444444", linewidth=0.8, linestyle="--")
    _finish(axis, title, xlabel, ylabel)
    # Six digits tell any two float16 apart, and keep the data of thousands of points small.
    table = pd.DataFrame({xlabel: [float(f"{v:.6g}") for v in x], ylabel: [float(f"{v:.6g}") for v in y]})
    if highlight is not None:
        table[highlight_label] = marked
    return with_data(figure, table)


def fingerprint(
    shares: ArrayLike, *, title: str, rows: Sequence[str], columns: Sequence[str], numbers: ArrayLike
) -> Figure:
    """Channels of evidence (rows) by probes (columns), each share of 0 to 1 a shade; ``numbers`` above 0 are written
    in."""
    matrix, written = np.asarray(shares, dtype=float), np.asarray(numbers)
    figure, axes = _new(width=2.4 + 0.3 * max(len(columns), 8), height=1.5 + 0.34 * len(rows))
    axis = axes[0, 0]
    axis.grid(False)
    image = axis.imshow(matrix, cmap="viridis", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    for (r, c), number in np.ndenumerate(written):
        if number > 0:
            axis.text(c, r, str(number), ha="center", va="center", fontsize=7, color="k" if matrix[r, c] > 0.5 else "w")
    axis.set_xticks(range(len(columns)), [drawn(c) for c in columns], rotation=90, fontsize=8)
    axis.set_yticks(range(len(rows)), [drawn(r) for r in rows], fontsize=8)
    _finish(axis, title, "", "")
    figure.colorbar(image, ax=axis, fraction=0.02, pad=0.01).set_label(drawn("share"), fontsize=8)
    return with_data(figure, _matrix(matrix, rows, columns, "evidence"))
