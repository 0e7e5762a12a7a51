"""One quantized Mamba layer, assembled from a row of the mode table.

    residual -> norm -> in_proj -> conv1d -> split -> x_proj -> dt_proj -> u -> scan -> hadamard -> out_proj

Every stage is a submodule of that name.  Which parts stand in ``conv1d``, ``split``, ``u`` and ``scan`` is decided by
:func:`choose_parts` when the layer is built; the forward is the same for every mode.

Shapes: b batch, l sequence, m model channels, d inner channels, n states, r rank of dt, k width of conv1d.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from . import scans
from .conv import CausalConv, DynamicInput, EmitCodes, EmitFloat, EmitGrid, StaticInput
from .hadamard import HadamardQuantize
from .modes import Mode
from .norm import QuantizedRMSNorm, Residual
from .projections import Projection
from .quantized import Quantized
from .scans import ScanInputs, ScanOutput
from .sites import RequantizationSite, Requantize

__all__ = ["LayerCache", "LayerSizes", "QuantizedLayer", "Scan", "Split", "layer_shapes"]


@dataclass(frozen=True)
class LayerSizes:
    """m, d, n, r, k and the norm's epsilon."""

    model: int
    inner: int
    states: int
    rank: int
    width: int
    epsilon: float


def layer_shapes(sizes: LayerSizes) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    """Every tensor of a layer's state: name -> (shape, dtype).  ``conv1d.bias`` and its scale may be absent."""
    m, d, n, r, k = sizes.model, sizes.inner, sizes.states, sizes.rank, sizes.width
    weights = {
        "in_proj.weight": (2 * d, m), "conv1d.weight": (d, k), "conv1d.bias": (d,), "x_proj.weight": (r + 2 * n, d),
        "dt_proj.weight": (d, r), "scan.A_log": (d, n), "scan.D": (d,), "scan.dt_bias": (d,), "out_proj.weight": (m, d),
    }  # fmt: skip
    scales = (
        "norm.scale", "in_proj.weight_scale", "in_proj.input_scale", "in_proj.output_scale", "conv1d.weight_scale",
        "conv1d.bias_scale", "conv1d.output_scale", "x_proj.weight_scale", "x_proj.input_scale", "x_proj.output_scale",
        "dt_proj.weight_scale", "dt_proj.input_scale", "dt_proj.output_scale", "scan.u_scale", "scan.A_log_scale",
        "scan.D_scale", "scan.dt_bias_scale", "scan.state_scale", "hadamard.scale", "out_proj.weight_scale",
        "out_proj.input_scale",
    )  # fmt: skip
    return {name: (shape, torch.int8) for name, shape in weights.items()} | dict.fromkeys(scales, ((), torch.float32))


class LayerCache(NamedTuple):
    """What a layer remembers between tokens: ``window`` int8 (b, d, k), the last inputs of conv1d, and ``state`` int8
    (b, d, n), the scan's state in codes of ``scan.state_scale``."""

    window: Tensor
    state: Tensor


class SplitOutput(NamedTuple):
    """conv1d's output for its two readers: codes for x_proj, and what u is made of."""

    x_proj: Quantized
    scan: Quantized


class Split(nn.Module):
    """conv1d's output (b, d, l) -> :class:`SplitOutput`.  ``codes`` makes the codes that x_proj always receives."""

    def __init__(self, codes: nn.Module):
        super().__init__()
        self.codes = codes

    def forward(self, x: Quantized) -> SplitOutput:
        return SplitOutput(self.codes(x), x)


class Scan(nn.Module):
    """The selective scan named ``scan`` in :mod:`quamba_lab.scans`, with the layer's A_log, D and dt_bias."""

    def __init__(self, scan: str, state: Mapping[str, Tensor], rank: int):
        super().__init__()
        self.scan = scan
        self.rank = rank
        for name in ("A_log", "D", "dt_bias"):
            self.register_buffer(name, state[f"scan.{name}"])
            self.register_buffer(f"{name}_scale", state[f"scan.{name}_scale"])
        self.register_buffer("u_scale", state["scan.u_scale"])
        self.register_buffer("state_scale", state["scan.state_scale"])

    def inputs(self, u: Quantized, dt: Quantized, x_proj: Quantized, z: Quantized) -> ScanInputs:
        """The operands: u, dt, z (b, d, l) and x_proj's output (b, l, r + 2n), whose one scale B and C share."""
        states = self.A_log.shape[1]
        B, C = (
            x_proj.map(lambda v, s=start: v[..., s : s + states].transpose(1, 2)[:, None].contiguous())  # (b, 1, n, l)
            for start in (self.rank, self.rank + states)
        )
        if u.scale is not None:
            u = Quantized(u.values, self.u_scale)
        return ScanInputs(
            u, dt, B, C, z,
            Quantized(self.A_log, self.A_log_scale),
            Quantized(self.D, self.D_scale),
            Quantized(self.dt_bias, self.dt_bias_scale),
            state_scale=self.state_scale,
        )  # fmt: skip

    def forward(self, inputs: ScanInputs) -> ScanOutput:
        return scans.run(self.scan, inputs)

    def extra_repr(self) -> str:
        return self.scan


def choose_parts(
    mode: Mode, state: Mapping[str, Tensor], sites: Mapping[str, RequantizationSite]
) -> dict[str, nn.Module]:
    """The parts that differ between modes: conv1d's ``take`` and ``emit``, the split's ``codes``, and ``u``."""
    conv_scale, u_scale = state["conv1d.output_scale"], state["scan.u_scale"]
    return {
        "take": DynamicInput(sites["conv1d.input"]) if mode.conv_output == "fp32_dynamic" else StaticInput(),
        "emit": {
            "int8": lambda: EmitCodes(sites["conv1d"], conv_scale),
            "int8_dequantized": lambda: EmitGrid(sites["conv1d"], conv_scale),
            "fp32": EmitFloat,
            "fp32_dynamic": EmitFloat,
        }[mode.conv_output](),
        "codes": nn.Identity() if mode.conv_output == "int8" else Requantize(sites["split"], conv_scale),
        "u": Requantize(sites["u"], u_scale) if mode.u == "requantized" else nn.Identity(),
    }


class QuantizedLayer(nn.Module):
    """A layer from its ``state`` (the names of :func:`layer_shapes`), a mode and a table of rounding sites.

    The tensors are used, not copied, so that layers of several modes share them.
    """

    def __init__(
        self, sizes: LayerSizes, state: Mapping[str, Tensor], mode: Mode, sites: Mapping[str, RequantizationSite]
    ):
        super().__init__()
        scans.get(mode.scan)
        parts = choose_parts(mode, state, sites)

        def projection(name: str, **options) -> Projection:
            scales = (state[f"{name}.weight_scale"], state[f"{name}.input_scale"], state.get(f"{name}.output_scale"))
            return Projection(name, sites, state[f"{name}.weight"], *scales, **options)

        self.residual = Residual()
        self.norm = QuantizedRMSNorm(sites["norm"], state["norm.scale"], sizes.epsilon)
        self.in_proj = projection("in_proj", sequence_last=True)
        self.conv1d = CausalConv(
            state["conv1d.weight"], state["conv1d.weight_scale"], state.get("conv1d.bias"),
            state.get("conv1d.bias_scale"), state["conv1d.output_scale"], parts["take"], parts["emit"],
        )  # fmt: skip
        self.split = Split(parts["codes"])
        self.x_proj = projection("x_proj")
        self.dt_proj = projection("dt_proj", sequence_last=True)
        self.u = parts["u"]
        self.scan = Scan(mode.scan, state, sizes.rank)
        self.hadamard = HadamardQuantize(sites["hadamard"], sizes.inner, state["hadamard.scale"])
        self.out_proj = projection("out_proj")
        self.sizes = sizes

    def forward(self, hidden: Tensor, residual: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """hidden FP16 (b, l, m) and the residual stream FP32 (b, l, m) or None -> the same, one layer on."""
        inputs, residual, _ = self._before_scan(hidden, residual)
        return self._after_scan(self.scan(inputs).y), residual

    def scan_inputs(self, hidden: Tensor, residual: Tensor | None = None) -> ScanInputs:
        """What the scan of this layer receives."""
        return self._before_scan(hidden, residual)[0]

    def prefill(self, hidden: Tensor, residual: Tensor | None = None) -> tuple[Tensor, Tensor, LayerCache]:
        """:meth:`forward`, and the cache with which :meth:`step` goes on."""
        inputs, residual, x = self._before_scan(hidden, residual)
        output = self.scan(inputs)
        if output.last_state is None or output.last_state.dtype != torch.int8:
            raise ValueError(f"scan {self.scan.scan!r} returns no INT8 state: decode with a scan that does")
        width = self.sizes.width
        window = nn.functional.pad(x.values, (width, 0))[..., -width:].contiguous()  # (b, d, k)
        return self._after_scan(output.y), residual, LayerCache(window, output.last_state)

    def step(
        self, hidden: Tensor, residual: Tensor | None, cache: LayerCache
    ) -> tuple[Tensor, Tensor, LayerCache]:
        """One token of decoding: hidden FP16 (b, m), residual FP32 (b, m) or None; returns them and the new cache.

        Other arithmetic than a prompt's, as published: the projections' one-token sites, conv1d's update, and a state
        that is rounded to INT8 at every token.
        """
        residual = self.residual(hidden, residual)
        x, z = _halves(self.in_proj.step(self.norm(residual)))
        x, window = self.conv1d.step(x, cache.window)
        split = self.split(x)
        x_proj = self.x_proj.step(split.x_proj)
        dt = self.dt_proj.step(x_proj.map(lambda v: v[:, : self.sizes.rank].contiguous()))
        rows = x_proj.map(lambda v: v[:, None])  # (b, 1, r + 2n)
        inputs = self.scan.inputs(_one(self.u(split.scan)), _one(dt), rows, _one(z))
        output = scans.step(self.scan.scan, inputs, cache.state)
        y = output.y.view(hidden.shape[0], self.sizes.inner)
        return self.out_proj.step(self.hadamard(y)), residual, LayerCache(window, output.last_state)

    def _before_scan(self, hidden: Tensor, residual: Tensor | None) -> tuple[ScanInputs, Tensor, Quantized]:
        residual = self.residual(hidden, residual)
        x, z = _halves(self.in_proj(self.norm(residual)))  # (b, d, l) each
        split = self.split(self.conv1d(x))
        x_proj = self.x_proj(split.x_proj.map(lambda v: v.transpose(1, 2).contiguous()))  # (b, l, r + 2n)
        dt = self.dt_proj(x_proj.map(lambda v: v[..., : self.sizes.rank].contiguous()))  # (b, d, l)
        return self.scan.inputs(self.u(split.scan), dt, x_proj, z), residual, x

    def _after_scan(self, y: Tensor) -> Tensor:
        return self.out_proj(self.hadamard(y))  # FP16 (b, l, m)


def _halves(xz: Quantized) -> tuple[Quantized, Quantized]:
    """in_proj's output (b, 2d, ...) -> x and z (b, d, ...)."""
    d = xz.shape[1] // 2
    return xz.map(lambda v: v[:, :d].contiguous()), xz.map(lambda v: v[:, d:].contiguous())


def _one(x: Quantized) -> Quantized:
    """(b, d) -> (b, d, 1): a sequence of one token."""
    return x.map(lambda v: v[:, :, None].contiguous())
