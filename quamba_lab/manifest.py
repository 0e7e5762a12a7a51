"""The record of a run: which notebooks finished, and why the others did not.

papermill leaves no trace of a time-out, a killed kernel or an interrupt in the notebook it writes, so the truth is kept
here, in ``manifest.json``.  Times and paths live here too; ``verdict.json`` holds neither.
"""

from __future__ import annotations

import json
import platform
import sys
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from .files import write_text

__all__ = ["STATUSES", "Manifest", "Run", "versions"]

STATUSES = ("not started", "running", "done", "failed", "timed out", "killed", "interrupted")
"""What a notebook's run can be."""

NAMED_PACKAGES = ("torch", "numpy", "scipy", "statsmodels", "pandas", "matplotlib", "papermill", "nbconvert")


@dataclass
class Run:
    """One notebook: ``status`` from :data:`STATUSES`, ``reason`` a sentence when it is not done."""

    name: str
    status: str = "not started"
    reason: str = ""
    seconds: float | None = None
    cells_done: int = 0
    cells: int = 0


@dataclass
class Manifest:
    """The whole run; :meth:`write` after every change, so that a run that is cut off leaves a true record."""

    command: str
    settings: dict[str, Any]
    runs: dict[str, Run] = field(default_factory=dict)
    started: str = ""
    finished: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    schema: int = 1

    @property
    def complete(self) -> bool:
        return all(run.status == "done" for run in self.runs.values())

    def unfinished(self) -> list[Run]:
        return [run for run in self.runs.values() if run.status != "done"]

    def write(self, path: Path) -> None:
        """Write the manifest as JSON, whole or not at all."""
        content = asdict(self)
        content["runs"] = list(content["runs"].values())
        write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Read what :meth:`write` wrote.  Raises OSError or ValueError for a file that is none."""
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        if not isinstance(content, dict) or content.get("schema") != 1:
            raise ValueError(f"{path} is no manifest of this version: make the report again with `quamba-lab report`")
        content["runs"] = {run["name"]: Run(**run) for run in content["runs"]}
        return cls(**content)


def versions() -> dict[str, str]:
    """Versions of what a number can depend on."""
    found = {"quamba_lab": metadata.version("quamba-lab"), "python": platform.python_version()}
    found |= {name: metadata.version(name) for name in NAMED_PACKAGES}
    return found | {"platform": f"{sys.platform} {platform.machine()}"}
