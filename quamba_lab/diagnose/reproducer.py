"""A file of a few lines that shows a fault: the input, the formula, what is due and what comes.

The file needs torch and the scan's own module, nothing else that is not written in it: the expected values come from
the
formula spelled out in Python floats.  Before it is handed out it is run on the scan in question.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable

import numpy as np
import torch

from ..scans import ScanInputs, ScanOutput
from ..texts import within
from .bounds import Bounds
from .finding import Finding
from .sandbox import Outcome
from .shrink import Smallest

__all__ = ["write_reproducer"]

FORMULA = '''
def expected(b, c):
    """y[b, :, c] and the last state by the formula, in float64."""
    value = lambda q, *at: float(q.values[at]) * (1.0 if q.scale is None else float(q.scale))
    group = c * x.groups // x.channels
    h, ys = [0.0] * x.states, []
    for t in range(x.length):
        dt = value(x.dt, b, c, t) + (value(x.dt_bias, c) if x.dt_bias else 0.0)
        dt = (max(dt, 0.0) + math.log1p(math.exp(-abs(dt)))) if x.softplus else dt
        u = value(x.u, b, c, t)
        for n in range(x.states):
            decay = math.exp(-dt * math.exp(value(x.A_log, c, n)))
            h[n] = decay * h[n] + dt * value(x.B, b, group, n, t) * u
        y = sum(h[n] * value(x.C, b, group, n, t) for n in range(x.states))
        y += value(x.D, c) * u if x.D else 0.0
        if x.z:
            z = value(x.z, b, c, t)
            y *= z / (1 + math.exp(-z)) if z > -700 else 0.0
        ys.append(y)
    return ys, h
'''


def _literal(x: ScanInputs) -> list[str]:
    lines = []
    for name, q in x.operands().items():
        if q.scale is None:
            lines.append(f"    {name}=Quantized(torch.tensor({q.values.tolist()}, dtype={q.values.dtype}), None),")
            continue
        lines.append(f"    {name}=codes({q.values.tolist()}, {float(q.scale)!r}),")
    if x.state_scale is not None:
        lines.append(f"    state_scale=torch.tensor({float(x.state_scale)!r}),")
    return [*lines, f"    softplus={x.softplus},"]


def _binding(name: str) -> list[str]:
    """The lines that bind ``scan``."""
    module, _, attribute = name.rpartition(":")
    if not module:
        return ["from quamba_lab import scans", "", f"scan = scans.get({name!r}).fn"]
    if "<" in attribute or module == "__main__":
        return [f"scan = ...  # put your scan here: it was {name}, which cannot be imported by name"]
    first, _, rest = attribute.partition(".")
    return [f"from {module} import {first}", "", f"scan = {first}.{rest}" if rest else f"scan = {first}"]


def write_reproducer(
    smallest: Smallest, name: str, finding: Finding, call: Callable[[ScanInputs], Outcome]
) -> str | None:
    """The file's text, or None when it does not show the fault on being run again."""
    x, limit = smallest.inputs, smallest.limit
    head = [
        f'"""{finding.operation}: {within(finding.reason, "en")}."""',
        "import dataclasses",
        "import math",
        "",
        "import torch",
        "",
        "from quamba_lab import Quantized, ScanInputs",
    ]
    body = [
        "",
        "codes = lambda values, scale: Quantized(torch.tensor(values, dtype=torch.int8), torch.tensor(scale))",
        "x = ScanInputs(",
        *_literal(x),
        ")",
        FORMULA,
        *(REPEATED if smallest.repeated else _state(limit) if smallest.state else _output(limit)),
        'print("the fault shows" if shown else "the fault does not show")',
        "",
    ]
    if not _shows("\n".join([*head, *body]), call):
        return None
    return "\n".join([*head, *_binding(name), *body])


def _shows(text: str, call: Callable[[ScanInputs], Outcome]) -> bool:
    """Run the file's text, with ``scan`` bound to the guarded scan; True when it says that the fault shows."""

    def scan(x: ScanInputs) -> ScanOutput:
        outcome = call(x)
        state = None if outcome.state is None else torch.from_numpy(outcome.state.copy())
        return ScanOutput(torch.from_numpy(outcome.y.copy()), state)

    names: dict = {"scan": scan}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(text, "reproducer.py", "exec"), names)
    return bool(names["shown"])


def _output(limit: Bounds) -> list[str]:
    return [
        "# an honest scan, in any order of summation, stays between these two (float16, (b, l, d))",
        f"low = torch.tensor({_floats(limit.low)})",
        f"high = torch.tensor({_floats(limit.high)})",
        "out = scan(x)",
        "y = getattr(out, 'y', out).float()",
        "wrong = ~((y >= low) & (y <= high))",
        "for b, t, c in wrong.nonzero().tolist():",
        '    print(f"y[{b}, {t}, {c}]: expected {expected(b, c)[0][t]:.9g}, got {float(y[b, t, c]):.9g}")',
        "shown = bool(wrong.any())",
    ]


def _state(limit: Bounds) -> list[str]:
    return [
        "# the last state of an honest scan stays between these two ((b, d, n))",
        f"low = torch.tensor({_floats(limit.state_low)}, dtype=torch.float64)",
        f"high = torch.tensor({_floats(limit.state_high)}, dtype=torch.float64)",
        "state = scan(x).last_state.double()",
        "wrong = ~((state >= low) & (state <= high))",
        "for b, c, n in wrong.nonzero().tolist():",
        "    h = expected(b, c)[1][n] / (1.0 if x.state_scale is None else float(x.state_scale))",
        '    print(f"last_state[{b}, {c}, {n}]: expected {h:.9g} before rounding, got {float(state[b, c, n]):.9g}")',
        "shown = bool(wrong.any())",
    ]


REPEATED = [
    "calls = []",
    "for k in range(20):",
    "    out = scan(x)",
    "    calls.append(getattr(out, 'y', out).clone())",
    "    if k % 3 == 2:  # something else in between",
    "        scan(dataclasses.replace(x, u=x.u.map(torch.neg)))",
    "for k, y in enumerate(calls[1:], 2):",
    "    if not torch.equal(y, calls[0]):",
    '        print(f"expected, from call 1: {calls[0].flatten()[:4].tolist()}")',
    '        print(f"got, from call {k}: {y.flatten()[:4].tolist()}")',
    "shown = any(not torch.equal(y, calls[0]) for y in calls)",
]


def _floats(array: np.ndarray) -> str:
    return str(array.tolist()).replace("inf", "math.inf").replace("nan", "math.nan")
