"""Traces on disk: one safetensors file per layer and an index, written while the model runs.

    with TraceWriter(folder) as writer, Trace(model, sink=writer):
        model(tokens)
    store = TraceStore(folder)
    store["scan.y", 3]

The writer holds one layer at a time and the store none: each tensor is read when it is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from .files import write_text
from .quantized import Quantized
from .trace import TraceError

__all__ = ["NotCaptured", "TraceStore", "TraceWriter"]

INDEX = "index.json"
SCHEMA = 1


class NotCaptured(TraceError, KeyError):
    """A stage that a stored trace does not hold; a ``KeyError`` too, so that the store is a proper mapping."""

    __str__ = BaseException.__str__


def _file_name(layer: int | None) -> str:
    return "model.safetensors" if layer is None else f"layer_{layer:04d}.safetensors"


class TraceWriter:
    """A sink for :class:`quamba_lab.trace.Trace`: ``writer(stage, layer, value)``.

    ``folder`` must be new or empty, so that no older trace is mixed in: :class:`TraceError` otherwise.  A layer's file
    is written when the next layer begins; the index, by :meth:`close`, last: a folder without one is unfinished.
    """

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        if any(self.folder.iterdir()):
            raise TraceError(f"{self.folder} is not empty: choose a new folder for the trace, or delete this one")
        self._layer: int | None = None
        self._pending: dict[str, Tensor] = {}
        self._places: dict[str, tuple] = {}
        self._alive: list[Tensor] = []
        self._files: dict[str, int | None] = {}
        self._entries: list[dict[str, Any]] = []

    def __call__(self, stage: str, layer: int | None, value: Quantized | Tensor) -> None:
        if layer != self._layer:
            self._flush()
            self._layer = layer
        if _file_name(layer) in self._files:
            raise TraceError(f"layer {layer} ran again after another: write each forward to a folder of its own")
        codes = isinstance(value, Quantized)
        tensor = value.values if codes else value
        where = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
        held_as = next((name for name, other in self._places.items() if other == where), None)
        if held_as is None:  # conv1d's codes are the split's and u's too: they are written once
            self._places[stage] = where
            self._alive.append(tensor)  # its address must not be given to another while the layer is pending
            self._pending[stage] = tensor.detach().to("cpu").contiguous()
        entry = {"stage": stage, "layer": layer, "tensor": held_as or stage, "shape": list(tensor.shape)}
        entry["dtype"] = str(tensor.dtype)
        if codes:
            self._pending[f"{stage}/scale"] = value.scale.detach().to("cpu").reshape(1).clone()
        self._entries.append(entry | {"codes": codes})

    def _flush(self) -> None:
        if not self._pending:
            return
        name = _file_name(self._layer)
        partial = self.folder / f"{name}.partial"
        save_file({stage: _own(tensor) for stage, tensor in self._pending.items()}, partial)
        partial.replace(self.folder / name)
        self._files[name] = self._layer
        self._pending, self._places, self._alive = {}, {}, []

    def close(self) -> None:
        """Write what is left, then the index."""
        self._flush()
        write_text(self.folder / INDEX, json.dumps({"schema": SCHEMA, "entries": self._entries}, indent=1) + "\n")

    def __enter__(self) -> TraceWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()


def _own(tensor: Tensor) -> Tensor:
    """The tensor in storage of its own: the format refuses overlapping pieces of memory."""
    whole = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
    return tensor if whole else tensor.clone()


class TraceStore(Mapping):
    """A finished trace on disk, as a mapping from (stage, layer) to what was captured.

    Raises :class:`TraceError` for a folder without an index, :class:`NotCaptured` for a key that is not there.
    """

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)
        try:
            index = json.loads((self.folder / INDEX).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise TraceError(f"{self.folder} has no {INDEX}: the trace was not finished; run it again") from None
        if index.get("schema") != SCHEMA:
            raise TraceError(f"{self.folder} has schema {index.get('schema')!r}, not {SCHEMA}: trace it again")
        self._entries = {(entry["stage"], entry["layer"]): entry for entry in index["entries"]}

    def __getitem__(self, key: tuple[str, int | None]) -> Quantized | Tensor:
        entry = self._entries.get(key)
        if entry is None:
            raise NotCaptured(f"nothing captured for {key!r} in {self.folder}: it holds {', '.join(self.stages)}")
        stage, layer = key
        with safe_open(str(self.folder / _file_name(layer)), framework="pt") as file:
            values = file.get_tensor(entry["tensor"])
            return Quantized(values, file.get_tensor(f"{stage}/scale").reshape(())) if entry["codes"] else values

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def __iter__(self) -> Iterator[tuple[str, int | None]]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages captured, in the order of computation."""
        return tuple(dict.fromkeys(stage for stage, _ in self._entries))

    @property
    def nbytes(self) -> int:
        """Bytes of the captured values, scales left out; a tensor that several stages share counts for each."""
        sizes = (
            torch.Size(entry["shape"]).numel() * getattr(torch, entry["dtype"].removeprefix("torch.")).itemsize
            for entry in self._entries.values()
        )
        return sum(sizes)
