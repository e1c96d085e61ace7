"""Small users to choose the defaults of training by: their examples and questions come from train splits, never from examples/users.

    python3 scripts/eval/validation_users.py DATA/tasks OUT
    python3 scripts/eval/validation_users.py DATA/clinc150 OUT --inside

DATA is the folder of public data that tests name by CRAYON_DATA. Each of the ten users is a folder of OUT with `examples.jsonl` (8 to 16)
and `questions.jsonl` (ten others): labels of one's own for texts of five tasks, three word tasks with free answers, and two made-up ways of
writing things down. With --inside there are four users of the built-in pool's own kinds of task, intents of CLINC150, from its validation
split, which has trained nothing. The same seed gives the same users.
"""

import argparse
import json
import random
from pathlib import Path

# Task, what stands in front of its text, the text's end that goes, and what the person calls the answers.
LABELS = {
    "buyers": ("customer_reviews", "Would this buyer come back? ", "\nSentiment:", {"negative": "never", "positive": "again"}, 10),
    "claims": ("subj", "Is this told or judged? ", "\nType:", {"subjective": "judged", "objective": "told"}, 12),
    "desks": ("trec", "Which desk answers? ", "\nQuestion type:",
              {"human": "people", "location": "maps", "number": "figures", "entity": "things", "description": "words"}, 16),
    "helpers": ("snips_intent", "Who does this? ", "\nIntent:", {}, 14),
    "moods": ("tweet_emotion", "What colour is this? ", "\nEmotion:",
              {"anger": "red", "joy": "yellow", "optimism": "green", "sadness": "blue"}, 12),
}
WORDS = {"past": ("present-past", "Yesterday: ", 10), "many": ("singular-plural", "More than one ", 8),
         "opposite": ("antonym", "Turn it round: ", 14)}
NAMES = ["Ada Hill", "Ben Stone", "Cora Lake", "Dan Field", "Eva Marsh", "Finn Wood", "Gina Ford", "Hugo Park", "Ida Brook", "Jan Moor",
         "Kate Bell", "Leo Frost", "Mia Snow", "Noah West", "Olga Lane", "Paul Green", "Rosa King", "Sam Young", "Tina Gray", "Uma Fox"]


def rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def labelled(tasks, chance, name, count):
    task, lead, end, labels, _ = LABELS[name]
    found = {}
    for row in rows(tasks / task / "train.jsonl"):
        label = row["choices"][row["answer"]]
        text = " ".join(row["prompt"].removesuffix(end).split())
        if len(text) <= 120 and (not labels or label in labels):
            found.setdefault(labels.get(label, label), []).append({"prompt": lead + text, "answer": labels.get(label, label)})
    for of_label in found.values():
        chance.shuffle(of_label)
    # Labels take turns, so that every one of them is among the examples.
    order = sorted(found)
    return [found[order[at % len(order)]][at // len(order)] for at in range(count)]


def words(tasks, chance, name, count):
    task, lead, _ = WORDS[name]
    found = [{"prompt": lead + row["prompt"], "answer": row["answer"]} for row in rows(tasks / "function_vectors" / task / "train.jsonl")]
    chance.shuffle(found)
    return found[:count]


def made_up(chance, name, count):
    if name == "guests":
        pairs = [name.split() for name in NAMES]
        found = [{"prompt": f"Guest list: {first} {last}", "answer": f"{last}, {first}"} for first, last in pairs]
    else:
        found = [{"prompt": f"Short form: shelf {shelf}, box {box}", "answer": f"S{shelf}-B{box}"}
                 for shelf in range(1, 10) for box in range(1, 10)]
    chance.shuffle(found)
    return found[:count]


def intents(chance, data, domain, count):
    """Six intents of a domain, by turns."""
    chosen = json.loads((data / "domains.json").read_text(encoding="utf-8"))[domain]
    chance.shuffle(chosen)
    found = {}
    for text, intent in json.loads((data / "data_full.json").read_text(encoding="utf-8"))["val"]:
        if intent in chosen[:6]:
            found.setdefault(intent, []).append({"prompt": text, "answer": intent.replace("_", " ")})
    order = sorted(found)
    return [found[order[at % len(order)]][at // len(order)] for at in range(count)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tasks", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--inside", action="store_true")
    args = parser.parse_args()
    users = {name: (of[-1], lambda c, n, k=name: labelled(args.tasks, c, k, n)) for name, of in LABELS.items()}
    users |= {name: (of[-1], lambda c, n, k=name: words(args.tasks, c, k, n)) for name, of in WORDS.items()}
    users |= {name: (10, lambda c, n, k=name: made_up(c, k, n)) for name in ("guests", "shelves")}
    if args.inside:
        users = {name: (12, lambda c, n, k=name: intents(c, args.tasks, k, n)) for name in ("banking", "travel", "home", "work")}
    for name, (examples, make) in users.items():
        made = make(random.Random(f"{args.seed} {name}"), examples + 10)
        folder = args.out / name
        folder.mkdir(parents=True, exist_ok=True)
        for file, lines in (("examples", made[:examples]), ("questions", made[examples:])):
            text = "".join(json.dumps(line) + "\n" for line in lines)
            (folder / f"{file}.jsonl").write_text(text, encoding="utf-8")
        print(f"{name}: {examples} examples, {len(made) - examples} questions")


if __name__ == "__main__":
    main()
