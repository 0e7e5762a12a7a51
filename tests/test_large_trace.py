"""Traces of models too large for memory: what a trace and a run hold does not grow with the layers."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from small_model import small_model

from quamba_lab.steps import workbook
from quamba_lab.steps.workbook import Workbook
from quamba_lab.tasks import Item, Task
from quamba_lab.trace_store import StoredPairs, TraceStore
from quamba_lab.witness import describe

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "large_trace.py"


def measure(layers: int) -> dict:
    sizes = {"layers": layers, "hidden": 768, "tokens": 1024, "vocabulary": 500}
    options = [part for name, value in sizes.items() for part in (f"--{name}", str(value))]
    command = [sys.executable, str(SCRIPT), *options, "--shared"]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_the_memory_of_a_trace_does_not_grow_with_the_layers():
    few, many = measure(4), measure(16)
    added = many["written_bytes"] - few["written_bytes"]
    assert added > 150e6
    extra = [run["peak_bytes"] - run["peak_before_trace_bytes"] for run in (few, many)]
    assert extra[1] - extra[0] < added / 3


def test_the_random_model_of_the_benchmark_is_a_model():
    spec = importlib.util.spec_from_file_location("large_trace", SCRIPT)
    large_trace = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(large_trace)
    config = small_model().config
    state = large_trace.random_state(config, shared=True)
    assert state["layers.2.in_proj.weight"] is state["layers.0.in_proj.weight"]
    assert large_trace.random_state(config, shared=False)["layers.2.in_proj.weight"].ne(
        state["layers.0.in_proj.weight"]
    ).any()


class Words:
    def encode(self, text: str, **_) -> list[int]:
        return [len(word) for word in text.split()]

    def decode(self, ids: list[int]) -> str:
        return "x" * ids[0]


@pytest.fixture
def runs(monkeypatch):
    """The same run with everything in memory, and with everything on disk."""
    model = small_model().with_mode("0")
    model.tokenizer = Words()
    task = Task("words", (Item("one two three four five six", " seven"),))

    def make() -> Workbook:
        return Workbook(model, ["0", "2-1"], task, limit=1, cache_dir=False)

    whole = make()
    in_memory = whole.layer_inputs("0", 0), whole.lockstep("0", "2-1"), [whole.scan_inputs("0", i) for i in range(3)]
    monkeypatch.setattr(workbook, "TRACE_IN_MEMORY", 1)
    return in_memory, make()


def test_a_run_that_spills_gives_the_same_values(runs):
    (pairs, lockstep, inputs), spilling = runs
    stored = spilling.layer_inputs("0", 0)
    assert isinstance(stored, StoredPairs)
    assert len(stored) == len(pairs)
    for mine, theirs in zip(stored, pairs, strict=True):
        assert mine[0].equal(theirs[0])
        assert (mine[1] is None and theirs[1] is None) or mine[1].equal(theirs[1])
    assert isinstance(spilling.lockstep("0", "2-1"), TraceStore)
    assert spilling.lockstep("0", "2-1")["scan.y", 2].equal(lockstep["scan.y", 2])
    for layer in (2, 0, 1, 1):
        again = spilling.scan_inputs("0", layer)
        assert again.u.values.equal(inputs[layer].u.values)
        assert again is spilling.scan_inputs("0", layer)


def test_distinct_codes_are_counted_without_sorting():
    generator = torch.Generator().manual_seed(0)
    for low, high in ((-128, 128), (3, 5), (-1, 1)):
        codes = torch.randint(low, high, (3, 1 << 19), dtype=torch.int8, generator=generator)
        assert describe(codes).distinct == torch.unique(codes).numel()
