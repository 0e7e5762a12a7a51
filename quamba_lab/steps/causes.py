"""Which of the debug plan's causes makes the difference between two scans, and how much of it.

Two scans are two settings of one configurable scan (:mod:`quamba_lab.scans.variants`).  Moving its switches from the
one setting to the other, one after the other and in many orders, gives every switch its Shapley share of the squared
difference.

    y          what the scan returns, before its cast to float16 hides most of it, by switch, in lockstep: each layer
               receives what the reference had there
    residual   what the layer adds to the residual stream, by cause, in lockstep
    logits     the answer's logits with every layer switched at once, in free run, by cause
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..modes import Mode
from ..scans import ScanInputs
from ..scans.variants import VARIANT_OF, Variant
from ..texts import say
from .causes_result import OUTCOMES, Causes, causes_result
from .swap_game import Game, certified, groups_of, same_inputs, switches
from .swaps import design, effects, shapley
from .workbook import Workbook

__all__ = ["Causes", "causes"]


SAMPLED, IN_FREE_RUN = 8, 2
"""Items that y and the residual, and the logits, are measured on; an interval needs two, and more make it honest."""


def _more(items: list[int], count: int, limit: int) -> list[int]:
    """``items`` and those that follow the last of them, going round, until there are ``count`` (or no more)."""
    following = [(items[-1] + k) % limit for k in range(1, limit + 1)] if items else []
    return list(dict.fromkeys([*items, *following[: max(0, count - len(items))]]))


def _unknown(verdict: str, settings: dict[str, Any], status: str = "unknown") -> Causes:
    empty = pd.DataFrame(columns=["cause", "title", "switches", *OUTCOMES, "sentence"])
    return Causes(status=status, verdict=verdict, settings=settings, numbers={"switches": []}, frames={"Causes": empty})


def causes(
    run: Workbook, mode_a: str | Mode, mode_b: str | Mode, layers: Sequence[int] | None = None,
    items: Sequence[int] = (0, 1), *, variants: tuple[Variant, Variant] | None = None, logits: bool = True,
    sampled: int = SAMPLED,
) -> Causes:  # fmt: skip
    """Take the difference between two modes apart by switch and by the plan's causes.

    ``layers``: the first, middle and last by default.  ``variants``: the settings of the two scans, where these are not
    known by name (:data:`VARIANT_OF`).  ``logits=False`` leaves the free run out.  ``sampled``: items that y and the
    residual are measured on, the ones after ``items`` until there are so many: the intervals rest on them.  The free
    run is made for the first :data:`IN_FREE_RUN` of them, and never for fewer than ``items``.
    """
    middle = [0, run.layers // 2, run.layers - 1]
    chosen = run.check_layers(middle if layers is None else layers)
    items, asked = _more([run.check_item(i) for i in items], sampled, run.limit), len(items)
    names = (run.scan_of(mode_a), run.scan_of(mode_b))
    settings = run.settings(
        mode_a=run.row(mode_a).name, mode_b=run.row(mode_b).name, layers=chosen, items=items, scans=list(names)
    )
    unknown = [n for n in names if n not in VARIANT_OF]
    if variants is None and unknown:
        return _unknown(
            say(
                "The switches' setting that equals {scan} is not known: give variants=(Variant(...), Variant(...)), "
                "or let a diagnosis name its operation.",
                scan=unknown[0],
            ), settings,
        )  # fmt: skip
    if not items or not chosen:
        return _unknown(say("No item or no layer was chosen, so nothing was taken apart."), settings)
    a, b = variants or (VARIANT_OF[names[0]], VARIANT_OF[names[1]])
    views = (run.view(mode_a), run.view(mode_b))

    @functools.cache
    def inputs(item: int, layer: int) -> tuple[ScanInputs, ScanInputs]:
        return tuple(v.layers[layer].scan_inputs(*run.layer_inputs(mode_a, item)[layer]) for v in views)

    def once(what: str, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Measured once for all notebooks, where the scans' settings are the ones that their names stand for."""
        return compute() if variants else run.remember(mode_a, f"causes {what}", compute, other=mode_b)

    differ = any(
        once(f"inputs {run.named(i)} {k}", lambda i=i, k=k: {"differ": not same_inputs(*inputs(i, k))})["differ"]
        for i in items for k in chosen
    )  # fmt: skip
    players = switches(a, b, differ)
    if not players:
        return _unknown(
            say(
                "{a} and {b} are one setting of every switch and receive the same inputs: there is no difference to "
                "take apart.",
                a=names[0], b=names[1],
            ), settings, "identical",
        )  # fmt: skip
    game, plan = Game(players, a, b), design(len(players), run.seed)
    groups = groups_of(players)
    group_plan = design(len(groups), run.seed)
    shares: dict[str, list[np.ndarray]] = {"y": [], "residual": []}
    details = []

    def local(item: int, layer: int, first: bool) -> dict[str, Any]:
        at_y = game.at_y(inputs(item, layer), plan, first)
        at_residual = game.at_residual(
            views[0].layers[layer], inputs(item, layer), list(groups.values()), group_plan
        )  # fmt: skip
        return {
            "y": shapley(at_y, plan).tolist(), "residual": shapley(at_residual, group_plan).tolist(),
            "details": {name: values.tolist() for name, values in effects(at_y, len(players)).items()},
        }  # fmt: skip

    def whole(item: int) -> dict[str, Any]:
        worth = game.at_logits(views, run.tokens(item), list(groups.values()), group_plan)
        alone = effects(worth, len(groups))["alone"].tolist() if max(worth.values()) else None
        return {"logits": shapley(worth, group_plan).tolist(), "alone": alone}

    for i in items:
        first = [i == items[0] and k == chosen[0] for k in chosen]
        found = [
            once(f"local {run.named(i)} {k} {f} {players}", functools.partial(local, i, k, f))
            for k, f in zip(chosen, first, strict=True)
        ]  # fmt: skip
        for outcome in ("y", "residual"):
            shares[outcome].append(np.mean([np.array(one[outcome]) for one in found], axis=0))
        details += [{name: np.array(v, dtype=float) for name, v in one["details"].items()} for one in found]
    alone = np.array([])
    if logits:
        free = items[: max(asked, IN_FREE_RUN)]
        found = [once(f"whole {run.named(i)} {players}", functools.partial(whole, i)) for i in free]
        shares["logits"] = [np.array(one["logits"]) for one in found]
        alone = np.nanmean([one["alone"] for one in found if one["alone"] is not None] or [[np.nan]], axis=0)
    i, k = items[0], chosen[0]
    alike = None if variants else once(
        f"certified {run.named(i)} {k}", lambda: {"alike": certified(names, (a, b), inputs(i, k))}
    )["alike"]  # fmt: skip
    return causes_result(run.seed, game, plan, groups, shares, details, alone, alike, settings)
