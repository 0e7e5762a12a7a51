"""What the README says is so: its links lead somewhere, its commands and modes are the real ones."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from quamba_lab import MODES
from quamba_lab.cli import _parser

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_links_and_pictures_are_in_the_repository():
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    assert targets
    for target in targets:
        assert (ROOT / target).exists(), target


def test_the_table_of_modes_is_the_real_one():
    for mode in MODES.values():
        row = next(line for line in README.splitlines() if line.startswith(f"| {mode.name} |"))
        flags = re.findall(r"`(\w+)`", row.rpartition("|")[0].rpartition("|")[2])
        assert flags == list(mode.environment)


@pytest.mark.parametrize("line", re.findall(r"`(quamba-lab [^`\n]+)`|^(quamba-lab .+)$", README, re.MULTILINE))
def test_commands_are_accepted(line):
    command = "".join(line)
    if "COMMAND" in command:
        return
    arguments = shlex.split(command.replace("\n", " "))[1:]
    assert _parser().parse_args(arguments).run


def test_the_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"make ([a-z]+)\b", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_tree_names_what_is_there():
    tree = README.partition("## The tree")[2]
    for folder in re.findall(r"^(\w+)/ ", tree, re.MULTILINE):
        assert (ROOT / folder).is_dir(), folder
