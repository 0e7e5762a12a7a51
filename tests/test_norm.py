"""RMSNorm to INT8 and the residual stream."""

import pytest
import torch

from quamba_lab.norm import QuantizedRMSNorm, Residual
from quamba_lab.quantized import AWAY_SATURATE, EVEN_SATURATE
from quamba_lab.sites import PUBLISHED, scalar


def test_the_stream_is_fp32_and_starts_with_the_first_hidden_state():
    hidden = torch.randn(2, 3, 8).half()
    start = Residual()(hidden, None)
    assert start.dtype == torch.float32
    assert torch.equal(start, hidden.float())
    assert torch.equal(Residual()(hidden, start), start + hidden.float())


def test_codes_are_the_real_norm_to_half_a_code():
    x = torch.randn(4, 7, 192, generator=torch.Generator().manual_seed(0)) * 5
    norm = QuantizedRMSNorm(PUBLISHED["norm"], scalar(0.03), 1e-5)
    real = x.double() / torch.sqrt(x.double().square().mean(-1, keepdim=True) + 1e-5) / 0.03
    found = norm(x)
    assert ((found.values.double() - real.clamp(-128, 127)).abs() <= 0.5 + 1e-4).all()
    assert float(found.scale) == pytest.approx(0.03)


def test_the_codes_do_not_depend_on_the_batch_or_the_order_of_channels():
    x = torch.randn(50, 192, generator=torch.Generator().manual_seed(1)) * torch.logspace(-3, 3, 192)
    norm = QuantizedRMSNorm(PUBLISHED["norm"], scalar(0.01), 1e-5)
    whole = norm(x).values
    assert torch.equal(norm(x[7:8]).values, whole[7:8])
    order = torch.randperm(192, generator=torch.Generator().manual_seed(2))
    assert torch.equal(norm(x[:, order]).values, whole[:, order])


def test_cuda_and_triton_norms_differ_at_ties_only():
    assert PUBLISHED["norm"].rule == AWAY_SATURATE
    assert PUBLISHED["norm/triton"].rule == EVEN_SATURATE
    x = torch.tensor([[1.0, -1.0, 1.0, -1.0]])  # rms 1: every quotient is 1 / s
    away = QuantizedRMSNorm(PUBLISHED["norm"], scalar(0.4), 0.0)(x).values  # 2.5
    even = QuantizedRMSNorm(PUBLISHED["norm/triton"], scalar(0.4), 0.0)(x).values
    assert away.tolist() == [[3, -3, 3, -3]]
    assert even.tolist() == [[2, -2, 2, -2]]
