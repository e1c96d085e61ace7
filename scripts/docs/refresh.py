"""Runs the commands in a document and writes down what they print.

    cargo build --release && python3 scripts/docs/refresh.py docs/cli.md

In every block marked `console`, a line that begins with `$ ` is a command; what follows is replaced by its output, stdout
and stderr together. All commands of a document run in one empty folder, with a data folder of their own and no network.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"(?<=^```console\n).*?(?=^```$)", re.MULTILINE | re.DOTALL)


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


def refresh(document, folder, environment):
    def rerun(match):
        shown = []
        for command in commands(match[0]):
            run = subprocess.run(["bash", "-c", command[2:]], cwd=folder, env=environment, stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            shown.append(f"{command}\n{run.stdout.rstrip()}".rstrip() + "\n")
        return "".join(shown)

    return BLOCK.sub(rerun, document)


def main():
    binary = ROOT / "target" / "release"
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            "PATH": f"{os.environ.get('CRAYON_BIN_DIR', binary)}:{os.environ['PATH']}",
            "HOME": folder, "CRAYON_HOME": f"{folder}/.crayon", "CRAYON_OFFLINE": "1", "LANG": "C.UTF-8",
        }
        for name in sys.argv[1:]:
            path = Path(name)
            path.write_text(refresh(path.read_text(encoding="utf-8"), folder, environment), encoding="utf-8")


if __name__ == "__main__":
    main()
