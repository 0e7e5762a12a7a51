"""The FP32 Mamba language model that everything is quantized from and compared with.

Its state dict has the names of transformers' ``MambaForCausalLM`` and its configuration is that class's
``config.json``, so a folder written by either is read by both.  Arithmetic: Gu and Dao, "Mamba" (2023), Algorithm 2.

Every stage is a submodule, so that forward hooks see it: ``backbone.layers[i].norm`` and, under
``backbone.layers[i].mixer``, ``in_proj``, ``conv1d`` (causal, with its SiLU), ``x_proj``, ``dt_proj`` (without its
bias, which belongs to the scan), ``scan``, ``out_proj``; then ``backbone.norm_f`` and ``lm_head``.

Shapes: b batch, l sequence, m hidden (model) channels, d inner channels, n states, r rank of dt, k width of conv1d,
v vocabulary.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .float_weights import MambaConfig, ModelFolderError, read_config, read_weights

__all__ = ["MambaBlock", "MambaConfig", "MambaLM", "MambaMixer", "ModelFolderError", "RMSNorm", "SelectiveScan"]

CHUNK_ELEMENTS = 1 << 21
"""FP32 elements of one chunk's decay (8 MB): large enough to amortize calls, small enough to stay near the caches."""


class RMSNorm(nn.Module):
    """x / sqrt(mean(x²) + eps) · weight, over the last dimension."""

    def __init__(self, size: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        x = x.float()
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps))


class CausalConv1d(nn.Conv1d):
    """Depthwise causal convolution over l, then SiLU: (b, d, l) -> (b, d, l)."""

    def __init__(self, channels: int, width: int, bias: bool):
        super().__init__(channels, channels, width, groups=channels, padding=width - 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(super().forward(x)[..., : x.shape[-1]])


class StepProjection(nn.Linear):
    """dt_proj: (b, l, r) -> (b, l, d), leaving the bias to the scan, where the published layer adds it."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight)


class SelectiveScan(nn.Module):
    """h_t = exp(dt_t A) h_(t-1) + dt_t B_t u_t,  y_t = (C_t · h_t + D u_t) silu(z_t),  dt = softplus(dt + dt_bias).

    Takes u, dt, z (b, d, l), A (d, n), B, C (b, n, l), D, dt_bias (d,), all float32; returns y (b, d, l) and the
    last state (b, d, n).  Decay, drive and contraction are computed for a chunk of time at once, so that the loop over
    time is one fused product-and-sum per step.  Plain PyTorch throughout: differentiable, and right on any device.
    """

    def forward(
        self, u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor, dt_bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        (b, d, l), n = u.shape, A.shape[1]
        chunk = max(1, CHUNK_ELEMENTS // (b * d * n))
        u_t, dt_t = u.permute(2, 0, 1), F.softplus(dt + dt_bias[:, None]).permute(2, 0, 1)  # (l, b, d)
        B_t, C_t = B.permute(2, 0, 1), C.permute(2, 0, 1)  # (l, b, n)
        h = u.new_zeros(b, d, n)
        pieces = []
        for start in range(0, l, chunk):
            now = slice(start, start + chunk)
            decay = torch.exp(dt_t[now, ..., None] * A)  # (chunk, b, d, n)
            drive = (dt_t[now] * u_t[now])[..., None] * B_t[now, :, None, :]
            states = []
            for a_t, b_t in zip(decay.unbind(0), drive.unbind(0), strict=True):
                h = torch.addcmul(b_t, a_t, h)
                states.append(h)
            pieces.append(torch.einsum("lbdn,lbn->bdl", torch.stack(states), C_t[now]))
        y = torch.cat(pieces, dim=2) + D[:, None] * u  # (b, d, l)
        return y * F.silu(z), h


class MambaMixer(nn.Module):
    """One Mamba layer without its norm and residual: (b, l, m) -> (b, l, m)."""

    def __init__(self, config: MambaConfig):
        super().__init__()
        m, d, n, r = config.hidden_size, config.inner_size, config.state_size, config.time_step_rank
        self.in_proj = nn.Linear(m, 2 * d, bias=config.use_bias)
        self.conv1d = CausalConv1d(d, config.conv_kernel, config.use_conv_bias)
        self.x_proj = nn.Linear(d, r + 2 * n, bias=False)
        self.dt_proj = StepProjection(r, d, bias=True)
        self.scan = SelectiveScan()
        self.A_log = nn.Parameter(torch.log(torch.arange(1, n + 1).float()).repeat(d, 1))
        self.D = nn.Parameter(torch.ones(d))
        self.out_proj = nn.Linear(d, m, bias=config.use_bias)
        self.splits = [r, n, n]

    def forward(self, x: Tensor) -> Tensor:
        x, z = self.in_proj(x).transpose(1, 2).chunk(2, dim=1)  # (b, d, l) each
        u = self.conv1d(x)
        dt, B, C = self.x_proj(u.transpose(1, 2)).split(self.splits, dim=-1)  # (b, l, r), (b, l, n), (b, l, n)
        dt = self.dt_proj(dt).transpose(1, 2)  # (b, d, l)
        A = -torch.exp(self.A_log)
        y, _ = self.scan(u, dt, A, B.transpose(1, 2), C.transpose(1, 2), self.D, z, self.dt_proj.bias)
        return self.out_proj(y.transpose(1, 2))


class MambaBlock(nn.Module):
    """x + mixer(norm(x)): (b, l, m) -> (b, l, m)."""

    def __init__(self, config: MambaConfig):
        super().__init__()
        self.norm = RMSNorm(config.hidden_size, config.layer_norm_epsilon)
        self.mixer = MambaMixer(config)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.mixer(self.norm(x))


class MambaBackbone(nn.Module):
    """Embedding, the blocks, the last norm: (b, l) int64 -> (b, l, m)."""

    def __init__(self, config: MambaConfig):
        super().__init__()
        self.embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(MambaBlock(config) for _ in range(config.num_hidden_layers))
        self.norm_f = RMSNorm(config.hidden_size, config.layer_norm_epsilon)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embeddings(tokens)
        for layer in self.layers:
            x = layer(x)
        return self.norm_f(x)


class MambaLM(nn.Module):
    """The language model: tokens (b, l) int64 -> logits (b, l, v) float32."""

    def __init__(self, config: MambaConfig):
        super().__init__()
        self.config = config
        self.backbone = MambaBackbone(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.backbone.embeddings.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.lm_head(self.backbone(tokens))

    @property
    def layers(self) -> nn.ModuleList:
        return self.backbone.layers

    @torch.no_grad()
    def initialize(self, seed: int) -> MambaLM:
        """Fresh weights for training, the same for the same seed (on the CPU; move the model afterwards).

        As in Mamba's own code: embedding of deviation 0.02, out_proj divided by sqrt(layers), dt log-uniform in
        0.001 .. 0.1 through the inverse of softplus.
        """
        generator = torch.Generator().manual_seed(seed)
        self.backbone.embeddings.weight.normal_(0.0, 0.02, generator=generator)
        for layer in self.layers:
            mixer = layer.mixer
            for linear in (mixer.in_proj, mixer.x_proj, mixer.out_proj):
                bound = 1.0 / math.sqrt(linear.in_features)
                linear.weight.uniform_(-bound, bound, generator=generator)
            mixer.out_proj.weight.div_(math.sqrt(len(self.layers)))
            bound = 1.0 / math.sqrt(self.config.conv_kernel)
            mixer.conv1d.weight.uniform_(-bound, bound, generator=generator)
            mixer.conv1d.bias.uniform_(-bound, bound, generator=generator)
            bound = self.config.time_step_rank**-0.5
            mixer.dt_proj.weight.uniform_(-bound, bound, generator=generator)
            dt = torch.exp(torch.rand(self.config.inner_size, generator=generator) * math.log(100.0) + math.log(1e-3))
            mixer.dt_proj.bias.copy_(dt + torch.log(-torch.expm1(-dt)))
        return self

    @classmethod
    def from_folder(cls, folder: Path | str, device: torch.device | str = "cpu") -> MambaLM:
        """Load ``config.json`` with ``model.safetensors`` (whole or sharded) or ``pytorch_model.bin`` as float32.

        Both transformers' and state-spaces' layouts are read.  Raises :class:`ModelFolderError` for a missing file,
        a missing or unknown weight, or a shape that the configuration does not give.
        """
        config = read_config(folder)
        with torch.device("meta"):
            model = cls(config)
        expected = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
        weights = read_weights(folder, config, expected)
        model.load_state_dict(weights, assign=True)
        if config.tie_word_embeddings:
            model.lm_head.weight = model.backbone.embeddings.weight
        return model.to(device).requires_grad_(False).eval()
