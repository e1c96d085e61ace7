"""No harm elsewhere, and an honest "fits", measured through the program.

    cargo build --release && python3 scripts/eval/outside.py --binary target/release/crayon --data ../shared/data

1. Scope: adapters are customized for examples/home.jsonl, whose kind mini's own pool knows, and examples/travel.jsonl, whose kind it
   does not. General questions, the ones inside the program and others (outside.json), are asked with them and without, and so are
   questions of the same intents that they were not shown (CLINC150, test). Outside, the answers should be the base's; inside, those of
   the adapter acting on everything.
2. Fits: texts of kinds that mini's pool did not learn (outside.json) beside prompts of tasks that it did (test splits), each alone
   and in users of five. AUROC of `known`, as `customize --json` prints it, and of the largest cosine to a key.

Prints the tables of docs/results/scope.md. Minutes on two cores.
"""

import argparse
import json
import random
import sys
import tempfile
from pathlib import Path

import customize_tasks
from program import crayon, table

ROOT = Path(__file__).resolve().parents[2]
DOMAINS = ["home", "travel"]
QUESTIONS = ROOT / "crates" / "adapters" / "src" / "texts" / "general.txt"
FOREIGN = Path(__file__).with_name("outside.json")


def percent(part, whole):
    return f"{100 * part / whole:.1f} %"


def auroc(inside, outside):
    """How often something from inside scores above something from outside."""
    pairs = [(a > b) + 0.5 * (a == b) for a in inside for b in outside]
    return sum(pairs) / len(pairs)


def asked(binary, question, *through):
    return crayon(binary, "ask", "--temperature", "0", "--max-tokens", "16", *through, "--", question)


def scope(binary, examples, sets, adapter):
    rows = []
    chosen = crayon(binary, "customize", "--examples", examples, "--budget", "600", "-o", adapter)["chosen"]
    for name, outside, questions in sets:
        acted = same = harm = 0
        for question in questions:
            base, through = asked(binary, question), asked(binary, question, "-a", adapter)
            always = asked(binary, question, "-a", adapter, "--force")
            acted += through["adapter"] is not None
            same += through["text"] == (base if outside else always)["text"]
            harm += always["text"] != base["text"]
        count = len(questions)
        rows.append([name, str(count), percent(acted, count), percent(same, count) if outside else "–",
                     "–" if outside else percent(same, count), percent(harm, count)])
    head = ["questions", "number", "answered through the adapter", "answers like the base's",
            "answers like the adapter's on everything", "changed by an adapter on everything"]
    return f"Taken for examples/{examples.name}: `{chosen}`.\n\n" + table(head, rows)


def fits(binary, known, foreign, folder):
    def measure(texts):
        path = folder / "user.jsonl"
        path.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts), encoding="utf-8")
        made = crayon(binary, "customize", "--examples", path)
        return made["known"], max(made["scores"]), made["fits"]

    def users(texts, size):
        return [measure(texts[at:at + size]) for at in range(0, len(texts) - size + 1, size)]

    rows = []
    for size in (1, 5):
        inside = [user for texts in known.values() for user in users(texts, size)]
        everything = []
        for name, texts in foreign.items():
            outside = users(texts, size)
            everything += outside
            rows.append(row(name, size, inside, outside))
        rows.append(row("all of them", size, inside, everything))
        rows.append(["what the pool knows", str(size), str(len(inside)), "–", "–", percent(sum(u[2] for u in inside), len(inside))])
    return table(["texts", "examples a user", "users", "AUROC of `known`", "AUROC of the largest cosine", "said to fit"], rows)


def row(name, size, inside, outside):
    by = [auroc([user[at] for user in inside], [user[at] for user in outside]) for at in (0, 1)]
    return [name, str(size), str(len(outside)), f"{by[0]:.3f}", f"{by[1]:.3f}", percent(sum(user[2] for user in outside), len(outside))]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default=str(ROOT / "target" / "release" / "crayon"))
    parser.add_argument("--data", type=Path, required=True, help="folder that holds clinc150")
    args = parser.parse_args()
    clinc = json.loads((args.data / "clinc150" / "data_full.json").read_text(encoding="utf-8"))
    domains = json.loads((args.data / "clinc150" / "domains.json").read_text(encoding="utf-8"))
    texts = json.loads(FOREIGN.read_text(encoding="utf-8"))
    drawn = random.Random(0)

    def some(count, wanted):
        return drawn.sample([text for text, intent in clinc["test"] if wanted(intent)], count)

    general = [
        ("inside the program, general", True, QUESTIONS.read_text(encoding="utf-8").splitlines()),
        ("other general ones", True, texts["general"]),
        ("the same in small letters", True, [text.lower().rstrip(".?!") for text in texts["general"]]),
        ("kinds of text from elsewhere", True, [text for kind in texts["kinds"].values() for text in kind[::3]]),
    ]
    sys.path.insert(0, str(ROOT / "pools"))
    import recipe
    rows = [(name, customize_tasks.user(args.data, name)["test"]) for name in recipe.mini_tasks()[::5]]
    known = {name: [row["prompt"] for row in drawn.sample(test, min(10, len(test)))] for name, test in rows}
    with tempfile.TemporaryDirectory() as folder:
        for domain in DOMAINS:
            examples = ROOT / "examples" / f"{domain}.jsonl"
            shown = {json.loads(line)["answer"].replace(" ", "_") for line in examples.read_text(encoding="utf-8").splitlines()}
            own = [
                ("intents of other domains", True, some(60, lambda intent: intent not in domains[domain])),
                ("the intents of the examples", False, some(90, lambda intent: intent in shown)),
            ]
            print(scope(args.binary, examples, general + own, Path(folder) / domain), end="\n\n")
        print(fits(args.binary, known, texts["kinds"], Path(folder)))


if __name__ == "__main__":
    main()
