"""What a checkpoint or an exported folder can do. Needs from PyPI: torch, numpy, pillow, transformers."""

import torch


def encode(model, tokenizer, texts, dtype=torch.float32, groups=3):
    """Unit vectors of `texts`, short ones computed together."""
    ids = [tokens[:76] + tokens[-1:] if len(tokens) > 77 else tokens for tokens in tokenizer(texts)["input_ids"]]
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    size, out = -(-len(order) // groups), []
    for start in range(0, len(order), size):
        some = [ids[i] for i in order[start : start + size]]
        ends = torch.tensor([len(tokens) - 1 for tokens in some])
        longest = int(ends.max()) + 1
        padded = torch.tensor([tokens + [tokens[-1]] * (longest - len(tokens)) for tokens in some])
        out.append(model.texts(padded, ends, dtype))
    back = torch.empty(len(order), dtype=torch.long)
    back[torch.tensor(order)] = torch.arange(len(order))
    return torch.cat(out)[back]


@torch.no_grad()
def pictures_of(model, records, pixels, cifar, chunk=100):
    from pictures import plain

    return torch.cat([model.images(plain(records[i : i + chunk], pixels, cifar), None, torch.bfloat16) for i in range(0, len(records), chunk)])


TEMPLATES = ["a photo of {}", "a picture of {}", "{}", "a blurry photo of {}", "a close-up of {}", "an image of {}"]


@torch.no_grad()
def zero_shot_cifar(model, tokenizer, records, pixels, cifar):
    from captions import CIFAR_NAMES

    names = sorted(CIFAR_NAMES)
    texts = [t.format(CIFAR_NAMES[n][0]) for n in names for t in TEMPLATES]
    classes = torch.nn.functional.normalize(encode(model, tokenizer, texts).view(len(names), len(TEMPLATES), -1).mean(1), dim=-1)
    guesses = (pictures_of(model, records, pixels, cifar) @ classes.T).argmax(1)
    return sum(names[g] == r["name"] for g, r in zip(guesses, records)) / len(records)
