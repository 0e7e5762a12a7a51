"""Estimates with their intervals, of one mode or of two modes on the same items.

A difference is always B - A, with A the reference.  Log-probabilities are natural (nats).
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

__all__ = [
    "ALPHA",
    "CLAIMED_POINTS",
    "FEW_ITEMS",
    "POWER",
    "Estimate",
    "Interval",
    "accuracy",
    "exact_mcnemar",
    "mean_interval",
    "newcombe_difference",
    "pair_of",
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
FEW_ITEMS = 20
"""With fewer items a bootstrap interval tends to be too narrow, so whoever shows one says how few it rests on."""


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


def pair_of(a: ArrayLike, b: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both as float64 vectors (items,).  Raises ``ValueError`` for other shapes or different items."""
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
    """BCa bootstrap interval of a statistic over items (scipy ``bootstrap``), percentile where BCa is not defined.

    A constant sample gives a point; fewer than two items, or a value that is not finite, give NaN ends.
    """
    values = _vector(x, "x")
    if values.size < 2 or not np.isfinite(values).all():
        return Interval(math.nan, math.nan, level)
    if np.ptp(values) == 0:
        point = float(statistic(values))
        return Interval(point, point, level)
    for method in ("BCa", "percentile"):  # where nearly all items are equal, BCa is not defined
        with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
            warnings.simplefilter("ignore", stats.DegenerateDataWarning)
            found = stats.bootstrap(
                (values,), statistic, n_resamples=RESAMPLES, confidence_level=level, method=method, vectorized=True,
                batch=250, random_state=np.random.default_rng(seed),
            ).confidence_interval  # fmt: skip
        if np.isfinite([found.low, found.high]).all():
            break
    return Interval(float(found.low), float(found.high), level)


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


def exact_mcnemar(only_a: int, only_b: int) -> float:
    """Two-sided p of exact McNemar (statsmodels ``mcnemar``); 1 when no item is discordant."""
    if only_a + only_b == 0:
        return 1.0
    return min(1.0, float(mcnemar([[0, only_a], [only_b, 0]], exact=True).pvalue))


def ratio_interval(
    numerator: ArrayLike, denominator: ArrayLike, level: float = 0.95, seed: int = 0, root: bool = True
) -> Estimate:
    """Ratio of two means over the same items, or its root, with a paired percentile bootstrap interval.

    ``numerator``, ``denominator``: per-item squared differences (of two modes; of legal reorderings), whose root is a
    ratio of RMS values; with ``root=False`` any two non-negative measures.  An all-zero denominator gives infinity, or
    NaN when the numerator is all zero too.
    """
    top, bottom = pair_of(numerator, denominator)
    power = 0.5 if root else 1.0
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        value = float((np.float64(top.mean()) / np.float64(bottom.mean())) ** power)
    if top.size < 2 or not np.isfinite(value):
        return Estimate(value, Interval(math.nan, math.nan, level), top.size)
    rng = np.random.default_rng(seed)
    ratios = np.empty(RESAMPLES)
    for i in range(RESAMPLES):
        pick = rng.integers(0, top.size, top.size)
        above, below = top[pick].mean(), bottom[pick].mean()
        ratios[i] = (above / below) ** power if below > 0 else math.inf if above > 0 else math.nan
    known = ratios[~np.isnan(ratios)]  # a resample without any difference on either side says nothing
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
    return Estimate(value, Interval(float(low), float(high), level), top.size)
