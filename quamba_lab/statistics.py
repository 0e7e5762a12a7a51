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
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.proportion import proportion_confint

__all__ = [
    "ALPHA",
    "CLAIMED_POINTS",
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

ALPHA = 0.05
"""Probability of calling a difference real that is not, over all pairs of one comparison together (Holm)."""
POWER = 0.80
"""Probability of seeing a difference that is there, for the number of items needed."""
CLAIMED_POINTS = 0.02
"""The difference that the debug plan sets out from: 38 % against 36 %."""
RESAMPLES = 2000
"""Bootstrap and permutation resamples; the Monte Carlo error of a p of 0.05 is then 0.005."""
MOST_ITEMS = 10**9
"""Beyond this, a number of items is reported as infinite."""


@dataclass(frozen=True)
class Interval:
    """A two-sided confidence interval; NaN ends mean that there were too few items for one."""

    low: float
    high: float
    level: float = 0.95

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def map(self, fn) -> Interval:
        """The interval of ``fn(x)`` for a monotone ``fn``."""
        ends = sorted((fn(self.low), fn(self.high)))
        return Interval(ends[0], ends[1], self.level)


@dataclass(frozen=True)
class Estimate:
    """A value, its interval and the number of items it rests on."""

    value: float
    interval: Interval
    n: int


def _vector(x: ArrayLike, name: str) -> NDArray[np.float64]:
    values = np.asarray(x, dtype=np.float64)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"{name} has shape {values.shape}: pass one number per item, for at least one item")
    return values


def _pair(a: ArrayLike, b: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    first, second = _vector(a, "a"), _vector(b, "b")
    if first.size != second.size:
        raise ValueError(f"{first.size} items in a and {second.size} in b: a paired test needs the same items in both")
    return first, second


def accuracy(correct: ArrayLike, level: float = 0.95) -> Estimate:
    """Share of right answers with Wilson's score interval (statsmodels ``proportion_confint``)."""
    right = _vector(correct, "correct")
    hits, n = int(np.count_nonzero(right)), right.size
    low, high = proportion_confint(hits, n, alpha=1 - level, method="wilson")
    return Estimate(hits / n, Interval(float(low), float(high), level), n)


def mean_interval(x: ArrayLike, level: float = 0.95, seed: int = 0, statistic=np.mean) -> Interval:
    """BCa bootstrap interval of a statistic over items (scipy ``bootstrap``).

    A constant sample gives a point; fewer than two items, or a value that is not finite, give NaN ends.
    """
    values = _vector(x, "x")
    if values.size < 2 or not np.isfinite(values).all():
        return Interval(math.nan, math.nan, level)
    if np.ptp(values) == 0:
        point = float(statistic(values))
        return Interval(point, point, level)
    result = stats.bootstrap(
        (values,), statistic, n_resamples=RESAMPLES, confidence_level=level, method="BCa", vectorized=True,
        batch=250, random_state=np.random.default_rng(seed),
    ).confidence_interval  # fmt: skip
    return Interval(float(result.low), float(result.high), level)


def perplexity(log_probability: ArrayLike, level: float = 0.95, seed: int = 0) -> Estimate:
    """exp(-mean over items of the target's log-probability), with a bootstrap interval over items.

    The interval is that of the mean, mapped: exp is monotone, so it keeps its coverage.
    """
    values = _vector(log_probability, "log_probability")
    with np.errstate(over="ignore"):
        value = float(np.exp(-values.mean()))
        interval = mean_interval(values, level, seed).map(lambda m: float(np.exp(-m)))
    return Estimate(value, interval, values.size)


def newcombe_difference(both: int, only_a: int, only_b: int, neither: int, level: float = 0.95) -> Interval:
    """Interval of the paired difference of proportions, B - A.

    Newcombe, Statistics in Medicine 17 (1998) 2635-2650, method 10: Wilson's interval of each margin, squared and
    added with the correlation phi of the table (continuity-corrected when positive).  No library here holds it.
    """
    n = both + only_a + only_b + neither
    p_a, p_b = (both + only_a) / n, (both + only_b) / n
    low_a, high_a = proportion_confint(both + only_a, n, alpha=1 - level, method="wilson")
    low_b, high_b = proportion_confint(both + only_b, n, alpha=1 - level, method="wilson")
    margins = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    product = both * neither - only_a * only_b
    corrected = max(product - n / 2, 0.0) if product > 0 else product
    phi = corrected / math.sqrt(margins) if margins else 0.0
    down = (p_b - low_b) ** 2 - 2 * phi * (p_b - low_b) * (high_a - p_a) + (high_a - p_a) ** 2
    up = (high_b - p_b) ** 2 - 2 * phi * (high_b - p_b) * (p_a - low_a) + (p_a - low_a) ** 2
    return Interval(p_b - p_a - math.sqrt(max(down, 0.0)), p_b - p_a + math.sqrt(max(up, 0.0)), level)


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


def _exact_mcnemar(only_a: int, only_b: int) -> float:
    if only_a + only_b == 0:
        return 1.0
    return min(1.0, float(mcnemar([[0, only_a], [only_b, 0]], exact=True).pvalue))


def paired_accuracy(correct_a: ArrayLike, correct_b: ArrayLike, level: float = 0.95) -> PairedAccuracy:
    """The table of flips of two modes with exact McNemar's p, the difference and the odds ratio."""
    a, b = (v.astype(bool) for v in _pair(correct_a, correct_b))
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
    return PairedAccuracy(both, only_a, only_b, neither, _exact_mcnemar(only_a, only_b), difference, odds)


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
    spread = np.std(x, axis=axis, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(spread > 0, np.mean(x, axis=axis) / spread, 0.0)


def paired_log_probability(
    log_probability_a: ArrayLike, log_probability_b: ArrayLike, level: float = 0.95, seed: int = 0
) -> PairedLogProbability:
    """Paired tests on the log-probability of the target: they see a change that flips no answer.

    Items that are not finite in either mode are left out; when fewer than two remain, every p is NaN.
    """
    a, b = _pair(log_probability_a, log_probability_b)
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
    p_t = float(stats.ttest_1samp(d, 0.0).pvalue) if np.ptp(d) else math.nan
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


def mcnemar_power(n: int, rate_a: float, rate_b: float, alpha: float = ALPHA) -> float:
    """Probability that exact McNemar on ``n`` items gives p <= ``alpha``.

    ``rate_a``, ``rate_b``: probability that an item is only A's, only B's.  The number of discordant items is
    Binomial(n, rate_a + rate_b), and given it, B's share is binomial: both are summed exactly (the far tails, below
    1e-12, left out).
    """
    discordance = rate_a + rate_b
    if not (0 <= rate_a <= 1 and 0 <= rate_b <= 1 and discordance <= 1):
        raise ValueError(f"rates {rate_a} and {rate_b}: both must be in 0..1 with a sum of at most 1")
    if discordance == 0:
        return 0.0
    low, high = (int(k) for k in stats.binom.ppf([1e-12, 1 - 1e-12], n, discordance))
    m = np.arange(max(low, 1), high + 1)
    # The largest k with P(X <= k | m, 1/2) <= alpha/2: reject when a count is <= k or >= m - k.
    k = stats.binom.ppf(alpha / 2, m, 0.5).astype(int)
    k = np.where(stats.binom.cdf(k, m, 0.5) <= alpha / 2, k, k - 1)
    share = rate_b / discordance
    reject = stats.binom.cdf(k, m, share) + stats.binom.sf(m - k - 1, m, share)
    return float(np.sum(stats.binom.pmf(m, n, discordance) * np.where(k >= 0, reject, 0.0)))


def items_for_accuracy(rate_a: float, rate_b: float, alpha: float = ALPHA, power: float = POWER) -> float:
    """Number of items at which exact McNemar sees these rates of discordance with ``power``; infinite for equal rates.

    The normal formula (Connor, Biometrics 43 (1987) 207) brackets the answer and :func:`mcnemar_power` finds it.
    Power is a saw-tooth in n; the first n past which a bisection holds is returned.  Above 100 000 items the formula
    itself is exact to within a per mille and is returned.
    """
    delta, discordance = abs(rate_b - rate_a), rate_a + rate_b
    if delta == 0:
        return math.inf
    z_alpha, z_power = stats.norm.ppf(1 - alpha / 2), stats.norm.ppf(power)
    spread = math.sqrt(max(discordance - delta**2, 0.0))
    normal = (z_alpha * math.sqrt(discordance) + z_power * spread) ** 2 / delta**2
    if normal > MOST_ITEMS:
        return math.inf
    if normal > 100_000:
        return float(math.ceil(normal))
    low, high = 1, max(8, math.ceil(normal))
    while mcnemar_power(high, rate_a, rate_b, alpha) < power:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if mcnemar_power(middle, rate_a, rate_b, alpha) >= power:
            high = middle
        else:
            low = middle
    return float(high)


def items_for_log_probability(effect: float, alpha: float = ALPHA, power: float = POWER) -> float:
    """Number of items at which a paired t-test sees an effect of this d_z with ``power`` (statsmodels TTestPower)."""
    if not math.isfinite(effect):
        return math.nan
    if effect == 0 or (2.8 / abs(effect)) ** 2 > MOST_ITEMS:
        return math.inf
    if abs(effect) > 10:
        return 3.0
    n = TTestPower().solve_power(effect_size=abs(effect), alpha=alpha, power=power)
    return float(max(2, math.ceil(np.ravel(n)[0])))


def claimed_rates(discordance: float, points: float = CLAIMED_POINTS) -> tuple[float, float]:
    """Rates (only_a, only_b) of a loss of ``points`` by B, at a given share of discordant items."""
    discordance = max(discordance, points)
    return (discordance + points) / 2, (discordance - points) / 2


@dataclass(frozen=True)
class Claim:
    """What follows from two counts of right answers alone, the items' own answers unknown.

    ``splits``: one row per table of flips that the counts allow, with its exact p and the items needed to see that
    split at 80 % power.
    """

    hits_a: int
    hits_b: int
    n: int
    splits: pd.DataFrame
    interval_a: Interval
    interval_b: Interval
    verdict: str

    @property
    def smallest_p(self) -> float:
        return float(self.splits["p"].min())


def judge_claim(hits_a: int, hits_b: int, n: int, alpha: float = ALPHA) -> Claim:
    """Judge a claim such as "38 of 100 against 36 of 100" by every table of flips that is consistent with it."""
    if not (n >= 1 and 0 <= hits_a <= n and 0 <= hits_b <= n):
        raise ValueError(f"{hits_a} and {hits_b} right of {n}: counts must lie in 0..{n}, and n be at least 1")
    rows = []
    for both in range(max(0, hits_a + hits_b - n), min(hits_a, hits_b) + 1):
        only_a, only_b = hits_a - both, hits_b - both
        rows.append(
            {
                "only_a": only_a,
                "only_b": only_b,
                "discordant": only_a + only_b,
                "p": _exact_mcnemar(only_a, only_b),
                "items_needed": items_for_accuracy(only_a / n, only_b / n, alpha),
            }
        )
    splits = pd.DataFrame(rows).sort_values("discordant", ignore_index=True)
    smallest, largest = splits["p"].min(), splits["p"].max()
    possible = int((splits["p"] <= alpha).sum())
    few, many = splits["items_needed"].min(), splits["items_needed"].max()
    counts = f"{hits_a} of {n} against {hits_b} of {n}"
    if hits_a == hits_b:
        verdict = f"{counts} is no difference in accuracy; only the items' own answers could show one."
    elif possible == len(splits):
        verdict = f"{counts} is a difference whatever items were flipped: exact McNemar p is at most {largest:.2g}."
    elif possible == 0:
        verdict = (
            f"{counts} establishes nothing by itself: whatever items were flipped, exact McNemar p lies between "
            f"{smallest:.2g} and {largest:.2g}; to see such a difference with {POWER:.0%} power takes between "
            f"{few:,.0f} and {many:,.0f} items."
        )
    else:
        verdict = (
            f"{counts} alone does not decide: exact McNemar p lies between {smallest:.2g} and {largest:.2g}, "
            f"depending on which items were flipped ({possible} of {len(splits)} possible tables reach {alpha})."
        )
    ends = [proportion_confint(h, n, alpha=0.05, method="wilson") for h in (hits_a, hits_b)]
    intervals = [Interval(float(low), float(high)) for low, high in ends]
    return Claim(hits_a, hits_b, n, splits, intervals[0], intervals[1], verdict)


def ratio_interval(numerator: ArrayLike, denominator: ArrayLike, level: float = 0.95, seed: int = 0) -> Estimate:
    """Root of the ratio of two means of squares over the same items, with a paired percentile bootstrap interval.

    ``numerator``, ``denominator``: per-item squared differences (of two modes; of legal reorderings).  An all-zero
    denominator gives infinity, or NaN when the numerator is all zero too.
    """
    top, bottom = _pair(numerator, denominator)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(np.sqrt(np.float64(top.mean()) / np.float64(bottom.mean())))
    if top.size < 2 or not np.isfinite(value):
        return Estimate(value, Interval(math.nan, math.nan, level), top.size)
    rng = np.random.default_rng(seed)
    ratios = np.empty(RESAMPLES)
    for i in range(RESAMPLES):
        pick = rng.integers(0, top.size, top.size)
        below = bottom[pick].mean()
        ratios[i] = np.sqrt(top[pick].mean() / below) if below > 0 else math.inf
    low, high = np.quantile(ratios, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
    return Estimate(value, Interval(float(low), float(high), level), top.size)
