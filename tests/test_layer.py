"""The layer in all its modes: what each part receives, and what must and must not be equal."""

import inspect

import pytest
import torch
from small_model import small_model, tokens

from quamba_lab import MODES, Quantized, Trace, scans
from quamba_lab.layer import QuantizedLayer
from quamba_lab.quantized import AWAY_SATURATE
from quamba_lab.sites import PUBLISHED

STAGES = ("in_proj", "conv1d", "split", "x_proj", "dt_proj", "scan", "hadamard", "out_proj", "residual")

NEEDS = {name: scans.unavailable(mode.scan) for name, mode in MODES.items()}


def run(name, **options):
    if NEEDS[name]:
        pytest.skip(NEEDS[name])
    model = small_model().with_mode(name)
    with Trace(model, **options) as trace:
        logits = model(tokens())
    return model, trace, logits


@pytest.mark.parametrize("name", MODES)
def test_every_mode_runs_what_its_row_says(name):
    model, trace, logits = run(name)
    mode = MODES[name]
    assert torch.isfinite(logits).all()
    for layer, witness in zip(model.layers, model.witness().layers, strict=True):
        assert all(isinstance(getattr(layer, stage), torch.nn.Module) for stage in STAGES)
        assert witness.scan == mode.scan
        assert witness.u.dtype == ("int8" if mode.u in ("int8", "requantized") else "float32")
    for i in range(3):
        conv, u = trace["conv1d", i], trace["scan.u", i]
        assert isinstance(conv, Quantized) == (mode.conv_output == "int8")
        assert isinstance(u, Quantized) == (mode.u in ("int8", "requantized"))
        grid = model.layers[i].conv1d.output_scale
        values = conv.dequantize() if isinstance(conv, Quantized) else conv
        on_grid = torch.equal((values / grid).round() * grid, values)
        assert on_grid == (mode.conv_output in ("int8", "int8_dequantized"))


@pytest.mark.parametrize("name", MODES)
def test_x_proj_always_receives_the_codes(name):
    _, trace, _ = run(name, stages=["split.x_proj", "split"], layers=[0])
    codes = trace["split.x_proj", 0]
    assert codes.values.dtype == torch.int8
    _, reference, _ = run("2-1", stages=["split.x_proj"], layers=[0])
    same = reference["split.x_proj", 0].values
    if name == "3":  # its convolution reads other codes
        assert (codes.values.int() - same.int()).abs().max() <= 3
    else:  # ties aside, rounding inside conv1d and after it agree
        assert (codes.values != same).float().mean() < 1e-3


def test_2_0_equals_0_bit_for_bit():
    _, first, logits = run("0")
    _, second, again = run("2-0")
    assert torch.equal(logits, again)
    for key in first:
        a, b = first[key], second[key]
        if key[0] in ("conv1d", "split"):
            assert torch.equal(a.dequantize(), b)
        elif isinstance(a, Quantized):
            assert torch.equal(a.values, b.values)
            assert torch.equal(a.scale, b.scale)
        else:
            assert torch.equal(a, b)


def test_2_2_receives_at_most_256_values_and_2_4_more():
    _, grid, _ = run("2-2", stages=["scan.u"])
    _, free, _ = run("2-4", stages=["scan.u"])
    for layer in range(3):
        assert grid["scan.u", layer].unique().numel() <= 256
        assert free["scan.u", layer].unique().numel() > 256


def test_2_2_and_2_1_give_the_scan_the_same_numbers():
    _, codes, _ = run("2-1", stages=["scan.u", "scan.y"], layers=[0])
    _, grid, _ = run("2-2", stages=["scan.u", "scan.y"], layers=[0])
    assert torch.equal(codes["scan.u", 0].dequantize(), grid["scan.u", 0])
    assert torch.equal(codes["scan.y", 0], grid["scan.y", 0])  # the same arithmetic on the same numbers


def test_modes_that_must_differ_do_on_an_input_that_overflows_the_grid():
    _, codes, low = run("2-1", stages=["scan.u", "scan.y", "conv1d.before_rounding"])
    assert codes["conv1d.before_rounding", 0].abs().max() > 200
    _, free, high = run("2-4", stages=["scan.u", "scan.y"])
    _, dynamic, other = run("3", stages=["scan.u"])
    assert free["scan.u", 0].max() > codes["scan.u", 0].dequantize().max() * 1.5
    assert not torch.equal(codes["scan.y", 0], free["scan.y", 0])
    assert not torch.equal(free["scan.u", 0], dynamic["scan.u", 0])
    assert not torch.equal(low, high)
    assert not torch.equal(high, other)


def test_1_and_2_4_are_one_data_flow_under_two_names():
    assert torch.equal(run("1")[2], run("2-4")[2])


def test_2_3_equals_2_1_except_where_conv_s_tie_rounds_the_other_way():
    _, codes, _ = run("2-1", stages=["scan.u", "conv1d.before_rounding"], layers=[0])
    _, again, _ = run("2-3", stages=["scan.u"], layers=[0])
    flipped = codes["scan.u", 0].values != again["scan.u", 0].values
    before = codes["conv1d.before_rounding", 0]
    assert ((before - before.trunc()).abs()[flipped] == 0.5).all()


def test_the_forward_knows_no_mode_and_no_trace():
    for method in ("forward", "_before_scan", "_after_scan", "step"):
        source = inspect.getsource(getattr(QuantizedLayer, method))
        assert not any(word in source for word in ("mode", "trace", "environ", "hook"))


def test_a_scan_of_one_s_own_runs_in_a_mode():
    scans.register("layer_test_zero", lambda x: torch.zeros(x.batch, x.length, x.channels))
    try:
        model = small_model().with_mode("2-1").with_scan("layer_test_zero")
        model(tokens())
        assert {layer.scan for layer in model.witness().layers} == {"layer_test_zero"}
        assert "registered function" in model.witness().layers[0].build
    finally:
        scans.unregister("layer_test_zero")
    with pytest.raises(ValueError, match="layer_test_zero"):
        small_model().with_mode("2-1").with_scan("layer_test_zero")


def test_a_rounding_site_can_be_exchanged():
    plain = small_model().with_mode("2-1")
    state = {**plain.state_dict()}
    for i in range(3):  # too small a scale: the Hadamard's codes overflow
        state[f"layers.{i}.hadamard.scale"] = state[f"layers.{i}.hadamard.scale"] / 4
    narrow = type(plain)(plain.config, state, "2-1")
    clamped = narrow.with_sites(hadamard=PUBLISHED["hadamard"].with_rule(AWAY_SATURATE))
    with Trace(narrow, ["hadamard", "hadamard.before_rounding"], 0) as wraps:
        narrow(tokens())
    with Trace(clamped, ["hadamard"], 0) as saturates:
        clamped(tokens())
    over = wraps["hadamard.before_rounding", 0].round() > 127
    assert over.any()
    assert (saturates["hadamard", 0].values[over] == 127).all()
    assert (wraps["hadamard", 0].values[over] < 127).all()
    with pytest.raises(ValueError, match="'gate'"):
        plain.with_sites(gate=PUBLISHED["u"])
