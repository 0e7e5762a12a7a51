"""Diagnose several scans and look at their fingerprints side by side: the registered ones, one's own, and a gallery."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from .. import scans
from ..scans.variants import Variant
from ..steps.result import StepResult, chart, control
from ..texts import clauses, listed, paragraph, say
from .engine import diagnose
from .gallery import faults
from .result import Diagnosis

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["SHOWN", "Survey", "survey"]

SHOWN = (
    "scale of B missing", "u clipped to ±127", "bias added after softplus", "A without its minus",
    "decay with dt before softplus", "drive without dt", "carry lost every 16", "state in float16",
    "last state missing", "D missing", "sigmoid for SiLU", "y truncated", "state rounded to even", "groups exchanged",
    "every second call a little larger",
)  # fmt: skip
"""The gallery's faults that are shown by default, about one for each operation."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Survey(StepResult):
    """``diagnoses`` by name; ``status`` and ``verdict`` speak of the real scans, not of the planted faults."""

    STEP: ClassVar[int] = 6
    NAME: ClassVar[str] = "diagnosis"
    TITLE: ClassVar[str] = "Diagnose any scan"

    diagnoses: Mapping[str, Diagnosis]

    def matrix(self) -> pd.DataFrame:
        """Share of the probes outside their bound, scans by rungs."""
        rows = {
            name: {row.rung: row.outside / max(row.probes, 1) for row in found.fingerprint}
            for name, found in self.diagnoses.items()
        }
        return pd.DataFrame(rows).T

    def figure(self, scan: str | None = None, **_: Any) -> Figure:
        """The fingerprint of one scan."""
        return self.diagnoses[scan or next(iter(self.diagnoses))].figure()

    def figures(self) -> list[tuple[str, Figure, str]]:
        """All fingerprints in one picture."""
        from .. import plots

        matrix = self.matrix()
        figure = plots.fingerprint(
            matrix.to_numpy(),
            numbers=np.zeros(matrix.shape, dtype=int),
            rows=list(matrix.index),
            columns=list(matrix.columns),
            title="Probes outside their bound, share of the rung",
        )
        what = say("One row for each scan, one column for each rung of the ladder.")
        alt = paragraph([what, self.verdict])
        return [("fingerprints", figure, alt)]

    def view_data(self) -> dict[str, Any]:
        names = list(self.diagnoses)
        frames = {}
        for name, found in self.diagnoses.items():
            rows = [[row.y / max(row.probes, 1) for row in found.fingerprint]]
            rows.append([row.state / max(row.probes, 1) for row in found.fingerprint])
            frames[(name,)] = {"rows": rows, "note": found.sentence()}
        rungs = [row.rung for row in next(iter(self.diagnoses.values())).fingerprint]
        picture = chart(
            "fingerprint", "Fingerprint", f"{names[0]}: {self.diagnoses[names[0]].verdict}", "heatmap", ["scan"],
            frames, x={"label": "rung", "values": rungs}, y={"label": "", "values": ["y outside", "state outside"]},
        )  # fmt: skip
        return {"controls": [control("scan", "Scan", names)], "charts": [picture]}


def survey(
    own: Mapping[str, Callable] | None = None, planted: tuple[str, ...] = SHOWN, seed: int = 0, device: str = "cpu",
    time_limit: float = 20.0,
) -> Survey:  # fmt: skip
    """Diagnose every registered scan that runs here, ``own`` scans by name, and the gallery's ``planted`` faults.

    ``time_limit``: seconds for one call; when scans run out of it and nothing else is wrong, the status is ``unknown``.
    Raises ``ValueError`` for a fault that the gallery does not have.
    """
    gallery = faults()
    unknown = sorted(set(planted) - set(gallery))
    if unknown:
        raise ValueError(f"the gallery has no fault {unknown[0]!r}: choose from quamba_lab.diagnose.gallery.faults()")
    real: dict[str, Callable | str] = {name: name for name in scans.names() if scans.unavailable(name) is None}
    real.update(own or {})
    found = {
        name: diagnose(scan, seed=seed, device=device, time_limit=time_limit, reproducer=False)
        for name, scan in real.items()
    }
    guilty = {name: one for name, one in found.items() if one.verdict not in ("identical", "rounding")}
    for name in planted:
        found[f"planted: {name}"] = diagnose(gallery[name].scan(Variant()), seed=seed, reproducer=False)
    right = sum(found[f"planted: {name}"].operation == gallery[name].operation for name in planted)
    if guilty:
        verdict = clauses(
            say("{name}: {verdict} in {operation}", name=name, verdict=one.verdict, operation=one.operation)
            if one.operation
            else say("{name}: {verdict}", name=name, verdict=one.verdict)
            for name, one in guilty.items()
        )
    else:
        verdict = say(
            "All {count} scans stay inside the bounds of honest float32 arithmetic: {scans}",
            count=len(real), scans=listed(real),
        )
    # A call that ran out of time on this machine says nothing of what the scan computes.
    wrong = any(one.verdict != "timeout" for one in guilty.values())
    status = "fault" if wrong else "unknown" if guilty else "rounding"
    rows = [
        {"scan": name, "verdict": one.verdict, "operation": one.operation or "", "runner-up": one.runner_up or "",
         "confidence": one.confidence, "reason": one.evidence[0]}
        for name, one in found.items()
    ]  # fmt: skip
    return Survey(
        status=status,
        verdict=say(
            "{verdict}. Of {planted} planted faults, {right} are named rightly.",
            verdict=verdict, planted=len(planted), right=right
        ),
        settings={"seed": seed, "device": device},
        numbers={"scans": len(real), "guilty": len(guilty), "planted": len(planted), "named": right},
        frames={"Diagnoses": pd.DataFrame(rows)},
        diagnoses=found,
    )
