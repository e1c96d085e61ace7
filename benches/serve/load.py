"""Thousands of requests of many kinds to one `crayon serve`: memory, times between tokens, and whether company changes an answer; prints Markdown.

    cargo build --release
    python3 benches/serve/load.py --requests 10000 > docs/results/load.md

Clients ask at once: short and long prompts, texts read through a pot, people with models of their own, documents that several ask about, forms,
streams that are read slowly and streams that are left in the middle. Afterwards every question is asked once more, alone. Ends with status 1 where
an answer differs, a request fails, or memory grows by more than a twentieth after the first quarter. Needs Python alone, on Linux.
"""

import argparse
import http.client
import json
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
THINGS = ["a boat", "the moon", "an old clock", "two goats", "a red kite", "the sea", "a small town", "bread", "a long winter", "the stairs"]
DOCUMENTS, KINDS = 8, 40
# Of a hundred requests, so many are of each kind.
MIX = {"chat": 36, "completion": 12, "person": 24, "document": 12, "pot": 6, "form": 4, "leaver": 4, "slow": 2}


def text(seed, sentences):
    """Made-up sentences."""
    draw = random.Random(seed)
    verbs = ["saw", "found", "painted", "lost", "asked about", "sold", "mended"]
    names = ["Anna", "Tom", "Mia", "Ben", "Lea", "Max"]
    return " ".join(f"{draw.choice(names)} {draw.choice(verbs)} {draw.choice(THINGS)} on day {draw.randrange(1, 300)}." for _ in range(sentences))


def question(kind, which, model):
    """The path and the body of a request: of each kind there are `KINDS`."""
    thing = THINGS[which % len(THINGS)]
    body = {"model": model, "max_tokens": 16 + which % 5 * 12, "stream": True, "stream_options": {"include_usage": True}}
    ask = [{"role": "user", "content": f"Tell me about {thing}, number {which}."}]
    if kind == "completion":
        return "/v1/completions", {**body, "prompt": f"Once there was {thing}, and number {which} said"}
    if kind == "person":
        return "/v1/chat/completions", {**body, "model": f"{model}:p{which}", "messages": ask}
    if kind == "document":
        return "/v1/chat/completions", {**body, "messages": ask, "documents": [text(which % DOCUMENTS, 40)]}
    if kind == "pot":
        return "/v1/chat/completions", {**body, "messages": ask, "documents": [text(1000 + which, 90)], "pot": 256}
    if kind == "form":
        return "/v1/chat/completions", {**body, "messages": ask, "grammar": {"regex": "[a-z]{3,12}( [a-z]{2,9}){2,6}"}}
    return "/v1/chat/completions", {**body, "messages": ask}


class Server:
    def __init__(self, program, model, memory, parallel, folder):
        call = [program, "serve", "-m", model, "--port", "0", "--json", "-q", "--people", str(folder / "people.redb"),
                "--memory", memory, "--parallel", str(parallel), "--queue", "512"]
        self.process = subprocess.Popen(call, stdout=subprocess.PIPE, text=True)
        told = json.loads(self.process.stdout.readline())
        self.port, self.model = int(told["url"].split(":")[2].split("/")[0]), told["model"]

    def status(self, name):
        """A number of `/proc`, in MiB."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) / 1024
        return 0.0

    def call(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        connection.request(method, path, json.dumps(body) if body is not None else None, {"Content-Type": "application/json"})
        reply = connection.getresponse()
        found = reply.read()
        connection.close()
        if reply.status >= 300:
            sys.exit(f"{method} {path}: {reply.status} {found[:300]}")
        return found

    def ask(self, kind, path, body, between):
        """The answer's text, or nothing where it was left; the times between pieces go to `between`."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        reply = connection.getresponse()
        if reply.status != 200:
            raise RuntimeError(f"{reply.status}: {reply.read()[:300]}")
        said, last, done = [], None, False
        for line in reply:
            if not line.startswith(b"data: "):
                continue
            if line.startswith(b"data: [DONE]"):
                done = True
                break
            piece = json.loads(line[6:])
            if "error" in piece:
                raise RuntimeError(str(piece["error"]))
            for choice in piece.get("choices", []):
                words = choice.get("text") or (choice.get("delta") or {}).get("content")
                if words:
                    now = time.monotonic()
                    if last is not None and kind not in ("slow", "pot"):
                        between.append(now - last)
                    last = now
                    said.append(words)
            if kind == "slow":
                time.sleep(0.05)
            if kind == "leaver" and len(said) == 5:
                connection.close()
                return None
        connection.close()
        if not done:
            raise RuntimeError("a stream was cut")
        return "".join(said)


def quantile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))] if values else 0.0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=str(ROOT / "target/release/crayon"))
    parser.add_argument("-m", "--model", default="mini")
    parser.add_argument("--requests", type=int, default=10000)
    parser.add_argument("--clients", type=int, default=24)
    parser.add_argument("--parallel", type=int, default=8)
    parser.add_argument("--memory", default="192MiB")
    parser.add_argument("--people", type=int, default=200, help="how many are kept with models of their own, 40 at least; forty of them ask")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    draw = random.Random(args.seed)
    kinds = [kind for kind, share in MIX.items() for _ in range(share)]
    plan = [(draw.choice(kinds), draw.randrange(KINDS)) for _ in range(args.requests)]
    answers, failures, rows, found = {}, [], [], []
    lock, at = threading.Lock(), [0]
    with tempfile.TemporaryDirectory() as folder:
        server = Server(args.program, args.model, args.memory, args.parallel, Path(folder))
        model = server.model
        pools = json.loads(server.call("GET", "/v1/pools"))["data"]
        for person in range(max(args.people, KINDS) if pools else 0):
            mix = random.Random(person)
            weights = [mix.uniform(0, 0.3) for _ in range(pools[0]["adapters"])]
            server.call("POST", "/v1/customizations", {"name": f"p{person}", "weights": weights})
        if not pools:
            plan = [("chat" if kind == "person" else kind, which) for kind, which in plan]
        quarters = [[] for _ in range(4)]
        started = time.monotonic()

        def client():
            while True:
                with lock:
                    here = at[0]
                    at[0] += 1
                if here >= len(plan):
                    return
                kind, which = plan[here]
                between = []
                try:
                    said = server.ask(kind, *question(kind, which, model), between)
                except Exception as error:  # whatever it is, it is told
                    with lock:
                        failures.append(f"{kind} {which}: {error}")
                    continue
                with lock:
                    quarters[min(3, here * 4 // len(plan))].extend(between)
                    if said is not None:
                        answers.setdefault((kind if kind not in ("leaver", "slow") else "chat", which), set()).add(said)

        def watch():
            while at[0] < len(plan) + args.clients:
                rows.append((min(at[0], len(plan)), server.status("VmRSS"), server.status("RssFile")))
                time.sleep(0.25)

        def look_up():
            """How long it takes to be told of a person while the model runs, the connection included."""
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
            pick = random.Random(args.seed)
            while at[0] < len(plan):
                began = time.monotonic()
                connection.request("GET", f"/v1/customizations/{model}:p{pick.randrange(args.people)}")
                connection.getresponse().read()
                found.append(time.monotonic() - began)
                time.sleep(0.02)

        threads = [threading.Thread(target=client) for _ in range(args.clients)]
        beside = [threading.Thread(target=watch, daemon=True)]
        if pools:
            beside.append(threading.Thread(target=look_up, daemon=True))
        for thread in [*beside, *threads]:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.monotonic() - started
        peak = server.status("VmHWM")
        metrics = server.call("GET", "/metrics").decode()
        alone = {key: server.ask(key[0], *question(*key, model), []) for key in sorted(answers)}
        server.process.terminate()
        ended = server.process.wait()
    different = [key for key, said in answers.items() if said != {alone[key]}]
    share = len(plan) / 4
    use = [[rss for done, rss, _ in rows if share * quarter <= done < share * (quarter + 1)] or [0.0] for quarter in range(4)]
    growth = statistics.median(use[3]) / statistics.median(use[1]) - 1
    said = {}
    for line in metrics.splitlines():
        if line.startswith("crayon_") and " " in line:
            name, number = line.rsplit(" ", 1)
            said[name] = float(number)
    limit = int(args.memory.removesuffix("MiB"))
    resident = max(rss for _, rss, _ in rows)
    chosen = "" if args.model == "mini" else f" -m {Path(args.model).name}"
    if not pools:
        args.people = 0
    people = f" with its pool and {args.people:,} people" if pools else ", where requests of people are plain chats"
    print(f"## {args.memory} for {model}\n")
    print(f"Printed by `python3 benches/serve/load.py{chosen} --requests {args.requests} --clients {args.clients} --people {args.people} --memory {args.memory}`: {args.clients} clients, one request "
          f"after the other each, `--parallel {args.parallel}`, on {model}{people}. Kinds of requests, of a hundred: "
          + ", ".join(f"{kind} {share}" for kind, share in MIX.items()) + ".\n")
    print("| quarter of the requests | resident memory, MiB: median, most | between tokens, ms: median, 99 % |\n|---|---|---|")
    for quarter in range(4):
        times = quarters[quarter]
        print(f"| {quarter + 1} | {statistics.median(use[quarter]):.0f}, {max(use[quarter]):.0f} | "
              f"{1000 * quantile(times, 0.5):.1f}, {1000 * quantile(times, 0.99):.1f} |")
    print(f"\n{args.requests} requests in {seconds:.0f} s, {len(failures)} failed. From the second to the last quarter memory changed by {100 * growth:+.1f} %. "
          f"At most {resident:.0f} MiB were resident (the system counted {peak:.0f}), {100 * resident / limit - 100:+.0f} % of the {limit} MiB allowed.")
    print(f"{len(answers)} different questions were asked {sum(1 for kind, _ in plan if kind != 'leaver')} times; {len(different)} got another answer in company than alone. "
          f"The server ended with status {ended}.")
    if found:
        print(f"To be told of one of the people took {1000 * quantile(found, 0.5):.1f} ms meanwhile, {1000 * quantile(found, 0.99):.1f} ms at the 99th percentile of "
              f"{len(found)} times, the connection included.")
    print()
    for line in failures[:5] + [f"different: {key}" for key in different[:5]]:
        print(line, file=sys.stderr)
    sys.exit(bool(failures or different or growth > 0.05 or ended))


if __name__ == "__main__":
    main()
