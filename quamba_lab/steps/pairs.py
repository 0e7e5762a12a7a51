"""One step's results for several modes B against the same mode A, joined so that a reader chooses the pair."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from .result import StepResult, control

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Pairs", "against", "pairs"]


class Pairs:
    """The views of several results of one step; ``results`` by mode B, the one in question first."""

    def __init__(self, mode_a: str, results: dict[str, StepResult]):
        self.mode_a, self.results = mode_a, results

    def figure(self, mode_b: str | None = None, mode_a: str | None = None, **choices: Any) -> Figure:
        """The picture of one pair.  Raises ``ValueError`` for a mode B that was not compared."""
        mode_b = next(iter(self.results)) if mode_b is None else mode_b
        if mode_b not in self.results:
            raise ValueError(f"mode {mode_b} was not compared with {self.mode_a}: choose {', '.join(self.results)}")
        return self.results[mode_b].figure(**choices)

    def view_data(self) -> dict[str, Any]:
        """The results' views under a control ``mode_b``; what is the same for every pair is kept once."""
        views = {mode: view for mode, result in self.results.items() if (view := result.view_data())["charts"]}
        if not views:
            return {"controls": [], "charts": []}
        controls: dict[str, dict[str, Any]] = {}
        for view in views.values():
            for offered in view["controls"]:
                known = controls.setdefault(offered["name"], {**offered, "options": []})
                known["options"] += [option for option in offered["options"] if option not in known["options"]]
        names = dict.fromkeys(chart["name"] for view in views.values() for chart in view["charts"])
        return {
            "controls": [
                control("mode_a", "Mode A", [self.mode_a]), control("mode_b", "Mode B", list(views)), *controls.values()
            ],
            "charts": [_joined(name, views) for name in names],
        }  # fmt: skip


def pairs(mode_a: str, results: Iterable[tuple[str, StepResult]]) -> Pairs:
    """Join ``(mode_b, result)`` pairs of one step; the first is what the views show at first."""
    return Pairs(mode_a, dict(results))


def against(
    mode_a: str, mode_b: str, modes: Sequence[str], result: StepResult, make: Callable[[str], StepResult]
) -> Pairs:
    """``result``, which compares ``mode_b`` with ``mode_a``, joined with ``make(mode)`` for every other mode."""
    others = [mode for mode in modes if mode not in (mode_a, mode_b)]
    return pairs(mode_a, [(mode_b, result), *((mode, make(mode)) for mode in others)])


def _joined(name: str, views: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """One chart of all pairs that have it."""
    found = {
        mode: (chart, {c["name"]: c["default"] for c in view["controls"]})
        for mode, view in views.items() for chart in view["charts"] if chart["name"] == name
    }  # fmt: skip
    first, _ = next(iter(found.values()))
    if len(found) == len(views) and all(_same(chart, first) for chart, _ in found.values()):
        return first
    frames = {}
    for mode, (chart, defaults) in found.items():
        shown_first = "|".join(str(defaults[name]) for name in chart["depends"])
        # What a pair's chart has of its own goes into its frames.
        own = {axis: chart[axis] for axis in ("x", "y", "scale") if chart.get(axis) != first.get(axis)}
        for key, frame in chart["frames"].items():
            alt = {"alt": chart["alt"]} if key == shown_first else {}
            frames[f"{mode}|{key}" if key else mode] = {**alt, **own, **frame}
    return {**first, "depends": ["mode_b", *first["depends"]], "frames": frames}


def _same(chart: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two charts show the same, whatever their sentences say."""
    return {**chart, "alt": ""} == {**other, "alt": ""}
