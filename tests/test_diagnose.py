"""Black-box diagnosis: planted faults are named, honest scans are never accused, and every fault comes with a proof."""

import json
import runpy
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quamba_lab import Quantized, ScanOutput, scans
from quamba_lab.diagnose import diagnose
from quamba_lab.diagnose.bounds import Precision, bounds, rounds_nowhere
from quamba_lab.diagnose.gallery import BASES, faults, honest, other_hands
from quamba_lab.diagnose.probes import RUNGS, build, ladder
from quamba_lab.diagnose.survey import survey
from quamba_lab.scans import variants
from quamba_lab.scans.oracle import oracle_float64
from quamba_lab.scans.variants import Arithmetic, Variant

FAULTS = faults()
HONEST = honest()
HANDS = other_hands()
LIMIT = 60.0
TABLE = (Path(__file__).parents[1] / "docs" / "diagnosis-table.md").read_text(encoding="utf-8")

ONE_EACH = {(fault.operation, fault.verdict): name for name, fault in reversed(FAULTS.items())}
SAMPLE = [name for k, name in enumerate(FAULTS) if k % 9 == 4 or name in ONE_EACH.values()]
"""One fault for each operation and verdict, and every ninth; the command that writes the table plants them all."""


def test_the_gallery_is_large_enough():
    planted = [fault for fault in FAULTS.values() if fault.verdict == "fault"]
    assert len(planted) >= 60
    assert len(HONEST) >= 30
    assert {fault.operation for fault in planted} == set(scans.OPERATIONS)


def test_the_table_in_the_docs_is_of_this_gallery_and_names_all_rightly():
    rows = [line.split(" | ") for line in TABLE.splitlines() if line.startswith("| ")]
    assert {row[0].removeprefix("| ") for row in rows} >= {*FAULTS, *HONEST, *HANDS}
    assert "(wrong)" not in TABLE
    assert f"0 of {len(HONEST) + len(HANDS)} honest scans accused" in TABLE


@pytest.mark.parametrize("name", [name for name in SAMPLE if FAULTS[name].verdict != "timeout"])
def test_a_planted_fault_is_named(name):
    fault = FAULTS[name]
    base = list(BASES.values())[list(FAULTS).index(name) % len(BASES)]
    found = diagnose(fault.scan(base), time_limit=LIMIT)
    assert (found.verdict, found.operation) == (fault.verdict, fault.operation), found.evidence
    if fault.verdict == "fault":
        assert found.reproducer is not None
        assert 0 < found.confidence <= 1


@pytest.mark.parametrize("name", [*list(HONEST)[::5], *list(HANDS)[::2]])
def test_an_honest_scan_is_never_accused(name):
    found = diagnose(HANDS.get(name) or Arithmetic(HONEST[name]), time_limit=LIMIT)
    assert found.verdict in ("rounding", "identical"), found.evidence
    assert found.operation is None


@pytest.mark.parametrize("name", [name for name in scans.names() if scans.unavailable(name) is None])
def test_every_registered_scan_is_honest(name):
    found = diagnose(name, time_limit=LIMIT)
    assert found.verdict == ("identical" if name == "oracle" else found.verdict)
    assert found.verdict in ("rounding", "identical"), found.evidence
    assert found.seconds < 30


def test_a_hang_is_a_verdict_and_leaves_no_loop_behind():
    fault = FAULTS["hangs past four tokens"]
    found = diagnose(fault.scan(Variant()), time_limit=0.5)
    assert found.verdict == "timeout"
    assert "0.5 s" in found.evidence[0]


def test_only_the_first_call_may_take_longer_to_build_itself():
    calls = []

    def scan(x):
        calls.append(x)
        if len(calls) == 1:
            time.sleep(3.5)
        return scans.run("torch_int8", x)

    assert diagnose(scan, time_limit=3.0).verdict == "rounding"  # no other takes 10 ms, unless the machine is busy


def test_a_survey_in_which_a_scan_ran_out_of_time_finds_no_fault():
    def scan(x):
        time.sleep(0.2)
        return scans.run("torch_int8", x)

    found = survey(own={"slow": scan}, planted=(), time_limit=0.02)
    assert found.status == "unknown"
    assert "slow: timeout" in found.verdict


def test_a_scan_that_writes_spoils_no_later_diagnosis():
    assert diagnose(FAULTS["writes into u"].scan(Variant())).verdict == "mutates inputs"
    assert diagnose("torch_int8").verdict == "rounding"


def test_same_seed_same_answer():
    scan = FAULTS["gate before D"].scan(Variant())
    first, second = (json.dumps(diagnose(scan).to_json(), sort_keys=True) for _ in range(2))
    assert first == second


def test_two_scans_against_each_other():
    assert diagnose("torch_fp32", against="torch_int8").verdict == "identical"
    assert diagnose("torch_fp64", against="torch_int8").verdict == "rounding"
    faulty = FAULTS["D missing"].scan(Variant())
    ours = diagnose(faulty, against="torch_int8")
    assert (ours.verdict, ours.operation) == ("fault", "skip")
    theirs = diagnose("torch_int8", against=faulty)
    assert (theirs.verdict, theirs.operation) == ("fault", "skip")
    assert "torch_int8 is inside the bounds" in theirs.evidence[0]


def test_a_stated_precision_is_no_fault_and_a_worse_one_is():
    scan = FAULTS["state in bfloat16"].scan(Variant())
    assert diagnose(scan).operation == "recurrence"
    assert diagnose(scan, precision="bf16 state").verdict == "rounding"
    assert diagnose(scan, precision="fp16 state").verdict == "fault"
    with pytest.raises(ValueError, match="bf16 state"):
        diagnose(scan, precision="half state")


def test_a_scan_may_decline_an_option_and_may_not_decline_the_rest():
    def single_group(x):
        if x.groups > 1:
            raise NotImplementedError("one group only")
        return scans.torch_int8(x)

    found = diagnose(single_group)
    assert found.verdict == "rounding"
    assert any("declined" in line for line in found.evidence)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_scan_that_takes_values_for_u(dtype):
    def values_only(x):
        if x.u.values.dtype != dtype:
            raise TypeError("u must be values")
        return Arithmetic()(replace(x, u=Quantized(x.u.values.float(), None)))

    def coarse(x):
        return values_only(replace(x, u=Quantized(x.u.values.bfloat16().to(dtype), None)) if x.u.scale is None else x)

    name = str(dtype).removeprefix("torch.")
    assert diagnose(values_only, u=name).verdict == "rounding"
    found = diagnose(coarse, u=name)
    assert (found.verdict, found.operation) == ("fault", "dequantize.u"), found.evidence
    assert f"dtype={dtype}" in found.reproducer
    assert diagnose(values_only, u="int8").verdict == "error"
    if dtype == torch.float32:
        assert diagnose(values_only).verdict == "rounding"
    with pytest.raises(ValueError, match="float32"):
        diagnose(values_only, u="bfloat16")


def test_a_bare_tensor_will_do():
    assert diagnose(lambda x: scans.torch_int8(x).y).verdict == "rounding"
    found = diagnose(lambda x: FAULTS["carry lost every 16"].scan(Variant())(x).y)
    assert found.operation == "recurrence"


def test_what_cannot_be_a_scan():
    with pytest.raises(ValueError, match="unknown scan"):
        diagnose("no such scan")
    with pytest.raises(ValueError, match="not a scan"):
        diagnose(3)


def test_result_table_figure_and_json():
    found = diagnose(FAULTS["y saturates"].scan(Variant()))
    table = found.table()
    assert list(table.index) == list(RUNGS)
    assert table.loc["cast", "y"] > 0
    assert table.loc["softplus", "outside"] == 0
    assert found.figure().axes
    data = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert data["operation"] == "output_cast"
    assert "output_cast" in found.sentence()


def test_the_reproducer_runs_alone(tmp_path, monkeypatch, capsys):
    (tmp_path / "somebodys_scan.py").write_text(
        "import torch\nfrom quamba_lab import scans, ScanOutput\n"
        "def scan(x):\n    out = scans.torch_int8(x)\n"
        "    y = out.y.clone()\n    y[:, 5:] = y[:, 5:] * 2\n    return ScanOutput(y, out.last_state)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import somebodys_scan

    found = diagnose(somebodys_scan.scan)
    path = found.save_reproducer(tmp_path / "fault.py")
    text = path.read_text()
    assert "from somebodys_scan import scan" in text
    runpy.run_path(str(path), run_name="__main__")
    printed = capsys.readouterr().out
    assert "the fault shows" in printed
    assert "expected" in printed
    assert "got" in printed
    assert len(text.splitlines()) < 60
    sys.modules.pop("somebodys_scan")
    with pytest.raises(ValueError, match="no reproducer"):
        diagnose("oracle").save_reproducer(tmp_path / "none.py")


def test_the_smallest_input_is_small():
    found = diagnose(FAULTS["B clipped to ±127"].scan(Variant()))
    assert "B=codes([[[[-128]]]], 1.0)" in found.reproducer
    assert "u=codes([[[1]]], 1.0)" in found.reproducer


# ---------------------------------------------------------------- bounds


@pytest.mark.parametrize("extreme", [False, True])
def test_the_bound_surrounds_the_oracle(extreme):
    x = scans.random_inputs(2, 8, 40, 16, 2, seed=3, extreme=extreme)
    limit = bounds(x)
    y, last = oracle_float64(x)
    scale = np.abs(limit.value).max()
    assert np.abs(limit.value - y.numpy()).max() < 1e-12 * scale
    assert np.abs(limit.state - last.numpy()).max() < 1e-12 * max(1.0, np.abs(limit.state).max())
    assert (limit.low <= limit.rounded).all()
    assert (limit.rounded <= limit.high).all()
    assert (limit.error > 0).all()


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6), length=st.integers(1, 60), states=st.integers(1, 17), extreme=st.booleans(),
    name=st.sampled_from(sorted(HONEST)),
)  # fmt: skip
def test_honest_scans_stay_inside_on_any_input(seed, length, states, extreme, name):
    x = scans.random_inputs(2, 4, length, states, 2, seed=seed, extreme=extreme)
    limit, out = bounds(x), variants.run(x, HONEST[name])
    assert not limit.violations(out.y.numpy()).any()
    assert not limit.state_violations(out.last_state.numpy()).any()


def test_the_bound_is_useful():
    """On inputs like a trained layer's the bound stays near a float16 spacing: most values have one or two answers."""
    limit = bounds(scans.random_inputs(2, 16, 100, 16, seed=1))
    spacing = np.spacing(np.abs(limit.rounded)).astype(float)
    assert np.median((limit.high.astype(float) - limit.low.astype(float)) / spacing) <= 1
    assert (limit.low == limit.high).mean() > 0.5


def test_exact_probes_are_exact_in_every_order():
    exact = [p for p in ladder() if p.inputs.length <= 300 and rounds_nowhere(p.inputs)]
    assert len(exact) > 500
    for probe in exact[::7]:
        limit = bounds(probe.inputs)
        for variant in (Variant(), BASES["block scan, fast math"], BASES["tree of 37"]):
            out = variants.run(probe.inputs, variant)
            assert (out.y.numpy() == limit.rounded).all(), probe.name


def test_a_coarser_precision_widens_and_is_not_exact():
    x = build((1, 1, 3, 1, 1), u=(1, [64, 1, -64]), B=(1, [[64, 1, 64]]), A_log=(2, -100))
    assert bounds(x).exact
    stated = bounds(x, Precision.parse("bf16 state"))
    assert not stated.exact
    assert (stated.error > bounds(x).error).all()


def test_nan_is_always_outside():
    limit = bounds(scans.random_inputs(1, 2, 3, 2))
    assert limit.violations(np.full((1, 3, 2), np.nan, dtype=np.float16)).all()


# ---------------------------------------------------------------- the configurable scan


@pytest.mark.parametrize("state_scale", [None, 0.02])
def test_torch_int8_is_a_point_of_the_variants(state_scale):
    for seed, extreme in ((0, False), (1, True)):
        x = scans.random_inputs(2, 8, 50, 16, 2, seed=seed, extreme=extreme, state_scale=state_scale)
        ours, theirs = variants.run(x, variants.TORCH_INT8), scans.get("torch_int8").fn(x)
        assert torch.equal(ours.y, theirs.y)
        assert torch.equal(ours.last_state, theirs.last_state)


def test_variants_refuse_unknown_switches():
    with pytest.raises(ValueError, match="order='spiral'"):
        Variant(order="spiral")
    with pytest.raises(ValueError, match="power of two"):
        Variant(threads=3)


def test_shape_errors_are_found_before_anything_else():
    found = diagnose(lambda x: ScanOutput(torch.zeros(1, 1, 1).half(), None))
    assert found.verdict == "invalid output"
    assert found.operation == "layout"
