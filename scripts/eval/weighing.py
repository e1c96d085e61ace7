"""Ways to weigh a pool, side by side, on people that no pool was trained for; prints Markdown.

    cargo build --release && python3 scripts/eval/weighing.py --data DIR > docs/results/weighing.md

A small pool for mini is trained each way on the same examples, of the benchmark's pool tasks (customize_tasks.py), and its blend is
judged by the benchmark's validation tasks: the users' own are left for the benchmark. Finished pools and answers in --runs stay.
"""

import argparse
import json
from pathlib import Path

import customize_tasks as tasks
from program import crayon, table

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = ["-n", 8, "--targets", "q,v,up,down", "--epochs", 1, "--batch", 16, "--rate", 6e-3, "--validation", 0.1, "--seed", 1]
WAYS = {
    "keys of prompts, fixed": ["--prompt-keys", "--fixed-keys"],
    "keys of prompts and answers, fixed": ["--fixed-keys"],
    "keys that learn, no adapter among them": ["--strangers", 0],
    "the same, with strangers": [],
    "the same, at a temperature of 0.05": ["--temperature", 0.05],
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default=str(ROOT / "target/release/crayon"))
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data")
    parser.add_argument("--runs", type=Path, default=ROOT / "training/runs/weighing")
    parser.add_argument("--cap", type=int, default=30, help="training examples of a task")
    parser.add_argument("--questions", type=int, default=60)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS, metavar="WAY")
    args = parser.parse_args()
    args.runs.mkdir(parents=True, exist_ok=True)
    users, data = args.runs / "users", args.runs / "pool.jsonl"
    if not data.is_file():
        tasks.write_users(args.data, tasks.VALIDATION, users)
        tasks.write_pool(args.data, data, args.cap)
    count = len(data.read_text(encoding="utf-8").splitlines())
    rows, base = [], {}
    for way in args.ways:
        name = "".join(c if c.isalnum() else "-" for c in way)
        folder, told = args.runs / name, args.runs / f"{name}.json"
        if not told.is_file():
            trained = crayon(args.binary, "pool", "train", "--data", data, *SETTINGS, *WAYS[way], "-o", folder, "--force")
            told.write_text(json.dumps(trained))
        trained = json.loads(told.read_text())
        call = ["--users", users, "--pool", folder, "--methods", "base,nearest,blend", "--sizes", 16, "--seeds", 1]
        asked = crayon(args.binary, "eval", "customize", *call, "--questions", args.questions, "--cells", args.runs / "cells.jsonl",
                       "--label", name)["rows"]
        found = {(row["user"], row["method"]): row["accuracy"] for row in asked}
        names = sorted({user for user, _ in found})
        base = {user: found[user, "base"] for user in names}
        mean = lambda method: 100 * sum(found[user, method] for user in names) / len(names)
        change = {user: 100 * (found[user, "blend"] - base[user]) for user in names}
        worst = min(names, key=change.get)
        rows.append([way, f"{trained['loss']:.2f}", f"{mean('nearest'):.1f}", f"{mean('blend'):.1f}",
                     str(sum(value < 0 for value in change.values())), f"{worst} {change[worst]:+.0f}",
                     f"{change.get('clinc150-work', 0):+.0f}"])
        before = trained["loss_before"]
    print(f"""# Ways to weigh

Printed by `python3 scripts/eval/weighing.py`: small pools for mini, each trained once on the same {count:,} examples of
{len(tasks.POOL)} tasks (`crayon pool train {' '.join(map(str, SETTINGS))}`).

Inside: loss on held-out examples of the pool's own tasks, in nats a token; {before:.2f} without a pool. Strangers: {len(base)} tasks
that no pool has seen (the benchmark's validation), accuracy by choice in per cent with 16 examples of each, {args.questions}
questions; the model alone has {100 * sum(base.values()) / len(base):.1f}. Nothing decides whether a blend is used: it always is.

{table(["way", "inside", "strangers, nearest", "strangers, blend", "worse than the model", "worst", "unseen intents"], rows)}

- *Keys of prompts, fixed*: the centres of groups of prompts, and weights that sum to 1, as in the paper. Many tasks have the same
  words: a word may be asked for its opposite, its plural or its first letter.
- *Keys of prompts and answers*: an example's query is that of its prompt beside that of its answer.
- *Keys that learn*: by the loss's gradient, from those centres on, and with them a score that no adapter has, so that the weights
  may sum to less than 1.
- *With strangers*: a quarter of the examples of tasks with labels are read with another task's labels in their place. Keys learn
  from them, adapters do not.""")


if __name__ == "__main__":
    main()
