"""Views: pure functions of a run and named choices, drawn in JupyterLab by ``widgets`` and shipped in the report.

    sources = Sources(run)
    VIEWS["map"].frame(sources, mode_a="0", mode_b="2-1", item=0, stage="scan.y", run="free run")     numbers
    VIEWS["map"].figure(sources, mode_a="0", mode_b="2-1", item=0, stage="scan.y", run="free run")    matplotlib
"""

from .answers import FLIPS, ITEMS
from .export import export
from .item_text import TEXT
from .of_result import SHARED, of_result
from .on_model import ON_MODEL
from .sources import Need, Sources
from .stage_table import STAGE_TABLE
from .traces import ALONG, CODES, MAP, NUMBER, RUNS, STAGE_NAMES, TENSOR
from .view import View

__all__ = ["RUNS", "SHARED", "STAGE_NAMES", "VIEWS", "Need", "Sources", "View", "export", "of_result"]

VIEWS: dict[str, View] = {
    view.name: view for view in (TEXT, STAGE_TABLE, MAP, ALONG, NUMBER, CODES, TENSOR, ITEMS, FLIPS, ON_MODEL)
}
"""The views that need nothing but a run, by name."""
