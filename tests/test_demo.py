"""The stories, the shipped files, and the training: seeded, disjoint, resumable."""

import itertools
import json
from collections import Counter, defaultdict

import pytest
import torch
from tokenizers import Tokenizer

from quamba_lab.demo import DEMO
from quamba_lab.demo.corpus import ANSWER_WEIGHT, TASK_MIX, StoryBatches, select_stories
from quamba_lab.demo.stories import KINDS, SPLITS, split_of, stories
from quamba_lab.demo.train import Training, TrainingError, train_demo
from quamba_lab.float_model import MambaConfig, MambaLM
from quamba_lab.tasks import load_task

TINY = MambaConfig(vocab_size=2000, hidden_size=16, num_hidden_layers=1, state_size=4)


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.from_file(str(DEMO / "model" / "tokenizer.json"))


@pytest.fixture(scope="module")
def shipped():
    return [json.loads(line) for line in (DEMO / "task.jsonl").read_text(encoding="utf-8").splitlines()]


def take(split, count, seed=0, **more):
    return list(itertools.islice(stories(split, seed, **more), count))


def test_the_same_seed_tells_the_same_stories():
    assert take("train", 30) == take("train", 30)
    assert take("train", 30) != take("train", 30, seed=1)
    assert take("train", 30) != take("train", 30, part=1)


def test_training_never_asks_what_the_task_asks():
    asked = {split: {(s.kind, s.asked, s.answer) for s in take(split, 600)} for split in SPLITS}
    for a, b in itertools.combinations(asked.values(), 2):
        assert not a & b
    for s in take("train", 200, endings=3):
        assert split_of(s.kind, s.asked, s.answer) == "train"


def test_an_answer_stands_in_the_story_but_not_in_the_ending():
    for s in take("test", 400):
        before, _, ending = s.text.rpartition(". ")
        assert ending.endswith(" " + s.answer)
        assert ending.split().count(s.answer) == 1
        assert s.answer in before.replace(",", " ").replace(".", " ").split()


def test_the_same_ending_has_many_answers():
    answers = defaultdict(set)
    for s in take("test", 3000):
        answers[s.kind].add(s.answer)
    assert set(answers) == set(KINDS)
    assert all(len(found) >= 20 for found in answers.values()), {k: len(v) for k, v in answers.items()}


def test_answers_of_a_training_story_are_where_it_says():
    several = 0
    for s in take("train", 200, endings=3):
        spans = [s.text[start:end] for start, end in s.answers]
        assert spans[0] == s.answer
        assert s.text.endswith(" " + spans[-1])
        several += len(spans) > 1
    assert several > 50


def test_shipped_task_comes_from_its_seed(tokenizer, shipped):
    made = select_stories("test", 0, 40, tokenizer, TASK_MIX)
    assert [s.text for s in made] == [record["text"] for record in shipped[:40]]


def test_shipped_texts_are_as_promised(tokenizer, shipped):
    texts = [record["text"] for record in shipped]
    calibration = (DEMO / "calibration.txt").read_text(encoding="utf-8").splitlines()
    assert len(load_task("lambada_demo")) == len(set(texts)) == 5000
    assert len(set(calibration)) == 512
    assert not set(texts) & set(calibration)
    lengths = [len(e.ids) for e in tokenizer.encode_batch(texts)]
    assert min(lengths) >= 40
    assert max(lengths) <= 150
    targets = Counter(len(tokenizer.encode(" " + text.rpartition(" ")[2]).ids) for text in texts[:1000])
    assert sum(count for tokens, count in targets.items() if tokens > 1) > 200
    assert tokenizer.get_vocab_size() == 2000


def test_recorded_accuracy_is_in_the_useful_range():
    record = json.loads((DEMO.parents[1] / "benchmarks" / "results" / "train_demo.json").read_text())
    assert record["task"]["items"] == 5000
    assert 0.45 <= record["task"]["accuracy"] <= 0.70
    assert record["last_sentence_only"]["accuracy"] < 0.05


def test_batches_depend_on_seed_and_step_alone(tokenizer):
    first, again = StoryBatches(tokenizer, 0, 4, 224), StoryBatches(tokenizer, 0, 4, 224)
    again[3]
    tokens, weights = first[5]
    repeated, _ = again[5]
    assert (tokens == repeated).all()
    assert (tokens != first[6][0]).any()
    assert tokens.shape == (4, 225)
    assert weights.shape == (4, 224)
    weighted = tokenizer.decode(tokens[:, 1:][weights == ANSWER_WEIGHT].tolist()).split()
    story_words = set(tokenizer.decode(tokens.flatten().tolist()).replace(".", " ").replace(",", " ").split())
    assert len(weighted) >= 4
    assert set(weighted) <= story_words
    assert ((weights > 0).mean(1) > 0.4).all()


def short(**changes) -> Training:
    return Training(**{"steps": 24, "rows": 2, "length": 224, "learning_rate": 0.03, "warmup": 3, **changes})


def parameters(model: MambaLM):
    return dict(model.named_parameters())


def test_loss_falls_and_a_resumed_training_is_bit_equal(tmp_path, monkeypatch, tokenizer):
    from quamba_lab.demo import train

    monkeypatch.setattr(train, "save_texts", lambda *_: None)  # the texts have tests of their own
    monkeypatch.setattr(train, "train_tokenizer", lambda _: tokenizer)  # learning it takes longer than this training
    options = {"device": "cpu", "progress": False, "config": TINY, "training": short(), "checkpoint_every": 4}
    whole = train_demo(tmp_path / "whole", **options)
    log = json.loads((tmp_path / "whole" / "training.json").read_text())["log"]
    assert log[-1]["loss"] < log[0]["loss"] - 0.3

    train_demo(tmp_path / "cut", **options, time_limit=0.0)
    assert json.loads((tmp_path / "cut" / "training.json").read_text())["log"][-1]["step"] == 1
    resumed = train_demo(tmp_path / "cut", **options)
    for name, weight in parameters(whole).items():
        assert torch.equal(weight, parameters(resumed)[name]), name

    with pytest.raises(TrainingError, match=r"learning_rate=0\.03, not 0\.1"):
        train_demo(tmp_path / "cut", **{**options, "training": short(learning_rate=0.1)})
    loaded = MambaLM.from_folder(tmp_path / "whole" / "model")
    for name, weight in parameters(loaded).items():
        assert torch.equal(weight, parameters(whole)[name].half().float()), name


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"training": Training(), "device": "tpu9"}, "device 'tpu9' is unknown"),
    ],
)
def test_bad_settings_are_explained(tmp_path, options, says):
    with pytest.raises(TrainingError, match=says):
        train_demo(tmp_path, progress=False, **options)


def test_a_file_in_place_of_the_folder_is_explained(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(TrainingError, match="cannot be written"):
        train_demo(tmp_path / "taken", progress=False)
