"""What a diagnosis answers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

__all__ = ["Diagnosis", "Evidence"]

SCHEMA = 1


@dataclass(frozen=True)
class Evidence:
    """One rung of the ladder: ``probes`` answered, ``outside`` their bound, of which in ``y`` and in ``state``;
    ``declined``; ``excess``: the worst y in multiples of its bound; ``first``: the first probe outside."""

    rung: str
    probes: int
    outside: int
    y: int
    state: int
    declined: int
    excess: float
    first: str


@dataclass(frozen=True)
class Diagnosis:
    """``verdict``: ``identical``, ``rounding``, ``fault``, or ``error``, ``timeout``, ``invalid output``,
    ``mutates inputs``.  ``operation``: one of :data:`quamba_lab.scans.OPERATIONS`, or None.  ``confidence``: the
    certainty of the rule that answered times the share of the failing probes that exercise the operation.
    ``evidence``: sentences.  ``fingerprint``: one row per rung.  ``reproducer``: the text of a Python file, or None."""

    verdict: str
    operation: str | None
    runner_up: str | None
    confidence: float
    evidence: tuple[str, ...]
    fingerprint: tuple[Evidence, ...]
    reproducer: str | None
    scan: str = ""
    against: str = "oracle"
    calls: int = 0
    seconds: float = 0.0

    @property
    def status(self) -> str:
        """The verdict, under the name that every result of the project has."""
        return self.verdict

    def sentence(self) -> str:
        """The verdict in words."""
        if self.verdict == "fault":
            next_best = f" (else {self.runner_up})" if self.runner_up else ""
            return f"{self.scan}: fault in {self.operation}{next_best}: {self.evidence[0]}."
        return f"{self.scan}: {self.verdict}: {self.evidence[0]}."

    def table(self) -> pd.DataFrame:
        """The fingerprint as a table, one row per rung."""
        return pd.DataFrame([asdict(row) for row in self.fingerprint]).set_index("rung")

    def figure(self) -> Figure:
        """The fingerprint: for every rung the share of probes outside their bound, in y and in the state, and how far."""
        rows = [row for row in self.fingerprint if row.probes or row.declined]
        share = np.array([[row.y, row.state] for row in rows]) / np.array([[max(row.probes, 1)] for row in rows])
        far = np.array([min(np.log10(1 + row.excess), 4.0) / 4 for row in rows])
        picture = np.column_stack([share, far])
        figure, axes = plt.subplots(figsize=(0.34 * len(rows) + 2.4, 2.3), layout="constrained")
        image = axes.imshow(picture.T, cmap="cividis", vmin=0, vmax=1, aspect="auto")
        axes.set_xticks(range(len(rows)), [row.rung for row in rows], rotation=90, fontsize=8)
        axes.set_yticks(range(3), ["y outside", "state outside", "how far (log)"], fontsize=8)
        for column, row in enumerate(rows):
            for line, count in enumerate((row.y, row.state)):
                if count:
                    bright = picture[column, line] > 0.5
                    axes.text(column, line, str(count), ha="center", va="center", fontsize=7, color="k" if bright else "w")
        operation = f", {self.operation}" if self.operation else ""
        axes.set_title(f"{self.scan}: {self.verdict}{operation}", fontsize=9, loc="left")
        figure.colorbar(image, ax=axes, fraction=0.02, pad=0.01).set_label("share of the rung", fontsize=8)
        plt.close(figure)
        return figure

    def to_json(self) -> dict:
        """A JSON-ready dictionary; non-finite numbers become strings.  Times are left out: same input, same bytes."""
        data = asdict(self)
        data.pop("seconds")
        for row in data["fingerprint"]:
            row["excess"] = row["excess"] if np.isfinite(row["excess"]) else str(row["excess"])
        return {"schema": SCHEMA, "kind": "diagnosis", **data}

    def save_reproducer(self, path: Path | str) -> Path:
        """Write the reproducer; ``ValueError`` when there is none."""
        if self.reproducer is None:
            raise ValueError(f"verdict {self.verdict!r} has no reproducer: there is no wrong output to show")
        path = Path(path)
        partial = path.with_name(path.name + ".partial")
        partial.write_text(self.reproducer, encoding="utf-8")
        partial.replace(path)
        return path
