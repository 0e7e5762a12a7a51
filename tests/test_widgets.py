"""The control bar and its cards: linked choices, each frame drawn once, clicks, work that can be stopped."""

from __future__ import annotations

import threading
import time

import pytest

from quamba_lab import steps, widgets
from quamba_lab.parameters import check
from quamba_lab.views import VIEWS, Sources, View
from quamba_lab.widgets import ControlBar, Explorer, Selection
from quamba_lab.widgets.job import Job, Stopped, stop_all

CONTROLS = [
    {"name": "mode_b", "label": "Mode B", "options": ["2-0", "2-1", "2-2"], "default": "2-1"},
    {"name": "layer", "label": "Layer", "options": list(range(8)), "default": 3},
]
TRACED = ("text", "stages", "map", "along", "number", "codes", "tensor")


def counting(calls: list[dict]) -> View:
    """A view that keeps what it was asked for."""

    def frame(sources, *, mode_b: str, layer: int) -> dict:
        calls.append({"mode_b": mode_b, "layer": layer})
        if (mode_b, layer) == ("2-0", 4):
            raise ValueError("layer 4 <b>was not measured</b>")
        return {"series": [{"name": mode_b, "values": [layer, 2 * layer, 1]}], "x": {"values": [0, 1, 2]}}

    return View("curve", "A curve", "lines", ("mode_b", "layer"), frame)


@pytest.fixture
def section():
    calls: list[dict] = []
    return Explorer([counting(calls)], None, Selection(), controls=CONTROLS), calls


def html(explorer: Explorer, name: str = "curve") -> str:
    return explorer.panels[name].html


def test_it_starts_at_the_defaults(section):
    explorer, calls = section
    assert explorer.choices == {"mode_b": "2-1", "layer": 3}
    assert calls == [{"mode_b": "2-1", "layer": 3}]
    assert "<svg" in html(explorer)


def test_a_choice_redraws_and_is_drawn_only_once(section):
    explorer, calls = section
    first = html(explorer)
    explorer.controls["layer"].value = 5
    assert html(explorer) != first
    explorer.controls["layer"].value = 3
    assert html(explorer) == first
    assert len(calls) == 2


def test_a_choice_in_one_section_holds_in_the_next():
    shared = Selection()
    one, two = (Explorer([counting([])], None, shared, controls=CONTROLS) for _ in range(2))
    one.controls["mode_b"].value = "2-2"
    assert two.choices["mode_b"] == "2-2"
    two.controls["layer"].value = 7
    assert one.choices == two.choices == {"mode_b": "2-2", "layer": 7}
    assert Explorer([counting([])], None, shared, controls=CONTROLS).choices == one.choices


def test_a_choice_that_another_section_does_not_offer_leaves_it_as_it_is():
    shared = Selection()
    wide = Explorer([counting([])], None, shared, controls=CONTROLS)
    narrow = Explorer([counting([])], None, shared, controls=[CONTROLS[0], {**CONTROLS[1], "options": [0, 3]}])
    wide.controls["layer"].value = 6
    assert (wide.choices["layer"], narrow.choices["layer"]) == (6, 3)


def test_a_refusal_shows_in_words_and_escaped(section):
    explorer, _ = section
    explorer.controls["mode_b"].value = "2-0"
    explorer.controls["layer"].value = 4
    assert "&lt;b&gt;was not measured" in html(explorer)
    assert "<b>" not in html(explorer)
    explorer.controls["layer"].value = 5
    assert "was not measured" not in html(explorer)


def test_a_card_out_of_sight_waits(section):
    explorer, calls = section
    panel = explorer.panels["curve"]
    panel._heard(panel, {"type": "visible", "visible": False}, [])
    explorer.controls["layer"].value = 6
    assert len(calls) == 1
    panel._heard(panel, {"type": "visible", "visible": True}, [])
    assert calls[-1] == {"mode_b": "2-1", "layer": 6}


# On the shipped model ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run():
    return steps.Workbook(limit=3, cache_dir=False)


@pytest.fixture
def bar(run):
    settings = check(limit=3, layers=[0, 7])
    return ControlBar(Sources(run, settings.layers), settings, Selection())


def explorer_of(bar: ControlBar, *names: str) -> Explorer:
    explorer = Explorer([VIEWS[name] for name in names], bar.sources, bar.selection, bar)
    explorer.wait(60)
    return explorer


def test_every_control_of_the_bar_changes_a_card(bar):
    explorer = explorer_of(bar, *TRACED)
    assert set(explorer.controls) == {"mode_a", "mode_b", "item", "stage", "layer", "token", "channel", "run"}
    other = {"mode_a": "2-2", "mode_b": "1", "item": 2, "stage": "hadamard", "layer": 0, "token": 9, "channel": 40,
             "run": "lockstep"}  # fmt: skip
    for name, value in other.items():
        before = {view: panel.html for view, panel in explorer.panels.items()}
        explorer.controls[name].value = value
        explorer.wait(60)
        assert explorer.job_error is None
        assert {view: panel.html for view, panel in explorer.panels.items()} != before, name
        assert not any(panel.stale for panel in explorer.panels.values())


def test_a_click_into_the_map_chooses_and_what_is_not_offered_is_ignored(bar):
    explorer = explorer_of(bar, "map", "text")
    panel = explorer.panels["map"]
    panel._heard(panel, {"type": "choose", "choice": {"layer": 0, "token": 17}}, [])
    assert (explorer.choices["layer"], explorer.choices["token"]) == (0, 17)
    assert bar.selection.get("token") == 17
    for choice in ({"layer": 3}, {"token": 10_000}, {"token": "<b>"}, {"mode_a": "9"}, "nonsense"):
        panel._heard(panel, {"type": "choose", "choice": choice}, [])
    assert (explorer.choices["layer"], explorer.choices["token"]) == (0, 17)


def test_an_item_of_another_length_moves_the_end_of_the_tokens(bar, run):
    lengths = {item: run.tokens(item).shape[1] for item in range(3)}
    explorer = explorer_of(bar, "text")
    for item, length in lengths.items():
        explorer.controls["item"].value = item
        assert explorer.controls["token"].max == length - 1


def test_traces_are_made_once_for_each_mode_and_item(bar):
    explorer = explorer_of(bar, "map", "along")
    made = dict(bar.sources._kept)
    for layer in (0, 7, 0):
        explorer.controls["layer"].value = layer
    explorer.controls["mode_b"].value = "2-2"
    explorer.wait(60)
    explorer.controls["mode_b"].value = "2-1"
    assert all(bar.sources._kept[need] is value for need, value in made.items())
    new = [need for need in bar.sources._kept if need not in made and need[0] == "trace"]
    assert new == [("trace", "2-2", 0)]


def test_the_oldest_trace_goes_when_there_is_no_room(run):
    sources = Sources(run, [0], room=1)
    for mode in ("0", "2-1"):
        sources.get(("trace", mode, 0))
    assert sources.missing([("trace", "0", 0), ("trace", "2-1", 0)]) == [("trace", "0", 0)]


def test_a_steps_own_views_follow_the_pair_of_the_bar(run, monkeypatch):
    settings = check(limit=3, layers=[0, 7])
    monkeypatch.setattr(widgets, "selection", Selection())
    widgets.start(run, settings)
    result = steps.dequantization(run, "0", "2-1", layers=[0, 7])
    explorer = widgets.make(result)
    assert explorer.sources.has(("dequantization", "0", "2-1", 0)), "the result at hand is not computed again"
    explorer.controls["mode_b"].value = "2-2"
    explorer.wait(60)
    assert explorer.sources.has(("dequantization", "0", "2-2", 0))
    with pytest.raises(ValueError, match="'maps' is no view: choose among text"):
        widgets.make("maps")


# Work that takes longer ----------------------------------------------------------------------------------------------


def test_a_job_tells_its_progress_and_its_end():
    told, ended = [], []
    job = Job([("a", lambda: None), ("b", lambda: None)], lambda *what: told.append(what), ended.append)
    job.start()
    job.wait(10)
    assert (told, ended) == ([(0, "a"), (1, "b")], [None])


def test_a_job_stops_in_the_middle_of_a_part():
    ended, running = [], threading.Event()

    def endless() -> None:
        running.set()
        while True:
            time.sleep(0.001)

    job = Job([("endless", endless), ("never", lambda: ended.append("reached"))], lambda *_: None, ended.append)
    job.start()
    assert running.wait(10)
    assert stop_all()
    job.wait(10)
    assert len(ended) == 1
    assert isinstance(ended[0], Stopped)
    assert not stop_all()


def test_a_section_can_be_stopped_and_taken_up_again(bar, monkeypatch):
    explorer = explorer_of(bar, "map")
    gate, real = threading.Event(), bar.sources.get

    def slow(need):
        while not gate.is_set():
            time.sleep(0.001)
        return real(need)

    monkeypatch.setattr(bar.sources, "get", slow)
    explorer.controls["mode_b"].value = "2-2"
    assert explorer.panels["map"].stale
    assert explorer.button.description == "Stop"
    explorer.button.click()
    explorer.wait(10)
    assert "Stopped" in explorer.words.value
    assert explorer.panels["map"].stale, "what is shown is not the present choice"
    gate.set()
    explorer.button.click()
    explorer.wait(60)
    assert not explorer.panels["map"].stale
    assert "mode 2-2" in explorer.panels["map"].html
