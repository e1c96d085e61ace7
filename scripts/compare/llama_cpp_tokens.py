"""Greedy agreement with llama.cpp on the same GGUF files, as a Markdown table.

    pip install llama-cpp-python
    cargo build --release && python3 scripts/compare/llama_cpp_tokens.py

Both engines round activations to 8 bits where weights are quantised, so neither is the truth: that is the same file computed exactly
(`--exact`, f32 activations). A token on which the engines differ should be one where the exact model hardly prefers either: the
margin is how much more likely, in nats, it finds the likelier of the two. Texts are written by each file's exact model, greedily.
"""

import argparse
import json
import math
import sys
import tempfile
from pathlib import Path

import numpy as np
from llama_cpp import Llama

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts/eval"))
from program import crayon, table  # noqa: E402

TYPES = ["f16", "q8_0", "q6_k", "q5_k", "q5_0", "q4_k", "q4_0"]


def log_softmax(logits):
    logits = np.asarray(logits, dtype=np.float64)
    return logits - logits.max(-1, keepdims=True) - np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1, keepdims=True))


def divergence(truth, other):
    return float((np.exp(truth) * (truth - other)).sum(-1).mean())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default=str(ROOT / "target/release/crayon"))
    parser.add_argument("--model", default="mini")
    parser.add_argument("--types", nargs="*", default=TYPES)
    parser.add_argument("--texts", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=64, help="tokens of each")
    args = parser.parse_args()

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        ids_file = Path(folder) / "ids.json"

        def logits(path, ids, *more):
            ids_file.write_text(json.dumps(ids))
            return crayon(args.binary, "eval", "logits", "-m", path, "--token-ids", ids_file, *more)["logits"]

        for kind in args.types:
            path = str(Path(folder) / f"{kind}.gguf")
            crayon(args.binary, "convert", args.model, "-o", path, "--type", kind)
            rival = Llama(path, n_ctx=512, logits_all=True, verbose=False)
            exact, ours, theirs = [], [], []
            for first in range(args.texts):
                ids = [50 + 7 * first]
                while len(ids) < args.tokens:
                    ids.append(int(np.argmax(logits(path, ids, "--exact")[0])))
                exact.append(log_softmax(logits(path, ids, "--exact", "--all")))
                ours.append(log_softmax(logits(path, ids, "--all")))
                rival.reset()
                rival.eval(ids)
                theirs.append(log_softmax(rival.scores[: len(ids)]))
            exact, ours, theirs = map(np.concatenate, (exact, ours, theirs))
            best, a, b = (values.argmax(-1) for values in (exact, ours, theirs))
            differ = np.flatnonzero(a != b)
            margins = [abs(exact[at, a[at]] - exact[at, b[at]]) for at in differ]
            share = lambda same: f"{100 * same.mean():.1f} %"
            rows.append([
                kind, f"{divergence(exact, ours):.6f}", f"{divergence(exact, theirs):.6f}", share(a == best), share(b == best), share(a == b),
                f"{max(margins):.3f}" if margins else "",
            ])
            assert not math.isnan(divergence(exact, ours))
    head = ["type", "divergence, crayon", "divergence, llama.cpp", "crayon as exact", "llama.cpp as exact", "both alike", "largest margin where they differ, nats"]
    print(f"{len(exact)} positions of {args.texts} greedy texts of {args.model}, converted to each type:\n")
    print(table(head, rows))


if __name__ == "__main__":
    main()
