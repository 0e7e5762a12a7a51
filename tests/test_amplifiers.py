"""Amplifiers: a planted tie and a planted wrap are found, and an answer that hangs on a wrap is attributed to it."""

from __future__ import annotations

import json

import numpy as np
import torch

from quamba_lab.hadamard import transform
from quamba_lab.quantized import AWAY_SATURATE, AWAY_WRAP
from quamba_lab.scans import random_inputs
from quamba_lab.steps import Workbook
from quamba_lab.steps.amplifiers import amplifiers, attribute, perturb, site_events, softplus_gain
from quamba_lab.steps.patching import answer, ask


def book(limit=4):
    return Workbook(limit=limit, cache_dir=False)


def before_rounding(run, view, layer, item):
    """H y / sqrt(d), without the scale."""
    y = view.layers[layer].scan(view.layers[layer].scan_inputs(*run.layer_inputs("0", item)[layer])).y
    return transform(y, view.layers[layer].hadamard.factor), view.layers[layer].hadamard


def test_kinds_of_events():
    before_a = torch.tensor([0.4999, 127.49, 130.0, 2.2, -1.0])
    before_b = torch.tensor([0.5001, 127.51, 131.0, 2.3, -1.0])
    for rule, second in ((AWAY_WRAP, "wrap"), (AWAY_SATURATE, "clip")):
        events = site_events(before_a, before_b, rule(before_a), rule(before_b))
        assert events.place.tolist() == [0, 1, 2, 3]
        assert events.kind.tolist() == ["tie", second, "clip", ""]
    wrapped = site_events(before_a, before_b, AWAY_WRAP(before_a), AWAY_WRAP(before_b))
    assert int(np.diff(wrapped.codes)[1, 0]) == -255


def test_a_planted_wrap_has_the_largest_gain():
    run, layer = book(), 5
    values, hadamard = before_rounding(run, run.view("0"), layer, 0)
    hadamard.factor *= 127.5 / float(values.max())
    found = amplifiers(run, "0", layers=[layer], items=[0], draws=3)
    top = found.table().iloc[0]
    assert (top["kind"], top["site"], top["layer"]) == ("wrap", "hadamard", layer)
    places = found.tables()["Single places"].query("kind == 'wrap'")
    where = int(values.reshape(-1).argmax())
    wrapped = set(zip(places["token"], places["channel"], strict=True))
    assert (where // values.shape[-1], where % values.shape[-1]) in wrapped
    assert set(places["code_a"]) | set(places["code_b"]) <= {127, -128}
    assert found.numbers["wraps_per_item"] > 0
    assert "wrap" in found.verdict


def test_a_planted_tie_is_hit_and_one_away_from_ties_is_not():
    y = torch.zeros(1, 1, 4, dtype=torch.float16)
    y[0, 0] = torch.tensor([1.0, 1.0, 1.0, 1.0])
    moved = y.clone()
    moved[0, 0, 0] = 1.0 - 2.0**-11  # one ULP down
    for factor, kinds in ((2.5 / 4, ["tie"]), (2.2 / 4, [])):  # 4 of them add up to the first output
        a, b = transform(y, factor), transform(moved, factor)
        events = site_events(a, b, AWAY_WRAP(a), AWAY_WRAP(b))
        assert [k for k in events.kind.tolist() if k] == kinds
        if kinds:
            at = int(np.flatnonzero(events.kind == "tie")[0])
            assert int(events.place[at]) == 0
            assert 1 / abs(float(np.diff(events.before[at])[0])) > 1000


def test_an_answer_that_flips_only_by_the_wrap():
    """Mode B's Hadamard is larger by a hair: the largest value goes from 127.49 to 127.51 and wraps."""
    for item in range(8):
        for layer in (7, 6, 5, 4):
            run = book(8)
            b = run.base.with_mode("0")
            run.row("2-0")
            run._views["2-0"] = b
            values, hadamard = before_rounding(run, run.view("0"), layer, item)
            hadamard.factor *= 127.4995 / float(values[0, -1].max())
            b.layers[layer].hadamard.factor = hadamard.factor * 1.00001
            question = ask(run, item)
            if answer(run.view("0")(question.tokens), question)[0] == answer(b(question.tokens), question)[0]:
                continue
            found = attribute(run, "0", "2-0", item, floor=0.0)
            if found["wrapped_layers"]:
                assert found["amplifier"] == "wrap"
                assert found["alike_when_clamped"]
                return
    raise AssertionError("no item's answer hangs on a wrap: plant another one")


def test_a_near_tie_of_answers_is_told_by_the_margin():
    run = book()
    found = attribute(run, "0", "2-0", 1, floor=10.0)
    assert found["amplifier"] == "alike alone"
    assert found["near_tie"]


def test_softplus_does_not_amplify():
    gain, near = softplus_gain(random_inputs(1, 4, 20, 4))
    assert 0.5 < gain < 2
    assert near == 0
    assert softplus_gain(random_inputs(1, 64, 200, 4), threshold=-3.0)[1] > 0


def test_perturbations_move_a_quarter_of_the_values_by_one_step():
    y = torch.rand(4000).half() + 0.5
    moved = perturb(3)(y)
    steps = (moved.view(torch.int16).int() - y.view(torch.int16).int()).abs()
    assert int(steps.max()) == 1
    assert 0.2 < float(steps.float().mean()) < 0.3
    assert torch.equal(moved, perturb(3)(y))


def test_a_pair_of_modes_and_its_json():
    run = book()
    found, again = (amplifiers(run, "0", "2-1", layers=[4], items=[0]) for _ in range(2))
    assert {"Sites", "Single places", "Code flips of the two modes", "Changed answers"} <= found.tables().keys()
    assert found.table()["gain"].is_monotonic_decreasing
    ties = found.table().query("kind == 'tie'")
    assert {"hadamard", "norm"} <= set(ties["site"])
    assert json.dumps(found.to_json()) == json.dumps(again.to_json())
    assert found.figures()[0][0] == "amplifiers"
    control = found.view_data()["controls"][0]
    assert found.figure(**{control["name"]: control["default"]}).axes
    assert amplifiers(run, "0", layers=[], items=[0]).status == "unknown"
