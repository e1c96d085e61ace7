//! The grammar of the filler: sentences as children's stories have them.
//!
//! A form holds slots in braces; a slot is filled by one entry of its table, which may hold slots again. Nothing in
//! the tables is a digit, a name or a wording of [`super::Kind`]'s facts, so no filler ever answers a question.

use crayon_adapters::Random;

/// A sentence of the grammar.
pub(super) fn sentence(random: &mut Random) -> String {
    let subject = Subject::draw(random);
    let mut sentence = String::new();
    expand(random.pick(SENTENCES), subject, random, &mut sentence);
    let first = sentence.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(0);
    sentence[first..=first].make_ascii_uppercase();
    sentence
}

/// Who does it, with the words that agree.
struct Subject {
    form: &'static str,
    he: &'static str,
    his: &'static str,
    him: &'static str,
    was: &'static str,
}

const SUBJECTS: &[Subject] = &[
    Subject { form: "{girl}", he: "she", his: "her", him: "her", was: "was" },
    Subject { form: "{boy}", he: "he", his: "his", him: "him", was: "was" },
    Subject { form: "{girl} and {boy}", he: "they", his: "their", him: "them", was: "were" },
    Subject { form: "{boy} and the {kind} {animal}", he: "they", his: "their", him: "them", was: "were" },
    Subject { form: "the {kind} {animal}", he: "it", his: "its", him: "it", was: "was" },
    Subject { form: "the {kind} {animal}", he: "it", his: "its", him: "it", was: "was" },
    Subject { form: "{girl}'s {relative}", he: "she", his: "her", him: "her", was: "was" },
    Subject { form: "{boy}'s {kind} {animal}", he: "it", his: "its", him: "it", was: "was" },
];

impl Subject {
    fn draw(random: &mut Random) -> &'static Subject {
        &SUBJECTS[random.below(SUBJECTS.len())]
    }
}

/// Writes `form` with its slots filled.
fn expand(form: &str, subject: &Subject, random: &mut Random, out: &mut String) {
    let mut rest = form;
    while let Some((text, slot, after)) = cut(rest) {
        push(out, text);
        match slot {
            "who" => expand(subject.form, subject, random, out),
            "he" => push(out, subject.he),
            "his" => push(out, subject.his),
            "him" => push(out, subject.him),
            "was" => push(out, subject.was),
            _ => expand(entry(table(slot), random), subject, random, out),
        }
        rest = after;
    }
    push(out, rest);
}

/// What stands before the first slot, its name, and what stands after it.
fn cut(form: &str) -> Option<(&str, &str, &str)> {
    let (text, rest) = form.split_once('{')?;
    let (slot, after) = rest.split_once('}')?;
    Some((text, slot, after))
}

/// Appends `text`; "a" before a vowel becomes "an".
fn push(out: &mut String, text: &str) {
    let is_article = out.strip_suffix("a ").or_else(|| out.strip_suffix("A "));
    if is_article.is_some_and(|before| !before.ends_with(|c: char| c.is_alphanumeric()))
        && text.starts_with(['a', 'e', 'i', 'o', 'u'])
    {
        out.pop();
        out.push_str("n ");
    }
    out.push_str(text);
}

/// One of the entries of a table, which strokes part.
fn entry(table: &'static str, random: &mut Random) -> &'static str {
    let count = table.split('|').count();
    table.split('|').nth(random.below(count)).unwrap_or_default()
}

fn table(slot: &str) -> &'static str {
    match slot {
        "girl" => GIRLS,
        "boy" => BOYS,
        "animal" => ANIMALS,
        "kind" => KINDS,
        "relative" => RELATIVES,
        "look" => LOOKS,
        "object" => OBJECTS,
        "handled" => HANDLED,
        "did" => DID,
        "rested" => RESTED,
        "moved" => MOVED,
        "place" => PLACES,
        "spot" => SPOTS,
        "air" => AIRS,
        "food" => FOODS,
        "felt" => FELT,
        "way" => WAYS,
        "said" => SAID,
        "speech" => SPEECHES,
        "when" => WHENS,
        "time" => TIMES,
        "weather" => WEATHERS,
        "sky" => SKIES,
        "until" => UNTILS,
        // A misspelt slot shows in the text, and the tests look for that.
        _ => "{}",
    }
}

const SENTENCES: &[&str] = &[
    "{who} {did}.",
    "{who} {way} {did}.",
    "{who} {handled} a {look} {object} {place}.",
    "{when}, {who} {did}.",
    "{when}, {who} {handled} the {look} {object}.",
    "{who} {did} and then {rested} {place}.",
    "{who} shared some {food} with the {kind} {animal} {place}.",
    "\"{speech}\" {said} {who}, and {he} {did}.",
    "\"{speech}\" {said} the {kind} {animal}, but {who} {did}.",
    "{who} felt {felt} because the {look} {object} had fallen {place}.",
    "{sky} while {who} {did}.",
    "{who} looked for the {look} {object}, but there was only a {look} {object} {place}.",
    "{when}, the {kind} {animal} {moved} {place}.",
    "{who} {rested} {place} until {until}.",
    "Nobody knew why {who} {did} so {way}.",
    "{who} asked the {kind} {animal} for some {food}, but it only {moved} {place}.",
    "It was a {weather} {time}, so {who} {rested} {place} and {did}.",
    "Far away, a {kind} {animal} {moved} {place}, and {who} {did}.",
    "{who} gave {his} {look} {object} to the {kind} {animal}.",
    "There was a {look} {object} {place}, and it made {him} laugh when {who} {did}.",
    "Every {weather} {time} {who} {did}.",
    "{who} could not sleep, so {he} {did}.",
    "{who} dreamed about a {look} {animal} that {moved} {place}.",
    "{who} {was} {felt}, for the {food} smelled good and {sky}.",
    "At last {who} {was} {felt} and {rested} {place}.",
    "{who} wondered whether the {kind} {animal} would bring {him} some {food}.",
];

const DID: &str = "\
    danced around the {look} {object}|\
    jumped over a {look} {object}|\
    sang about the {kind} {animal}|\
    painted a {look} {object} on the wall|\
    cooked some {food} for the {kind} {animal}|\
    ate {food} and {food}|\
    tasted the {food} {place}|\
    waved to the {kind} {animal} {place}|\
    chased the {kind} {animal} {place}|\
    followed a {kind} {animal} {place}|\
    played {place} with a {look} {object}|\
    built a {look} house {place}|\
    listened to the {kind} {animal} {place}|\
    told the {kind} {animal} about the {look} {object}|\
    swept the leaves {place}|\
    picked some {food} {place}|\
    rolled the {look} {object} {place}|\
    tiptoed past the {kind} {animal}|\
    washed the {look} {object} {place}|\
    helped the {kind} {animal} with the {object}|\
    laughed at the {look} {object} {place}|\
    made a {object} out of paper and {food}|\
    shouted across the {air} {spot}|\
    ran all the way to the {air} {spot}|\
    climbed up to the {air} {spot}|\
    walked slowly around the {air} {spot}|\
    wished for a {look} {object} and some {food}|\
    counted the clouds above the {air} {spot}|\
    tied a ribbon to the {look} {object}|\
    splashed {place} like a {kind} {animal}";

const GIRLS: &str = "\
    Hazel|Tilda|Wren|Maisie|Ottilie|Juniper|Poppy|Saffron|Bettina|Clementine|Dulcie|Elspeth|Flora|Greta|\
    Heidi|Imogen|Josie|Kitty|Lottie|Mabel|Nell|Odette|Pearl|Queenie|Rowena|Sylvie|Tabitha|Winnie|Annika|\
    Beatrix";
const BOYS: &str = "\
    Pip|Rufus|Barnaby|Casper|Digby|Ernest|Fergus|Gilbert|Humphrey|Igor|Jasper|Kasimir|Linus|Monty|Nigel|\
    Osbert|Percy|Quentin|Roland|Stanley|Toby|Ulric|Wilbur|Xavier|Ambrose|Bertram|Cedric|Dexter|Ellis|Finlay";
const RELATIVES: &str = "\
    mother|grandmother|aunt|sister|great aunt|godmother|little sister|teacher";
const ANIMALS: &str = "\
    badger|hedgehog|otter|beaver|mole|robin|sparrow|crow|magpie|swan|deer|hare|lamb|kitten|puppy|calf|foal|\
    bee|butterfly|snail|beetle|ant|spider|toad|newt|trout|crab|seal|whale|dolphin|pigeon|rooster|weasel|\
    mouse|elk|stork|heron|woodpecker|bat|ladybird";
const KINDS: &str = "\
    little|old|young|clever|shy|brave|lazy|hungry|sleepy|friendly|grumpy|curious|gentle|noisy|quiet|proud|\
    silly|kind|tired|cheerful|lonely|polite|naughty|fluffy|tiny|plump|merry|nervous|patient|careful|eager|\
    honest";
const LOOKS: &str = "\
    big|small|shiny|dusty|wooden|broken|crooked|soft|heavy|strange|pretty|empty|striped|spotted|round|\
    square|rusty|bright|pale|smooth|sticky|wet|warm|cold|funny|torn|painted|tall|narrow|beautiful|odd|ugly|\
    enormous|ancient|thin|thick";
const OBJECTS: &str = "\
    kettle|wheelbarrow|acorn|bench|blanket|boat|bowl|broom|cart|chair|crown|cushion|desk|fence|fishing rod|\
    garland|hoop|hut|jug|lantern|leaf|mat|mitten|mug|nest|oar|pebble|pot|puppet|quilt|raft|rug|sack|sail|\
    sledge|snowman|spade|statue|stool|swing|table|teapot|tent|thimble|toolbox|towel|tray|trumpet|tub|wagon|\
    wheel|wreath|wig|xylophone";
const HANDLED: &str = "\
    carried|mended|polished|drew|lifted|held|pushed|pulled|noticed|admired|borrowed|touched|cleaned|\
    decorated|examined|wrapped|dragged|balanced|made|wanted";
const RESTED: &str = "\
    sat down|lay down|fell asleep|took a nap|yawned|rested|waited|stood still|stayed|hummed a tune|\
    whistled|smiled|sighed|giggled|stretched|sang softly|thought hard";
const MOVED: &str = "\
    hopped|scurried|hurried|crept|wandered|tumbled|trotted|marched|rushed|raced|danced|skipped|strolled|\
    sneaked|jumped|turned in circles|slept|played|snored|sneezed";
const PLACES: &str = "\
    in the {air} {spot}|near the {air} {spot}|beside the {air} {spot}|behind the {air} {spot}|\
    not far from the {air} {spot}|at the edge of the {air} {spot}|next to the {air} {spot}|\
    close to the {air} {spot}|on the way to the {air} {spot}|in front of the {air} {spot}";
const SPOTS: &str = "\
    orchard|pond|cottage|stream|hilltop|windmill|haystack|vineyard|village|lighthouse|waterfall|valley|\
    path|lane|ditch|cornfield|pasture|beehive|chimney|courtyard|fountain|greenhouse|henhouse|island|marsh|\
    pier|playground|porch|puddle|quarry|railway|schoolyard|shed|shore|thicket|tunnel|wharf|workshop|wood|\
    hedge";
const AIRS: &str = "\
    mossy|sunny|shady|frosty|windy|misty|muddy|snowy|leafy|dark|peaceful|crowded|lovely|gloomy|wide|\
    sheltered|faraway|neat|stony|grassy|icy|overgrown|abandoned|famous";
const FOODS: &str = "\
    porridge|biscuits|raspberries|buns|custard|dumplings|gingerbread|lemonade|marmalade|milk|muffins|\
    mushrooms|oatmeal|onions|peaches|peanuts|pepper|popcorn|potatoes|pudding|radishes|sausages|spinach|\
    strawberries|sugar|tea|turnips|waffles|walnuts|yoghurt";
const FELT: &str = "\
    happy|sad|surprised|sleepy|excited|worried|proud|cross|thankful|calm|puzzled|afraid|delighted|bored|\
    hungry|thirsty|dizzy|ashamed|hopeful|content|restless";
const WAYS: &str = "\
    happily|quietly|slowly|quickly|carefully|suddenly|proudly|gently|loudly|bravely|kindly|eagerly|\
    patiently|politely|merrily|sadly|softly|busily|calmly|clumsily";
const SAID: &str = "\
    said|whispered|called|cried|shouted|laughed|answered|replied";
const SPEECHES: &str = "\
    Look at the {look} {object}!|I would like some {food}, please,|Come and play {place}!|\
    What a {weather} {time}!|I can smell {food} {place}!|Do not wake the {kind} {animal},|\
    Let us bake {food} and {food},|I am not as {felt} as the {kind} {animal},|\
    Listen, the {kind} {animal} is singing,|My {object} is too {look},";
const WHENS: &str = "\
    one {weather} {time}|on a {weather} {time}|late that {weather} {time}|after a {weather} {time}|\
    early that {weather} {time}|after the {food}|before the {food}|when {until}|as soon as {until}|\
    a little later|soon afterwards|the next {time}";
const TIMES: &str = "\
    morning|afternoon|evening|night|day|winter day|summer day|spring day";
const WEATHERS: &str = "\
    rainy|sunny|windy|snowy|foggy|stormy|cloudy|warm|cold|cool|bright|dull|quiet|busy|long|fine|grey|hot|\
    dreary|lovely";
const SKIES: &str = "\
    the sun shone over the {air} {spot}|the moon rose above the {air} {spot}|\
    the rain fell on the {air} {spot}|the wind blew across the {air} {spot}|\
    the snow covered the {air} {spot}|the stars twinkled above the {air} {spot}|\
    the mist hung over the {air} {spot}|the thunder rolled above the {air} {spot}|\
    a rainbow stood over the {air} {spot}|the clouds drifted past the {air} {spot}";
const UNTILS: &str = "\
    the sun went down|the rain stopped|the {kind} {animal} came home|it was time for supper|\
    the {food} {object} was ready|the {kind} {animal} woke up|the stars came out|the wind grew quiet|\
    everyone had eaten the {food}|the {kind} {animal} had gone to bed|the snow began to fall|\
    the bells rang in the {spot}";

#[cfg(test)]
mod tests {
    use super::*;

    /// In how many ways `form` can be filled.
    fn ways(form: &str, subjects: f64) -> f64 {
        let Some((_, slot, after)) = cut(form) else { return 1.0 };
        let filled = match slot {
            "who" => subjects,
            "he" | "his" | "him" | "was" => 1.0,
            _ => table(slot).split('|').map(|entry| ways(entry, subjects)).sum(),
        };
        filled * ways(after, subjects)
    }

    #[test]
    fn every_form_has_a_million_fillings_or_nearly() {
        let subjects = SUBJECTS.iter().map(|subject| ways(subject.form, 0.0)).sum();
        for form in SENTENCES {
            assert!(ways(form, subjects) > 1e6, "{form}: {}", ways(form, subjects));
        }
    }

    #[test]
    fn sentences_are_well_formed() {
        let mut random = Random::seeded(5);
        for _ in 0..5000 {
            let sentence = sentence(&mut random);
            let text = sentence.trim_start_matches('"');
            assert!(text.starts_with(|c: char| c.is_ascii_uppercase()), "{sentence}");
            assert!(sentence.ends_with('.') && !sentence.contains(['{', '}']), "{sentence}");
            for wrong in [" a a", " a e", " a i", " a o", " a u", "  ", " an b", " an m"] {
                assert!(!sentence.contains(wrong), "{sentence}");
            }
        }
    }

    #[test]
    fn articles_agree() {
        let subject = &SUBJECTS[0];
        let written = |form: &str| {
            let mut out = String::new();
            expand(form, subject, &mut Random::seeded(1), &mut out);
            out
        };
        let mut out = "a ".to_owned();
        push(&mut out, "old owl");
        assert_eq!(out, "an old owl");
        let mut out = "banana ".to_owned();
        push(&mut out, "ice");
        assert_eq!(out, "banana ice");
        assert_eq!(written("{was} {he}"), "was she");
    }
}
