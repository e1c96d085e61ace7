"""Batches made on a thread of their own while the network computes."""

import copy
import queue
import threading

import torch


def batches(packer, recipe, total, seen, scale):
    """For every step of a run, from its `seen`-th token on: phase, batch, tokens seen after it, the packer's state after it."""
    while seen < total:
        phase = next(p for p in recipe.phases if seen / total < p.until)
        batch = packer.batch(max(1, phase.tokens * scale // phase.window), phase.window, phase.mix)
        seen += batch[0].size
        yield phase, [torch.from_numpy(x) for x in batch], seen, copy.deepcopy(packer.state())


def ahead(items, depth=4):
    """The same items, up to `depth` of them made before they are asked for."""
    made, left, end = queue.Queue(depth), threading.Event(), object()

    def put(item):
        while not left.is_set():
            try:
                return made.put(item, timeout=0.1)
            except queue.Full:
                pass

    def work():
        try:
            for item in items:
                put(item)
                if left.is_set():
                    return
            put(end)
        except BaseException as error:  # raised where the items are used
            put(error)

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    try:
        while (item := made.get()) is not end:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        left.set()
        worker.join()
