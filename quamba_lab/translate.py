"""The workbook's notebooks in another language: their prose, and ``lang`` where they declare it."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat

from .files import write_text
from .texts import prose

__all__ = ["translated", "write_notebooks"]


def translated(notebook: Path, lang: str) -> str:
    """The .ipynb text of ``notebook`` with its markdown in ``lang``, which its code then speaks by default too."""
    content = nbformat.read(notebook, as_version=4)
    for cell in content.cells:
        if cell.cell_type == "markdown":
            cell.source = prose(cell.source, lang)
        elif "parameters" in cell.metadata.get("tags", []):
            cell.source = re.sub(r'^(lang: str = )"\w+"', rf'\1"{lang}"', cell.source, flags=re.MULTILINE)
    return nbformat.writes(content, version=4) + "\n"


def write_notebooks(found: dict[str, Path], target: Path, lang: str) -> list[Path]:
    """Write every notebook of ``found`` (by name) in ``lang`` into the folder ``target``.

    Raises ``FileExistsError`` rather than write over a notebook that is there already.
    """
    paths = [target / f"{name}.ipynb" for name in found]
    for path in paths:
        if path.exists():
            raise FileExistsError(17, "is there already", str(path))
    target.mkdir(parents=True, exist_ok=True)
    for path, source in zip(paths, found.values(), strict=True):
        write_text(path, translated(source, lang))
    return paths
