"""What rounding the state does: to y of one scan, along its tokens, and to the logits of a whole model."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .. import scans
from ..compare import relative_rms
from ..scans import ScanInputs
from ..scans.oracle import oracle_taps, quantize_state
from ..scans.variants import TORCH_INT8, Arithmetic
from .state_policies import RULES, SCALES, WHEN, Policy, QuantizedStateScan

if TYPE_CHECKING:
    from .workbook import Workbook

__all__ = [
    "LOGIT_POLICIES", "PHASES", "at_logits", "errors_along", "handed_on", "one_thread", "own_decode", "policies_of",
    "reaches_y",
]  # fmt: skip

PHASES = ("prefill", "decode")


def policies_of(phase: str, prefill: int) -> list[Policy]:
    """Never, then every other combination of when, rule and scale."""
    start = None if phase == "prefill" else prefill
    return [
        Policy("never", prefill=start),
        *(Policy(when, rule, scale, start) for when, rule, scale in itertools.product(WHEN[1:], RULES, SCALES)),
    ]


LOGIT_POLICIES = (
    Policy("end"), Policy("chunk"), *(Policy("token", rule) for rule in RULES),
    *(Policy("token", scale=scale) for scale in SCALES if scale != "calibrated"),
)  # fmt: skip
"""What the whole model is run with; in decode, all but the first two rounded from the hand-over on."""


@contextmanager
def one_thread():
    """torch on one thread: a token's state is so small that waking a second one for it costs more than it saves."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# At the scan ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Pieces:
    """What every policy shares: the scan's operations before and after the recurrence, and the exact y and states."""

    x: ScanInputs
    taps: dict[str, Tensor]
    values: dict[str, Tensor]
    exact: dict[str, Tensor]

    def y(self, states: Tensor) -> Tensor:
        """y before the cast, (b, d, l), as the PyTorch scan goes on from ``states``."""
        part = Arithmetic(TORCH_INT8)
        y = part.contraction(states, self.values["C"], None)
        if "D" in self.values:
            y = y + part.skip(self.values["D"], self.values["u"])
        return part.gate(y, self.values["z"]) if "z" in self.values else y


def _pieces(x: ScanInputs) -> _Pieces:
    part = Arithmetic(TORCH_INT8)
    values = {name: part.dequantize(name, q, x) for name, q in x.operands().items()}
    values["C"] = part.per_channel(values["C"], x)
    return _Pieces(x, part.taps(x), values, oracle_taps(x))


def _energy(x: Tensor) -> np.ndarray:
    """Sum of squares at each token (dimension 2), float64 (l,)."""
    return x.double().square().sum([i for i in range(x.dim()) if i != 2]).cpu().numpy()


def _ratio(error: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Square root of the quotient; 0 where there is no error, infinite where only the size is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(error == 0, 0.0, np.sqrt(error / size))


def errors_along(x: ScanInputs, policies: Sequence[Policy]) -> list[dict[str, Any]]:
    """The error against FP64 under each policy.

    ``y`` and ``state``: error/RMS at each token, float64 (l,).  ``y_rms``, ``state_rms``: over the whole prompt, or
    over the tokens that are decoded.  ``clipped``: share of the rounded states that had no code.
    """
    pieces = _pieces(x)
    unrounded, exact = pieces.taps["recurrence"], pieces.exact
    y_size, state_size = _energy(exact["gate"]), _energy(exact["recurrence"])
    known: dict[Policy, tuple[np.ndarray, np.ndarray]] = {}
    found = []
    for policy in policies:
        scan = QuantizedStateScan(policy)
        states = scan.states(pieces.taps["decay"], pieces.taps["drive"], x, unrounded)
        key = policy if states is not unrounded else Policy("never")
        if key not in known:
            known[key] = _energy(pieces.y(states) - exact["gate"]), _energy(states - exact["recurrence"])
        y_error, state_error = known[key]
        touched = slice(policy.prefill or 0, None)
        found.append({
            "policy": policy, "y": _ratio(y_error, y_size), "state": _ratio(state_error, state_size),
            "y_rms": float(_ratio(y_error[touched].sum(), y_size[touched].sum())),
            "state_rms": float(_ratio(state_error[touched].sum(), state_size[touched].sum())),
            "clipped": scan.clipped,
        })  # fmt: skip
    return found


def reaches_y(scan: str, x: ScanInputs) -> dict[str, Any]:
    """Run ``scan`` as it is with and without a state scale: in how many bits and values does y differ?

    ``y_values_changed`` of ``y_values``; ``state_is_codes``: whether the state that it returns is INT8.
    """
    given, without = scans.run(scan, x), scans.run(scan, replace(x, state_scale=None))
    changed = int((given.y.view(torch.int16) != without.y.view(torch.int16)).sum())
    codes = given.last_state is not None and given.last_state.dtype == torch.int8
    return {"y_values": given.y.numel(), "y_values_changed": changed, "state_is_codes": codes}


def handed_on(x: ScanInputs) -> list[dict[str, Any]]:
    """The error of the state after the last token when it becomes codes, for each rule and scale."""
    exact = oracle_taps(x)["recurrence"]
    last = exact[:, :, -1]  # (b, d, n)
    rows = []
    for rule, scale in itertools.product(RULES, SCALES):
        unit = Policy("end", rule, scale).scale_for(x, exact).double()
        value = quantize_state(last, unit, RULES[rule]).double() * unit
        outside = (last / unit > 127.5) | (last / unit < -128.5)
        rows.append({
            "rule": rule, "scale": scale, "unit": float(unit), "error_rms": relative_rms(value, last),
            "clipped": float(outside.double().mean()), "codes_used": int(torch.unique(value / unit).numel()),
        })  # fmt: skip
    return rows


def own_decode(scan: str, x: ScanInputs, prefill: int) -> dict[str, Any] | None:
    """What the scan's own decode does after ``prefill`` tokens, with INT8 states and with exact ones; None without."""
    if scans.get(scan).step is None:
        return None
    truth = scans.run("oracle", x).y[:, prefill:]
    rounded, exact = (scans.generate(scan, x, prefill, exact=kept).y[:, prefill:] for kept in (False, True))
    return {
        "int8_state_error_rms": relative_rms(rounded, truth), "exact_state_error_rms": relative_rms(exact, truth),
        "tokens": int(truth.shape[1]),
    }  # fmt: skip


# At the logits -------------------------------------------------------------------------------------------------------


@contextmanager
def _registered(policy: Policy):
    """The policy as a registered scan, for as long as the context lasts; the name."""
    name = f"state rounded {policy.label}, prefill {policy.prefill}"
    scans.register(name, QuantizedStateScan(policy), summary="the PyTorch scan with its state rounded", overwrite=True)
    try:
        yield name
    finally:
        scans.unregister(name)


def _logits(run: Workbook, mode: str, scan: str, item: int) -> Tensor:
    """float64 (l, v)."""
    return run.view(mode).with_scan(scan)(run.tokens(item))[0].double().cpu()


def _compare_logits(reference: list[Tensor], other: list[Tensor], starts: list[int]) -> dict[str, Any]:
    """Change of the logits against never rounding, from token ``starts`` of each item on."""
    a = torch.cat([r[s:] for r, s in zip(reference, starts, strict=True)])
    b = torch.cat([o[s:] for o, s in zip(other, starts, strict=True)])
    log_a, log_b = torch.log_softmax(a, -1), torch.log_softmax(b, -1)
    return {
        "logits_equal": bool(torch.equal(a, b)),
        "logits_rms": relative_rms(b, a),
        "kl_nats": float((log_a.exp() * (log_a - log_b)).sum(-1).mean().clamp(min=0)),
        "best_token_changed": float((a.argmax(-1) != b.argmax(-1)).double().mean()),
        "answers_changed": sum(int(r[-1].argmax() != o[-1].argmax()) for r, o in zip(reference, other, strict=True)),
        "tokens": len(a),
    }


def at_logits(run: Workbook, mode: str, items: Sequence[int]) -> pd.DataFrame:
    """One row per phase and policy: the change of the logits of ``mode``'s data flow against never rounding.

    In decode: over the second half of each item's tokens.  The rows ``floor`` have the FP64 scan: what rounding alone
    does.
    """
    u_dtype = run.scan_inputs(mode, 0, items[0]).u.values.dtype
    plain = "torch_int8" if u_dtype == torch.int8 else "torch_fp32"
    reference = [_logits(run, mode, plain, item) for item in items]
    lengths = [len(r) for r in reference]
    rows = []

    def add(phase: str, label: str, other: list[Tensor], **more: Any) -> None:
        starts = [0 if phase == "prefill" else length // 2 for length in lengths]
        rows.append({"phase": phase, "policy": label, **_compare_logits(reference, other, starts), **more})

    exact = [_logits(run, mode, "oracle", item) for item in items]
    for phase in PHASES:
        add(phase, "floor: FP64 for FP32", exact, when="floor", rule="", scale="")
        for policy in LOGIT_POLICIES if phase == "prefill" else LOGIT_POLICIES[:1] + LOGIT_POLICIES[2:]:
            logits = []
            for item, length in zip(items, lengths, strict=True):
                one = policy if phase == "prefill" else replace(policy, prefill=max(1, length // 2))
                with _registered(one) as name:
                    logits.append(_logits(run, mode, name, item))
            words = {"when": one.when, "rule": one.rule, "scale": one.scale}
            add(phase, one.label, logits, **words)
    return pd.DataFrame(rows)
