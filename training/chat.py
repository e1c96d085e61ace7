"""The one instruction format, and how documents become token ids with a loss weight per token.

    <|system|>…<|end|><|user|>…<|end|><|assistant|>…<|end|>

A document is a list of `(text, weight)` pieces. Weights are tenths: 10 counts a token once in the loss, 0 leaves it out.
"""

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
    """`turns` is a list of `(user, assistant)`; returns a document."""
    pieces = [(f"{SYSTEM}{system}{END}", 0)] if system else []
    for user, assistant in turns:
        pieces.append((f"{USER}{user}{END}{ASSISTANT}", asked))
        pieces.append((f"{assistant}{END}", answered))
    return pieces


def encode(tokenizer, documents):
    """Token ids and weights of each document, closed by `<|endoftext|>`."""
    flat = [text for document in documents for text, _ in document]
    encoded = iter(tokenizer.encode_batch(flat, add_special_tokens=False))
    border = tokenizer.token_to_id(ENDOFTEXT)
    for document in documents:
        ids, weights = [], []
        for _, weight in document:
            piece = next(encoded).ids
            ids += piece
            weights += [weight] * len(piece)
        yield ids + [border], weights + [3]
