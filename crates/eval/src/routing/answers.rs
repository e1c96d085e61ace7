//! Which choice a written answer is, and whether it is the right one.

/// Index of the choice that `answer` names: the same words, else the longest choice it begins with. Case, and signs
/// around the words, do not matter; `None` where it names none.
pub fn named(answer: &str, choices: &[String]) -> Option<usize> {
    let answer = plain(answer);
    let choices: Vec<String> = choices.iter().map(|choice| plain(choice)).collect();
    if let Some(index) = choices.iter().position(|choice| *choice == answer) {
        return Some(index);
    }
    let begins = |choice: &str| {
        answer.strip_prefix(choice).is_some_and(|rest| !choice.is_empty() && rest.starts_with(' '))
    };
    let all = choices.iter().enumerate().filter(|(_, choice)| begins(choice));
    all.max_by_key(|(_, choice)| choice.len()).map(|(index, _)| index)
}

/// Whether the first line of `answer` says what `expected` says. Case, and signs around the words, do not matter.
pub fn says(answer: &str, expected: &str) -> bool {
    let first = answer.trim().lines().next().unwrap_or_default();
    plain(first) == plain(expected)
}

/// Words in lower case with one space between them.
fn plain(text: &str) -> String {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_matched_by_their_words() {
        let choices = ["transfer", "transfer money", "pin change"].map(str::to_owned);
        assert_eq!(named(" Transfer money.", &choices), Some(1));
        assert_eq!(named("transfer\n\nYou asked for it", &choices), Some(0));
        assert_eq!(named("transfer money now", &choices), Some(1));
        assert_eq!(named("\"PIN-change\"", &choices), Some(2));
        assert_eq!(named("transfers", &choices), None);
        assert_eq!(named("", &choices), None);
        assert_eq!(named("...", &["?".to_owned()]), Some(0));
    }

    #[test]
    fn an_answer_is_right_when_its_first_line_is() {
        assert!(says(" Oslo.\nIt lies in the north.", "oslo"));
        assert!(!says("Oslo, I think", "Oslo") && !says("Bergen\nOslo", "Oslo") && !says("", "Oslo"));
    }
}
