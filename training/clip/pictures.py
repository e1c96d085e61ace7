"""The pictures, decoded once into flat files of bytes, and batches of them, moved and mixed by matrix products.

Needs from PyPI: numpy, torch, pillow. Reads `shared/data` (images, noto_emoji, cifar10_jpg), writes `runs/pixels`.
CIFAR-10 stays at 32 x 32 with three channels; everything else is 64 x 64 with four, where alpha is 255 unless the picture has one.
"""

import csv
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

SIDE = 64
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
SETS = ["icon_scenes", "avatars", "fluent_emoji", "nlvr_boxes", "grocery", "clothing"]


def manifest(path):
    with open(path, encoding="utf-8") as file:
        yield from csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)


def attributes(text):
    return dict(pair.split("=", 1) for pair in text.split(";") if "=" in pair)


def fitted(picture):
    """`picture` as RGBA with the shorter side at 64, the middle kept (the sets are 64 x 64 already, Noto's are 72)."""
    picture = picture.convert("RGBA")
    scale = SIDE / min(picture.size)
    if scale != 1:
        picture = picture.resize([max(SIDE, round(n * scale)) for n in picture.size], Image.Resampling.BICUBIC)
    left, top = [(n - SIDE) // 2 for n in picture.size]
    return np.asarray(picture.crop((left, top, left + SIDE, top + SIDE)))


def members(path):
    with tarfile.open(path) as tar:
        for member in tar:
            if member.isfile():
                yield member.name, Image.open(io.BytesIO(tar.extractfile(member).read()))


def decode(data, out, extra=()):
    """Writes `pixels.npy [n, 64, 64, 4]`, `cifar.npy [60000, 32, 32, 3]` and `records.json`; `extra` names further sets."""
    out.mkdir(parents=True, exist_ok=True)
    if (out / "records.json").exists():
        return
    rows, records = [], []
    for name in [*SETS, *extra]:
        entries = {row["file"]: row for row in manifest(data / "images" / name / "manifest.tsv")}
        for split in ("train", "test"):
            for file, picture in members(data / "images" / name / f"{split}.tar"):
                entry = entries[file.removeprefix("./")]
                assert entry["split"] == split
                records.append({
                    "set": name, "file": entry["file"], "split": split, "row": len(rows), "name": entry["name"],
                    "captions": entry["captions"].split("|"), "attributes": attributes(entry["attributes"]),
                })
                rows.append(fitted(picture))
    held_out = {r["attributes"]["object"] for r in records if r["attributes"].get("heldout") == "concept"}
    for entry in manifest(data / "noto_emoji" / "manifest.tsv"):
        name = entry["name"].lower()
        keywords = [word for word in (entry["keywords"] or "").split("|") if word]
        records.append({
            "set": "noto_emoji", "file": entry["file"], "split": "test" if name in held_out else "train", "row": len(rows),
            "name": name, "captions": [name], "attributes": {"object": name, "skin": entry["skin_tone"] or "", "keywords": ",".join(keywords)},
        })
        path = next((data / "noto_emoji" / "png").rglob(entry["file"]))
        rows.append(fitted(Image.open(path)))
    np.save(out / "pixels.npy", np.stack(rows))
    cifar = []
    for split in ("train", "test"):
        for file, picture in sorted(members_in_memory(data / "cifar10_jpg" / f"cifar10_{split}.tar")):
            _, label, number = file.removeprefix("./").split("/")
            # The last hundred of each class are put aside to follow the training; they are never trained on.
            part = "validation" if split == "train" and int(number.split(".")[0]) > 4900 else split
            records.append({"set": "cifar10", "file": file, "split": part, "row": len(cifar), "name": label, "captions": [], "attributes": {}})
            cifar.append(picture)
    np.save(out / "cifar.npy", np.stack(cifar))
    (out / "records.json").write_text(json.dumps(records))


def members_in_memory(path):
    return [(name, np.asarray(picture.convert("RGB"))) for name, picture in members(path)]


def load(out):
    """(pixels, cifar, records): arrays on disk, mapped."""
    records = json.loads((out / "records.json").read_text())
    return np.load(out / "pixels.npy", mmap_mode="r"), np.load(out / "cifar.npy", mmap_mode="r"), records


def cubic(x):
    """Keys' kernel with a = -0.5, as Pillow's bicubic filter."""
    x = x.abs()
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


def resampling(size, start, length, clamp=True, out=SIDE):
    """`[n, out, size]`: matrices that draw `out` samples from the stretch `start .. start + length` (`[n]`, in source pixels).

    A negative length mirrors. Outside the source the border is repeated (`clamp`) or nothing is seen.
    """
    step = length / out
    centres = start[:, None] + step[:, None] * (torch.arange(out) + 0.5) - 0.5
    if clamp:
        centres = centres.clamp(0, size - 1)
    width = step.abs().clamp(min=1)[:, None, None]
    weights = cubic((centres[:, :, None] - torch.arange(size)) / width)
    total = weights.sum(-1, keepdim=True) if clamp else width
    return weights / total


def draw(pictures, vertical, horizontal):
    """`pictures [n, h, w, c]` floats, resampled to `[n, c, 64, 64]`."""
    x = torch.as_tensor(pictures).permute(0, 3, 1, 2)
    return (vertical[:, None] @ x) @ horizontal[:, None].mT


def normalised(x):
    """`x [n, 3, 64, 64]` in 0 .. 1 as the towers take it."""
    mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
    return (x.clamp(0, 1) - mean) / std


def plain(records, pixels, cifar):
    """Pictures for evaluation, as the program shows them to the model: alpha on white, bicubic to 64. `[n, 3, 64, 64]`."""
    out = torch.empty(len(records), 3, SIDE, SIDE)
    for i, record in enumerate(records):
        if record["set"] == "cifar10":
            big = Image.fromarray(cifar[record["row"]]).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
            out[i] = torch.from_numpy(np.array(big)).permute(2, 0, 1) / 255
        else:
            rgba = torch.from_numpy(np.array(pixels[record["row"]])).permute(2, 0, 1) / 255
            out[i] = rgba[:3] * rgba[3:] + (1 - rgba[3:])
    return normalised(out)
