//! What the tour shows.

/// A part of the tour.
pub(super) struct Step {
    /// In `--json`.
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) about: &'static str,
    pub(super) commands: &'static [&'static [&'static str]],
}

/// All of it, in order.
pub(super) const STEPS: [Step; 6] = [
    Step {
        name: "ask",
        title: "It answers, on this device",
        about: "The built-in model is tiny: it is here to try the program. Real models are files or downloads (crayon models).",
        commands: &[&["ask", "What is a cat?"]],
    },
    Step {
        name: "customize",
        title: "It learns what you want from a few examples",
        about: "home.jsonl has twenty things said to a house, with what is meant. Every way to follow them is judged by the examples\nthemselves, and the model stays as it is where none is better.",
        commands: &[
            &["ask", "turn off the lamp in the living room"],
            &["customize", "--examples", "home.jsonl", "--effort", "fit", "-o", "home"],
            &["ask", "-a", "home", "turn off the lamp in the living room"],
            &["ask", "-a", "home", "What is a cat?"],
        ],
    },
    Step {
        name: "read",
        title: "It reads long texts in fixed memory",
        about: "day.txt is ten times as long as the model's window. What does not matter for the question is dropped as it is read.",
        commands: &[&["ask", "-c", "day.txt", "--pot", "256", "What is the secret number?"]],
    },
    Step {
        name: "stress",
        title: "You say which words matter",
        about: "A word's weight acts inside the attention. Here it points at one of many facts.",
        commands: &[&["ask", FACTS_PLAIN], &["ask", "--weights", FACTS_STRESSED]],
    },
    Step {
        name: "route",
        title: "It knows when it is not sure",
        about: "Such questions can go to a larger model, on a server that you name (--server) and nobody else.",
        commands: &[&["ask", "Who invented the telephone?"]],
    },
    Step {
        name: "pictures",
        title: "It finds pictures by words, and weighs the words",
        about: "The folder pictures holds 48 drawings. (red:3) would make the colour count more; (red:0) hides the word from the others.",
        commands: &[
            &["images", "index", "pictures", "-o", "pictures.index"],
            &["images", "search", "pictures.index", "-k", "4", "a red heart"],
            &["images", "search", "pictures.index", "-k", "4", "a (red:0) heart"],
        ],
    },
];

const FACTS_PLAIN: &str = "The number of Tom is 512. The number of Anna is 340. The number of Ben is 871. The number of Mia is 256. What is the number of Anna?";
const FACTS_STRESSED: &str = "The number of Tom is 512. (The number of Anna is 340.:8) The number of Ben is 871. The number of Mia is 256. What is the number of Anna?";

/// A text of some ten thousand tokens with one fact in its middle.
pub(super) fn long_text() -> String {
    let day = "Anna saw a dog. Tom went home. The rain fell.\n".repeat(400);
    format!("{day}The secret number is 4812.\n{day}")
}
