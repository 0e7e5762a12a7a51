"""One run of the workbook: what every step reads, computed once and shared.

Evaluations are kept on disk under a key made of everything that can change them (sources, model, items, mode, device,
threads), behind a lock, so that notebooks in several processes share one evaluation.  Traces of an item are kept in
memory while they are small, and written layer by layer to a temporary folder when they are not.
"""

from __future__ import annotations

import functools
import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..model import QuantizedMamba, load_model
from ..modes import Mode
from ..quantized import Quantized
from ..scans import ScanInputs
from ..scans.build import cache_folder
from ..tasks import Task, evaluate, load_task, tokenize
from ..texts import say
from ..trace import ROUNDING_STAGES, STAGES, Trace
from ..trace_store import StoredPairs, TraceStore, TraceWriter
from ..witness import Witness
from .kept import is_foreign, kept_on_disk, source_digest, step_digest
from .reorderings import REORDERINGS, Reordering

__all__ = ["Answers", "Stages", "Workbook", "WorkbookError"]

Stages = Mapping[tuple[str, int | None], Quantized | Tensor]
"""Captured tensors by (stage, layer): a dictionary, or a :class:`TraceStore` that reads them from disk."""

TRACE_IN_MEMORY = 512 * 2**20
"""Bytes of one trace above which it is written to disk as it comes."""
BYTES_PER_ELEMENT = 60
"""Captured per (layer, token, inner channel), rounding stages included: about 12 codes and 10 float32 values."""


class WorkbookError(ValueError):
    """A mode, a layer or an item that this run does not have: one sentence with what it has."""


@dataclass(frozen=True, eq=False)
class Answers:
    """What one mode answered: per-item arrays as in :class:`quamba_lab.tasks.Evaluation`, and the run's identity.

    ``digest``: a hash over the bits of every logit, in order.  ``ran``: (scan, build, dtype of u) as witnessed.
    """

    mode: str
    reordering: str
    correct: np.ndarray
    log_probability: np.ndarray
    margin: np.ndarray
    digest: str
    ran: tuple[tuple[str, str, str], ...]

    def to_json(self) -> dict[str, Any]:
        fields = {"mode": self.mode, "reordering": self.reordering, "digest": self.digest, "ran": self.ran}
        return fields | {name: getattr(self, name).tolist() for name in ("correct", "log_probability", "margin")}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Answers:
        return cls(
            data["mode"], data["reordering"], np.array(data["correct"], dtype=bool),
            np.array(data["log_probability"], dtype=float), np.array(data["margin"], dtype=float), data["digest"],
            tuple(tuple(row) for row in data["ran"]),
        )  # fmt: skip


def _walk(view: QuantizedMamba, tokens: Tensor) -> Iterator[tuple[Tensor, Tensor | None]]:
    """The pairs of ``view.layer_inputs(tokens)``, one at a time."""
    pair = view.embed(tokens)
    yield pair
    for layer in range(len(view.layers)):
        pair = view.run_layer(layer, *pair)
        yield pair


class Workbook:
    """What is compared: a model in several modes on the first ``limit`` items of a task.

    ``modes``: names, or :class:`quamba_lab.modes.Mode` rows of one's own (a mode with one's own scan).
    ``cache_dir``: where evaluations are kept; None for the user's cache, ``False`` for nowhere.
    ``seed``: of every random choice (bootstrap, permutations, stochastic rounding).
    Raises a ``ValueError`` of one sentence for a model, mode, task or limit that is not there.
    """

    def __init__(
        self,
        model: str | Path | QuantizedMamba = "demo",
        modes: Sequence[str | Mode] = ("0", "2-0", "2-1", "2-2"),
        task: str | Path | Task = "lambada_demo",
        limit: int | None = 100,
        cache_dir: Path | str | bool | None = None,
        seed: int = 0,
        device: str = "cpu",
        progress: bool = False,
    ):
        if isinstance(modes, str) or not modes:
            raise WorkbookError(say(
                "modes is {modes}: pass a list of at least one mode, such as ['0', '2-1']", modes=f"{modes!r}"
            ))
        self.rows = {row.name: row for row in map(Mode.get, modes)}
        self.base = model if isinstance(model, QuantizedMamba) else load_model(model, "0", device)
        self.name = self.base.name or Path(str(model)).name
        self.task = task if isinstance(task, Task) else load_task(task)
        self.limit = self.task.check_limit(limit)
        self.seed = seed
        self.device = device
        self.progress = progress
        self.cache = None if cache_dir is False else Path(cache_dir) if cache_dir else cache_folder() / "workbook"
        self._guests: dict[str, Mode] = {}
        self._views: dict[str, QuantizedMamba] = {}
        self._kept: dict[tuple, Any] = {}
        self._folder: tempfile.TemporaryDirectory | None = None
        self._witnesses: dict[str, Witness] = {}

    @property
    def modes(self) -> tuple[str, ...]:
        return tuple(self.rows)

    @property
    def layers(self) -> int:
        return len(self.base.layers)

    def settings(self, **more: Any) -> dict[str, Any]:
        """What a result depends on, for its ``settings``; no paths."""
        return {
            "model": self.name, "task": self.task.name, "limit": self.limit, "modes": list(self.modes),
            "seed": self.seed, "device": self.device,
        } | more  # fmt: skip

    def row(self, mode: str | Mode) -> Mode:
        """The mode's row; one that this run was not asked for is known by its name from now on, but not compared."""
        if isinstance(mode, Mode):
            self._guests.setdefault(mode.name, mode)
            return mode
        return self.rows.get(mode) or self._guests.get(mode) or Mode.get(mode)

    def scan_of(self, mode: str | Mode) -> str:
        """The registered name of the scan that the mode runs."""
        return self.row(mode).scan

    def view(self, mode: str | Mode) -> QuantizedMamba:
        """The model in that mode; all views share the tensors."""
        row = self.row(mode)
        if row.name not in self._views:
            self._views[row.name] = self.base.with_mode(row)
        return self._views[row.name]

    def truth_of(self, mode: str | Mode) -> Mode:
        """The mode with the FP64 scan in place of its own: the same data flow, the scan exact."""
        row = self.row(mode)
        return replace(row, name=f"{row.name}+oracle", scan="oracle", environment=())

    def check_layers(self, layers: Sequence[int] | None) -> list[int]:
        """Layers as non-negative indices; None for all.  Raises :class:`WorkbookError` for one out of range."""
        chosen = range(self.layers) if layers is None else layers
        for layer in chosen:
            if not -self.layers <= layer < self.layers:
                raise WorkbookError(
                    say(
                        "layer {layer} is out of range: the model has {count}, 0 to {last}",
                        layer=layer, count=self.layers, last=self.layers - 1,
                    )
                )
        return sorted({layer % self.layers for layer in chosen})

    def check_item(self, item: int) -> int:
        count = len(self.task)
        if isinstance(item, bool) or not isinstance(item, int | np.integer) or not 0 <= item < count:
            raise WorkbookError(say(
                "item {item} is out of range: the task has {count}, 0 to {last}",
                item=f"{item!r}", count=count, last=count - 1
            ))
        return int(item)

    def tokens(self, item: int) -> Tensor:
        """The tokens of one item as the model receives them, int64 (1, l)."""
        ids, _ = tokenize(self.task.items[self.check_item(item)], self.base.tokenizer)
        return torch.tensor([ids[:-1]], device=self.base.device)

    def named(self, item: int) -> str:
        """One item as part of a key of :meth:`remember`: it may lie beyond the items of this run."""
        return f"item {item} {self.task.items[self.check_item(item)]}"

    def words(self, item: int) -> list[str]:
        """The text of each of :meth:`tokens`."""
        tokenizer = self.base.tokenizer
        return [tokenizer.decode([int(t)]) for t in self.tokens(item)[0]]

    # Evaluations -----------------------------------------------------------------------------------------------------

    def answers(self, mode: str | Mode, reordering: str = "plain", run: int = 0) -> Answers:
        """The mode's answers to the items under a legal reordering; ``run`` 1 is the same again, computed anew."""
        row, variant = self.row(mode), REORDERINGS[reordering]
        key = ("answers", row.name, reordering, run)
        if key not in self._kept:
            found = self._kept_on_disk(
                [row], f"{reordering}-{run}", lambda: self._evaluate(row, variant).to_json(), Answers.from_json
            )
            self._kept[key] = Answers.from_json(found)
        return self._kept[key]

    def _evaluate(self, row: Mode, variant: Reordering) -> Answers:
        view = self.view(row)
        digest = hashlib.sha256()

        def hashed(tokens: Tensor) -> Tensor:
            logits = variant.forward(view, tokens)
            digest.update(logits.detach().cpu().contiguous().numpy().tobytes())
            return logits

        with variant.installed(view, self.seed):
            found = evaluate(
                hashed, self.task, self.limit, tokenizer=self.base.tokenizer, progress=self.progress,
                device=self.base.device, batch_tokens=variant.batch_tokens,
            )  # fmt: skip
        ran = tuple(sorted(view.witness().ran()))
        return Answers(
            row.name, variant.name, found.correct, found.log_probability, found.margin, digest.hexdigest(), ran
        )

    def remember(
        self, mode: str | Mode, what: str, compute: Callable[[], dict[str, Any]],
        check: Callable[[dict[str, Any]], object] = dict, *, other: str | Mode | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """``compute()``, a JSON-ready dict that a step measured, kept on disk for this model, these items, the mode (or
        the pair with ``other``), the steps' sources and ``what``.

        ``check`` raises ``KeyError``, ``TypeError`` or ``ValueError`` for a damaged file, which is computed again.
        Nothing is kept for a mode whose scan is not this package's own code.
        """
        rows = [self.row(one) for one in (mode, other) if one is not None]
        return self._kept_on_disk(rows, f"{what} {step_digest()}", compute, check)

    def _kept_on_disk(
        self, rows: list[Mode], what: str, compute: Callable[[], dict[str, Any]], check: Callable[..., object]
    ) -> dict[str, Any]:
        if self.cache is None or any(is_foreign(row.scan) for row in rows):
            return compute()
        return kept_on_disk(self.cache / f"{self._key(rows, what)}.json", compute, check)

    @functools.cached_property
    def _subject(self) -> str:
        """Hash of the model's tensors and of the items."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.base.state_dict().items()):
            digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
        digest.update(repr(sorted((name, repr(site)) for name, site in self.base.sites.items())).encode())
        tokenizer = self.base.tokenizer
        digest.update(tokenizer.to_str().encode() if hasattr(tokenizer, "to_str") else repr(tokenizer).encode())
        for item in self.task.items[: self.limit]:
            digest.update(f"{item.context}\0{item.target}\0".encode())
        return digest.hexdigest()

    def _key(self, rows: list[Mode], what: str) -> str:
        device = torch.cuda.get_device_name(self.base.device) if self.base.device.type == "cuda" else "cpu"
        told = [json.dumps(asdict(row), sort_keys=True) for row in rows]
        parts = [source_digest(), self._subject, *told, what, str(self.seed), device]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]

    def witness(self, mode: str | Mode) -> Witness:
        """What really ran in that mode, on item 0."""
        row = self.row(mode)
        if row.name not in self._witnesses:
            view = self.view(row)
            view(self.tokens(0))
            self._witnesses[row.name] = view.witness()
        return self._witnesses[row.name]

    # Traces ----------------------------------------------------------------------------------------------------------

    def scan_inputs(self, mode: str | Mode, layer: int, item: int = 0) -> ScanInputs:
        """What the scan of ``layer`` receives in the mode's free run."""
        layer = self.check_layers([layer])[0]
        pairs, parts = self.layer_inputs(mode, item), self.view(mode).layers
        key = ("inputs", self.row(mode).name, item)
        if key not in self._kept:
            self._kept[key] = {}
        kept = self._kept[key]
        if layer not in kept:
            if isinstance(pairs, StoredPairs):
                kept.clear()  # of a large model one layer's operands at a time
            kept[layer] = parts[layer].scan_inputs(*pairs[layer])
        return kept[layer]

    def layer_inputs(self, mode: str | Mode, item: int) -> Sequence[tuple[Tensor, Tensor | None]]:
        """(hidden, residual) as each layer, and last the head, receives them in the mode's free run; of a large model
        they lie on disk and are read one by one."""
        key = ("layer_inputs", self.row(mode).name, item)
        if key not in self._kept:
            view, tokens = self.view(mode), self.tokens(item)
            size = (self.layers + 1) * tokens.shape[1] * view.config.hidden_size * 6  # float16 and float32
            if size <= TRACE_IN_MEMORY:
                self._kept[key] = view.layer_inputs(tokens)
            else:
                self._kept[key] = StoredPairs(self._new_folder(), _walk(view, tokens))
        return self._kept[key]

    def free(self, mode: str | Mode, item: int = 0, stages: Sequence[str] = (*STAGES, *ROUNDING_STAGES)) -> Stages:
        """Every stage of the mode's own run of one item."""
        key = ("free", self.row(mode).name, item, tuple(stages))
        if key not in self._kept:
            view = self.view(mode)
            tokens = self.tokens(item)
            self._kept[key] = self._capture(view, stages, tokens.shape[1], lambda: view(tokens))
        return self._kept[key]

    def reordered(self, mode: str | Mode, reordering: str, item: int = 0) -> Stages:
        """Every stage of the mode's own run of one item under a legal reordering that keeps the item's length."""
        key = ("reordered", self.row(mode).name, reordering, item)
        if key not in self._kept:
            view = self.view(mode)
            tokens = self.tokens(item)
            with REORDERINGS[reordering].installed(view, self.seed):
                self._kept[key] = self._capture(view, STAGES, tokens.shape[1], lambda: view(tokens))
        return self._kept[key]

    def lockstep(
        self, reference: str | Mode, mode: str | Mode, item: int = 0,
        stages: Sequence[str] = (*STAGES, *ROUNDING_STAGES),
    ) -> Stages:  # fmt: skip
        """Every stage of ``mode`` when each layer, and the head, receives what ``reference`` had there."""
        key = ("lockstep", self.row(reference).name, self.row(mode).name, item, tuple(stages))
        if key not in self._kept:
            view = self.view(mode)
            pairs = self.layer_inputs(reference, item)

            def run() -> None:
                for layer in range(self.layers):
                    view.run_layer(layer, *pairs[layer])
                view.run_from(self.layers, *pairs[-1])

            self._kept[key] = self._capture(view, stages, pairs[0][0].shape[1], run)
        return self._kept[key]

    def _capture(self, view: QuantizedMamba, stages: Sequence[str], length: int, run: Callable[[], object]) -> Stages:
        """Trace ``run``: into memory, or to a temporary folder that lives as long as this object."""
        if self.layers * length * view.config.inner_size * BYTES_PER_ELEMENT <= TRACE_IN_MEMORY:
            with Trace(view, stages=stages) as trace:
                run()
            return {where: trace[where] for where in trace}
        folder = self._new_folder()
        with TraceWriter(folder) as writer, Trace(view, stages=stages, sink=writer):
            run()
        return TraceStore(folder)

    def _new_folder(self) -> str:
        """A temporary folder that lives as long as this object."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="quamba_lab_trace_")
        return tempfile.mkdtemp(dir=self._folder.name)

    def forget_traces(self) -> None:
        """Free the memory and the disk of every trace; answers stay."""
        self._kept = {key: value for key, value in self._kept.items() if key[0] == "answers"}
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None
