"""The control bar: linked choices, one drawing per combination, quick enough to follow a hand."""

from __future__ import annotations

import time

import pytest
from matplotlib.figure import Figure

from quamba_lab.widgets import Explorer, Selection

CONTROLS = [
    {"name": "mode_b", "label": "Mode B", "options": ["2-0", "2-1", "2-2"], "default": "2-1"},
    {"name": "layer", "label": "Layer", "options": list(range(8)), "default": 3},
]


class Drawing:
    """A figure function that counts its calls."""

    def __init__(self):
        self.calls: list[dict] = []

    def __call__(self, mode_b: str, layer: int) -> Figure:
        self.calls.append({"mode_b": mode_b, "layer": layer})
        figure = Figure(figsize=(3, 2))
        figure.subplots().plot([0, layer], [0, len(mode_b) + int(mode_b[-1])])
        return figure


@pytest.fixture
def bar():
    drawing = Drawing()
    return Explorer(drawing, CONTROLS, Selection()), drawing


def test_it_starts_at_the_defaults(bar):
    explorer, drawing = bar
    assert explorer.choices == {"mode_b": "2-1", "layer": 3}
    assert drawing.calls == [{"mode_b": "2-1", "layer": 3}]
    assert bytes(explorer.image.value).startswith(b"\x89PNG")


def test_a_choice_redraws_and_is_drawn_only_once(bar):
    explorer, drawing = bar
    first = explorer.image.value
    explorer.bar["layer"].value = 5
    assert explorer.image.value != first
    explorer.bar["layer"].value = 3
    assert explorer.image.value == first
    assert len(drawing.calls) == 2


def test_a_choice_in_one_section_holds_in_the_next():
    shared = Selection()
    one, two = Explorer(Drawing(), CONTROLS, shared), Explorer(Drawing(), CONTROLS, shared)
    one.bar["mode_b"].value = "2-2"
    assert two.choices["mode_b"] == "2-2"
    two.bar["layer"].value = 7
    assert one.choices == two.choices == {"mode_b": "2-2", "layer": 7}
    later = Explorer(Drawing(), CONTROLS, shared)
    assert later.choices == one.choices


def test_a_choice_that_another_bar_does_not_offer_leaves_it_as_it_is():
    shared = Selection()
    few = [{**CONTROLS[1], "options": [0, 3], "default": 0}]
    wide = Explorer(Drawing(), CONTROLS, shared)
    narrow = Explorer(lambda layer: Drawing()("2-1", layer), few, shared)
    wide.bar["layer"].value = 6
    assert narrow.choices == {"layer": 0}
    assert wide.choices["layer"] == 6


def test_a_refusal_shows_in_words_and_escaped():
    def draw(mode_b: str, layer: int) -> Figure:
        if layer == 4:
            raise ValueError("layer 4 <b>was not measured</b>")
        return Drawing()(mode_b, layer)

    explorer = Explorer(draw, CONTROLS, Selection())
    explorer.bar["layer"].value = 4
    assert "&lt;b&gt;was not measured" in explorer.message.value
    explorer.bar["layer"].value = 5
    assert explorer.message.value == ""


def test_redrawing_a_real_step_takes_under_300_ms():
    from quamba_lab import steps

    run = steps.Workbook(limit=2, cache_dir=False)
    result = steps.dequantization(run, "0", "2-1", layers=[0, 7])
    explorer = Explorer(result.figure, result.view_data()["controls"], Selection())
    times = []
    for control in explorer.bar.values():
        for option in control.options[::-1]:
            began = time.process_time()
            control.value = option
            times.append(time.process_time() - began)
    assert sorted(times)[len(times) // 2] < 0.3
