"""Captions with a weight on one word, and what the weight means: the more it weighs, the less the rest of the caption counts.

SToRI's weight acts on the attention to a word's tokens (log w on their keys). A model that never met a weight is free to ignore
small changes of its attention, and on short captions it does. Here a weighted caption has a graded truth: at w > 1 a picture that
has what the word says, and not the rest, is worth 1 - 1/w; at w < 1 one that has the rest, and not what the word says, 1 - w.
"""

import math
import re
from dataclasses import dataclass

from captions import number

LARGEST = 8.0  # weights are drawn from 1/8 to 8, evenly in their logarithm
ALONE = ("bg", "pattern", "style", "size", "pos", "mood", "skin", "hat", "facialhair", "wearing", "looks", "kw", "has")


@dataclass(frozen=True)
class Stress:
    start: int  # in characters
    end: int
    weight: float
    enough: frozenset  # the facts that are worth something where the whole caption is not true
    worth: float


def without_thing(claims, noun):
    """A count of things, and a thing's place beside another, go with the thing."""
    return frozenset(c for c in claims if noun not in c.split(":"))


def words_of(claims):
    """(word, what it says, what the caption still says without it) for each word that carries a claim."""
    for claim in sorted(claims):
        kind, *rest = claim.split(":")
        others = claims - {claim}
        if kind == "col":
            noun, colour = rest
            yield colour, {f"has:{colour}"}, others | {f"is:{noun}"}
            yield noun, {f"is:{noun}"}, without_thing(others, noun) | {f"has:{colour}"}
        elif kind == "count":
            says = {f"count:{rest[0]}"}
            without = others | {f"is:{rest[1]}"} if len(rest) == 2 and f"is:{rest[1]}" in claims else others
            for word in (rest[0], number(int(rest[0]))):
                yield word, says, without
        elif kind == "is" and not any(c.startswith(f"col:{rest[0]}:") for c in claims):
            yield rest[0], {claim}, without_thing(others, rest[0])
        elif kind in ALONE:
            yield ":".join(rest), {claim}, others


def stressed(text, claims, rng):
    """One word of `text` with a weight, or None where no word carries a claim alone."""
    found = []
    for word, says, without in words_of(claims):
        places = list(re.finditer(rf"(?<!\w){re.escape(word)}(?!\w)", text))
        if len(places) == 1 and without:
            found.append((places[0].span(), says, without))
    if not found:
        return None
    (start, end), says, without = rng.choice(found)
    weight = math.exp(rng.uniform(-1, 1) * math.log(LARGEST))
    if weight >= 1:
        return Stress(start, end, weight, frozenset(says), 1 - 1 / weight)
    return Stress(start, end, weight, frozenset(without), 1 - weight)
