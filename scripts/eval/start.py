"""How soon an answer begins, as Markdown: a large file opened, and the first token of the embedded model after the process started.

    cargo build --release && python3 scripts/eval/start.py > docs/results/start.md

Files lie in the system's cache. Medians, and in brackets the slowest.
"""

import argparse
import os
import statistics
import subprocess
import time
from pathlib import Path

from program import crayon, table

ROOT = Path(__file__).resolve().parents[2]


def first_byte(call):
    """Milliseconds from the start of a process to the first byte it prints."""
    started = time.perf_counter()
    with subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL) as process:
        byte = os.read(process.stdout.fileno(), 1)
        millis = 1e3 * (time.perf_counter() - started)
        process.stdout.read()
    assert byte and process.returncode == 0, call
    return millis


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default=str(ROOT / "target/release/crayon"))
    parser.add_argument("--runs", type=int, default=20)
    args = parser.parse_args()

    def row(name, times):
        return [name, f"{statistics.median(times):.1f} ms ({max(times):.1f})"]

    # A made-up file, written for the run and opened like any other.
    made_up = ["bench", "generate", "--shape", "qwen2.5-0.5b", "--scheme", "q8_0", "--prompt", 1, "--tokens", 2, "--runs", 1]
    runs = [crayon(args.binary, *made_up) for _ in range(5)]
    opened, megabytes = [run["load_ms"] for run in runs], runs[0]["weight_bytes"] / 1e6
    answers = [first_byte([args.binary, "-q", "ask", "--temperature", "0", "--max-tokens", "8", "Who are you?"]) for _ in range(args.runs)]
    print("# Start\n\nPrinted by `python3 scripts/eval/start.py`: medians, in brackets the slowest; files in the system's cache.\n")
    print(table(["what", "time"], [
        row(f"a mapped file of {megabytes:.0f} MB, opened and ready", opened),
        row("`crayon ask` with mini, from the start of the process to the first text printed", answers),
    ]))


if __name__ == "__main__":
    main()
