"""Step 1: is the difference between the modes real, before anybody looks for its cause?"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .. import statistics as st
from ..compare import difference
from .reorderings import FLOOR, REORDERINGS
from .result import StepResult, chart, control, share, significant
from .workbook import Answers, Workbook

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["IsItReal", "Pair", "is_it_real", "judge_pairs"]

PLAN = (38, 36, 100)
"""Right answers of mode 0 and of mode 2-1, of how many, as the debug plan reports them."""


@dataclass(frozen=True)
class Pair:
    """Everything that step 1 knows about modes ``a`` (reference) and ``b``; ``p_*`` adjusted by Holm over all pairs."""

    a: str
    b: str
    identical: bool
    accuracy: st.PairedAccuracy
    log_probability: st.PairedLogProbability
    p_accuracy: float
    p_log_probability: float
    items_observed: float
    items_claimed: float
    items_log_probability: float

    @property
    def name(self) -> str:
        return f"{self.b} against {self.a}"

    @property
    def status(self) -> str:
        if self.identical:
            return "identical"
        smallest = np.nanmin([self.p_accuracy, self.p_log_probability, 1.0])
        return "established" if smallest <= st.ALPHA else "not established"

    @property
    def direction(self) -> str:
        """Whether the less accurate mode is also the one with the worse log-probability."""
        accuracy, log_p = self.accuracy.difference.value, self.log_probability.mean.value
        if accuracy == 0 or log_p == 0 or math.isnan(log_p):
            return "no direction to compare"
        return "both point the same way" if accuracy * log_p > 0 else "they contradict each other"

    @property
    def sentence(self) -> str:
        """The pair in one sentence."""
        n = self.accuracy.n
        if self.identical:
            return f"Modes {self.a} and {self.b} are identical: every bit of every logit of {n} items is the same."
        flips = self.accuracy
        parts = (
            f"{self.b} answers {flips.only_b} items rightly that {self.a} does not and loses {flips.only_a} of {n} "
            f"(exact McNemar p = {significant(flips.p)}, Holm {significant(self.p_accuracy)}); its mean "
            f"log-probability is {significant(abs(self.log_probability.mean.value))} nats "
            f"{'higher' if self.log_probability.mean.value > 0 else 'lower'} "
            f"(Holm p = {significant(self.p_log_probability)})"
        )
        if self.status == "established":
            seen = [
                name
                for name, p in (("accuracy", self.p_accuracy), ("log-probability", self.p_log_probability))
                if p <= st.ALPHA
            ]
            return f"A difference between modes {self.a} and {self.b} is established in {' and '.join(seen)}: {parts}."
        needed = (
            "no number of items would show the observed difference in accuracy, which is zero"
            if math.isinf(self.items_observed)
            else f"seeing the observed difference in accuracy would take {significant(self.items_observed)} items"
        )
        return (
            f"No difference between modes {self.a} and {self.b} is established: {parts}; {needed}, and "
            f"{st.CLAIMED_POINTS * 100:.0f} points would take {significant(self.items_claimed)} "
            f"({st.POWER:.0%} power)."
        )


def judge_pairs(answers: dict[str, Answers], seed: int = 0) -> list[Pair]:
    """Every pair of modes, in the order given, with Holm's correction over the pairs and both measures together.

    Modes whose logits are bit-equal are one mode to the tests: a comparison that repeats another is counted once.
    """
    found = []
    for a, b in itertools.combinations(answers, 2):
        x, y = answers[a], answers[b]
        found.append(
            (
                a, b, x.digest == y.digest, st.paired_accuracy(x.correct, y.correct),
                st.paired_log_probability(x.log_probability, y.log_probability, seed=seed),
            )
        )  # fmt: skip
    classes = [frozenset((answers[a].digest, answers[b].digest)) for a, b, *_ in found]
    tests = {key: i for i, key in reversed(list(enumerate(classes))) if len(key) == 2}
    holm = st.holm([found[i][column].p for column in (3, 4) for i in tests.values()])
    adjusted = {key: (holm[at], holm[at + len(tests)]) for at, key in enumerate(tests)}
    pairs = []
    for key, (a, b, identical, accuracy, log_p) in zip(classes, found, strict=True):
        n = accuracy.n
        p_accuracy, p_log_p = adjusted.get(key, (1.0, 1.0))
        claimed = st.claimed_rates(accuracy.discordant / n)
        pairs.append(
            Pair(
                a, b, identical, accuracy, log_p, float(p_accuracy), float(p_log_p),
                st.items_for_accuracy(accuracy.only_a / n, accuracy.only_b / n), st.items_for_accuracy(*claimed),
                st.items_for_log_probability(log_p.effect.value),
            )
        )  # fmt: skip
    return pairs


def _modes_table(answers: dict[str, Answers], seed: int) -> pd.DataFrame:
    rows = []
    for mode, found in answers.items():
        accuracy = st.accuracy(found.correct)
        perplexity = st.perplexity(found.log_probability, seed=seed)
        scan, build, u_dtype = found.ran[0] if found.ran else ("", "", "")
        rows.append(
            {
                "mode": mode, "right": int(found.correct.sum()), "items": accuracy.n, "accuracy": accuracy.value,
                "accuracy_low": accuracy.interval.low, "accuracy_high": accuracy.interval.high,
                "perplexity": perplexity.value, "perplexity_low": perplexity.interval.low,
                "perplexity_high": perplexity.interval.high, "scan": scan, "u": u_dtype, "build": build,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def _pairs_tables(pairs: Sequence[Pair]) -> tuple[pd.DataFrame, pd.DataFrame]:
    flips, log_p = [], []
    for pair in pairs:
        a, l = pair.accuracy, pair.log_probability
        flips.append(
            {
                "a": pair.a, "b": pair.b, "both": a.both, "only_a": a.only_a, "only_b": a.only_b, "neither": a.neither,
                "difference": a.difference.value, "low": a.difference.interval.low, "high": a.difference.interval.high,
                "odds": a.odds.value, "odds_low": a.odds.interval.low, "odds_high": a.odds.interval.high,
                "p_mcnemar": a.p, "p_holm": pair.p_accuracy, "items_for_observed": pair.items_observed,
                "items_for_claimed": pair.items_claimed, "status": pair.status,
            }
        )  # fmt: skip
        log_p.append(
            {
                "a": pair.a, "b": pair.b, "mean_difference": l.mean.value, "low": l.mean.interval.low,
                "high": l.mean.interval.high, "effect": l.effect.value, "effect_low": l.effect.interval.low,
                "effect_high": l.effect.interval.high, "p_permutation": l.p, "p_holm": pair.p_log_probability,
                "p_t": l.p_t, "p_wilcoxon": l.p_wilcoxon, "rms": l.rms, "items_unequal": l.unequal,
                "b_better": l.better, "b_worse": l.worse, "items_for_observed": pair.items_log_probability,
                "direction": pair.direction,
            }
        )  # fmt: skip
    return pd.DataFrame(flips), pd.DataFrame(log_p)


def first_unstable_stage(run: Workbook, mode: str, items: Sequence[int]) -> str:
    """The first stage that differs between two identical runs of ``mode`` on ``items``, in words."""
    from ..trace import Trace

    view = run.view(mode)
    for item in items:
        traces = []
        for _ in range(2):
            with Trace(view) as trace:
                view(run.tokens(item))
            traces.append(trace)
        for where in traces[0]:
            if not difference(traces[0][where], traces[1][where]).equal:
                layer = "" if where[1] is None else f" of layer {where[1]}"
                return f"{where[0]}{layer} (item {item})"
    return "none when items run one at a time"


def _repeated(run: Workbook, answers: dict[str, Answers]) -> pd.DataFrame:
    rows = []
    for mode, first in answers.items():
        second = run.answers(mode, run=1)
        equal = first.digest == second.digest
        where = "" if equal else first_unstable_stage(run, mode, range(min(run.limit, 8)))
        rows.append(
            {
                "mode": mode, "logits_equal": equal, "digest_1": first.digest[:16], "digest_2": second.digest[:16],
                "first_stage_that_differs": where,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def _squared(a: Answers, b: Answers) -> np.ndarray:
    d = b.log_probability - a.log_probability
    return np.where(np.isfinite(d), d, 0.0) ** 2


def floor_tables(
    run: Workbook, reference: str, answers: dict[str, Answers]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What legal reorderings of ``reference`` change, and every mode's difference as a multiple of it."""
    base = answers[reference]
    rows, by_kind = [], {}
    for name in FLOOR:
        other = run.answers(reference, name)
        squared = _squared(base, other)
        kind = REORDERINGS[name].kind
        by_kind.setdefault(kind, []).append(squared)
        rows.append(
            {
                "reordering": name, "kind": kind, "logits_equal": base.digest == other.digest,
                "rms_log_probability": float(np.sqrt(squared.mean())),
                "items_unequal": int((base.log_probability != other.log_probability).sum()),
                "flips": int((base.correct != other.correct).sum()),
            }
        )  # fmt: skip
    multiples = []
    for mode, found in answers.items():
        if mode == reference:
            continue
        for kind, squares in by_kind.items():
            floor = np.mean(squares, axis=0)
            ratio = st.ratio_interval(_squared(base, found), floor, seed=run.seed)
            multiples.append(
                {
                    "mode": mode, "kind": kind, "rms_of_mode": float(np.sqrt(_squared(base, found).mean())),
                    "rms_of_floor": float(np.sqrt(floor.mean())), "multiple": ratio.value, "low": ratio.interval.low,
                    "high": ratio.interval.high,
                }
            )  # fmt: skip
    columns = ["mode", "kind", "rms_of_mode", "rms_of_floor", "multiple", "low", "high"]
    return pd.DataFrame(rows), pd.DataFrame(multiples, columns=columns)


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
        accuracy = modes.rename(columns={"accuracy": "value", "accuracy_low": "low", "accuracy_high": "high"})
        accuracy = accuracy.assign(label="mode " + modes["mode"], group=modes["mode"])
        best, worst = modes.loc[modes["accuracy"].idxmax()], modes.loc[modes["accuracy"].idxmin()]
        overlap = best["accuracy_low"] <= worst["accuracy_high"]
        pictures = [
            (
                "accuracy", plots.dots(accuracy, title="Accuracy with Wilson's 95 % interval", xlabel="share right"),
                f"Accuracy runs from {share(worst['accuracy'])} (mode {worst['mode']}) to {share(best['accuracy'])} "
                f"(mode {best['mode']}); their 95 % intervals {'overlap' if overlap else 'do not overlap'}.",
            )
        ]  # fmt: skip
        perplexity = modes.rename(columns={"perplexity": "value", "perplexity_low": "low", "perplexity_high": "high"})
        perplexity = perplexity.assign(label="mode " + modes["mode"], group=modes["mode"])
        low, high = modes.loc[modes["perplexity"].idxmin()], modes.loc[modes["perplexity"].idxmax()]
        pictures.append(
            (
                "perplexity",
                plots.dots(perplexity, title="Perplexity with its bootstrap 95 % interval", xlabel="perplexity"),
                f"Perplexity runs from {significant(low['perplexity'], 4)} (mode {low['mode']}) to "
                f"{significant(high['perplexity'], 4)} (mode {high['mode']}).",
            )
        )
        if len(flips):
            forest = pd.DataFrame(
                {
                    "label": flips["b"] + " - " + flips["a"], "value": 100 * flips["difference"],
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
                    f"{across} of {len(flips)} pairs have an interval of the accuracy difference that contains zero.",
                )
            )  # fmt: skip
            pictures += [self._floor_picture(), self._power_picture()]
            for mode in self.others[:1] if len(self.others) == 1 else [m for m in ("2-1",) if m in self.others]:
                pair = self.pair(mode)
                pictures.append(
                    (
                        "items", self.figure(mode_b=mode),
                        f"Log-probability of each item's target in modes {self.reference} and {mode}: "
                        f"{pair.log_probability.unequal} of {pair.accuracy.n} items are not bit-equal, "
                        f"{pair.accuracy.discordant} change between right and wrong.",
                    )
                )  # fmt: skip
        return pictures

    def _floor_picture(self) -> tuple[str, Figure, str]:
        from .. import plots

        multiples = self.frames["Difference in units of the floor"]
        shown = multiples[np.isfinite(multiples["multiple"]) & (multiples["multiple"] > 0)]
        table = pd.DataFrame(
            {
                "label": shown["mode"] + " / " + shown["kind"], "value": shown["multiple"], "low": shown["low"],
                "high": shown["high"], "group": shown["mode"],
            }
        )  # fmt: skip
        top = f"the largest is {significant(shown['multiple'].max())} times" if len(shown) else "none can be formed"
        return (
            "floor",
            plots.dots(table, title="Difference from the reference, in units of what legal reorderings change",
                       xlabel="multiple of the floor (RMS of per-item log-probability)", reference=1.0, log=True),
            f"Differences of log-probability as multiples of the floor of each kind of legal reordering; {top}.",
        )  # fmt: skip

    def _power_picture(self) -> tuple[str, Figure, str]:
        from .. import plots

        pair = self.pair("2-1" if "2-1" in self.others else self.others[0])
        n = pair.accuracy.n
        sizes = sorted({round(10**e) for e in np.linspace(1.3, 4.3, 40)} | {n})
        claimed = st.claimed_rates(pair.accuracy.discordant / n)
        curves = {f"{st.CLAIMED_POINTS * 100:.0f} points": [st.mcnemar_power(s, *claimed) for s in sizes]}
        if pair.accuracy.only_a != pair.accuracy.only_b:
            rates = (pair.accuracy.only_a / n, pair.accuracy.only_b / n)
            curves[f"observed, {pair.b} against {pair.a}"] = [st.mcnemar_power(s, *rates) for s in sizes]
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
            f"With {n} items (dashed) a loss of {st.CLAIMED_POINTS * 100:.0f} points would be seen with a chance of "
            f"{share(here)}; {st.POWER:.0%} (dotted) takes {significant(pair.items_claimed)} items.",
        )  # fmt: skip

    def figure(self, mode_b: str | None = None) -> Figure:
        """Per-item log-probability of the reference against ``mode_b``, flips marked."""
        from .. import plots

        mode = mode_b or (self.others[0] if self.others else self.reference)
        a, b = self.answers[self.reference], self.answers[mode]
        return plots.scatter(
            a.log_probability, b.log_probability, title=f"Each item's target, mode {mode} against {self.reference}",
            xlabel=f"log-probability in mode {self.reference} (nats)", ylabel=f"log-probability in mode {mode} (nats)",
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
                "columns": ["item", f"right in {self.reference}", f"right in {mode}", "change (nats)", "margin before"],
                "rows": [
                    [int(i), str(bool(base.correct[i])), str(bool(found.correct[i])), change[i], base.margin[i]]
                    for i in moved
                ],
            }
        alt = self.pair(self.others[0]).sentence
        return {
            "controls": [control("mode_b", "Mode", self.others, "2-1" if "2-1" in self.others else None)],
            "charts": [
                chart("change", f"Change of each item's log-probability from mode {self.reference}", alt, "lines",
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
    modes = _modes_table(answers, run.seed)
    flips, log_p = _pairs_tables(pairs)
    repeated = _repeated(run, answers)
    claim = st.judge_claim(*PLAN)
    frames = {"Modes": modes, "Flips": flips, "Log-probability": log_p, "The same mode twice": repeated}
    if floor:
        reorderings, multiples = floor_tables(run, reference, answers)
        frames |= {"Legal reorderings": reorderings, "Difference in units of the floor": multiples}
    else:
        frames["Difference in units of the floor"] = pd.DataFrame(
            columns=["mode", "kind", "rms_of_mode", "rms_of_floor", "multiple", "low", "high"]
        )
    frames["What the plan's figures allow"] = claim.splits
    frames["What ran"] = _witness_table(run, names)
    status, verdict = _verdict(run, reference, pairs, frames, modes)
    numbers = {
        "plan": {"verdict": claim.verdict, "smallest_p": claim.smallest_p,
                 "interval_a": [claim.interval_a.low, claim.interval_a.high],
                 "interval_b": [claim.interval_b.low, claim.interval_b.high]},
        "pairs": {p.name: {"status": p.status, "sentence": p.sentence, "direction": p.direction} for p in pairs},
        "deterministic": bool(repeated["logits_equal"].all()),
    }  # fmt: skip
    return IsItReal(
        status=status, verdict=verdict, settings=run.settings(reference=reference), numbers=numbers, frames=frames,
        reference=reference, pairs=tuple(pairs), claim=claim, answers=answers,
    )  # fmt: skip


def _witness_table(run: Workbook, modes: Sequence[str]) -> pd.DataFrame:
    tables = [run.witness(mode).table().reset_index().assign(mode=mode) for mode in modes]
    table = pd.concat(tables, ignore_index=True)
    settings = run.witness(modes[0]).settings
    return table.assign(deterministic_algorithms=settings["deterministic_algorithms"], threads=settings["threads"])[
        ["mode", *[c for c in table.columns if c != "mode"], "deterministic_algorithms", "threads"]
    ]


def _verdict(
    run: Workbook, reference: str, pairs: Sequence[Pair], frames: dict[str, pd.DataFrame], modes: pd.DataFrame
) -> tuple[str, str]:
    """The step's status and sentence: first the pairs with the reference, then what weakens or supports them."""
    with_reference = [p for p in pairs if reference in (p.a, p.b)]
    unstable = frames["The same mode twice"].query("not logits_equal")
    accuracies = modes["accuracy"]
    if not with_reference:
        status, sentence = "unknown", f"Only mode {reference} was run, so there is no difference to judge."
    elif all(p.identical for p in with_reference):
        status, sentence = "identical", f"Identical: no mode changes a bit of any logit of mode {reference}."
    else:
        open_pairs = [p for p in with_reference if not p.identical]
        established = [p for p in open_pairs if p.status == "established"]
        status = "established" if established else "not established"
        shown = min(established or open_pairs, key=lambda p: (p.b != "2-1", min(p.p_accuracy, p.p_log_probability)))
        sentence = shown.sentence
        same = [p.b for p in with_reference if p.identical]
        if same:
            sentence += f" Bit-equal to mode {reference}: {', '.join(same)}."
        multiples = frames["Difference in units of the floor"]
        rows = multiples[(multiples["mode"] == shown.b) & (multiples["rms_of_floor"] > 0)]
        if len(rows):
            largest = rows.loc[rows["rms_of_floor"].idxmax()]
            sentence += (
                f" The difference is {significant(largest['multiple'])} times the largest floor of legal reorderings "
                f"(95 % interval {significant(largest['low'])} to {significant(largest['high'])}; {largest['kind']})."
            )
        if shown.direction == "they contradict each other":
            sentence += " The less accurate mode has the better log-probability, which speaks for chance."
    if accuracies.max() == accuracies.min() and accuracies.max() in (0.0, 1.0):
        what = "right" if accuracies.max() else "wrong"
        sentence += f" Every mode answers every item {what}, so accuracy cannot tell them apart; see log-probability."
    if run.limit == 1:
        sentence += " One item allows no test."
    if len(unstable):
        sentence += (
            f" Not reproducible: mode {unstable['mode'].iloc[0]} differs from itself, first in "
            f"{unstable['first_stage_that_differs'].iloc[0]}."
        )
    return status, sentence
