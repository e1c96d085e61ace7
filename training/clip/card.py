"""Writes models/MODEL_CARD-mini-clip.md from a run and from what `evaluate.py --json` measured.

    python card.py ../../runs/mini-clip figures.json [BEFORE] > ../../models/MODEL_CARD-mini-clip.md

BEFORE: a sentence on the weights that the run began with (`train.py --start`).

Needs torch from PyPI.
"""

import json
import sys
from pathlib import Path

import torch

DATA = """\
| part | source | licence |
|---|---|---|
| cifar10 | CIFAR-10 (A. Krizhevsky), train | none stated; used for research everywhere |
| icon_scenes | Phosphor icons, composed on grounds | MIT |
| fluent_emoji | Fluent emoji (Microsoft) in four styles | MIT |
| noto_emoji | Noto emoji (Google), keywords of emojilib | Apache-2.0; MIT |
| avatars | DiceBear's pixel-art, adventurer (L. Wischofsky), big-smile (A. Seo), micah (M. Lanier), personas (Draftbit), toon-head (J. Melin) | CC0; CC BY 4.0 |
| nlvr_boxes | NLVR (A. Suhr and others), drawn anew | CC BY 4.0 |
| grocery | Grocery Store Dataset (M. Klasson and others) | MIT |
| clothing | Clothing dataset, small (A. Grigorev) | CC0 |
| words | descriptions of CIFAR-10's classes by CuPL (S. Pratt and others), for the vocabulary alone | none stated |"""


def percent(share):
    return f"{100 * share:.1f} %"


def main():
    run, figures = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text())
    state = torch.load(run / "checkpoint.pt", weights_only=False)
    arguments, config = state["arguments"], state["config"]
    parameters = sum(v.numel() for v in state["model"].values())
    vision, text = config["vision_config"], config["text_config"]
    before = f" {sys.argv[3]}" if len(sys.argv) > 3 else ""
    alone = " of the text tower alone" if arguments["texts_only"] == "True" else ""
    print(f"""# mini-clip

The model of texts and pictures that `crayon` carries inside, made from nothing by this project: it finds emoji, drawings and simple photographs. Real
photographs want a real model (`crayon pull openai/clip-vit-base-patch32`).

A CLIPModel of {parameters / 1e6:.1f} M parameters: pictures of {vision['image_size']} pixels in patches of {vision['patch_size']}, {vision['num_hidden_layers']} layers of width {vision['hidden_size']}; texts of
{text['max_position_embeddings']} tokens, {text['num_hidden_layers']} layers of width {text['hidden_size']}, a vocabulary of {text['vocab_size']:,}; vectors of {config['projection_dim']}. It ships with matrices in 8 bits (`w8a8`).
Licence: MIT OR Apache-2.0, like the project; the data is credited below. How to make it again: `training/README.md`.

## Training

{state['step']:,} steps{alone} of 400 pictures and about 480 captions, {arguments['precision']} on CPU cores, seed {arguments['seed']}.{before} {arguments['kept']} of 64
patches are seen until the last minutes. Muon at {arguments['rate']} for the matrices, AdamW elsewhere. Some captions carry a weight on a word, and their truth
follows from it; logits of the text tower's attention are held below {arguments['bound']}, so that weights count (`training/README.md`). This is a short run: the recipe
goes on to gain with more steps.

{DATA}

Train splits only. Emoji whose names are held out, and the test splits of all sets, were never read; Caltech-101 is for evaluation only.

## Held-out figures

Of the weights in f16, test splits, printed by `training/clip/evaluate.py`.

| zero-shot classes | pictures | right |
|---|---|---|
| CIFAR-10 | {figures['cifar10']['pictures']:,} | {percent(figures['cifar10']['accuracy'])} |""")
    for name, one in figures["zero_shot"].items():
        print(f"| {name}, {one['classes']} classes | {one['pictures']:,} | {percent(one['accuracy'])} |")
    print("\n| finding | pictures | captions | text to picture, first | in ten | picture to text, first | in ten |\n|---|---|---|---|---|---|---|")
    for name, one in figures["recall"].items():
        cells = [percent(one[f"{way}@{k}"]) for way in ("text_to_picture", "picture_to_text") for k in (1, 10)]
        print(f"| {name} | {one['pictures']:,} | {one['captions']:,} | " + " | ".join(cells) + " |")
    print("""
Which of two pictures does the caption fit? Icon scenes whose object and colour never met in training. "alone": the caption names the attribute only;
"object": it names the object too, and both pictures show it; "captions": one picture and two captions.

| question | asked | right |
|---|---|---|""")
    for name, one in figures["questions"].items():
        print(f"| {name} | {one['questions']:,} | {percent(one['accuracy'])} |")


if __name__ == "__main__":
    main()
