"""Trains the pools of this project: the one inside the program, for mini, and one for Gemma 3 270M, whose weights stay outside.

    cargo build --release
    python3 pools/recipe.py mini --data DIR                                 writes models/mini-pool.safetensors and its card
    python3 pools/recipe.py gemma-3-270m --model FILE.gguf --data DIR -o POOL       writes the folder POOL and pools/gemma-3-270m.md

`crayon pool train` does the work; a stopped run goes on with the same command. Train splits only. A pool belongs to one file of a
model: after mini.gguf was exchanged, run this again. `--cap` and `--epochs` make the other shorter, and the card says what was run.
"""

import argparse
import json
import random
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts/eval"))
import customize_tasks  # noqa: E402

SEED = 1
SOURCES = {
    "clinc150": "CLINC150 (S. Larson and others), CC BY 3.0",
    "function_vectors": "function vectors (E. Todd and others), MIT",
    "instruction_induction": "instruction induction (O. Honovich and others), Apache-2.0",
    "snips_intent": "SNIPS (A. Coucke and others), CC0",
    "snips_slots": "SNIPS (A. Coucke and others), CC0",
    "super_ni": "Super-NaturalInstructions (Y. Wang and others), Apache-2.0",
    "babi": "bAbI (J. Weston and others), BSD",
}
MINI = ["-n", 12, "--rank", 8, "--targets", "q,v,up,down", "--epochs", 3, "--batch", 16, "--rate", 6e-3, "--validation", 0.04]
MINI_CAP = 150
CUE = "\nIntent:"
GEMMA = {"-n": 16, "--rank": 8, "--targets": "q,v", "--epochs": 2, "--batch": 8, "--rate": 3e-3, "--validation": 0.03, "--seed": SEED}
GEMMA_CAP = 120


def mini_tasks():
    """The benchmark's pool tasks whose licences let weights be passed on."""
    return [name for name in customize_tasks.POOL if name.split("/")[0] in SOURCES]


def spoken(task):
    """A task's name in words: super_ni-task143_odd-man-out_classification → odd man out."""
    task = re.sub(r"^(clinc150|super_ni-task\d+|babi-qa\d+)[-_]", "", task)
    return re.sub(r"[-_]+", " ", task.replace("_classification", "")).strip()


def rows_by_task(data, cap):
    by_task = {}
    for row in customize_tasks.pool_rows(data, cap):
        by_task.setdefault(row["task"], []).append(row)
    return by_task


def mini_examples(data):
    rng, by_task = random.Random(SEED), rows_by_task(data, MINI_CAP)
    rows = [row for name in mini_tasks() for row in by_task[customize_tasks.short(name)]]
    for row in rows:
        row["task"] = spoken(row["task"])
        # As people put it, or with the cue that benchmarks add.
        if row["prompt"].endswith(CUE) and rng.random() < 0.5:
            row["prompt"] = row["prompt"].removesuffix(CUE)
    rng.shuffle(rows)
    return rows


def gemma_examples(data, cap):
    """The benchmark's pool tasks: at most `cap` lines of each."""
    rows = [row for own in rows_by_task(data, GEMMA_CAP).values() for row in own[:cap]]
    random.Random(SEED).shuffle(rows)
    return rows


def adapters(pool):
    rows = "\n".join(f"| {a['name']} | {a['examples']:,} | {a['rank']} |" for a in pool["adapters"])
    return f"An adapter is named after the tasks of most of the examples that are nearest to its key.\n\n| adapter | examples nearest to its key | rank |\n|---|---|---|\n{rows}"


def sources(names):
    kinds = [SOURCES.get(name.split("/")[0], "others, each under terms of its own") for name in names]
    return "| source | tasks |\n|---|---|\n" + "\n".join(f"| {kind} | {kinds.count(kind)} |" for kind in sorted(set(kinds)))


def spelled(settings):
    return " ".join(map(str, settings))


def mini_card(pool, lines):
    return f"""# mini-pool

The pool of adapters inside `crayon` beside `mini`: {len(pool['adapters'])} LoRA adapters of rank {pool['rank']} on q, v, up, down, in half precision,
for `crayon customize --examples FILE` and `ask --examples FILE` without `--pool`. Licence: MIT OR Apache-2.0, like the project;
the data is credited below. Made by `pools/recipe.py`, which writes this card; it belongs to one file of `mini`.

{adapters(pool)}

## Training

{lines:,} examples of {len(mini_tasks())} tasks (those of the benchmark's pool whose licences let weights be passed on: `scripts/eval/customize_tasks.py`), train
splits only, of which {pool['held_out']:,} were held out. Keys, of prompts and answers, and adapters learned together
([how](../docs/adapters.md#a-pool)): `crayon pool train {spelled(MINI)}`, {pool['steps']:,} steps.
Loss on the held-out examples: {pool['loss_before']:.3f} nats a token before, {pool['loss']:.3f} after.

{sources(mini_tasks())}

## Limits

Those of `mini`. Its adapters hold small things with words, lists and letters, short stories to reason about, and intents of a few
kinds. What it has not learned it leaves to `mini` as far as the examples show it; figures for tasks inside and outside of it are in
[docs/results/customize.md](../docs/results/customize.md).
"""


def gemma_card(pool, lines, settings, seconds):
    flags = [word for pair in settings.items() for word in pair]
    return f"""# A pool for Gemma 3 270M

Its weights are not passed on: they come from Gemma's, under Gemma's terms. Who has the model can train them again with
`pools/recipe.py`, which writes this card.

{adapters(pool)}

## Training

{lines:,} examples of {len(customize_tasks.POOL)} tasks (`scripts/eval/customize_tasks.py`), train splits only, of which {pool['held_out']:,} were held out. Keys
and adapters learned together ([how](../docs/adapters.md#a-pool)): `crayon pool train {spelled(flags)}`,
{pool['steps']:,} steps in {seconds / 60:.0f} minutes beside other work on two cores. Loss on the held-out examples: {pool['loss_before']:.3f} nats a token before,
{pool['loss']:.3f} after.

{sources(customize_tasks.POOL)}
"""


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("name", choices=["mini", "gemma-3-270m"])
    parser.add_argument("--model", help="the model's file; mini is part of the program")
    parser.add_argument("--crayon", type=Path, default=ROOT / "target/release/crayon")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data")
    parser.add_argument("-o", "--output", type=Path, help="folder of the pool")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cap", type=int, default=GEMMA_CAP, help="gemma: examples of a task at most")
    parser.add_argument("--epochs", type=int, help="gemma: times they are read")
    args = parser.parse_args()
    if args.name != "mini" and not args.model:
        parser.error("--model is needed")
    folder = args.output or ROOT / "pools/runs" / args.name
    data = folder.with_suffix(".jsonl")

    def crayon(*command):
        words = [str(args.crayon), *map(str, command), "-m", args.model or args.name, "--threads", str(args.threads), "--json"]
        return json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout)

    if args.name == "mini":
        rows = mini_examples(args.data)
        write(data, rows)
        pool = crayon("pool", "train", "--data", data, *MINI, "-o", folder, "--force")
        crayon("pool", "pack", folder, "-o", ROOT / "models/mini-pool.safetensors")
        (ROOT / "models/MODEL_CARD-mini-pool.md").write_text(mini_card(pool, len(rows)), encoding="utf-8")
        return
    rows = gemma_examples(args.data, args.cap)
    write(data, rows)
    settings = GEMMA | ({"--epochs": args.epochs} if args.epochs else {})
    # Seconds of all runs that it took: what a stopped one has used is kept beside the data.
    spent, began = folder.with_suffix(".seconds"), time.time()
    before = float(spent.read_text()) if spent.is_file() else 0.0
    try:
        flags = [word for pair in settings.items() for word in pair]
        pool = crayon("pool", "train", "--data", data, *flags, "-o", folder, "--force")
    finally:
        seconds = before + time.time() - began
        spent.write_text(str(seconds))
    (ROOT / "pools/gemma-3-270m.md").write_text(gemma_card(pool, len(rows), settings, seconds), encoding="utf-8")
    spent.unlink()


if __name__ == "__main__":
    main()
