"""Quantized models on disk: ours, and the published layout."""

import json
import time

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_model import CONFIG, float_model, small_model, tokens

from quamba_lab import load_model
from quamba_lab.checkpoint import save_model
from quamba_lab.demo import DEMO
from quamba_lab.prepare import prepare_folder
from quamba_lab.quamba_format import from_quamba, to_quamba


@pytest.fixture
def folder(tmp_path):
    save_model(small_model(), tmp_path / "model", {"note": "test"})
    return tmp_path / "model"


def test_what_is_saved_is_loaded(folder):
    loaded = load_model(folder, "2-1")
    assert torch.equal(loaded(tokens()), small_model().with_mode("2-1")(tokens()))
    assert (loaded.name, loaded.mode.name, loaded.config) == ("model", "2-1", CONFIG)
    assert json.loads((folder / "config.json").read_text())["quamba_lab"]["note"] == "test"
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "quantized.safetensors"]


def test_saving_twice_gives_the_same_bytes(folder, tmp_path):
    save_model(small_model().with_mode("2-4"), tmp_path / "again", {"note": "test"})
    for name in ("config.json", "quantized.safetensors"):
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_the_environment_selects_the_mode_when_none_is_given(folder, monkeypatch):
    monkeypatch.setenv("CONV1D_MODE3_FP32", "true")
    assert load_model(folder).mode.name == "3"
    assert load_model(folder, "2-2").mode.name == "2-2"
    monkeypatch.setenv("FP32_SSM_INPUT", "true")
    with pytest.raises(ValueError, match="FP32_SSM_INPUT"):
        load_model(folder)


def test_the_demo_loads_in_well_under_two_seconds_and_answers():
    load_model("demo", "2-1")
    start = time.perf_counter()
    model = load_model("demo", "2-1")
    assert time.perf_counter() - start < 2.0
    assert model.tokenizer is not None
    text = (DEMO / "calibration.txt").read_text(encoding="utf-8").partition("\n")[0]
    logits = model(torch.tensor([model.tokenizer.encode(text).ids]))
    assert logits.shape[2] == model.config.vocab_size == model.tokenizer.get_vocab_size()
    assert torch.isfinite(logits).all()


def rewrite(folder, change):
    path = folder / "quantized.safetensors"
    state = load_file(path)
    change(state)
    save_file(state, path)


def test_a_missing_tensor_names_file_key_and_what_was_expected(folder):
    rewrite(folder, lambda state: state.pop("layers.2.in_proj.weight"))
    with pytest.raises(ValueError, match=r"quantized\.safetensors lacks layers\.2\.in_proj\.weight.*int8 \(192, 48\)"):
        load_model(folder, "2-1")


def test_a_wrong_shape_names_file_key_expected_and_found(folder):
    rewrite(folder, lambda state: state.update({"layers.0.scan.A_log": torch.zeros(96, 8, dtype=torch.int8)}))
    message = r"layers\.0\.scan\.A_log in .*quantized\.safetensors is torch\.int8 \(96, 8\).*\(96, 16\)"
    with pytest.raises(ValueError, match=message):
        load_model(folder, "2-1")


def test_an_unknown_tensor_is_refused(folder):
    rewrite(folder, lambda state: state.update({"extra": torch.zeros(1)}))
    with pytest.raises(ValueError, match="has extra"):
        load_model(folder, "2-1")


def test_folders_and_files_that_are_not_there(folder, tmp_path):
    with pytest.raises(ValueError, match="nowhere is not a folder"):
        load_model(tmp_path / "nowhere", "2-1")
    (folder / "quantized.safetensors").unlink()
    with pytest.raises(ValueError, match=r"quantized\.safetensors does not exist"):
        load_model(folder, "2-1")
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match="not valid JSON"):
        load_model(folder, "2-1")


def test_a_truncated_file_and_a_future_format_are_refused(folder):
    path = folder / "quantized.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        load_model(folder, "2-1")
    config = json.loads((folder / "config.json").read_text())
    config["quamba_lab"]["format"] = 99
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="format 99"):
        load_model(folder, "2-1")


def write_float(folder):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG.to_dict()))
    save_file({k: v.clone() for k, v in float_model().state_dict().items() if k != "lm_head.weight"},
              folder / "model.safetensors")  # fmt: skip


def test_a_float_model_must_be_quantized_first(tmp_path):
    write_float(tmp_path / "float")
    with pytest.raises(ValueError, match=r"not quantized.*prepare_folder"):
        load_model(tmp_path / "float", "2-1")


def test_prepare_folder_writes_a_model_that_loads(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers

    write_float(tmp_path / "float")
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(80)}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.save(str(tmp_path / "float" / "tokenizer.json"))
    with pytest.raises(ValueError, match="is not a file"):
        prepare_folder(tmp_path / "float", tmp_path / "out", tmp_path / "text", progress=False)
    (tmp_path / "text").write_text("w1 w2 w3 w4\n\nw5 w6 w7 w8\nw9 w10\n")
    made = prepare_folder(tmp_path / "float", tmp_path / "out", tmp_path / "text", progress=False)
    loaded = load_model(tmp_path / "out", "2-1")
    assert loaded.tokenizer.encode("w7 w9").ids == [7, 9]
    assert torch.equal(loaded(tokens()), made.with_mode("2-1")(tokens()))
    (tmp_path / "float" / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match="no tokenizer"):
        prepare_folder(tmp_path / "float", tmp_path / "out", tmp_path / "text", progress=False)


def published_config():
    return {
        "d_model": CONFIG.hidden_size, "n_layer": CONFIG.num_hidden_layers, "vocab_size": CONFIG.vocab_size,
        "ssm_cfg": {"layer": "W8A8QMamba"}, "pad_vocab_size_multiple": 8, "rms_norm": True, "residual_in_fp32": True,
        "norm_cfg": {"norm": "QRMSNorm"}, "tie_embeddings": False,
    }  # fmt: skip


def write_published(folder, change=lambda stored: None, config=None):
    folder.mkdir(exist_ok=True)
    stored = to_quamba(CONFIG, small_model().state_dict())
    change(stored)
    torch.save(stored, folder / "pytorch_model.bin")
    (folder / "config.json").write_text(json.dumps(config or published_config()))


def test_a_published_checkpoint_gives_the_same_model(tmp_path):
    write_published(tmp_path / "quamba")
    stored = torch.load(tmp_path / "quamba" / "pytorch_model.bin", weights_only=True)
    assert stored["backbone.layers.0.mixer.x_proj.weight"].shape == (96, 48)  # (inputs, 35 outputs padded to 48)
    assert isinstance(stored["backbone.layers.0.mixer.in_proj.alpha"], float)
    loaded = load_model(tmp_path / "quamba", "2-1")
    mine = small_model().state_dict()
    assert all(torch.equal(mine[name], x) for name, x in loaded.state_dict().items())
    assert torch.equal(loaded(tokens()), small_model().with_mode("2-1")(tokens()))


def test_a_w8_embedding_becomes_its_half_precision_table():
    stored = to_quamba(CONFIG, small_model().state_dict())
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(-128, 128, (80, 48), dtype=torch.int8, generator=generator)
    scales = torch.rand(80, generator=generator).half()
    stored |= {"backbone.embedding.weight": codes, "backbone.embedding.scales": scales}
    table = from_quamba(CONFIG, stored, "here")["embedding.weight"]
    assert torch.equal(table, codes.half() * scales[:, None])


@pytest.mark.parametrize(("key", "value", "message"), [
    ("backbone.layers.1.mixer.in_proj.weight", None, r"lacks backbone\.layers\.1\.mixer\.in_proj\.weight"),
    ("backbone.layers.1.mixer.had.x_H_scale", None, "x_H_scale"),
    ("backbone.layers.1.mixer.conv1d.weight", torch.zeros(96, 3, dtype=torch.int8), r"\(96, 3\).*\(96, 4\)"),
    ("backbone.layers.1.mixer.out_proj.alpha", 0.5, "out_proj.alpha .* contradicts itself"),
    ("backbone.layers.1.mixer.x_proj.a", torch.ones(1, 1), "x_proj.a .* contradicts itself"),
    ("backbone.layers.1.norm.weight", torch.full((48,), 2.0).half(), "norms are not fused"),
    ("backbone.layers.1.mlp.weight", torch.ones(1), "no place for"),
    ("lm_head.b", torch.ones(2, 1), "one scale per tensor"),
])  # fmt: skip
def test_a_wrong_published_checkpoint_names_file_and_entry(tmp_path, key, value, message):
    def change(stored):
        stored.pop(key, None)
        if value is not None:
            stored[key] = value

    write_published(tmp_path / "quamba", change)
    with pytest.raises(ValueError, match=message) as error:
        load_model(tmp_path / "quamba", "2-1")
    assert "pytorch_model.bin" in str(error.value)


def test_a_published_checkpoint_is_never_unpickled(tmp_path):
    write_published(tmp_path / "quamba", lambda stored: stored.update({"evil": Evil()}))
    with pytest.raises(ValueError, match=r"pytorch_model\.bin holds more than tensors"):
        load_model(tmp_path / "quamba", "2-1")
    (tmp_path / "quamba" / "pytorch_model.bin").unlink()
    with pytest.raises(ValueError, match=r"pytorch_model\.bin does not exist"):
        load_model(tmp_path / "quamba", "2-1")


class Evil:
    def __reduce__(self):
        return (print, ("unpickled",))
