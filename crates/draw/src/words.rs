//! Words in pictures: how much room they take, and how XML writes them.

/// Characters narrower and wider than most. Shares of the font's size are those of the widest font that systems come with
/// (DejaVu Sans), so that others leave a little room.
const NARROW: &str = "ijl.,:;'|!()[] ft-rI/\\";
const WIDE: &str = "mwMW@%";

/// Room that `text` takes at a font size, at most, in pixels.
pub(crate) fn width(text: &str, size: f64, bold: bool) -> f64 {
    let share = |c: char| match c {
        c if NARROW.contains(c) => 0.42,
        c if WIDE.contains(c) => 1.0,
        c if c.is_ascii_lowercase() || c.is_ascii_digit() => 0.64,
        c if c.is_ascii() || ('\u{c0}'..'\u{590}').contains(&c) || c == '\u{2212}' => 0.84,
        // Signs that fill a square, and whatever else there is.
        _ => 1.0,
    };
    text.chars().map(share).sum::<f64>() * size * if bold { 1.12 } else { 1.0 }
}

/// Lines of `text` that take at most `room` pixels each; a word that is longer is broken.
pub(crate) fn wrap(text: &str, room: f64, size: f64, bold: bool) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let longer = if line.is_empty() { word.to_owned() } else { format!("{line} {word}") };
        if width(&longer, size, bold) <= room {
            line = longer;
            continue;
        }
        if !line.is_empty() {
            lines.push(std::mem::take(&mut line));
        }
        for c in word.chars() {
            if !line.is_empty() && width(&format!("{line}{c}"), size, bold) > room {
                lines.push(std::mem::take(&mut line));
            }
            line.push(c);
        }
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

/// `text` as XML has it; control characters, which it cannot have, are left out.
pub fn xml_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars().filter(|c| !c.is_control() && !matches!(c, '\u{FFFE}' | '\u{FFFF}')) {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_break_a_picture() {
        assert_eq!(xml_text("<a & \"b\">"), "&lt;a &amp; &quot;b&quot;&gt;");
        assert_eq!(xml_text("a\u{0}b\n"), "ab");
    }

    #[test]
    fn lines_are_broken_between_words_and_where_a_word_is_too_long() {
        assert_eq!(wrap("one two three", 60.0, 10.0, false), ["one two", "three"]);
        assert_eq!(wrap("", 60.0, 10.0, false), Vec::<String>::new());
        let long = wrap("abcdefghijklmnopqrstuvwxyz", 60.0, 10.0, false);
        assert!(long.len() > 2 && long.concat() == "abcdefghijklmnopqrstuvwxyz", "{long:?}");
        assert!(long.iter().all(|line| width(line, 10.0, false) <= 60.0), "{long:?}");
    }
}
