"""What every step returns: a frozen result that knows its verdict, its tables and its pictures, and serializes.

``to_json()`` holds no times and no paths and rounds every float to 10 significant digits, so equal inputs give equal
bytes.  ``view_data()`` follows docs/report-data.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from ..texts import LANGUAGES, say, within

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["SCHEMA", "STATUSES", "StepResult", "chart", "control", "plain", "share", "significant"]

SCHEMA = 1
STATUSES = ("identical", "rounding", "fault", "not established", "established", "unknown")
"""``unknown``: nothing could be measured; the verdict says why."""


def plain(value: Any) -> Any:
    """``value`` as JSON can hold it: numpy and tuples become Python, floats 10 digits, NaN None, infinities strings."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | np.ndarray | pd.Series | pd.Index):
        return [plain(v) for v in (sorted(value) if isinstance(value, set) else value)]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        number = float(value)
        if math.isnan(number):
            return None
        if math.isinf(number):
            return "inf" if number > 0 else "-inf"
        return float(f"{number:.10g}")
    if value is None or isinstance(value, str):
        return value
    raise TypeError(f"{type(value).__name__} has no place in a result: convert it to numbers, strings or lists first")


def significant(x: float, digits: int = 3) -> str:
    """A number for a sentence: 3 significant digits, thousands separated, words for what is not finite."""
    if x is None or math.isnan(x):
        return say("not defined")
    if math.isinf(x):
        return say("infinitely many") if x > 0 else say("minus infinity")
    if x != 0 and not 1e-3 <= abs(x) < 1e15:
        return f"{x:.{digits - 1}e}"
    if abs(x) >= 1000:
        return f"{x:,.0f}"
    return f"{x:.{digits}g}"


def share(x: float) -> str:
    """A share of the whole for a sentence, in percent."""
    return say("not defined") if math.isnan(x) else f"{100 * x:.3g} %"


def control(name: str, label: str, options: list, default: Any = None) -> dict[str, Any]:
    """One control of ``view_data()``; the first option is the default."""
    return {
        "name": name, "label": label, "options": plain(options), "default": plain(options[0] if default is None
                                                                                 else default),
    }  # fmt: skip


def chart(name: str, title: str, alt: str, kind: str, depends: list[str], frames: dict, **axes: Any) -> dict[str, Any]:
    """One chart of ``view_data()``; ``frames`` is keyed by tuples of the choices in the order of ``depends``."""
    keyed = {"|".join(str(part) for part in key): plain(frame) for key, frame in frames.items()}
    return {"name": name, "title": title, "alt": alt, "kind": kind, "depends": depends, **plain(axes), "frames": keyed}


@dataclass(frozen=True, eq=False, kw_only=True)
class StepResult:
    """The common part of every step's result.

    ``status``: one of :data:`STATUSES`.  ``verdict``: one sentence computed from the numbers.  ``settings``: what was
    compared (model, task, limit, modes, layers, items, seed).  ``numbers``: the measures behind the verdict.
    ``frames``: named tables, the most important first.
    """

    STEP: ClassVar[int] = 0
    NAME: ClassVar[str] = ""
    TITLE: ClassVar[str] = ""

    status: str
    verdict: str
    settings: dict[str, Any]
    numbers: dict[str, Any]
    frames: dict[str, pd.DataFrame] = field(repr=False)

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise ValueError(f"status {self.status!r}: choose one of {', '.join(STATUSES)}")

    def table(self) -> pd.DataFrame:
        """The first of :meth:`tables`."""
        return next(iter(self.frames.values()))

    def tables(self) -> dict[str, pd.DataFrame]:
        """Every table by its title."""
        return dict(self.frames)

    def figures(self) -> list[tuple[str, Figure, str]]:
        """The standing pictures: (name, figure, a sentence or two that state the finding)."""
        raise NotImplementedError

    def figure(self, **choices: Any) -> Figure:
        """The step's main picture for the given choices."""
        raise NotImplementedError

    def view_data(self) -> dict[str, Any]:
        """Controls and charts of the interactive views (docs/report-data.md)."""
        return {"controls": [], "charts": []}

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict: the same bytes for the same inputs.

        ``verdict`` is in the language of the run, ``verdicts`` in every one, so that reports compare across languages.
        """
        return {
            "schema": SCHEMA,
            "step": self.STEP,
            "name": self.NAME,
            "title": self.TITLE,
            "status": self.status,
            "verdict": self.verdict,
            "verdicts": {lang: within(self.verdict, lang) for lang in LANGUAGES},
            "settings": plain(self.settings),
            "numbers": plain(self.numbers),
            "tables": {
                title: {"columns": [str(c) for c in t.columns], "rows": [plain(r) for r in t.itertuples(index=False)]}
                for title, t in self.frames.items()
            },
        }
