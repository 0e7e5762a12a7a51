"""Run the ladder on a scan, decide, and make the reproducer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from tqdm import tqdm

from .. import scans
from ..scans import ScanInputs
from ..texts import say, within
from .bounds import Precision
from .decide import decide
from .finding import Finding
from .probes import RUNGS, Embed, Probe
from .records import U_DTYPES, Findings, Record, judge, measured_ladder, measured_units, uses
from .reproducer import write_reproducer
from .result import Diagnosis, Evidence
from .sandbox import Outcome, Sandbox
from .shrink import shrink

__all__ = ["diagnose"]

OWN_VERDICTS = ("error", "timeout", "invalid output", "mutates inputs")
REPEATS = 12


def diagnose(
    fn_or_name: Callable | str,
    against: Callable | str = "oracle",
    *,
    seed: int = 0,
    time_limit: float = 20.0,
    precision: str = "fp32",
    device: torch.device | str = "cpu",
    progress: bool = False,
    reproducer: bool = True,
    u: str = "auto",
) -> Diagnosis:
    """Name the operation at fault in a scan that is only called.

    ``fn_or_name``: a function ``ScanInputs -> ScanOutput`` (or just y), or the name of a registered scan.
    ``against``: ``"oracle"``, or a second scan, whose y is compared bit for bit with the first's and which is then held
    to the same bounds.  ``seed`` draws the random parts of the probes.  ``time_limit``: seconds for one call
    (the first, which may build the scan, gets ``sandbox.FIRST_CALL`` times as much).
    ``precision``: what the scan states of itself, ``"fp32"`` or for example ``"bf16 state"``.
    ``reproducer``: shrink a fault to the smallest input that shows it and write a file around it (as text).
    ``u``: how the scan takes its u: ``"int8"`` codes, ``"float32"`` or ``"float16"`` values; ``"auto"`` asks with codes
    and, when the scan raises at them, with float32.

    Verdicts: ``identical`` (every y is the correctly rounded one, or equal to the other scan's), ``rounding`` (inside
    the bounds), ``fault`` (outside), and ``error``, ``timeout``, ``invalid output``, ``mutates inputs``.
    Raises ``ValueError`` for an unknown name, precision or ``u``, or a scan that cannot run on this machine.
    """
    Precision.parse(precision)
    if u not in ("auto", *U_DTYPES):
        raise ValueError(f"u={u!r}: choose one of auto, {', '.join(U_DTYPES)}")
    fn, name = _function(fn_or_name)
    oracle = against == "oracle"
    other = None if oracle else _function(against)
    with Sandbox(fn, time_limit) as sandbox:
        found = _examined(sandbox, seed, precision, device, progress, u)
        if isinstance(found, Diagnosis):
            return replace(found, scan=name, against="oracle" if oracle else other[1])
        diagnosis = _conclude(sandbox, found, name, precision, device, reproducer)
        if other is None:
            return replace(diagnosis, calls=sandbox.calls, seconds=sandbox.seconds)
    with Sandbox(other[0], time_limit) as second:
        theirs = _examined(second, seed, precision, device, progress, u)
        if not isinstance(theirs, Diagnosis):
            equal = _equal_everywhere(found.records, theirs.records)
            theirs = _conclude(second, theirs, other[1], precision, device, reproducer)
        else:
            equal = 0.0
    return _compared(diagnosis, theirs, other[1], equal)


def _function(fn_or_name: Callable | str) -> tuple[Callable, str]:
    if isinstance(fn_or_name, str):
        scan = scans.get(fn_or_name)
        if (why := scan.unavailable()) is not None:
            raise ValueError(f"scan {fn_or_name!r} cannot run here: {why}")
        return scan.fn, fn_or_name
    if not callable(fn_or_name):
        raise ValueError(
            f"{fn_or_name!r} is not a scan: pass a function of ScanInputs or one of {', '.join(scans.names())}"
        )
    module, label = getattr(fn_or_name, "__module__", None), getattr(fn_or_name, "__qualname__", None)
    return fn_or_name, f"{module}:{label}" if module and label else type(fn_or_name).__name__


def _examined(
    sandbox: Sandbox, seed: int, precision: str, device: torch.device | str, progress: bool, u: str
) -> Findings | Diagnosis:
    """:func:`_examine` with u as the scan takes it."""
    found = _examine(sandbox, seed, precision, device, progress, "int8" if u == "auto" else u)
    if u == "auto" and isinstance(found, Diagnosis) and found.verdict == "error" and len(found.evidence) == 1:
        other = _examine(sandbox, seed, precision, device, progress, "float32")
        return found if isinstance(other, Diagnosis) and other.verdict == "error" else other
    return found


def _examine(
    sandbox: Sandbox, seed: int, precision: str, device: torch.device | str, progress: bool, u: str
) -> Findings | Diagnosis:
    """All records, or a diagnosis at once when the scan does not answer."""

    def ask(x: ScanInputs) -> Outcome:
        return sandbox(x.to(device) if str(device) != "cpu" else x)

    records: list[Record] = []

    def take(probe: Probe, limit) -> Diagnosis | None:
        outcome = ask(probe.inputs)
        if outcome.status == "declined" and not probe.optional:
            outcome = replace(outcome, status="error")
        record = judge(probe, limit, outcome)
        if outcome.status in OWN_VERDICTS:
            return _own_verdict(record, [*records, record])
        if record.bad:
            second = ask(probe.inputs)
            record = replace(record, again=_differs(outcome, second))
        records.append(record)
        return None

    for probe, limit in measured_units(precision, u):
        if (early := take(probe, limit)) is not None:
            return early
    passing = [r.about["embed"] for r in records if r.outcome.y is not None and not r.bad_y]
    embed = passing[0] if passing else None
    steps = measured_ladder(embed or Embed(), seed, precision, u)
    for probe, limit in tqdm(steps, desc="probes", disable=not progress, mininterval=1.0):
        if (early := take(probe, limit)) is not None:
            return early
    _repeat(ask, records)
    return Findings(records, embed, ask)


def _differs(first: Outcome, second: Outcome) -> bool:
    if (first.y is None) != (second.y is None) or first.y is None:
        return first.status != second.status
    same_state = (first.state is None) == (second.state is None) and (
        first.state is None or first.state.tobytes() == second.state.tobytes()
    )
    return first.y.tobytes() != second.y.tobytes() or not same_state


def _repeat(ask: Callable[[ScanInputs], Outcome], records: list[Record]) -> None:
    """Call some probes again, several times over and in between others; marks the records of those that differ."""
    chosen = [
        i for i, r in enumerate(records) if r.probe.rung in ("compound", "memory", "index") and r.outcome.y is not None
    ]
    for i in chosen[:: max(1, len(chosen) // 16)]:
        outcomes = [ask(records[i].probe.inputs) for _ in range(REPEATS if i == chosen[-1] else 2)]
        if any(_differs(records[i].outcome, outcome) for outcome in outcomes):
            records[i] = replace(records[i], again=True)
    for record in [r for r in records if r.probe.rung == "compound" and r.outcome.y is not None][:3]:
        x = record.probe.inputs
        if x.batch > 1 and not record.bad:
            changed = _others_changed(x)
            outcome = ask(changed)
            if outcome.y is not None and outcome.y[0].tobytes() != record.outcome.y[0].tobytes():
                at = next(k for k, r in enumerate(records) if r is record)
                probe = replace(record.probe, name=record.probe.name + ", other items changed")
                records[at] = replace(record, again=True, probe=probe)


def _others_changed(x: ScanInputs) -> ScanInputs:
    """The same first batch item beside other ones."""

    def change(values: torch.Tensor) -> torch.Tensor:
        values = values.clone()
        values[1:] = values[1:].flip(-1).neg().clamp(min=-127)
        return values

    return replace(
        x, **{name: getattr(x, name).map(change) for name in ("u", "B", "C", "z") if getattr(x, name) is not None}
    )


def _own_verdict(record: Record, records: list[Record]) -> Diagnosis:
    outcome = record.outcome
    operation = None
    if outcome.status == "invalid output":
        operation = (
            "output_cast"
            if within(outcome.detail, "en").startswith("y is torch.")
            else ("layout" if "shape" in outcome.detail else None)
        )
    return Diagnosis(
        verdict=outcome.status, operation=operation, runner_up=None, confidence=1.0,
        evidence=(f"{record.probe.name}: {outcome.detail}",), fingerprint=_fingerprint(records), reproducer=None,
    )  # fmt: skip


def _fingerprint(records: list[Record]) -> tuple[Evidence, ...]:
    """One row per rung."""
    rows = []
    for rung in RUNGS:
        if rung == "repeat":
            answered = [r for r in records if r.outcome.y is not None]
            bad = [r for r in answered if r.again]
        else:
            answered = [r for r in records if r.probe.rung == rung and r.outcome.y is not None]
            bad = [r for r in answered if r.bad]
        declined = sum(r.probe.rung == rung and r.outcome.y is None for r in records)
        excess = max((r.excess for r in bad if r.bad_y), default=0.0) if rung != "repeat" else float(bool(bad))
        rows.append(
            Evidence(
                rung,
                len(answered),
                len(bad),
                sum(r.bad_y for r in bad),
                sum(r.bad_state for r in bad),
                declined,
                excess,
                bad[0].probe.name if bad else "",
            )
        )
    return tuple(rows)


def _conclude(
    sandbox: Sandbox, found: Findings, name: str, precision: str, device: torch.device | str, reproducer: bool
) -> Diagnosis:
    finding = decide(found)
    fingerprint = _fingerprint(found.records)
    if finding is None:
        return _honest(found, name, fingerprint)
    confidence, explained, failing = _confidence(finding, found.records)
    evidence = [finding.reason, say(
        "{explained} of {failing} failing probes exercise {operation}",
        explained=explained, failing=failing, operation=finding.operation
    )]
    if finding.key:
        record = min(finding.key, key=lambda r: r.probe.inputs.u.values.numel() * r.probe.inputs.states)
        part = say("the returned state leaves its bound") if not record.bad_y and record.bad_state else say(
            "y = {observed} where {expected} is due", observed=f"{record.observed:g}", expected=f"{record.expected:g}"
        )  # fmt: skip
        evidence.append(f"{record.probe.name}: {part}")
    if found.embed is not None and found.embed != Embed():
        evidence.append(
            say(
                "examined with {length} tokens and {states} states, since all ones fail with one",
                length=found.embed.length, states=found.embed.states
            )
        )
    text = None
    if reproducer and finding.key:
        limit = Precision.parse(precision)
        smallest = shrink(found.call, finding, limit)
        text = None if smallest is None else write_reproducer(smallest, name, finding, found.call)
    return Diagnosis(
        verdict="fault", operation=finding.operation, runner_up=finding.runner_up, confidence=confidence,
        evidence=tuple(evidence), fingerprint=fingerprint, reproducer=text, scan=name,
    )  # fmt: skip


def _confidence(finding: Finding, records: list[Record]) -> tuple[float, int, int]:
    """The rule's certainty times the share of the failing probes that exercise the operation named."""
    failing = [r for r in records if r.bad or r.again]
    explained = sum(finding.operation in uses(r.probe.inputs) for r in failing)
    share = explained / len(failing) if failing else 1.0
    return round(finding.certainty * (0.5 + 0.5 * share), 3), explained, len(failing)


def _honest(found: Findings, name: str, fingerprint: tuple[Evidence, ...]) -> Diagnosis:
    answered = [r for r in found.records if r.outcome.y is not None]
    values = sum(r.outcome.y.size for r in answered)
    off = sum(int((r.outcome.y != r.bounds.rounded).sum()) for r in answered)
    declined = len(found.records) - len(answered)
    evidence = [
        say(
            "{answered} probes, {values} values of y, none outside its bound; {off} not the correctly rounded ones",
            answered=f"{len(answered):,}", values=f"{values:,}", off=f"{off:,}"
        )
    ]
    if declined:
        evidence.append(say(
            "{declined} probes were declined: the scan does not offer what they ask for", declined=declined
        ))
    return Diagnosis(
        verdict="identical" if off == 0 else "rounding",
        operation=None,
        runner_up=None,
        confidence=1.0,
        evidence=tuple(evidence),
        fingerprint=fingerprint,
        reproducer=None,
        scan=name,
    )


def _equal_everywhere(ours: list[Record], theirs: list[Record]) -> float:
    """Share of y that is equal bit for bit, over the probes that both answered."""
    by_name = {(r.probe.rung, r.probe.name): r for r in theirs}
    equal = total = 0
    for record in ours:
        twin = by_name.get((record.probe.rung, record.probe.name))
        if twin is None or record.outcome.y is None or twin.outcome.y is None:
            continue
        if twin.outcome.y.shape == record.outcome.y.shape:
            equal += int(
                np.sum((record.outcome.y == twin.outcome.y) | (np.isnan(record.outcome.y) & np.isnan(twin.outcome.y)))
            )
            total += record.outcome.y.size
    return equal / total if total else 0.0


def _compared(ours: Diagnosis, theirs: Diagnosis, other: str, equal: float) -> Diagnosis:
    """Two scans: who is outside the bounds, if anybody."""
    note = say("{equal} of the values of y equal those of {other}, bit for bit", equal=f"{equal:.3%}", other=other)
    if equal == 1.0:
        also = () if ours.verdict != "fault" else (say(
            "both leave the bounds in the same way: {operation}", operation=ours.operation
        ),)
        return replace(ours, against=other, verdict="identical", operation=None, runner_up=None,
                       evidence=(note, *also, *ours.evidence))  # fmt: skip
    if ours.verdict not in ("identical", "rounding"):
        own = (
            "is inside the bounds"
            if theirs.verdict in ("identical", "rounding")
            else say("has a {verdict} too, at {operation}", verdict=theirs.verdict, operation=theirs.operation)
        )
        return replace(ours, against=other, evidence=(*ours.evidence, note, f"{other} {own}"))
    if theirs.verdict not in ("identical", "rounding"):
        return replace(
            theirs,
            scan=ours.scan,
            against=other,
            evidence=(say(
                "{scan} is inside the bounds; {other} is not", scan=ours.scan, other=other
            ), *theirs.evidence, note),
        )
    return replace(
        ours, against=other, verdict="rounding", evidence=(*ours.evidence, note, say(
            "{other} is inside the bounds too", other=other
        ))
    )
