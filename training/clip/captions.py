"""What is true of a picture, and captions that say some of it.

A picture has a set of facts (strings). A caption is a text with the facts it claims, so that within a batch every caption is
known to be true or false of every picture: a caption with fewer facts is true of more pictures. Attributes are left out at random,
down to one alone ("something red"), so that each is learned for itself and not only as part of a whole.
"""

from functools import lru_cache

COLOURS = {
    "red": (214, 48, 49), "orange": (240, 140, 40), "yellow": (247, 208, 56), "green": (60, 160, 80), "blue": (50, 100, 210),
    "purple": (130, 70, 180), "pink": (245, 150, 190), "brown": (120, 80, 50), "black": (20, 20, 20), "white": (250, 250, 250),
    "gray": (140, 140, 140),
}
NUMBERS = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six", 7: "seven"}
PHOTO = ["a photo of {}", "a photo of {}", "a picture of {}", "{}", "a blurry photo of {}", "a small photo of {}", "this is {}", "a close-up of {}",
         "a low resolution photo of {}", "a photograph showing {}", "an image of {}", "there is {} in the picture", "one can see {}"]
CIFAR_NAMES = {
    "airplane": ["an airplane", "an airplane", "a plane", "an aeroplane", "the airplane"], "automobile": ["an automobile", "a car", "a car", "the car", "a passenger car"],
    "bird": ["a bird", "a bird", "the bird"], "cat": ["a cat", "a cat", "the cat"], "deer": ["a deer", "a deer", "the deer"],
    "dog": ["a dog", "a dog", "the dog"], "frog": ["a frog", "a frog", "the frog"], "horse": ["a horse", "a horse", "the horse"],
    "ship": ["a ship", "a ship", "a boat", "the ship"], "truck": ["a truck", "a truck", "a lorry", "the truck"],
}
CIFAR_SENTENCES = {
    "airplane": ["a large metal machine with two wings and engines that flies in the sky", "an aircraft with wings and a tail on a runway",
                 "a jet high up in a blue sky", "it has wings, a long body and a tail fin and carries passengers through the air"],
    "automobile": ["a road vehicle with four wheels, doors and windows for a few people", "a shiny sedan parked in a street",
                   "it has headlights, a windshield and four tires", "a small vehicle that a family drives to town"],
    "bird": ["a small animal with feathers, a beak and two thin legs", "a feathered animal sitting on a branch", "it has wings and a beak and builds a nest",
             "a large bird that cannot fly, with a long neck", "a sparrow or a robin in a tree"],
    "cat": ["a furry pet with whiskers and pointed ears", "a kitten with soft fur looking at the camera", "it has whiskers, a long tail and it meows", "a small feline lying on a couch"],
    "deer": ["a brown animal with antlers in a forest", "a wild animal with long thin legs and hooves on grass", "it has antlers and brown fur and eats grass in the woods", "a doe or a buck standing in a meadow"],
    "dog": ["a furry pet that barks and wags its tail", "a puppy with floppy ears", "it has a wet nose, fur and a tail and is loyal to people", "a hound or a poodle on a leash"],
    "frog": ["a small green animal with smooth wet skin and big eyes", "an amphibian that jumps and lives near a pond", "it has long back legs, webbed feet and bulging eyes", "a toad sitting on a leaf"],
    "horse": ["a large animal with a mane that people ride", "a strong animal with four long legs, hooves and a tail", "it has a mane and hooves and gallops over a field", "a pony or a stallion in a stable"],
    "ship": ["a large vessel on the sea", "it carries people and cargo over the water", "a sailing boat with masts on the ocean", "a vessel with a hull and a deck in a harbor"],
    "truck": ["a large vehicle that carries heavy loads on the road", "it has a big cab, a trailer and many wheels", "a fire engine or a dump truck", "a heavy vehicle with a cargo bed used for transport"],
}


def article(words):
    return ("an " if words[0] in "aeiou" else "a ") + words


def number(n):
    return NUMBERS.get(n, str(n))


@lru_cache(None)
def plural(noun):
    head, of, rest = noun.partition(" of ")
    if head.endswith(("s", "x", "ch", "sh")):
        head += "es" if not head.endswith(("glasses", "pants", "shoes", "scissors", "shorts", "headphones")) else ""
    elif head.endswith("y") and head[-2:-1] not in "aeiou":
        head = head[:-1] + "ies"
    elif head.endswith("fe"):
        head = head[:-2] + "ves"
    else:
        head += "s"
    return head + of + rest


class Scene:
    """Objects on a background: `things` is a list of (noun, plural, colour or None)."""

    def __init__(self, things, count, background=None, pattern=None, style=None, size=None, position=None, relation=None, what="icon"):
        self.things, self.count, self.background, self.pattern = things, count, background, pattern
        self.style, self.size, self.position, self.relation, self.what = style, size, position, relation, what
        facts = {what, f"count:{count}"}
        for noun, _, colour in things:
            facts |= {f"is:{noun}", f"count:{count}:{noun}" if len(things) == 1 else f"both:{noun}"}
            if colour:
                facts |= {f"has:{colour}", f"col:{noun}:{colour}"}
        if background:
            facts.add(f"bg:{background}")
        if pattern:
            facts.add(f"pattern:{pattern}")
        if style:
            facts.add(f"style:{style}")
        if size:
            facts.add(f"size:{size}")
        if position:
            facts.add(f"pos:{position}")
        if relation:
            facts.add(f"rel:{things[0][0]}:{relation}:{things[1][0]}")
        self.facts = facts

    def caption(self, rng):
        claims, some = set(), rng.random
        if len(self.things) == 2:
            (a, _, ca), (b, _, cb) = self.things
            parts = []
            bare = some() < 0.15
            for noun, colour in ((a, ca), (b, cb)):
                if bare or not colour or some() < 0.2:
                    parts.append(article(noun))
                    claims.add(f"is:{noun}")
                else:
                    parts.append(article(f"{colour} {noun}"))
                    claims |= {f"col:{noun}:{colour}"}
            draw = some()
            if draw < 0.45 and self.relation:
                claims.add(f"rel:{a}:{self.relation}:{b}")
                if some() < 0.5:
                    text = f"{parts[0]} {self.relation} {parts[1]}"
                else:
                    text = f"{parts[1]} {'right of' if self.relation == 'left of' else 'below'} {parts[0]}"
            elif draw < 0.85:
                text = " and ".join(parts if some() < 0.5 else parts[::-1])
            else:  # one of the two alone
                i = int(some() < 0.5)
                noun, colour = ((a, ca), (b, cb))[i]
                text, claims = parts[i], {c for c in claims if c.split(":")[1] == noun}
        else:
            noun, nouns, colour = self.things[0]
            say_noun = some() < 0.75
            say_colour = bool(colour) and some() < (0.65 if say_noun else 0.8)
            if not say_noun:
                noun = rng.choice([self.what, "thing", "shape", "object", "one"])
                nouns = noun + "s"
            words = f"{colour} {noun}" if say_colour else noun
            if self.count > 1:
                text = f"{number(self.count) if some() < 0.8 else self.count} {colour + ' ' if say_colour else ''}{nouns}"
                claims.add(f"count:{self.count}:{noun}" if say_noun else f"count:{self.count}")
            else:
                draw = some()
                if draw < 0.75 or (not say_noun and not say_colour):
                    text = article(words)
                elif draw < 0.9:
                    text = words
                else:
                    text, _ = f"one {words}", claims.add(f"count:1:{noun}" if say_noun else "count:1")
                if self.size and some() < 0.15 and text.startswith("a"):
                    text = article(f"{self.size} {words}")
                    claims.add(f"size:{self.size}")
                if self.position and some() < (0.5 if self.position != "center" else 0.1):
                    text += rng.choice([" at the {}", " in the {}"]).format(self.position)
                    claims.add(f"pos:{self.position}")
                if not say_noun and some() < 0.3 and say_colour:
                    text = f"something {colour}"
                    claims = set()
            if say_noun:
                claims.add(f"is:{noun}")
                if say_colour:
                    claims.add(f"col:{noun}:{colour}")
            elif say_colour:
                claims.add(f"has:{colour}")
        if self.style and some() < 0.2:
            claims.add(f"style:{self.style}")
            text = f"{article(self.style)} {self.what} of {text}" if some() < 0.6 else f"{text}, {self.style} style"
        elif some() < 0.12:
            text = f"{article(self.what)} of {text}"
        bare = not claims
        if self.background and (bare or some() < 0.5):
            claims.add(f"bg:{self.background}")
            pattern = ""
            if self.pattern and self.pattern != "plain" and some() < 0.6:
                pattern = self.pattern + " "
                claims.add(f"pattern:{self.pattern}")
            ground = article(f"{self.background} {pattern}background")
            text = rng.choice(["{} on {}", "{} on {}", "{} on {}", "{} in front of {}", "{}, {}", "{} with {}"]).format(text, ground)
            if not pattern and some() < 0.25:
                text = text.replace(ground, self.background)
            if some() < 0.08:
                text = ground
                claims = {c for c in claims if c.split(":")[0] in ("bg", "pattern")}
        if self.what in text or not claims:
            claims.add(self.what)
        return text, frozenset(claims)


def pluralised(record, noun, colour, count):
    start = f"{number(count)} {colour} "
    for caption in record["captions"]:
        if caption.startswith(start) and " on " not in caption and "," not in caption:
            return caption[len(start):]
    return plural(noun)


class Avatar:
    def __init__(self, record):
        a = self.a = record["attributes"]
        self.written = record["captions"]
        facts = {"person"}
        for key, value in a.items():
            if key != "heldout":
                facts.add(f"{'bg' if key == 'background' else key}:{value}")
        for hair in self.hair_words(a):
            facts.add("looks:" + hair)
        if "glasses" in a:
            facts.add("glasses")
        if "hat" in a:
            facts.add("hat")
        if "clothescolor" in a:
            facts |= {f"wears:{a['clothescolor']} {a['clothes']}"}
        self.facts = facts | {f"cap:{c}" for c in self.written}

    @staticmethod
    def hair_words(a):
        if "haircolor" in a:
            yield f"{a['haircolor']} hair"
            if "hair" in a:
                yield f"{a['hair']} {a['haircolor']} hair"
        if "bald" in a:
            yield "a bald head"

    def caption(self, rng):
        a, some = self.a, rng.random
        if some() < 0.35:
            text = rng.choice(self.written)
            return text, frozenset({f"cap:{text}"})
        claims, who = {"person"}, rng.choice(["person", "person", "person", "face", "character"])
        if "mood" in a and some() < 0.35:
            who = f"{a['mood']} {who}"
            claims.add(f"mood:{a['mood']}")
        if some() < 0.15:
            who = f"{a['style']} {who}"
            claims.add(f"style:{a['style']}")
        parts = []
        hair = list(self.hair_words(a))
        if hair and some() < 0.6:
            parts.append(rng.choice(hair))
            claims.add("looks:" + parts[-1])
        if "glasses" in a and some() < 0.5:
            parts.append("glasses" if some() < 0.6 else a["glasses"])
            claims.add("glasses" if parts[-1] == "glasses" else f"glasses:{a['glasses']}")
        for key, one in (("facialhair", True), ("hat", True), ("wearing", False)):
            if key in a and some() < 0.5:
                parts.append(article(a[key]) if one and a[key] != "cat ears" else a[key])
                claims.add(f"{key}:{a[key]}")
        if "clothescolor" in a and some() < 0.35:
            parts.append(article(f"{a['clothescolor']} {a['clothes']}"))
            claims.add(f"wears:{a['clothescolor']} {a['clothes']}")
        if "skin" in a and some() < 0.15:
            parts.append(f"{a['skin']} skin")
            claims.add(f"skin:{a['skin']}")
        rng.shuffle(parts)
        text = article(who)
        if parts:
            text += " with " + " and ".join(parts)
        if some() < 0.4 or len(claims) == 1:
            claims.add(f"bg:{a['background']}")
            text += f" on {article(a['background'] + ' background')}"
        return text, frozenset(claims)


class Emoji:
    def __init__(self, record):
        a = record["attributes"]
        self.name, self.skin, self.style, self.colour = a["object"], a.get("skin", ""), a.get("style"), a.get("color")
        self.keywords = [k for k in a.get("keywords", "").split(",") if k]
        self.facts = {"emoji", f"is:{self.name}", *(f"kw:{k}" for k in self.keywords)}
        if self.style:
            self.facts.add(f"style:{self.style}")
        if self.skin:
            self.facts.add(f"skin:{self.skin}")
        self.base = set(self.facts)
        if self.colour:
            self.facts |= {f"has:{self.colour}", f"col:{self.name}:{self.colour}"}
        self.turns = not any(word in self.name for word in ("left", "right", "arrow", "letter", "button", "clock", "flag", "keycap", "sign", "thirty"))

    def caption(self, rng, background=None):
        some, claims = rng.random, set()
        if self.keywords and some() < 0.22:
            picked = rng.sample(self.keywords, min(len(self.keywords), rng.randint(1, 4)))
            text, claims = " ".join(picked), {f"kw:{k}" for k in picked}
        else:
            text, claims = self.name, {f"is:{self.name}"}
            if self.colour and some() < 0.25:
                text, claims = f"{self.colour} {text}", {f"col:{self.name}:{self.colour}"}
            elif self.colour and some() < 0.06:
                text, claims = "something " + self.colour, {f"has:{self.colour}"}
            if some() < 0.35:
                text = article(text)
            if self.skin and some() < 0.7:
                text += rng.choice([", {} skin tone", " with {} skin", ": {} skin tone"]).format(self.skin)
                claims.add(f"skin:{self.skin}")
        if self.style and some() < 0.3:
            text = rng.choice(["a {} emoji of {}", "{1}, {0} style", "{} {}"]).format(self.style, text)
            claims.add(f"style:{self.style}")
        elif some() < 0.3:
            text = rng.choice(["{} emoji", "an emoji of {}", "emoji of {}", "a picture of {}"]).format(text)
        if background and some() < 0.6:
            text += f" on {background}" if some() < 0.3 else f" on {article(background + ' background')}"
            claims.add(f"bg:{background}")
        return text, frozenset(claims)


class Boxes:
    def __init__(self, record):
        a = record["attributes"]
        self.written = record["captions"]
        facts = {"boxes", f"total:{a['count']}", *(f"cap:{c}" for c in self.written)}
        self.claims = [(f"{number(int(a['count']))} shapes" if a["count"] != "1" else "one shape", {f"total:{a['count']}"})]
        parts = {}
        for phrase in self.written[0].replace(" on a gray background", "").replace(" and ", ", ").split(", "):
            count, colour, shape = phrase.split(" ", 2)
            parts[f"{colour} {shape}"] = count
        for words, count in parts.items():
            self.claims.append((f"{count} {words}", {f"n:{count} {words}"}))
        for key in ("colors", "shapes"):
            for pair in a[key].split(","):
                word, n = pair.split(":")
                n = int(n)
                if key == "colors":
                    text = f"{number(n)} {word} shapes" if n > 1 else f"one {word} shape"
                else:
                    text = f"{number(n)} {word}s" if n > 1 else f"one {word}"
                self.claims.append((text, {f"n:{text}"}))
        present = {pair.split(":")[0] for pair in a["colors"].split(",")}
        for colour in ("yellow", "black", "blue"):
            if colour not in present:
                self.claims.append((f"no {colour} shapes", {f"none:{colour}"}))
        for _, claim in self.claims:
            facts |= claim
        self.facts = facts

    def caption(self, rng):
        if rng.random() < 0.45:
            text = rng.choice(self.written)
            return text, frozenset({f"cap:{text}"})
        picked = rng.sample(self.claims, min(len(self.claims), rng.choice([1, 1, 2, 3])))
        return " and ".join(t for t, _ in picked), frozenset().union(*(c for _, c in picked))


class Product:
    """Grocery and clothing: photographs with a kind, often a colour."""

    def __init__(self, record):
        a = record["attributes"]
        self.a, self.written = a, record["captions"]
        self.facts = {"photo", *(f"cap:{c}" for c in self.written), *(f"{k}:{v}" for k, v in a.items() if k in ("object", "group"))}
        if a.get("background") in COLOURS:
            self.facts.add(f"bg:{a['background']}")
        self.facts |= {f"is:{a['object']}", f"is:{a.get('variety', a['object'])}"}
        if "color" in a:
            self.facts |= {f"has:{a['color']}", f"col:{a['object']}:{a['color']}"}

    def caption(self, rng):
        some, a = rng.random, self.a
        if some() < 0.6:
            text = rng.choice(self.written)
            return text, frozenset({f"cap:{text}"})
        noun = a["object"] if some() < 0.4 else a.get("variety", a["object"])
        claims = {f"is:{noun}"}
        if "color" in a and some() < 0.4:
            noun, claims = f"{a['color']} {a['object']}", {f"col:{a['object']}:{a['color']}"}
        words = noun if noun.endswith("s") or "group" in a and some() < 0.5 else article(noun)
        return rng.choice(PHOTO).format(words), frozenset(claims)


class Named:
    """CIFAR-10: a class."""

    def __init__(self, name):
        self.name, self.facts = name, frozenset({"photo", f"is:{name}", f"means:{name}"})

    def caption(self, rng):
        if rng.random() < 0.2:
            return rng.choice(CIFAR_SENTENCES[self.name]), frozenset({f"means:{self.name}"})
        return rng.choice(PHOTO).format(rng.choice(CIFAR_NAMES[self.name])), frozenset({f"means:{self.name}"})


def describe(record):
    """The describer of a record, with `facts` and `caption(rng)`."""
    kind, a = record["set"], record["attributes"]
    if kind == "icon_scenes":
        count = int(a["count"])
        things = [(a["object"], pluralised(record, a["object"], a["color"], count), a["color"])]
        if "object2" in a:
            things.append((a["object2"], None, a["color2"]))
        return Scene(things, count, a["background"], a["pattern"], a["style"], a.get("size"), a.get("position"), a.get("relation"))
    if kind == "avatars":
        return Avatar(record)
    if kind in ("fluent_emoji", "noto_emoji"):
        return Emoji(record)
    if kind == "nlvr_boxes":
        return Boxes(record)
    if kind in ("grocery", "clothing"):
        return Product(record)
    return Named(record["name"])
