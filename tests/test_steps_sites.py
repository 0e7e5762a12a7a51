"""Every rounding site: flips planted at one place, values that wrap, and what the scan rounds inside itself."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from test_steps_run import model, task

from quamba_lab import scans, steps
from quamba_lab.model import QuantizedMamba
from quamba_lab.modes import MODES
from quamba_lab.quantized import AWAY_SATURATE
from quamba_lab.scans.variants import run as run_variant
from quamba_lab.sites import PUBLISHED
from quamba_lab.steps.ledger import CLASSES, HEAD, STATE, flip_table
from quamba_lab.steps.overflow import overflow, wrapping
from quamba_lab.steps.reorderings import other_tree
from quamba_lab.steps.rounding_sites import site_table, state_before_rounding, with_every_site
from quamba_lab.tasks import Item, Task
from quamba_lab.trace import ROUNDING_STAGES, Trace

CONV, U, NORM = "conv1d.before_rounding", "scan.u.before_rounding", "norm.before_rounding"
INPUT = "conv1d.input.before_rounding"


def ledger(a, b, layers=(0, 1, 2), **where):
    return flip_table(a, b, PUBLISHED, PUBLISHED, layers, **(where or {"run": "lockstep", "item": 4}))


def flat(value=0.3):
    return torch.full((1, 5, 6), value)


def test_one_flip_one_ulp_over_the_boundary_in_one_layer_is_one_row():
    a = {(NORM, layer): flat() for layer in range(3)}
    b = {key: value.clone() for key, value in a.items()}
    a[NORM, 1][0, 2, 3] = 7.5
    b[NORM, 1][0, 2, 3] = float(np.nextafter(np.float32(7.5), np.float32(0)))
    table, counts = ledger(a, b)
    assert len(table) == 1
    row = table.iloc[0]
    assert (row["layer"], row["site"], row["place"]) == (1, "norm", "item 4, token 2, channel 3")
    assert (row["code_a"], row["code_b"], row["class"], row["to_boundary_a"]) == (8, 7, "tie", 0.0)
    assert row["to_boundary_b"] == pytest.approx(7.5 * 2**-24, rel=1)
    counts = counts.set_index("layer")
    assert counts["flips"].tolist() == [0, 1, 0]
    assert counts.loc[1, list(CLASSES)].tolist() == [1, 0, 0, 0, 0]


def test_a_tie_is_found_between_modes_that_round_at_different_sites():
    """Mode 2-1 rounds conv1d's output away from zero, mode 2-3 rounds u to even: 2.5 becomes 3 and 2."""
    a, b = {(CONV, 1): flat()}, {(U, 1): flat(), ("split.x_proj.before_rounding", 1): flat()}
    a[CONV, 1][0, 3, 2] = b[U, 1][0, 3, 2] = b["split.x_proj.before_rounding", 1][0, 3, 2] = 2.5
    table, counts = ledger(a, b)
    assert table["site"].tolist() == ["split", "u"]
    assert table["class"].tolist() == ["tie", "tie"]
    assert (table["code_a"].tolist(), table["code_b"].tolist()) == ([3, 3], [2, 2])
    assert table["place"].iloc[0] == "item 4, token 2, channel 3"
    assert counts["site"].tolist() == ["split", "u"]  # neither rounds at conv1d against the other's conv1d
    mirrored, _ = flip_table(b, a, PUBLISHED, PUBLISHED, [1], run="lockstep", item=0)
    assert mirrored["code_a"].tolist() == [2, 2]


def test_the_second_rounding_of_conv1ds_input_stands_against_in_projs_codes():
    """Mode 3 rounds what conv1d receives anew, per item; mode 0 takes in_proj's codes: another scale."""
    run = steps.Workbook(model(), ("0", "3"), task(), 2, cache_dir=False)
    traces = {mode: run.free(mode, 0) for mode in ("0", "3")}
    assert (INPUT, 0) in traces["3"]
    assert (INPUT, 0) not in traces["0"]
    took = []
    handle = run.view("3").layers[0].conv1d.take.register_forward_hook(lambda module, args, output: took.append(output))
    run.view("3")(run.tokens(0))
    handle.remove()
    assert torch.equal(PUBLISHED["conv1d.input"].rule(traces["3"][INPUT, 0]), took[0].values)

    table, counts = ledger(traces["0"], traces["3"])
    own = counts[counts["site"] == "conv1d.input"]
    assert own["layer"].tolist() == [0, 1, 2]
    assert (own["codes"] == traces["3"][INPUT, 0].numel()).all()
    differing = int((traces["0"]["in_proj", 0].values[:, : took[0].shape[1]] != took[0].values).sum())
    assert own["flips"].iloc[0] == own["scale"].iloc[0] == differing > 0
    assert set(table[table["site"] == "conv1d.input"]["class"]) == {"scale"}

    alike = ledger(traces["3"], traces["3"])[1]
    assert alike[alike["site"] == "conv1d.input"]["flips"].tolist() == [0, 0, 0]
    assert "conv1d.input" not in set(ledger(traces["0"], traces["0"])[1]["site"])


def test_state_and_head_have_their_own_rows_and_shapes_are_left_to_the_comparison():
    a = {(STATE, 0): torch.tensor([[[1.4, -2.5]]]), (HEAD, None): flat(), (NORM, 0): flat()}
    b = {(STATE, 0): torch.tensor([[[1.6, -2.5]]]), (HEAD, None): flat(), (NORM, 0): flat()[:, :3]}
    table, counts = ledger(a, b)
    assert table["place"].tolist() == ["item 4, channel 0, state 0"]
    assert table["class"].tolist() == ["upstream"]
    assert counts[["layer", "site"]].values.tolist() == [[0, "state"], [-1, "norm"]]


@pytest.mark.parametrize("mode", ["0", "2-1"])
def test_the_state_before_rounding_is_what_the_scan_rounds(mode):
    run = steps.Workbook(model(), ("0", "2-1"), task(), 3, cache_dir=False)
    for layer in range(run.layers):
        before = state_before_rounding(run, mode, mode, layer, 1)
        returned = scans.run(run.scan_of(mode), run.scan_inputs(mode, layer, 1)).last_state
        assert torch.equal(AWAY_SATURATE(before), returned)


def test_every_site_of_the_layer_stands_in_the_table():
    run = steps.Workbook(model(), ("0", "2-3"), task(), 2, cache_dir=False)
    every = with_every_site(run, run.free("0", 0), "0", "0", 0, [0, 1, 2])
    other = with_every_site(run, run.free("2-3", 0), "2-3", "2-3", 0, [0, 1, 2])
    _, counts = flip_table(every, other, run.view("0").sites, run.view("2-3").sites, [0, 1, 2], run="free run", item=0)
    assert set(counts["site"]) == {"norm", "in_proj", "split", "u", "x_proj", "dt_proj", "hadamard", "state"}
    table = site_table(run, "0", counts).set_index("site")
    assert {*PUBLISHED, "state", "state/one_token", "parameters"} == set(table.index)
    assert table.loc["hadamard", "beyond"] == "wrap"
    assert table.loc["parameters", "range"] == "-127 .. 127"
    assert table.loc["state/one_token", "passed"] == "every token in decoding"
    assert table.loc["norm", "codes, free run"] == 4 * every[NORM, 0].numel()  # three layers and the head


@cache
def narrow():
    """The small model with a Hadamard scale of layer 1 so small that values wrap around in some items."""
    base = model()
    state = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    state["layers.1.hadamard.scale"] *= 0.55
    return QuantizedMamba(base.config, state, "0", tokenizer=base.tokenizer, name="narrow")


def test_wraps_are_counted_item_by_item_over_the_whole_run(tmp_path):
    run = steps.Workbook(narrow(), ("0", "2-1"), task(), 12, cache_dir=tmp_path)
    found = overflow(run, "0")
    for item in range(12):
        with Trace(run.view("0"), stages=ROUNDING_STAGES) as trace:
            run.view("0")(run.tokens(item))
        whole = [AWAY_SATURATE.integers(trace["hadamard.before_rounding", layer]) for layer in range(3)]
        assert found.wrapped[item] == sum(int(((w < -128) | (w > 127)).sum()) for w in whole)
    assert 0 < len(found.hit) <= 12
    table = found.table().query("site == 'hadamard'").set_index("layer")
    assert table["beyond"].sum() == found.wrapped.sum()
    assert table.loc[1, "beyond"] > 0
    again = steps.Workbook(narrow(), ("0", "2-1"), task(), 12, cache_dir=tmp_path)
    assert np.array_equal(overflow(again, "0").wrapped, found.wrapped)
    assert overflow(again, "0").rows == found.rows


def test_what_the_wrap_does_is_what_a_clamp_in_its_place_changes():
    run = steps.Workbook(narrow(), ("0", "2-1"), task(), 12, cache_dir=False)
    found = wrapping(run, "0", "2-1")
    assert f"in {found.numbers['items_hit']['0']} of 12 items (mode 0; layers 1 and 2)" in found.sentence
    assert "a fault of the published layer in every mode" in found.sentence
    effects = found.effects.set_index("comparison")
    site = PUBLISHED["hadamard"]
    clamped = run.view("0").with_sites(hadamard=site.with_rule(replace(site.rule, overflow="saturate")))
    clean = steps.Workbook(clamped, ("0",), task(), 12, cache_dir=False)
    clean._views["0"] = clamped
    change = clean.answers("0").log_probability - run.answers("0").log_probability
    hit = overflow(run, "0").hit
    both = sorted({*hit.tolist(), *overflow(run, "2-1").hit.tolist()})
    row = effects.loc["0: clamped for wrapped"]
    assert row["items"] == len(both)
    assert row["rms_log_probability"] == pytest.approx(np.sqrt(np.mean(change[both] ** 2)))
    assert np.count_nonzero(np.delete(change, hit)) == 0  # nothing else differs between the two forms
    assert found.layers.set_index("layer").loc[1, "change_of_out_proj"] > 0
    assert found.layers["wrapped"].sum() > 0


def test_no_wrap_is_said_with_the_distance_to_the_edge():
    run = steps.Workbook(model(), ("0",), task(), 4, cache_dir=False)
    state = {name: tensor.clone() for name, tensor in model().state_dict().items()}
    for layer in range(3):
        state[f"layers.{layer}.hadamard.scale"] *= 4
    wide = QuantizedMamba(model().config, state, "0", tokenizer=model().tokenizer, name="wide")
    run = steps.Workbook(wide, ("0",), task(), 4, cache_dir=False)
    found = wrapping(run, "0", "0")
    assert "never hit" in found.sentence
    assert found.numbers["largest"] < 127.5
    assert found.effects.empty


def test_step_4_says_what_wraps_and_rests_on():
    run = steps.Workbook(narrow(), ("0", "2-1"), task(), 12, cache_dir=False)
    found = steps.scan_outputs(run, "0", "2-1", items=[0, 1])
    assert "wraps" in found.verdict
    assert "tokens of 2 items, which are not independent" in found.verdict
    assert found.numbers["times_floor"]["lockstep"]["over"] == "tokens"
    ratio = found.numbers["times_floor"]["lockstep"]
    assert ratio["low"] <= ratio["multiple"] <= ratio["high"]
    assert {"range", "truth", "map", "ulp", "channels", "scatter"} <= {name for name, *_ in found.figures()}
    lock = found.frames["y by layer"].query("run == 'lockstep'")
    assert (lock[["not_nearest_a", "not_nearest_b"]] < 0.01).to_numpy().all()
    stages = found.frames["Every stage after the scan"]
    assert (stages["stage"] == "logits").sum() == 4  # once per run and item, not once per layer
    bins = found.frames["Distances in ULP or codes"]
    counted = bins.drop(columns=["run", "item", "layer", "stage", "elements"]).sum(axis=1)
    assert (counted == bins["elements"]).all()


class Shorter(steps.Workbook):
    """Mode 2-1 captures all but the last token, as a mode of another shape would."""

    def _cut(self, trace, stages):
        keep = {}
        for (stage, layer), value in trace.items():
            axis = {"scan.y": 1, "hadamard": 1, "out_proj": 1, "residual": 1, "logits": 1, "x_proj": 1}.get(stage, -1)
            if "." in stage and stage.endswith("rounding") and stage[:4] in ("norm", "x_pr", "hada"):
                axis = 1

            def shorten(v, axis=axis):
                return v.narrow(axis, 0, v.shape[axis] - 1)

            keep[stage, layer] = value.map(shorten) if hasattr(value, "map") else shorten(value)
        return keep

    def free(self, mode, item=0, **more):
        found = super().free(mode, item, **more)
        return self._cut(found, None) if mode == "2-1" else found

    def lockstep(self, reference, mode, item=0, **more):
        found = super().lockstep(reference, mode, item, **more)
        return self._cut(found, None) if mode == "2-1" else found


def test_modes_of_different_shapes_end_in_a_sentence():
    run = Shorter(model(), ("0", "2-1"), task(), 2, cache_dir=False)
    for step, words in ((2, "tensors of different shapes"), (4, "y of different shapes")):
        (found,) = steps.compare_modes(run, "0", "2-1", steps=[step])
        assert found.status == "fault"
        assert words in found.verdict
        found.figures()
        found.to_json()
        found.view_data()


TEXTS = (" ".join(f"w{(7 * i * i + 3 * start) % 80}" for i in range(30)) for start in range(20))
LONG = Task("long", tuple(map(Item.from_text, TEXTS)))


@pytest.fixture
def honest():
    """A mode like 2-1 whose scan joins the recurrence in another order: the floor's own reordering, as a mode."""
    scans.register("honest", lambda x: run_variant(x, other_tree("torch_int8")))
    yield replace(MODES["2-1"], name="honest", scan="honest", environment=())
    scans.unregister("honest")


def test_an_honest_order_of_the_same_sums_is_rounding(honest):
    run = steps.Workbook(model(), ["2-1", honest], LONG, 20, cache_dir=False)
    outputs = steps.scan_outputs(run, "2-1", "honest", items=range(20))
    assert outputs.status == "rounding", outputs.verdict
    assert outputs.numbers["times_floor"]["lockstep"]["over"] == "items"
    assert outputs.numbers["times_floor"]["lockstep"]["high"] <= 1.0
    assert "from 20 items" in outputs.verdict
    assert steps.scan_inputs(run, "2-1", "honest").status == "identical"
    assert run.modes == ("2-1", "honest")  # the FP64 modes that step 4 needed are not compared
    real = steps.is_it_real(run)
    assert real.status in ("identical", "not established"), real.verdict
    rows = real.frames["Difference in units of the floor"].set_index("kind")
    assert rows.loc["chunk", "rms_of_mode"] == rows.loc["chunk", "rms_of_floor"]
    if rows.loc["chunk", "rms_of_floor"]:
        assert rows.loc["chunk", ["multiple", "low", "high"]].tolist() == pytest.approx([1.0, 1.0, 1.0])
