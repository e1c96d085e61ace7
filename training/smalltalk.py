"""General assistant pairs: a hand-written list and small tables put into many wordings."""

from pathlib import Path

import recall
from chat import dialogue
from words import ANIMALS, COLOURS, FOODS, JOBS, NAMES, PLACES, THINGS, pseudo_word

SYSTEM = "You are mini, a small and helpful assistant."
OPPOSITES = "hot cold|big small|tall short|happy sad|day night|fast slow|old young|good bad|up down|open closed|full empty|rich poor|wet dry|light dark|hard soft|early late|loud quiet|near far|first last|strong weak".split("|")
COLOURS = "grass green|the sky blue|snow white|coal black|a lemon yellow|a banana yellow|a tomato red|milk white|the sun yellow|a leaf green|a strawberry red|chocolate brown|a carrot orange|an elephant grey|a crow black".split("|")
SOUNDS = "dog barks|cat meows|cow moos|duck quacks|sheep bleats|lion roars|pig grunts|horse neighs|frog croaks|bee buzzes|bird sings|mouse squeaks".split("|")
YOUNG = "dog puppy|cat kitten|cow calf|sheep lamb|horse foal|duck duckling|hen chick|bear cub|frog tadpole|goose gosling".split("|")
ORDER = ["Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split(), "January February March April May June July August September October November December".split(), "one two three four five six seven eight nine ten".split()]


def table(rng):
    """Questions from the tables."""
    for pair in OPPOSITES:
        for one, other in (pair.split(), pair.split()[::-1]):
            yield rng.choice([f"What is the opposite of {one}?", f"Give me the opposite of {one}.", f"Which word means the opposite of {one}?"]), f"The opposite of {one} is {other}."
    for pair in COLOURS:
        thing, colour = pair.rsplit(" ", 1)
        yield rng.choice([f"What colour is {thing}?", f"Which colour has {thing}?", f"What color is {thing}?"]), f"{thing[0].upper()}{thing[1:]} is {colour}."
    for pair in SOUNDS:
        animal, sound = pair.split()
        yield rng.choice([f"What does a {animal} do?", f"Which sound does a {animal} make?"]), f"A {animal} {sound}."
    for pair in YOUNG:
        animal, young = pair.split()
        yield rng.choice([f"What is a young {animal} called?", f"What do you call a baby {animal}?"]), f"A young {animal} is called a {young}."
    for names in ORDER:
        for before, after in zip(names, names[1:]):
            yield rng.choice([f"What comes after {before}?", f"What follows {before}?"]), f"{after[0].upper()}{after[1:]} comes after {before}."
            yield f"What comes before {after}?", f"{before[0].upper()}{before[1:]} comes before {after}."
    for _ in range(60):
        a, b = rng.randint(0, 10), rng.randint(0, 10)
        yield rng.choice([f"What is {a} plus {b}?", f"How much is {a} + {b}?", f"{a} + {b} ="]), str(a + b)


def told(rng):
    """`(what the person says, the reply, a later question, its answer, the value)`: something about the person to be remembered."""
    name, animal = rng.choice(NAMES), rng.choice(ANIMALS)
    called = rng.choice([*NAMES, pseudo_word(rng).capitalize()])
    thing, place, food, colour, job = map(rng.choice, (THINGS, PLACES, FOODS, COLOURS, JOBS))
    return rng.choice([
        (f"My name is {name}.", f"Nice to meet you, {name}.", rng.choice(["What is my name?", "Who am I?", "Do you know my name?"]), f"Your name is {name}.", name),
        (f"I am {name}.", f"Hello, {name}! How can I help you?", "What is my name?", f"Your name is {name}.", name),
        (f"My {animal} is called {called}.", f"{called} is a nice name.", f"What is my {animal} called?", f"Your {animal} is called {called}.", called),
        (f"I live in {place}.", f"{place} must be nice.", "Where do I live?", f"You live in {place}.", place),
        (f"I like {food}.", f"Many people like {food}.", "What do I like?", f"You like {food}.", food),
        (f"My favourite colour is {colour}.", f"I like to write about {colour}, too.", "What is my favourite colour?", f"Your favourite colour is {colour}.", colour),
        (f"I work as {recall.a(job)}.", "That sounds like good work.", "What is my job?", f"You are {recall.a(job)}.", job),
        (f"I lost my {thing}.", f"I am sorry. I hope you find your {thing}.", "What did I lose?", f"You lost your {thing}.", thing),
    ])


def remembered(rng, written):
    """A conversation in which the person tells something, perhaps talks of other things, and asks for it."""
    facts = list({fact[2]: fact for fact in (told(rng) for _ in range(rng.randint(1, 3)))}.values())
    turns = [(said, reply) for said, reply, *_ in facts] + rng.sample(written, rng.randint(0, 2))
    for said, _, question, answer, value in rng.sample(facts, rng.randint(1, len(facts))):
        turns.append((question, answer, (said, value)))
    return dialogue(turns)


def load(rng):
    written = [line.split("\t") for line in (Path(__file__).parent / "assistant.tsv").read_text(encoding="utf-8").splitlines()]
    written = [(question, answer.replace("\\n", "\n")) for question, answer in written]
    documents = []
    for question, answer in written + list(table(rng)):
        forms = {question, question.lower(), question.rstrip("?.!"), f"{question}\nAnswer:"}
        for form in sorted(forms):
            documents.append(dialogue([(form, answer)], system=SYSTEM if rng.random() < 0.2 else None))
    documents += [remembered(rng, written) for _ in range(1500)]
    for _ in range(len(written)):
        turns = rng.sample(written, rng.randint(2, 4))
        documents.append(dialogue(turns, system=SYSTEM if rng.random() < 0.2 else None))
    return documents
