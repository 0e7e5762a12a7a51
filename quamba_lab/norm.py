"""RMSNorm to INT8, and the residual stream.

The norm's weight is fused into the projection that follows, so x / sqrt(mean(x²) + eps) is all that remains; the
published layer multiplies by its reciprocal root and divides by the scale, both in FP32.

The residual stream is FP32: mamba-130m's configuration asks for it (``residual_in_fp32``), and the published norm
stores the sum it reads in FP32.  Every layer adds its FP16 output to it in FP32.
"""

from __future__ import annotations

from torch import Tensor, nn

from .quantized import Quantized
from .sites import RequantizationSite, Round

__all__ = ["QuantizedRMSNorm", "Residual"]


class Residual(nn.Module):
    """hidden FP16 (b, l, m) added to the stream FP32 (b, l, m), or the start of the stream when there is none."""

    def forward(self, hidden: Tensor, residual: Tensor | None) -> Tensor:
        return hidden.float() if residual is None else residual + hidden.float()


class QuantizedRMSNorm(nn.Module):
    """FP32 (..., m) -> Quantized (..., m).

    The mean of squares is summed in FP64 and rounded once, so that it does not depend on the device's order of
    summation; every other operation is the FP32 one.
    """

    def __init__(self, site: RequantizationSite, scale: Tensor, eps: float):
        super().__init__()
        self.eps = eps
        self.rounding = Round(site)
        self.register_buffer("scale", scale)

    def forward(self, x: Tensor) -> Quantized:
        mean = x.double().square_().mean(-1, keepdim=True)
        reciprocal = (mean + self.eps).rsqrt().float()  # (..., 1)
        return Quantized(self.rounding((x * reciprocal).div_(self.scale)), self.scale)

    def extra_repr(self) -> str:
        return f"eps={self.eps}"
