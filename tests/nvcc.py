"""The CUDA compiler, where there is one: kernels compile ahead of time too, for GPUs that no test runs on."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from quamba_lab.scans.build import CSRC

__all__ = ["ARCHITECTURES", "NVCC", "compiles"]

NVCC = shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")
ARCHITECTURES = ("sm_80", "sm_90", "sm_100")


def compiles(source: str, kernel: str, arch: str, folder: Path, *flags: str, checks: str = "") -> None:
    """Compile a kernel of ``csrc`` with one set of template arguments, without a warning; ``checks``: more C++."""
    file = folder / "kernel.cu"
    used = f"const void *used() {{ return reinterpret_cast<const void *>(&{kernel}); }}"  # or it is not compiled
    file.write_text(f'#include "{source}"\n{checks}\n{used}\n')
    command = [NVCC, "-std=c++17", "-Werror=all-warnings", f"-arch={arch}", f"-I{CSRC}", *flags]
    command += ["-cubin", "-o", str(folder / "kernel.cubin"), str(file)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
