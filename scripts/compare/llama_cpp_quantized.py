"""What folding does to the block formats of other programs: perplexity in llama.cpp of a model converted to q8_0 and q4_0, and of the same
formats with scales folded in by `crayon quantize --format gguf`, as a Markdown table.

    pip install llama-cpp-python
    cargo build --release && python3 scripts/compare/llama_cpp_quantized.py --model mini --data DIR

Also a check that llama.cpp opens these files: it ends with an error where one is not read.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from llama_cpp import Llama

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts/eval"))
from program import crayon, table  # noqa: E402
from quantize import clean  # noqa: E402

WINDOW = 256


def perplexity(path, text, windows):
    """Of windows spread over the text, each begun as the file says."""
    rival = Llama(str(path), n_ctx=WINDOW, logits_all=True, verbose=False)
    ids = rival.tokenize(text.encode(), add_bos=False, special=False)
    starts = rival.metadata.get("tokenizer.ggml.add_bos_token") == "true"
    start = [rival.token_bos()] if starts else []
    own = WINDOW - len(start)
    there = len(ids) // own
    total, count = 0.0, 0
    for number in range(min(windows, there)):
        at = number * there // min(windows, there)
        window = start + ids[at * own : (at + 1) * own]
        rival.reset()
        rival.eval(window)
        logits = np.asarray(rival.scores[: len(window) - 1], dtype=np.float64)
        top = logits.max(-1)
        sums = np.log(np.exp(logits - top[:, None]).sum(-1)) + top
        total -= float((logits[np.arange(len(window) - 1), window[1:]] - sums).sum())
        count += len(window) - 1
    return float(np.exp(total / count))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default=str(ROOT / "target/release/crayon"))
    parser.add_argument("--model", default="mini")
    parser.add_argument("--data", type=Path, default=ROOT / "../shared/data")
    parser.add_argument("--windows", type=int, default=8)
    parser.add_argument("--sequences", type=int, default=8)
    parser.add_argument("--steps", type=int, default=24)
    args = parser.parse_args()

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        calibration = folder / "calibration.txt"
        calibration.write_text(clean((args.data / "wikitext2/valid.txt").read_text()))
        texts = [("WikiText (ID)", clean((args.data / "wikitext2/test.txt").read_text())),
                 ("Alice", (args.data / "gutenberg/alice_11.txt").read_text()),
                 ("Shakespeare", (args.data / "tinyshakespeare/input.txt").read_text())]

        def row(name, path):
            rows.append([name, *(f"{perplexity(path, text, args.windows):.3f}" for _, text in texts)])

        whole = folder / "f16.gguf"
        crayon(args.binary, "convert", args.model, "-o", whole, "--type", "f16")
        row("f16", whole)
        for kind, scheme in [("q8_0", "w8"), ("q4_0", "w4")]:
            plain = folder / f"{kind}.gguf"
            # The embeddings of quantised files are q8_0: here too.
            crayon(args.binary, "quantize", "-m", args.model, "--calibration", calibration, "--scheme", scheme, "--method", "rtn",
                   "--sequences", args.sequences, "-o", plain)
            row(kind, plain)
            for method in ["smoothquant", "quadapter"]:
                folded = folder / f"{kind}-{method}.gguf"
                crayon(args.binary, "quantize", "-m", args.model, "--calibration", calibration, "--scheme", scheme, "--method", method,
                       "--sequences", args.sequences, "--steps", args.steps, "-o", folded)
                row(f"{kind}, {method} folded in", folded)
    print(table(["weights", *(name for name, _ in texts)], rows))


if __name__ == "__main__":
    main()
