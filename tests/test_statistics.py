"""Statistics against scipy and statsmodels on random tables, and against what is known by hand."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from quamba_lab import statistics as st

answers = some.lists(some.tuples(some.booleans(), some.booleans()), min_size=1, max_size=60)


@given(answers)
@settings(max_examples=60, deadline=None)
def test_paired_accuracy_agrees_with_statsmodels_and_scipy(pairs):
    a, b = (np.array(side) for side in zip(*pairs, strict=True))
    found = st.paired_accuracy(a, b)
    only_a, only_b = int((a & ~b).sum()), int((~a & b).sum())
    assert (found.only_a, found.only_b, found.n) == (only_a, only_b, len(a))
    assert found.both + found.neither == int((a == b).sum())
    expected = mcnemar([[found.both, only_a], [only_b, found.neither]], exact=True).pvalue if only_a + only_b else 1.0
    assert found.p == pytest.approx(min(1.0, expected))
    if only_a + only_b:
        assert found.p == pytest.approx(stats.binomtest(only_a, only_a + only_b).pvalue)
    assert found.difference.value == pytest.approx(b.mean() - a.mean())
    assert found.difference.interval.low - 1e-12 <= found.difference.value <= found.difference.interval.high + 1e-12


@given(some.integers(0, 80), some.integers(0, 40))
@settings(max_examples=40, deadline=None)
def test_wilson_interval_is_statsmodels(hits, misses):
    n = hits + misses
    if n == 0:
        with pytest.raises(ValueError, match="at least one item"):
            st.accuracy([])
        return
    found = st.accuracy([True] * hits + [False] * misses)
    assert (found.interval.low, found.interval.high) == pytest.approx(proportion_confint(hits, n, method="wilson"))


@pytest.mark.parametrize("table", [(10, 10, 10, 10), (20, 20, 5, 5), (6, 9, 4, 6)])
def test_newcombe_without_correlation_is_that_of_independent_samples(table):
    both, only_a, only_b, _neither = table
    n = sum(table)
    interval = st.newcombe_difference(*table)
    expected = confint_proportions_2indep(both + only_b, n, both + only_a, n, compare="diff", method="newcomb")
    assert (interval.low, interval.high) == pytest.approx(expected, abs=1e-9)


def test_newcombe_mirrors_when_the_modes_are_exchanged():
    forward, back = st.newcombe_difference(36, 2, 12, 0), st.newcombe_difference(36, 12, 2, 0)
    assert (forward.low, forward.high) == pytest.approx((-back.high, -back.low))
    assert forward.low > 0  # 2 against 12 of 50 is a difference


def test_newcombe_covers_the_truth():
    rng, hits = np.random.default_rng(0), 0
    rates = [0.5, 0.07, 0.03, 0.4]
    for _ in range(400):
        both, only_a, only_b, neither = rng.multinomial(100, rates)
        hits += (0.03 - 0.07) in st.newcombe_difference(both, only_a, only_b, neither)
    assert hits / 400 > 0.92


def test_log_probability_sees_what_accuracy_cannot():
    rng = np.random.default_rng(1)
    a = rng.normal(-2, 1, 200)
    b = a - 0.05 + rng.normal(0, 0.1, 200)
    found = st.paired_log_probability(a, b)
    assert found.mean.value == pytest.approx((b - a).mean())
    assert found.p < 0.001
    assert found.p_t == pytest.approx(stats.ttest_rel(b, a).pvalue)
    assert found.p_wilcoxon == pytest.approx(stats.wilcoxon(b - a, zero_method="zsplit").pvalue)
    assert found.effect.value == pytest.approx((b - a).mean() / (b - a).std(ddof=1))
    assert found.mean.value in found.mean.interval
    assert 0.0 not in found.mean.interval


def test_permutation_is_exact_for_few_items():
    d = np.array([0.3, 0.1, 0.2, 0.4, 0.05])
    assert st.paired_log_probability(np.zeros(5), d).p == pytest.approx(2 / 2**5)


def test_the_tests_keep_their_level():
    """Modes that differ by chance alone are called different in about one case of twenty."""
    rng = np.random.default_rng(2)
    p = [st.paired_log_probability(x, x + rng.normal(0, 0.1, 40), seed=i).p
         for i, x in enumerate(rng.normal(-2, 1, (60, 40)))]  # fmt: skip
    assert np.mean(np.array(p) < 0.05) < 0.15


@pytest.mark.parametrize(
    ("a", "b"),
    [([-1.0], [-1.0]), ([-1.0], [-2.0]), ([-1.0, -2.0], [-1.0, -2.0]), ([-1.0, -2.0], [-2.0, -3.0]),
     ([-math.inf, -1.0], [-1.0, -1.0]), ([math.nan], [-1.0])],
)  # fmt: skip
def test_strange_log_probabilities_end_in_numbers_not_in_warnings(a, b):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = st.paired_log_probability(a, b)
    assert found.n <= len(a)
    if a == b:
        assert found.p == 1.0
        assert found.mean.value == 0.0


def test_holm_is_statsmodels_and_leaves_nan_out():
    p = [0.01, 0.04, 0.03, 0.005]
    assert st.holm(p) == pytest.approx(multipletests(p, method="holm")[1])
    with_nan = st.holm([0.01, math.nan, 0.04])
    assert math.isnan(with_nan[1])
    assert with_nan[[0, 2]] == pytest.approx([0.02, 0.04])
    assert st.holm([]).size == 0


def test_power_of_mcnemar_agrees_with_simulation():
    rng = np.random.default_rng(3)
    rates = (0.06, 0.01)
    tables = rng.multinomial(200, [*rates, 1 - sum(rates)], 4000)
    p = np.array([stats.binomtest(int(b), int(a + b)).pvalue if a + b else 1.0 for a, b, _ in tables])
    assert st.mcnemar_power(200, *rates) == pytest.approx(np.mean(p <= 0.05), abs=0.025)


@given(some.floats(0.01, 0.2), some.floats(0.0, 0.2))
@settings(max_examples=15, deadline=None)
def test_items_needed_reach_the_power_they_promise(a, b):
    n = st.items_for_accuracy(a, b)
    if math.isinf(n) or n > 50_000:
        return
    assert st.mcnemar_power(int(n), a, b) >= st.POWER
    assert st.mcnemar_power(max(1, int(0.8 * n)), a, b) < st.POWER + 0.05


def test_formula_and_exact_power_agree_where_one_takes_over():
    n = st.items_for_accuracy(0.0508, 0.0492)
    assert n > 100_000
    assert st.mcnemar_power(int(n), 0.0508, 0.0492) == pytest.approx(st.POWER, abs=0.005)


def test_no_difference_takes_infinitely_many_items():
    assert math.isinf(st.items_for_accuracy(0.03, 0.03))
    assert math.isinf(st.items_for_log_probability(0.0))
    assert st.items_for_log_probability(0.5) == 34  # the textbook's answer for d = 0.5, 80 %, two-sided 5 %


def test_the_plans_own_figures_establish_nothing():
    claim = st.judge_claim(38, 36, 100)
    assert len(claim.splits) == 37  # B alone right on 0 to 36 items
    assert claim.smallest_p == 0.5  # two discordant items, both one way
    assert (claim.splits["only_a"] - claim.splits["only_b"] == 2).all()
    assert "establishes nothing" in claim.verdict
    assert "394" in claim.verdict
    assert 0.38 in claim.interval_b
    assert 0.36 in claim.interval_a


def test_a_claim_may_also_be_decided_or_open():
    assert "whatever items were flipped" in st.judge_claim(90, 10, 100).verdict
    assert "does not decide" in st.judge_claim(60, 40, 100).verdict
    assert "no difference" in st.judge_claim(5, 5, 5).verdict
    with pytest.raises(ValueError, match="101 and 3 right of 100"):
        st.judge_claim(101, 3, 100)


def test_perplexity_and_its_interval():
    x = np.random.default_rng(4).normal(-3, 1, 100)
    found = st.perplexity(x)
    assert found.value == pytest.approx(math.exp(-x.mean()))
    half = 1.96 * x.std(ddof=1) / 10
    assert found.interval.low == pytest.approx(math.exp(-x.mean() - half), rel=0.05)
    assert found.interval.high == pytest.approx(math.exp(-x.mean() + half), rel=0.05)
    assert math.isnan(st.perplexity([-1.0]).interval.low)
    assert st.perplexity(x) == found  # seeded


def test_ratio_to_the_floor():
    floor = np.random.default_rng(5).chisquare(1, 300)
    found = st.ratio_interval(9 * floor, floor)
    assert (found.value, found.interval.low, found.interval.high) == pytest.approx((3, 3, 3))
    assert math.isinf(st.ratio_interval(floor, np.zeros(300)).value)
    assert math.isnan(st.ratio_interval(np.zeros(3), np.zeros(3)).value)
    with pytest.raises(ValueError, match="same items"):
        st.ratio_interval(floor, floor[:2])


def test_ratio_of_shares_is_a_plain_ratio():
    flips, floor = np.array([1.0, 0, 0, 1, 0, 0] * 20), np.array([1.0, 0, 0, 0, 0, 0] * 20)
    found = st.ratio_interval(flips, floor, root=False)
    assert found.value == pytest.approx(2.0)
    assert found.interval.low < 2.0 < found.interval.high
    assert st.ratio_interval(flips, floor).value == pytest.approx(math.sqrt(2.0))
    rare = np.eye(40)[0]  # one item of 40: some resamples hold none of it
    assert st.ratio_interval(rare, rare, root=False).interval.low == pytest.approx(1.0)


def test_an_interval_is_given_where_bca_is_not_defined():
    nearly_equal = np.zeros(12)
    nearly_equal[3] = 0.4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        interval = st.mean_interval(nearly_equal)
    assert interval.low <= nearly_equal.mean() <= interval.high


@given(some.integers(0, 30), some.integers(0, 30))
@settings(max_examples=40, deadline=None)
def test_exact_mcnemar_is_the_sign_test(only_a, only_b):
    expected = stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    assert st.exact_mcnemar(only_a, only_b) == pytest.approx(expected)


def test_the_modules_of_the_parts_are_one_with_statistics():
    from quamba_lab import estimates, power

    assert st.ratio_interval is estimates.ratio_interval
    assert st.judge_claim is power.judge_claim
    assert set(power.__all__) <= set(st.__all__)
