"""The two towers of a CLIPModel, written for speed on a CPU, and where training starts from.

Names and arithmetic are those of transformers' CLIPModel (`export.py` compares). What differs is how it runs: products in
bfloat16 against f32 weights, attention spelled out (faster than the fused one for 33 keys), any subset of the patches.

The picture tower starts as something like a convolution: patches are whitened, sixteen of its channels hold the place, and each
head of the first layers looks at one neighbouring patch. Attention is free to unlearn it; on few pictures it is what a
transformer lacks (d'Ascoli et al., 2021; Trockman and Kolter, 2023).
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

PLACE = 16  # channels that hold the place: cos and sin of four frequencies, for x and y


class Linear(nn.Linear):
    def forward(self, x, scale=1.0, bias_scale=1.0):
        weight = self.weight * scale if scale != 1.0 else self.weight
        bias = self.bias * bias_scale if bias_scale != 1.0 else self.bias
        return F.linear(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))


class Norm(nn.LayerNorm):
    def forward(self, x):
        return F.layer_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.bias.to(x.dtype), self.eps)


class Layer(nn.Module):
    def __init__(self, width, heads, inner):
        super().__init__()
        self.heads = heads
        self.bound = self.largest = None
        self.layer_norm1, self.layer_norm2 = Norm(width), Norm(width)
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = [Linear(width, width) for _ in range(4)]
        self.fc1, self.fc2 = Linear(width, inner), Linear(inner, width)

    def forward(self, x, bias=None, only=None):
        """`x [n, t, width]`; `bias` is added to the logits, `[t, t]` or `[n, 1, t, t]`.

        `only [n]`: in the last layer one token's output is wanted, and only keys and values are computed for the others.
        """
        n, t, width = x.shape
        split = lambda y: y.unflatten(-1, (-1, self.heads, width // self.heads)).permute(2, 0, 3, 1, 4)
        joined = lambda kind, *parts: torch.cat([getattr(part, kind) for part in parts]).to(x.dtype)
        h = self.layer_norm1(x)
        if only is None:
            q, k, v = split(F.linear(h, *[joined(kind, self.q_proj, self.k_proj, self.v_proj) for kind in ("weight", "bias")]))
        else:
            rows = torch.arange(n)
            k, v = split(F.linear(h, *[joined(kind, self.k_proj, self.v_proj) for kind in ("weight", "bias")]))
            (q,), x = split(self.q_proj(h[rows, only])[:, None]), x[rows, only][:, None]
            if bias is not None:
                bias = bias[only][:, None, None] if bias.ndim == 2 else bias[rows, 0, only][:, None, None]
        logits = (q * (width // self.heads) ** -0.5) @ k.mT
        if self.bound:
            largest = logits.detach().abs().amax((0, 2, 3)).float()
            self.largest = largest if self.largest is None else torch.maximum(self.largest, largest)
        if bias is not None:
            logits = logits + bias.to(logits.dtype)
        x = x + self.out_proj((logits.softmax(-1) @ v).transpose(1, 2).flatten(2))
        # quick GELU, h * sigmoid(1.702 h), as a SiLU of the scaled input: one pass instead of three
        h = F.silu(self.fc1(self.layer_norm2(x), 1.702, 1.702))
        x = x + self.fc2(h, 1 / 1.702)
        return x if only is None else x[:, 0]

    @torch.no_grad()
    def bounded(self):
        """Makes queries and keys of a head smaller whose logits went beyond `bound` since the last call (QK-clip, arXiv 2507.20534).

        Muon lets logits grow until attention is as good as hard. What a weight of a word adds to a logit then changes nothing, and a
        softmax that far out passes on no gradient that would change this.
        """
        scale = (self.bound / self.largest).clamp(max=1).sqrt().repeat_interleave(self.q_proj.weight.shape[0] // self.heads)
        for projection in (self.q_proj, self.k_proj):
            projection.weight *= scale[:, None]
            projection.bias *= scale
        self.largest = None


class Vision(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.patch, self.grid = c["patch_size"], c["image_size"] // c["patch_size"]
        width = c["hidden_size"]
        self.class_embedding = nn.Parameter(torch.randn(width) * 0.5)
        self.patch_embedding = Linear(3 * self.patch**2, width, bias=False)
        self.position_embedding = nn.Parameter(torch.randn(self.grid**2 + 1, width) * 0.02)
        self.pre_layrnorm, self.post_layernorm = Norm(width), Norm(width)
        self.layers = nn.ModuleList(Layer(width, c["num_attention_heads"], c["intermediate_size"]) for _ in range(c["num_hidden_layers"]))

    def patches(self, pixels):
        """`pixels [n, 3, 64, 64]` -> `[n, grid * grid, 3 * patch * patch]`, in the order of a convolution's weights."""
        n, p, g = len(pixels), self.patch, self.grid
        return pixels.view(n, 3, g, p, g, p).permute(0, 2, 4, 1, 3, 5).reshape(n, g * g, 3 * p * p)

    def forward(self, pixels, kept=None, dtype=torch.float32):
        """`kept [n, k]`: the patches seen, all by default. Gives the class token `[n, width]`."""
        x, places = self.patches(pixels), self.position_embedding[1:].expand(len(pixels), -1, -1)
        if kept is not None:
            x = x.gather(1, kept[:, :, None].expand(-1, -1, x.shape[-1]))
            places = self.position_embedding[1:][kept]
        x = self.patch_embedding(x.to(dtype)) + places.to(dtype)
        first = (self.class_embedding + self.position_embedding[0]).to(dtype).expand(len(x), 1, -1)
        x = self.pre_layrnorm(torch.cat([first, x], 1))
        for layer in self.layers[:-1]:
            x = layer(x)
        return self.post_layernorm(self.layers[-1](x, only=torch.zeros(len(x), dtype=torch.long)))


class Text(nn.Module):
    def __init__(self, c):
        super().__init__()
        width = c["hidden_size"]
        self.token_embedding = nn.Parameter(torch.randn(c["vocab_size"], width) * 0.3)
        self.position_embedding = nn.Parameter(torch.randn(c["max_position_embeddings"], width) * 0.1)
        self.layers = nn.ModuleList(Layer(width, c["num_attention_heads"], c["intermediate_size"]) for _ in range(c["num_hidden_layers"]))
        self.final_layer_norm = Norm(width)

    def forward(self, ids, ends, dtype=torch.float32, weights=None, first_layer=0):
        """`ids [n, t]`, `ends [n]` the place of the end token; gives its state `[n, width]`.

        `weights [n, t]` are SToRI's: log w is added to the logit of key t, in the layers from `first_layer` on.
        """
        t = ids.shape[1]
        x = (F.embedding(ids, self.token_embedding) + self.position_embedding[:t]).to(dtype)
        causal = torch.full((t, t), float("-inf")).triu(1)
        weighted = causal if weights is None else causal + weights.clamp(min=1e-30).log()[:, None, None, :]
        for i, layer in enumerate(self.layers):
            x = layer(x, weighted if i >= first_layer else causal, only=ends if layer is self.layers[-1] else None)
        return self.final_layer_norm(x)


class Clip(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        vision, text = config["vision_config"], config["text_config"]
        self.vision, self.text = Vision(vision), Text(text)
        self.visual_projection = Linear(vision["hidden_size"], config["projection_dim"], bias=False)
        self.text_projection = Linear(text["hidden_size"], config["projection_dim"], bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(10.0)))

    def images(self, pixels, kept=None, dtype=torch.float32):
        return F.normalize(self.visual_projection(self.vision(pixels, kept, dtype)).float(), dim=-1)

    def texts(self, ids, ends, dtype=torch.float32, weights=None, first_layer=0):
        return F.normalize(self.text_projection(self.text(ids, ends, dtype, weights, first_layer)).float(), dim=-1)


def config(vocabulary, end, start, vision=(256, 6, 8), text=(192, 4, 6), dimension=256, side=64, patch=8, context=77):
    """A CLIPConfig as a dictionary. Towers are (width, layers, heads)."""
    tower = lambda w, l, h: dict(
        hidden_size=w, intermediate_size=4 * w, num_hidden_layers=l, num_attention_heads=h, hidden_act="quick_gelu",
        layer_norm_eps=1e-5, attention_dropout=0.0, projection_dim=dimension,
    )
    return {
        "architectures": ["CLIPModel"], "model_type": "clip", "projection_dim": dimension, "logit_scale_init_value": 2.6592,
        "vision_config": {**tower(*vision), "model_type": "clip_vision_model", "image_size": side, "patch_size": patch, "num_channels": 3},
        "text_config": {
            **tower(*text), "model_type": "clip_text_model", "vocab_size": vocabulary, "max_position_embeddings": context,
            "bos_token_id": start, "eos_token_id": end, "pad_token_id": end,
        },
    }


@torch.no_grad()
def initialise(model, patches, local=(1, 1, 1, 2), sharpness=1.2):
    """`patches [m, 3 * patch * patch]`: a sample to whiten by. `local`: how far the heads of each of the first layers look."""
    for tower in (model.vision, model.text):
        width = tower.final_layer_norm.weight.numel() if tower is model.text else tower.post_layernorm.weight.numel()
        depth = len(tower.layers)
        for layer in tower.layers:
            for module in (layer.q_proj, layer.k_proj):
                nn.init.normal_(module.weight, std=0.7 * width**-0.5)
            nn.init.orthogonal_(layer.v_proj.weight)
            nn.init.orthogonal_(layer.out_proj.weight, gain=0.5)
            nn.init.normal_(layer.fc1.weight, std=width**-0.5)
            nn.init.normal_(layer.fc2.weight, std=0.5 * (4 * width) ** -0.5 * (2 * depth) ** -0.5 * 2)
            for module in (layer.q_proj, layer.k_proj, layer.v_proj, layer.out_proj, layer.fc1, layer.fc2):
                nn.init.zeros_(module.bias)
    for projection in (model.visual_projection, model.text_projection):
        nn.init.orthogonal_(projection.weight)

    vision = model.vision
    width, content = vision.class_embedding.numel(), vision.class_embedding.numel() - PLACE
    centred = patches - patches.mean(0)
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(patches))
    white = vectors * (values + 0.01 * values.mean()).rsqrt()
    turned = torch.linalg.qr(torch.randn(content, patches.shape[1]))[0] if content >= patches.shape[1] else torch.randn(content, patches.shape[1])
    weight = turned @ white.T
    weight *= 1 / (centred @ weight.T).std()
    vision.patch_embedding.weight.zero_()
    vision.patch_embedding.weight[:content] = weight

    grid = vision.grid
    y, x = torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij")
    rates = 2 * math.pi * torch.arange(1, PLACE // 4 + 1) / (2 * grid)
    place = torch.cat([f(axis.flatten()[:, None] * rates) for axis in (x, y) for f in (torch.cos, torch.sin)], 1)
    vision.position_embedding[1:, content:] = place
    vision.class_embedding[content:] = 0
    vision.position_embedding[0, content:] = 0

    around = [(-1, -1), (0, -1), (1, -1), (-1, 0), (1, 0), (-1, 1), (0, 1), (1, 1)]
    quarter = PLACE // 4
    for layer, reach in zip(vision.layers, local):
        size = width // layer.heads
        gain = (sharpness * size**0.5) ** 0.5
        for head in range(layer.heads):
            dx, dy = [reach * d for d in around[head % len(around)]]
            rows = slice(head * size, head * size + PLACE)
            layer.k_proj.weight[rows] = 0
            layer.q_proj.weight[rows] = 0
            layer.k_proj.weight[rows, content:] = gain * torch.eye(PLACE)
            turn = torch.zeros(PLACE, PLACE)  # the place, moved by (dx, dy)
            for axis, d in enumerate((dx, dy)):
                for m in range(quarter):
                    c, s = 2 * axis * quarter + m, (2 * axis + 1) * quarter + m
                    turn[c, c] = turn[s, s] = torch.cos(rates[m] * d)
                    turn[s, c], turn[c, s] = torch.sin(rates[m] * d), -torch.sin(rates[m] * d)
            layer.q_proj.weight[rows, content:] = gain * turn


def weight_names(layers, tower):
    """Pairs (name here, name in transformers) for the layers of one tower."""
    for i in range(layers):
        for part in ("layer_norm1", "layer_norm2", "q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"):
            where = {"q": "self_attn.", "k": "self_attn.", "v": "self_attn.", "o": "self_attn.", "f": "mlp."}.get(part[0], "")
            for kind in ("weight", "bias"):
                yield f"layers.{i}.{part}.{kind}", f"{tower}_model.encoder.layers.{i}.{where}{part}.{kind}"


def to_transformers(model):
    """A state dictionary of CLIPModel."""
    state, out = model.state_dict(), {}
    for here, there in (("vision", "vision"), ("text", "text")):
        for name, other in weight_names(len(getattr(model, here).layers), there):
            out[other] = state[f"{here}.{name}"]
    vision, patch = state["vision.patch_embedding.weight"], model.vision.patch
    out["vision_model.embeddings.class_embedding"] = state["vision.class_embedding"]
    out["vision_model.embeddings.patch_embedding.weight"] = vision.view(-1, 3, patch, patch)
    out["vision_model.embeddings.position_embedding.weight"] = state["vision.position_embedding"]
    out["text_model.embeddings.token_embedding.weight"] = state["text.token_embedding"]
    out["text_model.embeddings.position_embedding.weight"] = state["text.position_embedding"]
    for norm in ("pre_layrnorm", "post_layernorm"):
        for kind in ("weight", "bias"):
            out[f"vision_model.{norm}.{kind}"] = state[f"vision.{norm}.{kind}"]
    for kind in ("weight", "bias"):
        out[f"text_model.final_layer_norm.{kind}"] = state[f"text.final_layer_norm.{kind}"]
    for name in ("visual_projection.weight", "text_projection.weight", "logit_scale"):
        out[name] = state[name]
    return {name: value.contiguous() for name, value in out.items()}


def from_transformers(folder):
    """The towers from a folder that `export.py` wrote (or any CLIPModel of these shapes with quick GELU)."""
    import json
    from pathlib import Path

    from safetensors.torch import load_file

    model = Clip(json.loads((Path(folder) / "config.json").read_text()))
    theirs = load_file(Path(folder) / "model.safetensors")
    names = {name: None for name in model.state_dict()}
    for tower in ("vision", "text"):
        for name, other in weight_names(len(getattr(model, tower).layers), tower):
            names[f"{tower}.{name}"] = other
    for name, other in names.items():
        if other is None and name.count(".") and not name.startswith(("visual", "text_p")):
            tower, rest = name.split(".", 1)
            table = rest.endswith("embedding") and rest != "class_embedding" or rest == "patch_embedding.weight"
            rest = rest.removesuffix(".weight") if table else rest
            names[name] = f"{tower}_model.{'embeddings.' if 'embedding' in rest else ''}{rest}{'.weight' if table else ''}"
    own = {name: theirs[other or name].float() for name, other in names.items()}
    own["vision.patch_embedding.weight"] = own["vision.patch_embedding.weight"].flatten(1)
    model.load_state_dict(own)
    return model.eval()
