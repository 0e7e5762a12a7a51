"""The error budget: what is planted comes out in its part, at its token, and nothing else is accused."""

import importlib
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quamba_lab import scans
from quamba_lab.scans import random_inputs
from quamba_lab.scans.oracle import oracle_taps
from quamba_lab.scans.taps import TAPPED, certified_taps
from quamba_lab.scans.variants import TORCH_INT8, Arithmetic, Variant, taps
from quamba_lab.steps import Workbook
from quamba_lab.steps.budget import ORIGINS, PARTS, budget_of, half_lives
from quamba_lab.steps.error_budget import budget_scans, error_budget

needs_host_build = pytest.mark.skipif(scans.unavailable("published") is not None, reason="no compiler")


def inputs(seed=0, **shape):
    return random_inputs(**({"batch": 1, "channels": 6, "length": 48, "states": 8, "seed": seed} | shape))


class OneDecay(Arithmetic):
    """The decay of one channel, token and state is 0.1 % too large."""

    at = (0, 2, 17, 3)

    def decay(self, dt, A):
        a = super().decay(dt, A)
        a[self.at] *= 1.001
        return a


class OneDrive(Arithmetic):
    at = (0, 4, 9, 5)

    def drive(self, dt, B, u):
        b = super().drive(dt, B, u)
        b[self.at] += 0.01
        return b


class Carry(Arithmetic):
    """At token 16 the state before counts ``times`` times."""

    times = 0.0

    def _sequential(self, decay, drive):
        states, h = torch.empty_like(drive), torch.zeros_like(drive[:, :, 0])
        for t in range(drive.shape[2]):
            h = decay[:, :, t] * (h * self.times if t == 16 else h) + drive[:, :, t]
            states[:, :, t] = h
        return states


class TwiceCarried(Carry):
    times = 2.0


@pytest.fixture
def registered():
    """Register an arithmetic as a scan with taps; gone after the test."""
    names = []

    def add(name, arithmetic, tapped=None):
        scans.register(name, arithmetic, taps=(tapped or arithmetic.taps))
        names.append(name)
        return name

    yield add
    for name in names:
        scans.unregister(name)


def budget_by(arithmetic, x):
    return budget_of(x, arithmetic.taps(x))


@needs_host_build
@pytest.mark.parametrize("name", ["published", "torch_int8", "torch_fp64"])
@pytest.mark.parametrize("extreme", [False, True])
def test_the_scans_close_and_are_accused_of_nothing(name, extreme):
    for seed in range(3):
        x = inputs(seed, length=150, extreme=extreme)
        budget = budget_of(x, certified_taps(name, x).taps)
        assert budget.closes
        assert not any(len(places) for places in budget.beyond.values())
        assert set(budget.parts) == set(PARTS)
        assert set(budget.origins) == set(ORIGINS)
        if name != "torch_fp64":
            assert sum(budget.shares().values()) == pytest.approx(1, abs=1e-6)
            assert 0 < budget.relative < 2e-6


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000), order=st.sampled_from(["sequential", "tree", "block", "segments"]), fma=st.booleans(),
    exp=st.sampled_from(["library", "exp2", "two_ulp"]), softplus=st.sampled_from(["library", "stable"]),
    association=st.sampled_from(["(dt*B)*u", "B*(dt*u)", "(B*u)*dt"]), length=st.integers(1, 70),
)  # fmt: skip
def test_honest_arithmetic_in_any_order_closes(seed, order, fma, exp, softplus, association, length):
    x = inputs(seed, length=length, channels=3, states=4)
    variant = Variant(
        order=order, fma=fma, exp=exp, softplus=softplus, association=association, threads=4, items=3, chunk=8
    )
    budget = budget_of(x, taps(x, variant))
    assert budget.closes
    assert not any(len(places) for places in budget.beyond.values())
    total = sum(budget.parts.values())
    assert (total - budget.error).abs().max() <= 1e-14 * max(1.0, float(budget.state.abs().max()))


@pytest.mark.parametrize("seed", range(4))
def test_one_wrong_decay_is_decay_induced_at_its_token(seed):
    x = inputs(seed)
    budget, honest = budget_by(OneDecay(), x), budget_by(Arithmetic(), x)
    assert budget.closes
    assert budget.beyond["decay"].tolist() == [[0, 2, 17, 3]]
    assert len(budget.beyond["drive"]) == len(budget.beyond["unexplained"]) == 0
    made = budget.parts["decay"][0, 2, :, 3].abs()
    assert int(made.argmax()) == 17
    assert made[17] > 100 * made[torch.arange(48) != 17].max()
    assert torch.equal(budget.error[:, :, :17], honest.error[:, :, :17])
    later = budget.parts["inherited"][0, 2, 18, 3]
    assert later == pytest.approx(float(budget.error[0, 2, 17, 3]) * float(oracle_taps(x)["decay"][0, 2, 18, 3]))
    assert abs(budget.origins["decay"][0, 2, 20, 3]) > 0.99 * abs(budget.error[0, 2, 20, 3])


def test_one_wrong_drive_is_drive_induced():
    budget = budget_by(OneDrive(), inputs())
    assert budget.closes
    assert budget.beyond["drive"].tolist() == [[0, 4, 9, 5]]
    assert len(budget.beyond["decay"]) == len(budget.beyond["unexplained"]) == 0
    assert budget.parts["drive"][0, 4, 9, 5] == pytest.approx(0.01, rel=1e-4)
    assert budget.shares()["drive"] > 0.999


@pytest.mark.parametrize(("fault", "hint"), [(Carry(), "lost"), (TwiceCarried(), "twice")])
def test_a_lost_or_doubled_carry_does_not_close_and_is_named(fault, hint):
    budget = budget_by(fault, inputs())
    assert budget.sums_up
    assert not budget.closes
    places = budget.beyond["unexplained"]
    assert set(places[:, 2].tolist()) == {16}
    assert len(places) > 0.9 * 6 * 8
    assert hint in budget.hint
    assert len(budget.beyond["decay"]) == len(budget.beyond["drive"]) == 0
    assert budget.parts["unexplained"][:, :, 16].abs().max() > 1e4 * budget.parts["rounding"].abs().max()


@pytest.mark.parametrize("when", ["token", "chunk"])
def test_a_state_that_is_rounded_does_not_close_and_is_named(when):
    x = replace(inputs(), state_scale=torch.tensor(0.004))
    budget = budget_of(x, taps(x, Variant(requantize=when, chunk=8)))
    assert not budget.closes
    assert "INT8 codes" in budget.hint
    assert float(budget.parts["unexplained"].abs().max()) < 0.004  # half a code before, half a code after
    if when == "chunk":
        assert {int(t) % 8 for t in budget.beyond["unexplained"][:, 2]} == {7}


def test_what_is_not_a_number_does_not_close():
    x = inputs()
    found = taps(x, TORCH_INT8)
    found["recurrence"][0, 1, 5, 2] = math.nan
    budget = budget_of(x, found)
    assert not budget.closes
    assert not budget.sums_up
    assert [0, 1, 5, 2] in budget.beyond["unexplained"].tolist()


@given(st.floats(1e-3, 0.999))
@settings(max_examples=20, deadline=None)
def test_half_life_of_a_constant_decay(a):
    life = float(half_lives(torch.full((1, 1, 7, 1), a, dtype=torch.float64)))
    assert a**life == pytest.approx(0.5)


def test_a_state_that_forgets_nothing_has_no_half_life():
    assert math.isinf(float(half_lives(torch.ones(1, 1, 4, 1, dtype=torch.float64))))


# Certified taps ------------------------------------------------------------------------------------------------------


@needs_host_build
@pytest.mark.parametrize("name", [n for n in ("published", "torch_int8", "torch_fp32", "oracle", "folded")
                                  if n in scans.names() and scans.get(n).taps])  # fmt: skip
def test_the_package_s_own_taps_are_certified(name):
    x = inputs(batch=2, length=200, channels=8)
    found = certified_taps(name, x)
    assert found.certified, found.reason
    assert set(TAPPED) <= set(found.taps)
    assert torch.equal(found.taps["output_cast"], scans.run(name, x).y)


def test_taps_of_another_computation_are_refused(registered):
    other = Arithmetic(Variant(cast="truncate"))
    found = certified_taps(registered("liar", scans.get("torch_int8").fn, other.taps), inputs())
    assert not found.certified
    assert not found.taps
    assert "differs from the untapped y" in found.reason


def test_a_last_tap_that_does_not_lead_to_y_is_refused(registered):
    def tapped(x):
        found = Arithmetic().taps(x)
        return found | {"gate": found["gate"] * 1.5}

    found = certified_taps(registered("astray", Arithmetic(), tapped), inputs())
    assert not found.certified
    assert "gate" in found.reason


def test_missing_misshapen_and_absent_taps_are_refused(registered):
    x = inputs()
    short = registered("short", Arithmetic(), lambda x: {"decay": torch.zeros(1)})
    assert "lack softplus" in certified_taps(short, x).reason
    bent = registered("bent", Arithmetic(), lambda x: Arithmetic().taps(x) | {"decay": torch.zeros(1)})
    assert "shape (1,)" in certified_taps(bent, x).reason
    scans.register("blind", lambda x: scans.run("oracle", x))
    try:
        assert "no taps" in certified_taps("blind", x).reason
    finally:
        scans.unregister("blind")
    with pytest.raises(ValueError, match="unknown scan"):
        certified_taps("nothing", x)


# The result ----------------------------------------------------------------------------------------------------------


def test_an_honest_pair_is_rounding_and_its_shares_sum_to_one():
    result = budget_scans({0: inputs(), 3: inputs(1)}, {"2-1": "torch_int8", "exact": "oracle"}, {}, channels=3)
    assert result.status == "rounding"
    assert "closes at all 2 layers" in result.verdict
    assert "mode exact (oracle) has no error" in result.verdict
    table = result.table()
    own = table[table["mode"] == "2-1"]
    assert np.allclose(own[[f"share_{name}" for name in ORIGINS]].sum(axis=1), 1)
    number, _, parts, error = result.series("2-1", 3, 1)
    assert number == result.channels[3][1]
    assert np.allclose(sum(parts.values()), error, rtol=0, atol=1e-15)


def test_the_verdict_names_operation_token_channel_and_state(registered):
    name = registered("planted", OneDecay())
    result = budget_scans({5: inputs()}, {"mine": name}, {})
    assert result.status == "fault"
    assert result.numbers["closes"]
    assert "closes, and the decay errs by more than float32 can" in result.verdict
    assert "layer 5, first at token 17, channel 2, state 3" in result.verdict
    assert result.channels[5][0] == 2, "the channel with the largest error is shown first"


def test_a_lost_carry_reads_does_not_close(registered):
    result = budget_scans({0: inputs()}, {"mine": registered("lost", Carry())}, {})
    assert result.status == "fault"
    assert "does not close" in result.verdict
    assert "token 16" in result.verdict
    assert "the state before was lost" in result.verdict


def test_refused_taps_are_not_drawn(registered):
    def tapped(x):
        found = Arithmetic().taps(x)
        return found | {"output_cast": found["output_cast"] + 1}

    name = registered("liar", Arithmetic(), tapped)
    result = budget_scans({0: inputs()}, {"mine": name}, {})
    assert result.status == "unknown"
    assert "not shown" in result.verdict
    assert "differs from the untapped y" in result.verdict
    assert result.figures() == []
    assert result.view_data() == {"controls": [], "charts": []}
    with pytest.raises(ValueError, match="no budget"):
        result.figure()
    json.dumps(result.to_json(), allow_nan=False)
    both = budget_scans({0: inputs()}, {"good": "torch_int8", "mine": name}, {})
    assert both.status == "rounding"
    assert "mode mine is not shown" in both.verdict
    assert {mode for mode, _ in both.kept} == {"good"}


def test_a_large_problem_is_thinned_to_whole_channels(monkeypatch):
    module = importlib.import_module("quamba_lab.steps.error_budget")

    monkeypatch.setattr(module, "ELEMENTS", 48 * 8 * 2)
    result = budget_scans({0: inputs()}, {"2-1": "torch_int8"}, {})
    assert set(result.channels[0]) == {0, 3}


@needs_host_build
def test_on_the_shipped_model():
    run = Workbook(modes=("0", "2-1"), limit=2, cache_dir=False)
    result = error_budget(run, "0", "2-1", layers=[0, 7], channels=2)
    assert result.status == "rounding"
    assert result.numbers["closes"]
    assert set(result.kept) == {("0", 0), ("2-1", 0), ("0", 7), ("2-1", 7)}
    data = result.view_data()
    assert json.dumps(data, allow_nan=False)
    assert json.dumps(result.to_json(), allow_nan=False)
    default = {control["name"]: control["default"] for control in data["controls"]}
    assert result.figure(**default).axes
    for chart in data["charts"]:
        assert "|".join(str(default[name]) for name in chart["depends"]) in chart["frames"]
    assert all(figure.axes and alt for _, figure, alt in result.figures())
    again = error_budget(run, "0", "2-1", layers=[0, 7], channels=2)
    assert again.to_json() == result.to_json()
    with pytest.raises(ValueError, match="out of range"):
        result.figure(layer=0, channel=9)
    with pytest.raises(ValueError, match="no budget of mode"):
        result.figure(layer=5)


@needs_host_build
def test_a_pair_that_shares_no_dtype_of_u_uses_what_both_take():
    run = Workbook(modes=("2-2", "0"), limit=1, cache_dir=False)
    result = error_budget(run, "2-2", "0", layers=[0])
    assert result.settings["inputs_of"] == "0"
    assert {mode for mode, _ in result.kept} == {"2-2", "0"}
