"""The ledger of code flips: every INT8 code that two modes round differently, and why.

At each rounding site both sides' values before rounding are known, in units of a code.  A flip is one of

    scale      the two sides do not use the same scale, so the codes cannot be compared
    wrap       a value beyond the codes, at a site that keeps the low byte: its sign may change
    clip       a value beyond the codes, at a site that saturates
    tie        the same number on both sides to within rounding: the boundary between two codes lay there
    upstream   the numbers already differed by more than rounding when they came in
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from ..compare import spacing
from ..conv import dynamic_scale
from ..quantized import AWAY_SATURATE, Quantized, RoundingRule
from ..sites import RequantizationSite
from ..trace import ROUNDING_STAGES

__all__ = ["CLASSES", "HEAD", "SITE_OF", "STATE", "TIE_ULPS", "classify", "flip_counts", "flip_table"]

CLASSES = ("tie", "clip", "wrap", "scale", "upstream")
TIE_ULPS = 4
"""Quotients this many float32 units apart are one number: a product of two factors and a division, on both sides."""

SITE_OF = {
    "norm.before_rounding": "norm", "in_proj.before_rounding": "in_proj",
    "conv1d.input.before_rounding": "conv1d.input", "conv1d.before_rounding": "conv1d",
    "split.x_proj.before_rounding": "split", "scan.u.before_rounding": "u", "x_proj.before_rounding": "x_proj",
    "dt_proj.before_rounding": "dt_proj", "hadamard.before_rounding": "hadamard",
}  # fmt: skip
"""The rounding site of each traced value; the names of :mod:`quamba_lab.sites`."""

STATE, HEAD = "state.before_rounding", "head.before_rounding"
"""The state that the scan returns, and the norm before the head (of no layer): keys as in a trace."""

CONV = "conv1d.before_rounding"
READERS = ("split.x_proj.before_rounding", "scan.u.before_rounding")
"""What reads conv1d's output: a mode whose conv1d makes the codes does not round again there, one whose conv1d emits
floats does, so the one's codes of conv1d stand against the other's of its readers."""


IN_PROJ, INPUT = "in_proj.before_rounding", "conv1d.input.before_rounding"
"""A mode that does not round conv1d's input anew takes in_proj's codes there, under in_proj's scale."""


def boundary_distance(x: Tensor) -> Tensor:
    """Distance from ``x`` (in codes) to the nearest boundary between two codes, an odd multiple of 1/2; float64."""
    value = x.double()
    return (value - torch.floor(value) - 0.5).abs()


def classify(
    a: Tensor, b: Tensor, rules: tuple[RoundingRule, RoundingRule], scales: tuple[Tensor | None, Tensor | None]
) -> tuple[Tensor, Tensor, Tensor, list[str]]:
    """Codes of both sides, the indices (flips, dims) where they differ, and the class of each flip.

    ``a``, ``b``: float32 values before rounding, one shape, in units of a code.
    """
    codes_a, codes_b = rules[0](a), rules[1](b)
    flipped = torch.nonzero(codes_a != codes_b)
    at = tuple(flipped.T)
    x, y = a[at].double(), b[at].double()
    whole = torch.stack((rules[0].integers(a[at]).double(), rules[1].integers(b[at]).double()))
    low, high = min(r.low for r in rules), max(r.high for r in rules)
    outside = ((whole < low) | (whole > high)).any(0)
    reach = torch.maximum(spacing(a[at].float()), spacing(b[at].float())) * TIE_ULPS
    same = (x - y).abs() <= reach
    other_scale = any(s is not None for s in scales) and not _equal_scales(*scales)
    wraps = any(r.overflow == "wrap" for r in rules)
    names = []
    for out, tie in zip(outside.tolist(), same.tolist(), strict=True):
        names.append("scale" if other_scale else ("wrap" if wraps else "clip") if out else "tie" if tie else "upstream")
    return codes_a, codes_b, flipped, names


def _equal_scales(a: Tensor | None, b: Tensor | None) -> bool:
    return a is None or b is None or (a.shape == b.shape and bool((a == b).all()))


def _to_conv(value: Quantized | Tensor) -> Quantized | Tensor:
    """The rows of in_proj's output (b, 2d, l) that conv1d receives, (b, d, l)."""
    half = value.shape[1] // 2
    return value.map(lambda v: v[:, :half]) if isinstance(value, Quantized) else value[:, :half]


def _scale(trace: Mapping, site_stage: str, layer: int) -> Tensor | None:
    if site_stage == INPUT:
        codes = trace.get(("in_proj", layer))
        if not isinstance(codes, Quantized):
            return None
        return codes.scale if trace.get((INPUT, layer)) is None else dynamic_scale(_to_conv(codes).dequantize())
    value = trace.get((site_stage.removesuffix(".before_rounding"), layer))
    return value.scale if isinstance(value, Quantized) else None


def _before(trace: Mapping, stage: str, layer: int | None) -> tuple[str, Tensor] | None:
    """The value that becomes a code at ``stage``, and the stage at which it really does."""
    for known in (stage, CONV) if stage in READERS else (stage,):
        value = trace.get((known, layer))
        if value is not None:
            return known, value
    value = trace.get((IN_PROJ, layer)) if stage == INPUT else None
    return None if value is None else (IN_PROJ, _to_conv(value))


def _site(stage: str) -> str:
    return {STATE: "state", HEAD: "norm"}.get(stage) or SITE_OF[stage]


def _rule(sites: Mapping[str, RequantizationSite], stage: str) -> RoundingRule:
    return AWAY_SATURATE if stage == STATE else sites[_site(stage)].rule


CHANNELS_FIRST, TOKENS_FIRST = ("item", "channel", "token"), ("item", "token", "channel")
AXES_BEFORE = {
    "norm.before_rounding": TOKENS_FIRST, "x_proj.before_rounding": ("item", "token", "row"),
    "hadamard.before_rounding": TOKENS_FIRST, HEAD: TOKENS_FIRST, STATE: ("item", "channel", "state"),
}  # fmt: skip


def place(index: Sequence[int] | None, axes: Sequence[str], where: Mapping[str, Any]) -> str:
    """``"item 7, token 3, channel 5"``: an index in words, its item the one of ``where``; empty for no index."""
    if index is None:
        return ""
    named = dict(zip(axes, index, strict=False))
    named["item"] = where.get("item", 0) + named.get("item", 0)
    order = ("item", "token", *(axis for axis in axes if axis not in ("item", "token")))
    return ", ".join(f"{axis} {named[axis]}" for axis in order if axis in named)


def flip_table(
    a: Mapping, b: Mapping, sites_a: Mapping[str, RequantizationSite], sites_b: Mapping[str, RequantizationSite],
    layers: Sequence[int], most: int = 200, **where: Any,
) -> tuple[pd.DataFrame, pd.DataFrame]:  # fmt: skip
    """The ledger of two captures: a row per flip (at most ``most`` per layer and site), and counts per layer and site.

    The captures may hold :data:`STATE` and :data:`HEAD` beside a trace's stages; the head stands as layer -1.  Counts
    are of all flips; ``out_of_range`` counts the values of the reference beyond the codes, flipped or not.
    """
    rows, counts = [], []
    places = [(stage, layer) for layer in layers for stage in (*ROUNDING_STAGES, STATE)]
    for stage, layer in [*places, *([(HEAD, None)] if layers else [])]:
        left, right = _before(a, stage, layer), _before(b, stage, layer)
        if left is None or right is None or (left[0] == right[0] != stage):
            continue
        (stage_a, x), (stage_b, y) = left, right
        if x.shape != y.shape:
            continue
        at = {**where, "layer": -1 if layer is None else layer, "site": _site(stage)}
        rules = (_rule(sites_a, stage_a), _rule(sites_b, stage_b))
        scales = (_scale(a, stage, layer), _scale(b, stage, layer))
        codes_a, codes_b, flipped, names = classify(x, y, rules, scales)
        whole = rules[0].integers(x)
        outside = int(((whole < rules[0].low) | (whole > rules[0].high)).sum())
        of_class = {name: names.count(name) for name in CLASSES}
        counts.append({**at, "codes": x.numel(), "flips": len(names), **of_class, "out_of_range": outside})
        near_a, near_b = boundary_distance(x), boundary_distance(y)
        for index, name in list(zip(flipped.tolist(), names, strict=True))[:most]:
            i = tuple(index)
            rows.append(
                {
                    **at, "place": place(i, AXES_BEFORE.get(stage, CHANNELS_FIRST), where), "before_a": float(x[i]),
                    "before_b": float(y[i]), "code_a": int(codes_a[i]), "code_b": int(codes_b[i]),
                    "to_boundary_a": float(near_a[i]), "to_boundary_b": float(near_b[i]), "class": name,
                }
            )  # fmt: skip
    columns = [*where, "layer", "site", "place", "before_a", "before_b", "code_a", "code_b", "to_boundary_a",
               "to_boundary_b", "class"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns), flip_counts(counts, where)


def flip_counts(counts: list[dict[str, Any]], where: Mapping[str, Any]) -> pd.DataFrame:
    """Counts as a table with every column, even when there is nothing to count."""
    return pd.DataFrame(counts, columns=[*where, "layer", "site", "codes", "flips", *CLASSES, "out_of_range"])
