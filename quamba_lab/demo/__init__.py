"""The shipped model and task: the text's generator, its tokenizer, and the training of the model.

Only the path is loaded here; training is imported by who trains.
"""

from pathlib import Path

__all__ = ["DEMO"]

DEMO = Path(__file__).resolve().parents[2] / "data" / "demo"
"""The shipped files: ``model/``, ``task.jsonl``, ``calibration.txt``."""
