"""The verdict over all steps, and the comparison of two modes as one call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd

from ..texts import first_sentence, label, paragraph, say
from .dequantization import dequantization
from .inside_the_scan import inside_the_scan
from .is_it_real import is_it_real
from .result import StepResult
from .scan_inputs import scan_inputs
from .scan_outputs import scan_outputs
from .workbook import Workbook

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["STEPS", "Verdict", "compare_modes", "exit_code", "summary"]

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
        """The leading picture of steps 1 and 4."""
        pictures = []
        for number, wanted in ((1, "differences"), (1, "floor"), (4, "error-lockstep"), (5, "ladder")):
            result = self.step(number)
            if result is not None:
                pictures += [p for p in result.figures() if p[0] == wanted]
        return pictures

    def figure(self, **choices: Any) -> Figure:
        """The leading picture of the first step that has one."""
        found = self.figures()
        if not found:
            raise ValueError("the summary has no picture: none of its steps drew one; run more of them")
        return found[0][1]


def _advice(by_step: dict[int, StepResult]) -> str:
    """What to do, by the plan's own remedies."""
    first, inputs, outputs = (by_step.get(n) for n in (1, 2, 4))
    faults = [r for r in by_step.values() if r.status == "fault"]
    if faults:
        return say("Look at step {step} first: {title}.", step=faults[0].STEP, title=label(faults[0].TITLE))
    if inputs is not None and inputs.status == "established":
        return say("The modes give their scans different inputs by design; judge them as different models.")
    if first is not None and first.status == "not established":
        return say(
            "Do not look for a cause of the difference in accuracy until it is shown with more items; the scans differ "
            "by rounding."
        )
    if first is not None and first.status == "identical":
        return say("Either mode will do.")
    if outputs is not None and outputs.status == "rounding":
        return say("The scans differ by rounding only; what is established comes from how the model amplifies it.")
    return say("No remedy follows from these steps.")


def summary(
    results: Workbook | Iterable[StepResult], mode_a: str = "0", mode_b: str = "2-1",
    layers: Sequence[int] | None = None, items: Sequence[int] = (0,),
) -> Verdict:  # fmt: skip
    """Join the steps' results; given a :class:`Workbook` instead, run all five steps for the two modes first."""
    if isinstance(results, Workbook):
        results = compare_modes(results, mode_a, mode_b, layers=layers, items=items)
    found = tuple(sorted(results, key=lambda r: r.STEP))
    by_step = {r.STEP: r for r in found}
    if not found:
        return Verdict(
            status="unknown", verdict=say("No step was run, so there is no verdict."), settings={}, numbers={},
            frames={"Steps": pd.DataFrame(columns=["step", "title", "status", "verdict"])},
        )  # fmt: skip
    first = by_step.get(1)
    faults = [r for r in found if r.status == "fault"]
    if faults:
        status = "fault"
    elif first is not None and first.status != "unknown":
        status = first.status
    else:
        known = [r.status for r in found if r.status != "unknown"]
        status = "unknown" if not known else "identical" if set(known) == {"identical"} else "rounding"
        status = "established" if "established" in known else status
    lead = faults[0] if faults else first if first is not None else found[-1]
    advice = _advice(by_step)
    parts = [lead.verdict]
    if 4 in by_step and lead.STEP != 4:
        parts.append(first_sentence(by_step[4].verdict))
    table = pd.DataFrame(
        [{"step": r.STEP, "title": r.TITLE, "status": r.status, "verdict": r.verdict} for r in found]
    )
    numbers = {r.NAME: r.numbers for r in found} | {"advice": advice}
    return Verdict(
        status=status, verdict=paragraph([*parts, advice]), settings=found[-1].settings, numbers=numbers,
        frames={"Steps": table}, results=found,
    )  # fmt: skip
