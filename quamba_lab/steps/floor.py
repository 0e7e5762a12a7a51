"""What stands under a difference of answers: the same mode twice, and legal reorderings of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from .. import statistics as st
from ..compare import difference
from ..texts import say
from ..trace import Trace
from .reorderings import FLOOR, REORDERINGS
from .workbook import Answers, Workbook

__all__ = ["MULTIPLES", "first_unstable_stage", "floor_tables", "repeated"]

MULTIPLES = ["mode", "kind", "rms_of_mode", "rms_of_floor", "multiple", "low", "high", "flips_of_mode",
             "flips_of_floor", "flips_multiple", "flips_low", "flips_high", "items"]  # fmt: skip
"""Columns of the second table of :func:`floor_tables`."""


def first_unstable_stage(run: Workbook, mode: str, items: Sequence[int]) -> str:
    """The first stage that differs between two identical runs of ``mode`` on ``items``, in words."""
    view = run.view(mode)
    for item in items:
        traces = []
        for _ in range(2):
            with Trace(view) as trace:
                view(run.tokens(item))
            traces.append(trace)
        for where in traces[0]:
            if not difference(traces[0][where], traces[1][where]).equal:
                stage, layer = where
                if layer is None:
                    return say("{stage} (item {item})", stage=stage, item=item)
                return say("{stage} of layer {layer} (item {item})", stage=stage, layer=layer, item=item)
    return say("none when items run one at a time")


def repeated(run: Workbook, answers: dict[str, Answers]) -> pd.DataFrame:
    """Every mode once more: are all logits the same bits, and if not, which stage parts first?"""
    rows = []
    for mode, first in answers.items():
        second = run.answers(mode, run=1)
        equal = first.digest == second.digest
        where = "" if equal else first_unstable_stage(run, mode, range(min(run.limit, 8)))
        rows.append(
            {
                "mode": mode, "logits_equal": equal, "digest_1": first.digest[:16], "digest_2": second.digest[:16],
                "first_stage_that_differs": where,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def _squared(a: Answers, b: Answers) -> np.ndarray:
    d = b.log_probability - a.log_probability
    return np.where(np.isfinite(d), d, 0.0) ** 2


def _flipped(a: Answers, b: Answers) -> np.ndarray:
    return (a.correct != b.correct).astype(float)


def floor_tables(
    run: Workbook, reference: str, answers: dict[str, Answers]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What legal reorderings of ``reference`` change, and every mode's difference as a multiple of it.

    Two multiples per mode and kind of reordering: of the RMS change of an item's log-probability, and of the share of
    answers that flip.  Where several reorderings are of one kind (the seeds), their squares and flips are averaged.
    """
    base = answers[reference]
    rows, squares, flips = [], {}, {}
    for name in FLOOR:
        other = run.answers(reference, name)
        kind = REORDERINGS[name].kind
        squared, flipped = _squared(base, other), _flipped(base, other)
        squares.setdefault(kind, []).append(squared)
        flips.setdefault(kind, []).append(flipped)
        paired = st.paired_accuracy(base.correct, other.correct)
        perplexity = st.perplexity(other.log_probability, seed=run.seed)
        rows.append(
            {
                "reordering": name, "kind": kind, "logits_equal": base.digest == other.digest,
                "right": int(other.correct.sum()), "accuracy": float(other.correct.mean()),
                "perplexity": perplexity.value, "only_plain": paired.only_a, "only_reordered": paired.only_b,
                "flips": paired.discordant, "p_mcnemar": paired.p,
                "mean_log_probability": float(np.mean(other.log_probability - base.log_probability)),
                "rms_log_probability": float(np.sqrt(squared.mean())),
                "items_unequal": int((base.log_probability != other.log_probability).sum()),
            }
        )  # fmt: skip
    multiples = []
    for mode, found in answers.items():
        if mode == reference:
            continue
        for kind in squares:
            floor, flip_floor = np.mean(squares[kind], axis=0), np.mean(flips[kind], axis=0)
            ratio = st.ratio_interval(_squared(base, found), floor, seed=run.seed)
            flip_ratio = st.ratio_interval(_flipped(base, found), flip_floor, seed=run.seed, root=False)
            multiples.append(
                {
                    "mode": mode, "kind": kind, "rms_of_mode": float(np.sqrt(_squared(base, found).mean())),
                    "rms_of_floor": float(np.sqrt(floor.mean())), "multiple": ratio.value, "low": ratio.interval.low,
                    "high": ratio.interval.high, "flips_of_mode": float(_flipped(base, found).sum()),
                    "flips_of_floor": float(flip_floor.sum()), "flips_multiple": flip_ratio.value,
                    "flips_low": flip_ratio.interval.low, "flips_high": flip_ratio.interval.high, "items": ratio.n,
                }
            )  # fmt: skip
    return pd.DataFrame(rows), pd.DataFrame(multiples, columns=MULTIPLES)
