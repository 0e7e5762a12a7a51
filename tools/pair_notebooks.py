"""Keep ``notebooks/*.ipynb`` in step with their text twins, ``notebooks/text/*.py`` (jupytext's percent format).

    python -m tools.pair_notebooks            write the notebooks from the texts
    python -m tools.pair_notebooks --check    exit 1 when one differs from its text, or holds outputs
    python -m tools.pair_notebooks --text     write the texts from the notebooks, after editing in JupyterLab

The texts are what a review reads; the notebooks carry no outputs, no counters and fixed cell ids, so that the same text
always gives the same bytes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import jupytext
import nbformat

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
TEXTS = NOTEBOOKS / "text"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def notebook_of(text: str) -> str:
    """The notebook of a text, as the bytes of an .ipynb file."""
    parsed = jupytext.reads(text, fmt="py:percent")
    return _serialized(parsed)


def _serialized(notebook: nbformat.NotebookNode) -> str:
    clean = nbformat.v4.new_notebook(metadata=METADATA)
    for number, cell in enumerate(notebook.cells):
        make = nbformat.v4.new_markdown_cell if cell.cell_type == "markdown" else nbformat.v4.new_code_cell
        tags = cell.metadata.get("tags", [])
        clean.cells.append(make(cell.source, metadata={"tags": tags} if tags else {}, id=f"cell-{number:02d}"))
    nbformat.validate(clean)
    return nbformat.writes(clean, version=4) + "\n"


def text_of(notebook: str) -> str:
    """The text of a notebook, without outputs."""
    clean = nbformat.reads(_serialized(nbformat.reads(notebook, as_version=4)), as_version=4)
    clean.metadata = {}
    return jupytext.writes(clean, fmt="py:percent").partition("# ---\n")[2].partition("# ---\n\n")[2]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    direction = parser.add_mutually_exclusive_group()
    direction.add_argument("--check", action="store_true", help="only compare")
    direction.add_argument("--text", action="store_true", help="write the texts from the notebooks")
    options = parser.parse_args()
    if options.text:
        for path in sorted(NOTEBOOKS.glob("*.ipynb")):
            (TEXTS / f"{path.stem}.py").write_text(text_of(path.read_text(encoding="utf-8")), encoding="utf-8")
        return 0
    stale = []
    for text in sorted(TEXTS.glob("*.py")):
        path, wanted = NOTEBOOKS / f"{text.stem}.ipynb", notebook_of(text.read_text(encoding="utf-8"))
        if path.is_file() and path.read_text(encoding="utf-8") == wanted:
            continue
        if options.check:
            stale.append(path.name)
        else:
            path.write_text(wanted, encoding="utf-8")
    if stale:
        names = ", ".join(stale)
        sys.stderr.write(f"{names} differ from notebooks/text: run `make notebooks`, or --text to keep them\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
