"""Record what this GPU's scans produce on the shipped model: ``python benchmarks/record_gpu.py [--output FOLDER]``.

Takes one short and one long item of the task (two different summation trees of the published scan) and five layers.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from quamba_lab import load_model, scans
from quamba_lab.recorded import FOLDER, SCANS, record
from quamba_lab.tasks import load_task

SHORT, LONG = range(45, 56), range(129, 136)
"""Lengths in tokens: below 128 and above it, where the published scan changes its tree."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=FOLDER)
    arguments = parser.parse_args()
    model = load_model("demo", "0", device="cuda")
    items = []
    wanted = [SHORT, LONG]
    for number, item in enumerate(load_task("lambada_demo").items):
        tokens = torch.tensor([model.tokenizer.encode(item.context + item.target).ids])
        if wanted and tokens.shape[1] in wanted[0]:
            items.append((number, tokens))
            wanted.pop(0)
    names = [name for name in SCANS if name in scans.names()]
    print(record(model, items, arguments.output, names=names))


if __name__ == "__main__":
    main()
