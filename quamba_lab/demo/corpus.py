"""Batches of training stories, each a pure function of (seed, step); the shipped task and calibration text."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer
from torch.utils.data import Dataset

from .stories import Story, stories
from .tokenizer import END_OF_TEXT

__all__ = ["ANSWER_WEIGHT", "TASK_MIX", "StoryBatches", "save_texts", "select_stories"]

ANSWER_WEIGHT = 4.0
"""How much more an answer's tokens count in the training loss than the others, which are mostly free choices."""

ENDINGS = 3
"""Questions that a training story asks at most: the task's stories ask one, but every question is a lesson."""

TASK_MIX = {"easy": 1.0, "medium": 1.0, "hard": 1.0, "hardest": 1.0}
"""How often each difficulty comes in the shipped task."""

TASK_ITEMS, CALIBRATION_STORIES = 5_000, 512

SHORTEST, LONGEST = 40, 150
"""Tokens of a shipped story."""


class StoryBatches(Dataset):
    """``batches[step]``: tokens int64 (rows, length + 1) and the loss weight float32 (rows, length) of each next token.

    A row starts with a story, as an evaluation does, and is filled with as many whole stories as fit, each followed by
    the end-of-text token; the rest is that token with weight 0.  Nothing is remembered from one step to the next, so a
    resumed training sees exactly what an uninterrupted one would have seen.
    """

    def __init__(self, tokenizer: Tokenizer, seed: int, rows: int, length: int):
        self.tokenizer, self.seed, self.rows, self.length = tokenizer, seed, rows, length
        self.end = tokenizer.token_to_id(END_OF_TEXT)

    def _encode(self, made: list[Story]) -> list[tuple[list[int], list[float]]]:
        encoded = []
        for told, encoding in zip(made, self.tokenizer.encode_batch([s.text for s in made]), strict=True):
            weights = [1.0] * (len(encoding.ids) + 1)
            for index, (start, end) in enumerate(encoding.offsets):
                if any(start < last and end > first for first, last in told.answers):
                    weights[index] = ANSWER_WEIGHT
            encoded.append(([*encoding.ids, self.end], weights))
        return encoded

    def __getitem__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        stream = stories("train", self.seed, part=1 + step, endings=ENDINGS)
        room = self.length + 1
        rows: list[list[tuple[list[int], list[float]]]] = [[] for _ in range(self.rows)]
        left = [room] * self.rows
        share = max(1, (self.rows * room) // 120)
        while not all(rows):
            for pair in self._encode(list(itertools.islice(stream, share))):
                row = next((r for r in range(self.rows) if left[r] >= len(pair[0])), None)
                if row is not None:
                    rows[row].append(pair)
                    left[row] -= len(pair[0])
        shuffle = random.Random(f"rows:{self.seed}:{step}")
        tokens = np.full((self.rows, room), self.end, dtype=np.int64)
        weights = np.zeros((self.rows, room), dtype=np.float32)
        for row, pairs in enumerate(rows):
            shuffle.shuffle(pairs)
            start = 0
            for ids, weight in pairs:
                tokens[row, start : start + len(ids)] = ids
                weights[row, start : start + len(ids)] = weight
                start += len(ids)
        return tokens, weights[:, 1:]


def select_stories(
    split: str, seed: int, count: int, tokenizer: Tokenizer, mix: dict[str, float] | None = None
) -> list[Story]:
    """``count`` different stories of ``split`` that are 40 to 150 tokens long."""
    chosen: dict[str, Story] = {}
    for made in stories(split, seed, mix=mix):
        if made.text not in chosen and SHORTEST <= len(tokenizer.encode(made.text).ids) <= LONGEST:
            chosen[made.text] = made
        if len(chosen) == count:
            return list(chosen.values())
    raise AssertionError("the stream of stories is endless")


def _write(path: Path, lines: list[str]) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    partial.replace(path)


def save_texts(output: Path, tokenizer: Tokenizer, seed: int) -> None:
    """Write ``task.jsonl`` (5,000 items) and ``calibration.txt`` (512 stories, one a line) to ``output``."""
    items = select_stories("test", seed, TASK_ITEMS, tokenizer, TASK_MIX)
    records = [{"text": s.text, "kind": s.kind, "difficulty": s.difficulty} for s in items]
    _write(output / "task.jsonl", [json.dumps(record) for record in records])
    texts = select_stories("calibration", seed, CALIBRATION_STORIES, tokenizer)
    _write(output / "calibration.txt", [s.text for s in texts])
