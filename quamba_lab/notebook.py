"""What the notebooks call: check the parameters, show a result, keep it.

Every output carries, in its metadata, what it is (verdict, figure, table, views) with its data.  JupyterLab shows the
picture; the report (quamba_lab/report) is drawn from the metadata and needs no kernel.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from IPython.display import display

from . import parameters
from .files import write_text
from .lettering import figure_language
from .texts import FREE_TEXT, LANGUAGES, current_language, heading, label, say, set_language, texts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .steps import Workbook

__all__ = [
    "KEY", "begin", "figure_output", "finish", "json_rows", "show_figure", "show_figures", "show_table", "show_verdict",
]  # fmt: skip

KEY = "quamba_lab"
"""Where an output's metadata says what it is."""

LARGEST_SVG = 300_000
"""Bytes; a picture that is larger as SVG (a large heat map) is kept as PNG at twice the resolution."""


def begin(inputs: Iterable[str] = (), **values: Any) -> parameters.Settings:
    """Check the notebook's parameters and show the ones that will be used.

    ``inputs``: IPython's ``In``, in which a parameter that papermill injected but nobody declared is found.
    Raises :class:`quamba_lab.parameters.ParameterError`.
    """
    if values.get("lang") in LANGUAGES:
        set_language(values["lang"])  # first, so that a refusal is in that language too
    known = {*values, "results_dir", "cache_dir"}
    unknown = parameters.injected(list(inputs), known)
    if unknown:
        raise parameters.ParameterError(
            f"{unknown[0]!r} is no parameter of this notebook: it takes {', '.join(sorted(known))}"
        )
    settings = parameters.check(**values)
    words = texts(settings.lang)
    public = settings.public()
    flags = " ".join(f"{name}={value}" for name, value in public.pop("flags").items())
    rows = [(words(f"settings.{name}"), _in_words(value)) for name, value in public.items()]
    rows.append((words("settings.flags"), flags or words("settings.flags.none")))
    show_table(words("settings"), pd.DataFrame(rows, columns=["", " "]), kind="settings")
    if figure_language() != settings.lang:
        text = words("figures.english")
        display({"text/plain": text}, metadata={KEY: {"kind": "note", "text": text}}, raw=True)
    return settings


def open_workbook(settings: parameters.Settings, cache_dir: str = "") -> Workbook:
    """The model, the task and the evaluations of these settings, which the steps and the control bar share."""
    from . import widgets
    from .steps import Workbook

    run = Workbook(
        model=settings.model, modes=list(settings.modes), task=settings.task, limit=settings.limit,
        cache_dir=cache_dir or None, seed=settings.seed, device=settings.device,
    )  # fmt: skip
    widgets.start(run, settings)
    return run


def show_witness(run: Workbook, settings: parameters.Settings) -> None:
    """What really ran in each mode: scan, build, and what its input held; a row per mode and distinct record."""
    rows = []
    for mode in settings.modes:
        table = run.witness(mode).table()
        for (scan, build, device, dtype), part in table.groupby(["scan", "build", "device", "u dtype"], sort=False):
            low, high = part["distinct u"].min(), part["distinct u"].max()
            rows.append({
                "mode": mode, "layers": len(part), "scan": scan, "build": build, "device": device, "u": dtype,
                "distinct values of u": f"{low}" if low == high else say("{low} to {high}", low=low, high=high),
            })  # fmt: skip
    show_table(texts(settings.lang)("witness"), pd.DataFrame(rows))


def _in_words(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def show_verdict(result: Any, lang: str = "en") -> None:
    """The verdict sentence with its status."""
    words = texts(lang)
    status = words.get(f"status.{result.status}", result.status)
    display(
        {"text/markdown": f"**{words('verdict.is', status=status)}** {_markdown_text(result.verdict)}",
         "text/plain": f"{status}: {result.verdict}"},
        metadata={KEY: {"kind": "verdict", "status": result.status, "text": result.verdict}}, raw=True,
    )  # fmt: skip


def _markdown_text(text: str) -> str:
    return "".join(f"\\{c}" if c in r"\`*_{}[]<>()#+!|$&~" else c for c in text)


def figure_output(figure: Figure) -> dict[str, str]:
    """A figure as a MIME bundle: SVG, or PNG (base64) where the SVG would be too large.  The same bytes every time."""
    from base64 import b64encode

    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    with mpl.rc_context({"svg.hashsalt": "quamba_lab", "svg.fonttype": "path"}):
        buffer = io.BytesIO()
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None}, bbox_inches_restore=None)
    if len(buffer.getvalue()) <= LARGEST_SVG:
        return {"image/svg+xml": buffer.getvalue().decode("utf-8")}
    buffer = io.BytesIO()
    canvas = FigureCanvasAgg(figure)
    figure.set_dpi(200)
    canvas.print_png(buffer)
    return {"image/png": b64encode(buffer.getvalue()).decode("ascii")}


def show_figure(name: str, figure: Figure, alt: str) -> None:
    """A standing picture with the sentence that states its finding."""
    from matplotlib import pyplot

    from .plots import data_of

    told: dict[str, Any] = {"kind": "figure", "name": name, "alt": alt}
    if (table := data_of(figure)) is not None:
        told["data"] = {"columns": [str(column) for column in table.columns], "rows": json_rows(table)}
    display({**figure_output(figure), "text/plain": alt}, metadata={KEY: told}, raw=True)
    pyplot.close(figure)


def show_figures(result: Any, names: Iterable[str] | None = None) -> None:
    """The standing pictures of a result, all or the named ones."""
    wanted = None if names is None else set(names)
    for name, figure, alt in result.figures():
        if wanted is None or name in wanted:
            show_figure(name, figure, alt)


def show_table(title: str, table: pd.DataFrame, kind: str = "table") -> None:
    """A table; numbers are shown with four significant digits and kept in full for the download.

    The download keeps the names of the code; the reader sees headings in the language of the notebook.
    """
    if not isinstance(table.index, pd.RangeIndex):
        table = table.reset_index()
    title, headings = label(title), [heading(column) for column in table.columns]
    free = [column in FREE_TEXT for column in table.columns]
    shown = [
        [_cell(value) if words else _cell(label(value)) for value, words in zip(row, free, strict=True)]
        for row in table.astype(object).itertuples(index=False, name=None)
    ]
    data = {"columns": [str(column) for column in table.columns], "rows": json_rows(table)}
    picture = pd.DataFrame(shown, columns=headings)
    display(
        {"text/html": f"<b>{_html(title)}</b>{picture.to_html(index=False, escape=True, border=0)}",
         "text/plain": f"{title}\n{picture.to_string(index=False)}"},
        metadata={KEY: {"kind": kind, "title": title, "headings": headings, **data, "shown": shown}}, raw=True,
    )  # fmt: skip


def show_tables(result: Any, titles: Iterable[str] | None = None, *, leave_out: Iterable[str] = ()) -> None:
    """The tables of a result: all or the named ones, but those of ``leave_out``."""
    wanted, unwanted = None if titles is None else set(titles), set(leave_out)
    for title, table in result.tables().items():
        if (wanted is None or title in wanted) and title not in unwanted:
            show_table(title, table)


def _html(text: str) -> str:
    from html import escape

    return escape(text)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return texts(current_language())("yes" if value else "no")
    if isinstance(value, float):
        return "" if value != value else f"{value:.4g}".replace("inf", "∞")
    return "" if value is None else str(value)


def json_rows(table: pd.DataFrame) -> list[list[Any]]:
    """Rows as JSON can hold them: NaN becomes None, and what is infinite the word for it."""
    rows = json.loads(table.to_json(orient="values", double_precision=15))
    for at, values in enumerate(table.astype(object).itertuples(index=False, name=None)):
        for column, value in enumerate(values):
            if isinstance(value, float) and math.isinf(value):
                rows[at][column] = "inf" if value > 0 else "-inf"
    return rows


def finish(result: Any, results_dir: str = "", name: str = "", lang: str = "en") -> None:
    """Show the verdict and, when ``results_dir`` is given, write ``name.json`` there for the report."""
    show_verdict(result, lang)
    if results_dir:
        content: Mapping[str, Any] = result.to_json()
        text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
        write_text(Path(results_dir) / f"{name}.json", text + "\n")
