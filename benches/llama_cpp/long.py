"""Long texts beside llama.cpp: the same GGUF file, a full cache there and a pot here, in turns, each in its own process.

    pip install llama-cpp-python
    cargo build --release --workspace
    python3 benches/llama_cpp/long.py > docs/results/long-speed.md

Weights are made up (speed does not depend on them). llama.cpp reads with flash attention on; its decode is
the better of flash attention on and off, up to `--both` tokens. Memory is the most the process had resident, the mapped weights included.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def rival(file, tokens, threads, decode, flash):
    """One run of llama.cpp, in a process of its own."""
    from llama_cpp import Llama

    model = Llama(model_path=file, n_ctx=tokens + decode + 8, n_threads=threads, n_threads_batch=threads, n_batch=512, flash_attn=flash, verbose=False)
    ids = [(i * 7919) % 30000 for i in range(tokens)]
    began = time.perf_counter()
    model.eval(ids)
    prefill = tokens / (time.perf_counter() - began)
    began = time.perf_counter()
    for token in range(decode):
        model.eval([token])
    speed = decode / (time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    print(json.dumps({"prefill": prefill, "decode": speed, "peak_mb": peak}))


def llama(file, tokens, args, flash):
    call = [sys.executable, __file__, "--rival", file, "--lengths", str(tokens), "--threads", str(args.threads), "--decode", str(args.decode)]
    return json.loads(subprocess.run(call + (["--flash"] if flash else []), capture_output=True, text=True, check=True).stdout.splitlines()[-1])


def crayon(file, tokens, args):
    binary = ROOT / "target/release/crayon"
    call = [binary, "--json", "-q", "bench", "pot", "-m", file, "--pot", args.pot, "--tokens", tokens, "--decode", args.decode, "--threads", args.threads, "--runs", 0]
    run = subprocess.Popen([str(c) for c in call], stdout=subprocess.PIPE)
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
    parser.add_argument("--rival", help=argparse.SUPPRESS)
    parser.add_argument("--flash", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.rival:
        return rival(args.rival, args.lengths[0], args.threads, args.decode, args.flash)

    bench = ROOT / "target/release/crayon-bench-candle"
    with tempfile.TemporaryDirectory() as folder:
        call = [bench, "write", "--shape", args.shape, "--scheme", args.scheme, "--folder", folder]
        file = subprocess.run(call, capture_output=True, text=True, check=True).stdout.strip()
        print(f"# Long texts beside llama.cpp\n\nPrinted by `python3 benches/llama_cpp/long.py`: {args.shape} {args.scheme} with made-up weights, {args.threads} threads.\n")
        print("| tokens | | llama.cpp, full cache | crayon, InfiniPot of " + f"{args.pot} | ratio |\n|---|---|---|---|---|", flush=True)
        for tokens in args.lengths:
            reading = llama(file, tokens, args, True)
            writing = llama(file, tokens, args, False) if tokens <= args.both else reading
            own, peak = crayon(file, tokens, args)
            rows = [
                ("prefill, tokens a second", reading["prefill"], own["long_tok_s"]),
                ("decode, tokens a second", max(reading["decode"], writing["decode"]), own["decode_at_end_tok_s"]),
                ("peak memory, MB", min(reading["peak_mb"], writing["peak_mb"]), peak),
            ]
            for name, theirs, ours in rows:
                print(f"| {tokens} | {name} | {theirs:.1f} | {ours:.1f} | {ours / theirs:.2f} |", flush=True)


if __name__ == "__main__":
    main()
