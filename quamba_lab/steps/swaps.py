"""The arithmetic of swapping: which cells of a factorial to run, and what each switch's share of the whole is.

A game in Shapley's sense (1953): the players are the switches by which two scans differ, and the worth of a set is the
squared difference that arises when exactly these are moved from the one scan's setting to the other's.  The shares are
the average over orders of what a switch adds when it is moved in its turn; so they sum to the whole, whatever the
switches do to one another.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["FULL_UP_TO", "Design", "design", "effects", "shapley", "share_intervals"]

FULL_UP_TO = 5
"""Players up to which every one of the 2^k sets is run; above, the arcs of a circle."""

RESAMPLES = 2000

Cell = frozenset[int]


@dataclass(frozen=True)
class Design:
    """``orders`` of the players to average over, and the ``cells`` (sets of players moved) that these pass through."""

    orders: tuple[tuple[int, ...], ...]
    cells: tuple[Cell, ...]
    full: bool


def design(players: int, seed: int = 0, full_up_to: int = FULL_UP_TO) -> Design:
    """The full factorial for few players, else a fraction of it.

    The fraction: the players in a circle (shuffled by ``seed``), walked from every starting point in both directions.
    Every player takes every place of the order equally often, and the 2k orders pass through only 2 + k(k − 1) sets.
    """
    if players <= full_up_to:
        orders = tuple(itertools.permutations(range(players)))
    else:
        circle = np.random.default_rng(seed).permutation(players).tolist()
        turns = [tuple(circle[i:] + circle[:i]) for i in range(players)]
        orders = tuple(turns + [turn[::-1] for turn in turns])
    cells = dict.fromkeys(frozenset(order[:i]) for order in orders for i in range(players + 1))
    return Design(orders, tuple(sorted(cells, key=lambda c: (len(c), sorted(c)))), players <= full_up_to)


def shapley(worth: Mapping[Cell, float], plan: Design) -> np.ndarray:
    """The players' shares under ``plan``, float64 (k,); they sum to worth(all) − worth(none)."""
    shares = np.zeros(len(plan.orders[0]))
    for order in plan.orders:
        for i, player in enumerate(order):
            shares[player] += worth[frozenset(order[: i + 1])] - worth[frozenset(order[:i])]
    return shares / len(plan.orders)


def effects(worth: Mapping[Cell, float], players: int) -> dict[str, np.ndarray]:
    """What the known cells say beside the shares, as parts of worth(all).

    ``alone`` (k,): the player moved alone.  ``last`` (k,): what is lost when all but the player are moved.
    ``interaction`` (k, k): worth of two together beyond the sum of each, averaged over the sets of others for which all
    four cells are known; NaN for a pair that has none.
    """
    everyone = frozenset(range(players))
    whole = worth[everyone]
    whole = whole if whole else np.nan
    alone = np.array([worth.get(frozenset([i]), np.nan) for i in range(players)]) / whole
    last = np.array([worth[everyone] - worth.get(everyone - {i}, np.nan) for i in range(players)]) / whole
    interaction = np.full((players, players), np.nan)
    for i, j in itertools.combinations(range(players), 2):
        found = [
            worth[c | {i, j}] - worth[c | {i}] - worth[c | {j}] + worth[c]
            for c in worth
            if not c & {i, j} and {c | {i}, c | {j}, c | {i, j}} <= worth.keys()
        ]
        if found:
            interaction[i, j] = interaction[j, i] = np.mean(found) / whole
    return {"alone": alone, "last": last, "interaction": interaction}


def share_intervals(shares: Sequence[np.ndarray], seed: int = 0, level: float = 0.95) -> np.ndarray:
    """Shares of the whole with a percentile bootstrap interval over items: (k, 3) of value, low, high.

    ``shares``: per item the absolute shares (k,); the whole is their sum, so items weigh by how much they differ.  The
    interval is NaN with fewer than two items, everything is NaN when nothing differs.
    """
    table = np.asarray(shares, dtype=float)  # (items, k)
    total = table.sum()
    result = np.full((table.shape[1], 3), np.nan)
    least = 1e-9 * np.abs(table).sum()  # what cancels to less is rounding of the shares themselves
    if total <= least:
        return result
    result[:, 0] = table.sum(0) / total
    if len(table) > 1:
        picks = np.random.default_rng(seed).integers(0, len(table), (RESAMPLES, len(table)))
        sums = table[picks].sum(1)  # (resamples, k)
        wholes = sums.sum(1, keepdims=True)
        ratios = sums[wholes[:, 0] > least] / wholes[wholes[:, 0] > least]
        result[:, 1:] = np.quantile(ratios, [(1 - level) / 2, (1 + level) / 2], axis=0).T
    return result
