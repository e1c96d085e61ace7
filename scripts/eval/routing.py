"""A device and a bigger model behind two servers, ours and llama.cpp's: what a share of the questions sent brings.

    pip install "llama-cpp-python[server]"
    cargo build --release
    python3 scripts/eval/routing.py --data DIR > docs/results/routing.md

Test splits only. Both servers hold the same file and run on this machine; the pictures go beside the table.
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

from program import crayon

ROOT = Path(__file__).resolve().parents[2]
TASKS = {"SNIPS intents": "tasks/snips_intent/test.jsonl", "bAbI 1, where somebody is": "tasks/babi/qa1_single-supporting-fact/test.jsonl"}
DOMAINS = ["banking", "travel", "kitchen_and_dining", "work", "auto_and_commute"]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def serve(call, port):
    """A server that answers, and the name of its model."""
    process = subprocess.Popen(call, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(120):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=2) as reply:
                return process, json.load(reply)["data"][0]["id"]
        except OSError:
            time.sleep(0.5)
        if process.poll() is not None:
            break
    process.kill()
    sys.exit(f"{call[0]} does not start")


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def lines(path, objects):
    path.write_text("".join(json.dumps(o) + "\n" for o in objects))
    return path


def with_choices(source, folder):
    """Short answers as a choice among all answers of the set."""
    found = rows(source)
    if "choices" in found[0]:
        return source
    choices = sorted({row["answer"] for row in found})
    return lines(folder / f"{source.parent.name}.jsonl", [{"prompt": r["prompt"], "choices": choices, "answer": choices.index(r["answer"])} for r in found])


def domain(data, folder, name, examples, seed):
    """Questions of a CLINC150 domain, some of its training requests, and requests outside all domains."""
    intents = json.loads((data / "clinc150/domains.json").read_text())[name]
    splits = json.loads((data / "clinc150/data_full.json").read_text())
    words = [i.replace("_", " ") for i in intents]
    inside = [{"prompt": f"{t}\nIntent:", "choices": words, "answer": intents.index(i)} for t, i in splits["test"] if i in intents]
    known = random.Random(seed).sample([{"prompt": f"{t}\nIntent:", "answer": i.replace("_", " ")} for t, i in splits["train"] if i in intents], examples)
    outside = [{"prompt": f"{t}\nIntent:"} for t, _ in splits["oos_test"]]
    return lines(folder / f"{name}.jsonl", inside), lines(folder / "examples.jsonl", known), lines(folder / "outside.jsonl", outside)


def percent(value):
    return "–" if value is None else f"{100 * value:.1f}"


def table(report, server):
    for row in report["rows"]:
        for order in row["orders"]:
            apgr = "–" if order["apgr"] is None else f"{order['apgr']:.2f}" + (f" ± {order['apgr_stderr']:.2f}" if order["apgr_stderr"] else "")
            cells = [row["task"], server, row["n"], percent(row["device"]), percent(row["server"]), order["by"], percent(order["auc"]), apgr, percent(order["cpt50"]), percent(order["cpt80"])]
            print(f"| {' | '.join(map(str, cells))} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strong", type=Path, default=ROOT / "models/small.gguf", help="the server's model, a GGUF file")
    parser.add_argument("--device", default="mini")
    parser.add_argument("--pool", help="a pool for the device's model [default: the embedded one]")
    parser.add_argument("--data", type=Path, default=ROOT / "../shared/data")
    parser.add_argument("--binary", default=str(ROOT / "target/release/crayon"))
    parser.add_argument("--limit", type=int, default=300, help="questions of each task")
    parser.add_argument("--offer", action="store_true", help="show the server the choices")
    parser.add_argument("--pictures", type=Path, default=ROOT / "docs/results")
    args = parser.parse_args()
    ports = [free_port(), free_port()]
    servers = {
        "crayon serve": ([args.binary, "serve", "-m", args.strong, "--port", ports[0]], ports[0]),
        "llama.cpp": ([sys.executable, "-m", "llama_cpp.server", "--model", args.strong, "--port", ports[1], "--n_ctx", 1024], ports[1]),
    }
    common = ["-m", args.device, "--limit", args.limit, "--seed", 1] + ([] if args.offer else ["--bare"])
    print(f"# Who answers: {args.device} on the device, {args.strong.stem} behind a server\n")
    print(f"Printed by `python3 scripts/eval/routing.py --strong {args.strong.name} --limit {args.limit}`, which calls `crayon eval routing`: up to {args.limit} questions of each")
    print("test split; the device takes the likeliest choice, the server writes one. AUC, CPT and accuracies in per cent, APGR as a part of the gap.\n")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        tasks = [with_choices(args.data / file, folder) for file in TASKS.values()]
        named = [lines(folder / f"{name.replace('/', ' ')}.jsonl", rows(task)) for name, task in zip(TASKS, tasks)]
        print("| task | server | questions | device | server | sent by | AUC | APGR | CPT 50 % | CPT 80 % |\n|---|---|---|---|---|---|---|---|---|---|")
        for server, (call, port) in servers.items():
            process, model = serve([str(part) for part in call], port)
            try:
                where = ["--server", f"http://127.0.0.1:{port}/v1", "--server-model", model]
                picture = args.pictures / f"routing-{server.replace(' ', '-').replace('.', '')}.svg"
                table(crayon(args.binary, "eval", "routing", *common, *where, *(part for task in named for part in ("--task", task)), "--plot", picture), server)
                if server == "crayon serve":
                    scoped = []
                    for name in DOMAINS:
                        inside, known, outside = domain(args.data, folder, name, 20, 1)
                        pool = ["--pool", args.pool] if args.pool else []
                        report = crayon(args.binary, "eval", "routing", *common, *where, "--task", inside, "--outside", outside, "--examples", known, *pool, "--force")
                        scoped.append((name, report["outside"]))
            finally:
                process.terminate()
                process.wait()
        print("\n![Accuracy over the server's share](routing-crayon-serve.svg)")
        print("\n## Told apart: requests of the customized domain and requests outside all domains (AUROC)\n")
        print("The device is customized with twenty training requests of a CLINC150 domain; the model itself was trained on none of the five.\n\n| domain | inside | outside | by confidence | by scope |\n|---|---|---|---|---|")
        for name, found in scoped:
            print(f"| {name} | {found['inside']} | {found['outside']} | {found['confidence']:.3f} | {found['scope']:.3f} |")


if __name__ == "__main__":
    main()
