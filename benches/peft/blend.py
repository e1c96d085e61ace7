"""Blending a pool's adapters, beside PEFT's `add_weighted_adapter`, in one run on one machine.

    cargo build --release && python3 benches/peft/blend.py [--threads N]

Made-up adapters of q and v in the shape of Qwen2.5-0.5B (24 layers, 896 hidden, 14 heads, 2 KV heads): speed does not depend
on values. PEFT's network has those two layers a block and nothing else, because it blends layer by layer. Runs take turns, so
that both sides meet the same load. Prints docs/results/blend.md and writes it.
"""

import argparse
import json
import statistics
import subprocess
import time
from pathlib import Path

import peft
import torch

ROOT = Path(__file__).resolve().parents[2]
LAYERS, HIDDEN, KV = 24, 896, 128
TURNS = 3


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.q_proj = torch.nn.Linear(HIDDEN, HIDDEN, bias=False)
        self.v_proj = torch.nn.Linear(HIDDEN, KV, bias=False)


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.ModuleList(Block() for _ in range(LAYERS))

    def forward(self, x):
        return x


def pool(adapters, rank):
    config = peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    model = peft.get_peft_model(Network(), config, adapter_name="0")
    for number in range(1, adapters):
        model.add_adapter(str(number), config)
    return model


def theirs(model, adapters, weights, form, runs):
    """Milliseconds of `add_weighted_adapter`; the first of `runs` + 1 is not counted."""
    times = []
    for _ in range(runs + 1):
        started = time.perf_counter()
        with torch.no_grad():
            model.add_weighted_adapter([str(n) for n in range(adapters)], weights, "blend", combination_type=form)
        times.append(1e3 * (time.perf_counter() - started))
        model.delete_adapter("blend")
    return times[1:]


def ours(binary, adapters, rank, threads, runs):
    command = [binary, "bench", "blend", "--shape", "qwen2.5-0.5b", "--adapters", adapters, "--rank", rank]
    command += ["--runs", runs, "--threads", threads, "--json"]
    found = json.loads(subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE, text=True).stdout)
    return {row["form"]: row for row in found["forms"]}


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--binary", default=str(ROOT / "target/release/crayon"))
    arguments.add_argument("--adapters", type=int, default=8)
    arguments.add_argument("--rank", type=int, default=8)
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--runs", type=int, default=7, help="of each side in each turn; svd once a turn")
    args = arguments.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    model = pool(args.adapters, args.rank)
    weights = torch.softmax(torch.randn(args.adapters), 0).tolist()

    mine, other = {}, {}
    for _ in range(TURNS):
        for form, row in ours(args.binary, args.adapters, args.rank, args.threads, args.runs).items():
            mine.setdefault(form, []).append((row["millis"], row["fresh_millis"], row["bytes"]))
        for form in ("cat", "svd", "linear"):
            runs = 1 if form == "svd" else args.runs
            other.setdefault(form, []).extend(theirs(model, args.adapters, weights, form, runs))

    names = {"shared": ("weights on the stacked pool", None), "exact": ("the sum by concatenation", "cat"),
             "svd": ("the sum cut to the rank of one", "svd"), "factor": ("A and B averaged apart", "linear")}
    rows = []
    for form, (what, rival) in names.items():
        reused, fresh, size = (statistics.median(values) for values in zip(*mine[form]))
        beside = f"{statistics.median(other[rival]):.1f} (`{rival}`)" if rival else "–"
        rows.append(f"| {form} | {what} | {reused:.4f} | {fresh:.4f} | {beside} | {size / 1e6:.2f} |")
    text = f"""# Blending in figures

Printed by `python3 benches/peft/blend.py --adapters {args.adapters} --rank {args.rank} --threads {args.threads}`: {args.adapters} adapters of rank {args.rank} on q and v in the shape
of Qwen2.5-0.5B, from scores or weights to one adapter, median in milliseconds over {TURNS} turns of {args.runs} runs each (PEFT's `svd`: one a turn). PEFT
{peft.__version__}, PyTorch {torch.__version__.split('+')[0]}, f32, {args.threads} thread{'s' if args.threads > 1 else ''}. The turns of the two sides alternate.

| form | what it makes | crayon | in new memory | PEFT | MB made |
|---|---|---|---|---|---|
""" + "\n".join(rows) + """

*crayon* writes into the memory of an earlier blend, *in new memory* asks the system for it, as a first blend does; most of the
difference is the system's work on pages that a process touches for the first time. PEFT always makes new tensors, and its time
contains its own bookkeeping for a named adapter. PEFT's `linear` is (sum of sqrt(w) B)(sum of sqrt(w) A), not the sum.
"""
    (ROOT / "docs/results/blend.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
