"""Steps 3 and 5 on scans with planted faults: exactly the plant is reported, and honest scans are not accused."""

import functools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from quamba_lab import scans
from quamba_lab.quantized import AWAY_SATURATE, AWAY_WRAP, EVEN_SATURATE, EVEN_SYMMETRIC, RoundingRule
from quamba_lab.recorded import load_recorded
from quamba_lab.scans.variants import TORCH_INT8, Variant
from quamba_lab.scans.variants import run as run_variant
from quamba_lab.scans.variants import taps as variant_taps
from quamba_lab.steps.dequantization import audit_scans
from quamba_lab.steps.equal_inputs import stages_on
from quamba_lab.steps.inside_the_scan import EQUAL, RECORDED, walk
from quamba_lab.steps.ladder import local_errors
from quamba_lab.steps.ledger import classify
from quamba_lab.steps.probes import audit_operand, drive_association, skip_position, state_rounding
from quamba_lab.steps.recorded_ladder import recorded_ladder
from quamba_lab.steps.what_if import what_if

INPUTS = scans.random_inputs(1, 24, 40, seed=3)
OPERANDS = ("u", "dt", "B", "C", "z", "A_log", "D", "dt_bias")


@pytest.fixture
def register():
    """Register scans for one test."""
    added = []

    def add(name, fn, **parts):
        scans.register(name, fn, **parts)
        added.append(name)
        return name

    yield add
    for name in added:
        scans.unregister(name)


def altered(operand, change):
    """torch_int8 with one operand replaced by ``change(operand)``."""

    def scan(x):
        return scans.torch_scan.plain_scan(replace(x, **{operand: change(getattr(x, operand))}))

    return scan


@pytest.mark.parametrize("name", ["oracle", "published", "torch_int8", "torch_fp32", "torch_fp64", "folded"])
@pytest.mark.parametrize("scale", [0.0123, 0.04137])
def test_honest_scans_give_every_code_its_value(name, scale):
    if name not in scans.names() or scans.unavailable(name):
        pytest.skip(f"{name} cannot run here")
    run = functools.partial(scans.run, name)
    for operand in OPERANDS:
        found = audit_operand(run, operand, torch.tensor(scale))
        assert (found.exact, found.note) == (256, ""), (operand, found)


@pytest.mark.parametrize("operand", ["u", "dt", "B", "C", "D", "dt_bias", "z", "A_log"])
def test_a_clip_is_found_in_the_operand_that_has_it(operand, register):
    register("clipped", altered(operand, lambda q: q and q.map(lambda v: v.clamp(min=-127))))
    run = functools.partial(scans.run, "clipped")
    for name in OPERANDS:
        found = audit_operand(run, name, torch.tensor(0.04))
        if name == operand == "z" and found.exact == 256:
            continue  # silu(-5.12) and silu(-5.08) may share a float16
        if name == operand:
            assert found.exact == 255, found
            assert found.worst_code == -128
            if found.bits == 24 and name != "A_log":
                assert found.conversion == "code clipped to ±127"
                assert found.lowest == pytest.approx(-127, rel=1e-5)
        else:
            assert found.exact == 256, (name, found)


@pytest.mark.parametrize("operand", ["u", "dt", "B", "C", "D", "dt_bias"])
def test_one_ulp_in_one_code_is_found(operand, register):
    """The scale is one float32 ULP too large: nearly every product moves by one ULP."""

    def nudge(q):
        return q and replace(q, scale=torch.nextafter(q.scale, torch.tensor(9.0)))

    register("nudged", altered(operand, nudge))
    found = audit_operand(functools.partial(scans.run, "nudged"), operand, torch.tensor(0.0312345))
    if operand in ("C", "D"):
        # The probe reads a code's value against another operand of the same scale, which is right here.
        assert found.exact < 256
    else:
        assert found.exact <= 128
        assert found.worst_ulp in (1.0, 2.0)


def test_a_scale_in_half_precision_is_named(register):
    register("half", altered("B", lambda q: replace(q, scale=q.scale.half().float())))
    found = audit_operand(functools.partial(scans.run, "half"), "B", torch.tensor(0.0312345))
    assert found.conversion == "scale rounded to float16"


def test_a_scan_that_refuses_the_probe_is_reported_not_raised():
    def refuse(x):
        raise RuntimeError("only 128 channels")

    assert "only 128 channels" in audit_operand(refuse, "u", torch.tensor(0.02)).note


@pytest.mark.parametrize(
    ("variant", "association", "skip"),
    [
        (TORCH_INT8, "(dt·B)·u", "last, or in a wider sum"),
        (Variant(association="B*(dt*u)", skip="first", contraction="ascending"), "B·(dt·u)", "first"),
        (Variant(association="(B*u)*dt"), "dt·(B·u)", "last, or in a wider sum"),
    ],
)
def test_orders_are_recognized(variant, association, skip):
    run = functools.partial(run_variant, variant=variant)
    matches = drive_association(run, INPUTS)
    assert matches[association] == 1.0
    assert max(value for name, value in matches.items() if name != association) < 0.95
    assert skip_position(run) == skip


@pytest.mark.parametrize(
    ("rule", "ties", "codes"),
    [(AWAY_SATURATE, "away from zero", "-128 .. 127"), (EVEN_SATURATE, "even", "-128 .. 127"),
     (EVEN_SYMMETRIC, "even", "-127 .. 127")],
)  # fmt: skip
def test_rounding_of_the_state_is_recognized(rule, ties, codes):
    found = state_rounding(functools.partial(run_variant, variant=Variant(rule=rule)))
    assert found == {"ties": ties, "range": codes}


def test_what_if_tells_no_change_from_a_harmless_one_from_a_visible_one():
    table = what_if(scans.random_inputs(1, 64, 64)).set_index("alternative")
    assert table.loc["B·(dt·u) for (dt·B)·u", "effect"] in ("none", "rounding")
    assert table.loc["scales rounded to bfloat16", "effect"] == "visible"
    no_edge = replace(INPUTS, u=INPUTS.u.map(lambda v: v.clamp(min=-127)))
    assert what_if(no_edge).set_index("alternative").loc["code -128 of u clipped to -127", "effect"] == "none"


def test_step_3_blames_the_scan_that_clips(register):
    register("clipped", altered("B", lambda q: q.map(lambda v: v.clamp(min=-127))))
    found = audit_scans({0: INPUTS}, ("torch_int8", "clipped"), {}, names=["torch_int8", "clipped"])
    assert found.status == "fault"
    assert "clipped" in found.verdict
    assert "B" in found.verdict
    json.dumps(found.to_json(), allow_nan=False)
    others = audit_scans({0: INPUTS}, ("torch_int8", "torch_fp32"), {})
    assert "clipped" in others.numbers["scans"]  # whatever is registered is audited
    assert others.numbers["others_wrong"] == ["clipped"]
    assert "clipped give some code another value" in others.table()["answer"].iloc[0]
    assert others.status == "identical"  # the pair in question is innocent
    honest = audit_scans({0: INPUTS}, ("torch_int8", "torch_fp32"), {}, names=["torch_int8", "torch_fp32"])
    assert honest.status == "identical"
    assert audit_scans({}, ("torch_int8", "torch_fp32"), {}).status == "unknown"


@pytest.mark.parametrize(
    "variant",
    [Variant(order="tree", chunk=16), Variant(fma=True), Variant(exp="two_ulp"), Variant(exp="fast"),
     Variant(association="B*(dt*u)", contraction="ascending"), Variant(gate="quotient"),
     Variant(softplus="log1p"), Variant(contraction="pairwise"), Variant(order="block")],
)  # fmt: skip
@pytest.mark.parametrize("extreme", [False, True])
def test_every_honest_order_stays_within_the_bounds(variant, extreme):
    x = scans.random_inputs(1, 16, 150, seed=5, extreme=extreme)
    from quamba_lab.thresholds import operation_bound

    for name, local in local_errors(x, variant_taps(x, variant)).items():
        assert local.units <= operation_bound(name), (name, local)


@pytest.mark.parametrize("operation", ["softplus", "decay", "drive", "recurrence", "contraction", "skip", "gate"])
def test_step_5_names_the_operation_that_was_altered(operation, register):
    """One element of one operation is off by 2^-12; what follows computes on from it."""
    from quamba_lab.scans.variants import Arithmetic

    class Faulty(Arithmetic):
        def _bump(self, value, name):
            if name == operation:
                value = value.clone()
                value[0, 5, 7] *= 1 + 2**-12
            return value

        def step_size(self, *args):
            return self._bump(super().step_size(*args), "softplus")

        def decay(self, *args):
            return self._bump(super().decay(*args), "decay")

        def drive(self, *args):
            return self._bump(super().drive(*args), "drive")

        def recurrence(self, *args):
            return self._bump(super().recurrence(*args), "recurrence")

        def contraction(self, *args):
            return self._bump(super().contraction(*args), "contraction")

        def gate(self, *args):
            value, z = args
            return self._bump(super().gate(value, z), "gate") if operation != "skip" else super().gate(value, z)

        def taps(self, x):
            if operation != "skip":
                return super().taps(x)
            clean = super().taps(x)
            skip = clean["skip"].clone()
            skip[0, 5, 7] *= 1 + 2**-9
            gate = self.gate(skip, x.z.dequantize())
            return {**clean, "skip": skip, "gate": gate, "output_cast": self.output_cast(gate)}

    x = scans.random_inputs(1, 16, 32, seed=1)
    register("faulty", Faulty(), taps=Faulty().taps)
    found = walk({2: x}, "torch_int8", "faulty", ("0", "2-1"), {})
    assert found.status == "fault", found.verdict
    assert f"is {operation} of faulty" in found.verdict
    assert found.numbers["beyond"][0]["place"].startswith("(0, 5, 7")


def test_step_5_refuses_taps_that_are_not_the_scans(register):
    register("other", lambda x: scans.run("torch_int8", x).y * 2, taps=scans.get("torch_int8").taps)
    found = walk({0: INPUTS}, "torch_int8", "other", ("0", "2-1"), {})
    assert "differs from the untapped y" in found.verdict
    assert found.status == "unknown"
    assert found.frames["Ladder"]["local_units_b"].isna().all()


def test_step_5_calls_honest_scans_rounding_or_identical():
    assert walk({0: INPUTS}, "torch_int8", "torch_int8", ("2-1", "2-1"), {}).status == "identical"
    found = walk({0: INPUTS}, "torch_int8", "torch_fp64", ("0", "2-1"), {})
    assert found.status == "rounding"
    assert "mode 2-1 is the more exact one" in found.verdict
    json.dumps(found.view_data(), allow_nan=False)


@pytest.mark.parametrize(
    ("a", "b", "rules", "scales", "expected"),
    [
        (2.5, 2.5, (EVEN_SATURATE, AWAY_SATURATE), (None, None), "tie"),
        (2.4999998, 2.5000002, (AWAY_SATURATE, AWAY_SATURATE), (None, None), "tie"),
        (2.4, 2.6, (EVEN_SATURATE, EVEN_SATURATE), (None, None), "upstream"),
        (127.49, 127.5, (AWAY_WRAP, AWAY_WRAP), (None, None), "wrap"),
        (-128.4, -126.4, (EVEN_SYMMETRIC, EVEN_SYMMETRIC), (None, None), "clip"),
        (2.4, 2.6, (EVEN_SATURATE, EVEN_SATURATE), (torch.tensor(0.1), torch.tensor(0.2)), "scale"),
    ],
)
def test_every_flip_has_its_class(a: float, b: float, rules: tuple[RoundingRule, RoundingRule], scales, expected):
    x, y = torch.full((2, 3), 0.3), torch.full((2, 3), 0.3)
    x[1, 2], y[1, 2] = a, b
    codes_a, codes_b, flipped, names = classify(x, y, rules, scales)
    if expected == "clip" and codes_a[1, 2] == codes_b[1, 2]:
        pytest.fail("the planted values do not flip")
    assert flipped.tolist() == [[1, 2]]
    assert names == [expected]


def test_the_wrap_amplifies_one_ulp_to_255_codes():
    x, y = torch.tensor([127.49]), torch.tensor([127.5])
    codes_a, codes_b, _, _ = classify(x, y, (AWAY_WRAP, AWAY_WRAP), (None, None))
    assert int(codes_a[0]) - int(codes_b[0]) == 255


def test_an_inherited_difference_is_not_blamed_on_the_inheritor(register):
    """The decay of one scan is a little off: every later operation differs, and none of them adds anything."""
    from quamba_lab.scans.variants import Arithmetic

    class Off(Arithmetic):
        def decay(self, dt, A):
            return super().decay(dt, A) * (1 + 2**-14)

    x = scans.random_inputs(1, 8, 24, seed=3, state_scale=0.02)
    register("off", Off(), taps=Off().taps)
    found = walk({0: x}, "torch_int8", "off", ("0", "2-1"), {})
    table = found.frames[EQUAL].set_index("operation")
    assert table.index[table["beyond"]].tolist() == ["decay"]
    assert found.numbers["first_divergence"]["operation"] == "decay"
    assert found.numbers["first_divergence"]["scan"] == "off"
    ladder = found.frames["Ladder"].set_index("operation")
    assert ladder.loc["gate", "share_differing"] > 0.5


def test_the_whole_list_is_looked_at_and_equal_inputs_are_equal():
    x = scans.random_inputs(1, 8, 24, seed=4, state_scale=0.02)
    table = walk({0: x}, "published", "torch_int8", ("0", "2-1"), {}).frames[EQUAL].set_index("operation")
    assert table.index.tolist() == list(scans.OPERATIONS)
    assert not table["beyond"].any()
    inputs = scans.get("published").taps(x)
    swapped = stages_on(x, "published", inputs, inputs)
    assert all(torch.equal(swapped[name], inputs[name]) for name in inputs)
    assert table.loc["recurrence", "compared"] == x.u.values.numel() * 16
    assert table.loc["determinism", ["added_by_a", "added_by_b"]].tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("operation", "change"),
    [
        ("determinism", lambda x, out, calls: replace(out, y=out.y * (1 + 2**-9 * (calls % 2)))),
        ("layout", lambda x, out, calls: replace(out, y=torch.cat([out.y[:, :-1], 0 * out.y[:, -1:]], 1))),
        ("state_quantization", lambda x, out, calls: replace(out, last_state=out.last_state.clamp(min=0))),
    ],
)
def test_what_shows_only_when_the_scan_is_called_again(operation, change, register):
    calls = [0]

    def scan(x):
        calls[0] += 1
        return change(x, scans.torch_int8(x), calls[0])

    def tapped(x):
        taps = scans.get("torch_int8").taps(x)
        return taps | {"output_cast": scan(x).y} if operation == "layout" else taps

    x = scans.random_inputs(1, 8, 24, seed=5, state_scale=0.02)
    register("again", scan, taps=tapped)
    calls[0] = 1  # the next call, the untapped one, gives the true y
    found = walk({0: x}, "torch_int8", "again", ("0", "2-1"), {})
    beyond = found.frames[EQUAL].set_index("operation")["beyond"]
    assert beyond[operation], found.verdict


def test_the_recorded_gpu_has_a_ladder_of_its_own():
    _, recorded = load_recorded()
    table, refused = recorded_ladder(recorded[:2])
    assert refused == []
    assert set(table["scan"]) == {"published", "folded"}
    assert not table["beyond"].any()
    ladder = table[table["scan"] == "published"].set_index("operation")
    assert ladder.loc["decay", "error_gpu"] > ladder.loc["decay", "error_host"]  # fast math has the coarser exp
    altered = replace(recorded[0], taps={"published": recorded[0].taps["published"] | {
        "output_cast": recorded[0].taps["published"]["output_cast"] * 2}}, outputs={
        "published": recorded[0].outputs["published"]})  # fmt: skip
    table, refused = recorded_ladder([altered])
    assert table.empty
    assert "differs from the untapped y" in refused[0]


def test_each_question_of_the_plan_has_a_table_and_a_sentence():
    found = audit_scans({0: INPUTS, 5: scans.random_inputs(1, 24, 40, seed=8)}, ("torch_int8", "torch_fp64"), {})
    questions = found.table()
    assert len(questions) == 4
    assert (questions["answer"].str.len() > 20).all()
    orders = found.frames["(b) Order of the scales"].set_index("scan")
    assert orders.loc["torch_int8", "share (dt·B)·u"] == 1.0
    assert orders.loc["torch_int8", "share B·(dt·u)"] < 1.0
    clips = found.frames["(c) Clipping, range and ties"]
    assert (clips["lowest"] == -128).all()
    assert clips["highest"].to_numpy() == pytest.approx(127.0, abs=1e-4)
    assert set(clips["operand"]) == set(OPERANDS)
    assert set(clips["layers"]) == {2}
    kinds = found.frames["(d) Conversion of types"]
    assert set(kinds["conversion"]) == {"float32(code) × scale"}


def test_an_operand_without_codes_is_said_to_have_none():
    from quamba_lab.quantized import Quantized

    float_u = replace(INPUTS, u=Quantized(INPUTS.u.dequantize(), None))
    found = audit_scans({0: float_u}, ("torch_fp32", "torch_fp32"), {}, names=["torch_fp32"])
    row = found.frames["Audit"].set_index("operand").loc["u"]
    assert row["bits"] == 0
    assert "no code" in row["note"]
    assert found.numbers["audits"] == 7
    assert found.status == "identical"
    json.dumps(found.view_data(), allow_nan=False)


def test_a_clip_that_touches_no_code_is_told_from_one_that_cannot_matter():
    no_edge = replace(INPUTS, u=INPUTS.u.map(lambda v: v.clamp(min=-127)))
    table = what_if(no_edge).set_index("alternative")
    clip = table.loc["code -128 of u clipped to -127"]
    assert (clip["codes_at_stake"], clip["error_rms"], clip["effect"]) == (0, 0.0, "none")
    assert clip["forced_error_rms"] > 0  # there is no such code here, and it would matter
    for harmless in ("codes converted through float16", "codes converted through bfloat16",
                     "code × scale in float64, rounded once", "returned state rounded to even for away"):
        assert table.loc[harmless, "effect"] == "none"  # no inputs could make it matter
    assert np.isnan(table.loc["scales rounded to float16", "codes_at_stake"])


def test_the_recorded_ladder_is_drawn_for_the_model_that_was_recorded():
    from quamba_lab.steps import Workbook, inside_the_scan

    run = Workbook(modes=("0", "2-1"), limit=1, cache_dir=False)
    found = inside_the_scan(run, "0", "2-1", layers=[3])
    names = [name for name, figure, alt in found.figures() if figure.axes and len(alt) > 10]
    assert names == ["ladder", "local", "along", "recorded"]
    assert found.numbers["recorded"]["recordings"] == 10
    assert RECORDED not in inside_the_scan(run, "0", "2-1", layers=[3], recordings=False).frames


def test_the_summary_says_what_could_run_instead(monkeypatch):
    from quamba_lab import steps
    from quamba_lab.steps.remedies import costs, remedies

    run = steps.Workbook(modes=("0", "2-1"), limit=2, cache_dir=False)
    table = remedies(run, "0", "2-1", 3).set_index("scan")
    assert table.loc["published", "y_differing"] == 0
    assert table.loc["torch_fp64", "not_nearest"] <= table["not_nearest"].min()
    assert table.loc["torch_int8", "times_b"] == 1
    assert costs()["h200_ms"]["folded"] < costs()["h200_ms"]["published"]
    results = [*steps.compare_modes(run, "0", "2-1", steps=[5], layers=[3]), *steps.depth(run, "0", "2-1", [3])]
    whole = steps.summary(results, "0", "2-1", [3], run=run)
    for words in ("No difference in the answers", "exact McNemar p", "the more exact one", "Of the squared difference",
                  "nothing to repair", "torch_fp64", "times the time"):  # fmt: skip
        assert words in whole.verdict, whole.verdict
    assert whole.frames["What could run instead"].shape[0] == 4
    assert json.dumps(whole.to_json()) == json.dumps(steps.summary(results, "0", "2-1", [3], run=run).to_json())
    monkeypatch.setattr("quamba_lab.steps.remedies.RESULTS", Path("none"))
    assert "times the time" not in steps.summary(results, "0", "2-1", [3], run=run).verdict
