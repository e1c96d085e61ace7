"""Full windows out of documents: no padding, the shares of the mix kept exactly, the position in the data resumable.

Questions and recall documents go into a window whole; prose is cut where the window ends and goes on in a later one.
"""

import numpy as np

PROSE = ("stories", "tales", "books", "news")


class Group:
    """Documents of one kind in a seeded order that changes with every pass."""

    def __init__(self, path, seed):
        file = np.load(path)
        self.ids, self.weights, self.starts = file["ids"], file["weights"], file["starts"]
        self.back = file["back"] if "back" in file else np.zeros_like(self.ids)
        self.seed, self.epoch, self.at = seed, 0, 0
        self.shuffle()

    def shuffle(self):
        self.order = np.random.default_rng([*self.seed, self.epoch]).permutation(len(self.starts) - 1)

    def advance(self):
        self.at += 1
        if self.at == len(self.order):
            self.epoch, self.at = self.epoch + 1, 0
            self.shuffle()

    def span(self):
        d = self.order[self.at]
        return int(self.starts[d]), int(self.starts[d + 1])


class Packer:
    def __init__(self, folder, seed):
        paths = sorted(p for p in folder.glob("*.npz") if not p.stem.startswith("valid_"))
        self.groups = {p.stem: Group(p, [seed, i]) for i, p in enumerate(paths)}
        self.mix = {}
        self.used = {}  # tokens served since the mix last changed, each group against its share
        self.rest = {}  # the unread part of a prose document, by group

    def state(self):
        return {"used": self.used, "mix": self.mix, "rest": self.rest, "at": {n: (g.epoch, g.at) for n, g in self.groups.items()}}

    def restore(self, state):
        self.used, self.mix = dict(state["used"]), state.get("mix", {})
        self.rest = {n: span for n, span in state["rest"].items() if span[1] <= len(self.groups[n].ids)}
        for name, (epoch, at) in state["at"].items():
            group = self.groups[name]
            group.epoch, group.at = epoch, min(at, len(group.starts) - 2)
            group.shuffle()

    def take(self, name, room):
        """A whole document of at most `room` tokens, or None; of prose, whatever fits."""
        group = self.groups[name]
        if name in PROSE:
            start, end = self.rest.pop(name, None) or group.span()
            if end - start > room:
                self.rest[name] = (start + room, end)
                end = start + room
            else:
                group.advance()
            return group, start, end
        start, end = group.span()
        if end - start > room:
            return None
        group.advance()
        return group, start, end

    def window(self, length, mix):
        """`length` token ids, weights and copy distances."""
        ids, weights, back = [], [], []
        room = length
        while room:
            # the group that lags most behind its share comes next; prose fills what is left
            for name in sorted(mix, key=lambda n: self.used[n] / mix[n]):
                while name not in PROSE and self.groups[name].span()[1] - self.groups[name].span()[0] > length:
                    self.groups[name].advance()
                taken = self.take(name, room)
                if taken:
                    break
            group, start, end = taken
            ids.append(group.ids[start:end])
            weights.append(group.weights[start:end])
            back.append(group.back[start:end])
            self.used[name] += end - start
            room -= end - start
        return np.concatenate(ids), np.concatenate(weights), np.concatenate(back)

    def batch(self, count, length, mix):
        """Inputs, targets `[count, length]`, loss weights, and the position each target is copied from (-1: from nowhere)."""
        mix = {n: share for n, share in mix.items() if n in self.groups}
        if mix != self.mix:
            self.mix, self.used = mix, dict.fromkeys(mix, 0.0)
        windows = [self.window(length + 1, mix) for _ in range(count)]
        ids = np.stack([w[0] for w in windows]).astype(np.int64)
        weights = np.stack([w[1] for w in windows]).astype(np.float32) / 10
        back = np.stack([w[2] for w in windows]).astype(np.int64)[:, 1:]
        source = np.where(back > 0, np.arange(1, length + 1) - back, -1)
        return ids[:, :-1], ids[:, 1:], weights[:, 1:], source
