"""Requests at once against `crayon serve`, answered together and one after the other; prints Markdown.

    cargo build --release && python3 benches/serve/load.py -m gemma-3-270m-q4_k_m.gguf > docs/results/serve.md

Every round starts the server anew, with `--parallel 8` and with `--parallel 1` in turns, and asks for 64 tokens each. The same question
must get the same answer in every round, whatever the company; the script ends with status 1 if it does not. Needs Python alone.
"""

import argparse
import json
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOKENS = 64


class Server:
    def __init__(self, program, model, parallel):
        words = [program, "serve", "-m", model, "--port", "0", "--parallel", str(parallel), "--json"]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        first = json.loads(self.process.stdout.readline())
        self.url, self.model = first["url"], first["model"]

    def ask(self, number):
        """Tokens of an answer, its text and the seconds it took."""
        content = f"Tell me a long story about number {number}."
        body = {"model": self.model, "messages": [{"role": "user", "content": content}], "max_tokens": TOKENS, "temperature": 0}
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/chat/completions", json.dumps(body).encode(), headers)
        began = time.perf_counter()
        answer = json.loads(urllib.request.urlopen(request).read())
        return answer["usage"]["completion_tokens"], answer["choices"][0]["message"]["content"], time.perf_counter() - began

    def together(self, count):
        found = [None] * count

        def one(number):
            found[number] = self.ask(number)

        threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
        began = time.perf_counter()
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        return found, time.perf_counter() - began

    def stop(self):
        self.process.terminate()
        self.process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", default="mini")
    parser.add_argument("--binary", default=str(ROOT / "target/release/crayon"))
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    rates, waits, texts, same = {}, {}, {}, True
    for _ in range(args.rounds):
        for parallel in (8, 1):
            server = Server(args.binary, args.model, parallel)
            server.ask(0)
            for count in args.counts:
                found, seconds = server.together(count)
                rates.setdefault((parallel, count), []).append(sum(tokens for tokens, _, _ in found) / seconds)
                waits.setdefault((parallel, count), []).append(max(took for _, _, took in found))
                for number, (_, text, _) in enumerate(found):
                    same &= texts.setdefault(number, text) == text
            server.stop()
    mean = lambda table, key: statistics.median(table[key])
    print("# Many who ask at once\n")
    print(f"Printed by `python3 benches/serve/load.py -m {Path(args.model).name}`: requests of {TOKENS} tokens at most, sent at once to `crayon serve`,")
    print(f"medians of {args.rounds} rounds in turns, two threads. *Together* is `--parallel 8`, *in turn* `--parallel 1`.\n")
    print("| requests at once | together, tokens a second | in turn | ratio | the last answer is there after, together | in turn |")
    print("|---|---|---|---|---|---|")
    for count in args.counts:
        both, alone = mean(rates, (8, count)), mean(rates, (1, count))
        print(f"| {count} | {both:.0f} | {alone:.0f} | {both / alone:.2f} | {mean(waits, (8, count)):.2f} s | {mean(waits, (1, count)):.2f} s |")
    print(f"\nThe same question got {'the same answer in every round and company' if same else 'DIFFERENT answers'}.")
    sys.exit(not same)


if __name__ == "__main__":
    main()
