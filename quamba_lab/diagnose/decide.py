"""From outcomes to one operation.

The rules are asked in the order of the ladder, and the first that recognizes something answers.  A rule looks at the
rung it owns, knowing that the rungs before it have nothing to say, so what its rung adds is what is left to blame;
and it
separates the candidates that share a rung by numbers:

* a value that is not a function of scale·code alone is a fault of dequantization; one that is, of the operation;
* log |y| against log |value| (an elasticity) tells an unused operand (0) from one used twice (2), and a scale from a
  code;
* A is read off two decays: linear in dt and wrong in A_log is dequantize.A, not linear in dt is decay;
* a failure at one position whatever the length is a chunk boundary (recurrence), at the end of every length a tail
  (layout).
"""

from __future__ import annotations

from ..texts import say
from . import rules_many, rules_time, rules_token, rules_whole
from .finding import Finding
from .records import Findings

__all__ = ["decide"]

RULES = (
    rules_whole.repeat,
    rules_many.displaced,
    rules_many.start,
    rules_token.operands,
    rules_token.unit,
    rules_token.skip,
    rules_time.order,
    rules_time.carry,
    rules_time.time,
    rules_time.integrate,
    rules_token.exactness,
    rules_token.cast,
    rules_token.precise,
    rules_many.codes,
    rules_token.gate,
    rules_token.bias,
    rules_many.ranges,
    rules_token.softplus,
    rules_time.rates,
    rules_time.decay,
    rules_time.fine,
    rules_many.dense,
    rules_time.deferred,
    rules_whole.tail,
    rules_whole.states,
    rules_many.scales,
    rules_whole.index,
    rules_time.lengths,
    rules_time.memory,
    rules_whole.returned,
    rules_whole.state,
    rules_whole.compound,
)


def decide(f: Findings) -> Finding | None:
    """The first rule that recognizes something; None when no bound was left."""
    for rule in RULES:
        finding = rule(f)
        if finding is not None:
            return finding
    if f.failures:
        return Finding("layout", "determinism", say("a bound was left where no rule looks"), tuple(f.failures), 0.2)
    return None
