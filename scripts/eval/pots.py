"""What is kept and what is lost when texts are read through a pot: `crayon eval`'s figures as Markdown, with pictures.

    cargo build --release && python3 scripts/eval/pots.py --data DIR
    python3 scripts/eval/pots.py --model gemma-3-270m.gguf --name gemma --title "Gemma 3 270M" --parts policies novelty needles cost --pots 1024 \\
        --length 3000 --questions 4 --tasks needle,multikey,multivalue,distractors --needle-pot 1024 --data DIR

Writes docs/results/pot.md and docs/results/pot-*.svg, or with `--name` pot-NAME.md; with `--parts` only those sections of the file.
`--data` holds the two public-domain books that are read as streams. The questions are this project's own; nothing here was trained on.
"""

import argparse
import subprocess
import time
from pathlib import Path

from program import crayon, table

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs/results"
BOOKS = {"Alice in Wonderland": "gutenberg/alice_11.txt", "The Adventures of Sherlock Holmes": "gutenberg/sherlock_1661.txt"}
POLICIES = ["infinipot", "truncate", "streaming", "h2o", "tova", "snapkv", "keydiff", "sirllm", "kvzip", "episodic"]


def ask(args, *call):
    return crayon(args.binary, *call, *args.of_model)


def shown(arguments):
    return "`crayon " + " ".join(str(a) if " " not in str(a) else f'"{a}"' for a in arguments) + "`"


def percent(value, error):
    return "" if value is None else f"{100 * value:.1f}" + ("" if error is None else f" ± {100 * error:.1f}")


def policies(args, title="Policies at equal memory", only=None, of=None):
    call = ["eval", "policies", "--pots", ",".join(map(str, args.pots)), "--length", args.length, "--questions", args.questions, "--seeds", args.seeds]
    call += ["--tasks", of or args.tasks]
    if only or args.only:
        call += ["--only", only or args.only]
    found = ask(args, *call)
    rows = found["rows"]
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    tasks.remove("mean")
    columns = ["mean", *tasks] if len(tasks) > 1 else tasks
    parts = [f"## {title}\n\n{shown(call)}: texts of {found['length']} tokens, {args.seeds} seeds, standard errors over seeds."]
    for asked, value, error in (("said", "accuracy", "standard_error"), ("chosen among four", "choice_accuracy", "choice_standard_error")):
        full = [row for row in rows if row["pot"] is None]
        for pot in args.pots:
            own = [row for row in rows if row["pot"] == pot] + full
            lines = []
            for name in dict.fromkeys(row["policy"] for row in own):
                cells = {row["task"]: row for row in own if row["policy"] == name}
                lines.append([name, *(percent(cells[t][value], cells[t][error]) for t in columns)])
            parts.append(f"Right answers in per cent, {asked}, pot of {pot} entries (the full cache holds everything):\n\n" + table(["policy", *columns], lines))
    return parts


def again(args):
    return policies(args, "Read twice, or for another question", "infinipot (,infinipot read twice,infinipot exact,full")


def conversations(args):
    only = "infinipot (,infinipot α=0 (CaP only),infinipot α=0.25 (question),truncate,streaming,h2o,tova,snapkv,sirllm,kvzip,episodic,full"
    return policies(args, "Conversations", only, "conversation")


def beside(args):
    return policies(args, "Novelty beside a question", "infinipot (question),infinipot α=0 (question),infinipot α=0.25 (question)")


def needles(args):
    parts = ["## Needle in a haystack\n"]
    for policy, extra in (("infinipot", ["--catalyst", "question"]), ("streaming", []), ("snapkv", [])):
        picture = RESULTS / f"pot-{args.name}-needle-{policy}.svg"
        call = ["eval", "needle", "--pot", args.needle_pot, "--policy", policy, *extra, "--lengths", args.lengths, "--depths", args.depths, "--samples", args.samples]
        found = ask(args, *call, "--plot", picture)
        memory = f"{found['peak_kv_bytes'] / 1e6:.2f} MB of keys and values"
        parts.append(
            f"{shown(call)}: {100 * found['accuracy']:.1f} % said, {100 * found['choice_accuracy']:.1f} % chosen among {found['choices']}; "
            f"{memory} at every length.\n\n![needle, {policy}]({picture.name})"
        )
    return parts


def far(args):
    rows = []
    for length in args.far.split(","):
        began = time.monotonic()
        found = ask(args, *far_call(args, length))
        seconds, cell = time.monotonic() - began, found["grid"][0]
        rows.append([f"{cell['length']:,}", percent(cell["accuracy"], None), percent(cell["choice_accuracy"], None), f"{seconds:,.0f} s",
                     f"{cell['length'] / seconds:,.0f}", f"{found['peak_rss_mb']:.0f} MB"])
    return [
        f"## A million tokens\n\n{shown(far_call(args, 'N'))}: one question in the middle of a text, a process for each length. Seconds are those of the whole command, beside "
        "whatever else the machine did.\n\n" + table(["tokens", "said %", "chosen %", "time", "tokens a second", "peak memory"], rows)
    ]


def far_call(args, length):
    return ["eval", "needle", "--pot", args.needle_pot, "--catalyst", "question", "--novelty", 0, "--lengths", length, "--depths", "0.5", "--samples", 1]


def streams(args):
    head, lines = ["policy", *BOOKS], []
    for policy in POLICIES:
        cells = []
        for file in BOOKS.values():
            text = (args.data / file).read_text(encoding="utf-8")[: args.characters]
            path = Path(args.scratch) / "book.txt"
            path.write_text(text, encoding="utf-8")
            found = ask(args, "eval", "perplexity", "--text", path, "--pot", args.needle_pot, "--policy", policy)
            cells.append(f"{found['perplexity']:.1f} ({found['bits_per_byte']:.3f})")
        lines.append([policy, *cells])
    return [
        f"## Streaming perplexity\n\n`crayon eval perplexity --text BOOK --pot {args.needle_pot} --policy P`, the first {args.characters:,} characters of each book as one "
        "stream: perplexity per token (bits per byte).\n\n" + table(head, lines)
    ]


def storages(args):
    lines = []
    path = Path(args.scratch) / "book.txt"
    path.write_text((args.data / BOOKS["Alice in Wonderland"]).read_text(encoding="utf-8")[: args.characters], encoding="utf-8")
    for storage in ("f32", "f16", "i8"):
        found = ask(args, "eval", "perplexity", "--text", path, "--pot", args.needle_pot, "--kv", storage)
        needle = ask(args, "eval", "needle", "--lengths", "800", "--samples", 16, "--kv", storage)
        lines.append([storage, f"{found['kv_bytes'] / 1e6:.2f}", f"{found['perplexity']:.2f}", percent(needle["accuracy"], None), percent(needle["choice_accuracy"], None)])
    return [
        f"## Numbers keys and values are stored in\n\nPerplexity of Alice in Wonderland through a pot of {args.needle_pot} (`eval perplexity --kv`), and facts in texts of 800 "
        "tokens with the full cache (`eval needle --kv`).\n\n" + table(["storage", "MB", "perplexity", "said %", "chosen %"], lines)
    ]


def cost(args):
    parts = ["## Cost\n"]
    for call in (["bench", "pot", *run.split()] for run in COSTS["mini" if args.name == "mini" else "other"]):
        model = [] if "--shape" in call else args.of_model
        run = subprocess.run([args.binary, "-q", *call, *model], capture_output=True, text=True, check=True)
        parts.append(shown(call) + f"\n\n```\n{run.stdout.rstrip()}\n```")
    return parts


def novelty(args):
    head, lines = ["text", "tokens", "rank correlation", "kept by both, %", "missing, nats", "exact, % of the layers' time", "cheap"], []
    for title, file in BOOKS.items():
        call = ["eval", "novelty", "--text", args.data / file, "--windows", args.windows]
        found = ask(args, *call)
        of_layers = [f"{100 * found[side] / found['layers_s']:.1f}" for side in ("exact_s", "cheap_s")]
        lines.append([title, f"{found['tokens']:,}", f"{found['spearman']:.3f}", f"{100 * found['overlap']:.1f}", f"{found['missing_nats']:.2f}", *of_layers])
    return [
        f"## Cheap novelty beside the exact one\n\n`crayon eval novelty --text BOOK --windows {args.windows}`: windows of 1,024 tokens; of each 512 the most "
        "surprising quarter is kept.\n\n" + table(head, lines)
    ]


COSTS = {
    "mini": ["--pot 256 --tokens 100k --runs 9 --decode 1024", "--pot 512 --tokens 1m --runs 9", "--pot 1024 --tokens 100k --runs 9", "--shape qwen2.5-0.5b --pot 1024 --tokens 8k --runs 1 --decode 32"],
    "other": ["--pot 1024 --tokens 8k --runs 1 --decode 32", "--shape qwen2.5-0.5b --pot 1024 --tokens 2k --runs 1 --decode 32"],
}
PARTS = {"policies": policies, "again": again, "beside": beside, "novelty": novelty, "needles": needles, "far": far, "streams": streams, "storages": storages, "cost": cost,
         "conversations": conversations}


def sections(text):
    """Heading -> section."""
    return {part.partition("\n")[0]: part.strip() for part in text.split("\n## ")[1:]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / "../shared/data")
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--binary", default=str(ROOT / "target/release/crayon"))
    parser.add_argument("--pots", type=int, nargs="*", default=[128, 256, 512])
    parser.add_argument("--length", type=int, default=860, help="tokens of a text; within mini's window, so that the full cache can be asked too")
    parser.add_argument("--questions", type=int, default=8, help="of each task and seed")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tasks", default="needle,multikey,multivalue,distractors", help="those that mini can do at all with a full cache")
    parser.add_argument("--needle-pot", type=int, default=256)
    parser.add_argument("--lengths", default="1k,4k,16k")
    parser.add_argument("--far", default="100k,1m", help="lengths of the farthest texts")
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--characters", type=int, default=100_000)
    parser.add_argument("--scratch", default="/tmp")
    parser.add_argument("--model", help="another than mini")
    parser.add_argument("--name", default="mini", help="of the model, for files")
    parser.add_argument("--title", default="mini", help="of the model, for the page")
    parser.add_argument("--only", help="only variants of policies whose name begins so")
    parser.add_argument("--depths", default="0,0.25,0.5,0.75,1")
    parser.add_argument("--windows", type=int, default=8)
    args = parser.parse_args()
    args.of_model = ["-m", args.model] if args.model else []
    path = RESULTS / ("pot.md" if args.name == "mini" else f"pot-{args.name}.md")
    for name in args.parts:
        text = "\n\n".join(PARTS[name](args))
        found = sections(path.read_text(encoding="utf-8")) if path.exists() else {}
        found |= sections("\n" + text)
        model = "the built-in `mini`" if not args.model else f"{args.title} (`{Path(args.model).name}`)"
        head = f"# InfiniPot in figures: {args.title}\n\nPrinted by `python3 scripts/eval/pots.py`, which calls `crayon eval` and `crayon bench` on {model}."
        path.write_text(head + "".join(f"\n\n## {section}" for section in found.values()) + "\n", encoding="utf-8")
        print(f"{name} done", flush=True)


if __name__ == "__main__":
    main()
