"""What a diagnosis answers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..texts import say

if TYPE_CHECKING:
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
            named = {"scan": self.scan, "operation": self.operation, "reason": self.evidence[0]}
            if self.runner_up:
                return say("{scan}: fault in {operation} (else {other}): {reason}.", other=self.runner_up, **named)
            return say("{scan}: fault in {operation}: {reason}.", **named)
        return say("{scan}: {verdict}: {reason}.", scan=self.scan, verdict=self.verdict, reason=self.evidence[0])

    def table(self) -> pd.DataFrame:
        """The fingerprint as a table, one row per rung."""
        import pandas as pd

        return pd.DataFrame([asdict(row) for row in self.fingerprint]).set_index("rung")

    def figure(self) -> Figure:
        """The fingerprint: for every rung the share of probes outside their bound, in y and in the state, and how
        far."""
        from .. import plots

        rows = [row for row in self.fingerprint if row.probes or row.declined]
        counts = np.array([[row.y, row.state, 0] for row in rows])
        shares = counts / np.array([[max(row.probes, 1)] for row in rows])
        shares[:, 2] = [min(np.log10(1 + row.excess), 4.0) / 4 for row in rows]
        operation = f", {self.operation}" if self.operation else ""
        return plots.fingerprint(
            shares.T,
            numbers=counts.T,
            columns=[row.rung for row in rows],
            rows=["y outside", "state outside", "how far (log, 10⁴ = 1)"],
            title=say(
                "{scan}: {verdict}{operation}: probes outside their bound",
                scan=self.scan, verdict=self.verdict, operation=operation
            ),
        )

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
