"""Word weights beside other ways to stress a word: `crayon eval images` on test pictures, as a page.

    cargo build --release && python3 scripts/eval/images.py --data ../shared/data > docs/results/images.md
    python3 scripts/eval/images.py --data ../shared/data --galleries FOLDER      # writes the galleries and stops

A gallery is a folder of test pictures with `gallery.jsonl` (what is true of each) and `captions.jsonl` (captions with two attributes, each
stressed in turn). With `--plots DIR` a picture for each set is drawn. Needs nothing from PyPI.
"""

import argparse
import csv
import json
import os
import random
import subprocess
import sys
import tarfile
import tempfile
from itertools import combinations
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SETS = ("icon_scenes", "avatars", "fluent_emoji", "cifar10")
CIFAR_MOST = 200  # pictures of each class


def article(words):
    return ("an " if words[0] in "aeiou" else "a ") + words


def pictures(data, name):
    """Name, bytes and attributes of each test picture."""
    if name == "cifar10":
        counts = {}
        with tarfile.open(data / "cifar10_jpg" / "cifar10_test.tar") as tar:
            for member in tar:
                if member.isfile():
                    label = Path(member.name).parts[1]
                    counts[label] = counts.get(label, 0) + 1
                    if counts[label] <= CIFAR_MOST:
                        yield f"{label}-{counts[label]:04}.jpg", tar.extractfile(member).read(), {"class": label}
        return
    folder = data / "images" / name
    with open(folder / "manifest.tsv", encoding="utf-8", newline="") as lines:
        rows = {row["file"]: row for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)}
    with tarfile.open(folder / "test.tar") as tar:
        for member in tar:
            row = rows.get(member.name.removeprefix("./"))
            if row and row["split"] == "test" and member.isfile():
                attributes = dict(part.split("=", 1) for part in row["attributes"].split(";") if "=" in part)
                yield member.name.removeprefix("./"), tar.extractfile(member).read(), attributes


def facts(attributes):
    """What is true of a picture: of two things in one, the colours and objects of both."""
    out = {f"{key}={value}" for key, value in attributes.items() if key not in ("keywords", "heldout", "split")}
    return sorted(out | {f"{key}={attributes[key + '2']}" for key in ("object", "color") if key + "2" in attributes})


def captions(name, attributes):
    """(text, [(word, fact), (word, fact)]) of captions with two attributes."""
    rng = random.Random(0)
    values = lambda key: sorted({a[key] for a in attributes if key in a})
    out = []
    if name == "icon_scenes":
        for colour in values("color"):
            for ground in rng.sample([g for g in values("background") if g != colour], 4):
                text = f"{article(colour)} icon on {article(ground)} background"
                out.append((text, [(colour, f"color={colour}"), (ground, f"background={ground}")]))
        objects = [o for o in values("object") if " " not in o]
        for thing in rng.sample(objects, min(60, len(objects))):
            colour = rng.choice(values("color"))
            out.append((article(f"{colour} {thing}"), [(colour, f"color={colour}"), (thing, f"object={thing}")]))
    if name == "avatars":
        for colour in values("haircolor"):
            for ground in rng.sample([g for g in values("background") if g != colour], 4):
                text = f"a person with {colour} hair on {article(ground)} background"
                out.append((text, [(colour, f"haircolor={colour}"), (ground, f"background={ground}")]))
        for mood in values("mood"):
            for ground in rng.sample(values("background"), 4):
                out.append((f"{article(mood)} person on {article(ground)} background", [(mood, f"mood={mood}"), (ground, f"background={ground}")]))
    if name == "fluent_emoji":
        for style in ("flat", "glossy", "3d"):
            for colour in values("color"):
                out.append((f"{article(colour)} {style} emoji", [(colour, f"color={colour}"), (style, f"style={style}")]))
    if name == "cifar10":
        for one, other in combinations(values("class"), 2):
            out.append((f"a photo of {article(one)} and {article(other)}", [(one, f"class={one}"), (other, f"class={other}")]))
    return out


def write(data, name, folder):
    """A gallery. Every caption is asked twice, with each of its words stressed."""
    folder.mkdir(parents=True, exist_ok=True)
    known = []
    with open(folder / "gallery.jsonl", "w", encoding="utf-8") as lines:
        for file, content, attributes in pictures(data, name):
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_bytes(content)
            known.append(attributes)
            lines.write(json.dumps({"picture": file, "facts": facts(attributes)}) + "\n")
    with open(folder / "captions.jsonl", "w", encoding="utf-8") as lines:
        for text, both in captions(name, known):
            for (word, stressed), (_, other) in (both, both[::-1]):
                lines.write(json.dumps({"text": text, "word": word, "stressed": stressed, "other": other}) + "\n")


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|---|" + "---:|" * (len(header) - 1)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def section(name, run):
    percent = lambda share: f"{100 * share:.1f}"
    out = [f"\n## {name}\n", f"{run['pictures']:,} test pictures, {run['captions']} captions with a stressed word.\n"]
    rows = [[row["way"], f"{row['strength']:g}", *[percent(row[k]) for k in ("ap_stressed", "ap_other", "ap_both", "first_stressed", "first_other")]]
            for row in run["rows"]]
    out.append(table(["way", "strength", "AP stressed", "AP other", "AP both", "first ten: stressed", "first ten: other"], rows))
    losses = [gain["loss"] for gain in run["summaries"][0]["gains"]]
    correlation = lambda value: "–" if value is None else f"{value:.2f}"
    rows = [[one["way"], correlation(one["spearman"]), correlation(one["spearman_each"]), *[f"{100 * gain['gain']:+.1f}" for gain in one["gains"]],
             f"{100 * one['gains'][-1]['behind']:+.1f} ± {100 * one['gains'][-1]['behind_stderr']:.1f}"] for one in run["summaries"]]
    header = ["way", "Spearman", "of each caption", *[f"gain at −{100 * loss:.0f}" for loss in losses], f"behind word weights at −{100 * losses[-1]:.0f}"]
    out += ["", table(header, rows)]
    return "\n".join(out)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--galleries", type=Path, help="write the galleries here, and stop")
    parser.add_argument("--plots", type=Path, help="a folder for pictures of the curves")
    args = parser.parse_args()
    program = os.environ.get("CRAYON", str(ROOT / "target/release/crayon"))
    if args.galleries:
        for name in args.sets:
            write(args.data, name, args.galleries / name)
        return
    model = ["-m", args.model] if args.model else []
    runs = {}
    for name in args.sets:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / name
            write(args.data, name, folder)
            plot = ["--plot", str(args.plots / f"images-{name}.svg")] if args.plots else []
            command = [program, "eval", "images", "-q", "--json", "--gallery", str(folder / "gallery.jsonl"), "--captions", str(folder / "captions.jsonl")]
            runs[name] = json.loads(subprocess.run(command + plot + model, stdout=subprocess.PIPE, check=True, text=True).stdout)
            print(f"{name}: {runs[name]['seconds']:.0f} s", file=sys.stderr)
    first = next(iter(runs.values()))
    learned = "" if Path(first["model"]).name != "mini-clip" else (
        "\nmini-clip has learned from captions with weighted words, with weights from 1/8 to 8 (`training/README.md`), but not from the other ways to stress one.\n")
    print(f"""# Do word weights steer a search?

Model: {Path(first['model']).name}. Captions name two attributes; one of its words is stressed, each in turn. AP is the average precision, in %, of
all test pictures with the stressed attribute, with the other one, and with both; the last columns are shares of the first ten. Spearman is the rank
correlation of the strength with the share of stressed pictures among the first ten, of the means and as the mean over captions.
"gain at −5": how much AP the stressed attribute gains where the other has lost 5 points, by straight lines between strengths. The last column
is how far that stays behind word weights in all layers, with its standard error over captions; below 0 it is ahead.
{learned}
    python3 scripts/eval/images.py --data DATA""")
    for name, run in runs.items():
        if args.plots:
            print(f"\n![{name}](images-{name}.svg)")
        print(section(name, run))


if __name__ == "__main__":
    main()
