"""What a pool's blend is worth to people it was not trained for: `crayon eval customize` as Markdown, with pictures.

    cargo build --release && python3 scripts/eval/customize.py --data DIR

Trains the pools that are missing in `--runs`, asks what has not been asked yet (finished cells are kept there), and writes
docs/results/customize.md and docs/results/customize-*.svg. Tasks are in customize_tasks.py. The full benchmark takes hours on two
slow cores; `--sizes`, `--seeds`, `--questions` and `--ablations` make it smaller, and the page says what was run.
"""

import argparse
import json
import math
import subprocess
from collections import defaultdict
from pathlib import Path

import customize_tasks as tasks
from program import table

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs/results"
METHODS = {
    "base": "base model",
    "fewshot": "examples in the prompt",
    "joint": "one adapter on all of the pool's data",
    "uniform": "uniform average",
    "nearest": "nearest adapter",
    "arrow": "Arrow",
    "lorahub": "LoRAHub",
    "oracle": "adapter trained on the examples (oracle)",
    "blend": "blend",
}
COLOURS = dict(zip(METHODS, ["#888888", "#c49a00", "#8c564b", "#7f9ec4", "#e377c2", "#17becf", "#9467bd", "#2ca02c", "#d62728"]))
# Settings of `pool train` beside the defaults below; ablations change one at a time.
POOL = {"-n": 8, "--rank": 8, "--epochs": 4, "--batch": 16, "--rate": 3e-3, "--validation": 0.05, "--patience": 4}
JOINT = POOL | {"-n": 1, "--rank": 64, "--alpha": 128, "--epochs": 2}
CAP = 120  # training examples of a task
ABLATIONS = {
    "4 adapters": ({"-n": 4}, []),
    "12 adapters": ({"-n": 12}, []),
    "16 adapters": ({"-n": 16}, []),
    "rank 4": ({"--rank": 4, "--alpha": 8}, []),
    "rank 16": ({"--rank": 16, "--alpha": 32}, []),
    "without episodes": ({"--episode": 1}, []),
    "hard training": ({"--hard": None}, []),
    "without centring": ({"--uncentred": None}, []),
    "all linear layers": ({"--targets": "all"}, []),
    "temperature 0.02": ({}, ["--temperature", 0.02]),
    "temperature 0.3": ({}, ["--temperature", 0.3]),
    "temperature 1": ({}, ["--temperature", 1]),
    "form svd": ({}, ["--form", "svd"]),
    "form factor": ({}, ["--form", "factor"]),
}


class Bench:
    def __init__(self, args):
        self.args, self.cells = args, args.runs / "cells.jsonl"

    def crayon(self, *command):
        command = [str(self.args.binary), *map(str, command), "--threads", str(self.args.threads), "--json"]
        return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)

    def pool(self, name, settings):
        """The pool of these settings, trained if it is not there."""
        folder = self.args.runs / name.replace(" ", "-")
        if not (folder / "pool.safetensors").is_file():
            flags = [part for key, value in settings.items() for part in ([key] if value is None else [key, value])]
            self.crayon("pool", "train", "--data", self.args.runs / "pool.jsonl", *flags, "-o", folder)
        return folder

    def ask(self, users, pool, label, methods, sizes, seeds, more=()):
        call = ["eval", "customize", "--users", self.args.runs / users, "--pool", pool, "--methods", ",".join(methods)]
        call += ["--sizes", ",".join(map(str, sizes)), "--seeds", seeds, "--questions", self.args.questions]
        return self.crayon(*call, "--cells", self.cells, "--label", label, *more)["rows"]


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def spread(rows):
    """Mean accuracy over users and draws, its standard error over users, and that over draws."""
    by_user, by_seed = defaultdict(list), defaultdict(list)
    for row in rows:
        by_user[row["user"]].append(row["accuracy"])
        by_seed[row["seed"]].append(row["accuracy"])

    def error(groups):
        means = [mean(group) for group in groups.values()]
        if len(means) < 2:
            return None
        middle = mean(means)
        return math.sqrt(sum((m - middle) ** 2 for m in means) / (len(means) - 1) / len(means))

    return mean(map(mean, by_user.values())), error(by_user), error(by_seed)


def of(rows, method, size):
    own = [row for row in rows if row["method"] == method]
    return [row for row in own if row["size"] in (0, size)]


def percent(rows):
    value, users, seeds = spread(rows)
    errors = [f"{100 * error:.1f}" if error is not None else "–" for error in (users, seeds)]
    return f"{100 * value:.1f} ({errors[0]}, {errors[1]})"


def median(values):
    values = sorted(values)
    return values[len(values) // 2]


def size_text(count):
    return f"{count:,} B" if count < 10_000 else f"{count / 1e6:.2f} MB"


def curves(rows, sizes, methods, path):
    """Mean accuracy over the number of examples."""
    width, height, left, bottom = 640, 380, 60, 50
    means = {m: [100 * spread(of(rows, m, size))[0] for size in sizes] for m in methods}
    low, high = min(map(min, means.values())) - 2, max(map(max, means.values())) + 2
    x = lambda i: left + 20 + i * (width - left - 240) / max(len(sizes) - 1, 1)
    y = lambda v: height - bottom - (v - low) * (height - bottom - 20) / (high - low)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">']
    parts.append(f'<rect width="{width}" height="{height}" fill="white"/>')
    for i, size in enumerate(sizes):
        parts.append(f'<text x="{x(i):.0f}" y="{height - bottom + 20}" text-anchor="middle">{size}</text>')
    for step in range(5):
        value = low + (high - low) * step / 4
        parts.append(f'<text x="{left - 8}" y="{y(value) + 4:.0f}" text-anchor="end">{value:.0f} %</text>')
        parts.append(f'<line x1="{left}" x2="{width - 200}" y1="{y(value):.0f}" y2="{y(value):.0f}" stroke="#ddd"/>')
    parts.append(f'<text x="{(left + width - 200) / 2:.0f}" y="{height - 10}" text-anchor="middle">examples of the user</text>')
    order = sorted(methods, key=lambda m: -means[m][-1])
    for at, method in enumerate(order):
        points = " ".join(f"{x(i):.1f},{y(v):.1f}" for i, v in enumerate(means[method]))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{COLOURS[method]}" stroke-width="2"/>')
        parts.append(f'<rect x="{width - 190}" y="{22 + 20 * at}" width="12" height="12" fill="{COLOURS[method]}"/>')
        parts.append(f'<text x="{width - 172}" y="{32 + 20 * at}">{method}</text>')
    path.write_text("\n".join([*parts, "</svg>\n"]), encoding="utf-8")


def main_part(rows, args):
    methods = [m for m in METHODS if any(row["method"] == m for row in rows)]
    head = ["method", *(f"{size} examples" for size in args.sizes)]
    accuracy = [[METHODS[m], *(percent(of(rows, m, size)) for size in args.sizes)] for m in methods]
    costs = []
    for m in methods:
        own = of(rows, m, args.sizes[-1])
        note = f"{mean(r['shown'] for r in own):.0f} of {args.sizes[-1]} examples fit" if m == "fewshot" else ""
        costs.append([METHODS[m], f"{median(r['millis'] for r in own):.1f}", size_text(own[0]["bytes_up"]), size_text(own[0]["bytes_down"]), note])
    users = sorted({row["user"] for row in rows})
    last, each = args.sizes[-1], []
    of_user = {user: [row for row in rows if row["user"] == user] for user in users}
    for user, own in of_user.items():
        value = {m: spread(of(own, m, last))[0] for m in methods}
        each.append([user, f"{100 * own[0]['chance']:.0f}", *(f"{100 * value[m]:.0f}" for m in methods)])

    def gains(size):
        """Of the users on whom the oracle gains: how many, and the blend's share of that gain."""
        value = lambda own, m: spread(of(own, m, size))[0]
        pairs = [(value(own, "oracle") - value(own, "base"), value(own, "blend") - value(own, "base")) for own in of_user.values()]
        pairs = [pair for pair in pairs if pair[0] > 0]
        return len(pairs), sum(blend for _, blend in pairs) / max(sum(oracle for oracle, _ in pairs), 1e-9)

    curves(rows, args.sizes, methods, RESULTS / "customize-examples.svg")
    lead = []
    for m in ("base", "uniform", "nearest"):
        ahead = [100 * (spread(of(rows, "blend", size))[0] - spread(of(rows, m, size))[0]) for size in args.sizes]
        lead.append(f"{METHODS[m]} {', '.join(f'{points:+.1f}' for points in ahead)}")
    found = [gains(size) for size in args.sizes]
    said = f"Points of the blend over others, with {', '.join(map(str, args.sizes))} examples: {'; '.join(lead)}. "
    said += f"An adapter trained on the examples gains on {', '.join(str(count) for count, _ in found)} of the {len(users)} users; there the blend "
    said += f"has {', '.join(f'{100 * share:.0f}' for _, share in found)} % of its gain."
    return [
        "## Accuracy\n\nMean over the users in per cent; in brackets the standard error over users and that over draws of the examples.\n\n" + table(head, accuracy),
        said,
        "![Accuracy over the number of examples](customize-examples.svg)",
        f"## Cost\n\nMedian time from {last} examples to something that answers, bytes that leave the device where the pool is on a server (the scores as f32) and bytes of the adapter that comes back (f32).\n\n" + table(["method", "ms", "up", "down", ""], costs),
        f"## Each user, {last} examples\n\n" + table(["user", "guessing", *methods], each),
    ]


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--binary", type=Path, default=ROOT / "target/release/crayon")
    arguments.add_argument("--data", type=Path, default=ROOT.parent / "shared/data")
    arguments.add_argument("--runs", type=Path, default=ROOT / "training/runs/customize")
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--sizes", type=lambda text: [int(n) for n in text.split(",")], default=[5, 10, 20, 50])
    arguments.add_argument("--seeds", type=int, default=5)
    arguments.add_argument("--questions", type=int, default=60)
    arguments.add_argument("--methods", default=",".join(METHODS))
    arguments.add_argument("--ablations", default=",".join(ABLATIONS), help="names with commas between them, or nothing")
    arguments.add_argument("--wider", type=int, default=2, help="draws for the wider set of tasks; 0 leaves it out")
    args = arguments.parse_args()
    args.runs.mkdir(parents=True, exist_ok=True)

    count = tasks.write_pool(args.data, args.runs / "pool.jsonl", CAP)
    tasks.write_users(args.data, tasks.OUTSIDE, args.runs / "users")
    tasks.write_users(args.data, tasks.VALIDATION, args.runs / "validation")
    bench = Bench(args)
    pool = bench.pool("pool-8x8", POOL)
    methods = args.methods.split(",")
    joint = ["--joint", bench.pool("joint", JOINT)] if "joint" in methods else []
    rows = bench.ask("users", pool, "pool-8x8", methods, args.sizes, args.seeds, joint)
    parts = main_part(rows, args)

    middle = 20 if 20 in args.sizes else args.sizes[-1]
    changed, seeds = [name for name in args.ablations.split(",") if name], min(args.seeds, 2)
    if changed:
        usual = [row for row in of(rows, "blend", middle) if row["seed"] < seeds]
        lines = [["8 adapters of rank 8 on q and v, temperature 0.1, exact", percent(usual)]]
        for name in changed:
            training, asking = ABLATIONS[name]
            own = bench.pool(f"pool {name}", POOL | training) if training else pool
            found = bench.ask("users", own, name, ["blend"], [middle], seeds, asking)
            lines.append([name, percent(found)])
        parts.append(f"## One thing changed\n\nThe blend with {middle} examples, {seeds} draws.\n\n" + table(["setting", "accuracy"], lines))
    if args.wider:
        tasks.write_users(args.data, tasks.SPARE, args.runs / "wider")
        few = ["base", "uniform", "nearest", "oracle", "blend"]
        found = bench.ask("wider", pool, "pool-8x8", few, [middle], args.wider)
        lines = []
        for user in sorted({row["user"] for row in found}):
            own = [row for row in found if row["user"] == user]
            lines.append([user, f"{100 * own[0]['chance']:.0f}", *(f"{100 * spread(of(own, m, middle))[0]:.0f}" for m in few)])
        parts.append(f"## Other tasks\n\nQuestion-answer sets, MMLU subjects and others, {middle} examples, {args.wider} draws: is there anything to gain?\n\n" + table(["task", "guessing", *few], lines))

    settings = " ".join(f"{key} {value}" for key, value in POOL.items())
    intro = f"""# Customization in figures

Printed by `python3 scripts/eval/customize.py`, which trains the pools, calls `crayon eval customize` on the built-in `mini` and keeps
finished results. This page: `--sizes {','.join(map(str, args.sizes))} --seeds {args.seeds} --questions {args.questions}`.

The pool learned from {count:,} train-split examples of {len(tasks.POOL)} tasks (`crayon pool train {settings}`). The {len(tasks.OUTSIDE)} users are tasks that it
did not learn from: examples come from their train splits, questions ({args.questions} each) from their test splits. Tasks, and how
answers without choices get some, are in `scripts/eval/customize_tasks.py`; they were chosen by form, with the base model's accuracy
known, before the pool of this page was trained. Temperature, rank and rate are the defaults or were set on the pool's own held-out
examples; nothing was fitted to questions. An answer is the likeliest choice. The one adapter on all data\nhas rank 64 and read them {JOINT["--epochs"]} times instead of {POOL["--epochs"]}. The oracle has rank 8\nand takes 40 steps of 8 examples."""
    (RESULTS / "customize.md").write_text("\n\n".join([intro, *parts]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
