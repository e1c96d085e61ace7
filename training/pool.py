"""Trains the pool of adapters that is embedded with `mini`, and writes ../models/mini-pool.safetensors and its card.

    python pool.py [--crayon ../target/release/crayon] [--data ../../shared/data] [--runs runs/pool] [--threads N]

Train splits only, of sets whose licences allow it (MODEL_CARD-mini-pool.md lists them). Requests are put bare, or with the
cue `Intent:` under them; the answer is the intent in words. A stopped run goes on with the same command. A pool belongs to one
file of `mini`: after mini.gguf was exchanged, run this again.
"""

import argparse
import json
import random
import subprocess
from pathlib import Path

import tasks

HERE = Path(__file__).resolve().parent
MODELS = HERE.parent / "models"
ADAPTERS, RANK, EPOCHS, BATCH, RATE = 8, 8, 4, 16, 6e-3
TARGETS = "q,v,up,down"
# What people ask an assistant to do; small talk and questions about itself `mini` answers without an adapter.
DOMAINS = "auto_and_commute banking credit_cards home kitchen_and_dining travel utility work".split()
INTENT_EXAMPLES = 80  # of every intent
WORD_EXAMPLES = 25  # of every word task
WORDS = """
function_vectors/antonym function_vectors/synonym function_vectors/present-past function_vectors/singular-plural
function_vectors/country-capital function_vectors/english-french function_vectors/english-spanish
function_vectors/animal_v_object_5 function_vectors/verb_v_adjective_5 function_vectors/fruit_v_animal_5
""".split()
SOURCES = {
    "intents of eight domains": "CLINC150, train (S. Larson and others), CC BY 3.0",
    "word tasks": "function vectors, train (E. Todd and others), MIT",
}


def request(text, rng):
    """A request as people put it, or with the cue that benchmarks add."""
    return text if rng.random() < 0.8 else f"{text}\nIntent:"


def examples(data, rng):
    """Lines of `{"prompt", "answer", "task"}`."""
    by_intent, domain_of = {}, {}
    for text, intent, domain in tasks.clinc150(data)[1]:
        if domain in DOMAINS:
            by_intent.setdefault(intent, []).append(text)
            domain_of[intent] = domain
    for intent, texts in sorted(by_intent.items()):
        for text in rng.sample(texts, INTENT_EXAMPLES):
            yield {"prompt": request(text, rng), "answer": intent, "task": domain_of[intent].replace("_", " ")}
    for name in WORDS:
        rows = tasks.rows(data / "tasks" / name / "train.jsonl")
        for row in rng.sample(rows, min(WORD_EXAMPLES, len(rows))):
            yield {"prompt": row["prompt"], "answer": row["answer"], "task": name.split("/")[1].replace("_", " ")}


def card(pool, lines):
    rows = "\n".join(f"| {a['name']} | {a['examples']:,} | {a['rank']} |" for a in pool["adapters"])
    sources = "\n".join(f"| {part} | {source} |" for part, source in SOURCES.items())
    return f"""# mini-pool

The pool of adapters inside `crayon` beside `mini`: {len(pool['adapters'])} LoRA adapters of rank {pool['rank']} on {TARGETS.replace(',', ', ')}, in half precision,
for `crayon customize --examples FILE` and `ask --examples FILE` without `--pool`. Licence: MIT OR Apache-2.0, like the project;
the data is credited below. Made by `training/pool.py`, which writes this card; it belongs to one file of `mini`.

An adapter's key is the centre of a group of training examples, and the adapter is named after the tasks of most of them.

| adapter | examples nearest to its key | rank |
|---|---|---|
{rows}

## Training

{lines:,} examples, train splits only, of which {pool['held_out']:,} were held out; joint training (docs/adapters.md), {pool['steps']:,} steps of {BATCH} examples, largest
rate {RATE}. Loss on the held-out examples: {pool['loss_before']:.3f} nats a token before, {pool['loss']:.3f} after.

| part | source |
|---|---|
{sources}

## Limits

Those of `mini`. It names intents of the kinds above and does small things with words; what it has not learned it answers in
the manner of what it has.
"""


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--crayon", type=Path, default=HERE.parent / "target/release/crayon")
    arguments.add_argument("--data", type=Path, default=HERE.parent.parent / "shared/data")
    arguments.add_argument("--runs", type=Path, default=HERE / "runs/pool")
    arguments.add_argument("--threads", type=int, default=2)
    arguments = arguments.parse_args()

    arguments.runs.mkdir(parents=True, exist_ok=True)
    rng = random.Random(1)
    lines = list(examples(arguments.data, rng))
    rng.shuffle(lines)
    data = arguments.runs / "data.jsonl"
    data.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")

    def crayon(*command):
        command = [str(arguments.crayon), *map(str, command), "--threads", str(arguments.threads), "--json"]
        return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)

    folder = arguments.runs / "pool"
    settings = ["-n", ADAPTERS, "--rank", RANK, "--targets", TARGETS, "--epochs", EPOCHS, "--batch", BATCH]
    settings += ["--rate", RATE, "--validation", 0.04]
    pool = crayon("pool", "train", "--data", data, *settings, "-o", folder, "--force")
    crayon("pool", "pack", folder, "-o", MODELS / "mini-pool.safetensors")
    (MODELS / "MODEL_CARD-mini-pool.md").write_text(card(pool, len(lines)), encoding="utf-8")


if __name__ == "__main__":
    main()
