"""A language model of quantized Mamba layers.

    model = load_model("demo")                  mode 0, or what the plan's environment flags select
    other = model.with_mode("2-1")              a view: same tensors, other parts
    logits = other(tokens)                      float32 (b, l, v)

Free run: ``model(tokens)``.  Lockstep: ``inputs = model.layer_inputs(tokens)`` of one mode, then
``other.run_layer(i, *inputs[i])`` of another.  Shapes: b batch, l sequence, m model channels, v vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .float_weights import MambaConfig
from .layer import LayerCache, LayerSizes, QuantizedLayer, layer_shapes
from .modes import Mode, resolve_mode
from .norm import QuantizedRMSNorm, Residual
from .projections import Projection
from .scans import ScanInputs
from .sites import PUBLISHED, RequantizationSite
from .witness import Recorder, Witness

__all__ = ["ModelError", "QuantizedMamba", "load_model", "model_shapes", "sizes_of"]


class ModelError(ValueError):
    """Tokens, a layer or a state that the model cannot take: one sentence with what it can."""


def sizes_of(config: MambaConfig) -> LayerSizes:
    """A layer's sizes under ``config``."""
    return LayerSizes(
        config.hidden_size, config.inner_size, config.state_size, config.time_step_rank, config.conv_kernel,
        config.layer_norm_epsilon,
    )  # fmt: skip


def model_shapes(config: MambaConfig) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    """Every tensor of a model's state: name -> (shape, dtype)."""
    v, m = config.vocab_size, config.hidden_size
    shapes: dict[str, tuple[tuple[int, ...], torch.dtype]] = {"embedding.weight": ((v, m), torch.float16)}
    for index in range(config.num_hidden_layers):
        for name, what in layer_shapes(sizes_of(config)).items():
            if config.use_conv_bias or not name.startswith("conv1d.bias"):
                shapes[f"layers.{index}.{name}"] = what
    shapes |= {"norm_f.scale": ((), torch.float32), "logits.weight": ((v, m), torch.int8)}
    return shapes | {f"logits.{name}": ((), torch.float32) for name in ("weight_scale", "input_scale")}


class Embedding(nn.Module):
    """Tokens (b, l) -> FP16 (b, l, m)."""

    def __init__(self, weight: Tensor):
        super().__init__()
        self.register_buffer("weight", weight)

    def forward(self, tokens: Tensor) -> Tensor:
        return nn.functional.embedding(tokens, self.weight)


class Logits(Projection):
    """The W8A8 lm_head: FP16 out, as published, handed on as FP32 (b, l, v)."""

    held_as = torch.float32


class QuantizedMamba(nn.Module):
    """The model of ``config`` with the tensors of ``state`` (names of :func:`model_shapes`), run as ``mode`` says.

    ``sites``: the rounding sites, the published ones by default.  ``tokenizer``: a ``tokenizers.Tokenizer`` or None.
    Raises :class:`ModelError` for a state whose tensors do not fit the configuration.
    """

    def __init__(
        self,
        config: MambaConfig,
        state: Mapping[str, Tensor],
        mode: str | Mode | None = None,
        *,
        sites: Mapping[str, RequantizationSite] = PUBLISHED,
        tokenizer: Any = None,
        name: str = "",
    ):
        super().__init__()
        check_state(config, state)
        self.config = config
        self.mode = resolve_mode(mode)
        self.sites = dict(sites)
        self.tokenizer = tokenizer
        self.name = name
        self.embedding = Embedding(state["embedding.weight"])
        self.layers = nn.ModuleList(
            QuantizedLayer(sizes_of(config), _below(state, f"layers.{index}."), self.mode, self.sites)
            for index in range(config.num_hidden_layers)
        )
        self.residual = Residual()
        self.norm_f = QuantizedRMSNorm(self.sites["norm"], state["norm_f.scale"], config.layer_norm_epsilon)
        scales = (state["logits.weight_scale"], state["logits.input_scale"], None)
        self.logits = Logits("logits", self.sites, state["logits.weight"], *scales)
        self._recorder = Recorder(self.layers)
        self.eval()

    @property
    def device(self) -> torch.device:
        return self.embedding.weight.device

    def with_mode(self, mode: str | Mode | None) -> QuantizedMamba:
        """The same tensors run in another mode; ``self`` is not changed.  None asks the environment flags."""
        return self._view(resolve_mode(mode), self.sites)

    def with_scan(self, scan: str) -> QuantizedMamba:
        """The same mode with another registered scan."""
        return self.with_mode(self.mode.with_scan(scan))

    def with_sites(self, **sites: RequantizationSite) -> QuantizedMamba:
        """The same mode with other rounding sites, by name.

        ``model.with_sites(hadamard=PUBLISHED["hadamard"].with_rule(AWAY_SATURATE))`` clamps the Hadamard's codes;
        names with a slash are passed as ``**{"in_proj/rows": site}``.  Raises :class:`ModelError` for an unknown name.
        """
        unknown = sorted(set(sites) - set(self.sites))
        if unknown:
            raise ModelError(f"unknown rounding site {unknown[0]!r}: choose among {', '.join(self.sites)}")
        return self._view(self.mode, self.sites | sites)

    @torch.no_grad()
    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (b, l) int64 -> logits float32 (b, l, v).  Raises :class:`ModelError` for anything else."""
        return self.run_from(0, *self.embed(tokens))

    @torch.no_grad()
    def embed(self, tokens: Tensor) -> tuple[Tensor, None]:
        """The input of layer 0: FP16 (b, l, m), and no residual stream yet."""
        self._check_tokens(tokens, dims=2)
        return self.embedding(tokens.to(self.device)), None

    @torch.no_grad()
    def run_layer(self, layer: int, hidden: Tensor, residual: Tensor | None) -> tuple[Tensor, Tensor]:
        """One layer alone, on any input: FP16 (b, l, m) and FP32 (b, l, m) or None -> the same, one layer on."""
        return self.layers[self._check_layer(layer)](hidden, residual)

    @torch.no_grad()
    def run_from(self, layer: int, hidden: Tensor, residual: Tensor | None) -> Tensor:
        """The logits, from the input of ``layer`` on; ``layer`` may be the number of layers: only the head is left."""
        if not 0 <= layer <= len(self.layers):
            raise ModelError(f"layer {layer} is out of range: start at 0 to {len(self.layers)}")
        for part in self.layers[layer:]:
            hidden, residual = part(hidden, residual)
        return self.logits(self.norm_f(self.residual(hidden, residual)))

    @torch.no_grad()
    def layer_inputs(self, tokens: Tensor) -> list[tuple[Tensor, Tensor | None]]:
        """(hidden, residual) as each layer receives them, and last what the head receives: layers + 1 pairs."""
        pairs: list[tuple[Tensor, Tensor | None]] = [self.embed(tokens)]
        for part in self.layers:
            pairs.append(part(*pairs[-1]))
        return pairs

    @torch.no_grad()
    def scan_inputs(self, tokens: Tensor, layer: int) -> ScanInputs:
        """What the scan of ``layer`` receives in this mode's free run."""
        layer = self._check_layer(layer)
        hidden, residual = self.embed(tokens)
        for part in self.layers[:layer]:
            hidden, residual = part(hidden, residual)
        return self.layers[layer].scan_inputs(hidden, residual)

    @torch.no_grad()
    def prefill(self, tokens: Tensor) -> tuple[Tensor, list[LayerCache]]:
        """Tokens (b, l) -> logits (b, l, v) and the caches with which :meth:`decode` goes on."""
        hidden, residual = self.embed(tokens)
        caches = []
        for part in self.layers:
            hidden, residual, cache = part.prefill(hidden, residual)
            caches.append(cache)
        return self.logits(self.norm_f(self.residual(hidden, residual))), caches

    @torch.no_grad()
    def decode(self, token: Tensor, caches: list[LayerCache]) -> tuple[Tensor, list[LayerCache]]:
        """One more token per item (b,) -> logits (b, v) and the new caches; the given ones are not changed."""
        self._check_tokens(token, dims=1)
        hidden, residual, updated = self.embedding(token.to(self.device)), None, []
        for part, cache in zip(self.layers, caches, strict=True):
            hidden, residual, cache = part.step(hidden, residual, cache)
            updated.append(cache)
        return self.logits.step(self.norm_f(self.residual(hidden, residual))), updated

    def witness(self) -> Witness:
        """What really ran at each layer in the last forward.  Raises ``ValueError`` before the first."""
        return self._recorder.witness(self.mode.name, self.mode.environment)

    def _view(self, mode: Mode, sites: Mapping[str, RequantizationSite]) -> QuantizedMamba:
        return QuantizedMamba(
            self.config, self.state_dict(), mode, sites=sites, tokenizer=self.tokenizer, name=self.name
        )

    def _check_layer(self, layer: int) -> int:
        count = len(self.layers)
        if not -count <= layer < count:
            raise ModelError(f"layer {layer} is out of range: the model has {count}, 0 to {count - 1}")
        return layer % count

    def _check_tokens(self, tokens: Tensor, dims: int) -> None:
        shape = "(b, l)" if dims == 2 else "(b,)"
        if not isinstance(tokens, Tensor) or tokens.dim() != dims or tokens.dtype not in (torch.int64, torch.int32):
            got = f"{tokens.dtype} {tuple(tokens.shape)}" if isinstance(tokens, Tensor) else type(tokens).__name__
            raise ModelError(f"tokens are {got}: pass an int64 tensor of shape {shape}")
        if not tokens.numel():
            raise ModelError(f"tokens have shape {tuple(tokens.shape)}: give at least one item of at least one token")
        low, high = int(tokens.min()), int(tokens.max())
        if low < 0 or high >= self.config.vocab_size:
            wrong = low if low < 0 else high
            raise ModelError(f"token {wrong} is out of range: the vocabulary has 0 to {self.config.vocab_size - 1}")


def _below(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) :]: tensor for name, tensor in state.items() if name.startswith(prefix)}


def check_state(config: MambaConfig, state: Mapping[str, Tensor], where: str = "the state") -> None:
    """Raise :class:`ModelError` naming the first tensor of ``state`` that is missing, unknown or of another kind."""
    expected = model_shapes(config)
    for name, (shape, dtype) in expected.items():
        if name not in state:
            raise ModelError(f"{where} lacks {name}: its config.json promises {dtype} {shape}; prepare the model again")
        tensor = state[name]
        if tuple(tensor.shape) != shape or tensor.dtype != dtype:
            raise ModelError(
                f"{name} in {where} is {tensor.dtype} {tuple(tensor.shape)} where config.json gives {dtype} {shape}: "
                "prepare the model again, or take both files from the same model"
            )
    unknown = sorted(set(state) - set(expected))
    if unknown:
        raise ModelError(f"{where} has {unknown[0]}, which this model has no place for: take both files from one model")


def load_model(
    model: str | Path = "demo", mode: str | Mode | None = None, device: torch.device | str = "cpu"
) -> QuantizedMamba:
    """The shipped model (``"demo"``) or the one in a folder: see :func:`quamba_lab.checkpoint.load_model`."""
    from .checkpoint import load_model as load

    return load(model, mode, device)
