"""What is trained, on which mix, for how long. Every phase is a share of the run, so `--tokens` alone makes a run longer.

Copying comes first: two heads that find what is repeated are the base of everything that is answered out of a text.
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
MIDDLE = {
    "stories": 18, "tales": 5, "books": 3, "news": 3, "storytasks": 9, "intents": 18, "questions": 10, "reading": 8, "words": 5, "smalltalk": 2,
    "recall256": 9, "recall512": 8, "copies": 2,
}
FINAL = {
    "stories": 14, "tales": 4, "news": 3, "storytasks": 10, "intents": 20, "questions": 11, "reading": 9, "words": 5, "smalltalk": 3,
    "recall256": 6, "recall512": 6, "recall1024": 9,
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


PHASES = [
    Phase(0.147, 256, 2048, COPYING, rate=2.0), Phase(0.637, 256, 4096, EARLY), Phase(0.82, 512, 4096, MIDDLE), Phase(1.0, 1024, 4096, FINAL),
]
RECIPES = {
    "mini": Recipe(Llama, LlamaConfig(), 16_000_000, PHASES, decay_from=0.75),
    "small": Recipe(Llama, LlamaConfig(layers=14), 400_000, [Phase(1.0, 512, 4096, FINAL)], muon=0.004, adam=0.0008, decay_from=0.1, grow_from="mini"),
    "mini-gpt2": Recipe(GPT2, GPT2Config(), 3_000_000, PHASES, decay_from=0.7, grow_from="mini"),
}
