"""Questions about a text with a list of possible answers.

The right answer stands in the text, the wrong ones are of its kind: they stand there too or could.
"""

import re
from collections import defaultdict

import tasks
from chat import dialogue
from listing import listed
from prose import plain, sentences

# Words too common to be worth asking for.
COMMON = set(
    "that with they were said from what then have this them very when some down would like back could there their into your about will just over "
    "because".split()
)


def ask(rng, text, question, wrong, right, statement=""):
    """One document: text, question and list, in either order of the first two. `statement` is what the answer is read from."""
    options = [*wrong, right]
    rng.shuffle(options)
    tail, answer = listed(rng, options, right)
    end = rng.choice(["\nAnswer:", "\nAnswer:", "", "\nA:"])
    body = rng.choice([f"{text}\n\n{question}", f"{text}\nQuestion: {question}", f"{text}\nQ: {question}", f"{question}\n\n{text}\n"])
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
            near = [a for _, a in pairs if a.lower() not in right.lower() and right.lower() not in a.lower()]
            wrong = list(dict.fromkeys(rng.sample(near, min(len(near), 3))))
            while len(wrong) < 3:
                other = rng.choice(answers)
                if other not in wrong and other.lower() != right.lower():
                    wrong.append(other)
            text = tasks.near(passage, right, rng.choice([400, 700, 900, 1600]))
            if len(text) < 2400:
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


def gaps(documents, rng, count):
    """A word of the next sentence is missing; it and the wrong ones stand in the text before."""
    made = 0
    while made < count:
        document = rng.choice(documents)
        split = sentences(document.replace("\n", " "))
        if len(split) < 6:
            continue
        at = rng.randint(4, len(split) - 1)
        text, sentence = " ".join(split[max(0, at - rng.randint(4, 9)) : at]), split[at]
        capital = rng.random() < 0.4
        pattern = r"(?<=[a-z,] )[A-Z][a-z]{2,}\b" if capital else r"\b[a-z]{4,}\b"
        seen = sorted(set(re.findall(pattern, text)))
        fitting = [w for w in re.findall(pattern, sentence) if w in seen and w not in COMMON]
        wrong = [w for w in seen if w not in sentence and w not in COMMON]
        if not fitting or len(wrong) < 2:
            continue
        right = rng.choice(fitting)
        gap = re.sub(rf"\b{right}\b", "___", sentence)
        question = rng.choice(["Which word is missing in the next sentence?", "Fill the gap:", "Which word belongs in the gap?", "What is ___?"])
        yield ask(rng, text, f"{question} {gap}", rng.sample(wrong, min(len(wrong), rng.randint(2, 4))), right)
        made += 1


def load(data, prose, rng, count):
    """`prose` are the documents that gaps are made in; `count` how many."""
    return list(tales(data, rng)) + list(places(data, rng)) + list(gaps(prose, rng, count))
