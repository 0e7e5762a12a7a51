"""Reading a Mamba model's folder: its configuration and its weights, in any of the layouts in use.

    transformers       config.json (hidden_size, ...), model.safetensors, or shards with model.safetensors.index.json
    state-spaces       config.json (d_model, n_layer, ssm_cfg), pytorch_model.bin

Nothing is unpickled: ``.bin`` files are read by ``torch.load(weights_only=True)``.
"""

from __future__ import annotations

import json
import math
import pickle
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from .texts import say

__all__ = ["MambaConfig", "ModelFolderError", "read_config", "read_weights"]

WEIGHT_FILES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")


class ModelFolderError(ValueError):
    """A model's folder that cannot be read: one sentence that names the file, what is wrong and the way out."""


@dataclass(frozen=True)
class MambaConfig:
    """The sizes of a Mamba language model, named as in transformers' ``config.json`` for ``MambaForCausalLM``."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    state_size: int = 16
    conv_kernel: int = 4
    expand: int = 2
    time_step_rank: int = 0
    layer_norm_epsilon: float = 1e-5
    use_bias: bool = False
    use_conv_bias: bool = True
    tie_word_embeddings: bool = True

    def __post_init__(self) -> None:
        if not self.time_step_rank:
            object.__setattr__(self, "time_step_rank", math.ceil(self.hidden_size / 16))
        for name in ("vocab_size", "hidden_size", "num_hidden_layers", "state_size", "conv_kernel", "expand"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ModelFolderError(f"{name} is {value!r}: it must be a whole number of at least 1; see config.json")

    @property
    def inner_size(self) -> int:
        """Inner channels d."""
        return self.expand * self.hidden_size

    @classmethod
    def from_dict(cls, values: dict) -> MambaConfig:
        """From the contents of a ``config.json``, transformers' or state-spaces'; unknown keys are left alone."""
        if "d_model" in values:
            values = _from_state_spaces(values)
        if values.get("hidden_act", "silu") not in ("silu", "swish"):
            raise ModelFolderError(f"hidden_act is {values['hidden_act']!r}: only 'silu' is known; choose such a model")
        names = {field.name for field in fields(cls)}
        chosen = {key: value for key, value in values.items() if key in names}
        if chosen.get("time_step_rank") == "auto":
            del chosen["time_step_rank"]
        lacking = [name for name in ("vocab_size", "hidden_size", "num_hidden_layers") if name not in chosen]
        if lacking:
            raise ModelFolderError(f"config.json lacks {', '.join(lacking)}: take the file that came with the model")
        return cls(**chosen)

    def to_dict(self) -> dict:
        """What transformers' ``MambaForCausalLM`` expects to find in ``config.json``."""
        return {
            "architectures": ["MambaForCausalLM"],
            "model_type": "mamba",
            "torch_dtype": "float16",
            "hidden_act": "silu",
            "intermediate_size": self.inner_size,
            "residual_in_fp32": True,
            "bos_token_id": 0,
            "eos_token_id": 0,
            "pad_token_id": 0,
            **asdict(self),
        }


def _from_state_spaces(values: dict) -> dict:
    ssm = values.get("ssm_cfg") or {}
    if ssm.get("layer", "Mamba1") != "Mamba1":
        raise ModelFolderError(f"ssm_cfg.layer is {ssm['layer']!r}: only Mamba1 is supported; choose a Mamba-1 model")
    multiple = values.get("pad_vocab_size_multiple", 8)
    return {
        "vocab_size": -(-values["vocab_size"] // multiple) * multiple,
        "hidden_size": values["d_model"],
        "num_hidden_layers": values.get("n_layer"),
        "state_size": ssm.get("d_state", 16),
        "conv_kernel": ssm.get("d_conv", 4),
        "expand": ssm.get("expand", 2),
        "time_step_rank": ssm.get("dt_rank", "auto"),
        "tie_word_embeddings": values.get("tie_embeddings", True),
    }


def read_json(path: Path) -> dict:
    """The JSON object in ``path``; raises :class:`ModelFolderError` when there is none."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelFolderError(
            say("{path} does not exist: give a model's folder with config.json and its weights, or 'demo'", path=path)
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ModelFolderError(say(
            "{path} is not valid JSON ({error}): download or write it again", path=path, error=error
        )) from None
    if not isinstance(values, dict):
        raise ModelFolderError(say(
            "{path} holds a {kind}: expected one JSON object; write it again", path=path, kind=type(values).__name__
        ))
    return values


def read_config(folder: Path | str) -> MambaConfig:
    """The configuration in ``folder/config.json``.  Raises :class:`ModelFolderError`."""
    folder = Path(folder)
    if not folder.is_dir():
        raise ModelFolderError(say(
            "{folder} is not a folder: give a model's folder with config.json, or 'demo'", folder=folder
        ))
    return MambaConfig.from_dict(read_json(folder / "config.json"))


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except FileNotFoundError:
        raise ModelFolderError(f"{path} does not exist: the index names it, so download every shard") from None
    except SafetensorError as error:
        raise ModelFolderError(f"{path} is not a whole safetensors file ({error}): download it again") from None


def _read_any(folder: Path) -> tuple[Path, dict[str, Tensor]]:
    whole, index, pickled = (folder / name for name in WEIGHT_FILES)
    if whole.exists():
        return whole, _read_safetensors(whole)
    if index.exists():
        shards = sorted(set(read_json(index).get("weight_map", {}).values()))
        weights: dict[str, Tensor] = {}
        for shard in shards:
            weights.update(_read_safetensors(folder / Path(shard).name))
        return index, weights
    if pickled.exists():
        try:
            return pickled, torch.load(pickled, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ModelFolderError(f"{pickled} holds more than weights ({reason}): convert it to safetensors") from None
    raise ModelFolderError(f"{folder} has no weights: expected {', '.join(WEIGHT_FILES[:-1])} or {WEIGHT_FILES[-1]}")


def read_weights(folder: Path | str, config: MambaConfig, expected: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """The weights of ``folder`` as float32, by transformers' names, checked against ``expected`` (name -> shape).

    Raises :class:`ModelFolderError` naming the first weight that is missing, unknown or of another shape.
    """
    path, stored = _read_any(Path(folder))
    weights = {name.replace("backbone.embedding.weight", "backbone.embeddings.weight"): w for name, w in stored.items()}
    if config.tie_word_embeddings and "backbone.embeddings.weight" in weights:
        weights["lm_head.weight"] = weights["backbone.embeddings.weight"]
    for name, shape in expected.items():
        if name not in weights:
            raise ModelFolderError(f"{path} lacks {name}: config.json promises it; take both from the same model")
        if tuple(weights[name].shape) != shape:
            raise ModelFolderError(
                f"{name} in {path} has shape {tuple(weights[name].shape)} where config.json gives {shape}: "
                "take both from the same model"
            )
    unknown = sorted(set(weights) - set(expected))
    if unknown:
        raise ModelFolderError(f"{path} has {unknown[0]}, for which there is no place: choose a Mamba-1 model")
    return {name: weights[name].float() for name in expected}
