"""The command line: what it refuses it refuses in one sentence, with exit code 2 and no traceback."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from quamba_lab.cli import main


def refused(capsys, *arguments: str) -> str:
    """The one line that a refusal prints."""
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1, captured.err
    assert "Traceback" not in captured.err
    return captured.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["eval", "--ssm_mode", "9"], ["--ssm_mode", "'9'", "2-1"]),
        (["eval", "--limit", "0"], ["limit is 0", "5000"]),
        (["eval", "--limit", "5001"], ["limit is 5001", "5000"]),
        (["eval", "--num_fewshot", "5"], ["5", "use 0"]),
        (["eval", "--tasks", "no_such_task"], ["no_such_task", "lambada_demo"]),
        (["eval", "--model", "no_such_model"], ["no_such_model", "folder"]),
        (["eval", "--device", "tpu"], ["tpu", "cpu"]),
        (["report", "--modes", "0", "7"], ["'7'", "2-2"]),
        (["report", "--modes", "0"], ["two different modes"]),
        (["report", "--mode_a", "0", "--mode_b", "0"], ["two different modes"]),
        (["report", "--lang", "xx"], ["xx", "en"]),
        (["report", "--limit", "3", "--jobs", "0"], ["jobs is 0"]),
        (["report", "--compare", "nowhere", "nowhere"], ["nowhere", "verdict.json"]),
        (["compare", "--steps", "7"], ["7", "1 to 5"]),
        (["diagnose", "--scan", "no.such.module:fn"], ["no.such.module"]),
    ],
)
def test_bad_input_is_one_sentence(capsys, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    message = refused(capsys, *arguments)
    for word in words:
        assert word in message
    assert list(tmp_path.iterdir()) == [], "nothing was written"


def test_contradictory_flags_are_refused(capsys, monkeypatch):
    monkeypatch.setenv("SSM_USE_CUDA_FOR_FP32", "true")
    monkeypatch.setenv("SSM_USE_PYTORCH_INT8", "true")
    assert "SSM_USE_CUDA_FOR_FP32" in refused(capsys, "eval", "--limit", "2")


def test_a_task_line_without_a_last_word_is_named(capsys, tmp_path):
    task = tmp_path / "task.jsonl"
    task.write_text('{"text": "two words"}\n{"text": "one"}\n')
    message = refused(capsys, "eval", "--tasks", str(task), "--limit", "1")
    assert "line 2" in message
    assert "last word" in message


def test_eval_says_accuracy_and_perplexity_and_writes_them(capsys, tmp_path):
    target = tmp_path / "out.json"
    assert main(["eval", "--limit", "4", "--ssm_mode", "2-1", "--json", str(target)]) == 0
    shown = capsys.readouterr().out
    result = json.loads(target.read_text())
    assert f"{100 * result['accuracy']:.2f} %" in shown
    assert result["settings"] == {
        "model": "demo", "task": "lambada_demo", "mode": "2-1", "limit": 4, "device": "cpu",
    }  # fmt: skip
    assert len(result["correct"]) == 4
    low, high = result["accuracy_interval"]
    assert 0 <= low <= result["accuracy"] <= high <= 1


def test_the_flags_select_the_mode_when_none_is_given(capsys, monkeypatch):
    monkeypatch.setenv("FLOAT_SIM_ASIC_INT8", "true")
    assert main(["eval", "--limit", "1"]) == 0
    assert "mode 2-2" in capsys.readouterr().out


def test_eval_refuses_a_json_file_in_no_folder(capsys, tmp_path):
    assert main(["eval", "--limit", "1", "--json", str(tmp_path / "no" / "out.json")]) == 2
    assert "folder" in capsys.readouterr().err


def test_doctor_names_every_scan(capsys, tmp_path):
    from quamba_lab import scans

    target = tmp_path / "doctor.json"
    assert main(["doctor", "--json", str(target)]) == 0
    told = json.loads(target.read_text())
    assert set(told["scans"]) == set(scans.names())
    shown = capsys.readouterr().out
    for name in (*scans.names(), "torch", "C++ compiler", "GPU"):
        assert name in shown


def test_help_names_every_command_and_loads_no_torch():
    code = (
        "import sys; from quamba_lab.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, "help loaded torch"
    for command in ("eval", "report", "compare", "diagnose", "train-demo", "prepare", "bench", "doctor"):
        assert command in result.stdout


@pytest.mark.parametrize("arguments", [[], ["no-such-command"], ["eval", "--limit", "many"]])
def test_argparse_refuses_with_exit_code_2(arguments):
    with pytest.raises(SystemExit) as refusal:
        main(arguments)
    assert refusal.value.code == 2


def test_compare_prints_json_and_its_exit_code_is_the_finding(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    few = ["--limit", "2", "--layers", "0"]
    assert main(["compare", "--a", "2-1", "--b", "2-2", "--steps", "2", "3", *few, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["settings"]["modes"] == ["2-1", "2-2"]
    assert {step: result["status"] for step, result in told["steps"].items()} == {"2": "identical", "3": "identical"}
    assert told["steps"]["2"]["settings"]["layers"] == [0]
    assert main(["compare", "--a", "2-1", "--b", "2-4", "--steps", "2", *few, "--json", "found.json"]) == 1
    assert "different values of scan.u" in capsys.readouterr().out
    assert json.loads((tmp_path / "found.json").read_text())["steps"]["2"]["status"] == "established"
