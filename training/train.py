"""Trains one model; run again to go on after a stop.

    python train.py mini                      # on the CPU, f32
    python train.py mini --processes 2        # one thread each; on a busy machine faster than two threads
    python train.py mini-everyday --processes 2 --precision bfloat16 --compile   # where the CPU multiplies bfloat16
    python train.py mini --tokens 2e8 --device cuda --batch-scale 8 --compile
"""

import argparse
import copy
import csv
import os
import signal
import time
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from safetensors.torch import load_file

import pointing
from ahead import ahead, batches
from muon import Muon
from packing import PROSE, Packer
from recipes import RECIPES

WARMUP = 0.01


def cross_entropy(logits, targets, weights):
    loss = F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="none")
    return (loss * weights.flatten()).sum() / weights.sum()


def objective(model, ids, targets, weights, source, hint):
    """The loss of a batch, what is added while heads are shown where to look, and what the copying heads miss."""
    watched = [] if hint else None
    loss = cross_entropy(model(ids, watched), targets, weights)
    return loss, *(pointing.loss(watched, source) if hint else (loss.new_zeros(()), loss.new_zeros(())))


def schedule(progress, decay_from):
    return min(1.0, progress / WARMUP + 0.05, max(0.0, (1 - progress) / (1 - decay_from)))


def peaks(recipe, scale):
    """The largest rates of Muon and AdamW where a step has `scale` times the recipe's tokens."""
    return min(0.04, recipe.muon * scale**0.5), min(0.008, recipe.adam * scale**0.5)


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
        model.eval()
        losses = {n: cross_entropy(model(b[:, :-1]), b[:, 1:], torch.ones_like(b[:, 1:])).item() for n, b in self.batches.items()}
        model.train()
        return losses


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
    parser.add_argument("--precision", choices=["float32", "bfloat16"], help="of products; usually bfloat16 on a GPU and float32 on a CPU")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
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
    narrow = args.precision == "bfloat16" if args.precision else cuda
    model = recipe.build(recipe.config).to(args.device)
    muon, adam = peaks(recipe, args.batch_scale)
    matrices = model.hidden_matrices()
    inside = set(map(id, matrices))
    rest = [p for p in model.parameters() if id(p) not in inside]
    optimizers = [
        Muon(matrices, lr=muon, half=torch.bfloat16 if narrow else None),
        torch.optim.AdamW(rest, lr=adam, betas=(0.9, 0.97), weight_decay=0.0, fused=cuda),
    ]
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
    elif recipe.starts_from:
        state = load_file(args.out / "hf" / recipe.starts_from / "model.safetensors", args.device)
        model.load_state_dict({name: p.float() for name, p in state.items()})
    if first:
        print(f"{args.model}: {sum(p.numel() for p in model.parameters())} parameters, {total} tokens")

    packed = copy.deepcopy(packer.state())

    def save(to=checkpoint):
        state = {"model": model.state_dict(), "optimizers": [o.state_dict() for o in optimizers], "packer": packed, "step": step, "seen": seen, "seconds": time.time() - began}
        torch.save(state | {"describe": model.describe()}, to.with_suffix(".tmp"))
        os.replace(to.with_suffix(".tmp"), to)

    run = torch.compile(objective, dynamic=False) if args.compile else objective
    curve, log = open_curve(folder / "loss.csv", step) if first else (None, None)
    began, smooth, last_save = time.time() - seconds, None, time.time()
    asked_to_stop, stop, trunk = False, False, folder / "before-decay.pt"

    def leave(*_):  # after the step, and save first
        nonlocal asked_to_stop
        asked_to_stop = True

    signal.signal(signal.SIGTERM, leave)
    steps = ahead(batches(packer, recipe, total, seen, args.batch_scale))
    for phase, batch, after, packed_after in steps:
        if stop or seen >= args.stop_at:
            break
        progress = seen / total
        if first and progress >= recipe.decay_from and not trunk.exists():
            save(trunk)  # from here a longer run can go on at the full rate
        torch.manual_seed((args.seed * 1_000_003 + step) * args.processes + rank)  # dropout goes on alike after a stop
        scale = schedule(progress, recipe.decay_from)
        for optimizer, peak in zip(optimizers, (muon, adam)):
            optimizer.param_groups[0]["lr"] = peak * scale
        optimizers[0].param_groups[0]["momentum"] = 0.85 + 0.1 * min(1, progress / 0.05)

        batch = [x.to(args.device) for x in batch]
        count, total_weight, loss_sum, missed = len(batch[0]), batch[2].sum(), 0.0, 0.0
        mine = slice(rank * count // args.processes, (rank + 1) * count // args.processes)
        parts = max(1, batch[0].numel() // args.processes // args.micro_tokens)
        for part in zip(*(x[mine].chunk(parts) for x in batch)):
            with torch.autocast(args.device.split(":")[0], torch.bfloat16, enabled=narrow):
                loss, hint, miss = run(model, *part, phase.pointing and not args.no_pointing)
            loss, share = loss * (part[2].sum() / total_weight), len(part[0]) / count
            (loss + hint * share).backward()
            missed += miss * share
            loss_sum += loss.detach()
        stop = asked_to_stop
        if args.processes > 1:
            loss_sum, stop = add_up([*matrices, *rest], loss_sum, stop)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        step, seen, packed = step + 1, after, packed_after

        if first and step % 10 == 0:
            value = float(loss_sum)
            smooth = value if smooth is None else 0.8 * smooth + 0.2 * value
            held = validate(model) if step % 100 == 0 else {}
            log.writerow([step, seen, phase.window, f"{scale:.3f}", f"{value:.4f}", *(f"{held[n]:.4f}" if held else "" for n in PROSE[:2]), f"{time.time() - began:.0f}"])
            curve.flush()
            print(f"{step} {seen / 1e6:.3f}M window {phase.window} rate {scale:.3f} loss {smooth:.3f} pointer {float(missed) * args.processes:.3f} {held or ''} {time.time() - began:.0f}s", flush=True)
        if first and time.time() - last_save > 180:
            save()
            last_save = time.time()
    steps.close()
    if first:
        save()
        print(f"{'done' if seen >= total else 'stopped'} after {seen} tokens", flush=True)


if __name__ == "__main__":
    main()
