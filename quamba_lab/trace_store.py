"""Traces on disk: one safetensors file per layer and an index, written while the model runs.

    with TraceWriter(folder) as writer, Trace(model, sink=writer):
        model(tokens)
    store = TraceStore(folder)
    store["scan.y", 3]

The writer holds no tensor and the store none: each is written when it is captured and read when it is asked for.
:class:`StoredPairs` keeps a list of (hidden, residual) pairs in the same manner.
"""

from __future__ import annotations

import json
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from .files import write_text
from .quantized import Quantized
from .trace import TraceError

__all__ = ["NotCaptured", "StoredPairs", "TraceStore", "TraceWriter"]

INDEX = "index.json"
SCHEMA = 1


class NotCaptured(TraceError, KeyError):
    """A stage that a stored trace does not hold; a ``KeyError`` too, so that the store is a proper mapping."""

    __str__ = BaseException.__str__


def _file_name(layer: int | None) -> str:
    return "model.safetensors" if layer is None else f"layer_{layer:04d}.safetensors"


_HEADER_ROOM = 1 << 15  # bytes; a layer has some fifty tensors of a hundred bytes of header each
_ALIGNMENT = 64
_DTYPES = {
    torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL", torch.int32: "I32", torch.int64: "I64",
    torch.float16: "F16", torch.bfloat16: "BF16", torch.float32: "F32", torch.float64: "F64",
}  # fmt: skip


class _Appended:
    """A safetensors file that grows tensor by tensor: the room before the data is filled with the header at the end.

    The format allows spaces behind the header but no gaps between tensors, so what aligns the next one is a tensor
    of its own.
    """

    def __init__(self, path: Path):
        self._path = path
        self._file: BinaryIO = path.with_name(path.name + ".partial").open("wb")
        self._file.seek(_HEADER_ROOM)
        self._header: dict[str, dict[str, Any]] = {}
        self._end = 0

    def __contains__(self, name: str) -> bool:
        return name in self._header

    def append(self, name: str, tensor: Tensor) -> None:
        if self._end % _ALIGNMENT:
            self._write(f"alignment/{self._end}", torch.zeros(-self._end % _ALIGNMENT, dtype=torch.uint8))
        self._write(name, tensor)

    def _write(self, name: str, tensor: Tensor) -> None:
        flat = tensor.detach().to("cpu").contiguous().reshape(-1)
        size = flat.numel() * flat.element_size()
        self._header[name] = {
            "dtype": _DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [self._end, self._end + size],
        }  # fmt: skip
        if size:
            self._file.write(memoryview(flat.view(torch.uint8).numpy()))
        self._end += size

    def close(self) -> None:
        """Write the header and give the file its name."""
        header = json.dumps(self._header).encode()
        room = _HEADER_ROOM - 8
        if len(header) > room:
            raise TraceError(f"{len(self._header)} tensors of a layer need more than {room} bytes of header")
        self._file.seek(0)
        self._file.write(room.to_bytes(8, "little") + header.ljust(room))
        self._file.close()
        Path(self._file.name).replace(self._path)


class TraceWriter:
    """A sink for :class:`quamba_lab.trace.Trace`: ``writer(stage, layer, value)``.

    ``folder`` must be new or empty, so that no older trace is mixed in: :class:`TraceError` otherwise.  A value is
    written when it comes and not held; a layer's file gets its name when the next layer begins; the index is written
    by :meth:`close`, last: a folder without one is unfinished.
    """

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        if any(self.folder.iterdir()):
            raise TraceError(f"{self.folder} is not empty: choose a new folder for the trace, or delete this one")
        self._layer: int | None = None
        self._file: _Appended | None = None
        self._written: dict[tuple, tuple[str, weakref.ref]] = {}
        self._finished: set[str] = set()
        self._entries: list[dict[str, Any]] = []

    def __call__(self, stage: str, layer: int | None, value: Quantized | Tensor) -> None:
        if self._file is None or layer != self._layer:
            self._finish()
            self._begin(layer)
        codes = isinstance(value, Quantized)
        tensor = value.values if codes else value
        if stage in self._file:
            raise TraceError(f"layer {layer} ran again: write each forward to a folder of its own")
        held_as = self._same(tensor)  # conv1d's codes are the split's and u's too: they are written once
        if held_as is None:
            self._file.append(stage, tensor)
            self._written[_place(tensor)] = stage, weakref.ref(tensor)
        if codes:
            self._file.append(f"{stage}/scale", value.scale.reshape(1))
        entry = {"stage": stage, "layer": layer, "tensor": held_as or stage, "shape": list(tensor.shape)}
        self._entries.append(entry | {"dtype": str(tensor.dtype), "codes": codes})

    def _begin(self, layer: int | None) -> None:
        name = _file_name(layer)
        if name in self._finished:
            raise TraceError(f"layer {layer} ran again after another: write each forward to a folder of its own")
        self._layer, self._file, self._written = layer, _Appended(self.folder / name), {}

    def _same(self, tensor: Tensor) -> str | None:
        """The stage under which these very values were written: at the same place, unchanged, and alive ever since."""
        stage, alive = self._written.get(_place(tensor), (None, None))
        return stage if alive is not None and alive() is not None else None

    def _finish(self) -> None:
        if self._file is not None:
            self._file.close()
            self._finished.add(_file_name(self._layer))
            self._file = None

    def close(self) -> None:
        """Finish the last layer, then write the index."""
        self._finish()
        write_text(self.folder / INDEX, json.dumps({"schema": SCHEMA, "entries": self._entries}, indent=1) + "\n")

    def __enter__(self) -> TraceWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()


def _place(tensor: Tensor) -> tuple:
    version = 0 if tensor.is_inference() else tensor._version
    return tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype, version


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


class StoredPairs(Sequence):
    """(hidden, residual) pairs on disk, one file each, written as they come and read when asked for.

    ``pairs``: tensors, the residual may be None.  ``folder``: new or empty.
    """

    def __init__(self, folder: Path | str, pairs: Iterable[tuple[Tensor, Tensor | None]]):
        self._folder = Path(folder)
        self._streams: list[bool] = []  # whether a pair has a residual
        for hidden, residual in pairs:
            tensors = {"hidden": hidden} | ({} if residual is None else {"residual": residual})
            path = self._path(len(self._streams))
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
            self._streams.append(residual is not None)

    def _path(self, index: int) -> Path:
        return self._folder / f"pair_{index:04d}.safetensors"

    def __len__(self) -> int:
        return len(self._streams)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor | None]:
        index = range(len(self._streams))[index]
        with safe_open(str(self._path(index)), framework="pt") as file:
            return file.get_tensor("hidden"), file.get_tensor("residual") if self._streams[index] else None
