"""Word weights in a prompt (`crayon ask --weights`): does the model follow what is stressed? As a page.

    cargo build --release && python3 scripts/eval/stressed_prompts.py mini MODEL.gguf > docs/results/word-weights.md

Three kinds of made-up prompts, 24 of each: a list of facts with a question about one of them, which is stressed; two facts that contradict each
other, one of which is stressed; two instructions, one of which is stressed. Needs nothing from PyPI.
"""

import argparse
import json
import os
import random
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = (0.25, 0.5, 1, 2, 4, 8)
NAMES = "Anna Tom Lily Ben Sara Max Emma Jack Mia Sam Lucy Tim".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
COLOURS = "red blue green yellow black white brown pink".split()
THINGS = "ball hat cup car box kite book bag".split()
WORDS = "apple river house garden window bread music winter doctor bridge flower market".split()


def lists(rng):
    """(prompt with %s around the stressed part, wanted answer, other answers)."""
    names = rng.sample(NAMES, 8)
    codes = [str(rng.randrange(100, 1000)) for _ in names]
    at = rng.randrange(len(names))
    lines = [f"The number of {name} is {code}." for name, code in zip(names, codes)]
    lines[at] = "%s" + lines[at] + "%s"
    return " ".join(lines) + f" What is the number of {names[at]}?", codes[at], codes[:at] + codes[at + 1 :]


def contradictions(rng):
    if rng.random() < 0.5:
        a, b = rng.sample(DAYS, 2)
        facts, question = [f"The party is on {a}.", f"The party is on {b}."], "On which day is the party?"
    else:
        (a, b), thing = rng.sample(COLOURS, 2), rng.choice(THINGS)
        facts, question = [f"The {thing} is {a}.", f"The {thing} is {b}."], f"What colour is the {thing}?"
    at = rng.randrange(2)
    facts[at] = "%s" + facts[at] + "%s"
    return " ".join([*facts, question]), (a, b)[at], [(b, a)[at]]


def instructions(rng):
    a, b = rng.sample(WORDS, 2)
    orders = [f"Say the word {a}.", f"Say the word {b}."]
    at = rng.randrange(2)
    orders[at] = "%s" + orders[at] + "%s"
    return " ".join(orders), (a, b)[at], [(b, a)[at]]


KINDS = {"the right fact of eight": lists, "one of two facts": contradictions, "one of two instructions": instructions}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--each", type=int, default=24)
    parser.add_argument("--threads", default="2")
    args = parser.parse_args()
    program = os.environ.get("CRAYON", str(ROOT / "target/release/crayon"))

    def ask(model, prompt):
        command = [program, "ask", "-m", model, "-q", "--json", "--weights", "--max-tokens", "12", "--threads", args.threads, prompt]
        return json.loads(subprocess.run(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, check=True, text=True).stdout)["text"].lower()

    print("""# Word weights in a prompt

`crayon ask --weights` adds `log w` to the attention logits of the stressed words' keys, in every layer and head. Shares of answers, in %, that name
what is stressed and nothing of the others; behind the stroke, those that name only others. With a weight of 1 nothing is stressed.

    python3 scripts/eval/stressed_prompts.py mini gemma-3-270m-q4_k_m.gguf""")
    for model in args.models:
        print(f"\n## {Path(model).stem}\n\n| stressed | " + " | ".join(f"{w:g}" for w in WEIGHTS) + " |\n|---|" + "---:|" * len(WEIGHTS))
        for kind, make in KINDS.items():
            cells = []
            for weight in WEIGHTS:
                rng, hits, misses = random.Random(1), 0, 0
                for _ in range(args.each):
                    prompt, wanted, others = make(rng)
                    text = ask(model, prompt % ("(", f":{weight})"))
                    named, other = wanted.lower() in text, any(o.lower() in text for o in others)
                    hits += named and not other
                    misses += other and not named
                cells.append(f"{100 * hits / args.each:.0f} / {100 * misses / args.each:.0f}")
                print(f"{Path(model).stem}, {kind}, {weight}: {cells[-1]}", file=sys.stderr)
            print(f"| {kind} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
