"""What people type on their first day: facts, sums, notes, rewriting, lists, sorting, and what a small model cannot do.

`everyday/*.tsv` was written by hand for this project; sums, notes, labels and letters are generated here. Questions of the project's own
evaluations (`examples/newcomer`, `examples/users`) are left out.
"""

import json
import random
import re
from pathlib import Path

import patterns
import recall
import smalltalk
from chat import dialogue
from words import ANIMALS, COLOURS, DAYS, FOODS, JOBS, NAMES, SPOTS, THINGS

ROOT = Path(__file__).resolve().parents[1]
HERE = Path(__file__).parent / "everyday"
MONTHS = "January February March April May June July August September October November December".split()
GIRLS = "Anna Clara Emma Grace Ida Kate Mia Olga Rosa Uma Wendy Zoe Sue Lucy Amy Sara Jane Nina Ruth Ella Gina Julia Lena Nora Petra Sofia Alice Daisy Fiona Helen Laura Molly Polly Rita Tina Bella Dora Yara Aisha Priya Mei Carla".split()
BOYS = "Ben David Felix Henry Jack Leo Max Noah Paul Sam Tom Victor Tim Bob Mark Peter John Oscar Hugo Fred Ivan Karl Martin Omar Ralph Theo Walter Yusuf Brian Eric George Isaac Kevin Ned Otto Simon Vince Will Adam Carl Edgar Amir Jonas".split()
# Names that half of the stories have.
STOCK = {"Lily": GIRLS, "Lucy": GIRLS, "Sue": GIRLS, "Mia": GIRLS, "Sara": GIRLS, "Anna": GIRLS, "Jane": GIRLS, "Molly": GIRLS, "Amy": GIRLS, "Lila": GIRLS,
         "Timmy": BOYS, "Tim": BOYS, "Tom": BOYS, "Max": BOYS, "Ben": BOYS, "Jack": BOYS, "Bob": BOYS, "Billy": BOYS, "Tommy": BOYS, "Sam": BOYS, "Jimmy": BOYS, "Joe": BOYS}

USUAL = re.compile(rf"\b(?:{'|'.join(STOCK)})\b")


def key(text):
    return re.sub(r"[^a-z0-9]+", " ", text.lower()).strip()


def held_out():
    """Keys of the questions that are asked of the finished model."""
    files = [ROOT / "examples/newcomer/questions.jsonl", *sorted((ROOT / "examples/users").glob("*/*.jsonl"))]
    rows = [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    return {key(row["prompt"]) for row in rows}


def pairs(name, forbidden):
    lines = (HERE / f"{name}.tsv").read_text(encoding="utf-8").splitlines()
    found = [[part.replace("\\n", "\n").strip() for part in line.split("\t")] for line in lines]
    return [(question, answer) for question, answer in found if key(question) not in forbidden]


def renamed(text, seed):
    """A text with others in place of the usual names, the same ones for the same seed."""
    return USUAL.sub(lambda found: random.Random(f"{seed} {found[0]}").choice(STOCK[found[0]]), text)


def spoken(rng, question):
    """As one person or another types it."""
    form = rng.random()
    if form < 0.12:
        return question.lower()
    if form < 0.2:
        return question.rstrip("?.!")
    return question


# Sums.

ONES = "zero one two three four five six seven eight nine ten eleven twelve".split()
BUYS = "apples pears eggs coins books pens cards stamps sweets cakes flowers stones buttons balls cups plates tickets marbles nuts oranges".split()


def plus(rng):
    a, b = (rng.randint(0, 10), rng.randint(0, 10)) if rng.random() < 0.5 else (rng.randint(0, 60), rng.randint(0, 40))
    return f"{a} + {b}", [f"What is {a} + {b}?", f"What is {a} plus {b}?", f"How much is {a} + {b}?", f"{a}+{b}", f"{a} + {b} =", f"Add {a} and {b}.", f"Can you add {a} and {b}?", f"What do {a} and {b} make?", f"Calculate {a} + {b}", f"What is the sum of {a} and {b}?"], a + b


def minus(rng):
    a = rng.randint(1, 10) if rng.random() < 0.4 else rng.randint(5, 60)
    b = rng.randint(0, min(a, 20))
    return f"{a} - {b}", [f"What is {a} - {b}?", f"What is {a} minus {b}?", f"How much is {a} - {b}?", f"{a}-{b}", f"{a} - {b} =", f"Subtract {b} from {a}.", f"Take {b} away from {a}.", f"What is the difference between {a} and {b}?"], a - b


def times(rng):
    a, b = rng.randint(0, 10), rng.randint(1, 10)
    return f"{a} x {b}", [f"What is {a} times {b}?", f"What is {a} x {b}?", f"{a} x {b} =", f"{a} * {b}", f"Multiply {a} by {b}.", f"How much is {a} times {b}?", f"What is {a} multiplied by {b}?"], a * b


def share(rng):
    a, b = rng.randint(1, 10), rng.randint(2, 5)
    return f"{a * b} / {b}", [f"What is {a * b} divided by {b}?", f"{a * b} / {b}", f"Divide {a * b} by {b}.", f"How much is {a * b} : {b}?"], a


def half(rng):
    a = rng.randint(1, 30)
    return rng.choice([(f"half of {2 * a}", [f"What is half of {2 * a}?", f"half of {2 * a}", f"How much is half of {2 * a}?", f"Halve {2 * a}."], a),
                       (f"twice {a}", [f"What is twice {a}?", f"What is double {a}?", f"Double {a}.", f"How much is two times {a}?"], 2 * a)])


def gone(rng):
    name, what = rng.choice(NAMES), rng.choice(BUYS)
    a = rng.randint(2, 20)
    b = rng.randint(1, a)
    told = rng.choice([f"I have {a} {what} and lose {b}.", f"I had {a} {what} and ate {b}.", f"{name} has {a} {what} and sells {b}.", f"{name} buys {a} {what} and gives {b} to a friend.",
                       f"There are {a} {what} on the table. {name} takes {b}.", f"There were {a} {what}. {b} are gone.", f"We had {a} {what} and used {b} of them.", f"{name} has {a} {what}. {b} break."])
    return None, [f"{told} {rng.choice(['How many are left?', f'How many {what} are left?', f'How many {what} remain?', 'How many are there now?'])}"], a - b


def more(rng):
    name, other, what = *rng.sample(NAMES, 2), rng.choice(BUYS)
    a, b = rng.randint(1, 15), rng.randint(1, 15)
    return None, [f"{name} has {a} {what} and gets {b} more. How many {what} does {name} have now?", f"{name} has {a} {what}. {other} has {b}. How many {what} do they have together?",
                  f"There are {a} {what} in one box and {b} in another. How many are there in all?", f"I had {a} {what} and bought {b} more. How many do I have?"], a + b


def price(rng):
    what, money = rng.choice(BUYS), rng.choice(["euros", "dollars", "pounds", "coins"])
    a, b = rng.randint(2, 10), rng.randint(2, 10)
    one = what.rstrip("s")
    return None, [f"One {one} costs {a} {money}. What do {b} {what} cost?", f"{recall.a(one).capitalize()} costs {a} {money}. How much are {b} {what}?", f"I buy {b} {what} for {a} {money} each. What do I pay?"], f"{a * b} {money}"


def rows_of(rng):
    a, b = rng.randint(2, 9), rng.randint(2, 9)
    thing, place = rng.choice([("chairs", "rows"), ("eggs", "boxes"), ("trees", "rows"), ("pupils", "groups"), ("cups", "shelves")])
    return None, [f"There are {a} {place} with {b} {thing} each. How many {thing} are there?", f"{a} {place} of {b} {thing}: how many {thing} in all?"], a * b


def bigger(rng):
    a, b = rng.sample(range(1, 100), 2)
    if rng.random() < 0.3:  # digits the other way round are what is confused most
        a = rng.choice([n for n in range(12, 99) if n % 10 != n // 10 and n % 10])
        b = a % 10 * 10 + a // 10
    word, right = rng.choice([("bigger", max), ("larger", max), ("greater", max), ("smaller", min), ("less", min)])
    return None, [f"Which number is {word}, {a} or {b}?", f"Which is {word}: {a} or {b}?", f"Is {a} or {b} {word}?"], right(a, b)


def counting(rng):
    a = rng.randint(0, 98)
    return None, *rng.choice([([f"What number comes after {a}?", f"Which number follows {a}?"], a + 1), ([f"What number comes before {a + 1}?"], a),
                              ([f"Count from {a} to {a + 4}."], ", ".join(str(a + i) for i in range(5))), ([f"Count down from {a + 4} to {a}."], ", ".join(str(a + 4 - i) for i in range(5)))])


KINDS = [plus] * 5 + [minus] * 4 + [times] * 3 + [share, half, half, gone, gone, more, more, price, rows_of, bigger, bigger, counting]


class Sums:
    def __init__(self, forbidden):
        self.forbidden = forbidden

    def one(self, rng):
        while True:
            said, forms, answer = rng.choice(KINDS)(rng)
            question = rng.choice(forms)
            if said and rng.random() < 0.12:  # numbers up to twelve in words
                question = re.sub(r"\b\d+\b", lambda m: ONES[int(m[0])] if int(m[0]) < 13 else m[0], question)
            if key(question) not in self.forbidden:
                return spoken(rng, question), f"{said} = {answer}" if said and rng.random() < 0.4 else str(answer)

    def __call__(self, rng):
        return dialogue([self.one(rng) for _ in range(rng.choice([1, 1, 2, 3]))])


# Notes: a few lines, each with what can be asked about it.

def clock(rng):
    return rng.choice([f"{rng.randint(6, 22)}:{rng.choice(['00', '15', '30', '45', '10', '20', '40', '05', '50'])}", f"{rng.randint(1, 12)} {rng.choice(['am', 'pm'])}", f"{rng.randint(1, 12)} o'clock", "noon"])


EVENTS = "dentist,doctor,team meeting,piano lesson,haircut,choir,parents' evening,swimming class,yoga,interview,dinner with Anna,lunch with the boss,birthday party,concert,guided tour,bus trip,call with the bank,football match,book club,eye test,vet,cooking class".split(",")
ERRANDS = "pick up the parcel|buy milk and bread|water the plants|return the books|pay the rent|call the plumber|feed the cat|bring the keys back|order new ink|post the letter|wash the car|book the room|clean the windows|send the invoice|print the tickets|fix the lamp|collect the cake|take out the bins".split("|")
HOLDS = "screws,nails,old photos,letters,tea bags,candles,wool,batteries,coins,spare keys,maps,socks,pencils,seeds,medals,stamps,buttons,cables,paint,toys".split(",")
TOWNS = "Bern Basel Graz Lyon Turin Ghent Leeds York Bonn Kiel Porto Cork Linz Brno Nice Bergen Malmo Split Gdansk Seville Oxford Dover".split()


def at_event(rng):
    event, day, time = rng.choice(EVENTS), rng.choice(DAYS), clock(rng)
    said = rng.choice([f"{event[0].upper()}{event[1:]} on {day} at {time}.", f"{day}, {time}: {event}.", f"The {event} is on {day} at {time}."])
    return said, [(f"When is the {event}?", f"on {day} at {time}", day), (f"On which day is the {event}?", f"on {day}", day), (f"At what time is the {event}?", f"at {time}", time), (f"What is on {day}?", f"the {event}", event)]


def errand(rng):
    what, day, time = rng.choice(ERRANDS), rng.choice(DAYS), clock(rng)
    said = rng.choice([f"{what[0].upper()}{what[1:]} before {time} on {day}.", f"{what[0].upper()}{what[1:]} by {day}, {time}."])
    return said, [(f"By when do I have to {what}?", f"by {time} on {day}", day), (f"What do I have to do on {day}?", what, what), (f"On which day do I {what}?", f"on {day}", day)]


def who_does(rng):
    name, what, day = rng.choice(NAMES), rng.choice(ERRANDS), rng.choice(DAYS)
    said = rng.choice([f"{name} will {what} on {day}.", f"{name} is going to {what} on {day}.", f"{day}: {name} has to {what}."])
    return said, [(f"Who will {what}?", name, name), (f"Who has to {what}?", name, name), (f"What will {name} do?", what, what), (f"When will {name} {what}?", f"on {day}", day)]


def moved(rng):
    event, first, last = rng.choice(EVENTS), *rng.sample(DAYS, 2)
    if rng.random() < 0.5:
        first, last = (f"{month} {rng.randint(1, 28)}" for month in rng.sample(MONTHS, 2))
    said = rng.choice([f"The {event} is moved from {first} to {last}.", f"The {event} was planned for {first} and is now on {last}."])
    return said, [(f"When is the {event} now?", f"on {last}", last), (f"To which day is the {event} moved?", f"to {last}", last), (f"When was the {event} planned before?", f"on {first}", first)]


def box(rng):
    colour, holds, place = rng.choice(COLOURS), rng.choice(HOLDS), rng.choice(["box", "drawer", "bag", "jar", "tin", "basket"])
    said = rng.choice([f"The {colour} {place} holds {holds}.", f"In the {colour} {place} there are {holds}.", f"The {holds} are in the {colour} {place}."])
    return said, [(f"What is in the {colour} {place}?", holds, holds), (f"Where are the {holds}?", f"in the {colour} {place}", colour), (f"In which {place} are the {holds}?", f"in the {colour} one", colour)]


def hangs(rng):
    thing, room, where = rng.choice(THINGS), rng.choice(SPOTS), rng.choice(["behind the door", "under the mat", "on the top shelf", "next to the window", "in the left drawer", "under the stairs", "on the hook", "behind the mirror", "in the coat pocket", "below the sink"])
    said = rng.choice([f"The {thing} of the {room} is {where}.", f"The {thing} for the {room} hangs {where}.", f"The {room} {thing} lies {where}."])
    return said, [(f"Where is the {thing} of the {room}?", where, where), (f"What is {where}?", f"the {thing} of the {room}", thing)]


def old(rng):
    name, age = rng.choice(NAMES), rng.randint(3, 90)
    said = rng.choice([f"{name} is {age} years old.", f"{name} is {age}.", f"{name} turned {age} this year."])
    return said, [(f"How old is {name}?", rng.choice([str(age), f"{age} years old", f"{name} is {age}."]), str(age)), (f"Who is {age}?", name, name)]


def train(rng):
    town, time, platform = rng.choice(TOWNS), clock(rng), rng.randint(1, 14)
    kind = rng.choice(["train", "bus", "coach"])
    said = rng.choice([f"The {kind} to {town} leaves at {time} from platform {platform}.", f"{kind[0].upper()}{kind[1:]} to {town}: {time}, platform {platform}."])
    return said, [(f"From which platform does the {kind} to {town} leave?", rng.choice([f"platform {platform}", f"from platform {platform}"]), str(platform)), (f"When does the {kind} to {town} leave?", f"at {time}", time), (f"Where does the {kind} from platform {platform} go?", f"to {town}", town)]


def costs(rng):
    food, amount, money = rng.choice(FOODS), rng.randint(2, 30), rng.choice(["euros", "dollars", "pounds"])
    said = rng.choice([f"The {food} costs {amount} {money}.", f"{food[0].upper()}{food[1:]}: {amount} {money}."])
    return said, [(f"What does the {food} cost?", f"{amount} {money}", str(amount)), (f"How much is the {food}?", f"{amount} {money}", str(amount)), (f"What costs {amount} {money}?", f"the {food}", food)]


def works(rng):
    name, job, town = rng.choice(NAMES), rng.choice(JOBS), rng.choice(TOWNS)
    said = rng.choice([f"{name} is {recall.a(job)} and lives in {town}.", f"{name} works as {recall.a(job)} in {town}."])
    return said, [(f"What is {name}'s job?", recall.a(job), job), (f"Who lives in {town}?", name, name), (f"Where does {name} live?", f"in {town}", town), (f"Who is the {job}?", name, name)]


def buys(rng):
    name, many, what = rng.choice(NAMES), rng.randint(2, 20), rng.choice(BUYS)
    said = rng.choice([f"{name} buys {many} {what}.", f"{name} brings {many} {what}.", f"{many} {what} for {name}."])
    return said, [(f"How many {what} does {name} get?", str(many), str(many)), (f"Who gets the {what}?", name, name), (f"What does {name} get?", f"{many} {what}", what)]


LINES = [at_event, errand, who_does, moved, box, hangs, old, train, costs, works, buys]


def notes(rng):
    """Two to five lines and one to three questions about different ones of them."""
    kinds = rng.sample(LINES, rng.choice([1, 2, 2, 3])) * 3
    lines = [kind(rng) for kind in kinds[: rng.randint(2, 5)]]
    # What could be meant by a question stands once.
    told, seen = [], set()
    for said, asked in lines:
        words = {answer for *_, answer in asked}
        if not words & seen:
            told.append((said, asked))
            seen |= words
    head = rng.choice(["", "", "", "Note: ", "Minutes: ", "- ", "Reminder: "])
    gap = "\n" if head == "- " else rng.choice([" ", " ", "\n"])
    text = gap.join(head + said for said, _ in told)
    turns = []
    for said, asked in rng.sample(told, min(len(told), rng.choice([1, 1, 2, 3]))):
        question, answer, value = rng.choice(asked)
        answer = rng.choice([answer, answer, f"{answer[0].upper()}{answer[1:]}."])
        turns.append((question, answer, (said, value)))
    border = "\n" if gap == "\n" else rng.choice([" ", "\n", "\n\n"])
    question, *rest = turns[0]
    turns[0] = (f"{text}{border}{question}", *rest)
    return dialogue(turns)


# Letters and words.

class Letters:
    def __init__(self, forbidden):
        self.forbidden = forbidden
        self.words = sorted({*ANIMALS, *COLOURS, *FOODS, *JOBS, *SPOTS, *THINGS, *"water hand night green table bread light stone paper cloud winter summer school friend window garden music river market".split()})

    def one(self, rng):
        word = rng.choice(self.words)
        phrase = " ".join(rng.sample(self.words, rng.choice([1, 2, 2, 3])))
        asked = rng.choice([
            (["Spell the word '{}' backwards.", "Write {} backwards.", "What is {} spelled backwards?"], word, word[::-1]),
            (["Spell {}.", "Spell the word {}.", "How do you spell {}?"], word, "-".join(word)),
            (["How many letters are in {}?", "How many letters has the word {}?"], word, str(len(word))),
            (["What is the first letter of {}?", "Which letter does {} begin with?"], word, word[0]),
            (["What is the last letter of {}?", "Which letter does {} end with?"], word, word[-1]),
            (["Write in capital letters: {}", "Put this in capitals: {}", "Write this in upper case: {}"], phrase, phrase.upper()),
            (["Write in small letters: {}", "Put this into lower case: {}"], phrase.upper(), phrase),
            (["Repeat: {}", "Say this again: {}", "Write this: {}"], phrase, phrase),
        ])
        if rng.random() < 0.1:
            mixed = rng.sample(self.words, 3)
            asked = (["Put these words in alphabetical order: {}", "Sort: {}"], ", ".join(mixed), ", ".join(sorted(mixed)))
        question = rng.choice(asked[0]).format(asked[1])
        return (question, asked[2], (None, asked[2])) if asked[2] in question else (question, asked[2])

    def __call__(self, rng):
        turns = [self.one(rng) for _ in range(rng.choice([1, 1, 2, 3]))]
        return dialogue([turn for turn in turns if key(turn[0]) not in self.forbidden] or [("Write this: hello", "hello")])


# Labels.

ASKED = [
    "Is this review positive or negative? '{}'", "Is this review positive or negative? {}", "{}\nPositive or negative?", "Positive or negative: {}", "Is this good or bad? {}",
    "Does the writer like it? {}", "What is the mood of this text? {}", "{}\nSentiment:", "Review: {}\nSentiment:", "Sentiment of this text: {}", "Was the person happy? {}",
    "Classify the text as positive, negative or neutral: {}",
]
SAID = {"Is this good or bad? {}": ("good", "bad"), "Does the writer like it? {}": ("yes", "no"), "Was the person happy? {}": ("yes", "no")}
FREE = "up down smile frown plus minus green red gold grey warm cold again never keep drop sweet sour light dark left right A B 1 2 lamp apple stone".split()


class Labels:
    """Opinions with their label, and with labels of a person's own that only examples tell."""

    def __init__(self, forbidden):
        self.by_label = {}
        for text, label in pairs("reviews", forbidden):
            self.by_label.setdefault(label, []).append(text)

    def text(self, rng, label):
        text = rng.choice(self.by_label[label])
        return text.lower() if rng.random() < 0.1 else text

    def plain(self, rng):
        form = rng.choice(ASKED)
        label = rng.choice(["positive", "negative", "positive", "negative", "neutral"] if "neutral" in form or "Sentiment" in form else ["positive", "negative"])
        said = SAID[form][label == "negative"] if form in SAID else label
        return form.format(self.text(rng, label)), said

    def __call__(self, rng):
        if rng.random() < 0.5:
            return dialogue([self.plain(rng) for _ in range(rng.choice([1, 1, 2]))])
        labels = rng.sample(["positive", "negative", "neutral"], rng.choice([2, 2, 3]))
        names = dict(zip(labels, rng.sample(FREE, len(labels))))
        lead = rng.choice(["", "", "What do you say? ", "How is it? ", "Which one? ", "Label: "])
        shown = [(lead + self.text(rng, label), names[label]) for label in labels for _ in range(rng.randint(1, 4))]
        rng.shuffle(shown)
        asked = rng.choice(labels)
        last = (lead + self.text(rng, asked), names[asked])
        if rng.random() < 0.5:
            return dialogue([*shown, last], asked=0)
        form, border = rng.choice([("Input: {}\nOutput:", "\n"), ("{} ->", "\n"), ("Text: {}\nLabel:", "\n"), ("{}:", "\n")])
        return patterns.in_lines(form, border, shown, last)


# System texts that say how to answer.

def commanded(rng, question, answer):
    """A question under a system text that changes how it is answered."""
    name, job, animal = rng.choice(NAMES), rng.choice(JOBS), rng.choice(ANIMALS)
    word = rng.choice(["Well", "Sure", "Listen", "My friend", "Of course", "Hello"])
    form = rng.random()
    if form < 0.25:
        return rng.choice(["Answer in capital letters.", "Always write in capital letters.", "You shout: use capital letters only."]), question, answer.upper()
    if form < 0.4:
        return rng.choice([f"Begin every answer with {word}.", f"Start each answer with the word {word}."]), question, f"{word}, {answer}"
    if form < 0.55:
        return rng.choice([f"End every answer with {word}.", f"Always end with the word {word}."]), question, f"{answer} {word}."
    if form < 0.65:
        return "Write in small letters only.", question, answer.lower()
    who = rng.choice([f"{name}, {recall.a(job)}", f"{name}, a friendly {animal}", f"{name}"])
    asked, said = rng.choice([("Who are you?", f"I am {who}."), ("What is your name?", f"My name is {name}."), ("Introduce yourself.", f"Hello, I am {who}.")])
    return rng.choice([f"You are {who}.", f"Your name is {name}. You are {who}."]), asked, said


GROUPS = ("facts", "limits", "rewriting", "lists", "writing", "notes", "sorting", "words")


def load(rng, stories):
    """Returns `{group: documents}`: what is written by hand, alone and as turns of longer conversations, and stories with many names."""
    forbidden = held_out()
    written = {name: pairs(name, forbidden) for name in GROUPS}
    told = pairs("stories", forbidden)
    everything = [pair for name in GROUPS for pair in written[name]]
    short = [pair for pair in everything if len(pair[0]) + len(pair[1]) < 160]
    by_hand = []
    for question, answer in everything:
        by_hand.append(dialogue([(question, answer)]))
        by_hand.append(dialogue([(spoken(rng, question), answer)], system=smalltalk.SYSTEM if rng.random() < 0.2 else None))
    turns = [dialogue([(spoken(rng, q), a) for q, a in rng.sample(short, rng.randint(2, 7))], system=smalltalk.SYSTEM if rng.random() < 0.2 else None) for _ in range(2500)]
    systems = []
    for _ in range(1500):
        text, question, answer = commanded(rng, *rng.choice(written["facts"]))
        systems.append(dialogue([(question, answer)], system=text))
    named = [dialogue([(question, story)], answered=10) for question, story in told for _ in range(2)]
    for document in stories:
        seed = rng.random()
        named.append([(renamed(text, seed), weight) for text, weight, *_ in document])
    return {"everyday": by_hand, "turns": turns, "systems": systems, "named": named}
