"""The quantized language model: accuracy against the float model, views, lockstep, decoding, bad input."""

import pytest
import torch
from small_model import CONFIG, float_model, small_model, tokens

from quamba_lab import MODES, ScanInputs, scans
from quamba_lab.model import ModelError, QuantizedMamba


def test_the_quantized_model_is_close_to_the_float_model():
    exact = float_model()(tokens())
    error = {}
    for name in ("2-1", "2-4"):
        error[name] = (small_model().with_mode(name)(tokens()) - exact).pow(2).mean().sqrt() / exact.std()
    assert error["2-4"] < error["2-1"] < 0.25  # the percentile of the test's calibration clips on purpose
    assert error["2-4"] < 0.1


def test_a_view_shares_every_tensor_and_leaves_the_model_alone():
    model = small_model().with_mode("2-1")
    before = model(tokens())
    other = model.with_mode("2-4")
    mine, its = model.state_dict(), other.state_dict()
    assert mine.keys() == its.keys()
    assert all(mine[name].data_ptr() == its[name].data_ptr() for name in mine)
    assert (model.mode.name, other.mode.name) == ("2-1", "2-4")
    other(tokens())
    assert torch.equal(model(tokens()), before)


def test_logits_do_not_depend_on_what_shares_the_batch():
    model = small_model().with_mode("2-1")
    whole = model(tokens())
    assert whole.dtype == torch.float32
    assert torch.equal(model(tokens()[1:2]), whole[1:2])


def test_lockstep_with_itself_is_the_free_run():
    model = small_model().with_mode("2-1")
    inputs = model.layer_inputs(tokens())
    assert len(inputs) == len(model.layers) + 1
    for layer in range(len(model.layers)):
        hidden, residual = model.run_layer(layer, *inputs[layer])
        assert torch.equal(hidden, inputs[layer + 1][0])
        assert torch.equal(residual, inputs[layer + 1][1])
    logits = model(tokens())
    for layer in range(len(inputs)):
        assert torch.equal(model.run_from(layer, *inputs[layer]), logits)


def test_scan_inputs_are_what_the_scan_gets():
    model = small_model().with_mode("2-1")
    for layer in (0, 2, -1):
        inputs = model.scan_inputs(tokens(), layer)
        assert isinstance(inputs, ScanInputs)
        inputs.check()
        assert (inputs.batch, inputs.channels, inputs.length, inputs.states) == (3, 96, 40, 16)
    assert inputs.B.scale is not None
    assert torch.equal(inputs.B.scale, inputs.C.scale)  # x_proj's one output scale
    assert scans.run("oracle", inputs).y.shape == (3, 40, 96)


def test_two_runs_are_equal_and_the_witness_says_so():
    first = small_model().with_mode("2-1")
    a, b = first(tokens()), first(tokens())
    assert torch.equal(a, b)
    witness, other = first.witness(), first.with_mode("2-2")
    other(tokens())
    assert witness.same_path_as(first.witness())
    assert not witness.same_path_as(other.witness())
    assert len(witness.ran()) == 1
    assert list(witness.table().columns[:2]) == ["scan", "build"]
    document = witness.to_json()
    assert document["layers"][0]["operands"]["u"]["distinct"] == witness.layers[0].u.distinct > 1
    assert document["settings"]["torch"] == torch.__version__


def test_the_witness_counts_the_values_of_the_first_item():
    model = small_model().with_mode("2-4")
    model(tokens())
    inputs = model.scan_inputs(tokens(), 1)
    assert model.witness().layers[1].u.distinct == inputs.u.values[:1].unique().numel()


def test_no_witness_before_a_run():
    with pytest.raises(ValueError, match=r"call model\(tokens\) first"):
        small_model().with_mode("2-1").witness()


def test_decoding_follows_the_prompt_closely_but_not_exactly():
    model = small_model().with_mode("2-1")
    text = tokens(2, 24)
    whole = model(text)
    logits, caches = model.prefill(text[:, :16])
    assert torch.equal(logits, whole[:, :16])
    assert all(c.window.dtype == c.state.dtype == torch.int8 for c in caches)
    kept = [c.state.clone() for c in caches]
    steps = []
    state = caches
    for t in range(16, 24):
        step, state = model.decode(text[:, t], state)
        steps.append(step)
    assert all(torch.equal(a, c.state) for a, c in zip(kept, caches, strict=True))  # the given caches are not changed
    decoded = torch.stack(steps, 1)
    difference = (decoded - whole[:, 16:]).abs()
    assert difference.max() > 0  # other sites, and a state rounded at every token
    assert difference.pow(2).mean().sqrt() < 0.35 * whole.std()


def test_decoding_shorter_than_the_window_pads_with_zeros():
    model = small_model().with_mode("2-1")
    _, caches = model.prefill(tokens(1, 2))
    assert (caches[0].window[:, :, :2] == 0).all()
    assert caches[0].window[:, :, 2:].any()


@pytest.mark.parametrize(("value", "message"), [
    (torch.zeros(2, 3), "float32"),
    (torch.zeros(3, dtype=torch.int64), r"\(b, l\)"),
    (torch.zeros(2, 0, dtype=torch.int64), "at least one token"),
    (torch.tensor([[0, CONFIG.vocab_size]]), f"token {CONFIG.vocab_size} .* 0 to {CONFIG.vocab_size - 1}"),
    (torch.tensor([[0, -1]]), "token -1"),
    ([[1, 2]], "list"),
])  # fmt: skip
def test_bad_tokens_are_named(value, message):
    with pytest.raises(ModelError, match=message):
        small_model().with_mode("2-1")(value)


@pytest.mark.parametrize("layer", [3, -4])
def test_a_layer_out_of_range_is_named(layer):
    model = small_model().with_mode("2-1")
    with pytest.raises(ModelError, match=f"layer {layer} .* 0 to 2"):
        model.scan_inputs(tokens(), layer)
    with pytest.raises(ModelError, match=f"layer {layer}"):
        model.run_layer(layer, *model.embed(tokens()))


def test_a_state_that_does_not_fit_names_the_tensor():
    state = dict(small_model().state_dict())
    missing = {name: x for name, x in state.items() if name != "layers.1.scan.D"}
    with pytest.raises(ModelError, match=r"lacks layers\.1\.scan\.D"):
        QuantizedMamba(CONFIG, missing, "2-1")
    with pytest.raises(ModelError, match=r"layers\.0\.x_proj\.weight .* \(35, 95\) .* \(35, 96\)"):
        QuantizedMamba(CONFIG, state | {"layers.0.x_proj.weight": torch.zeros(35, 95, dtype=torch.int8)}, "2-1")
    with pytest.raises(ModelError, match=r"torch\.float32"):
        QuantizedMamba(CONFIG, state | {"layers.0.scan.D": state["layers.0.scan.D"].float()}, "2-1")


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValueError, match="unknown mode '9'"):
        small_model().with_mode("9")
    assert set(MODES) == {"0", "2-0", "2-1", "2-2", "2-3", "2-4", "3", "1"}
