"""Tasks, their files, and the scoring of last words."""

import gzip
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from quamba_lab.demo import DEMO
from quamba_lab.float_model import MambaConfig, MambaLM
from quamba_lab.tasks import EvaluationInterrupted, Item, Task, TaskError, evaluate, load_task, tokenize


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.from_file(str(DEMO / "model" / "tokenizer.json"))


@pytest.fixture(scope="module")
def model():
    made = MambaLM(MambaConfig(vocab_size=2000, hidden_size=16, num_hidden_layers=1)).initialize(0)
    with torch.no_grad():
        made.backbone.embeddings.weight.mul_(40)
    return made


@pytest.fixture(scope="module")
def task():
    return Task("few", load_task("lambada_demo").items[:12])


def score_alone(model, item, tokenizer):
    """One item, without batches: the definition."""
    whole = tokenizer.encode(item.context + item.target).ids
    context = tokenizer.encode(item.context).ids
    correct, total = True, 0.0
    for at in range(len(context), len(whole)):
        logits = model(torch.tensor([whole[:at]]))[0, -1].double()
        total += math.log(torch.softmax(logits, 0)[whole[at]].item())
        correct &= int(logits.argmax()) == whole[at]
    return correct, total, len(whole) - len(context)


def test_batches_score_like_one_item_at_a_time(model, task, tokenizer):
    result = evaluate(model, task, tokenizer=tokenizer, progress=False)
    with torch.no_grad():
        alone = [score_alone(model, item, tokenizer) for item in task.items]
    assert result.correct.tolist() == [a[0] for a in alone]
    np.testing.assert_allclose(result.log_probability, [a[1] for a in alone], atol=1e-4)
    assert result.target_tokens.tolist() == [a[2] for a in alone]
    assert max(result.target_tokens) > 1, "an item with several target tokens belongs to this test"
    assert result.perplexity == pytest.approx(math.exp(-np.mean([a[1] for a in alone])), rel=1e-4)


def test_knowing_model_is_right_everywhere_and_a_wrong_one_nowhere(task, tokenizer):
    answers = {tuple(tokenize(item, tokenizer)[0]) for item in task.items}

    def oracle(sign):
        def model(tokens):
            logits = torch.zeros(*tokens.shape, 2000)
            for row, known in enumerate(tokens.tolist()):
                whole = next(a for a in answers if list(a[:-1]) == known)
                logits[row, torch.arange(len(known)), torch.tensor(whole[1:])] = sign * 30.0
            return logits

        return model

    right = evaluate(oracle(1), task, tokenizer=tokenizer, progress=False)
    wrong = evaluate(oracle(-1), task, tokenizer=tokenizer, progress=False)
    assert (right.accuracy, wrong.accuracy) == (1.0, 0.0)
    assert right.perplexity == pytest.approx(1.0, abs=1e-6)
    np.testing.assert_allclose(right.margin, 30.0)
    np.testing.assert_allclose(wrong.margin, -30.0)


def test_every_batch_has_one_length_and_no_padding(task, tokenizer):
    shapes = []

    def model(tokens):
        shapes.append(tuple(tokens.shape))
        return torch.zeros(*tokens.shape, 2000)

    evaluate(model, task, tokenizer=tokenizer, progress=False, batch_tokens=300)
    lengths = sorted(len(tokenize(i, tokenizer)[0]) - 1 for i in task.items)
    assert sorted(l for b, l in shapes for _ in range(b)) == lengths
    assert all(b == 1 or b * l <= 300 for b, l in shapes)


def test_limit_takes_the_first_items(model, task, tokenizer):
    whole = evaluate(model, task, tokenizer=tokenizer, progress=False)
    part = evaluate(model, task, 5, tokenizer=tokenizer, progress=False)
    assert part.items.tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(part.log_probability, whole.log_probability[:5], atol=1e-5)


@pytest.mark.parametrize("limit", [0, -1, 13, True, 2.0, "3"])
def test_bad_limits_are_explained(model, task, tokenizer, limit):
    with pytest.raises(TaskError, match="from 1 to 12"):
        evaluate(model, task, limit, tokenizer=tokenizer, progress=False)


def test_an_interrupt_keeps_what_was_finished(model, task, tokenizer):
    calls = []

    def impatient(tokens):
        calls.append(len(tokens))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return model(tokens)

    with pytest.raises(EvaluationInterrupted) as caught:
        evaluate(impatient, task, tokenizer=tokenizer, progress=False, batch_tokens=1)
    whole = evaluate(model, task, tokenizer=tokenizer, progress=False)
    partial = caught.value.partial
    assert partial.items.tolist() == [0, 1, 2]
    np.testing.assert_allclose(partial.log_probability, whole.log_probability[:3], atol=1e-5)


def test_model_without_tokenizer_is_explained(task):
    with pytest.raises(TaskError, match="pass evaluate"):
        evaluate(lambda tokens: tokens, task, progress=False)


words = st.text(st.characters(codec="utf-8", exclude_categories=("Z", "C")), min_size=1, max_size=9)


@settings(max_examples=60, deadline=None)
@given(st.lists(words, min_size=2, max_size=12))
def test_target_is_the_last_word_and_tokens_lose_nothing(parts):
    tokenizer = Tokenizer.from_file(str(DEMO / "model" / "tokenizer.json"))
    text = " ".join(parts)
    item = Item.from_text(text)
    assert item.target == " " + parts[-1]
    assert item.context + item.target == text
    tokens, count = tokenize(item, tokenizer)
    assert tokenizer.decode(tokens[-count:]) == item.target
    assert tokenizer.decode(tokens) == text


def test_tokens_that_reach_across_the_cut_follow_the_harness():
    """With a vocabulary that merges across the space, the target is what the whole has beyond the context's length."""
    merged = Tokenizer(models.BPE({"a": 0, " ": 1, "b": 2, "a ": 3, "c": 4}, [("a", " ")]))
    merged.pre_tokenizer = pre_tokenizers.Split("~", "isolated")
    tokens, count = tokenize(Item("ca", " b"), merged)
    assert (tokens, count) == ([4, 3, 2], 1)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ('{"text": "one two"}\n{"text": ', "line 2 is not valid JSON"),
        ('{"words": "one two"}', "line 1 has no 'text'"),
        ('{"text": 5}', "line 1 has no 'text'"),
        ('["one two"]', "line 1 has no 'text'"),
        ('{"text": "word"}', "line 1: 'word' has no last word"),
        ('{"text": "a word "}', "has no last word"),
        ('{"text": " word"}', "has no last word"),
    ],
)
def test_bad_task_files_are_explained(tmp_path, content, says):
    path = tmp_path / "task.jsonl"
    path.write_text(content)
    with pytest.raises(TaskError, match=says) as caught:
        load_task(path)
    assert "\n" not in str(caught.value)


def test_unknown_task_names_the_known_one():
    with pytest.raises(TaskError, match="choose lambada_demo"):
        load_task("lambada_openai")


def test_compressed_and_binary_files(tmp_path):
    with gzip.open(tmp_path / "mine.jsonl.gz", "wt") as file:
        file.write(json.dumps({"text": "Good bye"}) + "\n")
    task = load_task(tmp_path / "mine.jsonl.gz")
    assert (task.name, task.items) == ("mine", (Item("Good", " bye"),))
    (tmp_path / "broken.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TaskError, match="UTF-8"):
        load_task(tmp_path / "broken.jsonl")
