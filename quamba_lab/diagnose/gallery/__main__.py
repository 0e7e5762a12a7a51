"""``python -m quamba_lab.diagnose.gallery [--bases N]``: the table planted against named, as Markdown on stdout.

``--bases 1`` (the default) plants every fault into one of the honest scans, in turn; ``--bases 5`` into all five.
"""

from __future__ import annotations

import argparse
import sys

from ...scans.variants import Arithmetic
from ..engine import diagnose
from . import BASES, faults, honest, other_hands


def main() -> int:
    """Print the table; the exit status is the number of faults named wrongly, at most 100."""
    parser = argparse.ArgumentParser(prog="python -m quamba_lab.diagnose.gallery", description=__doc__)
    parser.add_argument("--bases", type=int, default=1, choices=range(1, len(BASES) + 1), help="honest scans per fault")
    bases, count = list(BASES.items()), parser.parse_args().bases
    lines, wrong, total = [], 0, 0
    for k, fault in enumerate(faults().values()):
        for name, variant in (bases[(k + i) % len(bases)] for i in range(count)):
            limit = 2.0 if fault.verdict == "timeout" else 60.0
            found = diagnose(fault.scan(variant), time_limit=limit)
            right = (found.verdict, found.operation) == (fault.verdict, fault.operation)
            planted, named = fault.operation or fault.verdict, found.operation or found.verdict
            runner_up = found.runner_up or ""
            lines.append(
                f"| {fault.name} | {name} | {planted} | {named}{'' if right else ' **(wrong)**'} | {runner_up} "
                f"| {found.confidence:.2f} | {found.evidence[0]} |"
            )
            wrong, total = wrong + (not right), total + 1
    fair = {name: Arithmetic(variant) for name, variant in honest().items()} | other_hands()
    innocent = [(name, diagnose(scan)) for name, scan in fair.items()]
    accused = sum(found.verdict not in ("rounding", "identical") for _, found in innocent)
    print(
        f"{total - wrong} of {total} planted faults named rightly; {accused} of {len(innocent)} honest scans accused.\n"
    )
    print("| planted | into | operation planted | operation named | runner-up | confidence | reason |")
    print("|---|---|---|---|---|---|---|")
    print("\n".join(lines))
    print("\n| honest scan | verdict | |")
    print("|---|---|---|")
    print("\n".join(f"| {name} | {found.verdict} | {found.evidence[0]} |" for name, found in innocent))
    return min(wrong + accused, 100)


if __name__ == "__main__":
    sys.exit(main())
