"""The forms in which a user lists the possible answers to a question."""

LETTERS = "ABCDEFGH"


def listed(rng, options, right):
    """The list as it follows a question, and how the answer is said: mostly by its text, after letters by `B. text`."""
    form = rng.random()
    if form < 0.45:
        head, mark = rng.choice(["Options:", "Choices:", "Possible answers:", "Choose one:"]), rng.choice(["- ", "- ", "* ", ""])
        gap = rng.choice(["\n", "\n", "\n\n"])
        return f"\n{head}{gap}" + gap.join(mark + o for o in options), right
    if form < 0.6:
        return f"\n{rng.choice(['Choose from', 'Options', 'Choose one of these'])}: {rng.choice([', ', '; ']).join(options)}", right
    if form < 0.7 and not any(o.endswith(".") for o in options):
        return f" Is it {', '.join(options[:-1])} or {options[-1]}?", right
    marks = rng.choice(["{}. ", "{}) ", "({}) ", "{}: "])
    lines = "\n" + "\n".join(marks.format(letter) + o for letter, o in zip(LETTERS, options))
    letter = LETTERS[options.index(right)]
    return lines, rng.choice([f"{letter}. {right}", right])
