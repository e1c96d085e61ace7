"""Trains the tokenizer and writes every document as token ids: `OUT/tokenizer.json` and `OUT/tokens/GROUP.npz`.

    python prepare.py --data DIR --out DIR
"""

import argparse
import functools
import multiprocessing
import os
import random
from pathlib import Path

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

import choices
import everyday
import patterns
import prose
import recall
import smalltalk
import storytasks
import tasks
from chat import ENDOFTEXT, SPECIAL, encode

VOCABULARY = 4096
# Qwen2's split, so that a GGUF file can say `tokenizer.ggml.model = gpt2`, `tokenizer.ggml.pre = qwen2`.
SPLIT = r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""
# Generated groups: how many documents at scale 1, and of recall documents their sizes in characters, by the window they fit.
RECALL = {
    "copies": (30, 350, 4000), "recall256": (60, 560, 6000), "recall512": (500, 1500, 1500), "recall1024": (1300, 3100, 700),
    "many": (150, 2700, 1000), "long": (2300, 3800, 500),
}
MANY = ("copies", "many", "long")  # more questions about each passage
ECHOES, PATTERNS = 6000, 4000
EVERYDAY = {"sums": 40000, "slips": 20000, "letters": 10000, "labels": 8000}
CHUNK = 1000  # documents that one seed makes


def train_tokenizer(texts):
    tokenizer = Tokenizer(models.BPE(byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def arrays(tokenizer, documents):
    ids, weights, back, lengths = [], [], [], []
    for tokens, weight, distance in encode(tokenizer, documents):
        ids += tokens
        weights += weight
        back += distance
        lengths.append(len(tokens))
    return np.array(ids, np.uint16), np.array(weights, np.uint8), np.array(back, np.uint16), np.array(lengths, np.int64)


def part(job):
    """Up to a thousand documents of a group: some of those at hand, or those that one seed makes."""
    tokenizer, documents, make, seed = part.work  # set before the processes are forked, so that nobody copies the texts
    name, at = job
    if name in documents:
        return arrays(tokenizer, documents[name][at * CHUNK : (at + 1) * CHUNK])
    rng = random.Random(f"{seed} {name} {at}")
    return arrays(tokenizer, [make[name](rng) for _ in range(CHUNK)])


def save(path, parts):
    ids, weights, back, lengths = (np.concatenate(arrays) for arrays in zip(*parts))
    np.savez(path, ids=ids, weights=weights, back=back, starts=np.concatenate([[0], lengths.cumsum()]))
    print(f"{path.stem}: {len(lengths)} documents, {len(ids)} tokens, {(back > 0).sum()} copied", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[1] / "../shared/data")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "runs")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="write only groups whose name starts so")
    parser.add_argument("--scale", type=float, default=1.0, help="more generated documents for longer runs")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    args = parser.parse_args()
    rng = random.Random(args.seed)
    (args.out / "tokens").mkdir(parents=True, exist_ok=True)

    text = prose.load(args.data)
    stories = text["stories"][0]
    filler = recall.Prose(stories * 2 + text["tales"][0], prose.sentences)
    groups = {name: [[(d, 10)] for d in train] for name, (train, _) in text.items()}
    groups |= {"valid_" + name: [[(d, 10)] for d in valid] for name, (_, valid) in text.items()}
    groups |= tasks.load(args.data, rng)
    groups["choices"] = choices.load(args.data, rng)
    groups["storytasks"] = storytasks.load(stories, rng)
    groups["smalltalk"] = smalltalk.load(rng)
    groups |= everyday.load(random.Random(args.seed), groups["storytasks"])
    make = {"echoes": choices.Echoes([d for name in text for d in text[name][0]]), "patterns": patterns.Patterns(args.data)}
    forbidden = everyday.held_out()
    make |= {"sums": everyday.Sums(forbidden), "slips": everyday.notes, "letters": everyday.Letters(forbidden), "labels": everyday.Labels(forbidden)}
    make |= {name: functools.partial(recall.of_size, sizes[:2], filler, name in MANY) for name, sizes in RECALL.items()}
    counts = {"echoes": ECHOES, "patterns": PATTERNS} | EVERYDAY | {name: sizes[2] for name, sizes in RECALL.items()}

    path = args.out / "tokenizer.json"
    if path.exists():
        tokenizer = Tokenizer.from_file(str(path))
    else:
        sample = stories + text["tales"][0] + rng.sample(text["books"][0], 500) + text["news"][0]
        chats = [piece[0] for name in ("intents", "questions", "reading", "words", "storytasks", "smalltalk") for d in groups[name] for piece in d]
        few = random.Random(args.seed)
        chats += [piece[0] for name in ("echoes", "patterns", "recall256") for _ in range(3000) for piece in make[name](few)]
        tokenizer = train_tokenizer(sample + chats)
        tokenizer.save(str(path))
    assert tokenizer.token_to_id(ENDOFTEXT) == 0 and tokenizer.get_vocab_size() == VOCABULARY

    parts = {name: -(-len(documents) // CHUNK) for name, documents in groups.items()}
    parts |= {name: max(1, round(count * args.scale / CHUNK)) for name, count in counts.items()}
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    part.work = tokenizer, groups, make, args.seed
    with multiprocessing.get_context("fork").Pool(args.processes) as pool:
        chosen = [name for name in parts if not args.only or name.startswith(args.only)]
        arriving = pool.imap(part, [(name, at) for name in chosen for at in range(parts[name])])
        for name in chosen:
            save(args.out / "tokens" / f"{name}.npz", [next(arriving) for _ in range(parts[name])])


if __name__ == "__main__":
    main()
