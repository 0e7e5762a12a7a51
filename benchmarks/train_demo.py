"""Train the shipped model, measure how well it answers the shipped task, and record both.

    python benchmarks/train_demo.py --output build/demo --seconds 420

The number of steps is chosen from the speed of the first ones, so that the training takes about ``--seconds``.
"""

from __future__ import annotations

import argparse
import datetime
import json
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch

from quamba_lab.demo.corpus import save_texts
from quamba_lab.demo.scan import use_training_scan
from quamba_lab.demo.tokenizer import load_tokenizer
from quamba_lab.demo.train import Training, choose_device, train_demo
from quamba_lab.float_model import MambaLM
from quamba_lab.tasks import Evaluation, Item, Task, evaluate, load_task

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def steps_for(seconds: float, device: str, settings: dict, scratch: Path) -> int:
    """How many steps fit into ``seconds``, by a short training of its own."""
    trial = Training(steps=140, **settings)
    train_demo(scratch, device=device, training=trial, checkpoint_every=40, progress=False, resume=False)
    log = json.loads((scratch / "training.json").read_text())["log"]
    per_step = (log[2]["seconds"] - log[0]["seconds"]) / (log[2]["step"] - log[0]["step"])
    return max(200, int(seconds / per_step / 100) * 100)


def summary(result: Evaluation) -> dict:
    return {
        "items": len(result),
        "accuracy": round(result.accuracy, 4),
        "perplexity": round(result.perplexity, 4),
        "margin_quantiles": {str(q): round(float(np.quantile(result.margin, q)), 3) for q in QUANTILES},
        "share_of_margins_within_0.5": round(float((np.abs(result.margin) < 0.5).mean()), 4),
    }


def measure(folder: Path, device: torch.device) -> dict:
    """Accuracy on the whole task, by kind and difficulty, and with nothing but the last sentence."""
    model = use_training_scan(MambaLM.from_folder(folder / "model", device))
    tokenizer = load_tokenizer(folder / "model" / "tokenizer.json")
    task = load_task(folder / "task.jsonl")
    records = [json.loads(line) for line in (folder / "task.jsonl").read_text(encoding="utf-8").splitlines()]
    result = evaluate(model, task, tokenizer=tokenizer, progress=False, batch_tokens=1 << 15)
    cells = defaultdict(list)
    for record, correct in zip(records, result.correct, strict=True):
        cells[record["kind"], record["difficulty"]].append(bool(correct))
    last = Task("last sentence", tuple(Item(i.context.rpartition(". ")[2], i.target) for i in task.items))
    ablated = evaluate(model, last, tokenizer=tokenizer, progress=False, batch_tokens=1 << 15)
    return {
        "task": summary(result),
        "last_sentence_only": summary(ablated),
        "cells": {f"{k} {d}": [round(float(np.mean(c)), 3), len(c)] for (k, d), c in sorted(cells.items())},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=420.0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    device = choose_device(arguments.device)
    settings = {"seed": arguments.seed}
    steps = steps_for(arguments.seconds, arguments.device, settings, arguments.output / "trial")
    print(f"{steps} steps", flush=True)
    began = time.monotonic()
    model = train_demo(arguments.output, device=arguments.device, training=Training(steps=steps, **settings),
                       resume=False, progress=False, time_limit=arguments.seconds + 45)  # fmt: skip
    seconds = time.monotonic() - began
    tokenizer = load_tokenizer(arguments.output / "model" / "tokenizer.json")
    save_texts(arguments.output, tokenizer, arguments.seed)
    record = json.loads((arguments.output / "training.json").read_text())
    record |= {
        "seconds": round(seconds, 1), "date": datetime.date.today().isoformat(), "cuda": torch.version.cuda,
        "parameters": sum(p.numel() for p in model.parameters()), **measure(arguments.output, device),
    }
    (arguments.output / "train_demo.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(json.dumps({k: v for k, v in record.items() if k not in ("cells", "log")}))
    for entry in record["log"][:: max(1, len(record["log"]) // 20)]:
        print(entry)
    for cell, (accuracy, count) in record["cells"].items():
        print(f"{cell:28s} {accuracy:.3f} of {count}")


if __name__ == "__main__":
    main()
