"""Compares an exported folder in transformers with our own network: the same logits, the same chat prompt.

    python checkparity.py mini
"""

import argparse
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from chat import prompt
from export import trained
from recipes import RECIPES


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=RECIPES)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "runs")
    args = parser.parse_args()
    folder = args.out / "hf" / args.model
    theirs = AutoModelForCausalLM.from_pretrained(folder).float().eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ours = trained(args.model, args.out)
    text = prompt("Where is Anna? It's 12:45 o'clock.\n\nAnna is in the garden.", system="Be brief.")
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Where is Anna? It's 12:45 o'clock.\n\nAnna is in the garden."}]
    rendered = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert rendered == text, (rendered, text)
    ids = tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids[0]) == text
    with torch.no_grad():
        gap = (theirs(ids).logits - ours(ids)).abs().max().item()
    print(f"{args.model}: {ids.shape[1]} tokens, largest difference of logits {gap:.2e}")
    assert gap < 1e-3


if __name__ == "__main__":
    main()
