"""The training scan in Triton: :mod:`quamba_lab.demo.scan`'s two functions for tensors on a GPU.

One program owns one batch row and a block of channels, holds their states in registers and walks through time.
Sums over time stay in the program; sums over channels (the gradients of B and C) and over the batch (those of A, D and
dt_bias) leave it as partial results that PyTorch adds up, so that no atomic makes a run differ from the next.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["forward_and_states", "gradients"]

CHANNELS = 16
"""Channels of one program: with 16 states, 8 registers of state per thread of a single warp."""


@triton.jit
def _softplus(x):
    return tl.where(x > 20.0, x, tl.log(1.0 + tl.exp(tl.minimum(x, 20.0))))


@triton.jit
def _forward(
    u, dt, A, B, C, D, z, bias, y, states, d_size, l_size,
    u_b, u_d, u_l, dt_b, dt_d, dt_l, B_b, B_n, B_l, C_b, C_n, C_l, z_b, z_d, z_l, y_b, y_l, s_b, s_l,
    N: tl.constexpr, N_PADDED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(0)
    d = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    n = tl.arange(0, N_PADDED)
    in_d, in_n = d < d_size, n < N
    both = in_d[:, None] & in_n[None, :]
    a_log = tl.load(A + d[:, None] * N + n[None, :], both, 0.0)
    skip = tl.load(D + d, in_d, 0.0)
    offset = tl.load(bias + d, in_d, 0.0)
    h = tl.zeros((BLOCK, N_PADDED), tl.float32)
    for t in range(l_size):
        x = tl.load(u + b * u_b + d * u_d + t * u_l, in_d, 0.0)
        step = _softplus(tl.load(dt + b * dt_b + d * dt_d + t * dt_l, in_d, 0.0) + offset)
        B_t = tl.load(B + b * B_b + n * B_n + t * B_l, in_n, 0.0)
        C_t = tl.load(C + b * C_b + n * C_n + t * C_l, in_n, 0.0)
        gate = tl.load(z + b * z_b + d * z_d + t * z_l, in_d, 0.0)
        h = tl.exp(step[:, None] * a_log) * h + (step * x)[:, None] * B_t[None, :]
        tl.store(states + t * s_l + b * s_b + d[:, None] * N + n[None, :], h, both)
        out = tl.sum(h * C_t[None, :], 1) + skip * x
        tl.store(y + b * y_b + t * y_l + d, out * gate * tl.sigmoid(gate), in_d)


@triton.jit
def _backward(
    grad, states, u, dt, A, B, C, D, z, bias, du, ddt, dz, dB, dC, dA, dD, d_size, l_size,
    g_b, g_d, g_l, u_b, u_d, u_l, dt_b, dt_d, dt_l, B_b, B_n, B_l, C_b, C_n, C_l, z_b, z_d, z_l, y_b, y_l, s_b, s_l,
    p_b, p_k, N: tl.constexpr, N_PADDED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(0)
    d = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    n = tl.arange(0, N_PADDED)
    in_d, in_n = d < d_size, n < N
    both = in_d[:, None] & in_n[None, :]
    a_log = tl.load(A + d[:, None] * N + n[None, :], both, 0.0)
    skip = tl.load(D + d, in_d, 0.0)
    offset = tl.load(bias + d, in_d, 0.0)
    row = states + b * s_b + d[:, None] * N + n[None, :]
    partial = b * p_b + tl.program_id(1) * p_k + n
    carry = tl.zeros((BLOCK, N_PADDED), tl.float32)  # a_(t+1) G_(t+1)
    sum_A = tl.zeros((BLOCK, N_PADDED), tl.float32)
    sum_D = tl.zeros((BLOCK,), tl.float32)
    h = tl.load(row + (l_size - 1) * s_l, both, 0.0)
    for back in range(l_size):
        t = l_size - 1 - back
        earlier = tl.load(row + (t - 1) * s_l, both & (t > 0), 0.0)
        x = tl.load(u + b * u_b + d * u_d + t * u_l, in_d, 0.0)
        raw = tl.load(dt + b * dt_b + d * dt_d + t * dt_l, in_d, 0.0) + offset
        B_t = tl.load(B + b * B_b + n * B_n + t * B_l, in_n, 0.0)
        C_t = tl.load(C + b * C_b + n * C_n + t * C_l, in_n, 0.0)
        gate = tl.load(z + b * z_b + d * z_d + t * z_l, in_d, 0.0)
        g = tl.load(grad + b * g_b + d * g_d + t * g_l, in_d, 0.0)
        step = _softplus(raw)
        sigmoid = tl.sigmoid(gate)
        before_gate = tl.sum(h * C_t[None, :], 1) + skip * x
        g_y = g * gate * sigmoid
        by_state = g_y[:, None] * C_t[None, :] + carry
        decay = tl.exp(step[:, None] * a_log)
        by_log_decay = by_state * earlier * decay
        through_B = tl.sum(by_state * B_t[None, :], 1)
        g_step = through_B * x + tl.sum(by_log_decay * a_log, 1)
        at = b * y_b + t * y_l + d
        tl.store(dz + at, g * before_gate * sigmoid * (1.0 + gate * (1.0 - sigmoid)), in_d)
        tl.store(du + at, through_B * step + g_y * skip, in_d)
        tl.store(ddt + at, g_step * tl.sigmoid(raw), in_d)
        tl.store(dB + partial + t * N, tl.sum(by_state * (step * x)[:, None], 0), in_n)
        tl.store(dC + partial + t * N, tl.sum(h * g_y[:, None], 0), in_n)
        sum_A += by_log_decay * step[:, None]
        sum_D += g_y * x
        carry = decay * by_state
        h = earlier
    tl.store(dA + (b * d_size + d[:, None]) * N + n[None, :], sum_A, both)
    tl.store(dD + b * d_size + d, sum_D, in_d)


def _sizes(u: Tensor, A: Tensor) -> tuple[tuple[int, int], dict[str, int]]:
    b, d = u.shape[:2]
    return (b, triton.cdiv(d, CHANNELS)), {
        "N": A.shape[1], "N_PADDED": triton.next_power_of_2(A.shape[1]), "BLOCK": CHANNELS, "num_warps": 1,
    }  # fmt: skip


def forward_and_states(
    u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor, dt_bias: Tensor
) -> tuple[Tensor, Tensor]:
    """As :func:`quamba_lab.demo.scan.forward_and_states`."""
    (b, d, l), n = u.shape, A.shape[1]
    A, D, dt_bias = A.contiguous(), D.contiguous(), dt_bias.contiguous()
    y = torch.empty(b, l, d, device=u.device)
    states = torch.empty(l, b, d, n, device=u.device)
    grid, sizes = _sizes(u, A)
    _forward[grid](
        u, dt, A, B, C, D, z, dt_bias, y, states, d, l,
        *u.stride(), *dt.stride(), *B.stride(), *C.stride(), *z.stride(), *y.stride()[:2],
        states.stride(1), states.stride(0), **sizes,
    )  # fmt: skip
    return y.transpose(1, 2), states


def gradients(
    grad: Tensor, states: Tensor, u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor,
    dt_bias: Tensor,
) -> tuple[Tensor, ...]:  # fmt: skip
    """As :func:`quamba_lab.demo.scan.gradients`."""
    (b, d, l), n = u.shape, A.shape[1]
    grid, sizes = _sizes(u, A)
    A, D, dt_bias = A.contiguous(), D.contiguous(), dt_bias.contiguous()
    du, ddt, dz = (torch.empty(b, l, d, device=u.device) for _ in range(3))
    dB, dC = (torch.empty(b, grid[1], l, n, device=u.device) for _ in range(2))
    dA = torch.empty(b, d, n, device=u.device)
    dD = torch.empty(b, d, device=u.device)
    _backward[grid](
        grad, states, u, dt, A, B, C, D, z, dt_bias, du, ddt, dz, dB, dC, dA, dD, d, l,
        *grad.stride(), *u.stride(), *dt.stride(), *B.stride(), *C.stride(), *z.stride(), *du.stride()[:2],
        states.stride(1), states.stride(0), *dB.stride()[:2], **sizes,
    )  # fmt: skip
    return (
        du.transpose(1, 2), ddt.transpose(1, 2), dA.sum(0), dB.sum(1).transpose(1, 2), dC.sum(1).transpose(1, 2),
        dD.sum(0), dz.transpose(1, 2), ddt.sum((0, 1)),
    )  # fmt: skip
