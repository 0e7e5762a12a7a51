"""Swaps: shares sum to the whole, and a planted switch has all of it."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quamba_lab.scans.variants import PUBLISHED, TORCH_INT8
from quamba_lab.steps import Workbook
from quamba_lab.steps.causes import causes
from quamba_lab.steps.swap_game import SWITCH_OF, switches
from quamba_lab.steps.swaps import design, effects, shapley, share_intervals


@cache
def book():
    return Workbook(limit=4, cache_dir=False)


def planted(b, a=TORCH_INT8, **options):
    return causes(book(), "2-1", "2-1", layers=[3], items=[1], variants=(a, b), logits=False, sampled=1, **options)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(0, 1000))
def test_shares_sum_to_the_whole_whatever_the_game(players, seed):
    plan = design(players, seed)
    rng = np.random.default_rng(seed)
    worth = {cell: float(rng.normal()) for cell in plan.cells}
    assert shapley(worth, plan).sum() == pytest.approx(worth[frozenset(range(players))] - worth[frozenset()])


def test_the_fraction_walks_a_circle():
    plan = design(9)
    assert not plan.full
    assert len(plan.cells) == 2 + 9 * 8
    for place in range(9):
        assert sorted(order[place] for order in plan.orders) == sorted([*range(9)] * 2)
    assert len(design(4).cells) == 16


@pytest.mark.parametrize("players", [4, 8])
def test_additive_games_and_pairs_are_told(players):
    plan = design(players)
    own = np.arange(1.0, players + 1)
    worth = {cell: float(sum(own[i] for i in cell)) for cell in plan.cells}
    assert shapley(worth, plan) == pytest.approx(own)
    found = effects(worth, players)
    assert found["alone"] == pytest.approx(own / own.sum())
    assert np.nanmax(np.abs(found["interaction"])) < 1e-12
    if plan.full:  # two that act only together: half each
        both = {cell: float({0, 1} <= cell) for cell in plan.cells}
        assert shapley(both, plan) == pytest.approx([0.5, 0.5] + [0.0] * (players - 2))
        assert effects(both, players)["interaction"][0, 1] == pytest.approx(1.0)


def test_intervals_weigh_items_by_how_much_they_differ():
    table = share_intervals([np.array([1.0, 0.0]), np.array([0.0, 3.0])])
    assert table[:, 0] == pytest.approx([0.25, 0.75])
    assert (table[:, 1] <= table[:, 0]).all()
    assert (table[:, 0] <= table[:, 2]).all()
    assert np.isnan(share_intervals([np.zeros(2)])).all()


@pytest.mark.parametrize("name", ["association", "exp", "order", "contraction", "gate", "bias", "softplus"])
def test_one_planted_switch_has_the_whole(name):
    moved = replace(TORCH_INT8, **{f: getattr(PUBLISHED, f) for f in SWITCH_OF[name][2]})
    result = planted(moved)
    table = result.tables()["Switches"]
    assert table["switch"].tolist() == [name]
    assert table["y"].tolist() == pytest.approx([1.0])
    by_cause = result.table().set_index("cause")["y"]
    assert by_cause[SWITCH_OF[name][0]] == pytest.approx(1.0)
    assert by_cause.sum() == pytest.approx(1.0)
    assert result.status == "rounding"
    assert name in result.verdict


def test_an_inert_switch_has_nothing():
    """Where D·u enters changes nothing while the library sums the states."""
    result = planted(replace(TORCH_INT8, association="B*(dt*u)", skip="first"))
    shares = result.tables()["Switches"].set_index("switch")["y"]
    assert shares["association"] == pytest.approx(1.0)
    assert shares["skip"] == 0.0


def test_a_coarse_switch_outweighs_all_rounding_and_is_a_fault():
    result = planted(replace(PUBLISHED, requantize="token"))
    lead = result.numbers["leading"]
    assert (lead["switch"], lead["operation"]) == ("requantize", "state_quantization")
    assert lead["share"] > 0.95
    assert result.status == "fault"
    assert result.table().set_index("cause").loc[3, "y"] > 0.95
    assert planted(replace(TORCH_INT8, cast="bfloat16")).numbers["leading"]["operation"] == "output_cast"


def test_the_two_modes_are_taken_apart_to_the_last_bit_and_alike_every_time():
    result, again = (causes(book(), "0", "2-1", layers=[1], items=[0], logits=False, sampled=3) for _ in range(2))
    assert result.numbers["certified"] is True
    row = result.table().set_index("cause").loc[4]
    assert row["y_low"] <= row["y"] <= row["y_high"]
    assert "3 items" in row["sentence"]
    assert result.tables()["The whole"].set_index("measured at").loc["y", "items"] == 3
    assert set(result.numbers["switches"]) == set(switches(PUBLISHED, TORCH_INT8))
    assert result.tables()["Switches"]["y"].sum() == pytest.approx(1.0)
    assert result.table().set_index("cause").loc[3, "y"] == 0.0
    assert json.dumps(result.to_json()) == json.dumps(again.to_json())
    assert len(result.figures()) == 3
    for option in result.view_data()["controls"][0]["options"]:
        assert result.figure(outcome=option).axes


def test_shares_at_the_logits_sum_to_the_whole():
    result = causes(book(), "0", "2-1", layers=[], items=[0])
    assert result.status == "unknown"
    b = replace(TORCH_INT8, association="B*(dt*u)", gate="quotient")
    result = causes(book(), "2-1", "2-1", layers=[7], items=[0], variants=(TORCH_INT8, b))
    assert result.table()["logits"].sum() == pytest.approx(1.0)


def test_equal_scans_unknown_scans_and_other_inputs_have_their_sentence():
    assert causes(book(), "0", "2-0", layers=[1], items=[0]).status == "identical"
    found = causes(book(), "0", book().truth_of("0"), layers=[1], items=[0])
    assert found.status == "unknown"
    assert "oracle" in found.verdict
    assert found.figures() == []
    other = causes(book(), "2-1", "2-4", layers=[1], items=[0], logits=False)
    assert other.numbers["leading"]["switch"] == "inputs"
    assert other.status == "established"
