"""The plan's four questions about dequantization: a table and a sentence for each, computed from the audit."""

from __future__ import annotations

import pandas as pd

from ..texts import clauses, listed, paragraph, say
from .result import significant

__all__ = ["QUESTIONS", "answers_to", "tables_by_question", "wrong_audits"]

QUESTIONS = {
    "formula": "Is it always code × scale?",
    "scale order": "In which order are the scales applied?",
    "clipping": "Is a code clipped?",
    "conversion": "Is the conversion of types the same?",
}


def tables_by_question(audit_table: pd.DataFrame, orders: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """A table for each of the plan's questions (b), (c) and (d); the audit itself answers (a)."""
    shares = [column for column in orders.columns if column.startswith("share ")]
    of_order = [column for column in ("scan", "association", "skip_enters") if column in orders.columns]
    of_state = [column for column in ("scan", "state_range", "state_ties") if column in orders.columns]
    seen = audit_table[audit_table["bits"] > 0]
    grouped = seen.groupby(["scan", "operand"], sort=False)
    clips = grouped.agg(lowest=("lowest", "max"), highest=("highest", "min"), layers=("layer", "nunique")).reset_index()
    if len(of_state) > 1:
        clips = clips.merge(orders[of_state], on="scan", how="left")
    kinds = grouped.agg(
        conversion=("conversion", lambda found: ", ".join(dict.fromkeys(found))), bits=("bits", "min"),
        worst_ulp=("worst_ulp", "max"), layers=("layer", "nunique"),
    ).reset_index()  # fmt: skip
    return {"(b) Order of the scales": orders[[*of_order, *shares]], "(c) Clipping, range and ties": clips,
            "(d) Conversion of types": kinds}  # fmt: skip


def wrong_audits(audit_table: pd.DataFrame) -> pd.DataFrame:
    """The audits that saw a code with another value than code × scale."""
    return audit_table[(audit_table["bits"] > 0) & (audit_table["exact"] < 256)]


def _others(audit_table: pd.DataFrame, pair: tuple[str, str]) -> str:
    """What the audit found in the registered scans that are not in question; empty when there are none."""
    others = audit_table[~audit_table["scan"].isin(pair) & (audit_table["bits"] > 0)]
    names = list(dict.fromkeys(others["scan"]))
    if not names:
        return ""
    wrong = sorted(set(wrong_audits(others)["scan"]))
    if wrong:
        return say("Of the other scans registered here, {scans} give some code another value.", scans=listed(wrong))
    return say("So do the other scans registered here: {scans}.", scans=listed(names))


def _clip_effect(effects: pd.DataFrame) -> str:
    """What a clip at -127 would do to y, told from what it would do if the code occurred."""
    clips = effects[effects["codes_at_stake"].notna()]
    if clips.empty:
        return ""
    stake, forced = int(clips["codes_at_stake"].sum()), significant(float(clips["forced_error_rms"].max()))
    if stake == 0:
        return say(
            "Code -128 does not occur in these inputs, so a clip at -127 would change no bit of y; on an operand's "
            "lowest code it would change up to {forced} of RMS(y).",
            forced=forced,
        )
    return say(
        "Code -128 occurs {stake} times in these inputs; a clip at -127 would change up to {changed} of RMS(y).",
        stake=f"{stake:,}", changed=significant(float(clips["error_rms"].max())),
    )


def answers_to(
    audit_table: pd.DataFrame, orders: pd.DataFrame, effects: pd.DataFrame | None, pair: tuple[str, str]
) -> pd.DataFrame:
    """The plan's four questions, each with a sentence computed from the audit; ``effects`` are of all layers shown."""
    of_pair = audit_table[audit_table["scan"].isin(pair)]
    seen = of_pair[of_pair["bits"] > 0]
    wrong = wrong_audits(of_pair)
    answers = {}
    named = listed(dict.fromkeys(pair))
    if seen.empty:
        answers["formula"] = say("Nothing could be seen of {named}.", named=named)
    elif wrong.empty:
        answers["formula"] = say(
            "Yes in {named}: all 256 codes of each of {count} operands, at every layer audited, have the value code x "
            "scale, as far as each can be seen (24 bits; z 11 bits).",
            named=named, count=seen["operand"].nunique(),
        )
        answers["formula"] = paragraph([answers["formula"], _others(audit_table, pair)])
    else:
        worst = wrong.loc[wrong["exact"].idxmin()]
        answers["formula"] = say(
            "No: {scan} gives {count} of 256 codes of {operand} another value at layer {layer}, worst at code {code} "
            "({ulp} ULP).",
            scan=worst["scan"], count=256 - int(worst["exact"]), operand=worst["operand"], layer=worst["layer"],
            code=worst["worst_code"], ulp=significant(worst["worst_ulp"]),
        )
    rows = {row["scan"]: row for row in orders.to_dict("records") if row["scan"] in pair}
    if rows:
        parts = [
            say(
                "{scan} takes {association} and adds D·u {place}",
                scan=name, association=row["association"], place=row.get("skip_enters", "unseen"),
            )
            for name, row in rows.items()
        ]
        answers["scale order"] = clauses(parts) + say(".")
        ranges = (
            say(
                "{scan} returns states in {range}, ties {ties}",
                scan=name, range=row.get("state_range", "unseen"), ties=row.get("state_ties", "unseen"),
            )
            for name, row in rows.items()
        )
        clipped = seen[(seen["lowest"] > -127.5)]
        answers["clipping"] = (
            clauses(
                [
                    say("No operand is clipped: code -128 is -128 × scale")
                    if clipped.empty
                    else say("Code -128 is clipped in {operands}", operands=listed(sorted(set(clipped["operand"])))),
                    *ranges,
                ]
            )
            + say(".")
        )
        if effects is not None:
            answers["clipping"] = paragraph([answers["clipping"], _clip_effect(effects)])
    kinds = sorted(set(seen["conversion"]))
    answers["conversion"] = (
        say("The same in both: {conversion}.", conversion=kinds[0])
        if len(kinds) == 1
        else say("Found: {conversions}.", conversions=listed(kinds))
        if kinds
        else say("None could be seen.")
    )
    table = pd.DataFrame(
        [{"question": QUESTIONS[key], "answer": answers.get(key, say("Not seen.")), "key": key} for key in QUESTIONS]
    )
    if effects is not None:
        largest = effects.groupby("question")["error_rms"].max()
        worst_effect = effects.loc[effects.groupby("question")["error_rms"].idxmax()].set_index("question")["effect"]
        most = effects.groupby("question")["max_ulp"].max()
        table["largest_possible_change_of_y"] = [largest.get(key, float("nan")) for key in QUESTIONS]
        table["if_the_code_occurred"] = [
            effects.loc[effects["question"] == key, "forced_error_rms"].max() for key in QUESTIONS
        ]
        table["in_ulp"] = [float(most.get(key, float("nan"))) for key in QUESTIONS]
        table["that_would_be"] = [worst_effect.get(key, "not measured") for key in QUESTIONS]
    return table.drop(columns="key")


