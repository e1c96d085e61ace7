"""A device and a bigger model behind two servers, ours and llama.cpp's: what a share of the questions sent brings.

    cargo build --release
    python3 scripts/eval/routing.py --strong gemma-3-270m.gguf --llama-server llama-server --data DIR > docs/results/routing.md
    python3 scripts/eval/routing.py --calibrate --data DIR       # models/mini-thresholds.json, from train splits

`--split train` prints the same of the train splits, by which the tasks were chosen. Both servers hold the same file, run on this machine and
ask the model in the same frame. Their answers are kept in `--runs`, so that a stopped run goes on; the pictures go beside the table.
"""

import argparse
import json
import random
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import routing_tasks as tasks
from program import crayon, table

ROOT = Path(__file__).resolve().parents[2]
THRESHOLDS = ROOT / "models/mini-thresholds.json"
# By the train splits the server is better at the first six of each kind, and at the others not.
CHOSEN = ["film reviews", "spam", "tweets, emotion", "tweets, sentiment", "kinds of questions", "OpenBookQA", "product reviews", "SNIPS intents"]
ALONE = ["first letters", "larger animals", "colours", "animals", "verbs", "past tense", "plurals", "capital letters", "SNIPS intents", "bAbI 16", "bAbI 18"]
WRITTEN = ["capitals", "landmarks", "sports", "products", "past tense", "plurals", "larger animals", "first letters", "SNIPS intents"]
# Whose examples the device is customized with, of the tasks with choices.
CUSTOMIZED = ["SNIPS intents", "product reviews", "film reviews"]
CALIBRATED = ["SNIPS intents", "first letters", "larger animals", "colours", "capitals", "opposites", "sums", "bAbI 1", "bAbI 10"]
HELD_OUT = ["animals", "verbs", "capital letters", "landmarks", "past tense", "plurals", "next items", "bAbI 2", "bAbI 15", "bAbI 16", "bAbI 18"]
DOMAINS = ["banking", "travel", "kitchen_and_dining", "work", "auto_and_commute"]
SOLVED = 3  # examples that the server is shown
# The frame `qa` as a chat template.
TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ 'Question: ' + m['content'] + '\\nAnswer:' }}"
    "{% elif m['content'] %}{{ ' ' + m['content'] + '\\n\\n' }}{% endif %}{% endfor %}"
)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Served:
    """A server while it runs, and how `eval routing` reaches it."""

    def __init__(self, call, port, kept):
        self.call, self.port, self.kept = [str(part) for part in call], port, kept

    def __enter__(self):
        self.process = subprocess.Popen(self.call, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(1200):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=2).close()
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/v1/models", timeout=2) as reply:
                    name = json.load(reply)["data"][0]["id"]
                return ["--server", f"http://127.0.0.1:{self.port}/v1", "--server-model", name, "--cells", self.kept]
            except OSError:
                time.sleep(0.5)
            if self.process.poll() is not None:
                break
        self.process.kill()
        sys.exit(f"{self.call[0]} does not start")

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


def lines(path, objects):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(o) + "\n" for o in objects))
    return path


class Bench:
    def __init__(self, args, folder):
        self.args, self.folder = args, folder

    def task(self, name, written):
        """The questions asked, and the folder with the solved ones."""
        kind = self.folder / ("written" if written else "choices")
        known = tasks.load(self.args.data, name, "train", written)
        random.Random(1).shuffle(known)
        asked = known[SOLVED:] if self.args.split == "train" else tasks.load(self.args.data, name, self.args.split, written)
        if self.args.split != "train":
            random.Random(2).shuffle(asked)
        lines(kind / "solved" / f"{name}.jsonl", known[:SOLVED])
        return lines(kind / f"{name}.jsonl", asked[: self.args.limit]), kind / "solved"

    def routing(self, names, where, *more, written=False):
        made = [self.task(name, written) for name in names]
        how = ["--written", "--max-tokens", 16] if written else ["--max-tokens", 16]
        solved = ["--solved", made[0][1]] if where else []
        files = [part for file, _ in made for part in ("--task", file)]
        return crayon(self.args.binary, "eval", "routing", "-m", self.args.device, "--seed", 1, *how, *where, *solved, *files, *more)

    def examples(self, name, count=20):
        """Some of the train split, others than the solved ones."""
        known = tasks.load(self.args.data, name, "train", True)
        random.Random(1).shuffle(known)
        return lines(self.folder / "examples" / f"{name}.jsonl", known[SOLVED : SOLVED + count])


def domain(data, folder, name, examples, seed, most):
    """Questions of a CLINC150 domain, some of its training requests, and requests outside all domains."""
    intents = json.loads((data / "clinc150/domains.json").read_text())[name]
    splits = json.loads((data / "clinc150/data_full.json").read_text())
    words = [i.replace("_", " ") for i in intents]
    inside = [{"prompt": f"{t}\nIntent:", "choices": words, "answer": intents.index(i)} for t, i in splits["test"] if i in intents]
    known = random.Random(seed).sample([{"prompt": f"{t}\nIntent:", "answer": i.replace("_", " ")} for t, i in splits["train"] if i in intents], examples)
    outside = [{"prompt": f"{t}\nIntent:"} for t, _ in random.Random(seed).sample(splits["oos_test"], most)]
    return lines(folder / f"{name}.jsonl", inside), lines(folder / f"{name}-examples.jsonl", known), lines(folder / f"{name}-outside.jsonl", outside)


def percent(value):
    return "–" if value is None else f"{100 * value:.0f}"


def accuracy(row, side):
    p = row[side]
    return f"{100 * p:.0f} ± {100 * (p * (1 - p) / row['n']) ** 0.5:.0f}"


def with_error(value, error):
    return "–" if value is None else f"{value:.2f}" + (f" ± {error:.2f}" if error is not None else "")


def curves(report):
    """A line for each task and order: random routing is 0.5, 50 % and 80 % wherever there is a gap."""
    found = []
    for row in report["rows"]:
        for order in row["orders"]:
            if order["by"] == "random" and row["task"] != "all":
                continue
            apgr = with_error(order["apgr"], order["apgr_stderr"])
            found.append([row["task"], str(row["n"]), accuracy(row, "device"), accuracy(row, "server"), order["by"], percent(order["auc"]), apgr, percent(order["cpt50"]), percent(order["cpt80"])])
    return table(["task", "questions", "device", "server", "sent by", "AUC", "APGR", "CPT 50 %", "CPT 80 %"], found)


def told(report):
    measures = [one["by"] for one in report["rows"][0]["told"]]
    found = [[row["task"], accuracy(row, "device"), *(with_error(one["auroc"], one["auroc_stderr"]) for one in row["told"])] for row in report["rows"]]
    return table(["task", "device", *measures], found)


def doubted(report):
    found = []
    for row in report["rows"]:
        d = row["doubted"]
        wrong = d["wrong"] + d["believed"] - d["right"]
        found.append([row["task"], f"{d['wrong']} of {d['doubted']}", f"{d['right']} of {d['believed']}", f"{d['wrong']} of {wrong}", f"{d['doubted'] - d['wrong']} of {row['n'] - wrong}"])
    return table(["task", "wrong among those noted", "right among the others", "wrong ones noted", "right ones noted"], found)


def calibrate(args, folder):
    bench = Bench(args, folder)
    files = []
    for name in CALIBRATED:
        known = tasks.load(args.data, name, "train", True)
        random.Random(3).shuffle(known)
        files += ["--data", lines(folder / "known" / f"{name}.jsonl", known[:60])]
    print(json.dumps(crayon(args.binary, "route", "calibrate", "-m", args.device, "--max-tokens", 24, *files, "-o", args.output)["doubt"]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strong", type=Path, help="the server's model, a GGUF file [default: the device is measured alone]")
    parser.add_argument("--device", default="mini")
    parser.add_argument("--data", type=Path, default=ROOT / "../shared/data")
    parser.add_argument("--binary", default=str(ROOT / "target/release/crayon"))
    parser.add_argument("--llama-server", help="llama.cpp's server, to be one of the servers [default: ours alone]")
    parser.add_argument("--limit", type=int, default=30, help="questions of each task")
    parser.add_argument("--more", type=int, default=2, help="times as many where the device is measured alone")
    parser.add_argument("--split", choices=["train", "test"], default="test")
    parser.add_argument("--runs", type=Path, default=ROOT / "training/runs/routing")
    parser.add_argument("--pictures", type=Path, default=ROOT / "docs/results")
    parser.add_argument("--calibrate", action="store_true", help="measure the device's threshold and nothing else")
    parser.add_argument("-o", "--output", type=Path, default=THRESHOLDS, help="where --calibrate writes")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        if args.calibrate:
            return calibrate(args, folder)
        measure(args, folder)


def measure(args, folder):
    bench = Bench(args, folder)
    if args.strong:
        with_servers(args, bench, folder)
    else:
        print(f"# Whether {args.device} knows what it does not know\n")
        print("Printed by `python3 scripts/eval/routing.py` without `--strong`: the device alone, test splits.\n")
    # The device alone costs little.
    few, args.limit = args.limit, args.limit * args.more
    print(f"""## Right told from wrong

How well the device's certainty of what it wrote tells its right answers from its wrong ones (AUROC; 0.5 is chance), up to {args.limit} questions of each
task: `mean` is the confidence, `exp` of the mean log-probability of the answer's tokens; `with the end` counts the end as a token; `lowest`,
`first` and `last` are single tokens; `product` is the probability of the whole answer. An answer is right when its first line is.
""")
    print(told(bench.routing(ALONE, [], written=True)), flush=True)
    if args.strong:
        strong = Bench(argparse.Namespace(**vars(args) | {"device": args.strong, "limit": few}), folder)
        print(f"\nThe same of {args.strong.stem} as the device, {few} questions of each, nothing shown before:\n")
        print(told(strong.routing(["capitals", "landmarks", "sports", "products", "larger animals"], [], written=True)))
    print(f"""
## The note that the model is not sure

The threshold inside the program for {args.device}, {json.loads(THRESHOLDS.read_text())["doubt"]["below"]:.3f}, was measured by `routing.py --calibrate` on train splits so that 8 of 10 answers below it
are wrong. What becomes of answers to questions of test splits, first of the tasks whose train splits it was measured on, then of others:
""")
    for group, title in ((CALIBRATED, "measured on"), (HELD_OUT, "others")):
        report = bench.routing(group, [], "--thresholds", THRESHOLDS, written=True)
        rows = [{**row, "task": f"all {title}" if row["task"] == "all" else row["task"]} for row in report["rows"]]
        print(doubted({"rows": rows}) + "\n", flush=True)
    if args.strong:
        domains(args, folder)


def domains(args, folder):
    print("## Told apart: requests of the customized domain and requests outside all domains (AUROC)\n")
    print(f"The device is customized with twenty training requests of a CLINC150 domain, and asked {args.limit} of its test split and as many outside all domains.\n")
    found = []
    for name in DOMAINS:
        inside, known, outside = domain(args.data, folder, name, 20, 1, args.limit)
        report = crayon(args.binary, "eval", "routing", "-m", args.device, "--limit", args.limit, "--seed", 1, "--task", inside, "--outside", outside, "--examples", known, "--force")["outside"]
        found.append([name, str(report["inside"]), str(report["outside"]), f"{report['confidence']:.3f}", f"{report['scope']:.3f}"])
    print(table(["domain", "inside", "outside", "by confidence", "by scope"], found))


def with_servers(args, bench, folder):
    args.runs.mkdir(parents=True, exist_ok=True)
    template = folder / "template.jinja"
    template.write_text(TEMPLATE)
    ports = [free_port(), free_port()]
    servers = {"crayon serve": Served([args.binary, "serve", "-m", args.strong, "--port", ports[0]], ports[0], args.runs / "crayon.jsonl")}
    if args.llama_server:
        llama = [args.llama_server, "-m", args.strong, "--port", ports[1], "-c", 2048, "-np", 1, "--jinja", "--chat-template-file", template]
        servers["llama.cpp"] = Served(llama, ports[1], args.runs / "llamacpp.jsonl")
    print(f"# Who answers: {args.device} on the device, {args.strong.stem} behind a server\n")
    print(f"""Printed by `python3 scripts/eval/routing.py --strong {args.strong.name} --limit {args.limit}`, which calls `crayon eval routing`: up to {args.limit} questions of each
{args.split} split. The server's model is a base model, asked in the frame `qa`, and is shown {SOLVED} solved questions of the train split as earlier
turns before each; the device is shown none. AUC, CPT and accuracies in per cent, APGR as a part of the gap between the two, ± a
standard error over questions. Sent at random, APGR is 0.50, CPT 50 and 80. A dash stands where the server is not better: there is no gap.
The tasks were chosen on train splits.

## The likeliest choice

The device takes the likeliest choice; the server is shown the choices and writes one.
""")
    customized = {}
    for server, served in servers.items():
        with served as where:
            picture = args.pictures / f"routing-{server.replace(' ', '-').replace('.', '')}.svg"
            print(f"Server: {server}.\n\n{curves(bench.routing(CHOSEN, where, '--plot', picture))}\n\n![Accuracy over the server's share]({picture.name})\n", flush=True)
            if server == "crayon serve":
                for name in CUSTOMIZED:
                    customized[name] = bench.routing(CHOSEN, where, "--examples", bench.examples(name))["rows"][0]
    print("""## With a scope

The device is customized with 20 training examples of one task, as `ask --examples` does it, and asked the questions of all eight; what lies
outside is answered without the adapter. Server: crayon serve, whose answers are those above.
""")
    print(curves({"rows": [{**row, "task": f"all, for {name}"} for name, row in customized.items()]}))
    print("""
## Written answers

The device writes, as `ask` does; an answer is right when its first line is. The server is asked the same.
""")
    for server, served in servers.items():
        with served as where:
            picture = args.pictures / f"routing-written-{server.replace(' ', '-').replace('.', '')}.svg"
            report = bench.routing(WRITTEN, where, "--plot", picture, written=True)
            print(f"Server: {server}.\n\n{curves(report)}\n\n![Accuracy over the server's share]({picture.name})\n", flush=True)


if __name__ == "__main__":
    main()
