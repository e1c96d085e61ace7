"""How well classes are told by a few pictures of each: `crayon images learn --compare` over 1, 2, 4, 8 and 16 pictures, as a table.

    cargo build --release && python3 scripts/eval/few_shot.py --data ../shared/data --sets cifar10 clothing

Pictures to learn from come from the sets' train parts, those to judge by from their test parts (`--most` of each class). Needs nothing from PyPI.
"""

import argparse
import csv
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHOTS = (1, 2, 4, 8, 16)
# Which attribute is the class.
SETS = {"cifar10": None, "grocery": "object", "clothing": "object", "caltech101": "object"}


def members(data, name):
    """Pairs of split and class, and the bytes of each picture of a set."""
    if name == "cifar10":
        for split in ("train", "test"):
            with tarfile.open(data / "cifar10_jpg" / f"cifar10_{split}.tar") as tar:
                for member in tar:
                    if member.isfile():
                        yield split, Path(member.name).parts[1], tar.extractfile(member).read()
        return
    folder = data / "images" / name
    with open(folder / "manifest.tsv", encoding="utf-8", newline="") as lines:
        rows = {row["file"]: row for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)}
    for split in ("train", "test"):
        with tarfile.open(folder / f"{split}.tar") as tar:
            for member in tar:
                row = rows.get(member.name.removeprefix("./"))
                if row and member.isfile():
                    attributes = dict(part.split("=", 1) for part in row["attributes"].split(";") if "=" in part)
                    yield split, attributes[SETS[name]], tar.extractfile(member).read()


def unpack(data, name, place, most):
    """Writes folders of classes; of train at most 64 pictures a class, of test `most`. Classes that lack one of the two are left out."""
    counts = {"train": {}, "test": {}}
    for split, label, content in members(data, name):
        count = counts[split].get(label, 0)
        if count < (64 if split == "train" else most):
            folder = place / split / label.replace("/", " ")
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{count:04}.img.jpg").write_bytes(content)
            counts[split][label] = count + 1
    for split, other in (("train", "test"), ("test", "train")):
        for label in counts[split].keys() - counts[other].keys():
            shutil.rmtree(place / split / label.replace("/", " "))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", default="mini-clip")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--shots", nargs="+", type=int, default=SHOTS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--most", type=int, default=100)
    parser.add_argument("--descriptions", type=Path, help="written descriptions of the classes, as JSON")
    args = parser.parse_args()
    program = os.environ.get("CRAYON", str(ROOT / "target/release/crayon"))
    for name in args.sets:
        with tempfile.TemporaryDirectory() as place:
            place = Path(place)
            unpack(args.data, name, place, args.most)
            table = {}
            for shots in args.shots:
                command = [program, "images", "learn", str(place / "train"), "--test", str(place / "test"), "--shots", str(shots),
                           "--seeds", str(args.seeds), "--compare", "--json", "-q", "-m", args.model]
                if args.descriptions:
                    command += ["--descriptions", str(args.descriptions)]
                run = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout)
                for row in run["rows"]:
                    table.setdefault(row["method"], []).append(f"{100 * row['accuracy']:.1f} ± {100 * row['deviation']:.1f}")
            print(f"\n{name}, {run['tested']} pictures to judge by, {args.seeds} seeds\n")
            print("| method | " + " | ".join(map(str, args.shots)) + " |")
            print("|---|" + "---|" * len(args.shots))
            for method, cells in table.items():
                print(f"| {method} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
