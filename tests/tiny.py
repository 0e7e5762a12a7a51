"""A workbook of three small notebooks for the tests of sweep and report: its result is made up, and hostile.

The real notebooks are executed in test_notebooks.py; what is tested with these is what becomes of a notebook that
fails, hangs or is killed, and that no text of a result can become markup.
"""

from __future__ import annotations

import math
from pathlib import Path

import nbformat
import pandas as pd
from matplotlib.figure import Figure

from quamba_lab.plots import with_data

HOSTILE = "<script>document.title='owned'</script>"
MODES = ["2-0", "2-1", "2-2"]


class Result:
    """Numbers that are plain to see in a page."""

    def __init__(self, status: str = "not established"):
        self.status = status
        self.verdict = f"Modes 0 and 2-1 differ on 2 of 100 items {HOSTILE}."

    def tables(self) -> dict[str, pd.DataFrame]:
        return {f"Accuracy {HOSTILE}": pd.DataFrame({"mode": ["0", HOSTILE], "accuracy": [0.38, 0.36123456]})}

    def figure(self, mode_b: str = "2-1", layer: int = 0) -> Figure:
        figure = Figure(figsize=(6, 3), layout="constrained")
        axes = figure.subplots()
        axes.plot(range(5), [math.sin(t + layer) * (1 + MODES.index(mode_b)) for t in range(5)])
        axes.set_xlabel("token")
        return with_data(figure, pd.DataFrame({"token": range(5), f"error {HOSTILE}": [0.0, 0.25, 0.5, 0.75, 1 / 3]}))

    def figures(self) -> list[tuple[str, Figure, str]]:
        return [("curve", self.figure(), f"The error stays below the floor {HOSTILE}")]

    def show_views(self) -> None:
        """The views as the notebooks' control bar leaves them in an executed notebook."""
        from IPython.display import display

        from quamba_lab.notebook import KEY, figure_output

        told = {"kind": "views", "data": self.view_data(), "alt": "Small everywhere."}
        display({**figure_output(self.figure()), "text/plain": "Small everywhere."}, metadata={KEY: told}, raw=True)

    def view_data(self) -> dict:
        layers, tokens = list(range(6)), list(range(5))
        return {
            "controls": [
                {"name": "mode_a", "label": "Mode A", "options": ["0"], "default": "0"},
                {"name": "mode_b", "label": "Mode B", "options": MODES, "default": "2-1"},
                {"name": "layer", "label": "Layer", "options": layers, "default": 0},
                {"name": "token", "label": "Token", "options": tokens, "default": 1},
                {"name": "run", "label": "Run", "options": ["lockstep", "free run"], "default": "lockstep",
                 "labels": ["equal inputs", "whole model"]},
            ],
            "charts": [
                {
                    "name": "error", "title": "Error", "alt": "Small everywhere.", "kind": "lines",
                    "depends": ["mode_b", "layer"], "x": {"label": "token", "values": tokens, "control": "token"},
                    "y": {"label": "error", "scale": "log"},
                    "frames": {
                        f"{m}|{l}": {"series": [{"name": m, "values": [1e-4 * (l + 1) * (t + 1) for t in tokens]},
                                                {"name": "floor", "low": [0] * 5, "high": [1e-4] * 5}]}
                        for m in MODES for l in layers
                    },
                },
                {
                    "name": "map", "title": "Map", "alt": "Late layers differ most.", "kind": "heatmap",
                    "depends": ["mode_b"], "x": {"label": "token", "values": tokens, "control": "token"},
                    "y": {"label": "layer", "values": layers, "control": "layer"},
                    "frames": {
                        m: {"rows": [[None if t == 2 else l * t for t in tokens] for l in layers]} for m in MODES
                    },
                },
                {
                    "name": "text", "title": "Text", "alt": "", "kind": "tokens", "depends": [],
                    "frames": {"": {"tokens": ["Once", f" {HOSTILE}", " key", " of", " oak"],
                                    "values": [0.1, -0.4, None, 0, 2], "target": [3, 5],
                                    "low": f"less likely {HOSTILE}", "high": "more likely",
                                    "answers": {"columns": ["mode", "answer"], "rows": [["0", HOSTILE]]}}},
                },
                {
                    "name": "stages", "title": "Stages", "alt": "", "kind": "table", "depends": ["run"],
                    "frames": {"lockstep": {"columns": ["stage", "dtype"], "marks": ["same", "different"],
                                            "rows": [["in_proj", "int8"], ["the split", "int8 → float32"]]}},
                },
                {
                    "name": "numbers", "title": "Numbers", "alt": "", "kind": "table", "depends": ["layer"],
                    "frames": {str(l): {"columns": ["stage", "value"], "rows": [[HOSTILE, l / 8]]} for l in layers},
                },
                {
                    "name": "bars", "title": "Bars", "alt": "", "kind": "bars", "depends": ["mode_b"],
                    "x": {"label": "stage", "values": ["in_proj", "conv1d"]}, "y": {"label": "flips"},
                    "frames": {m: {"series": [{"name": m, "values": [i, 2]}]} for i, m in enumerate(MODES)},
                },
            ],
        }  # fmt: skip

    def to_json(self) -> dict:
        numbers = {"p": 0.5, "advice": f"Do nothing {HOSTILE}."}
        return {"schema": 1, "status": self.status, "verdict": self.verdict, "numbers": numbers}


KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
NAMES = ("0_summary", "1_is_it_real", "2_scan_inputs")
TEXT = f"""# The title of {{name}}

The recurrence is $h_t = e^{{{{\\Delta A}}}} h_{{{{t-1}}}}$ and it ends with

$$y_t = \\sum_n C_n h_n$$

{HOSTILE} ![a picture](http://127.0.0.1:9/picture.png)
"""


def write_workbook(folder: Path, *, extra: dict[str, str] | None = None, status: str = "not established") -> Path:
    """Write the notebooks; ``extra`` adds a cell of code, by notebook, before the result."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        notebook = nbformat.v4.new_notebook(metadata={"kernelspec": KERNEL})
        parameters = nbformat.v4.new_code_cell('limit: int = 100  # items\nresults_dir: str = ""  # where results go')
        parameters.metadata.tags = ["parameters"]
        here = str(Path(__file__).parent)
        notebook.cells = [
            nbformat.v4.new_markdown_cell(TEXT.format(name=name)),
            parameters,
            nbformat.v4.new_code_cell(f"import sys\nsys.path.insert(0, {here!r})\nfrom tiny import Result\n"
                                      f"from quamba_lab import notebook\nresult = Result({status!r})"),
            nbformat.v4.new_markdown_cell("## What came out"),
            nbformat.v4.new_code_cell((extra or {}).get(name, "pass")),
            nbformat.v4.new_code_cell("notebook.show_figures(result)\nnotebook.show_tables(result)"),
            nbformat.v4.new_code_cell("result.show_views()"),
            nbformat.v4.new_code_cell(f"notebook.finish(result, results_dir, {name!r})"),
        ]  # fmt: skip
        nbformat.write(notebook, folder / f"{name}.ipynb")
    return folder
