"""What reading guesses brings where an answer copies from the text before it: `crayon ask` with guesses and with `--no-guess`, in turns; prints Markdown.

    cargo build --release
    python3 benches/copying.py -m gemma-3-270m-q4_k_m.gguf > docs/results/copying.md

Ends with status 1 where the two write different answers. Needs Python alone.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LETTER = (
    "Dear Mr. Alvarez, thank you for the three boxes of apples that came on Monday. Two of the boxes were in good order, and the third was wet at the bottom, "
    "so that about forty apples cannot be sold. We would be glad if you could send us another box with the next delivery, or take its price off the bill. "
    "The van may stop behind the shop in Mill Lane, because the front door is closed until the painters have gone. With kind regards, Ruth Okafor"
)
LIST = "\n".join(f"{item}: {count} in room {room}" for item, count, room in [
    ("chairs", 14, 3), ("tables", 5, 3), ("lamps", 9, 1), ("curtains", 6, 2), ("desks", 4, 4), ("shelves", 11, 4), ("carpets", 2, 1), ("mirrors", 3, 2)])
CODE = '''def total(prices, tax):
    """The sum of prices with tax."""
    result = 0
    for price in prices:
        if price < 0:
            raise ValueError("a price is not negative")
        result += price * (1 + tax)
    return round(result, 2)
'''
# Texts to go on with: what a model makes of them is for the most part there already, but in the last two.
TASKS = {
    "a letter, written once more": f"Text:\n{LETTER}\n\nThe same text again:\n",
    "a list as a table": f"List:\n{LIST}\n\nThe same list with a dash in front of each line:\n- chairs: 14 in room 3\n- tables: 5 in room 3\n-",
    "a function with another name": f"{CODE}\n\n# The same function under the name add_up:\n\ndef add_up(",
    "a story": "Once upon a time there was a miller who had a clever daughter. One day",
    "an explanation": "Question: How does a steam engine work?\nAnswer:",
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", default="mini")
    parser.add_argument("--program", default=str(ROOT / "target/release/crayon"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=120)
    args = parser.parse_args()

    def ask(prompt, *more):
        call = [args.program, "--json", "-q", "ask", "-m", args.model, "--raw", "--repetition-penalty", "1", "--temperature", "0", "--max-tokens", str(args.tokens), *more, prompt]
        run = subprocess.run(call, capture_output=True, text=True)
        if run.returncode:
            sys.exit(run.stderr)
        answer = json.loads(run.stdout)
        return answer["text"], answer["timing"]["decode_tok_s"], answer["tokens"]["generated"]

    print("# Answers that copy\n")
    print(f"Printed by `python3 benches/copying.py -m {Path(args.model).name}`: up to {args.tokens} tokens written after a text, the likeliest each time, without a repetition "
          f"penalty; tokens a second, medians of {args.rounds} rounds in turns.\n")
    print("| what is written | tokens | one a pass | with guesses | ratio |\n|---|---|---|---|---|")
    same = True
    for name, prompt in TASKS.items():
        plain, guessed, ratios, count = [], [], [], 0
        for _ in range(args.rounds):
            (one, slow, count), (other, fast, _) = ask(prompt, "--no-guess"), ask(prompt)
            same &= one == other
            if not count:
                break
            plain.append(slow)
            guessed.append(fast)
            ratios.append(fast / slow)
        if not ratios:
            print(f"| {name} | 0 | – | – | – |")
            continue
        print(f"| {name} | {count} | {statistics.median(plain):.0f} | {statistics.median(guessed):.0f} | {statistics.median(ratios):.2f} |")
    print(f"\nBoth ways wrote {'the same answers, to the token' if same else 'DIFFERENT answers'}.")
    sys.exit(not same)


if __name__ == "__main__":
    main()
