"""Find out why two implementations of a quantized Mamba layer disagree."""

from . import scans
from .quantized import Quantized, RoundingRule
from .scans import ScanInputs, ScanOutput

__version__ = "0.1.0"

__all__ = ["Quantized", "RoundingRule", "ScanInputs", "ScanOutput", "__version__", "scans"]
