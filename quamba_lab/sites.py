"""Every place of the quantized layer where a real number becomes an INT8 code, as data.

A site says in which order the factors are multiplied (FP32 products do not associate) and how the quotient is rounded.
The published layer (enyac-group/Quamba, state of 2025-06) uses seven different combinations; :data:`PUBLISHED` lists
them, read from its sources: ``csrc/norm``, ``csrc/causal_conv1d``, ``csrc/hadamard``, the CUTLASS epilogue and the
one-row kernel of ``csrc/linear``, and ``quamba/qLinearLayer.py`` for which of the two operands is called the weight.

Symbols: s_in, s_w, s_out the scales of input, weight and output; ``acc`` the INT32 accumulator, converted to FP32.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor, nn

from .quantized import AWAY_SATURATE, AWAY_WRAP, EVEN_SATURATE, Quantized, RoundingRule

__all__ = ["PUBLISHED", "Association", "RequantizationSite", "Round", "SiteTable", "published_sites"]

Association = Literal["weight·(ratio·acc)", "ratio·(weight·acc)", "alpha·acc", "value/scale", "value·factor"]
"""With ratio = s_in/s_out and alpha = s_w·s_in/s_out; the last two take a real value instead of an accumulator."""

ASSOCIATIONS = ("weight·(ratio·acc)", "ratio·(weight·acc)", "alpha·acc", "value/scale", "value·factor")


@dataclass(frozen=True)
class RequantizationSite:
    """One place where codes are made: its ``name``, the ``association`` of its factors and its rounding ``rule``."""

    name: str
    association: Association
    rule: RoundingRule

    def __post_init__(self) -> None:
        if self.association not in ASSOCIATIONS:
            choices = ", ".join(ASSOCIATIONS)
            raise ValueError(f"association {self.association!r} of {self.name}: choose one of {choices}")

    def with_rule(self, rule: RoundingRule) -> RequantizationSite:
        return replace(self, rule=rule)


SiteTable = MappingProxyType
"""Read-only mapping from a site's name to the site."""


def published_sites() -> dict[str, RequantizationSite]:
    """The published layer's sites by name, as a fresh dictionary.

    A projection has three: ``name`` for a prompt, ``name/rows`` for one token of several items, ``name/one_row`` for a
    single row, which takes another kernel.  in_proj and dt_proj write the sequence last in a prompt and exchange the
    roles of the two operands, so the same two factors are applied in the other order.

    ``norm/triton`` is the norm of the repository's present head, which rounds ties to even; ``norm`` is its CUDA norm.
    """
    last, rows, one = "weight·(ratio·acc)", "ratio·(weight·acc)", "alpha·acc"
    sites = [
        RequantizationSite("norm", "value/scale", AWAY_SATURATE),
        RequantizationSite("norm/triton", "value/scale", EVEN_SATURATE),
        RequantizationSite("in_proj", last, EVEN_SATURATE),
        RequantizationSite("conv1d.input", "value/scale", EVEN_SATURATE),
        RequantizationSite("conv1d", "value/scale", AWAY_SATURATE),
        RequantizationSite("split", "value/scale", EVEN_SATURATE),
        RequantizationSite("u", "value/scale", EVEN_SATURATE),
        RequantizationSite("x_proj", rows, EVEN_SATURATE),
        RequantizationSite("dt_proj", last, EVEN_SATURATE),
        RequantizationSite("hadamard", "value·factor", AWAY_WRAP),
        RequantizationSite("out_proj", rows, EVEN_SATURATE),
        RequantizationSite("logits", rows, EVEN_SATURATE),
    ]
    for name in ("in_proj", "x_proj", "dt_proj", "out_proj", "logits"):
        sites.append(RequantizationSite(f"{name}/rows", rows, EVEN_SATURATE))
        sites.append(RequantizationSite(f"{name}/one_row", one, AWAY_SATURATE))
    return {site.name: site for site in sites}


PUBLISHED: SiteTable = SiteTable(published_sites())


class Round(nn.Module):
    """The rounding of one site: FP32 quotients in, INT8 codes of the same shape out.

    A module of its own, so that a hook sees the value before rounding and its code after.
    """

    def __init__(self, site: RequantizationSite):
        super().__init__()
        self.site = site

    def forward(self, quotient: Tensor) -> Tensor:
        return self.site.rule(quotient)

    def extra_repr(self) -> str:
        return f"{self.site.name}: {self.site.association}, ties {self.site.rule.ties}, {self.site.rule.overflow}"


class Requantize(nn.Module):
    """Real values to codes of a fixed scale: round(value / scale)."""

    def __init__(self, site: RequantizationSite, scale: Tensor):
        super().__init__()
        self.rounding = Round(site)
        self.register_buffer("scale", scale, persistent=False)

    def forward(self, x: Quantized) -> Quantized:
        return Quantized(self.rounding(x.values / self.scale), self.scale)


def scalar(value: float | Tensor) -> Tensor:
    """A float32 scalar tensor."""
    if isinstance(value, Tensor):
        return value.detach().reshape(()).float()
    return torch.tensor(value, dtype=torch.float32)
