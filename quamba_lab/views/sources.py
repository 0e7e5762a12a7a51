"""What the views read of a run, computed once for each mode, pair and item, and kept while there is room."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .. import steps
from ..quantized import Quantized
from ..steps.workbook import BYTES_PER_ELEMENT, TRACE_IN_MEMORY, Workbook
from ..texts import say
from ..trace import STAGES, Trace

__all__ = ["QUICK", "SLOW", "Need", "Sources"]

Need = tuple[Any, ...]
"""What has to be computed: a kind of :data:`COMPUTES`, then its arguments: ("trace", "2-1", 0)."""

CAPTURED = (*STAGES, "norm", "split.x_proj")
ROOM = 768 * 2**20
"""Bytes of traces that are kept; the one that was used longest ago goes first."""


def _trace(sources: Sources, mode: str, item: int) -> Mapping:
    run = sources.run
    view, tokens = run.view(mode), run.tokens(item)
    if run.layers * tokens.shape[1] * view.config.inner_size * BYTES_PER_ELEMENT > TRACE_IN_MEMORY:
        return run.free(mode, item, CAPTURED)  # a large model's trace is written to disk there
    pairs: list[tuple] = []
    hooks = [layer.register_forward_pre_hook(lambda _, pair: pairs.append(pair)) for layer in view.layers]
    try:
        with Trace(view, stages=CAPTURED) as trace:
            view(tokens)
    finally:
        for hook in hooks:
            hook.remove()
    sources.put(("pairs", mode, item), pairs)  # what each layer was given, for lockstep
    if not sources.has(("witness", mode)):
        sources.put(("witness", mode), view.witness())
    return {where: trace[where] for where in trace}


def _pairs(sources: Sources, mode: str, item: int) -> list[tuple]:
    """(hidden, residual) as each layer of the mode received them."""
    return sources.run.view(mode).layer_inputs(sources.run.tokens(item))[:-1]


def _lockstep(sources: Sources, mode_a: str, mode_b: str, item: int) -> Mapping:
    """Every layer of B on what A had there."""
    run = sources.run
    view, tokens = run.view(mode_b), run.tokens(item)
    if run.layers * tokens.shape[1] * view.config.inner_size * BYTES_PER_ELEMENT > TRACE_IN_MEMORY:
        return run.lockstep(mode_a, mode_b, item, CAPTURED)
    pairs = sources.get(("pairs", mode_a, item))
    with Trace(view, stages=CAPTURED) as trace:
        for layer, pair in enumerate(pairs):
            view.run_layer(layer, *pair)
    return {where: trace[where] for where in trace}


def _step(name: str, *, per_item: bool = True) -> Callable[..., Any]:
    def compute(sources: Sources, mode_a: str, mode_b: str, item: int) -> Any:
        which = {"items": [item]} if name in ("scan_inputs", "scan_outputs") else {"item": item} if per_item else {}
        return getattr(steps, name)(sources.run, mode_a, mode_b, layers=list(sources.layers), **which)

    return compute


COMPUTES: dict[str, Callable[..., Any]] = {
    "trace": _trace,
    "lockstep": _lockstep,
    "pairs": _pairs,
    "answers": lambda sources, mode: sources.run.answers(mode),
    "witness": lambda sources, mode: sources.run.witness(mode),
    "scan_inputs": _step("scan_inputs"),
    "dequantization": _step("dequantization"),
    "scan_outputs": _step("scan_outputs"),
    "inside_the_scan": _step("inside_the_scan"),
    "error_budget": _step("error_budget"),
    "state_quantization": lambda sources, mode_a, mode_b, item: steps.state_quantization(
        sources.run, mode_a, mode_b, layers=[sources.layers[0], sources.layers[-1]], item=item,
        items=min(2, sources.run.limit),
    ),
    "causes": lambda sources, mode_a, mode_b, item: steps.causes(
        sources.run, mode_a, mode_b, layers=[sources.layers[0]], items=[item]
    ),
    "amplifiers": lambda sources, mode_a, mode_b, item: steps.amplifiers(sources.run, mode_a, mode_b, items=[item]),
    "answer_tracing": lambda sources, mode_a, mode_b, item: steps.answer_tracing(
        sources.run, mode_a, mode_b, most=2, tries=10
    ),
}  # fmt: skip

QUICK = ("trace", "pairs", "lockstep", "witness")
"""What takes a fraction of a second on the shipped model."""
SLOW = ("state_quantization", "causes", "amplifiers", "answer_tracing")
"""What takes so long that a person is asked before another pair of modes is computed."""

WORDS = {
    "trace": lambda mode, item: say("mode {mode} on item {item}", mode=mode, item=item),
    "lockstep": lambda a, b, item: say("mode {b} on the inputs of mode {a}, item {item}", a=a, b=b, item=item),
    "answers": lambda mode: say("the answers of mode {mode}", mode=mode),
    "witness": lambda mode: say("what runs in mode {mode}", mode=mode),
}


def _size(value: Any) -> int:
    """Bytes of a trace's tensors; anything else is small."""
    if not isinstance(value, dict):
        return 0
    tensors = (part.values if isinstance(part, Quantized) else part for part in value.values())
    return sum(t.numel() * t.element_size() for t in tensors if isinstance(t, Tensor))


class Sources:
    """The run of a notebook with everything that its views have needed so far.

    ``layers``: the layers that are looked at, all by default.  Safe to use from several threads.
    """

    def __init__(self, run: Workbook, layers: Sequence[int] | None = None, room: int = ROOM):
        self.run = run
        self.layers = tuple(run.check_layers(layers))
        self._room = room
        self._kept: OrderedDict[Need, Any] = OrderedDict()
        self._derived: dict[Need, Any] = {}
        self._lock = threading.RLock()

    def put(self, need: Need, value: Any) -> None:
        """Keep what somebody else has computed."""
        with self._lock:
            self._kept[need] = value
            self._derived = {key: kept for key, kept in self._derived.items() if key[0] != need}

    def has(self, need: Need) -> bool:
        return need in self._kept

    def missing(self, needs: Iterable[Need]) -> list[Need]:
        """Those that have to be computed first, each once."""
        return [need for need in dict.fromkeys(needs) if need not in self._kept]

    def get(self, need: Need) -> Any:
        """The thing needed, computed when it is not there."""
        with self._lock:
            if need not in self._kept:
                with torch.no_grad():
                    self._kept[need] = COMPUTES[need[0]](self, *need[1:])
                self._make_room(need)
            self._kept.move_to_end(need)
            return self._kept[need]

    def derived(self, need: Need, name: str, compute: Callable[[Any], Any]) -> Any:
        """Something small that follows from a thing needed, kept as long as that is."""
        with self._lock:
            key = (need, name)
            if key not in self._derived:
                self._derived[key] = compute(self.get(need))
            return self._derived[key]

    def _make_room(self, newest: Need) -> None:
        traces = [need for need in self._kept if need[0] in ("trace", "lockstep")]
        used = sum(_size(self._kept[need]) for need in traces)
        for need in traces:
            if used <= self._room or need == newest:
                break
            used -= _size(self._kept[need])
            del self._kept[need]
            if need[0] == "trace":
                self._kept.pop(("pairs", *need[1:]), None)
            self._derived = {key: kept for key, kept in self._derived.items() if key[0] != need}

    def traces(self, mode_a: str, mode_b: str, item: int, run: str) -> tuple[Mapping, Mapping]:
        """Both modes' captures, B in its free run or in lockstep with A."""
        a = self.get(("trace", mode_a, item))
        if run == "lockstep" and mode_a != mode_b:
            return a, self.get(("lockstep", mode_a, mode_b, item))
        return a, self.get(("trace", mode_b, item))

    def length(self, item: int) -> int:
        """Tokens of an item as the model receives them."""
        return self.run.tokens(item).shape[1]


def in_words(need: Need) -> str:
    """What is being computed, for a person who waits."""
    if need[0] in WORDS:
        return WORDS[need[0]](*need[1:])
    step, a, b, item = need
    return say("{step} of modes {a} and {b}, item {item}", step=step, a=a, b=b, item=item)


def trace_needs(sources: Sources, mode_a: str, mode_b: str, item: int, run: str = "free run", **_: Any) -> list[Need]:
    """The captures of a pair."""
    needs = [("trace", mode_a, item), ("trace", mode_b, item)]
    return [*needs[:1], ("lockstep", mode_a, mode_b, item)] if run == "lockstep" and mode_a != mode_b else needs
