"""The embedded models' figures, by `crayon eval` itself, as a Markdown table.

    cargo build --release && python3 scripts/eval/embedded.py --data DIR > docs/results/embedded-models.md

Texts and test splits, of SciQ both splits; nothing here was trained on. Perplexities are of windows of 512 tokens. Questions are a seeded draw.
"""

import argparse
import tempfile
from pathlib import Path

import text_choices
from program import crayon

ROOT = Path(__file__).resolve().parents[2]
MODELS = ["mini", f"small={ROOT / 'models/small.gguf'}", "mini-gpt2"]
TEXTS = {
    "TinyStories, cased sample": "tinystories_sample/tinystories_cased_197KB.txt",
    "FairytaleQA stories, test": "text/fairytaleqa_stories/test.txt",
    "Alice in Wonderland": "gutenberg/alice_11.txt",
    "WikiText-2, validation": "wikitext2/valid.txt",
}
TASKS = {
    "SNIPS intents": "tasks/snips_intent/test.jsonl",
    "CLINC150, intents of a domain": "clinc150/data_full.json",
    "AG News topics": "tasks/agnews/test.jsonl",
    "ARC-Easy": "llm_adapters/dataset/ARC-Easy/test.json",
    "OpenBookQA": "llm_adapters/dataset/openbookqa/test.json",
    "CommonsenseQA, dev": "commonsenseqa/dev_rand_split.jsonl",
    "BoolQ": "llm_adapters/dataset/boolq/test.json",
}


def table(title, head, rows):
    print(f"\n## {title}\n\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / "../shared/data")
    parser.add_argument("--binary", default=str(ROOT / "target/release/crayon"))
    parser.add_argument("--models", nargs="*", default=MODELS, metavar="NAME[=FILE]", help="a model that is not embedded needs its file")
    parser.add_argument("--limit", type=int, default=500, help="questions of each task")
    parser.add_argument("--only", default="", metavar="WORDS", help="the tables whose titles have these words in them")
    args = parser.parse_args()
    pairs = [(name, file or name) for name, _, file in (model.partition("=") for model in args.models)]
    names, models = [name for name, _ in pairs], [file for _, file in pairs]

    print(f"# The embedded models in figures\n\nPrinted by `python3 scripts/eval/embedded.py --limit {args.limit}`, which calls `crayon eval`. Held-out data only.")

    def perplexities():
        for name, file in TEXTS.items():
            found = [crayon(args.binary, "eval", "perplexity", "-m", m, "--text", str(args.data / file), "--window", "512") for m in models]
            yield [name, *(f"{f['perplexity']:.2f} ({f['bits_per_byte']:.3f})" for f in found)]

    def accuracies(tasks):
        for name, file in tasks.items():
            found = [crayon(args.binary, "eval", "choice", "-m", m, "--task", file, "--limit", args.limit, "--seed", 1) for m in models]
            best = lambda f: f"{100 * f['accuracy']:.1f} / {100 * f['accuracy_norm']:.1f} ± {100 * f['accuracy_stderr']:.1f}"
            skipped = f", {found[0]['skipped']} too long" if found[0]["skipped"] else ""
            yield [f"{name} ({found[0]['n']}{skipped})", f"{100 * found[0]['chance']:.1f}", *(best(f) for f in found)]

    def recalls():
        for length in (100, 400, 900):
            call = ["eval", "needle", "--lengths", str(length), "--depths", "0,0.5,1", "--samples", "16"]
            found = [crayon(args.binary, *call, "-m", m) for m in models]
            yield [f"{length} tokens", f"{100 / found[0]['choices']:.1f}", *(f"{100 * f['accuracy']:.1f} / {100 * f['choice_accuracy']:.1f}" for f in found)]

    def show(title, head, rows):
        if args.only in title:
            table(title, head, rows)

    show("Perplexity per token (bits per byte)", ["text", *names], perplexities())
    head = ["task (questions)", "guessing", *names]
    show("Accuracy in per cent: by log-likelihood / per byte ± standard error", head, accuracies({name: args.data / file for name, file in TASKS.items()}))
    with tempfile.TemporaryDirectory() as folder:
        scratch, tasks = Path(folder), args.data / "tasks"
        reading = {
            "SciQ with its paragraph": text_choices.write(text_choices.sciq(tasks / "t0_sciq", False), scratch / "sciq.jsonl"),
            "SciQ with its paragraph, answers listed": text_choices.write(text_choices.sciq(tasks / "t0_sciq", True), scratch / "listed.jsonl"),
            "FairytaleQA, the right answer among those to other questions": text_choices.write(text_choices.tales(tasks / "fairytaleqa/test.jsonl"), scratch / "tales.jsonl"),
        }
        show("Questions about a text, accuracy in the same way", head, accuracies(reading))
    show("A fact in a passage, in per cent: said word for word / chosen among four", ["passage (48 questions)", "guessing", *names], recalls())


if __name__ == "__main__":
    main()
