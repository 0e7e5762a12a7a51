"""LAMBADA-style tasks: guess the last word of a text, exactly and as a probability.

The target follows lm-evaluation-harness' ``lambada_openai``: the text is cut at its last space, the context is what
stands before, and the target is the space with the last word.  An item is *correct* when greedy decoding would produce
every token of the target; its *log-probability* is the natural logarithm of the whole target's probability.
"""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from .demo import DEMO
from .texts import say

__all__ = ["Evaluation", "EvaluationInterrupted", "Item", "Task", "TaskError", "evaluate", "load_task", "tokenize"]

BUILT_IN = {"lambada_demo": DEMO / "task.jsonl"}


class TaskError(ValueError):
    """A task or a limit that cannot be used: one sentence that names the value, what is allowed and the way out."""


@dataclass(frozen=True)
class Item:
    """One question: ``context`` (without its last space) and ``target`` (a space and the last word)."""

    context: str
    target: str

    @classmethod
    def from_text(cls, text: str) -> Item:
        """Cut ``text`` at its last space.  Raises :class:`TaskError` when no word stands on either side of it."""
        context, space, word = text.rpartition(" ")
        if not space or not context.strip() or not word.strip():
            raise TaskError(say(
                "{text} has no last word after a context: end each text with a space and one word",
                text=f"{text[-40:]!r}"
            ))
        return cls(context, space + word)


@dataclass(frozen=True)
class Task:
    """A named sequence of items."""

    name: str
    items: tuple[Item, ...]

    def __len__(self) -> int:
        return len(self.items)

    def check_limit(self, limit: int | None) -> int:
        """The number of items to use.  Raises :class:`TaskError` unless ``limit`` is None or 1 .. size."""
        if limit is None:
            return len(self)
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= len(self):
            raise TaskError(
                say(
                    "limit is {limit}: {name} has {count} items, so give a whole number from 1 to {count}, or none for "
                    "all",
                    limit=f"{limit!r}", name=self.name, count=len(self)
                )
            )
        return limit


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a model answered, item by item; arrays are in the task's order and all of one length.

    ``items``: int64 indices into the task; ``correct``: bool; ``log_probability``: float64, natural logarithm of the
    whole target's probability; ``target_tokens``: int64, tokens in each target; ``margin``: float64, the smallest lead
    of a target token's logit over the best other one (above 0 exactly when the item is correct).
    """

    task: str
    items: np.ndarray
    correct: np.ndarray
    log_probability: np.ndarray
    target_tokens: np.ndarray
    margin: np.ndarray

    def __len__(self) -> int:
        return len(self.items)

    @property
    def accuracy(self) -> float:
        """The share of items answered correctly."""
        return float(self.correct.mean())

    @property
    def perplexity(self) -> float:
        """exp(-mean log-probability of a target), as lm-evaluation-harness reports for LAMBADA."""
        return float(np.exp(-self.log_probability.mean()))


class EvaluationInterrupted(KeyboardInterrupt):
    """Raised instead of KeyboardInterrupt: ``partial`` holds the items that were finished, or is None."""

    def __init__(self, partial: Evaluation | None):
        super().__init__("the evaluation was interrupted")
        self.partial = partial


def load_task(name: str | Path) -> Task:
    """Load ``"lambada_demo"`` or a ``.jsonl`` (``.jsonl.gz``) file of one JSON object with a ``text`` per line.

    Raises :class:`TaskError` for an unknown name and for a line that is no JSON object, lacks a text or a last word.
    """
    path = BUILT_IN.get(str(name), Path(name))
    if not path.exists():
        known = ", ".join(sorted(BUILT_IN))
        raise TaskError(say(
            "task {task} is unknown: choose {known}, or the path of a .jsonl file that exists",
            task=f"{str(name)!r}", known=known
        ))
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            items = tuple(_read_lines(path, file))
    except (UnicodeDecodeError, gzip.BadGzipFile, IsADirectoryError) as error:
        raise TaskError(say(
            "{path} cannot be read as text ({error}): give a UTF-8 .jsonl file", path=path, error=error
        )) from None
    if not items:
        raise TaskError(say("{path} is empty: write one JSON object with a 'text' per line", path=path))
    return Task(str(name) if str(name) in BUILT_IN else path.name.removesuffix(".gz").removesuffix(".jsonl"), items)


def _read_lines(path: Path, lines: Iterable[str]) -> Iterable[Item]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise TaskError(say(
                "{where} is not valid JSON ({msg}): write one JSON object per line", where=where, msg=error.msg
            )) from None
        if not isinstance(record, dict) or not isinstance(record.get("text"), str):
            raise TaskError(say(
                '{where} has no \'text\': write {{"text": "..."}} with a string on each line', where=where
            ))
        try:
            yield Item.from_text(record["text"])
        except TaskError as error:
            raise TaskError(f"{where}: {error}") from None


def tokenize(item: Item, tokenizer: Any) -> tuple[list[int], int]:
    """Tokens of context and target together, and how many of them belong to the target.

    The target is what the whole text's encoding has beyond the context's own, as in lm-evaluation-harness.
    ``tokenizer``: a ``tokenizers.Tokenizer``, or anything whose ``encode`` returns ids or an object with ``ids``.
    """

    def ids(text: str) -> list[int]:
        try:
            encoded = tokenizer.encode(text, add_special_tokens=False)
        except TypeError:
            encoded = tokenizer.encode(text)
        return list(getattr(encoded, "ids", encoded))

    whole, context = ids(item.context + item.target), ids(item.context)
    if not 0 < len(context) < len(whole):
        raise TaskError(f"{item.target!r} leaves no tokens for a context or a target: this tokenizer does not fit")
    return whole, len(whole) - len(context)


def _batches(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Indices of items of equal length, together at most ``batch_tokens``; ordered by their first item."""
    by_length: dict[int, list[int]] = defaultdict(list)
    for index, length in enumerate(lengths):
        by_length[length].append(index)
    batches = []
    for length, members in by_length.items():
        size = max(1, batch_tokens // length)
        batches += [members[start : start + size] for start in range(0, len(members), size)]
    return sorted(batches)


def _score(logits: Tensor, targets: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """correct, log-probability and margin of targets (b, t) under logits (b, t, v)."""
    logits = logits.float()
    log_probability = torch.log_softmax(logits.double(), dim=-1).gather(2, targets[..., None]).squeeze(2)  # (b, t)
    correct = (logits.argmax(-1) == targets).all(1)
    own = logits.gather(2, targets[..., None]).squeeze(2)
    others = logits.scatter(2, targets[..., None], float("-inf")).amax(-1)
    margin = (own - others).amin(1)
    return correct.cpu().numpy(), log_probability.sum(1).cpu().numpy(), margin.double().cpu().numpy()


@torch.no_grad()
def evaluate(
    model: Callable[[Tensor], Tensor],
    task: Task,
    limit: int | None = None,
    *,
    tokenizer: Any = None,
    progress: bool = True,
    batch_tokens: int = 2048,
    device: torch.device | str | None = None,
) -> Evaluation:
    """Ask ``model`` (tokens (b, l) int64 -> logits (b, l, v)) for the last word of the first ``limit`` items.

    ``tokenizer`` defaults to ``model.tokenizer`` and ``device`` to that of the model's first parameter, or the CPU.
    Items of equal length share a batch of at most ``batch_tokens`` tokens, so nothing is ever padded.
    Raises :class:`TaskError` for a limit outside 1 .. size, and :class:`EvaluationInterrupted`, which carries what was
    finished, when interrupted.
    """
    count = task.check_limit(limit)
    tokenizer = tokenizer if tokenizer is not None else getattr(model, "tokenizer", None)
    if tokenizer is None:
        raise TaskError(f"{type(model).__name__} has no tokenizer: pass evaluate(..., tokenizer=...)")
    if device is None:
        parameters = model.parameters() if isinstance(model, torch.nn.Module) else iter(())
        device = next((p.device for p in parameters), getattr(model, "device", "cpu"))
    encoded = [tokenize(item, tokenizer) for item in task.items[:count]]
    target_tokens = np.array([target for _, target in encoded], dtype=np.int64)
    correct = np.zeros(count, dtype=bool)
    log_probability = np.zeros(count)
    margin = np.zeros(count)
    finished = np.zeros(count, dtype=bool)

    def result() -> Evaluation:
        items = np.flatnonzero(finished)
        return Evaluation(
            task.name, items, correct[items], log_probability[items], target_tokens[items], margin[items]
        )

    try:
        with tqdm(total=count, desc=task.name, unit="item", disable=not progress, leave=False) as bar:
            for batch in _batches([len(tokens) for tokens, _ in encoded], batch_tokens):
                tokens = torch.tensor([encoded[i][0] for i in batch], device=device)  # (b, l)
                logits = model(tokens[:, :-1])  # the last token is never an input
                for width in sorted({encoded[i][1] for i in batch}):
                    rows = [r for r, i in enumerate(batch) if encoded[i][1] == width]
                    members = [batch[r] for r in rows]
                    scores = _score(logits[rows, -width:], tokens[rows, -width:])
                    correct[members], log_probability[members], margin[members] = scores
                finished[batch] = True
                bar.update(len(batch))
    except KeyboardInterrupt:
        raise EvaluationInterrupted(result() if finished.any() else None) from None
    return result()
