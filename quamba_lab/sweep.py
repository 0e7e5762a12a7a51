"""Run every notebook of the workbook for one choice of settings, side by side, and make the report.

One process per notebook; what the modes answer is computed once and shared by way of the workbook's cache on disk.
What became of each notebook is kept in a manifest; an interrupt or a failure still leaves a report, which says so.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tqdm import tqdm

from .manifest import Manifest, Run, versions
from .parameters import Settings
from .texts import LANGUAGES, language, say
from .translate import translated

__all__ = ["NOTEBOOKS", "Outcome", "SweepError", "notebooks", "reproduction", "sweep"]

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
LAST = "0_summary"
"""The summary needs what every step needs, so it runs when they have computed it."""
GRACE = 10.0
"""Seconds between asking a notebook to stop and ending it."""


class SweepError(ValueError):
    """The workbook cannot be run or its report not be written: one sentence with the way out."""


@dataclass(frozen=True)
class Outcome:
    """What a sweep came to: exit code 0 fine, 1 a finding (a fault, or an established difference), 3 a
    notebook did not finish."""

    folder: Path
    manifest: Manifest
    verdict: dict[str, Any]

    @property
    def exit_code(self) -> int:
        if not self.manifest.complete:
            return 3
        steps = self.verdict["steps"].values()
        return int(any(step["status"] in ("fault", "established") for step in steps))

    def lines(self) -> Iterator[str]:
        """The outcome in lines for a terminal."""
        for name, step in self.verdict["steps"].items():
            yield f"{name}: {step['status']}. {step['verdict']}"
        for run in self.manifest.unfinished():
            yield f"{run.name}: {run.status}. {run.reason}"
        yield f"{self.folder / 'index.html'}"


def notebooks(folder: Path = NOTEBOOKS) -> dict[str, Path]:
    """The workbook's notebooks by name, in order.  Raises :class:`SweepError` where there are none."""
    found = {path.stem: path for path in sorted(folder.glob("[0-9]_*.ipynb"))}
    if not found:
        raise SweepError(f"{folder} holds no notebooks: run from a checkout, installed with pip install -e .")
    return found


def sweep(
    settings: Settings,
    output: Path,
    *,
    jobs: int | None = None,
    timeout: float = 900.0,
    folder: Path = NOTEBOOKS,
    command: str | None = None,
) -> Outcome:
    """Run the notebooks of ``folder`` and write the report to ``output``, which is replaced as a whole.

    ``jobs``: notebooks at a time, by default one per core; ``timeout``: seconds for each.
    Raises :class:`SweepError` before anything runs when the report could not be written.
    """
    output = Path(output).absolute()
    if jobs is not None and jobs < 1:
        raise SweepError(f"jobs is {jobs}: choose at least 1")
    if not timeout > 0:
        raise SweepError(f"timeout is {timeout}: choose a number of seconds above 0")
    found = notebooks(folder)
    partial = _workplace(output)
    manifest = Manifest(
        command or reproduction(settings), settings.public(), {name: Run(name) for name in found},
        started=_now(), versions=versions(),
    )  # fmt: skip
    with language(settings.lang):
        verdict = _run_and_report(settings, manifest, found, partial, output, jobs or _cores(), timeout)
    return Outcome(output, manifest, verdict)


def _run_and_report(
    settings: Settings, manifest: Manifest, found: dict[str, Path], partial: Path, output: Path, jobs: int,
    timeout: float,
) -> dict[str, Any]:
    """Run the notebooks, write the report into ``partial`` and put it in its place; returns the verdict."""
    from .report import write_report

    try:
        _Runner(settings, manifest, partial, jobs, timeout).run(found)
        manifest.finished = _now()
        manifest.write(partial / "manifest.json")
        verdict = write_report(partial, manifest, settings)
        _replace(partial, output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return verdict


def reproduction(settings: Settings) -> str:
    """The command that makes this report again, with everything that a verdict depends on, from any folder."""
    words = [f"{flag}={value}" for flag, value in settings.flags.items()]
    words += ["quamba-lab", "report", "--model", _place(settings.model), "--task", _place(settings.task), "--modes"]
    words += [*settings.modes, "--mode_a", settings.mode_a, "--mode_b", settings.mode_b]
    for name in ("limit", "seed", "device", "lang"):
        words += [f"--{name}", str(getattr(settings, name))]
    return shlex.join(words)


def _place(name: str) -> str:
    """A folder or a file by its whole path; a name such as ``demo`` as it is."""
    return str(Path(name).resolve()) if os.sep in name or Path(name).suffix == ".jsonl" else name


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _workplace(output: Path) -> Path:
    """A new folder beside ``output``.  Refuses a place that cannot be written, or that holds something else.

    The report is made there and renamed at the end, so that there is never half a report.
    """
    try:
        if output.is_dir() and any(output.iterdir()) and not (output / "manifest.json").is_file():
            raise SweepError(f"{output} holds files that are no report: name an empty or a new folder")
        if output.is_file():
            raise SweepError(f"{output} is a file: name a folder for the report")
        output.parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    except OSError as error:
        raise SweepError(
            f"{output} cannot be written ({error.strerror}): name another folder with --output, or change permissions"
        ) from None


def _replace(partial: Path, output: Path) -> None:
    os.chmod(partial, 0o755)
    if output.exists():
        old = partial.with_name(partial.name + ".old")
        os.replace(output, old)
        os.replace(partial, output)
        shutil.rmtree(old)
    else:
        os.replace(partial, output)


class _Runner:
    """The processes of one sweep."""

    def __init__(self, settings: Settings, manifest: Manifest, folder: Path, jobs: int, timeout: float):
        self.settings, self.manifest, self.folder = settings, manifest, folder
        self.jobs, self.timeout = jobs, timeout
        self.results = folder / "results"
        self.executed = folder / "notebooks"
        self.logs = folder / "logs"
        for place in (self.results, self.executed, self.logs):
            place.mkdir()
        # Sockets live here: their paths must stay short, so not below the report's folder.
        self.scratch = Path(tempfile.mkdtemp(prefix="quamba-"))
        self.running: dict[str, tuple[subprocess.Popen, float]] = {}

    def run(self, found: dict[str, Path]) -> None:
        """Run every notebook, the summary last; on an interrupt stop what runs and mark the rest."""
        # Progress is for a person who watches; a log would fill with it.
        bar = tqdm(total=len(found), unit="notebook", disable=None, mininterval=0.5, desc="Workbook")
        try:
            self._run_all({name: path for name, path in found.items() if name != LAST}, bar)
            self._run_all({name: path for name, path in found.items() if name == LAST}, bar)
        except KeyboardInterrupt:
            for name in list(self.running):
                self._stop(name, "interrupted", say("Somebody stopped the run."))
            for run in self.manifest.runs.values():
                if run.status in ("not started", "running"):
                    run.status, run.reason = "interrupted", say("Somebody stopped the run before this notebook began.")
        finally:
            bar.close()
            for name in list(self.running):
                self._stop(name, "killed", say("The run ended."))
            shutil.rmtree(self.scratch, ignore_errors=True)

    def _environment(self) -> dict[str, str]:
        # One thread each: the cores are shared by the notebooks, and a sum over threads would not be reproducible.
        return os.environ | {
            "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
            "JUPYTER_RUNTIME_DIR": str(self.scratch), "MPLBACKEND": "agg", "PYTHONHASHSEED": "0",
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        }  # fmt: skip

    def _run_all(self, found: dict[str, Path], bar: tqdm) -> None:
        waiting = list(found.items())
        while waiting or self.running:
            while waiting and len(self.running) < self.jobs:
                self._start(*waiting.pop(0))
            time.sleep(0.1)
            for name, (process, began) in list(self.running.items()):
                if process.poll() is not None:
                    self._finish(name)
                    bar.update()
                elif time.monotonic() - began > self.timeout:
                    self._stop(name, "timed out", self._too_long())
                    bar.update()
            bar.set_postfix_str(", ".join(self._progress(name) for name in self.running))

    def _too_long(self) -> str:
        return say("It took longer than the {seconds} seconds it may take.", seconds=f"{self.timeout:g}")

    def _progress(self, name: str) -> str:
        state = self._state(name)
        return f"{name} {state.get('cells_done', 0)}/{state.get('cells', 0)}"

    def _state(self, name: str) -> dict[str, Any]:
        try:
            return json.loads((self.scratch / f"{name}.status.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}

    def _parameters(self, path: Path) -> dict[str, Any]:
        """The settings that this notebook declares."""
        import papermill

        settings = self.settings
        offered = {
            "model": settings.model, "task": settings.task, "modes": list(settings.modes), "mode_a": settings.mode_a,
            "mode_b": settings.mode_b, "limit": settings.limit, "layers": list(settings.layers),
            "item": settings.item, "seed": settings.seed, "device": settings.device, "lang": settings.lang,
            "results_dir": str(self.results),
        }  # fmt: skip
        declared = papermill.inspect_notebook(str(path))
        return {name: value for name, value in offered.items() if name in declared}

    def _start(self, name: str, path: Path) -> None:
        run = self.manifest.runs[name]
        run.status = "running"
        self.manifest.write(self.folder / "manifest.json")
        source = path
        if self.settings.lang != LANGUAGES[0]:  # a reader of the page reads its prose in the language of the report
            source = self.scratch / f"{name}.ipynb"
            source.write_text(translated(path, self.settings.lang), encoding="utf-8")
        job = {
            "notebook": str(source), "output": str(self.executed / f"{name}.ipynb"),
            "parameters": self._parameters(path), "status": str(self.scratch / f"{name}.status.json"),
        }  # fmt: skip
        job_file = self.scratch / f"{name}.job.json"
        job_file.write_text(json.dumps(job), encoding="utf-8")
        with (self.logs / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "quamba_lab.execute", str(job_file)], stdout=log, stderr=log,
                stdin=subprocess.DEVNULL, env=self._environment(), start_new_session=True,
            )  # fmt: skip
        self.running[name] = process, time.monotonic()

    def _finish(self, name: str, status: str | None = None, reason: str = "") -> None:
        """Take a process that has ended off the list and write down what became of its notebook."""
        process, began = self.running.pop(name)
        state, run = self._state(name), self.manifest.runs[name]
        run.seconds = round(time.monotonic() - began, 1)
        run.cells_done, run.cells = state.get("cells_done", 0), state.get("cells", 0)
        told = state.get("status", "running")
        if status is not None:
            run.status, run.reason = status, reason
        elif told != "running":
            run.status, run.reason = told, state.get("reason", "")
        elif process.returncode < 0:
            run.status, run.reason = "killed", say("Signal {number} ended it.", number=-process.returncode)
        else:
            run.status = "failed"
            run.reason = say(
                "It ended with exit code {code} and no word; see logs/{name}.log.", code=process.returncode, name=name
            )
        self.manifest.write(self.folder / "manifest.json")

    def _stop(self, name: str, status: str, reason: str) -> None:
        _end(self.running[name][0])
        self._finish(name, status, reason)


def _end(process: subprocess.Popen) -> None:
    """Ask a process to stop (papermill then saves what it has and ends its kernel), and end it if it does not."""
    import psutil

    if process.poll() is not None:
        return
    try:
        kernels = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        kernels = []
    process.terminate()
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for kernel in kernels:
        with contextlib.suppress(psutil.NoSuchProcess):
            kernel.kill()
