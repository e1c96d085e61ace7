"""Instruction data: the train splits of public tasks in the chat format. Lists what is held out for customization tests."""

import json
import re
from pathlib import Path

from chat import dialogue
from listing import listed

# Never trained on: these domains and tasks play the users that a model is later customized to.
HELD_OUT_DOMAINS = ["banking", "travel", "kitchen_and_dining", "work", "auto_and_commute"]
HELD_OUT_BABI = [2, 3, 5, 7, 9, 13, 14, 16, 18, 19]
INSTRUCTIONS = {
    # function_vectors and instruction_induction tasks that are trained on; all others in the two folders are held out.
    "function_vectors/antonym": "Write the opposite of the word.",
    "instruction_induction/antonyms": "Give a word with the opposite meaning.",
    "function_vectors/capitalize": "Write the word with a capital letter.",
    "function_vectors/capitalize_first_letter": "Write the first letter of the word as a capital.",
    "function_vectors/lowercase_first_letter": "Write the first letter of the word in lower case.",
    "instruction_induction/first_word_letter": "What is the first letter of the word?",
    "instruction_induction/letters_list": "Spell the word.",
    "function_vectors/choose_first_of_3": "Choose the first word of the list.",
    "function_vectors/choose_first_of_5": "Which word comes first in the list?",
    "function_vectors/animal_v_object_3": "Which of these is an animal?",
    "function_vectors/animal_v_object_5": "Find the animal in the list.",
    "function_vectors/fruit_v_animal_3": "Which of these is a fruit?",
    "function_vectors/fruit_v_animal_5": "Find the fruit in the list.",
    "function_vectors/verb_v_adjective_3": "Which of these words is a verb?",
    "function_vectors/verb_v_adjective_5": "Find the verb in the list.",
    "function_vectors/country-capital": "What is the capital of the country?",
    "function_vectors/english-spanish": "Translate the word into Spanish.",
    "instruction_induction/translation_en-es": "Translate from English to Spanish.",
    "function_vectors/landmark-country": "In which country is this place?",
    "function_vectors/person-occupation": "What is the person known as?",
    "function_vectors/person-instrument": "Which instrument does the person play?",
    "function_vectors/present-past": "Write the verb in the past tense.",
    "function_vectors/next_item": "What comes next?",
    "function_vectors/singular-plural": "Write the plural of the word.",
    "instruction_induction/singular_to_plural": "Write the word in the plural.",
    "function_vectors/word_length": "How many letters has the word?",
    "instruction_induction/sum": "Add the two numbers.",
    "instruction_induction/num_to_verbal": "Write the number in words.",
    "instruction_induction/negation": "Make the sentence negative.",
    "instruction_induction/active_to_passive": "Write the sentence in the passive.",
    "instruction_induction/larger_animal": "Which animal is larger?",
}


def rows(path: Path):
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def choice(rng, prompt, choices, answer, label="Answer"):
    """One multiple-choice question in the forms a user may write: without a list, where the answer's text is what counts, and with two."""
    right = choices[answer]
    yield dialogue([(prompt, right)])
    tail = f"\n{label}:"
    body = prompt[: -len(tail)] if prompt.endswith(tail) else prompt
    for _ in range(2):
        options = list(choices)
        if len(options) > 7:
            options = rng.sample([o for o in options if o != right], rng.randint(2, 6)) + [right]
        rng.shuffle(options)
        lines, said = listed(rng, options, right)
        yield dialogue([(body + lines + rng.choice([tail, tail, ""]), said)])


def clinc150(data):
    """Intents in words by domain, and the training split as `(text, intent, domain)`."""
    domains = json.loads((data / "clinc150/domains.json").read_text())
    domain_of = {intent: domain for domain, names in domains.items() for intent in names}
    words = lambda intent: intent.replace("_", " ")
    train = json.loads((data / "clinc150/data_full.json").read_text())["train"]
    return {d: list(map(words, names)) for d, names in domains.items()}, [(text, words(i), domain_of[i]) for text, i in train]


def intents(data, rng):
    for row in rows(data / "tasks/snips_intent/train.jsonl"):
        yield from choice(rng, row["prompt"], row["choices"], row["answer"], "Intent")
    domains, train = clinc150(data)
    for text, intent, domain in train:
        if domain not in HELD_OUT_DOMAINS:
            choices = domains[domain]
            yield from choice(rng, f"{text}\nIntent:", choices, choices.index(intent), "Intent")


def slots(data, rng):
    for row in rng.sample(rows(data / "tasks/snips_slots/train.jsonl"), 2500):
        yield dialogue([(row["prompt"], row["answer"])])
        text = row["prompt"].removesuffix("\nSlots:")
        pair = rng.choice(row["answer"].split("; "))
        if "=" in pair:
            key, value = pair.split("=", 1)
            key = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", key).replace("_", " ").lower()
            yield dialogue([(f"{text}\nWhat is the {key}?", value)])


def science(data, rng):
    """ARC and OpenBookQA train splits, and a part of BoolQ, which without its passage is mostly guessing."""
    form = re.compile(r"question: (.*?)\n\n(Answer1: .*?)\n\nAnswer format", re.S)
    for folder in ("ARC-Easy", "ARC-Challenge", "openbookqa"):
        for row in json.loads((data / "llm_adapters/dataset" / folder / "train.json").read_text()):
            question, listed = form.search(row["instruction"]).groups()
            choices = [c.strip() for c in re.split(r"\s*Answer\d: ", " " + listed)[1:]]
            yield from choice(rng, f"{question}\nAnswer:", choices, int(row["answer"][-1]) - 1)
    for row in rng.sample(json.loads((data / "llm_adapters/dataset/boolq/train.json").read_text()), 1500):
        question = re.search(r"question: (.*?)\n", row["instruction"]).group(1)
        yield dialogue([(f"{question}\nAnswer:", "yes" if row["answer"] == "true" else "no")])
    for row in rows(data / "tasks/commonsense_qa/train.jsonl"):
        yield from choice(rng, row["prompt"], row["choices"], row["answer"])


def near(passage, answer, budget):
    """Cuts the passage to about `budget` characters around the paragraph that shares most words with the answer."""
    paragraphs = [p for p in re.split(r"\n\n+", passage) if p.strip()]
    wanted = set(re.findall(r"[a-z]{4,}", answer.lower()))
    best = max(range(len(paragraphs)), key=lambda i: len(wanted & set(re.findall(r"[a-z]{4,}", paragraphs[i].lower()))))
    first = last = best
    while True:
        grown = "\n\n".join(paragraphs[max(0, first - 1) : last + 2])
        if len(grown) > budget or (first == 0 and last == len(paragraphs) - 1):
            return "\n\n".join(paragraphs[first : last + 1])
        first, last = max(0, first - 1), min(len(paragraphs) - 1, last + 1)


def fairytales(data, rng):
    from prose import plain

    for row in rows(data / "tasks/fairytaleqa/train.jsonl"):
        passage, question = plain(row["prompt"]).rsplit("\nQuestion:", 1)
        passage = re.sub(r"(?<!\n)\n(?!\n)", " ", passage)
        passage = near(passage, row["answer"], rng.choice([500, 900, 900, 1800]))
        if len(passage) > 2600:
            continue
        if rng.random() < 0.6:
            yield dialogue([(f"{passage}\nQuestion:{question}", row["answer"])])
        else:
            yield dialogue([(f"{passage}\n\n{question.strip().removesuffix('Answer:').strip()}", row["answer"])])


def babi(data, rng):
    for folder in sorted((data / "tasks/babi").iterdir()):
        if int(re.match(r"qa(\d+)", folder.name).group(1)) in HELD_OUT_BABI:
            continue
        for row in rows(folder / "train.jsonl"):
            prompt = row["prompt"] if rng.random() < 0.7 else row["prompt"].removesuffix("\nAnswer:")
            yield dialogue([(prompt, row["answer"])])


def word_tasks(data, rng, cap=350):
    """Short transformations, either told in words or shown by examples."""
    for folder, instruction in INSTRUCTIONS.items():
        pool = rows(data / "tasks" / folder / "train.jsonl")
        for row in rng.sample(pool, min(cap, len(pool))):
            form = rng.random()
            if form < 0.3:
                yield dialogue([(f"{instruction}\n{row['prompt']}\nAnswer:", row["answer"])])
            elif form < 0.5:
                yield dialogue([(f"{instruction} {row['prompt']}", row["answer"])])
            else:
                shown = rng.sample(pool, rng.randint(2, 5))
                examples = "\n".join(f"Input: {r['prompt']}\nOutput: {r['answer']}" for r in shown)
                head = f"{instruction}\n" if rng.random() < 0.4 else ""
                yield dialogue([(f"{head}{examples}\nInput: {row['prompt']}\nOutput:", row["answer"])])


def load(data, rng):
    """Returns `{group: documents}`."""
    seeds = [dialogue([(r["prompt"].removesuffix("\nAnswer:"), r["answer"])]) for r in rows(data / "tasks/self_instruct/train.jsonl") if len(r["prompt"]) + len(r["answer"]) < 900]
    return {
        "intents": list(intents(data, rng)) + list(slots(data, rng)),
        "questions": list(science(data, rng)),
        "reading": list(fairytales(data, rng)) + list(babi(data, rng)),
        "words": list(word_tasks(data, rng)) + seeds,
    }
