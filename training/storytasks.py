"""Instruction pairs made out of stories: write a story about a topic, go on with one, answer who and what, first sentence, title."""

import re
from collections import Counter

from chat import dialogue

NAMED = re.compile(r"\b(?:little |big |old |young |small |brave |kind |happy )*(boy|girl|dog|cat|bird|rabbit|bear|fish|mouse|frog|car|fox|duck|monkey|bunny|lion|man|woman|princess|king|turtle|squirrel|pig|bee|cow|puppy|kitten) (?:named|called) ([A-Z][a-z]+)")
COMMON = set(
    "once upon time there little named very wanted with they were that said from what could play went friends happy have this them then asked "
    "their when some down would looked like back again around loved started saw about played named into your took made felt found other each "
    "mommy daddy day told smiled didn't because while always until everyone knew thought came know will good help after never just where "
    "friend together home away many decided something girl both long didn't even more next ever through gave heard which learned over every"
    .split()
)
ASK_STORY = [
    "Write a short story about {}.", "Tell me a story about {}.", "Write a story about {}.", "Can you tell me a story about {}?",
    "Please write a little story about {}.", "I want to hear a story about {}.", "Make up a story about {}.",
]
ASK_PLAIN = ["Tell me a story.", "Write a short story.", "Please tell me a story.", "Can you write a story for me?", "Tell me a bedtime story."]
ASK_MORE = ["Continue the story.", "What happens next?", "Go on with the story.", "Finish the story."]


def topic(story, rarity):
    """`a dog named Max`, or the most telling common noun of the story."""
    words = Counter(w for w in re.findall(r"[a-z]{3,}", story) if w not in COMMON and 8 < rarity[w] < 900)
    named = NAMED.search(story)
    article = lambda w: ("an " if w[0] in "aeiou" else "a ") + w
    nouns = [w for w, n in words.most_common(8) if n > 2 and re.search(rf"\b(?:a|an|the) (?:[a-z]+ )?{w}\b", story) and not w.endswith(("ed", "ing", "ly"))]
    if named and nouns and nouns[0] != named.group(1):
        return [f"{article(named.group(1))} named {named.group(2)} and {article(nouns[0])}", article(nouns[0]), f"{article(named.group(1))} named {named.group(2)}"]
    if named:
        return [f"{article(named.group(1))} named {named.group(2)}"]
    return [article(nouns[0])] if nouns else []


def cut(story, rng):
    """Splits a story at a sentence border between a quarter and three quarters of it."""
    borders = [m.end() for m in re.finditer(r'[.!?]"?\s', story) if len(story) * 0.2 < m.end() < len(story) * 0.7]
    at = rng.choice(borders) if borders else len(story) // 2
    return story[:at].strip(), story[at:].strip()


def load(stories, rng):
    rarity = Counter(w for s in stories for w in set(re.findall(r"[a-z]{3,}", s)))
    documents = []
    for story in stories:
        if not 200 < len(story) < 1500 or not re.match(r"(Once|One day|There|In a)", story) or story[-1] not in '.!"':
            continue
        topics, form = topic(story, rarity), rng.random()
        if form < 0.55 and topics:
            documents.append(dialogue([(rng.choice(ASK_STORY).format(rng.choice(topics)), story)], answered=10))
        elif form < 0.62:
            documents.append(dialogue([(rng.choice(ASK_PLAIN), story)], answered=10))
        elif form < 0.75:
            first, rest = cut(story, rng)
            ask = rng.choice(ASK_MORE)
            documents.append(dialogue([(rng.choice([f"{ask}\n\n{first}", f"{first}\n\n{ask}"]), rest)], asked=5, answered=10))
        else:
            questions = []
            named = NAMED.search(story)
            if named:
                questions += [(f"What is the name of the {named.group(1)}?", named.group(2)), (f"Who is {named.group(2)}?", f"a {named.group(1)}")]
            first = re.match(r"[^\n]{20,160}?[.!?](?=\s)", story)
            if first:
                questions.append((rng.choice(["Write the first sentence of the story.", "How does the story begin?"]), first.group()))
            if topics:
                questions.append(("What is the story about?", f"The story is about {topics[0]}."))
            rng.shuffle(questions)
            if questions:
                (question, answer), *more = questions[:3]
                documents.append(dialogue([(f"{story}\n\n{question}", answer), *more], asked=4, answered=15))
    return documents
