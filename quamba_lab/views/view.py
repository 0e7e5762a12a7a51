"""A view: a pure function of the run and of named choices whose answer is a frame, plain numbers with labels.

The same frame is a matplotlib figure (``view.figure``), a card in JupyterLab (quamba_lab/widgets) and an entry of the
report's data (quamba_lab/views/export.py); docs/report-data.md says what a frame holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .sources import Need, Sources

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["View"]


def _nothing(sources: Sources, **choices: Any) -> list[Need]:
    return []


@dataclass(frozen=True)
class View:
    """``frame(sources, **choices)`` takes the choices named in ``depends`` and computes from what ``needs`` names.

    ``kind``: ``lines``, ``bars``, ``heatmap``, ``tokens`` or ``table``.  ``axes``: the chart's ``x``, ``y``, ``scale``.
    ``marks``: choices that only move a mark on the picture.  ``wide``: takes the whole width.  ``page``: whether the
    report shows it; ``page_options`` narrows what the report offers, by control.
    """

    name: str
    title: str
    kind: str
    depends: tuple[str, ...]
    frame: Callable[..., dict[str, Any]]
    needs: Callable[..., list[Need]] = _nothing
    axes: Mapping[str, Any] = field(default_factory=dict)
    marks: tuple[str, ...] = ()
    wide: bool = False
    page: bool = True

    def choose(self, choices: Mapping[str, Any]) -> dict[str, Any]:
        """Those of ``choices`` that the frame depends on."""
        return {name: choices[name] for name in self.depends}

    def chart(self, frame: Mapping[str, Any]) -> dict[str, Any]:
        """The frame with the chart's own axes, title and kind: all that a picture needs."""
        return {"title": self.title, "kind": self.kind, **self.axes, **frame}

    def figure(self, sources: Sources, **choices: Any) -> Figure:
        """The picture for the given choices.  Raises ``ValueError`` for a table or a text, which are no pictures."""
        from .draw import draw

        return draw(self.chart(self.frame(sources, **self.choose(choices)))).figure
