"""Train the shipped model: ``quamba-lab train-demo``.

The same seed gives the same stories, tokenizer, first weights and order of batches everywhere, and on the CPU the same
bits; a training that was interrupted goes on from its last checkpoint as if nothing had happened.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from ..float_model import MambaConfig, MambaLM
from .corpus import StoryBatches, save_texts
from .scan import use_training_scan
from .tokenizer import VOCABULARY, load_tokenizer, save_tokenizer, train_tokenizer

__all__ = ["DEMO_MODEL", "Training", "TrainingError", "save_model", "train_demo"]

DEMO_MODEL = MambaConfig(vocab_size=VOCABULARY, hidden_size=192, num_hidden_layers=8)


class TrainingError(ValueError):
    """A training that cannot start or go on: one sentence that names the value, what is allowed and the way out."""


@dataclass(frozen=True)
class Training:
    """The settings of a training run; a checkpoint only continues under the settings that it was written with."""

    steps: int = 24_000
    seed: int = 0
    rows: int = 64
    length: int = 256
    learning_rate: float = 3e-3
    warmup: int = 500
    weight_decay: float = 0.1
    clip: float = 1.0

    def __post_init__(self) -> None:
        for name in ("steps", "rows", "length"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise TrainingError(f"{name} is {value!r}: give a whole number of at least 1")
        if self.length < 224:
            raise TrainingError(f"length is {self.length}: a story needs up to 224 tokens, so give at least 224")

    def rate(self, step: int) -> float:
        """The learning rate at ``step``: linear warm-up, then a cosine down to a hundredth."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        share = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, share))))


def choose_device(name: str) -> torch.device:
    """``"auto"``: a CUDA device where there is one, else the CPU.  Raises :class:`TrainingError`."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise TrainingError(f"device {name!r} is unknown: choose auto, cpu or cuda") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise TrainingError(f"device {name!r} needs a GPU that torch {torch.__version__} can use: choose cpu or auto")
    return device


def weighted_loss(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """The mean cross-entropy (nats per token) under ``weights``; logits (b, l, v), the others (b, l)."""
    losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
    weights = weights.flatten()
    return (losses * weights).sum() / weights.sum()


def make_optimizer(model: MambaLM, training: Training) -> torch.optim.AdamW:
    """AdamW; only the matrices of the projections decay."""
    decayed = [p for name, p in model.named_parameters() if "proj.weight" in name]
    chosen = {id(p) for p in decayed}
    others = [p for p in model.parameters() if id(p) not in chosen]
    groups = [{"params": decayed, "weight_decay": training.weight_decay}, {"params": others, "weight_decay": 0.0}]
    fused = next(model.parameters()).is_cuda
    return torch.optim.AdamW(groups, lr=training.learning_rate, betas=(0.9, 0.95), fused=fused)


def save_checkpoint(
    path: Path, step: int, model: MambaLM, optimizer: torch.optim.Optimizer, training: Training, log: list[dict]
) -> None:
    """Everything that the next step depends on, in one safetensors file that appears whole or not at all."""
    tensors = {f"model.{name}": p.detach().cpu().clone() for name, p in model.named_parameters()}
    for name, p in model.named_parameters():
        for key, value in optimizer.state.get(p, {}).items():
            tensors[f"optimizer.{key}.{name}"] = value.detach().cpu().clone()
    partial = path.with_name(path.name + ".partial")
    metadata = {"step": str(step), "training": json.dumps(asdict(training)), "log": json.dumps(log)}
    save_file(tensors, partial, metadata=metadata)
    partial.replace(path)


def load_checkpoint(
    path: Path, model: MambaLM, optimizer: torch.optim.Optimizer, training: Training
) -> tuple[int, list[dict]]:
    """Restore what :func:`save_checkpoint` wrote; returns the next step and the log so far."""
    with safe_open(str(path), framework="pt") as file:
        metadata = file.metadata()
        written = json.loads(metadata["training"])
        if written != asdict(training):
            changed = next(key for key, value in asdict(training).items() if written.get(key) != value)
            raise TrainingError(
                f"{path} was written with {changed}={written.get(changed)!r}, not {getattr(training, changed)!r}: "
                "use the same settings, or start anew with resume=False"
            )
        names = set(file.keys())
        for name, p in model.named_parameters():
            with torch.no_grad():
                p.copy_(file.get_tensor(f"model.{name}"))
            for key in ("step", "exp_avg", "exp_avg_sq"):
                if f"optimizer.{key}.{name}" in names:
                    value = file.get_tensor(f"optimizer.{key}.{name}")
                    on_device = key != "step" or p.is_cuda
                    optimizer.state[p][key] = value.to(p.device) if on_device else value
    return int(metadata["step"]), json.loads(metadata["log"])


def save_model(model: MambaLM, tokenizer: Tokenizer, folder: Path) -> None:
    """Write ``config.json``, ``model.safetensors`` (FP16, without the tied lm_head) and ``tokenizer.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: w.detach().half().cpu().contiguous() for name, w in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        del weights["lm_head.weight"]
    partial = folder / "model.safetensors.partial"
    save_file(weights, partial, metadata={"format": "pt"})
    partial.replace(folder / "model.safetensors")
    partial = folder / "config.json.partial"
    partial.write_text(json.dumps(model.config.to_dict(), indent=2) + "\n", encoding="utf-8")
    partial.replace(folder / "config.json")
    save_tokenizer(tokenizer, folder / "tokenizer.json")


def _batches(batches: StoryBatches, start: int, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
    workers = min(14, (os.cpu_count() or 1) - 1)
    return iter(DataLoader(batches, batch_size=None, sampler=range(start, steps), num_workers=workers,
                           prefetch_factor=8 if workers else None, pin_memory=torch.cuda.is_available()))  # fmt: skip


def train_demo(
    output: Path | str,
    *,
    device: str = "auto",
    steps: int | None = None,
    seed: int | None = None,
    resume: bool = True,
    progress: bool = True,
    training: Training | None = None,
    config: MambaConfig = DEMO_MODEL,
    checkpoint_every: int = 500,
    time_limit: float | None = None,
) -> MambaLM:
    """Train the demo model and write ``output/model/``, the task, the calibration text and ``training.json``.

    ``training.json`` records the settings, the loss curve and the device.  ``output/checkpoint.safetensors`` is written
    every ``checkpoint_every`` steps, and when the training is interrupted; with ``resume`` a training goes on from
    there.  On a GPU the matrix products run in TF32.  ``time_limit``: seconds after which the schedule is cut short
    (the model as it then is gets written).  Raises :class:`TrainingError` for unusable settings.
    """
    training = training or Training()
    training = replace(training, steps=training.steps if steps is None else steps,
                       seed=training.seed if seed is None else seed)  # fmt: skip
    target = choose_device(device)
    output = Path(output)
    try:
        output.mkdir(parents=True, exist_ok=True)
        (output / ".writable").touch()
        (output / ".writable").unlink()
    except OSError as error:
        raise TrainingError(f"{output} cannot be written ({error.strerror}): choose another folder") from None
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

    checkpoint = output / "checkpoint.safetensors"
    resuming = resume and checkpoint.exists()
    tokenizer_file = output / "model" / "tokenizer.json"
    if resuming and tokenizer_file.exists():
        tokenizer = load_tokenizer(tokenizer_file)
    else:
        tokenizer = train_tokenizer(training.seed)
        tokenizer_file.parent.mkdir(exist_ok=True)
        save_tokenizer(tokenizer, tokenizer_file)
        save_texts(output, tokenizer, training.seed)
    model = use_training_scan(MambaLM(config).initialize(training.seed).to(target).train())
    optimizer = make_optimizer(model, training)
    start, log = load_checkpoint(checkpoint, model, optimizer, training) if resuming else (0, [])

    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    began, step = time.monotonic(), start
    spent_before = log[-1]["seconds"] if log else 0.0
    batches = _batches(StoryBatches(tokenizer, training.seed, training.rows, training.length), start, training.steps)
    sums = torch.zeros(2, device=target)  # the losses since the last line of the log, and their number
    with tqdm(total=training.steps, initial=start, desc="train-demo", unit="step", disable=not progress) as bar:
        try:
            for step in range(start, training.steps):
                tokens, weights = (x.to(target, non_blocking=True) for x in next(batches))
                for group in optimizer.param_groups:
                    group["lr"] = training.rate(step)
                loss = weighted_loss(model(tokens[:, :-1]), tokens[:, 1:], weights)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), training.clip)
                optimizer.step()
                bar.update(1)
                sums += torch.stack([loss.detach(), torch.ones_like(loss)])
                done = step + 1
                late = time_limit is not None and time.monotonic() - began > time_limit
                if done % checkpoint_every == 0 or done == training.steps or late:
                    mean = float(sums[0] / sums[1])
                    sums.zero_()
                    seconds = round(spent_before + time.monotonic() - began, 1)
                    log.append({"step": done, "loss": round(mean, 4), "seconds": seconds})
                    bar.set_postfix(loss=f"{mean:.3f}")
                    if not math.isfinite(mean):
                        raise TrainingError(f"the loss is {mean} at step {done}: lower learning_rate and start anew")
                    save_checkpoint(checkpoint, done, model, optimizer, training, log)
                if late:
                    break
        except KeyboardInterrupt:
            save_checkpoint(checkpoint, step, model, optimizer, training, log)
            raise
        finally:
            torch.set_float32_matmul_precision(precision)
    model.eval()
    save_model(model, tokenizer, output / "model")
    record = {"training": asdict(training), "parameters": sum(p.numel() for p in model.parameters()),
              "torch": torch.__version__, "device": _describe(target), "log": log}  # fmt: skip
    partial = output / "training.json.partial"
    partial.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    partial.replace(output / "training.json")
    return model


def _describe(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
