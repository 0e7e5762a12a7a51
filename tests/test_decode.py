"""Decoding: the published rounding of the state every token, the exact alternative, and prefill followed by decode."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from quamba_lab import Quantized, scans
from quamba_lab.scans import ScanError, random_inputs
from quamba_lab.scans.oracle import oracle_taps

STEPPING = ["oracle", "published", "torch_int8", "torch_fp32", "torch_fp64"]


@pytest.mark.parametrize("name", STEPPING)
def test_exact_decoding_continues_the_long_prefill(name):
    x = random_inputs(2, 24, 60, 16, 2, seed=1, state_scale=0.02)
    whole = scans.run(name, replace(x, state_scale=None))
    decoded = scans.generate(name, x, 40, exact=True)
    assert torch.equal(decoded.y[:, :40].half(), scans.run(name, x.narrow(length=slice(0, 40))).y)
    assert decoded.last_state.dtype == (torch.float64 if name in ("oracle", "torch_fp64") else torch.float32)
    assert float((decoded.y != whole.y).float().mean()) < 0.004
    torch.testing.assert_close(decoded.last_state.float(), whole.last_state, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", STEPPING)
def test_int8_decoding_drifts_from_the_long_prefill_by_the_rounding_of_its_state(name):
    x = random_inputs(2, 24, 60, 16, 2, seed=1, state_scale=0.02)
    whole, decoded = scans.run(name, x), scans.generate(name, x, 40)
    assert decoded.last_state.dtype == torch.int8
    tail, error = whole.y[:, 40:].double(), (decoded.y - whole.y)[:, 40:].double()
    drift = float(error.norm() / tail.norm())
    assert 1e-3 < drift < 0.3  # far above rounding of y, far below the signal
    finer = replace(x, state_scale=torch.tensor(0.01))
    error = (scans.generate(name, finer, 40).y - whole.y)[:, 40:].double()
    assert float(error.norm() / tail.norm()) < drift


def test_one_token_is_the_published_decode_written_out():
    x = random_inputs(1, 3, 1, 4, seed=7, state_scale=0.03)
    state = torch.randint(-128, 128, (1, 3, 4), dtype=torch.int8, generator=torch.Generator().manual_seed(0))
    output = scans.step("published", x, state)
    truth = oracle_taps(x, state.double() * x.state_scale.double())
    h = truth["recurrence"][:, :, 0]
    codes = (h / x.state_scale.double()).clamp(-128, 127)
    assert bool(((output.last_state.double() - codes).abs() <= 0.5 + 1e-4).all())
    torch.testing.assert_close(output.y.double(), truth["gate"].transpose(1, 2), rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("name", STEPPING)
def test_a_step_rounds_its_state_ties_to_even_where_prefill_rounds_away(name):
    # u = dt = 1, no softplus, a zero state before: h is B, and half of an odd B is a tie
    one, unit = torch.tensor(1.0), torch.ones(1, 1, 1, dtype=torch.int8)
    codes = torch.tensor([1, 3, -1, -3, 5, 127, -128], dtype=torch.int8)
    n = len(codes)
    x = scans.ScanInputs(
        u=Quantized(unit, one), dt=Quantized(unit, one), B=Quantized(codes.view(1, 1, n, 1), one),
        C=Quantized(torch.ones(1, 1, n, 1, dtype=torch.int8), one),
        A_log=Quantized(torch.zeros(1, n, dtype=torch.int8), one), state_scale=torch.tensor(2.0), softplus=False,
    )  # fmt: skip
    zero = torch.zeros(1, 1, n, dtype=torch.int8)
    assert scans.step(name, x, zero).last_state.flatten().tolist() == [0, 2, 0, -2, 2, 64, -64]
    assert scans.run(name, x).last_state.flatten().tolist() == [1, 2, -1, -2, 3, 64, -64]
    saturated = scans.step(name, replace(x, state_scale=torch.tensor(0.5)), zero)
    assert saturated.last_state.flatten().tolist() == [2, 6, -2, -6, 10, 127, -128]


def test_a_step_refuses_what_does_not_fit():
    x = random_inputs(1, 4, 3, 4, state_scale=0.05)
    token, codes = x.narrow(length=slice(0, 1)), torch.zeros(1, 4, 4, dtype=torch.int8)
    for inputs, state, exact, message in (
        (x, codes, False, "takes one token, not l=3"),
        (replace(token, state_scale=None), codes, False, "needs state_scale"),
        (token, codes.float(), False, "takes int8 codes"),
        (token, codes, True, "takes float32 or float64"),
        (token, codes[:, :2], False, r"int8 codes \(1, 4, 4\)"),
    ):
        for name in ("oracle", "published"):
            with pytest.raises(ScanError, match=message):
                scans.step(name, inputs, state, exact=exact)
    with pytest.raises(ScanError, match="prefill=9: choose 1 to l=3"):
        scans.generate("oracle", x, 9)


def test_a_registered_function_without_a_step_says_so():
    scans.register("only prefill", lambda x: scans.run("oracle", x).y)
    try:
        x = random_inputs(1, 4, 1, 4, state_scale=0.05)
        with pytest.raises(ScanError, match="has no decode step: register it with step="):
            scans.step("only prefill", x, torch.zeros(1, 4, 4, dtype=torch.int8))
    finally:
        scans.unregister("only prefill")
