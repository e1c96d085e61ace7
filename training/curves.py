"""Copies the loss curves of runs into models/training-curves and draws them as one small SVG.

    python curves.py mini small mini-gpt2
"""

import argparse
import csv
import shutil
from pathlib import Path

WIDTH, HEIGHT, LEFT, BOTTOM = 640, 320, 48, 36
COLOURS = ["#2563eb", "#dc2626", "#059669", "#9333ea"]


def read(path, column):
    with path.open(newline="") as file:
        return [(float(r["tokens"]) / 1e6, float(r[column])) for r in csv.DictReader(file) if r[column]]


def smooth(points, keep=0.9):
    value, out = None, []
    for x, y in points:
        value = y if value is None else keep * value + (1 - keep) * y
        out.append((x, value))
    return out


def draw(curves, path):
    """`curves` is a list of `(label, colour, dashed, points)`."""
    right = max(x for *_, points in curves for x, _ in points)
    low = min(y for *_, points in curves for _, y in points) * 0.95
    high = min(7.0, max(y for *_, points in curves for _, y in points))
    sx = lambda x: LEFT + x / right * (WIDTH - LEFT - 12)
    sy = lambda y: 12 + (high - min(y, high)) / (high - low) * (HEIGHT - BOTTOM - 12)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="11">', '<rect width="100%" height="100%" fill="white"/>']
    for i in range(6):
        y, x = low + (high - low) * i / 5, right * i / 5
        out.append(f'<path d="M{LEFT} {sy(y):.1f}H{WIDTH - 12}" stroke="#e5e7eb"/><text x="{LEFT - 6}" y="{sy(y) + 4:.1f}" text-anchor="end">{y:.1f}</text>')
        out.append(f'<text x="{sx(x):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{x:.1f}</text>')
    out.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 6}" text-anchor="middle">million tokens</text>')
    for i, (label, colour, dashed, points) in enumerate(curves):
        line = " ".join(f"{sx(x):.1f},{sy(y):.1f}" for x, y in points)
        dash = ' stroke-dasharray="5 3"' if dashed else ""
        out.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"{dash}/>')
        out.append(f'<text x="{WIDTH - 16}" y="{26 + 15 * i}" text-anchor="end" fill="{colour}">{label}</text>')
    path.write_text("\n".join(out) + "\n</svg>\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "runs")
    args = parser.parse_args()
    target = Path(__file__).parents[1] / "models/training-curves"
    target.mkdir(parents=True, exist_ok=True)
    curves = []
    for name, colour in zip(args.models, COLOURS):
        source = args.out / name / "loss.csv"
        shutil.copyfile(source, target / f"{name}.csv")
        curves.append((f"{name}, training mix", colour, False, smooth(read(source, "loss"))))
        curves.append((f"{name}, held-out stories (dashed)", colour, True, read(source, "valid_stories")))
    draw(curves, target / "loss.svg")


if __name__ == "__main__":
    main()
