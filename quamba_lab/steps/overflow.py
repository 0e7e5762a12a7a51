"""Values beyond the codes: how often every rounding site meets one over the run's items, and what the wrap then does.

The published layer saturates everywhere but after the Hadamard, where the low byte is kept: a value of 128 becomes
-128.  Whether that ever happens is a matter of the items, so it is counted over all of them, not over a sample; what it
does is measured by running the items in which it happens again with a clamp in its place.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from .. import statistics as st
from ..compare import relative_rms
from ..model import QuantizedMamba
from ..sites import Round
from ..tasks import Task, evaluate
from ..texts import listed, plural, say
from .result import significant
from .workbook import Workbook

__all__ = ["Overflow", "Wrapping", "overflow", "wrapping"]

HADAMARD = "hadamard"


@dataclass(frozen=True, eq=False)
class Overflow:
    """What the rounding sites of ``mode`` met over the run's items.

    ``rows``: per layer (-1 for the norm before the head) and site the number of codes made, of values beyond the codes,
    and the lowest and highest value, in units of a code.  ``wrapped``: per item, how many values wrapped around.
    """

    mode: str
    rows: tuple[dict[str, Any], ...]
    wrapped: np.ndarray

    @property
    def hit(self) -> np.ndarray:
        """The items in which a value wrapped."""
        return np.flatnonzero(self.wrapped)

    def table(self) -> pd.DataFrame:
        columns = ["site", "layer", "overflow", "codes", "beyond", "share", "lowest", "highest"]
        rows = [{**row, "share": row["beyond"] / row["codes"]} for row in self.rows]
        return pd.DataFrame(rows, columns=columns)

    def to_json(self) -> dict[str, Any]:
        return {"mode": self.mode, "rows": list(self.rows), "wrapped": self.wrapped.tolist()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Overflow:
        return cls(data["mode"], tuple(data["rows"]), np.array(data["wrapped"], dtype=np.int64))


class _Counter:
    """Watches every rounding module of a model from outside; ``items`` names the rows of the batch that comes."""

    def __init__(self, items: int):
        self.wrapped = np.zeros(items, dtype=np.int64)
        self.rows: dict[tuple[str, int], dict[str, Any]] = {}
        self.items: list[int] = []

    def look(self, layer: int, site: Any, x: Tensor) -> None:
        low, high = (float(v) for v in torch.aminmax(x.nan_to_num(0.0)))
        row = self.rows.setdefault(
            (site.name, layer),
            {"site": site.name, "layer": layer, "overflow": site.rule.overflow, "codes": 0, "beyond": 0,
             "lowest": low, "highest": high},
        )  # fmt: skip
        row["codes"] += x.numel()
        row["lowest"], row["highest"] = min(row["lowest"], low), max(row["highest"], high)
        ends = site.rule.integers(torch.tensor([low, high]))
        if ends[0] >= site.rule.low and ends[1] <= site.rule.high:
            return
        whole = site.rule.integers(x)
        beyond = (whole < site.rule.low) | (whole > site.rule.high)
        row["beyond"] += int(beyond.sum())
        if site.rule.overflow == "wrap":
            self.wrapped[self.items] += beyond.flatten(1).sum(1).cpu().numpy()

    @contextmanager
    def installed(self, model: QuantizedMamba) -> Iterator[None]:
        def watch(layer: int, module: nn.Module) -> Iterator[Any]:
            for part in module.modules():
                if isinstance(part, Round):
                    yield part.register_forward_pre_hook(lambda m, args: self.look(layer, m.site, args[0]))

        handles = [handle for index, layer in enumerate(model.layers) for handle in watch(index, layer)]
        handles += watch(-1, model.norm_f)
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def overflow(run: Workbook, mode: str) -> Overflow:
    """Count over all items of the run; kept on disk beside the answers."""

    def compute() -> dict[str, Any]:
        view = run.view(mode)
        counter = _Counter(run.limit)
        waiting = defaultdict(list)
        for item in range(run.limit):
            waiting[tuple(run.tokens(item)[0].tolist())].append(item)

        def counted(tokens: Tensor) -> Tensor:
            counter.items = [waiting[tuple(row)].pop(0) for row in tokens.tolist()]
            return view(tokens)

        with counter.installed(view):
            _evaluate(run, counted, run.task, run.limit)
        rows = tuple(counter.rows[key] for key in sorted(counter.rows, key=lambda key: (key[1] < 0, key[1])))
        return Overflow(run.row(mode).name, rows, counter.wrapped).to_json()

    return Overflow.from_json(run.remember(mode, "overflow", compute, Overflow.from_json))


def _evaluate(run: Workbook, model: Any, task: Task, limit: int) -> Any:
    return evaluate(
        model, task, limit, tokenizer=run.base.tokenizer, progress=run.progress, device=run.base.device
    )


def _clamped(view: QuantizedMamba) -> QuantizedMamba:
    """The same mode with a clamp after the Hadamard."""
    site = view.sites[HADAMARD]
    return view.with_sites(hadamard=site.with_rule(replace(site.rule, overflow="saturate")))


def _answers(run: Workbook, mode: str, items: Sequence[int]) -> dict[str, dict[str, np.ndarray]]:
    """Per-item answers of ``items`` as published and clamped, in the same batches."""
    chosen = Task(run.task.name, tuple(run.task.items[i] for i in items))

    def compute() -> dict[str, Any]:
        found = {}
        for name, view in (("published", run.view(mode)), ("clamped", _clamped(run.view(mode)))):
            result = _evaluate(run, view, chosen, len(items))
            found[name] = {"correct": result.correct.tolist(), "log_probability": result.log_probability.tolist()}
        return found

    data = run.remember(mode, f"clamped {list(items)}", compute)
    return {form: {key: np.array(v) for key, v in data[form].items()} for form in ("published", "clamped")}


@dataclass(frozen=True, eq=False)
class Wrapping:
    """The unclamped cast after the Hadamard over the run's items.

    ``sites``: the reference's counts by layer and site.  ``effects``: what a clamp in its place would change, a row per
    comparison.  ``layers``: the item with the most wraps, layer by layer.  ``sentence``: the finding.
    """

    sites: pd.DataFrame
    effects: pd.DataFrame
    layers: pd.DataFrame
    sentence: str
    numbers: dict[str, Any]


def wrapping(run: Workbook, mode_a: str, mode_b: str) -> Wrapping:
    """Count the wraps of both modes over the run's items, and measure what they do to the answers."""
    counts = {mode: overflow(run, mode) for mode in dict.fromkeys((mode_a, mode_b))}
    reference = counts[mode_a]
    sites = reference.table()
    hit = sorted(set().union(*(found.hit.tolist() for found in counts.values())))
    effects = _effects(run, list(counts), hit)
    layers = _one_item(run, mode_a, int(reference.wrapped.argmax())) if len(reference.hit) else pd.DataFrame()
    made = sites[sites["site"] == HADAMARD]
    numbers = {
        "items": run.limit, "codes": int(made["codes"].sum()),
        "wrapped": {mode: int(found.wrapped.sum()) for mode, found in counts.items()},
        "items_hit": {mode: len(found.hit) for mode, found in counts.items()},
        "layers_hit": made.loc[made["beyond"] > 0, "layer"].tolist(),
        "largest": float(made[["lowest", "highest"]].abs().to_numpy().max()) if len(made) else 0.0,
    }  # fmt: skip
    return Wrapping(sites, effects, layers, _sentence(mode_a, made, reference, effects, numbers), numbers)


def _effects(run: Workbook, modes: Sequence[str], hit: Sequence[int]) -> pd.DataFrame:
    columns = ["comparison", "items", "gained", "lost", "p_mcnemar", "rms_log_probability", "mean_log_probability",
               "low", "high", "p_permutation"]  # fmt: skip
    if not hit:
        return pd.DataFrame(columns=columns)
    found = {mode: _answers(run, mode, hit) for mode in modes}
    pairs = [
        (say("{mode}: clamped for wrapped", mode=mode), found[mode]["published"], found[mode]["clamped"])
        for mode in modes
    ]
    if len(modes) == 2:
        a, b = modes
        pairs += [
            (say("{b} against {a}, {form}, items with a wrap", a=a, b=b, form=form), found[a][form], found[b][form])
            for form in ("published", "clamped")
        ]
        others = np.setdiff1d(np.arange(run.limit), hit)
        if others.size:
            whole = [run.answers(mode) for mode in modes]
            sides = [{"correct": x.correct[others], "log_probability": x.log_probability[others]} for x in whole]
            pairs.append((say("{b} against {a}, items without a wrap", a=a, b=b), *sides))
    rows = []
    for name, before, after in pairs:
        flips = st.paired_accuracy(before["correct"], after["correct"])
        change = st.paired_log_probability(before["log_probability"], after["log_probability"], seed=run.seed)
        rows.append(
            {
                "comparison": name, "items": flips.n, "gained": flips.only_b, "lost": flips.only_a,
                "p_mcnemar": flips.p, "rms_log_probability": change.rms, "mean_log_probability": change.mean.value,
                "low": change.mean.interval.low, "high": change.mean.interval.high, "p_permutation": change.p,
            }
        )  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def _one_item(run: Workbook, mode: str, item: int) -> pd.DataFrame:
    """Each layer of ``item`` alone, wrapped and clamped on the same input: how far out_proj's output is moved."""
    view = run.view(mode)
    clamped = _clamped(view)
    pairs = run.layer_inputs(mode, item)
    rows = []
    for layer in range(run.layers):
        codes = [_hadamard_codes(model, layer, pairs[layer]) for model in (view, clamped)]
        wraps = codes[0][0] != codes[1][0]  # (b, l, d)
        tokens = wraps.any(-1)
        published, other = codes[0][1], codes[1][1]
        rows.append(
            {
                "layer": layer, "item": item, "wrapped": int(wraps.sum()), "tokens": int(tokens.sum()),
                "first_token": int(tokens[0].nonzero()[0]) if tokens.any() else None,
                "change_of_out_proj": relative_rms(published, other),
                "change_at_those_tokens": relative_rms(published[tokens], other[tokens]) if tokens.any() else 0.0,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def _hadamard_codes(model: QuantizedMamba, layer: int, pair: tuple) -> tuple[Tensor, Tensor]:
    """The codes after the Hadamard and out_proj's output, of one layer on one input."""
    kept = []
    handle = model.layers[layer].hadamard.register_forward_hook(lambda m, args, output: kept.append(output.values))
    try:
        hidden, _ = model.run_layer(layer, *pair)
    finally:
        handle.remove()
    return kept[0], hidden


def _sentence(
    mode: str, made: pd.DataFrame, counts: Overflow, effects: pd.DataFrame, numbers: dict[str, Any]
) -> str:
    if made.empty or made["overflow"].iloc[0] != "wrap":
        return say("The cast after the Hadamard saturates here, so nothing can wrap around.")
    items, codes = f"{numbers['items']:,}", f"{numbers['codes']:,}"
    if not numbers["wrapped"][mode]:
        return say(
            "The unclamped cast after the Hadamard is never hit: the largest of {codes} values in {items} items is "
            "{largest} codes from zero, and only 127.5 would wrap around.",
            codes=codes, items=items, largest=significant(numbers["largest"], 4),
        )  # fmt: skip
    own, layers = effects.iloc[0], numbers["layers_hit"]
    where = plural(len(layers), "layer {names}", "layers {names}", names=listed(map(str, layers)))
    return say(
        "The unclamped cast after the Hadamard wraps {wrapped} of {codes} values around, in {hit} of {items} items "
        "(mode {mode}; {layers}), a fault of the published layer in every mode: with a clamp there instead, "
        "these items' log-probability moves by {rms} nats (RMS); right answers gained: {gained}, lost: {lost}.",
        wrapped=f"{numbers['wrapped'][mode]:,}", codes=codes, hit=f"{len(counts.hit):,}", items=items, mode=mode,
        layers=where, rms=significant(own["rms_log_probability"]), gained=f"{own['gained']:,}",
        lost=f"{own['lost']:,}",
    )  # fmt: skip
