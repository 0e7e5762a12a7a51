"""Traces written as they come: what comes back, what is held meanwhile, and what is refused."""

import weakref

import pytest
import torch
from safetensors.torch import load_file
from small_model import small_model

from quamba_lab.quantized import Quantized
from quamba_lab.trace import ROUNDING_STAGES, STAGES, Trace, TraceError
from quamba_lab.trace_store import StoredPairs, TraceStore, TraceWriter

TOKENS = torch.arange(2 * 7).reshape(2, 7)


@pytest.fixture(scope="module")
def model():
    return small_model()


def same(a, b) -> bool:
    if isinstance(a, Quantized):
        return isinstance(b, Quantized) and a.values.equal(b.values) and a.scale.equal(b.scale)
    return a.equal(b)


@pytest.mark.parametrize("mode", ["0", "2-4"])
def test_every_captured_value_comes_back_bit_for_bit(model, tmp_path, mode):
    view = model.with_mode(mode)
    stages = (*STAGES, *ROUNDING_STAGES)
    with Trace(view, stages=stages) as trace:
        view(TOKENS)
    with TraceWriter(tmp_path) as writer, Trace(view, stages=stages, sink=writer):
        view(TOKENS)
    store = TraceStore(tmp_path)
    assert list(store) == list(trace)
    assert all(same(store[key], trace[key]) for key in trace)
    values = [v.values if isinstance(v, Quantized) else v for v in (trace[key] for key in trace)]
    assert store.nbytes == sum(v.numel() * v.element_size() for v in values)


def test_selected_tokens_and_layers_are_what_is_written(model, tmp_path):
    with TraceWriter(tmp_path) as writer, Trace(model, ["scan.y"], layers=[-1], tokens=[2], sink=writer):
        model(TOKENS)
    store = TraceStore(tmp_path)
    assert list(store) == [("scan.y", len(model.layers) - 1)]
    assert store["scan.y", len(model.layers) - 1].shape[1] == 1


def test_a_layer_is_on_disk_when_the_next_one_begins(model, tmp_path):
    writer = TraceWriter(tmp_path)
    seen = []

    def sink(stage, layer, value):
        writer(stage, layer, value)
        seen.append((layer, sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".partial")))

    with Trace(model, sink=sink):
        model(TOKENS)
    for layer, files in seen:
        finished = len(model.layers) if layer is None else layer
        assert files == [f"layer_{done:04d}.safetensors" for done in range(finished)]


def test_an_unfinished_trace_is_not_taken_for_one(model, tmp_path):
    with Trace(model, sink=TraceWriter(tmp_path)):
        model(TOKENS)
    with pytest.raises(TraceError, match="not finished"):
        TraceStore(tmp_path)


def test_a_folder_in_use_and_a_second_forward_are_refused(model, tmp_path):
    (tmp_path / "other").write_text("")
    with pytest.raises(TraceError, match="not empty"):
        TraceWriter(tmp_path)
    with Trace(model, sink=TraceWriter(tmp_path / "new")):
        model(TOKENS)
        with pytest.raises(TraceError, match="layer 0 ran again"):
            model(TOKENS)


def test_what_was_not_captured_is_named(model, tmp_path):
    with TraceWriter(tmp_path) as writer, Trace(model, ["scan.y"], sink=writer):
        model(TOKENS)
    with pytest.raises(TraceError, match=r"scan\.u.*holds scan\.y"):
        TraceStore(tmp_path)["scan.u", 0]


def test_what_is_written_is_the_value_of_its_moment(model, tmp_path):
    """A tensor that is changed after it was captured, or another at the same address, is not taken for the first."""
    with TraceWriter(tmp_path) as writer:
        value = torch.arange(6.0)
        writer("in_proj", 0, value)
        value += 1
        writer("conv1d", 0, value)
        address = value.data_ptr()
        del value
        others = [torch.full((6,), float(i)) for i in range(50)]
        again = next((other for other in others if other.data_ptr() == address), others[0])
        writer("split", 0, again)
    store = TraceStore(tmp_path)
    assert torch.equal(store["in_proj", 0], torch.arange(6.0))
    assert torch.equal(store["conv1d", 0], torch.arange(6.0) + 1)
    assert torch.equal(store["split", 0], again)


def test_the_files_are_safetensors_that_others_read(model, tmp_path):
    with TraceWriter(tmp_path) as writer, Trace(model, sink=writer):
        model(TOKENS)
    held = load_file(tmp_path / "layer_0000.safetensors")
    assert torch.equal(held["scan.y"], TraceStore(tmp_path)["scan.y", 0])


def test_the_writer_holds_nothing(model, tmp_path):
    """A value dies when the model lets go of it: the memory of a trace does not grow with what it captures."""
    alive = []

    def sink(stage, layer, value):
        writer(stage, layer, value)
        tensor = value.values if isinstance(value, Quantized) else value
        alive.append((layer, weakref.ref(tensor)))

    with TraceWriter(tmp_path) as writer, Trace(model, stages=(*STAGES, *ROUNDING_STAGES), sink=sink):
        model(TOKENS)
        assert not [layer for layer, value in alive if value() is not None]


def test_stored_pairs_are_the_pairs(model, tmp_path):
    pairs = model.layer_inputs(TOKENS)
    stored = StoredPairs(tmp_path, iter(pairs))
    assert len(stored) == len(pairs) == len(model.layers) + 1
    assert stored[0][1] is None
    for mine, theirs in zip(stored, pairs, strict=True):
        assert mine[0].equal(theirs[0])
        assert theirs[1] is None or mine[1].equal(theirs[1])
    assert stored[-1][0].equal(pairs[-1][0])
    with pytest.raises(IndexError):
        stored[len(pairs)]
