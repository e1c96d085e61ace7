"""Writes a checkpoint as a Hugging Face folder (f16), and says how far transformers' CLIPModel computes the same.

    python export.py runs/mini-clip/checkpoint.pt runs/export

Needs from PyPI: torch, transformers, safetensors.
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

import pictures
import towers


def load(checkpoint):
    state = torch.load(checkpoint, weights_only=False)
    model = towers.Clip(state["config"])
    model.load_state_dict(state["average"])
    return model.eval(), state


def write(model, state, tokenizer, folder):
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.to(torch.float16) for name, value in towers.to_transformers(model).items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps({**state["config"], "torch_dtype": "float16"}, indent=2) + "\n")
    for name in ("tokenizer_config.json", "vocab.json", "merges.txt"):
        shutil.copy(tokenizer / name, folder / name)
    whole = json.loads((tokenizer / "tokenizer.json").read_text(encoding="utf-8"))
    (folder / "tokenizer.json").write_text(json.dumps(whole, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
    side = pictures.SIDE
    (folder / "preprocessor_config.json").write_text(json.dumps({
        "image_processor_type": "CLIPImageProcessor", "do_convert_rgb": True, "do_resize": True, "size": {"shortest_edge": side}, "resample": 3,
        "do_center_crop": True, "crop_size": {"height": side, "width": side}, "do_rescale": True, "rescale_factor": 1 / 255,
        "do_normalize": True, "image_mean": pictures.MEAN, "image_std": pictures.STD,
    }, indent=2) + "\n")


@torch.no_grad()
def compare(model, folder):
    from transformers import CLIPModel, CLIPTokenizer

    from evaluate import encode

    theirs = CLIPModel.from_pretrained(folder, torch_dtype=torch.float32, attn_implementation="eager").eval()
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    model.load_state_dict({n: p.half().float() for n, p in model.state_dict().items()})
    texts = ["a red heart on a blue background", "Zebra crossing, naïve & odd: 42!", "a photo of a dog"]
    pixels = pictures.normalised(torch.rand(4, 3, pictures.SIDE, pictures.SIDE, generator=torch.Generator().manual_seed(1)))
    out = theirs(**tokenizer(texts, return_tensors="pt", padding=True), pixel_values=pixels)
    return ((out.text_embeds - encode(model, tokenizer, texts)).abs().max().item(), (out.image_embeds - model.images(pixels)).abs().max().item())


if __name__ == "__main__":
    p = argparse.ArgumentParser()
    p.add_argument("checkpoint", type=Path)
    p.add_argument("folder", type=Path)
    a = p.parse_args()
    torch.set_num_threads(1)
    model, state = load(a.checkpoint)
    write(model, state, a.checkpoint.parent / "tokenizer", a.folder)
    print(f"step {state['step']}; largest difference to transformers: texts {'%.1e, pictures %.1e' % compare(model, a.folder)}")
