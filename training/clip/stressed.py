"""SToRI's word weights on an exported folder: does weighting one attribute of a caption move what is found, and from which layer on?

    python stressed.py ../../runs/export --pixels ../../runs/pixels

For captions with attributes A and B over a gallery of test pictures: average precision of A and of B and A's share of the first ten,
by the weight of A, with Spearman's correlation; beside it repeating A's word, adding A's own vector, and plain arithmetic on it.
A prototype in PyTorch, to choose defaults by. Needs from PyPI: torch, numpy, pillow, transformers, safetensors.
"""

import argparse
import random
import statistics
from pathlib import Path

import torch
import torch.nn.functional as F

WEIGHTS = (0.25, 0.5, 1, 1.5, 2, 3, 5)


def weighted(model, tokenizer, texts, words, weight, first_layer):
    """Unit vectors of `texts` where the pieces of `words[i]` (a word of the text) have `weight`."""
    rows, ends, weights = [], [], []
    for text, word in zip(texts, words):
        tokens, stresses = [tokenizer.bos_token_id], [1.0]
        for part in text.split():
            ids = tokenizer(part)["input_ids"][1:-1]
            tokens += ids
            stresses += [weight if part.strip(",.") == word else 1.0] * len(ids)
        rows.append(tokens + [tokenizer.eos_token_id])
        weights.append(stresses + [1.0])
        ends.append(len(tokens))
    longest = max(ends) + 1
    ids = torch.tensor([r + [tokenizer.eos_token_id] * (longest - len(r)) for r in rows])
    stress = torch.tensor([w + [1.0] * (longest - len(w)) for w in weights])
    return model.texts(ids, torch.tensor(ends), weights=stress, first_layer=first_layer)


def average_precision(scores, relevant):
    order = relevant[scores.argsort(descending=True)].float()
    return ((order.cumsum(0) / torch.arange(1, len(order) + 1)) * order).sum().item() / order.sum().item()


def spearman(x, y):
    rank = lambda v: torch.tensor([sum(b < a for b in v) + (sum(b == a for b in v) - 1) / 2 for a in v])
    a, b = rank(x) - (len(x) - 1) / 2, rank(y) - (len(y) - 1) / 2
    return (a @ b / (a.norm() * b.norm())).item() if a.norm() * b.norm() > 0 else float("nan")


def cases(name, records):
    """(caption, word of A, word of B, is A true, is B true) for captions that some picture fits in at least one half."""
    from captions import article

    a = [r["attributes"] for r in records]
    rng = random.Random(0)
    out = []
    if name == "icon_scenes":
        for colour in sorted({x["color"] for x in a}):
            for background in rng.sample(sorted({x["background"] for x in a} - {colour}), 3):
                out.append((f"{article(colour)} icon on {article(background)} background", colour, background,
                            [colour in (x["color"], x.get("color2")) for x in a], [x["background"] == background for x in a]))
        objects = [x for x in a if "object2" not in x and " " not in x["object"]]
        for x in rng.sample(objects, 30):
            colour = rng.choice(sorted({y["color"] for y in a} - {x["color"]}))
            out.append((article(f"{colour} {x['object']}"), colour, x["object"], [y["color"] == colour for y in a], [y["object"] == x["object"] for y in a]))
    if name == "avatars":
        for colour in sorted({x["haircolor"] for x in a if "haircolor" in x}):
            for background in rng.sample(sorted({x["background"] for x in a} - {colour}), 3):
                out.append((f"a person with {colour} hair on {article(background)} background", colour, background,
                            [x.get("haircolor") == colour for x in a], [x["background"] == background for x in a]))
        for mood in ("happy", "sad", "surprised"):
            for background in ("red", "blue", "green"):
                out.append((f"{article(mood)} person on {article(background)} background", mood, background,
                            [x.get("mood") == mood for x in a], [x["background"] == background for x in a]))
    if name == "fluent_emoji":
        for style in ("flat", "glossy", "3d"):
            for colour in ("blue", "orange", "purple", "yellow", "red", "green"):
                out.append((f"{article(colour)} {style} emoji", colour, style, [x.get("color") == colour for x in a], [x["style"] == style for x in a]))
    return out


@torch.no_grad()
def main():
    import pictures
    import towers
    from evaluate import encode, pictures_of
    from transformers import CLIPTokenizer

    p = argparse.ArgumentParser()
    p.add_argument("folder", type=Path)
    p.add_argument("--pixels", type=Path, default=Path("../../runs/pixels"))
    a = p.parse_args()
    torch.set_num_threads(2)
    model, tokenizer = towers.from_transformers(a.folder), CLIPTokenizer.from_pretrained(a.folder)
    pixels, cifar, records = pictures.load(a.pixels)
    for name in ("icon_scenes", "avatars", "fluent_emoji"):
        gallery = [r for r in records if r["set"] == name and r["split"] == "test"]
        vectors = pictures_of(model, gallery, pixels, cifar)
        asked = [(t, x, y, torch.tensor(is_x), torch.tensor(is_y)) for t, x, y, is_x, is_y in cases(name, gallery) if any(is_x) and any(is_y)]
        texts, words = [c[0] for c in asked], [c[1] for c in asked]
        print(f"\n{name}: {len(gallery)} pictures, {len(asked)} captions such as “{texts[0]}”, stressed: {words[0]}")

        def show(label, strengths, encode_at):
            table, rates = [], []
            for strength in strengths:
                scores = encode_at(strength) @ vectors.T
                ap = [[average_precision(s, c[i]) for s, c in zip(scores, asked)] for i in (3, 4)]
                share = [c[3][s.topk(10).indices].float().mean().item() for s, c in zip(scores, asked)]
                rates.append(share)
                table.append((statistics.mean(ap[0]), statistics.mean(ap[1]), statistics.mean(share)))
            each = [spearman(strengths, [r[i] for r in rates]) for i in range(len(asked))]
            each = [e for e in each if e == e]
            print(f"  {label:28}" + "  ".join(f"{s:g}: {x:.2f} {y:.2f}" for s, (x, y, _) in zip(strengths, table))
                  + f" | A in ten {' '.join(f'{r:.2f}' for *_, r in table)} | Spearman of means {spearman(strengths, [r for *_, r in table]):.2f}, "
                  f"mean of captions {statistics.mean(each) if each else float('nan'):.2f}")

        depth = len(model.text.layers)
        for first in range(depth):
            show(f"weights from layer {first}", WEIGHTS, lambda w, first=first: weighted(model, tokenizer, texts, words, w, first))
        plain, alone = encode(model, tokenizer, texts), encode(model, tokenizer, words)
        show("word repeated", (1, 2, 3, 4), lambda n: encode(model, tokenizer, [t.replace(w, " ".join([w] * n), 1) for t, w in zip(texts, words)]))
        show("phrase mixed, t + λ t_A", (0, 0.25, 0.5, 1, 2, 4), lambda m: F.normalize(plain + m * alone, dim=-1))
        without = encode(model, tokenizer, [" ".join(t.replace(w, "", 1).split()) for t, w in zip(texts, words)])
        show("arithmetic, t + λ (t − t∖A)", (-0.5, 0, 0.5, 1, 2, 4), lambda m: F.normalize(plain + m * (plain - without), dim=-1))


if __name__ == "__main__":
    main()
