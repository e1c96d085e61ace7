"""How well a model copies, by how far away what it copies stands: nats a recalled token, and of each answer's first token.

    python distance.py mini mini-refined           # exported folders in runs/hf
    python distance.py mini --theta 10000 50000    # as if positions turned at another speed

Long recall passages drawn by another seed than training's, and held-out prose in windows of 256.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from llama import rotary_table
from packing import Packer
from recipes import RECIPES
from train import Validation

SPANS = [(0, 150), (150, 400), (400, 700), (700, 1024)]
MIX = {"long": 1.0, "stories": 0.02}
RECALLED = 1.9  # loss weight from which a token is a recalled answer's


def passages(folder, windows):
    packer = Packer(folder, 99)
    batches = [packer.batch(4, 1024, MIX) for _ in range(windows // 4)]
    return [torch.from_numpy(np.concatenate(part)) for part in zip(*batches)]


@torch.no_grad()
def losses(model, ids, targets):
    parts = [F.cross_entropy(model(i).flatten(0, 1), t.flatten(), reduction="none") for i, t in zip(ids.split(4), targets.split(4))]
    return torch.cat(parts).view(targets.shape)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", choices=RECIPES)
    parser.add_argument("--theta", type=float, nargs="+", default=[0.0], help="speeds of rotation [default: the model's]")
    parser.add_argument("--windows", type=int, default=64)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "runs")
    args = parser.parse_args()

    ids, targets, weights, source = passages(args.out / "tokens", args.windows)
    distance = torch.arange(ids.shape[1]) - source
    recalled = (weights >= RECALLED) & (source >= 0)
    first = recalled.clone()
    first[:, 1:] &= ~recalled[:, :-1]
    validate = Validation(args.out / "tokens", "cpu")
    print("| model | theta |", *(f"{low} to {high} away |" for low, high in SPANS), "stories | tales |")
    print("|---|---|" + "---|" * (len(SPANS) + 2))
    for name in args.models:
        config = RECIPES[name].config
        model = RECIPES[name].build(config).eval()
        model.load_state_dict({key: p.float() for key, p in load_file(args.out / "hf" / name / "model.safetensors").items()})
        for theta in args.theta:
            theta = theta or config.rope_theta
            model.cos, model.sin = rotary_table(config.positions, config.dim // config.heads, theta)
            found = losses(model, ids, targets)
            cells = []
            for low, high in SPANS:
                here = (distance >= low) & (distance < high)
                cells.append(f"{found[here & recalled].mean():.2f}, {found[here & first].mean():.2f} |")
            held = validate(model)
            model.eval()
            print(f"| {name} | {theta:g} |", *cells, f"{held['stories']:.3f} | {held['tales']:.3f} |", flush=True)


if __name__ == "__main__":
    main()
