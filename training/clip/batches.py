"""Batches for training: pictures mixed from all sets, moved a little, and captions with their truth for every picture.

Some captions are said a second time with a weight on one of their words (`stress.py`). A batch depends on (seed, step) alone, so that a run that was stopped goes on as if it had not been.
"""

import random

import numpy as np
import torch

from captions import COLOURS, Emoji, Scene, describe, plural
from pictures import SIDE, draw, normalised, resampling
from stress import stressed

# Pictures a step.
SHARES = {"cifar10": 208, "icon_scenes": 60, "composed": 24, "fluent_emoji": 28, "noto_emoji": 18, "avatars": 14, "nlvr_boxes": 12, "grocery": 10, "clothing": 10}
CAPTIONS = {}  # a step and picture, where more than one
CLASS_TEXTS = 2  # of each CIFAR-10 class
STRESSED = 0.7  # of the captions that have a word which can be stressed


class Batches:
    def __init__(self, pixels, cifar, records, seed=0):
        self.pixels, self.cifar, self.seed = pixels, cifar, seed
        self.records = {name: [] for name in SHARES}
        for record in records:
            if record["split"] == "train" and record["set"] in SHARES and "fitzpatrick" not in record["name"]:
                self.records[record["set"]].append((record["row"], describe(record)))
        self.emoji = [pair for name in ("fluent_emoji", "noto_emoji") for pair in self.records[name]]
        self.orders = {}

    def pick(self, name, step):
        """The records of one step: each set is gone through in a new order every time."""
        records, n = self.records[name], SHARES[name]
        out = []
        for position in range(step * n, (step + 1) * n):
            epoch, i = divmod(position, len(records))
            if self.orders.get(name, (None,))[0] != epoch:
                self.orders[name] = (epoch, np.random.default_rng([self.seed, epoch, len(records)]).permutation(len(records)))
            out.append(records[self.orders[name][1][i]])
        return out

    def colour(self, rng):
        name = rng.choice(list(COLOURS))
        return name, np.clip(np.array(COLOURS[name]) / 255 + np.array([rng.gauss(0, 0.04) for _ in range(3)]), 0, 1)

    def composed(self, rng):
        """A new scene of emoji on a colour: (placements, background, describer). A placement is (row, x, y, side) in pixels."""
        name, background = self.colour(rng)
        kind = rng.random()
        row, first = rng.choice(self.emoji)
        near = lambda: rng.uniform(-3, 3)
        if kind < 0.4:
            other, second = rng.choice(self.emoji)
            things = [(first.name, None, first.colour), (second.name, None, second.colour)]
            across = rng.random() < 0.5
            side = rng.uniform(24, 31)
            places = [(16 + near() / 2, 32 + near()), (48 + near() / 2, 32 + near())]
            if not across:
                places = [(y, x) for x, y in places]
            scene = Scene(things, 2, name, relation="left of" if across else "above", what="emoji")
            put = [(r, x - side / 2, y - side / 2, side) for r, (x, y) in zip((row, other), places)]
        elif kind < 0.75:
            count = rng.choice([2, 2, 3, 4, 5])
            spots = [(16, 16), (48, 16), (16, 48), (48, 48), (32, 32)] if count == 5 else [(16, 16), (48, 16), (16, 48), (48, 48)]
            if count == 2:
                spots = rng.choice([[(16, 32), (48, 32)], [(32, 16), (32, 48)], [(16, 16), (48, 48)], [(48, 16), (16, 48)]])
            spots = rng.sample(spots, count)
            side = rng.uniform(17, 22) if count == 5 else rng.uniform(20, 29)
            scene = Scene([(first.name, plural(first.name), first.colour)], count, name, what="emoji")
            put = [(row, x + near() / 2 - side / 2, y + near() / 2 - side / 2, side) for x, y in spots]
        else:
            across, down = rng.randrange(3), rng.randrange(3)
            position = " ".join(w for w in (("top", "", "bottom")[down], ("left", "", "right")[across]) if w) or "center"
            side = rng.uniform(20, 30)
            x, y = [(16, 32, 48)[i] + near() for i in (across, down)]
            scene = Scene([(first.name, plural(first.name), first.colour)], 1, name, size="small", position=position, what="emoji")
            put = [(row, x - side / 2, y - side / 2, side)]
        return put, background, scene

    def batch(self, step):
        """(pixels `[n, 3, 64, 64]`, texts, the stressed word of each or None, truth `[n, texts]` of 0 to 1, the number of CIFAR
        pictures, which come first)."""
        rng = random.Random(f"{self.seed} {step}")
        chance = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        uniform = lambda n, low, high: torch.rand(n, generator=chance) * (high - low) + low
        pictures, facts, texts = [], [], {}

        def say(text, claims):
            texts.setdefault(text, claims)

        # CIFAR-10: mirrored, moved by up to 3 of its 32 pixels, now and then a little larger or smaller
        picked = self.pick("cifar10", step)
        n = len(picked)
        source = torch.from_numpy(self.cifar[np.array([row for row, _ in picked])]).float() / 255
        length = uniform(n, 27, 33)
        middle = [16 + uniform(n, -2.5, 2.5) for _ in range(2)]
        mirrored = torch.where(torch.rand(n, generator=chance) < 0.5, -1.0, 1.0)
        rows = resampling(32, middle[1] - length / 2, length)
        columns = resampling(32, middle[0] - mirrored * length / 2, mirrored * length)
        light = uniform(n, 0.85, 1.15)[:, None, None, None]
        pictures.append(draw(source, rows, columns) * light)
        facts += [describer.facts for _, describer in picked]
        for describer in {id(d.name): d for _, d in picked}.values():
            for _ in range(CLASS_TEXTS):
                say(*describer.caption(rng))

        # the others, 64 x 64, with alpha
        others, grounds, mirrors, claims = [], [], [], []
        for name in SHARES:
            if name in ("cifar10", "composed"):
                continue
            for row, describer in self.pick(name, step):
                ground, named, turns = np.ones(3), None, True
                if isinstance(describer, Emoji):
                    turns = describer.turns
                    if rng.random() < 0.5:
                        named, ground = self.colour(rng)
                elif isinstance(describer, Scene):
                    turns = not any("left" in f or "right" in f for f in describer.facts)
                others.append(row)
                grounds.append(ground)
                mirrors.append(-1.0 if turns and rng.random() < 0.5 else 1.0)
                facts.append(describer.facts | {f"bg:{named}"} if named else describer.facts)
                for _ in range(CAPTIONS.get(name, 1)):
                    say(*(describer.caption(rng, named) if isinstance(describer, Emoji) else describer.caption(rng)))
        n = len(others)
        source = torch.from_numpy(self.pixels[np.array(others)]).float() / 255
        alpha = source[..., 3:]
        source = torch.cat([source[..., :3] * alpha, alpha], -1)
        length, mirrored = uniform(n, 58, 70), torch.tensor(mirrors)
        middle = [32 + uniform(n, -3, 3) for _ in range(2)]
        rows = resampling(SIDE, middle[1] - length / 2, length)
        columns = resampling(SIDE, middle[0] - mirrored * length / 2, mirrored * length)
        x = draw(source, rows, columns)
        pictures.append(x[:, :3] + (1 - x[:, 3:]) * torch.tensor(np.stack(grounds)).float()[:, :, None, None])

        # scenes of emoji
        puts, grounds = [], []
        for i in range(SHARES["composed"]):
            put, ground, scene = self.composed(rng)
            puts += [(i, *p) for p in put]
            grounds.append(ground)
            facts.append(scene.facts)
            for _ in range(CAPTIONS.get("composed", 1)):
                say(*scene.caption(rng))
        source = torch.from_numpy(self.pixels[np.array([p[1] for p in puts])]).float() / 255
        source = torch.cat([source[..., :3] * source[..., 3:], source[..., 3:]], -1)
        left, top, side = [torch.tensor([p[i] for p in puts]) for i in (2, 3, 4)]
        scale = SIDE / side
        x = draw(source, *[resampling(SIDE, -edge * scale, SIDE * scale, clamp=False) for edge in (top, left)])
        canvas = torch.zeros(len(grounds), 4, SIDE, SIDE).index_add_(0, torch.tensor([p[0] for p in puts]), x)
        pictures.append(canvas[:, :3] + (1 - canvas[:, 3:].clamp(0, 1)) * torch.tensor(np.stack(grounds)).float()[:, :, None, None])

        # some captions are two of the same picture, one after the other: long texts, and places far from the start
        listed = list(texts.items())
        for _ in range(len(listed) // 25):
            (a, x), (b, y) = rng.sample(listed, 2)
            union = x | y
            if any(union <= f for f in facts):
                say(f"{a}. {b}", union)
        said = [(text, None, claims) for text, claims in texts.items()]
        for text, claims in texts.items():
            if rng.random() < STRESSED and (stress := stressed(text, claims, rng)):
                said.append((text, stress, claims))
        truth = torch.zeros(len(facts), len(said))
        for column, (_, stress, claims) in enumerate(said):
            for row, fact in enumerate(facts):
                if claims <= fact:
                    truth[row, column] = 1
                elif stress and stress.enough <= fact:
                    truth[row, column] = stress.worth
        return normalised(torch.cat(pictures)), [text for text, _, _ in said], [stress for _, stress, _ in said], truth, SHARES["cifar10"]


def keep(pixels, patch, kept, chance, cifar):
    """Which `kept` patches of each picture are seen, `[n, kept]`: at random, but in drawings the empty ones go first."""
    n, _, side, _ = pixels.shape
    grid = side // patch
    score = torch.rand(n, grid * grid, generator=chance)
    spread = pixels.view(n, 3, grid, patch, grid, patch).permute(0, 2, 4, 1, 3, 5).reshape(n, grid * grid, 3, -1).std(-1).mean(-1)
    score[cifar:] += 0.6 * (spread[cifar:] > 0.05)
    return score.topk(kept, 1).indices
