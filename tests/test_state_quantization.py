"""Quantization of the state: each policy rounds where and how it says, and a scan whose y it reaches is caught."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quamba_lab import scans
from quamba_lab.compare import relative_rms
from quamba_lab.modes import Mode
from quamba_lab.scans import ScanError, random_inputs
from quamba_lab.scans.oracle import oracle_taps
from quamba_lab.scans.variants import Variant
from quamba_lab.scans.variants import run as run_variant
from quamba_lab.steps import Workbook
from quamba_lab.steps.state_errors import errors_along, handed_on, own_decode, policies_of, reaches_y
from quamba_lab.steps.state_policies import RULES, SCALES, WHEN, Policy, QuantizedStateScan, TowardZero
from quamba_lab.steps.state_quantization import ALONG, HANDED, LOGITS, state_quantization


def inputs(seed=0, **shape):
    shape = {"batch": 1, "channels": 8, "length": 60, "states": 8, "seed": seed} | shape
    largest = oracle_taps(random_inputs(**shape))["recurrence"].abs().max()
    return random_inputs(**shape, state_scale=float(largest) / 100)


@pytest.fixture(scope="module")
def run():
    return Workbook(modes=("0", "2-1"), limit=2, cache_dir=False)


@pytest.fixture(scope="module")
def result(run):
    return state_quantization(run, "0", "2-1", layers=[0, 7], items=1)


@given(
    when=st.sampled_from(WHEN), length=st.integers(1, 80), chunk=st.integers(1, 20),
    prefill=st.one_of(st.none(), st.integers(1, 80)),
)  # fmt: skip
def test_when_a_policy_rounds(when, length, chunk, prefill):
    rounds = Policy(when, prefill=prefill, chunk=chunk).rounds_after(length)
    assert len(rounds) == length
    at = [t for t, rounded in enumerate(rounds) if rounded]
    if when == "never":
        assert at == []
    elif prefill is None:
        expected = {"end": [length - 1], "token": list(range(length)), "chunk": list(range(chunk - 1, length, chunk))}
        assert at == expected[when]
    else:
        first = prefill - 1
        every = {"end": length, "token": 1, "chunk": chunk}[when]
        assert at == list(range(first, length, every))


@given(st.floats(-400, 400, width=32))
def test_toward_zero_cuts_and_saturates(value):
    assert int(TowardZero()(torch.tensor([value]))) == max(-128, min(127, int(value)))


@pytest.mark.parametrize("bad", [{"when": "often"}, {"rule": "up"}, {"scale": "big"}, {"chunk": 0}, {"prefill": 0}])
def test_a_policy_refuses_unknown_words(bad):
    with pytest.raises(ValueError, match=r"choose|at least"):
        Policy(**bad)


def test_without_a_state_scale_only_min_max_works():
    x = replace(inputs(), state_scale=None)
    assert QuantizedStateScan(Policy(scale="min-max"))(x).y.shape == (1, 60, 8)
    with pytest.raises(ScanError, match="state_scale"):
        QuantizedStateScan(Policy())(x)


@pytest.mark.parametrize("policy", [Policy("never"), Policy("end"), Policy("never", prefill=20)])
def test_what_never_rounds_is_the_pytorch_scan_bit_for_bit(policy):
    x = inputs()
    assert torch.equal(QuantizedStateScan(policy)(x).y, scans.run("torch_int8", x).y)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("scale", SCALES)
def test_every_token_against_a_plain_loop(rule, scale):
    x = inputs(length=12, channels=2, states=3)
    scan = QuantizedStateScan(Policy("token", rule, scale))
    taps = scan.taps(x)
    exact = oracle_taps(x)["recurrence"]
    unit = float(exact.abs().max()) / 127 if SCALES[scale] is None else float(x.state_scale) * SCALES[scale]
    integer = {"even": np.round, "toward zero": np.trunc, "away": lambda v: np.trunc(v + np.copysign(0.5, v))}[rule]
    h = np.zeros((2, 3))
    for t in range(12):
        h = taps["decay"][0, :, t].double().numpy() * h + taps["drive"][0, :, t].double().numpy()
        assert np.allclose(taps["recurrence"][0, :, t].numpy(), h, atol=1e-4 * unit + 1e-6)
        h = integer(h / unit).clip(-128, 127) * unit
    assert scan.clipped == 0 if scale == "min-max" else True


def test_a_start_from_exact_states_changes_nothing():
    x = inputs()
    for policy in (Policy("chunk"), Policy("token", "away", "half"), Policy("token", prefill=30)):
        scan = QuantizedStateScan(policy)
        taps = scan.taps(x)
        exact = scan._sequential(taps["decay"], taps["drive"])
        assert torch.equal(scan.states(taps["decay"], taps["drive"], x, exact), taps["recurrence"])


def test_decode_every_token_is_the_scans_own_decode():
    """Up to ties: the prompt's state is handed on with ties away from zero there, to even here."""
    x = inputs(length=40)
    y = QuantizedStateScan(Policy("token", prefill=20))(x).y
    own = scans.generate("torch_int8", x, 20).y
    exact = scans.run("oracle", x).y
    error = relative_rms(own[:, 20:], exact[:, 20:])
    assert error > 1e-3
    assert relative_rms(y[:, 20:], own[:, 20:]) < 0.02 * error


def test_errors_grow_from_never_to_every_token_and_only_after_rounding():
    x = inputs()
    found = {e["policy"]: e for e in errors_along(x, policies_of("decode", 30))}
    never, end = found[Policy("never", prefill=30)], found[Policy("end", prefill=30)]
    token, cut = found[Policy("token", prefill=30)], found[Policy("token", "toward zero", prefill=30)]
    assert never["y_rms"] < 1e-5 < end["y_rms"] < token["y_rms"] < cut["y_rms"]
    assert np.array_equal(token["y"][:30], never["y"][:30])
    assert token["y"][30:].min() > 100 * never["y"][30:].max()
    prefill = {e["policy"]: e for e in errors_along(x, policies_of("prefill", 30))}
    assert np.array_equal(prefill[Policy("end")]["y"], prefill[Policy("never")]["y"])
    assert len(prefill) == 1 + 3 * len(RULES) * len(SCALES)


def test_scales_clip_as_they_should():
    x = inputs()
    rows = {(r["rule"], r["scale"]): r for r in handed_on(x)}
    along = {e["policy"]: e["clipped"] for e in errors_along(x, policies_of("prefill", 30))}
    assert along[Policy("token", scale="half")] > 0
    assert along[Policy("token", scale="min-max")] == along[Policy("token", scale="double")] == 0
    assert rows["even", "double"]["unit"] == pytest.approx(4 * rows["even", "half"]["unit"])
    assert rows["toward zero", "min-max"]["error_rms"] > rows["even", "min-max"]["error_rms"]


@pytest.mark.parametrize("name", ["torch_int8", "published", "oracle"])
def test_the_state_s_scale_does_not_reach_y(name):
    if scans.unavailable(name):
        pytest.skip(scans.unavailable(name))
    found = reaches_y(name, inputs(length=200))
    assert found["y_values_changed"] == 0
    assert found["state_is_codes"]


def test_own_decode_of_a_scan_without_steps_is_left_out():
    scans.register("no steps", lambda x: scans.run("oracle", x))
    try:
        assert own_decode("no steps", inputs(), 10) is None
    finally:
        scans.unregister("no steps")
    assert own_decode("torch_int8", inputs(), 10)["tokens"] == 50


# The result ----------------------------------------------------------------------------------------------------------


def test_the_verdict_on_the_shipped_model(result):
    assert result.status == "identical"
    assert result.verdict.startswith("Cause 3 of the plan, quantization of the SSM state, cannot act in a")
    assert "in generation it acts" in result.verdict
    logits = result.tables()[LOGITS].set_index(["phase", "policy"])
    end = logits.loc["prefill", Policy("end").label]
    assert end["logits_equal"]
    assert end["logits_rms"] == 0
    assert result.numbers["end_changes_no_logit"]
    token, cut = (logits.loc["decode", Policy("token", rule).label] for rule in ("even", "toward zero"))
    assert 0 < token["logits_rms"] < cut["logits_rms"]
    assert not [name for name in scans.names() if name.startswith("state rounded")]


def test_what_it_shows(result):
    data = result.view_data()
    default = {control["name"]: control["default"] for control in data["controls"]}
    assert result.figure(**default).axes
    for chart in data["charts"]:
        assert "|".join(str(default[name]) for name in chart["depends"]) in chart["frames"]
    assert len(json.dumps(data, allow_nan=False)) < 2_000_000
    json.dumps(result.to_json(), allow_nan=False)
    assert [name for name, _, _ in result.figures()] == ["along-prefill", "along-decode", "logits"]
    assert len(result.tables()[ALONG]) == 2 * 2 * 37
    assert len(result.tables()[HANDED]) == 2 * 12
    with pytest.raises(ValueError, match="was not measured"):
        result.figure(layer=3)


def test_a_scan_that_rounds_its_state_in_prefill_is_a_fault(run):
    scans.register("rounds every token", lambda x: run_variant(
        x, Variant(requantize="token" if x.state_scale is not None else "never")
    ))  # fmt: skip
    try:
        found = state_quantization(
            run, "0", Mode("mine", "int8", "int8", "rounds every token"), layers=[0], items=0
        )
    finally:
        scans.unregister("rounds every token")
    assert found.status == "fault"
    assert found.numbers["can_act_in_log_likelihood"]
    assert "can act in a log-likelihood task: rounds every token changes" in found.verdict
    assert LOGITS not in found.tables()
    json.dumps(found.to_json(), allow_nan=False)


def test_too_many_items_are_refused(run):
    with pytest.raises(ValueError, match="items=3: choose 0 to the limit of this run, 2"):
        state_quantization(run, "0", "2-1", items=3)


def test_a_scan_is_unregistered_even_when_the_model_fails(run, monkeypatch):
    from quamba_lab.steps import state_errors

    calls = iter(range(100))

    def fail(run, mode, scan, item):
        if scan.startswith("state rounded") and next(calls) > 1:
            raise RuntimeError("planted")
        return torch.zeros(4, 5, dtype=torch.float64)

    monkeypatch.setattr(state_errors, "_logits", fail)
    with pytest.raises(RuntimeError, match="planted"):
        state_errors.at_logits(run, "2-1", range(1))
    assert not [name for name in scans.names() if name.startswith("state rounded")]
