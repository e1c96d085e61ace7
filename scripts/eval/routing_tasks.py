"""Tasks for routing: questions of public sets, a train and a test split of each, with choices or to be answered in writing.

Word tasks get an instruction in front and, as choices, the answers to three other words. Each task is a list of rows of
`{"prompt", "choices", "answer": index}`; a written one of `{"prompt", "answer": text}`.
"""

import json
import random
import re

from text_choices import SCIQ

CUED = re.compile(r"question: (.*?)\n\n(Answer1: .*?)\n\nAnswer format", re.S)
LONGEST = 1500  # characters of a prompt
WORDS = {
    "capitals": ("function_vectors/country-capital", "What is the capital of {}?"),
    "landmarks": ("function_vectors/landmark-country", "In which country is {}?"),
    "sports": ("function_vectors/person-sport", "Which sport does {} play?"),
    "currencies": ("function_vectors/country-currency", "What is the currency of {}?"),
    "products": ("function_vectors/product-company", "Which company makes {}?"),
    "French": ("function_vectors/english-french", "Translate the word into French.\n{}"),
    "Spanish": ("function_vectors/english-spanish", "Translate the word into Spanish.\n{}"),
    "past tense": ("function_vectors/present-past", "Write the verb in the past tense.\n{}"),
    "plurals": ("function_vectors/singular-plural", "Write the plural of the word.\n{}"),
    "opposites": ("function_vectors/antonym", "Write the opposite of the word.\n{}"),
    "capital letters": ("function_vectors/capitalize", "Write the word with a capital letter.\n{}"),
    "first letters": ("instruction_induction/first_word_letter", "What is the first letter of the word?\n{}"),
    "last letters": ("function_vectors/lowercase_last_letter", "Write the last letter of the word in lower case.\n{}"),
    "next items": ("function_vectors/next_item", "What comes next?\n{}"),
    "sums": ("instruction_induction/sum", "Add the two numbers.\n{}"),
    "numbers in words": ("instruction_induction/num_to_verbal", "Write the number in words.\n{}"),
    "larger animals": ("instruction_induction/larger_animal", "Which animal is larger?\n{}"),
    "rhymes": ("instruction_induction/rhymes", "Write a word that rhymes with the word.\n{}"),
    "colours": ("function_vectors/color_v_animal_3", "Which of these is a colour?\n{}"),
    "animals": ("function_vectors/animal_v_object_3", "Which of these is an animal?\n{}"),
    "verbs": ("function_vectors/verb_v_adjective_3", "Which of these words is a verb?\n{}"),
}
# Sets that come with choices, or are written as they are.
SETS = {
    "film reviews": "sst2", "product reviews": "customer_reviews", "tweets, sentiment": "tweet_sentiment", "tweets, emotion": "tweet_emotion",
    "spam": "sms_spam", "news": "agnews", "kinds of questions": "trec", "subjective": "subj", "SNIPS intents": "snips_intent",
    "yes or no": "boolq_short", "everyday sense": "commonsense_qa", "bAbI 1": "babi/qa1_single-supporting-fact",
    "bAbI 6": "babi/qa6_yes-no-questions", "bAbI 15": "babi/qa15_basic-deduction", "bAbI 2": "babi/qa2_two-supporting-facts",
    "bAbI 10": "babi/qa10_indefinite-knowledge", "bAbI 7": "babi/qa7_counting", "bAbI 16": "babi/qa16_basic-induction", "bAbI 18": "babi/qa18_size-reasoning",
    "where it was": "super_ni/task152_tomqa_find_location_easy_noise",
}
SCIENCE = {"ARC-Easy": "ARC-Easy", "OpenBookQA": "openbookqa"}


def rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def science(path):
    for row in json.loads(path.read_text(encoding="utf-8")):
        if found := CUED.search(row["instruction"]):
            question, listed = found.groups()
            choices = [choice.strip() for choice in re.split(r"\s*Answer\d: ", " " + listed)[1:]]
            yield {"prompt": f"{question}\nAnswer:", "choices": choices, "answer": int(row["answer"][-1]) - 1}


def sciq(path):
    for row in rows(path):
        if found := SCIQ.match(row["prompt"]):
            paragraph, question = found.groups()
            yield {"prompt": f"{paragraph}\nQuestion: {question}\nAnswer:", "choices": row["choices"], "answer": row["answer"]}


def with_choices(found, name):
    """Answers in words as a choice among four: the answers to three other questions of the split."""
    answers, draw = sorted({row["answer"] for row in found}), random.Random(name)
    for row in found:
        others = [answer for answer in draw.sample(answers, min(8, len(answers))) if answer.lower() != row["answer"].lower()][:3]
        choices = others + [row["answer"]]
        draw.shuffle(choices)
        yield {"prompt": row["prompt"], "choices": choices, "answer": choices.index(row["answer"])}


def load(data, name, split, written):
    """The rows of a task."""
    if name in WORDS:
        folder, instruction = WORDS[name]
        found = [{**row, "prompt": instruction.format(row["prompt"])} for row in rows(data / "tasks" / folder / f"{split}.jsonl")]
    elif name in SCIENCE:
        found = list(science(data / "llm_adapters/dataset" / SCIENCE[name] / f"{split}.json"))
    elif name == "SciQ":
        found = list(sciq(data / "tasks/t0_sciq" / f"{split}.jsonl"))
    else:
        found = rows(data / "tasks" / SETS[name] / f"{split}.jsonl")
    found = [row for row in found if len(row["prompt"]) <= LONGEST]
    if written:
        return [{"prompt": row["prompt"], "answer": row["choices"][row["answer"]] if "choices" in row else row["answer"]} for row in found]
    return found if "choices" in found[0] else list(with_choices(found, name))
