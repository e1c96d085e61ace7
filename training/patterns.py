"""Rules shown by examples alone: inputs of a few kinds, each kind with its label, and one more input.

The kinds are those of the training data; labels are their names or words without a meaning here, so that only the examples say the rule.
"""

import recall
import tasks
from chat import dialogue
from words import ANIMALS, COLOURS, DAYS, FOODS, JOBS, NAMES, PLACES, SPOTS, THINGS, pseudo_word

WORDS = {"animal": ANIMALS, "colour": COLOURS, "day": DAYS, "food": FOODS, "job": JOBS, "name": NAMES, "city": PLACES, "place": SPOTS, "thing": THINGS}
STATEMENTS = [recall.secret_number, recall.lost, recall.hidden, recall.best_thing, recall.room_colour, recall.arrival, recall.bought, recall.owner]
FORMS = [("Input: {}\nOutput:", "\n"), ("Input: {}\nOutput:", "\n\n"), ("{} ->", "\n"), ("Text: {}\nLabel:", "\n"), ("{}\nIntent:", "\n\n"), ("{}:", "\n")]


def in_lines(form, border, shown, last):
    """Examples and one more input in a single turn; `last` is that input with its label, the answer."""
    lines = [f"{form.format(text)} {label}" for text, label in shown]
    return dialogue([(border.join([*lines, form.format(last[0])]), last[1])], asked=1, answered=20)


class Patterns:
    def __init__(self, data):
        intents = {}
        for row in tasks.rows(data / "tasks/snips_intent/train.jsonl"):
            intents.setdefault(row["choices"][row["answer"]], []).append(row["prompt"].removesuffix("\nIntent:"))
        self.sets = [intents]
        domains, train = tasks.clinc150(data)
        by_domain = {d: {} for d in domains if d not in tasks.HELD_OUT_DOMAINS}
        for text, intent, domain in train:
            if domain in by_domain:
                by_domain[domain].setdefault(intent, []).append(text)
        self.sets += by_domain.values()

    def kinds(self, rng):
        """`{label: inputs}` of two to four kinds."""
        form, count = rng.random(), rng.choice([2, 2, 3, 4])
        if form < 0.3:
            return {kind: rng.sample(WORDS[kind], 7) for kind in rng.sample(sorted(WORDS), count)}
        if form < 0.5:
            return {maker.__name__.replace("_", " "): [maker(rng)[0] for _ in range(7)] for maker in rng.sample(STATEMENTS, count)}
        kinds = rng.choice(self.sets)
        return {kind: rng.sample(kinds[kind], 7) for kind in rng.sample(sorted(kinds), count)}

    def __call__(self, rng):
        kinds = self.kinds(rng)
        if rng.random() < 0.5:
            new = [pseudo_word(rng) for _ in kinds] if rng.random() < 0.5 else rng.sample(["A", "B", "C", "D", "1", "2", "3", "yes", "no", "left", "right", "red", "blue", *THINGS], len(kinds))
            kinds = dict(zip(new, kinds.values()))
        shown = [(text, label) for label, texts in kinds.items() for text in texts[: rng.randint(1, 5)]]
        rng.shuffle(shown)
        asked = rng.choice(sorted(kinds))
        form, border = rng.choice(FORMS)
        if rng.random() < 0.3:  # as turns of a conversation
            return dialogue([*((form.format(text), label) for text, label in shown), (form.format(kinds[asked][-1]), asked)], asked=0)
        return in_lines(form, border, shown, (kinds[asked][-1], asked))
