"""What is trained, on which mix, for how long. Every phase is a share of the run, so `--tokens` alone makes a run longer.

Copying comes first: two heads that find what is repeated are the base of everything that is answered out of a text.
"""

from dataclasses import dataclass, field

from gpt2 import GPT2, GPT2Config
from llama import Llama, LlamaConfig

# Shares of tokens.
COPYING = {
    "stories": 18, "tales": 4, "books": 6, "storytasks": 6, "intents": 6, "questions": 4, "reading": 4, "words": 4, "smalltalk": 1, "patterns": 4,
    "echoes": 5, "recall256": 18, "copies": 20,
}
EARLY = {
    "stories": 16, "tales": 11, "books": 20, "news": 5, "storytasks": 7, "intents": 5, "questions": 3, "reading": 4, "choices": 3, "echoes": 8,
    "patterns": 3, "words": 3, "smalltalk": 1, "recall256": 11,
}
MIDDLE = {
    "stories": 12, "tales": 8, "books": 12, "news": 4, "storytasks": 8, "intents": 7, "questions": 4, "reading": 6, "choices": 6, "echoes": 9,
    "patterns": 5, "words": 3, "smalltalk": 1.5, "recall256": 5, "recall512": 8, "copies": 1.5,
}
FINAL = {
    "stories": 12, "tales": 6, "books": 8, "news": 3, "storytasks": 10, "intents": 8, "questions": 5, "reading": 6, "choices": 7, "echoes": 8,
    "patterns": 6, "words": 3, "smalltalk": 2, "recall256": 4, "recall512": 4, "recall1024": 8,
}
# Long texts and questions about them, once the language is there.
REFINING = {
    "stories": 9, "tales": 5, "books": 4, "storytasks": 5, "intents": 7, "questions": 3, "reading": 4, "choices": 6, "echoes": 8, "patterns": 6,
    "words": 2, "smalltalk": 5, "many": 12, "long": 24,
}
# What people ask on their first day, beside what was learned before.
EVERYDAY = {
    "everyday": 15, "turns": 5, "systems": 2, "named": 7, "sums": 11, "slips": 9, "letters": 3, "labels": 6, "smalltalk": 2, "stories": 3, "books": 2,
    "tales": 2, "intents": 5, "questions": 2, "reading": 4, "choices": 4, "echoes": 4, "patterns": 5, "words": 3, "recall256": 3, "many": 3,
}
EVERYDAY_LONG = EVERYDAY | {"recall256": 1, "recall1024": 3, "many": 4, "long": 8}


@dataclass
class Phase:
    until: float  # share of the run
    window: int
    tokens: int  # per step
    mix: dict
    pointing: bool = False  # whether heads are shown where to look


@dataclass
class Recipe:
    build: type
    config: object
    tokens: int
    phases: list = field(default_factory=list)
    muon: float = 0.01
    adam: float = 0.003
    decay_from: float = 0.6  # constant until here, then linearly to zero
    starts_from: str = ""  # an exported model (export.py) whose weights this run starts with
    share: float = 1.0  # of this run's weights in what is exported; the rest are those it started with


PHASES = [Phase(0.04, 256, 4096, COPYING, True), Phase(0.5, 256, 4096, EARLY, True), Phase(0.75, 1024, 4096, MIDDLE), Phase(1.0, 1024, 4096, FINAL)]
RECIPES = {
    "mini": Recipe(Llama, LlamaConfig(), 200_000_000, PHASES),
    "mini-refined": Recipe(
        Llama, LlamaConfig(dropout=0.0, rope_theta=50000.0), 2_000_000, [Phase(1.0, 1024, 4096, REFINING, True)], 0.005, 0.001, 0.1, "mini", 0.6
    ),
    "mini-everyday": Recipe(
        Llama, LlamaConfig(dropout=0.0, rope_theta=50000.0), 60_000_000,
        [Phase(0.7, 256, 4096, EVERYDAY, True), Phase(1.0, 1024, 4096, EVERYDAY_LONG, True)], 0.008, 0.002, 0.1, "mini-refined"
    ),
    "small": Recipe(Llama, LlamaConfig(dim=512, layers=8, hidden=1280, dropout=0.1), 140_000_000, PHASES),
    "mini-gpt2": Recipe(GPT2, GPT2Config(), 100_000_000, PHASES),
}
