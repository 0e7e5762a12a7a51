"""Step 1: is the difference between the modes real, before anybody looks for its cause?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .. import statistics as st
from ..texts import paragraph, plural, say
from .floor import MULTIPLES, floor_tables, repeated
from .pair_tests import Pair, judge_pairs, modes_table, pairs_tables
from .plan import PLAN, plans_figures
from .result import StepResult, chart, control, plain, share, significant
from .workbook import Answers, Workbook

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["PLAN", "IsItReal", "Pair", "is_it_real", "judge_pairs"]


def _mode_labels(modes: pd.DataFrame) -> pd.Series:
    return pd.Series([say("mode {mode}", mode=mode) for mode in modes["mode"]], dtype=object, index=modes.index)


@dataclass(frozen=True, eq=False, kw_only=True)
class IsItReal(StepResult):
    """Step 1's result; ``pairs`` and ``answers`` hold what the tables were made of."""

    STEP = 1
    NAME = "is_it_real"
    TITLE = "Is it real?"
    reference: str = ""
    pairs: tuple[Pair, ...] = ()
    claim: st.Claim | None = None
    answers: dict[str, Answers] = field(default_factory=dict, repr=False)

    @property
    def others(self) -> list[str]:
        return [mode for mode in self.answers if mode != self.reference]

    def pair(self, mode: str) -> Pair:
        """The reference against ``mode``."""
        return next(p for p in self.pairs if {p.a, p.b} == {self.reference, mode})

    def figures(self) -> list[tuple[str, Figure, str]]:
        from .. import plots

        modes, flips = self.frames["Modes"], self.frames["Flips"]
        pictures = []
        accuracy = modes.rename(columns={"accuracy": "value", "accuracy_low": "low", "accuracy_high": "high"})
        accuracy = accuracy.assign(label=_mode_labels(modes), group=modes["mode"])
        best, worst = modes.loc[modes["accuracy"].idxmax()], modes.loc[modes["accuracy"].idxmin()]
        overlap = best["accuracy_low"] <= worst["accuracy_high"]
        pictures.append(
            (
                "accuracy", plots.dots(accuracy, title="Accuracy with Wilson's 95 % interval", xlabel="share right"),
                say(
                    "Accuracy runs from {low} (mode {worst}) to {high} (mode {best}); their 95 % intervals {overlap}.",
                    low=share(worst["accuracy"]), worst=worst["mode"], high=share(best["accuracy"]),
                    best=best["mode"], overlap=say("overlap") if overlap else say("do not overlap"),
                ),
            )
        )  # fmt: skip
        perplexity = modes.rename(columns={"perplexity": "value", "perplexity_low": "low", "perplexity_high": "high"})
        perplexity = perplexity.assign(label=_mode_labels(modes), group=modes["mode"])
        low, high = modes.loc[modes["perplexity"].idxmin()], modes.loc[modes["perplexity"].idxmax()]
        pictures.append(
            (
                "perplexity",
                plots.dots(perplexity, title="Perplexity with its bootstrap 95 % interval", xlabel="perplexity"),
                say(
                    "Perplexity runs from {low} (mode {best}) to {high} (mode {worst}).",
                    low=significant(low["perplexity"], 4), best=low["mode"],
                    high=significant(high["perplexity"], 4), worst=high["mode"],
                ),
            )
        )
        if len(flips):
            forest = pd.DataFrame(
                {
                    "label": flips["b"] + " against " + flips["a"], "value": 100 * flips["difference"],
                    "low": 100 * flips["low"], "high": 100 * flips["high"], "group": flips["b"],
                }
            )  # fmt: skip
            across = int(((flips["low"] <= 0) & (flips["high"] >= 0)).sum())
            pictures.append(
                (
                    "differences",
                    plots.dots(
                        forest, title="Paired difference of accuracy, Newcombe's 95 % interval",
                        xlabel="percentage points", reference=0.0,
                    ),
                    say(
                        "{across} of {pairs} pairs have an interval of the accuracy difference that contains zero.",
                        across=across, pairs=len(flips)
                    ),
                )
            )  # fmt: skip
            pictures += [self._floor_picture(), self._power_picture()]
            for mode in self.others[:1] if len(self.others) == 1 else [m for m in ("2-1",) if m in self.others]:
                pair = self.pair(mode)
                pictures.append(
                    (
                        "items", self.figure(mode_b=mode),
                        say(
                            "Log-probability of each item's target in modes {reference} and {mode}: {unequal} of {n} "
                            "items are not bit-equal, {discordant} change between right and wrong.",
                            reference=self.reference, mode=mode, unequal=pair.log_probability.unequal,
                            n=pair.accuracy.n, discordant=pair.accuracy.discordant
                        ),
                    )
                )  # fmt: skip
        return pictures

    def _floor_picture(self) -> tuple[str, Figure, str]:
        from .. import plots

        multiples = self.frames["Difference in units of the floor"]
        shown = multiples[np.isfinite(multiples["multiple"]) & (multiples["multiple"] > 0)]
        table = pd.DataFrame(
            {
                "label": [say("{mode} / {kind}", mode=row.mode, kind=row.kind) for row in shown.itertuples()],
                "value": shown["multiple"], "low": shown["low"],
                "high": shown["high"], "group": shown["mode"],
            }
        )  # fmt: skip
        largest = significant(shown["multiple"].max())
        top = say("the largest is {times} times", times=largest) if len(shown) else say("none can be formed")
        return (
            "floor",
            plots.dots(table, title="Difference from the reference, in units of what legal reorderings change",
                       xlabel="multiple of the floor (RMS of per-item log-probability)", reference=1.0, log=True),
            say(
                "Differences of log-probability as multiples of the floor of each kind of legal reordering; {top}.",
                top=top
            ),
        )  # fmt: skip

    def _power_picture(self) -> tuple[str, Figure, str]:
        from .. import plots

        pair = self.pair("2-1" if "2-1" in self.others else self.others[0])
        n = pair.accuracy.n
        sizes = sorted({round(10**e) for e in np.linspace(1.3, 4.3, 40)} | {n})
        claimed = st.claimed_rates(pair.accuracy.discordant / n)
        named = say("{points} points", points=f"{st.CLAIMED_POINTS * 100:.0f}")
        curves = {named: [st.mcnemar_power(s, *claimed) for s in sizes]}
        if pair.accuracy.only_a != pair.accuracy.only_b:
            rates = (pair.accuracy.only_a / n, pair.accuracy.only_b / n)
            curves[say("observed, {b} against {a}", b=pair.b, a=pair.a)] = [st.mcnemar_power(s, *rates) for s in sizes]
        figure = plots.lines(
            sizes, curves, title="Chance that exact McNemar sees the difference", xlabel="items", ylabel="power",
            log=False, colors={name: pair.b if i else "1" for i, name in enumerate(curves)},
        )  # fmt: skip
        axis = figure.axes[0]
        axis.set_xscale("log")
        axis.axhline(st.POWER, color="#444444", linestyle=":", linewidth=1)
        axis.axvline(n, color="#444444", linestyle="--", linewidth=1)
        here = st.mcnemar_power(n, *claimed)
        return (
            "power", figure,
            say(
                "With {n} items (dashed) a loss of {points} points would be seen with a chance of {chance}; "
                "{power} (dotted) takes {items} items.",
                n=n, points=f"{st.CLAIMED_POINTS * 100:.0f}", chance=share(here), power=share(st.POWER),
                items=significant(pair.items_claimed)
            ),
        )  # fmt: skip

    def items(self) -> pd.DataFrame:
        """One row per item and mode: right or not, log-probability of the target (nats), margin to the next word."""
        return pd.concat(
            [
                pd.DataFrame(
                    {
                        "item": range(len(found.correct)), "mode": mode, "correct": found.correct,
                        "log_probability": found.log_probability, "margin": found.margin,
                    }
                )
                for mode, found in self.answers.items()
            ],
            ignore_index=True,
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """With every item's answer in every mode."""
        per_item = {
            mode: {"correct": found.correct, "log_probability": found.log_probability, "margin": found.margin}
            for mode, found in self.answers.items()
        }
        return super().to_json() | {"items": plain(per_item)}

    def figure(self, mode_b: str | None = None) -> Figure:
        """Per-item log-probability of the reference against ``mode_b``, flips marked."""
        from .. import plots

        mode = mode_b or (self.others[0] if self.others else self.reference)
        a, b = self.answers[self.reference], self.answers[mode]
        return plots.scatter(
            a.log_probability, b.log_probability,
            title=say("Each item's target, mode {b} against {a}", b=mode, a=self.reference),
            xlabel=say("log-probability in mode {mode} (nats)", mode=self.reference),
            ylabel=say("log-probability in mode {mode} (nats)", mode=mode),
            highlight=a.correct != b.correct, highlight_label="right in only one",
        )  # fmt: skip

    def view_data(self) -> dict[str, Any]:
        if not self.others:
            return super().view_data()
        base = self.answers[self.reference]
        items = list(range(len(base.correct)))[:500]
        frames, flips = {}, {}
        for mode in self.others:
            found = self.answers[mode]
            change = found.log_probability - base.log_probability
            frames[(mode,)] = {
                "series": [{"name": mode, "values": change[: len(items)]}], "note": self.pair(mode).sentence,
            }  # fmt: skip
            moved = np.flatnonzero(found.correct != base.correct)[:200]
            flips[(mode,)] = {
                "columns": ["item", say("right in {mode}", mode=self.reference), say("right in {mode}", mode=mode),
                            "change (nats)", "margin before"],
                "rows": [
                    [int(i), str(bool(base.correct[i])), str(bool(found.correct[i])), change[i], base.margin[i]]
                    for i in moved
                ],
            }
        alt = self.pair(self.others[0]).sentence
        return {
            "controls": [control("mode_b", "Mode", self.others, "2-1" if "2-1" in self.others else None)],
            "charts": [
                chart("change", say("Change of each item's log-probability from mode {mode}", mode=self.reference), alt,
                      "lines",
                      ["mode_b"], frames, x={"label": "item", "values": items},
                      y={"label": "nats", "scale": "linear"}),
                chart("flips", "Items whose answer changes", alt, "table", ["mode_b"], flips),
            ],
        }  # fmt: skip


def is_it_real(run: Workbook, reference: str | None = None, floor: bool = True) -> IsItReal:
    """Step 1 for every mode of ``run`` against ``reference`` (the first mode by default).

    ``floor=False`` leaves the legal reorderings out, and with them the multiples.
    """
    reference = reference or run.modes[0]
    names = [reference, *(mode for mode in run.modes if mode != reference)]
    answers = {mode: run.answers(mode) for mode in names}
    pairs = judge_pairs(answers, run.seed)
    modes = modes_table(answers, run.seed)
    flips, log_p = pairs_tables(pairs)
    twice = repeated(run, answers)
    plan = plans_figures()
    frames = {"Modes": modes, "Flips": flips, "Log-probability": log_p, "The same mode twice": twice}
    if floor:
        reorderings, multiples = floor_tables(run, reference, answers)
        frames |= {"Legal reorderings": reorderings, "Difference in units of the floor": multiples}
    else:
        frames["Difference in units of the floor"] = pd.DataFrame(columns=MULTIPLES)
    frames |= plan.frames
    frames |= {"What ran": _witness_table(run, names), "Switches that can change a result": _switches(run, names)}
    status, verdict = _verdict(run, reference, pairs, frames, modes)
    numbers = {
        "plan": {"verdict": plan.verdict, **plan.numbers},
        "pairs": {p.name: {"status": p.status, "sentence": p.sentence, "direction": p.direction} for p in pairs},
        "deterministic": bool(twice["logits_equal"].all()), "items": run.limit,
    }  # fmt: skip
    return IsItReal(
        status=status, verdict=verdict, settings=run.settings(reference=reference), numbers=numbers, frames=frames,
        reference=reference, pairs=tuple(pairs), claim=plan.claim, answers=answers,
    )  # fmt: skip


def _witness_table(run: Workbook, modes: Sequence[str]) -> pd.DataFrame:
    tables = [run.witness(mode).table().reset_index().assign(mode=mode) for mode in modes]
    table = pd.concat(tables, ignore_index=True)
    return table[["mode", *[c for c in table.columns if c != "mode"]]]


def _switches(run: Workbook, modes: Sequence[str]) -> pd.DataFrame:
    """One row per switch; a column per mode, because nothing keeps a process from changing one between two runs."""
    settings = {mode: run.witness(mode).settings for mode in modes}
    rows = [
        {"switch": name, **{f"mode {mode}": str(found[name]) for mode, found in settings.items()}}
        for name in settings[modes[0]]
    ]
    return pd.DataFrame(rows)


def _verdict(
    run: Workbook, reference: str, pairs: Sequence[Pair], frames: dict[str, pd.DataFrame], modes: pd.DataFrame
) -> tuple[str, str]:
    """The step's status and sentence: first the pairs with the reference, then what weakens or supports them."""
    with_reference = [p for p in pairs if reference in (p.a, p.b)]
    unstable = frames["The same mode twice"].query("not logits_equal")
    if not with_reference:
        status = "unknown"
        parts = [say("Only mode {mode} was run, so there is no difference to judge.", mode=reference)]
    elif all(p.identical for p in with_reference):
        status = "identical"
        parts = [say("Identical: no mode changes a bit of any logit of mode {mode}.", mode=reference)]
    else:
        open_pairs = [p for p in with_reference if not p.identical]
        established = [p for p in open_pairs if p.status == "established"]
        status = "established" if established else "not established"
        shown = min(established or open_pairs, key=lambda p: (p.b != "2-1", min(p.p_accuracy, p.p_log_probability)))
        parts = [shown.sentence, shown.direction_sentence]
        same = [p.b for p in with_reference if p.identical]
        if same:
            parts.append(say("Bit-equal to mode {mode}: {others}.", mode=reference, others=", ".join(same)))
        parts += _over_the_floor(shown, reference, frames, modes)
    parts += _caveats(run.limit, modes["accuracy"])
    if len(unstable):
        parts.append(
            say(
                "Not reproducible: mode {mode} differs from itself, first in {stage}.",
                mode=unstable["mode"].iloc[0], stage=unstable["first_stage_that_differs"].iloc[0],
            )
        )  # fmt: skip
    return status, paragraph(parts)


def _over_the_floor(
    shown: Pair, reference: str, frames: dict[str, pd.DataFrame], modes: pd.DataFrame
) -> list[str]:
    """The difference as a multiple of the largest floor, and where the mode's accuracy lies among the reorderings'."""
    multiples = frames["Difference in units of the floor"]
    rows = multiples[(multiples["mode"] == shown.b) & (multiples["rms_of_floor"] > 0)]
    if rows.empty:
        return []
    largest = rows.loc[rows["rms_of_floor"].idxmax()]
    right = frames["Legal reorderings"]["right"]
    own = int(modes.set_index("mode").loc[shown.b, "right"])
    low, high = (min(right.min(), _right(modes, reference)), max(right.max(), _right(modes, reference)))
    size = say(
        "The difference is {multiple} times the largest floor of legal reorderings (95 % interval {low} to {high}; "
        "{kind}).",
        multiple=significant(largest["multiple"]), low=significant(largest["low"]), high=significant(largest["high"]),
        kind=largest["kind"],
    )  # fmt: skip
    fields = {"mode": reference, "low": f"{low:,}", "high": f"{high:,}", "other": shown.b, "right": f"{own:,}"}
    if low <= own <= high:
        where = say(
            "Legal reorderings of mode {mode} alone score {low} to {high} right, and mode {other} with {right} lies "
            "among them.",
            **fields,
        )
    else:
        where = say(
            "Legal reorderings of mode {mode} alone score {low} to {high} right; mode {other} with {right} lies "
            "outside.",
            **fields,
        )
    return [size, where]


def _right(modes: pd.DataFrame, mode: str) -> int:
    return int(modes.set_index("mode").loc[mode, "right"])


def _caveats(items: int, accuracies: pd.Series) -> list[str]:
    """What keeps these items from telling the modes apart."""
    found = []
    if accuracies.max() == accuracies.min() == 1.0:
        found.append(
            say("Every mode answers every item right, so accuracy cannot tell them apart; see log-probability.")
        )
    if accuracies.max() == accuracies.min() == 0.0:
        found.append(
            say("Every mode answers every item wrong, so accuracy cannot tell them apart; see log-probability.")
        )
    if items == 1:
        found.append(say("One item allows no test."))
    elif items < st.FEW_ITEMS:
        found.append(
            plural(
                items, "Every interval here rests on {count} item.",
                "Every interval here rests on {count} items only and is rather too narrow than too wide.",
            )
        )  # fmt: skip
    return found
