"""Planted faults of the scan as a whole: layout, determinism, and scans that do not answer as they should."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from ...scans import ScanInputs, ScanOutput
from ...scans.variants import Arithmetic, Variant
from .plant import Fault, Scan, around, method

__all__ = ["determinism_faults", "layout_faults", "own_verdict_faults"]


def layout_faults() -> list[Fault]:
    def group(change: Callable) -> Callable[[Variant], Scan]:
        return method("per_channel", lambda a, f, v, x: change(v, x))

    def mapped(name: str, change: Callable) -> Callable[[Variant], Scan]:
        return around(
            lambda x: replace(x, **{name: getattr(x, name).map(change)}) if getattr(x, name) is not None else x
        )

    def tail(multiple: int, change: Callable) -> Callable[[Variant], Scan]:
        def output(o: ScanOutput, x: ScanInputs) -> ScanOutput:
            whole = x.length // multiple * multiple
            y = o.y.clone()
            if whole < x.length:
                y[:, whole:] = change(y, whole)
            return replace(o, y=y)

        return around(None, output)

    def previous(y: Tensor, whole: int) -> Tensor:
        return y[:, whole - 1 : whole] if whole else 0 * y[:, :1]

    def interleaved(v, x):
        return v.transpose(2, 3)[:, torch.arange(x.channels) % x.groups]

    def y(change: Callable) -> Callable[[Variant], Scan]:
        return around(None, lambda o, x: replace(o, y=change(o.y)))

    return [
        Fault(
            "groups exchanged",
            "layout",
            "",
            group(lambda v, x: v.transpose(2, 3).flip(1).repeat_interleave(x.channels // x.groups, 1)),
        ),
        Fault("groups interleaved", "layout", "c mod g", group(interleaved)),
        Fault(
            "first group for all",
            "layout",
            "",
            group(lambda v, x: v.transpose(2, 3)[:, :1].expand(-1, x.channels, -1, -1)),
        ),
        Fault("batch items exchanged", "layout", "", y(lambda v: v.flip(0))),
        Fault("B of the next batch item", "layout", "", mapped("B", lambda v: v.roll(1, 0))),
        Fault("channels exchanged", "layout", "", y(lambda v: v.roll(1, 2))),
        Fault("z of the next channel", "layout", "", mapped("z", lambda v: v.roll(1, 1))),
        Fault("bias of the next channel", "layout", "", mapped("dt_bias", lambda v: v.roll(1, 0))),
        Fault("odd and even channels exchanged", "layout", "", y(lambda v: torch.cat([v[..., 1::2], v[..., 0::2]], 2))),
        Fault("tail past a multiple of 4 is zero", "layout", "", tail(4, lambda v, whole: 0 * v[:, whole:])),
        Fault("tail past a multiple of 32 is zero", "layout", "", tail(32, lambda v, whole: 0 * v[:, whole:])),
        Fault("tail past a multiple of 8 repeats", "layout", "", tail(8, previous)),
        Fault("last token of an odd length doubled", "layout", "", tail(2, lambda v, whole: 2 * v[:, whole:])),
        Fault("time reversed", "layout", "", y(lambda v: v.flip(1))),
        Fault("u one token late", "layout", "", mapped("u", lambda v: v.roll(1, 2))),
    ]


def determinism_faults() -> list[Fault]:
    def counting(change: Callable) -> Callable[[Variant], Scan]:
        def scan(variant: Variant) -> Scan:
            arithmetic, calls, last = Arithmetic(variant), [0], [None]

            def call(x: ScanInputs) -> ScanOutput:
                output = arithmetic(x)
                calls[0] += 1
                y = change(output.y, calls[0], last[0])
                last[0] = output.y
                return replace(output, y=y)

            return call

        return scan

    generator = torch.Generator().manual_seed(7)
    return [
        Fault(
            "every second call a little larger",
            "determinism",
            "",
            counting(lambda y, n, last: y * (1 + 2.0**-9) if n % 2 else y),
        ),
        Fault("every seventh call wrong", "determinism", "", counting(lambda y, n, last: y + 1 if n % 7 == 0 else y)),
        Fault(
            "noise of one ulp",
            "determinism",
            "",
            counting(lambda y, n, last: y * (1 + 2.0**-10 * torch.randint(0, 2, y.shape, generator=generator)).half()),
        ),
        Fault(
            "the last call leaks",
            "determinism",
            "",
            counting(lambda y, n, last: y if last is None else y + 0.01 * last.flatten()[:1].nan_to_num(0, 0, 0)),
        ),
        Fault(
            "larger in a larger batch",
            "determinism",
            "",
            around(None, lambda o, x: replace(o, y=o.y * (1 + 2.0**-8 * (x.batch - 1)))),
        ),
        Fault(
            "mean of the batch leaks",
            "determinism",
            "",
            around(
                None, lambda o, x: replace(o, y=o.y + (0.01 * (o.y - o.y.float().mean(0).half())).nan_to_num(0, 0, 0))
            ),
        ),
    ]


def own_verdict_faults() -> list[Fault]:
    def raising(x: ScanInputs) -> ScanInputs:
        raise RuntimeError("no kernel image is available")

    def odd(x: ScanInputs) -> ScanInputs:
        if x.length % 4 == 3:
            raise RuntimeError(f"misaligned length {x.length}")
        return x

    def endless(x: ScanInputs) -> ScanInputs:
        while x.length > 4:
            time.sleep(0.001)
        return x

    def writing(x: ScanInputs) -> ScanInputs:
        x.u.values.clamp_(min=-127, max=100)
        return x

    return [
        Fault("raises always", None, "", around(raising), "error"),
        Fault("raises at some lengths", None, "", around(odd), "error"),
        Fault("hangs past four tokens", None, "", around(endless), "timeout"),
        Fault(
            "returns (b, d, l)",
            "layout",
            "",
            around(None, lambda o, x: replace(o, y=o.y.transpose(1, 2)[..., None])),
            "invalid output",
        ),
        Fault(
            "returns float32", "output_cast", "", around(None, lambda o, x: replace(o, y=o.y.float())), "invalid output"
        ),
        Fault("returns nothing", None, "", around(None, lambda o, x: None), "invalid output"),
        Fault("writes into u", None, "", around(writing), "mutates inputs"),
    ]
