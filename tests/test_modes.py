"""The mode table and the environment flags."""

import dataclasses

import pytest

from quamba_lab import MODES, Mode
from quamba_lab.modes import FLAGS, ModeError, resolve_mode

TABLE = {
    "0": ("int8", "int8", "published"),
    "2-0": ("int8_dequantized", "requantized", "published"),
    "2-1": ("int8", "int8", "torch_int8"),
    "2-2": ("int8_dequantized", "fp32_grid", "torch_fp32"),
    "2-3": ("fp32", "requantized", "torch_int8"),
    "2-4": ("fp32", "fp32", "torch_fp32"),
    "3": ("fp32_dynamic", "fp32", "torch_fp32"),
    "1": ("fp32", "fp32", "torch_fp32"),
}


def test_the_table_is_the_plan_s():
    assert {name: (m.conv_output, m.u, m.scan) for name, m in MODES.items()} == TABLE
    assert all(mode.summary and mode.name == name for name, mode in MODES.items())


@pytest.mark.parametrize("name", TABLE)
def test_a_mode_s_own_flags_select_it(name):
    environment = dict.fromkeys(MODES[name].environment, "true")
    assert Mode.from_environment(environment | {"PATH": "/bin"}).name == name
    assert Mode.from_environment({flag: environment.get(flag, "false") for flag in FLAGS}).name == name


@pytest.mark.parametrize("flags", [
    {"SSM_USE_PYTORCH_INT8"},
    {"FLOAT_SIM_ASIC_INT8", "SSM_USE_PYTORCH_INT8", "SSM_USE_CUDA_FOR_FP32"},
    {"FLOAT_SIM_ASIC_INT8", "CONV1D_MODE23_FP32", "CONV1D_MODE24_FP32"},
    {"FP32_SSM_INPUT", "CONV1D_MODE3_FP32"},
])  # fmt: skip
def test_contradictory_flags_are_an_error_that_names_them(flags):
    with pytest.raises(ModeError) as error:
        Mode.from_environment(dict.fromkeys(flags, "1"))
    assert all(flag in str(error.value) for flag in flags)
    assert "unset" in str(error.value)


def test_a_flag_that_is_neither_true_nor_false_is_an_error():
    with pytest.raises(ModeError, match="FP32_SSM_INPUT='yes please'"):
        Mode.from_environment({"FP32_SSM_INPUT": "yes please"})


def test_a_given_mode_decides_and_the_environment_only_without_one(monkeypatch):
    for flag in FLAGS:
        monkeypatch.delenv(flag, raising=False)
    assert resolve_mode(None) is MODES["0"]
    monkeypatch.setenv("FP32_SSM_INPUT", "true")
    assert resolve_mode(None) is MODES["1"]
    assert resolve_mode("2-1") is MODES["2-1"]
    assert resolve_mode(MODES["2-4"]) is MODES["2-4"]


def test_an_unknown_mode_names_those_that_exist():
    with pytest.raises(ModeError, match=r"unknown mode '2-7'.*2-0"):
        Mode.get("2-7")


@pytest.mark.parametrize(("conv", "u"), [("int8", "fp32"), ("int8_dequantized", "fp32"), ("fp32", "int8")])
def test_rows_that_make_no_sense_are_refused(conv, u):
    with pytest.raises(ModeError, match="cannot come from"):
        Mode("mine", conv, u, "oracle")


def test_another_scan_gives_the_row_another_name():
    mine = MODES["2-1"].with_scan("oracle")
    assert (mine.name, mine.scan, mine.environment) == ("2-1+oracle", "oracle", ())
    assert (mine.conv_output, mine.u) == ("int8", "int8")
    assert MODES["2-1"].with_scan("torch_int8") is MODES["2-1"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        mine.scan = "torch_int8"
