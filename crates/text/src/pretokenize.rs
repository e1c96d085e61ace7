//! Splitting text into words before byte-pair merging.
//!
//! Each model family published one or more regular expressions; merges never cross the borders they draw.
//! They are matched in linear time. The one construct a linear engine lacks, `\s+(?!\S)` (white space, but not
//! the last character of it when a word follows), is the pattern `\s+` with its last character given back.

use regex_automata::meta::{Cache, Regex};
use regex_automata::{Input, PatternID};

use crate::error::{Result, TextError};

/// One regular expression: its alternatives in order, and which of them is `\s+(?!\S)`.
struct Stage {
    regex: Regex,
    give_back: Option<PatternID>,
}

/// A family's expressions, applied one after the other: each splits what the one before left, and both its
/// matches and the gaps between them are words.
pub(crate) struct Splitter {
    stages: Vec<Stage>,
}

const TRAILING_SPACE: &str = r"\s+(?!\S)";

const GPT2: &[&str] =
    &[r"'s|'t|'re|'ve|'m|'ll|'d", r" ?\p{L}+", r" ?\p{N}+", r" ?[^\s\p{L}\p{N}]+", TRAILING_SPACE, r"\s+"];
const LLAMA3: &[&str] = &[
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)",
    r"[^\r\n\p{L}\p{N}]?\p{L}+",
    r"\p{N}{1,3}",
    r" ?[^\s\p{L}\p{N}]+[\r\n]*",
    r"\s*[\r\n]+",
    TRAILING_SPACE,
    r"\s+",
];
const QWEN2: &[&str] = &[
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)",
    r"[^\r\n\p{L}\p{N}]?\p{L}+",
    r"\p{N}",
    r" ?[^\s\p{L}\p{N}]+[\r\n]*",
    r"\s*[\r\n]+",
    TRAILING_SPACE,
    r"\s+",
];
const GPT4O: &[&str] = &[
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"\p{N}{1,3}",
    r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
    r"\s*[\r\n]+",
    TRAILING_SPACE,
    r"\s+",
];
const TEKKEN: &[&str] = &[
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
    r"\p{N}",
    r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
    r"\s*[\r\n]+",
    TRAILING_SPACE,
    r"\s+",
];
const DEEPSEEK3: &[&str] = &[
    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"##,
    r"[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+",
    r" ?[\p{P}\p{S}]+[\r\n]*",
    r"\s*[\r\n]+",
    TRAILING_SPACE,
    r"\s+",
];

/// What GGUF files name in `tokenizer.ggml.pre`.
struct Known {
    names: &'static [&'static str],
    /// The alternatives of each expression.
    stages: &'static [&'static [&'static str]],
    /// Whether a word that is a token as a whole skips merging.
    whole_words: bool,
}

const FAMILIES: &[Known] = &[
    Known {
        names: &[
            "gpt-2",
            "gpt2",
            "phi-2",
            "mpt",
            "olmo",
            "jais",
            "jina-es",
            "jina-de",
            "jina-v2-es",
            "jina-v2-de",
        ],
        stages: &[GPT2],
        whole_words: false,
    },
    Known {
        names: &["llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "lfm2", "midm-2.0"],
        stages: &[LLAMA3],
        whole_words: true,
    },
    Known { names: &["dbrx", "smaug-bpe"], stages: &[LLAMA3], whole_words: false },
    Known {
        names: &["qwen2", "deepseek-r1-qwen", "stablelm2", "megrez", "kormo"],
        stages: &[QWEN2],
        whole_words: false,
    },
    Known {
        names: &["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"],
        stages: &[&[r"\p{N}"], GPT2],
        whole_words: false,
    },
    Known { names: &["gpt-4o", "llama4"], stages: &[GPT4O], whole_words: false },
    Known { names: &["tekken"], stages: &[TEKKEN], whole_words: true },
    Known {
        names: &["deepseek-coder"],
        stages: &[&[r"[\r\n]"], &[r"\s?\p{L}+"], &[r"\s?\p{P}+"], &["[一-龥ࠀ-一가-\u{d7ff}]+"], &[r"\p{N}"]],
        whole_words: false,
    },
    Known {
        names: &["deepseek-v3"],
        stages: &[&[r"\p{N}{1,3}"], &["[一-龥\u{3040}-ゟ゠-ヿ]+"], DEEPSEEK3],
        whole_words: false,
    },
    Known {
        names: &["falcon"],
        stages: &[&[r"[\p{P}\$\+<=>\^~\|`]+"], GPT2, &["[0-9][0-9][0-9]"]],
        whole_words: false,
    },
    // What llama.cpp takes where a file names nothing.
    Known {
        names: &["default"],
        stages: &[&[r"[\p{P}\$\+<=>\^~\|]+"], GPT2, &[r"\p{N}+"], &["[0-9][0-9][0-9]"]],
        whole_words: false,
    },
];

/// How a family cuts text into words.
pub(crate) struct Family {
    pub(crate) splitter: Splitter,
    /// Whether a word that is a token as a whole skips merging.
    pub(crate) whole_words: bool,
}

impl Family {
    /// The family a GGUF file calls `name`.
    pub(crate) fn named(name: &str) -> Result<Family> {
        let Some(known) = FAMILIES.iter().find(|known| known.names.contains(&name)) else {
            return Err(TextError::Unsupported {
                format: "GGUF vocabulary",
                what: format!("tokenizer.ggml.pre = {name:?}"),
                hint: format!(
                    "known are {}; if the model's words are cut like one of these, set the key to that name",
                    FAMILIES
                        .iter()
                        .flat_map(|known| known.names.iter().copied())
                        .collect::<Vec<_>>()
                        .join(", ")
                ),
            });
        };
        Ok(Family { splitter: Splitter::new(known.stages)?, whole_words: known.whole_words })
    }
}

impl Splitter {
    /// GPT-2's expression.
    pub(crate) fn gpt2() -> Result<Splitter> {
        Splitter::new(&[GPT2])
    }

    /// A splitter that cuts nothing.
    pub(crate) fn whole() -> Splitter {
        Splitter { stages: Vec::new() }
    }

    /// The splitter of an expression as tokenizer.json files spell it, if it is one of those known here.
    pub(crate) fn known(expression: &str) -> Option<Result<Splitter>> {
        [GPT2, LLAMA3, QWEN2, GPT4O, TEKKEN, DEEPSEEK3, &[r"\p{N}{1,3}"], &[r"\p{N}"]]
            .into_iter()
            .find(|alternatives| alternatives.join("|") == expression)
            .map(|alternatives| Splitter::new(&[alternatives]))
    }

    /// This splitter's expressions, then another's.
    pub(crate) fn then(mut self, other: Splitter) -> Splitter {
        self.stages.extend(other.stages);
        self
    }

    fn new(stages: &[&[&str]]) -> Result<Splitter> {
        let stages = stages.iter().map(|alternatives| Stage::new(alternatives)).collect::<Result<_>>()?;
        Ok(Splitter { stages })
    }

    /// Calls `word` with each word of `text`, in order; together they are `text`.
    pub(crate) fn split<'t>(
        &self,
        text: &'t str,
        caches: &mut Caches,
        word: &mut dyn FnMut(&'t str) -> Result<()>,
    ) -> Result<()> {
        caches.0.resize_with(self.stages.len(), || None);
        split(&self.stages, &mut caches.0, text, word)
    }
}

/// Scratch memory of the expressions' matchers.
#[derive(Default)]
pub(crate) struct Caches(Vec<Option<Cache>>);

fn split<'t>(
    stages: &[Stage],
    caches: &mut [Option<Cache>],
    text: &'t str,
    word: &mut dyn FnMut(&'t str) -> Result<()>,
) -> Result<()> {
    let (Some((stage, stages)), Some((cache, caches))) = (stages.split_first(), caches.split_first_mut())
    else {
        return if text.is_empty() { Ok(()) } else { word(text) };
    };
    let cache = cache.get_or_insert_with(|| stage.regex.create_cache());
    let mut at = 0;
    while at < text.len() {
        let (start, end) = stage.find(text, at, cache).unwrap_or((text.len(), text.len()));
        if start > at {
            split(stages, caches, &text[at..start], word)?;
        }
        if end > start {
            split(stages, caches, &text[start..end], word)?;
        }
        at = end;
    }
    Ok(())
}

impl Stage {
    fn new(alternatives: &[&str]) -> Result<Stage> {
        let patterns: Vec<&str> =
            alternatives.iter().map(|&p| if p == TRAILING_SPACE { r"\s+" } else { p }).collect();
        let regex = Regex::new_many(&patterns)
            .map_err(|e| TextError::malformed("pre-tokenizer expression", e.to_string()))?;
        let give_back = alternatives.iter().position(|&p| p == TRAILING_SPACE).map(PatternID::must);
        Ok(Stage { regex, give_back })
    }

    /// The next match at or after `at`, never empty.
    fn find(&self, text: &str, at: usize, cache: &mut Cache) -> Option<(usize, usize)> {
        let found = self.regex.search_with(cache, &Input::new(text).range(at..))?;
        let (start, mut end) = (found.start(), found.end());
        if Some(found.pattern()) == self.give_back && end < text.len() {
            let last = text[start..end].chars().next_back().map_or(0, char::len_utf8);
            if end - last > start {
                end -= last;
            }
        }
        Some((start, end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crayon_errors::Explain as _;

    fn words(family: &str, text: &str) -> Vec<String> {
        let mut words = Vec::new();
        let splitter = Family::named(family).unwrap().splitter;
        splitter
            .split(text, &mut Caches::default(), &mut |word| {
                words.push(word.to_owned());
                Ok(())
            })
            .unwrap();
        assert_eq!(words.concat(), text, "{family}");
        words
    }

    #[test]
    fn families_cut_as_published() {
        #[track_caller]
        fn check(family: &str, text: &str, expected: &[&str]) {
            assert_eq!(words(family, text), expected, "{family}");
        }
        check(
            "gpt-2",
            "I'll  pay  12345\n\nnow ",
            &["I", "'ll", " ", " pay", " ", " 12345", "\n", "\n", "now", " "],
        );
        check("gpt-2", "a   ", &["a", "   "]);
        check("gpt-2", " \u{3000}x", &[" ", "\u{3000}", "x"]);
        check(
            "llama-bpe",
            "I'LL pay 12345\n\n  now",
            &["I", "'LL", " pay", " ", "123", "45", "\n\n", " ", " now"],
        );
        check("qwen2", "v12 (ok)\n", &["v", "1", "2", " (", "ok", ")\n"]);
        check("smollm", "in 1999", &["in", " ", "1", "9", "9", "9"]);
        check("default", "a+b 12345", &["a", "+", "b", " ", "123", "45"]);
        check("tekken", "HelloWorld 42", &["Hello", "World", " ", "4", "2"]);
        check("gpt-4o", "it's 1234", &["it's", " ", "123", "4"]);
        check("deepseek-v3", "x=1234 日本", &["x", "=", "123", "4", " ", "日本"]);
        check("deepseek-coder", "f(x)\n 42", &["f", "(", "x", ")", "\n", " ", "4", "2"]);
        check("falcon", "a==12345", &["a", "==", "123", "45"]);
    }

    #[test]
    fn every_family_compiles_and_loses_nothing() {
        let text = "Ünï 中文 12\t\r\n\n  'S x'll …🦙\u{200d} \u{a0} \u{0}end  ";
        for known in FAMILIES {
            for name in known.names {
                words(name, text);
            }
        }
    }

    #[test]
    fn unknown_names_list_the_known_ones() {
        let error = Family::named("martian").err().unwrap();
        assert!(error.to_string().contains("martian"));
        assert!(error.hint().unwrap().contains("llama-bpe"));
    }

    #[test]
    fn expressions_of_tokenizer_json_are_recognised() {
        let gpt2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
        assert!(Splitter::known(gpt2).is_some());
        assert!(Splitter::known(r"\w+").is_none());
    }
}
