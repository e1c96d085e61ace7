"""Speed beside llama.cpp: the same GGUF file, in turns, each run in a process of its own; the ratio of every pair is printed.

    pip install llama-cpp-python
    cargo build --release --workspace
    python3 benches/llama_cpp/speed.py > docs/results/speed.md
    python3 benches/llama_cpp/speed.py --shapes llama-3.2-1b --schemes q4_0 --prompt 4096 --pairs 1 --rows >> docs/results/speed.md

Weights are made up. This project's own types, which llama.cpp does not read, stand beside its type of the same size. llama.cpp runs with
flash attention on and with it off, and the better of the two counts, for reading and for writing. Only ratios of one pair count where the
machine does other things, too. Memory is the most a process had resident, the mapped file included.
"""

import argparse
import json
import os
import statistics
import subprocess

from rival import CRAYON, SHAPES, llama, made_up

MEASURED = {"prefill": "prefill, tokens a second", "decode": "decode, tokens a second", "peak_mb": "peak memory, MB"}
# Types that llama.cpp does not have, and the type of the same size that it reads in their place.
BESIDE = {"w8a8": "q8_0", "w4a8": "q4_0"}


def crayon(source, args):
    call = [CRAYON, "--json", "-q", "bench", "generate", *source, "--prompt", args.prompt, "--tokens", args.decode, "--threads", args.threads, "--runs", 1]
    found = json.loads(subprocess.run([str(part) for part in call], capture_output=True, text=True, check=True).stdout)
    limit = found["limit"]
    shares = {
        "prefill": f"{100 * limit['prefill_share']:.0f} % of {limit['int8_gops' if limit['prefill_unit'] == 'int8' else 'f32_gflops']:.0f} Gop/s {limit['prefill_unit']}",
        "decode": f"{100 * limit['decode_share']:.0f} % of {limit['bandwidth_gb_s']:.1f} GB/s",
    }
    return {"prefill": found["prefill_tok_s"], "decode": found["decode_tok_s"], "peak_mb": found["peak_rss_mb"]}, shares


def rival(file, args):
    """The better of both settings; peak memory of the one that reads faster."""
    with_flash, without = (llama(file, args.prompt, args.decode, args.threads, flash) for flash in (True, False))
    best = max(with_flash, without, key=lambda run: run["prefill"])
    return {**best, "decode": max(with_flash["decode"], without["decode"])}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="*", default=SHAPES[:2])
    parser.add_argument("--schemes", nargs="*", default=["q8_0", "q4_0", "q4_k", "f16", "w8a8", "w4a8"])
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--decode", type=int, default=64)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rows", action="store_true", help="only the rows of the table, to be added to one")
    args = parser.parse_args()
    if not args.rows:
        print(f"# Speed beside llama.cpp\n\nPrinted by `python3 benches/llama_cpp/speed.py`: made-up weights, {args.threads} threads, {args.decode} tokens written after the prompt, medians of the pairs.")
        print("The share is that of this machine's limits as `crayon bench generate` measures them in the same run.\n")
        print("| shape | weights | prompt | | llama.cpp | crayon | ratio | of each pair | share of the limit |\n|---|---|---|---|---|---|---|---|---|", flush=True)
    for shape in args.shapes:
        for scheme in args.schemes:
            with made_up(shape, BESIDE.get(scheme, scheme)) as file:
                source = ["--shape", shape, "--scheme", scheme] if scheme in BESIDE else ["-m", file]
                pairs = [(rival(file, args), *crayon(source, args)) for _ in range(args.pairs)]
            for key, name in MEASURED.items():
                ratios = [ours[key] / theirs[key] for theirs, ours, _ in pairs]
                theirs, ours = (statistics.median(pair[side][key] for pair in pairs) for side in (0, 1))
                # The pair in the middle speaks for the share.
                share = sorted(pairs, key=lambda pair: pair[1][key])[len(pairs) // 2][2].get(key, "")
                each = " ".join(f"{ratio:.2f}" for ratio in ratios)
                weights = f"{scheme} beside {BESIDE[scheme]}" if scheme in BESIDE else scheme
                print(f"| {shape} | {weights} | {args.prompt} | {name} | {theirs:.1f} | {ours:.1f} | {statistics.median(ratios):.2f} | {each} | {share} |", flush=True)


if __name__ == "__main__":
    main()
