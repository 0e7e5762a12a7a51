"""The interactive part of the notebooks: one control bar, and cards that follow it.

    widgets.start(run, settings)            the control bar of this kernel (``notebook.open_workbook`` does it)
    widgets.explore("map", "along")         views by name (quamba_lab/views)
    widgets.explore(result, "text")         a step's own views, then others

In an executed notebook the same output carries the data of the choices in its metadata, so that the report can offer
them without a kernel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from IPython.display import display

from ..lettering import figure_language
from ..notebook import KEY, figure_output
from ..texts import label, localized
from ..views import STAGE_NAMES, VIEWS, Sources, View, export, of_result
from .bar import ControlBar, Selection
from .busy import watch_cells
from .explorer import Explorer
from .job import listen_for_interrupts

if TYPE_CHECKING:
    from ..parameters import Settings
    from ..steps import Workbook

__all__ = ["ControlBar", "Explorer", "Selection", "explore", "selection", "start"]

selection = Selection()
"""The choices of this kernel, which every section shares."""

_bar: ControlBar | None = None

STEPS = ("scan_inputs", "dequantization", "scan_outputs", "inside_the_scan", "error_budget", "state_quantization",
         "causes", "amplifiers", "answer_tracing")  # fmt: skip
"""Steps whose result is made again for another pair of modes; ``NAME`` of a result says which it is."""


def start(run: Workbook, settings: Settings) -> ControlBar:
    """Make the control bar of this kernel; sections that are explored from now on share it."""
    global _bar
    _bar = ControlBar(Sources(run, settings.layers), settings, selection)
    listen_for_interrupts()
    watch_cells()
    return _bar


def explore(*what: Any, stages: Sequence[str] = STAGE_NAMES, **chosen: Any) -> None:
    """Show a section: ``what`` are results and names of views.

    ``stages``: those that the report offers.  ``chosen``: choices to begin with, such as ``stage="scan.u"``.
    """
    explorer = make(*what, **chosen)
    data = page_data(explorer, stages)
    still, alt = _still(explorer)
    bundle = explorer.widget._repr_mimebundle_()
    display(
        {**bundle, **still, "text/plain": alt}, metadata={KEY: {"kind": "views", "data": data, "alt": alt}}, raw=True
    )


def make(*what: Any, **chosen: Any) -> Explorer:
    """The section without showing it.  Raises ``ValueError`` for a name that is no view, or a view without a run."""
    views: list[View] = []
    controls: list[Mapping[str, Any]] = []
    for one in what:
        if isinstance(one, str):
            if one not in VIEWS:
                raise ValueError(f"{one!r} is no view: choose among {', '.join(VIEWS)}")
            if _bar is None:
                raise ValueError(f"the view {one!r} needs a run: call notebook.open_workbook(settings) first")
            views.append(VIEWS[one])
        else:
            found, own = of_result(one, _remember(one))
            views += [view for view in found if view.name not in what]  # the live view of that name is asked for
            controls += own
    for name, value in chosen.items():
        selection.set(name, value)
    return Explorer(views, _bar.sources if _bar else None, selection, _bar, controls)


def _remember(result: Any) -> str:
    """The step that made ``result``, whose result is kept for its pair; empty for anything else."""
    name = getattr(result, "NAME", "")
    settings = getattr(result, "settings", {})
    if _bar is None or name not in STEPS or "mode_a" not in settings:
        return ""
    item = (settings.get("items") or [_bar.controls["item"]["default"]])[0]
    _bar.sources.put((name, settings["mode_a"], settings["mode_b"], item), result)
    return name


def page_data(explorer: Explorer, stages: Sequence[str] = STAGE_NAMES) -> dict[str, Any]:
    """The section as the report shows it (docs/report-data.md), in the language of the notebook."""
    offered = explorer.bar.page_controls(stages) if explorer.bar else []
    own = [control for name, control in explorer.own.items() if name not in {c["name"] for c in offered}]
    controls = [control for control in (*offered, *own) if control["name"] in explorer.controls]
    # What stands first in the page is what the notebook was asked for, not where a person has left the controls.
    default = explorer.choices | {control["name"]: control["default"] for control in controls}
    return localized(export(explorer.sources, explorer.views, controls, default))


def _still(explorer: Explorer) -> tuple[dict[str, str], str]:
    """The first picture of the section for the choices it begins with, and what it shows in words."""
    for view in explorer.views:
        if view.kind in ("lines", "bars", "heatmap"):
            frame = view.frame(explorer.sources, **view.choose(explorer.choices))
            if frame.get("series") or frame.get("rows"):
                from ..views.draw import draw

                alt = str(frame.get("alt") or frame.get("note") or label(view.title))
                chart = localized({"charts": [{**view.chart(frame), "frames": {}}]}, figure_language())["charts"][0]
                return figure_output(draw(chart).figure), alt
    return {}, str(label(explorer.views[0].title)) if explorer.views else ""
