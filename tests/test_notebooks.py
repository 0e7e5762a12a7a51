"""The notebooks: in step with their texts, with parameters that papermill reads and that refuse what is wrong."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import papermill
import pytest

from quamba_lab.execute import execute
from quamba_lab.manifest import Manifest
from quamba_lab.parameters import ParameterError, check
from quamba_lab.report import read_verdict
from quamba_lab.sweep import notebooks

ROOT = Path(__file__).resolve().parents[1]
FOUND = notebooks()
NAMES = list(FOUND)



def test_the_summary_and_the_five_steps_are_there():
    assert NAMES[:6] == [
        "0_summary", "1_is_it_real", "2_scan_inputs", "3_dequantization", "4_scan_outputs", "5_inside_the_scan",
    ]  # fmt: skip


def test_notebooks_and_texts_are_in_step():
    check = [sys.executable, "-m", "tools.pair_notebooks", "--check"]
    assert subprocess.run(check, cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize("name", NAMES)
def test_structure(name):
    notebook = nbformat.read(FOUND[name], as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code), "committed without outputs"
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert len(re.findall(r"^# ", text, re.MULTILINE)) == 1
    assert notebook.cells[0].source.startswith("# ")
    tagged = [cell for cell in code if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1
    assert "notebook.begin(" in code[code.index(tagged[0]) + 1].source, "the next cell validates"
    assert not any(re.search(r"^\s*(def|class) ", cell.source, re.MULTILINE) for cell in code), "logic lives in modules"
    assert any("notebook.finish(" in cell.source for cell in code)
    assert any("show_figures(" in cell.source for cell in code)
    if not name.startswith("0"):
        assert any("explore(" in cell.source for cell in code)


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_typed_and_explained(name):
    parameters = papermill.inspect_notebook(str(FOUND[name]))
    assert {"model", "task", "modes", "mode_a", "mode_b", "limit", "layers", "item", "seed"} <= parameters.keys()
    for parameter in parameters.values():
        assert parameter["inferred_type_name"] in ("str", "int", "list", "float", "bool"), parameter
        assert len(parameter["help"]) > 4, parameter


@pytest.mark.notebooks
@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"mode_c": "2-2"}, ["'mode_c'", "is no parameter", "mode_b"]),
        ({"mode_b": "2-9"}, ["mode_b is '2-9'", "2-1, 2-2"]),
        ({"layers": [0, 8]}, ["layer 8", "0 to 7"]),
        ({"layers": "0"}, ["layers is '0'", "list"]),
        ({"limit": "many"}, ["limit is 'many'", "whole number"]),
        ({"limit": 0}, ["limit is 0", "1 to"]),
        ({"item": 100}, ["item is 100", "0 to 99"]),
    ],
)
def test_wrong_parameters_are_refused_by_the_first_cell(tmp_path, parameters, words):
    status = execute(FOUND["3_dequantization"], tmp_path / "out.ipynb", parameters, tmp_path / "status.json")
    assert status["status"] == "failed"
    for word in words:
        assert word in status["reason"]
    assert json.loads((tmp_path / "status.json").read_text()) == status


@pytest.mark.parametrize("folder", ["new/account/runtime", "long/" + "n" * 100], ids=["new", "long"])
def test_a_notebook_runs_where_jupyter_never_ran_and_under_a_long_home(tmp_path, monkeypatch, folder):
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / folder))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")])
    nbformat.write(notebook, tmp_path / "in.ipynb")
    status = execute(tmp_path / "in.ipynb", tmp_path / "out.ipynb", {}, tmp_path / "status.json")
    assert (status["status"], status["reason"]) == ("done", "")


@pytest.mark.notebooks
@pytest.mark.timeout(900)
def test_the_whole_report_through_papermill(tmp_path):
    """`quamba-lab report` on a few items: every notebook runs, the pages are small, the verdict is complete."""
    command = [
        sys.executable, "-m", "quamba_lab.cli", "report", "--limit", "6", "--output", str(tmp_path / "reports"),
    ]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert result.returncode in (0, 1), result.stdout + result.stderr
    manifest = Manifest.read(tmp_path / "reports" / "manifest.json")
    assert {run.name: (run.status, run.reason) for run in manifest.runs.values()} == dict.fromkeys(NAMES, ("done", ""))
    verdict = read_verdict(tmp_path / "reports")
    assert verdict["complete"]
    assert all(step["verdict"] and step["status"] != "unknown" for step in verdict["steps"].values())
    found = {step["status"] for step in verdict["steps"].values()}
    assert (result.returncode == 1) == bool(found & {"fault", "established"})
    for page in (tmp_path / "reports").glob("*.html"):
        assert page.stat().st_size < 2_000_000, page.name
        text = page.read_text(encoding="utf-8")
        assert 'class="banner"' not in text
        if page.name != "index.html":
            assert "<img" in text
            assert 'class="view-data"' in text


@pytest.mark.notebooks
def test_papermill_takes_its_parameters_from_the_command_line(tmp_path):
    command = [
        sys.executable, "-m", "papermill", str(FOUND["3_dequantization"]), str(tmp_path / "out.ipynb"),
        "-p", "mode_a", "0", "-p", "mode_b", "2-2", "-p", "layers", "[0, 7]", "-p", "limit", "4", "--no-progress-bar",
    ]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    outputs = (tmp_path / "out.ipynb").read_text(encoding="utf-8")
    assert "torch_fp32" in outputs
    assert re.search(r"Layers +0 7\\n", outputs)


def test_lists_and_modes_are_read_as_papermill_hands_them_on():
    settings = check(modes="[0, 2-1, '2-2']", mode_a=0, mode_b=3, layers="[0, 7]")
    assert (settings.modes, settings.layers) == (("0", "2-1", "2-2", "3"), (0, 7))
    assert (settings.mode_a, settings.mode_b) == ("0", "3")


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"layers": "[0, x]"}, ["an entry of layers is 'x'", "layer numbers"]),
        ({"layers": "[0"}, ["layers is '[0'", "a list of layer numbers"]),
        ({"modes": "[0, true]"}, ["an entry of modes is True", "0, 2-0, 2-1"]),
        ({"mode_b": 9}, ["mode_b is '9'", "choose one of 0, 2-0"]),
        ({"lang": "fr"}, ["lang is 'fr'", "en, zh"]),
    ],
)
def test_what_cannot_be_read_is_refused_with_what_is_accepted(parameters, words):
    with pytest.raises(ParameterError) as refused:
        check(**parameters)
    for word in words:
        assert word in str(refused.value)
