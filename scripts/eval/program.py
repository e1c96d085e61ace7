"""Calls of `crayon` and Markdown: what the scripts of this folder share."""

import json
import subprocess
import sys


def crayon(binary, *arguments):
    """What the command prints as JSON; ends the script with the command's own words where it fails."""
    arguments = [str(argument) for argument in arguments]
    run = subprocess.run([binary, "--json", "-q", *arguments], capture_output=True, text=True)
    if run.returncode:
        sys.exit(f"{' '.join(arguments)}: {run.stderr}")
    return json.loads(run.stdout)


def table(head, rows):
    return "\n".join([f"| {' | '.join(head)} |", "|" + "---|" * len(head), *(f"| {' | '.join(row)} |" for row in rows)])
