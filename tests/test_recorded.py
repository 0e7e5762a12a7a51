"""The recordings of real hardware: refused when altered, and never made without a GPU."""

import hashlib
import json

import pytest
from safetensors.torch import load_file, save_file

from quamba_lab import load_model, scans
from quamba_lab.recorded import RecordingError, load_recorded, record


@pytest.fixture
def folder(tmp_path):
    """A folder in the recordings' format, filled by this machine's own scan."""
    inputs = scans.random_inputs(1, 4, 9, 3, state_scale=0.05)
    path = tmp_path / "item0_layer1.safetensors"
    inputs.save(path)
    output = scans.run("torch_int8", inputs)
    taps = {f"torch_int8/tap/{name}": tap for name, tap in scans.get("torch_int8").taps(inputs).items()}
    tensors = load_file(path) | {"torch_int8/y": output.y, "torch_int8/last_state": output.last_state} | taps
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, {"softplus": "True"})
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    files = {path.name: {"item": 0, "layer": 1, "tokens": 9, "sha256": digest}}
    index = {"schema": 1, "builds": {"torch_int8": ["torch"]}, "tap_channels": [0, 1, 2, 3], "files": files}
    (tmp_path / "index.json").write_text(json.dumps(index))
    return tmp_path


def test_a_recording_comes_back_as_inputs_outputs_and_taps(folder):
    _, (recorded,) = load_recorded(folder)
    again = scans.run("torch_int8", recorded.inputs)
    assert recorded.layer == 1
    assert recorded.outputs["torch_int8"].y.equal(again.y)
    assert recorded.outputs["torch_int8"].last_state.equal(again.last_state)
    taps = scans.get("torch_int8").taps(recorded.inputs)
    assert recorded.taps["torch_int8"].keys() == taps.keys()
    assert all(recorded.taps["torch_int8"][name].equal(tap) for name, tap in taps.items())


def test_an_altered_recording_is_refused(folder):
    victim = folder / "item0_layer1.safetensors"
    data = bytearray(victim.read_bytes())
    data[-1] ^= 1
    victim.write_bytes(data)
    with pytest.raises(RecordingError, match="item0_layer1"):
        load_recorded(folder)


def test_a_missing_recording_says_how_to_make_one(tmp_path):
    with pytest.raises(RecordingError, match="record_gpu"):
        load_recorded(tmp_path)


def test_recording_without_a_gpu_is_refused(tmp_path):
    with pytest.raises(RecordingError, match="cuda"):
        record(load_model("demo", "0"), [], tmp_path)
    assert not list(tmp_path.iterdir())
