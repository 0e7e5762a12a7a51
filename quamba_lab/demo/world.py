"""The small world of a story: who is where, who holds what, what lies where; and the events that change it.

An event changes the world and is told, in one of several forms of words, in :attr:`World.told`.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from . import lexicon as words

__all__ = ["DIFFICULTIES", "EVENTS", "Difficulty", "Person", "World", "filler", "introduce", "new_world"]


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


def new_world(rng: random.Random, difficulty: Difficulty) -> World:
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


def introduce(world: World, kind: str) -> None:
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


def filler(world: World) -> None:
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


EVENTS = {
    "holder": (_give, _give, _give, _trade, _leave, _move),
    "lies": (_leave, _leave, _leave, _give, _move),
    "content": (_give, _give, _trade, _leave, _move),
    "trade_name": (_give, _move, _leave, _move),
    "trade_object": (_give, _give, _trade, _leave),
    "whereabouts": (_move, _move, _move, _leave, _give),
    "carried_to": (_give, _move, _move, _trade),
    "colour": (_give, _move, _leave, _move),
}
"""What may happen, by what the ending will ask for; the more often it stands, the likelier it is."""
