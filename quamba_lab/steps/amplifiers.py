"""Amplifiers: the places where a rounding-level difference going in becomes a large one coming out.

One-ULP perturbations are sent into one stage of one layer, everything before it being equal, and followed through the
rounding sites of that layer and the next, and to the logits.  A site's gain is RMS(change of the codes) over RMS(change
of the values before rounding), both in codes.  Kinds:

    tie        two values on either side of a rounding boundary: one code apart for a fraction of a code
    wrap       the unclamped conversion after the Hadamard: 127.49 and 127.50 become 127 and -128
    clip       a value beyond the range on either side: nothing passes (a gain below 1)
    softplus   the step's threshold, 20, where the library's softplus changes its formula
    answer     the two best answers so near that a perturbation exchanges them
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from ..model import QuantizedMamba
from ..modes import Mode
from ..quantized import Quantized
from ..scans import ScanInputs
from ..texts import listed, paragraph, say
from ..trace import Trace
from .attribution import ATTRIBUTED, WRAPPED, attribute
from .patching import answer, ask, fits, patched
from .reorderings import stochastic_ulp
from .result import StepResult, chart, control, significant
from .workbook import Workbook

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["PERTURBED", "SITES", "Amplifiers", "amplifiers", "perturb", "site_events", "softplus_gain"]

SITES = ("norm", "in_proj", "conv1d", "x_proj", "dt_proj", "hadamard")
"""Stages that round to codes, in the order of computation."""

PERTURBED = ("scan.y", "out_proj")
"""Stages whose float16 output is moved by one ULP: what two scans, or two matrix products, legally differ by."""


@dataclass(frozen=True)
class Events:
    """What happened at one site: one entry per element whose value moved; all arrays of one length.

    ``before``: the two values before rounding (n, 2), float32, in codes; ``codes``: (n, 2); ``place``: flat index.
    """

    before: np.ndarray
    codes: np.ndarray
    place: np.ndarray

    @property
    def kind(self) -> np.ndarray:
        """Of each element: tie, wrap, clip, or empty when nothing came of it."""
        moved = np.abs(np.diff(self.codes, axis=1)[:, 0])
        outside = ((self.before > 127.5) | (self.before < -128.5)).any(1)
        return np.where(moved >= WRAPPED, "wrap", np.where(outside, "clip", np.where(moved > 0, "tie", "")))


def site_events(before_a: Tensor, before_b: Tensor, codes_a: Tensor, codes_b: Tensor) -> Events:
    """The elements of a site (any shape) whose value before rounding, or code, differs between two runs."""
    at = torch.nonzero(((before_a != before_b) | (codes_a != codes_b)).reshape(-1))[:, 0]
    before = torch.stack([t.reshape(-1)[at].float() for t in (before_a, before_b)], 1)
    codes = torch.stack([t.reshape(-1)[at].int() for t in (codes_a, codes_b)], 1)
    return Events(before.cpu().numpy(), codes.cpu().numpy(), at.cpu().numpy())


def perturb(seed: int) -> Callable[[Any], Any]:
    """A patch that rounds a float16 stage stochastically: every value moves one ULP up or down, 1 chance in 8 each."""

    def apply(value: Tensor) -> Tensor:
        return stochastic_ulp(value, torch.Generator().manual_seed(seed))

    return apply


def softplus_gain(x: ScanInputs, threshold: float = 20.0) -> tuple[float, int]:
    """Largest gain of the library's softplus between the neighbours of its threshold, and how many steps lie within
    one code of it."""
    t = torch.tensor(threshold)
    above, below = torch.nextafter(t, t + 1), torch.nextafter(t, t - 1)
    gain = float((F.softplus(above) - F.softplus(below)) / (above - below))
    total = x.dt.dequantize()
    if x.dt_bias is not None:
        total = total + x.dt_bias.dequantize()[None, :, None]
    return gain, int(((total - threshold).abs() <= float(x.dt.scale)).sum())


def _codes(value: Any) -> Tensor:
    return value.values if isinstance(value, Quantized) else value


def _stages(model: QuantizedMamba, pair: tuple, layers: range) -> dict:
    """Every rounding site of consecutive layers run from ``pair``, and the state after them."""
    wanted = [name for site in SITES for name in (site, f"{site}.before_rounding")]
    with Trace(model, stages=wanted, layers=list(layers)) as trace:
        for layer in layers:
            pair = model.run_layer(layer, *pair)
    return {**{where: trace[where] for where in trace}, "end": pair}


def _row(stage: str, perturbed_layer: int, site: str, layer: int, item: int, events: Events) -> list[dict]:
    """One row for each kind that happened at a site."""
    kinds = events.kind
    moved_in = np.abs(np.diff(events.before.astype(np.float64), axis=1)[:, 0])
    moved_out = np.abs(np.diff(events.codes.astype(np.float64), axis=1)[:, 0])
    rows = []
    for kind in ("tie", "wrap", "clip"):
        chosen = kinds == kind
        if chosen.any():
            rows.append(
                {"perturbed": stage, "at_layer": perturbed_layer, "site": site, "layer": layer, "kind": kind,
                 "item": item, "hits": int(chosen.sum()), "in": float(np.square(moved_in[chosen]).sum()),
                 "out": float(np.square(moved_out[chosen]).sum())}
            )  # fmt: skip
    rows.append(
        {"perturbed": stage, "at_layer": perturbed_layer, "site": site, "layer": layer, "kind": "all", "item": item,
         "hits": int((moved_out > 0).sum()), "in": float(np.square(moved_in).sum()),
         "out": float(np.square(moved_out).sum())}
    )  # fmt: skip
    return rows


def _places(site: str, layer: int, item: int, events: Events, channels: int, most: int = 3) -> list[dict]:
    """The single elements with the largest gains, and those that wrapped."""
    moved_in = np.abs(np.diff(events.before.astype(np.float64), axis=1)[:, 0])
    moved_out = np.abs(np.diff(events.codes.astype(np.float64), axis=1)[:, 0])
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = np.where(moved_out > 0, moved_out / moved_in, 0.0)
    order = np.argsort(-gain, kind="stable")
    chosen = dict.fromkeys([*order[:most].tolist(), *order[events.kind[order] == "wrap"][:most].tolist()])
    return [
        {"site": site, "layer": layer, "item": item, "token": int(events.place[i] // channels),
         "channel": int(events.place[i] % channels), "kind": str(events.kind[i]),
         "before_a": float(events.before[i, 0]), "before_b": float(events.before[i, 1]),
         "code_a": int(events.codes[i, 0]), "code_b": int(events.codes[i, 1]), "gain": float(gain[i])}
        for i in chosen if gain[i] > 0
    ]  # fmt: skip


@dataclass(frozen=True, eq=False, kw_only=True)
class Amplifiers(StepResult):
    """Sites ranked by gain, single places, and what the modes' flips are attributed to."""

    STEP = 5
    NAME = "amplifiers"
    TITLE = "Amplifiers: where rounding becomes a difference"
    sites: pd.DataFrame = field(default_factory=pd.DataFrame, repr=False)

    def figures(self) -> list[tuple[str, Figure, str]]:
        return [("amplifiers", self.figure(), self.verdict)] if len(self.sites) else []

    def figure(self, layer: int | None = None) -> Figure:
        """Sites by hits per item and gain, of one layer or of all."""
        from .. import plots_causes

        table = self.sites if layer is None else self.sites[self.sites["layer"] == layer]
        return plots_causes.gains(
            table["hits_per_item"], table["gain"], table["kind"].tolist(),
            title="Amplifiers: how often one ULP hits them, and what they make of it",
        )  # fmt: skip

    def view_data(self) -> dict[str, Any]:
        if not len(self.sites):
            return super().view_data()
        layers = sorted(int(v) for v in self.sites["layer"].unique())
        frames = {}
        for layer in layers:
            part = self.sites[self.sites["layer"] == layer]
            frames[(layer,)] = {
                "columns": ["kind", "site", "perturbed", "gain", "hits per item"],
                "rows": part[["kind", "site", "perturbed", "gain", "hits_per_item"]].values.tolist(),
            }
        return {
            "controls": [control("layer", "Layer", layers)],
            "charts": [chart("amplifiers", "Amplifiers of a layer", self.verdict, "table", ["layer"], frames)],
        }


def _measure(run: Workbook, mode: str | Mode, layers: Sequence[int], items: Sequence[int], draws: int):
    """Rows of sites and places, and per (item, stage, layer) the RMS change of the last logits and a changed answer."""
    rows, places, effects = [], [], []
    for item, layer in itertools.product(items, layers):
        compute = functools.partial(_measure_layer, run, mode, layer, item, draws)
        found = run.remember(mode, f"amplified {run.named(item)} {layer} {draws}", compute)
        rows += found["rows"]
        places += found["places"]
        effects += found["effects"]
    return rows, places, effects


def _measure_layer(run: Workbook, mode: str | Mode, layer: int, item: int, draws: int) -> dict[str, list[dict]]:
    view, rows, places, effects = run.view(mode), [], [], []
    question, pairs = ask(run, item), run.layer_inputs(mode, item)
    base_logits = view.run_from(run.layers, *pairs[-1])
    base_right, margin = answer(base_logits, question)
    reach = range(layer, min(layer + 2, run.layers))
    base = _stages(view, pairs[layer], reach)
    for stage, draw in itertools.product(PERTURBED, range(draws)):
        seed = run.seed * 1_000_003 + item * 1009 + layer * 101 + draw
        with patched(view, {(stage, layer): perturb(seed)}):
            moved = _stages(view, pairs[layer], reach)
        for site, at in itertools.product(SITES, reach):
            key, value = (site, at), (f"{site}.before_rounding", at)
            if value not in base or (at == layer and site != "hadamard"):
                continue
            events = site_events(base[value], moved[value], _codes(base[key]), _codes(moved[key]))
            rows += _row(stage, layer, site, at, item, events)
            sequence_last = site in ("in_proj", "conv1d", "dt_proj")
            if not sequence_last:
                places += _places(site, at, item, events, base[value].shape[-1])
        logits = view.run_from(reach.stop, *moved["end"])
        right, _ = answer(logits, question)
        change = float((logits[0, -1] - base_logits[0, -1]).double().square().mean().sqrt())
        effects.append(
            {"item": item, "perturbed": stage, "layer": layer, "logit_rms": change, "margin": margin,
             "answer_changed": right != base_right}
        )  # fmt: skip
    return {"rows": rows, "places": places, "effects": effects}


def _site_table(rows: list[dict], items: int, draws: int) -> pd.DataFrame:
    columns = ["kind", "site", "layer", "perturbed", "gain", "hits_per_item", "items_hit"]
    table = pd.DataFrame(rows)
    table = table[(table["kind"] != "all") & (table["hits"] > 0)] if len(table) else table
    if not len(table):
        return pd.DataFrame(columns=columns)
    grouped = table.groupby(["kind", "site", "layer", "perturbed"], sort=True)
    found = grouped.agg(hits=("hits", "sum"), i=("in", "sum"), o=("out", "sum"), n=("item", "nunique")).reset_index()
    with np.errstate(divide="ignore"):
        found["gain"] = np.sqrt(found["o"] / found["i"])
    found["hits_per_item"] = found["hits"] / (items * draws)
    found["items_hit"] = found["n"] / items
    return found.sort_values("gain", ascending=False, kind="stable", ignore_index=True)[columns]


def _flips(run: Workbook, mode_a: str | Mode, mode_b: str | Mode, layers: Sequence[int], items: Sequence[int]):
    """Codes of mode B that differ from mode A's in lockstep, by site, layer and kind."""
    rows = []
    for item, layer in itertools.product(items, layers):
        compute = functools.partial(_flips_of_layer, run, mode_a, mode_b, layer, item)
        rows += run.remember(mode_a, f"flips {run.named(item)} {layer}", compute, other=mode_b)["rows"]
    columns = ["kind", "site", "layer", "flips_per_item", "mean_code_change"]
    table = pd.DataFrame(rows)
    if not len(table):
        return pd.DataFrame(columns=columns)
    found = table.groupby(["kind", "site", "layer"], sort=True).agg(hits=("hits", "sum"), out=("out", "sum"))
    found = found.reset_index()
    found["flips_per_item"] = found["hits"] / len(items)
    found["mean_code_change"] = np.sqrt(found["out"] / found["hits"])
    return found[found["out"] > 0][columns].reset_index(drop=True)


def _flips_of_layer(
    run: Workbook, mode_a: str | Mode, mode_b: str | Mode, layer: int, item: int
) -> dict[str, list[dict]]:  # fmt: skip
    pair, rows = run.layer_inputs(mode_a, item)[layer], []
    a, b = (_stages(run.view(m), pair, range(layer, layer + 1)) for m in (mode_a, mode_b))
    for site in SITES:
        key, value = (site, layer), (f"{site}.before_rounding", layer)
        if value in a and value in b and fits(a[key], b[key]):
            events = site_events(a[value], b[value], _codes(a[key]), _codes(b[key]))
            rows += [r for r in _row("lockstep", layer, site, layer, item, events) if r["kind"] != "all"]
    return {"rows": rows}


def amplifiers(
    run: Workbook, mode_a: str | Mode, mode_b: str | Mode | None = None, layers: Sequence[int] | None = None,
    items: Sequence[int] = (0, 1), draws: int = 1, most: int = 12,
) -> Amplifiers:  # fmt: skip
    """Find the amplifiers of ``mode_a``; with ``mode_b``, attribute the pair's code flips and changed answers to them.

    ``draws``: perturbations per stage, layer and item.  ``most``: changed answers that are attributed.
    """
    chosen, items = run.check_layers(layers), [run.check_item(i) for i in items]
    row_b = run.row(mode_b).name if mode_b is not None else None
    settings = run.settings(mode_a=run.row(mode_a).name, mode_b=row_b, layers=chosen, items=items, draws=draws)
    if not chosen or not items:
        empty = _site_table([], 1, 1)
        return Amplifiers(status="unknown", verdict=say("No layer or no item was chosen, so nothing was perturbed."),
                          settings=settings, numbers={}, frames={"Sites": empty}, sites=empty)  # fmt: skip
    rows, places, effects = _measure(run, mode_a, chosen, items, draws)
    sites, effect = _site_table(rows, len(items), draws), pd.DataFrame(effects)
    found = [softplus_gain(run.scan_inputs(mode_a, k, i)) for k in chosen for i in items]
    near = int(effect[effect["answer_changed"]]["item"].nunique())
    others = pd.DataFrame(
        [
            {"kind": "softplus", "gain": max(g for g, _ in found),
             "hits_per_item": sum(n for _, n in found) / len(items),
             "items_hit": sum(n > 0 for _, n in found) / len(found)},
            {"kind": "answer", "gain": float("nan"), "hits_per_item": near / len(items),
             "items_hit": near / len(items)},
        ]
    )  # fmt: skip
    table = pd.DataFrame(places, columns=["site", "layer", "item", "token", "channel", "kind", "before_a", "before_b",
                                          "code_a", "code_b", "gain"])  # fmt: skip
    table = table.assign(wrapped=table["kind"] == "wrap").sort_values(
        ["wrapped", "gain"], ascending=False, kind="stable", ignore_index=True
    )
    table = table.drop(columns="wrapped").head(40)
    growth = effect.groupby(["perturbed", "layer"], sort=True).agg(
        logit_rms=("logit_rms", "mean"), answers_changed=("answer_changed", "mean")
    )
    frames = {"Sites": sites, "Single places": table, "Softplus and answers": others,
              "What one ULP does to the logits": growth.reset_index()}  # fmt: skip
    attributed = pd.DataFrame(columns=ATTRIBUTED)
    if mode_b is not None:
        frames["Code flips of the two modes"] = _flips(run, mode_a, mode_b, chosen, items)
        flipped = np.flatnonzero(run.answers(mode_a).correct != run.answers(mode_b).correct).tolist()
        floor = float(effect["logit_rms"].mean())
        attributed = pd.DataFrame([attribute(run, mode_a, mode_b, i, floor) for i in flipped[:most]],
                                  columns=ATTRIBUTED)  # fmt: skip
        frames["Changed answers"] = attributed
    numbers = {
        "sites": len(sites), "largest_gain": float(sites["gain"].max()) if len(sites) else 0.0,
        "wraps_per_item": float(sites.loc[sites["kind"] == "wrap", "hits_per_item"].sum()),
        "ties_per_item": float(sites.loc[sites["kind"] == "tie", "hits_per_item"].sum()),
        "items_whose_answer_one_ulp_changes": near, "logit_rms": float(effect["logit_rms"].mean()),
        "attributed": attributed["amplifier"].value_counts().sort_index().to_dict(),
    }  # fmt: skip
    return Amplifiers(
        status="rounding" if len(sites) else "identical", verdict=_verdict(sites, numbers, len(items)),
        settings=settings, numbers=numbers, frames=frames, sites=sites,
    )  # fmt: skip


def _verdict(sites: pd.DataFrame, numbers: dict[str, Any], items: int) -> str:
    if not len(sites):
        return say(
            "One ULP of y changed no code of any rounding site in {items} items: nothing amplifies here.", items=items
        )
    top = sites.iloc[0]
    often = sites.loc[sites["hits_per_item"].idxmax()]
    text = say(
        "The largest gain is {gain} ({kind} at {site}, layer {layer}, {hits} hits per item); hit most often is the "
        "{often} at {often_site}, layer {often_layer} ({often_hits} per item, gain {often_gain}). One ULP in one layer "
        "changes the answer of {changed} of {items} items.",
        gain=significant(top["gain"]), kind=top["kind"], site=top["site"], layer=top["layer"],
        hits=significant(top["hits_per_item"]), often=often["kind"], often_site=often["site"],
        often_layer=often["layer"], often_hits=significant(often["hits_per_item"]),
        often_gain=significant(often["gain"]), changed=numbers["items_whose_answer_one_ulp_changes"], items=items,
    )  # fmt: skip
    if numbers["attributed"]:
        parts = listed(say("{n} to {kind}", n=n, kind=kind) for kind, n in numbers["attributed"].items())
        text = paragraph([text, say("Changed answers attributed: {parts}.", parts=parts)])
    return text
