"""What is trained, on which mix, for how long. Every phase is a share of the run, so `--tokens` alone makes a run longer.

`RECIPES` come nearest to the runs that made the models shipped, which were steered by hand: copying came late. `LONG` is the
order to use when there is more time (`train.py --long`): copying first, then everything.
"""

from dataclasses import dataclass, field

from gpt2 import GPT2, GPT2Config
from llama import Llama, LlamaConfig

# Shares of tokens.
EARLY = {
    "stories": 28, "tales": 6, "books": 4, "news": 4, "storytasks": 8, "intents": 8, "questions": 7, "reading": 5, "words": 5, "smalltalk": 2,
    "recall256": 25,
}
COPYING = {
    "stories": 18, "tales": 4, "storytasks": 8, "intents": 9, "questions": 6, "reading": 5, "words": 5, "smalltalk": 2, "recall256": 20, "copies": 23,
}
POLISH = {
    "stories": 32, "tales": 5, "storytasks": 14, "intents": 10, "questions": 8, "reading": 6, "words": 5, "smalltalk": 3, "recall256": 17,
}
MIDDLE = {
    "stories": 22, "tales": 6, "books": 3, "news": 3, "storytasks": 10, "intents": 9, "questions": 8, "reading": 7, "words": 5, "smalltalk": 2,
    "recall256": 14, "recall512": 12, "copies": 4,
}
FINAL = {
    "stories": 18, "tales": 4, "news": 3, "storytasks": 12, "intents": 10, "questions": 9, "reading": 9, "words": 5, "smalltalk": 3,
    "recall256": 8, "recall512": 9, "recall1024": 11, "copies": 3,
}


@dataclass
class Phase:
    until: float  # share of the run
    window: int
    tokens: int  # per step
    mix: dict
    rate: float = 1.0  # on Muon's rate


@dataclass
class Recipe:
    build: type
    config: object
    tokens: int
    phases: list = field(default_factory=list)
    muon: float = 0.01
    adam: float = 0.003
    decay_from: float = 0.5  # constant until here, then linearly to zero
    grow_from: str = ""  # another run whose weights this one starts from


RECIPES = {
    "mini": Recipe(
        Llama, LlamaConfig(), 3_700_000,
        [
            Phase(0.197, 256, 2048, EARLY, rate=2.0), Phase(0.295, 256, 2048, EARLY), Phase(0.446, 256, 4096, EARLY, rate=0.9),
            Phase(0.5, 512, 4096, MIDDLE, rate=0.5), Phase(0.711, 256, 2048, COPYING), Phase(0.757, 1024, 4096, FINAL),
            Phase(1.0, 256, 4096, POLISH, rate=0.9),
        ], decay_from=0.72,
    ),
    "small": Recipe(
        Llama, LlamaConfig(layers=14), 120_000,
        [Phase(1.0, 512, 2048, FINAL)], muon=0.005, adam=0.001, decay_from=0.1, grow_from="mini",
    ),
    "mini-gpt2": Recipe(
        GPT2, GPT2Config(), 2_300_000,
        [Phase(0.36, 256, 2048, EARLY), Phase(0.82, 256, 2048, COPYING), Phase(1.0, 1024, 4096, FINAL)], decay_from=0.75, grow_from="mini",
    ),
}

LONG_PHASES = [
    Phase(0.12, 256, 2048, COPYING, rate=2.0), Phase(0.55, 256, 4096, EARLY), Phase(0.82, 512, 4096, MIDDLE), Phase(1.0, 1024, 4096, FINAL),
]
LONG = {
    "mini": Recipe(Llama, LlamaConfig(), 11_000_000, LONG_PHASES, decay_from=0.75),
    "small": Recipe(Llama, LlamaConfig(layers=14), 60_000_000, LONG_PHASES[2:], muon=0.005, adam=0.0015, decay_from=0.3, grow_from="mini"),
    "mini-gpt2": Recipe(GPT2, GPT2Config(), 40_000_000, LONG_PHASES, decay_from=0.5, grow_from="mini"),
}
