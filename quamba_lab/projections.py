"""W8A8 projections: exact integer products, then one named requantization.

The INT32 accumulator is exact on every path, whatever the order of its additions:

    int_mm           torch's INT8 matrix product, checked once per device against Python integers at the extreme codes
    float32_blocks   products of codes are at most 2^14, so a block of 1024 of them sums below 2^24, where FP32 holds
                     every integer; blocks are added in int32
    float64          every integer up to 2^53

Shapes: r rows (b·l), k inputs, n outputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import torch
from torch import Tensor, nn

from .quantized import Quantized
from .sites import RequantizationSite, Round

__all__ = ["PATHS", "Projection", "default_path", "integer_product"]

FLOAT32_BLOCK = 1024
"""2^24 / (128 · 128): the longest sum of code products whose every partial sum is an exact FP32 integer."""

INT32_LIMIT = 2**31 // (128 * 128)
"""Inputs per output from which an INT32 accumulator could overflow."""


def _int_mm(a: Tensor, b: Tensor) -> Tensor:
    """torch._int_mm with its shape limits met by zero padding.

    On CUDA it wants more than 16 rows and multiples of 8; the CPU reads beyond its operands at k = 1 (torch 2.13).
    """
    (r, k), n = a.shape, b.shape[0]
    if a.device.type == "cpu":
        if k < 8:
            a, b = (nn.functional.pad(x, (0, 8 - k)) for x in (a, b))
        return torch._int_mm(a.contiguous(), b.contiguous().t())
    pad_r, pad_k, pad_n = max(32 - r, -r % 8), -k % 16, -n % 8
    padded_a = nn.functional.pad(a, (0, pad_k, 0, pad_r)).contiguous()
    padded_b = nn.functional.pad(b, (0, pad_k, 0, pad_n)).contiguous()
    return torch._int_mm(padded_a, padded_b.t())[:r, :n]


def _float32_blocks(a: Tensor, b: Tensor) -> Tensor:
    total = torch.zeros(a.shape[0], b.shape[0], dtype=torch.int32, device=a.device)
    for start in range(0, a.shape[1], FLOAT32_BLOCK):
        block = slice(start, start + FLOAT32_BLOCK)
        total += (a[:, block].float() @ b[:, block].float().t()).to(torch.int32)
    return total


def _float64(a: Tensor, b: Tensor) -> Tensor:
    return (a.double() @ b.double().t()).to(torch.int32)


BLOCK_ELEMENTS = 1 << 22
"""Sums of a projection that are held in INT32, and results to FP16 that are held in FP32, at a time."""

PATHS = {"int_mm": _int_mm, "float32_blocks": _float32_blocks, "float64": _float64}
"""Exact ways to multiply codes: fn(a (r, k) int8, b (n, k) int8) -> int32 (r, n)."""


@cache
def _int_mm_is_exact(device: str) -> bool:
    """Whether torch._int_mm exists for ``device`` and is right at the extreme codes.

    Processors without INT8 dot products may add pairs of products in a saturating INT16; that shows here.
    """
    k = 96
    codes = torch.tensor([-128, 127, -127, -1, 0, 1, 126, -128], dtype=torch.int8)
    a = codes.repeat(5)[:, None].expand(40, k).contiguous()
    b = codes.repeat(2)[:, None].expand(16, k).contiguous()
    expected = torch.tensor([[k * int(x) * int(y) for y in b[:, 0]] for x in a[:, 0]], dtype=torch.int32)
    try:
        return bool((_int_mm(a.to(device), b.to(device)).cpu() == expected).all())
    except (RuntimeError, NotImplementedError, AttributeError):
        return False


def default_path(device: torch.device | str = "cpu") -> str:
    """The fastest exact path on ``device``.

    On a CPU without AVX-512 torch's INT8 product is slower than FP32 blocks.  On CUDA the other paths would depend on
    the user's TF32 setting, so FP64 is the second choice there.
    """
    device = torch.device(device)
    if device.type == "cuda":
        return "int_mm" if _int_mm_is_exact(str(device)) else "float64"
    wide = device.type == "cpu" and torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    return "int_mm" if wide and _int_mm_is_exact("cpu") else "float32_blocks"


def integer_product(a: Tensor, b: Tensor, path: str | None = None) -> Tensor:
    """a bᵀ exactly: int8 (r, k) and (n, k) -> int32 (r, n).

    Raises ``ValueError`` for more inputs than INT32 can add up and for an unknown ``path``.
    """
    if a.shape[1] >= INT32_LIMIT:
        raise ValueError(f"{a.shape[1]} inputs could overflow INT32: at most {INT32_LIMIT - 1} are exact; split them")
    path = path or default_path(a.device)
    if path not in PATHS:
        raise ValueError(f"unknown path {path!r} of the integer product: choose one of {', '.join(PATHS)}")
    return PATHS[path](a, b)


class Projection(nn.Module):
    """A W8A8 linear layer: INT8 in, and INT8 out with ``output_scale``, FP16 out without.

    ``forward`` is the prompt, ``step`` one token per item: the published layer takes other sites there.
    ``sequence_last``: a prompt's output is (b, n, l) and never takes the one-row site; otherwise (b, l, n).

    weight int8 (n, k); weight_scale, input_scale, output_scale float32 scalars.
    """

    held_as = torch.float16
    """The dtype of an output without a scale; its values are FP16 whatever holds them."""

    def __init__(
        self,
        name: str,
        sites: dict[str, RequantizationSite],
        weight: Tensor,
        weight_scale: Tensor,
        input_scale: Tensor,
        output_scale: Tensor | None,
        *,
        sequence_last: bool = False,
    ):
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("weight_scale", weight_scale)
        self.register_buffer("input_scale", input_scale)
        if output_scale is None:
            self.output_scale = None
        else:
            self.register_buffer("output_scale", output_scale)
        self.sequence_last = sequence_last
        self.prompt_rounding = Round(sites[name])
        self.rows_rounding = Round(sites[f"{name}/rows"])
        self.one_row_rounding = Round(sites[f"{name}/one_row"])
        divisor = 1.0 if output_scale is None else float(output_scale)
        # The published layer divides the two scales in double precision and rounds the ratio once; alpha is computed
        # in FP32 from left to right.
        ratio = torch.tensor(float(input_scale) / divisor, dtype=torch.float32)
        alpha = weight_scale.cpu() * input_scale.cpu() / torch.tensor(divisor, dtype=torch.float32)
        self.factors = {
            "weight·(ratio·acc)": (float(ratio), float(weight_scale)),
            "ratio·(weight·acc)": (float(weight_scale), float(ratio)),
            "alpha·acc": (float(alpha),),
        }

    def forward(self, x: Quantized) -> Quantized | Tensor:
        """Prompt: codes (b, l, k) -> Quantized (b, n, l) or (b, l, n); FP16 (b, l, n) without an output scale."""
        one_row = x.shape[0] * x.shape[1] == 1 and not self.sequence_last
        out = self._product(x.values, self.one_row_rounding if one_row else self.prompt_rounding)  # (b, l, n)
        return out.map(lambda codes: codes.transpose(1, 2).contiguous()) if self.sequence_last else out

    def step(self, x: Quantized) -> Quantized | Tensor:
        """One token: codes (b, k) -> Quantized (b, n), or FP16 (b, n)."""
        return self._product(x.values, self.one_row_rounding if x.shape[0] == 1 else self.rows_rounding)

    def _product(self, codes: Tensor, rounding: Round) -> Quantized | Tensor:
        rows = codes.reshape(-1, codes.shape[-1])
        shape = (*codes.shape[:-1], self.weight.shape[0])
        if self.output_scale is not None:
            return Quantized(rounding(self._scaled(rows, rounding).view(shape)), self.output_scale)
        out = torch.empty(len(rows), self.weight.shape[0], dtype=self.held_as, device=codes.device)
        for block in self._blocks(len(rows)):
            out[block] = self._scaled(rows[block], rounding).half()
        return out.view(shape)

    def _blocks(self, rows: int) -> Iterator[slice]:
        """Slices of rows whose INT32 sums are few enough to be held: a whole vocabulary's are large."""
        step = max(1, BLOCK_ELEMENTS // self.weight.shape[0])
        return (slice(start, start + step) for start in range(0, rows, step))

    def _scaled(self, rows: Tensor, rounding: Round) -> Tensor:
        """codes (r, k) -> float32 (r, n): the accumulator times the factors, in the order of the site."""
        value = torch.empty(len(rows), self.weight.shape[0], dtype=torch.float32, device=rows.device)
        for block in self._blocks(len(rows)):
            value[block] = integer_product(rows[block], self.weight)
        for factor in self.factors[rounding.site.association]:
            value.mul_(factor)
        return value

    def extra_repr(self) -> str:
        n, k = self.weight.shape
        return f"{k} -> {n}, {'FP16' if self.output_scale is None else 'INT8'} out"
