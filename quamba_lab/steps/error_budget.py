"""Where the error of the state comes from: the budgets of two modes' scans on the same inputs.

The arithmetic is in :mod:`quamba_lab.steps.budget`; here budgets are made for the layers of a model, judged and shown.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .. import scans
from ..scans import ScanInputs
from ..scans.oracle import oracle_taps
from ..scans.taps import certified_taps
from ..texts import clauses, listed, paragraph, plural, say
from .budget import FP64_NOISE, ORIGINS, Budget, budget_of, half_lives
from .result import StepResult, chart, control, share, significant

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..modes import Mode
    from .workbook import Workbook

__all__ = ["ErrorBudget", "budget_scans", "error_budget"]

DIFFERENCE = "Where the difference of the two states comes from"
PARTS = ("decay", "drive", "rounding")
SHOWN_CHANNELS = 4
ELEMENTS = 4_000_000
"""Largest b·d·l·n that is budgeted whole; of a larger problem every k-th channel is taken."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ErrorBudget(StepResult):
    """The budgets of two modes' scans.

    ``kept``: by (mode, layer), the error and its origins of the channels that are shown, float64 (channels, l, n);
    ``channels``: their numbers, by layer; ``lives``: by layer, the half-lives of every state, (d, n).
    """

    STEP = 5
    NAME = "error_budget"
    TITLE = "The error of the state, taken apart"
    pair: tuple[str, str] = ("", "")
    kept: dict[tuple[str, int], dict[str, np.ndarray]] = field(default_factory=dict, repr=False)
    channels: dict[int, list[int]] = field(default_factory=dict, repr=False)
    lives: dict[int, np.ndarray] = field(default_factory=dict, repr=False)

    def _chosen(self, mode: str | None, layer: int | None, channel: int | None) -> tuple[str, int, int]:
        """(mode, layer, place of the channel), the defaults where None; ``ValueError`` for what is not there."""
        if not self.kept:
            raise ValueError(f"there is no budget to draw: {self.verdict}")
        first_mode, first_layer = next(iter(self.kept))
        mode, layer = mode or first_mode, first_layer if layer is None else layer
        if (mode, layer) not in self.kept:
            known = ", ".join(f"{m} at layer {n}" for m, n in self.kept)
            raise ValueError(f"no budget of mode {mode} at layer {layer}: there are {known}")
        shown = self.channels[layer]
        place = 0 if channel is None else channel
        if not 0 <= place < len(shown):
            raise ValueError(f"channel choice {channel} is out of range: 0 to {len(shown) - 1}")
        return mode, layer, place

    def series(self, mode: str, layer: int, channel: int) -> tuple[int, int, dict[str, np.ndarray], np.ndarray]:
        """(channel, state, origins, error) along the tokens, of the channel's state with the largest error."""
        mode, layer, place = self._chosen(mode, layer, channel)
        kept = self.kept[mode, layer]
        state = int(np.square(kept["error"][place]).sum(0).argmax())
        parts = {
            name: kept[name][place, :, state] for name in ORIGINS if name != "unexplained" or np.any(kept[name])
        }  # fmt: skip
        return self.channels[layer][place], state, parts, kept["error"][place, :, state]

    def figure(self, mode: str | None = None, layer: int | None = None, channel: int | None = None) -> Figure:
        """Stacked areas: the error of one state along the tokens, divided by where it was made."""
        from .. import plots_scan

        mode, layer, place = self._chosen(mode, layer, channel)
        number, state, parts, error = self.series(mode, layer, place)
        return plots_scan.areas(
            range(len(error)), parts, error, xlabel="token", ylabel="h − h(FP64)",
            names={name: _short_name(name) for name in parts},
            title=say(
                "Where the error of a state was made: mode {mode}, layer {layer}, channel {number}, state {state}",
                mode=mode, layer=layer, number=number, state=state
            ),
        )  # fmt: skip

    def heatmap(self, mode: str | None = None, layer: int | None = None, channel: int | None = None) -> Figure:
        """|error| of one channel, states x tokens."""
        from .. import plots

        mode, layer, place = self._chosen(mode, layer, channel)
        number, values = self.channels[layer][place], np.abs(self.kept[mode, layer]["error"][place]).T
        return plots.heatmap(
            values, xlabel="token", ylabel="state", label="|h − h(FP64)|",
            title=say(
                "Error of every state: mode {mode}, layer {layer}, channel {number}",
                mode=mode, layer=layer, number=number,
            ),
        )  # fmt: skip

    def half_life_figure(self, layer: int | None = None) -> Figure:
        """How many tokens an error in a state takes to halve, over all states of a layer."""
        from .. import plots_scan

        layers = sorted(self.lives) if layer is None else [layer]
        shown = layers if len(layers) <= 4 else [layers[i * (len(layers) - 1) // 3] for i in range(4)]
        x = np.linspace(0, 100, 101)
        curves = {say("layer {layer}", layer=one): np.percentile(self.lives[one].clip(max=1e9), x) for one in shown}
        return plots_scan.curves(
            x, curves, title="How long an error in a state lives", xlabel="percentile of all states",
            ylabel="half-life in tokens",
        )  # fmt: skip

    def figures(self) -> list[tuple[str, Figure, str]]:
        if not self.kept:
            return []
        mode, layer = next(key for key in self.kept if key[0] == [*self.kept][-1][0])  # the mode in question
        number, state, parts, error = self.series(mode, layer, 0)
        last = {name: abs(float(values[-1])) for name, values in parts.items()}
        alt = say(
            "Mode {mode}, layer {layer}, channel {number}, state {state}: the error of the state along the tokens, "
            "divided by where it was made; at the last token it is {error}, and the largest part of it was made by "
            "{part}.",
            mode=mode, layer=layer, number=number, state=state, error=significant(float(error[-1])),
            part=_named(max(last, key=last.get)),
        )
        pictures = [("budget", self.figure(mode, layer, 0), alt)]
        worst = int(np.abs(self.kept[mode, layer]["error"][0]).max(0).argmax())
        pictures.append(
            ("state-errors", self.heatmap(mode, layer, 0),
             say(
                 "Mode {mode}, layer {layer}, channel {number}: the error of each state at each token; state {worst} "
                 "holds the largest.",
                 mode=mode, layer=layer, number=number, worst=worst
             ))
        )  # fmt: skip
        every = np.concatenate([lives.ravel() for lives in self.lives.values()])
        pictures.append(
            ("half-life", self.half_life_figure(),
             say(
                 "Half of all states lose half of an error within {half} tokens; the longest memory needs {longest}.",
                 half=significant(float(np.median(every))), longest=significant(float(every.max()))
             ))
        )  # fmt: skip
        return pictures

    def view_data(self) -> dict[str, Any]:
        if not self.kept:
            return super().view_data()
        modes = list(dict.fromkeys(mode for mode, _ in self.kept))
        layers = [layer for layer in self.channels if all((mode, layer) in self.kept for mode in modes)]
        count = min(2, *(len(self.channels[layer]) for layer in layers))
        frames = {}
        for mode in modes:
            for layer in layers:
                for place in range(count):
                    number, state, parts, error = self.series(mode, layer, place)
                    frames[mode, layer, place] = {
                        "series": [{"name": "observed error", "values": _short(error, 3)}]
                        + [
                            {"name": say("made by {part}", part=_named(name)), "values": _short(v, 3)}
                            for name, v in parts.items()
                        ],
                        "note": say(
                            "Channel {number}, state {state}. The parts sum to the observed error.",
                            number=number, state=state
                        ),
                        "x": {"label": "token", "values": list(range(len(error)))},
                    }
        length = next(iter(self.kept.values()))["error"].shape[1]
        depends = ["mode", "layer", "channel"]
        return {
            "controls": [
                control("mode", "Mode", modes), control("layer", "Layer", layers),
                control("channel", "Channel, largest error first", list(range(count))),
            ],
            "charts": [
                chart("budget", "Where the error of a state was made", self.figures()[0][2], "lines", depends, frames,
                      x={"label": "token", "values": list(range(length))}, y={"label": "h − h(FP64)"}),
            ],
        }  # fmt: skip


def _short(values: Iterable[float], digits: int) -> list[float]:
    return [float(f"{float(v):.{digits}g}") for v in values]


def _short_name(origin: str) -> str:
    """The origin in one word; as a name in a cell, ``rounding`` is a verdict."""
    return say("rounding") if origin == "rounding" else origin


def _named(origin: str) -> str:
    return {
        "decay": say("the decay"), "drive": say("the drive"), "rounding": say("rounding of the update"),
        "unexplained": say("an update that no rounding explains"),
    }[origin]  # fmt: skip


def _thinned(x: ScanInputs) -> tuple[ScanInputs, list[int]]:
    """The inputs cut to :data:`ELEMENTS`, and the channels that are left."""
    size = x.batch * x.channels * x.length * x.states
    step = -(-size // ELEMENTS)
    if step == 1 or x.groups > 1:
        return x, list(range(x.channels))
    return x.narrow(channels=slice(0, None, step)), list(range(0, x.channels, step))


def _summary_row(mode: str, scan: str, layer: int, budget: Budget) -> dict[str, Any]:
    return {
        "mode": mode, "scan": scan, "layer": layer, "error_rms": budget.relative,
        **{f"share_{name}": value for name, value in budget.shares().items()},
        "closes": budget.closes, "sum_misses_by": budget.miss,
        **{f"beyond_float32_{name}": len(places) for name, places in budget.beyond.items()},
    }  # fmt: skip


def _faults(who: str, budget: Budget, numbers: Sequence[int]) -> list[str]:
    """What in this budget no float32 arithmetic explains, each in words, the earliest token first."""
    found = []
    for name, places in budget.beyond.items():
        if len(places):
            batch, row, token, state = (int(i) for i in places[0])
            place = {"token": token, "channel": numbers[row], "state": state, "item": batch}
            where = say("token {token}, channel {channel}, state {state}, item {item}", **place)
            if not batch:
                where = say("token {token}, channel {channel}, state {state}", **place)
            what = {
                "decay": say("the decay errs"), "drive": say("the drive errs"),
                "unexplained": say("the update of the state errs"),
            }[name]  # fmt: skip
            text = say("{what} by more than float32 can in {who}, first at {where}", what=what, who=who, where=where)
            if name == "unexplained" and budget.hint:
                text = say("{text}: {hint}", text=text, hint=budget.hint)
            found.append((token, text))
    if not found and not budget.sums_up:
        found.append((0, say(
            "the parts miss the error by {miss} of what entered in {who}", miss=f"{budget.miss:.2g}", who=who
        )))
    return [text for _, text in sorted(found, key=lambda pair: pair[0])]


def budget_scans(
    inputs_by_layer: dict[int, ScanInputs], pair: dict[str, str], settings: dict[str, Any], channels: int | None = None
) -> ErrorBudget:
    """The budgets on given inputs; ``pair``: {mode: scan}; ``channels``: how many are shown for each layer."""
    count = SHOWN_CHANNELS if channels is None else channels
    kept: dict[tuple[str, int], dict[str, np.ndarray]] = {}
    chosen: dict[int, list[int]] = {}
    every: dict[int, np.ndarray] = {}
    table, refused, faults, differences, lives = [], {}, [], [], []
    for layer, whole in inputs_by_layer.items():
        x, numbers = _thinned(whole)
        exact = oracle_taps(x)
        here: dict[str, Budget] = {}
        for mode, scan in pair.items():
            found = certified_taps(scan, x)
            if not found.certified:
                refused[mode] = found.reason
                continue
            here[mode] = budget_of(x, found.taps, exact)
            table.append(_summary_row(mode, scan, layer, here[mode]))
            who = say("mode {mode} ({scan}) at layer {layer}", mode=mode, scan=scan, layer=layer)
            faults += _faults(who, here[mode], numbers)
        if not here:
            continue
        size = sum(b.error[0].square().sum((1, 2)).nan_to_num(nan=math.inf) for b in here.values())  # (d,)
        rows = size.argsort(descending=True, stable=True)[:count]
        chosen[layer] = [numbers[row] for row in rows]
        for mode, budget in here.items():
            values = {"error": budget.error, **budget.origins}
            kept[mode, layer] = {name: v[0, rows].cpu().numpy() for name, v in values.items()}
        life = half_lives(exact["decay"])[0].cpu()  # (d, n)
        every[layer] = life.numpy()
        for row, number in zip(rows.tolist(), chosen[layer], strict=True):
            one = life[row]
            lives.append([layer, number, float(one.min()), float(one.median()), float(one.max())])
        if len(here) == 2:
            differences.append({"layer": layer, **_of_difference(*here.values())})
    frames = {"Budget by layer": pd.DataFrame(table)}
    if differences:
        frames[DIFFERENCE] = pd.DataFrame(differences)
    frames["Half-life of an error, in tokens"] = pd.DataFrame(
        lives, columns=["layer", "channel", "shortest", "median", "longest"]
    )
    status, verdict = _judge(pair, frames, faults, refused)
    measured = {
        "closes": bool(table) and all(row["closes"] for row in table), "refused": refused, "faults": faults,
        "shares": {mode: _mean_shares(frames["Budget by layer"], mode) for mode in pair}, "noise": FP64_NOISE,
    }  # fmt: skip
    return ErrorBudget(
        status=status, verdict=verdict, settings=settings, numbers=measured, frames=frames,
        pair=tuple(pair.values())[:2], kept=kept, channels=chosen, lives=every,
    )  # fmt: skip


def _of_difference(a: Budget, b: Budget) -> dict[str, float]:
    """Shares of the origins in the difference of two scans' states; NaN where they are equal."""
    difference = b.error - a.error
    whole = float(difference.square().sum())
    size = float(a.state.square().sum())
    out = {"difference_rms": math.sqrt(whole / size) if size else math.nan}
    for name in ORIGINS:
        part = float(((b.origins[name] - a.origins[name]) * difference).sum())
        out[f"share_{name}"] = part / whole if whole else math.nan
    return out


def _mean_shares(table: pd.DataFrame, mode: str) -> dict[str, float]:
    """Shares over layers, each layer counted alike; NaN without any error."""
    if table.empty:
        return dict.fromkeys(ORIGINS, math.nan)
    rows = table[table["mode"] == mode]
    return {name: float(rows[f"share_{name}"].mean()) for name in ORIGINS}


def _judge(
    pair: dict[str, str], frames: dict[str, pd.DataFrame], faults: list[str], refused: dict[str, str]
) -> tuple[str, str]:
    """Status and the sentence."""
    table, difference = frames["Budget by layer"], frames.get(DIFFERENCE)
    refusal = paragraph(
        say("The budget of mode {mode} is not shown: {reason}.", mode=mode, reason=reason)
        for mode, reason in refused.items()
    )
    if table.empty:
        why = refusal or say("No layer was chosen.")
        return "unknown", paragraph([say("No error budget could be made."), why])
    if faults:
        first = faults[0]
        if len(faults) > 1:
            first = say("{fault} (and {count} more)", fault=first, count=len(faults) - 1)
        text = (
            say("The error budget of the state closes, and {fault}.", fault=first)
            if table["closes"].all()
            else say("The error budget of the state does not close, and {fault}.", fault=first)
        )
        return "fault", paragraph([text, refusal])
    sentences = []
    for mode in dict.fromkeys(table["mode"]):
        mean, error = _mean_shares(table, mode), float(table.loc[table["mode"] == mode, "error_rms"].max())
        if not error:
            sentences.append(say("mode {mode} ({scan}) has no error", mode=mode, scan=pair[mode]))
            continue
        divided = listed(say("{part} {name}", part=share(mean[name]), name=_short_name(name)) for name in PARTS)
        sentences.append(say(
            "mode {mode} ({scan}) errs by {error} of RMS(h) at most, of it {divided}",
            mode=mode, scan=pair[mode], error=significant(error), divided=divided
        ))
    if difference is not None and not difference["share_decay"].isna().all():
        shares = {name: float(difference[f"share_{name}"].mean()) for name in PARTS}
        divided = listed(say("{part} {name}", part=share(v), name=_short_name(name)) for name, v in shares.items())
        sentences.append(say("of the difference between the two, {divided}", divided=divided))
    status = "identical" if (table["error_rms"] == 0).all() else "rounding"
    text = plural(
        table["layer"].nunique(),
        "The error budget of the state closes at the one layer looked at, to {missed} of what entered: {sentences}.",
        "The error budget of the state closes at all {count} layers looked at, to {missed} of what entered: "
        "{sentences}.",
        missed=significant(float(table["sum_misses_by"].max())), sentences=clauses(sentences),
    )  # fmt: skip
    return status, paragraph([text, refusal])


def error_budget(
    run: Workbook, mode_a: str | Mode, mode_b: str | Mode, layers: Sequence[int] | None = None, item: int = 0,
    channels: int | None = None,
) -> ErrorBudget:  # fmt: skip
    """The error budget of two modes' scans on the same inputs, those of ``mode_a`` for ``item``.

    ``layers``: all when None.  ``channels``: how many channels of each layer are shown, those with the largest errors;
    the shares are over all channels.  When a scan cannot take the inputs of ``mode_a``, those of ``mode_b`` are used.
    """
    chosen = run.check_layers(layers)
    mode_a, mode_b = run.row(mode_a).name, run.row(mode_b).name
    names = list(dict.fromkeys((mode_a, mode_b)))
    pair = {mode: run.scan_of(mode) for mode in names}

    def taken(mode: str) -> bool:
        return all(scans.get(scan).takes(run.scan_inputs(mode, chosen[0], item).u) for scan in pair.values())

    source = next((mode for mode in names if chosen and taken(mode)), mode_a)
    inputs = {layer: run.scan_inputs(source, layer, item) for layer in chosen}
    settings = run.settings(mode_a=mode_a, mode_b=mode_b, layers=chosen, items=[item], inputs_of=source)
    return budget_scans(inputs, pair, settings, channels)
