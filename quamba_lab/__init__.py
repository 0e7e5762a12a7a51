"""Find out why two implementations of a quantized Mamba layer disagree."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import diagnose, scans
    from .model import load_model
    from .modes import MODES, Mode
    from .quantized import Quantized, RoundingRule
    from .scans import ScanInputs, ScanOutput
    from .trace import Trace

__version__ = "0.1.0"

__all__ = [
    "MODES",
    "Mode",
    "Quantized",
    "RoundingRule",
    "ScanInputs",
    "ScanOutput",
    "Trace",
    "__version__",
    "diagnose",
    "load_model",
    "scans",
]

_HOMES = {
    "MODES": "modes", "Mode": "modes", "Quantized": "quantized", "RoundingRule": "quantized", "ScanInputs": "scans",
    "ScanOutput": "scans", "Trace": "trace", "diagnose": "diagnose", "load_model": "model", "scans": "scans",
}  # fmt: skip
"""Where each public name lives.  Each is loaded when first used: the command line answers before torch does."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f".{_HOMES[name]}", __name__)
    value = globals()[name] = module if name == _HOMES[name] else getattr(module, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
