"""Step 5 in words: the first operation that differs beyond its floor, who is nearer to FP64, what a GPU recorded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from ..scans import OPERATIONS
from ..texts import paragraph, say
from .equal_inputs import first_divergence
from .result import share, significant

__all__ = ["judge", "recorded_sentence"]


def judge(
    ladder: pd.DataFrame,
    equal: pd.DataFrame,
    recorded: pd.DataFrame | None,
    sides: tuple[str, str],
    names: tuple[str, str],
    refused: list[str],
    gpu: dict[str, Any],
) -> tuple[str, str, dict[str, Any]]:
    """Status, the sentence and the numbers behind it.

    ``ladder``, ``equal``, ``recorded``: the tables; ``sides``: the scans; ``names``: their modes; ``refused``: why a
    side shows nothing; ``gpu``: device and number of the recordings.
    """
    notes = [say("Note: {reason}.", reason=reason) for reason in refused]
    seen = ladder.dropna(subset=["local_units_a", "local_units_b"], how="all") if "local_units_a" in ladder else ladder
    if seen.empty:
        nothing = say("Nothing inside the scans could be seen.") if refused else say("No layer was chosen.")
        return "unknown", paragraph([nothing, *notes]), {"not_seen": refused}
    first = first_divergence(equal)
    differing = equal[equal["bits_differ"] > 0]
    order = [op for op in OPERATIONS if op in set(differing["operation"])]
    gates = [float(seen.loc[seen["operation"] == "gate", f"error_of_{side}"].max()) for side in "ab"]
    beyond = equal[equal["beyond"].astype(bool)].head(20)
    exacter = names[int(gates[1] < gates[0])] if gates[0] != gates[1] else "equal"
    numbers = {
        "first_divergence": None if first is None else _divergence(first, sides, names),
        "first_unequal": order[0] if order else None,
        "unequal": {op: _share(differing[differing["operation"] == op]) for op in order},
        "beyond": [_divergence(row, sides, names) for _, row in beyond.iterrows()],
        "error_of_a": gates[0], "error_of_b": gates[1], "not_seen": refused,
        "nearer": None if any(np.isnan(gates)) else exacter,
        "recorded": gpu,
    }  # fmt: skip
    of_gpu = recorded_sentence(recorded, gpu)
    if first is not None:
        return "fault", paragraph([_fault_sentence(numbers["first_divergence"]), of_gpu, *notes]), numbers
    if not order and not refused and not (ladder["equal"] == False).any():  # noqa: E712  (a column of objects)
        same = say("Every operation of {a} and {b} gives the same bits on equal inputs.", a=sides[0], b=sides[1])
        return "identical", paragraph([same, of_gpu]), numbers
    sentences = [say("No operation of the scan errs beyond its rounding on equal inputs.")]
    if order:
        row = numbers["unequal"][order[0]]
        sentences.append(say(
            "The first whose bits differ there is {operation}: {differing} of {compared} values.", operation=order[0],
            differing=f"{row['differing']:,}", compared=f"{row['compared']:,}",
        ))  # fmt: skip
    if numbers["nearer"] is None:
        sentences.append(say("Only one side could be seen."))
    else:
        sentences.append(say(
            "Before the cast to float16 the errors against FP64 reach {error_a} (mode {a}) and {error_b} (mode {b}), "
            "so mode {nearer} is the more exact one.",
            error_a=significant(gates[0]), a=names[0], error_b=significant(gates[1]), b=names[1],
            nearer=numbers["nearer"],
        ) if numbers["nearer"] != "equal" else say("Both err alike against FP64."))  # fmt: skip
    status = "unknown" if numbers["nearer"] is None else "rounding"
    return status, paragraph([*sentences, of_gpu, *notes]), numbers


def _share(rows: pd.DataFrame) -> dict[str, int]:
    return {"differing": int(rows["bits_differ"].sum()), "compared": int(rows["compared"].sum())}


def _divergence(row: pd.Series, sides: tuple[str, str], names: tuple[str, str]) -> dict[str, Any]:
    """One operation beyond its floor: which side it is, by how much and where."""
    own = [row["added_by_a"], row["added_by_b"]]
    guilty = int(np.nan_to_num(own[1], nan=-1.0) > np.nan_to_num(own[0], nan=-1.0))
    return {
        "operation": row["operation"], "layer": int(row["layer"]), "mode": names[guilty], "scan": sides[guilty],
        "added": float(own[guilty]), "apart": float(row["apart"]), "floor": float(row["floor"]), "unit": row["unit"],
        "place": row["place"],
    }  # fmt: skip


def _fault_sentence(first: dict[str, Any]) -> str:
    words = {key: first[key] for key in ("operation", "scan", "mode", "layer", "unit")}
    words |= {key: significant(first[key]) for key in ("added", "floor")}
    if not first["place"]:
        return say(
            "The first operation that differs beyond its floor, its inputs being equal, is {operation} of {scan} (mode "
            "{mode}, layer {layer}): it is off by {added} {unit}, and {floor} between the two scans are legal.",
            **words,
        )  # fmt: skip
    return say(
        "The first operation that differs beyond its floor, its inputs being equal, is {operation} of {scan} (mode "
        "{mode}, layer {layer}, at {place}): it adds {added} {unit}, and {floor} between the two scans are legal.",
        **words, place=first["place"],
    )  # fmt: skip


def recorded_sentence(table: pd.DataFrame | None, gpu: dict[str, Any]) -> str:
    """What the recordings say, or nothing."""
    if table is None or table.empty:
        return ""
    words = {"count": gpu["recordings"], "device": gpu["device"]}
    beyond = table[table["beyond"].astype(bool)]
    if len(beyond):
        row = beyond.iloc[0]
        return say(
            "On {count} recordings of an {device}, {operation} of {scan} leaves its floor against this machine's "
            "build.",
            operation=row["operation"], scan=row["scan"], **words,
        )  # fmt: skip
    worst = table.loc[table["y_differing"].fillna(-1.0).idxmax()]
    return say(
        "On {count} recordings of an {device} no operation leaves its floor; at most {share} of the values of y of "
        "{scan} differ from this machine's build.",
        share=share(float(worst["y_differing"])), scan=worst["scan"], **words,
    )  # fmt: skip
