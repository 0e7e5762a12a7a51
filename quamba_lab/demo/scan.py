"""The selective scan for training: one autograd function, in PyTorch on the CPU and in Triton on the GPU.

Same signature and meaning as :class:`quamba_lab.float_model.SelectiveScan`, which autograd could differentiate by
itself, at the price of several copies of every decay.  Here the forward pass keeps only the states, and the backward
pass walks once from the last step to the first:

    G_t = C_t ȳ_t + a_(t+1) G_(t+1)            the gradient of the loss by h_t, with ȳ_t that by y_t before the gate
    by a_t: G_t h_(t-1)      by B_t: Δ_t u_t G_t      by u_t: Δ_t (B_t · G_t) + D ȳ_t      by C_t: ȳ_t h_t
"""

from __future__ import annotations

import importlib.util

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..float_model import MambaLM

__all__ = ["TrainingScan", "forward_and_states", "gradients", "use_training_scan"]

Tensors = tuple[Tensor, ...]


def forward_and_states(
    u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor, dt_bias: Tensor
) -> tuple[Tensor, Tensor]:
    """y (b, d, l) and every state (l, b, d, n), in PyTorch.  Arguments as in ``float_model.SelectiveScan``."""
    step = F.softplus(dt + dt_bias[:, None]).permute(2, 0, 1)  # (l, b, d)
    B_t, C_t = B.permute(2, 0, 1), C.permute(2, 0, 1)  # (l, b, n)
    states = (step * u.permute(2, 0, 1))[..., None] * B_t[:, :, None, :]  # the drive, overwritten by the states
    for t in range(1, len(states)):
        states[t].addcmul_(torch.exp(step[t, ..., None] * A), states[t - 1])
    y = torch.einsum("lbdn,lbn->bdl", states, C_t) + D[:, None] * u
    return y * F.silu(z), states


def gradients(
    grad: Tensor, states: Tensor, u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor,
    dt_bias: Tensor,
) -> Tensors:  # fmt: skip
    """The gradients of u, dt, A, B, C, D, z, dt_bias, given that of y (b, d, l) and the states, in PyTorch."""
    raw = dt + dt_bias[:, None]
    step = F.softplus(raw)
    step_t, u_t, B_t, C_t = (x.permute(2, 0, 1) for x in (step, u, B, C))  # (l, b, d) or (l, b, n)
    sigmoid = torch.sigmoid(z)
    before_gate = torch.einsum("lbdn,lbn->bdl", states, C_t) + D[:, None] * u
    grad_z = grad * before_gate * sigmoid * (1 + z * (1 - sigmoid))
    grad_y = grad * z * sigmoid  # (b, d, l)
    y_t = grad_y.permute(2, 0, 1)

    by_state = y_t[..., None] * C_t[:, :, None, :]  # (l, b, d, n), overwritten by G
    by_log_decay = torch.zeros_like(by_state)  # gradient by (step · A)
    for t in reversed(range(len(states))):
        if t + 1 < len(states):
            by_state[t].addcmul_(torch.exp(step_t[t + 1, ..., None] * A), by_state[t + 1])
        if t > 0:
            by_log_decay[t] = by_state[t] * states[t - 1] * torch.exp(step_t[t, ..., None] * A)
    through_B = torch.einsum("lbdn,lbn->bdl", by_state, B_t)
    grad_step = through_B * u + torch.einsum("lbdn,dn->bdl", by_log_decay, A)
    grad_dt = grad_step * torch.sigmoid(raw)
    return (
        through_B * step + grad_y * D[:, None],
        grad_dt,
        torch.einsum("lbdn,lbd->dn", by_log_decay, step_t),
        torch.einsum("lbdn,lbd->bnl", by_state, step_t * u_t),
        torch.einsum("lbdn,lbd->bnl", states, y_t),
        (grad_y * u).sum((0, 2)),
        grad_z,
        grad_dt.sum((0, 2)),
    )


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx, *operands: Tensor) -> Tensors:
        if operands[0].is_cuda and importlib.util.find_spec("triton"):
            from . import scan_triton as implementation
        else:
            from . import scan as implementation
        y, states = implementation.forward_and_states(*operands)
        ctx.save_for_backward(states, *operands)
        ctx.gradients = implementation.gradients
        last = states[-1].clone()
        ctx.mark_non_differentiable(last)
        return y, last

    @staticmethod
    def backward(ctx, grad: Tensor, _: Tensor) -> Tensors:
        return ctx.gradients(grad, *ctx.saved_tensors)


class TrainingScan(nn.Module):
    """Drop-in for ``float_model.SelectiveScan``: returns y (b, d, l) and the last state (b, d, n), without gradient."""

    def forward(self, *operands: Tensor) -> Tensors:
        return _Scan.apply(*operands)


def use_training_scan(model: MambaLM) -> MambaLM:
    """Put a :class:`TrainingScan` into every layer of ``model``; returns the same model."""
    for layer in model.layers:
        layer.mixer.scan = TrainingScan()
    return model
