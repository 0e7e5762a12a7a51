"""The steps on a small model: planted differences between modes, controls, and strange selections."""

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from small_model import small_model
from tokenizers import Tokenizer, models, pre_tokenizers

from quamba_lab import scans, steps
from quamba_lab.modes import MODES
from quamba_lab.scans import ScanOutput
from quamba_lab.steps.is_it_real import judge_pairs
from quamba_lab.steps.reorderings import stochastic_ulp
from quamba_lab.steps.workbook import Answers
from quamba_lab.tasks import Item, Task
from quamba_lab.trace_store import TraceStore

WORDS = [f"w{i}" for i in range(80)]


@cache
def model():
    found = small_model().with_mode("0")
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    found.tokenizer = tokenizer
    return found


@cache
def task():
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, rng.integers(8, 14))) for _ in range(12)]
    return Task("words", tuple(map(Item.from_text, texts)))


def workbook(modes=("0", "2-0", "2-1", "2-2"), limit=12, **more):
    return steps.Workbook(model(), modes, task(), limit, **({"cache_dir": False} | more))


@pytest.fixture
def planted():
    """Register a scan for one test and give a mode like 2-1 that runs it."""
    added = []

    def add(fn, name="planted"):
        scans.register(name, fn)
        added.append(name)
        return replace(MODES["2-1"], name=name, scan=name, environment=())

    yield add
    for name in added:
        scans.unregister(name)


def test_modes_that_must_be_equal_are_and_every_result_serializes_to_the_same_bytes():
    run = workbook()
    results = [steps.is_it_real(run), *steps.compare_modes(run, "0", "2-1", steps=(2, 3, 4, 5))]
    first = results[0]
    assert first.pair("2-0").identical
    assert first.frames["The same mode twice"]["logits_equal"].all()
    assert first.numbers["plan"]["smallest_p"] == 0.5
    again = workbook()
    repeated = [steps.is_it_real(again), *steps.compare_modes(again, "0", "2-1", steps=(2, 3, 4, 5))]
    for result, twin in zip(results, repeated, strict=True):
        text = json.dumps(result.to_json(), allow_nan=False, sort_keys=True)
        assert text == json.dumps(twin.to_json(), allow_nan=False, sort_keys=True)
        assert result.status in ("identical", "rounding", "not established", "established"), result.verdict
        json.dumps(result.view_data(), allow_nan=False)
        for _, figure, alt in result.figures():
            assert figure.axes
            assert len(alt) > 10
    verdict = steps.summary(results)
    assert verdict.verdict.startswith(first.verdict)
    assert verdict.frames["Steps"]["step"].tolist() == [1, 2, 3, 4, 5]
    assert steps.exit_code(results) == 0


def test_traces_on_disk_give_the_same_results_as_traces_in_memory(monkeypatch):
    def results():
        run = workbook(("0", "2-1"), 2)
        return [json.dumps(found.to_json()) for found in steps.compare_modes(run, "0", "2-1", steps=(2, 4))], run

    in_memory, _ = results()
    monkeypatch.setattr("quamba_lab.steps.workbook.TRACE_IN_MEMORY", 0)
    on_disk, run = results()
    assert isinstance(run.free("0"), TraceStore)
    assert on_disk == in_memory
    folder = run.free("0").folder
    run.forget_traces()
    assert not folder.exists()


def test_every_choice_of_the_views_draws():
    run = workbook(("0", "2-1"), 2)
    for result in steps.compare_modes(run, "0", "2-1", layers=[0, 2]):
        views = result.view_data()
        for chart in views["charts"]:
            keys = {"|".join(map(str, ())) if not chart["depends"] else None}
            options = [c["options"] for name in chart["depends"] for c in views["controls"] if c["name"] == name]
            assert len(options) == len(chart["depends"])
            expected = 1
            for values in options:
                expected *= len(values)
            assert len(chart["frames"]) == expected, (result.NAME, chart["name"], keys)
        first = {c["name"]: c["options"][-1] for c in views["controls"]}
        if views["controls"]:
            assert result.figure(**first).axes


def test_one_element_one_layer_one_ulp_is_reported_as_that(planted):
    """The scan of layer 1 alone moves one value of y by one ULP; layers are told apart by B's scale."""
    target = model().layers[1].x_proj.output_scale

    def scan(x):
        output = scans.run("torch_int8", x)
        if torch.equal(x.B.scale, target):
            y = output.y.clone()
            y.view(torch.int16)[0, 3, 5] += 1
            output = ScanOutput(y, output.last_state, "planted")
        return output

    mode = planted(scan)
    run = workbook(["2-1", mode])
    found = steps.scan_outputs(run, "2-1", "planted")
    lock = found.frames["y by layer"].query("run == 'lockstep'").set_index("layer")
    assert lock["differing"].tolist() == [0, 1, 0]
    assert lock.loc[1, "max_ulp"] == 1
    stage = found.frames["Every stage after the scan"].query("run == 'lockstep' and stage == 'scan.y' and layer == 1")
    assert stage["first_difference"].item() == "item 0, token 3, channel 5"
    assert found.status == "rounding"
    inputs = steps.scan_inputs(run, "2-1", "planted")
    assert inputs.status == "identical"
    free = inputs.frames["Differences"].query("run == 'free run' and stage == 'scan.u'").set_index("layer")
    assert free.loc[[0, 1], "differing"].tolist() == [0, 0]


def test_a_scan_that_is_wrong_beyond_rounding_is_a_fault(planted):
    mode = planted(lambda x: scans.run("torch_int8", x).y * 1.02)
    run = workbook(["2-1", mode])
    found = steps.scan_outputs(run, "2-1", "planted")
    assert found.status == "fault"
    assert "more than rounding" in found.verdict
    assert steps.exit_code([found]) == 1


def test_a_mode_that_is_secretly_another_mode_is_called_identical():
    secret = replace(MODES["0"], name="secret", environment=())
    found = steps.is_it_real(workbook(["0", secret]), floor=False)
    assert found.status == "identical"
    assert found.pair("secret").identical


def test_a_scan_that_differs_from_itself_is_named_with_its_first_stage(planted):
    calls = []

    def restless(x):
        calls.append(0)
        y = scans.run("torch_int8", x).y.clone()
        y[0, 0, 0] += 0.01 * len(calls)
        return y

    found = steps.is_it_real(workbook(["0", planted(restless, "restless")], 4), floor=False)
    switches = found.frames["Switches that can change a result"].set_index("switch")
    assert {"threads", "deterministic_algorithms", "cudnn_benchmark", "cublas_workspace_config"} <= {*switches.index}
    assert switches.loc["threads", "mode restless"] == str(torch.get_num_threads())
    assert not found.numbers["deterministic"]
    row = found.frames["The same mode twice"].set_index("mode").loc["restless"]
    assert row["first_stage_that_differs"].startswith("scan.y of layer 0")
    assert "Not reproducible: mode restless" in found.verdict


@pytest.mark.parametrize(("value", "chosen"), [("nan", (1, 2, 3, 4)), ("inf", (1, 4))])
def test_values_that_are_not_finite_end_in_a_sentence(planted, value, chosen):
    def broken(x):
        y = scans.run("torch_int8", x).y.clone()
        y[0, 1, 2] = float(value)
        return y

    run = workbook(["2-1", planted(broken, "broken")], 3)
    for result in steps.compare_modes(run, "2-1", "broken", steps=chosen):
        json.dumps(result.to_json(), allow_nan=False)
        json.dumps(result.view_data(), allow_nan=False)
        result.figures()
        if result.STEP == 4:
            assert result.status == "fault"
            assert "not finite" in result.verdict


def test_one_item_an_empty_selection_and_one_mode():
    one = steps.is_it_real(workbook(("0", "2-1"), 1))
    assert "One item allows no test" in one.verdict or one.status == "identical"
    run = workbook(("0", "2-1"), 2)
    for step in (2, 3, 4, 5):
        (found,) = steps.compare_modes(run, "0", "2-1", steps=[step], layers=[])
        assert found.status == "unknown", found.verdict
        assert found.figures() == []
        json.dumps(found.to_json(), allow_nan=False)
    assert steps.is_it_real(workbook(["0"], 2)).status == "unknown"
    assert steps.summary([]).status == "unknown"


def test_bad_choices_are_refused_in_a_sentence():
    run = workbook(("0", "2-1"), 2)
    for call, words in (
        (lambda: steps.scan_inputs(run, "0", "2-1", layers=[7]), "layer 7 is out of range"),
        (lambda: steps.scan_inputs(run, "0", "2-1", items=[99]), "item 99 is out of range"),
        (lambda: steps.scan_inputs(run, "0", "9"), "unknown mode '9'"),
        (lambda: list(steps.compare_modes(run, "0", "2-1", steps=[6])), "the debug plan's steps are 1, 2, 3, 4, 5"),
        (lambda: workbook(limit=0), "limit is 0"),
        (lambda: workbook(modes="0"), "pass a list"),
    ):
        with pytest.raises(ValueError, match=words):
            call()


def answers(correct, log_probability, digest):
    return Answers("m", "plain", np.array(correct), np.array(log_probability), np.zeros(len(correct)), digest, ())


def test_all_right_and_a_repeated_mode_is_one_test_not_three():
    right, logp = [True] * 30, np.linspace(-2, -1, 30)
    shifted = logp - 0.1 * np.linspace(0.5, 1.5, 30)
    pairs = judge_pairs({"0": answers(right, logp, "x"), "2-0": answers(right, logp, "x"),
                         "2-1": answers(right, shifted, "y")})  # fmt: skip
    by_name = {p.name: p for p in pairs}
    assert by_name["2-0 against 0"].status == "identical"
    found = by_name["2-1 against 0"]
    assert found.status == "established"
    assert "established in log-probability" in found.sentence
    assert found.p_log_probability == pytest.approx(min(1, 2 * found.log_probability.p))  # two tests, not four
    assert found.direction == "no direction to compare"


def test_stochastic_rounding_moves_a_quarter_by_one_ulp():
    y = torch.randn(4, 50, 60).half()
    y[0, 0, 0], y[0, 0, 1] = 0.0, float("nan")
    moved = stochastic_ulp(y, torch.Generator().manual_seed(1))
    step = (moved.view(torch.int16) - y.view(torch.int16)).abs()
    assert step.max() == 1
    assert step.double().mean().item() == pytest.approx(0.25, abs=0.02)
    assert moved[0, 0, 0] == 0
    assert torch.isnan(moved[0, 0, 1])


def test_the_cache_is_shared_and_survives_damage(tmp_path):
    first = workbook(("0", "2-1"), 3, cache_dir=tmp_path)
    digest = first.answers("0").digest
    (kept,) = tmp_path.glob("*.json")
    stamp = kept.stat().st_mtime_ns
    assert workbook(("0",), 3, cache_dir=tmp_path).answers("0").digest == digest
    assert kept.stat().st_mtime_ns == stamp
    kept.write_text("{")
    assert workbook(("0",), 3, cache_dir=tmp_path).answers("0").digest == digest
    workbook(("0",), 2, cache_dir=tmp_path).answers("0")
    assert len(list(tmp_path.glob("*.json"))) == 2


def test_a_foreign_scan_is_never_taken_from_disk(tmp_path, planted):
    run = workbook(["0", planted(lambda x: scans.run("torch_int8", x).y)], 2, cache_dir=tmp_path)
    run.answers("planted")
    assert not list(tmp_path.glob("*.json"))


def test_the_plans_figures_are_judged_before_anything_runs():
    found = steps.plans_figures()
    assert found.status == "not established"
    assert "38 of 100 against 36 of 100 establishes nothing by itself" in found.verdict
    assert found.numbers["smallest_p"] == 0.5
    assert len(found.table()) == 37
    assert found.figure().axes
    json.dumps(found.to_json(), allow_nan=False)
    assert steps.plans_figures(90, 10, 100).status == "established"
    with pytest.raises(ValueError, match="101 and 3 right of 100"):
        steps.plans_figures(101, 3, 100)


def test_every_item_is_kept_and_few_items_are_said():
    found = steps.is_it_real(workbook(("0", "2-1"), 5))
    items = found.items()
    assert items.groupby("mode").size().to_dict() == {"0": 5, "2-1": 5}
    kept = found.to_json()["items"]["2-1"]
    assert kept["correct"] == found.answers["2-1"].correct.tolist()
    assert kept["log_probability"] == pytest.approx(found.answers["2-1"].log_probability)
    if found.status != "identical":
        assert "rests on 5 items only" in found.verdict
    assert found.frames["Difference in units of the floor"]["items"].eq(5).all()


def test_the_floor_has_scores_of_its_own():
    run = workbook(("0", "2-1"), 12)
    found = steps.is_it_real(run)
    floor = found.frames["Legal reorderings"].set_index("reordering")
    seeds = [f"ulp {seed}" for seed in range(1, 6)]
    assert list(floor.index) == ["batch 1", "batch 7", "batch 32", "padded", "chunk 16", *seeds]
    moved = run.answers("0", "ulp 3")
    assert floor.loc["ulp 3", "right"] == moved.correct.sum()
    assert floor.loc["ulp 3", "flips"] == (moved.correct != run.answers("0").correct).sum()
    assert floor.loc["ulp 3", "perplexity"] == pytest.approx(np.exp(-moved.log_probability.mean()))
    assert floor.loc["batch 7", "logits_equal"]  # nothing is padded, so a batch's split changes no bit here


def greedy_task():
    """Items whose last word is what mode 0 would say: every answer is right."""
    found = []
    for item in task().items:
        text = f"{item.context} w0"
        tokens = torch.tensor([[WORDS.index(word) for word in text.split()[:-1]]])
        found.append(Item.from_text(f"{item.context} {WORDS[int(model()(tokens)[0, -1].argmax())]}"))
    return Task("greedy", tuple(found))


def test_a_task_that_all_answer_rightly_says_so():
    run = steps.Workbook(model(), ("0", "2-0", "2-1"), greedy_task(), 12, cache_dir=False)
    found = steps.is_it_real(run, floor=False)
    assert found.frames["Modes"]["right"].tolist() == [12, 12, 12]
    assert "Every mode answers every item right" in found.verdict
    assert np.isinf(found.pair("2-1").items_observed)


@pytest.mark.parametrize(
    ("shift", "words"),
    [(-0.5, "The less accurate mode, b, has the worse log-probability too."),
     (0.5, "The less accurate mode, b, has the better log-probability, which speaks for chance.")],
)  # fmt: skip
def test_the_verdict_says_whether_accuracy_and_log_probability_agree(shift, words):
    rng = np.random.default_rng(0)
    logp = rng.normal(-2, 1, 40)
    right = np.arange(40) % 2 == 0
    fewer = right.copy()
    fewer[[0, 2]] = False
    (pair,) = judge_pairs({"a": answers(right, logp, "x"), "b": answers(fewer, logp + shift, "y")})
    assert pair.direction_sentence == words
    (same,) = judge_pairs({"a": answers(right, logp, "x"), "b": answers(right, logp + shift, "y")})
    assert "Neither is the less accurate one" in same.direction_sentence
