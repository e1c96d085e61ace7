"""Word lists for the recall generators."""

NAMES = (
    "Anna Ben Clara David Emma Felix Grace Henry Ida Jack Kate Leo Lily Max Mia Noah Olga Paul Quinn Rosa Sam Tom Uma Victor Wendy Zoe "
    "Tim Sue Lucy Bob Amy Mark Sara Peter John Mary Jane Nina Oscar Ruth Hugo Ella Fred Gina Ivan Julia Karl Lena Martin Nora Omar Petra "
    "Ralph Sofia Theo Vera Walter Xenia Yusuf Alice Brian Daisy Eric Fiona George Helen Isaac Jill Kevin Laura Molly Ned Otto Polly Rita "
    "Simon Tina Ursula Vince Will Yara Adam Bella Carl Dora Edgar"
).split()
PLACES = (
    "Rome Paris London Berlin Madrid Vienna Oslo Cairo Tokyo Delhi Lima Boston Chicago Dublin Athens Prague Lisbon Moscow Sydney Toronto "
    "Geneva Milan Naples Warsaw Seoul Dallas Denver Havana Bergen Zurich Kyoto Munich Venice Porto Leeds Hanoi Quito Tunis Riga Split"
).split()
SPOTS = (
    "garden kitchen library attic cellar barn school park station market church castle forest tower harbour museum bakery shop stable hall "
    "bedroom bathroom office garage river bridge meadow cave beach mill"
).split()
HIDES = (
    "under the bed|behind the door|in the drawer|on the shelf|under the carpet|in the blue box|behind the mirror|in the old tree|near the well|"
    "inside the clock|under the stairs|on the roof|in the basket|behind the curtain|in the tea pot|under a stone|beside the gate|in the hay|"
    "below the bridge|in the top cupboard|between two books|inside a boot|by the fire|in the left pocket"
).split("|")
THINGS = (
    "ring key book ball kite lamp hat coat bell drum cup spoon knife coin map letter clock doll shoe glove scarf candle mirror flute violin "
    "basket bottle box chain comb feather flag hammer jar ladder medal needle pen pillow rope saddle shell stone sword ticket toy umbrella "
    "vase watch whistle apple lemon cake pie melon carrot button bucket brush"
).split()
COLOURS = "red blue green yellow white black brown pink purple orange grey silver golden".split()
FOODS = "soup bread cheese rice pasta pizza fish cake honey jam apples plums grapes carrots beans pancakes nuts eggs chocolate pears cherries salad corn peas toast".split()
ANIMALS = "dog cat horse rabbit goat sheep duck goose hen pig cow mouse fox wolf bear owl frog parrot turtle pony donkey monkey tiger lion snake squirrel".split()
JOBS = "baker doctor teacher farmer sailor painter miller tailor nurse cook driver pilot singer dancer lawyer soldier gardener writer judge clerk hunter smith fisher guard".split()
CITIES_ACTIVITY = (
    "eat a sandwich in the park|walk along the river|see the old bridge|visit the flower market|ride a red bus|climb the tower at night|"
    "feed the ducks|drink hot chocolate|listen to the street music|swim in the lake|look at the boats|buy a straw hat|take the night train|"
    "watch the sun go down|sit on a bench and read|fly a kite on the hill"
).split("|")
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
ATTRIBUTES = {
    "code": "number", "locker number": "number", "room number": "number", "phone number": "number", "age": "age", "lucky number": "age",
    "favourite colour": "colour", "favourite food": "food", "pet": "animal", "job": "job", "city": "place", "password": "word",
    "secret word": "word", "birthday gift": "thing", "ticket number": "number", "best day": "day", "hiding place": "spot", "best friend": "name",
}
ONSETS = "b c d f g h j k l m n p r s t v w z br cl dr fl gr pl st tr sh th".split()
NUCLEI = "a e i o u ai ee oo ou".split()
CODAS = "n r l t s m k p nd st ng x".split()


def pseudo_word(rng):
    return "".join(rng.choice(ONSETS) + rng.choice(NUCLEI) for _ in range(rng.randint(1, 2))) + rng.choice(CODAS)


def value(rng, kind):
    """A random value of a kind, as text."""
    if kind == "number":
        return "".join(rng.choice("0123456789") for _ in range(rng.choice([2, 3, 4, 4, 4, 5, 5, 6])))
    if kind == "age":
        return str(rng.randint(2, 99))
    if kind == "word":
        return pseudo_word(rng)
    pools = {"colour": COLOURS, "food": FOODS, "animal": ANIMALS, "job": JOBS, "place": PLACES, "thing": THINGS, "day": DAYS, "spot": SPOTS, "name": NAMES}
    return rng.choice(pools[kind])
