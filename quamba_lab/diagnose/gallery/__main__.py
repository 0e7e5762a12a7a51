"""``python -m quamba_lab.diagnose.gallery [--bases N] [--jobs J]``: the table planted against named, as Markdown.

``--bases 1`` (the default) plants every fault into one of the honest scans, in turn; ``--bases 5`` into all five.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor

import torch

from . import BASES, faults, honest, other_hands
from .rows import innocent, planted


def main() -> int:
    """Print the table; the exit status is the number of scans judged wrongly, at most 100."""
    parser = argparse.ArgumentParser(prog="python -m quamba_lab.diagnose.gallery", description=__doc__)
    parser.add_argument("--bases", type=int, default=1, choices=range(1, len(BASES) + 1), help="honest scans per fault")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default: 2)")
    options = parser.parse_args()
    bases = list(BASES)
    tasks = [(name, bases[(k + i) % len(bases)]) for k, name in enumerate(faults()) for i in range(options.bases)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.jobs, context, torch.set_num_threads, (1,)) as pool:
        guilty = list(pool.map(planted, tasks, chunksize=4))
        fair = list(pool.map(innocent, [*honest(), *other_hands()], chunksize=2))
    wrong, accused = (sum(not right for right, _ in rows) for rows in (guilty, fair))
    print("# Planted against named\n\nWritten by `python -m quamba_lab.diagnose.gallery --bases N`.\n")
    print(
        f"{len(guilty) - wrong} of {len(guilty)} planted faults named rightly; {accused} of {len(fair)} honest scans "
        "accused.\n"
    )
    print("| planted | into | operation planted | operation named | runner-up | confidence | reason |")
    print("|---|---|---|---|---|---|---|")
    print("\n".join(row for _, row in guilty))
    print("\n| honest scan | verdict | |")
    print("|---|---|---|")
    print("\n".join(row for _, row in fair))
    return min(wrong + accused, 100)


if __name__ == "__main__":
    sys.exit(main())
