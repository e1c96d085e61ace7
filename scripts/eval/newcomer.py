"""Sixty questions as people type them on the first day, and what a model answers: Markdown for docs/results/newcomer.md.

    cargo build --release && python3 scripts/eval/newcomer.py > docs/results/newcomer.md
    python3 scripts/eval/newcomer.py --more "Gemma 3 270M=gemma-3-270m-q4_k_m.gguf"

Each line of examples/newcomer/questions.jsonl has a question and what makes an answer useful: a pattern that has to be found in it, and where
needed one that must not. Answers are those of `crayon ask` at temperature 0. The questions were written before any answer was looked at,
and no model was trained on them.
"""

import argparse
import json
import re
from pathlib import Path

from program import crayon, table

ROOT = Path(__file__).resolve().parents[2]
# Characters of an answer that the page shows.
SHOWN = 110


def useful(question, answer):
    """Whether the answer helps: by its patterns, whatever the case of letters (but where the question asks for capitals)."""
    flags = re.DOTALL if question["useful"].isupper() else re.DOTALL | re.IGNORECASE
    found = re.search(question["useful"], answer, flags)
    return bool(found) and not ("never" in question and re.search(question["never"], answer, re.DOTALL | re.IGNORECASE))


def cell(text):
    text = " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
    return text if len(text) <= SHOWN else text[:SHOWN].rstrip() + " …"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default=str(ROOT / "target/release/crayon"))
    parser.add_argument("--more", action="append", default=[], metavar="NAME=MODEL", help="another model beside mini")
    args = parser.parse_args()
    path = ROOT / "examples/newcomer/questions.jsonl"
    questions = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    models = [("mini", "mini"), *(more.split("=", 1) for more in args.more)]
    answers = {}
    for name, model in models:
        for at, question in enumerate(questions):
            found = crayon(args.binary, "ask", "-m", model, "--temperature", "0", "--max-tokens", "60", question["prompt"])
            answers[name, at] = (found["text"], useful(question, found["text"]), found.get("sure"))

    print("# Sixty questions of the first day\n\nPrinted by `python3 scripts/eval/newcomer.py`: what `crayon ask` answers at temperature 0 to questions as people type them on the first day\n"
          "(`examples/newcomer/questions.jsonl`). An answer counts as useful when the pattern beside its question is found in it. The questions were written before\n"
          "any answer was looked at, and no model was trained on them. Gemma 3 270M is a base model, in the frame `qa`.\n")
    kinds = list(dict.fromkeys(question["kind"] for question in questions))
    rows = []
    for kind in [*kinds, None]:
        own = [at for at, question in enumerate(questions) if kind in (None, question["kind"])]
        count = lambda name: sum(answers[name, at][1] for at in own)
        rows.append([kind or "all", str(len(own)), *(str(count(name)) for name, _ in models)])
    print(table(["kind", "questions", *(f"{name}: useful" for name, _ in models)], rows))
    sure = [(answers["mini", at][1], answers["mini", at][2]) for at in range(len(questions))]
    unsure = [right for right, sure in sure if sure is False]
    print(f"\nBeside {len(unsure)} of mini's answers stands a note that mini is not sure; {sum(unsure)} of these are useful, and "
          f"{sum(right for right, _ in sure) - sum(unsure)} of the {len(questions) - len(unsure)} others.\n")
    print("## Every answer\n\nWhat is useful is marked with ✓.\n")
    rows = []
    for at, question in enumerate(questions):
        own = [("✓ " if answers[name, at][1] else "") + cell(answers[name, at][0]) for name, _ in models]
        rows.append([cell(question["prompt"]), *own])
    print(table(["question", *(name for name, _ in models)], rows))


if __name__ == "__main__":
    main()
