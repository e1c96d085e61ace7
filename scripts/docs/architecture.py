"""Checks that ARCHITECTURE.md tells the truth about the crates: every one has a row, and imports go down only.

    python3 scripts/docs/architecture.py

The page has a table whose rows begin with "| `crate` |", and behind the words "Imports go down only" a fenced block with
a level a line, the lowest first. Crates of a level stand beside each other and do not import each other, but for
`a ← b`, which says that b imports a.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def crates():
    """For every crate in crates/ its short name and those of the crates in the workspace it depends on; its tests may look up,
    as a network's do that need a memory."""
    run = subprocess.run(["cargo", "metadata", "--no-deps", "--format-version", "1", "--offline"], cwd=ROOT,
                         stdout=subprocess.PIPE, check=True, text=True)
    packages = [package for package in json.loads(run.stdout)["packages"]
                if Path(package["manifest_path"]).parent.parent == ROOT / "crates"]
    short = {package["name"]: Path(package["manifest_path"]).parent.name for package in packages}
    return {short[package["name"]]: {short[dependency["name"]] for dependency in package["dependencies"]
                                     if dependency["name"] in short and dependency["kind"] != "dev"}
            for package in packages}


def rows(page):
    return re.findall(r"^\| `([a-z_]+)` \|", page, re.MULTILINE)


def levels(page):
    """The level of every crate, and the pairs (a, b) of one level in which b imports a."""
    block = re.search(r"Imports go down only.*?^```[a-z]*\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    if not block:
        sys.exit("ARCHITECTURE.md: no fenced block behind the words \"Imports go down only\"")
    level, beside, problems = {}, set(), []
    for number, line in enumerate(block[1].splitlines()):
        words = line.replace("←", " ← ").split()
        for at, word in enumerate(words):
            if word == "←":
                beside.add((words[at - 1], words[at + 1]))
            elif level.setdefault(word, number) != number:
                problems.append(f"`{word}` stands on two levels")
    return level, beside, problems


def check(page, found):
    """What the page says that is not so, a sentence each."""
    level, beside, problems = levels(page)
    table = rows(page)
    for name in sorted(found.keys() | set(table) | level.keys()):
        if name not in found:
            problems.append(f"there is no crate `{name}`")
            continue
        if table.count(name) != 1:
            problems.append(f"`{name}` has {table.count(name)} rows in the table instead of one")
        if name not in level:
            problems.append(f"`{name}` stands on no level")
    for name, dependencies in sorted(found.items()):
        for below in sorted(dependencies):
            if name in level and below in level and level[below] >= level[name] and (below, name) not in beside:
                problems.append(f"`{name}` imports `{below}`, which does not stand below it")
    for below, name in sorted(beside):
        if below not in found.get(name, set()):
            problems.append(f"`{name}` does not import `{below}`")
        if (name, below) in beside:
            problems.append(f"`{name}` and `{below}` would import each other")
    return problems


def main():
    problems = check((ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8"), crates())
    if problems:
        sys.exit("\n".join(f"ARCHITECTURE.md: {problem}" for problem in problems))


if __name__ == "__main__":
    main()
