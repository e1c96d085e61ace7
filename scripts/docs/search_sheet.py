"""Draws a contact sheet of searches with and without weights: `docs/pictures/search-weights.svg`.

    cargo build --release && python3 scripts/docs/search_sheet.py

The pictures are simple shapes in a few colours, drawn here and indexed by `crayon images` with the model inside the program. Needs nothing
from PyPI.
"""

import argparse
import base64
import html
import json
import math
import os
import struct
import subprocess
import tempfile
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SIDE, FINE = 64, 3
COLOURS = {"red": (220, 38, 38), "blue": (37, 99, 235), "green": (22, 163, 74), "yellow": (250, 204, 21), "purple": (147, 51, 234), "black": (24, 24, 27)}
QUERIES = ["a red heart", "a (red:4) heart", "a red (heart:4)"]
SHOWN, TILE, LEFT, TOP = 12, 52, 150, 44


def heart(x, y):
    x, y = x * 1.25, -y * 1.25 + 0.15
    return (x * x + y * y - 0.6) ** 3 - x * x * y**3 < 0


def star(x, y):
    """Within a tip's two edges: the angle is folded to half a tip, and the edge from (0.92, tip) to (0.37, valley) bounds the radius."""
    half = math.pi / 5
    angle = abs((math.atan2(x, -y) + half) % (2 * half) - half)
    far, near = 0.92, 0.37
    return math.hypot(x, y) * (near * math.sin(half - angle) + far * math.sin(angle)) < far * near * math.sin(half)


def triangle(x, y):
    return -0.8 < y < 0.75 and abs(x) < 0.55 * (y + 0.8)


def moon(x, y):
    return math.hypot(x, y) < 0.85 and math.hypot(x - 0.38, y + 0.12) > 0.72


def drop(x, y):
    return math.hypot(x, y - 0.25) < 0.58 or (-0.9 < y < 0.1 and abs(x) < 0.62 * (y + 0.9))


def flower(x, y):
    petals = any(math.hypot(x - 0.5 * math.cos(a), y - 0.5 * math.sin(a)) < 0.36 for a in (2 * math.pi * k / 6 for k in range(6)))
    return petals and math.hypot(x, y) > 0.2


def house(x, y):
    roof = -0.85 < y < -0.05 and abs(x) < 1.1 * (y + 0.85)
    walls = -0.05 <= y < 0.8 and abs(x) < 0.62 and not (abs(x) < 0.17 and y > 0.25)
    return roof or walls


def arrow(x, y):
    return (-0.85 < x < 0.2 and abs(y) < 0.22) or (0.2 <= x < 0.9 and abs(y) < 0.8 * (0.9 - x))


SHAPES = {
    "heart": heart, "star": star, "triangle": triangle, "moon": moon, "drop": drop, "flower": flower, "house": house, "arrow": arrow,
    "circle": lambda x, y: math.hypot(x, y) < 0.82,
    "square": lambda x, y: max(abs(x), abs(y)) < 0.72,
    "plus": lambda x, y: min(abs(x), abs(y)) < 0.24 and max(abs(x), abs(y)) < 0.82,
    "cloud": lambda x, y: y < 0.4 and (math.hypot(x, y + 0.1) < 0.5 or math.hypot(x - 0.48, y - 0.1) < 0.36 or math.hypot(x + 0.48, y - 0.1) < 0.36),
}


def png(pixels):
    part = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = b"".join(b"\0" + bytes(channel for pixel in row for channel in pixel) for row in pixels)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)) + part(b"IDAT", zlib.compress(rows, 9)) + part(b"IEND", b"")


def drawn(inside, colour):
    """The shape on white, with smooth edges."""
    fine = [(2 * (i + 0.5) / (SIDE * FINE) - 1) * 1.15 for i in range(SIDE * FINE)]
    mask = [[inside(x, y) for x in fine] for y in fine]
    pixels = []
    for row in range(SIDE):
        line = []
        for column in range(SIDE):
            share = sum(mask[row * FINE + i][column * FINE + j] for i in range(FINE) for j in range(FINE)) / FINE**2
            line.append(tuple(round(255 + (c - 255) * share) for c in colour))
        pixels.append(line)
    return png(pixels)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", default="mini-clip")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "docs/pictures/search-weights.svg")
    args = parser.parse_args()
    program = os.environ.get("CRAYON", str(ROOT / "target/release/crayon"))
    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        (place / "pictures").mkdir()
        for shape, inside in SHAPES.items():
            for name, colour in COLOURS.items():
                (place / "pictures" / f"{name}-{shape}.png").write_bytes(drawn(inside, colour))
        subprocess.run([program, "images", "index", place / "pictures", "-o", place / "index", "-q", "-m", args.model], check=True, stdout=subprocess.DEVNULL)
        rows = []
        for query in QUERIES:
            search = [program, "images", "search", place / "index", query, "--json", "--all", "--duplicates", "-k", str(SHOWN), "-q"]
            found = json.loads(subprocess.run(search, check=True, stdout=subprocess.PIPE, text=True).stdout)
            rows.append((query, [(Path(one["path"]).stem, one["score"], Path(one["path"]).read_bytes()) for one in found["results"]]))
    width, height = LEFT + SHOWN * TILE + 16, TOP + len(rows) * (TILE + 22) + 8
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" font-family="sans-serif">',
             "<title>Searches with and without weights</title>",
             "<style>text{fill:#18181b}.c{fill:#52525b;font-size:10px;text-anchor:middle}@media(prefers-color-scheme:dark){text{fill:#f4f4f5}.c{fill:#a1a1aa}}</style>",
             f'<text x="12" y="24" font-size="15">The first {SHOWN} of {len(SHAPES) * len(COLOURS)} pictures, with their cosines</text>']
    for number, (query, found) in enumerate(rows):
        y = TOP + number * (TILE + 22)
        parts.append(f'<text x="12" y="{y + TILE / 2 + 4:.0f}" font-size="14" font-family="monospace">{html.escape(query)}</text>')
        for at, (name, score, picture) in enumerate(found):
            x = LEFT + at * TILE
            code = base64.b64encode(picture).decode()
            parts.append(f'<image x="{x}" y="{y}" width="{TILE - 4}" height="{TILE - 4}" href="data:image/png;base64,{code}"><title>{name}</title></image>')
            parts.append(f'<text class="c" x="{x + TILE / 2 - 2:.0f}" y="{y + TILE + 9}">{score:.2f}</text>')
    args.output.write_text("\n".join([*parts, "</svg>"]) + "\n", encoding="utf-8")
    for query, found in rows:
        print(f"{query:18} {', '.join(name for name, *_ in found)}")


if __name__ == "__main__":
    main()
