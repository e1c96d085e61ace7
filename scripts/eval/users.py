"""Five small users, as a person would bring them: customize with their examples, then ask their other questions.

    cargo build --release && python3 scripts/eval/users.py
    python3 scripts/eval/users.py -m model.gguf --efforts auto --budget 120

A user is a folder of examples/users with `examples.jsonl`, what `crayon customize` gets, and `questions.jsonl`, ten others that
are put to `crayon ask` one by one, at temperature 0. Right is an answer that is the expected one, but for blanks around it. The
table has a row for each user and columns for the model as it is and for every effort, with what was chosen and the seconds that
`customize` took. It ends with status 1 if a user is left with fewer right answers than the model gives as it is.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def crayon(program, *words):
    run = subprocess.run([program, *words, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if run.returncode:
        sys.exit(f"crayon {' '.join(words)}: {run.stderr}")
    return json.loads(run.stdout)


def right(program, model, questions, adapter):
    """Questions answered as expected, through an adapter or without."""
    through = ["-a", adapter] if adapter else []
    def answer(question):
        return crayon(program, "ask", "-m", model, *through, "--temperature", "0", "--max-tokens", "24",
                      question["prompt"])["text"]
    return sum(answer(question).strip() == question["answer"] for question in questions)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", default=str(ROOT / "target/release/crayon"))
    parser.add_argument("-m", "--model", default="mini")
    parser.add_argument("--users", type=Path, default=ROOT / "examples/users")
    parser.add_argument("--efforts", nargs="+", default=["instant", "auto"])
    parser.add_argument("--budget", default="60")
    args = parser.parse_args()
    heading = ["user", "examples", "base"] + [cell for effort in args.efforts for cell in (effort, "chosen", "seconds")]
    print(f"| {' | '.join(heading)} |\n|{'---|' * len(heading)}")
    totals, worse = [0] * (1 + len(args.efforts)), False
    for folder in sorted(path for path in args.users.iterdir() if path.is_dir()):
        questions = lines(folder / "questions.jsonl")
        base = right(args.program, args.model, questions, None)
        row, totals[0] = [folder.name, len(lines(folder / "examples.jsonl")), base], totals[0] + base
        for number, effort in enumerate(args.efforts, 1):
            with tempfile.TemporaryDirectory() as place:
                began = time.monotonic()
                made = crayon(args.program, "customize", "-m", args.model, "--examples", str(folder / "examples.jsonl"),
                              "--effort", effort, "--budget", args.budget, "-o", f"{place}/mine")
                seconds = time.monotonic() - began
                found = right(args.program, args.model, questions, made["adapter"]) if made["adapter"] else base
            totals[number] += found
            worse |= found < base
            row += [found, made["chosen"], f"{seconds:.1f}"]
        print(f"| {' | '.join(map(str, row))} |", flush=True)
    ends = [str(totals[0])] + [cell for total in totals[1:] for cell in (str(total), "", "")]
    print(f"| all | | {' | '.join(ends)} |")
    if worse:
        sys.exit("a user is left worse off than with the model as it is")


if __name__ == "__main__":
    main()
