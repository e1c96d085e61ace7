"""llama.cpp on a GGUF file, each run in a process of its own; and where this project's programs are.

    python3 benches/llama_cpp/rival.py MODEL.gguf --prompt 512 --decode 64 --flash      prints one JSON object
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CRAYON = ROOT / "target/release/crayon"
SHAPES = ["qwen2.5-0.5b", "llama-3.2-1b", "gpt2"]


@contextmanager
def made_up(shape, scheme):
    """A GGUF file of this shape with made-up weights: speed does not depend on them."""
    writer = ROOT / "target/release/crayon-bench-candle"
    with tempfile.TemporaryDirectory() as folder:
        call = [writer, "write", "--shape", shape, "--scheme", scheme, "--folder", folder]
        yield subprocess.run(call, capture_output=True, text=True, check=True).stdout.strip()


def llama(file, prompt, decode, threads, flash):
    """Tokens a second of reading and writing, and the most memory, of one run."""
    call = [sys.executable, __file__, file, "--prompt", prompt, "--decode", decode, "--threads", threads] + (["--flash"] if flash else [])
    run = subprocess.run([str(part) for part in call], capture_output=True, text=True, check=True)
    return json.loads(run.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--decode", type=int, default=64)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--flash", action="store_true", help="flash attention on")
    args = parser.parse_args()
    from llama_cpp import Llama

    context = args.prompt + args.decode + 8
    model = Llama(model_path=args.file, n_ctx=context, n_threads=args.threads, n_threads_batch=args.threads, n_batch=512, flash_attn=args.flash, verbose=False)
    ids = [(i * 7919) % 30000 for i in range(args.prompt)]
    model.eval(ids[:16])  # touches the weights
    model.reset()
    began = time.perf_counter()
    model.eval(ids)
    prefill = args.prompt / (time.perf_counter() - began)
    began = time.perf_counter()
    for token in range(args.decode):
        model.eval([token])
    decode = args.decode / (time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    print(json.dumps({"prefill": prefill, "decode": decode, "peak_mb": peak}))


if __name__ == "__main__":
    main()
