"""The record of what really ran: which scan and build at each layer, and what it was really given.

A mode is a promise; this is the evidence.  A forward hook on every scan keeps the last call's first item, and
:meth:`Recorder.witness` counts only when asked; what is large is counted at once instead of being kept.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .quantized import Quantized

__all__ = ["LayerWitness", "Recorder", "TensorWitness", "Witness", "WitnessError", "describe", "nvidia_driver"]


class WitnessError(ValueError):
    """Nothing ran yet."""


@dataclass(frozen=True)
class TensorWitness:
    """``distinct``: how many different values the tensor has (NaNs count as one); ``scale`` is None without codes."""

    dtype: str
    device: str
    shape: tuple[int, ...]
    distinct: int
    scale: float | None


def describe(x: Quantized | torch.Tensor) -> TensorWitness:
    """The facts of one tensor."""
    values = x.values if isinstance(x, Quantized) else x
    scale = x.scale if isinstance(x, Quantized) else None
    return TensorWitness(
        str(values.dtype).removeprefix("torch."),
        str(values.device),
        tuple(values.shape),
        _distinct(values),
        None if scale is None else float(scale),
    )


COUNTED_AT_ONCE = 1 << 20
"""Elements of an operand on a CPU from which it is counted in the forward: dozens of layers' copies would be
gigabytes."""


def _distinct(values: torch.Tensor) -> int:
    if values.dtype != torch.int8 or values.device.type != "cpu":
        return torch.unique(values).numel()
    counts = torch.zeros(256, dtype=torch.int64)
    for piece in values.reshape(-1).split(COUNTED_AT_ONCE):  # without sorting
        counts += torch.bincount(piece.to(torch.int16) + 128, minlength=256)
    return int((counts > 0).sum())


@dataclass(frozen=True)
class LayerWitness:
    """One layer's last scan: its registered name, its build, the first item's operands, and the state's scale."""

    layer: int
    scan: str
    build: str
    operands: dict[str, TensorWitness]
    state_scale: float | None

    @property
    def u(self) -> TensorWitness:
        return self.operands["u"]


@dataclass(frozen=True)
class Witness:
    """What ran in a model's last forward: the mode asked for, each layer's record, and the process's settings."""

    mode: str
    environment: tuple[str, ...]
    batch: int
    layers: tuple[LayerWitness, ...]
    settings: dict[str, Any]

    def ran(self) -> set[tuple[str, str, str]]:
        """Every (scan, build, dtype of u) that occurred.  More than one: the layers did not do the same thing."""
        return {(layer.scan, layer.build, layer.u.dtype) for layer in self.layers}

    def same_path_as(self, other: Witness) -> bool:
        """Whether two modes ran the very same scans on equally many distinct values of u: an inert switch, perhaps."""
        paths = [[(x.scan, x.build, x.u.dtype, x.u.distinct) for x in w.layers] for w in (self, other)]
        return paths[0] == paths[1]

    def to_json(self) -> dict:
        return asdict(self)

    def table(self):
        """A pandas table, one row per layer."""
        import pandas as pd

        rows = [
            {
                "layer": x.layer, "scan": x.scan, "build": x.build, "device": x.u.device, "u dtype": x.u.dtype,
                "distinct u": x.u.distinct, "u scale": x.u.scale, "state scale": x.state_scale,
            }
            for x in self.layers
        ]  # fmt: skip
        return pd.DataFrame(rows).set_index("layer")


def process_settings() -> dict[str, Any]:
    """The switches of this process that can change a result."""
    matmul = torch.backends.cuda.matmul
    return {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "interop_threads": torch.get_num_interop_threads(),
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "deterministic_warn_only": torch.is_deterministic_algorithms_warn_only_enabled(),
        "cublas_workspace_config": os.environ.get("CUBLAS_WORKSPACE_CONFIG", "not set"),
        "cudnn_deterministic": torch.backends.cudnn.deterministic,
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "cudnn_tf32": torch.backends.cudnn.allow_tf32,
        "cuda_matmul_tf32": matmul.allow_tf32,
        "cuda_fp16_reduced_precision_sums": matmul.allow_fp16_reduced_precision_reduction,
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "onednn": torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled,
        "flush_denormal": bool((torch.tensor(1e-40) * 1).item() == 0.0),
    }


class Recorder:
    """Watches the ``scan`` of each of ``layers`` from outside."""

    def __init__(self, layers: nn.ModuleList):
        self._last: dict[int, tuple[str, str, int, dict[str, Quantized | TensorWitness], Any]] = {}
        for index, layer in enumerate(layers):
            layer.scan.register_forward_hook(lambda module, args, output, i=index: self._keep(i, module, *args, output))

    def _keep(self, index: int, module: nn.Module, inputs: Any, output: Any) -> None:
        operands = inputs.operands()
        first = {name: q if name in ("A_log", "D", "dt_bias") else _first_item(q) for name, q in operands.items()}
        self._last[index] = (module.scan, output.build, inputs.batch, first, inputs.state_scale)

    def witness(self, mode: str, environment: tuple[str, ...]) -> Witness:
        """The last forward's record.  Raises :class:`WitnessError` when there was none."""
        if not self._last:
            raise WitnessError("nothing has run yet, so there is nothing to witness: call model(tokens) first")
        layers = tuple(
            LayerWitness(
                index, scan, build,
                {name: q if isinstance(q, TensorWitness) else describe(q) for name, q in operands.items()},
                None if state_scale is None else float(state_scale),
            )
            for index, (scan, build, _, operands, state_scale) in sorted(self._last.items())
        )  # fmt: skip
        batch = next(iter(self._last.values()))[2]
        return Witness(mode, environment, batch, layers, process_settings())


def _first_item(q: Quantized) -> Quantized | TensorWitness:
    first = q.map(lambda v: v[:1])
    if first.values.device.type == "cpu" and first.values.numel() >= COUNTED_AT_ONCE:
        return describe(first)
    return first.map(torch.clone)


def nvidia_driver() -> str:
    """The version of NVIDIA's driver, such as "580.159.04": the kernel's word, else nvidia-smi's, else "unknown"."""
    try:
        said = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8")
    except OSError:
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        try:
            said = subprocess.run(query, capture_output=True, text=True, check=False, timeout=30).stdout
        except (OSError, subprocess.TimeoutExpired):
            return "unknown"
    found = re.search(r"\b\d+\.\d+(\.\d+)*\b", said)
    return found[0] if found else "unknown"
