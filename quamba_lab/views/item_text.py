"""An item's text with what each mode made of it: log-probability token by token, the target and both answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from ..tasks import tokenize
from ..texts import say
from .sources import Need, Sources
from .view import View

__all__ = ["TEXT", "answer"]

LONGEST_ANSWER = 8
"""Tokens of an answer that are decoded at most; a word ends before."""


def log_probabilities(sources: Sources, mode: str, item: int) -> np.ndarray:
    """Natural log-probability of every token of the item but the first, given those before it, float64 (l,)."""
    need = ("trace", mode, item)

    def compute(trace: Mapping) -> np.ndarray:
        ids = _ids(sources, item)
        log_p = torch.log_softmax(trace["logits", None][0].double(), dim=-1).cpu()  # (l, v)
        return log_p.gather(1, torch.tensor(ids[1:])[:, None]).squeeze(1).numpy()

    return sources.derived(need, "log_probabilities", compute)


def _ids(sources: Sources, item: int) -> list[int]:
    return tokenize(sources.run.task.items[item], sources.run.base.tokenizer)[0]


def answer(sources: Sources, mode: str, item: int) -> str:
    """The word that greedy decoding gives after the item's context."""
    run = sources.run
    tokenizer = run.base.tokenizer
    ids, target = tokenize(run.task.items[item], tokenizer)

    def compute(trace: Mapping) -> str:
        at = len(ids) - target - 1
        given = trace["logits", None][0, at:].argmax(-1).tolist()  # each after the target's tokens before it
        if given == ids[at + 1 :]:
            return run.task.items[item].target.strip()
        found = given[:1]
        while len(found) < LONGEST_ANSWER:
            tokens = torch.tensor([[*ids[: at + 1], *found]], device=run.base.device)
            following = int(run.view(mode)(tokens)[0, -1].argmax())
            if not tokenizer.decode([following])[:1].isalnum():
                break
            found.append(following)
        return tokenizer.decode(found).strip()

    return sources.derived(("trace", mode, item), "answer", compute)


def needs(sources: Sources, *, mode_a: str, mode_b: str, item: int, **_: Any) -> list[Need]:
    return [("trace", mode_a, item), ("trace", mode_b, item)]


def item_text(sources: Sources, *, mode_a: str, mode_b: str, item: int) -> dict[str, Any]:
    """The item's tokens with the change of each one's log-probability from mode A to mode B, and what was answered."""
    run = sources.run
    ids, target = tokenize(run.task.items[item], run.base.tokenizer)
    a, b = (log_probabilities(sources, mode, item) for mode in (mode_a, mode_b))
    change = b - a
    context = len(ids) - target
    facts = [[say("target"), run.task.items[item].target.strip(), "", ""]]
    for mode, log_p in ((mode_a, a), (mode_b, b)):
        said = answer(sources, mode, item)
        verdict = say("right") if said == run.task.items[item].target.strip() else say("wrong")
        facts.append([say("mode {mode}", mode=mode), said, verdict, float(f"{log_p[context - 1 :].sum():.5g}")])
    total = float(change[context - 1 :].sum())
    moved = int(np.abs(change).argmax()) + 1
    note = (
        say(
            "Mode {mode_b} gives the target {total} nats {more} than mode {mode_a}; the token whose log-probability "
            "changes most is {moved}, by {by}.",
            mode_b=mode_b, total=f"{abs(total):.3g}", more=say("more") if total > 0 else say("less"), mode_a=mode_a,
            moved=moved, by=f"{change[moved - 1]:+.3g}"
        )
        if np.any(change)
        else say(
            "Modes {mode_a} and {mode_b} give every token of item {item} the same probability.",
            mode_a=mode_a, mode_b=mode_b, item=item
        )
    )
    return {
        "tokens": [run.base.tokenizer.decode([i]) for i in ids],
        "values": [None, *(float(f"{v:.3g}") for v in change)],
        "target": [context, len(ids)], "answers": {"columns": ["", "word", "", "nats"], "rows": facts}, "note": note,
        "low": say("less likely in mode {mode}", mode=mode_b), "high": say("more likely in mode {mode}", mode=mode_b),
    }  # fmt: skip


TEXT = View(
    "text", "The item, word by word", "tokens", ("mode_a", "mode_b", "item"), item_text, needs, marks=("token",),
    wide=True,
)  # fmt: skip
