"""The training scan and its gradients against autograd through the plain loop."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quamba_lab.demo.scan import TrainingScan
from quamba_lab.float_model import SelectiveScan


def naive_scan(u, dt, A, B, C, D, z, dt_bias):
    """The recurrence as written, one step of one operation at a time."""
    dt = torch.nn.functional.softplus(dt + dt_bias[:, None])
    h = torch.zeros(*u.shape[:2], A.shape[1], dtype=u.dtype, device=u.device)
    y = []
    for t in range(u.shape[2]):
        h = torch.exp(dt[:, :, t, None] * A) * h + dt[:, :, t, None] * B[:, None, :, t] * u[:, :, t, None]
        y.append((h * C[:, None, :, t]).sum(-1) + D * u[:, :, t])
    return torch.stack(y, -1) * torch.nn.functional.silu(z), h


def operands(b, d, n, l, seed=0, device="cpu"):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    made = [
        draw(b, l, 2 * d)[..., :d].transpose(1, 2), draw(b, l, d).transpose(1, 2), -torch.exp(draw(d, n)),
        draw(b, l, n + 3)[..., 3:].transpose(1, 2), draw(b, n, l), draw(d), draw(b, d, l), draw(d) - 1,
    ]  # fmt: skip
    return [x.to(device).requires_grad_() for x in made]


def check_scan(scan, device, b, d, n, l, seed):
    ours = operands(b, d, n, l, seed, device)
    reference = [x.detach().double().requires_grad_() for x in ours]
    weight = torch.randn(b, d, l, generator=torch.Generator().manual_seed(seed + 1)).to(device)
    y, last = scan(*ours)
    expected, expected_last = naive_scan(*reference)
    torch.testing.assert_close(y.double(), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(last.double(), expected_last, rtol=1e-4, atol=1e-4)
    (y * weight).sum().backward()
    (expected * weight).sum().backward()
    for name, mine, theirs in zip(["u", "dt", "A", "B", "C", "D", "z", "dt_bias"], ours, reference, strict=True):
        scale = theirs.grad.abs().max().clamp(min=1e-3)
        error = (mine.grad.double() - theirs.grad).abs().max() / scale
        assert error < 1e-4, f"the gradient of {name} is off by {error:.1e} of its largest value"


@pytest.mark.parametrize("scan", [TrainingScan(), SelectiveScan()], ids=["training", "float_model"])
@settings(max_examples=15, deadline=None)
@given(b=st.integers(1, 3), d=st.integers(1, 9), n=st.integers(1, 16), l=st.integers(1, 20), seed=st.integers(0, 99))
def test_scan_and_gradients_equal_the_plain_loop(scan, b, d, n, l, seed):
    check_scan(scan, "cpu", b, d, n, l, seed)


@pytest.mark.gpu
@pytest.mark.parametrize(("b", "d", "n", "l"), [(2, 48, 16, 37), (1, 7, 5, 3), (3, 384, 16, 150), (1, 16, 16, 1)])
def test_triton_scan_and_gradients_equal_the_plain_loop(b, d, n, l):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    check_scan(TrainingScan(), "cuda", b, d, n, l, seed=3)


@pytest.mark.gpu
def test_triton_gradients_are_the_same_every_time():
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    runs = []
    for _ in range(2):
        inputs = operands(4, 64, 16, 50, device="cuda")
        TrainingScan()(*inputs)[0].square().sum().backward()
        runs.append([x.grad for x in inputs])
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


def test_chunks_of_the_float_scan_join_seamlessly(monkeypatch):
    from quamba_lab import float_model

    inputs = [x.detach() for x in operands(2, 8, 4, 33)]
    whole, last = SelectiveScan()(*inputs)
    monkeypatch.setattr(float_model, "CHUNK_ELEMENTS", 2 * 8 * 4 * 5)
    pieces, last_of_pieces = SelectiveScan()(*inputs)
    assert torch.equal(last, last_of_pieces)
    torch.testing.assert_close(whole, pieces, rtol=1e-6, atol=1e-6)
