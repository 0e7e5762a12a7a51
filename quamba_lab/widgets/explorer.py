"""A section's views under the control bar: each card follows the choices it depends on, and keeps what it has drawn."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape
from typing import Any

import ipywidgets as w

from ..texts import label, localized, say
from ..views import Sources, View
from ..views.draw import Drawing
from ..views.sources import QUICK, SLOW, Need, in_words
from .bar import ControlBar, Selection, control_widget
from .cards import body, card, drawing
from .job import Job, Stopped
from .panel import Panel

__all__ = ["Explorer"]

KEPT = 300
"""Drawn frames that a section keeps."""


class Explorer:
    """``views`` under the controls that they depend on.

    ``bar``: the kernel's control bar, or None for a section that has only ``controls`` of its own.  A card out of sight
    waits until it comes into sight.  What is not computed yet is computed in a thread, with progress and a button that
    stops it; :meth:`wait` waits for that.
    """

    def __init__(
        self, views: Sequence[View], sources: Sources | None, selection: Selection, bar: ControlBar | None = None,
        controls: Sequence[Mapping[str, Any]] = (),
    ):  # fmt: skip
        self.views, self.sources, self.selection, self.bar = _filled(views), sources, selection, bar
        self.own = {control["name"]: control for control in controls}
        self._drawn: OrderedDict[tuple, tuple[dict, tuple[Drawing, str] | None]] = OrderedDict()
        self._job: Job | None = None
        self.job_error: BaseException | None = None
        self.controls = self._make_controls()
        self.panels = {view.name: self._panel(view) for view in self.views}
        self.words = w.HTML()
        self.progress = w.IntProgress(min=0, max=1, layout=w.Layout(width="180px", height="14px"))
        self.button = w.Button(description="Stop", layout=w.Layout(width="auto"))
        self.button.on_click(self._pressed)
        self.status = w.HBox([self.words, self.progress, self.button], layout=w.Layout(display="none"))
        self.status.add_class("ql-status")
        shown = w.Box(list(self.controls.values()))
        shown.add_class("ql-controls")
        cards = w.Box(list(self.panels.values()))
        cards.add_class("ql-cards")
        self.widget = w.VBox([shown, self.status, cards])
        self.widget.add_class("ql-explorer")
        selection.listen(self._heard)
        self.refresh()

    def _make_controls(self) -> dict[str, w.Widget]:
        """The bar's controls that some view uses, then the section's own."""
        used = {name for view in self.views for name in (*view.depends, *view.marks)}
        found: dict[str, w.Widget] = {}
        if self.bar is not None:
            found |= {name: widget for name, widget in self.bar.widgets.items() if name in used}
        for name, control in self.own.items():
            if name in found or name not in used:
                continue
            wanted = self.selection.get(name, control["default"])
            widget = control_widget(control, wanted if wanted in control["options"] else control["default"])
            widget.observe(lambda change, name=name: self.selection.set(name, change["new"]), names="value")
            found[name] = widget
        return found

    def _panel(self, view: View) -> Panel:
        panel = Panel(self._clicked, lambda: self.refresh())
        if view.wide:
            panel.add_class("ql-wide")
        return panel

    @property
    def choices(self) -> dict[str, Any]:
        """The present choice of every control of this section."""
        return {name: widget.value for name, widget in self.controls.items()}

    def _clicked(self, choice: Mapping[str, Any]) -> None:
        """Choose what a click chose, if a control offers it."""
        for name, value in choice.items():
            if name not in self.controls:
                continue
            shared = self.bar is not None and name in self.bar.widgets
            if self.bar.offers(name, value) if shared else value in self.own[name]["options"]:
                self.controls[name].value = value

    def _heard(self, name: str, value: Any) -> None:
        if name not in self.controls:
            return
        own = self.own.get(name)
        if (self.bar is None or name not in self.bar.widgets) and own is not None:
            if value not in own["options"]:
                return
            if self.controls[name].value != value:
                self.controls[name].value = value
        self.refresh()

    # Drawing ---------------------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Draw every card in sight for the present choices; start to compute what is missing."""
        choices = self.choices
        missing: list[Need] = []
        for view in self.views:
            panel = self.panels[view.name]
            if panel.seen is False:
                continue
            lacking = self.sources.missing(view.needs(self.sources, **view.choose(choices))) if self.sources else []
            if lacking:
                panel.stale = True
                missing += lacking
            else:
                self._draw(view, choices)
        # What is quick comes first, so that its cards need not wait for a step.
        self._compute(sorted(dict.fromkeys(missing), key=lambda need: need[0] not in QUICK))

    def _draw_ready(self) -> None:
        """Draw the cards whose part of a computation is done already."""
        choices = self.choices
        for view in self.views:
            panel = self.panels[view.name]
            if panel.stale and not self.sources.missing(view.needs(self.sources, **view.choose(choices))):
                self._draw(view, choices)

    def _draw(self, view: View, choices: Mapping[str, Any]) -> None:
        """The card first and then its fading, so that no old picture ever looks like the present choice."""
        self._redraw(view, choices)
        self.panels[view.name].stale = False

    def _redraw(self, view: View, choices: Mapping[str, Any]) -> None:
        chosen = view.choose(choices)
        key = (view.name, *chosen.values())
        try:
            if key not in self._drawn:
                frame = _in_words(view, view.frame(self.sources, **chosen))
                self._drawn[key] = (frame, drawing(view, frame))
                while len(self._drawn) > KEPT:
                    self._drawn.popitem(last=False)
            frame, picture = self._drawn[key]
        except ValueError as error:  # a refusal in words; anything else is a mistake and may raise
            self.panels[view.name].html = card(view, "", {"note": str(error)})
            return
        self.panels[view.name].html = card(view, body(view, frame, picture, choices), frame)

    # Computing -------------------------------------------------------------------------------------------------------

    def _compute(self, missing: list[Need], asked: bool = False) -> None:
        if self._job is not None:
            self._job.stop()
            self._job = None
        if not missing:
            self.status.layout.display = "none"
            return
        self._missing = missing
        if not asked and any(need[0] in SLOW for need in missing):
            self._say("Not computed for this choice yet, and it takes a while.", button="Compute")
            return
        self.progress.max, self.progress.value = len(missing), 0
        parts = [(in_words(need), lambda need=need: self.sources.get(need)) for need in missing]

        def told(done: int, words: str) -> None:
            if self._job is job:
                self._draw_ready()
                self.progress.value = done
                self._say(say("Computing {what} …", what=words), button="Stop")

        def ended(error: BaseException | None) -> None:
            if self._job is not job:
                return  # another choice was made meanwhile
            self._job, self.job_error = None, error
            if error is None:
                self.status.layout.display = "none"
                self.refresh()
            elif isinstance(error, Stopped):
                self._say("Stopped: this choice is not computed.", button="Compute")
            else:
                self._say(str(error), button="Compute")

        job = self._job = Job(parts, told, ended)
        job.start()

    def _say(self, words: str, button: str) -> None:
        self.words.value = f"<span role='status'>{escape(str(label(words)))}</span>"
        self.progress.layout.display = "" if button == "Stop" else "none"
        self.button.description = str(label(button))
        self.status.layout.display = ""

    def _pressed(self, _: Any) -> None:
        if self._job is not None:
            self._job.stop()
        else:
            self._compute(self._missing, asked=True)

    def wait(self, seconds: float = 600) -> None:
        """Until nothing is being computed for the present choices."""
        while (job := self._job) is not None:
            job.wait(seconds)
            if job.alive:
                raise TimeoutError(f"still computing after {seconds} seconds")


def _filled(views: Sequence[View]) -> list[View]:
    """The views with no gap between them: of an odd number of half cards in a row the last takes the whole width."""
    found, halves = [], 0
    for number, view in enumerate(views):
        halves = 0 if view.wide else halves + 1
        last = number + 1 == len(views) or views[number + 1].wide
        found.append(replace(view, wide=True) if halves % 2 and last else view)
    return found


def _in_words(view: View, frame: Mapping[str, Any]) -> dict[str, Any]:
    """The frame with the chart's axes, its labels in the language of the notebook."""
    chart = {**view.chart(frame), "frames": {}}
    return localized({"charts": [chart]})["charts"][0]

