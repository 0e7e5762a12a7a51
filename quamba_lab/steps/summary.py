"""The verdict over all steps, and the comparison of two modes as one call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd

from ..estimates import exact_mcnemar
from ..power import ALPHA
from ..texts import clauses, first_sentence, paragraph, plural, say
from .amplifiers import amplifiers
from .answer_tracing import answer_tracing
from .causes import causes
from .dequantization import dequantization
from .inside_the_scan import inside_the_scan
from .is_it_real import is_it_real
from .remedies import remedies, remedy_sentence
from .result import StepResult, share, significant
from .scan_inputs import scan_inputs
from .scan_outputs import scan_outputs
from .workbook import Workbook

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["STEPS", "Verdict", "compare_modes", "depth", "exit_code", "summary"]

STEPS: dict[int, Callable[..., StepResult]] = {
    1: lambda run, a, b, layers, items: is_it_real(run, reference=a),
    2: lambda run, a, b, layers, items: scan_inputs(run, a, b, layers, items),
    3: lambda run, a, b, layers, items: dequantization(run, a, b, layers, items[0] if len(items) else 0),
    4: lambda run, a, b, layers, items: scan_outputs(run, a, b, layers, items),
    5: lambda run, a, b, layers, items: inside_the_scan(run, a, b, layers, items[0] if len(items) else 0),
}
"""The debug plan's steps as calls (run, mode_a, mode_b, layers, items)."""


def compare_modes(
    run: Workbook, mode_a: str, mode_b: str, steps: Sequence[int] = (1, 2, 3, 4, 5),
    layers: Sequence[int] | None = None, items: Sequence[int] = (0,),
) -> Iterator[StepResult]:  # fmt: skip
    """The results of the chosen steps for two modes, one after the other, as they are ready.

    Raises ``ValueError`` for a step outside 1 to 5.
    """
    for step in steps:
        if step not in STEPS:
            raise ValueError(f"step {step!r}: the debug plan's steps are {', '.join(map(str, STEPS))}")
    for step in steps:
        yield STEPS[step](run, mode_a, mode_b, layers, items)


def depth(
    run: Workbook, mode_a: str, mode_b: str, layers: Sequence[int] | None = None, items: Sequence[int] = (0,)
) -> Iterator[StepResult]:
    """What step 5 finds beyond its ladder, as much of it as a summary needs: causes, amplifiers, answers traced."""
    chosen = run.check_layers(layers)
    few = [chosen[i] for i in sorted({0, len(chosen) // 2, len(chosen) - 1})] if chosen else []
    first = list(items[:1])
    yield causes(run, mode_a, mode_b, few[:1], first, logits=False)
    yield amplifiers(run, mode_a, mode_b, few, first)
    yield answer_tracing(run, mode_a, mode_b, most=2, tries=10)


def exit_code(results: Iterable[StepResult]) -> int:
    """1 when a step found a fault or established a difference, else 0."""
    return int(any(r.status in ("fault", "established") for r in results))


@dataclass(frozen=True, eq=False, kw_only=True)
class Verdict(StepResult):
    """One sentence over all steps; ``results`` are what it rests on."""

    STEP = 0
    NAME = "summary"
    TITLE = "The verdict"
    results: tuple[StepResult, ...] = field(default=(), repr=False)

    def step(self, number: int) -> StepResult | None:
        return next((r for r in self.results if number == r.STEP), None)

    def figures(self) -> list[tuple[str, Figure, str]]:
        """The leading pictures of the steps."""
        pictures = []
        wanted = {"differences", "floor", "error-lockstep", "ladder", "causes"}
        for result in self.results:
            pictures += [p for p in result.figures() if p[0] in wanted]
        return pictures

    def figure(self, **choices: Any) -> Figure:
        """The leading picture of the first step that has one."""
        found = self.figures()
        if not found:
            raise ValueError("the summary has no picture: none of its steps drew one; run more of them")
        return found[0][1]


def _advice(found: dict[str, StepResult], choices: pd.DataFrame | None, names: tuple[str, str]) -> str:
    """What to do, by the plan's own remedies, with what each would cost."""
    first, inputs, outputs, inside = (
        found.get(n) for n in ("is_it_real", "scan_inputs", "scan_outputs", "inside_the_scan")
    )
    divergence = inside.numbers.get("first_divergence") if inside is not None else None
    faults = [r for r in found.values() if r.status == "fault" and r.NAME in MAIN]
    if divergence is not None:
        other = next((n for n in names if n != divergence["mode"]), names[0])
        text = say("Repair {operation} of {scan}; until then use mode {mode}.", operation=divergence["operation"],
                   scan=divergence["scan"], mode=other)  # fmt: skip
    elif faults:
        text = say("Look at step {step} first: {title}.", step=faults[0].STEP, title=faults[0].TITLE)
    elif inputs is not None and inputs.status == "established":
        text = say("The modes give their scans different inputs by design; judge them as different models.")
    elif first is not None and first.status == "not established":
        text = say(
            "Do not look for a cause of the difference in accuracy until it is shown with more items; the scans differ "
            "by rounding."
        )
    elif first is not None and first.status == "identical":
        text = say("Either mode will do.")
    elif outputs is not None and outputs.status == "rounding":
        text = say("The scans differ by rounding only; what is established comes from how the model amplifies it.")
    elif inside is not None and inside.status in ("rounding", "identical"):
        text = say("Inside the scan there is nothing to repair.")
    else:
        text = say("No remedy follows from these steps.")
    return paragraph([text, "" if choices is None else remedy_sentence(choices, *names)])


MAIN = ("is_it_real", "scan_inputs", "dequantization", "scan_outputs", "inside_the_scan")
"""The five steps themselves; what else a summary is given belongs to step 5."""


def _real(run: Workbook, a: str, b: str) -> str:
    """Whether there is a difference in the answers at all, from the paired test alone."""
    right_a, right_b = run.answers(a).correct, run.answers(b).correct
    gained, lost = int((right_b & ~right_a).sum()), int((right_a & ~right_b).sum())
    p = exact_mcnemar(lost, gained)
    words = {"count": len(right_a), "a": a, "b": b, "gained": gained, "lost": lost, "p": significant(p)}
    if p < ALPHA:
        return say(
            "A difference in the answers of modes {a} and {b} is established: of {count} items {b} gains {gained} and "
            "loses {lost} (exact McNemar p = {p}).", **words,
        )  # fmt: skip
    return say(
        "No difference in the answers of modes {a} and {b} is established: of {count} items {b} gains {gained} and "
        "loses {lost} (exact McNemar p = {p}).", **words,
    )  # fmt: skip


def _nearer(found: dict[str, StepResult], names: tuple[str, str]) -> str:
    """Who is closer to the truth."""
    inside, outputs = found.get("inside_the_scan"), found.get("scan_outputs")
    nearer = inside.numbers.get("nearer") if inside is not None else None
    if nearer is None or nearer == "equal":
        return "" if nearer is None else say("Both scans err alike against FP64.")
    a, b = inside.numbers["error_of_a"], inside.numbers["error_of_b"]
    size = say(
        "Closer to FP64 is mode {nearer}: its scan errs by at most {small} of RMS before the cast to float16, the "
        "other by {large}",
        nearer=nearer, small=significant(min(a, b)), large=significant(max(a, b)),
    )  # fmt: skip
    if outputs is None or "layers_where_b_is_closer" not in outputs.numbers:
        return size + say(".")
    count = outputs.numbers["layers_where_b_is_closer" if nearer == names[1] else "layers_where_a_is_closer"]
    return size + say("; after it, in {count} of {layers} layers.", count=count, layers=outputs.numbers["layers"])


def _operation(found: dict[str, StepResult]) -> str:
    """Which operation, and what share."""
    shares = found.get("causes")
    lead = shares.numbers.get("leading") if shares is not None else None
    if lead is None or lead["share"] != lead["share"]:
        return ""
    by_cause = shares.frames["Causes"]
    top = by_cause.loc[by_cause["y"].idxmax()]
    words = {"operation": lead["operation"], "switch": lead["switch"], "part": share(lead["share"]),
             "cause": top["cause"], "title": top["title"], "whole": share(top["y"])}  # fmt: skip
    if lead["low"] == lead["low"]:
        return say(
            "Of the squared difference at y, {operation} ({switch}) makes {part} (95 % of resampled items: {low} to "
            "{high}), and cause {cause} of the plan ({title}) {whole}.",
            low=share(lead["low"]), high=share(lead["high"]), **words,
        )  # fmt: skip
    return say(
        "Of the squared difference at y, {operation} ({switch}) makes {part}, and cause {cause} of the plan ({title}) "
        "{whole}.", **words,
    )  # fmt: skip


def _answers(found: dict[str, StepResult]) -> str:
    """How the modes come to different answers."""
    traced, amplified = found.get("answer_tracing"), found.get("amplifiers")
    parts = [first_sentence(traced.verdict)] if traced is not None else []
    kinds = amplified.numbers.get("attributed") if amplified is not None else None
    if kinds:
        parts.append(say(
            "Their amplifiers: {kinds}.",
            kinds=clauses(
                plural(n, "{kind} ({count} item)", "{kind} ({count} items)", kind=kind) for kind, n in kinds.items()
            ),
        ))  # fmt: skip
    return paragraph(parts)


def summary(
    results: Workbook | Iterable[StepResult], mode_a: str = "0", mode_b: str = "2-1",
    layers: Sequence[int] | None = None, items: Sequence[int] = (0,), *, run: Workbook | None = None,
) -> Verdict:  # fmt: skip
    """Join results into one page: real or not, who is closer to the truth, which operation, what share, what to do.

    Given a :class:`Workbook` instead, run all five steps and :func:`depth` for the two modes first.  ``run``: where the
    results come from; with it the remedies are measured and their costs named.
    """
    if isinstance(results, Workbook):
        run = results
        results = [
            *compare_modes(run, mode_a, mode_b, layers=layers, items=items), *depth(run, mode_a, mode_b, layers, items)
        ]  # fmt: skip
    every = tuple(sorted(results, key=lambda r: r.STEP))
    found = {r.NAME: r for r in every}
    if not found:
        return Verdict(
            status="unknown", verdict=say("No step was run, so there is no verdict."), settings={}, numbers={},
            frames={"Steps": pd.DataFrame(columns=["step", "title", "status", "verdict"])},
        )  # fmt: skip
    steps = [r for r in every if r.NAME in MAIN]
    faults = [r for r in steps if r.status == "fault"]
    lead = faults[0] if faults else found.get("is_it_real", every[0])
    names = (mode_a, mode_b)
    chosen = run.check_layers(layers) if run is not None else []
    choices = remedies(run, mode_a, mode_b, chosen[0], items[0]) if chosen and len(items) else None
    advice = _advice(found, choices, names)
    parts = [lead.verdict]
    if "is_it_real" not in found and run is not None:
        parts.insert(0, _real(run, *names))
    if "scan_outputs" in found and lead.NAME != "scan_outputs":
        parts.append(first_sentence(found["scan_outputs"].verdict))
    if lead.NAME != "inside_the_scan":
        parts.append(_nearer(found, names))
    parts += [_operation(found), _answers(found)]
    frames = {
        "Steps": pd.DataFrame(
            [{"step": r.STEP, "title": r.TITLE, "status": r.status, "verdict": r.verdict} for r in every]
        )
    }
    if choices is not None:
        frames["What could run instead"] = choices
    numbers = {r.NAME: r.numbers for r in every} | {"advice": advice}
    return Verdict(
        status=_status(steps or list(every), found), verdict=paragraph([*parts, advice]), settings=every[-1].settings,
        numbers=numbers, frames=frames, results=every,
    )  # fmt: skip


def _status(steps: list[StepResult], found: dict[str, StepResult]) -> str:
    """A fault of any step, else what step 1 says, else the strongest of the others."""
    if any(r.status == "fault" for r in steps):
        return "fault"
    first = found.get("is_it_real")
    if first is not None and first.status != "unknown":
        return first.status
    known = {r.status for r in steps} - {"unknown"}
    if not known or known == {"identical"}:
        return "identical" if known else "unknown"
    return "established" if "established" in known else "rounding"
