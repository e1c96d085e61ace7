"""Trains the pools of this project: the one inside the program, for mini, and one for Gemma 3 270M, whose weights stay outside.

    cargo build --release
    python3 pools/recipe.py mini --data DIR                                 writes models/mini-pool.safetensors and its card
    python3 pools/recipe.py gemma-3-270m --model FILE.gguf --data DIR -o POOL       writes the folder POOL and pools/gemma-3-270m.md

`crayon pool train` does the work; a stopped run goes on with the same command. Train splits only. `--cap`, `--epochs` make a run
shorter, and the card says what was run. A pool belongs to one file of a model: after mini.gguf was exchanged, run this again.
"""

import argparse
import json
import random
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "scripts/eval"))
import customize_tasks as tasks  # noqa: E402

SEED = 1
# The program's own pool learns from sets only whose licences let weights be passed on.
DOMAINS = "auto_and_commute banking credit_cards home kitchen_and_dining travel utility work".split()
WORDS = [name for name in tasks.POOL if name.startswith(("function_vectors/", "instruction_induction/"))]
RECIPES = {
    "mini": {
        "sets": [*(f"clinc150/{domain}" for domain in DOMAINS), *WORDS],
        "cap": {"clinc150": 900, "": 60},
        "settings": {"-n": 8, "--rank": 8, "--targets": "q,v,up,down", "--epochs": 3, "--batch": 16, "--rate": 6e-3},
    },
    "gemma-3-270m": {
        "sets": tasks.POOL,
        "cap": {"": 120},
        "settings": {"-n": 16, "--rank": 8, "--targets": "q,v,up,down", "--epochs": 6, "--batch": 16, "--rate": 2e-3},
    },
}
FIXED = {"--validation": 0.04, "--patience": 3, "--seed": SEED}
SOURCES = {
    "clinc150": "CLINC150 (S. Larson and others), CC BY 3.0",
    "function_vectors": "function vectors (E. Todd and others), MIT",
    "instruction_induction": "instruction induction (O. Honovich and others), Apache-2.0",
    "snips_intent": "SNIPS (A. Coucke and others), CC0",
    "snips_slots": "SNIPS (A. Coucke and others), CC0",
    "super_ni": "Super-NaturalInstructions (Y. Wang and others), Apache-2.0",
    "babi": "bAbI (J. Weston and others), BSD",
    "": "others, each under terms of its own",
}


def source(name):
    return SOURCES.get(name.split("/")[0], SOURCES[""])


def examples(name, data, cap=None):
    """Lines of `{"prompt", "answer", "task"}` in a fixed order: at most so many of every set."""
    recipe = RECIPES[name]
    most = lambda own: cap or recipe["cap"].get(own.split("/")[0], recipe["cap"][""])
    inside = [own for own in recipe["sets"] if own in tasks.POOL]
    by_task = {}
    for row in tasks.pool_rows(data, max(map(most, inside)), inside):
        by_task.setdefault(row["task"], []).append(row)
    rng, rows = random.Random(SEED), []
    for own in recipe["sets"]:
        found = by_task.get(tasks.short(own))
        if found is None:
            train = tasks.read(data, own, "train")
            found = [{"prompt": row["prompt"], "answer": row["choices"][row["answer"]], "task": tasks.short(own)} for row in train]
            rng.shuffle(found)
        for row in found[: most(own)]:
            # Requests are put bare as well: the cue is a benchmark's.
            if own.startswith("clinc150/") and rng.random() < 0.8:
                row["prompt"] = row["prompt"].removesuffix("\nIntent:")
            rows.append(row)
    rng.shuffle(rows)
    return rows


def card(name, pool, lines, settings, seconds):
    adapters = "\n".join(f"| {a['name']} | {a['examples']:,} | {a['rank']} |" for a in pool["adapters"])
    sets = RECIPES[name]["sets"]
    sources = sorted({source(own) for own in sets})
    count = {text: sum(source(own) == text for own in sets) for text in sources}
    table = "\n".join(f"| {text} | {count[text]} |" for text in sources)
    inside = name == "mini"
    title = "mini-pool" if inside else f"A pool for {name}"
    what = (
        "The pool of adapters inside `crayon` beside `mini`, in half precision, for `customize`, `ask` and `chat` without `--pool`.\n"
        "Licence: MIT OR Apache-2.0, like the project; the data is credited below."
        if inside else
        "Its weights are not passed on: they come from Gemma's, under Gemma's terms. Anybody who has the model can train them again."
    )
    flags = " ".join(f"{key} {value}" for key, value in settings.items())
    return f"""# {title}

{what} Made by `pools/recipe.py`, which writes this card; it belongs to one file of the model.

{len(pool['adapters'])} adapters of rank {pool['rank']}. An adapter is named after the tasks of most of the examples nearest to its key.

| adapter | examples nearest to its key | rank |
|---|---|---|
{adapters}

## Training

{lines:,} examples of {len(sets)} tasks, train splits only, of which {pool['held_out']:,} were held out. Keys and adapters learned together
([how](../docs/adapters.md)): `crayon pool train {flags}`, {pool['steps']:,} steps in {seconds / 60:.0f} minutes beside other work on two
cores. Loss on the held-out examples: {pool['loss_before']:.3f} nats a token before, {pool['loss']:.3f} after.

| source | tasks |
|---|---|
{table}

## Limits

Those of the model. What the pool has not learned is left to the model as far as the examples' words show it; a blend is a first
answer, which `crayon customize` judges by the examples.
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("name", choices=RECIPES)
    parser.add_argument("--model", help="the model's file; mini is part of the program")
    parser.add_argument("--crayon", type=Path, default=ROOT / "target/release/crayon")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data")
    parser.add_argument("-o", "--output", type=Path, help="folder of the pool")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cap", type=int, help="examples of a task at most")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--keep", action="store_true", help="write neither card nor packed pool: a trial")
    args = parser.parse_args()
    if args.name != "mini" and not args.model:
        parser.error("--model is needed")
    folder = args.output or ROOT / "pools/runs" / args.name
    folder.parent.mkdir(parents=True, exist_ok=True)
    rows = examples(args.name, args.data, args.cap)
    data = folder.with_suffix(".jsonl")
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    def crayon(*command):
        words = [str(args.crayon), *map(str, command), "-m", args.model or args.name, "--threads", str(args.threads), "--json"]
        return json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout)

    settings = RECIPES[args.name]["settings"] | FIXED | ({"--epochs": args.epochs} if args.epochs else {})
    flags = [word for pair in settings.items() for word in pair]
    # Seconds of all runs that it took: what a stopped one has used is kept beside the data.
    spent, began = folder.with_suffix(".seconds"), time.time()
    before = float(spent.read_text()) if spent.is_file() else 0.0
    try:
        pool = crayon("pool", "train", "--data", data, *flags, "-o", folder, "--force")
    finally:
        seconds = before + time.time() - began
        spent.write_text(str(seconds))
    text = card(args.name, pool, len(rows), settings, seconds)
    folder.joinpath("card.md").write_text(text, encoding="utf-8")
    if args.keep:
        return
    if args.name == "mini":
        crayon("pool", "pack", folder, "-o", ROOT / "models/mini-pool.safetensors")
        (ROOT / "models/MODEL_CARD-mini-pool.md").write_text(text, encoding="utf-8")
    else:
        (ROOT / f"pools/{args.name}.md").write_text(text, encoding="utf-8")
    spent.unlink()


if __name__ == "__main__":
    main()
