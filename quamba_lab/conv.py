"""The causal depthwise convolution with its SiLU: INT8 in, and four forms of output.

    v = (s_w·s_x) · Σ_i w_i x_(t−k+1+i) + s_b·b        the sum of four products of codes is an exact integer
    out = v / (1 + exp(−v))                             then codes of out / s_out, or out itself

The published kernel contracts the first line into one fused multiply-add and uses the fast exponential.  Here each line
is computed in FP64 and rounded to FP32 once: the fused result, and for the SiLU the correctly rounded one, the same on
every device.  (The fast exponential is off by an ulp or two, so a code differs about once in 10^5, at a boundary.)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .quantized import Quantized
from .sites import RequantizationSite, Round

__all__ = ["CausalConv", "DynamicInput", "EmitCodes", "EmitFloat", "EmitGrid", "StaticInput", "dynamic_scale"]

BLOCK = 2**20
"""Values convolved at a time: their FP64 copies are several times the size of what goes in and comes out."""


class StaticInput(nn.Module):
    """The codes as they come from in_proj."""

    def forward(self, x: Quantized) -> Quantized:
        return x


def dynamic_scale(value: Tensor) -> Tensor:
    """absmax / 127 of each item: float32 (b, d, l) -> (b, 1, 1)."""
    return (value.abs().amax((1, 2), keepdim=True) / 127.0).clamp(min=torch.finfo(torch.float32).tiny)


class DynamicInput(nn.Module):
    """Codes of a scale of their own: absmax / 127 of each item (b, d, l).

    Per item, not per batch: otherwise an item's answer would depend on what shares its batch.  in_proj has rounded
    already, so this rounds a second time and cannot bring back what the first rounding lost.
    """

    def __init__(self, site: RequantizationSite):
        super().__init__()
        self.rounding = Round(site)

    def forward(self, x: Quantized) -> Quantized:
        value = x.dequantize()  # (b, d, l)
        scale = dynamic_scale(value)
        return Quantized(self.rounding(value / scale), scale)


class EmitCodes(nn.Module):
    """FP32 -> INT8 codes of a fixed scale."""

    def __init__(self, site: RequantizationSite, scale: Tensor):
        super().__init__()
        self.rounding = Round(site)
        self.register_buffer("scale", scale, persistent=False)

    def forward(self, x: Tensor) -> Quantized:
        return Quantized(self.rounding(x / self.scale), self.scale)


class EmitGrid(EmitCodes):
    """FP32 -> FP32 on the INT8 grid: code · scale."""

    def forward(self, x: Tensor) -> Quantized:
        return Quantized(super().forward(x).dequantize(), None)


class EmitFloat(nn.Module):
    """FP32 as it is."""

    def forward(self, x: Tensor) -> Quantized:
        return Quantized(x, None)


class CausalConv(nn.Module):
    """Quantized (b, d, l) -> Quantized (b, d, l): ``take`` prepares the input's codes, ``emit`` the output.

    weight int8 (d, k); bias int8 (d,) or None; the scales are float32 scalars.
    """

    def __init__(
        self,
        weight: Tensor,
        weight_scale: Tensor,
        bias: Tensor | None,
        bias_scale: Tensor | None,
        output_scale: Tensor,
        take: nn.Module,
        emit: nn.Module,
    ):
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("weight_scale", weight_scale)
        if bias is None:
            self.bias = self.bias_scale = None
        else:
            self.register_buffer("bias", bias)
            self.register_buffer("bias_scale", bias_scale)
        self.register_buffer("output_scale", output_scale)
        self.take = take
        self.emit = emit

    def forward(self, x: Quantized) -> Quantized:
        x = self.take(x)
        batch, channels, length = x.shape
        out = torch.empty(x.shape, dtype=torch.float32, device=x.values.device)
        step = max(1, BLOCK // max(1, batch * length))
        for start in range(0, channels, step):
            block = slice(start, start + step)
            out[:, block] = self._activate(x.values[:, block], x.scale, block)
        return self.emit(out)

    def step(self, x: Quantized, window: Tensor) -> tuple[Quantized, Tensor]:
        """One token: codes (b, d) and the last k codes (b, d, k) -> Quantized (b, d) and the new window.

        Different arithmetic from the prompt's, as published: the sum starts with the bias, and each product is
        ((s_w·s_x)·w)·x, fused with its addition.  Raises ``ValueError`` where the input's scale is dynamic: a window of
        codes has one scale.
        """
        if not isinstance(self.take, StaticInput):
            raise ValueError("this mode quantizes conv1d's input per prompt: decode with a mode of static scales")
        window = torch.cat((window[:, :, 1:], x.values[:, :, None]), 2)  # (b, d, k)
        taps = ((self.weight_scale * x.scale) * self.weight.float()).double()  # (d, k)
        value = torch.zeros(x.shape, dtype=torch.float32, device=window.device)  # (b, d)
        if self.bias is not None:
            value += self.bias.float() * self.bias_scale
        for tap in range(taps.shape[1]):
            value = (value.double() + taps[:, tap] * window[:, :, tap].double()).float()
        return self.emit(nn.functional.silu(value.double()).float()), window

    def _activate(self, codes: Tensor, input_scale: Tensor, channels: slice) -> Tensor:
        weight, length = self.weight[channels].float(), codes.shape[2]
        padded = nn.functional.pad(codes.float(), (weight.shape[1] - 1, 0))  # (b, channels, l + k - 1)
        total = padded[:, :, :length] * weight[:, 0, None]  # (b, channels, l), exact integers
        for tap in range(1, weight.shape[1]):
            total.addcmul_(padded[:, :, tap : tap + length], weight[:, tap, None])
        value = total.double().mul_((self.weight_scale * input_scale).double())
        if self.bias is not None:
            value += (self.bias[channels].float() * self.bias_scale).double()[:, None]
        value = value.float().double()
        return nn.functional.silu(value).float()
