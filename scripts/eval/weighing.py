"""Other ways to find the weights of a blend, side by side: `crayon eval choice` on each, as Markdown.

    pip install torch transformers
    cargo build --release && python3 scripts/eval/customize.py run mini --methods base && python3 scripts/eval/weighing.py --model DIR > docs/results/weighing.md

`--runs` is the folder of customize.py, `--model` the embedded mini as a Hugging Face folder (`crayon convert`). None of the ways
looks at the labels of the examples but the last.

- blend: the program's. One key an adapter, the first layer's query, softmax of the cosines at 0.1.
- keys: four keys an adapter, by k-means among the training examples that are nearest to it; its score is the best of them.
- tasks: after LORAUTER (arXiv 2601.21795). The cosines are those with the mean queries of the training tasks; each task stands for
  the weights that its own examples have.
- layers: every layer has keys of its own, the mean queries of that layer over an adapter's examples, and so weights of its own.
- picked: of base model, blend at 0.02, 0.1 and 0.3, keys, tasks and layers the one that answers most of the user's examples rightly,
  the first of them where several do. This one uses labels.
"""

import argparse
import json
import random
import tempfile
from collections import defaultdict
from pathlib import Path

import customize_tasks as tasks
import torch
from program import crayon, table
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

ROOT = Path(__file__).resolve().parents[2]
KEYS = 4
TEMPERATURE = 0.1
WAYS = ["base", "blend", "keys", "tasks", "layers", "picked"]


class Queries:
    """Mean query of each layer over a text's tokens, `[layers, width]`."""

    def __init__(self, folder):
        self.tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(Path(folder) / "tokenizer.json"))
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    @torch.no_grad()
    def __call__(self, text):
        ids = torch.tensor([self.tokenizer.encode(text, add_special_tokens=False)])
        hidden = self.model(ids, output_hidden_states=True).hidden_states
        layers = self.model.model.layers
        return torch.stack([layer.self_attn.q_proj(layer.input_layernorm(h))[0].mean(0) for layer, h in zip(layers, hidden)])


def rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def unit(x):
    return x / x.norm(dim=-1, keepdim=True).clamp_min(1e-12)


def softmax(scores, temperature=TEMPERATURE):
    return torch.softmax(scores / temperature, -1)


def centres(points):
    """Up to `KEYS` centres of unit vectors by spherical k-means; starts spread far apart."""
    found = points[:1]
    while len(found) < min(KEYS, len(points)):
        farthest = (points @ found.T).max(-1).values.argmin()
        found = torch.cat([found, points[farthest : farthest + 1]])
    for _ in range(50):
        nearest = (points @ found.T).argmax(-1)
        found = torch.stack([unit(points[nearest == k].mean(0)) if (nearest == k).any() else found[k] for k in range(len(found))])
    return found


class Pool:
    def __init__(self, folder, queries, examples):
        file = load_file(folder / "pool.safetensors")
        self.keys = unit(file["keys"])
        self.adapters = [load_file(path / "adapter_model.safetensors") for path in sorted((folder / "adapters").iterdir())]
        self.config = json.loads((folder / "adapters/000/adapter_config.json").read_text())
        asked = torch.stack([queries(row["prompt"]) for row in examples])  # [examples, layers, width]
        self.means = asked.mean(0)
        self.means[0] = file["mean"][0]
        asked = unit(asked - self.means)
        nearest = (asked[:, 0] @ self.keys.T).argmax(-1)
        groups = [asked[nearest == n] for n in range(len(self.keys))]
        self.layer_keys = torch.stack([unit(group.mean(0)) for group in groups], 1)  # [layers, adapters, width]
        self.several = []
        for group in groups:
            self.several.append(centres(group[:, 0]))
        by_task = defaultdict(list)
        for row, query in zip(examples, asked[:, 0]):
            by_task[row["task"]].append(query)
        self.tasks = unit(torch.stack([torch.stack(group).mean(0) for group in by_task.values()]))
        self.task_weights = torch.stack([softmax(torch.stack(group) @ self.keys.T).mean(0) for group in by_task.values()])

    def weights(self, way, asked, temperature=TEMPERATURE):
        """Weights `[layers, adapters]` for the queries of some examples."""
        own = unit(unit(asked - self.means).mean(0))  # [layers, width]
        if way == "layers":
            return softmax(torch.einsum("lw,lnw->ln", own, self.layer_keys), temperature)
        if way == "keys":
            found = softmax(torch.stack([(keys @ own[0]).max() for keys in self.several]), temperature)
        elif way == "tasks":
            found = softmax(self.tasks @ own[0], temperature) @ self.task_weights
        else:
            found = softmax(self.keys @ own[0], temperature)
        return found.expand(len(own), -1)

    def write(self, weights, folder):
        """The exact blend as one PEFT adapter."""
        folder.mkdir(parents=True, exist_ok=True)
        scale, joined = self.config["lora_alpha"] / self.config["r"], {}
        for name in self.adapters[0]:
            layer = int(name.split("layers.")[1].split(".")[0])
            parts = [adapter[name] for adapter in self.adapters]
            if "lora_A" in name:
                joined[name] = torch.cat(parts).contiguous()
            else:
                joined[name] = torch.cat([part * weight * scale for part, weight in zip(parts, weights[layer])], 1).contiguous()
        rank = self.config["r"] * len(self.adapters)
        save_file(joined, folder / "adapter_model.safetensors")
        (folder / "adapter_config.json").write_text(json.dumps(self.config | {"r": rank, "lora_alpha": rank}))
        return ["-a", folder]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--binary", default=str(ROOT / "target/release/crayon"))
    parser.add_argument("--runs", type=Path, default=ROOT / "training/runs/customize")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data")
    parser.add_argument("--examples", type=int, default=20)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--questions", type=int, default=60)
    args = parser.parse_args()
    torch.manual_seed(0)
    queries = Queries(args.model)
    pool = Pool(args.runs / "mini-pool", queries, rows(args.runs / "pool.jsonl"))
    found = defaultdict(list)
    users = sorted(tasks.short(name) for name in tasks.OUTSIDE)
    trains = {tasks.short(name): tasks.user(args.data, name)["train"] for name in tasks.OUTSIDE}
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        for user in users:
            folder, train = args.runs / "mini/outside" / user, trains[user]

            def accuracy(task, adapter, *more):
                return crayon(args.binary, "eval", "choice", "--task", task, *adapter, *more)["accuracy"]

            test = lambda adapter: accuracy(folder / "test.jsonl", adapter, "--limit", args.questions, "--seed", 1)
            base = test([])
            for draw in range(args.draws):
                own = random.Random(draw).sample(train, args.examples)
                (scratch / "own.jsonl").write_text("\n".join(map(json.dumps, own)), encoding="utf-8")
                asked = torch.stack([queries(row["prompt"]) for row in own])
                made = {way: pool.write(pool.weights(way, asked), scratch / way) for way in ("blend", "keys", "tasks", "layers")}
                score = {way: test(adapter) for way, adapter in made.items()} | {"base": base}
                for temperature in (0.02, 0.3):
                    made[temperature] = pool.write(pool.weights("blend", asked, temperature), scratch / str(temperature))
                made["base"] = []
                fits = {way: accuracy(scratch / "own.jsonl", adapter) for way, adapter in made.items()}
                picked = max(["blend", "base", 0.02, 0.3, "keys", "tasks", "layers"], key=lambda way: fits[way])
                score["picked"] = score[picked] if picked in score else test(made[picked])
                for way in WAYS:
                    found[user, way].append(score[way])

    mean = lambda values: sum(values) / len(values)
    title, text = __doc__.split("\n", 1)[0], __doc__.split("\n- ", 1)[1].rstrip()
    print(f"# Other ways to weigh\n\nPrinted by `python3 scripts/eval/weighing.py`: {args.examples} examples, {args.draws} draws, {args.questions} questions a user, per cent right.\n\n- {text}\n")
    cells = [[user, *(f"{100 * mean(found[user, way]):.1f}" for way in WAYS)] for user in users]
    cells.append(["mean", *(f"{100 * mean([mean(found[user, way]) for user in users]):.1f}" for way in WAYS)])
    print(table(["user", *WAYS], cells))


if __name__ == "__main__":
    main()
