"""The debug plan's own figures, 38 of 100 against 36 of 100: what follows from them alone, before anything is run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from .. import statistics as st
from ..texts import say
from .result import StepResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["PLAN", "PlansFigures", "plans_figures"]

PLAN = (38, 36, 100)
"""Right answers of mode 0 and of mode 2-1, of how many, as the debug plan reports them."""


@dataclass(frozen=True, eq=False, kw_only=True)
class PlansFigures(StepResult):
    """The claim, every table of flips that it allows, and the items that it would take."""

    STEP = 1
    NAME = "plans_figures"
    TITLE = "The plan's own figures"
    claim: st.Claim

    def figure(self) -> Figure:
        """Both accuracies with Wilson's intervals."""
        from .. import plots

        claim = self.claim
        rows = []
        for mode, hits, interval in (("0", claim.hits_a, claim.interval_a), ("2-1", claim.hits_b, claim.interval_b)):
            label = say("mode {mode}: {hits} of {n}", mode=mode, hits=hits, n=claim.n)
            rows.append(
                {"label": label, "value": hits / claim.n, "low": interval.low, "high": interval.high, "group": mode}
            )
        title = say("The plan's own figures with Wilson's 95 % interval")
        return plots.dots(pd.DataFrame(rows), title=title, xlabel=say("share right"))

    def figures(self) -> list[tuple[str, Figure, str]]:
        return [("plan", self.figure(), self.verdict)]


def plans_figures(hits_a: int = PLAN[0], hits_b: int = PLAN[1], n: int = PLAN[2]) -> PlansFigures:
    """Judge two counts of right answers by every table of flips that they allow; nothing is run.

    Raises ``ValueError`` for counts outside 0 to ``n``.
    """
    claim = st.judge_claim(hits_a, hits_b, n)
    seen = bool((claim.splits["p"] <= st.ALPHA).all()) and hits_a != hits_b
    numbers = {
        "smallest_p": claim.smallest_p, "largest_p": float(claim.splits["p"].max()),
        "fewest_items": float(claim.splits["items_needed"].min()),
        "most_items": float(claim.splits["items_needed"].max()),
        "interval_a": [claim.interval_a.low, claim.interval_a.high],
        "interval_b": [claim.interval_b.low, claim.interval_b.high],
    }  # fmt: skip
    return PlansFigures(
        status="established" if seen else "not established", verdict=claim.verdict,
        settings={"right_a": hits_a, "right_b": hits_b, "items": n}, numbers=numbers,
        frames={"What the plan's figures allow": claim.splits}, claim=claim,
    )  # fmt: skip
