"""The FP32 model against transformers' MambaForCausalLM, its files, and bad folders."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from quamba_lab.demo import DEMO
from quamba_lab.float_model import MambaConfig, MambaLM, ModelFolderError

transformers = pytest.importorskip("transformers")
SMALL = MambaConfig(vocab_size=60, hidden_size=24, num_hidden_layers=2, state_size=5, conv_kernel=3)


def save(model: MambaLM, folder, half=False):
    (folder / "config.json").write_text(json.dumps(model.config.to_dict()))
    weights = {name: (w.half() if half else w).clone() for name, w in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        del weights["lm_head.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.fixture
def folder(tmp_path):
    save(MambaLM(SMALL).initialize(0), tmp_path)
    return tmp_path


def tokens(vocabulary, length=70, seed=0):
    return torch.randint(0, vocabulary, (2, length), generator=torch.Generator().manual_seed(seed))


def reference(folder):
    return transformers.MambaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def test_shipped_weights_give_the_logits_of_transformers():
    ours, theirs, x = MambaLM.from_folder(DEMO / "model"), reference(DEMO / "model"), tokens(2000)
    with torch.no_grad():
        a, b = ours(x), theirs(x).logits
    assert a.dtype == torch.float32
    assert b.abs().max() > 5  # trained logits, not noise around 0
    assert (a - b).abs().max() < 1e-4


@pytest.mark.parametrize("tied", [True, False])
def test_random_weights_give_the_logits_of_transformers(tmp_path, tied):
    config = MambaConfig(**{**SMALL.__dict__, "tie_word_embeddings": tied, "use_bias": True})
    model = MambaLM(config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.2 * torch.randn(p.shape, generator=generator))
    save(model, tmp_path)
    x = tokens(60, 33)
    with torch.no_grad():
        assert (MambaLM.from_folder(tmp_path)(x) - reference(tmp_path)(x).logits).abs().max() < 1e-4


def test_shipped_model_is_small_and_half_precision():
    weights = load_file(DEMO / "model" / "model.safetensors")
    assert {w.dtype for w in weights.values()} == {torch.float16}
    assert sum(f.stat().st_size for f in (DEMO / "model").glob("*.*")) <= 8_000_000
    config = MambaLM.from_folder(DEMO / "model").config
    assert (config.num_hidden_layers, config.hidden_size, config.state_size, config.conv_kernel) == (8, 192, 16, 4)


def test_the_future_does_not_reach_the_past():
    model = MambaLM(SMALL).initialize(0)
    x = tokens(60, 20)
    changed = x.clone()
    changed[:, 10:] = (x[:, 10:] + 7) % 60
    with torch.no_grad():
        a, b = model(x), model(changed)
    assert torch.equal(a[:, :10], b[:, :10])
    assert not torch.allclose(a[:, 10:], b[:, 10:])


def test_hooks_see_every_stage(folder):
    model, seen = MambaLM.from_folder(folder), {}
    block = model.layers[0]
    stages = {"norm": block.norm, **{n: getattr(block.mixer, n) for n in (
        "in_proj", "conv1d", "x_proj", "dt_proj", "scan", "out_proj")}}  # fmt: skip
    for name, module in stages.items():
        module.register_forward_hook(lambda _, args, out, name=name: seen.update({name: (args, out)}))
    model(tokens(60, 9))
    d, n, r = SMALL.inner_size, SMALL.state_size, SMALL.time_step_rank
    shapes = {name: tuple(out.shape) for name, (_, out) in seen.items() if name != "scan"}
    assert shapes == {
        "norm": (2, 9, 24), "in_proj": (2, 9, 2 * d), "conv1d": (2, d, 9), "x_proj": (2, 9, r + 2 * n),
        "dt_proj": (2, 9, d), "out_proj": (2, 9, 24),
    }  # fmt: skip
    args, (y, last) = seen["scan"]
    expected = [(2, d, 9), (2, d, 9), (d, n), (2, n, 9), (2, n, 9), (d,), (2, d, 9), (d,)]
    assert [tuple(a.shape) for a in args] == expected
    assert (tuple(y.shape), tuple(last.shape)) == ((2, d, 9), (2, d, n))


def test_half_precision_and_shards_and_bin_load_alike(folder, tmp_path_factory):
    x = tokens(60)
    whole = MambaLM.from_folder(folder)
    weights = load_file(folder / "model.safetensors")
    names = sorted(weights)
    sharded, binary = tmp_path_factory.mktemp("sharded"), tmp_path_factory.mktemp("binary")
    for target in (sharded, binary):
        shutil.copy(folder / "config.json", target)
    for i, part in enumerate((names[:9], names[9:])):
        save_file({n: weights[n] for n in part}, sharded / f"part{i}.safetensors")
    index = {"weight_map": {n: f"part{int(i >= 9)}.safetensors" for i, n in enumerate(names)}}
    (sharded / "model.safetensors.index.json").write_text(json.dumps(index))
    # state-spaces' layout: its own configuration, a singular name, the tied head stored
    (binary / "config.json").write_text(json.dumps({
        "d_model": 24, "n_layer": 2, "vocab_size": 58, "pad_vocab_size_multiple": 4,
        "ssm_cfg": {"d_state": 5, "d_conv": 3}, "rms_norm": True,
    }))  # fmt: skip
    stored = {n.replace("embeddings", "embedding"): w for n, w in weights.items()}
    torch.save({**stored, "lm_head.weight": weights["backbone.embeddings.weight"]}, binary / "pytorch_model.bin")
    for other in (sharded, binary):
        assert torch.equal(MambaLM.from_folder(other)(x), whole(x))


def edit_config(folder, **changes):
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**values, **changes}))


def drop_weight(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["backbone.layers.1.mixer.D"]
    save_file(weights, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (shutil.rmtree, "is not a folder"),
        (lambda f: (f / "config.json").unlink(), "config.json does not exist"),
        (lambda f: (f / "config.json").write_text("{"), "is not valid JSON"),
        (lambda f: (f / "config.json").write_text("[1]"), "expected one JSON object"),
        (lambda f: (f / "config.json").write_text('{"vocab_size": 3}'), "lacks hidden_size"),
        (lambda f: edit_config(f, hidden_size=-3), "hidden_size is -3"),
        (lambda f: edit_config(f, hidden_act="relu"), "hidden_act is 'relu'"),
        (lambda f: edit_config(f, hidden_size=32, time_step_rank="auto"), "has shape"),
        (lambda f: edit_config(f, num_hidden_layers=1), "for which there is no place"),
        (lambda f: (f / "model.safetensors").unlink(), "has no weights"),
        (lambda f: (f / "model.safetensors").write_bytes(b"no"), "not a whole safetensors file"),
        (drop_weight, "lacks backbone.layers.1.mixer.D"),
    ],
)
def test_bad_folders_are_explained_in_one_sentence(folder, spoil, says):
    spoil(folder)
    with pytest.raises(ModelFolderError, match=says) as caught:
        MambaLM.from_folder(folder)
    assert "\n" not in str(caught.value)


def test_pickled_code_is_refused(folder):
    (folder / "model.safetensors").unlink()
    torch.save({"w": print}, folder / "pytorch_model.bin")
    with pytest.raises(ModelFolderError, match="holds more than weights"):
        MambaLM.from_folder(folder)
