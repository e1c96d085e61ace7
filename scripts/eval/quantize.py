"""Ways to quantise side by side, by `crayon eval quantize`, `crayon quantize` and `crayon bench generate`, as Markdown.

    cargo build --release && python3 scripts/eval/quantize.py --data DIR [--gemma FILE] [--cells FILE] > docs/results/quantize.md

DIR has wikitext2, gutenberg and tinyshakespeare. WikiText-2 is cleaned of its word `<unk>`, which is a special token of some models,
and of the blanks that its makers put around punctuation; its validation text calibrates, its test text measures. Finished rows are
kept in the file of cells, so that the script goes on where it was stopped. The figures of the tables are from there; what a machine has no time for can be
left out with --parts.
"""

import argparse
import json
import math
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from program import crayon, table

ROOT = Path(__file__).resolve().parents[2]
ID = "WikiText (ID)"

# Parts of the page: what the part is called, model, options of `eval quantize`, and what the script itself reads: `swapped` calibrates on
# the first half of a book and measures its second half first; `own` calibrates on text that the model writes; `task` measures on a task alone,
# `adapter` through a blend for it.
ALL = ["exact", "rtn", "percentile", "mse", "running", "equalise", "smoothquant-paper", "smoothquant", "hadamard", "quadapter-ranges", "qat", "finetune"]
PLANTED = ["exact", "rtn", "equalise", "smoothquant-paper", "smoothquant", "quadapter-paper", "quadapter-ranges", "qat", "finetune"]
FOUR = ["exact", "rtn", "smoothquant", "quadapter", "gptq", "smoothquant-gptq", "quadapter-gptq"]
STARTS = ["exact", "quadapter-one", "quadapter"]
FEW = ["exact", "rtn", "smoothquant", "quadapter"]
GEMMA = dict(sequences=8, windows=4, steps=16)
OWN = dict(own=True, sequences=32, windows=32, steps=64)
STATIC = dict(sequences=8, windows=8, steps=16)
SMALL = dict(sequences=8, windows=6, steps=24, **{"final-steps": 24})
PARTS = {
    "gemma-static": ("Gemma 3 270M, w8a8, static ranges for whole tensors", "gemma",
                     dict(variants=["exact", "rtn", "smoothquant-paper", "smoothquant", "omniquant", "quadapter-paper", "quadapter", "quadapter-ranges"],
                          alphas=["0.3", "0.5", "0.7"], **STATIC)),
    "gemma-seeds": ("Gemma 3 270M, w8a8, static: three draws of sequences", "gemma",
                    dict(variants=["exact", "rtn", "smoothquant", "quadapter-ranges"], alphas=["0.3", "0.5", "0.7"], seeds=3, **STATIC)),
    "gemma-more": ("Gemma 3 270M, w8a8, static: more text to calibrate by", "gemma",
                   dict(variants=["exact", "rtn", "smoothquant", "quadapter-ranges"], alphas=["0.3", "0.5", "0.7"], **(STATIC | dict(sequences=["8", "32"])))),
    "gemma-all-weights": ("Gemma 3 270M, w8a8, static: all weights trained, with quantisers and without", "gemma",
                          dict(variants=["exact", "qat", "finetune"], **STATIC, **{"tune-rates": ["1e-5", "1e-4"], "final-steps": 16})),
    "gemma-swapped": ("Gemma 3 270M, w8a8, static, calibrated on a book", "gemma",
                      dict(variants=["exact", "rtn", "smoothquant", "quadapter-ranges"], alphas=["0.3", "0.5", "0.7"], swapped=True, **STATIC)),
    "gemma-token": ("Gemma 3 270M, w8a8, a range for each token", "gemma",
                    dict(variants=["exact", "rtn", "hadamard-o", "smoothquant", "quadapter"], activations="token", **GEMMA)),
    "gemma-token-own": ("Gemma 3 270M, w8a8, a range for each token, calibrated on text that it writes: 32 sequences, 64 steps a block", "gemma",
                        dict(variants=["exact", "rtn", "smoothquant", "quadapter"], activations="token", **OWN)),
    "gemma-4": ("Gemma 3 270M, w4a8, weights in groups of 32, a range for each token", "gemma",
                dict(variants=FOUR, schemes="w4a8", activations="token", **GEMMA)),
    "gemma-4-more": ("Gemma 3 270M, w4a8 as above: more text to calibrate by", "gemma",
                     dict(variants=["exact", "rtn", "gptq", "quadapter-gptq"], schemes="w4a8", activations="token", **(GEMMA | dict(sequences=["8", "32"])))),
    "gemma-4-long": ("Gemma 3 270M, w4a8 as above: 32 sequences, 64 steps a block", "gemma",
                     dict(variants=["exact", "quadapter", "quadapter-gptq"], schemes="w4a8", activations="token", **(GEMMA | dict(sequences=32, steps=64)))),
    "gemma-4-own": ("Gemma 3 270M, w4a8 as above, calibrated on text that it writes: 32 sequences, 64 steps a block", "gemma",
                    dict(variants=["exact", "gptq", "quadapter-gptq"], schemes="w4a8", activations="token", seeds=3, **(OWN | dict(windows=4)))),
    "gemma-4-swapped": ("Gemma 3 270M, w4a8 as above, calibrated on a book", "gemma",
                        dict(variants=["exact", "rtn", "gptq"], schemes="w4a8", activations="token", swapped=True, **GEMMA)),
    "gemma-6-token": ("Gemma 3 270M, w8a6, a range for each token", "gemma",
                      dict(variants=FEW, schemes="w8a6", activations="token", **GEMMA)),
    "gemma-6-token-more": ("Gemma 3 270M, w8a6, a range for each token: 32 sequences", "gemma",
                           dict(variants=FEW, schemes="w8a6", activations="token", **(GEMMA | dict(sequences=32)))),
    "gemma-6-token-long": ("Gemma 3 270M, w8a6, a range for each token: 32 sequences, 64 steps a block", "gemma",
                           dict(variants=["exact", "quadapter"], schemes="w8a6", activations="token", **(GEMMA | dict(sequences=32, steps=64)))),
    "gemma-6-token-own": ("Gemma 3 270M, w8a6, a range for each token, calibrated on text that it writes: 32 sequences, 64 steps a block", "gemma",
                          dict(variants=["exact", "quadapter"], schemes="w8a6", activations="token", **(OWN | dict(windows=4)))),
    "gemma-6": ("Gemma 3 270M, w8a6, static ranges for whole tensors", "gemma",
                dict(variants=["exact", "rtn", "smoothquant", "quadapter-ranges"], alphas=["0.3", "0.5", "0.7"], schemes="w8a6", **STATIC)),
    "planted": ("mini-gpt2 with planted outliers (six channels of each norm 60 times larger), w8a8, static", "mini-gpt2",
                dict(variants=PLANTED, plant=60, **SMALL)),
    "mini": ("mini, w8a8, static", "mini", dict(variants=ALL, alphas=["0.3", "0.5", "0.7"], **SMALL)),
    "mini-start": ("mini, w8a8, static: scales that start at 1, and at SmoothQuant's", "mini", dict(variants=STARTS, **SMALL)),
    "mini-more": ("mini, w8a8, static: more text to calibrate by, and to train by", "mini",
                  dict(variants=["exact", "rtn", "quadapter-ranges", "qat", "finetune"], **(SMALL | {"sequences": ["16", "128"], "tune-rates": ["1e-5", "1e-4", "1e-3"], "final-steps": 64}))),
    "planted-more": ("mini-gpt2 with planted outliers, w8a8, static: more text", "mini-gpt2",
                     dict(variants=["exact", "rtn", "quadapter-ranges", "qat", "finetune"], plant=60,
                          **(SMALL | {"sequences": ["16", "128"], "tune-rates": ["1e-5", "1e-4", "1e-3"], "final-steps": 64}))),
    "planted-start": ("mini-gpt2 with planted outliers, w8a8, static: scales that start at 1, and at SmoothQuant's", "mini-gpt2",
                      dict(variants=STARTS, plant=60, seeds=2, **SMALL)),
    "mini-swapped": ("mini, w8a8, static, calibrated on a book", "mini",
                     dict(variants=["exact", "rtn", "smoothquant", "quadapter-ranges", "qat", "finetune"], swapped=True, **SMALL)),
    "mini-4": ("mini, w4a8, a range for each token", "mini",
               dict(variants=[*FOUR, "hadamard", "hadamard-gptq"], schemes="w4a8", activations="token", seeds=3, **SMALL)),
    "mini-6": ("mini, w8a6, static", "mini",
               dict(variants=["exact", "rtn", "mse", "smoothquant", "hadamard", "quadapter-ranges"], schemes="w8a6", **SMALL)),
    "mini-gpt2": ("mini-gpt2, w8a8, static", "mini-gpt2",
                  dict(variants=["exact", "rtn", "smoothquant", "quadapter-ranges"], **SMALL)),
    "task": ("mini on a task of its pool (active to passive, as plain text), w8a8, a range for each token", "mini",
             dict(variants=FEW, activations="token", task=True, **SMALL)),
    "adapter": ("The same, through the blend of the pool for that task", "mini",
                dict(variants=FEW, activations="token", task=True, adapter=True, **SMALL)),
    "adapter-pot": ("The same, through the blend and a pot of 128 entries", "mini",
                    dict(variants=FEW[:3], activations="token", task=True, adapter=True, pot=128, kv="f32", **SMALL)),
    "adapter-pot-i8": ("The same, through the blend and the pot, keys and values in 8 bits", "mini",
                       dict(variants=FEW[:3], activations="token", task=True, adapter=True, pot=128, kv="i8", **SMALL)),
}
# A task that mini's pool has learned: its test split is a text to measure on, its prompts make the blend.
TASK = "tasks/instruction_induction/active_to_passive"


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
    arguments = ["eval", "quantize", "-m", model, "--cells", cells]
    if calibration:
        arguments += ["--calibration", calibration]
    for name, path in texts:
        arguments += ["--text", f"{name}={path}"]
    for name, value in options.items():
        arguments += [f"--{name}", ",".join(value) if isinstance(value, list) else value]
    return crayon(binary, *arguments)["rows"]


def error(values):
    """Standard error of a mean, where there are values enough."""
    middle = mean(values)
    return math.sqrt(sum((one - middle) ** 2 for one in values) / (len(values) - 1) / len(values)) if len(values) > 1 else None


def lost(rows, exact, names):
    """By how much of the exact row's perplexity `rows`, draws of one variant, are worse on the texts called `names`: in per cent, the mean over texts, and its
    standard error over windows, which all rows share."""
    changes, errors = [], []
    for name in names:
        own = [next(text for text in row["texts"] if text["text"] == name) for row in rows]
        windows = [mean(values) - was for *values, was in zip(*(text["nll"] for text in own), exact[name]["nll"])]
        changes.append(mean(windows))
        errors.append(error(windows))
    factor = math.exp(mean(changes))
    about = "" if None in errors else f" ± {100 * factor * math.hypot(*errors) / len(names):.1f}"
    return f"{100 * (factor - 1):+.1f}{about} %"


def shown(rows):
    """A table of a part: every variant's perplexity and divergence by text, means over seeds."""
    exact = {text["text"]: text for row in rows if row["variant"] == "exact" for text in row["texts"]}
    names = [text["text"] for text in rows[0]["texts"]]
    out, order = [], []
    several = len({row["sequences"] for row in rows if row["variant"] != "exact"}) > 1
    kind = lambda row: (row["variant"], row["sequences"])
    for row in rows:
        if kind(row) not in order:
            order.append(kind(row))
    for variant, sequences in order:
        own = [row for row in rows if kind(row) == (variant, sequences)]
        alphas = sorted({f"{row['alpha']:.2g}" for row in own if row["alpha"] is not None})
        rates = sorted({f"{row['rate']:g}" for row in own if row.get("rate") is not None})
        chosen = [f"{sequences} sequences"] if several and variant != "exact" else []
        chosen += [f"α {', '.join(alphas)}"] if alphas else []
        chosen += [f"rate {', '.join(rates)}"] if rates else []
        line = [variant + (f" ({'; '.join(chosen)})" if chosen else "")]
        for at in range(len(names)):
            values = [row["texts"][at]["perplexity"] for row in own]
            about = error(values)
            line.append(f"{mean(values):.2f}" + (f" ± {about:.2f}" if about is not None else ""))
        if exact:
            line += ["" if variant == "exact" else lost(own, exact, part) for part in (names[:1], names[1:]) if part]
        line.append(" / ".join(f"{mean([row['texts'][at]['kl'] for row in own]):.3f}" for at in range(len(names))))
        line.append(f"{mean([row['seconds'] for row in own]):.0f}")
        out.append(line)
    first = "ID lost" if names[0].endswith("(ID)") else f"{names[0]} lost"
    heads = ["lost"] if len(names) == 1 else [first, "OOD lost"]
    head = ["", *names, *(heads if exact else []), "KL", "seconds"]
    return table(head, out)


def half(book, folder):
    """Two files: a book's first half and its second."""
    text = book.read_text()
    middle = text.index("\n\n", len(text) // 2)
    parts = [folder / "book-1.txt", folder / "book-2.txt"]
    parts[0].write_text(text[:middle])
    parts[1].write_text(text[middle:])
    return parts


def blended(binary, task, folder):
    """An adapter that mini's pool gives for some prompts of a task, and other prompts of it with their answers as a text."""
    prompts, text, adapter = folder / "prompts.jsonl", folder / "task.txt", folder / "adapter"
    lines = [json.loads(line) for line in (task / "train.jsonl").read_text().splitlines()]
    prompts.write_text("".join(json.dumps({"prompt": line["prompt"]}) + "\n" for line in lines[:20]))
    crayon(binary, "customize", "-m", "mini", "--examples", prompts, "-o", adapter)
    lines = [json.loads(line) for line in (task / "test.jsonl").read_text().splitlines()]
    text.write_text("\n\n".join(f"{line['prompt']}\n{line['answer']}" for line in lines))
    return adapter, text


def speed(binary, model, name, calibration, text, folder, rounds):
    """A table of files of one model: tokens a second, memory, perplexity. Files that `folder` has are not made again."""
    wanted = [(kind, ["convert", model, "--type", kind], ".gguf") for kind in ("q8_0", "q4_0")]
    for title, options in [("w8a8, a range for each token", ["--scheme", "w8a8"]),
                           ("w8a8, static", ["--scheme", "w8a8", "--activations", "static", "--range", "minmax"]),
                           ("w4a8, a range for each token", ["--scheme", "w4a8"]),
                           ("w4a8, embeddings q5_0", ["--scheme", "w4a8", "--embeddings", "q5_0"]),
                           ("w4a8, embeddings q4_0", ["--scheme", "w4a8", "--embeddings", "q4_0"])]:
        wanted.append((title, ["quantize", "-m", model, "--calibration", calibration, "--method", "smoothquant", "--sequences", 4, *options], ""))
    files, perplexities = {}, {}
    for title, call, ending in wanted:
        path = Path(folder) / (f"{name} {title}".replace(",", "").replace(" ", "-").lower() + ending)
        if not path.exists():
            crayon(binary, *call, "-o", path)
        files[title] = path
        perplexities[title] = crayon(binary, "eval", "perplexity", "-m", path, "--text", text, "--window", 256)["perplexity"]
    # In turns: what else a machine does slows all files alike.
    runs = {title: [] for title in files}
    for _ in range(rounds):
        for title, path in files.items():
            runs[title].append(crayon(binary, "bench", "generate", "-m", path, "--prompt", 512, "--tokens", 64))
    rows = []
    for title in files:
        best = {key: max(run[key] for run in runs[title]) for key in ["prefill_tok_s", "decode_tok_s"]}
        rows.append([title, f"{best['prefill_tok_s']:.0f}", f"{best['decode_tok_s']:.1f}", f"{runs[title][0]['weight_bytes'] / 1e6:.1f}",
                     f"{min(run['peak_rss_mb'] for run in runs[title]):.0f}", f"{perplexities[title]:.2f}"])
    print(f"## Speed, {name}\n\n512 tokens read, 64 written after them, the best of {rounds} runs in turns; perplexity of the first 20 kB of WikiText-2's test text, "
          f"without a start token.\n\n{table(['file', 'read, tokens/s', 'write, tokens/s', 'weights, MB', 'memory, MB', 'perplexity'], rows)}\n")


def outliers(binary, model, name, calibration, picture):
    """A table and a picture of what stands out at every place, without scales and with."""
    with tempfile.TemporaryDirectory() as folder:
        report = crayon(binary, "quantize", "-m", model, "--calibration", calibration, "--sequences", 8, "--steps", 16, "--activations", "static", "-o",
                        Path(folder) / "model")
    names = [place["place"] for place in report["blocks"][0]["places"]]
    rows = []
    for number, block in enumerate(report["blocks"]):
        row = [str(number)]
        for place in block["places"]:
            (before, after), (flat, flatter) = place["outliers"], place["kurtosis"]
            row.append(f"{before:.1f} → {after:.1f} ({flat:.0f} → {flatter:.0f})")
        rows.append(row)
    print(f"## Outliers of {name}, place by place\n\nLargest magnitude of the channels over their median, in brackets kurtosis; without scales → with those that were "
          f"learned.\n\n{table(['block', *names], rows)}\n")
    lines = []
    for colour, place in enumerate(names):
        for when, dashed in [("without scales", True), ("with scales", False)]:
            points = [[number, block["places"][colour]["outliers"][0 if dashed else 1]] for number, block in enumerate(report["blocks"])]
            lines.append({"name": f"{place}, {when}", "points": points, "colour": colour, "dashed": dashed})
    curves = {"title": f"Outliers of {name}", "x": {"name": "block"}, "y": {"name": "largest over median channel", "from": 0}, "lines": lines}
    drawn = subprocess.run(["cargo", "run", "--release", "-q", "-p", "crayon-draw"], input=json.dumps({"curves": curves}), capture_output=True, text=True, cwd=ROOT, check=True)
    Path(picture).write_text(drawn.stdout)
    print(f"![Outliers of {name}]({Path(picture).name})\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / "../shared/data")
    parser.add_argument("--binary", default=str(ROOT / "target/release/crayon"))
    parser.add_argument("--gemma", help="Gemma 3 270M as GGUF; without it its parts are left out")
    parser.add_argument("--cells", default="quantize-cells.jsonl")
    parser.add_argument("--parts", nargs="*", default=list(PARTS))
    parser.add_argument("--outliers", metavar="SVG", help="show what stands out at every place of Gemma, and draw it")
    parser.add_argument("--made", type=Path, help="with --speed: where the files are kept [default: nowhere]")
    parser.add_argument("--rounds", type=int, default=5, help="with --speed: of measurements")
    parser.add_argument("--speed", action="store_true", help="measure speed as well: on a machine that does nothing else")
    parser.add_argument("--seeds", type=int, help="draws of sequences, instead of each part's own number")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        wiki = {}
        for split in ["valid", "test"]:
            wiki[split] = folder / f"wikitext-{split}.txt"
            wiki[split].write_text(clean((args.data / f"wikitext2/{split}.txt").read_text()))
        alice, shakespeare = ("Alice", args.data / "gutenberg/alice_11.txt"), ("Shakespeare", args.data / "tinyshakespeare/input.txt")
        book = args.data / "gutenberg/sherlock_1661.txt"
        texts = [(ID, wiki["test"]), alice, ("Sherlock", book), shakespeare]
        halves = half(book, folder)
        swapped = [("Sherlock (ID)", halves[1]), ("WikiText", wiki["test"]), alice, shakespeare]
        task = None
        print("# Quantised models in figures\n\nPrinted by `python3 scripts/eval/quantize.py`. Calibration is on WikiText-2's validation text, cleaned, where the part does not say otherwise; "
              "perplexity on windows of\n256 tokens spread over each text, the start token in front where the model has one. The exact row is the model as it is, computed in f32;\n"
              "the others are measured as they run: on integers. KL is the divergence from the exact path in nats, by text. What each row is:\n"
              "`crayon eval quantize --help` and [quantize.md](../quantize.md).\n")
        for name in args.parts:
            title, model, options = PARTS[name]
            if model == "gemma":
                if not args.gemma:
                    continue
                model = args.gemma
            options = dict(options)
            if args.seeds:
                options["seeds"] = args.seeds
            calibration, own = wiki["valid"], texts
            if options.pop("swapped", False):
                calibration, own = halves[0], swapped
            if options.pop("own", False):
                calibration, own = None, [("WikiText", wiki["test"]), *texts[1:]]
            if options.pop("task", False):
                task = task or blended(args.binary, args.data / TASK, folder)
                own = [("task", task[1])]
            if options.pop("adapter", False):
                options["adapter"] = task[0]
            rows = rows_of(args.binary, model, calibration, own, args.cells, options)
            sequences = options["sequences"]
            sequences = ", ".join(sequences) if isinstance(sequences, list) else sequences
            note = f"{sequences} sequences of 256 tokens, {options['windows']} windows of each text, {options['steps']} steps a block"
            if options.get("seeds", 1) > 1:
                note += f"; means over {options['seeds']} draws of sequences with their standard errors"
            print(f"## {title}\n\n{note}.\n\n{shown(rows)}\n")
            sys.stdout.flush()
        if args.outliers and args.gemma:
            outliers(args.binary, args.gemma, "Gemma 3 270M", wiki["valid"], args.outliers)
        if args.speed:
            some = folder / "some.txt"
            some.write_bytes(wiki["test"].read_bytes()[:20_000].rsplit(b"\n", 1)[0])
            for name, model in [("mini", "mini"), ("Gemma 3 270M", args.gemma)]:
                if model:
                    speed(args.binary, model, name, wiki["valid"], some, args.made or folder, args.rounds)


if __name__ == "__main__":
    main()
