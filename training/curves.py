"""Copies the loss curves of runs into models/training-curves and draws them as one SVG.

    python curves.py mini mini-refined small mini-gpt2

A run that is not in `--out` is drawn from the copy of last time.
"""

import argparse
import csv
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
from draw import draw  # noqa: E402

TARGET = ROOT / "models/training-curves"
HIGHEST = 7.0  # The first steps are off the picture.


def read(path, column):
    with path.open(newline="") as file:
        return [(float(r["tokens"]) / 1e6, float(r[column])) for r in csv.DictReader(file) if r[column]]


def smooth(points, keep=0.9):
    value, out = None, []
    for x, y in points:
        value = y if value is None else keep * value + (1 - keep) * y
        out.append((x, value))
    return out


def curves(names):
    lines = []
    for number, name in enumerate(names):
        source = TARGET / f"{name}.csv"
        for what, dashed, points in (
            ("training mix", False, smooth(read(source, "loss"))),
            ("held-out stories", True, read(source, "valid_stories")),
        ):
            points = [point for point in points if point[1] <= HIGHEST]
            lines.append({"name": f"{name}, {what}", "colour": number + 1, "dashed": dashed, "points": points})
    return {"curves": {
        "title": "Loss of the embedded models in training",
        "x": {"name": "text read", "unit": "million tokens", "from": 0},
        "y": {"name": "loss", "unit": "nats a token"},
        "lines": lines,
    }}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "runs")
    args = parser.parse_args()
    TARGET.mkdir(parents=True, exist_ok=True)
    for name in args.models:
        source = args.out / name / "loss.csv"
        if source.is_file():
            shutil.copyfile(source, TARGET / f"{name}.csv")
    draw(curves(args.models), TARGET / "loss.svg")


if __name__ == "__main__":
    main()
