"""General assistant pairs: a hand-written list and small tables put into many wordings."""

from pathlib import Path

from chat import dialogue

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


def load(rng):
    written = [line.split("\t") for line in (Path(__file__).parent / "assistant.tsv").read_text(encoding="utf-8").splitlines()]
    written = [(question, answer.replace("\\n", "\n")) for question, answer in written]
    documents = []
    for question, answer in written + list(table(rng)):
        forms = {question, question.lower(), question.rstrip("?.!"), f"{question}\nAnswer:"}
        for form in sorted(forms):
            documents.append(dialogue([(form, answer)], system=SYSTEM if rng.random() < 0.2 else None))
    for _ in range(len(written)):
        turns = rng.sample(written, rng.randint(2, 4))
        documents.append(dialogue(turns, system=SYSTEM if rng.random() < 0.2 else None))
    return documents
