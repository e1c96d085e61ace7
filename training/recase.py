"""Capital letters for lower-cased text, learned from cased text: a word takes the form it most often has inside a sentence there."""

import re
from collections import Counter

WORD = re.compile(r"[A-Za-z]+")
# What comes before a word that would be capitalised anyway.
BORDER = re.compile(r"""(?:^|[.!?:]["')]*\s+|["“]\s*|\n\s*)$""")


# '"Come!" she said.' goes on, '"Come!" She ran away.' begins anew.
SPEECH = re.compile(
    r"\W*(?:\w+\W+){0,4}?(?:said|asked|shouted|cried|replied|answered|yelled|exclaimed|called|laughed|smiled|whispered|screamed|responded|thought|added|agreed)\b"
)
NAMED = re.compile(r"\b(?:named|called) ([a-z]+)\b")
NOT_NAMES = {"a", "an", "the", "it", "him", "her", "them", "his", "their", "my", "out", "for", "to", "and", "after", "over", "back", "you", "me", "us", "on", "in", "by"}


class Recaser:
    def __init__(self, texts):
        forms = {}
        for text in texts:
            for match in WORD.finditer(text):
                if not BORDER.search(text[max(0, match.start() - 6) : match.start()]):
                    forms.setdefault(match[0].lower(), Counter())[match[0]] += 1
        self.forms = {word: counts.most_common(1)[0][0] for word, counts in forms.items()}

    def __call__(self, text):
        """One story with sentences, quotations and names capitalised. A quotation begins at every other quotation mark of a paragraph."""
        names = {name: name.capitalize() for name in NAMED.findall(text) if name not in NOT_NAMES}
        return "\n".join(self.paragraph(p, self.forms | names if names else self.forms) for p in text.split("\n"))

    def paragraph(self, text, forms):
        pieces, at, quoted = [], 0, False
        for match in WORD.finditer(text):
            between = text[at : match.start()]
            opens = False
            for mark in re.finditer('"', between):
                quoted = not quoted
                opens = quoted and mark.end() == len(between)
            word = match[0]
            ended = re.search(r"[.!?]\s+$", between) or (re.search(r'[.!?]["\']\s+$', between) and not SPEECH.match(text, match.start()))
            starts = at == 0 or ended or opens
            form = forms.get(word, word)
            pieces += [between, form[0].upper() + form[1:] if starts else form]
            at = match.end()
        return "".join(pieces) + text[at:]
