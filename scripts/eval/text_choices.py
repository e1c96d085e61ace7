"""Questions about a text as multiple choice, `{"prompt", "choices", "answer"}` a line.

FairytaleQA: the wrong answers are those of other questions about the same passage, so that each of the four stands in the passage or
could. SciQ, its answers listed or not: the wrong ones were made up by people and seldom stand in the paragraph.
"""

import json
import random
import re
from collections import defaultdict

LONGEST = 2600  # characters of a passage, so that passage, question and answer fit 1,024 tokens
SCIQ = re.compile(r"Answer the following question given this paragraph:\s*(.+?)\s*\n\nQ: (.+?)\s*\n\n Choices:", re.DOTALL)


def rows(path):
    return (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())


def tales(path):
    """Every question whose passage is short enough and has three other answers."""
    by_passage = defaultdict(list)
    for row in rows(path):
        by_passage[row["prompt"].rsplit("\nQuestion:", 1)[0]].append(row)
    rng = random.Random(1)
    for passage, asked in by_passage.items():
        for row in asked:
            right = row["answer"]
            others = {r["answer"]: None for r in asked if r["answer"].lower() not in right.lower() and right.lower() not in r["answer"].lower()}
            if len(passage) <= LONGEST and len(others) >= 3:
                choices = [*rng.sample(list(others), 3), right]
                rng.shuffle(choices)
                yield {"prompt": row["prompt"], "choices": choices, "answer": choices.index(right)}


def sciq(folder, listed):
    """Every question of both splits that comes with a paragraph: no model here has learned from either."""
    for path in sorted(folder.glob("t*.jsonl")):
        for row in rows(path):
            if found := SCIQ.match(row["prompt"]):
                paragraph, question = found.groups()
                options = "".join(f"- {choice}\n" for choice in row["choices"])
                prompt = f"{paragraph}\nQuestion: {question}\n" + (f"Options:\n{options}" if listed else "") + "Answer:"
                if len(prompt) <= LONGEST:
                    yield {"prompt": prompt, "choices": row["choices"], "answer": row["answer"]}


def write(questions, to):
    to.write_text("".join(json.dumps(q) + "\n" for q in questions), encoding="utf-8")
    return to
