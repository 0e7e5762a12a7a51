"""What a real GPU produced on the shipped model: inputs, outputs and taps of a few scans, kept in ``data/recorded``.

Somebody without a GPU compares with hardware through these files, and a host build that drifts away is noticed.
A folder holds ``index.json`` (device, driver, versions, builds, and the SHA-256 of every file) and one safetensors
file per item and layer: the operands as :meth:`ScanInputs.save` names them, then ``<scan>/y`` float16 (b, l, d),
``<scan>/last_state`` int8 (b, d, n) and ``<scan>/tap/<operation>`` for the channels in ``tap_channels``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from . import scans
from .files import write_text
from .scans import ScanInputs, ScanOutput
from .witness import nvidia_driver

__all__ = ["FOLDER", "SCANS", "RecordedScan", "RecordingError", "channels_of", "load_recorded", "record"]

FOLDER = Path(__file__).resolve().parents[1] / "data" / "recorded"
SCANS = ("published", "folded")
_MAKE_IT = "on a GPU, python benchmarks/record_gpu.py records anew"


class RecordingError(ValueError):
    """A recording that is missing, or is not what its index says."""


@dataclass(frozen=True)
class RecordedScan:
    """One item at one layer.  ``outputs``: by scan; ``taps``: by scan and operation, channels ``tap_channels`` only."""

    item: int
    layer: int
    inputs: ScanInputs
    outputs: dict[str, ScanOutput]
    taps: dict[str, dict[str, Tensor]]
    tap_channels: tuple[int, ...]


def channels_of(operation: str, tap: Tensor, channels: Sequence[int]) -> Tensor:
    """The tap of ``channels``: (b, d, ...) for every operation but ``output_cast``, which is (b, l, d)."""
    axis = 2 if operation == "output_cast" else 1
    return tap.index_select(axis, torch.tensor(channels, device=tap.device)).cpu().contiguous()


def record(
    model,
    items: Sequence[tuple[int, Tensor]],
    folder: Path = FOLDER,
    *,
    layers: Sequence[int] = (0, 2, 4, 6, 7),
    tap_channels: Sequence[int] = (0, 191, 383),
    names: Sequence[str] = SCANS,
) -> Path:
    """Run ``names`` on what the scan of each layer receives in ``model``'s free run, and write a folder.

    ``model``: a quantized model on a CUDA device; ``items``: (index in the task, tokens int64 (1, l)).  Returns the
    path of the index, written last.  Raises :class:`RecordingError` for a model that is not on a GPU.
    """
    if model.device.type != "cuda":
        raise RecordingError(f"the model is on {model.device}: recordings are of real hardware, load it on cuda")
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, dict] = {}
    builds: dict[str, list[str]] = {name: [] for name in names}
    for item, tokens in items:
        for layer in layers:
            inputs = model.scan_inputs(tokens.to(model.device), layer)
            path = folder / f"item{item}_layer{layer}.safetensors"
            inputs.save(path)
            tensors = load_file(path)
            for name in names:
                output = scans.run(name, inputs)
                tensors |= {f"{name}/y": output.y.cpu(), f"{name}/last_state": output.last_state.cpu()}
                for operation, tap in scans.get(name).taps(inputs).items():
                    tensors[f"{name}/tap/{operation}"] = channels_of(operation, tap, tap_channels)
                if output.build not in builds[name]:
                    builds[name].append(output.build)
            partial = path.with_suffix(".partial")
            save_file({key: value.contiguous() for key, value in tensors.items()}, partial, {"softplus": "True"})
            partial.replace(path)
            files[path.name] = {
                "item": item, "layer": layer, "tokens": tokens.shape[1],
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            }  # fmt: skip
    index = {
        "schema": 1, "device": torch.cuda.get_device_name(model.device), "driver": nvidia_driver(),
        "torch": torch.__version__, "cuda": torch.version.cuda, "date": date.today().isoformat(),
        "model": model.name, "mode": model.mode.name, "tap_channels": list(tap_channels), "builds": builds,
        "files": files,
    }  # fmt: skip
    write_text(folder / "index.json", json.dumps(index, indent=1, sort_keys=True) + "\n")
    return folder / "index.json"


def load_recorded(folder: Path = FOLDER) -> tuple[dict, list[RecordedScan]]:
    """The index and every recorded scan.  Raises :class:`RecordingError` for a missing or altered file."""
    try:
        index = json.loads((folder / "index.json").read_text())
    except FileNotFoundError:
        raise RecordingError(f"{folder} has no index.json: {_MAKE_IT}") from None
    recorded = []
    for name, entry in index["files"].items():
        path = folder / name
        if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != entry["sha256"]:
            raise RecordingError(f"{path} is missing or not the file that index.json names: restore it; {_MAKE_IT}")
        tensors = load_file(path)
        outputs = {
            scan: ScanOutput(tensors[f"{scan}/y"], tensors[f"{scan}/last_state"], "; ".join(builds))
            for scan, builds in index["builds"].items()
        }
        taps: dict[str, dict[str, Tensor]] = {scan: {} for scan in outputs}
        for key, tensor in tensors.items():
            scan, _, operation = key.partition("/tap/")
            if operation:
                taps[scan][operation] = tensor
        inputs = ScanInputs.load(path)
        channels = tuple(index["tap_channels"])
        recorded.append(RecordedScan(entry["item"], entry["layer"], inputs, outputs, taps, channels))
    return index, recorded
