"""Speed beside llama.cpp: the same GGUF file, in turns, each run in a process of its own; the ratio of every pair is printed.

    pip install llama-cpp-python
    cargo build --release --workspace
    python3 benches/llama_cpp/speed.py > docs/results/speed-llama.md

Weights are made up. llama.cpp reads with flash attention on and writes with it off, its best settings. Only ratios of one pair count where
the machine does other things, too. Memory is the most a process had resident, the mapped file included.
"""

import argparse
import json
import os
import statistics
import subprocess

from rival import CRAYON, SHAPES, llama, made_up

MEASURED = {"prefill": "prefill, tokens a second", "decode": "decode, tokens a second", "peak_mb": "peak memory, MB"}


def crayon(file, args):
    call = [CRAYON, "--json", "-q", "bench", "generate", "-m", file, "--prompt", args.prompt, "--tokens", args.decode, "--threads", args.threads, "--runs", 1]
    found = json.loads(subprocess.run([str(part) for part in call], capture_output=True, text=True, check=True).stdout)
    shares = {"prefill": found["limit"]["prefill_share"], "decode": found["limit"]["decode_share"]}
    return {"prefill": found["prefill_tok_s"], "decode": found["decode_tok_s"], "peak_mb": found["peak_rss_mb"]}, shares


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="*", default=SHAPES[:2])
    parser.add_argument("--schemes", nargs="*", default=["q8_0", "q4_0", "q4_k", "f16"])
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--decode", type=int, default=64)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    print(f"# Speed beside llama.cpp\n\nPrinted by `python3 benches/llama_cpp/speed.py`: made-up weights, {args.threads} threads, {args.prompt} tokens read, {args.decode} written, medians of {args.pairs} pairs.")
    print("The share is that of this machine's limits as `crayon bench generate` measures them in the same run.\n")
    print("| shape | weights | | llama.cpp | crayon | ratio | of each pair | share of the limit |\n|---|---|---|---|---|---|---|---|", flush=True)
    for shape in args.shapes:
        for scheme in args.schemes:
            with made_up(shape, scheme) as file:
                pairs = []
                for _ in range(args.pairs):
                    reading = llama(file, args.prompt, 1, args.threads, True)
                    writing = llama(file, 16, args.decode, args.threads, False)
                    theirs = {"prefill": reading["prefill"], "decode": writing["decode"], "peak_mb": reading["peak_mb"]}
                    pairs.append((theirs, *crayon(file, args)))
            for key, name in MEASURED.items():
                ratios = [ours[key] / theirs[key] for theirs, ours, _ in pairs]
                theirs, ours = (statistics.median(pair[side][key] for pair in pairs) for side in (0, 1))
                shares = [pair[2][key] for pair in pairs if pair[2].get(key)]
                share = f"{100 * statistics.median(shares):.0f} %" if shares else ""
                each = " ".join(f"{ratio:.2f}" for ratio in ratios)
                print(f"| {shape} | {scheme} | {name} | {theirs:.1f} | {ours:.1f} | {statistics.median(ratios):.2f} | {each} | {share} |", flush=True)


if __name__ == "__main__":
    main()
