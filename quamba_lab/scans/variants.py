"""One scan with a switch for every free choice of the arithmetic.

Two honest scans differ only by such choices.  :class:`Variant` names them one by one, so that a difference between two
scans can be taken apart by moving from the one's setting to the other's a switch at a time:

    association   which two factors of dt·B·u are multiplied first        exp         how e^x is computed
    softplus      how log(1 + e^x) is computed                            fma         is a·h + b rounded once or twice
    order         sequential, a tree over chunks, a block scan            contraction the order of Σ C·h over the states
    skip          does the sum end or begin with D·u                      gate        how ·silu(z) is associated
    rule, cast    rounding of the returned state, of y                    requantize  where the state becomes INT8
    bias          scale·code + bias of dt rounded twice or once           dtype       of all the arithmetic

``run(inputs, Variant(...))`` computes the scan.  ``TORCH_INT8`` and ``PUBLISHED`` are the points that equal
:func:`torch_int8` and, on the host, :func:`published` bit for bit.
Every stage of :class:`Arithmetic` is a method of its own: a subclass replaces one and leaves the others as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ..quantized import AWAY_SATURATE, Quantized, RoundingRule
from .host_arithmetic import fused, log1p_once, prefix_scan, standard_exp
from .oracle import quantize_state
from .published import partition
from .types import ScanInputs, ScanOutput

__all__ = ["PUBLISHED", "SWITCHES", "TORCH_INT8", "VARIANT_OF", "Arithmetic", "Variant", "run", "taps"]

LOG2E = 1.4426950408889634
TINY = 2.0**-126  # the smallest normal float32: fast math flushes what is below it

SWITCHES: dict[str, tuple[str, ...]] = {
    "association": ("(dt*B)*u", "B*(dt*u)", "(B*u)*dt"),
    "exp": ("library", "exp2", "fast", "float64", "two_ulp", "standard"),
    "softplus": ("library", "log1p", "stable", "log1p_once"),
    "order": ("sequential", "tree", "block", "segments", "published"),
    "contraction": ("library", "ascending", "descending", "pairwise"),
    "skip": ("last", "first"),
    "gate": ("silu", "quotient", "sigmoid", "tanh"),
    "cast": ("float16", "truncate", "bfloat16", "saturate"),
    "requantize": ("end", "chunk", "token", "never"),
    "bias": ("separate", "fused"),
}
"""The allowed values of the switches that are words."""


@dataclass(frozen=True)
class Variant:
    """A point in the space of scans.

    ``chunk``: tokens per tree or segment; ``threads``, ``items``: shape of the block scan (the published order takes
    them from the length).  ``dtype``: the arithmetic.  Raises ``ValueError`` for a value that :data:`SWITCHES` does not
    list.
    """

    association: str = "(dt*B)*u"
    exp: str = "library"
    softplus: str = "library"
    fma: bool = False
    order: str = "sequential"
    chunk: int = 16
    threads: int = 32
    items: int = 4
    contraction: str = "library"
    skip: str = "last"
    gate: str = "silu"
    rule: RoundingRule = AWAY_SATURATE
    cast: str = "float16"
    requantize: Literal["end", "chunk", "token", "never"] = "end"
    bias: str = "separate"
    dtype: torch.dtype = torch.float32

    def __post_init__(self) -> None:
        for name, allowed in SWITCHES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}={getattr(self, name)!r}: choose one of {', '.join(allowed)}")
        if min(self.chunk, self.threads, self.items) < 1 or self.threads & (self.threads - 1):
            raise ValueError(
                f"chunk={self.chunk}, threads={self.threads}, items={self.items}: "
                "all must be at least 1 and threads a power of two"
            )


TORCH_INT8 = Variant()
"""Equal to :func:`quamba_lab.scans.torch_int8` bit for bit."""

PUBLISHED = Variant(
    association="B*(dt*u)", exp="standard", softplus="log1p_once", fma=True, order="published",
    contraction="ascending", skip="first", gate="quotient", bias="fused",
)  # fmt: skip
"""Equal to the host build of :func:`quamba_lab.scans.published.published` bit for bit."""

VARIANT_OF = {
    "published": PUBLISHED, "torch_int8": TORCH_INT8, "torch_fp32": TORCH_INT8,
    "torch_fp64": replace(TORCH_INT8, dtype=torch.float64),
}  # fmt: skip
"""The points that equal registered scans (on the CPU bit for bit)."""


class Arithmetic:
    """The stages of a scan under one :class:`Variant`; shapes as in :func:`quamba_lab.scans.oracle.oracle_taps`."""

    def __init__(self, variant: Variant = TORCH_INT8) -> None:
        self.v = variant
        self.carried: Tensor | None = None

    def exp(self, x: Tensor) -> Tensor:
        """e^x by the variant's method; "fast" is ex2.approx of a rounded x·log2(e), flushing to zero on both sides."""
        kind = self.v.exp
        if kind == "standard" and x.dtype == torch.float32:
            return standard_exp(x)
        if kind == "float64":
            return torch.exp(x.double()).to(x.dtype)
        if kind == "two_ulp" and x.dtype == torch.float32:
            exact = torch.exp(x.double()).float()
            wobble = (x.view(torch.int32) >> 3) % 5 - 2  # −2 … 2, a fixed function of x
            moved = (exact.view(torch.int32) + wobble).view(torch.float32)
            return torch.where((x.abs() < TINY) | (exact < TINY) | torch.isinf(exact), exact, moved)
        if kind in ("exp2", "fast"):
            y = torch.exp2(x * LOG2E)
            return torch.where(y < TINY, 0.0, y) if kind == "fast" else y
        return torch.exp(x)

    def multiply_add(self, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        """a·b + c; with ``fma`` float32 tensors are rounded once."""
        if self.v.fma and a.dtype == torch.float32:
            return fused(a, b, c)
        return a * b + c

    def dequantize(self, name: str, q: Quantized, x: ScanInputs) -> Tensor:
        """The operand's values; ``name`` is one of :data:`quamba_lab.scans.OPERANDS`."""
        return q.dequantize(self.v.dtype)

    def step_size(self, dt: Tensor, bias: Tensor | None, x: ScanInputs) -> Tensor:
        """softplus(dt + bias), (b, d, l)."""
        total = dt if bias is None else dt + bias[None, :, None]
        return self.softplus(total) if x.softplus else total

    def softplus(self, total: Tensor) -> Tensor:
        if self.v.softplus == "library":
            return F.softplus(total)
        if self.v.softplus == "log1p_once":
            return torch.where(total <= 20.0, log1p_once(self.exp(total.clamp(max=20.0))), total)
        if self.v.softplus == "log1p":
            return torch.where(total <= 20.0, torch.log1p(self.exp(total.clamp(max=20.0))), total)
        return total.clamp(min=0) + torch.log1p(self.exp(-total.abs()))

    def rates(self, A_log: Tensor) -> Tensor:
        """A, (d, n)."""
        return -self.exp(A_log)

    def decay(self, dt: Tensor, A: Tensor) -> Tensor:
        """(b, d, l, n)."""
        return self.exp(dt[..., None] * A[None, :, None, :])

    def drive(self, dt: Tensor, B: Tensor, u: Tensor) -> Tensor:
        """(b, d, l, n); ``B`` already per channel."""
        dt, u = dt[..., None], u[..., None]
        if self.v.association == "(dt*B)*u":
            return (dt * B) * u
        return B * (dt * u) if self.v.association == "B*(dt*u)" else (B * u) * dt

    def recurrence(self, decay: Tensor, drive: Tensor, exponent: Tensor, x: ScanInputs) -> Tensor:
        """All states, (b, d, l, n); ``exponent`` is dt·A, for orders that add exponents instead of multiplying
        decays."""
        if self.v.requantize in ("token", "chunk") and x.state_scale is not None:
            return self._requantized(decay, drive, x)
        if self.v.order == "sequential":
            return self._sequential(decay, drive)
        if self.v.order == "published":
            return self._published(decay, drive)
        pieces, carry = [], None
        size = self.v.threads * self.v.items if self.v.order == "block" else self.v.chunk
        for start in range(0, decay.shape[2], size):
            part = slice(start, start + size)
            if self.v.order == "segments":
                a, b = self._segments(exponent[:, :, part], drive[:, :, part])
            elif self.v.order == "tree":
                a, b = self._tree(decay[:, :, part], drive[:, :, part])
            else:
                a, b = self._block(decay[:, :, part], drive[:, :, part])
            pieces.append(b if carry is None else self.multiply_add(a, carry[:, :, None], b))
            carry = pieces[-1][:, :, -1]
        return torch.cat(pieces, 2)

    def _published(self, decay: Tensor, drive: Tensor) -> Tensor:
        """The published prefix scan; ``carried`` is the state it hands on, which is the one it returns."""
        threads, items = partition(decay.shape[2])
        pieces, carry = [], torch.zeros_like(drive[:, :, 0])
        for a, b in zip(decay.split(threads * items, 2), drive.split(threads * items, 2), strict=True):
            states, carry = prefix_scan(a, b, carry, threads, items, self.multiply_add)
            pieces.append(states)
        self.carried = carry
        return torch.cat(pieces, 2)

    def _sequential(self, decay: Tensor, drive: Tensor) -> Tensor:
        states = torch.empty_like(drive)
        h = torch.zeros_like(drive[:, :, 0])
        for t in range(drive.shape[2]):
            h = self.multiply_add(decay[:, :, t], h, drive[:, :, t])
            states[:, :, t] = h
        return states

    def _requantized(self, decay: Tensor, drive: Tensor, x: ScanInputs) -> Tensor:
        """The state becomes INT8 and comes back, every token or at the end of every chunk."""
        states = torch.empty_like(drive)
        h = torch.zeros_like(drive[:, :, 0])
        every = 1 if self.v.requantize == "token" else self.v.chunk
        for t in range(drive.shape[2]):
            h = self.multiply_add(decay[:, :, t], h, drive[:, :, t])
            if (t + 1) % every == 0:
                h = quantize_state(h, x.state_scale, self.v.rule).to(h.dtype) * x.state_scale.to(h.dtype)
            states[:, :, t] = h
        return states

    def _tree(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """Inclusive scan by doubling (Hillis and Steele, 1986) over dimension 2."""
        step = 1
        while step < a.shape[2]:
            b = torch.cat([b[:, :, :step], self.multiply_add(a[:, :, step:], b[:, :, :-step], b[:, :, step:])], 2)
            a = torch.cat([a[:, :, :step], a[:, :, step:] * a[:, :, :-step]], 2)
            step *= 2
        return a, b

    def _block(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """A block scan: each thread folds its own items, a doubling scan over threads, then each thread's items
        again."""
        length = a.shape[2]
        threads, items = self.v.threads, self.v.items
        padding = (0, 0, 0, threads * items - length)
        a = F.pad(a, padding, value=1.0).unflatten(2, (threads, items))  # (b, d, threads, items, n)
        b = F.pad(b, padding, value=0.0).unflatten(2, (threads, items))
        total_a, total_b = a[:, :, :, 0], b[:, :, :, 0]
        for i in range(1, items):
            total_b = self.multiply_add(a[:, :, :, i], total_b, b[:, :, :, i])
            total_a = a[:, :, :, i] * total_a
        scan_a, scan_b = self._tree(total_a, total_b)
        run_a = torch.cat([torch.ones_like(scan_a[:, :, :1]), scan_a[:, :, :-1]], 2)
        run_b = torch.cat([torch.zeros_like(scan_b[:, :, :1]), scan_b[:, :, :-1]], 2)
        out_a, out_b = torch.empty_like(a), torch.empty_like(b)
        for i in range(items):
            run_b = self.multiply_add(a[:, :, :, i], run_b, b[:, :, :, i])
            run_a = a[:, :, :, i] * run_a
            out_a[:, :, :, i], out_b[:, :, :, i] = run_a, run_b
        return out_a.flatten(2, 3)[:, :, :length], out_b.flatten(2, 3)[:, :, :length]

    def _segments(self, exponent: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """h_t = Σ_s e^(X_t − X_s) b_s with X the running sum of the exponents (the matrix form of Mamba-2)."""
        total = torch.cumsum(exponent, 2)  # (b, d, l, n)
        difference = total[:, :, :, None] - total[:, :, None]  # (b, d, t, s, n)
        causal = torch.ones(b.shape[2], b.shape[2], dtype=torch.bool, device=b.device).tril()[..., None]
        weights = torch.where(causal, self.exp(torch.where(causal, difference, 0.0)), 0.0)
        return self.exp(total), (weights * b[:, :, None]).sum(3)

    def contraction(self, h: Tensor, C: Tensor, start: Tensor | None) -> Tensor:
        """Σ_n C·h, (b, d, l), the sum beginning with ``start`` when there is one."""
        if self.v.contraction == "library":
            total = (h * C).sum(-1)
            return total if start is None else start + total
        states = h.shape[-1]
        if self.v.contraction == "pairwise":
            terms = list((h * C).unbind(-1))
            while len(terms) > 1:
                terms = [sum(terms[i : i + 2]) for i in range(0, len(terms), 2)]
            return terms[0] if start is None else start + terms[0]
        total = torch.zeros_like(h[..., 0]) if start is None else start
        for n in range(states) if self.v.contraction == "ascending" else range(states - 1, -1, -1):
            total = self.multiply_add(h[..., n], C[..., n], total)
        return total

    def skip(self, D: Tensor, u: Tensor) -> Tensor:
        """D·u, (b, d, l)."""
        return D[None, :, None] * u

    def gate(self, value: Tensor, z: Tensor) -> Tensor:
        """value·silu(z), (b, d, l)."""
        if self.v.gate == "silu":
            return value * F.silu(z)
        if self.v.gate == "quotient":
            return value * z / (1 + self.exp(-z))
        if self.v.gate == "sigmoid":
            return value * torch.sigmoid(z) * z
        return value * (0.5 * z * (1 + torch.tanh(0.5 * z)))

    def output_cast(self, y: Tensor) -> Tensor:
        """float16, (b, l, d)."""
        y = y.transpose(1, 2)
        if self.v.cast == "bfloat16":
            return y.bfloat16().half()
        if self.v.cast == "saturate":
            return y.clamp(-65504, 65504).half()
        half = y.half()
        if self.v.cast == "truncate":
            too_far = half.to(y.dtype).abs() > y.abs()
            half = torch.where(too_far, (half.view(torch.int16) - 1).view(torch.float16), half)
        return half

    def state_quantization(self, h: Tensor, scale: Tensor) -> Tensor:
        return quantize_state(h, scale, self.v.rule)

    def per_channel(self, values: Tensor, x: ScanInputs) -> Tensor:
        """(b, g, n, l) to (b, d, l, n): every channel reads its group."""
        return values.transpose(2, 3).repeat_interleave(x.channels // x.groups, 1)

    def taps(self, x: ScanInputs) -> dict[str, Tensor]:
        """Every operation's output; ``skip`` is the value before the gate, as in the oracle's taps.

        Where the sum begins with D·u, ``contraction`` is summed once more on its own, so that the tap means the same in
        every variant.
        """
        value = {name: self.dequantize(name, q, x) for name, q in x.operands().items()}
        u, B, C = value["u"], self.per_channel(value["B"], x), self.per_channel(value["C"], x)
        if self.v.bias == "fused" and "dt_bias" in value and self.v.dtype == torch.float32:
            bias = value.pop("dt_bias")[None, :, None]
            value["dt"] = fused(x.dt.values.float(), x.dt.scale.to(x.device), bias)
        dt = self.step_size(value["dt"], value.get("dt_bias"), x)
        A = self.rates(value["A_log"])
        decay = self.decay(dt, A)
        drive = self.drive(dt, B, u)
        states = self.recurrence(decay, drive, dt[..., None] * A[None, :, None, :], x)
        skip = self.skip(value["D"], u) if "D" in value else None
        first = self.v.skip == "first"
        contraction = self.contraction(states, C, skip if first else None)
        total = contraction if skip is None or first else contraction + skip
        gate = self.gate(total, value["z"]) if "z" in value else total
        if first and skip is not None:
            contraction = self.contraction(states, C, None)
        return {
            "softplus": dt, "decay": decay, "drive": drive, "recurrence": states, "contraction": contraction,
            "skip": total, "gate": gate, "output_cast": self.output_cast(gate),
        }  # fmt: skip

    def __call__(self, x: ScanInputs) -> ScanOutput:
        taps = self.taps(x)
        last = taps["recurrence"][:, :, -1] if self.carried is None else self.carried
        keep = x.state_scale is None or self.v.requantize == "never"
        state = last.float() if keep else self.state_quantization(last, x.state_scale)
        return ScanOutput(taps["output_cast"], state, f"{self.v} on {x.device.type}")


def taps(x: ScanInputs, variant: Variant) -> dict[str, Tensor]:
    """Every operation's output under ``variant``, keyed and shaped as in the oracle's taps."""
    return Arithmetic(variant).taps(x)


def run(x: ScanInputs, variant: Variant) -> ScanOutput:
    """The scan under ``variant``."""
    return Arithmetic(variant)(x)
