"""Step 4's verdict: how far apart the outputs are, over which floor, and who is closer to FP64, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .. import statistics as st
from ..texts import clauses, paragraph, plural, say
from ..thresholds import threshold
from .output_tables import Measured
from .result import share, significant

if TYPE_CHECKING:
    from .overflow import Wrapping

__all__ = ["judge_outputs"]


def judge_outputs(measured: Measured, wraps: Wrapping | None, a: str, b: str) -> tuple[str, str, dict[str, Any]]:
    """The status, the verdict and the numbers behind it."""
    table, flips = measured.y, measured.frames["Code flips by site"]
    if table.empty:
        return "unknown", say("No layer or no item was chosen, so no scan output was compared."), {}
    lock, free = table[table["run"] == "lockstep"], table[table["run"] == "free run"]
    bounds = threshold("y.error_rms", "float16"), threshold("y.mismatch", "float16")
    worst = lock.loc[lock["error_rms"].fillna(np.inf).idxmax()]
    numbers = {
        "lockstep_error_rms": float(worst["error_rms"]), "lockstep_share": float(lock["share"].max()),
        "lockstep_times_floor": float(lock["times_floor"].max()), "free_error_rms": float(free["error_rms"].max()),
        "free_times_floor": float(free["times_floor"].max()), "times_floor": measured.multiples,
        "layers_where_b_is_closer": int((lock["closer_to_fp64"] == b).sum()),
        "layers_where_a_is_closer": int((lock["closer_to_fp64"] == a).sum()), "layers": len(lock),
        "not_nearest": {a: float(lock["not_nearest_a"].mean()), b: float(lock["not_nearest_b"].mean())},
        "flips_lockstep": int(flips.loc[flips["run"] == "lockstep", "flips"].sum()),
        "flips_free_run": int(flips.loc[flips["run"] == "free run", "flips"].sum()),
        "wrapped_values": wraps.numbers["wrapped"][a] if wraps else 0, "wraps": wraps.numbers if wraps else {},
        "inputs_equal": measured.inputs_equal,
    }  # fmt: skip
    wrapped = wraps.sentence if wraps else ""
    if lock["note"].str.contains("shapes").any():
        sentence = say("Modes {a} and {b} return y of different shapes: {note}.", a=a, b=b, note=worst["note"])
        return "fault", sentence, numbers
    unknown = lock["error_rms"].isna() | lock["note"].ne("")
    if lock["equal"].all():
        sentence = say("With equal inputs, modes {a} and {b} return the same y bit for bit at every layer.", a=a, b=b)
        free_run = say("So they do in free run.") if free["equal"].all() else say("In free run they part.")
        return "identical", paragraph([sentence, free_run, wrapped]), numbers
    if unknown.any():
        layer = int(lock[unknown]["layer"].iloc[0])
        sentence = say("y could not be compared at layer {layer}: {note}.", layer=layer, note=worst["note"])
        return "fault", sentence, numbers
    beyond = lock[(lock["error_rms"] > bounds[0]) | (lock["share"] > bounds[1])]
    who = _who(lock, a, b)
    size = say(
        "at most {error} of RMS(y) (layer {layer}), in {part} of the values",
        error=significant(float(worst["error_rms"])), layer=int(worst["layer"]), part=share(float(lock["share"].max())),
    )  # fmt: skip
    lock_floor, free_floor = (_over_floor(measured.multiples.get(kind)) for kind in ("lockstep", "free run"))
    size = clauses([part for part in (size, lock_floor) if part])
    grown = say("the difference grows to {error}", error=significant(float(free["error_rms"].max())))
    grown = say("In free run {grown}.", grown=clauses([part for part in (grown, free_floor) if part]))
    if not measured.inputs_equal:
        sentence = say("The scans' inputs differ already, so y does: {size}; {who}.", size=size, who=who)
        return "established", paragraph([sentence, grown, wrapped]), numbers
    if beyond.empty:
        sentence = say("With equal inputs, y differs by rounding only: {size}; {who}.", size=size, who=who)
        return "rounding", paragraph([sentence, grown, wrapped]), numbers
    sentence = say("With equal inputs, y differs by more than rounding: {size}; {who}.", size=size, who=who)
    return "fault", paragraph([sentence, grown, wrapped]), numbers


def _who(lock: pd.DataFrame, a: str, b: str) -> str:
    """Which mode is closer to FP64, at how many layers, whether chance would do as well, and how often each misses."""
    closer = lock["closer_to_fp64"].value_counts()
    of_a, of_b = int(closer.get(a, 0)), int(closer.get(b, 0))
    missed = {
        "a": a, "b": b, "missed_a": share(float(lock["not_nearest_a"].mean())),
        "missed_b": share(float(lock["not_nearest_b"].mean())),
    }  # fmt: skip
    if of_a == of_b:
        return say(
            "neither is closer to FP64 ({a} misses the nearest float16 in {missed_a} of the values, {b} in {missed_b})",
            **missed,
        )
    p = st.exact_mcnemar(of_a, of_b)  # the sign test: layers where a is closer against layers where b is
    fields = missed | {
        "mode": b if of_b > of_a else a, "count": max(of_a, of_b), "total": len(lock), "p": significant(p)
    }  # fmt: skip
    if p <= st.ALPHA:
        return say(
            "mode {mode} is closer to FP64, at {count} of {total} layers (sign test p = {p}; {a} misses the nearest "
            "float16 in {missed_a} of the values, {b} in {missed_b})",
            **fields,
        )
    return say(
        "mode {mode} is closer to FP64 at {count} of {total} layers, as chance would have it (sign test p = {p}; {a} "
        "misses the nearest float16 in {missed_a} of the values, {b} in {missed_b})",
        **fields,
    )


def _over_floor(found: dict[str, Any] | None) -> str:
    """The pooled multiple of the floor with what its interval rests on; empty when there is no floor."""
    if found is None or not np.isfinite(found["multiple"]):
        return ""
    fields = {
        "times": significant(found["multiple"]), "low": significant(found["low"]), "high": significant(found["high"]),
        "units": f"{found['units']:,}",
    }  # fmt: skip
    if found["over"] == "items":
        return say("{times} times the floor (95 % interval {low} to {high}, from {units} items)", **fields)
    return plural(
        found["items"],
        "{times} times the floor (95 % interval {low} to {high}, from {units} tokens of {count} item, which are not "
        "independent)",
        "{times} times the floor (95 % interval {low} to {high}, from {units} tokens of {count} items, which are not "
        "independent)",
        **fields,
    )
