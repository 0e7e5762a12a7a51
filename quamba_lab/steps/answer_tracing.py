"""Which stage of which layer turns an answer: patch one mode's values into the other's run until it flips back.

For an item that the two modes answer differently, mode B runs with a single stage's output taken from mode A's run.
The stages that suffice to give A's answer are found for every layer; the earliest and the smallest of them are named,
and the smallest is shrunk to the elements that are needed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..model import QuantizedMamba
from ..modes import Mode
from ..texts import paragraph, plural, say
from .patching import PATCHABLE, Asked, answer, ask, changed, fits, patched, put, values_of
from .result import StepResult, chart, control
from .workbook import Workbook

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["AnswerTracing", "TracedItem", "answer_tracing", "trace_item"]

Where = tuple[str, int]

SINGLE = tuple(stage for stage in PATCHABLE if stage != "residual")
"""Stages that are tried by themselves; the residual stream is the whole of what a layer knows, and comes last."""


@dataclass(frozen=True)
class TracedItem:
    """What was found for one item.

    ``sufficient``: every (stage, layer) whose patch alone turns B's answer into A's, with the number of elements that
    differ there.  ``earliest``, ``smallest``: two of them, or None.  ``needed``: elements of the smallest that are
    still needed when it is shrunk.  ``reset_by``: the first layer from which B gives A's answer when the whole residual
    stream is A's there; None when no layer does it.  ``also_turns_a``: the smallest, put into A's run from B's, turns
    A's answer as well.
    """

    item: int
    right_in: str
    margin_a: float
    margin_b: float
    sufficient: dict[Where, int]
    earliest: Where | None
    smallest: Where | None
    needed: int | None
    reset_by: int | None
    also_turns_a: bool
    not_patchable: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(replace(self, sufficient={})) | {"sufficient": [[*k, n] for k, n in self.sufficient.items()]}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TracedItem:
        places = {name: None if data[name] is None else tuple(data[name]) for name in ("earliest", "smallest")}
        sufficient = {(stage, layer): count for stage, layer, count in data["sufficient"]}
        return cls(**data | places | {"sufficient": sufficient, "not_patchable": tuple(data["not_patchable"])})


def _shrink(mask: Tensor, works: Callable[[Tensor], bool], tries: int) -> Tensor:
    """A smaller mask that still works: Zeller's ddmin (2002) over its elements, within a number of tries."""
    places = torch.nonzero(mask.reshape(-1))[:, 0].tolist()

    def build(chosen: list[int]) -> Tensor:
        small = torch.zeros(mask.numel(), dtype=torch.bool, device=mask.device)
        small[chosen] = True
        return small.view(mask.shape)

    parts = 2
    while len(places) > 1 and tries > 0:
        size = -(-len(places) // parts)
        pieces = [places[i : i + size] for i in range(0, len(places), size)]
        rests = [[p for p in places if p not in set(piece)] for piece in pieces] if parts > 2 else []
        for candidate in [*pieces, *rests]:
            tries -= 1
            if works(build(candidate)):
                places, parts = candidate, max(2, parts - 1 if len(candidate) > size else 2)
                break
            if tries <= 0:
                break
        else:
            if parts >= len(places):
                break
            parts = min(len(places), 2 * parts)
    return build(places)


def trace_item(
    model_a: QuantizedMamba, model_b: QuantizedMamba, question: Asked, item: int = 0,
    names: tuple[str, str] = ("a", "b"), tries: int = 40,
) -> TracedItem:  # fmt: skip
    """Trace one item's answer from ``model_b`` back to ``model_a``.  Raises ``ValueError`` if they answer alike."""
    right_a, margin_a = answer(model_a(question.tokens), question)
    right_b, margin_b = answer(model_b(question.tokens), question)
    if right_a == right_b:
        both = "right" if right_a else "wrong"
        raise ValueError(f"both modes are {both} on item {item}: choose an item that they answer differently")
    values_a, values_b = values_of(model_a, question.tokens), values_of(model_b, question.tokens)

    def turned(model: QuantizedMamba, where: Where, source: dict, mask: Tensor | None, wanted: bool) -> bool:
        with patched(model, {where: put(source[where], mask)}):
            return answer(model(question.tokens), question)[0] == wanted

    sufficient: dict[Where, int] = {}
    odd: dict[str, None] = {}
    for layer in range(len(model_b.layers)):
        for stage in SINGLE:
            where = (stage, layer)
            if not fits(values_a[where], values_b[where]):
                odd[stage] = None
                continue
            count = int(changed(values_a[where], values_b[where]).sum())
            if count and turned(model_b, where, values_a, None, right_a):
                sufficient[where] = count
    reset = next(
        (k for k in range(len(model_b.layers)) if turned(model_b, ("residual", k), values_a, None, right_a)), None
    )
    smallest = min(sufficient, key=lambda w: sufficient[w], default=None)
    needed, also = None, False
    if smallest is not None:
        mask = changed(values_a[smallest], values_b[smallest])
        kept = _shrink(mask, lambda m: turned(model_b, smallest, values_a, m, right_a), tries)
        needed = int(kept.sum())
        also = turned(model_a, smallest, values_b, None, right_b)
    return TracedItem(
        item, names[0] if right_a else names[1], margin_a, margin_b, sufficient, next(iter(sufficient), None), smallest,
        needed, reset, also, tuple(odd),
    )  # fmt: skip


def _traced(
    run: Workbook, mode_a: str | Mode, mode_b: str | Mode, item: int, names: tuple[str, str], tries: int
) -> dict[str, Any]:  # fmt: skip
    try:
        found = trace_item(run.view(mode_a), run.view(mode_b), ask(run, item), item, names, tries)
    except ValueError:  # alone the item may come out otherwise than in its batch: then it does not flip
        return {"found": None}
    return {"found": found.to_json()}


def _text(where: Where | None) -> str:
    return say("none alone") if where is None else say("{stage}, layer {layer}", stage=where[0], layer=where[1])


@dataclass(frozen=True, eq=False, kw_only=True)
class AnswerTracing(StepResult):
    """Every traced item; ``layers`` of the model."""

    STEP = 5
    NAME = "answer_tracing"
    TITLE = "Which stage turns each answer"
    traced: tuple[TracedItem, ...] = field(default=(), repr=False)
    layers: int = 0

    def _counts(self, items: Sequence[TracedItem] | None = None) -> np.ndarray:
        counts = np.zeros((len(SINGLE), self.layers))
        for found in self.traced if items is None else items:
            for stage, layer in found.sufficient:
                counts[SINGLE.index(stage), layer] += 1
        return counts

    def figures(self) -> list[tuple[str, Figure, str]]:
        return [("answers", self.figure(), self.verdict)] if self.traced else []

    def figure(self, item: int | None = None) -> Figure:
        """Stages x layers: for how many items (or for one) a patch there alone turns the answer back."""
        from .. import plots_causes

        chosen = [t for t in self.traced if item is None or t.item == item]
        what = say("every traced item") if item is None else say("item {item}", item=item)
        return plots_causes.patches(
            self._counts(chosen), SINGLE, range(self.layers),
            title=say("Patches that turn the answer back ({what})", what=what),
        )

    def view_data(self) -> dict[str, Any]:
        if not self.traced:
            return super().view_data()
        frames = {
            (found.item,): {
                "columns": ["stage", "layer", "elements that differ"],
                "rows": [[stage, layer, count] for (stage, layer), count in found.sufficient.items()],
            }
            for found in self.traced
        }
        return {
            "controls": [control("item", "Item", [t.item for t in self.traced])],
            "charts": [chart("answers", "Patches that turn the answer back", self.verdict, "table", ["item"], frames)],
        }


COLUMNS = ["item", "right_in", "margin_a", "margin_b", "earliest", "smallest", "elements", "needed", "reset_at_layer",
           "also_turns_a", "stages_that_suffice"]  # fmt: skip


def answer_tracing(
    run: Workbook, mode_a: str | Mode, mode_b: str | Mode, items: Sequence[int] | None = None, most: int = 8,
    tries: int = 40,
) -> AnswerTracing:  # fmt: skip
    """Trace every item that exactly one of two modes answers correctly, at most ``most`` of them.

    ``items``: those to look at; all of the run's by default.  ``tries``: forward passes spent on shrinking each.
    """
    names = (run.row(mode_a).name, run.row(mode_b).name)
    settings = run.settings(mode_a=names[0], mode_b=names[1], most=most)
    flips = np.flatnonzero(run.answers(mode_a).correct != run.answers(mode_b).correct).tolist()
    if items is not None:
        wanted = {run.check_item(i) for i in items}
        flips = [i for i in flips if i in wanted]
    traced, unlike = [], []
    for i in flips[:most]:
        compute = functools.partial(_traced, run, mode_a, mode_b, i, names, tries)
        found = run.remember(mode_a, f"traced {run.named(i)} {names} {tries}", compute, other=mode_b)["found"]
        if found is None:
            unlike.append(i)
        else:
            traced.append(TracedItem.from_json(found))
    rows = [
        [t.item, t.right_in, t.margin_a, t.margin_b, _text(t.earliest), _text(t.smallest),
         t.sufficient.get(t.smallest, None), t.needed, t.reset_by, t.also_turns_a, len(t.sufficient)]
        for t in traced
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=COLUMNS)
    stages = pd.DataFrame(
        [[t.item, stage, layer, count] for t in traced for (stage, layer), count in t.sufficient.items()],
        columns=["item", "stage", "layer", "elements_that_differ"],
    )
    status, verdict = _verdict(names, flips, traced, run.limit if items is None else len(wanted))
    if unlike:
        also = plural(
            len(unlike), "{count} more flips in a batch but not alone.", "{count} more flip in a batch but not alone."
        )
        verdict = paragraph([verdict, also])
    numbers = {
        "flips": len(flips), "traced": len(traced), "by_one_stage": sum(bool(t.sufficient) for t in traced),
        "needed": [t.needed for t in traced], "not_patchable": sorted({s for t in traced for s in t.not_patchable}),
    }  # fmt: skip
    return AnswerTracing(
        status=status, verdict=verdict, settings=settings, numbers=numbers,
        frames={"Items": table, "Every patch that suffices": stages}, traced=tuple(traced), layers=run.layers,
    )  # fmt: skip


def _verdict(names: tuple[str, str], flips: list[int], traced: list[TracedItem], count: int) -> tuple[str, str]:
    a, b = names
    if not flips:
        return "not established", say(
            "No item of {count} is answered differently by modes {a} and {b}: nothing to trace.", count=count, a=a, b=b
        )
    single = [t for t in traced if t.sufficient]
    verdict = say(
        "Modes {a} and {b} answer {flips} of {count} items differently; of {traced} traced, {single} turn back when "
        "one stage of one layer is taken from mode {a}.",
        a=a, b=b, flips=len(flips), count=count, traced=len(traced), single=len(single),
    )  # fmt: skip
    if single:
        least = min(single, key=lambda t: (t.needed, t.item))
        early = min(single, key=lambda t: t.earliest[1])
        places = say(
            "The earliest is {early} (item {early_item}); the smallest, {least}, needs {needed} of its {differing} "
            "differing elements (item {least_item}).",
            early=_text(early.earliest), early_item=early.item, least=_text(least.smallest), needed=least.needed,
            differing=least.sufficient[least.smallest], least_item=least.item,
        )  # fmt: skip
        verdict = paragraph([verdict, places])
    return "established", verdict
