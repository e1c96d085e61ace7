"""What an exported folder can do: CIFAR-10 without examples, finding pictures by caption, questions about attributes.

    python evaluate.py ../../runs/export --pixels ../../runs/pixels [--quick]

Test splits only. Needs from PyPI: torch, numpy, pillow, transformers, safetensors.
"""

import argparse
import json
import random
import sys
from pathlib import Path

import torch
import torch.nn.functional as F

TEMPLATES = ["a photo of {}", "a picture of {}", "{}", "a blurry photo of {}", "a close-up of {}", "an image of {}"]


def weights_of(offsets, stress):
    """A weight for each token: the tokens of a stressed word have its own, all others 1."""
    return [stress.weight if stress and start < stress.end and end > stress.start else 1.0 for start, end in offsets]


def encode(model, tokenizer, texts, dtype=torch.float32, groups=3, stresses=None):
    """Unit vectors of `texts`, short ones computed together. `stresses`: of each text a stressed word or None (`stress.py`)."""
    read = tokenizer(texts, return_offsets_mapping=stresses is not None)
    ids = [tokens[:76] + tokens[-1:] if len(tokens) > 77 else tokens for tokens in read["input_ids"]]
    weights = None
    if stresses is not None:
        weights = [weights_of(*pair) for pair in zip(read["offset_mapping"], stresses)]
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    size, out = -(-len(order) // groups), []
    for start in range(0, len(order), size):
        some = [ids[i] for i in order[start : start + size]]
        ends = torch.tensor([len(tokens) - 1 for tokens in some])
        longest = int(ends.max()) + 1
        padded = torch.tensor([tokens + [tokens[-1]] * (longest - len(tokens)) for tokens in some])
        heavy = None
        if weights is not None:
            heavy = torch.tensor([(weights[i] + [1.0] * longest)[:longest] for i in order[start : start + size]])
        out.append(model.texts(padded, ends, dtype, heavy))
    back = torch.empty(len(order), dtype=torch.long)
    back[torch.tensor(order)] = torch.arange(len(order))
    return torch.cat(out)[back]


@torch.no_grad()
def pictures_of(model, records, pixels, cifar, chunk=100):
    """Unit vectors of the pictures of `records`."""
    from pictures import plain

    return torch.cat([model.images(plain(records[i : i + chunk], pixels, cifar), None) for i in range(0, len(records), chunk)])


@torch.no_grad()
def class_vectors(model, tokenizer, names, templates=TEMPLATES):
    texts = [template.format(name) for name in names for template in templates]
    return F.normalize(encode(model, tokenizer, texts).view(len(names), len(templates), -1).mean(1), dim=-1)


@torch.no_grad()
def zero_shot_cifar(model, tokenizer, records, pixels, cifar):
    from captions import CIFAR_NAMES

    names = sorted(CIFAR_NAMES)
    classes = class_vectors(model, tokenizer, [CIFAR_NAMES[n][0] for n in names])
    guesses = (pictures_of(model, records, pixels, cifar) @ classes.T).argmax(1)
    return sum(names[g] == r["name"] for g, r in zip(guesses, records)) / len(records)


@torch.no_grad()
def zero_shot(model, tokenizer, records, vectors, words):
    names = sorted({words(r) for r in records})
    from captions import article

    classes = class_vectors(model, tokenizer, [n if n.endswith("s") else article(n) for n in names])
    guesses = (vectors @ classes.T).argmax(1)
    return {"accuracy": sum(names[g] == words(r) for g, r in zip(guesses, records)) / len(records), "classes": len(names)}


@torch.no_grad()
def recall(model, tokenizer, vectors, captions):
    """Recall at 1 and 10, captions to pictures and back. Pictures that share a caption all count as right."""
    names = sorted(set(captions))
    truth = torch.tensor([[c == n for n in names] for c in captions])
    scores = vectors @ encode(model, tokenizer, names).T
    out = {"pictures": len(captions), "captions": len(names)}
    for k in (1, 10):
        by_text = scores.topk(min(k, len(captions)), 0).indices
        by_picture = scores.topk(min(k, len(names)), 1).indices
        out[f"text_to_picture@{k}"] = truth.gather(0, by_text).any(0).float().mean().item()
        out[f"picture_to_text@{k}"] = truth.gather(1, by_picture).any(1).float().mean().item()
    return out


@torch.no_grad()
def questions(model, tokenizer, records, vectors, seed=0, foils=3):
    """Which of two pictures does the caption fit? Pictures of `records` whose object and colour never met in training.

    "alone": the caption names the attribute only, the other picture is any that differs in it. "object": the caption names the
    object too, and the other picture shows the same object. "captions": one picture, the caption and its counterpart.
    """
    from captions import article, number, plural

    rng = random.Random(seed)
    a = [r["attributes"] for r in records]
    asked = [i for i, r in enumerate(records) if r["attributes"].get("heldout") == "object-color pair"]
    pair = lambda x: "object2" in x
    phrases = {
        "color": (lambda x: f"something {x['color']}", lambda x: article(f"{x['color']} {x['object']}")),
        "count": (lambda x: f"{number(int(x['count'])) if x['count'] != '1' else 'one'} icon{'s' if x['count'] != '1' else ''}",
                  lambda x: article(x["object"]) if x["count"] == "1" else f"{number(int(x['count']))} {plural(x['object'])}"),
        "background": (lambda x: article(f"{x['background']} background"), lambda x: article(f"{x['object']} on {article(x['background'])} background")),
        "pattern": (lambda x: article(f"{x['background']} {x['pattern']} background"), None),
        "position": (lambda x: f"an icon at the {x['position']}", None),
    }
    out = {}
    for key, (alone, bound) in phrases.items():
        for kind, phrase in (("alone", alone), ("object", bound)):
            if phrase is None:
                continue
            right, total, texts, trials = 0, 0, [], []
            for i in asked:
                x = a[i]
                if key not in x or pair(x) or key == "pattern" and x["pattern"] == "plain":
                    continue
                others = [j for j, y in enumerate(a) if j != i and not pair(y) and key in y and y[key] != x[key]
                          and (kind == "alone" or y["object"] == x["object"]) and (key != "pattern" or y["background"] == x["background"])]
                for j in rng.sample(others, min(foils, len(others))):
                    texts.append(phrase(x))
                    trials.append((i, j))
            if trials:
                t = encode(model, tokenizer, texts)
                for n, (i, j) in enumerate(trials):
                    right += int(t[n] @ vectors[i] > t[n] @ vectors[j])
                total = len(trials)
                out[f"{key}, {kind}"] = {"accuracy": right / total, "questions": total}
    for key in ("relation", "binding"):
        trials = []
        for i, x in enumerate(a):
            if not pair(x) or key == "binding" and x["color"] == x["color2"] or x["object"] == x["object2"]:
                continue
            p, q = (x["color"], x["object"]), (x["color2"], x["object2"])
            say = lambda one, two: f"{article(' '.join(one))} {x['relation']} {article(' '.join(two))}"
            trials.append((i, say(p, q), say(q, p) if key == "relation" else say((q[0], p[1]), (p[0], q[1]))))
        t = encode(model, tokenizer, [s for _, *both in trials for s in both]).view(len(trials), 2, -1)
        right = sum(int(t[n, 0] @ vectors[i] > t[n, 1] @ vectors[i]) for n, (i, *_) in enumerate(trials))
        out[f"{key}, captions"] = {"accuracy": right / len(trials), "questions": len(trials)}
    return out


def everything(model, tokenizer, pixels, cifar, records, quick=False):
    test = lambda name, keep=lambda r: True: [r for r in records if r["set"] == name and r["split"] == "test" and keep(r)]
    out = {}
    some = test("cifar10")
    if quick:
        some = random.Random(0).sample(some, 1000)
    out["cifar10"] = {"accuracy": zero_shot_cifar(model, tokenizer, some, pixels, cifar), "pictures": len(some)}
    scenes = test("icon_scenes")
    vectors = pictures_of(model, scenes, pixels, cifar)
    out["questions"] = questions(model, tokenizer, scenes, vectors)
    out["recall"] = {"icon_scenes": recall(model, tokenizer, vectors, [r["captions"][0] for r in scenes])}
    held = [i for i, r in enumerate(scenes) if r["attributes"].get("heldout") == "object-color pair"]
    out["recall"]["icon_scenes, held-out pairs"] = recall(model, tokenizer, vectors[held], [scenes[i]["captions"][0] for i in held])
    emoji = test("fluent_emoji")
    vectors = pictures_of(model, emoji, pixels, cifar)
    for part in ("style", "concept"):
        rows = [i for i, r in enumerate(emoji) if r["attributes"].get("heldout") == part]
        out["recall"][f"fluent_emoji, held-out {part}"] = recall(model, tokenizer, vectors[rows], [emoji[i]["name"] for i in rows])
    for name in ("avatars", "nlvr_boxes"):
        some = test(name)
        out["recall"][name] = recall(model, tokenizer, pictures_of(model, some, pixels, cifar), [r["captions"][0] for r in some])
    out["zero_shot"] = {}
    for name in ("clothing", "grocery") if quick else ("clothing", "grocery", "caltech101"):
        some = test(name)
        words = (lambda r: r["attributes"].get("variety", r["attributes"]["object"])) if name == "grocery" else (lambda r: r["attributes"]["object"])
        out["zero_shot"][name] = {**zero_shot(model, tokenizer, some, pictures_of(model, some, pixels, cifar), words), "pictures": len(some)}
    return out


def main():
    import pictures
    import towers
    from transformers import CLIPTokenizer

    p = argparse.ArgumentParser()
    p.add_argument("folder", type=Path)
    p.add_argument("--pixels", type=Path, default=Path("../../runs/pixels"))
    p.add_argument("--quick", action="store_true", help="1,000 pictures of CIFAR-10, and no Caltech-101")
    p.add_argument("--json", type=Path)
    a = p.parse_args()
    torch.set_num_threads(2)
    model, tokenizer = towers.from_transformers(a.folder), CLIPTokenizer.from_pretrained(a.folder)
    out = everything(model, tokenizer, *pictures.load(a.pixels), a.quick)
    if a.json:
        a.json.write_text(json.dumps(out, indent=1) + "\n")
    for part, values in out.items():
        if not any(isinstance(v, dict) for v in values.values()):
            values = {"": values}
        for name, figures in values.items():
            print(f"{part:10} {name:34} " + "  ".join(f"{k} {v:.3f}" if isinstance(v, float) else f"{k} {v}" for k, v in figures.items()))


if __name__ == "__main__":
    main()
