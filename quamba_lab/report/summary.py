"""The head of the first page: the question, the verdict in words, the few numbers that carry it, what to do.

Everything is taken from the steps' JSON results; a number that a step did not measure is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..parameters import Settings
from ..texts import Texts

__all__ = ["Figure", "Lead", "lead_of"]


@dataclass(frozen=True)
class Figure:
    """One number that carries the verdict: as it is read, what it is, and what it is held against.

    ``mode``: whose colour it has, if it is one mode's.
    """

    value: str
    what: str
    beside: str = ""
    mode: str = ""


@dataclass(frozen=True)
class Lead:
    """The head of the first page; ``advice`` is what to do."""

    status: str
    verdict: str
    advice: str
    figures: tuple[Figure, ...]


def lead_of(results: dict[str, dict[str, Any] | None], settings: Settings, words: Texts) -> Lead | None:
    """The head from the results by notebook name; None where the summary left none."""
    summary = results.get("0_summary")
    if not summary:
        return None
    advice = str(summary.get("numbers", {}).get("advice", ""))
    verdict = summary["verdict"].removesuffix(advice).rstrip() if advice else summary["verdict"]
    figures = [
        *_accuracies(_rows(results, "1_is_it_real", "Modes"), settings, words),
        *_flips(_rows(results, "1_is_it_real", "Flips"), settings, words),
        *_floor(_numbers(results, "4_scan_outputs"), words),
    ]
    return Lead(summary["status"], verdict, advice, tuple(figures))


def _rows(results: dict[str, dict[str, Any] | None], step: str, title: str) -> list[dict[str, Any]]:
    table = ((results.get(step) or {}).get("tables") or {}).get(title)
    return [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]] if table else []


def _numbers(results: dict[str, dict[str, Any] | None], step: str) -> dict[str, Any]:
    return (results.get(step) or {}).get("numbers") or {}


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _accuracies(rows: list[dict[str, Any]], settings: Settings, words: Texts) -> list[Figure]:
    found = {row["mode"]: row for row in rows}
    return [
        Figure(
            _percent(row["accuracy"]), words("lead.accuracy", mode=mode),
            words("lead.interval", low=_percent(row["accuracy_low"]), high=_percent(row["accuracy_high"])), mode,
        )
        for mode in (settings.mode_a, settings.mode_b) if (row := found.get(mode)) and row["accuracy"] is not None
    ]  # fmt: skip


def _flips(rows: list[dict[str, Any]], settings: Settings, words: Texts) -> list[Figure]:
    pair = next((row for row in rows if (row["a"], row["b"]) == (settings.mode_a, settings.mode_b)), None)
    if pair is None:
        return []
    figures = [
        Figure(
            f"{pair['only_a']} : {pair['only_b']}", words("lead.flips", a=settings.mode_a, b=settings.mode_b),
            words("lead.mcnemar", p=f"{pair['p_mcnemar']:.3g}"),
        )
    ]  # fmt: skip
    needed = pair.get("items_for_observed")
    if isinstance(needed, int | float) and needed > settings.limit:
        figures.append(Figure(f"{needed:,.0f}", words("lead.items"), words("lead.items.beside", limit=settings.limit)))
    return figures


def _floor(numbers: dict[str, Any], words: Texts) -> list[Figure]:
    found = (numbers.get("times_floor") or {}).get("lockstep") or {}
    times = found.get("multiple", numbers.get("lockstep_times_floor"))
    if not isinstance(times, int | float):
        return []
    beside = words("lead.floor.beside")
    if all(isinstance(found.get(end), int | float) for end in ("low", "high")):
        beside = words("lead.interval", low=f"{found['low']:.2g}", high=f"{found['high']:.2g}") + "; " + beside
    return [Figure(f"{times:.2g} ×", words("lead.floor"), beside)]
