"""Count the values beyond the codes over the whole shipped task, and measure what the wrap after the Hadamard does.

    python benchmarks/count_wraps.py [--limit N] [--modes A B]

Writes benchmarks/results/wraps.json.  Step 4 measures the same over the items of its run; here it is all 5,000.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from quamba_lab.files import write_text
from quamba_lab.steps import Workbook
from quamba_lab.steps.overflow import wrapping
from quamba_lab.steps.result import plain
from quamba_lab.witness import process_settings

RESULT = Path(__file__).parent / "results" / "wraps.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=5000, help="items (default: the whole task)")
    parser.add_argument("--modes", nargs=2, default=["0", "2-1"], help="two modes (default: 0 2-1)")
    options = parser.parse_args()
    start = time.perf_counter()
    run = Workbook("demo", options.modes, "lambada_demo", options.limit)
    found = wrapping(run, *options.modes)
    record = {
        "settings": run.settings(), "sentence": found.sentence, "numbers": found.numbers,
        "sites": found.sites[found.sites["beyond"] > 0].to_dict("records"),
        "effects": found.effects.to_dict("records"), "most_hit_item": found.layers.to_dict("records"),
        "build": sorted(run.witness(options.modes[0]).ran())[0][1], "torch": process_settings()["torch"],
        "threads": process_settings()["threads"], "seconds": round(time.perf_counter() - start, 1),
    }  # fmt: skip
    write_text(RESULT, json.dumps(plain(record), indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
