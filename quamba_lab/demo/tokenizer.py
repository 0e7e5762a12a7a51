"""The shipped model's tokenizer: byte-level BPE of 2,000 entries, learned from the training stories."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from .stories import stories

__all__ = ["END_OF_TEXT", "VOCABULARY", "load_tokenizer", "save_tokenizer", "train_tokenizer"]

VOCABULARY = 2000
END_OF_TEXT = "<|endoftext|>"


def train_tokenizer(seed: int, count: int = 20_000) -> Tokenizer:
    """Learn the merges from ``count`` stories of the training split.  ``END_OF_TEXT`` has the id 0."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = (made.text for made in islice(stories("train", seed), count))
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, path: Path) -> None:
    """Write ``tokenizer.json`` (a temporary file first, then a rename)."""
    partial = path.with_name(path.name + ".partial")
    tokenizer.save(str(partial))
    partial.replace(path)


def load_tokenizer(path: Path | str) -> Tokenizer:
    """Read a ``tokenizer.json``.  Raises ``ValueError`` when the file is absent or holds no tokenizer."""
    if not Path(path).is_file():
        raise ValueError(f"{path} does not exist: a model's folder needs its tokenizer.json beside config.json")
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises a bare Exception
        raise ValueError(f"{path} holds no tokenizer ({error}): take the tokenizer.json of the model") from None
