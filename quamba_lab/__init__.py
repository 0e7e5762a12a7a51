"""Find out why two implementations of a quantized Mamba layer disagree."""

from . import scans
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
    "load_model",
    "scans",
]
