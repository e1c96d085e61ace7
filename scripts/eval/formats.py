"""What each number type loses, by `crayon convert` and `crayon eval`, as a Markdown table.

    cargo build --release && python3 scripts/eval/formats.py --data DIR > docs/results/formats.md

The reference is the model as it is, computed exactly (`--exact`): f32 activations beside dequantised weights. Divergence
is that of a type's distribution from the reference's, the mean over the positions of texts which the reference itself
wrote: sampled at temperature 1 from a fixed seed.
"""

import argparse
import json
import math
import random
import tempfile
from pathlib import Path

from program import crayon

ROOT = Path(__file__).resolve().parents[2]
TYPES = ["q8_0", "w8a8", "q6_k", "q5_k", "q5_0", "q4_k", "q4_0", "w4a8"]
TEXT = "tinystories_sample/tinystories_cased_197KB.txt"
# Of the text; the whole would take minutes in f32.
BYTES = 40_000


def distribution(logits):
    """Logarithms of probabilities."""
    top = max(logits)
    total = math.log(sum(math.exp(v - top) for v in logits)) + top
    return [v - total for v in logits]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / "../shared/data")
    parser.add_argument("--binary", default=str(ROOT / "target/release/crayon"))
    parser.add_argument("--model", default="mini")
    parser.add_argument("--types", nargs="*", default=TYPES)
    parser.add_argument("--texts", type=int, default=4, help="texts to write")
    parser.add_argument("--tokens", type=int, default=96, help="tokens of each")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        ids_file, text = Path(folder) / "ids.json", Path(folder) / "text.txt"
        text.write_bytes((args.data / TEXT).read_bytes()[:BYTES].rsplit(b"\n", 1)[0])

        def logits(model, ids, *more):
            ids_file.write_text(json.dumps(ids))
            return crayon(args.binary, "eval", "logits", "-m", model, "--token-ids", str(ids_file), *more)["logits"]

        def perplexity(model, *more):
            return crayon(args.binary, "eval", "perplexity", "-m", model, "--text", str(text), "--window", "512", *more)["perplexity"]

        chance = random.Random(1)
        texts = []
        for first in range(args.texts):
            ids = [50 + 7 * first]
            while len(ids) < args.tokens:
                probabilities = [math.exp(v) for v in distribution(logits(args.model, ids, "--exact")[0])]
                ids += chance.choices(range(len(probabilities)), probabilities)
            texts.append(ids)
        reference = [distribution(row) for ids in texts for row in logits(args.model, ids, "--exact", "--all")]
        exact = perplexity(args.model, "--exact")

        print(
            f"# Number types in figures\n\nPrinted by `python3 scripts/eval/formats.py`: {args.model} converted to each type, beside"
            f" itself computed exactly.\nPerplexity is per token of the first 40 kB of the cased TinyStories sample ({exact:.3f} exactly), divergence and agreement"
            f" are over\n{len(reference)} positions of texts that the exact model wrote.\n"
        )
        print("| type | bits a weight | divergence in nats | same likeliest token | perplexity |\n|---|---|---|---|---|")
        for kind in args.types:
            path = str(Path(folder) / f"{kind}.gguf")
            report = crayon(args.binary, "convert", args.model, "-o", path, "--type", kind)
            own = [distribution(row) for ids in texts for row in logits(path, ids, "--all")]
            pairs = list(zip(reference, own))
            divergence = sum(sum(math.exp(a) * (a - b) for a, b in zip(p, q)) for p, q in pairs) / len(pairs)
            same = sum(p.index(max(p)) == q.index(max(q)) for p, q in pairs) / len(pairs)
            bits = 8 * report["bytes"] / report["parameters"]
            print(f"| {kind} | {bits:.2f} | {divergence:.5f} | {100 * same:.1f} % | {perplexity(path):.3f} |", flush=True)


if __name__ == "__main__":
    main()
