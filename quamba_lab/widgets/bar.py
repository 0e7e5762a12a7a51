"""The control bar: one set of controls for the whole kernel, shown wherever a section wants it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import ipywidgets as w

from ..modes import MODES
from ..texts import label
from ..views import RUNS, STAGE_NAMES, Sources

if TYPE_CHECKING:
    from ..parameters import Settings

__all__ = ["ControlBar", "Selection", "control_widget"]


class Selection:
    """The choices of a kernel: a value per control name, and who wants to know when one changes."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}
        self._listeners: list[Callable[[str, Any], None]] = []

    def get(self, name: str, default: Any = None) -> Any:
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

    def values(self) -> dict[str, Any]:
        return dict(self._values)


def control_widget(control: Mapping[str, Any], value: Any) -> w.Widget:
    """A slider for numbers, else a list to choose from; both are reached with Tab and moved with the arrow keys."""
    options, words = list(control["options"]), str(label(control["label"]))
    whole = len(options) > 4 and all(isinstance(option, int) and not isinstance(option, bool) for option in options)
    if whole and options == list(range(options[0], options[-1] + 1)):
        return w.IntSlider(
            value=value, min=options[0], max=options[-1], description=words, description_allow_html=False,
            tooltip=words, continuous_update=True,
        )  # fmt: skip
    shown = [(str(label(option)), option) for option in options]
    kind = w.SelectionSlider if whole else w.Dropdown
    return kind(options=shown, value=value, description=words, description_allow_html=False, tooltip=words)


class ControlBar:
    """Mode A, mode B, item, stage, layer, token, channel and run, as widgets that every section of the notebook shares.

    Showing a control twice shows the same control: a choice made in one section is there in the next.
    """

    def __init__(self, sources: Sources, settings: Settings, selection: Selection):
        self.sources, self.selection = sources, selection
        run = sources.run
        length = sources.length(settings.item)
        modes = [*dict.fromkeys((*settings.modes, *MODES))]
        inner = int(run.base.config.inner_size)
        rows = (
            ("mode_a", "Mode A", modes, settings.mode_a),
            ("mode_b", "Mode B", modes, settings.mode_b),
            ("item", "Item", list(range(settings.limit)), settings.item),
            ("stage", "Stage", list(STAGE_NAMES), "scan.y"),
            ("layer", "Layer", list(sources.layers), sources.layers[-1]),
            ("token", "Token", list(range(length)), length - 1),
            ("channel", "Channel", list(range(inner)), 0),
            ("run", "Run", list(RUNS), RUNS[0]),
        )  # fmt: skip
        self.controls = {
            name: {"name": name, "label": words, "options": options, "default": value}
            for name, words, options, value in rows
        }
        self.compared = list(settings.modes)
        self.widgets = {name: control_widget(one, one["default"]) for name, one in self.controls.items()}
        for name, widget in self.widgets.items():
            selection.set(name, widget.value)
            widget.observe(lambda change, name=name: self._chosen(name, change["new"]), names="value")
        selection.listen(self._heard)

    def _chosen(self, name: str, value: Any) -> None:
        if name == "item":  # items differ in length
            self.widgets["token"].max = self.sources.length(value) - 1
        self.selection.set(name, value)

    def _heard(self, name: str, value: Any) -> None:
        if name in self.widgets and self.widgets[name].value != value and self.offers(name, value):
            self.widgets[name].value = value

    def offers(self, name: str, value: Any) -> bool:
        """Whether the control has that value to choose."""
        if name == "token":
            return isinstance(value, int) and 0 <= value <= self.widgets["token"].max
        return value in self.controls[name]["options"]

    def page_controls(self, stages: Sequence[str]) -> list[dict[str, Any]]:
        """The controls with what the report may offer: the modes that were compared, one item, ``stages``."""
        fewer = {
            "mode_a": self.compared, "mode_b": self.compared, "item": [self.controls["item"]["default"]],
            "stage": list(stages),
        }  # fmt: skip
        return [{**one, "options": fewer.get(name, one["options"])} for name, one in self.controls.items()]
