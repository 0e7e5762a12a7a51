"""What step 5 measured serves the summary too: the same results, and nothing is measured twice."""

import json

import pytest
from test_steps_run import workbook

from quamba_lab import steps
from quamba_lab.steps.answer_tracing import TracedItem
from quamba_lab.steps.summary import depth

PAIR = ("0", "2-2")


def step_5(run):
    return [
        steps.causes(run, *PAIR, layers=[0], items=[0]), steps.amplifiers(run, *PAIR, items=[0]),
        steps.answer_tracing(run, *PAIR, most=2, tries=10),
    ]  # fmt: skip


def told(results):
    return [json.dumps(result.to_json(), sort_keys=True) for result in results]


@pytest.fixture(scope="module")
def fresh():
    """Both notebooks' results with no cache."""
    return told(step_5(workbook(PAIR, 4))), told(depth(workbook(PAIR, 4), *PAIR))


def test_what_is_kept_gives_the_same_results(tmp_path, fresh):
    assert told(step_5(workbook(PAIR, 4, cache_dir=tmp_path))) == fresh[0]
    kept = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.json")}
    summary = workbook(PAIR, 4, cache_dir=tmp_path)
    assert told(depth(summary, *PAIR)) == fresh[1]
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.json")} == kept, "all was measured before"
    assert told(step_5(workbook(PAIR, 4, cache_dir=tmp_path))) == fresh[0]


def test_another_pair_or_another_seed_is_measured_anew(tmp_path):
    steps.causes(workbook(PAIR, 4, cache_dir=tmp_path), *PAIR, layers=[0], items=[0], logits=False)
    count = len(list(tmp_path.glob("*.json")))
    steps.causes(workbook(PAIR, 4, cache_dir=tmp_path), "0", "2-1", layers=[0], items=[0], logits=False)
    assert len(list(tmp_path.glob("*.json"))) == 2 * count
    steps.causes(workbook(PAIR, 4, cache_dir=tmp_path, seed=1), *PAIR, layers=[0], items=[0], logits=False)
    assert len(list(tmp_path.glob("*.json"))) == 3 * count


def test_a_traced_item_survives_json():
    found = TracedItem(3, "0", -0.5, 0.25, {("scan.y", 1): 4, ("hadamard", 1): 2}, ("scan.y", 1), ("hadamard", 1), 2,
                       None, True, ("x_proj",))  # fmt: skip
    assert TracedItem.from_json(json.loads(json.dumps(found.to_json()))) == found
