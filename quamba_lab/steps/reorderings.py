"""Legal reorderings: ways to run the same mode that no one could call wrong, and that still change last bits.

What they change is the floor under every difference between modes.  Each is applied from outside, to a view of the
model that knows nothing of it.

    batch N     at most N items at a time                        padded   each prompt lengthened into the next bucket of
    chunk       the recurrence in chunks of 16, joined in               the published scan's tree, its end cut off again
                another order, by another (FP32) scan            ulp s    every y of every scan moved by one unit in the
                                                                         last place, up or down, with probability 1/8
                                                                         each: float16 rounded stochastically (seed s)

1/8 is what stochastic rounding does to a number that lies anywhere in the half unit around the nearest float16: up with
a probability equal to its distance from it, on average 1/8 on either side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..scans import ScanOutput
from ..scans.variants import TORCH_INT8, Variant
from ..scans.variants import run as run_variant

__all__ = ["FLOOR", "REORDERINGS", "Reordering", "other_tree", "stochastic_ulp"]

BUCKETS = (128, 256, 512, 1024, 2048)
"""Lengths up to which the published scan keeps one shape of its tree (facts of its launcher)."""


def stochastic_ulp(y: Tensor, generator: torch.Generator) -> Tensor:
    """Float16 ``y`` with each value moved one ULP up (probability 1/8) or down (1/8); zeros, ends and non-finites stay.

    Moving the bits of a sign-magnitude number by one moves its magnitude by one ULP.
    """
    draw = torch.randint(0, 8, y.shape, generator=generator)
    step = (draw == 0).to(torch.int16) - (draw == 1).to(torch.int16)
    movable = torch.isfinite(y) & (y != 0) & (y.abs() < torch.finfo(torch.float16).max)
    bits = y.contiguous().view(torch.int16) + torch.where(movable.cpu(), step, torch.zeros_like(step)).to(y.device)
    return bits.view(torch.float16)


def other_tree(scan: str) -> Variant:
    """The nearest arithmetic to ``scan`` whose recurrence is joined in chunks of 16 by doubling."""
    if scan == "published":
        return Variant(
            association="B*(dt*u)", contraction="ascending", skip="first", gate="quotient", fma=True, order="tree",
            chunk=16,
        )  # fmt: skip
    return replace(TORCH_INT8, order="tree", chunk=16)


@dataclass(frozen=True)
class Reordering:
    """One way of running a model: ``batch`` items at a time, ``pad`` prompts, ``tree`` for the scan, ``ulp_seed``."""

    name: str
    kind: str
    batch: int | None = None
    pad: bool = False
    tree: bool = False
    ulp_seed: int | None = None

    @property
    def batch_tokens(self) -> int:
        """Tokens in a batch; smaller where the scan keeps every state."""
        return 512 if self.tree else 2048

    def forward(self, model: Callable[[Tensor], Tensor], tokens: Tensor) -> Tensor:
        """Logits (b, l, v) of ``tokens`` (b, l)."""
        if self.pad:
            length = tokens.shape[1]
            bucket = next((size for size in BUCKETS if length <= size), length)
            return model(torch.nn.functional.pad(tokens, (0, bucket + 1 - length)))[:, :length]
        if self.batch is not None and self.batch < tokens.shape[0]:
            return torch.cat([model(part) for part in tokens.split(self.batch)])
        return model(tokens)

    @contextmanager
    def installed(self, model: Any, seed: int) -> Iterator[None]:
        """Hooks on the model's scans for as long as the context lasts."""
        handles = []
        if self.ulp_seed is not None:
            generator = torch.Generator().manual_seed(1_000_003 * seed + self.ulp_seed)

            def move(module: Any, args: tuple, output: ScanOutput) -> ScanOutput:
                return replace(output, y=stochastic_ulp(output.y, generator))

            handles = [layer.scan.register_forward_hook(move) for layer in model.layers]
        elif self.tree:

            def again(module: Any, args: tuple, output: ScanOutput) -> ScanOutput:
                return run_variant(args[0], other_tree(module.scan))

            handles = [layer.scan.register_forward_hook(again) for layer in model.layers]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


REORDERINGS = {
    row.name: row
    for row in (
        Reordering("plain", "plain"),
        Reordering("batch 1", "batch", batch=1),
        Reordering("batch 7", "batch", batch=7),
        Reordering("batch 32", "batch", batch=32),
        Reordering("padded", "length", pad=True),
        Reordering("chunk 16", "chunk", tree=True),
        *(Reordering(f"ulp {seed}", "one ULP of y", ulp_seed=seed) for seed in range(1, 6)),
    )
}
"""All of them by name; ``plain`` is the run itself."""

FLOOR = tuple(name for name in REORDERINGS if name != "plain")
