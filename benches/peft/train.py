"""Training of a small LoRA on a few examples: PEFT and torch beside `crayon bench train`, in turns.

    pip install torch transformers peft && cargo build --release
    python3 benches/peft/train.py -m gemma-3-270m.gguf --pairs 3

Both train an adapter of rank 8 on every linear layer, AdamW for PEFT and Adam for crayon, on 20 made-up examples of 40 tokens of which
5 are the answer, 12 rounds in steps of 4. PEFT's network has Gemma 3 270M's sizes and made-up weights (speed does not depend on
values), in f32 or bfloat16, with attention as transformers chooses it; logits are made where an answer is predicted only
(`logits_to_keep`), as crayon does, and examples have one length, so that nothing is padded. Peak memory is the process's own.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SIZES = dict(vocab_size=262_144, hidden_size=640, intermediate_size=2048, num_hidden_layers=18, num_attention_heads=4,
             num_key_value_heads=1, head_dim=256, max_position_embeddings=32_768, sliding_window=512, query_pre_attn_scalar=256)


def peft(args):
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    kind = getattr(torch, args.dtype)
    model = Gemma3ForCausalLM(Gemma3TextConfig(**SIZES)).to(kind)
    model.config.use_cache = False
    targets = "q_proj k_proj v_proj o_proj gate_proj up_proj down_proj".split()
    model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules=targets))
    ids = torch.randint(0, SIZES["vocab_size"], (args.examples, args.tokens))
    optimiser = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=1e-3)
    model.train()

    def step(batch):
        logits = model(input_ids=batch[:, :-1], logits_to_keep=args.answer).logits
        loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), batch[:, -args.answer:].flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    step(ids[:args.batch])  # the first allocates
    began = time.monotonic()
    for _ in range(args.rounds):
        for batch in ids[torch.randperm(len(ids))].split(args.batch):
            step(batch)
    seconds = time.monotonic() - began
    status = Path("/proc/self/status").read_text()
    peak = int(re.search(r"VmHWM:\s+(\d+)", status)[1]) * 1024 / 1e6
    print(json.dumps({"seconds": seconds, "peak_rss_mb": peak}))


def run(command, **more):
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, **more)
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-m", "--model", help="Gemma 3 270M as a GGUF file, for crayon")
    parser.add_argument("--program", default=str(ROOT / "target/release/crayon"))
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--alone", action="store_true", help="PEFT's side once, as JSON")
    for name, value in dict(examples=20, tokens=40, answer=5, rounds=12, batch=4).items():
        parser.add_argument(f"--{name}", type=int, default=value)
    args = parser.parse_args()
    if args.alone:
        return peft(args)
    sizes = [word for name in ("examples", "tokens", "answer", "rounds", "batch") for word in (f"--{name}", str(getattr(args, name)))]
    print("| pair | PEFT s | MB | crayon s | MB | ratio |\n|---|---|---|---|---|---|")
    for pair in range(1, args.pairs + 1):
        other = run([sys.executable, __file__, "--alone", "--dtype", args.dtype, "--threads", str(args.threads), *sizes])
        own = run([args.program, "bench", "train", "-m", args.model, "--threads", str(args.threads), *sizes, "--json"])
        cells = [pair, f"{other['seconds']:.1f}", f"{other['peak_rss_mb']:.0f}", f"{own['seconds']:.1f}", f"{own['peak_rss_mb']:.0f}",
                 f"{other['seconds'] / own['seconds']:.2f}"]
        print(f"| {' | '.join(map(str, cells))} |", flush=True)


if __name__ == "__main__":
    main()
