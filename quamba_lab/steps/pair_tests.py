"""Two modes on the same items: the tests of step 1, corrected over all pairs, and the sentence they end in."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from .. import statistics as st
from ..texts import clauses, listed, say
from .result import share, significant
from .workbook import Answers

__all__ = ["Pair", "judge_pairs", "modes_table", "pairs_tables"]

SAME_WAY, CONTRADICTION, NO_DIRECTION = (
    "both point the same way", "they contradict each other", "no direction to compare",
)  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """Everything that step 1 knows about modes ``a`` (reference) and ``b``; ``p_*`` adjusted by Holm over all pairs.

    ``items_*``: items that show the observed difference of accuracy, the one that the plan claims, and the observed
    difference of log-probability, at 80 % power.
    """

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
            return NO_DIRECTION
        return SAME_WAY if accuracy * log_p > 0 else CONTRADICTION

    @property
    def direction_sentence(self) -> str:
        """:attr:`direction` in words; empty for identical modes."""
        if self.identical:
            return ""
        worse = self.b if self.accuracy.difference.value < 0 else self.a
        if self.direction == SAME_WAY:
            return say("The less accurate mode, {mode}, has the worse log-probability too.", mode=worse)
        if self.direction == CONTRADICTION:
            return say(
                "The less accurate mode, {mode}, has the better log-probability, which speaks for chance.", mode=worse
            )
        if self.accuracy.difference.value == 0:
            return say("Neither is the less accurate one, so log-probability alone can tell them apart.")
        return say("No difference of log-probability stands beside the one of accuracy.")

    @property
    def sentence(self) -> str:
        """The pair in one sentence."""
        n = f"{self.accuracy.n:,}"
        if self.identical:
            return say(
                "Modes {a} and {b} are identical: every bit of every logit of {n} items is the same.",
                a=self.a, b=self.b, n=n,
            )  # fmt: skip
        parts = clauses([self._flips(n), self._log_probability()])
        if self.status == "established":
            measures = ((say("accuracy"), self.p_accuracy), (say("log-probability"), self.p_log_probability))
            return say(
                "A difference between modes {a} and {b} is established in {measures}: {parts}.",
                a=self.a, b=self.b, measures=listed(name for name, p in measures if p <= st.ALPHA), parts=parts,
            )  # fmt: skip
        return say(
            "No difference between modes {a} and {b} is established: {parts}.",
            a=self.a, b=self.b, parts=clauses([parts, *self._needed()]),
        )  # fmt: skip

    def _flips(self, n: str) -> str:
        flips = self.accuracy
        return say(
            "of {n} items, {b} gains {gained} that {a} answers wrongly and loses {lost} that it answers rightly "
            "(exact McNemar p = {p}, Holm {holm})",
            a=self.a, b=self.b, gained=flips.only_b, lost=flips.only_a, n=n, p=significant(flips.p),
            holm=significant(self.p_accuracy),
        )  # fmt: skip

    def _log_probability(self) -> str:
        mean = self.log_probability.mean
        if math.isnan(mean.value) or math.isnan(self.p_log_probability):
            return say("too few items have a finite log-probability in both modes for a test on it")
        size = {"nats": significant(abs(mean.value)), "p": significant(self.p_log_probability)}
        if mean.value > 0:
            return say("its mean log-probability is {nats} nats higher (Holm p = {p})", **size)
        return say("its mean log-probability is {nats} nats lower (Holm p = {p})", **size)

    def _needed(self) -> list[str]:
        points, power = f"{st.CLAIMED_POINTS * 100:.0f}", share(st.POWER)
        if math.isinf(self.items_observed):
            observed = say("no number of items would show the observed difference in accuracy, which is zero")
        else:
            observed = say(
                "seeing the observed difference in accuracy would take {items} items",
                items=significant(self.items_observed),
            )
        needed = [observed]
        if math.isfinite(self.items_log_probability):
            needed.append(
                say("the one in log-probability {items} items", items=significant(self.items_log_probability))
            )
        claimed = significant(self.items_claimed)
        return [*needed, say("and {points} points {items} ({power} power)", points=points, items=claimed, power=power)]


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


def modes_table(answers: dict[str, Answers], seed: int) -> pd.DataFrame:
    """One row per mode: accuracy with Wilson's interval, perplexity with its bootstrap interval, what ran."""
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


def pairs_tables(pairs: Sequence[Pair]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The flips of every pair with McNemar's test, and the paired tests on log-probability."""
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
                "a": pair.a, "b": pair.b, "items": l.n, "mean_difference": l.mean.value, "low": l.mean.interval.low,
                "high": l.mean.interval.high, "effect": l.effect.value, "effect_low": l.effect.interval.low,
                "effect_high": l.effect.interval.high, "p_permutation": l.p, "p_holm": pair.p_log_probability,
                "p_t": l.p_t, "p_wilcoxon": l.p_wilcoxon, "rms": l.rms, "items_unequal": l.unequal,
                "b_better": l.better, "b_worse": l.worse, "items_for_observed": pair.items_log_probability,
                "direction": pair.direction,
            }
        )  # fmt: skip
    return pd.DataFrame(flips), pd.DataFrame(log_p)
