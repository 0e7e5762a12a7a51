"""The control bar of the notebooks: plain choices over a result's pure figure function, linked within the kernel.

A choice made in one section holds in the next.  In an executed notebook the same output carries the data of every
choice in its metadata, so that the report can offer the choices without a kernel.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import ipywidgets as w
from IPython.display import display
from matplotlib import pyplot
from matplotlib.backends.backend_agg import FigureCanvasAgg

from .notebook import KEY, figure_output

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Explorer", "Selection", "explore", "selection"]

DPI = 110


class Selection:
    """The choices of a kernel: a value per control name, and who wants to know when one changes."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}
        self._listeners: list[Callable[[str, Any], None]] = []

    def get(self, name: str, default: Any) -> Any:
        return self._values.get(name, default)

    def set(self, name: str, value: Any) -> None:
        """Choose ``value``; every listener hears of it, unless it is the choice already."""
        if name in self._values and self._values[name] == value:
            return
        self._values[name] = value
        for listener in list(self._listeners):
            listener(name, value)

    def listen(self, listener: Callable[[str, Any], None]) -> None:
        self._listeners.append(listener)


selection = Selection()
"""The one that every control bar of this kernel shares."""


class Explorer:
    """A control bar over ``draw(**choices) -> figure``.

    ``controls``: as in ``view_data()`` (docs/report-data.md).  A picture is drawn once for each combination of choices
    and then kept.  ``message`` says what went wrong when drawing raised.
    """

    def __init__(
        self, draw: Callable[..., Figure], controls: list[dict[str, Any]], choices: Selection | None = None
    ):
        self._draw, self._controls = draw, {control["name"]: control for control in controls}
        self._selection = selection if choices is None else choices
        self._pictures: dict[tuple, bytes] = {}
        self.image = w.Image(format="png", layout=w.Layout(max_width="100%", width="760px"))
        self.message = w.HTML()
        self.bar = {name: _control(control) for name, control in self._controls.items()}
        for name, control in self.bar.items():
            wanted = self._selection.get(name, self._controls[name]["default"])
            if wanted in self._controls[name]["options"]:
                control.value = wanted
            control.observe(lambda change, name=name: self._selection.set(name, change["new"]), names="value")
        self._selection.listen(self._heard)
        self.widget = w.VBox([
            w.HBox(list(self.bar.values()), layout=w.Layout(flex_flow="row wrap")), self.message, self.image,
        ])  # fmt: skip
        self.redraw()

    @property
    def choices(self) -> dict[str, Any]:
        return {name: control.value for name, control in self.bar.items()}

    def _heard(self, name: str, value: Any) -> None:
        if name not in self.bar:
            return
        if value in self._controls[name]["options"] and self.bar[name].value != value:
            self.bar[name].value = value
        self.redraw()

    def redraw(self) -> None:
        """Show the picture of the present choices."""
        key = tuple(self.choices.values())
        try:
            if key not in self._pictures:
                self._pictures[key] = picture(self._draw(**self.choices))
        except ValueError as error:  # a refusal in words; anything else is a mistake and may raise
            self.message.value = f"<p role='alert'>{_escaped(str(error))}</p>"
            return
        self.message.value = ""
        self.image.value = self._pictures[key]


def _control(control: dict[str, Any]) -> w.Widget:
    options = control["options"]
    kind = w.SelectionSlider if len(options) > 4 and all(isinstance(o, int) for o in options) else w.Dropdown
    return kind(
        options=options, value=control["default"], description=control["label"], continuous_update=True,
        style={"description_width": "initial"}, layout=w.Layout(width="auto", min_width="12rem"),
    ) if kind is w.SelectionSlider else kind(
        options=options, value=control["default"], description=control["label"],
        style={"description_width": "initial"}, layout=w.Layout(width="auto"),
    )  # fmt: skip


def _escaped(text: str) -> str:
    from html import escape

    return escape(text)


def picture(figure: Figure) -> bytes:
    """A figure as PNG bytes; the figure is closed."""
    buffer = io.BytesIO()
    figure.set_dpi(DPI)
    FigureCanvasAgg(figure).print_png(buffer)
    pyplot.close(figure)
    return buffer.getvalue()


def explore(result: Any) -> None:
    """Show the control bar of a result, live here and, from its metadata, in the report."""
    data = result.view_data()
    controls = data["controls"]
    default = result.figure(**{control["name"]: control["default"] for control in controls})
    alt = data["charts"][0]["alt"] if data["charts"] else ""
    still = figure_output(default)
    pyplot.close(default)
    explorer = Explorer(result.figure, controls)
    bundle = explorer.widget._repr_mimebundle_()
    display(
        {**bundle, **still, "text/plain": alt}, metadata={KEY: {"kind": "views", "data": data, "alt": alt}}, raw=True
    )
