"""The published quantized checkpoints, ``ut-enyac/quamba-130m-w8a8`` and its relatives, in and out.

Names and meanings from enyac-group/Quamba (state of 2025-06), ``quamba/qMambaLayer.py``, ``qLinearLayer.py``,
``qConvLayer.py``, ``qSelectiveScan.py``, ``qHadamard.py``, ``qNorm.py`` and ``qEmbedding.py``:

    a projection holds its weight as (inputs, outputs padded to 16), a = s_in / s_out (s_in where FP16 comes out),
    b = s_w, and alpha = s_w·s_in / s_out; the scales themselves stand in its neighbours
    scan parameters are codes with FP32 scales; u, dt, B, C and z bring their scales along
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .float_weights import MambaConfig
from .model import ModelError
from .sites import scalar

__all__ = ["from_quamba", "is_quamba", "to_quamba"]

LAYER_CLASS = "W8A8QMamba"
PADDING = 16
"""The published layer pads the outputs of a projection to a multiple of this."""


def is_quamba(config: Mapping[str, Any]) -> bool:
    """Whether a ``config.json`` is of a published W8A8 checkpoint."""
    return (config.get("ssm_cfg") or {}).get("layer") == LAYER_CLASS


class _Reader:
    """Takes tensors out of a stored state by name, checking shapes, and says what was left over."""

    def __init__(self, stored: Mapping[str, Any], where: str):
        self._stored = dict(stored)
        self._where = where

    def take(self, name: str) -> Any:
        if name not in self._stored:
            raise ModelError(f"{self._where} lacks {name}: it is no complete W8A8 Quamba checkpoint; download it again")
        return self._stored.pop(name)

    def tensor(self, name: str, shape: tuple[int, ...], dtype: torch.dtype = torch.int8) -> Tensor:
        tensor = self.take(name)
        if not isinstance(tensor, Tensor) or tuple(tensor.shape) != shape or tensor.dtype != dtype:
            got = f"{tensor.dtype} {tuple(tensor.shape)}" if isinstance(tensor, Tensor) else type(tensor).__name__
            raise ModelError(f"{name} in {self._where} is {got}: expected {dtype} {shape}; take it from the same model")
        return tensor.contiguous()

    def scale(self, name: str) -> Tensor:
        value = self.take(name)
        if isinstance(value, Tensor) and value.numel() != 1:
            raise ModelError(f"{name} in {self._where} has shape {tuple(value.shape)}: expected one scale per tensor")
        return scalar(value)

    def weight(self, name: str, outputs: int, inputs: int) -> Tensor:
        padded = outputs + -outputs % PADDING
        return self.tensor(name, (inputs, padded)).t()[:outputs].contiguous()

    def fused_norm(self, name: str, size: int) -> None:
        weight = self.take(name)
        if tuple(weight.shape) != (size,) or not bool((weight == 1).all()):
            raise ModelError(f"{name} in {self._where} is not all ones: its norms are not fused, prepare it again")

    def agree(self, what: str, first: Tensor, second: Tensor) -> None:
        if not torch.equal(first, second):
            raise ModelError(
                f"{what} in {self._where} is {float(first):.9g} where its neighbours give {float(second):.9g}: "
                "the checkpoint contradicts itself, download it again"
            )

    def finish(self) -> None:
        if self._stored:
            raise ModelError(f"{self._where} has {sorted(self._stored)[0]}, which a W8A8 Mamba has no place for")

    def projection(self, name: str, outputs: int, inputs: int, s_in: Tensor, s_out: Tensor | None) -> dict[str, Tensor]:
        """weight and weight_scale; checks that a and alpha follow from the neighbours' scales."""
        weight, s_w = self.weight(f"{name}.weight", outputs, inputs), self.scale(f"{name}.b")
        divisor = 1.0 if s_out is None else float(s_out)
        self.agree(f"{name}.a", self.scale(f"{name}.a"), scalar(float(s_in) / divisor))
        self.agree(f"{name}.alpha", self.scale(f"{name}.alpha"), s_w * s_in / scalar(divisor))
        return {"weight": weight, "weight_scale": s_w, "input_scale": s_in}


def from_quamba(config: MambaConfig, stored: Mapping[str, Any], where: str) -> dict[str, Tensor]:
    """The stored state of a published W8A8 checkpoint -> our state (names of ``model_shapes``).

    A W8 embedding is dequantized to the FP16 table that its look-up would give.  Raises :class:`ModelError` naming
    ``where``, the entry, and what was expected and found.
    """
    read = _Reader(stored, where)
    v, m, d, n = config.vocab_size, config.hidden_size, config.inner_size, config.state_size
    r, k = config.time_step_rank, config.conv_kernel
    state: dict[str, Tensor] = {}
    if "backbone.embedding.scales" in stored:
        codes = read.tensor("backbone.embedding.weight", (v, m))
        scales = read.tensor("backbone.embedding.scales", (v,), torch.float16)
        state["embedding.weight"] = scales[:, None] * codes.half()
    else:
        state["embedding.weight"] = read.tensor("backbone.embedding.weight", (v, m), torch.float16)
    for index in range(config.num_hidden_layers):
        at, out = f"backbone.layers.{index}", f"layers.{index}"
        mixer, scan = f"{at}.mixer", f"{at}.mixer.selective_scan"
        read.fused_norm(f"{at}.norm.weight", m)
        norm, conv_in = read.scale(f"{at}.norm.output_scale"), read.scale(f"{mixer}.conv1d.input_scale")
        conv_out = read.scale(f"{mixer}.conv1d.output_scale")
        dt, B = read.scale(f"{scan}.dt_scale"), read.scale(f"{scan}.B_scale")
        read.agree(f"{scan}.C_scale", read.scale(f"{scan}.C_scale"), B)
        read.agree(f"{scan}.z_scale", read.scale(f"{scan}.z_scale"), conv_in)
        had = read.scale(f"{mixer}.had.x_H_scale")
        projections = {
            "in_proj": (2 * d, m, norm, conv_in), "x_proj": (r + 2 * n, d, conv_out, B), "dt_proj": (d, r, B, dt),
            "out_proj": (m, d, had, None),
        }  # fmt: skip
        for name, (outputs, inputs, s_in, s_out) in projections.items():
            for key, tensor in read.projection(f"{mixer}.{name}", outputs, inputs, s_in, s_out).items():
                state[f"{out}.{name}.{key}"] = tensor
            if s_out is not None:
                state[f"{out}.{name}.output_scale"] = s_out
        state |= {
            f"{out}.norm.scale": norm,
            f"{out}.conv1d.weight": read.tensor(f"{mixer}.conv1d.weight", (d, k)),
            f"{out}.conv1d.weight_scale": read.scale(f"{mixer}.conv1d.weight_scale"),
            f"{out}.conv1d.output_scale": conv_out,
            f"{out}.scan.A_log": read.tensor(f"{scan}.A_log", (d, n)),
            f"{out}.scan.A_log_scale": read.scale(f"{scan}.A_scale"),
            f"{out}.scan.state_scale": read.scale(f"{scan}.ssm_state_scale"),
            f"{out}.scan.u_scale": read.scale(f"{scan}.u_scale"),
            f"{out}.hadamard.scale": had,
        }
        for name in ("D", "dt_bias"):
            state[f"{out}.scan.{name}"] = read.tensor(f"{scan}.{name}", (d,))
            state[f"{out}.scan.{name}_scale"] = read.scale(f"{scan}.{name}_scale")
        bias_scale = read.scale(f"{mixer}.conv1d.bias_scale")
        if config.use_conv_bias:
            state[f"{out}.conv1d.bias"] = read.tensor(f"{mixer}.conv1d.bias", (d,))
            state[f"{out}.conv1d.bias_scale"] = bias_scale
    read.fused_norm("backbone.norm_f.weight", m)
    state["norm_f.scale"] = read.scale("backbone.norm_f.output_scale")
    for key, tensor in read.projection("lm_head", v, m, state["norm_f.scale"], None).items():
        state[f"logits.{key}"] = tensor
    read.finish()
    return state


def to_quamba(config: MambaConfig, state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Our state in the published layout, as ``torch.save`` would find it there (scales as Python floats or tensors)."""
    stored: dict[str, Any] = {"backbone.embedding.weight": state["embedding.weight"]}

    def projection(source: str, target: str) -> None:
        weight, s_w, s_in = (state[f"{source}.{key}"] for key in ("weight", "weight_scale", "input_scale"))
        s_out = state.get(f"{source}.output_scale", torch.tensor(1.0))
        padding = (0, 0, 0, -weight.shape[0] % PADDING)
        stored[f"{target}.weight"] = torch.nn.functional.pad(weight, padding).t()
        stored[f"{target}.a"] = scalar(float(s_in) / float(s_out)).reshape(1, 1)
        stored[f"{target}.b"] = s_w.reshape(1, 1)
        stored[f"{target}.alpha"] = float(s_w * s_in / s_out)

    ones = torch.ones(config.hidden_size, dtype=torch.float16)
    for index in range(config.num_hidden_layers):
        at, out = f"layers.{index}", f"backbone.layers.{index}"
        mixer, scan = f"{out}.mixer", f"{out}.mixer.selective_scan"
        for name in ("in_proj", "x_proj", "dt_proj", "out_proj"):
            projection(f"{at}.{name}", f"{mixer}.{name}")
        stored |= {
            f"{out}.norm.weight": ones,
            f"{out}.norm.output_scale": float(state[f"{at}.norm.scale"]),
            f"{mixer}.conv1d.weight": state[f"{at}.conv1d.weight"],
            f"{mixer}.conv1d.weight_scale": float(state[f"{at}.conv1d.weight_scale"]),
            f"{mixer}.conv1d.bias_scale": float(state.get(f"{at}.conv1d.bias_scale", 1.0)),
            f"{mixer}.conv1d.input_scale": float(state[f"{at}.in_proj.output_scale"]),
            f"{mixer}.conv1d.output_scale": float(state[f"{at}.conv1d.output_scale"]),
            f"{mixer}.had.x_H_scale": float(state[f"{at}.hadamard.scale"]),
            f"{scan}.A_log": state[f"{at}.scan.A_log"],
            f"{scan}.A_scale": state[f"{at}.scan.A_log_scale"],
            f"{scan}.u_scale": state[f"{at}.scan.u_scale"],
            f"{scan}.dt_scale": state[f"{at}.dt_proj.output_scale"],
            f"{scan}.B_scale": state[f"{at}.x_proj.output_scale"],
            f"{scan}.C_scale": state[f"{at}.x_proj.output_scale"],
            f"{scan}.z_scale": state[f"{at}.in_proj.output_scale"],
            f"{scan}.ssm_state_scale": state[f"{at}.scan.state_scale"],
        }
        for name in ("D", "dt_bias"):
            stored[f"{scan}.{name}"] = state[f"{at}.scan.{name}"]
            stored[f"{scan}.{name}_scale"] = state[f"{at}.scan.{name}_scale"]
        if f"{at}.conv1d.bias" in state:
            stored[f"{mixer}.conv1d.bias"] = state[f"{at}.conv1d.bias"]
    stored |= {"backbone.norm_f.weight": ones, "backbone.norm_f.output_scale": float(state["norm_f.scale"])}
    projection("logits", "lm_head")
    return stored
