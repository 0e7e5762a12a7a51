"""Black-box diagnosis: which operation of a scan is at fault, told from its outputs alone.

    quamba_lab.diagnose(fn)           fn: ScanInputs -> ScanOutput, or the name of a registered scan
    quamba_lab.diagnose(fn, against="torch_int8")

The package is callable under the name of its one function.  See :mod:`quamba_lab.diagnose.bounds` for what counts as
honest, :mod:`quamba_lab.diagnose.probes` for what is asked, and
:mod:`quamba_lab.diagnose.decide` for how the answers become one operation.
"""

import sys
from types import ModuleType

from .engine import diagnose
from .result import Diagnosis, Evidence

__all__ = ["Diagnosis", "Evidence", "diagnose"]


class _CallablePackage(ModuleType):
    def __call__(self, *arguments, **options) -> Diagnosis:
        return diagnose(*arguments, **options)


sys.modules[__name__].__class__ = _CallablePackage
