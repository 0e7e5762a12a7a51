"""The views are pure functions of a run and the choices: they agree with the steps, and everything is escaped."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from quamba_lab import steps
from quamba_lab.quantized import Quantized
from quamba_lab.report.packing import packed
from quamba_lab.steps.tensors import real_values, token_errors
from quamba_lab.tasks import Item, Task
from quamba_lab.views import STAGE_NAMES, VIEWS, Sources, View, export
from quamba_lab.views.draw import draw, svg
from quamba_lab.views.item_text import log_probabilities
from quamba_lab.views.stage_table import ROWS
from quamba_lab.widgets.cards import body, card, drawing

CHOICES = {"mode_a": "0", "mode_b": "2-1", "item": 0, "layer": 7, "token": 5, "stage": "scan.y", "channel": 3,
           "run": "free run"}  # fmt: skip
PICTURES = [name for name, view in VIEWS.items() if view.kind in ("lines", "heatmap") and name != "on-model"]
HOSTILE = "<script>document.title='owned'</script>"


@pytest.fixture(scope="module")
def run():
    return steps.Workbook(limit=4, cache_dir=False)


@pytest.fixture(scope="module")
def sources(run):
    return Sources(run)


def frame(sources, name, **choices):
    view = VIEWS[name]
    return view.frame(sources, **view.choose(CHOICES | choices))


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_needs_no_widget(sources, name):
    figure = VIEWS[name].figure(sources, **CHOICES)
    assert isinstance(figure, Figure)
    assert figure.axes[0].get_xlabel()


def test_a_table_is_no_picture(sources):
    with pytest.raises(ValueError, match="a table is no picture"):
        VIEWS["stages"].figure(sources, **CHOICES)


@pytest.mark.parametrize("run_kind", ["free run", "lockstep"])
@pytest.mark.parametrize("stage", ["scan.u", "scan.B", "scan.y", "residual"])
def test_the_map_holds_the_steps_own_numbers(run, sources, stage, run_kind):
    rows = np.array(frame(sources, "map", stage=stage, run=run_kind)["rows"])
    a = run.free("0", 0)
    b = run.lockstep("0", "2-1", 0) if run_kind == "lockstep" else run.free("2-1", 0)
    for layer in range(run.layers):
        x, y = a[stage, layer], b[stage, layer]
        wanted = token_errors(stage, x, y) / real_values(x).double().square().mean().sqrt()
        np.testing.assert_allclose(rows[layer], wanted.cpu().numpy(), rtol=0.06, atol=1e-12)


def test_lockstep_from_a_trace_is_the_workbooks_lockstep(run, sources):
    mine, theirs = sources.get(("lockstep", "0", "2-2", 1)), run.lockstep("0", "2-2", 1)
    for where, value in mine.items():
        if where in theirs and where[1] is not None:
            assert torch.equal(real_values(value), real_values(theirs[where])), where


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(STAGE_NAMES), st.integers(0, 7), st.integers(0, 60), st.integers(0, 383))
def test_one_number_is_the_captured_one(stage, layer, token, channel):
    sources = _shared()
    rows = {row[0]: row for row in frame(sources, "number", layer=layer, token=token, channel=channel)["rows"]}
    _, row, code, value, *_ = rows[stage]
    captured = sources.get(("trace", "0", 0))[stage, layer]
    values = real_values(captured).double()[0]
    flat = values.reshape(-1, values.shape[-1]) if ("." in stage and stage != "scan.y") or stage in (
        "in_proj", "conv1d", "split", "dt_proj") else values.T  # fmt: skip
    assert value == float(flat[row, token])
    if isinstance(captured, Quantized):
        assert value == pytest.approx(code * float(captured.scale), rel=1e-6)


_kept: list[Sources] = []


def _shared() -> Sources:
    if not _kept:
        _kept.append(Sources(steps.Workbook(limit=4, cache_dir=False)))
    return _kept[0]


# The stage table -----------------------------------------------------------------------------------------------------


def test_the_stage_table_has_the_plans_rows_and_says_what_ran(run, sources):
    found = frame(sources, "stages")
    assert len(ROWS) == len(found["rows"]) == 18
    rows = {row[0]: dict(zip(found["columns"], row, strict=True)) for row in found["rows"]}
    assert rows["scan"]["dtype"] == "published → torch_int8"
    assert rows["scan input u"]["dtype"] == "int8"
    assert rows["scan output y"]["on equal inputs"] == "different"
    assert rows["scan output y"]["added here"] < rows["scan output y"]["free run"]
    assert rows["in_proj input"]["on equal inputs"] == "equal"
    assert rows["in_proj output xz"]["shape"] == f"1×768×{sources.length(0)}"
    assert rows["environment"]["dtype"].endswith("FLOAT_SIM_ASIC_INT8 SSM_USE_PYTORCH_INT8")
    assert found["marks"] == ["same" if row[4] == "equal" else "different" for row in found["rows"]]


def test_the_stage_table_sees_the_split(sources):
    rows = {row[0]: row for row in frame(sources, "stages", mode_b="2-2")["rows"]}
    assert rows["the split: x for the scan"][1] == "int8 → float32"
    assert rows["scan input u"][1] == "int8 → float32"
    assert rows["scan input u"][4] == "equal", "float32 values on the INT8 grid stand for the same numbers"


def test_equal_modes_differ_nowhere(sources):
    for name in ("0", "2-0"):
        found = frame(sources, "stages", mode_b=name)
        assert {row[4] for row in found["rows"][:-1]} == {"equal"}
        assert "no stage of mode" in found["note"]
        assert not np.any(frame(sources, "map", mode_b=name)["rows"])


# The item's text -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["0", "2-1"])
def test_the_texts_numbers_are_the_evaluations(run, sources, mode):
    answers = run.answers(mode)
    for item in range(run.limit):
        shown = frame(sources, "text", mode_a=mode, mode_b="2-2", item=item)
        start, end = shown["target"]
        log_p = log_probabilities(sources, mode, item)
        assert log_p[start - 1 : end - 1].sum() == pytest.approx(answers.log_probability[item], abs=2e-3)
        row = shown["answers"]["rows"][1]
        assert (row[2] == "right") == bool(answers.correct[item])
        assert (row[1] == run.task.items[item].target.strip()) == bool(answers.correct[item])
        assert "".join(shown["tokens"][start:end]).strip() == run.task.items[item].target.strip()
        assert len(shown["values"]) == len(shown["tokens"])


def test_a_story_with_markup_shows_as_text(run):
    task = Task("hostile", (Item.from_text(f"Once {HOSTILE} \"quoted\" & Salgar went to the bridge"),))
    hostile = Sources(steps.Workbook(model=run.base, task=task, limit=1, cache_dir=False))
    view, shown = VIEWS["text"], frame(hostile, "text")
    html = card(view, body(view, shown, None, CHOICES), shown)
    assert "<script" not in html
    assert "&lt;" in html
    assert 'data-choose="{&quot;token&quot;: 3}"' in html


@pytest.mark.parametrize("kind", ["lines", "bars", "heatmap", "table", "tokens"])
def test_every_kind_of_card_escapes(kind):
    view = View(HOSTILE, HOSTILE, kind, (), lambda sources: {}, marks=("token",))
    data = {
        "kind": kind, "title": HOSTILE, "note": HOSTILE, "columns": [HOSTILE], "marks": ["different"],
        "rows": [[HOSTILE]] if kind == "table" else [[1.0, 2.0]], "tokens": [HOSTILE], "values": [1.0],
        "series": [{"name": HOSTILE, "values": [1.0, 2.0]}, {"name": "b", "values": [2.0, 1.0]}],
        "answers": {"columns": [HOSTILE], "rows": [[HOSTILE]]}, "low": HOSTILE, "high": HOSTILE,
        "x": {"label": HOSTILE, "control": "token", "values": [HOSTILE, "b"]},
        "y": {"label": HOSTILE, "control": "layer", "values": [HOSTILE]},
    }  # fmt: skip
    html = card(view, body(view, data, drawing(view, data), {"token": "b", "layer": 0}), data)
    assert "<script" not in html
    assert "&lt;script" in html


# Drawing -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["lines", "bars"])
@pytest.mark.parametrize("scale", ["log", "linear"])
@pytest.mark.parametrize("values", [[], [0.0, 0.0], [None, 1.0], [-1.0, 1e-30], [float("nan"), float("inf")]])
def test_any_numbers_can_be_drawn(kind, scale, values):
    band = [{"name": "floor", "low": values, "high": values}] if kind == "lines" else []
    series = [{"name": "2-1", "values": values}, *band]
    chart = {"kind": kind, "series": series, "x": {"label": "x", "values": list(range(len(values)))},
             "y": {"label": "y", "scale": scale}}  # fmt: skip
    assert svg(draw(chart)).endswith("</svg>\n")


def test_the_mark_stands_where_the_axis_says():
    chart = {"kind": "lines", "series": [{"name": "0", "values": [1, 2, 3]}], "x": {"values": [0, 1, 2]}}
    drawn = draw(chart)
    axis = drawn.figure.axes[0]
    wanted = drawn.figure.transFigure.inverted().transform(axis.transData.transform((1, 1)))[0]
    assert drawn.at(1) == pytest.approx(wanted)


# The report's data ---------------------------------------------------------------------------------------------------


def controls(modes, stages, layers):
    rows = {"mode_a": modes, "mode_b": modes, "item": [0], "stage": stages, "layer": layers,
            "token": list(range(100)), "run": ["free run", "lockstep"]}  # fmt: skip
    return [{"name": name, "label": name, "options": options} for name, options in rows.items()]


def test_the_page_has_a_frame_for_every_choice_that_it_offers(sources):
    offered = controls(["0", "2-1"], ["scan.u", "scan.y"], [0, 7])
    data = export(sources, [VIEWS["map"], VIEWS["stages"], VIEWS["along"]], offered, CHOICES)
    options = {c["name"]: c["options"] for c in data["controls"]}
    assert set(options) == {"mode_a", "mode_b", "item", "stage", "layer", "token", "run"}, "none for what is not shown"
    for one in data["charts"]:
        keys = {"|".join(map(str, key)) for key in itertools.product(*(options[name] for name in one["depends"]))}
        assert keys == set(one["frames"])
    assert "held against itself" in data["charts"][0]["frames"]["0|0|0|scan.u|free run"]["note"]
    json.dumps(data, allow_nan=False)


def test_choices_are_given_up_until_the_page_is_small(sources):
    offered = controls(["0", "2-1", "2-2"], list(STAGE_NAMES), [0, 7])
    whole = export(sources, [VIEWS["map"]], offered, CHOICES, budget=10**9)
    size = len(json.dumps(packed(whole), ensure_ascii=False, separators=(",", ":")))
    assert {c["name"]: c["options"] for c in whole["controls"]}["mode_a"] == ["0", "2-1", "2-2"]
    assert export(sources, [VIEWS["map"]], offered, CHOICES, budget=size) == whole, "what fits as packed is kept"
    small = export(sources, [VIEWS["map"]], offered, CHOICES, budget=size // 4)
    assert len(json.dumps(packed(small), ensure_ascii=False, separators=(",", ":"))) <= size // 4 + 500  # its controls
    assert all(control["default"] in control["options"] for control in small["controls"])
    assert "0|2-1|0|scan.y|free run" in small["charts"][0]["frames"]
