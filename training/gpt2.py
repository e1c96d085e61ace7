"""GPT-2: learned positions, LayerNorm before each block, gelu (tanh form), tied embeddings.

`huggingface_state` gives the names of `GPT2LMHeadModel`, whose linear layers keep their weights as `[in, out]`.
"""

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass
class GPT2Config:
    vocab: int = 4096
    dim: int = 256
    layers: int = 6
    heads: int = 8
    positions: int = 1024
    norm_eps: float = 1e-5
    dropout: float = 0.05  # in training, on what a block adds

    def huggingface(self):
        return {
            "architectures": ["GPT2LMHeadModel"],
            "model_type": "gpt2",
            "vocab_size": self.vocab,
            "n_embd": self.dim,
            "n_layer": self.layers,
            "n_head": self.heads,
            "n_positions": self.positions,
            "n_ctx": self.positions,
            "n_inner": None,
            "activation_function": "gelu_new",
            "layer_norm_epsilon": self.norm_eps,
            "attn_pdrop": 0.0,
            "embd_pdrop": 0.0,
            "resid_pdrop": 0.0,
            "tie_word_embeddings": True,
            "initializer_range": 0.02,
            "use_cache": True,
        }


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads = c.heads
        self.ln_1 = nn.LayerNorm(c.dim, c.norm_eps)
        self.q = nn.Linear(c.dim, c.dim)
        self.k = nn.Linear(c.dim, c.dim)
        self.v = nn.Linear(c.dim, c.dim)
        self.out = nn.Linear(c.dim, c.dim)
        self.ln_2 = nn.LayerNorm(c.dim, c.norm_eps)
        self.up = nn.Linear(c.dim, 4 * c.dim)
        self.down = nn.Linear(4 * c.dim, c.dim)
        self.dropout = nn.Dropout(c.dropout)

    def forward(self, x, watched):
        b, t, d = x.shape
        split = lambda y: y.view(b, t, self.heads, d // self.heads).transpose(1, 2)
        h = self.ln_1(x)
        q, k = split(self.q(h)), split(self.k(h))
        if watched is not None:
            watched.append((q, k))
        y = F.scaled_dot_product_attention(q, k, split(self.v(h)), is_causal=True)
        x = x + self.dropout(self.out(y.transpose(1, 2).reshape(b, t, d)))
        return x + self.dropout(self.down(F.gelu(self.up(self.ln_2(x)), approximate="tanh")))


class GPT2(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.vocab, config.dim)
        self.wpe = nn.Embedding(config.positions, config.dim)
        self.h = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.ln_f = nn.LayerNorm(config.dim, config.norm_eps)
        for name, p in self.named_parameters():
            if p.ndim == 2:
                nn.init.normal_(p, std=0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(p)
            if name.endswith(("out.weight", "down.weight")):
                nn.init.zeros_(p)  # every block starts as the identity

    def forward(self, ids, watched=None):
        """Logits. A list `watched` receives queries and keys of each block, `[batch, head, token, head_dim]`."""
        x = self.wte(ids) + self.wpe.weight[: ids.shape[1]]
        for block in self.h:
            x = block(x, watched)
        return F.linear(self.ln_f(x), self.wte.weight)

    def hidden_matrices(self):
        """The 2-D weights inside the blocks, which Muon trains."""
        return [p for p in self.h.parameters() if p.ndim == 2]

    def huggingface_state(self):
        state = {"transformer.wte.weight": self.wte.weight, "transformer.wpe.weight": self.wpe.weight}
        state |= {f"transformer.ln_f.{n}": p for n, p in self.ln_f.named_parameters()}
        for i, block in enumerate(self.h):
            to = f"transformer.h.{i}."
            for norm in ("ln_1", "ln_2"):
                state |= {f"{to}{norm}.{n}": p for n, p in getattr(block, norm).named_parameters()}
            state[to + "attn.c_attn.weight"] = torch.cat([m.weight for m in (block.q, block.k, block.v)]).T
            state[to + "attn.c_attn.bias"] = torch.cat([m.bias for m in (block.q, block.k, block.v)])
            for name, linear in (("attn.c_proj", block.out), ("mlp.c_fc", block.up), ("mlp.c_proj", block.down)):
                state[f"{to}{name}.weight"], state[f"{to}{name}.bias"] = linear.weight.T, linear.bias
        return state

    def describe(self):
        return {"architecture": "gpt2", **asdict(self.config)}
