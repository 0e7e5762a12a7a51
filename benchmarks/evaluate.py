"""How long an evaluation takes: all items of a task under the plan's modes, beside a floor and a peer in the same run.

    python benchmarks/evaluate.py [--modes 0 2-0 2-1 2-2] [--limit N] [--output benchmarks/results/evaluate.json]

Per mode: seconds of wall time and of CPU time over all threads, scores included, and items a second.

    floor   the INT8 matrix products of the same batches alone: what no W8A8 layer can do without
    peer    the float model of the same weights in transformers (its plain PyTorch path), on the first --peer-items
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from quamba_lab.bench import machine_record
from quamba_lab.demo import DEMO
from quamba_lab.model import QuantizedMamba, load_model
from quamba_lab.projections import Projection, integer_product
from quamba_lab.tasks import evaluate, load_task

GOAL_SECONDS = 300
"""For all 5,000 items under four modes on two cores."""


def timed(call: Callable[[], Any]) -> tuple[dict[str, float], Any]:
    """Seconds of wall and of CPU time, and what ``call`` returned."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = call()
    return {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}, result


def products_alone(model: QuantizedMamba) -> Callable[[torch.Tensor], torch.Tensor]:
    """A stand-in for the model that multiplies matrices of its shapes and nothing else."""
    weights = [module.weight for module in model.modules() if isinstance(module, Projection)]
    logits = torch.zeros(1, 1, model.config.vocab_size)

    def run(tokens: torch.Tensor) -> torch.Tensor:
        b, l = tokens.shape
        for weight in weights:
            integer_product(torch.ones(b * l, weight.shape[1], dtype=torch.int8), weight)
        return logits.expand(b, l, -1)

    return run


def peer(folder: Path) -> tuple[Callable[[torch.Tensor], torch.Tensor] | None, str]:
    """The float model in transformers, and its version or why there is none."""
    try:
        import transformers
        from transformers import MambaForCausalLM
    except ImportError as error:
        return None, f"needs transformers ({error})"
    model = MambaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return lambda tokens: model(tokens).logits, transformers.__version__


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--modes", nargs="+", default=["0", "2-0", "2-1", "2-2"])
    parser.add_argument("--limit", type=int, help="items (default: all)")
    parser.add_argument("--peer-items", type=int, default=100)
    parser.add_argument("--output", type=Path, help="a JSON file to write (default: none)")
    parser.add_argument("--note", default="", help="a remark on the conditions, kept in the file")
    options = parser.parse_args()
    base, task = load_model("demo", "0"), load_task("lambada_demo")
    items = task.check_limit(options.limit)

    def ask(model: Callable[[torch.Tensor], torch.Tensor], count: int) -> Callable[[], Any]:
        return lambda: evaluate(model, task, count, tokenizer=base.tokenizer, device="cpu", progress=False)

    modes = {}
    for mode in options.modes:
        view = base.with_mode(mode)
        ask(view, min(items, 8))()  # builds and loads the libraries
        times, found = timed(ask(view, items))
        ran = sorted(view.witness().ran())
        modes[mode] = times | {"items_per_second": items / times["seconds"], "accuracy": found.accuracy, "ran": ran}
    floor, _ = timed(ask(products_alone(base), items))
    float_model, version = peer(DEMO / "model")
    theirs = None
    if float_model is not None:
        count = min(items, options.peer_items)
        ask(float_model, min(count, 8))()
        theirs, _ = timed(ask(float_model, count))
        theirs["items_per_second"] = count / theirs["seconds"]
    result = {
        "machine": machine_record(torch.device("cpu")) | {"cores": os.cpu_count(), "note": options.note},
        "items": items, "modes": modes, "total_seconds": sum(row["seconds"] for row in modes.values()),
        "goal_seconds": GOAL_SECONDS * items / len(task) * len(modes) / 4,
        "floor": floor, "peer": {"transformers": version, "times": theirs},
    }  # fmt: skip
    if options.output:
        partial = options.output.with_suffix(".partial")
        partial.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        partial.replace(options.output)
    print(f"{items} items, {torch.get_num_threads()} threads")
    for name, row in modes.items():
        print(f"  mode {name:5} {row['seconds']:7.1f} s, CPU {row['cpu_seconds']:7.1f} s,"
              f" {row['items_per_second']:7.1f} items/s")  # fmt: skip
    print(f"  together   {result['total_seconds']:7.1f} s, goal {result['goal_seconds']:.0f} s")
    print(f"  floor      {floor['seconds']:7.1f} s a mode: its INT8 products alone")
    if theirs:
        print(f"  peer       {theirs['items_per_second']:7.1f} items/s: transformers {version}, float model")


if __name__ == "__main__":
    main()
