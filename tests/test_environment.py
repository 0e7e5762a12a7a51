"""One source of dependencies: pyproject.toml, and environment.yml and constraints.txt agree with it."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
OPTIONAL = {"cuda", "mamba_ssm", "transformers", "triton"}
"""Imported only where they are there, or by tests."""


def _toml() -> dict:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def _name(requirement: str) -> str:
    return re.match(r"[A-Za-z0-9_.-]+", requirement).group().lower().replace("_", "-")


def _minimum(requirement: str) -> str | None:
    found = re.search(r">=\s*([\d.]+)", requirement)
    return found.group(1) if found else None


PROJECT = _toml()["project"]
NEEDED = {_name(r): r for r in PROJECT["dependencies"]}
TESTED = {_name(r): r for r in PROJECT["optional-dependencies"]["test"]}


def _constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return {_name(line): line for line in lines if line and not line.startswith("#")}


def test_constraints_name_every_direct_dependency_and_nothing_else():
    assert _constraints().keys() == {*NEEDED, *TESTED}


@pytest.mark.parametrize("name", sorted({*NEEDED, *TESTED}))
def test_a_tested_version_satisfies_what_is_needed(name):
    from packaging.version import Version

    pinned = re.search(r"==([\w.+]+)", _constraints()[name]).group(1)
    minimum = _minimum((NEEDED | TESTED)[name])
    assert minimum is None or Version(pinned) >= Version(minimum)


def test_environment_yml_is_the_conda_way_to_the_same():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    conda = {_name(entry): entry for entry in environment["dependencies"] if isinstance(entry, str)}
    pip = [entry for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert pip == [{"pip": ["-e ."]}], "everything else comes from pyproject.toml"
    assert _minimum(conda["python"]) == _minimum(PROJECT["requires-python"])
    assert _minimum(conda["pytorch"]) == _minimum(NEEDED["torch"])
    assert set(conda) == {"python", "pytorch", "cxx-compiler", "ninja", "pip"}


def test_every_import_of_the_package_is_a_named_dependency():
    distributions = metadata.packages_distributions()
    for path in sorted((ROOT / "quamba_lab").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module]
            for top in {name.partition(".")[0] for name in names}:
                if top in sys.stdlib_module_names or top in {"quamba_lab", *OPTIONAL}:
                    continue
                owners = {owner.lower().replace("_", "-") for owner in distributions.get(top, [top])}
                assert owners & NEEDED.keys(), f"{path.name} imports {top}, which pyproject.toml does not name"


def test_no_index_and_no_machine_path_in_what_installs():
    for name in ("pyproject.toml", "constraints.txt", "environment.yml", "Makefile", ".ci/run"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert not re.search(r"https?://|--index-url|find-links|/root/|/home/|/opt/", text), name


def test_the_package_imports_without_a_gpu_a_compiler_or_a_network(tmp_path):
    code = "import sys, quamba_lab; assert 'transformers' not in sys.modules; print(quamba_lab.__version__)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path,
        env={"PATH": "", "CUDA_VISIBLE_DEVICES": "", "HOME": str(tmp_path), "https_proxy": "http://127.0.0.1:9"},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == PROJECT["version"]


def test_every_file_of_the_package_is_shipped():
    package = ROOT / "quamba_lab"
    patterns = _toml()["tool"]["setuptools"]["package-data"]["quamba_lab"]
    shipped = {file for pattern in patterns for file in package.glob(pattern)}
    others = {file for file in package.rglob("*") if file.is_file() and file.suffix not in (".py", ".pyc")}
    assert package / "templates" / "base.html" in shipped
    assert others <= shipped


@pytest.mark.parametrize(("strict", "code"), [("1", 1), ("", 0)])
def test_in_ci_a_skipped_test_is_a_failed_one_unless_it_needs_a_gpu(tmp_path, strict, code):
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text(encoding="utf-8"))
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    gpu: needs a GPU\n")
    (tmp_path / "test_gpu.py").write_text(
        "import pytest\n@pytest.mark.gpu\ndef test_gpu():\n    pytest.skip('no GPU')\ndef test_fine():\n    pass\n"
    )
    (tmp_path / "test_skips.py").write_text("import pytest\ndef test_skips():\n    pytest.skip('no browser')\n")
    (tmp_path / "test_module.py").write_text("import pytest\npytest.importorskip('no_such_module')\n")
    environment = os.environ | {"QUAMBA_LAB_CI": strict}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--continue-on-collection-errors"]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == code, result.stdout
    assert ("1 failed" in result.stdout and "1 error" in result.stdout) == bool(strict)
    assert "1 passed" in result.stdout
