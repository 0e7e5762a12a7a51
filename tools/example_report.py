"""A finished report as the example of the docs: ``python -m tools.example_report reports docs/example-report``.

Only what a reader opens is taken over, drawn anew without times, so that the same results give the same bytes; long
tables' CSV lies beside the pages, each once.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from quamba_lab.manifest import Manifest
from quamba_lab.parameters import Settings
from quamba_lab.report import write_report

LARGEST_PAGE = 200_000
READ = ("*.html", "data/*.csv", "verdict.json")


def make_example(report: Path, target: Path) -> None:
    """Replace ``target`` by the example made of a finished report.  Raises ``ValueError`` for one that is not."""
    manifest = Manifest.read(report / "manifest.json")
    if not manifest.complete:
        raise ValueError(f"{report} did not finish: make it again with `make report`")
    manifest.started = manifest.finished = ""
    for run in manifest.runs.values():
        run.seconds = None
    values = {name: tuple(v) if isinstance(v, list) else v for name, v in manifest.settings.items()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("notebooks", "results"):
            shutil.copytree(report / part, folder / part)
        write_report(folder, manifest, Settings(**values), LARGEST_PAGE)
        shutil.rmtree(target, ignore_errors=True)
        for path in sorted(path for pattern in READ for path in folder.glob(pattern)):
            place = target / path.relative_to(folder)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)


def main() -> int:
    report, target = Path(sys.argv[1]), Path(sys.argv[2])
    if not (report / "manifest.json").is_file():
        sys.stderr.write(f"{report} holds no report: make report first\n")
        return 2
    make_example(report, target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
