"""Short stories whose last word only the wider context gives away: the text of the shipped model and task.

A story keeps a small world: who is where, who holds what, what lies where, who has which trade and wears which colour.
Events change the world and are told in varying words, among sentences in which nothing happens; the ending asks about
the world without repeating the answer.  Several people, objects or places of the answer's kind always compete for it.

Everything is drawn from ``random.Random`` seeded by text, so that the same seed gives the same stories everywhere.
The pair (what is asked about, the answer) decides by a checksum whether a story may be used for training, calibration
or the task: the task asks for combinations that training never asked for.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from .world import DIFFICULTIES, EVENTS, Difficulty, World, filler, introduce, new_world

__all__ = ["DIFFICULTIES", "KINDS", "SPLITS", "Difficulty", "Story", "split_of", "stories", "story"]

SPLITS = ("train", "test", "calibration")
_TEST_SHARE, _CALIBRATION_SHARE = 4, 2  # of 40

KINDS = ("holder", "lies", "content", "trade_name", "trade_object", "whereabouts", "carried_to", "colour")
"""What endings ask for: who holds an object, where it lies, what somebody holds, who has a trade, what the one of a
trade holds, where somebody is, where a carried object is, what colour somebody wears."""

MOST_WORDS = 102
"""Stories are told again when they grow longer: at most about 150 tokens."""


@dataclass(frozen=True)
class Story:
    """``text`` ends in the answer, without a full stop; ``asked`` is what the ending asks about.

    A story for training may ask several questions in a row: ``text`` holds them all, ``asked`` and ``answer`` belong
    to the first, and ``answers`` holds the place (first character, end) of every answer in ``text``.
    """

    text: str
    kind: str
    asked: str
    answer: str
    difficulty: str
    answers: tuple[tuple[int, int], ...]


def _ask(world: World, kind: str) -> tuple[str, str, str] | None:
    """The ending (without the answer), what it asks about and the answer; None when this world has no such question."""
    rng = world.rng
    held = [name for name in world.objects if name in world.holder]
    if kind == "holder" and held:
        name = rng.choice(held)
        forms = (
            "In the evening somebody asked for the {o}. By then it belonged to",
            "Who had the {o} now? It was with",
            "Anyone who wanted the {o} had to talk to",
            "When all was done, the {o} was in the hands of",
        )
        return rng.choice(forms).format(o=name), name, world.holder[name].name
    if kind == "lies" and world.lies:
        name = rng.choice(sorted(world.lies))
        forms = (
            "When night fell, nobody had moved the {o} any more. It was still in the",
            "The {o} was missing at supper, for it lay in the",
            "Whoever wants to find the {o} must search the",
        )
        return rng.choice(forms).format(o=name), name, world.lies[name]
    if kind in ("content", "trade_object"):
        owners = [p for p in world.people if len(world.held_by(p)) == 1]
        if not owners or len(world.objects) < 2:
            return None
        person = rng.choice(owners)
        if kind == "content":
            forms = (
                "At last {A} opened the bag and took out the",
                "That night {A} dreamed of losing the",
                "In the end {A} went home with the",
            )
            return rng.choice(forms).format(A=person.name), person.name, world.held_by(person)[0]
        forms = (
            "Before going to bed, the {t} put away the",
            "In the end the {t} went home with the",
            "Nobody could take from the {t} the",
        )
        return rng.choice(forms).format(t=person.trade), person.trade, world.held_by(person)[0]
    person = rng.choice(world.people)
    if kind == "trade_name":
        forms = (
            "Everybody thanked the {t}, whose name was",
            "The {t} had done the most that day, and so they drank to",
            "Only the {t} stayed awake. Good night, they said to",
        )
        return rng.choice(forms).format(t=person.trade), person.trade, person.name
    if kind == "whereabouts":
        forms = (
            "Somebody called for {A}, and the answer came from the",
            "At that hour {A} could be found in the",
            "If you were looking for {A}, you had to go to the",
        )
        return rng.choice(forms).format(A=person.name), person.name, person.place
    if kind == "carried_to" and held:
        name = rng.choice(held)
        forms = (
            "So the {o} had come, in somebody's bag, to the",
            "And that is how the {o} ended up in the",
        )
        return rng.choice(forms).format(o=name), name, world.holder[name].place
    if kind == "colour":
        forms = (
            "From far away one could recognize {A}, who was dressed in",
            "The others looked for {A}, and so they looked for somebody in",
        )
        return rng.choice(forms).format(A=person.name), person.name, person.colour
    return None


def _endings(world: World, kind: str, count: int, split: str | None) -> list[tuple[str, str, str]]:
    """Up to ``count`` different questions of ``kind``, those of ``split`` only."""
    found: dict[str, tuple[str, str, str]] = {}
    for _ in range(2 * count - 1):
        asked = _ask(world, kind)
        if asked is None or len(found) == count:
            break
        if split is None or split_of(kind, asked[1], asked[2]) == split:
            found.setdefault(asked[1], asked)
    return list(found.values())


def story(
    rng: random.Random, difficulty: str, kind: str | None = None, *, split: str | None = None, endings: int = 1
) -> Story | None:
    """One story of a difficulty of :data:`DIFFICULTIES` with up to ``endings`` questions of ``kind`` (any, when None).

    None when the world that was drawn is too long to tell, or has no such question whose answer belongs to ``split``.
    """
    setting = DIFFICULTIES[difficulty]
    chosen = kind or rng.choice(KINDS)
    world = new_world(rng, setting)
    introduce(world, chosen)
    steps = [rng.choice(EVENTS[chosen]) for _ in range(rng.randint(*setting.events))]
    steps += [filler] * rng.randint(*setting.fillers)
    rng.shuffle(steps)
    for step in steps:
        step(world)
    asked = _endings(world, chosen, endings, split)
    text, places = " ".join(world.told), []
    for ending, _, answer in asked:
        text += f"{'.' if places else ''} {ending} "
        places.append((len(text), len(text) + len(answer)))
        text += answer
        if len(places) == 1 and text.count(" ") >= MOST_WORDS:
            return None
    return Story(text, chosen, *asked[0][1:], difficulty, tuple(places)) if asked else None


def split_of(kind: str, asked: str, answer: str) -> str:
    """The split that owns the combination of a question and its answer: one of :data:`SPLITS`."""
    bucket = zlib.crc32(f"{kind}|{asked}|{answer}".encode()) % 40
    if bucket < _TEST_SHARE:
        return "test"
    return "calibration" if bucket < _TEST_SHARE + _CALIBRATION_SHARE else "train"


def stories(
    split: str, seed: int, part: int = 0, mix: dict[str, float] | None = None, endings: int = 1
) -> Iterator[Story]:
    """An endless stream of the stories of one split; ``part`` numbers independent streams of one seed.

    ``mix``: how often each difficulty comes (any positive weights); equally often, when None.
    """
    if split not in SPLITS:
        raise ValueError(f"split {split!r} is unknown: choose {', '.join(SPLITS)}")
    rng = random.Random(f"{split}:{seed}:{part}")
    weights = mix or dict.fromkeys(DIFFICULTIES, 1.0)
    names, shares = list(weights), list(weights.values())
    while True:
        made, difficulty = None, rng.choices(names, shares)[0]
        while made is None:  # of the same difficulty, so that its share does not suffer from being told too long
            made = story(rng, difficulty, split=split, endings=endings)
        yield made
