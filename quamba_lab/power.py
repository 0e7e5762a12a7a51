"""How many items would show a difference, and what follows from two counts of right answers alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.power import TTestPower
from statsmodels.stats.proportion import proportion_confint

from .estimates import ALPHA, CLAIMED_POINTS, POWER, Interval, exact_mcnemar
from .texts import say

__all__ = [
    "Claim",
    "claimed_rates",
    "items_for_accuracy",
    "items_for_log_probability",
    "judge_claim",
    "mcnemar_power",
]

MOST_ITEMS = 10**9
"""Beyond this, a number of items is reported as infinite."""


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
                "p": exact_mcnemar(only_a, only_b),
                "items_needed": items_for_accuracy(only_a / n, only_b / n, alpha),
            }
        )
    splits = pd.DataFrame(rows).sort_values("discordant", ignore_index=True)
    smallest, largest = splits["p"].min(), splits["p"].max()
    possible = int((splits["p"] <= alpha).sum())
    few, many = splits["items_needed"].min(), splits["items_needed"].max()
    counts = say("{hits_a} of {n} against {hits_b} of {n}", hits_a=hits_a, n=n, hits_b=hits_b)
    if hits_a == hits_b:
        verdict = say(
            "{counts} is no difference in accuracy; only the items' own answers could show one.", counts=counts
        )
    elif possible == len(splits):
        verdict = say(
            "{counts} is a difference whatever items were flipped: exact McNemar p is at most {largest}.",
            counts=counts, largest=f"{largest:.2g}"
        )
    elif possible == 0:
        verdict = say(
            "{counts} establishes nothing by itself: whatever items were flipped, exact McNemar p lies between "
            "{smallest} and {largest}; to see such a difference with {power} power takes between {few} and {many} "
            "items.",
            counts=counts, smallest=f"{smallest:.2g}", largest=f"{largest:.2g}", power=f"{100 * POWER:.0f} %",
            few=f"{few:,.0f}", many=f"{many:,.0f}"
        )
    else:
        verdict = say(
            "{counts} alone does not decide: exact McNemar p lies between {smallest} and {largest}, depending on which "
            "items were flipped ({possible} of {splits} possible tables reach {alpha}).",
            counts=counts, smallest=f"{smallest:.2g}", largest=f"{largest:.2g}", possible=possible,
            splits=len(splits), alpha=alpha
        )
    ends = [proportion_confint(h, n, alpha=0.05, method="wilson") for h in (hits_a, hits_b)]
    intervals = [Interval(float(low), float(high)) for low, high in ends]
    return Claim(hits_a, hits_b, n, splits, intervals[0], intervals[1], verdict)
