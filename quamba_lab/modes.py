"""The modes of the debug plan: eight rows, each saying what conv1d emits, what becomes of u, and which scan runs.

A mode is data.  The layer chooses its parts from a row when it is built; no forward asks for the mode.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

__all__ = ["CONV_OUTPUTS", "FLAGS", "MODES", "U_FORMS", "Mode", "ModeError", "resolve_mode"]

CONV_OUTPUTS = ("int8", "int8_dequantized", "fp32", "fp32_dynamic")
U_FORMS = ("int8", "fp32_grid", "requantized", "fp32")

FLAGS = (
    "FLOAT_SIM_ASIC_INT8",
    "SSM_USE_CUDA_FOR_FP32",
    "SSM_USE_PYTORCH_INT8",
    "CONV1D_MODE23_FP32",
    "CONV1D_MODE24_FP32",
    "CONV1D_MODE3_FP32",
    "FP32_SSM_INPUT",
)
"""The plan's environment flags, in its order."""


class ModeError(ValueError):
    """An unknown mode, or environment flags that name none."""


@dataclass(frozen=True)
class Mode:
    """One way to run the layer.

    ``conv_output``: ``int8`` codes; ``int8_dequantized`` codes · scale in FP32; ``fp32`` unquantized; ``fp32_dynamic``
    unquantized, from an input quantized per item.
    ``u``: ``int8`` the codes; ``fp32_grid`` FP32 on the INT8 grid; ``requantized`` codes made from the FP32 again;
    ``fp32``.  ``scan``: a name in ``quamba_lab.scans``.  ``environment``: the plan's flags that select this mode.
    """

    name: str
    conv_output: Literal["int8", "int8_dequantized", "fp32", "fp32_dynamic"]
    u: Literal["int8", "fp32_grid", "requantized", "fp32"]
    scan: str
    environment: tuple[str, ...] = ()
    summary: str = ""

    def __post_init__(self) -> None:
        if self.conv_output not in CONV_OUTPUTS:
            raise ModeError(f"conv_output={self.conv_output!r}: choose one of {', '.join(CONV_OUTPUTS)}")
        if self.u not in U_FORMS:
            raise ModeError(f"u={self.u!r}: choose one of {', '.join(U_FORMS)}")
        possible = {
            "int8": ("int8",), "int8_dequantized": ("fp32_grid", "requantized"),
            "fp32": ("requantized", "fp32"), "fp32_dynamic": ("requantized", "fp32"),
        }[self.conv_output]  # fmt: skip
        if self.u not in possible:
            raise ModeError(
                f"u={self.u!r} cannot come from conv_output={self.conv_output!r}: choose {' or '.join(possible)}"
            )

    def with_scan(self, scan: str) -> Mode:
        """The same data flow with another scan, for example one's own; its name says so."""
        return self if scan == self.scan else replace(self, name=f"{self.name}+{scan}", scan=scan, environment=())

    @classmethod
    def get(cls, mode: str | Mode) -> Mode:
        """The mode of that name, or the given row itself.  Raises :class:`ModeError` for a name that is not there."""
        if isinstance(mode, Mode):
            return mode
        if mode not in MODES:
            raise ModeError(f"unknown mode {mode!r}: choose one of {', '.join(MODES)}")
        return MODES[mode]

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Mode:
        """The mode that the plan's flags select; without any flag, mode 0.

        A flag counts when it is ``true`` or ``1`` in any case; ``false``, ``0`` and the empty string do not count.
        Raises :class:`ModeError` for another value and for flags that together belong to no mode.
        """
        environ = os.environ if environ is None else environ
        chosen = frozenset(flag for flag in FLAGS if _is_on(flag, environ.get(flag, "")))
        for mode in MODES.values():
            if chosen == frozenset(mode.environment):
                return mode
        known = "; ".join(f"{mode.name}: {' '.join(mode.environment) or 'none'}" for mode in MODES.values())
        raise ModeError(f"the environment flags {' '.join(sorted(chosen))} belong to no mode: unset some ({known})")


def _is_on(flag: str, value: str) -> bool:
    lowered = value.strip().lower()
    if lowered not in ("", "0", "1", "true", "false"):
        raise ModeError(f"{flag}={value!r}: set it to true or false, or unset it")
    return lowered in ("1", "true")


def resolve_mode(mode: str | Mode | None) -> Mode:
    """A mode that was given decides; only without one do the environment flags decide, and without those it is 0."""
    return Mode.from_environment() if mode is None else Mode.get(mode)


_SIMULATE = "FLOAT_SIM_ASIC_INT8"

MODES: dict[str, Mode] = {
    mode.name: mode
    for mode in (
        Mode("0", "int8", "int8", "published", (), "baseline: INT8 into the published INT8 scan"),
        Mode("2-0", "int8_dequantized", "requantized", "published", (_SIMULATE, "SSM_USE_CUDA_FOR_FP32"),
             "dequantized, requantized, then the published INT8 scan: must equal mode 0"),
        Mode("2-1", "int8", "int8", "torch_int8", (_SIMULATE, "SSM_USE_PYTORCH_INT8"),
             "INT8 into the PyTorch INT8 scan"),
        Mode("2-2", "int8_dequantized", "fp32_grid", "torch_fp32", (_SIMULATE,),
             "FP32 on the INT8 grid into the PyTorch FP32 scan"),
        Mode("2-3", "fp32", "requantized", "torch_int8", (_SIMULATE, "CONV1D_MODE23_FP32"),
             "unquantized conv1d, u requantized for the PyTorch INT8 scan"),
        Mode("2-4", "fp32", "fp32", "torch_fp32", (_SIMULATE, "CONV1D_MODE24_FP32"),
             "unquantized conv1d, u in FP32, PyTorch FP32 scan"),
        Mode("3", "fp32_dynamic", "fp32", "torch_fp32", ("CONV1D_MODE3_FP32",),
             "conv1d's input quantized per item, u in FP32, PyTorch FP32 scan"),
        Mode("1", "fp32", "fp32", "torch_fp32", ("FP32_SSM_INPUT",),
             "conv1d and u in FP32, PyTorch FP32 scan: the upper bound"),
    )
}  # fmt: skip
"""The table of the modes, in the plan's order."""
