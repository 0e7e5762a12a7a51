"""Lower floors know nothing of higher ones; importing the package is quick and needs nothing but Python and torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import quamba_lab

PACKAGE = Path(quamba_lab.__file__).parent

FLOORS = (
    {"quantized", "trace", "compare", "estimates", "power", "statistics", "thresholds", "files", "trace_store",
     "witness", "texts"},
    {"scans", "sites", "hadamard", "projections", "conv", "norm"},
    {"modes", "layer"},
    {"float_weights", "float_model", "model", "prepare", "checkpoint", "quamba_format", "tasks", "demo",
     "recorded"},
    {"steps", "diagnose"},
)
"""docs/architecture.md, from the bottom; every other module stands above, on the floor that draws and interacts."""


def floor_of(module):
    return next((floor for floor, modules in enumerate(FLOORS) if module in modules), len(FLOORS))


def own_modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        yield path, parts


def _walk(node, inside=False):
    """Every node with whether it stands in a function."""
    for child in ast.iter_child_nodes(node):
        yield child, inside
        yield from _walk(child, inside or isinstance(child, ast.FunctionDef))


def _names(node):
    """``from .. import plots`` -> ["plots"]."""
    return [alias.name for alias in node.names] if isinstance(node, ast.ImportFrom) and not node.module else []


def imports_of(path, parts):
    """Top-level names inside the package that ``path`` imports, wherever in the file.

    One exception: a result of floor 4 draws itself through ``plots`` (``plots_scan``, ``plots_causes``), imported by
    the method that draws.
    """
    late = floor_of(parts[0]) == 4
    depth = len(parts) - 1
    for node, inside in _walk(ast.parse(path.read_text(encoding="utf-8"))):
        if late and inside and _names(node) in (["plots"], ["plots_scan"], ["plots_causes"]):
            continue
        if isinstance(node, ast.ImportFrom):
            if node.level:
                above = parts[: max(depth - (node.level - 1), 0)]
                full = (*above, *(node.module.split(".") if node.module else ()))
                if full:
                    yield full[0]
                else:
                    yield from (alias.name for alias in node.names)
            elif node.module and node.module.split(".")[0] == "quamba_lab":
                rest = node.module.split(".")[1:]
                yield from rest[:1] or (alias.name for alias in node.names)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("quamba_lab."):
                    yield alias.name.split(".")[1]


@pytest.mark.parametrize(("path", "parts"), list(own_modules()), ids=[".".join(parts) for _, parts in own_modules()])
def test_no_module_imports_a_higher_floor(path, parts):
    if parts == ("__init__",):
        return  # the package's own front door
    mine = floor_of(parts[0])
    for name in imports_of(path, parts):
        assert floor_of(name) <= mine, f"{'.'.join(parts)} (floor {mine}) imports {name} (floor {floor_of(name)})"


def test_the_rule_would_notice(tmp_path):
    bad = tmp_path / "conv.py"
    bad.write_text("def f():\n    from .model import load_model\n    from quamba_lab.steps import one\n")
    assert sorted(imports_of(bad, ("conv",))) == ["model", "steps"]
    nested = tmp_path / "oracle.py"
    nested.write_text("from ..modes import MODES\nfrom .types import ScanInputs\nfrom .. import layer\n")
    assert sorted(imports_of(nested, ("scans", "oracle"))) == ["layer", "modes", "scans"]
    drawing = tmp_path / "one.py"
    drawing.write_text("from .. import plots\ndef figure():\n    from .. import plots\n    from .. import widgets\n")
    assert sorted(imports_of(drawing, ("steps", "one"))) == ["plots", "widgets"]


def run(code, **environment):
    import os

    clean = {k: v for k, v in os.environ.items() if not k.startswith(("CUDA", "CXX", "CC"))} | environment
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=clean, timeout=120)


def test_importing_takes_less_than_two_seconds_past_torch():
    code = """
import time, torch
start = time.perf_counter()
import quamba_lab
print(time.perf_counter() - start)
"""
    seconds = min(float(run(code).stdout) for _ in range(3))
    assert seconds < 2.0


def test_importing_needs_no_compiler_no_gpu_and_no_network(tmp_path):
    code = """
import socket, subprocess, torch
def refuse(*args, **kwargs):
    raise AssertionError("not at import time")
socket.socket.connect = subprocess.Popen.__init__ = torch.cuda.init = refuse
import quamba_lab
assert not torch.cuda.is_initialized()
heavy = {"matplotlib", "pandas", "IPython", "papermill", "transformers", "statsmodels", "seaborn"}
import sys
print(sorted(heavy & set(sys.modules)))
"""
    done = run(code, PATH=str(tmp_path), HOME=str(tmp_path), CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
    assert not list(tmp_path.iterdir())


def test_the_public_names_are_there():
    for name in quamba_lab.__all__:
        assert hasattr(quamba_lab, name)
    assert {"MODES", "Mode", "Quantized", "ScanInputs", "ScanOutput", "Trace", "load_model", "scans"} <= {
        *quamba_lab.__all__
    }
