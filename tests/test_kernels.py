"""What one call of a scan checks before it runs, what it may remember of earlier calls, and what it may not."""

from __future__ import annotations

import gc
from dataclasses import replace

import pytest
import torch

from quamba_lab import scans
from quamba_lab.quantized import Quantized
from quamba_lab.scans import ScanError, ScanOutput, kernels, random_inputs
from quamba_lab.scans.folded import folded
from quamba_lab.scans.kernels import addresses, check_scales, checked_addresses, checked_operands, flatten


@pytest.fixture(params=["torch's guards", "without them"])
def remembering(request, monkeypatch):
    """Both ways to know operands again; the second is that of a torch that has no such guards."""
    monkeypatch.setattr(kernels, "_PASSED", {})
    if request.param == "without them":
        monkeypatch.setattr(kernels, "_Guards", None)


def same(found: tuple, expected: tuple) -> bool:
    return len(found) == len(expected) and all(
        torch.equal(a, b) if isinstance(b, torch.Tensor) else a is b for a, b in zip(found, expected, strict=True)
    )


@pytest.mark.parametrize("absent", [(), ("z",), ("D", "dt_bias"), ("z", "D", "dt_bias")])
def test_checked_operands_are_the_flattened_ones_of_this_call(remembering, absent):
    for seed in range(3):
        x = replace(random_inputs(2, 12, 7, 5, 3, seed=seed, state_scale=0.1), **dict.fromkeys(absent))
        for _ in range(2):
            operands, sizes = checked_operands(x)
            assert sizes == (2, 12, 7, 5, 3)
            assert same(operands, flatten(x))


CHANGES = {
    "a shorter dt": ("dt", lambda v: v[..., :-1].contiguous(), r"dt has shape \(2, 12, 6\)"),
    "z with l and d exchanged": ("z", lambda v: v.transpose(1, 2), r"z has shape \(2, 7, 12\)"),
    "other groups of C": ("C", lambda v: v[:, :1].contiguous(), "C has shape"),
    "fewer states": ("A_log", lambda v: v[:, 1:].contiguous(), "B has shape"),
    "a longer D": ("D", lambda v: torch.cat([v, v]), r"D has shape \(24,\)"),
    "a flat bias": ("dt_bias", lambda v: v[:, None], r"dt_bias has shape \(12, 1\)"),
    "another device": ("B", lambda v: v.to("meta"), "B is on meta and u on cpu"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_shape_that_passed_before_excuses_no_later_one(remembering, what):
    x = random_inputs(2, 12, 7, 5, 3)
    checked_operands(x)
    checked_operands(x)
    name, change, message = CHANGES[what]
    wrong = replace(x, **{name: getattr(x, name).map(change)})
    for call in (checked_operands, folded, lambda x: scans.run("folded", x)):
        with pytest.raises(ScanError, match=message):
            call(wrong)


def test_a_dtype_that_passed_before_excuses_no_later_one(remembering):
    x = random_inputs(2, 12, 7, 5, 3)
    checked_operands(x)
    with pytest.raises(ScanError, match=r"dt is torch\.float32: expected torch\.int8"):
        checked_operands(replace(x, dt=Quantized(x.dt.dequantize(), None)))
    floating = replace(x, u=Quantized(x.u.dequantize(), None))
    assert checked_operands(floating)[0][0].dtype == torch.float32
    assert checked_operands(x)[0][0].dtype == torch.int8


def test_a_tensor_that_changes_its_shape_in_place_is_seen(remembering):
    x = random_inputs(2, 12, 7, 5, 3)
    checked_operands(x)
    x.z.values.resize_(2, 12, 6)
    with pytest.raises(ScanError, match="z has shape"):
        checked_operands(x)


@pytest.mark.parametrize("name", ["u", "z", "D"])
def test_what_is_not_quantized_is_named(remembering, name):
    x = random_inputs(1, 4, 5)
    bare = replace(x, **{name: getattr(x, name).values})
    for scan in ("folded", "torch_int8"):
        with pytest.raises(ScanError, match=f"{name} is Tensor: pass Quantized"):
            scans.run(scan, bare)


def test_operands_that_are_not_contiguous_are_made_so_every_time(remembering):
    x = random_inputs(2, 12, 7, 5, 3, seed=1)
    turned = replace(x, u=x.u.map(lambda v: v.transpose(1, 2).contiguous().transpose(1, 2)))
    for given in (x, turned, x, turned, turned):
        operands, _ = checked_operands(given)
        assert all(t.is_contiguous() for t in operands[:8])
        assert same(operands, flatten(x))


def test_the_stride_of_a_dimension_of_one_does_not_matter(remembering):
    x = random_inputs(3, 12, 7, 5, 3)
    for i in range(3):
        one = x.narrow(batch=slice(i, i + 1))
        view = replace(one, u=x.u.map(lambda v, i=i: v[i : i + 1]))  # contiguous, its first stride that of x
        assert same(checked_operands(view)[0], flatten(one))


def test_remembered_operands_hold_no_tensor_and_are_bounded(monkeypatch):
    monkeypatch.setattr(kernels, "_PASSED", {})
    monkeypatch.setattr(kernels, "_MOST_PASSED", 4)
    import weakref

    for length in range(1, 10):
        x = random_inputs(1, 4, length, 3)
        checked_operands(x)
        watch = weakref.ref(x.u.values)
        del x
        gc.collect()
        assert watch() is None
        assert len(kernels._PASSED) <= 4


# ------------------------------------------------------------------------------------------------------- the scales


def test_addresses_follow_the_operands():
    x = random_inputs(1, 8, 9, state_scale=0.1)
    operands = flatten(x)
    assert addresses(operands) == tuple(t.data_ptr() for t in operands[:17])
    without = flatten(replace(x, z=None, state_scale=None))
    assert [a == 0 for a in addresses(without)] == [t is None for t in without[:17]]
    assert checked_addresses(operands) == addresses(operands)


def test_a_scale_whose_storage_was_exchanged_is_checked_again():
    x = random_inputs(1, 8, 9)
    check_scales(flatten(x))
    x.B.scale.data = torch.tensor(float("nan"))
    with pytest.raises(ScanError, match="the scale of B = nan"):
        check_scales(flatten(x))


@pytest.mark.parametrize("scale", [0.5, "0.5"])
def test_a_scale_that_is_no_tensor_is_named(scale):
    x = random_inputs(1, 8, 9)
    check_scales(flatten(x))
    for name in ("u", "dt_bias"):
        q = Quantized(getattr(x, name).values, scale)
        with pytest.raises(ScanError, match=f"the scale of {name} is on {type(scale).__name__}"):
            check_scales(flatten(replace(x, **{name: q})))


def test_scales_made_in_inference_mode():
    with torch.inference_mode():
        x = random_inputs(1, 8, 9, state_scale=0.1)
        inside = scans.run("published", x).y if scans.unavailable("published") is None else None
        check_scales(flatten(x))
        bad = replace(x, u=Quantized(x.u.values, torch.tensor(-1.0)))
        with pytest.raises(ScanError, match="the scale of u"):
            check_scales(flatten(bad))
    if inside is not None:
        assert torch.equal(inside, scans.run("published", x).y)


# ------------------------------------------------------------------------------------------------------- the output


def test_an_output_is_frozen_and_unpacks_into_y_and_state():
    y, state = torch.zeros(1), torch.ones(1)
    output = ScanOutput(y, state, build="here")
    a, b = output
    assert a is y
    assert b is state
    with pytest.raises(AttributeError):
        output.y = state
    assert replace(output, y=state).y is state
    assert replace(output, y=state).build == "here"
    assert (ScanOutput(y).last_state, ScanOutput(y).build) == (None, "")
