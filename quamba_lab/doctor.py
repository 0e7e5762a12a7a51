"""What this machine has and which scans it can run; for each that it cannot, why and what to install."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from dataclasses import dataclass
from typing import Any

import torch

from . import scans
from .manifest import versions
from .parameters import plan_flags
from .scans import build

__all__ = ["Examination", "examine"]


@dataclass(frozen=True)
class Examination:
    """``machine``: what there is, by name.  ``scans``: for each, None, or why it cannot run and what to install."""

    machine: dict[str, str]
    scans: dict[str, str | None]

    def to_json(self) -> dict[str, Any]:
        return {"schema": 1, "machine": self.machine, "scans": self.scans}

    def text(self) -> str:
        """The findings in lines for a terminal."""
        wide = max(map(len, [*self.machine, *self.scans]))
        lines = [f"{name:<{wide}}  {value}" for name, value in self.machine.items()]
        lines += ["", "scans"]
        lines += [f"{name:<{wide}}  {why or 'available'}" for name, why in self.scans.items()]
        return "\n".join(lines)


def examine() -> Examination:
    """Look at Python, torch, devices, compilers and scans; nothing is built and nothing is changed."""
    machine = versions()
    machine["cores"] = str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
    machine["processor"] = platform.processor() or platform.machine()
    machine["vector instructions"] = torch.backends.cpu.get_cpu_capability()
    machine["GPU"] = _gpus()
    machine["C++ compiler"] = _or_reason(lambda: " ".join(build.cpp_compiler()))
    machine["NVRTC"] = _or_reason(build.nvrtc_version)
    machine["nvcc"] = shutil.which("nvcc") or "none (only needed to compile csrc ahead of time)"
    machine["chromium"] = shutil.which("chromium") or shutil.which("google-chrome") or "none (only the tests need one)"
    flags = plan_flags()
    machine["environment flags"] = " ".join(f"{k}={v}" for k, v in flags.items()) or "none of the debug plan's is set"
    machine["virtual environment"] = "yes" if sys.prefix != sys.base_prefix else "no"
    return Examination(machine, {name: scans.unavailable(name) for name in scans.names()})


def _gpus() -> str:
    if not torch.cuda.is_available():
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "a CPU build"
        return f"none that torch sees (this torch is {built})"
    return ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))


def _or_reason(found: Any) -> str:
    try:
        return found()
    except build.BuildError as error:
        return f"none: {error}"
