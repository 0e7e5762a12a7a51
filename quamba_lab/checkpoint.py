"""Quantized models on disk.

    ours        config.json (transformers' keys, and "quamba_lab"), quantized.safetensors, perhaps tokenizer.json
    published   config.json with ssm_cfg.layer = W8A8QMamba, pytorch_model.bin; see :mod:`quamba_lab.quamba_format`

Float models, in transformers' or state-spaces' layout, are read by ``MambaLM.from_folder`` and become quantized ones by
:func:`quamba_lab.prepare.prepare`.  Nothing is unpickled.
"""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes

from .demo import DEMO
from .files import write_bytes, write_text
from .float_weights import MambaConfig, ModelFolderError, read_json
from .model import ModelError, QuantizedMamba, check_state
from .modes import Mode
from .quamba_format import from_quamba, is_quamba
from .texts import say

__all__ = ["FORMAT", "load_model", "load_tokenizer", "save_model"]

FORMAT = 1
TENSORS, CONFIG, TOKENIZER, PUBLISHED_TENSORS = (
    "quantized.safetensors", "config.json", "tokenizer.json", "pytorch_model.bin",
)  # fmt: skip


def save_model(model: QuantizedMamba, folder: Path | str, origin: dict[str, Any] | None = None) -> None:
    """Write ``model`` to ``folder``, each file whole or not at all, config.json last.

    ``origin``: anything JSON-ready worth keeping about where the model comes from.  The mode and the rounding sites are
    ways to run a model, not parts of it, and are not written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.contiguous().cpu() for name, tensor in model.state_dict().items()}
    write_bytes(folder / TENSORS, to_bytes(tensors))
    if model.tokenizer is not None:
        write_text(folder / TOKENIZER, model.tokenizer.to_str())
    described = model.config.to_dict() | {"quamba_lab": {"format": FORMAT, "weights": "W8A8", **(origin or {})}}
    write_text(folder / CONFIG, json.dumps(described, indent=2, sort_keys=True) + "\n")


def load_model(
    model: str | Path = "demo", mode: str | Mode | None = None, device: torch.device | str = "cpu"
) -> QuantizedMamba:
    """The shipped model (``"demo"``) or the quantized model in a folder, in ``mode``.

    A mode that is given decides; without one the plan's environment flags do, and without those it is mode 0.
    Raises a ``ValueError`` that names the folder, file or tensor that is wrong, what was expected, and the way out.
    """
    demo = str(model) == "demo" and not Path(model).is_dir()
    folder = DEMO / "quantized" if demo else Path(model)
    if not folder.is_dir():
        raise ModelFolderError(say(
            "{folder} is not a folder: give 'demo' or the folder of a quantized model", folder=folder
        ))
    described = read_json(folder / CONFIG)
    if "quamba_lab" in described:
        config, state = _read_ours(folder, described)
    elif is_quamba(described):
        config, state = _read_published(folder, described)
    else:
        raise ModelFolderError(
            say(
                "{folder} holds a model that is not quantized: quantize it first, with "
                "quamba_lab.prepare.prepare_folder",
                folder=folder
            )
        )
    tokenizer = load_tokenizer(DEMO / "model" if demo else folder)
    loaded = QuantizedMamba(config, state, mode, tokenizer=tokenizer, name="demo" if demo else folder.name)
    return loaded.to(device)


def load_tokenizer(folder: Path) -> Any:
    """The ``tokenizers.Tokenizer`` of ``folder/tokenizer.json``, or None when there is no such file."""
    from tokenizers import Tokenizer

    path = folder / TOKENIZER
    if not path.exists():
        return None
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises plain Exception
        raise ModelFolderError(f"{path} is not a tokenizer ({error}): take the one that came with the model") from None


def _read_ours(folder: Path, described: dict) -> tuple[MambaConfig, dict]:
    found = described["quamba_lab"].get("format")
    if found != FORMAT:
        raise ModelFolderError(f"{folder / CONFIG} has format {found!r}: this version reads {FORMAT}; prepare it again")
    path = folder / TENSORS
    try:
        state = load_file(path)
    except FileNotFoundError:
        raise ModelFolderError(f"{path} does not exist: {CONFIG} promises it; prepare the model again") from None
    except SafetensorError as error:
        raise ModelFolderError(f"{path} is not a whole safetensors file ({error}): prepare the model again") from None
    config = MambaConfig.from_dict(described)
    check_state(config, state, str(path))
    return config, state


def _read_published(folder: Path, described: dict) -> tuple[MambaConfig, dict]:
    path = folder / PUBLISHED_TENSORS
    # The layer's class stands where a float model names Mamba1; the sizes are in the usual places.
    plain = described | {"ssm_cfg": {**described["ssm_cfg"], "layer": "Mamba1"}}
    config = MambaConfig.from_dict(plain)
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ModelFolderError(f"{path} does not exist: download the checkpoint's {PUBLISHED_TENSORS}") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelFolderError(f"{path} holds more than tensors and numbers ({reason}): download it again") from None
    if not isinstance(stored, dict):
        raise ModelError(f"{path} holds a {type(stored).__name__}: expected a state dict; download it again")
    return config, from_quamba(config, stored, str(path))
