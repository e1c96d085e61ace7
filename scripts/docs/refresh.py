"""Runs the commands in documents and writes down what they print, or checks that it is what stands there.

    cargo build --release && python3 scripts/docs/refresh.py docs/cli.md
    python3 scripts/docs/refresh.py --check

Without names it takes README.md, docs/*.md and examples/README.md. In every block marked `console`, a line that begins with `$ ` is a command;
what follows is its output, stdout and stderr together. All commands of a document run in one folder that is empty but for the
project's `examples` and `target/release`, with a data folder of their own and no network. A block after the line `<!-- not run -->` is left as it is: it needs a download or
much time, or tells of the processor. Times, speeds and peaks of memory are written down but not compared.

Answers are those of the AVX2 kernels, which every x86-64 processor of the last ten years has: others round differently. On
another processor nothing is checked, and that is said.
"""

import argparse
import difflib
import os
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path

# The kernels whose answers stand in the documents.
KERNELS = "avx2"
ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = Path(os.environ.get("CRAYON_BIN_DIR", ROOT / "target" / "release")).resolve()
BLOCK = re.compile(r"(?P<left><!-- not run -->\n)?^```console\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
NUMBER = r"-?\d[\d.,]*"
# What no two runs have in common, in text and in JSON: dates, times, speeds, peaks of memory, free ports.
VARIES = re.compile(rf"\b20\d\d-\d\d-\d\d\b(?: \d\d:\d\d\b)?|(?<=\bseconds) +{NUMBER}|{NUMBER}(?= ms\b| s\b| a second\b| tokens a second\b)|(?<=peak memory ){NUMBER}"
                    rf"|(?<=127\.0\.0\.1:)\d+|(?<=seconds\":){NUMBER}|(?<=_ms\":){NUMBER}|(?<=tok_s\":){NUMBER}|(?<=_mb\":){NUMBER}")


# Progress, of which a slow machine prints more.
PROGRESS = re.compile(r"^[a-z ]+: [\d,]+ of [\d,]+ \S+, .* left\n", re.MULTILINE)


def commands(block):
    """Commands of a block; a line that ends in a backslash goes on in the next one."""
    found, lines = [], iter(block.splitlines())
    for line in lines:
        if line.startswith("$ "):
            command = line
            while command.endswith("\\"):
                command += "\n" + next(lines)
            found.append(command)
    return found


def printed(block, folder, environment):
    """The block as its commands print it today."""
    shown = []
    for command in commands(block):
        run = subprocess.run(["bash", "-c", command[2:]], cwd=folder, env=environment, stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        output = PROGRESS.sub("", run.stdout).rstrip()
        shown.append(f"{command}\n{output}".rstrip() + "\n")
    return "".join(shown)


def compared(text):
    """Lines of a block as they are compared."""
    # A longer time makes its column wider.
    return re.sub(" {2,}", "  ", VARIES.sub("#", text)).splitlines(True)


def refresh(path, environment_of):
    """A document as it would be, and the lines of a comparison with what it is."""
    text, differences = path.read_text(encoding="utf-8"), []

    def rerun(match):
        if match["left"]:
            return match[0]
        new = printed(match["text"], folder, environment_of(folder))
        line = text.count("\n", 0, match.start("text")) + 1
        differences.extend(difflib.unified_diff(compared(match["text"]), compared(new), f"{path}, line {line}",
                                                "printed today", n=1))
        return match[0].replace(match["text"], new)

    with tempfile.TemporaryDirectory() as folder:
        os.symlink(ROOT / "examples", Path(folder, "examples"))
        Path(folder, "target").mkdir()
        os.symlink(PROGRAMS, Path(folder, "target", "release"))
        return BLOCK.sub(rerun, text), differences


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a document is not true")
    parser.add_argument("documents", nargs="*", type=Path)
    arguments = parser.parse_args()
    if platform.machine() not in ("x86_64", "AMD64"):
        print("documents are not checked on this processor: it has no AVX2", file=sys.stderr)
        return
    documents = arguments.documents or [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "examples" / "README.md"]

    def environment(folder):
        return {"PATH": f"{PROGRAMS}:{os.environ['PATH']}", "HOME": folder, "CRAYON_HOME": f"{folder}/.crayon",
                "CRAYON_OFFLINE": "1", "LANG": "C.UTF-8", "CRAYON_KERNELS": KERNELS}

    failed = False
    for path in documents:
        new, differences = refresh(path, environment)
        sys.stdout.writelines(differences)
        if arguments.check:
            failed = failed or bool(differences)
        else:
            path.write_text(new, encoding="utf-8")
    if failed:
        sys.exit("documents differ from what the program prints; scripts/docs/refresh.py writes them anew")


if __name__ == "__main__":
    main()
