#!/usr/bin/env python3
"""Compares `crayon embed` with transformers on one model folder: texts as they are typed, pictures as they are stored.

    transformers_clip.py FOLDER [PICTURE ...] [--text TEXT ...] [--crayon target/release/crayon]

Needs torch, torchvision, transformers and pillow. Prints for each text and picture the largest difference of a value of the
embedding (vectors of length 1) and exits 1 when one of a text exceeds --tolerance, or one of a picture --picture-tolerance:
decoders of JPEG differ by a little, and EXIF turns and transparency are transformers' caller's to handle.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import torch
from PIL import Image, ImageOps
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

TEXTS = ["a red heart", "a photo of two small dogs, one of them isn't brown", "naïve café — 3.14 % 🐈"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("pictures", type=Path, nargs="*")
    parser.add_argument("--text", nargs="*", default=TEXTS)
    parser.add_argument("--crayon", default="target/release/crayon", help="the program to compare")
    parser.add_argument("--tolerance", type=float, default=1e-4)
    parser.add_argument("--picture-tolerance", type=float, default=5e-3)
    settings = parser.parse_args()
    torch.set_grad_enabled(False)
    model = AutoModel.from_pretrained(settings.model, dtype=torch.float32).eval()
    worst = 0
    if settings.text:
        tokenizer = AutoTokenizer.from_pretrained(settings.model)
        padding = {"padding": "max_length"} if "siglip" in model.config.model_type else {}
        for text in settings.text:
            ids = tokenizer(text, return_tensors="pt", **padding)["input_ids"]
            reference = features(model.get_text_features(input_ids=ids))
            worst |= told(text, embedded(settings, "text", text), reference, settings.tolerance)
    if settings.pictures:
        processor = AutoImageProcessor.from_pretrained(settings.model)
        for path in settings.pictures:
            picture = ImageOps.exif_transpose(Image.open(path))
            if picture.mode in ("RGBA", "LA", "P", "PA"):
                picture = picture.convert("RGBA")
                picture = Image.alpha_composite(Image.new("RGBA", picture.size, (255,) * 4), picture)
            pixels = processor(images=picture.convert("RGB"), return_tensors="pt")["pixel_values"]
            reference = features(model.get_image_features(pixel_values=pixels))
            worst |= told(str(path), embedded(settings, "image", str(path)), reference, settings.picture_tolerance)
    return worst


def features(found) -> torch.Tensor:
    found = getattr(found, "pooler_output", found)[0].double()
    return found / found.norm()


def embedded(settings, kind: str, what: str) -> torch.Tensor:
    command = [settings.crayon, "--json", "-q", "embed", kind, "-m", str(settings.model), "--exact", "--", what]
    answer = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if answer.returncode != 0:
        raise SystemExit(f"{' '.join(command)} exited with {answer.returncode}")
    return torch.tensor(json.loads(answer.stdout)["embedding"], dtype=torch.float64)


def told(what: str, ours: torch.Tensor, reference: torch.Tensor, tolerance: float) -> int:
    difference = (ours - reference).abs().max().item()
    print(f"{difference:.2e}  cosine {float(ours @ reference):.6f}  {what}")
    # A NaN is not within any tolerance.
    return 0 if difference <= tolerance else 1


if __name__ == "__main__":
    sys.exit(main())
