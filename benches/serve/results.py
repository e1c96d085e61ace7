"""`crayon bench serve` on a model, beside another server; prints Markdown.

    cargo build --release
    python3 benches/serve/results.py -m gemma-3-270m-q4_k_m.gguf --rival 'llama-server -m {model} --port {port} -np 8 -t 2' > docs/results/serve.md

People's models are blends of mini's own pool, and beside another model of one that is trained for a moment on `examples/users`: speed does
not depend on what it has learned. Ends with status 1 where the same question got different answers. Needs Python alone.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CRAYON = ROOT / "target/release/crayon"
ADAPTERS, RANK = 16, 8
CHUNK = 128


def bench(*words):
    """The object that `crayon bench serve` prints."""
    run = subprocess.run([CRAYON, "bench", "serve", "--json", *map(str, words)], stdout=subprocess.PIPE, text=True)
    if not run.stdout:
        sys.exit(run.returncode)
    return json.loads(run.stdout)


def pool(model, folder):
    data = [word for file in sorted((ROOT / "examples/users").glob("*/examples.jsonl")) for word in ("--data", file)]
    call = [CRAYON, "pool", "train", "-m", model, *data, "-n", ADAPTERS, "--rank", RANK, "--epochs", 1, "-q", "-o", folder]
    subprocess.run(list(map(str, call)), stdout=subprocess.DEVNULL, check=True)
    return folder


def load_row(name, load, ratio):
    ratio = f"{ratio:.2f}" if ratio else ""
    return (f"| {name} | {load['tok_s']:.0f} | {ratio} | {load['first_ms']:.0f}, {load['first_worst_ms']:.0f} | {load['between_ms']:.1f}, "
            f"{load['between_p99_ms']:.1f} | {load['last_s']:.2f} |")


LOAD = """| {} | tokens a second | ratio | first token, ms: median, worst | between tokens, ms: median, 99 % | last answer, s |
|---|---|---|---|---|---|"""


def at_once(found, rival):
    print(LOAD.format("requests at once"))
    for row in found["rows"]:
        print(load_row(f"{row['at_once']}", row, row["ratio"]))
        if row["rival"]:
            print(load_row(f"{row['at_once']}, {rival}", row["rival"], None))


def people(found, model):
    who = found["people"]
    print(load_row(f"{model}, {who['people']} without blends", who["plain"], None))
    print(load_row(f"{model}, {who['people']} blends of {who['adapters']} adapters", who["own"], who["share"]))


def behind(found, rival):
    print("| tokens of the long prompt | it alone, ms | short question alone, ms | behind it, ms | twice its time alone and one chunk, ms |")
    print("|---|---|---|---|---|")
    for row in found["behind"]:
        tokens = row["prompt_tokens"]
        chunk = row["long_ms"] * CHUNK / tokens
        times = "| {long_ms:.0f} | {alone_ms:.0f} | {behind_ms:.0f} |"
        print(f"| {tokens} {times.format(**row)} {2 * row['alone_ms'] + chunk:.0f} |")
        if row["rival"]:
            print(f"| {tokens}, {rival} {times.format(**row['rival'])} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", default="mini")
    parser.add_argument("--rival", help="command of another server, with {model} and {port}")
    parser.add_argument("--name", default="the other", help="what it is called in the tables")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    beside = ["--rival", args.rival] if args.rival else []
    rounds = ["--rounds", args.rounds]
    found = bench("-m", args.model, *rounds, *beside)
    one_by_one = bench("-m", args.model, *rounds, "--at-once", 1, "--behind", 0, *beside, "--", "--no-guess")["rows"][0]
    few = [*rounds, "--at-once", 1, "--behind", 0, "--people", 8]
    mixed = {"mini": bench(*few)}
    if args.model != "mini":
        with tempfile.TemporaryDirectory() as folder:
            mixed[found["model"]] = bench("-m", args.model, *few, "--", "--pool", pool(args.model, Path(folder) / "pool"))
    turns = "--parallel 1"
    alone = bench("-m", args.model, *rounds, "--behind", 0, "--at-once", "1,8", "--rival", f"'{CRAYON}' serve -m {{model}} --port {{port}} {turns}")
    print("# Many who ask at once\n")
    print(f"Printed by `python3 benches/serve/results.py -m {Path(args.model).name} --rounds {args.rounds}`, which runs `crayon bench serve`: requests of "
          f"{found['tokens']} tokens at most, sent at once, streamed, the likeliest token each time; medians of {args.rounds} round{'s' if args.rounds > 1 else ''} in turns, on {found['model']}.")
    if args.rival:
        command = args.rival.split()
        print(f"The other server is `{' '.join([Path(command[0]).name, *command[1:]])}`. Ratios are medians of the rounds' own.")
    print()
    at_once(found, args.name)
    ratio = f", {one_by_one['ratio']:.2f} times {args.name}'s" if one_by_one["ratio"] else ""
    print(f"\nWho asks alone gets tokens that an answer copies or repeats several at a time ([answers that copy](copying.md)), as many of these answers do. "
          f"With `--no-guess` one request gets {one_by_one['tok_s']:.0f} tokens a second{ratio}.")
    print("\n## A short question behind a long prompt\n")
    print("It is sent when a third of the long prompt is read.\n")
    behind(found, args.name)
    print("\n## People with models of their own\n")
    print("As many people as answers at once, each with a blend of their own (`mini:anna`), and the same requests to the model as it is. "
          "The blends are weak, so that answers stay as long.\n")
    print(LOAD.format("requests at once"))
    for model, one in mixed.items():
        people(one, model)
    print("\n## Together and in turn\n")
    print(f"The same server with `{turns}` as the other one. It is asked as any other server is, so that its answers, under the usual repetition penalty, repeat themselves less.\n")
    at_once(alone, "in turn")
    same = all(one["same"] for one in (found, alone, *mixed.values()))
    print(f"\nThe same question got {'the same answer in every round and company' if same else 'DIFFERENT answers'}.")
    if found["rival_same"] is False:
        print(f"In {args.name} it got different answers in different company.")
    sys.exit(not same)


if __name__ == "__main__":
    main()
