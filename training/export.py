"""Writes a run's checkpoint as a Hugging Face folder: `OUT/hf/MODEL`.

    python export.py mini
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from chat import END, ENDOFTEXT, SPECIAL, TEMPLATE
from recipes import RECIPES


def write(path, content):
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def trained(name, out):
    """The model of a run with the weights that are exported."""
    recipe = RECIPES[name]
    model = recipe.build(recipe.config).eval()
    state = torch.load(out / name / "checkpoint.pt", map_location="cpu", weights_only=False)["model"]
    if recipe.share < 1:
        start = load_file(out / "hf" / recipe.starts_from / "model.safetensors")
        state = {key: start[key].float().lerp(p, recipe.share) for key, p in state.items()}
    model.load_state_dict(state)
    return model


def export(name, out, to=None, untrained=False, half=False):
    recipe = RECIPES[name]
    torch.manual_seed(1)
    model = recipe.build(recipe.config) if untrained else trained(name, out)
    folder = to or out / "hf" / name
    folder.mkdir(parents=True, exist_ok=True)
    dtype = torch.float16 if half else torch.float32
    state = {n: p.detach().to(dtype).contiguous().clone() for n, p in model.huggingface_state().items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})

    tokenizer = (out / "tokenizer.json").read_text(encoding="utf-8")
    (folder / "tokenizer.json").write_text(tokenizer, encoding="utf-8")
    ids = {t["content"]: t["id"] for t in json.loads(tokenizer)["added_tokens"]}
    stop = [ids[END], ids[ENDOFTEXT]]
    common = {"bos_token_id": None, "eos_token_id": stop, "pad_token_id": ids[ENDOFTEXT]}
    write(folder / "config.json", recipe.config.huggingface() | common | {"torch_dtype": str(dtype).removeprefix("torch.")})
    write(folder / "generation_config.json", common | {"do_sample": True, "temperature": 0.7, "top_p": 0.9, "max_new_tokens": 256})
    write(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": recipe.config.positions,
            "bos_token": None,
            "eos_token": END,
            "pad_token": ENDOFTEXT,
            "unk_token": None,
            "add_bos_token": False,
            "add_eos_token": False,
            "clean_up_tokenization_spaces": False,
            "additional_special_tokens": SPECIAL[1:-1],
            "added_tokens_decoder": {
                str(ids[t]): {"content": t, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True} for t in SPECIAL
            },
            "chat_template": TEMPLATE,
        },
    )
    print(f"{folder}: {sum(p.numel() for p in model.parameters())} parameters")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=RECIPES)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "runs")
    parser.add_argument("--to", type=Path, help="the folder, where not OUT/hf/MODEL")
    parser.add_argument("--untrained", action="store_true", help="random weights, to try a loader before training is done")
    parser.add_argument("--half", action="store_true", help="float16: half the size, to be carried from another machine")
    args = parser.parse_args()
    export(args.model, args.out, args.to, args.untrained, args.half)


if __name__ == "__main__":
    main()
