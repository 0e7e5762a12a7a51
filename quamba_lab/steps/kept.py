"""What was computed once and is kept on disk: by which sources, and behind a lock, so that processes share it."""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from .. import scans
from ..files import write_text

__all__ = ["is_foreign", "kept_on_disk", "source_digest", "step_digest"]

PACKAGE = Path(__file__).resolve().parents[1]
COMPUTES = ("*.py", "scans/*.py")
"""Sources below the steps that can change a result."""
DRAWS = {"plots.py", "plots_scan.py", "plots_causes.py", "sweep.py", "cli.py", "notebook.py", "execute.py",
         "manifest.py", "parameters.py", "doctor.py", "bench.py", "statistics.py", "estimates.py", "power.py",
         "thresholds.py", "compare.py", "lettering.py", "translate.py"}  # fmt: skip
"""Those among them that draw, judge or run others, and cannot."""


def _digest(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


@functools.lru_cache(maxsize=1)
def source_digest() -> str:
    """Hash of the sources that compute what a model answers, of the kernels, and of the torch that runs them."""
    files = sorted({f for pattern in COMPUTES for f in PACKAGE.glob(pattern) if f.name not in DRAWS})
    files += sorted(PACKAGE.glob("steps/reorderings.py")) + sorted((PACKAGE.parent / "csrc").glob("*.*"))
    return f"{_digest(files)} {torch.__version__} {torch.get_num_threads()}"


@functools.lru_cache(maxsize=1)
def step_digest() -> str:
    """Hash of the steps' own sources, for what a step measured beyond the answers."""
    return _digest(sorted(PACKAGE.glob("steps/*.py")))


def is_foreign(scan: str) -> bool:
    """Whether a scan's code is not this package's, so that its results must not be kept on disk."""
    module = inspect.getmodule(scans.get(scan).fn)
    return module is None or not module.__name__.startswith("quamba_lab.")


def kept_on_disk(path: Path, compute: Callable[[], dict[str, Any]], check: Callable[[dict[str, Any]], object]) -> Any:
    """What the JSON file ``path`` holds, or ``compute()`` written there.

    ``check`` raises ``KeyError``, ``TypeError`` or ``ValueError`` for a damaged file, which is computed again.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{path}.lock")
        lock.acquire()
    except OSError:  # a cache that cannot be written is no reason not to run
        return compute()
    try:
        if path.exists():
            try:
                data = json.loads(path.read_text(encoding="utf-8"))
                check(data)
            except (json.JSONDecodeError, KeyError, TypeError, ValueError):
                path.unlink()  # a damaged file: compute it again
            else:
                return data
        data = compute()
        write_text(path, json.dumps(data))
        return data
    finally:
        lock.release()
