"""Black-box probes of one scan's dequantization: what value does it give to each of the 256 codes?

Nothing is sampled and no tap is needed; only ``ScanInputs -> ScanOutput``.  Every operand but the one under test is
made neutral (code 1, scale 1, no softplus, no gate), so that the operand's own value comes out:

    u, dt, B, dt_bias   one token: the last state is dt·B·u in float32, so it *is* the dequantized operand
    C                   y = C·h - s·c with h = 1 and D·u = -s·c: exactly 0 when code c has the value s·c
    D                   y = D·u - s·c with u = 1 and C·h = -s·c: likewise
    A_log               two tokens: the last state is exp(dt·A), compared with FP64
    z                   y = silu(z) in float16, compared with FP64

Scales of C and D are multiplied by a power of two, which changes no significand, to lift a deviation of one float32 ULP
into float16's range.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..compare import spacing, ulp_distance
from ..quantized import Quantized
from ..scans import ScanInputs, ScanOutput
from ..texts import say
from ..thresholds import operation_bound, unit_roundoff

__all__ = [
    "ALL_CODES",
    "CONVERSIONS",
    "OperandAudit",
    "audit_operand",
    "drive_association",
    "skip_position",
    "state_rounding",
]

Run = Callable[[ScanInputs], ScanOutput]
ALL_CODES = torch.arange(-128, 128).to(torch.int8)
ONE = torch.tensor(1.0)


def _codes(values: Tensor | int, *shape: int, scale: float | Tensor = 1.0) -> Quantized:
    filled = torch.full(shape, values, dtype=torch.int8) if isinstance(values, int) else values.to(torch.int8)
    return Quantized(filled.reshape(shape), torch.as_tensor(scale, dtype=torch.float32).reshape(()))


def _neutral(b: int = 1, d: int = 1, l: int = 1, n: int = 1, **operands: Quantized) -> ScanInputs:
    """Operands of value 1 everywhere; A = -exp(-128), which is 0 in float32, so the state is kept unless told."""
    parts = {
        "u": _codes(1, b, d, l), "dt": _codes(1, b, d, l), "B": _codes(1, b, 1, n, l), "C": _codes(1, b, 1, n, l),
        "A_log": _codes(-128, d, n), "softplus": False,
    }  # fmt: skip
    return ScanInputs(**{**parts, **operands})


CONVERSIONS = {
    "float32(code) × scale": lambda c, s: c.float() * s,
    "code clipped to ±127": lambda c, s: c.clamp(min=-127).float() * s,
    "scale rounded to float16": lambda c, s: c.float() * s.half().float(),
    "scale rounded to bfloat16": lambda c, s: c.float() * s.bfloat16().float(),
    "product rounded to float16": lambda c, s: (c.float() * s).half().float(),
    "product rounded to bfloat16": lambda c, s: (c.float() * s).bfloat16().float(),
    "no scale": lambda c, s: c.float(),
    "scale applied twice": lambda c, s: c.float() * s * s,
}
"""Ways of turning a code into a value that the audit can tell apart; the first is the rule."""


@dataclass(frozen=True)
class OperandAudit:
    """The value of all 256 codes of one operand in one scan.

    ``seen_in``: where the value was read (``last state, float32``, ``y, cancellation`` or ``y, float16``), with
    ``bits`` of it visible.  ``exact``: codes whose value is code × scale as far as visible.  ``worst_ulp``: largest
    deviation, in units in the last place of the visible format.  ``worst_code``: where.  ``lowest``, ``highest``: the
    values given to codes -128 and 127 divided by the scale.  ``conversion``: which of :data:`CONVERSIONS` fits, or
    ``"none of them"``.
    ``note``: a sentence when the scan refused the probe; nothing was then seen.
    """

    operand: str
    scale: float
    seen_in: str
    bits: int
    exact: int
    worst_ulp: float
    worst_code: int
    lowest: float
    highest: float
    conversion: str
    note: str = ""


def _judge(
    operand: str, scale: Tensor, got: Tensor, seen_in: str, bits: int, known_to: Tensor | float = 0.0
) -> OperandAudit:
    """``got``: the value of each code; ``known_to``: how exactly a value is known that is not the expected one."""
    expected = CONVERSIONS["float32(code) × scale"](ALL_CODES, scale)
    deviation = ulp_distance(expected, got.float()).double()
    deviation = torch.where(deviation < 0, torch.full_like(deviation, math.inf), deviation)
    worst = int(deviation.argmax())
    fits = [
        name for name, rule in CONVERSIONS.items()
        if bool(((rule(ALL_CODES, scale).double() - got.double()).abs() <= known_to).all())
    ]  # fmt: skip
    return OperandAudit(
        operand, float(scale), seen_in, bits, int((deviation == 0).sum()), float(deviation[worst]),
        int(ALL_CODES[worst]), *(float(got[end].double() / scale.double()) for end in (0, -1)),
        fits[0] if fits else "none of them",
    )  # fmt: skip


def _through_state(run: Run, operand: str, scale: Tensor) -> OperandAudit | None:
    """u, dt, B over 256 batch items, dt_bias over 256 channels; None when the scan returns no float32 state."""
    if operand == "dt_bias":
        inputs = _neutral(d=256, dt=_codes(0, 1, 256, 1), dt_bias=_codes(ALL_CODES, 256, scale=scale))
    else:
        shape = (256, 1, 1, 1) if operand == "B" else (256, 1, 1)
        inputs = _neutral(b=256, **{operand: _codes(ALL_CODES, *shape, scale=scale)})
    state = run(inputs).last_state
    if state is None or not state.is_floating_point():
        return None
    return _judge(operand, scale, state.reshape(256), "last state, float32", 24)


def _lift(scale: Tensor) -> tuple[Tensor, float]:
    """``scale`` times the power of two that puts 128·scale into [2^12, 2^13)."""
    factor = 2.0 ** (12 - math.floor(math.log2(128 * float(scale))))
    return scale * factor, factor


def _opposite(c: Tensor) -> tuple[Tensor, Tensor]:
    """INT8 factors (p, q) with p·q = -c for every code c; -(-128) is 2·64, because 128 is no INT8 code."""
    edge = c == -128
    p = torch.where(edge, torch.full_like(c, 64), -c.clamp(min=-127))
    return p, torch.where(edge, torch.full_like(c, 2), torch.ones_like(c))


def _through_cancellation(run: Run, operand: str, scale: Tensor) -> OperandAudit:
    """C or D: y is exactly the deviation of the code's value from s·c, or s·c's own rounding error under a wide sum."""
    lifted, factor = _lift(scale)
    p, q = _opposite(ALL_CODES)
    if operand == "C":  # t = 0 makes h = 1; t = 1 keeps it (dt = 0) and reads C·h + D·u with D·u = -s·c
        u = torch.stack([torch.ones_like(p), p], 1)[:, None, :].expand(256, 2, 2)  # (b, d, l): channel 1 has D = 2
        inputs = _neutral(
            b=256, d=2, l=2,
            u=_codes(u, 256, 2, 2), dt=_codes(torch.tensor([1, 0]).expand(256, 2, 2), 256, 2, 2),
            C=_codes(ALL_CODES[:, None].expand(256, 2), 256, 1, 1, 2, scale=lifted),
            D=_codes(torch.tensor([1, 2]), 2, scale=lifted),
        )  # fmt: skip
        y = run(inputs).y[:, 1]  # (b, d)
        deviation = torch.where(q == 2, y[:, 1], y[:, 0]).double()
    else:  # t = 0 makes h = -c; t = 1 keeps it and reads D·1 + C·h with C = s
        u = torch.stack([p, torch.ones_like(p)], 1)[None]  # (1, d, l)
        dt = torch.stack([q, torch.zeros_like(q)], 1)[None]
        inputs = _neutral(
            d=256, l=2, u=_codes(u, 1, 256, 2), dt=_codes(dt, 1, 256, 2),
            C=_codes(1, 1, 1, 1, 2, scale=lifted), D=_codes(ALL_CODES, 256, scale=lifted),
        )  # fmt: skip
        deviation = run(inputs).y[0, 1].double()  # (d,)
    product = ALL_CODES.double() * lifted.double()
    rounding = (ALL_CODES.float() * lifted).double() - product  # what a wide or fused sum leaves over
    harmless = (deviation.abs() <= rounding.abs() * (1 + 2.0**-10)) & torch.isfinite(deviation)
    got = torch.where(harmless, ALL_CODES.float() * lifted, (product + deviation).float())
    known_to = torch.where(harmless, 0.0, deviation.abs() * 2.0**-10 + rounding.abs())
    return replace(_judge(operand, lifted, got, "y, cancellation", 24, known_to), scale=float(lifted) / factor)


def _through_decay(run: Run, scale: Tensor) -> OperandAudit:
    """A_log: the state after a second token without input is exp(dt·A)."""
    dt = torch.tensor([64, 32])[None, None].expand(1, 256, 2)  # at scale 1/64: 1, then 0.5
    inputs = _neutral(
        d=256, l=2, u=_codes(torch.tensor([1, 0]).expand(1, 256, 2), 1, 256, 2),
        dt=_codes(dt, 1, 256, 2, scale=1 / 64), A_log=_codes(ALL_CODES, 256, 1, scale=scale),
    )  # fmt: skip
    output = run(inputs)
    exponent = -0.5 * torch.exp(ALL_CODES.double() * scale.double())
    expected = torch.exp(exponent)
    in_state = output.last_state is not None and output.last_state.is_floating_point()
    got = (output.last_state.reshape(256) if in_state else output.y[0, 1]).double()
    fmt = torch.float32 if in_state else torch.float16
    # The same bound as the decay's in step 5, in ULP: the rounding of s·c is multiplied by |s·c| in A and, with
    # everything else in the exponent, by |dt·A| in the decay.  An error below one unit roundoff of the state that the
    # decay multiplies (1 here) is no difference: some scans hold the decay minus one.
    through = exponent.abs() * (1 + (ALL_CODES.double() * scale.double()).abs())
    allowed = operation_bound("decay") * (1 + through) if in_state else torch.ones_like(expected)
    error = ((got - expected).abs() - unit_roundoff(torch.float32)).clamp(min=0) / spacing(expected, fmt)
    return _from_error("A_log", scale, error, allowed, "last state, float32" if in_state else "y, float16", in_state)


def _from_error(
    operand: str, scale: Tensor, error: Tensor, allowed: Tensor, seen_in: str, in_state: bool = False
) -> OperandAudit:
    error = torch.nan_to_num(error, nan=math.inf)
    good = error <= allowed
    worst = int((error / allowed).argmax())
    fits = bool(good.all())
    return OperandAudit(
        operand, float(scale), seen_in, 24 if in_state else 11, int(good.sum()), float(error[worst]),
        int(ALL_CODES[worst]), -128.0 if bool(good[0]) else math.nan, 127.0 if bool(good[-1]) else math.nan,
        "float32(code) × scale" if fits else "none of them",
    )  # fmt: skip


def _through_gate(run: Run, scale: Tensor) -> OperandAudit:
    """z: y = 1·silu(z) in float16, lifted by a power of two so that small values stay normal."""
    lift = 2.0**6
    inputs = _neutral(
        b=256, C=_codes(1, 256, 1, 1, 1, scale=lift), z=_codes(ALL_CODES, 256, 1, 1, scale=scale)
    )  # fmt: skip
    z = ALL_CODES.double() * scale.double()
    expected = lift * z * torch.sigmoid(z)
    got = run(inputs).y.reshape(256).double()
    error = (got - expected).abs() / spacing(expected, torch.float16)
    return _from_error("z", scale, error, torch.ones(256, dtype=torch.float64), "y, float16")


def audit_operand(run: Run, operand: str, scale: Tensor) -> OperandAudit:
    """The value that ``run`` gives to all 256 codes of ``operand`` at this scale.

    ``run``: ScanInputs -> ScanOutput.  A scan that raises is reported in ``note``, never passed on.
    """
    scale = scale.detach().cpu().float().reshape(())
    try:
        if operand == "A_log":
            return _through_decay(run, scale)
        if operand == "z":
            return _through_gate(run, scale)
        if operand in ("C", "D"):
            return _through_cancellation(run, operand, scale)
        seen = _through_state(run, operand, scale)
    except Exception as error:  # a stranger's scan may raise anything
        return _refused(operand, scale, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
    return seen or _refused(operand, scale, "the scan returns no float32 state, so this operand cannot be isolated")


def _refused(operand: str, scale: Tensor, note: str) -> OperandAudit:
    return OperandAudit(operand, float(scale), "nothing", 0, 0, math.nan, 0, math.nan, math.nan, "not seen", note)


def drive_association(run: Run, inputs: ScanInputs, seed: int = 0) -> dict[str, float]:
    """Share of states of one token that equal each association of dt·B·u, bit for bit, on random codes at real scales.

    ``[B·u]`` is the whole number that the two codes give.  Empty when the scan returns no float32 state.
    """
    generator = torch.Generator().manual_seed(seed)
    b, d, n = 4, 32, 16

    def draw(*shape: int) -> Tensor:
        return torch.randint(-127, 128, shape, generator=generator).to(torch.int8)

    u_scale = inputs.u.scale if inputs.u.scale is not None else ONE / 32
    u, dt, B = draw(b, d, 1), draw(b, d, 1), draw(b, 1, n, 1)
    probe = _neutral(
        b=b, d=d, n=n, u=Quantized(u, u_scale.cpu()), dt=Quantized(dt, inputs.dt.scale.cpu()),
        B=Quantized(B, inputs.B.scale.cpu()),
    )  # fmt: skip
    state = run(probe).last_state
    if state is None or not state.is_floating_point():
        return {}
    fu, fdt = probe.u.dequantize(), probe.dt.dequantize()  # (b, d, 1)
    fB = probe.B.dequantize()[:, 0, :, 0][:, None, :]  # (b, 1, n)
    whole = u.float() * B[:, 0, :, 0][:, None, :].float()  # an exact integer below 2^14
    candidates = {
        "(dt·B)·u": (fdt * fB) * fu,
        "B·(dt·u)": fB * (fdt * fu),
        "dt·(B·u)": fdt * (fB * fu),
        "scales last: (dt·[B·u])·scales": (fdt * whole) * (probe.B.scale * probe.u.scale),
        "scales last: dt·([B·u]·scales)": fdt * (whole * (probe.B.scale * probe.u.scale)),
        "in float64": (probe.dt.dequantize(torch.float64) * probe.u.dequantize(torch.float64)
                       * probe.B.dequantize(torch.float64)[:, 0, :, 0][:, None, :]).float(),
    }
    return {name: float((value == state.float()).double().mean()) for name, value in candidates.items()}


def skip_position(run: Run) -> str:
    """Where D·u joins the sum over states: ``"first"``, ``"last"``, ``"exact"`` (a wide sum), or what y was.

    y = 1 + 2^25 - 2^25: float32 loses the 1 when it comes first and keeps it when it comes last.
    """
    huge = 2.0**19
    C = _codes(torch.tensor([64, -64]), 1, 1, 2, 1, scale=huge)
    value = float(run(_neutral(n=2, C=C, D=_codes(1, 1))).y)
    unclear = say("unclear (y = {value} for 1 + 2^25 - 2^25)", value=value)
    return {0.0: "first", 1.0: "last, or in a wider sum"}.get(value, unclear)


def state_rounding(run: Run) -> dict[str, str]:
    """Ties and range of the INT8 last state, from states of exactly k + 1/2 and states beyond the range."""

    def states(scale: float) -> Tensor | None:
        probe = _neutral(b=256, u=_codes(ALL_CODES, 256, 1, 1, scale=scale))
        output = run(ScanInputs(**{**vars(probe), "state_scale": ONE})).last_state
        return None if output is None else output.reshape(256).double()

    halves, doubled = states(0.5), states(2.0)
    if halves is None or doubled is None:
        return {"ties": "no state returned", "range": "no state returned"}
    exact = ALL_CODES.double() / 2
    odd = (ALL_CODES % 2) != 0
    away = torch.sign(exact) * torch.floor(exact.abs() + 0.5)
    ties = "even" if bool((halves == torch.round(exact))[odd].all()) else None
    ties = ties or ("away from zero" if bool((halves == away)[odd].all()) else "neither even nor away from zero")
    return {"ties": ties, "range": f"{doubled.min():.0f} .. {doubled.max():.0f}"}
