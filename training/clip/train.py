"""Trains mini-clip; the same command goes on where the last checkpoint was.

    python train.py --data ../../../shared/data --run ../../runs/mini-clip

The rate is constant until `--decay-from`, then falls to zero in `--decay` steps, so the end can be chosen while it runs: a file
`control.json` in the run's folder, `{"decay_from": 3000, "decay": 300, "full_from": 2500}`, has the same say as the flags and is
read again every ten steps. `--until 17:00` ends by the clock instead, for a machine whose speed is not known. From `full_from` on all patches are seen, before only `--kept` of 64. What is exported is an average
of the weights. Needs from PyPI: torch, numpy, pillow, transformers.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).parent.parent))
import bpe
import pictures
import towers
from batches import Batches, keep
from captions import CIFAR_NAMES, CIFAR_SENTENCES, PHOTO, describe
from evaluate import encode, zero_shot_cifar
from muon import Muon


def vocabulary(records, data, folder, size):
    import random

    if not (folder / "tokenizer.json").exists():
        rng = random.Random(0)
        lines = [*PHOTO, *[n for names in CIFAR_NAMES.values() for n in names] * 5, *[s for some in CIFAR_SENTENCES.values() for s in some] * 3]
        for record in records:
            if record["split"] == "train" and record["set"] not in ("cifar10", "caltech101") and "fitzpatrick" not in record["name"]:
                lines += record["captions"]
                lines += [describe(record).caption(rng)[0] for _ in range(2)]
        written = json.loads((data / "cupl_prompts" / "cifar10_prompts_full.json").read_text())
        lines += [s for some in written.values() for s in some]
        bpe.write(*bpe.learn(lines, size), folder)
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(folder)


def loss(model, images, texts, truth):
    """Cross-entropy both ways against all true pairs; each picture and each caption counts the same.

    Pairs that are true in part (of captions with a weighted word) are the caption's matter alone: for the picture such a caption
    is neither right nor wrong.
    """
    logits = model.logit_scale.clamp(max=4.6).exp() * images @ texts.T
    whole, partly = truth == 1, (truth > 0) & (truth < 1)
    chosen = logits.masked_fill(partly, float("-inf")).log_softmax(1).masked_fill(~whole, 0)
    by_picture = -chosen.sum(1) / whole.sum(1).clamp(min=1)
    by_text = -(logits.log_softmax(0) * truth).sum(0) / truth.sum(0).clamp(min=1)
    return by_picture.mean(), by_text.mean(), logits


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--data", type=Path, default=Path("../../../shared/data"))
    p.add_argument("--run", type=Path, default=Path("../../runs/mini-clip"))
    p.add_argument("--pixels", type=Path, default=None)
    p.add_argument("--start", type=Path, help="weights to go on from, with a new schedule: a folder in f16 or f32, as export.py writes it")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--steps", type=int, default=10**9)
    p.add_argument("--warmup", type=int, default=60)
    p.add_argument("--rate", type=float, default=0.02, help="Muon's; AdamW's is a tenth")
    p.add_argument("--kept", type=int, default=32)
    p.add_argument("--full-from", type=int, default=10**9)
    p.add_argument("--decay-from", type=int, default=10**9)
    p.add_argument("--decay", type=int, default=300)
    p.add_argument("--until", help="HH:MM today: the rate falls with the time left, whatever step is reached by then")
    p.add_argument("--decay-minutes", type=float, default=15)
    p.add_argument("--full-minutes", type=float, default=15, help="before --until, all patches are seen")
    p.add_argument("--vocabulary", type=int, default=4096)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--minutes", type=float, default=4, help="between checkpoints")
    p.add_argument("--chunk", type=int, default=192, help="pictures that go through the tower together")
    p.add_argument("--precision", choices=("bfloat16", "float32"), default="bfloat16", help="of products; float32 on processors without AVX-512 BF16 or AMX")
    p.add_argument("--bound", type=float, default=4, help="of the logits of the text tower's attention, so that weights of words count; 0 for none")
    p.add_argument("--texts-only", action="store_true", help="the tower of pictures stays as it is")
    p.add_argument("--plain", action="store_true", help="without the convolution-like start")
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(a.seed)
    precision = getattr(torch, a.precision)
    folder = a.pixels or a.run.parent / "pixels"
    pictures.decode(a.data, folder, extra=["caltech101"])
    pixels, cifar, records = pictures.load(folder)
    if a.start and not (a.run / "tokenizer").exists():
        bpe.write(*bpe.read(a.start), a.run / "tokenizer")
    tokenizer = vocabulary(records, a.data, a.run / "tokenizer", a.vocabulary)
    data = Batches(pixels, cifar, records, a.seed)
    validation = [r for r in records if r["split"] == "validation"]

    config = towers.config(len(tokenizer), tokenizer.eos_token_id, tokenizer.bos_token_id)
    model = towers.Clip(config)
    first = data.batch(0)[0]
    if a.start:
        model.load_state_dict(towers.from_transformers(a.start).state_dict())
    else:
        towers.initialise(model, model.vision.patches(first).flatten(0, 1), local=() if a.plain else (1, 1, 1, 2))
    for layer in model.text.layers:
        layer.bound = a.bound
    if a.texts_only:
        model.vision.requires_grad_(False)
        model.visual_projection.requires_grad_(False)
    learned = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    matrices = [p for n, p in learned if p.ndim == 2 and ".layers." in n]
    tables = [p for n, p in learned if "embedding" in n]
    chosen = {id(p) for p in (*matrices, *tables)}
    others = [p for _, p in learned if id(p) not in chosen]
    muon = Muon(matrices, lr=a.rate, weight_decay=0.02, half=precision)
    adam = torch.optim.AdamW([{"params": tables, "lr": a.rate * 0.15}, {"params": others, "lr": a.rate * 0.1}], betas=(0.9, 0.98), weight_decay=0.0)
    for group in (*muon.param_groups, *adam.param_groups):
        group["full"] = group["lr"]
    average = {n: p.detach().clone() for n, p in model.named_parameters()}
    step, events = 0, {"full_from": a.full_from, "decay_from": a.decay_from, "decay": a.decay}
    saved = a.run / "checkpoint.pt"
    if saved.exists():
        state = torch.load(saved, weights_only=False)
        model.load_state_dict(state["model"])
        muon.load_state_dict(state["muon"])
        adam.load_state_dict(state["adam"])
        average, step, events = state["average"], state["step"], state["events"]
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters; vocabulary {len(tokenizer)}; from step {step}", flush=True)

    def save():
        torch.save({"model": model.state_dict(), "muon": muon.state_dict(), "adam": adam.state_dict(), "average": average, "step": step,
                    "events": events, "config": config, "arguments": {k: str(v) for k, v in vars(a).items()}}, saved.with_suffix(".new"))
        saved.with_suffix(".new").replace(saved)

    until = float("inf")
    if a.until:
        until = time.mktime((*time.localtime()[:3], *map(int, a.until.split(":")), 0, 0, 0, -1))
    log = open(a.run / "log.jsonl", "a")
    last_save, sums, began, busy = time.time(), [], time.time(), time.process_time()
    while step < a.steps:
        if step % 10 == 0 and (a.run / "control.json").exists():
            events.update(json.loads((a.run / "control.json").read_text()))
        if step >= events["decay_from"] + events["decay"]:
            break
        left = (until - time.time()) / 60
        if left <= 0:
            break
        if left < a.full_minutes:
            events["full_from"] = min(events["full_from"], step)
        rate = min(1, left / a.decay_minutes, (step + 1) / a.warmup, max(0.0, (events["decay_from"] + events["decay"] - step) / events["decay"]))
        for group in (*muon.param_groups, *adam.param_groups):
            group["lr"] = group["full"] * rate
        batch, texts, stresses, truth, n_cifar = data.batch(step)
        chance = torch.Generator().manual_seed(a.seed * 7_000_003 + step)
        kept = None if step >= events["full_from"] else keep(batch, model.vision.patch, a.kept, chance, n_cifar)
        with torch.set_grad_enabled(not a.texts_only):
            images = torch.cat([
                model.images(batch[i : i + a.chunk], None if kept is None else kept[i : i + a.chunk], precision)
                for i in range(0, len(batch), a.chunk)
            ])
        by_picture, by_text, logits = loss(model, images, encode(model, tokenizer, texts, precision, stresses=stresses), truth)
        (by_picture + by_text).backward()
        muon.step()
        adam.step()
        muon.zero_grad()
        adam.zero_grad()
        for layer in model.text.layers if a.bound else ():
            layer.bounded()
        step += 1
        with torch.no_grad():
            # The average's memory grows with the run, and shrinks with the rate's decay, which averages by itself.
            decay = min(0.998, step / (step + 20)) if rate == 1 or step < a.warmup else 0.99
            torch._foreach_lerp_(list(average.values()), [p for _, p in model.named_parameters()], 1 - decay)
            hit = (truth == 1).gather(1, logits.argmax(1)[:, None]).float().squeeze(1)
            sums.append((by_picture.item(), by_text.item(), hit[:n_cifar].mean().item(), hit[n_cifar:].mean().item(), len(texts)))
        if step % 20 == 0:
            mean = [sum(s) / len(sums) for s in zip(*sums)]
            line = {"step": step, "by_picture": round(mean[0], 4), "by_text": round(mean[1], 4), "cifar": round(mean[2], 4), "others": round(mean[3], 4),
                    "texts": round(mean[4]), "scale": round(model.logit_scale.exp().item(), 2), "rate": round(rate, 3),
                    "patches": 64 if kept is None else a.kept, "seconds": round((time.time() - began) / len(sums), 2),
                    "cpu_seconds": round((time.process_time() - busy) / len(sums), 2)}
            sums, began, busy = [], time.time(), time.process_time()
            print(json.dumps(line), file=log, flush=True)
        if time.time() - last_save > 60 * a.minutes:
            save()
            last_save = time.time()
            if (a.run / "validate").exists():
                mine = {n: p.detach().clone() for n, p in model.named_parameters()}
                model.load_state_dict(average)
                print(json.dumps({"step": step, "validation": zero_shot_cifar(model, tokenizer, validation, pixels, cifar)}), file=log, flush=True)
                model.load_state_dict(mine)
    save()


if __name__ == "__main__":
    main()
