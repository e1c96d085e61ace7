"""Fluent English: documents of plain text, with the last 2 % of every file held out for validation."""

import re
from pathlib import Path

from recase import Recaser

VALIDATION = 0.02
STORY_START = re.compile(r"\n+(?=Once upon a time|Once, |Once there |There once |One day, an? |One day, there |In a (?:big|small|far))")

# The simplest books come first in the mix; long Victorian novels are left out.
BOOKS = [
    "Andersen-s-Fairy-Tales_1597", "Five-Children-and-It_778", "Grimms-Fairy-Tales_2591", "Heidi_1448", "Just-So-Stories_2781",
    "Peter-Pan_16", "Pollyanna_1450", "The-Adventures-of-Pinocchio_500", "The-Blue-Fairy-Book_503", "The-Jungle-Book_236",
    "The-Princess-and-the-Goblin_708", "The-Railway-Children_1874", "The-Red-Fairy-Book_540", "The-Secret-Garden_113",
    "The-Wind-in-the-Willows_289", "The-Wonderful-Wizard-of-Oz_55", "Through-the-Looking-Glass_12", "Anne-of-Green-Gables_45",
    "Black-Beauty_271", "The-Adventures-of-Tom-Sawyer_74", "Anne-of-Avonlea_47", "Little-Women_514", "Little-Men_2788", "Treasure-Island_120",
    "White-Fang_910", "A-Christmas-Carol_46",
]


def plain(text):
    """Straight quotes, no carriage returns, no trailing blanks, quotes that were decoded wrongly mended: fewer rare tokens
    for a small vocabulary."""
    for old, new in (("â€œ", '"'), ("â€™", "'"), ("â€˜", "'"), ("â€”", "--"), ("â€“", "-"), ("â€¦", "..."), ("â€\x9d", '"'), ("â€", '"'), ("“", '"'), ("”", '"'), ("‘", "'"), ("’", "'"), ("—", "--"), ("–", "-"), ("…", "..."), ("\r", "\n"), ("\ufeff", "")):
        text = text.replace(old, new)
    return re.sub(r"[ \t]+\n", "\n", text).strip()


def sentences(text):
    return [s.strip() for s in re.split(r'(?<=[.!?])["\']?\s+', text) if len(s.strip()) > 20]


def key(sentence):
    """What two copies of a sentence have in common whatever their case and punctuation."""
    return re.sub(r"[^a-z]+", "", sentence.lower())


def held_out_sentences(data):
    """Keys of the sentences of the evaluation texts, so that no training paragraph repeats them."""
    files = ["tinystories_sample/tinystories_cased_197KB.txt", "text/fairytaleqa_stories/test.txt", "text/fairytaleqa_stories/val.txt", "gutenberg/alice_11.txt"]
    found = set()
    for file in files:
        found.update(key(s) for s in sentences(plain((data / file).read_text(encoding="utf-8"))) if len(s) > 40)
    return found


def clean(documents, forbidden):
    """Drops documents of which a fifth or more of the long sentences are held out."""
    for document in documents:
        long = [s for s in sentences(document) if len(s) > 40]
        if sum(key(s) in forbidden for s in long) * 5 <= len(long) and len(document) > 60:
            yield document


def chapters(text, size=6000):
    """Paragraphs joined into pieces of about `size` characters."""
    piece, length = [], 0
    for paragraph in text.split("\n\n"):
        piece.append(paragraph)
        length += len(paragraph)
        if length > size:
            yield "\n\n".join(piece)
            piece, length = [], 0
    if piece:
        yield "\n\n".join(piece)


def stories(text):
    """Stories whose borders are not marked, so that some pieces hold more than one."""
    return [piece for story in STORY_START.split(text) for piece in chapters(story, 2000)]


LOWER_START = re.compile(r"\n(?=once upon a time|once, |once there |there once |one day, an? |in a (?:big|small|far))")


def recased(lower, cased):
    """The stories of a lower-cased file that no cased story repeats, with capital letters."""
    known = {key(s) for text in cased for s in sentences(text) if len(s) > 40}
    recase = Recaser(cased)
    for story in LOWER_START.split(lower):
        long = [s for s in sentences(story) if len(s) > 40]
        if sum(key(s) in known for s in long) * 3 <= len(long):
            yield from chapters(recase(story), 2000)


def load(data: Path):
    """Returns `{group: (training documents, validation documents)}`."""
    forbidden = held_out_sentences(data)
    read = lambda file: plain((data / "text" / file).read_text(encoding="utf-8"))
    cased = [read(f"tinystories_cased/{name}.txt") for name in ("mines_10k", "smallgpt", "moe_val")]
    lower = plain((data / "tinystories_sample/tinystories_lower_4MB.txt").read_text(encoding="utf-8"))
    sources = {
        "stories": [re.split(r"\n\n+", cased[0]), stories(cased[1]), stories(cased[2]), list(recased(lower, cased))],
        "tales": [list(chapters(read(f))) for f in ("fairytaleqa_stories/train.txt", "fairy_tales_misc/andersen_prakash.txt", "fairy_tales_misc/fairy_tales_val.txt")],
        "books": [list(chapters(read(f"gutenberg_simple/{name}.txt"))) for name in BOOKS],
        "news": [list(chapters(read(f"onestop_english/{name}-Txt.txt"), 2500)) for name in ("Ele", "Int", "Adv")],
    }
    groups = {}
    for group, files in sources.items():
        train, valid = [], []
        for documents in files:
            documents = list(clean(documents, forbidden))
            cut = len(documents) - max(1, int(len(documents) * VALIDATION))
            train += documents[:cut]
            valid += documents[cut:]
        groups[group] = (train, valid)
    return groups
