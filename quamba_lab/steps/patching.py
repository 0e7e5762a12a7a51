"""Put values of one mode into another's run, at one stage of one layer, and see what becomes of the answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..model import QuantizedMamba
from ..quantized import Quantized
from ..scans import ScanOutput
from ..tasks import tokenize
from ..trace import Trace
from .workbook import Workbook

__all__ = ["PATCHABLE", "Asked", "answer", "ask", "changed", "fits", "patched", "values_of"]

MODULE_OF = {
    "residual": "residual", "norm": "norm", "in_proj": "in_proj", "conv1d": "conv1d", "x_proj": "x_proj",
    "dt_proj": "dt_proj", "scan.y": "scan", "hadamard": "hadamard", "out_proj": "out_proj",
}  # fmt: skip

PATCHABLE = tuple(MODULE_OF)
"""Stages that can be replaced, in the order of computation; ``residual`` is the whole stream as the layer reads it."""

Value = Quantized | Tensor
Patch = Callable[[Value], Value]


@dataclass(frozen=True, eq=False)
class Asked:
    """One item as a question: its tokens (1, l) and the tokens of the answer that counts as right (t,)."""

    tokens: Tensor
    target: Tensor


def ask(run: Workbook, item: int) -> Asked:
    """The item's question and its right answer."""
    ids, count = tokenize(run.task.items[run.check_item(item)], run.base.tokenizer)
    whole = torch.tensor([ids], device=run.base.device)
    return Asked(whole[:, :-1], whole[0, -count:])


def answer(logits: Tensor, question: Asked) -> tuple[bool, float]:
    """Whether the greedy answer is right, and the smallest lead of a target token's logit over the best other."""
    last = logits[0, -len(question.target) :]  # (t, v)
    own = last.gather(1, question.target[:, None])[:, 0]
    other = last.scatter(1, question.target[:, None], float("-inf")).amax(1)
    return bool((last.argmax(-1) == question.target).all()), float((own - other).min())


def values_of(model: QuantizedMamba, tokens: Tensor) -> dict[tuple[str, int], Value]:
    """Every stage of :data:`PATCHABLE` in a free run, by (stage, layer)."""
    with Trace(model, stages=PATCHABLE) as trace:
        model(tokens)
    return {where: trace[where] for where in trace}


def _plain(value: Value) -> Tensor:
    return value.values if isinstance(value, Quantized) else value


def fits(a: Value, b: Value) -> bool:
    """Whether ``a`` can stand where ``b`` stood: one shape, one dtype, one scale."""
    p, q = _plain(a), _plain(b)
    if p.shape != q.shape or p.dtype != q.dtype or isinstance(a, Quantized) != isinstance(b, Quantized):
        return False
    if isinstance(a, Quantized) and a.scale is not None:
        return b.scale is not None and float(a.scale) == float(b.scale)
    return True


def changed(a: Value, b: Value) -> Tensor:
    """Mask of the elements in which two fitting values differ."""
    return _plain(a) != _plain(b)


def put(values: Value, mask: Tensor | None = None) -> Patch:
    """A patch that puts ``values`` in place, where ``mask`` says so or everywhere."""

    def apply(own: Value) -> Value:
        if mask is None:
            return values
        mixed = torch.where(mask, _plain(values), _plain(own))
        return Quantized(mixed, own.scale) if isinstance(own, Quantized) else mixed

    return apply


@contextmanager
def patched(model: QuantizedMamba, patches: dict[tuple[str, int], Patch]) -> Iterator[None]:
    """Every output of the named (stage, layer) goes through its patch for as long as the context lasts."""
    handles = []
    for (stage, layer), patch in patches.items():

        def hook(module: Any, args: tuple, output: Any, patch: Patch = patch) -> Any:
            if isinstance(output, ScanOutput):
                return replace(output, y=patch(output.y))
            return patch(output)

        handles.append(model.layers[layer].get_submodule(MODULE_OF[stage]).register_forward_hook(hook))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
