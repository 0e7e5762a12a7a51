"""Statistics of two modes that answer the same items: is a difference real, and how many items would show it?

Every item is answered by both modes, so every comparison here is paired.  In the table of a pair,

    both     items that A and B answer rightly          only_a   A right, B wrong
    neither  items that both answer wrongly             only_b   B right, A wrong

and a difference is always B - A, with A the reference.  Log-probabilities are natural (nats).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from statsmodels.stats.multitest import multipletests

from .estimates import (
    ALPHA,
    CLAIMED_POINTS,
    FEW_ITEMS,
    POWER,
    RESAMPLES,
    Estimate,
    Interval,
    accuracy,
    exact_mcnemar,
    mean_interval,
    newcombe_difference,
    pair_of,
    perplexity,
    ratio_interval,
)
from .power import Claim, claimed_rates, items_for_accuracy, items_for_log_probability, judge_claim, mcnemar_power

__all__ = [
    "ALPHA",
    "CLAIMED_POINTS",
    "FEW_ITEMS",
    "POWER",
    "Claim",
    "Estimate",
    "Interval",
    "PairedAccuracy",
    "PairedLogProbability",
    "accuracy",
    "claimed_rates",
    "holm",
    "items_for_accuracy",
    "items_for_log_probability",
    "judge_claim",
    "mcnemar_power",
    "mean_interval",
    "newcombe_difference",
    "paired_accuracy",
    "paired_log_probability",
    "perplexity",
    "ratio_interval",
]


@dataclass(frozen=True)
class PairedAccuracy:
    """Two modes' answers to the same items.

    ``p``: exact McNemar.  ``difference``: accuracy of B minus A, with Newcombe's interval.  ``odds``: only_b / only_a,
    the conditional odds ratio, with the exact (Clopper-Pearson) interval; NaN when no item is discordant.
    """

    both: int
    only_a: int
    only_b: int
    neither: int
    p: float
    difference: Estimate
    odds: Estimate

    @property
    def n(self) -> int:
        return self.both + self.only_a + self.only_b + self.neither

    @property
    def discordant(self) -> int:
        return self.only_a + self.only_b


def paired_accuracy(correct_a: ArrayLike, correct_b: ArrayLike, level: float = 0.95) -> PairedAccuracy:
    """The table of flips of two modes with exact McNemar's p, the difference and the odds ratio."""
    a, b = (v.astype(bool) for v in pair_of(correct_a, correct_b))
    both, only_a = int((a & b).sum()), int((a & ~b).sum())
    only_b, neither = int((~a & b).sum()), int((~a & ~b).sum())
    discordant = only_a + only_b
    if discordant:
        share = stats.binomtest(only_b, discordant).proportion_ci(level, "exact")
        ends = [s / (1 - s) if s < 1 else math.inf for s in (float(share.low), float(share.high))]
        odds = Estimate(only_b / only_a if only_a else math.inf, Interval(ends[0], ends[1], level), discordant)
    else:
        odds = Estimate(math.nan, Interval(math.nan, math.nan, level), 0)
    difference = Estimate((only_b - only_a) / a.size, newcombe_difference(both, only_a, only_b, neither, level), a.size)
    return PairedAccuracy(both, only_a, only_b, neither, exact_mcnemar(only_a, only_b), difference, odds)


@dataclass(frozen=True)
class PairedLogProbability:
    """Per-item log-probability of the target, B minus A, in nats.

    ``p``: two-sided sign-flip permutation test of the mean (exact up to 11 items, seeded resamples above);
    ``p_t``: paired t-test; ``p_wilcoxon``: signed ranks.  ``effect``: mean / standard deviation of the differences
    (Cohen's d_z).  ``unequal``: items whose log-probability is not the same number in both modes.
    """

    mean: Estimate
    effect: Estimate
    p: float
    p_t: float
    p_wilcoxon: float
    rms: float
    unequal: int
    better: int
    worse: int

    @property
    def n(self) -> int:
        return self.mean.n


def _effect(x: NDArray, axis: int = -1) -> NDArray:
    if x.shape[axis] < 2:  # scipy's jackknife leaves one item of two
        return np.zeros_like(np.mean(x, axis=axis))
    spread = np.std(x, axis=axis, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(spread > 0, np.mean(x, axis=axis) / spread, 0.0)


def paired_log_probability(
    log_probability_a: ArrayLike, log_probability_b: ArrayLike, level: float = 0.95, seed: int = 0
) -> PairedLogProbability:
    """Paired tests on the log-probability of the target: they see a change that flips no answer.

    Items that are not finite in either mode are left out; when fewer than two remain, every p is NaN.
    """
    a, b = pair_of(log_probability_a, log_probability_b)
    kept = np.isfinite(a) & np.isfinite(b)
    d = (b - a)[kept]
    unequal = int(np.count_nonzero(a != b))
    none = Interval(math.nan, math.nan, level)
    if d.size == 0:
        empty = Estimate(math.nan, none, 0)
        return PairedLogProbability(empty, empty, math.nan, math.nan, math.nan, math.nan, unequal, 0, 0)
    better, worse = int((d > 0).sum()), int((d < 0).sum())
    mean = Estimate(float(d.mean()), mean_interval(d, level, seed), d.size)
    rms = float(np.sqrt(np.mean(d**2)))
    if not d.any():
        return PairedLogProbability(mean, Estimate(0.0, Interval(0.0, 0.0, level), d.size), 1.0, 1.0, 1.0, 0.0, 0, 0, 0)
    if d.size < 2:
        return PairedLogProbability(
            mean, Estimate(math.nan, none, 1), math.nan, math.nan, math.nan, rms, unequal, better, worse
        )
    effect = Estimate(float(_effect(d)), mean_interval(d, level, seed, _effect), d.size)
    permuted = stats.permutation_test(
        (d,), np.mean, permutation_type="samples", n_resamples=RESAMPLES if d.size > 11 else np.inf, batch=250,
        vectorized=True, random_state=np.random.default_rng(seed),
    )  # fmt: skip
    constant = np.ptp(d) <= 1e-12 * np.abs(d).max()  # a shift of all items alike has no spread to test against
    p_t = math.nan if constant else float(stats.ttest_1samp(d, 0.0).pvalue)
    p_wilcoxon = float(stats.wilcoxon(d, zero_method="zsplit").pvalue)
    return PairedLogProbability(
        mean, effect, float(permuted.pvalue), p_t, p_wilcoxon, rms, unequal, better, worse
    )


def holm(p: ArrayLike, alpha: float = ALPHA) -> NDArray[np.float64]:
    """Holm's adjusted p-values (statsmodels ``multipletests``); NaN stays NaN and is not counted as a test."""
    values = np.atleast_1d(np.asarray(p, dtype=np.float64)).copy()
    known = np.isfinite(values)
    if known.any():
        values[known] = multipletests(values[known], alpha=alpha, method="holm")[1]
    return values
