"""From an FP32 Mamba to the quantized one: fuse, rotate, calibrate, quantize.

    fuse        every RMSNorm's weight goes into the projection that follows it
    rotate      by Hadamard matrices, in FP64: embedding, in_proj's input, out_proj's output and lm_head's input turn
                the residual stream; out_proj's input undoes the transform that the layer applies to y.  The function is
                unchanged, and outliers are spread over all channels.
    calibrate   the fused and rotated FP32 model runs over calibration tokens while observers collect scales
    quantize    weights and the scan's parameters by absmax / 127, per tensor

Deterministic: same weights and tokens, same machine class, same codes.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from .demo import DEMO
from .float_model import MambaLM
from .float_weights import WEIGHT_FILES
from .hadamard import transform
from .model import QuantizedMamba
from .modes import Mode
from .quantized import Quantized

__all__ = [
    "Calibration",
    "MinMax",
    "Percentile",
    "PrepareError",
    "calibrate",
    "fuse_and_rotate",
    "prepare",
    "prepare_demo",
    "prepare_folder",
    "quantize",
    "text_batches",
]

DEMO_PERCENTILE = 0.9995
"""The published calibration's default."""


class PrepareError(ValueError):
    """A model or calibration data that cannot be prepared: one sentence with the way out."""


def rotate(weight: Tensor) -> Tensor:
    """Each row of ``weight`` (…, n) multiplied by H / sqrt(n), in FP64."""
    return transform(weight.double(), 1.0 / math.sqrt(weight.shape[-1]))


@torch.no_grad()
def fuse_and_rotate(model: MambaLM) -> MambaLM:
    """A copy of ``model`` that computes the same function with norms of weight 1 and a rotated residual stream.

    out_proj's input stays as it is: the layer's own Hadamard transform comes between, see :func:`quantize`.
    """
    if model.config.use_bias:
        raise PrepareError("use_bias is true: this layer has no biases in in_proj and out_proj; choose another")
    rotated = copy.deepcopy(model)
    embedding, norm_f = rotated.backbone.embeddings, rotated.backbone.norm_f
    head = nn.Linear(*reversed(embedding.weight.shape), bias=False, device=embedding.weight.device)
    head.weight = nn.Parameter(rotate(model.lm_head.weight.double() * norm_f.weight.double()).float())
    rotated.lm_head = head
    embedding.weight = nn.Parameter(rotate(embedding.weight).float())
    norm_f.weight.fill_(1.0)
    for block in rotated.layers:
        mixer = block.mixer
        mixer.in_proj.weight = nn.Parameter(rotate(mixer.in_proj.weight.double() * block.norm.weight.double()).float())
        mixer.out_proj.weight = nn.Parameter(rotate(mixer.out_proj.weight.t()).t().float().contiguous())
        block.norm.weight.fill_(1.0)
    return rotated.requires_grad_(False).eval()


class MinMax:
    """The largest magnitude ever seen, over 127; at least 10^-5 / 127."""

    def __init__(self) -> None:
        self.limit: Tensor | None = None

    def update(self, x: Tensor) -> None:
        """x (b, ...): one sample per item."""
        largest = x.abs().amax().float().clamp(min=1e-5)
        self.limit = largest if self.limit is None else torch.maximum(self.limit, largest)

    def scale(self) -> Tensor:
        """float32 scalar."""
        if self.limit is None:
            raise PrepareError("no calibration sample was seen: pass at least one batch of tokens")
        return (self.limit / 127.0).clamp(min=1e-6).reshape(())


class Percentile(MinMax):
    """A quantile of the magnitudes, followed by an exponential moving average over samples: the first starts it, each
    later one moves it by ``momentum`` of the difference."""

    def __init__(self, quantile: float, momentum: float = 0.01):
        super().__init__()
        if not 0.0 < quantile <= 1.0:
            raise PrepareError(f"quantile={quantile}: choose one above 0 and at most 1, such as 0.9995")
        self.quantile = quantile
        self.momentum = momentum

    def update(self, x: Tensor) -> None:
        for sample in x.float():
            limit = quantile(sample.abs().flatten(), self.quantile)
            self.limit = limit if self.limit is None else self.limit + self.momentum * (limit - self.limit)


def quantile(x: Tensor, q: float) -> Tensor:
    """torch.quantile's linear interpolation, for x (n,) of any length and in a time that suits a q near 1."""
    position = q * (x.numel() - 1)
    lower = math.floor(position)
    top = x.topk(x.numel() - lower).values  # descending: the last is the value at ``lower``
    return torch.lerp(top[-1], top[max(len(top) - 2, 0)], position - lower)


Calibration = dict[str, Tensor]
"""Activation scales, float32 scalars: ``layers.0.in_proj:input`` and so on, and ``logits:input``."""

PERCENTILE_OBSERVED = ("x_proj:input", "state")
"""What the published calibration observes by a percentile; everything else by min-max."""


@torch.no_grad()
def calibrate(
    rotated: MambaLM, batches: Iterable[Tensor], *, percentile: float = 0.9995, progress: bool = True
) -> Calibration:
    """Run ``rotated`` (from :func:`fuse_and_rotate`) over token batches (b, l) and return the activation scales.

    Raises :class:`PrepareError` when there is no batch or a value is not finite.
    """
    observers: dict[str, MinMax] = {}

    def see(name: str, x: Tensor) -> None:
        if not torch.isfinite(x).all():
            raise PrepareError(f"{name} is not finite during calibration: the model's weights overflow FP32")
        if name not in observers:
            kind = name.split(".")[-1]
            observers[name] = Percentile(percentile) if kind in PERCENTILE_OBSERVED else MinMax()
        observers[name].update(x)

    def watch(module: nn.Module, prefix: str, spread_input: bool = False) -> Any:
        def hook(_: nn.Module, args: tuple, output: Any) -> None:
            if prefix.endswith("scan"):
                see(prefix.removesuffix("scan") + "state", output[1])
                return
            x = args[0]
            see(f"{prefix}:input", transform(x, 1.0 / math.sqrt(x.shape[-1])) if spread_input else x)
            see(f"{prefix}:output", output)

        return module.register_forward_hook(hook)

    handles = [watch(rotated.lm_head, "logits")]
    for index, block in enumerate(rotated.layers):
        for name in ("in_proj", "x_proj", "dt_proj", "scan", "out_proj"):
            handles.append(watch(getattr(block.mixer, name), f"layers.{index}.{name}", name == "out_proj"))
    device = next(rotated.parameters()).device
    try:
        for batch in tqdm(batches, desc="calibrate", unit="batch", disable=not progress, leave=False):
            rotated(batch.to(device))
    finally:
        for handle in handles:
            handle.remove()
    if not observers:
        raise PrepareError("no calibration sample was seen: pass at least one batch of tokens")
    return {name: observer.scale() for name, observer in observers.items()}


@torch.no_grad()
def quantize(rotated: MambaLM, scales: Calibration) -> dict[str, Tensor]:
    """The quantized model's state: codes and scales by the names of :func:`quamba_lab.model.model_shapes`."""
    state: dict[str, Tensor] = {"embedding.weight": rotated.backbone.embeddings.weight.half()}

    def put(name: str, weight: Tensor, key: str = "weight") -> None:
        q = Quantized.from_float(weight.float().contiguous())
        state[f"{name}.{key}"] = q.values
        state[f"{name}.{key}_scale"] = q.scale.reshape(())

    for index, block in enumerate(rotated.layers):
        mixer, at = block.mixer, f"layers.{index}"

        def scale(name: str, at: str = at) -> Tensor:
            return scales[f"{at}.{name}"]

        put(f"{at}.in_proj", mixer.in_proj.weight)
        put(f"{at}.conv1d", mixer.conv1d.weight[:, 0])
        if mixer.conv1d.bias is not None:
            put(f"{at}.conv1d", mixer.conv1d.bias, "bias")
        put(f"{at}.x_proj", mixer.x_proj.weight)
        put(f"{at}.dt_proj", mixer.dt_proj.weight)
        put(f"{at}.scan", mixer.A_log, "A_log")
        put(f"{at}.scan", mixer.D, "D")
        put(f"{at}.scan", mixer.dt_proj.bias, "dt_bias")
        put(f"{at}.out_proj", rotate(mixer.out_proj.weight))
        state |= {
            f"{at}.norm.scale": scale("in_proj:input"),
            f"{at}.in_proj.input_scale": scale("in_proj:input"),
            f"{at}.in_proj.output_scale": scale("in_proj:output"),
            f"{at}.conv1d.output_scale": scale("x_proj:input"),
            f"{at}.x_proj.input_scale": scale("x_proj:input"),
            f"{at}.x_proj.output_scale": scale("x_proj:output"),
            f"{at}.dt_proj.input_scale": scale("x_proj:output"),
            f"{at}.dt_proj.output_scale": scale("dt_proj:output"),
            f"{at}.scan.u_scale": scale("x_proj:input"),
            f"{at}.scan.state_scale": scale("state"),
            f"{at}.hadamard.scale": scale("out_proj:input"),
            f"{at}.out_proj.input_scale": scale("out_proj:input"),
        }
    put("logits", rotated.lm_head.weight)
    state |= {"norm_f.scale": scales["logits:input"], "logits.input_scale": scales["logits:input"]}
    return {name: tensor.detach().clone() for name, tensor in state.items()}


def prepare(
    float_model: MambaLM,
    batches: Iterable[Tensor],
    *,
    percentile: float = 0.9995,
    mode: str | Mode | None = None,
    tokenizer: Any = None,
    progress: bool = True,
) -> QuantizedMamba:
    """Fuse, rotate, calibrate on token ``batches`` (each (b, l) int64) and quantize ``float_model`` to W8A8."""
    rotated = fuse_and_rotate(float_model)
    scales = calibrate(rotated, batches, percentile=percentile, progress=progress)
    return QuantizedMamba(float_model.config, quantize(rotated, scales), mode, tokenizer=tokenizer)


def text_batches(lines: Iterable[str], tokenizer: Any, limit: int = 512, batch_tokens: int = 2048) -> list[Tensor]:
    """Lines of text -> token batches (b, l) of equal length, nothing padded; lines are cut at ``limit`` tokens.

    Batches are ordered by their first line and lines within a batch keep their order.
    """
    by_length: dict[int, list[list[int]]] = {}
    for line in lines:
        tokens = tokenizer.encode(line).ids[:limit]
        if tokens:
            by_length.setdefault(len(tokens), []).append(tokens)
    batches = []
    for length, rows in by_length.items():
        size = max(1, batch_tokens // length)
        batches += [torch.tensor(rows[start : start + size]) for start in range(0, len(rows), size)]
    return batches


def prepare_folder(
    source: Path | str,
    target: Path | str,
    calibration: Path | str,
    *,
    tokenizer: Path | str | None = None,
    percentile: float = 0.9995,
    keep_tokenizer: bool = True,
    progress: bool = True,
) -> QuantizedMamba:
    """Quantize the float model in folder ``source`` with the text file ``calibration`` (a sample a line) and write it.

    ``tokenizer``: the folder of ``tokenizer.json``, ``source`` by default.  Raises a ``ValueError`` for a folder, file
    or text that cannot be used.
    """
    from .checkpoint import load_tokenizer, save_model

    source, calibration = Path(source), Path(calibration)
    float_model = MambaLM.from_folder(source)
    found = load_tokenizer(Path(tokenizer or source))
    if found is None:
        raise PrepareError(f"{tokenizer or source} has no tokenizer.json: calibration text needs one, name its folder")
    if not calibration.is_file():
        raise PrepareError(f"{calibration} is not a file: give a text file with one calibration sample a line")
    lines = calibration.read_text(encoding="utf-8").splitlines()
    batches = text_batches(lines, found)
    weights = next(path for name in WEIGHT_FILES if (path := source / name).exists())
    origin = {
        "source_sha256": sha256(weights.read_bytes()).hexdigest(),
        "calibration_sha256": sha256(calibration.read_bytes()).hexdigest(),
        "percentile": percentile,
    }
    model = prepare(float_model, batches, percentile=percentile, tokenizer=found, mode="0", progress=progress)
    if not keep_tokenizer:
        model.tokenizer = None
    save_model(model, target, origin)
    model.tokenizer = found
    return model


def prepare_demo(progress: bool = True) -> QuantizedMamba:
    """Write ``data/demo/quantized`` anew from ``data/demo/model`` and the shipped calibration text."""
    return prepare_folder(
        DEMO / "model", DEMO / "quantized", DEMO / "calibration.txt",
        percentile=DEMO_PERCENTILE, keep_tokenizer=False, progress=progress,
    )  # fmt: skip
