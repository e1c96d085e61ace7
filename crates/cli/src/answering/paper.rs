//! An answer on a terminal: lines are broken between words, and Markdown is coloured as it comes.
//!
//! No sign is left out or added but line breaks and colours, so that what is copied is what was written.

use console::measure_text_width;

const BOLD: &str = "\x1b[1m";
const CODE: &str = "\x1b[36m";
const PLAIN: &str = "\x1b[0m";

/// Text on its way to a terminal.
#[derive(Debug)]
pub(crate) struct Paper {
    /// Columns of the terminal; as many as a text wants when 0.
    width: usize,
    /// Whether colours may be used.
    colour: bool,
    /// Columns of the line that are taken.
    column: usize,
    /// Blanks before the word under way.
    blanks: String,
    /// The word that is not yet complete.
    word: String,
    /// Whether nothing but blanks stands in the line of the text so far.
    begins: bool,
    /// Inside a block of code, which is not broken.
    block: bool,
    bold: bool,
    inline: bool,
}

impl Paper {
    /// For a terminal of `width` columns.
    pub(crate) fn new(width: usize, colour: bool) -> Paper {
        Paper {
            width,
            colour,
            column: 0,
            blanks: String::new(),
            word: String::new(),
            begins: true,
            block: false,
            bold: false,
            inline: false,
        }
    }

    /// What is to be printed after this piece: all but a word that may go on.
    pub(crate) fn write(&mut self, text: &str) -> String {
        let mut out = String::new();
        for c in text.chars() {
            match c {
                '\n' => {
                    self.end_word(&mut out);
                    self.blanks.clear();
                    self.end_line(&mut out);
                    out.push('\n');
                }
                c if c.is_whitespace() && c != '\u{a0}' => {
                    self.end_word(&mut out);
                    self.blanks.push(c);
                }
                c => self.word.push(c),
            }
        }
        out
    }

    /// The rest, and the end of all colours.
    pub(crate) fn end(&mut self) -> String {
        let mut out = String::new();
        self.end_word(&mut out);
        self.end_line(&mut out);
        (self.block, self.blanks) = (false, String::new());
        out
    }

    fn end_word(&mut self, out: &mut String) {
        if self.word.is_empty() {
            return;
        }
        let word = std::mem::take(&mut self.word);
        let blanks = std::mem::take(&mut self.blanks);
        let (before, own) = (measure_text_width(&blanks), measure_text_width(&word));
        let fence = self.begins && word.starts_with("```");
        if !self.block && self.width > 0 && self.column > 0 && self.column + before + own > self.width {
            out.push('\n');
            self.column = own;
        } else {
            out.push_str(&blanks);
            self.column += before + own;
        }
        if fence || self.block {
            self.block ^= fence;
            self.paint(CODE, &word, out);
        } else {
            if self.begins && word.chars().all(|c| c == '#') {
                self.bold = true;
            }
            self.styled(&word, out);
        }
        self.begins = false;
    }

    /// A word of prose, with what `**` and `` ` `` begin and end in it.
    fn styled(&mut self, word: &str, out: &mut String) {
        if !self.colour {
            return out.push_str(word);
        }
        if self.bold || self.inline {
            out.push_str(if self.inline { CODE } else { BOLD });
        }
        let mut rest = word;
        while let Some(c) = rest.chars().next() {
            let sign = if rest.starts_with("**") && !self.inline { "**" } else { &rest[..c.len_utf8()] };
            let (opens, style) = match sign {
                "**" => (!self.bold, BOLD),
                "`" => (!self.inline, CODE),
                _ => {
                    out.push_str(sign);
                    rest = &rest[sign.len()..];
                    continue;
                }
            };
            match sign {
                "**" => self.bold = opens,
                _ => self.inline = opens,
            }
            if opens {
                out.push_str(style);
            }
            out.push_str(sign);
            if !opens {
                out.push_str(PLAIN);
                out.push_str(if self.bold { BOLD } else { "" });
            }
            rest = &rest[sign.len()..];
        }
        if self.bold || self.inline {
            out.push_str(PLAIN);
        }
    }

    fn paint(&self, style: &str, text: &str, out: &mut String) {
        match self.colour {
            true => out.extend([style, text, PLAIN]),
            false => out.push_str(text),
        }
    }

    fn end_line(&mut self, out: &mut String) {
        if self.colour && (self.bold || self.inline) {
            out.push_str(PLAIN);
        }
        (self.column, self.begins, self.bold, self.inline) = (0, true, false, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a terminal gets when the text comes in pieces of `size` characters.
    fn printed(width: usize, colour: bool, size: usize, text: &str) -> String {
        let mut paper = Paper::new(width, colour);
        let signs: Vec<char> = text.chars().collect();
        let mut out = String::new();
        for piece in signs.chunks(size) {
            out += &paper.write(&piece.iter().collect::<String>());
        }
        out + &paper.end()
    }

    #[test]
    fn lines_are_broken_between_words_however_the_text_comes() {
        let text = "One two three four.\n\nA very-long-word-that-does-not-fit and 漢字 wide ones.";
        let expected = "One two\nthree\nfour.\n\nA\nvery-long-word-that-does-not-fit\nand 漢字\nwide\nones.";
        for size in [1, 3, 100] {
            assert_eq!(printed(8, false, size, text), expected, "{size}");
        }
        assert_eq!(printed(0, false, 2, text), text);
    }

    #[test]
    fn code_keeps_its_lines_and_blanks() {
        let text = "See:\n```rust\nfn main() {    let long = \"line\"; }\n```\nand then some more";
        let expected = "See:\n```rust\nfn main() {    let long = \"line\"; }\n```\nand then\nsome more";
        assert_eq!(printed(10, false, 1, text), expected);
        assert_eq!(printed(10, false, 7, text), expected);
    }

    #[test]
    fn colours_add_nothing_else() {
        let text = "# Title here\nA **bold word** and `code` and ``` no fence, 2 ** 3.\n```\nx = 1\n```\nend";
        for size in [1, 4] {
            let coloured = printed(0, true, size, text);
            assert_eq!(console::strip_ansi_codes(&coloured), text);
            assert!(
                coloured.contains("\x1b[1m**bold") && coloured.contains("\x1b[36m`code`"),
                "{coloured:?}"
            );
            // What begins in a line ends in it.
            for line in coloured.lines() {
                let last = line.rfind('\x1b').map(|at| &line[at..]);
                assert!(last.is_none_or(|code| code.starts_with(PLAIN)), "{line:?}");
            }
        }
    }
}
