"""The probes: small inputs, each of which exercises as few operations as can be.

They form a ladder.  The first rung uses one batch item, channel, state and token, no softplus, D, z or bias, and
codes and
scales of 1; every further rung adds one ingredient.  So the first rung that leaves its bound names the ingredient, and
what passes clears the operations it exercised.  Rungs, with the operation a failure points to first:

    repeat      the same call again                       determinism
    unit        everything is 1                           (whatever is left when the rest is understood)
    operand.X   value = scale x code, in several factorings of one product, for u, dt, B, C     dequantize.X, drive, ...
    skip        C = 0: y = D·u                            dequantize.D, skip
    start       an operand is 0: nothing comes out        recurrence (the state before the first token)
    order       one token of three at a time              layout
    shift       few tokens that all differ                layout
    carry       dt = 0 after the first token: h is held   recurrence
    time        two tokens, operands told apart           drive, contraction
    integrate   A underflows to 0: h is a running sum     recurrence
    range       states from 2^-100 to 2^100               recurrence, drive
    exactness   integers that float32 keeps and float16 or bfloat16 cannot; the answer itself is short
    cast        exact values between float16 numbers      output_cast
    precise.X   a scale of 24 significant bits            dequantize.X
    gate        z over its range, with and without D      dequantize.z, gate
    bias        softplus off                              dequantize.dt_bias
    softplus    softplus on, without and with bias        softplus
    rates       A_log in several factorings               dequantize.A
    decay       exp(dt·A) over its range                  decay
    fine        a difference against D·u that shows the last bits of softplus and decay
    codes       all 256 codes of every operand, in two orders and at two scales        dequantize.X
    dense       softplus, decay and gate over dense grids, in two orders
    states      one-hot states                            contraction
    scales      several groups, one operand with a scale of its own                    dequantize.X
    index       one-hot batch items, channels, groups, tokens, operand by operand      layout, skip
    ragged      every length from 1, memory off           layout
    long        running sums over lengths to 8,200        recurrence
    memory      decaying states over long inputs          recurrence
    state       the returned state, and y when it is asked for      state_quantization
    compound    everything at once

Every probe has the bound of :mod:`quamba_lab.diagnose.bounds`; none has a tolerance of its own.
"""

from __future__ import annotations

import numpy as np

from . import probes_many, probes_size, probes_time, probes_token
from .rooms import Embed, Probe, Room, build, units

__all__ = ["RUNGS", "Embed", "Probe", "build", "ladder", "units"]

RUNGS = (
    "repeat",
    "unit",
    "operand.u",
    "operand.dt",
    "operand.B",
    "operand.C",
    "skip",
    "start",
    "order",
    "shift",
    "carry",
    "time",
    "integrate",
    "range",
    "exactness",
    "cast",
    "precise.u",
    "precise.dt",
    "precise.B",
    "precise.C",
    "precise.D",
    "gate",
    "bias",
    "softplus",
    "rates",
    "decay",
    "fine",
    "codes",
    "dense",
    "states",
    "scales",
    "index",
    "ragged",
    "long",
    "memory",
    "state",
    "compound",
)


ONE = Embed()


def ladder(embed: Embed = ONE, seed: int = 0) -> list[Probe]:
    """All probes past ``repeat`` and ``unit``, in the order of the rungs.  Deterministic in ``embed`` and ``seed``."""
    room, rng = Room(embed), np.random.default_rng(seed)
    probes = [
        *probes_token.operands(room),
        *probes_token.skip(room),
        *probes_many.starts(room),
        *probes_many.shifts(room),
        *probes_time.time(room),
        *probes_many.ranges(room),
        *probes_token.exactness(room),
        *probes_token.cast(room),
        *probes_token.precise(room, rng),
        *probes_token.gate(room),
        *probes_token.bias(room),
        *probes_token.softplus(room),
        *probes_time.rates(room),
        *probes_time.decay(room),
        *probes_time.fine(room),
        *probes_many.codes(rng),
        *probes_many.dense(rng),
        *probes_size.states(room),
        *probes_many.scales(),
        *probes_size.index(rng),
        *probes_size.lengths(rng),
        *probes_many.several(rng),
        *probes_size.memory(rng),
        *probes_size.state(rng),
        *probes_size.compound(seed),
    ]
    return sorted(probes, key=lambda probe: RUNGS.index(probe.rung))
