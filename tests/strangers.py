"""A scan as somebody else would write it (numpy, one loop over time, FP32), with faults by keyword.

It shares no code with the package's scans, so that the diagnosis is tested on arithmetic it was not written beside.
"""

import numpy as np
import torch

from quamba_lab import ScanOutput

F = np.float32


def sigmoid(x):
    with np.errstate(over="ignore"):
        return F(1) / (F(1) + np.exp(-x))


def stranger(**bug):
    """A scan with the named departures from honesty; with none it is honest."""

    def get(name, otherwise=None):
        return bug.get(name, otherwise)

    def scan(x):
        with np.errstate(all="ignore"):
            return run(x)

    def run(x):
        def load(name):
            q = getattr(x, name)
            if q is None:
                return None
            codes, scale = q.values.cpu().numpy().astype(np.float32), F(float(q.scale))
            if get("load") == name:
                return get("how")(codes, scale, x).astype(np.float32)
            return codes * scale

        u, dt, B, C, z, D, bias = (load(n) for n in ("u", "dt", "B", "C", "z", "D", "dt_bias"))
        A = get("A", lambda a: -np.exp(a))(load("A_log")).astype(np.float32)
        raw = dt
        if bias is not None:
            dt = dt + bias[None, :, None]
        before = dt
        if x.softplus:
            dt = get("softplus", lambda v: np.logaddexp(v, F(0)))(dt).astype(np.float32)
        b, d, l = u.shape
        n = A.shape[1]
        group = get("group", lambda c, g: c // (d // g))
        index = [group(c, x.groups) % x.groups for c in range(d)]
        B, C = B[:, index], C[:, index]  # (b, d, n, l)
        h = np.zeros((b, d, n), dtype=np.float32)
        y = np.zeros((b, d, l), dtype=np.float32)
        chunk = get("chunk", 10**9)
        for t in range(l):
            step = dt[:, :, t, None]
            if t and t % chunk == 0:
                h = get("carry", lambda h, A, step: h)(h, A, step)
            a = np.exp(
                get("exponent", lambda s, A, raw: s * A)(
                    step, A, (before if get("raw") == "bias" else raw)[:, :, t, None]
                )
            )
            a = get("a", lambda a: a)(a).astype(np.float32)
            drive = get("drive", lambda s, B, C, u, raw, A: s * B * u)(
                step, B[..., t], C[..., t], u[:, :, t, None], before[:, :, t, None], A
            ).astype(np.float32)
            old = h
            h = get("update", lambda a, h, b: a * h + b)(a, h, drive).astype(np.float32)
            seen = old if get("late") else h
            total = get("contract", lambda h, C: (h * C).sum(-1, dtype=np.float32))(seen, C[..., t]).astype(np.float32)
            if D is not None:
                total = total + get("skip", lambda D, u, c: D * u)(D, u[:, :, t], total)
            if z is not None:
                total = get("gate", lambda v, z, s: v * z * sigmoid(z))(total, z[:, :, t], 0)
            y[:, :, t] = total
        y = get("finish", lambda y, x: y)(y, x)
        half = get("cast", lambda y: y.astype(np.float16))(y)
        if x.state_scale is not None:
            q = h / F(float(x.state_scale))
            h = get("quantize", lambda q: np.clip(np.trunc(q + np.copysign(F(0.5), q)), -128, 127))(q).astype(np.int8)
        return ScanOutput(torch.from_numpy(np.ascontiguousarray(half.transpose(0, 2, 1))), torch.from_numpy(h))

    return scan


def scaled(name):
    return lambda q, s, x: q * F(float(getattr(x, name).scale))


def f16(v):
    return v.astype(np.float16).astype(np.float32)


FAULTS = {
    # name: (operation, keywords)
    "u without scale": ("dequantize.u", {"load": "u", "how": lambda q, s, x: q}),
    "B with u's scale": ("dequantize.B", {"load": "B", "how": scaled("u")}),
    "C with dt's scale": ("dequantize.C", {"load": "C", "how": scaled("dt")}),
    "dt with the bias's scale": (
        "dequantize.dt",
        {"load": "dt", "how": lambda q, s, x: q * (s if x.dt_bias is None else F(float(x.dt_bias.scale)))},
    ),
    "z divided by its scale": ("dequantize.z", {"load": "z", "how": lambda q, s, x: q / s}),
    "D clipped at 126": ("dequantize.D", {"load": "D", "how": lambda q, s, x: np.clip(q, -128, 126) * s}),
    "u clipped at 100": ("dequantize.u", {"load": "u", "how": lambda q, s, x: np.clip(q, -100, 100) * s}),
    "sign of C lost": ("dequantize.C", {"load": "C", "how": lambda q, s, x: np.abs(q) * s}),
    "A_log of zero scale": ("dequantize.A", {"load": "A_log", "how": lambda q, s, x: q}),
    "A_log scale twice": ("dequantize.A", {"load": "A_log", "how": lambda q, s, x: q * s * s}),
    "A_log −128 lost": ("dequantize.A", {"load": "A_log", "how": lambda q, s, x: np.maximum(q, -127) * s}),
    "A = exp": ("dequantize.A", {"A": np.exp}),
    "A = −A_log": ("dequantize.A", {"A": lambda a: -a}),
    "A of base 2": ("dequantize.A", {"A": lambda a: -np.exp2(a)}),
    "B in 4 bits": ("dequantize.B", {"load": "B", "how": lambda q, s, x: np.round(q / 16) * 16 * s}),
    "scale of u in half": ("dequantize.u", {"load": "u", "how": lambda q, s, x: q * F(np.float16(s))}),
    "bias doubled": ("dequantize.dt_bias", {"load": "dt_bias", "how": lambda q, s, x: 2 * q * s}),
    "bias with dt's scale": ("dequantize.dt_bias", {"load": "dt_bias", "how": scaled("dt")}),
    "softplus threshold 5": (
        "softplus",
        {"softplus": lambda v: np.where(v > 5, v, np.log1p(np.exp(np.minimum(v, 20))))},
    ),
    "softplus abs": ("softplus", {"softplus": lambda v: np.log1p(np.exp(np.abs(v)))}),
    "softplus overflow": ("softplus", {"softplus": lambda v: np.log1p(np.exp(v))}),
    "softplus plus epsilon": ("softplus", {"softplus": lambda v: np.logaddexp(v, F(0)) + F(1e-4)}),
    "softplus at least 0.001": ("softplus", {"softplus": lambda v: np.maximum(np.logaddexp(v, F(0)), F(1e-3))}),
    "softplus at most 10": ("softplus", {"softplus": lambda v: np.minimum(np.logaddexp(v, F(0)), F(10))}),
    "decay with raw dt": ("decay", {"exponent": lambda s, A, raw: raw * A, "raw": "bias"}),
    "decay without the bias": (
        "decay",
        {"exponent": lambda s, A, raw: np.where(s == raw, s, np.logaddexp(raw, F(0))) * A},
    ),
    "decay at most 0.99": ("decay", {"a": lambda a: np.minimum(a, F(0.99))}),
    "decay exponent in [−5, 0]": ("decay", {"exponent": lambda s, A, raw: np.maximum(s * A, F(-5))}),
    "decay of 8 bits": ("decay", {"a": lambda a: np.round(a * 256) / 256}),
    "decay of half the step": ("decay", {"exponent": lambda s, A, raw: s * A / 2}),
    "decay by Padé": (
        "decay",
        {"a": lambda a: a, "exponent": lambda s, A, raw: np.log((1 + s * A / 2) / (1 - s * A / 2))},
    ),
    "drive by zero-order hold": ("drive", {"drive": lambda s, B, C, u, raw, A: (np.exp(s * A) - 1) / A * B * u}),
    "drive without dt": ("drive", {"drive": lambda s, B, C, u, raw, A: B * u}),
    "drive by C": ("drive", {"drive": lambda s, B, C, u, raw, A: s * C * u}),
    "drive negative": ("drive", {"drive": lambda s, B, C, u, raw, A: -s * B * u}),
    "drive doubled": ("drive", {"drive": lambda s, B, C, u, raw, A: 2 * s * B * u}),
    "drive in half": ("drive", {"drive": lambda s, B, C, u, raw, A: f16(s * B * u)}),
    "carry lost at 7": ("recurrence", {"chunk": 7, "carry": lambda h, A, s: 0 * h}),
    "carry lost at 1000": ("recurrence", {"chunk": 1000, "carry": lambda h, A, s: 0 * h}),
    "carry doubled at 33": ("recurrence", {"chunk": 33, "carry": lambda h, A, s: 2 * h}),
    "carry halved at 512": ("recurrence", {"chunk": 512, "carry": lambda h, A, s: h / 2}),
    "carry in half at 64": ("recurrence", {"chunk": 64, "carry": lambda h, A, s: f16(h)}),
    "carry decayed twice at 12": ("recurrence", {"chunk": 12, "carry": lambda h, A, s: h * np.exp(s * A)}),
    "state in half": ("recurrence", {"update": lambda a, h, b: f16(a * h + b)}),
    "state clamped to ±100": ("recurrence", {"update": lambda a, h, b: np.clip(a * h + b, -100, 100)}),
    "states but one": ("contraction", {"contract": lambda h, C: (h * C)[..., : max(1, C.shape[-1] - 1)].sum(-1)}),
    "even states only": ("contraction", {"contract": lambda h, C: (h * C)[..., ::2].sum(-1)}),
    "contraction in half": ("contraction", {"contract": lambda h, C: f16(f16(h * C).sum(-1))}),
    "contraction averaged": ("contraction", {"contract": lambda h, C: (h * C).mean(-1)}),
    "state of the token before": ("contraction", {"late": True}),
    "D twice": ("skip", {"skip": lambda D, u, c: 2 * D * u}),
    "D plus u": ("skip", {"skip": lambda D, u, c: D + u}),
    "D times Σ C·h": ("skip", {"skip": lambda D, u, c: D * c}),
    "D of the channel mirrored": ("skip", {"skip": lambda D, u, c: D[::-1] * u}),
    "gate squared": ("gate", {"gate": lambda v, z, s: v * z * sigmoid(z) ** 2}),
    "gate of −z": ("gate", {"gate": lambda v, z, s: v * z * sigmoid(-z)}),
    "gate with a hard sigmoid": ("gate", {"gate": lambda v, z, s: v * z * np.clip(z / 6 + 0.5, 0, 1)}),
    "gate of 1.702": ("gate", {"gate": lambda v, z, s: v * z * sigmoid(F(1.702) * z)}),
    "gate NaN": ("gate", {"gate": lambda v, z, s: v * z * (np.exp(z) / (1 + np.exp(z)))}),
    "cast through bfloat16": ("output_cast", {"cast": lambda y: torch.from_numpy(y).bfloat16().half().numpy()}),
    "cast clamps": ("output_cast", {"cast": lambda y: np.clip(y, -60000, 60000).astype(np.float16)}),
    "cast to 8 fraction bits": ("output_cast", {"cast": lambda y: (np.round(y * 256) / 256).astype(np.float16)}),
    "state floor": ("state_quantization", {"quantize": lambda q: np.clip(np.floor(q), -128, 127)}),
    "state to even": ("state_quantization", {"quantize": lambda q: np.clip(np.rint(q), -128, 127)}),
    "groups modulo": ("layout", {"group": lambda c, g: c % g}),
    "groups reversed": ("layout", {"group": lambda c, g: g - 1 - c // g}),
    "last token dropped when odd": (
        "layout",
        {"finish": lambda y, x: y * (np.arange(y.shape[2]) < y.shape[2] // 2 * 2)},
    ),
    "tail of 16 repeats": (
        "layout",
        {"finish": lambda y, x: y[..., np.minimum(np.arange(y.shape[2]), max(y.shape[2] // 16 * 16 - 1, 0))]},
    ),
    "batch reversed": ("layout", {"finish": lambda y, x: y[::-1]}),
    "second batch item zero": ("layout", {"finish": lambda y, x: y * (np.arange(y.shape[0]) != 1)[:, None, None]}),
    "batch mean": ("determinism", {"finish": lambda y, x: y + F(0.01) * (y.mean(0) - y)}),
    "noise": (
        "determinism",
        {"finish": lambda y, x: y + np.random.default_rng().normal(0, 1e-3, y.shape).astype(np.float32)},
    ),
}
