"""Answer tracing: a fault planted at one stage of one layer is named, and shrunk to what it needs."""

from __future__ import annotations

import json

import pytest
import torch

from quamba_lab.quantized import Quantized
from quamba_lab.steps import Workbook
from quamba_lab.steps.answer_tracing import _shrink, answer_tracing, trace_item
from quamba_lab.steps.patching import answer, ask, fits, patched, put, values_of

BOOK = Workbook(limit=6, cache_dir=False)


def spoiled(stage: str, layer: int):
    """A view of the model in which the stage's codes have the other sign at the last token."""
    model = BOOK.base.with_mode("0")

    def turn(module, args, output):
        values = output.values.clone()
        values[:, -1] = -values[:, -1].clamp(min=-127)
        return Quantized(values, output.scale)

    model.layers[layer].get_submodule(stage).register_forward_hook(turn)
    return model


@pytest.mark.parametrize("layer", [2, 6])
def test_a_planted_stage_is_the_earliest(layer):
    a, b = BOOK.view("0"), spoiled("hadamard", layer)
    flipped = [i for i in range(4) if answer(a(q := ask(BOOK, i).tokens), ask(BOOK, i))[0]
               != answer(b(q), ask(BOOK, i))[0]]  # fmt: skip
    assert flipped, "the plant must turn an answer"
    found = trace_item(a, b, ask(BOOK, flipped[0]), flipped[0], tries=6)
    assert found.earliest == ("hadamard", layer)
    assert all(where[1] >= layer for where in found.sufficient)
    assert 1 <= found.needed <= found.sufficient[found.smallest]
    assert found.reset_by == layer + 1 or (layer == 7 and found.reset_by is None)


def test_patching_every_stage_with_its_own_value_changes_nothing():
    model, question = BOOK.view("0"), ask(BOOK, 1)
    values = values_of(model, question.tokens)
    expected = model(question.tokens)
    with patched(model, {where: put(value) for where, value in values.items()}):
        assert torch.equal(model(question.tokens), expected)
    assert torch.equal(model(question.tokens), expected)


def test_values_of_another_kind_do_not_fit():
    one = Quantized(torch.zeros(3, dtype=torch.int8), torch.tensor(0.5))
    assert fits(one, one)
    assert not fits(one, Quantized(one.values, torch.tensor(0.25)))
    assert not fits(one, Quantized(torch.zeros(3), None))
    assert not fits(torch.zeros(3), torch.zeros(4))


def test_shrinking_keeps_what_is_needed():
    needed = {3, 17}
    mask = torch.ones(40, dtype=torch.bool)
    kept = _shrink(mask, lambda m: needed <= set(torch.nonzero(m)[:, 0].tolist()), 500)
    assert set(torch.nonzero(kept)[:, 0].tolist()) == needed


def test_no_item_differs():
    found = answer_tracing(BOOK, "0", "2-0")
    assert found.status == "not established"
    assert "No item of 6" in found.verdict
    assert found.figures() == []
    assert found.table().empty
    json.dumps(found.to_json())
    assert found.view_data()["charts"] == []


def test_an_item_that_both_answer_alike_is_refused():
    with pytest.raises(ValueError, match="choose an item that they answer differently"):
        trace_item(BOOK.view("0"), BOOK.view("0"), ask(BOOK, 2), 2)


def test_the_result_speaks_for_its_items():
    traced = answer_tracing(BOOK, "0", "2-1", items=[0], tries=4)
    assert traced.numbers["flips"] >= traced.numbers["traced"] == len(traced.table())
    if traced.traced:
        assert traced.figures()[0][0] == "answers"
    assert json.dumps(traced.to_json()) == json.dumps(answer_tracing(BOOK, "0", "2-1", items=[0], tries=4).to_json())
