"""Capture what a layer computed, from outside: forward hooks on the model's named stages.

    with Trace(model, stages=["scan.u", "scan.y"], layers=[3]) as trace:
        model(tokens)
    trace["scan.y", 3]

The model knows nothing of it.  What a stage is, and which axis of its tensor is time, stands in one table here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .quantized import Quantized

__all__ = ["EXTRA_STAGES", "ROUNDING_STAGES", "STAGES", "Trace", "TraceError"]


class TraceError(ValueError):
    """A stage, layer or token that is not there: one sentence with what is."""


@dataclass(frozen=True)
class _Stage:
    """Where a stage's value is found: the submodule, what to take from its call, and the axis of time."""

    module: str
    take: Callable[[tuple, Any], Any]
    time: int


def _output(args: tuple, output: Any) -> Any:
    return output


def _operand(name: str) -> Callable[[tuple, Any], Any]:
    return lambda args, output: getattr(args[0], name)


def _argument(args: tuple, output: Any) -> Any:
    return args[0]


def _sequence_last(args: tuple, output: Any) -> Any:
    return args[0].transpose(1, 2)


_TABLE = {
    "in_proj": _Stage("in_proj", _output, -1),  # (b, 2d, l)
    "conv1d": _Stage("conv1d", _output, -1),  # (b, d, l)
    "split": _Stage("split", lambda args, output: output[1], -1),  # (b, d, l), before u is made of it
    "x_proj": _Stage("x_proj", _output, 1),  # (b, l, r + 2n)
    "dt_proj": _Stage("dt_proj", _output, -1),  # (b, d, l)
    "scan.u": _Stage("scan", _operand("u"), -1),  # (b, d, l)
    "scan.dt": _Stage("scan", _operand("dt"), -1),  # (b, d, l)
    "scan.B": _Stage("scan", _operand("B"), -1),  # (b, g, n, l)
    "scan.C": _Stage("scan", _operand("C"), -1),  # (b, g, n, l)
    "scan.z": _Stage("scan", _operand("z"), -1),  # (b, d, l)
    "scan.y": _Stage("scan", lambda args, output: output.y, 1),  # (b, l, d)
    "hadamard": _Stage("hadamard", _output, 1),  # (b, l, d)
    "out_proj": _Stage("out_proj", _output, 1),  # (b, l, m)
    "residual": _Stage("residual", _output, 1),  # (b, l, m), as it enters the layer's norm
}
_EXTRA = {
    "norm": _Stage("norm", _output, 1),  # (b, l, m), in_proj's input
    "conv1d.input": _Stage("conv1d.take", _output, -1),  # (b, d, l), of in_proj's scale, or of one of each item
    "split.x_proj": _Stage("split", lambda args, output: output[0], -1),  # (b, d, l), x_proj's input
}
_ROUNDING = {
    "norm.before_rounding": _Stage("norm.rounding", _argument, 1),
    "in_proj.before_rounding": _Stage("in_proj.prompt_rounding", _sequence_last, -1),
    "conv1d.input.before_rounding": _Stage("conv1d.take.rounding", _argument, -1),
    "conv1d.before_rounding": _Stage("conv1d.emit.rounding", _argument, -1),
    "split.x_proj.before_rounding": _Stage("split.codes.rounding", _argument, -1),
    "scan.u.before_rounding": _Stage("u.rounding", _argument, -1),
    "x_proj.before_rounding": _Stage("x_proj.prompt_rounding", _argument, 1),
    "dt_proj.before_rounding": _Stage("dt_proj.prompt_rounding", _sequence_last, -1),
    "hadamard.before_rounding": _Stage("hadamard.rounding", _argument, 1),
}

STAGES = (*_TABLE, "logits")
"""The stages of a layer in order of computation, then the model's logits."""

EXTRA_STAGES = tuple(_EXTRA)
"""Tensors between the stages, captured when asked for by name."""

ROUNDING_STAGES = tuple(_ROUNDING)
"""The real values that become codes, in units of a code, captured when asked for by name: the stage's own shape.

A mode that does not round at a place has nothing to capture there.
"""

LOGITS = "logits"


class Trace:
    """Captured stages of a model's last forward, by ``(stage, layer)``; the logits by ``("logits", None)`` or "logits".

    ``stages``: names of :data:`STAGES` (all of them by default), :data:`EXTRA_STAGES` or :data:`ROUNDING_STAGES`.
    ``layers``: indices, negative ones from the end; all by default.  ``tokens``: an index, a slice or a list of
    positions to keep; all by default.  ``sink(stage, layer, value)``: where values go instead of into this object, for
    streaming to disk.  INT8 stages are :class:`Quantized`, others tensors.

    Raises :class:`TraceError` for a stage or a layer that is not there, and, in the forward, for a token out of range.
    """

    def __init__(
        self,
        model: nn.Module,
        stages: Iterable[str] | None = None,
        layers: Iterable[int] | int | None = None,
        tokens: int | slice | Iterable[int] | None = None,
        *,
        sink: Callable[[str, int | None, Quantized | Tensor], None] | None = None,
    ):
        self._model = model
        self._wanted = _check_stages(stages)
        self._layers = _check_layers(layers, len(model.layers))
        tokens = [tokens] if isinstance(tokens, int) else tokens
        self._tokens = tokens if tokens is None or isinstance(tokens, slice) else [*tokens]
        self._values: dict[tuple[str, int | None], Quantized | Tensor] = {}
        self._sink = sink or self._keep
        self._handles: list = []

    def __enter__(self) -> Trace:
        try:
            for layer in self._layers:
                for stage in self._wanted:
                    if stage != LOGITS:
                        self._attach(stage, layer)
            if LOGITS in self._wanted:
                self._hook(self._model.logits, LOGITS, None, _Stage("logits", _output, 1))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        while self._handles:
            self._handles.pop().remove()

    def _attach(self, stage: str, layer: int) -> None:
        where = _TABLE.get(stage) or _EXTRA.get(stage) or _ROUNDING[stage]
        module = self._model.layers[layer]
        for name in where.module.split("."):
            module = getattr(module, name, None)
            if module is None:
                return  # this mode does not round here
        self._hook(module, stage, layer, where)

    def _hook(self, module: nn.Module, stage: str, layer: int | None, where: _Stage) -> None:
        def record(_: nn.Module, args: tuple, output: Any) -> None:
            value = where.take(args, output)
            if isinstance(value, Quantized) and value.scale is None:
                value = value.values
            if value is not None:
                self._sink(stage, layer, self._select(value, where.time))

        self._handles.append(module.register_forward_hook(record))

    def _select(self, value: Quantized | Tensor, axis: int) -> Quantized | Tensor:
        if self._tokens is None:
            return value
        length = value.shape[axis]
        positions = range(length)[self._tokens] if isinstance(self._tokens, slice) else self._tokens
        for position in positions:
            if not -length <= position < length:
                raise TraceError(f"token {position} is out of range: the prompt has {length}, 0 to {length - 1}")
        chosen = [position % length for position in positions]

        def pick(tensor: Tensor) -> Tensor:
            return tensor.index_select(axis, torch.tensor(chosen, device=tensor.device))

        return value.map(pick) if isinstance(value, Quantized) else pick(value)

    def _keep(self, stage: str, layer: int | None, value: Quantized | Tensor) -> None:
        self._values[stage, layer] = value

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages captured, in the order of computation."""
        seen = {stage for stage, _ in self._values}
        return tuple(stage for stage in (*STAGES, *EXTRA_STAGES, *ROUNDING_STAGES) if stage in seen)

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers captured."""
        return tuple(sorted({layer for _, layer in self._values if layer is not None}))

    def __getitem__(self, key: tuple[str, int | None] | str) -> Quantized | Tensor:
        stage, layer = (key, None) if isinstance(key, str) else key
        if stage == LOGITS:
            layer = None
        elif layer is not None and layer < 0:
            layer += len(self._model.layers)
        if (stage, layer) not in self._values:
            raise TraceError(
                f"nothing captured for stage {stage!r} of layer {layer}: captured are "
                f"{', '.join(self.stages) or 'no stages'} of layers {', '.join(map(str, self.layers)) or 'none'}"
            )
        return self._values[stage, layer]

    def __contains__(self, key: tuple[str, int | None] | str) -> bool:
        try:
            self[key]
        except TraceError:
            return False
        return True

    def __iter__(self) -> Iterator[tuple[str, int | None]]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def _check_stages(stages: Iterable[str] | None) -> tuple[str, ...]:
    if isinstance(stages, str):
        stages = [stages]
    wanted = STAGES if stages is None else tuple(stages)
    known = (*STAGES, *EXTRA_STAGES, *ROUNDING_STAGES)
    for stage in wanted:
        if stage not in known:
            raise TraceError(f"unknown stage {stage!r}: choose among {', '.join(known)}")
    return wanted


def _check_layers(layers: Iterable[int] | int | None, count: int) -> tuple[int, ...]:
    if isinstance(layers, int):
        layers = [layers]
    chosen = range(count) if layers is None else tuple(layers)
    for layer in chosen:
        if not -count <= layer < count:
            raise TraceError(f"layer {layer} is out of range: the model has {count}, 0 to {count - 1}")
    return tuple(layer % count for layer in chosen)
