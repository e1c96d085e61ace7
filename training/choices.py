"""Questions about a text, mostly with a list of possible answers.

The right answer stands in the text; the wrong ones are of its kind and stand there too, or in another text.
"""

import re
from collections import Counter, defaultdict

import tasks
from chat import dialogue
from listing import listed
from prose import plain, sentences

# Words too common to be worth asking for.
COMMON = set(
    "that with they were said from what then have this them very when some down would like back could there their into your about will just over "
    "because other same first last one thing things time way two who which those these such more most".split()
)
FOLLOWS = r"(?= (?:in|on|at|of|to|and|was|is|with|that|who|for|from|by|had|were|are|could|would|which|as|or|but|into|so|will|can)\b|[.,;!?])"
# A noun with at most one word before it, and a name inside a sentence.
PHRASE = re.compile(r"\b(?:[Tt]he|[Aa]n?|[Hh]is|[Hh]er|[Tt]heir|[Mm]y) ((?:[a-z]+ )?[a-z]{3,})" + FOLLOWS)
NAME = re.compile(r"\b([A-Z][a-z]{2,})\b")


def ask(rng, text, question, wrong, right, statement=""):
    """One document: text, question and list, in either order of the first two. `statement` is what the answer is read from."""
    options = [*wrong, right]
    rng.shuffle(options)
    tail, answer = listed(rng, options, right) if wrong else ("", right)
    end = rng.choice(["\nAnswer:", "\nAnswer:", "", "\nA:"])
    body = rng.choice([f"{text}\n\n{question}", f"{text}\nQuestion: {question}", f"{text}\nQ: {question}", f"{text}\n\n\nQ: {question}", f"{question}\n\n{text}\n"])
    return dialogue([(body + tail + end, answer, (statement, right))], answered=20)


def tales(data, rng):
    """Questions about fairy tales; the wrong answers are those of other questions about the same passage, else about another."""
    by_passage = defaultdict(list)
    for row in tasks.rows(data / "tasks/fairytaleqa/train.jsonl"):
        passage, question = plain(row["prompt"]).rsplit("\nQuestion:", 1)
        by_passage[re.sub(r"(?<!\n)\n(?!\n)", " ", passage)].append((question.strip().removesuffix("Answer:").strip(), row["answer"].strip()))
    answers = [a for pairs in by_passage.values() for _, a in pairs]
    for passage, pairs in by_passage.items():
        for question, right in pairs:
            near = list(dict.fromkeys(a for _, a in pairs if a.lower() not in right.lower() and right.lower() not in a.lower()))
            for budget in rng.sample([400, 700, 900, 1200, 1800], 3):
                wrong = rng.sample(near, min(len(near), 3))
                while len(wrong) < 3:
                    other = rng.choice(answers)
                    if other not in wrong and other.lower() != right.lower():
                        wrong.append(other)
                text = tasks.near(passage, right, budget)
                if len(text) < 2600:
                    yield ask(rng, text, question, wrong, right)


def places(data, rng):
    """bAbI questions with all answers of the task listed."""
    for folder in sorted((data / "tasks/babi").iterdir()):
        if int(re.match(r"qa(\d+)", folder.name).group(1)) in tasks.HELD_OUT_BABI:
            continue
        rows = tasks.rows(folder / "train.jsonl")
        answers = sorted({r["answer"] for r in rows})
        if len(answers) > 12:
            continue
        for row in rng.sample(rows, min(len(rows), 400)):
            text, question = row["prompt"].removesuffix("\nAnswer:").rsplit("\n", 1)
            wrong = [a for a in answers if a != row["answer"]]
            yield ask(rng, text, question, rng.sample(wrong, min(len(wrong), rng.randint(1, 5))), row["answer"])


def load(data, rng):
    return list(tales(data, rng)) + list(places(data, rng))


class Echoes:
    """Questions made out of any prose: a sentence says it, and its words are asked for.

    `Tom put the ball in the box.` becomes `Who put the ball in the box?`, `Tom put what in the box?` or a gap to be filled.
    """

    def __init__(self, documents):
        self.documents = documents
        words = Counter(word for document in documents for word in re.findall(r"\b[A-Za-z]{3,}\b", document))
        self.names = {word for word, count in words.items() if word.istitle() and words[word.lower()] * 10 < count}

    def passage(self, rng):
        """Sentences that follow each other, of a few hundred to two thousand characters."""
        while True:
            split = sentences(rng.choice(self.documents).replace("\n", " "))
            size = rng.randint(1, min(12, max(1, len(split))))
            at = rng.randint(0, max(0, len(split) - size))
            chosen = [s if s[-1] in ".!?" else s + "." for s in split[at : at + size] if len(s) < 400]
            if chosen and len(" ".join(chosen)) > 60:
                return chosen

    def found(self, sentence):
        """`(question, answer, kind)` for everything in the sentence that can be asked for."""
        body = sentence.rstrip(".!?\"' ")
        for match in PHRASE.finditer(body):
            answer = match.group(1)
            words = answer.split()
            if words[-1] in COMMON or words[0] in COMMON or words[-1].endswith(("ed", "ly")):
                continue
            before, after = body[: match.start()], body[match.end() :]
            question = f"What{after}?" if not before else f"{before}what{after}?"
            yield question, answer, "phrase", f"{before}___{after}"
        for match in NAME.finditer(body):
            if match.group(1) not in self.names:
                continue
            before, after = body[: match.start()], body[match.end() :]
            if before or re.match(r" (?:was|is|had|went|ran|saw|took|said|put|came|looked|wanted|liked|loved|made|asked|and)\b", after):
                yield (f"Who{after}?" if not before else f"{before}who{after}?"), match.group(1), "name", f"{before}___{after}"

    def __call__(self, rng):
        while True:
            passage = self.passage(rng)
            statement = rng.choice(passage)
            found = list(self.found(statement))
            if not found or '"' in statement or statement[-1] != ".":
                continue
            question, right, kind, gap = rng.choice(found)
            if rng.random() < 0.3:
                question = rng.choice(["Fill the gap: {}.", "Which word is missing? {}.", "What belongs in the gap? {}."]).format(gap)
            pattern = PHRASE if kind == "phrase" else NAME
            wrong = []
            if rng.random() < 0.8:
                here = {m for s in passage for m in pattern.findall(s)}
                elsewhere = {m for _ in range(2) for s in self.passage(rng) for m in pattern.findall(s)}
                fits = lambda w: w.lower() not in statement.lower() and w.split()[-1] not in COMMON and (w in self.names or kind == "phrase")
                pool = sorted(filter(fits, rng.choice([here | elsewhere, elsewhere - here])))  # as often as not the right one alone stands in the text
                if len(pool) < 2:
                    continue
                wrong = rng.sample(pool, min(len(pool), rng.randint(2, 4)))
            return ask(rng, " ".join(passage), question, wrong, right, statement)
