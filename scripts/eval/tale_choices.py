"""FairytaleQA's questions as multiple choice: the wrong answers are those of other questions about the same passage, so that
each of the four stands in the passage or could."""

import json
import random
from collections import defaultdict

LONGEST = 2600  # characters of a passage, so that passage, question and answer fit 1,024 tokens


def questions(path):
    """`{"prompt", "choices", "answer"}` of every question whose passage is short enough and has three other answers."""
    by_passage = defaultdict(list)
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        by_passage[row["prompt"].rsplit("\nQuestion:", 1)[0]].append(row)
    rng = random.Random(1)
    for passage, rows in by_passage.items():
        for row in rows:
            right = row["answer"]
            others = {r["answer"]: None for r in rows if r["answer"].lower() not in right.lower() and right.lower() not in r["answer"].lower()}
            if len(passage) <= LONGEST and len(others) >= 3:
                choices = [*rng.sample(list(others), 3), right]
                rng.shuffle(choices)
                yield {"prompt": row["prompt"], "choices": choices, "answer": choices.index(right)}


def write(path, to):
    to.write_text("".join(json.dumps(q) + "\n" for q in questions(path)), encoding="utf-8")
    return to
