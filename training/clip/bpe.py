"""CLIP's byte-level BPE with a vocabulary of its own: 256 bytes, 256 bytes that end a word, merges, start and end of text.

Needs from PyPI: transformers (to write tokenizer.json).
"""

import json
import re
from collections import Counter

START, END = "<|startoftext|>", "<|endoftext|>"
WORDS = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[^\W\d_]+|\d|[^\s\w]+|_+")  # close to CLIP's rule, for counting only


def byte_letters():
    """GPT-2's printable letter for every byte."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in kept]
    return {**{b: chr(b) for b in kept}, **{b: chr(256 + i) for i, b in enumerate(others)}}, [*kept, *others]


def learn(lines, size, at_least=3):
    """(vocabulary, merges) from `lines`; ends early when no pair occurs `at_least` times."""
    letters, order = byte_letters()
    words = Counter(word for line in lines for word in WORDS.findall(line.lower()))
    pieces = {}
    for word, count in words.items():
        symbols = [letters[b] for b in word.encode()]
        pieces[(*symbols[:-1], symbols[-1] + "</w>")] = count
    merges, base = [], [letters[b] for b in order]
    vocabulary = base + [letter + "</w>" for letter in base]
    while len(vocabulary) < size - 2:
        pairs = Counter()
        for symbols, count in pieces.items():
            for pair in zip(symbols, symbols[1:]):
                pairs[pair] += count
        if not pairs:
            break
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        if pairs[best] < at_least:
            break
        merges.append(best)
        if "".join(best) not in vocabulary:
            vocabulary.append("".join(best))
        changed = {}
        for symbols, count in pieces.items():
            out, i = [], 0
            while i < len(symbols):
                if symbols[i : i + 2] == best:
                    out.append("".join(best))
                    i += 2
                else:
                    out.append(symbols[i])
                    i += 1
            changed[tuple(out)] = changed.get(tuple(out), 0) + count
        pieces = changed
    vocabulary += [START, END]
    return {piece: i for i, piece in enumerate(vocabulary)}, merges


def write(vocabulary, merges, folder):
    """vocab.json, merges.txt, and what transformers' CLIPTokenizer adds: tokenizer.json and tokenizer_config.json."""
    from transformers import CLIPTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77)
    tokenizer.save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges), encoding="utf-8")
    return tokenizer


def read(folder):
    """(vocabulary, merges) of a folder that has tokenizer.json alone."""
    model = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    merges = [tuple(pair.split(" ")) if isinstance(pair, str) else tuple(pair) for pair in model["merges"]]
    return model["vocab"], merges
