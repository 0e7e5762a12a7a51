"""The scans: one signature, one registry.

    scans.names()                       what is registered
    scans.run("oracle", inputs)         ScanOutput
    scans.step("oracle", token, state)  one token of decoding
    scans.register("mine", fn)          bring your own: fn(ScanInputs) -> ScanOutput, or just the tensor y
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..quantized import Quantized
from . import folded as _folded
from . import published as _published
from .decode import prefill_then_decode, step_in
from .oracle import oracle, oracle_taps
from .torch_scan import torch_fp32, torch_fp64, torch_int8, torch_taps
from .types import OPERANDS, OPERATIONS, ScanError, ScanInputs, ScanOutput, random_inputs

__all__ = [
    "OPERANDS",
    "OPERATIONS",
    "Scan",
    "ScanError",
    "ScanInputs",
    "ScanOutput",
    "generate",
    "get",
    "names",
    "random_inputs",
    "register",
    "run",
    "step",
    "unavailable",
    "unregister",
]

ScanFunction = Callable[[ScanInputs], "ScanOutput | Tensor"]


@dataclass(frozen=True)
class Scan:
    """A registered scan.

    ``fn``: ScanInputs -> ScanOutput or y.  ``taps``: ScanInputs -> {operation: tensor}, see ``oracle_taps``.
    ``step``: one token of decoding.  ``unavailable``: None when it can run here, else why not and what to install.
    ``u_dtypes``: of u, on every device; ``cpu_u_dtypes``: those that only the CPU build takes besides.
    ``checks_inputs``: ``fn`` itself refuses what it cannot take, so that :func:`run` need not look at it twice.
    """

    name: str
    fn: ScanFunction
    summary: str = ""
    taps: Callable[[ScanInputs], dict[str, Tensor]] | None = None
    step: Callable | None = None
    unavailable: Callable[[], str | None] = lambda: None
    u_dtypes: tuple[torch.dtype, ...] = (torch.int8, torch.float32)
    cpu_u_dtypes: tuple[torch.dtype, ...] = ()
    checks_inputs: bool = False

    def takes(self, u: Quantized) -> bool:
        """Whether it scans a u of this dtype on this device."""
        on_cpu = u.values.dtype in self.cpu_u_dtypes and u.values.device.type == "cpu"
        return on_cpu or u.values.dtype in self.u_dtypes


_REGISTRY: dict[str, Scan] = {}


def register(name: str, fn: ScanFunction, *, summary: str = "", overwrite: bool = False, **parts) -> Scan:
    """Add a scan under ``name``.

    ``parts``: the optional fields of :class:`Scan`.  Raises ``ValueError`` for a name in use, unless ``overwrite``.
    """
    if not name or not callable(fn):
        raise ValueError(f"register({name!r}, {fn!r}): give a name and a function of ScanInputs")
    if name in _REGISTRY and not overwrite:
        raise ValueError(f"a scan named {name!r} exists: choose another name or pass overwrite=True")
    _REGISTRY[name] = Scan(name, fn, summary or (fn.__doc__ or "").strip().partition("\n")[0], **parts)
    return _REGISTRY[name]


def unregister(name: str) -> None:
    """Remove a scan; ``ValueError`` if there is none of that name."""
    get(name)
    del _REGISTRY[name]


def names() -> list[str]:
    """The registered scans, in the order of registration."""
    return list(_REGISTRY)


def get(name: str) -> Scan:
    """The registered scan; ``ValueError`` naming the ones that exist when there is none of that name."""
    if name not in _REGISTRY:
        raise ValueError(f"unknown scan {name!r}: choose one of {', '.join(_REGISTRY)}, or scans.register it")
    return _REGISTRY[name]


def unavailable(name: str) -> str | None:
    """None when the scan can run on this machine, else one sentence: why not, and what to install."""
    return get(name).unavailable()


def run(name: str, inputs: ScanInputs) -> ScanOutput:
    """Check ``inputs``, run the scan, return y as float16 (b, l, d) with its last state and build.

    Raises :class:`ScanError` for inputs that no scan could take and for a result of the wrong shape.
    """
    scan = get(name)
    if not scan.checks_inputs:
        inputs.check_shapes()
        if not scan.takes(inputs.u):
            where = f" on {inputs.device.type}" if scan.cpu_u_dtypes else ""
            raise ScanError(
                f"scan {name!r} takes u as {' or '.join(map(str, scan.u_dtypes))}, not {inputs.u.values.dtype}{where}: "
                "quantize u, or choose torch_fp32"
            )
    result = scan.fn(inputs)
    output = result if isinstance(result, ScanOutput) else ScanOutput(result, None, f"registered function {name!r}")
    y, (b, d, l) = output.y, inputs.u.values.shape
    if not isinstance(y, Tensor) or y.shape != (b, l, d) or not y.is_floating_point():
        got = f"{y.dtype} {tuple(y.shape)}" if isinstance(y, Tensor) else type(y).__name__
        raise ScanError(f"scan {name!r} returned y as {got}: expected a float tensor of shape (b, l, d) = {(b, l, d)}")
    return output if y.dtype is torch.float16 else ScanOutput(y.half(), output.last_state, output.build)


def _step_of(name: str) -> Callable:
    chosen = get(name).step
    if chosen is None:
        raise ScanError(
            f"scan {name!r} has no decode step: register it with step=fn(token inputs, state, exact) -> ScanOutput; "
            "its state at a token cannot be found from outside"
        )
    return chosen


def step(name: str, inputs: ScanInputs, state: Tensor, *, exact: bool = False) -> ScanOutput:
    """One token of decoding: y, float16 (b, 1, d), and the next state, (b, d, n).

    ``inputs``: l = 1.  ``state``: INT8 codes of ``inputs.state_scale``, requantized after the token as the published
    decode does (see :mod:`quamba_lab.scans.decode`); with ``exact`` a float32 state (float64 for the float64 scans),
    never rounded to codes.  Raises :class:`ScanError` for inputs that do not fit and for a scan without a step.
    """
    return _step_of(name)(inputs, state, exact)


def generate(name: str, inputs: ScanInputs, prefill: int, *, exact: bool = False) -> ScanOutput:
    """:func:`run` on the first ``prefill`` tokens, then :func:`step` on each of the others, as generation does."""
    return prefill_then_decode(lambda x: run(name, x), _step_of(name), inputs, prefill, exact)


_IN_FP32, _IN_FP64 = step_in(torch.float32), step_in(torch.float64)
register("oracle", oracle, summary="FP64, sequential: the reference", taps=oracle_taps, step=_IN_FP64)
register(
    "published", _published.published, taps=_published.published_taps, step=_published.published_step,
    unavailable=_published.unavailable, u_dtypes=(torch.int8,),
)  # fmt: skip
register(
    "folded", _folded.folded, taps=_folded.folded_taps, step=_folded.folded_step,
    unavailable=_folded.unavailable, u_dtypes=(torch.int8,), cpu_u_dtypes=(torch.float32,), checks_inputs=True,
)  # fmt: skip
register("torch_int8", torch_int8, taps=torch_taps, step=_IN_FP32, u_dtypes=(torch.int8,))
register("torch_fp32", torch_fp32, taps=torch_taps, step=_IN_FP32)
register("torch_fp64", torch_fp64, taps=lambda x: torch_taps(x, torch.float64), step=_IN_FP64)
