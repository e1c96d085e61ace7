"""Starts one model from another's weights."""

import torch


def deepen(source, layers):
    """`source` with more layers that compute the same function: each new layer copies its neighbour, its two output
    projections set to zero. Returns the state dict of the deeper Llama."""
    old = 1 + max(int(name.split(".")[2]) for name in source if name.startswith("model.layers."))
    state = {name: p for name, p in source.items() if not name.startswith("model.layers.")}
    seen = set()
    for layer in range(layers):
        origin = layer * old // layers
        for name, p in source.items():
            if name.startswith(f"model.layers.{origin}."):
                silent = origin in seen and name.endswith(("o_proj.weight", "down_proj.weight"))
                state[name.replace(f".{origin}.", f".{layer}.", 1)] = torch.zeros_like(p) if silent else p.clone()
        seen.add(origin)
    return state


def start(model, source):
    """Deepens a Llama; gives a GPT-2 the source's embeddings and nothing else."""
    if model.describe()["architecture"] == "llama":
        model.load_state_dict(deepen(source, model.config.layers))
    else:
        model.wte.weight.data.copy_(source["model.embed_tokens.weight"])
