"""Every registered scan against the oracle, the registry, and the files of scan inputs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quamba_lab import scans
from quamba_lab.quantized import Quantized
from quamba_lab.scans import ScanError, ScanInputs, ScanOutput, random_inputs
from quamba_lab.scans.oracle import oracle_float64, oracle_taps, to_half

REGISTERED = [name for name in scans.names() if name != "oracle"]
HALF = 2.0**-11  # unit roundoff of float16
SINGLE = 2.0**-24  # of float32


@pytest.fixture
def mine():
    """A name that is free again after the test."""
    yield "mine"
    if "mine" in scans.names():
        scans.unregister("mine")


def run_or_say_why(name: str, x: ScanInputs) -> ScanOutput:
    if reason := scans.unavailable(name):
        pytest.skip(reason)
    return scans.run(name, x)


def positive_size(x: ScanInputs) -> torch.Tensor:
    """y with every term made positive, float64 (b, l, d): what rounding errors are relative to when terms cancel."""
    taps = oracle_taps(x)
    h = torch.zeros(x.batch, x.channels, x.states, dtype=torch.float64)
    C = x.C.dequantize(torch.float64).repeat_interleave(x.channels // x.groups, 1).abs()  # (b, d, n, l)
    size = torch.empty(x.batch, x.channels, x.length, dtype=torch.float64)
    for t in range(x.length):
        h = taps["decay"][:, :, t] * h + taps["drive"][:, :, t].abs()
        size[:, :, t] = (h * C[..., t]).sum(-1)
    if x.D is not None:
        size += (x.D.dequantize(torch.float64)[None, :, None] * x.u.dequantize(torch.float64)).abs()
    if x.z is not None:
        z = x.z.dequantize(torch.float64)
        size *= (z * torch.sigmoid(z)).abs()
    return size.transpose(1, 2)


@st.composite
def problems(draw):
    groups = draw(st.integers(1, 4))
    return random_inputs(
        draw(st.integers(1, 2)), groups * draw(st.integers(1, 6)),
        draw(st.one_of(st.integers(1, 140), st.sampled_from([255, 256, 257, 511, 513]))),
        draw(st.sampled_from([1, 4, 16, 16, 16, 24])), groups, seed=draw(st.integers(0, 9999)),
        z=draw(st.booleans()), D=draw(st.booleans()), dt_bias=draw(st.booleans()),
        extreme=draw(st.sampled_from([False, False, False, True])),
    )  # fmt: skip


@pytest.mark.parametrize("name", REGISTERED)
@settings(max_examples=30, deadline=None)
@given(x=problems())
def test_every_scan_stays_within_the_bound_of_its_arithmetic(name, x):
    """|y - oracle| <= half a unit of float16 + (c * steps + n + 24) u32 * (y with every term made positive).

    Per step, relative to the state of absolute values: exp at most 2 units of its result for its own error and |dt A|
    times the 4 units of its argument (scale, bias, softplus, product; |dt A| <= 60 before the decay vanishes in
    float32, but |x| e^-|x| <= 0.37, so 2 units are enough), one product and one sum: c = 8 bounds them with room.  The
    contraction adds n products and sums, the skip and the gate (whose fast forms err by a few units) the 24.
    """
    y = run_or_say_why(name, x).y.double()
    exact, _ = oracle_float64(x)
    steps = torch.arange(1, x.length + 1)[None, :, None]
    cast = HALF * exact.abs() + 2.0**-25  # half a unit, and half the smallest subnormal
    bound = cast + (8 * steps + x.states + 24) * SINGLE * positive_size(x) * (1 + HALF)
    finite = exact.abs() < 65000
    worst = ((y - exact).abs() / bound)[finite]
    assert (worst <= 1).all(), (name, float(worst.max()))


@pytest.mark.parametrize("name", REGISTERED)
@pytest.mark.parametrize("shape", [(12, 96, 100, 1), (2, 96, 512, 2), (1, 64, 2048, 4), (1, 48, 3000, 3)])
def test_error_and_mismatch_are_those_of_an_honest_scan(name, shape):
    """error/RMS(y) below the float16 unit roundoff, and at most 0.2 % of the values not the correctly rounded ones.

    The first is arithmetic: a cast errs by at most 2^-11 of each value, so RMS(error) <= 2^-11 RMS(y), typically half
    of that; float32 roundings are 2^13 times finer.  The second: a value v of [1, 2) is rounded the other way when one
    of the boundaries, 2^-10 apart, lies within its error e v before the cast: a share e v 2^10, on average 1.4 e 2^10.
    Ten units of float32 (e = 6e-7) flip 0.09 %; an honest scan errs by a few, more where terms cancel.
    """
    batch, channels, length, groups = shape
    x = random_inputs(batch, channels, length, groups=groups, seed=length)
    y = run_or_say_why(name, x).y
    exact, _ = oracle_float64(x)
    error = (y.double() - exact).square().mean().sqrt() / exact.square().mean().sqrt()
    assert error < HALF
    assert (y != to_half(exact)).double().mean() <= 2e-3


@pytest.mark.parametrize("name", scans.names())
def test_the_last_state_has_the_form_that_was_asked_for(name):
    x = random_inputs(2, 8, 30, seed=1)
    exact = oracle_float64(x)[1]
    free = run_or_say_why(name, x).last_state
    assert free.dtype == torch.float32
    torch.testing.assert_close(free.double(), exact, rtol=1e-4, atol=1e-5)
    codes = run_or_say_why(name, replace(x, state_scale=torch.tensor(0.004))).last_state
    assert codes.dtype == torch.int8
    assert (codes.double() - (exact / 0.004).clamp(-128, 127)).abs().max() <= 0.51


@pytest.mark.parametrize("name", scans.names())
def test_a_scan_is_deterministic(name):
    x = random_inputs(3, 24, 200, groups=2, seed=2)
    first, second = run_or_say_why(name, x), run_or_say_why(name, x)
    assert torch.equal(first.y, second.y)
    assert torch.equal(first.last_state, second.last_state)


@pytest.mark.parametrize("name", [n for n in scans.names() if scans.get(n).taps])
def test_taps_have_the_keys_and_shapes_of_the_oracle(name):
    x = random_inputs(2, 8, 20, seed=3)
    if reason := scans.unavailable(name):
        pytest.skip(reason)
    taps, expected = scans.get(name).taps(x), oracle_taps(x)
    assert expected.keys() <= taps.keys()
    for key in expected:
        assert taps[key].shape == expected[key].shape, key
    assert torch.equal(taps["output_cast"].contiguous(), scans.run(name, x).y.contiguous())


# ------------------------------------------------------------------------------------------------------ the registry


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_function_that_returns_only_y(mine, dtype):
    scans.register(mine, lambda x: torch.full((x.batch, x.length, x.channels), 0.5, dtype=dtype))
    output = scans.run(mine, random_inputs(2, 4, 7))
    assert output.y.dtype == torch.float16
    assert output.y.shape == (2, 7, 4)
    assert output.last_state is None
    assert "mine" in output.build
    assert mine in scans.names()


@pytest.mark.parametrize(
    "result",
    [torch.zeros(2, 4, 7), torch.zeros(2, 7, 4, dtype=torch.int8), [1.0], None, ScanOutput(torch.zeros(7, 4))],
)
def test_a_wrong_result_is_named(mine, result):
    scans.register(mine, lambda x: result)
    with pytest.raises(ScanError, match=r"'mine' returned y as .*expected a float tensor of shape \(b, l, d\)"):
        scans.run(mine, random_inputs(2, 4, 7))


def test_names_are_unique_and_known(mine):
    scans.register(mine, lambda x: x)
    with pytest.raises(ValueError, match="'mine' exists"):
        scans.register(mine, lambda x: x)
    scans.register(mine, oracle_taps, overwrite=True, summary="another")
    assert scans.get(mine).summary == "another"
    with pytest.raises(ValueError, match="give a name and a function"):
        scans.register("", lambda x: x)
    with pytest.raises(ValueError, match="give a name and a function"):
        scans.register("other", None)
    with pytest.raises(ValueError, match=r"unknown scan 'orakel': choose one of oracle"):
        scans.run("orakel", random_inputs())
    scans.unregister(mine)
    with pytest.raises(ValueError, match="unknown scan 'mine'"):
        scans.unregister(mine)


def test_a_scan_for_codes_refuses_floats():
    x = random_inputs(1, 4, 5)
    floating = replace(x, u=Quantized(x.u.dequantize(), None))
    with pytest.raises(ScanError, match=r"takes u as torch\.int8, not torch\.float32"):
        scans.run("torch_int8", floating)
    assert torch.equal(scans.run("torch_fp32", floating).y, scans.run("torch_int8", x).y)


def broken(**changes):
    x = random_inputs(2, 6, 5, 4, groups=2, seed=1)
    return replace(x, **{name: change(getattr(x, name)) for name, change in changes.items()})


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (broken(dt=lambda q: q.map(lambda v: v[..., :-1])), r"dt has shape \(2, 6, 4\): expected \(2, 6, 5\)"),
        (broken(B=lambda q: q.map(lambda v: v[:, :1])), r"C has shape"),
        (broken(A_log=lambda q: q.map(lambda v: v[0])), "A_log has shape"),
        (broken(u=lambda q: q.map(lambda v: v[0])), r"u has shape \(6, 5\): expected \(b, d, l\)"),
        (broken(u=lambda q: q.map(lambda v: v[..., :0])), "l=0"),
        (broken(D=lambda q: Quantized(q.dequantize(), None)), r"D is torch\.float32: expected torch\.int8"),
        (broken(u=lambda q: Quantized(q.dequantize(torch.float64), None)), r"u is torch\.float64"),
        (broken(B=lambda q: None), "B is NoneType"),
        (random_inputs(1, 2, 3, 257), "n=257"),
    ],
)
def test_inputs_that_no_scan_could_take_are_refused(x, message):
    with pytest.raises(ScanError, match=message):
        scans.run("oracle", x)


def test_channels_that_do_not_divide_into_groups():
    x = random_inputs(1, 6, 3, groups=2)
    three = x.B.map(lambda v: v.repeat(1, 2, 1, 1))
    with pytest.raises(ScanError, match="d=6 channels do not divide into g=4"):
        scans.run("oracle", replace(x, B=three, C=three))


# --------------------------------------------------------------------------------------------------- cuts and files


@settings(max_examples=40, deadline=None)
@given(x=problems(), data=st.data())
def test_cutting_out_a_part_gives_that_part_of_y(x, data):
    item = data.draw(st.integers(0, x.batch - 1))
    group = data.draw(st.integers(0, x.groups - 1))
    per_group = x.channels // x.groups
    first = group * per_group + data.draw(st.integers(0, per_group - 1))
    last = data.draw(st.integers(first + 1, (group + 1) * per_group))
    length = data.draw(st.integers(1, x.length))
    part = x.narrow(batch=slice(item, item + 1), channels=slice(first, last), length=slice(0, length))
    whole = scans.run("oracle", x).y
    torch.testing.assert_close(
        scans.run("oracle", part).y, whole[item : item + 1, :length, first:last], rtol=2 * HALF, atol=0, equal_nan=True
    )


def test_a_cut_through_a_group_is_refused():
    x = random_inputs(1, 6, 4, groups=2)
    with pytest.raises(ScanError, match="cut through groups of 3"):
        x.narrow(channels=slice(1, 4))
    assert x.narrow(channels=slice(0, 6)).groups == 2
    assert x.narrow(channels=slice(3, 5)).groups == 1


@settings(max_examples=25, deadline=None)
@given(
    x=problems(), softplus=st.booleans(), state=st.sampled_from([None, 0.5]), floating=st.booleans(), on_disk=st.data()
)
def test_a_file_holds_the_inputs_exactly(tmp_path_factory, x, softplus, state, floating, on_disk):
    x = replace(x, softplus=softplus, state_scale=None if state is None else torch.tensor(state))
    if floating:
        x = replace(x, u=Quantized(x.u.dequantize(), None))
    path = tmp_path_factory.mktemp("inputs") / "x.safetensors"
    x.save(path)
    assert [p.name for p in path.parent.iterdir()] == ["x.safetensors"]
    back = ScanInputs.load(path)
    assert back.softplus == softplus
    assert back.operands().keys() == x.operands().keys()
    for name, q in x.operands().items():
        other = back.operands()[name]
        assert torch.equal(other.values, q.values)
        assert other.values.dtype == q.values.dtype
        assert (other.scale is None) == (q.scale is None)
        assert q.scale is None or torch.equal(other.scale, q.scale)
    assert (back.state_scale is None) == (state is None)


def test_a_file_of_something_else_is_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"weights": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ScanError, match="lacks"):
        ScanInputs.load(tmp_path / "other.safetensors")


# ------------------------------------------------------------------------------------------------------- the oracle


@settings(max_examples=30, deadline=None)
@given(x=problems())
def test_the_oracle_equals_its_taps(x):
    taps = oracle_taps(x)
    exact, state = oracle_float64(x)
    # a sum of n products in another order: n units of float64
    size = positive_size(x)
    assert ((taps["gate"].transpose(1, 2) - exact).abs() <= (x.states + 4) * 2.0**-53 * size + 1e-300).all()
    torch.testing.assert_close(state, taps["recurrence"][:, :, -1], rtol=1e-14, atol=1e-300)


def test_the_oracle_can_be_continued():
    x = random_inputs(2, 12, 100, groups=3, seed=4)
    whole, last = oracle_float64(x)
    first, state = oracle_float64(x.narrow(length=slice(0, 41)))
    rest, end = oracle_float64(x.narrow(length=slice(41, 100)), state)
    # torch's exp and logaddexp may end a tensor with other code than they use inside: a unit of float64, not bits
    torch.testing.assert_close(torch.cat([first, rest], 1), whole, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(end, last, rtol=1e-13, atol=0)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(allow_nan=False, width=64), min_size=1, max_size=20))
def test_the_cast_to_half_rounds_once(values):
    import numpy as np

    with np.errstate(over="ignore"):
        expected = np.array(values, dtype=np.float64).astype(np.float16)  # numpy rounds once, to nearest even
    assert np.array_equal(to_half(torch.tensor(values, dtype=torch.float64)).numpy(), expected)


def test_the_cast_to_half_where_two_roundings_go_wrong():
    import math

    tie = 1 + 2.0**-11
    values = [math.nextafter(tie, 2), math.nextafter(tie, 0), tie, 65519.999999999, 65520.0, -65520.0, float("inf")]
    expected = [1 + 2.0**-10, 1.0, 1.0, 65504.0, float("inf"), -float("inf"), float("inf")]
    assert to_half(torch.tensor(values, dtype=torch.float64)).tolist() == expected
