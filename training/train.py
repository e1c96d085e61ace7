"""Trains one model; run again to go on after a stop.

    python train.py mini                      # on the CPU, f32
    python train.py mini --processes 2        # one thread each; on a busy machine faster than two threads
    python train.py mini --tokens 2e8 --device cuda --batch-scale 8 --compile
"""

import argparse
import csv
import os
import signal
import time
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F

import grow
from muon import Muon
from packing import PROSE, Packer
from pointing import Pointing
from recipes import RECIPES

WARMUP = 0.01


def loss_of(model, ids, targets, weights):
    logits = model(ids)
    loss = F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="none")
    return (loss * weights.flatten()).sum() / weights.sum()


def schedule(progress, decay_from):
    return min(1.0, progress / WARMUP + 0.05, max(0.0, (1 - progress) / (1 - decay_from)))


def open_curve(path, step):
    """The loss curve up to `step`, ready to go on."""
    lines = [["step", "tokens", "window", "rate", "loss", "valid_stories", "valid_tales", "seconds"]]
    if step and path.exists():
        with path.open(newline="") as file:
            lines += [row for row in list(csv.reader(file))[1:] if int(row[0]) <= step]
    curve = path.open("w", newline="")
    log = csv.writer(curve)
    log.writerows(lines)
    return curve, log


class Validation:
    """Loss per token on held-out prose."""

    def __init__(self, folder, device, length=256, windows=8):
        self.batches = {}
        for name in PROSE[:2]:
            ids = np.load(folder / f"valid_{name}.npz")["ids"][: windows * (length + 1)].astype(np.int64)
            self.batches[name] = torch.from_numpy(ids).view(windows, length + 1).to(device)

    @torch.no_grad()
    def __call__(self, model):
        return {n: loss_of(model, b[:, :-1], b[:, 1:], torch.ones_like(b[:, 1:])).item() for n, b in self.batches.items()}


def add_up(parameters, loss, stop):
    """Sums gradients, the loss and the wish to stop over processes."""
    flat = torch.cat([p.grad.flatten() for p in parameters] + [loss.view(1), torch.tensor([float(stop)])])
    dist.all_reduce(flat)
    at = 0
    for p in parameters:
        p.grad.copy_(flat[at : at + p.numel()].view_as(p))
        at += p.numel()
    return flat[-2], flat[-1] > 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=RECIPES)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "runs")
    parser.add_argument("--tokens", type=float, help="length of the whole run")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch-scale", type=int, default=1, help="multiplies the tokens of a step; learning rates follow its square root")
    parser.add_argument("--micro-tokens", type=int, default=65536, help="tokens that go through the network at once")
    parser.add_argument("--no-pointing", action="store_true", help="leave the copying heads to themselves")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--muon", type=float)
    parser.add_argument("--stop-at", type=float, default=1e30, help="leave after so many tokens, for trials")
    parser.add_argument("--name", help="folder of the run, where not the model's name")
    parser.add_argument("--processes", type=int, default=1, help="share every step between so many CPU processes of one thread")
    args = parser.parse_args()
    if args.processes > 1:
        os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
        os.environ.setdefault("MASTER_PORT", str(29500 + os.getpid() % 1000))
        workers = torch.multiprocessing.spawn(train, (args,), nprocs=args.processes, join=False)
        # the processes stop together, each after its step
        signal.signal(signal.SIGTERM, lambda *_: [os.kill(worker.pid, signal.SIGTERM) for worker in workers.processes])
        while not workers.join():
            pass
    else:
        train(0, args)


def train(rank, args):
    if args.processes > 1:
        dist.init_process_group("gloo", rank=rank, world_size=args.processes)
        args.threads = 1
    first = rank == 0
    recipe = RECIPES[args.model]
    total = int(args.tokens or recipe.tokens)
    folder = args.out / (args.name or args.model)
    folder.mkdir(parents=True, exist_ok=True)
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    torch.set_float32_matmul_precision("high")

    cuda = args.device.startswith("cuda")
    model = recipe.build(recipe.config).to(args.device)
    larger = args.batch_scale**0.5
    matrices = model.hidden_matrices()
    inside = set(map(id, matrices))
    rest = [p for p in model.parameters() if id(p) not in inside]
    optimizers = [
        Muon(matrices, lr=min(0.04, (args.muon or recipe.muon) * larger)),
        torch.optim.AdamW(rest, lr=min(0.008, recipe.adam * larger), betas=(0.9, 0.97), weight_decay=0.0, fused=cuda),
    ]
    peaks = [o.param_groups[0]["lr"] for o in optimizers]
    pointing = None if args.no_pointing else Pointing(model.attentions())
    packer = Packer(args.out / "tokens", args.seed)
    validate = Validation(args.out / "tokens", args.device)

    checkpoint, step, seen, seconds = folder / "checkpoint.pt", 0, 0, 0.0
    if checkpoint.exists():
        saved = torch.load(checkpoint, map_location=args.device, weights_only=False)
        model.load_state_dict(saved["model"])
        for optimizer, state in zip(optimizers, saved["optimizers"]):
            optimizer.load_state_dict(state)
        packer.restore(saved["packer"])
        step, seen, seconds = saved["step"], saved["seen"], saved.get("seconds", 0.0)
        print(f"process {rank} resumed at step {step}, {seen} tokens")
    elif recipe.grow_from:
        source = args.out / recipe.grow_from / "checkpoint.pt"
        grow.start(model, torch.load(source, map_location=args.device, weights_only=False)["model"])
    if first:
        print(f"{args.model}: {sum(p.numel() for p in model.parameters())} parameters, {total} tokens")

    def save(to=checkpoint):
        state = {"model": model.state_dict(), "optimizers": [o.state_dict() for o in optimizers], "packer": packer.state(), "step": step, "seen": seen, "seconds": time.time() - began}
        torch.save(state | {"describe": model.describe()}, to.with_suffix(".tmp"))
        os.replace(to.with_suffix(".tmp"), to)

    run = torch.compile(loss_of) if args.compile else loss_of
    curve, log = open_curve(folder / "loss.csv", step) if first else (None, None)
    began, smooth, last_save = time.time() - seconds, None, time.time()
    stop, trunk = False, folder / "before-decay.pt"

    def leave(*_):  # save first
        nonlocal stop
        stop = True

    signal.signal(signal.SIGTERM, leave)
    while seen < min(total, args.stop_at) and not stop:
        progress = seen / total
        phase = next(p for p in recipe.phases if progress < p.until)
        if first and progress >= recipe.decay_from and not trunk.exists():
            save(trunk)  # from here a longer run can go on at the full rate
        count = max(1, phase.tokens * args.batch_scale // phase.window)
        ids, targets, weights, source = (torch.from_numpy(x).to(args.device) for x in packer.batch(count, phase.window, phase.mix))
        scale = schedule(progress, recipe.decay_from)
        for optimizer, peak, rate in zip(optimizers, peaks, (phase.rate, 1.0)):
            optimizer.param_groups[0]["lr"] = peak * scale * rate
        optimizers[0].param_groups[0]["momentum"] = 0.85 + 0.1 * min(1, progress / 0.05)

        total_weight, loss_sum, missed, size = weights.sum(), 0.0, 0.0, ids.numel()
        mine = slice(rank * count // args.processes, (rank + 1) * count // args.processes)
        parts = max(1, size // args.processes // args.micro_tokens)
        for *part, origin in zip(*(x[mine].chunk(parts) for x in (ids, targets, weights, source))):
            with torch.autocast(args.device.split(":")[0], torch.bfloat16, enabled=cuda):
                loss = run(model, *part) * (part[2].sum() / total_weight)
            hint, miss = pointing.loss(origin) if pointing else (0.0, 0.0)
            share = len(origin) / count
            (loss + hint * share).backward()
            missed += float(miss) * share
            loss_sum += loss.detach()
        if args.processes > 1:
            loss_sum, stop = add_up([*matrices, *rest], loss_sum, stop)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        step, seen = step + 1, seen + size

        if first and step % 10 == 0:
            value = float(loss_sum)
            smooth = value if smooth is None else 0.8 * smooth + 0.2 * value
            held = validate(model) if step % 100 == 0 else {}
            log.writerow([step, seen, phase.window, f"{scale:.3f}", f"{value:.4f}", *(f"{held[n]:.4f}" if held else "" for n in PROSE[:2]), f"{time.time() - began:.0f}"])
            curve.flush()
            print(f"{step} {seen / 1e6:.3f}M window {phase.window} rate {scale:.3f} loss {smooth:.3f} pointer {missed * args.processes:.3f} {held or ''} {time.time() - began:.0f}s", flush=True)
        if first and time.time() - last_save > 180:
            save()
            last_save = time.time()
    if first:
        save()


if __name__ == "__main__":
    main()
