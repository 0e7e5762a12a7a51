"""What goes into a selective scan and what comes out: one signature for every implementation.

Glossary, used in every module of this package:

    b  batch        l  sequence length      d  inner channels      n  states per channel      g  groups of B and C
    u  input        dt  step size (Δ)       A  decay rates, A = -exp(A_log)                   B, C  input and output
    z  gate         D  skip                 h  state                                          weights of the state

The recurrence, per (b, d, n):  h_t = exp(dt_t A) h_(t-1) + dt_t B_t u_t,   y_t = (Σ_n C_t h_t + D u_t) · silu(z_t)
(Gu and Dao, Mamba, 2023, eq. 2, with the zero-order hold of A and the Euler step of B that its kernel uses).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ..quantized import Quantized, check_scale

__all__ = ["OPERANDS", "OPERATIONS", "ScanError", "ScanInputs", "ScanOutput", "random_inputs"]

OPERANDS = ("u", "dt", "B", "C", "z", "A_log", "D", "dt_bias")
"""The tensors of a scan, in the order in which the published kernel takes them."""

OPERATIONS = (
    "dequantize.u", "dequantize.dt", "dequantize.B", "dequantize.C", "dequantize.z", "dequantize.A",
    "dequantize.D", "dequantize.dt_bias", "softplus", "decay", "drive", "recurrence", "contraction", "skip",
    "gate", "output_cast", "state_quantization", "layout", "determinism",
)  # fmt: skip
"""The closed list of operations that a diagnosis answers with, in the order of computation."""


class ScanError(ValueError):
    """Scan inputs that no implementation could accept: the message names the value, the limit and the way out."""


@dataclass(frozen=True)
class ScanInputs:
    """The operands of one selective scan.

    ``u``, ``dt``, ``z``: int8 (b, d, l); ``B``, ``C``: int8 (b, g, n, l) with g dividing d; ``A_log``: int8 (d, n);
    ``D``, ``dt_bias``: int8 (d,).  Every scale is a float32 scalar tensor.  ``u`` may be float32 with scale None.
    ``z``, ``D``, ``dt_bias`` may be None.  ``state_scale``: float32 scalar; when given, the last state is returned as
    INT8 codes of that scale, otherwise as float32.  ``softplus``: pass dt + bias through softplus.
    """

    u: Quantized
    dt: Quantized
    B: Quantized
    C: Quantized
    z: Quantized | None = None
    A_log: Quantized | None = None
    D: Quantized | None = None
    dt_bias: Quantized | None = None
    state_scale: Tensor | None = None
    softplus: bool = True

    @property
    def batch(self) -> int:
        return self.u.shape[0]

    @property
    def channels(self) -> int:
        return self.u.shape[1]

    @property
    def length(self) -> int:
        return self.u.shape[2]

    @property
    def states(self) -> int:
        return self.A_log.shape[1]

    @property
    def groups(self) -> int:
        return self.B.shape[1]

    @property
    def device(self) -> torch.device:
        return self.u.device

    def operands(self) -> dict[str, Quantized]:
        """The operands that are present, by name, in the order of :data:`OPERANDS`."""
        return {name: getattr(self, name) for name in OPERANDS if getattr(self, name) is not None}

    def _fitting(self) -> tuple[int, int, int, int, int] | None:
        """What :meth:`check_shapes` returns if it passes, in two microseconds: every call of every scan asks."""
        u, dt, B, C, z, A_log, D, bias = self.u, self.dt, self.B, self.C, self.z, self.A_log, self.D, self.dt_bias
        if not (type(u) is type(dt) is type(B) is type(C) is type(A_log) is Quantized):
            return None
        u, dt, B, C, A_log, int8 = u.values, dt.values, B.values, C.values, A_log.values, torch.int8
        shape, device, groups, rates = u.shape, u.device, B.shape, A_log.shape
        if len(shape) != 3 or len(groups) != 4 or len(rates) != 2 or u.dtype not in (int8, torch.float32):
            return None
        b, d, l = shape
        g, n = groups[1], rates[1]
        if b < 1 or d < 1 or l < 1 or not 1 <= n <= 256 or g < 1 or d % g or rates[0] != d:
            return None
        if not (
            dt.shape == shape and groups == C.shape == (b, g, n, l)
            and dt.dtype is B.dtype is C.dtype is A_log.dtype is int8
            and dt.device == B.device == C.device == A_log.device == device
        ):  # fmt: skip
            return None
        for q, expected in ((z, shape), (D, (d,)), (bias, (d,))):
            if q is not None:
                if type(q) is not Quantized:
                    return None
                v = q.values
                if v.shape != expected or v.dtype is not int8 or v.device != device:
                    return None
        return b, d, l, n, g

    def check_shapes(self) -> tuple[int, int, int, int, int]:
        """(b, d, l, n, g), or :class:`ScanError` for a wrong shape, dtype or device.

        Reads no values: no synchronization.
        """
        if (sizes := self._fitting()) is not None:
            return sizes
        for name in OPERANDS:
            q = getattr(self, name)
            if not (isinstance(q, Quantized) or (q is None and name in ("z", "D", "dt_bias"))):
                raise ScanError(f"{name} is {type(q).__name__}: pass Quantized(values, scale)")
        if self.u.values.dim() != 3:
            raise ScanError(f"u has shape {tuple(self.u.shape)}: expected (b, d, l)")
        b, d, l = self.u.shape
        if self.A_log.values.dim() != 2 or self.B.values.dim() != 4:
            raise ScanError(
                f"A_log has shape {tuple(self.A_log.shape)} and B {tuple(self.B.shape)}: expected (d, n), (b, g, n, l)"
            )
        n, g = self.states, self.groups
        if min(b, d, l, n, g) < 1:
            raise ScanError(f"b={b}, d={d}, l={l}, n={n}, g={g}: every one must be at least 1")
        if n > 256:
            raise ScanError(f"n={n} states per channel: at most 256 are supported")
        if d % g:
            raise ScanError(f"d={d} channels do not divide into g={g} groups: choose g so that d % g == 0")
        expected = {
            "u": (b, d, l), "dt": (b, d, l), "z": (b, d, l), "B": (b, g, n, l), "C": (b, g, n, l),
            "A_log": (d, n), "D": (d,), "dt_bias": (d,),
        }  # fmt: skip
        for name, q in self.operands().items():
            if tuple(q.shape) != expected[name]:
                raise ScanError(f"{name} has shape {tuple(q.shape)}: expected {expected[name]} (b={b}, d={d}, l={l})")
            allowed = (torch.int8, torch.float32) if name == "u" else (torch.int8,)
            if q.values.dtype not in allowed:
                raise ScanError(f"{name} is {q.values.dtype}: expected {' or '.join(map(str, allowed))}")
            if q.device != self.device:
                raise ScanError(f"{name} is on {q.device} and u on {self.device}: move them to one device with .to()")
        return b, d, l, n, g

    def check(self) -> None:
        """:meth:`check_shapes`, and every scale finite and positive (reads the scales: synchronizes a GPU)."""
        self.check_shapes()
        try:
            for name, q in self.operands().items():
                if q.scale is not None:
                    check_scale(q.scale, f"the scale of {name}")
            if self.state_scale is not None:
                check_scale(self.state_scale, "state_scale")
        except ValueError as error:
            raise ScanError(str(error)) from None

    def to(self, device: torch.device | str) -> ScanInputs:
        moved = {name: q.to(device) for name, q in self.operands().items()}
        return replace(self, **moved, state_scale=None if self.state_scale is None else self.state_scale.to(device))

    def narrow(
        self,
        batch: slice = slice(None),
        channels: slice = slice(None),
        length: slice = slice(None),
        states: slice = slice(None),
    ) -> ScanInputs:
        """A smaller problem cut out of this one.  Cutting channels needs g = 1 or whole groups.

        Raises :class:`ScanError` when ``channels`` would cut through a group.
        """
        picked = range(self.channels)[channels]
        per_group = self.channels // self.groups
        groups = sorted({c // per_group for c in picked})
        if len(groups) > 1 and len(picked) != len(groups) * per_group:
            raise ScanError(f"channels {channels} cut through groups of {per_group}: take whole groups or one group")
        group_slice = slice(groups[0], groups[-1] + 1) if groups else slice(0, 0)
        cuts = {
            "u": (batch, channels, length), "dt": (batch, channels, length), "z": (batch, channels, length),
            "B": (batch, group_slice, states, length), "C": (batch, group_slice, states, length),
            "A_log": (channels, states), "D": (channels,), "dt_bias": (channels,),
        }  # fmt: skip
        return replace(
            self, **{name: q.map(lambda v, c=cuts[name]: v[c].contiguous()) for name, q in self.operands().items()}
        )

    def save(self, path: Path | str) -> None:
        """Write the inputs as one safetensors file (a temporary file first, then a rename)."""
        from safetensors.torch import save_file

        tensors: dict[str, Tensor] = {}
        for name, q in self.operands().items():
            tensors[name] = q.values.cpu().contiguous()
            if q.scale is not None:
                tensors[f"{name}.scale"] = q.scale.cpu().reshape(1).clone()  # B and C of a layer share one scale
        if self.state_scale is not None:
            tensors["state_scale"] = self.state_scale.cpu().reshape(1)
        path = Path(path)
        partial = path.with_name(path.name + ".partial")
        save_file(tensors, partial, metadata={"softplus": str(self.softplus)})
        partial.replace(path)

    @classmethod
    def load(cls, path: Path | str) -> ScanInputs:
        """Read what :meth:`save` wrote.  Raises :class:`ScanError` for a file that holds something else."""
        from safetensors import safe_open

        with safe_open(str(path), framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            softplus = (file.metadata() or {}).get("softplus", "True") == "True"

        def scale_of(key: str) -> Tensor | None:
            return tensors[key].reshape(()) if key in tensors else None

        operands = {
            name: Quantized(tensors[name], scale_of(f"{name}.scale")) for name in OPERANDS if name in tensors
        }
        missing = {"u", "dt", "B", "C", "A_log"} - operands.keys()
        if missing:
            raise ScanError(f"{path} lacks {sorted(missing)}: it was not written by ScanInputs.save")
        return cls(**operands, state_scale=scale_of("state_scale"), softplus=softplus)


@dataclass(frozen=True)
class ScanOutput:
    """``y``: float16 (b, l, d); ``last_state``: (b, d, n), int8 when ``state_scale`` was given, else float32, or None
    from a scan that keeps none; ``build``: what computed it, for the record (compiler, flags, device)."""

    y: Tensor
    last_state: Tensor | None = None
    build: str = ""

    def __init__(self, y: Tensor, last_state: Tensor | None = None, build: str = ""):
        own = self.__dict__  # a frozen dataclass's own __init__ takes twice as long: three object.__setattr__
        own["y"], own["last_state"], own["build"] = y, last_state, build

    def __iter__(self):
        return iter((self.y, self.last_state))


def random_inputs(
    batch: int = 2,
    channels: int = 32,
    length: int = 64,
    states: int = 16,
    groups: int = 1,
    *,
    seed: int = 0,
    z: bool = True,
    D: bool = True,
    dt_bias: bool = True,
    state_scale: float | None = None,
    softplus: bool = True,
    extreme: bool = False,
    device: torch.device | str = "cpu",
) -> ScanInputs:
    """Inputs distributed like those of a trained Mamba layer, the same on every machine for the same seed.

    A_log = log(1..n) plus a little spread and dt after softplus within about 0.001 to 0.1, as at Mamba's
    initialization; u, B, C, z Gaussian with a few outliers.  ``extreme`` draws codes from {-128, -127, -1, 0, 1, 127}.
    """
    generator = torch.Generator().manual_seed(seed)

    def gaussian(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    def codes(x: Tensor, scale: float) -> Quantized:
        if extreme:
            pool = torch.tensor([-128, -127, -1, 0, 1, 127], dtype=torch.int8)
            values = pool[torch.randint(len(pool), x.shape, generator=generator)]
        else:
            values = torch.round(x / scale).clamp(-128, 127).to(torch.int8)
        return Quantized(values, torch.tensor(scale, dtype=torch.float32))

    def parameter(x: Tensor) -> Quantized:
        return Quantized.from_float(x)

    target = torch.exp(torch.rand(channels, generator=generator) * 4.6 - 6.9)  # dt in 0.001 .. 0.1
    bias = torch.log(torch.expm1(target))
    a_log = torch.log(torch.arange(1, states + 1).float()).repeat(channels, 1) + 0.1 * gaussian(channels, states)
    inputs = ScanInputs(
        u=codes(gaussian(batch, channels, length), 0.03),
        dt=codes(0.6 * gaussian(batch, channels, length), 0.02),
        B=codes(gaussian(batch, groups, states, length), 0.025),
        C=codes(gaussian(batch, groups, states, length), 0.025),
        z=codes(1.5 * gaussian(batch, channels, length), 0.04) if z else None,
        A_log=parameter(a_log),
        D=parameter(1.0 + 0.3 * gaussian(channels)) if D else None,
        dt_bias=parameter(bias) if dt_bias else None,
        state_scale=None if state_scale is None else torch.tensor(state_scale, dtype=torch.float32),
        softplus=softplus,
    )
    return inputs.to(device)
