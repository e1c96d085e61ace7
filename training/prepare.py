"""Trains the tokenizer and writes every document as token ids: `OUT/tokenizer.json` and `OUT/tokens/GROUP.npz`.

    python prepare.py --data DIR --out DIR
"""

import argparse
import random
from pathlib import Path

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

import prose
import recall
import smalltalk
import storytasks
import tasks
from chat import ENDOFTEXT, SPECIAL, encode

VOCABULARY = 4096
# Qwen2's split, so that a GGUF file can say `tokenizer.ggml.model = gpt2`, `tokenizer.ggml.pre = qwen2`.
SPLIT = r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""
# Sizes in characters of recall documents, by the window they fit.
RECALL = {"copies": (30, 350, 4000), "recall256": (60, 560, 6000), "recall512": (500, 1500, 1500), "recall1024": (1300, 3100, 700)}


def train_tokenizer(texts):
    tokenizer = Tokenizer(models.BPE(byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def save(path, tokenizer, documents):
    ids, weights, back, starts = [], [], [], [0]
    for tokens, weight, distance in encode(tokenizer, documents):
        ids += tokens
        weights += weight
        back += distance
        starts.append(len(ids))
    np.savez(path, ids=np.array(ids, np.uint16), weights=np.array(weights, np.uint8), back=np.array(back, np.uint16), starts=np.array(starts, np.int64))
    print(f"{path.stem}: {len(documents)} documents, {len(ids)} tokens, {sum(b > 0 for b in back)} copied")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[1] / "../shared/data")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "runs")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="write only groups whose name starts so")
    parser.add_argument("--recall-scale", type=float, default=1.0, help="more generated recall documents for longer runs")
    args = parser.parse_args()
    rng = random.Random(args.seed)
    (args.out / "tokens").mkdir(parents=True, exist_ok=True)

    text = prose.load(args.data)
    stories = text["stories"][0]
    filler = recall.Prose(stories * 2 + text["tales"][0], prose.sentences)
    groups = {name: [[(d, 10)] for d in train] for name, (train, _) in text.items()}
    groups |= {"valid_" + name: [[(d, 10)] for d in valid] for name, (_, valid) in text.items()}
    groups |= tasks.load(args.data, rng)
    groups["storytasks"] = storytasks.load(stories, rng)
    groups["smalltalk"] = smalltalk.load(rng)
    for name, (low, high, count) in RECALL.items():
        groups[name] = [recall.document(rng, rng.randint(low, high), filler, name == "copies") for _ in range(int(count * args.recall_scale))]

    path = args.out / "tokenizer.json"
    if path.exists():
        tokenizer = Tokenizer.from_file(str(path))
    else:
        sample = stories + text["tales"][0] + rng.sample(text["books"][0], 300) + text["news"][0]
        chats = [piece[0] for name in ("intents", "questions", "reading", "words", "storytasks", "smalltalk", "recall256") for d in groups[name] for piece in d]
        tokenizer = train_tokenizer(sample + chats)
        tokenizer.save(str(path))
    assert tokenizer.token_to_id(ENDOFTEXT) == 0 and tokenizer.get_vocab_size() == VOCABULARY
    for name, documents in groups.items():
        if not args.only or name.startswith(args.only):
            save(args.out / "tokens" / f"{name}.npz", tokenizer, documents)


if __name__ == "__main__":
    main()
