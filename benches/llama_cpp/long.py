"""Long texts beside llama.cpp: the same GGUF file, a full cache there and a pot here, in turns, each in its own process.

    pip install llama-cpp-python
    cargo build --release --workspace
    python3 benches/llama_cpp/long.py > docs/results/long-speed.md

Weights are made up. llama.cpp reads with flash attention on; its decode is the better one of flash attention on and off, for texts up to
`--both` tokens. Memory is the most the process had resident, the mapped weights included.
"""

import argparse
import json
import os
import subprocess
import sys

from rival import CRAYON, llama, made_up


def crayon(file, tokens, args):
    call = [CRAYON, "--json", "-q", "bench", "pot", "-m", file, "--pot", args.pot, "--tokens", tokens, "--decode", args.decode, "--threads", args.threads, "--runs", 0]
    run = subprocess.Popen([str(part) for part in call], stdout=subprocess.PIPE)
    out = run.stdout.read()
    _, status, usage = os.wait4(run.pid, 0)
    if status:
        sys.exit("crayon failed")
    return json.loads(out), usage.ru_maxrss * 1024 / 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="qwen2.5-0.5b")
    parser.add_argument("--scheme", default="q8_0")
    parser.add_argument("--lengths", type=int, nargs="*", default=[4096, 16384, 32768])
    parser.add_argument("--pot", type=int, default=4096)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--decode", type=int, default=32)
    parser.add_argument("--both", type=int, default=16384, help="longest text that llama.cpp also reads without flash attention, for its decode")
    args = parser.parse_args()
    print(f"# Long texts beside llama.cpp\n\nPrinted by `python3 benches/llama_cpp/long.py`: {args.shape} {args.scheme} with made-up weights, {args.threads} threads.\n")
    print(f"| tokens | | llama.cpp, full cache | crayon, InfiniPot of {args.pot} | ratio |\n|---|---|---|---|---|", flush=True)
    with made_up(args.shape, args.scheme) as file:
        for tokens in args.lengths:
            reading = llama(file, tokens, args.decode, args.threads, True)
            writing = llama(file, tokens, args.decode, args.threads, False) if tokens <= args.both else reading
            own, peak = crayon(file, tokens, args)
            rows = [
                ("prefill, tokens a second", reading["prefill"], own["long_tok_s"]),
                ("decode, tokens a second", max(reading["decode"], writing["decode"]), own["decode_at_end_tok_s"]),
                ("peak memory, MB", min(reading["peak_mb"], writing["peak_mb"]), peak),
            ]
            for name, theirs, ours in rows:
                print(f"| {tokens} | {name} | {theirs:.1f} | {ours:.1f} | {ours / theirs:.2f} |", flush=True)
    if max(args.lengths) > args.both:
        print(f"\nBeyond {args.both} tokens llama.cpp decodes with flash attention on only, which is the slower way there: that row overstates the ratio.")


if __name__ == "__main__":
    main()
