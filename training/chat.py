"""The one instruction format, and how documents become token ids with a loss weight per token.

    <|system|>…<|end|><|user|>…<|end|><|assistant|>…<|end|>

A document is a list of pieces `(text, weight)` or `(text, weight, (statement, value))`. Weights are tenths: 10 counts a token once in the
loss, 0 leaves it out. The third part says that `value` inside the text is copied from where `statement` (or, without one, the value itself)
stands earlier in the document; `encode` turns it into distances, which the training of attention uses (`pointing.py`).
"""

import bisect

ENDOFTEXT, SYSTEM, USER, ASSISTANT, END = "<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"
SPECIAL = [ENDOFTEXT, SYSTEM, USER, ASSISTANT, END]

TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def prompt(user, system=None):
    """The text a model sees before it answers."""
    head = f"{SYSTEM}{system}{END}" if system else ""
    return f"{head}{USER}{user}{END}{ASSISTANT}"


def dialogue(turns, system=None, asked=3, answered=15):
    """`turns` is a list of `(user, assistant)` or `(user, assistant, (statement, value))`; returns a document."""
    pieces = [(f"{SYSTEM}{system}{END}", 0)] if system else []
    for user, assistant, *source in turns:
        pieces.append((f"{USER}{user}{END}{ASSISTANT}", asked))
        pieces.append((f"{assistant}{END}", answered, *source))
    return pieces


def point(earlier, starts, text, offsets, statement, value):
    """For each token of `text`: the index of the token it is copied from, or None."""
    at = earlier.rfind(statement) if statement else -1
    origin = earlier.find(value, at) if at >= 0 else earlier.rfind(value)
    inside = text.find(value)
    if origin < 0 and " " in value:  # "in the garden" against "went to the garden": at least the last word
        value = value.rsplit(" ", 1)[1]
        origin = earlier.find(value, at) if at >= 0 else earlier.rfind(value)
        inside = text.find(value)
    for start, end in offsets:
        if start < end and text[start] == " ":
            start += 1
        if origin < 0 or inside < 0 or not inside <= start < min(end, inside + len(value)):  # also a blank on its own
            yield None
        else:
            yield bisect.bisect_right(starts, origin + start - inside) - 1


def encode(tokenizer, documents):
    """Token ids, weights and copy distances (0: not a copy) of each document, closed by `<|endoftext|>`."""
    encoded = iter(tokenizer.encode_batch([piece[0] for document in documents for piece in document], add_special_tokens=False))
    border = tokenizer.token_to_id(ENDOFTEXT)
    for document in documents:
        ids, weights, back, starts, earlier = [], [], [], [], ""
        for text, weight, *source in document:
            piece = next(encoded)
            origins = point(earlier, starts, text, piece.offsets, *source[0]) if source else [None] * len(piece.ids)
            back += [0 if o is None else len(ids) + i - o for i, o in enumerate(origins)]
            starts += [len(earlier) + start for start, _ in piece.offsets]
            ids += piece.ids
            weights += [weight] * len(piece.ids)
            earlier += text
        yield ids + [border], weights + [3], back + [0]
