"""Fusing, rotating, calibrating, quantizing."""

import copy
import json
from hashlib import sha256

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_model import CONFIG, float_model, small_model, tokens

from quamba_lab import load_model
from quamba_lab.checkpoint import load_tokenizer
from quamba_lab.demo import DEMO
from quamba_lab.float_model import MambaConfig, MambaLM
from quamba_lab.hadamard import hadamard_matrix
from quamba_lab.model import model_shapes
from quamba_lab.prepare import (
    DEMO_PERCENTILE,
    MinMax,
    Percentile,
    PrepareError,
    calibrate,
    fuse_and_rotate,
    prepare,
    quantize,
    text_batches,
)


def batches():
    return [tokens(4, 32, seed) for seed in range(3)]


def test_fusing_and_rotating_leaves_the_function_as_it_was():
    rotated = fuse_and_rotate(float_model())
    before, after = float_model()(tokens()), rotated(tokens())
    assert (before - after).abs().max() < 1e-4 * before.std()
    assert all((block.norm.weight == 1).all() for block in rotated.layers)
    assert (rotated.backbone.norm_f.weight == 1).all()
    assert not torch.equal(rotated.lm_head.weight, rotated.backbone.embeddings.weight)
    assert not torch.equal(rotated.backbone.embeddings.weight, float_model().backbone.embeddings.weight)


def test_the_rotation_is_the_normalized_hadamard_matrix():
    h = hadamard_matrix(48, torch.float64) / 48**0.5
    embedding = float_model().backbone.embeddings.weight.double() @ h.t()
    assert torch.allclose(fuse_and_rotate(float_model()).backbone.embeddings.weight.double(), embedding, atol=1e-6)


def test_the_float_model_is_not_changed():
    before = copy.deepcopy(float_model().state_dict())
    prepare(float_model(), batches()[:1], mode="2-1", progress=False)
    assert all(torch.equal(before[name], x) for name, x in float_model().state_dict().items())


def test_two_preparations_give_the_same_codes():
    first, second = (prepare(float_model(), batches(), mode="2-1", progress=False).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_state_is_what_a_model_needs_and_parameters_use_minus_127_to_127():
    state = small_model().state_dict()
    assert {name: (tuple(x.shape), x.dtype) for name, x in state.items()} == model_shapes(CONFIG)
    for name, x in state.items():
        if x.dtype == torch.int8:
            assert int(x.min()) >= -127
            assert int(x.abs().max()) == 127, name


def test_dequantized_weights_are_within_half_a_code_of_the_rotated_ones():
    rotated, state = fuse_and_rotate(float_model()), small_model().state_dict()
    for index, block in enumerate(rotated.layers):
        for name in ("in_proj", "x_proj", "dt_proj"):
            codes, scale = (state[f"layers.{index}.{name}.{key}"] for key in ("weight", "weight_scale"))
            error = (codes.float() * scale - getattr(block.mixer, name).weight).abs().max()
            assert error <= 0.5001 * scale


def test_scales_cover_what_calibration_saw():
    scales = calibrate(fuse_and_rotate(float_model()), batches(), progress=False)
    state = quantize(fuse_and_rotate(float_model()), scales)
    rotated = fuse_and_rotate(float_model())
    seen = []
    handle = rotated.layers[1].mixer.dt_proj.register_forward_hook(lambda m, a, out: seen.append(out.abs().max()))
    for batch in batches():
        rotated(batch)
    handle.remove()
    assert float(state["layers.1.dt_proj.output_scale"]) == pytest.approx(float(max(seen)) / 127, rel=1e-6)
    shared = [state[f"layers.1.{name}"] for name in ("x_proj.output_scale", "dt_proj.input_scale")]
    assert torch.equal(*shared)
    assert torch.equal(state["layers.1.scan.u_scale"], state["layers.1.conv1d.output_scale"])


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 400), st.floats(0.01, 1.0), st.integers(0, 2**31))
def test_the_percentile_is_torch_s_quantile(n, q, seed):
    x = torch.randn(1, n, generator=torch.Generator().manual_seed(seed))
    observer = Percentile(q)
    observer.update(x)
    assert float(observer.limit) == pytest.approx(float(torch.quantile(x.abs(), q)), rel=1e-5, abs=1e-7)


def test_the_percentile_follows_samples_slowly_and_min_max_at_once():
    slow, fast = Percentile(1.0, momentum=0.01), MinMax()
    for observer in (slow, fast):
        observer.update(torch.tensor([[1.0, -2.0]]))
        observer.update(torch.tensor([[12.0, 3.0], [0.0, -1.0]]))
    assert float(fast.scale()) == pytest.approx(12 / 127)
    after_two = 2.0 + 0.01 * (12.0 - 2.0)
    assert float(slow.limit) == pytest.approx(after_two + 0.01 * (1.0 - after_two))


def test_no_sample_bad_quantile_and_unsupported_models_are_refused():
    with pytest.raises(PrepareError, match="at least one batch"):
        prepare(float_model(), [], mode="2-1", progress=False)
    with pytest.raises(PrepareError, match="quantile=0"):
        Percentile(0.0)
    with_bias = MambaLM(MambaConfig(vocab_size=16, hidden_size=16, num_hidden_layers=1, use_bias=True))
    with pytest.raises(PrepareError, match="use_bias"):
        fuse_and_rotate(with_bias)
    broken = copy.deepcopy(float_model())
    broken.layers[1].mixer.in_proj.weight.data.mul_(1e38)
    with pytest.raises(PrepareError, match="not finite"):
        calibrate(fuse_and_rotate(broken), batches(), progress=False)


def test_a_width_without_a_hadamard_matrix_is_refused():
    odd = MambaLM(MambaConfig(vocab_size=16, hidden_size=36, num_hidden_layers=1)).requires_grad_(False)
    with pytest.raises(ValueError, match="no Hadamard matrix of size 36"):
        prepare(odd, [torch.zeros(1, 4, dtype=torch.int64)], mode="2-1", progress=False)


def shipped_origin():
    return json.loads((DEMO / "quantized" / "config.json").read_text(encoding="utf-8"))["quamba_lab"]


def test_the_shipped_model_was_prepared_from_the_shipped_files():
    """When this fails, run quamba_lab.prepare.prepare_demo()."""
    origin = shipped_origin()
    for key, path in (("source", DEMO / "model" / "model.safetensors"), ("calibration", DEMO / "calibration.txt")):
        assert origin[f"{key}_sha256"] == sha256(path.read_bytes()).hexdigest()
    assert origin["percentile"] == DEMO_PERCENTILE


def test_the_shipped_codes_are_those_of_the_shipped_weights():
    """Weights are rotated in FP64 by a fixed order of additions: the same codes on every machine."""
    shipped = load_model("demo", "2-1").state_dict()
    scales = {"logits:input": shipped["norm_f.scale"]}
    for index in range(8):
        at = f"layers.{index}"
        scales |= {
            f"{at}.in_proj:input": shipped[f"{at}.norm.scale"],
            f"{at}.in_proj:output": shipped[f"{at}.in_proj.output_scale"],
            f"{at}.x_proj:input": shipped[f"{at}.conv1d.output_scale"],
            f"{at}.x_proj:output": shipped[f"{at}.x_proj.output_scale"],
            f"{at}.dt_proj:output": shipped[f"{at}.dt_proj.output_scale"],
            f"{at}.state": shipped[f"{at}.scan.state_scale"],
            f"{at}.out_proj:input": shipped[f"{at}.hadamard.scale"],
        }
    again = quantize(fuse_and_rotate(MambaLM.from_folder(DEMO / "model")), scales)
    assert again.keys() == shipped.keys()
    assert all(torch.equal(x, shipped[name]) for name, x in again.items())


def test_the_shipped_scales_are_those_of_the_shipped_calibration_text():
    """Activation scales follow FP32 sums, whose order is the machine's: equal to a few ulps."""
    lines = (DEMO / "calibration.txt").read_text(encoding="utf-8").splitlines()
    samples = text_batches(lines, load_tokenizer(DEMO / "model"))
    rotated = fuse_and_rotate(MambaLM.from_folder(DEMO / "model"))
    again = quantize(rotated, calibrate(rotated, samples, percentile=DEMO_PERCENTILE, progress=False))
    shipped = load_model("demo", "2-1").state_dict()
    for name, x in again.items():
        if name.endswith("scale"):
            assert float(x) == pytest.approx(float(shipped[name]), rel=1e-4), name
