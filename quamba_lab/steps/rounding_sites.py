"""Every rounding site of the published layer in one table, and the values before rounding that a trace does not hold.

A trace captures what becomes a code inside a prompt's layer.  Added here: the state that the scan returns, rounded
inside the scan (read from the same scan without a state scale, which then returns it in float32), and the norm before
the head, which belongs to no layer.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd
from torch import Tensor

from .. import scans
from ..quantized import AWAY_SATURATE, EVEN_SATURATE, EVEN_SYMMETRIC
from ..sites import RequantizationSite
from .ledger import HEAD, STATE

if TYPE_CHECKING:
    from .workbook import Workbook

__all__ = ["STATE_SITES", "site_table", "with_every_site"]

STATE_SITES = {
    "state": RequantizationSite("state", "value/scale", AWAY_SATURATE),
    "state/one_token": RequantizationSite("state/one_token", "value/scale", EVEN_SATURATE),
    "parameters": RequantizationSite("parameters", "value/scale", EVEN_SYMMETRIC),
}
"""Sites that lie inside the scan or are passed once, when the model is prepared; the others are the model's own."""


def state_before_rounding(run: Workbook, mode: str, reference: str, layer: int, item: int) -> Tensor | None:
    """The last state in codes (b, d, n) before it is rounded, on the input that ``layer`` has in ``reference``'s run.

    None for a scan that returns no float32 state.
    """
    inputs = run.view(mode).layers[layer].scan_inputs(*run.layer_inputs(reference, item)[layer])
    if inputs.state_scale is None:
        return None
    state = scans.run(run.scan_of(mode), replace(inputs, state_scale=None)).last_state
    return None if state is None or not state.is_floating_point() else state.float() / inputs.state_scale


def head_before_rounding(run: Workbook, mode: str, reference: str, item: int) -> Tensor:
    """What the norm before the head makes codes of, in codes (b, l, m), on the input that it has in ``reference``."""
    view, kept = run.view(mode), []
    handle = view.norm_f.rounding.register_forward_pre_hook(lambda module, args: kept.append(args[0]))
    try:
        view.run_from(run.layers, *run.layer_inputs(reference, item)[-1])
    finally:
        handle.remove()
    return kept[0]


def with_every_site(
    run: Workbook, trace: Mapping, mode: str, reference: str, item: int, layers: list[int]
) -> Mapping:
    """``trace`` of ``mode`` with the sites that it lacks; ``reference`` is ``mode`` itself for a free run."""
    more: dict[tuple[str, int | None], Any] = {(HEAD, None): head_before_rounding(run, mode, reference, item)}
    for layer in layers:
        state = state_before_rounding(run, mode, reference, layer, item)
        if state is not None:
            more[STATE, layer] = state
    return ChainMap(more, trace)


_WHEN = {
    "rows": "one token of several items (decoding)", "one_row": "one token of one item (decoding)",
    "one_token": "every token in decoding", "triton": "the norm of the repository's present head",
}  # fmt: skip
_NOT_IN_A_PROMPT = {"conv1d.input": "mode 3 only", "parameters": "once, when the model is prepared",
                    "out_proj": "float16 out, no codes", "logits": "float16 out, no codes"}  # fmt: skip


def site_table(run: Workbook, mode_a: str, counts: pd.DataFrame) -> pd.DataFrame:
    """One row per site: how it rounds, where it is passed, and the flips that the ledger counted there in each run."""
    sites = dict(run.view(mode_a).sites) | STATE_SITES
    rows = []
    for name, site in sites.items():
        base, _, variant = name.partition("/")
        part = counts[counts["site"] == name]
        when = _WHEN.get(variant) or _NOT_IN_A_PROMPT.get(base) or "in a prompt"
        row = {
            "site": name, "association": site.association,
            "ties": "to even" if site.rule.ties == "even" else "away from zero",
            "range": f"{site.rule.low} .. {site.rule.high}", "beyond": site.rule.overflow, "passed": when,
        }  # fmt: skip
        for kind in ("lockstep", "free run"):
            of = part[part["run"] == kind]
            row |= {f"codes, {kind}": int(of["codes"].sum()), f"flips, {kind}": int(of["flips"].sum())}
        rows.append(row)
    return pd.DataFrame(rows)
