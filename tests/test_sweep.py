"""A sweep tells the truth about every notebook, and leaves a whole report or none."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from tiny import NAMES, write_workbook

from quamba_lab.cli import _parser
from quamba_lab.manifest import Manifest
from quamba_lab.parameters import Settings, check
from quamba_lab.report import read_verdict
from quamba_lab.sweep import SweepError, reproduction, sweep

SETTINGS = Settings(layers=(0, 1))


def run(tmp_path: Path, timeout: float = 60, **workbook):
    folder = write_workbook(tmp_path / "notebooks", **workbook)
    return sweep(SETTINGS, tmp_path / "reports", folder=folder, timeout=timeout, command="make report")


def status_of(outcome) -> dict[str, str]:
    return {name: run.status for name, run in outcome.manifest.runs.items()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with a report whose steps all found a fault, and its outcome."""
    folder = tmp_path_factory.mktemp("finished")
    return folder, run(folder, status="fault")


def test_all_done_and_a_fault_is_exit_code_1(finished):
    folder, outcome = finished
    assert set(status_of(outcome).values()) == {"done"}
    assert outcome.exit_code == 1
    assert (folder / "reports" / "index.html").is_file()
    assert not [p for p in folder.iterdir() if p.name.startswith(".")], "something temporary was left behind"


def test_verdict_has_the_same_bytes_twice(finished):
    folder, _ = finished
    first = (folder / "reports" / "verdict.json").read_bytes()
    run(folder, status="fault")
    assert (folder / "reports" / "verdict.json").read_bytes() == first
    assert str(folder).encode() not in first


def test_failed_killed_and_hanging_notebooks_are_told_apart(tmp_path):
    outcome = run(
        tmp_path, timeout=25,
        extra={
            "0_summary": "raise ValueError('mode is 9: choose one of 0 and 1')",
            "1_is_it_real": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
            "2_scan_inputs": "import time\ntime.sleep(600)",
        },
    )  # fmt: skip
    assert status_of(outcome) == {"0_summary": "failed", "1_is_it_real": "killed", "2_scan_inputs": "timed out"}
    assert outcome.exit_code == 3
    assert "mode is 9" in outcome.manifest.runs["0_summary"].reason
    verdict = read_verdict(tmp_path / "reports")
    assert not verdict["complete"]
    assert {step["status"] for step in verdict["steps"].values()} == {"unknown"}
    for page in ("index.html", "1_is_it_real.html", "2_scan_inputs.html"):
        text = (tmp_path / "reports" / page).read_text(encoding="utf-8")
        assert 'class="banner"' in text, page
        assert "What came out" in text, "what the notebook had written by then is shown"


def test_an_interrupt_leaves_a_true_record(tmp_path):
    folder = write_workbook(tmp_path / "notebooks", extra={"1_is_it_real": "import time\ntime.sleep(600)"})
    program = (
        "from pathlib import Path; from quamba_lab.parameters import Settings; from quamba_lab.sweep import sweep; "
        f"o = sweep(Settings(layers=(0,)), Path({str(tmp_path / 'reports')!r}), folder=Path({str(folder)!r}), "
        "jobs=1); raise SystemExit(o.exit_code)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job would ignore it
    )  # fmt: skip
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and not _cells_begun(tmp_path):
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 3
    manifest = Manifest.read(tmp_path / "reports" / "manifest.json")
    assert {name: run.status for name, run in manifest.runs.items()} == dict.fromkeys(NAMES, "interrupted")
    assert 'class="banner"' in (tmp_path / "reports" / "index.html").read_text(encoding="utf-8")


def _cells_begun(tmp_path: Path) -> bool:
    return any(path.stat().st_size for path in tmp_path.glob(".reports.*/notebooks/1_is_it_real.ipynb"))


def test_a_folder_that_is_no_report_is_left_alone(tmp_path):
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "thesis.tex").write_text("years of work")
    with pytest.raises(SweepError, match="no report"):
        run(tmp_path)
    assert (tmp_path / "reports" / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize(("option", "word"), [({"jobs": 0}, "jobs"), ({"timeout": 0}, "timeout")])
def test_impossible_options_are_refused(tmp_path, option, word):
    with pytest.raises(SweepError, match=word):
        sweep(SETTINGS, tmp_path / "reports", **option)


def test_a_missing_workbook_is_refused(tmp_path):
    with pytest.raises(SweepError, match="no notebooks"):
        sweep(SETTINGS, tmp_path / "reports", folder=tmp_path)


def test_a_file_in_the_way_is_refused_before_anything_runs(tmp_path):
    (tmp_path / "reports").write_text("notes")
    with pytest.raises(SweepError, match="is a file"):
        run(tmp_path)
    assert (tmp_path / "reports").read_text() == "notes"


def test_an_unwritable_place_is_refused_before_anything_runs(tmp_path):
    # Root may write anywhere but where the kernel itself refuses.
    place = Path("/proc/self/reports") if os.geteuid() == 0 else tmp_path / "locked" / "reports"
    if os.geteuid():
        place.parent.mkdir(mode=0o500)
    with pytest.raises(SweepError, match="cannot be written"):
        sweep(SETTINGS, place, folder=write_workbook(tmp_path / "notebooks"))


@pytest.mark.parametrize(
    "chosen",
    [
        Settings(layers=tuple(range(8))),
        Settings(modes=("2-2", "1"), mode_a="2-2", mode_b="1", limit=7, seed=3, lang="zh", layers=tuple(range(8))),
        Settings(layers=tuple(range(8)), mode_b="2-2", flags={"FLOAT_SIM_ASIC_INT8": "true"}),
    ],
)
def test_the_command_of_a_report_makes_it_again(chosen, monkeypatch):
    words = shlex.split(reproduction(chosen))
    flags = dict(word.split("=", 1) for word in words[: words.index("quamba-lab")])
    for name, value in flags.items():
        monkeypatch.setenv(name, value)
    options = vars(_parser().parse_args(words[words.index("quamba-lab") + 1 :]))
    named = ("model", "task", "modes", "mode_a", "mode_b", "limit", "seed", "device", "lang")
    asked = {name: options[name] for name in named}
    assert check(**asked).public() == chosen.public()


def test_a_folder_is_named_by_its_whole_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = shlex.split(reproduction(replace(SETTINGS, model="./my model", task="items.jsonl")))
    assert words[words.index("--model") + 1] == str(tmp_path / "my model")
    assert words[words.index("--task") + 1] == str(tmp_path / "items.jsonl")


def test_a_manifest_reads_back(tmp_path):
    manifest = Manifest("make report", SETTINGS.public())
    manifest.write(tmp_path / "manifest.json")
    assert Manifest.read(tmp_path / "manifest.json") == manifest
    (tmp_path / "manifest.json").write_text(json.dumps({"schema": 9}))
    with pytest.raises(ValueError, match="manifest"):
        Manifest.read(tmp_path / "manifest.json")
