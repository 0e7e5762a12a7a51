"""Black-box diagnosis: which operation of a scan is at fault, told from its outputs alone.

    diagnose(fn)                      fn: ScanInputs -> ScanOutput, or the name of a registered scan
    diagnose(fn, against="torch_int8")

See :mod:`quamba_lab.diagnose.bounds` for what counts as honest, :mod:`quamba_lab.diagnose.probes` for what is asked, and
:mod:`quamba_lab.diagnose.decide` for how the answers become one operation.
"""

from .engine import diagnose
from .result import Diagnosis, Evidence

__all__ = ["Diagnosis", "Evidence", "diagnose"]
