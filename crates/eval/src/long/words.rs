//! Words that facts are made of. Names are not the ones of the filler's grammar, so that only facts speak of these
//! people and cities.

pub(super) const NAMES: &[&str] = &[
    "Ben", "Anna", "Tom", "Lily", "Max", "Sara", "Jack", "Mia", "Paul", "Lucy", "Sam", "Emma", "Peter",
    "Rosa", "Oscar", "Alice", "David", "Nina", "Henry", "Clara", "Mark", "Julia", "Leo", "Ruth", "George",
    "Amy", "Felix", "Nora", "Martin", "Ida", "Simon", "Ella", "Victor", "Jane", "Hugo", "Molly", "Adam",
    "Helen", "Oliver", "Kate",
];
pub(super) const CITIES: &[&str] = &[
    "Rome", "Paris", "London", "Berlin", "Madrid", "Vienna", "Oslo", "Cairo", "Tokyo", "Lima", "Boston",
    "Dublin", "Athens", "Prague", "Lisbon", "Sydney", "Geneva", "Milan", "Seoul", "Havana", "Bergen",
    "Venice", "Hamburg", "Krakow", "Lyon", "Nairobi",
];
pub(super) const THINGS: &[&str] = &[
    "ring", "key", "book", "ball", "kite", "lamp", "hat", "coat", "bell", "drum", "cup", "spoon", "coin",
    "map", "letter", "clock", "doll", "scarf", "candle", "mirror", "flute", "basket", "bottle", "box",
    "comb", "flag", "hammer", "pillow", "rope", "toy",
];
pub(super) const HIDES: &[&str] = &[
    "under the bed",
    "behind the door",
    "in the drawer",
    "on the shelf",
    "under the carpet",
    "behind the mirror",
    "in the old tree",
    "under the stairs",
    "on the roof",
    "behind the curtain",
    "under a stone",
    "in the hay",
    "by the fire",
    "inside a boot",
    "under the sofa",
    "behind the oven",
    "in the attic",
    "below the window",
];
pub(super) const ROOMS: &[&str] = &[
    "kitchen", "library", "attic", "cellar", "school", "station", "castle", "tower", "museum", "bakery",
    "shop", "hall", "bedroom", "office", "garage", "barn",
];
pub(super) const COLOURS: &[&str] = &[
    "red", "blue", "green", "yellow", "white", "black", "brown", "pink", "purple", "orange", "grey", "golden",
];
pub(super) const FOODS: &[&str] = &[
    "soup",
    "bread",
    "cheese",
    "rice",
    "pasta",
    "pizza",
    "fish",
    "cake",
    "honey",
    "jam",
    "apples",
    "plums",
    "grapes",
    "carrots",
    "beans",
    "pancakes",
    "eggs",
    "chocolate",
    "pears",
    "salad",
];
pub(super) const PETS: &[&str] = &[
    "dog", "cat", "horse", "rabbit", "goat", "sheep", "duck", "hen", "pig", "fox", "owl", "frog", "parrot",
    "turtle", "pony", "donkey",
];
pub(super) const DAYS: &[&str] =
    &["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
pub(super) const ACTIVITIES: &[&str] = &[
    "walk along the river",
    "feed the ducks",
    "see the old bridge",
    "climb the tower at night",
    "swim in the lake",
    "drink hot chocolate",
    "buy a straw hat",
    "fly a kite on the hill",
    "look at the boats",
    "ride a red bus",
    "visit the flower market",
    "listen to the street music",
    "eat ice cream by the harbour",
    "sleep in a tent",
];
