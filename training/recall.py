"""Facts to be copied out of the context: key-value lists, needles in prose, quotations, variables, repeated strings.

A generator takes `(rng, size, prose)` where `size` is the wanted length in characters and `prose` yields filler sentences, and returns
`(context, [(question, answer), ...])`. `document` renders it as a question in a user turn or as plain text.
"""

import string

from chat import dialogue
from listing import listed
from words import ANIMALS, ATTRIBUTES, CITIES_ACTIVITY, COLOURS, DAYS, FOODS, HIDES, NAMES, PLACES, SPOTS, THINGS, pseudo_word, value


LONG = 2300  # characters: from here a passage is there to be searched, and filled with prose


class Prose:
    """Filler: runs of sentences from the training stories, at least `size` characters long."""

    def __init__(self, documents, split):
        self.sentences = [s for d in documents for s in split(d) if 20 < len(s) < 200 and "\n" not in s]

    def run(self, rng, size):
        if size <= 0:
            return []
        at = rng.randrange(max(1, len(self.sentences) - 200))
        picked, length = [], 0
        for sentence in self.sentences[at:]:
            if length > size:
                break
            picked.append(sentence)
            length += len(sentence) + 1
        return picked


def a(thing):
    return ("an " if thing[0] in "aeiou" else "a ") + thing


# Each needle: keys -> (statement, question, answer, start of a sentence that the answer completes).
def secret_number(r):
    what = r.choice(["secret number", "magic number", "pass key", "secret code", "access code", "number of the safe", "PIN"])
    v = value(r, "number")
    return f"The {what} is {v}.", f"What is the {what}?", v, f"The {what} is"


def secret_word(r):
    what = r.choice(["secret word", "magic word", "password", "name of the ship", "name of the horse", "name of the king", "code word"])
    v = r.choice([pseudo_word(r), r.choice(THINGS), pseudo_word(r).capitalize()])
    return f"The {what} is {v}.", f"What is the {what}?", v, f"The {what} is"


def passkey(r):
    v = value(r, "number")
    return f"The pass key is {v}. Remember it. {v} is the pass key.", "What is the pass key?", v, "The pass key is"


def lost(r):
    name, place, thing = r.choice(NAMES), r.choice(PLACES), a(f"{r.choice(COLOURS)} {r.choice(THINGS)}" if r.random() < 0.5 else r.choice(THINGS))
    verb = r.choice(["lost", "found", "bought", "saw", "left", "forgot", "sold"])
    base = {"lost": "lose", "found": "find", "bought": "buy", "saw": "see", "left": "leave", "forgot": "forget", "sold": "sell"}[verb]
    if r.random() < 0.5:
        return f"The special thing {name} {verb} in {place} is {thing}.", f"What is the special thing {name} {verb} in {place}?", thing, f"The special thing {name} {verb} in {place} is"
    return f"{name} {verb} {thing} in {place}.", f"What did {name} {base} in {place}?", thing, f"In {place}, {name} {verb}"


def hidden(r):
    name, thing, where = r.choice(NAMES), r.choice(THINGS), r.choice(HIDES)
    verb, base = r.choice([("hid", "hide"), ("put", "put"), ("found", "find"), ("left", "leave")])
    return f"{name} {verb} the {thing} {where}.", f"Where did {name} {base} the {thing}?", where, f"{name} {verb} the {thing}"


def best_thing(r):
    place, what = r.choice(PLACES), r.choice(CITIES_ACTIVITY)
    if r.random() < 0.5:
        return f"The best thing to do in {place} is {what}.", f"What is the best thing to do in {place}?", what, f"The best thing to do in {place} is"
    return f"The best thing to do in {place} is to {what}.", f"What is the best thing to do in {place}?", what, f"The best thing to do in {place} is to"


def attribute(r):
    name, key = r.choice(NAMES), r.choice(list(ATTRIBUTES))
    v = value(r, ATTRIBUTES[key])
    if r.random() < 0.5:
        return f"The {key} of {name} is {v}.", f"What is the {key} of {name}?", v, f"The {key} of {name} is"
    return f"{name}'s {key} is {v}.", f"What is {name}'s {key}?", v, f"{name}'s {key} is"


def room_colour(r):
    spot, colour, thing = r.choice(SPOTS), r.choice(COLOURS), r.choice(THINGS)
    return f"The {thing} in the {spot} is {colour}.", f"What colour is the {thing} in the {spot}?", colour, f"The {thing} in the {spot} is"


def location(r):
    name, spot = r.choice(NAMES), r.choice(SPOTS)
    return f"{name} is in the {spot}.", f"Where is {name}?", f"in the {spot}", f"{name} is"


def arrival(r):
    name, day, place = r.choice(NAMES), r.choice(DAYS), r.choice(PLACES)
    if r.random() < 0.5:
        return f"{name} will travel to {place} on {day}.", f"When will {name} travel to {place}?", f"on {day}", f"{name} will travel to {place}"
    return f"{name} will travel to {place} on {day}.", f"Where will {name} travel on {day}?", f"to {place}", f"On {day}, {name} will travel"


def bought(r):
    name, n, thing, spot = r.choice(NAMES), str(r.randint(2, 99)), r.choice(FOODS + [t + "s" for t in ANIMALS if t not in ("mouse", "sheep", "goose", "wolf", "fox")]), r.choice(SPOTS)
    return f"{name} saw {n} {thing} in the {spot}.", f"How many {thing} did {name} see in the {spot}?", n, f"In the {spot}, the number of {thing} that {name} saw is"


def owner(r):
    name, thing = r.choice(NAMES), f"{r.choice(COLOURS)} {r.choice(THINGS)}"
    return f"{name} has the {thing}.", f"Who has the {thing}?", name, f"The {thing} belongs to"


# Held out for evaluation: these wordings are never trained on.
def unseen_job(r):
    name, v = r.choice(NAMES), value(r, "job")
    return f"{name} works as {a(v)}.", f"What does {name} work as?", a(v), f"{name} works as"


def unseen_train(r):
    place, v = r.choice(PLACES), value(r, "number")
    return f"The train to {place} has the number {v}.", f"Which number has the train to {place}?", v, f"The train to {place} has the number"


NEEDLES = [secret_number, secret_word, passkey, lost, lost, hidden, best_thing, attribute, attribute, room_colour, location, arrival, bought, owner]
UNSEEN_NEEDLES = [unseen_job, unseen_train]


def distinct(rng, kinds, count):
    """`count` needles with different questions."""
    found = {}
    while len(found) < count:
        needle = rng.choice(kinds)(rng)
        found[needle[1]] = needle
    return list(found.values())


def needles(rng, size, prose, kinds=NEEDLES, count=None):
    """A few facts scattered through a passage."""
    count = count or rng.choice([1, 1, 2, 3, 4, 6] if size <= LONG else [2, 4, 6, 8])
    facts = distinct(rng, kinds, count)
    filler = prose.run(rng, size - sum(len(f[0]) for f in facts))
    for fact in facts:
        filler.insert(rng.randint(0, len(filler)), fact[0])
    return " ".join(filler), facts


def key_values(rng, size, prose):
    """A list of facts of one kind: same wording, different keys."""
    kind = rng.choice([attribute, attribute, attribute, hidden, location, owner, room_colour])
    if kind is attribute:
        key = rng.choice(list(ATTRIBUTES))
        form = rng.choice(["The {k} of {n} is {v}.", "{n}'s {k} is {v}.", "{n}: {v}", "{n} = {v}", "{n} has the {k} {v}."])
        facts = []
        for name in rng.sample(NAMES, min(40, max(2, size // 30))):
            v = value(rng, ATTRIBUTES[key])
            question = rng.choice([f"What is the {key} of {name}?", f"What is {name}'s {key}?"])
            facts.append((form.format(k=key, n=name, v=v), question, v, f"The {key} of {name} is"))
        joint = "\n" if ":" in form or "=" in form or rng.random() < 0.5 else " "
        head = f"{key}:\n" if joint == "\n" and rng.random() < 0.5 else ""
    else:
        facts, joint, head = distinct(rng, [kind], min(30, max(2, size // 32))), rng.choice([" ", "\n"]), ""
    return head + joint.join(f[0] for f in facts), facts


def moves(rng, size, prose):
    """People move; the last place counts."""
    people = rng.sample(NAMES, rng.randint(1, 4))
    place, lines = {}, []
    for _ in range(max(1, size // 32)):
        person, spot = rng.choice(people), rng.choice(SPOTS)
        place[person] = spot
        lines.append(f"{person} {rng.choice(['went to', 'moved to', 'walked to', 'ran to', 'is now in'])} the {spot}.")
    return rng.choice([" ", "\n"]).join(lines), [("", f"Where is {p}?", f"in the {s}", f"{p} is") for p, s in place.items()]


def variables(rng, size, prose):
    """x = 5, y = x."""
    names = rng.sample(string.ascii_lowercase, min(20, max(2, size // 8)))
    values, lines, facts = {}, [], []
    for name in names:
        if values and rng.random() < 0.35:
            other = rng.choice(list(values))
            lines.append(f"{name} = {other}")
            values[name] = values[other]
        else:
            values[name] = value(rng, rng.choice(["age", "number", "colour", "thing"]))
            lines.append(f"{name} = {values[name]}")
        facts.append(("", f"What is {name}?", values[name], f"{name} ="))
    return rng.choice(["\n", "; "]).join(lines), facts


def quotations(rng, size, prose):
    """Who said what."""
    facts, lines = [], []
    said = prose.run(rng, min(size, 500))[: rng.randint(2, 5)]
    for name, sentence in zip(rng.sample(NAMES, len(said)), said):
        sentence = sentence.strip('"').replace('"', "")
        lines.append(rng.choice([f'{name} said, "{sentence}"', f'"{sentence}" said {name}.', f"{name}: {sentence}"]))
        facts.append(rng.choice([("", f"What did {name} say?", sentence, f"{name} said:"), ("", f'Who said "{sentence}"?', name, f'"{sentence}" was said by')]))
    return "\n".join(lines), facts


def items(rng, size, prose):
    """First, last and next item of a list."""
    pool = rng.choice([THINGS, FOODS, ANIMALS, NAMES, PLACES, COLOURS])
    listed = rng.sample(pool, min(len(pool), rng.randint(3, 10)))
    at = rng.randrange(len(listed) - 1)
    facts = [
        ("", "What is the first item?", listed[0], "The first item is"),
        ("", "What is the last item?", listed[-1], "The last item is"),
        ("", f"What comes after {listed[at]}?", listed[at + 1], f"After {listed[at]} comes"),
    ]
    return rng.choice(["List: ", ""]) + rng.choice([", ", " ", "\n"]).join(listed), facts


def copy(rng, size, prose):
    """Repeat a sentence, a list or a random string."""
    kind = rng.random()
    if kind < 0.5:
        text = " ".join(prose.run(rng, min(size, 250))[: rng.randint(1, 3)]) or "Once upon a time."
    elif kind < 0.75:
        text = " ".join(pseudo_word(rng) for _ in range(rng.randint(3, 15)))
    elif kind < 0.9:
        text = " ".join(rng.choice(rng.choice([THINGS, NAMES, FOODS])) for _ in range(rng.randint(3, 20)))
    else:
        text = "".join(rng.choice("0123456789") for _ in range(rng.randint(4, 20)))
    ask = rng.choice(["Repeat this exactly.", "Copy the text.", "Say this again.", "Write the text again."])
    return text, [("", ask, text, "Again:")]


def repeats(rng, size):
    """A random string, then the same again: plain text whose second half can be predicted from the first."""
    pool = rng.choice([None, THINGS, NAMES, string.ascii_uppercase, "0123456789", FOODS + COLOURS])
    once = [pseudo_word(rng) if pool is None else rng.choice(pool) for _ in range(rng.randint(5, max(6, min(40, size // 12))))]
    joint = rng.choice([" ", ", ", "\n"])
    first = joint.join(once) + joint
    return [(first, 0), (first * rng.randint(1, 2), 6, ("", first))]


GENERATORS = [(needles, 6), (key_values, 4), (moves, 1.5), (variables, 1), (quotations, 1), (items, 1), (copy, 1.5)]
FILLING = [(needles, 8), (moves, 1), (key_values, 1)]  # those whose passages are as long as one asks


def document(rng, size, prose, many=False):
    """One training document of about `size` characters; with `many`, more questions about it."""
    kinds = FILLING if many and size > LONG else GENERATORS
    if kinds is GENERATORS and rng.random() < (0.2 if many else 0.1):
        return repeats(rng, size)
    generator = rng.choices([g for g, _ in kinds], [w for _, w in kinds])[0]
    context, facts = generator(rng, size, prose)
    asked = rng.sample(facts, min(len(facts), rng.choice([3, 5, 8] if many else [1, 2, 3, 4])))
    if rng.random() < 0.25:  # plain text: the passage, then sentences that state the facts again
        pieces = [(context + rng.choice(["\n", "\n\n", " "]), 1)]
        for statement, question, answer, start in asked:
            pieces += [(rng.choice([start, f"Question: {question}\nAnswer:"]), 1), (f" {answer}", 20, (statement, answer)), (".\n", 3)]
        return pieces
    turns = []
    values = list(dict.fromkeys(f[2] for f in facts if len(f[2]) < 60))
    choose = len(values) > 2 and rng.random() < 0.2
    for i, (statement, question, copied, start) in enumerate(asked):
        answer = copied
        if choose and copied in values:
            options = rng.sample([v for v in values if v != copied], min(len(values) - 1, rng.randint(2, 4))) + [copied]
            rng.shuffle(options)
            tail, answer = listed(rng, options, copied)
            question += tail
        elif rng.random() < 0.12 and not start.endswith((":", "=")):
            question, answer = f"{question} Answer in a sentence.", f"{start} {answer}."
        if i == 0:
            question = rng.choice([f"{context}\n\n{question}", f"{context}\n\n{question}", f"{context}\n{question}\nAnswer:", f"{context}\nQuestion: {question}\nAnswer:", f"{question}\n\n{context}"])
        turns.append((question, answer, (statement, copied)))
    return dialogue(turns, asked=1, answered=20)


def of_size(sizes, prose, many, rng):
    """A document of between the two `sizes` in characters."""
    return document(rng, rng.randint(*sizes), prose, many)
