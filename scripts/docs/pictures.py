"""Draws small pictures (shapes, colours, grounds), searches them with `crayon images`, and draws what was found.

    python3 scripts/docs/pictures.py draw FOLDER
    python3 scripts/docs/pictures.py search FOLDER INDEX OUT.png "a red heart" "a (red:3) heart" ... [-m MODEL]

`search` makes or renews INDEX, and draws a row of the first pictures for each prompt. The program is target/release/crayon, or $CRAYON.
Needs pillow from PyPI.
"""

import argparse
import json
import math
import os
import subprocess
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parents[2]
SIDE = 128
COLOURS = {
    "red": "#d22b2b", "green": "#2e9e4f", "blue": "#2f5fd0", "yellow": "#f2c21a", "purple": "#8a3fb8", "orange": "#ee7d1b",
    "pink": "#f08fb4", "black": "#222222",
}
GROUNDS = {"white": "#ffffff", "gray": "#c9c9c9", "light blue": "#cfe6f7"}
SHOWN = 8


def heart(draw, colour):
    points = []
    for step in range(200):
        t = 2 * math.pi * step / 200
        x = 16 * math.sin(t) ** 3
        y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        points.append((64 + 2.6 * x, 60 - 2.6 * y))
    draw.polygon(points, fill=colour)


def star(draw, colour):
    turned = [(math.pi * (i / 5 - 0.5), 48 if i % 2 == 0 else 20) for i in range(10)]
    draw.polygon([(64 + r * math.cos(a), 66 + r * math.sin(a)) for a, r in turned], fill=colour)


def ball(draw, colour):
    draw.ellipse((22, 22, 106, 106), fill=colour)


def square(draw, colour):
    draw.rectangle((26, 26, 102, 102), fill=colour)


def house(draw, colour):
    draw.rectangle((34, 62, 94, 108), fill=colour)
    draw.polygon([(24, 64), (64, 24), (104, 64)], fill=colour)
    draw.rectangle((56, 82, 72, 108), fill="#ffffff")


def car(draw, colour):
    draw.rounded_rectangle((14, 58, 114, 90), 10, fill=colour)
    draw.polygon([(34, 60), (46, 38), (84, 38), (98, 60)], fill=colour)
    for x in (38, 90):
        draw.ellipse((x - 12, 78, x + 12, 102), fill="#333333")


def fish(draw, colour):
    draw.ellipse((18, 40, 94, 90), fill=colour)
    draw.polygon([(84, 65), (114, 42), (114, 88)], fill=colour)
    draw.ellipse((32, 54, 42, 64), fill="#ffffff")


def tree(draw, colour):
    draw.rectangle((58, 78, 70, 112), fill="#7a4a22")
    draw.ellipse((26, 16, 102, 88), fill=colour)


SHAPES = {shape.__name__: shape for shape in (heart, star, ball, square, house, car, fish, tree)}


def draw_all(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for ground, behind in GROUNDS.items():
        for colour, ink in COLOURS.items():
            for name, shape in SHAPES.items():
                big = Image.new("RGB", (SIDE, SIDE), behind)
                shape(ImageDraw.Draw(big), ink)
                big.save(folder / f"{colour} {name} on {ground}.png")


def crayon(*arguments):
    program = os.environ.get("CRAYON", str(ROOT / "target/release/crayon"))
    run = subprocess.run([program, "--json", "-q", *arguments], stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(run.stdout)


def search(folder, index, out, prompts, model):
    crayon("images", "index", str(folder), "-o", str(index), *(["-m", model] if model else []))
    edge, line, gap = 96, 30, 8
    sheet = Image.new("RGB", (gap + SHOWN * (edge + gap), gap + len(prompts) * (edge + line + 18 + gap)), "white")
    draw = ImageDraw.Draw(sheet)
    font, small = ImageFont.load_default(16), ImageFont.load_default(11)
    top = gap
    for prompt in prompts:
        found = crayon("images", "search", str(index), prompt, "-k", str(SHOWN), "--all", "--duplicates")
        draw.text((gap, top), prompt, fill="#222222", font=font)
        for i, result in enumerate(found["results"]):
            left = gap + i * (edge + gap)
            picture = Image.open(result["path"]).convert("RGB").resize((edge, edge), Image.LANCZOS)
            sheet.paste(picture, (left, top + line))
            draw.rectangle((left, top + line, left + edge - 1, top + line + edge - 1), outline="#bbbbbb")
            draw.text((left, top + line + edge + 2), f"{result['score']:.3f}", fill="#666666", font=small)
        top += edge + line + 18 + gap
    out.parent.mkdir(parents=True, exist_ok=True)
    sheet.quantize(128).save(out, optimize=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("draw")
    one.add_argument("folder", type=Path)
    two = commands.add_parser("search")
    for name in ("folder", "index", "out"):
        two.add_argument(name, type=Path)
    two.add_argument("prompts", nargs="+")
    two.add_argument("-m", "--model")
    args = parser.parse_args()
    if args.command == "draw":
        draw_all(args.folder)
    else:
        search(args.folder, args.index, args.out, args.prompts, args.model)


if __name__ == "__main__":
    main()
