#!/usr/bin/env python3
"""Compares `crayon eval logits` with transformers on one model folder, position by position.

    transformers_logits.py FOLDER IDS [--crayon target/release/crayon]

IDS is a JSON list of token ids or numbers separated by white space; `-` reads them from standard input. Needs torch
and transformers (scripts/fixtures/requirements.txt). Prints, per position, the largest difference relative to that
position's largest logit magnitude, then the worst; exits 1 when it exceeds --tolerance.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("ids", help="file of token ids, or -")
    parser.add_argument("--crayon", default="target/release/crayon", help="the program to compare")
    parser.add_argument("--tolerance", type=float, default=1e-4)
    settings = parser.parse_args()

    ids = parse(sys.stdin.read() if settings.ids == "-" else Path(settings.ids).read_text())
    ours = crayon(settings.crayon, settings.model, ids)
    reference = transformers(settings.model, ids)
    if ours.shape != reference.shape:
        print(f"shapes differ: {list(ours.shape)} against {list(reference.shape)}", file=sys.stderr)
        return 1
    relative = (ours - reference).abs().amax(-1) / reference.abs().amax(-1)
    for position, (token, difference) in enumerate(zip(ids, relative.tolist())):
        print(f"{position:5}  token {token:7}  {difference:.2e}")
    worst = relative.max().item()
    print(f"worst  {worst:.2e}  (tolerance {settings.tolerance:.0e})")
    # A NaN is not within any tolerance.
    return 0 if worst <= settings.tolerance else 1


def parse(text: str) -> list[int]:
    """A JSON list, or numbers between white space."""
    return json.loads(text) if text.lstrip().startswith("[") else [int(word) for word in text.split()]


def crayon(program: str, model: Path, ids: list[int]) -> torch.Tensor:
    """Logits of all positions as the program prints them."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(ids, file)
        file.flush()
        command = [program, "eval", "logits", "-m", str(model), "--token-ids", file.name, "--all", "--json"]
        answer = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if answer.returncode != 0:
        raise SystemExit(f"{' '.join(command)} exited with {answer.returncode}")
    return torch.tensor(json.loads(answer.stdout)["logits"], dtype=torch.float64)


def transformers(model: Path, ids: list[int]) -> torch.Tensor:
    """The reference in f32, attention written out so that soft caps apply."""
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        return network(torch.tensor([ids])).logits[0].double()


if __name__ == "__main__":
    sys.exit(main())
