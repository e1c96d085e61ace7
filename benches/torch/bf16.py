"""bfloat16 beside PyTorch: the same shape with made-up weights, in turns, as Markdown rows.

    pip install torch transformers
    cargo build --release && python3 benches/torch/bf16.py

PyTorch runs transformers' own Qwen2 or Llama network with its key-value cache, the reading of the prompt and the writing of single
tokens timed apart, the first round of each left out: in bfloat16 and, since that is slow on processors without such instructions, in
float32. The ratio is to the better of both. Only ratios of one pair count where the machine does other things, too.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CRAYON = ROOT / "target/release/crayon"
SHAPES = {
    "qwen2.5-0.5b": dict(hidden_size=896, intermediate_size=4864, num_hidden_layers=24, num_attention_heads=14, num_key_value_heads=2, vocab_size=151936, tie_word_embeddings=True),
    "llama-3.2-1b": dict(hidden_size=2048, intermediate_size=8192, num_hidden_layers=16, num_attention_heads=32, num_key_value_heads=8, vocab_size=128256, tie_word_embeddings=True),
}


def torch_run(shape, dtype, prompt, decode, threads):
    """Tokens a second of reading and of writing."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    kind, config = (Qwen2ForCausalLM, Qwen2Config) if shape.startswith("qwen") else (LlamaForCausalLM, LlamaConfig)
    torch.set_default_dtype(getattr(torch, dtype))
    model = kind(config(**SHAPES[shape], max_position_embeddings=8192)).eval()
    ids = torch.randint(0, 1000, (1, prompt))
    with torch.inference_mode():
        model(ids[:, :8], use_cache=True, logits_to_keep=1)
        started = time.perf_counter()
        out = model(ids, use_cache=True, logits_to_keep=1)
        reading = time.perf_counter() - started
        memory, token = out.past_key_values, ids[:, :1]
        model(token, past_key_values=memory, use_cache=True)
        started = time.perf_counter()
        for _ in range(decode):
            model(token, past_key_values=memory, use_cache=True)
        writing = time.perf_counter() - started
    return {"prefill": prompt / reading, "decode": decode / writing}


def crayon_run(shape, prompt, decode, threads):
    call = [CRAYON, "--json", "-q", "bench", "generate", "--shape", shape, "--scheme", "bf16", "--prompt", prompt, "--tokens", decode, "--threads", threads, "--runs", 1]
    found = json.loads(subprocess.run([str(part) for part in call], capture_output=True, text=True, check=True).stdout)
    return {"prefill": found["prefill_tok_s"], "decode": found["decode_tok_s"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="*", default=["qwen2.5-0.5b"])
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--decode", type=int, default=24)
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rival", nargs=2, metavar=("SHAPE", "TYPE"), help="only one run of PyTorch, as JSON")
    args = parser.parse_args()
    if args.rival:
        return print(json.dumps(torch_run(*args.rival, args.prompt, args.decode, args.threads)))

    def rival(shape, dtype):
        call = [sys.executable, __file__, "--rival", shape, dtype, "--prompt", args.prompt, "--decode", args.decode, "--threads", args.threads]
        run = subprocess.run([str(part) for part in call], capture_output=True, text=True, check=True)
        return json.loads(run.stdout.splitlines()[-1])

    print("| shape | prompt | | torch bf16 | torch f32 | crayon bf16 | ratio | of each pair |\n|---|---|---|---|---|---|---|---|", flush=True)
    for shape in args.shapes:
        pairs = []
        for _ in range(args.pairs):
            pairs.append((rival(shape, "bfloat16"), rival(shape, "float32"), crayon_run(shape, args.prompt, args.decode, args.threads)))
        for key in ("prefill", "decode"):
            bf16, f32, ours = (statistics.median(pair[side][key] for pair in pairs) for side in range(3))
            ratios = [pair[2][key] / max(pair[0][key], pair[1][key]) for pair in pairs]
            each = " ".join(f"{ratio:.2f}" for ratio in ratios)
            print(f"| {shape} | {args.prompt} | {key}, tokens a second | {bf16:.1f} | {f32:.1f} | {ours:.1f} | {statistics.median(ratios):.2f} | {each} |", flush=True)


if __name__ == "__main__":
    main()
