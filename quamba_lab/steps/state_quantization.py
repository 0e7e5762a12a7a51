"""The plan's cause 3: can quantization of the SSM state explain the difference, and what does it cost where it acts?

Three questions, each answered by running it: does the state's scale reach y of a prompt at all (the scans themselves,
with and without it); what does each policy of rounding do to y along the tokens, in prefill and in decode; and what
does it do to the logits of the whole model.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .. import scans
from ..texts import listed, say
from .result import StepResult, chart, control, share, significant
from .state_errors import (
    LOGIT_POLICIES,
    PHASES,
    at_logits,
    errors_along,
    handed_on,
    one_thread,
    own_decode,
    policies_of,
    reaches_y,
)  # fmt: skip
from .state_policies import RULES, SCALES, WHEN, Policy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..modes import Mode
    from .workbook import Workbook

__all__ = ["LOGIT_POLICIES", "StateQuantization", "state_quantization"]

ITEMS = 2
"""Items of the task whose logits are compared."""

REACHES, LOGITS, ALONG = "Does the state's scale reach y of a prompt?", "At the logits", "At y, by policy"
HANDED, DECODE = "The state that prefill hands on", "The scans' own decode"


@dataclass(frozen=True, eq=False, kw_only=True)
class StateQuantization(StepResult):
    """Cause 3.

    ``curves``: by (layer, phase, policy), error/RMS of y at each token; ``prefill``: tokens of the prompt.
    """

    STEP = 5
    NAME = "state_quantization"
    TITLE = "Quantization of the state (cause 3)"
    chosen: tuple[int, ...] = ()
    prefill: int = 0
    curves: dict[tuple[int, str, Policy], np.ndarray] = field(default_factory=dict, repr=False)

    def series(self, layer: int, phase: str, rule: str, scale: str) -> dict[str, np.ndarray]:
        """Error of y along the tokens for each of :data:`WHEN`, by the policy's label."""
        start = None if phase == "prefill" else self.prefill
        wanted = [Policy("never", prefill=start), *(Policy(when, rule, scale, start) for when in WHEN[1:])]
        return {p.label: self.curves[layer, phase, p] for p in wanted}

    def figure(
        self, layer: int | None = None, phase: str = "decode", rule: str = "even", scale: str = "calibrated"
    ) -> Figure:
        """Error of y along the tokens, one curve for each time of rounding."""
        from .. import plots_scan

        if not self.curves:
            raise ValueError(f"there is no curve to draw: {self.verdict}")
        layer = self.chosen[0] if layer is None else layer
        if layer not in self.chosen:
            raise ValueError(f"layer {layer} was not measured: choose one of {', '.join(map(str, self.chosen))}")
        series = self.series(layer, phase, rule, scale)
        mark = {"mark": self.prefill, "mark_label": " decode begins"} if phase == "decode" else {}
        return plots_scan.curves(
            range(len(next(iter(series.values())))), series, xlabel="token", ylabel="RMS error of y / RMS of y",
            title=say(
                "Error of y when the state is rounded: {phase}, layer {layer}, ties {rule}, {scale} scale",
                phase=phase, layer=layer, rule=rule, scale=scale
            )
            if rule != "toward zero" else
            say(
                "Error of y when the state is cut toward zero: {phase}, layer {layer}, {scale} scale",
                phase=phase, layer=layer, scale=scale
            ), **mark,
        )  # fmt: skip

    def logits_figure(self) -> Figure:
        """Change of the logits under each policy beside what rounding alone does; no mark: not one bit changes."""
        from .. import plots

        table = self.frames[LOGITS]
        floor = float(table.loc[table["when"] == "floor", "logits_rms"].max())
        rows = table[table["when"] != "floor"]
        shown = pd.DataFrame({
            "label": rows["phase"] + ": " + rows["policy"], "value": rows["logits_rms"].where(rows["logits_rms"] > 0),
            "low": math.nan, "high": math.nan, "group": ["0" if p == "prefill" else "2-1" for p in rows["phase"]],
        })  # fmt: skip
        return plots.dots(
            shown, title="Logits with a rounded state (dashed: FP64 scan)",
            xlabel="RMS change of the logits / RMS of the logits", reference=floor or None, log=True,
        )  # fmt: skip

    def figures(self) -> list[tuple[str, Figure, str]]:
        pictures = []
        if self.curves:
            for phase in PHASES:
                layer = self.chosen[-1]
                ends = {label: float(v[-1]) for label, v in self.series(layer, phase, "even", "calibrated").items()}
                worst = max(ends, key=ends.get)
                alt = say(
                    "Layer {layer}, {phase}: at the last token y errs by {never} of its RMS when the state is never "
                    "rounded, and by {error} when it is rounded {policy}.",
                    layer=layer, phase=phase, never=significant(ends["never"]), error=significant(ends[worst]),
                    policy=worst,
                )
                pictures.append((f"along-{phase}", self.figure(layer, phase), alt))
        if LOGITS in self.frames:
            table = self.frames[LOGITS]
            rows = table[table["when"] != "floor"]
            top = rows.loc[rows["logits_rms"].idxmax()]
            pictures.append((
                "logits", self.logits_figure(),
                say(
                    "The logits change most under rounding {policy} in {phase}: by {rms} of their RMS; rounding only "
                    "the state that a prompt returns {effect}.",
                    policy=top["policy"], phase=top["phase"], rms=significant(float(top["logits_rms"])),
                    effect=say("changes no bit of them")
                    if self.numbers["end_changes_no_logit"]
                    else say("changes them"),
                ),
            ))  # fmt: skip
        return pictures

    def view_data(self) -> dict[str, Any]:
        if not self.curves:
            return super().view_data()
        frames = {}
        for layer, phase, rule, scale in itertools.product(self.chosen, PHASES, RULES, SCALES):
            series = self.series(layer, phase, rule, scale)
            frames[layer, phase, rule, scale] = {
                "series": [{"name": n, "values": [float(f"{v:.2g}") for v in values]} for n, values in series.items()]
            }
        length = len(next(iter(self.curves.values())))
        return {
            "controls": [
                control("layer", "Layer", list(self.chosen)), control("phase", "Phase", list(PHASES), "decode"),
                control("rule", "Rounding", list(RULES)), control("scale", "Scale of the state", list(SCALES)),
            ],
            "charts": [
                chart("along", "Error of y when the state is rounded", self.figures()[1][2], "lines",
                      ["layer", "phase", "rule", "scale"], frames,
                      x={"label": "token", "values": list(range(length))},
                      y={"label": "RMS error of y / RMS of y", "scale": "log"}),
            ],
        }  # fmt: skip


def _verdict(
    reaches: pd.DataFrame, logits: pd.DataFrame | None, along: pd.DataFrame, mode: str
) -> tuple[str, str]:
    """Status and the sentence."""
    cause = say("Cause 3 of the plan, quantization of the SSM state,")
    if reaches.empty:
        return "unknown", say("{cause} could not be examined: no scan of the pair runs on these inputs.", cause=cause)
    changed = reaches[reaches["y_values_changed"] > 0]
    if len(changed):
        worst = changed.loc[changed["y_values_changed"].idxmax()]
        return "fault", say(
            "{cause} can act in a log-likelihood task: {scan} changes {changed} of {total} values of a prompt's y at "
            "layer {layer} when it is given a state scale.",
            cause=cause, scan=worst["scan"], changed=f"{worst['y_values_changed']:,}",
            total=f"{worst['y_values']:,}", layer=worst["layer"],
        )
    sentence = say(
        "{cause} cannot act in a log-likelihood task: {scans} return the same y in every bit with and without a state "
        "scale at {layers} layers",
        cause=cause, scans=listed(dict.fromkeys(reaches["scan"])), layers=reaches["layer"].nunique(),
    )
    if logits is not None:
        end = logits[(logits["phase"] == "prefill") & (logits["when"] == "end")]
        if bool(end["logits_equal"].all()):
            sentence += say(
                ", and rounding the state that a prompt returns changes no bit of the logits of {tokens} tokens",
                tokens=int(end["tokens"].sum())
            )
    decoded = along[along["phase"] == "decode"]
    decoded = decoded[decoded["rule"].isin(["even", ""]) & decoded["scale"].isin(["calibrated", ""])]
    by_when = decoded.groupby("when")["y_rms"].mean()
    sentence += say(
        "; in generation it acts: with the state rounded at every token (calibrated scale, ties to even) y errs by "
        "{rounded} of its RMS, against {never} from float32 arithmetic",
        rounded=share(by_when["token"]), never=share(by_when["never"]),
    )
    if logits is not None:
        rows = logits[logits["phase"] == "decode"].set_index("policy")
        floor, row = rows[rows["when"] == "floor"].iloc[0], rows.loc[Policy().label]
        sentence += say(
            ", the logits move by {moved} of their RMS, against {floor} from rounding alone, and the best next token "
            "changes at {changed} of {tokens} positions (mode {mode})",
            moved=share(float(row["logits_rms"])), floor=share(float(floor["logits_rms"])),
            changed=share(float(row["best_token_changed"])), tokens=int(row["tokens"]), mode=mode,
        )
    return "identical", sentence + say(".")


def state_quantization(
    run: Workbook, mode_a: str | Mode, mode_b: str | Mode, layers: Sequence[int] | None = None, item: int = 0,
    items: int = ITEMS,
) -> StateQuantization:
    """Cause 3 for two modes, on the scan inputs of ``mode_b`` for ``item``.

    ``layers``: None for the first, the middle and the last.  ``items``: how many items of the task the whole model is
    run on for the logits, 0 for none; each costs two forward passes for each of :data:`LOGIT_POLICIES`.
    """
    mode_a, mode_b = run.row(mode_a).name, run.row(mode_b).name
    middle = sorted({0, run.layers // 2, run.layers - 1})
    chosen = run.check_layers(middle if layers is None else layers)
    if not 0 <= items <= run.limit:
        raise ValueError(f"items={items}: choose 0 to the limit of this run, {run.limit}")
    pair = list(dict.fromkeys(run.scan_of(mode) for mode in (mode_a, mode_b)))
    reaches, along, handed, decodes, curves = [], [], [], [], {}
    prefill = 0
    with one_thread():
        for layer in chosen:
            x = run.scan_inputs(mode_b, layer, item)
            prefill = max(1, x.length // 2)
            for scan in pair:
                if scans.unavailable(scan) is None and scans.get(scan).takes(x.u):
                    reaches.append({"scan": scan, "layer": layer, **reaches_y(scan, x)})
                    own = own_decode(scan, x, prefill) if prefill < x.length else None
                    if own:
                        decodes.append({"scan": scan, "layer": layer, **own})
            for phase in PHASES:
                for found in errors_along(x, policies_of(phase, prefill)):
                    policy = found["policy"]
                    curves[layer, phase, policy] = found["y"]
                    along.append({
                        "layer": layer, "phase": phase, "when": policy.when,
                        "rule": "" if policy.when == "never" else policy.rule,
                        "scale": "" if policy.when == "never" else policy.scale, "y_rms": found["y_rms"],
                        "state_rms": found["state_rms"], "clipped": found["clipped"],
                    })  # fmt: skip
            handed += [{"layer": layer, **row} for row in handed_on(x)]
        logits = at_logits(run, mode_b, range(items)) if items else None
    tables = {REACHES: pd.DataFrame(reaches), ALONG: pd.DataFrame(along), HANDED: pd.DataFrame(handed)}
    if logits is not None:
        tables = {REACHES: tables[REACHES], LOGITS: logits, **tables}
    if decodes:
        tables[DECODE] = pd.DataFrame(decodes)
    status, verdict = _verdict(tables[REACHES], logits, tables[ALONG], mode_b)
    end = None if logits is None else logits[(logits["phase"] == "prefill") & (logits["when"] == "end")]
    numbers = {
        "can_act_in_log_likelihood": status == "fault", "scans": pair, "prefill": prefill,
        "end_changes_no_logit": None if end is None else bool(end["logits_equal"].all()),
    }  # fmt: skip
    return StateQuantization(
        status=status, verdict=verdict, settings=run.settings(
            mode_a=mode_a, mode_b=mode_b, layers=chosen, items=[item], items_at_logits=items
        ), numbers=numbers, frames=tables, chosen=tuple(chosen), prefill=prefill, curves=curves,
    )  # fmt: skip
