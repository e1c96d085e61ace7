//! A text of a wanted number of tokens with facts at wanted depths.

use crayon_adapters::Random;

/// A sentence, or a word of a list, and what parts it from the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) text: String,
    pub(super) gap: &'static str,
}

/// Pieces without end.
pub(super) trait Source {
    /// The next piece.
    fn next(&mut self, random: &mut Random) -> Piece;

    /// A piece that may close the text out of turn, to meet its length closely; `None` where order matters.
    fn spare(&self, random: &mut Random) -> Option<Piece>;
}

/// A fact to be put into the text.
#[derive(Clone, Debug)]
pub(super) struct Insert {
    /// Share of the text before it, from 0 to 1.
    pub(super) depth: f64,
    pub(super) text: String,
    /// Whether it stands on a line of its own rather than in a paragraph.
    pub(super) own_line: bool,
}

/// Rounds in which the number of pieces is fitted, and in which the end is; every round counts the text once.
const ROUNDS: usize = 5;
/// Characters from which the length of a token is estimated first.
const SAMPLE: usize = 20_000;
/// Pieces tried for the end of the text.
const SPARES: usize = 120;

/// Pieces of `source` with `inserts` among them, `tokens` long as `count` counts, mostly within 1 %: as near as the
/// pieces allow. Never shorter than the facts alone.
///
/// To count a long text takes long, so it is done a dozen times at most and seldom more than twice.
pub(super) fn haystack(
    source: &mut dyn Source,
    inserts: &[Insert],
    tokens: usize,
    count: &dyn Fn(&str) -> usize,
    random: &mut Random,
) -> String {
    let facts = assemble(&[], inserts);
    let room = tokens.saturating_sub(count(&facts));
    if room == 0 {
        return facts;
    }
    let mut supply = Supply { source, pieces: Vec::new(), ends: vec![0] };
    let sampled = supply.nearest(SAMPLE.min(6 * room) as f64, random);
    let sample = assemble(&supply.pieces[..sampled], &[]);
    let mut wanted = room as f64 * sample.chars().count() as f64 / count(&sample).max(1) as f64;

    let mut best = Best { tokens, text: facts, pieces: Vec::new(), off: room as i64 };
    let mut tried = Vec::new();
    while !best.is_near() && tried.len() < ROUNDS {
        let kept = supply.nearest(wanted, random);
        if tried.contains(&kept) {
            break;
        }
        tried.push(kept);
        let pieces = &supply.pieces[..kept];
        let off = best.offer(pieces, assemble(pieces, inserts), count);
        let characters = supply.ends[kept] as f64;
        let per_token = characters / (room as i64 - off).max(1) as f64;
        wanted = (characters + off as f64 * per_token).max(0.0);
    }
    if !best.is_near() {
        close(&*supply.source, inserts, &mut best, count, random);
    }
    best.text
}

/// Exchanges the last pieces for others of a fitting length.
fn close(
    source: &dyn Source,
    inserts: &[Insert],
    best: &mut Best,
    count: &dyn Fn(&str) -> usize,
    random: &mut Random,
) {
    let alone = |piece: &Piece| count(&format!(" {}", piece.text)) as i64;
    let spares = (0..SPARES).map_while(|_| source.spare(random));
    let mut spares: Vec<(i64, Piece)> = spares.map(|spare| (alone(&spare), spare)).collect();
    let (mut pieces, mut off) = (best.pieces.clone(), best.off);
    for _ in 1..ROUNDS {
        let Some(&shortest) = spares.iter().map(|(length, _)| length).min() else { return };
        while off < shortest {
            let Some(last) = pieces.pop() else { return };
            off += alone(&last);
        }
        let fitting = (0..spares.len()).min_by_key(|&index| (spares[index].0 - off).abs());
        let Some(fitting) = fitting else { return };
        pieces.push(spares.swap_remove(fitting).1);
        off = best.offer(&pieces, assemble(&pieces, inserts), count);
        if best.is_near() {
            return;
        }
    }
}

/// The text nearest to the wanted length so far.
struct Best {
    tokens: usize,
    text: String,
    pieces: Vec<Piece>,
    /// How many tokens it lacks.
    off: i64,
}

impl Best {
    /// Keeps `text`, made of `pieces`, if it is nearer; says how many tokens it lacks.
    fn offer(&mut self, pieces: &[Piece], text: String, count: &dyn Fn(&str) -> usize) -> i64 {
        let off = self.tokens as i64 - count(&text) as i64;
        if off.abs() < self.off.abs() {
            (self.text, self.pieces, self.off) = (text, pieces.to_vec(), off);
        }
        off
    }

    /// Whether it is within 1 %.
    fn is_near(&self) -> bool {
        self.off.unsigned_abs() as usize * 100 <= self.tokens
    }
}

/// The pieces drawn so far.
struct Supply<'a> {
    source: &'a mut dyn Source,
    pieces: Vec<Piece>,
    /// Characters of the first n pieces.
    ends: Vec<usize>,
}

impl Supply<'_> {
    /// How many pieces come nearest to `characters`.
    fn nearest(&mut self, characters: f64, random: &mut Random) -> usize {
        while (self.ends[self.pieces.len()] as f64) < characters {
            let piece = self.source.next(random);
            self.ends.push(self.ends[self.pieces.len()] + length(&piece));
            self.pieces.push(piece);
        }
        border(&self.ends, characters)
    }
}

/// The index of the entry of `ends`, which rises from 0, that is nearest to `position`.
fn border(ends: &[usize], position: f64) -> usize {
    let above = ends.partition_point(|&end| (end as f64) < position).min(ends.len() - 1);
    let below = above.saturating_sub(1);
    if position - ends[below] as f64 <= ends[above] as f64 - position { below } else { above }
}

fn length(piece: &Piece) -> usize {
    piece.text.chars().count() + piece.gap.len()
}

/// Writes `pieces` with each insert at the border between two of them that is nearest to its depth.
fn assemble(pieces: &[Piece], inserts: &[Insert]) -> String {
    let mut ends = vec![0];
    for piece in pieces {
        ends.push(ends[ends.len() - 1] + length(piece));
    }
    let all = ends[pieces.len()] as f64;
    let mut placed: Vec<(usize, &Insert)> =
        inserts.iter().map(|insert| (border(&ends, all * insert.depth), insert)).collect();
    // Stable, and by depth first: what is told earlier stays earlier, even between the same two sentences.
    placed.sort_by(|(_, one), (_, other)| one.depth.total_cmp(&other.depth));

    let (mut out, mut gap) = (String::new(), "");
    let mut placed = placed.into_iter().peekable();
    for index in 0..=pieces.len() {
        while let Some((_, insert)) = placed.next_if(|(at, _)| *at == index) {
            out.push_str(if insert.own_line && gap == " " { "\n" } else { gap });
            out.push_str(&insert.text);
            gap = if insert.own_line { "\n" } else { " " };
        }
        if let Some(piece) = pieces.get(index) {
            out.push_str(gap);
            out.push_str(&piece.text);
            gap = piece.gap;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::super::prose::Stream;
    use super::super::{Filler, prose};
    use super::*;

    fn insert(depth: f64, text: &str, own_line: bool) -> Insert {
        Insert { depth, text: text.to_owned(), own_line }
    }

    fn pieces(texts: &[(&str, &'static str)]) -> Vec<Piece> {
        texts.iter().map(|&(text, gap)| Piece { text: text.to_owned(), gap }).collect()
    }

    #[test]
    fn inserts_stand_between_sentences() {
        let pieces = pieces(&[("One.", " "), ("Two.", "\n\n"), ("Six.", " "), ("Ten.", "\n\n")]);
        let at = |depth| assemble(&pieces, &[insert(depth, "HERE", false)]);
        assert_eq!(at(0.0), "HERE One. Two.\n\nSix. Ten.");
        assert_eq!(at(0.2), "One. HERE Two.\n\nSix. Ten.");
        assert_eq!(at(0.55), "One. Two.\n\nHERE Six. Ten.");
        assert_eq!(at(1.0), "One. Two.\n\nSix. Ten.\n\nHERE");
        let lines = [insert(0.2, "y = x", true), insert(0.1, "x = 5", true), insert(0.9, "z = 7", true)];
        assert_eq!(
            assemble(&pieces[..3], &lines),
            "One.\nx = 5\ny = x\nTwo.\n\nSix.\nz = 7".replace("One.\nx = 5", "x = 5\nOne.")
        );
        assert_eq!(assemble(&[], &lines), "x = 5\ny = x\nz = 7");
        assert_eq!(assemble(&[], &[]), "");
    }

    /// Token counts of very different kinds.
    const COUNTERS: [fn(&str) -> usize; 4] = [
        |text| text.split_whitespace().count(),
        |text| text.len().div_ceil(4),
        str::len,
        |text| text.split(|c: char| !c.is_alphanumeric()).map(|word| word.len().div_ceil(3)).sum(),
    ];

    #[test]
    fn the_wanted_length_is_met_with_few_counts() {
        for (which, counter) in COUNTERS.iter().enumerate() {
            for tokens in [100, 128, 300, 1000, 5000, 60_000] {
                let (calls, mut random) = (Cell::new(0), Random::seeded(tokens as u64));
                let counting = |text: &str| {
                    calls.set(calls.get() + usize::from(text.contains("pass key")));
                    counter(text)
                };
                let inserts = [insert(0.3, "The pass key is 12345.", false)];
                let mut source = Stream::new(&Filler::Prose, &mut random);
                let text = haystack(&mut source, &inserts, tokens, &counting, &mut random);
                let off = counter(&text).abs_diff(tokens);
                assert!(off * 100 <= tokens * 2, "counter {which}: {} for {tokens}", counter(&text));
                assert!(calls.get() <= 10, "counter {which}: {} counts for {tokens}", calls.get());
            }
        }
    }

    #[test]
    fn a_million_tokens_need_three_counts() {
        let (calls, mut random) = (Cell::new(0), Random::seeded(4));
        let counting = |text: &str| {
            calls.set(calls.get() + usize::from(text.len() > 100_000));
            text.len().div_ceil(4)
        };
        let mut source = Stream::new(&Filler::Prose, &mut random);
        let text = haystack(&mut source, &[insert(0.5, "x = 5", true)], 1_000_000, &counting, &mut random);
        assert!(text.len().abs_diff(4_000_000) < 80_000, "{}", text.len());
        assert!(calls.get() <= 3, "{} counts", calls.get());
    }

    #[test]
    fn no_room_leaves_the_facts_alone() {
        let mut random = Random::seeded(1);
        let mut source = Stream::new(&Filler::Prose, &mut random);
        let inserts = [insert(0.5, "The pass key is 12345.", false)];
        let text = haystack(&mut source, &inserts, 3, &|text| text.split_whitespace().count(), &mut random);
        assert_eq!(text, "The pass key is 12345.");
    }

    #[test]
    fn prose_stays_whole() {
        let mut random = Random::seeded(9);
        let mut source = Stream::new(&Filler::Prose, &mut random);
        let text = haystack(&mut source, &[], 500, &|text| text.len() / 4, &mut random);
        assert!(text.ends_with('.') && !text.contains("  "), "{text}");
        // The same seed gives the same beginning, fitted or not.
        assert_eq!(text[..1000], prose(&mut Random::seeded(9), 2000)[..1000]);
    }
}
