"""The words of the stories: names, trades, things, places, and sentences in which nothing happens.

Each list goes from common to rare words.  The tails of the longest are composed of syllables or of shorter words,
so that a vocabulary of 2,000 entries must spell the rarer answers with several tokens.
"""

from __future__ import annotations

__all__ = [
    "ADJECTIVES", "ANIMALS", "COLOURS", "FEATURES", "GARMENTS", "INDOORS", "MEN", "MOODS", "OBJECTS", "OUTDOORS",
    "QUIET", "TIMES", "TRADES", "VERBS", "WOMEN",
]  # fmt: skip



def _words(text: str) -> list[str]:
    """Split at bars where there are any, at spaces otherwise."""
    return text.split("|" if "|" in text else None)


def _compose(heads: str, tails: str) -> list[str]:
    """Every head with every tail, the tails changing faster along a diagonal so that neighbours share neither."""
    first, second = _words(heads), _words(tails)
    return [first[(i + k) % len(first)] + second[k] for i in range(len(first)) for k in range(len(second))]


_ONSETS = "Al Bel Cor Dar El Fen Gal Hel Is Jor Kal Lor Mar Nel Or Per Quin Ros Sal Tal Ul Ver Wil Yor Zan"

WOMEN = _words(
    "Anna Maria Clara Ruth Nora Ida Greta Lena Olga Vera Irene Marta Rosa Alma Edith Judith Helen Agnes Flora Hilda "
    "Louisa Matilda Sophie Emma Julia Paula Tessa Wanda Yvonne Zelda Bianca Carmen Dora Elsa Fiona Gloria Hannah "
    "Ingrid Johanna Katrin Lydia Miriam Nadia Ottilie Petra Ramona Sabine Theresa Ursula Valerie Winifred Amelia "
    "Beatrice Cecilia Daphne Eleanor Felicity Georgina Harriet Isabel Josephine Kathleen Leonora Marguerite Natalia "
    "Octavia Penelope Rosalind Seraphina Tamara Viola Adele Bettina Cordula Delia Esther Francesca Gwen Henrietta Ilse"
) + _compose(_ONSETS, "iska ette andra wyn oria issa thea linde")

MEN = _words(
    "Peter Paul Jonas Karl Emil Oscar Hugo Felix Anton Bruno Victor Walter Otto Max Leo Simon Martin Tom David Adam "
    "Jakob Samuel Daniel Robert Arthur Edgar Frank Georg Henry Ivan Julius Konrad Lukas Moritz Niklas Olaf Philip "
    "Quentin Ralf Stefan Theodor Ulrich Vincent Wilhelm Xaver Albert Benedict Casper Dominic Edmund Ferdinand Gregory "
    "Humphrey Ignatius Jeremy Kenneth Leopold Maximilian Nathaniel Orlando Percival Roderick Sebastian Tobias Valentin "
    "Wolfgang Alistair Barnaby Cornelius Desmond Everett Florian Gideon Horatio Isidor Joachim Klemens Lambert Magnus"
) + _compose(_ONSETS, "mund brecht ric gar aldo ius ander vin")

TRADES = _words(
    "baker miller tailor fisherman carpenter doctor teacher gardener painter farmer blacksmith shepherd sailor potter "
    "butcher weaver mason hunter cook clockmaker librarian musician postman judge captain ferryman innkeeper tanner "
    "cobbler goldsmith beekeeper woodcutter locksmith bookbinder glassblower cartographer apothecary astronomer "
    "chimney-sweep basketmaker lighthouse-keeper stonecutter swordsmith thatcher wheelwright printer sculptor juggler "
    "tinker brewer"
)

OBJECTS = _words(
    "key lantern letter book coin ring knife rope map flute basket bottle blanket candle hammer mirror drum needle "
    "bell brush box cup spoon hat glove scarf stone feather shell apple pear loaf cheese lemon pumpkin walnut ribbon "
    "whistle compass telescope violin trumpet kettle ladle bucket shovel rake sickle saddle bridle lasso anchor net "
    "paddle lamp clock watch purse wallet umbrella cane crutch shawl brooch necklace bracelet pendant amulet crown "
    "sword shield helmet dagger arrow quiver banner scroll parchment inkwell quill ledger diary portrait statue vase "
    "goblet pitcher platter teapot thimble spindle bobbin chisel pliers wrench crowbar lantern-hook magnet marble kite "
    "puppet doll spinning-top puzzle dice chessboard harmonica accordion tambourine mandolin cowbell horseshoe barrel "
    "satchel rucksack hourglass sundial sextant barometer thermometer microscope prism crystal emerald sapphire amber "
    "fossil honeycomb mushroom chestnut turnip cabbage pineapple coconut pomegranate gingerbread marzipan"
) + _compose(
    "pocket hand oil wood glass iron silver travel garden rain bone paper ship clay night",
    "knife lamp box bell case whistle book chain wheel cup stone hook comb pipe mask",
)

INDOORS = _words(
    "kitchen cellar attic barn stable tower chapel library mill inn school workshop bakery cottage cabin greenhouse "
    "pantry hallway theatre museum tavern warehouse granary smithy dairy laundry armoury dungeon monastery observatory "
    "post-office boathouse henhouse woodshed tannery brewery bathhouse courthouse"
) + _compose("stone river hill lower moon grain ox", "hall house vault loft den chamber")

OUTDOORS = _words(
    "garden forest meadow harbour market bridge river lake beach orchard vineyard quarry well fountain churchyard "
    "crossroads hill valley swamp field courtyard square island cliff waterfall clearing pasture riverbank playground "
    "fairground shipyard watchtower windmill aqueduct amphitheatre battlefield mountain-pass lighthouse"
) + _compose("north old birch church market salt wolf", "gate lane field ford wharf green")

COLOURS = _words(
    "red blue green yellow white black brown grey purple orange pink crimson scarlet turquoise violet golden silver "
    "olive ivory maroon indigo lavender emerald-green copper"
)

GARMENTS = _words(
    "coat cloak jacket dress shirt apron vest robe sweater tunic cape suit uniform gown kimono overcoat waistcoat "
    "raincoat"
)

ADJECTIVES = _words(
    "old small heavy broken shiny dusty strange rusty precious tiny painted wooden plain borrowed fine curious cracked "
    "polished carved forgotten ancient enormous delicate battered gleaming crooked faded splendid peculiar ornate "
    "tarnished fragile lopsided exquisite"
)

ANIMALS = _words(
    "dog cat horse goat crow owl fox mouse hen goose donkey rabbit squirrel sparrow frog heron badger hedgehog "
    "nightingale weasel beetle grasshopper salamander woodpecker magpie swallow stork otter tortoise dragonfly"
)

VERBS = _words(
    "slept waited wandered watched listened stumbled yawned scratched whistled paused trembled grumbled lingered "
    "vanished appeared rested stared shivered hesitated circled"
)

FEATURES = _words(
    "gate wall fence ditch hedge stairs chimney window doorway roof path bench haystack woodpile signpost milestone "
    "wheelbarrow scarecrow weathercock drainpipe"
)

MOODS = _words(
    "tired cheerful worried hungry proud sleepy calm lonely curious angry thoughtful nervous grateful impatient "
    "melancholy bewildered delighted suspicious homesick silent"
)

TIMES = _words(
    "One morning|One evening|Early in spring|Late in autumn|On a cold Monday|After the harvest|Before the feast|"
    "On the longest day of the year|During the great flood|At the end of winter|Shortly before Christmas|Last Sunday|"
    "Many years ago|On market day|In the week of the fair|While the snow was melting"
)

QUIET = _words(
    "The wind grew stronger.|It began to rain.|Nobody said a word.|A bell rang far away.|The sun went behind a cloud.|"
    "Somewhere a door slammed.|The fire had burned low.|There was a smell of smoke.|Leaves blew across the path.|"
    "The road was empty.|A cart rolled by.|The clock struck four.|Children were laughing in the distance.|"
    "The fog came in from the sea.|For a while nothing happened.|The soup was getting cold.|Thunder rolled over the "
    "hills.|It was quiet again.|A shutter banged in the draught.|The last customers went home.|Bread was cheap that "
    "year.|Nobody had slept well.|The moon rose slowly.|Dust lay on everything.|Snow covered the roofs.|The tide was "
    "turning.|An old song drifted through the air.|The candles flickered.|Mist hung over the water.|The days were "
    "getting shorter."
)
