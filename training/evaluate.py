"""Held-out figures of an exported model, as JSON: perplexity, choices beside chance, recall by length, sample answers.

    python evaluate.py mini --data DIR

Nothing evaluated here is trained on: test files, held-out domains, recall facts from another seed and two needle wordings never seen.
"""

import argparse
import json
import math
import random
import re
from pathlib import Path

import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer

import prose
import recall
from chat import END, prompt
from tasks import HELD_OUT_DOMAINS, rows

SEED = 2026
LENGTHS = (128, 256, 512, 1000)
SAMPLES = [
    "Write a short story about a dog named Max.", "Tell me a story about a little boat.", "Hello! Who are you?", "What is the sun?",
    "What is the capital of France?", "Anna is in the garden. Ben is in the kitchen.\n\nWhere is Ben?", "Play some music by Mozart\nIntent:",
    "Continue the story.\n\nOnce upon a time there was a small bear who could not sleep. One night he went out of his cave.", "How do I make tea?",
    "Where do fish live?\nOptions:\n- in trees\n- in water\n- in houses\nAnswer:",
]


class Model:
    def __init__(self, folder):
        self.net = AutoModelForCausalLM.from_pretrained(folder).float().eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.end = self.tokenizer.convert_tokens_to_ids(END)

    def ids(self, text):
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    @torch.no_grad()
    def perplexity(self, text, window, windows):
        """Windows side by side, each read from its start."""
        ids = self.ids(text)
        count = min(windows, (len(ids) - 1) // window)
        nats = 0.0
        for i in range(count):
            chunk = torch.tensor([ids[i * window : (i + 1) * window + 1]])
            nats += F.cross_entropy(self.net(chunk[:, :-1]).logits[0], chunk[0, 1:], reduction="sum").item()
        used = len(self.tokenizer.decode(ids[: count * window]).encode())
        return {"per_token": round(math.exp(nats / (count * window)), 2), "bits_per_byte": round(nats / math.log(2) / used, 3), "per_byte": round(math.exp(nats / used), 3), "tokens": count * window}

    @torch.no_grad()
    def score(self, question, choices):
        """Log-likelihood of each choice as the assistant's answer."""
        head = self.ids(prompt(question))[-900:]
        tails = [self.ids(c) for c in choices]
        width = len(head) + max(map(len, tails))
        batch = torch.tensor([head + t + [0] * (width - len(head) - len(t)) for t in tails])
        logs = F.log_softmax(self.net(batch).logits[:, len(head) - 1 :], -1)
        return [sum(logs[i, j, token].item() for j, token in enumerate(t)) for i, t in enumerate(tails)]

    def answer(self, text, limit, sample=None):
        ids = torch.tensor([self.ids(text)])
        how = dict(do_sample=True, temperature=sample, top_p=0.9, top_k=0) if sample else dict(do_sample=False, temperature=None, top_p=None)
        out = self.net.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=limit, pad_token_id=0, eos_token_id=[self.end, 0], **how)
        return self.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True).strip()


def choice_tasks(data):
    """Name -> list of (prompt, choices, right)."""
    plain = lambda path: [(r["prompt"], r["choices"], r["answer"]) for r in rows(data / path)]
    tasks = {"snips_intent": plain("tasks/snips_intent/test.jsonl"), "agnews": plain("tasks/agnews/test.jsonl")}
    domains = json.loads((data / "clinc150/domains.json").read_text())
    name = lambda intent: intent.replace("_", " ")
    tests = json.loads((data / "clinc150/data_full.json").read_text())["test"]
    for label, wanted in (("clinc150_seen_domains", False), ("clinc150_unseen_domains", True)):
        tasks[label] = [
            (f"{text}\nIntent:", [name(i) for i in names], names.index(intent))
            for domain, names in domains.items() if (domain in HELD_OUT_DOMAINS) == wanted
            for text, intent in tests if intent in names
        ]
    form = re.compile(r"question: (.*?)\n\n(Answer1: .*?)\n\nAnswer format", re.S)
    for label, folder in (("arc_easy", "ARC-Easy"), ("arc_challenge", "ARC-Challenge"), ("openbookqa", "openbookqa")):
        tasks[label] = []
        for row in json.loads((data / "llm_adapters/dataset" / folder / "test.json").read_text()):
            question, listed = form.search(row["instruction"]).groups()
            choices = [c.strip() for c in re.split(r"\s*Answer\d: ", " " + listed)[1:]]
            tasks[label].append((f"{question}\nAnswer:", choices, int(row["answer"][-1]) - 1))
    tasks["commonsenseqa_dev"] = []
    for row in rows(data / "commonsenseqa/dev_rand_split.jsonl"):
        c = row["choices"]
        tasks["commonsenseqa_dev"].append((f"{row['question']}\nAnswer:", c["text"], c["label"].index(row["answerKey"])))
    return tasks


def choices(model, data, limit):
    report = {}
    for label, examples in choice_tasks(data).items():
        examples = random.Random(SEED).sample(examples, min(limit, len(examples)))
        plain = by_byte = chance = 0
        for question, options, right in examples:
            scores = model.score(question, options)
            lengths = [len(o.encode()) for o in options]
            plain += max(range(len(options)), key=lambda i: scores[i]) == right
            by_byte += max(range(len(options)), key=lambda i: scores[i] / lengths[i]) == right
            chance += 1 / len(options)
        n = len(examples)
        report[label] = {"accuracy": round(plain / n, 3), "accuracy_per_byte": round(by_byte / n, 3), "chance": round(chance / n, 3), "questions": n}
        print(label, report[label], flush=True)
    return report


def recall_sets():
    secret = lambda r, size, p: recall.needles(r, size, p, [recall.secret_number], 1)
    several = lambda r, size, p: recall.needles(r, size, p, count=4)
    unseen = lambda r, size, p: recall.needles(r, size, p, recall.UNSEEN_NEEDLES, 1)
    return {"secret_number": secret, "one_of_four_facts": several, "unseen_wording": unseen, "key_values": recall.key_values}


def recall_report(model, data, limit):
    """Share of answers that are right word for word, greedy."""
    text = prose.plain((data / "text/fairytaleqa_stories/test.txt").read_text(encoding="utf-8"))
    filler = recall.Prose([text], prose.sentences)
    report = {}
    for label, generator in recall_sets().items():
        for length in LENGTHS:
            if label == "key_values" and length > 256:
                continue
            rng, right = random.Random(SEED + length), 0
            for _ in range(limit):
                size = int(length * 3.6)
                while True:
                    context, facts = generator(rng, size, filler)
                    _, question, answer, _ = rng.choice(facts)
                    asked = prompt(f"{context}\n\n{question}")
                    if len(model.ids(asked)) <= length:
                        break
                    size = int(size * 0.93)
                right += model.answer(asked, len(model.ids(answer)) + 4).rstrip(".") == answer
            report.setdefault(label, {})[str(length)] = round(right / limit, 3)
        print(label, report[label], flush=True)
    return report


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[1] / "../shared/data")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "runs")
    parser.add_argument("--limit", type=int, default=300, help="questions a task")
    parser.add_argument("--recall-limit", type=int, default=25, help="questions a recall cell")
    parser.add_argument("--only", choices=["perplexity", "choices", "recall", "samples"])
    args = parser.parse_args()
    torch.manual_seed(SEED)
    model = Model(args.out / "hf" / args.model)
    wanted = lambda part: args.only in (None, part)
    report = {"model": args.model, "parameters": f"{model.net.num_parameters():,} parameters:"}
    if wanted("samples"):
        report["samples"] = [{"prompt": s, "answer": model.answer(prompt(s), 160, sample=0.6)} for s in SAMPLES]
    if wanted("perplexity"):
        texts = {
            "tinystories_cased": "tinystories_sample/tinystories_cased_197KB.txt", "fairytaleqa_test": "text/fairytaleqa_stories/test.txt",
            "wikitext2_test": "wikitext2/test.txt", "gutenberg_alice": "gutenberg/alice_11.txt",
        }
        report["perplexity"] = {n: model.perplexity(prose.plain((args.data / f).read_text(encoding="utf-8")), 512, 32) for n, f in texts.items()}
    if wanted("recall"):
        report["recall"] = recall_report(model, args.data, args.recall_limit)
    if wanted("choices"):
        report["choices"] = choices(model, args.data, args.limit)
    text = json.dumps(report, indent=2, ensure_ascii=False)
    print(text)
    if not args.only:
        (args.out / f"evaluation-{args.model}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
