"""Ways to quantise side by side, by `crayon eval quantize`, `crayon quantize` and `crayon bench generate`, as Markdown.

    cargo build --release && python3 scripts/eval/quantize.py --data DIR [--gemma FILE] [--cells FILE] > docs/results/quantize.md

DIR has wikitext2, gutenberg and tinyshakespeare. WikiText-2 is cleaned of its word `<unk>`, which is a special token of some models,
and of the blanks that its makers put around punctuation; its validation text calibrates, its test text measures. Finished rows are
kept in the file of cells, so that the script goes on where it was stopped. The figures of the tables are from there; what a machine has no time for can be
left out with --parts.
"""

import argparse
import math
import re
import sys
import tempfile
from pathlib import Path

from program import crayon, table

ROOT = Path(__file__).resolve().parents[2]
ID = "WikiText (ID)"

# Parts of the page: model, options of `eval quantize`, and what the part is called.
COMMON = ["exact", "rtn", "percentile", "mse", "running", "equalise", "smoothquant-paper", "smoothquant", "omniquant", "quadapter-paper",
          "quadapter-one", "quadapter", "quadapter-ranges", "quadapter-2", "quadapter-12", "qat", "finetune"]
SHORT = ["exact", "rtn", "smoothquant-paper", "smoothquant", "quadapter-paper", "quadapter-ranges"]
PARTS = {
    "gemma-static": ("Gemma 3 270M, w8a8, static ranges for whole tensors, weights by channel", "gemma",
                     dict(variants=SHORT, sequences=8, windows=4, steps=24)),
    "gemma-token": ("Gemma 3 270M, w8a8, a range for each token", "gemma",
                    dict(variants=["rtn", "smoothquant"], activations="token", sequences=8, windows=4)),
    "gemma-4": ("Gemma 3 270M, w4a8, weights in groups of 32, a range for each token", "gemma",
                dict(variants=["rtn", "gptq"], schemes="w4a8", activations="token", groups=32, sequences=8, windows=4)),
    "mini": ("mini, w8a8, static", "mini", dict(variants=COMMON, sequences=16, windows=8, steps=40)),
    "mini-gpt2": ("mini-gpt2, w8a8, static", "mini-gpt2", dict(variants=COMMON, sequences=16, windows=8, steps=40)),
    "planted": ("mini-gpt2 with planted outliers (six channels of each norm 60 times larger), w8a8, static", "mini-gpt2",
                dict(variants=COMMON, sequences=16, windows=8, steps=40, plant=60)),
    "mini-6": ("mini, w8a6, static", "mini", dict(variants=SHORT, schemes="w8a6", sequences=16, windows=8, steps=40)),
    "mini-4": ("mini, w4a8, weights by channel, a range for each token", "mini",
               dict(variants=["exact", "rtn", "smoothquant", "quadapter", "omniquant", "gptq"], schemes="w4a8", activations="token",
                    sequences=16, windows=8, steps=40)),
}


def clean(text):
    """WikiText as people write."""
    text = text.replace(" <unk>", "").replace("<unk>", "")
    text = re.sub(r" @([-,.])@ ", r"\1", text)
    text = re.sub(r" ([.,;:!?)\]%])", r"\1", text)
    text = re.sub(r"([(\[]) ", r"\1", text)
    text = text.replace(" '", "'").replace(" n't", "n't")
    return re.sub(r' " ([^"]*) "', r' "\1"', text)


def mean(values):
    return sum(values) / len(values)


def rows_of(binary, model, calibration, texts, cells, options):
    arguments = ["eval", "quantize", "-m", model, "--calibration", calibration, "--cells", cells]
    for name, path in texts:
        arguments += ["--text", f"{name}={path}"]
    for name, value in options.items():
        arguments += [f"--{name}", ",".join(value) if isinstance(value, list) else value]
    return crayon(binary, *arguments)["rows"]


def shown(rows):
    """A table of a part: every variant's perplexity and divergence by text, means over seeds."""
    exact = {text["text"]: text["perplexity"] for row in rows if row["variant"] == "exact" for text in row["texts"]}
    names = [text["text"] for text in rows[0]["texts"]]
    out, order = [], []
    for row in rows:
        if row["variant"] not in order:
            order.append(row["variant"])
    for variant in order:
        own = [row for row in rows if row["variant"] == variant]
        line = [variant + ("" if own[0]["alpha"] is None else f" (α {own[0]['alpha']:.2g})")]
        losses = []
        for at, name in enumerate(names):
            values = [row["texts"][at]["perplexity"] for row in own]
            value = mean(values)
            error = math.sqrt(sum((v - value) ** 2 for v in values) / (len(values) - 1) / len(values)) if len(values) > 1 else None
            line.append(f"{value:.2f}" + (f" ± {error:.2f}" if error is not None else ""))
            if name in exact:
                losses.append(math.log(value / exact[name]))
        if exact:
            line.append(f"{100 * (math.exp(losses[0]) - 1):+.1f} %")
            line.append(f"{100 * (math.exp(mean(losses[1:])) - 1):+.1f} %")
        line.append(" / ".join(f"{mean([row['texts'][at]['kl'] for row in own]):.3f}" for at in range(len(names))))
        line.append(f"{mean([row['seconds'] for row in own]):.0f}")
        out.append(line)
    head = ["", *names, *(["ID lost", "OOD lost"] if exact else []), "KL", "seconds"]
    return table(head, out)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / "../shared/data")
    parser.add_argument("--binary", default=str(ROOT / "target/release/crayon"))
    parser.add_argument("--gemma", help="Gemma 3 270M as GGUF; without it its parts are left out")
    parser.add_argument("--cells", default="quantize-cells.jsonl")
    parser.add_argument("--parts", nargs="*", default=list(PARTS))
    parser.add_argument("--seeds", type=int, default=1)
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        wiki = {}
        for split in ["valid", "test"]:
            wiki[split] = folder / f"wikitext-{split}.txt"
            wiki[split].write_text(clean((args.data / f"wikitext2/{split}.txt").read_text()))
        texts = [(ID, wiki["test"]), ("Alice", args.data / "gutenberg/alice_11.txt"),
                 ("Sherlock", args.data / "gutenberg/sherlock_1661.txt"), ("Shakespeare", args.data / "tinyshakespeare/input.txt")]
        print("# Quantised models in figures\n\nPrinted by `python3 scripts/eval/quantize.py`. Calibration is on WikiText-2's validation text, cleaned; "
              "perplexity on windows of\n256 tokens spread over each text, the start token in front where the model has one. The exact row is the model as it is, computed in f32;\n"
              "the others are measured as they run: on integers. KL is the divergence from the exact path in nats, by text. What each row is:\n"
              "`crayon eval quantize --help` and [quantize.md](../quantize.md).\n")
        for name in args.parts:
            title, model, options = PARTS[name]
            if model == "gemma":
                if not args.gemma:
                    continue
                model = args.gemma
            options = dict(options, seeds=args.seeds)
            rows = rows_of(args.binary, model, wiki["valid"], texts, args.cells, options)
            note = f"{options['sequences']} sequences of 256 tokens, {options['windows']} windows of each text, {options.get('steps', 60)} steps a block"
            print(f"## {title}\n\n{note}.\n\n{shown(rows)}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
