"""Capture from outside."""

import pytest
import torch
from small_model import small_model, tokens

from quamba_lab import Quantized, Trace
from quamba_lab.quantized import EVEN_SATURATE
from quamba_lab.trace import EXTRA_STAGES, ROUNDING_STAGES, STAGES, TraceError

SHAPES = {
    "in_proj": (3, 192, 40), "conv1d.input": (3, 96, 40), "conv1d": (3, 96, 40), "split": (3, 96, 40),
    "x_proj": (3, 40, 35), "dt_proj": (3, 96, 40), "scan.u": (3, 96, 40), "scan.dt": (3, 96, 40),
    "scan.B": (3, 1, 16, 40), "scan.C": (3, 1, 16, 40), "scan.z": (3, 96, 40), "scan.y": (3, 40, 96),
    "hadamard": (3, 40, 96), "out_proj": (3, 40, 48), "residual": (3, 40, 48), "norm": (3, 40, 48),
    "split.x_proj": (3, 96, 40),
}  # fmt: skip


def model():
    return small_model().with_mode("2-1")


def capture(**options):
    m = model()
    with Trace(m, **options) as trace:
        logits = m(tokens())
    return trace, logits


def test_every_stage_of_every_layer_by_default():
    trace, logits = capture()
    assert trace.stages == STAGES
    assert trace.layers == (0, 1, 2)
    assert len(trace) == 3 * (len(STAGES) - 1) + 1
    assert torch.equal(trace["logits"], logits)
    for stage in STAGES[:-1]:
        value = trace[stage, 1]
        assert tuple(value.shape) == SHAPES[stage]
        assert isinstance(value, Quantized) == (stage not in ("scan.y", "out_proj", "residual"))


def test_tracing_changes_nothing_and_leaves_no_hook():
    m = model()
    before = m(tokens())
    hooks = [len(module._forward_hooks) for module in m.modules()]
    with Trace(m):
        assert torch.equal(m(tokens()), before)
    assert [len(module._forward_hooks) for module in m.modules()] == hooks


def test_the_hooks_go_even_when_the_forward_fails():
    m = model()
    hooks = [len(module._forward_hooks) for module in m.modules()]
    with pytest.raises(TraceError, match="token 40 is out of range: the prompt has 40"), Trace(m, tokens=40):
        m(tokens())
    assert [len(module._forward_hooks) for module in m.modules()] == hooks


def test_selection_by_stage_layer_and_token():
    whole, _ = capture(stages=[*STAGES, *EXTRA_STAGES])
    part, _ = capture(stages=[*STAGES, *EXTRA_STAGES], layers=[-1], tokens=[0, -1])
    assert part.layers == (2,)
    for stage in (*STAGES[:-1], *EXTRA_STAGES):
        axis = next(i for i, n in enumerate(SHAPES[stage]) if n == 40)
        a, b = whole[stage, 2], part[stage, -1]
        a, b = (q.values if isinstance(q, Quantized) else q for q in (a, b))
        assert torch.equal(a.index_select(axis, torch.tensor([0, 39])), b)
    assert torch.equal(whole["logits"][:, [0, 39]], part["logits"])
    sliced, _ = capture(stages=["scan.y"], layers=1, tokens=slice(3, 7))
    assert torch.equal(sliced["scan.y", 1], whole["scan.y", 1][:, 3:7])


@pytest.mark.parametrize("stage", ROUNDING_STAGES)
def test_before_rounding_is_what_the_codes_were_made_of(stage):
    modes = {"scan.u": "2-3", "split.x_proj": "2-3", "conv1d.input": "3"}
    m = small_model().with_mode(modes.get(stage.removesuffix(".before_rounding"), "2-1"))
    name = stage.removesuffix(".before_rounding")
    with Trace(m, [stage, name], 1) as trace:
        m(tokens())
    before, code = trace[stage, 1], trace[name, 1]
    assert before.shape == code.shape
    nearest = before.round().clamp(-128, 127)
    assert ((code.values - nearest).abs() <= 1).all()
    assert (code.values == EVEN_SATURATE(before)).float().mean() > 0.99


def test_a_mode_that_does_not_round_has_nothing_before_rounding():
    trace, _ = capture(stages=["scan.u.before_rounding", "scan.u"])
    assert trace.stages == ("scan.u",)
    assert ("scan.u.before_rounding", 0) not in trace
    with pytest.raises(TraceError, match=r"nothing captured for stage 'scan.u.before_rounding'.*scan\.u"):
        trace["scan.u.before_rounding", 0]


def test_a_sink_takes_the_values_instead():
    seen = []
    trace, _ = capture(stages=["scan.y", "logits"], sink=lambda stage, layer, value: seen.append((stage, layer)))
    assert seen == [("scan.y", 0), ("scan.y", 1), ("scan.y", 2), ("logits", None)]
    assert len(trace) == 0


@pytest.mark.parametrize(("options", "message"), [
    ({"stages": ["scan.x"]}, "unknown stage 'scan.x'.*scan.u"),
    ({"layers": [3]}, "layer 3 is out of range: the model has 3, 0 to 2"),
    ({"layers": -4}, "layer -4"),
])  # fmt: skip
def test_what_is_not_there_is_named(options, message):
    with pytest.raises(TraceError, match=message):
        Trace(model(), **options)
