"""Tasks of the customization benchmark: which ones a pool learns, which ones play its users, and how they are put.

Prompts and choices are the sources' own. Where a source has answers without choices, there are four: the right one and three
others drawn from the task's answers by a fixed seed; with at most six different answers all of them are the choices.
"""

import csv
import json
import random
import re

# What a pool learns from (train splits): tasks that training/tasks.py lets `mini` learn, and neighbours of the users that share
# their form but not their content. Prompts are short, so that the benchmark ends on two cores.
POOL = """
function_vectors/animal_v_object_3 function_vectors/animal_v_object_5 function_vectors/fruit_v_animal_3
function_vectors/verb_v_adjective_3 function_vectors/verb_v_adjective_5 function_vectors/choose_first_of_3
function_vectors/choose_first_of_5 function_vectors/alphabetically_first_3 function_vectors/capitalize_first_letter
function_vectors/lowercase_first_letter function_vectors/capitalize_second_letter instruction_induction/first_word_letter
function_vectors/antonym function_vectors/synonym function_vectors/present-past function_vectors/singular-plural
function_vectors/next_item instruction_induction/rhymes instruction_induction/num_to_verbal
function_vectors/english-spanish function_vectors/english-french function_vectors/country-capital
function_vectors/landmark-country function_vectors/person-occupation function_vectors/person-instrument
function_vectors/person-sport instruction_induction/larger_animal clinc150/credit_cards clinc150/home clinc150/meta
clinc150/small_talk clinc150/utility snips_intent commonsense_qa customer_reviews mpqa
super_ni/task1687_sentiment140_classification
""".split()

# Held out: the people who bring examples.
USERS = """
function_vectors/color_v_animal_5 function_vectors/object_v_concept_3 function_vectors/choose_last_of_3
function_vectors/adjective_v_verb_3 function_vectors/capitalize_last_letter instruction_induction/second_word_letter
function_vectors/english-german function_vectors/product-company instruction_induction/taxonomy_animal
clinc150/banking clinc150/travel sst2
""".split()

# Held out as well, to choose settings on.
VALIDATION = """
function_vectors/concept_v_object_5 function_vectors/lowercase_last_letter instruction_induction/translation_en-fr
clinc150/work trec
""".split()

# The question-answer sets and others, looked at with fewer draws: is there anything to gain for this model?
WIDER = """
mmlu/business mmlu/society mmlu/school arc_easy openbookqa t0_sciq boolq_short agnews
tweet_emotion subj babi/qa13_compound-coreference babi/qa9_simple-negation clinc150/kitchen_and_dining
""".split()

# MMLU's subjects have five examples each; four subjects together make a user.
FIELDS = {
    "business": ["marketing", "management", "public_relations", "business_ethics"],
    "society": ["high_school_psychology", "professional_psychology", "sociology", "human_sexuality"],
    "school": ["high_school_biology", "high_school_chemistry", "high_school_physics", "elementary_mathematics"],
}

LONGEST = 700  # characters of a prompt


def lines(path):
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def with_choices(rows, rng):
    """Adds choices to rows that have none."""
    answers = sorted({row["answer"] for row in rows})
    out = []
    for row in rows:
        if len(answers) <= 6:
            choices = answers
        else:
            choices = rng.sample([a for a in answers if a != row["answer"]], 3) + [row["answer"]]
            rng.shuffle(choices)
        out.append({"prompt": row["prompt"], "choices": choices, "answer": choices.index(row["answer"])})
    return out


def clinc(data, domain, split):
    domains = json.loads((data / "clinc150/domains.json").read_text())
    words = [intent.replace("_", " ") for intent in domains[domain]]
    rows = json.loads((data / "clinc150/data_full.json").read_text())[split]
    kept = [(text, domains[domain].index(intent)) for text, intent in rows if intent in domains[domain]]
    return [{"prompt": f"{text}\nIntent:", "choices": words, "answer": at} for text, at in kept]


def mmlu(data, field, split):
    """Development questions as examples, five a subject, and the test questions of the same subjects."""
    rows = []
    for subject in FIELDS[field]:
        name = {"train": f"dev/{subject}_dev.csv", "test": f"test/{subject}_test.csv"}[split]
        for fields in csv.reader((data / "mmlu/data/mmlu" / name).open(encoding="utf-8", newline="")):
            if len(fields) == 6 and fields[0] != "question":
                answer = "ABCD".find(fields[5]) if fields[5] in "ABCD" else int(fields[5])
                rows.append({"prompt": f"{fields[0]}\nAnswer:", "choices": fields[1:5], "answer": answer})
    return rows


def llm_adapters(data, name, split):
    folder = {"arc_easy": "ARC-Easy", "openbookqa": "openbookqa"}[name]
    form = re.compile(r"question: (.*?)\n\n(Answer1: .*?)\n\nAnswer format", re.S)
    rows = []
    for row in json.loads((data / "llm_adapters/dataset" / folder / f"{split}.json").read_text()):
        question, listed = form.search(row["instruction"]).groups()
        choices = [c.strip() for c in re.split(r"\s*Answer\d: ", " " + listed)[1:]]
        rows.append({"prompt": f"{question}\nAnswer:", "choices": choices, "answer": int(row["answer"][-1]) - 1})
    return rows


def read(data, name, split):
    """Questions of a task: `split` is train or test."""
    if name.startswith("clinc150/"):
        rows = clinc(data, name.split("/")[1], split)
    elif name.startswith("mmlu/"):
        rows = mmlu(data, name.split("/")[1], split)
    elif name in ("arc_easy", "openbookqa"):
        rows = llm_adapters(data, name, split)
    else:
        rows = lines(data / "tasks" / name / f"{split}.jsonl")
        if "choices" not in rows[0]:
            rows = with_choices(rows, random.Random(f"{name} {split}"))
    return [row for row in rows if len(row["prompt"]) <= LONGEST and all(c.strip() for c in row["choices"])]


def short(name):
    """A task's name for files and tables."""
    return name.replace("function_vectors/", "").replace("instruction_induction/", "").replace("/", "-")


def write_users(data, names, folder):
    for name in names:
        own = folder / short(name)
        own.mkdir(parents=True, exist_ok=True)
        for split in ("train", "test"):
            text = "".join(json.dumps(row) + "\n" for row in read(data, name, split))
            (own / f"{split}.jsonl").write_text(text, encoding="utf-8")


def write_pool(data, names, path, cap):
    """At most `cap` training examples of every task, in a fixed random order."""
    rng, rows = random.Random(1), []
    for name in names:
        own = read(data, name, "train")
        for row in rng.sample(own, min(cap, len(own))):
            rows.append({"prompt": row["prompt"], "answer": row["choices"][row["answer"]], "task": short(name)})
    rng.shuffle(rows)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return len(rows)
