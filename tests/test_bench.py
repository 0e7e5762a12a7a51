"""The benchmark: its floors, its record, its refusals.  No test depends on how fast anything is."""

from __future__ import annotations

import json

import pytest
import torch

from quamba_lab import bench
from quamba_lab.bench import BenchError, benchmark

SHAPE = (1, 8, 20)


def test_every_time_has_a_build_or_a_reason():
    lines: list[str] = []
    result = benchmark("cpu", shapes=[SHAPE], seconds=0.01, progress=lines.append)
    assert [t.scan for t in result.timings] == list(bench.SCANS)
    assert len(lines) == len(bench.SCANS)
    for timing in result.timings:
        assert (timing.milliseconds is None) == bool(timing.absent)
        assert timing.absent or (timing.milliseconds > 0 and timing.build and timing.how == "cpu")
    assert any(t.absent and t.scan == "mamba_ssm FP16" for t in result.timings)
    assert "mamba_ssm FP16: " in result.text()
    assert "1,8,20" in result.text()
    restored = json.loads(json.dumps(result.to_json()))
    assert restored["floors"][0]["shape"] == list(SHAPE)
    assert restored["machine"]["torch"] == torch.__version__
    assert 0 < result.table()["floor / best"][0] < 1


def test_the_memory_floor_counts_every_byte_once():
    x = bench.random_inputs(2, 6, 10, 4, groups=3)
    codes = 3 * 2 * 6 * 10 + 2 * 2 * 3 * 4 * 10 + 6 * 4 + 6 + 6
    assert bench.scan_bytes(x) == codes + 2 * 2 * 6 * 10 + 4 * 2 * 6 * 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"device": "xyz"}, "device 'xyz' is none"),
        ({"device": "meta"}, "device meta is not available"),
        ({"shapes": [(1, 2)]}, r"shape \(1, 2\) is not \(b, d, l\)"),
        ({"shapes": [(1, 0, 2)]}, "at least 1"),
        ({"names": ["fastest"]}, "unknown scan 'fastest': choose among published"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(BenchError, match=message):
        benchmark(**arguments)


@pytest.mark.gpu
def test_on_a_gpu_there_are_both_floors_and_both_costs():
    result = benchmark("cuda", shapes=[(1, 256, 128)], names=["published", "torch_int8"], seconds=0.1)
    assert result.exp_floor[(1, 256, 128)] > 0
    published = result.timings[0]
    assert published.how == "graph"
    assert published.python_milliseconds > 0
