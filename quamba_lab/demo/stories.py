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
from dataclasses import dataclass, field

from . import lexicon as words

__all__ = ["DIFFICULTIES", "KINDS", "SPLITS", "Difficulty", "Story", "split_of", "stories", "story"]

SPLITS = ("train", "test", "calibration")
_TEST_SHARE, _CALIBRATION_SHARE = 4, 2  # of 40

KINDS = ("holder", "lies", "content", "trade_name", "trade_object", "whereabouts", "carried_to", "colour")
"""What endings ask for: who holds an object, where it lies, what somebody holds, who has a trade, what the one of a
trade holds, where somebody is, where a carried object is, what colour somebody wears."""


@dataclass(frozen=True)
class Difficulty:
    """How much a story asks a reader to keep in mind: ranges, both ends included."""

    people: tuple[int, int]
    objects: tuple[int, int]
    events: tuple[int, int]
    fillers: tuple[int, int]


DIFFICULTIES: dict[str, Difficulty] = {
    "easy": Difficulty(people=(2, 2), objects=(2, 2), events=(1, 3), fillers=(0, 3)),
    "medium": Difficulty(people=(2, 3), objects=(2, 3), events=(3, 5), fillers=(0, 2)),
    "hard": Difficulty(people=(3, 3), objects=(3, 3), events=(5, 7), fillers=(0, 1)),
    "hardest": Difficulty(people=(3, 4), objects=(3, 4), events=(7, 9), fillers=(0, 0)),
}

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


@dataclass
class Person:
    name: str
    pronoun: str
    trade: str
    colour: str
    garment: str
    place: str


@dataclass
class World:
    """The state that the told events have led to.  ``holder`` or ``lies``: where each object is."""

    rng: random.Random
    people: list[Person]
    objects: list[str]
    places: list[str]
    holder: dict[str, Person] = field(default_factory=dict)
    lies: dict[str, str] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    subject: Person | None = None

    def tell(self, subject: Person | None, *forms: str, other: Person | None = None, **values: str) -> None:
        """Append one of ``forms``, with the names of ``subject`` as {A} and ``other`` as {B}.

        A person who acts in two sentences running may become a pronoun, but only when nobody else could be meant.
        """
        form = self.rng.choice(forms)
        if subject is not None:
            again = subject is self.subject and form.startswith("{A} ") and self.rng.random() < 0.5
            values["A"] = subject.pronoun if again else subject.name
        if other is not None:
            values["B"] = other.name
        starts = {"{A} ": subject, "{B} ": other, "{A} and": None}
        self.subject = next((who for start, who in reversed(starts.items()) if form.startswith(start)), None)
        sentence = form.format(**values)
        self.told.append(sentence[0].upper() + sentence[1:])

    def held_by(self, person: Person) -> list[str]:
        return [name for name, holder in self.holder.items() if holder is person]

    def others(self, person: Person) -> list[Person]:
        return [p for p in self.people if p is not person]


def _pick(rng: random.Random, pool: list[str] | tuple[str, ...], count: int) -> list[str]:
    """``count`` different words, those at the head of ``pool`` more often than those at its tail."""
    chosen: list[str] = []
    while len(chosen) < count:
        word = pool[int(len(pool) * rng.random() ** 1.5)]
        if word not in chosen:
            chosen.append(word)
    return chosen


def _at(place: str) -> str:
    return f"in the {place}" if place in _INDOORS else f"at the {place}"


_INDOORS = frozenset(words.INDOORS)
_PLACES = tuple(p for pair in zip(words.OUTDOORS, words.INDOORS, strict=True) for p in pair)


def _new_world(rng: random.Random, difficulty: Difficulty) -> World:
    count = rng.randint(*difficulty.people)
    names = _pick(rng, words.WOMEN, count) + _pick(rng, words.MEN, count)
    rng.shuffle(names)
    trades, colours = _pick(rng, words.TRADES, count), _pick(rng, words.COLOURS, count)
    garments = _pick(rng, words.GARMENTS, count)
    places = _pick(rng, _PLACES, rng.randint(3, 4))
    people = [
        Person(name, "she" if name in words.WOMEN else "he", trade, colour, garment, rng.choice(places))
        for name, trade, colour, garment in zip(names[:count], trades, colours, garments, strict=True)
    ]
    return World(rng, people, _pick(rng, words.OBJECTS, rng.randint(*difficulty.objects)), places)


def _with_article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _some(rng: random.Random, name: str) -> str:
    return _with_article(f"{rng.choice(words.ADJECTIVES)} {name}")


def _introduce(world: World, kind: str) -> None:
    """Say who there is and what each one has: with trades or colours when the ending will ask for them."""
    rng = world.rng
    time = rng.choice(words.TIMES)
    opening = rng.choice(("{time} it began.", "{time} everybody was awake.", "{time}, this happened {at}."))
    world.told.append(opening.format(time=time, at=_at(world.places[0])))
    order = list(world.objects)
    rng.shuffle(order)
    for person in world.people:
        thing = ""
        if order:
            name = order.pop()
            world.holder[name] = person
            thing = _some(rng, name)
        if kind.startswith("trade"):
            forms = ("{A}, the {trade}, {had}.", "There was {one} called {A}, who {had}.", "The {trade} {A} {had}.")
        elif kind == "colour":
            forms = ("{A} wore {clothes} and {had}.", "{A}, in {clothes}, {had}.", "{A} {had} and put on {clothes}.")
        else:
            forms = ("{A} stood {at} and {had}.", "{A}, who {had}, was {at}.", "{A} {had} and was {at}.")
        had = rng.choice(("had {t}", "carried {t}", "had found {t}", "owned {t}", "had bought {t}")).format(t=thing)
        world.tell(
            person, *forms, trade=person.trade, one=_with_article(person.trade),
            clothes=_with_article(f"{person.colour} {person.garment}"),
            had=had if thing else f"felt {rng.choice(words.MOODS)}", at=_at(person.place),
        )  # fmt: skip
    for name in order:
        person = rng.choice(world.people)
        world.holder[name] = person
        thing = _some(rng, name)
        world.tell(person, "{A} also had {t}.", "In the bag of {A} was {t}.", "{A} carried {t} as well.", t=thing)


def _give(world: World) -> None:
    name = world.rng.choice(world.objects)
    if name not in world.holder:
        return _fetch(world, name)
    person = world.holder[name]
    other = world.rng.choice(world.others(person))
    world.holder[name] = other
    world.tell(
        person,
        "{A} gave the {o} to {B}.",
        "{A} handed {B} the {o}.",
        "{A} sold the {o} to {B}.",
        "{B} got the {o} from {A}.",
        "{B} borrowed the {o} from {A}.",
        "{A} lent {B} the {o}.",
        "{A} passed the {o} on to {B}.",
        "The {o} went from {A} to {B}.",
        o=name, other=other,
    )  # fmt: skip


def _fetch(world: World, name: str) -> None:
    person = world.rng.choice(world.people)
    place = world.lies.pop(name)
    world.holder[name], person.place = person, place
    world.tell(
        person,
        "{A} went to the {p} and took the {o}.",
        "{A} fetched the {o} from the {p}.",
        "{A} came upon the {o} {at} and kept it.",
        o=name, p=place, at=_at(place),
    )  # fmt: skip


def _leave(world: World) -> None:
    held = [name for name in world.objects if name in world.holder]
    if len(held) < 2:
        return _give(world)
    name = world.rng.choice(held)
    person = world.holder.pop(name)
    place = world.rng.choice(world.places)
    world.lies[name], person.place = place, place
    world.tell(
        person,
        "{A} left the {o} {at}.",
        "{A} hid the {o} {at}.",
        "{A} took the {o} to the {p} and left it there.",
        "{A} forgot the {o} {at}.",
        o=name, p=place, at=_at(place),
    )  # fmt: skip


def _move(world: World) -> None:
    person = world.rng.choice(world.people)
    place = world.rng.choice([p for p in world.places if p != person.place])
    person.place = place
    world.tell(
        person,
        "{A} went to the {p}.",
        "{A} walked over to the {p}.",
        "{A} hurried to the {p}.",
        "Then {A} set out for the {p}.",
        "A little later {A} arrived {at}.",
        p=place, at=_at(place),
    )  # fmt: skip


def _trade(world: World) -> None:
    held = [name for name in world.objects if name in world.holder]
    world.rng.shuffle(held)
    first = held[0] if held else None
    second = next((n for n in held[1:] if world.holder[n] is not world.holder[first]), None)
    if second is None:
        return _give(world)
    a, b = world.holder[first], world.holder[second]
    world.holder[first], world.holder[second] = b, a
    world.tell(
        a,
        "{A} gave {B} the {o} and got the {q} for it.",
        "{A} swapped the {o} for the {q} that {B} had.",
        "{A} and {B} exchanged the {o} and the {q}.",
        o=first, q=second, other=b,
    )  # fmt: skip


def _filler(world: World) -> None:
    rng = world.rng
    if rng.random() < 0.35:
        world.tell(None, rng.choice(words.QUIET))
    elif rng.random() < 0.5:
        animal, verb, feature = _pick(rng, words.ANIMALS, 1)[0], rng.choice(words.VERBS), rng.choice(words.FEATURES)
        world.tell(None, "A {n} {v} near the {f}.", "The {n} {v} by the {f}.", n=animal, v=verb, f=feature)
    else:
        person, other = rng.sample(world.people, 2)
        forms = ("{A} was {m}.", "{A} looked {m}.", "{A} thought of {B}.", "{A} talked with {B} about the {o}.")
        world.tell(person, *forms, m=rng.choice(words.MOODS), other=other, o=rng.choice(world.objects))


_EVENTS = {
    "holder": (_give, _give, _give, _trade, _leave, _move),
    "lies": (_leave, _leave, _leave, _give, _move),
    "content": (_give, _give, _trade, _leave, _move),
    "trade_name": (_give, _move, _leave, _move),
    "trade_object": (_give, _give, _trade, _leave),
    "whereabouts": (_move, _move, _move, _leave, _give),
    "carried_to": (_give, _move, _move, _trade),
    "colour": (_give, _move, _leave, _move),
}


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
    world = _new_world(rng, setting)
    _introduce(world, chosen)
    steps = [rng.choice(_EVENTS[chosen]) for _ in range(rng.randint(*setting.events))]
    steps += [_filler] * rng.randint(*setting.fillers)
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
