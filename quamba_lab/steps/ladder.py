"""The ladder of the scan's operations: the error against FP64 after each, and what each adds by itself.

From one scan's taps two errors follow.  The *accumulated* error is the tap against the FP64 scan's.  The *local* one is
the tap against the same operation done in FP64 on the scan's own previous taps: with equal inputs, what this operation
adds.  Local errors are counted in unit roundoffs of the magnitudes that enter, so they can be held against a bound that
follows from the operation (quamba_lab/thresholds.py), not against a tuned tolerance.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from ..compare import difference, relative_rms
from ..scans import ScanInputs
from ..thresholds import operation_bound, unit_roundoff

__all__ = ["LADDER", "Local", "exact_operations", "in_units", "ladder_table", "local_errors"]

LADDER = ("softplus", "decay", "drive", "recurrence", "contraction", "skip", "gate", "output_cast")
"""The tapped operations in order of computation; dequantization, before them, is step 3's."""


FLUSHED = torch.finfo(torch.float32).tiny / unit_roundoff(torch.float32)
"""Added to a magnitude so that flushing numbers below the smallest normal float32 to zero counts as one unit."""


@dataclass(frozen=True)
class Local:
    """One operation's own error: the largest, in unit roundoffs of what enters, where, and its RMS."""

    units: float
    place: tuple[int, ...]
    rms: float


Exact = dict[str, tuple[Tensor, Tensor]]
"""By operation: its FP64 result on a scan's own previous taps, and the magnitude that its error scales with."""


def exact_operations(x: ScanInputs, taps: dict[str, Tensor]) -> Exact:
    """For each operation: its FP64 result on the scan's own previous taps, and the magnitude its error scales with."""
    f64 = torch.float64
    t = {name: value.double() for name, value in taps.items()}
    u, dt = x.u.dequantize(f64), x.dt.dequantize(f64)  # (b, d, l)
    size = dt.abs()
    if x.dt_bias is not None:
        bias = x.dt_bias.dequantize(f64)[None, :, None]
        dt, size = dt + bias, size + bias.abs()
    logarithm = x.A_log.dequantize(f64)
    A = -torch.exp(logarithm)
    per_group = x.channels // x.groups
    B = x.B.dequantize(f64).repeat_interleave(per_group, 1).transpose(2, 3)  # (b, d, l, n)
    C = x.C.dequantize(f64).repeat_interleave(per_group, 1).transpose(2, 3)
    out: dict[str, tuple[Tensor, Tensor]] = {}
    if x.softplus:
        step = torch.logaddexp(dt, torch.zeros((), dtype=f64, device=dt.device))
        # d softplus / d dt = sigmoid(dt): an error of the sum dt + bias is passed on by that factor. The 1
        # is for forms that add 1 + exp(dt) before the log, which costs a unit of 1 and not of a small result.
        scale = step + torch.sigmoid(dt) * size + 1.0
    else:
        step, scale = dt, size
    out["softplus"] = (step, scale)
    exponent = t["softplus"][..., None] * A[None, :, None, :]
    decay = torch.exp(exponent)
    # A rounding of A_log is multiplied by |A_log| in A, and everything in the exponent by |dt·A| in the decay.
    through = exponent.abs() * (1 + logarithm.abs())[None, :, None, :]
    out["decay"] = (decay, decay * (1 + through) + FLUSHED)
    drive = (t["softplus"] * u)[..., None] * B
    out["drive"] = (drive, drive.abs() + FLUSHED)
    previous = torch.cat([torch.zeros_like(t["recurrence"][:, :, :1]), t["recurrence"][:, :, :-1]], 2)
    kept = t["decay"] * previous
    out["recurrence"] = (kept + t["drive"], _history(t["decay"], t["drive"]) + FLUSHED)
    terms = t["recurrence"] * C
    magnitude = terms.abs().sum(-1)
    contraction = terms.sum(-1)
    out["contraction"] = (contraction, magnitude)
    skip = contraction
    if x.D is not None:
        direct = x.D.dequantize(f64)[None, :, None] * u
        skip, magnitude = contraction + direct, magnitude + direct.abs()
    out["skip"] = (skip, magnitude)
    gate = t["skip"]
    if x.z is not None:
        z = x.z.dequantize(f64)
        gate = t["skip"] * z * torch.sigmoid(z)
        out["gate"] = (gate, gate.abs() * (1 + z.abs()))
    else:
        out["gate"] = (gate, gate.abs())
    cast = t["gate"].transpose(1, 2)
    out["output_cast"] = (cast, cast.abs() + torch.finfo(torch.float16).tiny)
    return out


def _history(decay: Tensor, drive: Tensor) -> Tensor:
    """The running size of the recurrence, H_t = a_t·H_(t-1) + |b_t|: what a state's rounding errors scale with in any
    order of summation; a tree adds terms that later cancel."""
    size = torch.zeros_like(drive[:, :, 0])
    out = torch.empty_like(drive)
    for t in range(drive.shape[2]):
        size = decay[:, :, t] * size + drive[:, :, t].abs()
        out[:, :, t] = size
    return out


def local_errors(x: ScanInputs, taps: dict[str, Tensor], exact: Exact | None = None) -> dict[str, Local]:
    """Each tapped operation's own error; operations that the scan does not tap are left out.

    ``exact``: what :func:`exact_operations` said of these taps, computed when not given.
    """
    found = {}
    needed = set(LADDER) - {"output_cast"}
    if not needed <= taps.keys():
        return found
    for name, (truth, magnitude) in (exact or exact_operations(x, taps)).items():
        if name not in taps:
            continue
        got = taps[name].double()
        unit = unit_roundoff(torch.float16 if name == "output_cast" else torch.float32)
        units = in_units(got - truth, unit * magnitude)
        worst = int(units.argmax())
        place = tuple(int(i) for i in torch.unravel_index(torch.tensor(worst), units.shape))
        found[name] = Local(float(units.flatten()[worst]), place, relative_rms(got, truth))
    return found


def in_units(error: Tensor, size: Tensor) -> Tensor:
    """|error| / size; 0 where there is no error, infinite where it is not a number."""
    return torch.where(error == 0, torch.zeros_like(error), error.abs() / size).nan_to_num(nan=float("inf"))


def ladder_table(
    truth: dict[str, Tensor], taps: tuple[dict, dict], local: tuple[dict, dict], names: tuple[str, str]
) -> pd.DataFrame:
    """One row per operation for two scans on the same inputs; a side without taps has NaN in its columns.

    ``truth``: the FP64 scan's taps; ``taps``: certified ones; ``local``: their :func:`local_errors`.
    """
    rows = []
    for name in LADDER:
        row = {"operation": name, "bound_units": operation_bound(name)}
        for side, mode, found, errors in zip("ab", names, taps, local, strict=True):
            got, own = found.get(name), errors.get(name)
            exact = truth["gate"].transpose(1, 2) if name == "output_cast" else truth[name]
            row[f"error_of_{side}"] = relative_rms(got.double(), exact) if got is not None else float("nan")
            row[f"local_units_{side}"] = own.units if own else float("nan")
            row[f"local_rms_{side}"] = own.rms if own else float("nan")
            row[f"local_place_{side}"] = "" if own is None or own.units == 0 else str(own.place)
            row[f"mode_{side}"] = mode
        a, b = taps[0].get(name), taps[1].get(name)
        if a is not None and b is not None:
            d = difference(a, b if a.dtype == b.dtype else b.to(a.dtype))
            row |= {
                "equal": d.equal, "share_differing": d.share, "difference_rms": d.relative_rms,
                "first_difference": "" if d.first is None else str(d.first),
                "max_ulp": float("nan") if d.max_ulp is None else d.max_ulp,
            }  # fmt: skip
        rows.append(row)
    return pd.DataFrame(rows)
