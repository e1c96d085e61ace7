"""Tasks of the customization benchmark: which ones a pool learns, which ones play its users, and how they are put.

Prompts and choices are the sources' own. Where a source has answers without choices, there are four: the right one and three
others drawn from the task's answers by a fixed seed; with at most six different answers all of them are the choices.

Tasks were chosen by name and form, before any pool was trained on them; no result moved a task from one list to another.

    import customize_tasks as tasks
    tasks.pool_rows(data, cap)   # what a pool may learn: [{"prompt", "answer", "task"}], at most `cap` of a task; seeded
    tasks.user(data, name)       # {"train": examples a user may bring, "test": questions}, rows {"prompt", "choices", "answer"};
                                 # "made" where the source has no choices
    tasks.write_pool(data, path, cap), tasks.write_users(data, names, folder)    # the same as files

A user from inside the pool (`INSIDE`) brings train rows that `pool_rows` leaves out: a seeded third of the task's train split, at
most `RESERVED` of them. No row of the pool is also an example or a question of a user or of validation.
"""

import csv
import json
import random
import re
import shutil

# What a pool learns from: train splits only. Tasks with short prompts and short answers, so that a pool trains on two cores.
POOL = """
function_vectors/animal_v_object_3 function_vectors/animal_v_object_5 function_vectors/fruit_v_animal_3
function_vectors/fruit_v_animal_5 function_vectors/verb_v_adjective_3 function_vectors/verb_v_adjective_5
function_vectors/choose_first_of_3 function_vectors/choose_first_of_5 function_vectors/choose_middle_of_3
function_vectors/choose_middle_of_5 function_vectors/alphabetically_first_3 function_vectors/alphabetically_first_5
function_vectors/alphabetically_last_3 function_vectors/alphabetically_last_5
function_vectors/capitalize function_vectors/capitalize_first_letter function_vectors/capitalize_second_letter
function_vectors/lowercase_first_letter function_vectors/next_capital_letter function_vectors/word_length
instruction_induction/first_word_letter instruction_induction/letters_list instruction_induction/orthography_starts_with
function_vectors/antonym function_vectors/synonym function_vectors/next_item function_vectors/prev_item
function_vectors/present-past instruction_induction/singular_to_plural instruction_induction/rhymes
instruction_induction/larger_animal instruction_induction/word_in_context
instruction_induction/sum instruction_induction/diff instruction_induction/num_to_verbal
instruction_induction/negation instruction_induction/active_to_passive instruction_induction/sentence_similarity
function_vectors/english-spanish function_vectors/country-capital function_vectors/country-currency
function_vectors/landmark-country function_vectors/park-country function_vectors/national_parks
function_vectors/person-occupation function_vectors/person-instrument function_vectors/person-sport
function_vectors/conll2003_person
clinc150/credit_cards clinc150/home clinc150/meta clinc150/small_talk clinc150/utility snips_intent snips_slots
customer_reviews mpqa super_ni/task1687_sentiment140_classification tweet_sentiment sms_spam dbpedia
commonsense_qa copa super_ni/task306_jeopardy_answer_generation_double
super_ni/task141_odd-man-out_classification_category super_ni/task142_odd-man-out_classification_no_category
super_ni/task143_odd-man-out_classification_generate_category
babi/qa1_single-supporting-fact babi/qa4_two-arg-relations babi/qa6_yes-no-questions babi/qa10_indefinite-knowledge
babi/qa12_conjunction babi/qa15_basic-deduction babi/qa20_agents-motivations qqp mnli
""".split()

# Users from inside: tasks of the pool, with examples that it did not read. In an order that keeps the kinds mixed in any head of it.
INSIDE = """
function_vectors/antonym clinc150/credit_cards customer_reviews function_vectors/animal_v_object_5 commonsense_qa
function_vectors/english-spanish snips_intent instruction_induction/singular_to_plural function_vectors/person-occupation
instruction_induction/first_word_letter
""".split()

# Users from outside: no task of theirs, nor a twin of it from another source, is in the pool. The word tasks and intents have the
# form of some of the pool's tasks with other content; MMLU, OpenBookQA, topics and emotions have a form of their own.
OUTSIDE = """
clinc150/banking function_vectors/english-german sst2 mmlu/business agnews function_vectors/color_v_animal_5
openbookqa clinc150/travel function_vectors/product-company tweet_emotion instruction_induction/second_word_letter mmlu/society
""".split()

# Held out as well, to choose settings on.
VALIDATION = """
function_vectors/concept_v_object_5 function_vectors/lowercase_last_letter instruction_induction/translation_en-fr
clinc150/work trec super_ni/task875_emotion_classification arc_easy mmlu/school
""".split()

# Held out of the pool and not asked by default.
SPARE = """
function_vectors/object_v_concept_3 function_vectors/choose_last_of_3 function_vectors/adjective_v_verb_3
function_vectors/capitalize_last_letter instruction_induction/taxonomy_animal t0_sciq boolq_short subj
babi/qa13_compound-coreference babi/qa9_simple-negation clinc150/kitchen_and_dining
""".split()

RESERVED = 200  # train rows of an inside task that its users bring and the pool does not read, at most

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
    """Adds choices to rows that have none, and says so in `made`."""
    answers = sorted({row["answer"] for row in rows})
    out = []
    for row in rows:
        if len(answers) <= 6:
            choices = answers
        else:
            choices = rng.sample([a for a in answers if a != row["answer"]], 3) + [row["answer"]]
            rng.shuffle(choices)
        out.append({"prompt": row["prompt"], "choices": choices, "answer": choices.index(row["answer"]), "made": True})
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


def reserve(name, rows):
    """Divides the train rows of an inside task: those of its users, those of the pool."""
    order = list(range(len(rows)))
    random.Random(f"{name} reserved").shuffle(order)
    own = set(order[: min(RESERVED, len(rows) // 3)])
    return [row for at, row in enumerate(rows) if at in own], [row for at, row in enumerate(rows) if at not in own]


def user(data, name):
    """What a user of this task has: examples to bring (`train`) and questions to be judged by (`test`)."""
    train = read(data, name, "train")
    return {"train": reserve(name, train)[0] if name in INSIDE else train, "test": read(data, name, "test")}


def said(row):
    """What makes two rows the same: the question and its answer, without regard to case."""
    return row["prompt"].casefold().strip(), row["choices"][row["answer"]].casefold().strip()


def pool_rows(data, cap, names=None):
    """At most `cap` training examples of every task of the pool, in a fixed random order."""
    taken = {said(row) for name in [*INSIDE, *OUTSIDE, *VALIDATION, *SPARE] for rows in user(data, name).values() for row in rows}
    rng, rows = random.Random(1), []
    for name in names or POOL:
        train = read(data, name, "train")
        own = [row for row in (reserve(name, train)[1] if name in INSIDE else train) if said(row) not in taken]
        for row in rng.sample(own, min(cap, len(own))):
            rows.append({"prompt": row["prompt"], "answer": row["choices"][row["answer"]], "task": short(name)})
    rng.shuffle(rows)
    return rows


def brought(row):
    """An example as a person would bring it: with choices only where its source has them."""
    return row if "made" not in row else {"prompt": row["prompt"], "answer": row["choices"][row["answer"]]}


def write_users(data, names, folder):
    """A folder for each user as `crayon eval customize --users` reads them; other users there are removed."""
    if folder.exists():
        shutil.rmtree(folder)
    for name in names:
        own = folder / short(name)
        own.mkdir(parents=True)
        rows = user(data, name)
        for split, rows in (("train", map(brought, rows["train"])), ("test", rows["test"])):
            (own / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_pool(data, path, cap, names=None):
    """The pool's rows as a file; gives their number."""
    rows = pool_rows(data, cap, names)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return len(rows)
