//! `--memory`: one bound on everything that is held.

mod support;

use support::{Place, stderr};

const STORY: &str = "Tell me a story about a fox.";

#[test]
fn a_model_that_does_not_fit_is_refused_with_the_numbers() {
    let place = Place::new();
    let error =
        place.mistake(&["ask", "--memory", "5MiB", STORY], "needed for the weights of mini", "--memory");
    assert!(error.contains("9.5 MB") && error.contains("5.2 MB"), "{error}");
    place.mistake(
        &["serve", "--port", "0", "--memory", "5MiB"],
        "needed for the weights and buffers of mini",
        "--memory",
    );
    for wrong in ["4096", "5 apples", "0MiB"] {
        let output = place.crayon(&["ask", "--memory", wrong, STORY]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains("is not a size: write 2GiB"), "{}", stderr(&output));
    }
}

#[test]
fn an_answer_gets_a_smaller_pot_and_says_so() {
    let place = Place::new();
    // Buffers take about seven megabytes beside the ten of the weights.
    let tight = ["ask", "-v", "--memory", "19MB", "--max-tokens", "600", STORY];
    let output = place.crayon(&tight).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let told = stderr(&output);
    assert!(told.contains("the memory allowed has room for"), "{told}");
    assert!(told.contains("memory: weights 9.5 MB") && told.contains("of 19.0 MB free"), "{told}");
    let whole = [&tight[..], &["--policy", "full"]].concat();
    let error = place.mistake(&whole, "needed for what is held of this conversation", "--memory");
    assert!(error.contains("of the 19.0 MB allowed"), "{error}");
    // Enough changes nothing.
    let answer = |arguments: &[&str]| place.text(&[&["ask", "--max-tokens", "40"], arguments].concat());
    assert_eq!(answer(&["--memory", "1GiB", STORY]), answer(&[STORY]));
}

#[test]
fn a_conversation_goes_through_a_smaller_pot() {
    let place = Place::new();
    let mut chat = place.crayon(&["chat", "--memory", "19MB", "--max-tokens", "20", "--no-history"]);
    let output = chat.write_stdin("Hello!\nWhat is a cat?\n").output().unwrap();
    let told = stderr(&output);
    assert!(output.status.success() && told.contains("the memory allowed has room for"), "{told}");
    assert!(!output.stdout.is_empty());
}
