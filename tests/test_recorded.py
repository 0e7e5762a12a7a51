"""The recordings of real hardware: refused when altered, and never made without a GPU."""

import hashlib
import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file

from quamba_lab import load_model, scans
from quamba_lab.recorded import FOLDER, RecordingError, channels_of, load_recorded, record
from quamba_lab.scans.oracle import oracle_float64, to_half
from quamba_lab.witness import nvidia_driver


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


SHARE_OF_Y = {"published": 5e-3, "folded": 3e-3}
"""Largest share of FP16 values of one recording that may differ from the host build's."""
TAP_ERROR = {"published": 2**-18, "folded": 2**-20}
"""Largest RMS of a FP32 tap's difference, relative to its RMS.  published: the GPU's approximate exp, log and division
are good to about two units of 2^-24 each, and a state inherits them over as many steps as it remembers."""


@pytest.fixture(scope="module")
def shipped():
    return load_recorded()


def pairs():
    index = json.loads((FOLDER / "index.json").read_text())
    return [(name, number) for name in index["builds"] for number in range(len(index["files"]))]


def test_ten_recordings_of_both_kernels_ship_and_say_where_they_come_from(shipped):
    index, recorded = shipped
    assert len(recorded) == 10
    assert set(index["builds"]) == {"published", "folded"}
    assert all(index[key] for key in ("device", "driver", "torch", "cuda", "date"))
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 4_000_000


@pytest.mark.parametrize(("name", "number"), pairs())
def test_the_host_build_differs_from_the_gpu_by_rounding_only(shipped, name, number):
    recorded = shipped[1][number]
    there, here = recorded.outputs[name], scans.run(name, recorded.inputs)
    assert float((here.y != there.y).double().mean()) <= SHARE_OF_Y[name]
    # A differing value is a neighbour in FP16, or differs by far less than the RMS where two large terms cancel.
    apart = (here.y.double() - there.y.double()).abs()
    spacing = 2.0 ** (torch.frexp(there.y.double()).exponent - 11).clamp(min=-24)
    noise = 2**-16 * there.y.double().square().mean().sqrt()
    assert bool((apart <= torch.maximum(spacing, noise)).all())
    assert int((here.last_state.int() - there.last_state.int()).abs().max()) <= 1


@pytest.mark.parametrize(("name", "number"), pairs())
def test_every_tap_of_the_host_build_is_near_the_gpus(shipped, name, number):
    recorded = shipped[1][number]
    here = scans.get(name).taps(recorded.inputs)
    assert here.keys() == recorded.taps[name].keys()
    for operation, there in recorded.taps[name].items():
        mine = channels_of(operation, here[operation], recorded.tap_channels)
        error = float((mine.double() - there.double()).square().mean().sqrt() / there.double().square().mean().sqrt())
        assert error <= (2**-14 if operation == "output_cast" else TAP_ERROR[name]), operation


@pytest.mark.parametrize("number", range(10))
def test_folded_is_nearer_to_the_truth_than_published_on_both_devices(shipped, number):
    recorded = shipped[1][number]
    exact, _ = oracle_float64(recorded.inputs)
    off = {name: int((output.y != to_half(exact)).sum()) for name, output in recorded.outputs.items()}
    off["folded on the CPU"] = int((scans.run("folded", recorded.inputs).y != to_half(exact)).sum())
    counting_noise = 3 * off["published"] ** 0.5 + 3
    assert off["folded"] <= off["published"] + counting_noise
    assert off["folded on the CPU"] <= off["published"] + counting_noise


@pytest.mark.gpu
@pytest.mark.parametrize(("name", "number"), pairs())
def test_this_gpu_repeats_the_recording_bit_for_bit(shipped, name, number):
    index, recordings = shipped
    if torch.cuda.get_device_name() != index["device"]:
        pytest.skip(f"recorded on {index['device']}, this is {torch.cuda.get_device_name()}")
    recorded = recordings[number]
    again = scans.run(name, recorded.inputs.to("cuda"))
    assert again.y.cpu().equal(recorded.outputs[name].y)
    assert again.last_state.cpu().equal(recorded.outputs[name].last_state)


def test_the_driver_is_a_version_and_nothing_else():
    assert re.fullmatch(r"unknown|\d+\.\d+(\.\d+)*", nvidia_driver())
