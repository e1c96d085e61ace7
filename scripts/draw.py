"""Pictures for scripts: what `crates/draw` draws of a description in JSON."""

import json
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def draw(picture, path):
    """Draws `picture`, such as `{"bars": {...}}` with the fields of `crates/draw`, into `path`."""
    command = ["cargo", "run", "--release", "--quiet", "--package", "crayon-draw"]
    run = subprocess.run(command, cwd=ROOT, input=json.dumps(picture), text=True, stdout=subprocess.PIPE, check=True)
    Path(path).write_text(run.stdout, encoding="utf-8")
