"""What noise on the scores costs: `crayon customize --noise` as a table.

    cargo build --release && python3 scripts/eval/noise.py --data DIR

Takes every domain of CLINC150 (`DIR/clinc150/data_full.json`) for a person with twenty examples of its train split, without their
answers, and asks questions of its test split, four intents to choose from. For each amount of noise it prints how far the weights of the
blend move and what becomes of the right answers. Writes docs/results/noise.md. `--pool` names another pool than the one inside the program.
"""

import argparse
import json
import math
import random
import statistics
import sys
import tempfile
from pathlib import Path

from program import crayon

ROOT = Path(__file__).resolve().parents[2]
RESULT = ROOT / "docs/results/noise.md"


def words(intent):
    return intent.replace("_", " ")


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def prompt(text):
    return f"{text}\n\nWhat is this about?"


def load(folder):
    """Domain -> intent -> texts, for training and for testing."""
    full = json.loads((folder / "clinc150/data_full.json").read_text())
    domains = json.loads((folder / "clinc150/domains.json").read_text())
    home = {intent: domain for domain, intents in domains.items() for intent in intents}
    found = {}
    for split in ("train", "test"):
        for text, intent in full[split]:
            found.setdefault(home[intent], {}).setdefault(intent, {}).setdefault(split, []).append(text)
    return found


def questions(intents, count, draw):
    rows, names = [], list(intents)
    for _ in range(count):
        right = draw.choice(names)
        choices = draw.sample([name for name in names if name != right], 3) + [right]
        draw.shuffle(choices)
        text = draw.choice(intents[right]["test"])
        rows.append({"prompt": prompt(text), "choices": [words(c) for c in choices], "answer": choices.index(right)})
    return rows


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def shown(values):
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return f"{100 * statistics.mean(values):.1f} ± {100 * error:.1f}"


def measure(args, data, folder):
    draw = random.Random(0)
    rows = {name: {"cosine": [], "moved": [], "right": []} for name in ["base", "uniform", *args.sigmas]}
    for domain, intents in data.items():
        own = [text for splits in intents.values() for text in splits["train"]]
        examples = write(folder / "own.jsonl", [{"prompt": prompt(text)} for text in draw.sample(own, 20)])
        task = write(folder / "task.jsonl", questions(intents, args.questions, draw))

        def right(*adapter):
            return crayon(args.binary, "eval", "choice", "--task", task, *adapter)["accuracy"]

        out = folder / "out"
        call = ["customize", "--examples", examples, "--pool", args.pool, "--force", "-o", out]
        rows["base"]["right"].append(right())
        clean = crayon(args.binary, *call)["weights"]
        uniform = [1 / len(clean)] * len(clean)
        crayon(args.binary, *call, "--temperature", "1e6")
        rows["uniform"]["right"].append(right("-a", out))
        rows["uniform"]["cosine"].append(cosine(clean, uniform))
        rows["uniform"]["moved"].append(sum(abs(a - b) for a, b in zip(clean, uniform)) / 2)
        for sigma in args.sigmas:
            for seed in range(1 if sigma == 0 else args.seeds):
                weights = crayon(args.binary, *call, "--noise", sigma, "--seed", seed)["weights"]
                rows[sigma]["cosine"].append(cosine(clean, weights))
                rows[sigma]["moved"].append(sum(abs(a - b) for a, b in zip(clean, weights)) / 2)
                rows[sigma]["right"].append(right("-a", out))
        print(f"{domain}: {rows[0.0]['right'][-1]:.2f}", file=sys.stderr)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--binary", default=str(ROOT / "target/release/crayon"))
    parser.add_argument("--pool", default="built-in")
    parser.add_argument("--questions", type=int, default=50, help="for each domain")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sigmas", type=float, nargs="+", default=[0.0, 0.02, 0.05, 0.1, 0.2, 0.5])
    args = parser.parse_args()
    data = load(args.data)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(args, data, Path(folder))
    names = {"base": "no adapter", "uniform": "all adapters alike"}
    lines = []
    for name, row in rows.items():
        moved = f"{statistics.mean(row['moved']):.3f}" if row["moved"] else ""
        near = f"{statistics.mean(row['cosine']):.3f}" if row["cosine"] else ""
        lines.append(f"| {names.get(name, name)} | {near} | {moved} | {shown(row['right'])} |")
    total = args.questions * len(data)
    RESULT.write_text(
        f"""# Noise on the scores

`python3 scripts/eval/noise.py --data DIR` made this file: `crayon customize --noise SIGMA --force` on the embedded model `mini` with
{"the pool inside the program" if args.pool == "built-in" else "the pool " + args.pool}. {len(data)} people, one for each domain of CLINC150, with 20 examples each, without answers; {total} questions of the
test split with four intents to choose from; {args.seeds} draws of the noise. *Moved* is the share of the weight that lands on other adapters
than without noise. Errors are standard errors over people and draws.

| sigma | cosine of the weights | moved | right answers, % |
|---|---|---|---|
"""
        + "\n".join(lines)
        + "\n"
    )
    print(RESULT.read_text())


if __name__ == "__main__":
    main()
