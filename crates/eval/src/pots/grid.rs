//! Needle in a haystack: one fact at every depth of texts of every length.

use std::time::Instant;

use crayon_adapters::Random;
use crayon_answer::MemoryRequest;
use crayon_draw::Heatmap;
use crayon_engine::{Engine, EngineError};
use crayon_errors::{Setting, count};
use crayon_text::Special;
use serde::Serialize;

use super::answer;
use crate::bench::peak_mb;
use crate::long::{Filler, Kind, needle};
use crate::{EvalError, Progress};

/// What is searched where.
#[derive(Debug)]
pub struct GridOptions {
    /// Lengths of the texts in tokens.
    pub lengths: Vec<usize>,
    /// Places of the fact, as the share of the text before it.
    pub depths: Vec<f64>,
    /// Kinds of facts, taken by turns.
    pub kinds: Vec<Kind>,
    /// Questions in each cell.
    pub samples: usize,
    /// Everything random follows from it.
    pub seed: u64,
    /// The text around the fact.
    pub filler: Filler,
}

/// One length and depth.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cell {
    /// Tokens of the text.
    pub length: usize,
    /// Share of the text before the fact.
    pub depth: f64,
    /// Share of answers that say the fact.
    pub accuracy: f64,
    /// Share of questions whose right choice was the likeliest.
    pub choice_accuracy: f64,
    /// Questions.
    pub n: usize,
}

/// A whole grid.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Grid {
    /// By length, then depth.
    pub grid: Vec<Cell>,
    /// Mean over all cells.
    pub accuracy: f64,
    /// Mean over all cells.
    pub choice_accuracy: f64,
    /// Choices a question has: guessing is right once in so many.
    pub choices: usize,
    /// Policy, or `full`.
    pub policy: String,
    /// Entries of the pot.
    pub pot: Option<usize>,
    /// Tokens read in all.
    pub tokens: usize,
    /// Most bytes of keys and values.
    pub peak_kv_bytes: usize,
    /// Most memory of the process, in 10^6 bytes.
    pub peak_rss_mb: Option<f64>,
    /// Time taken.
    pub seconds: f64,
}

impl Grid {
    /// The grid as a picture, by answers or, where `choices` is set, by choices.
    pub fn heatmap(&self, choices: bool) -> Heatmap {
        let mut lengths: Vec<usize> = self.grid.iter().map(|cell| cell.length).collect();
        lengths.dedup();
        let depths: Vec<f64> =
            self.grid.iter().filter(|c| c.length == lengths[0]).map(|cell| cell.depth).collect();
        let value = |depth: &f64, length: &usize| {
            let cell = self.grid.iter().find(|cell| cell.length == *length && cell.depth == *depth);
            cell.map(|cell| if choices { cell.choice_accuracy } else { cell.accuracy })
        };
        let pot =
            self.pot.map_or("full cache".to_owned(), |entries| format!("{}, pot {entries}", self.policy));
        let (what, questions) = match (choices, self.grid.first()) {
            (_, None) => ("answers", 0),
            (true, Some(cell)) => ("choices", cell.n),
            (false, Some(cell)) => ("answers", cell.n),
        };
        Heatmap {
            title: format!("A fact in a long text: {pot}"),
            cells: format!("right {what} (%), of {questions} in each cell"),
            x: "length of the text (tokens)".to_owned(),
            y: "text before the fact".to_owned(),
            columns: lengths.iter().map(|length| count(*length)).collect(),
            rows: depths.iter().map(|depth| format!("{:.0} %", depth * 100.0)).collect(),
            values: depths.iter().map(|d| lengths.iter().map(|l| value(d, l)).collect()).collect(),
        }
    }
}

/// Asks for facts at every length and depth.
///
/// # Errors
/// When an option makes no sense, the network fails, or `progress` stops the measurement.
pub fn grid(
    engine: &Engine,
    memory: &MemoryRequest,
    options: &GridOptions,
    progress: &mut Progress<'_>,
) -> Result<Grid, EvalError> {
    if options.samples == 0
        || options.kinds.is_empty()
        || options.lengths.is_empty()
        || options.depths.is_empty()
    {
        return Err(EvalError::option(
            Setting::Lengths,
            "nothing is asked for",
            "give lengths, depths and samples",
        ));
    }
    let started = Instant::now();
    let tokenizer = engine.tokenizer()?;
    let count = |text: &str| tokenizer.encode(text, Special::Plain).map_or(0, |ids| ids.len());
    let total = options.lengths.len() * options.depths.len() * options.samples;
    let (mut cells, mut done, mut tokens, mut peak_kv_bytes, mut choices) = (Vec::new(), 0, 0, 0, 0);
    for &length in &options.lengths {
        for (row, &depth) in options.depths.iter().enumerate() {
            let (mut said, mut chosen) = (0.0, 0.0);
            for sample in 0..options.samples {
                // The same questions for every policy, others in every cell.
                let seed = options.seed ^ ((length as u64) << 32 | (row as u64) << 16 | sample as u64);
                let mut random = Random::seeded(seed);
                let fact = options.kinds[sample % options.kinds.len()].fact(&mut random);
                let question = needle(&mut random, &options.filler, &fact, depth, length, &count);
                let found = answer(engine, &question, memory)?;
                said += found.score;
                chosen += f64::from(u8::from(found.chosen == Some(true)));
                tokens += found.tokens;
                peak_kv_bytes = peak_kv_bytes.max(found.kv_bytes);
                choices = question.choices.len();
                done += 1;
                if progress(done, total).is_break() {
                    return Err(EngineError::Cancelled.into());
                }
            }
            let n = options.samples;
            let (accuracy, choice_accuracy) = (said / n as f64, chosen / n as f64);
            cells.push(Cell { length, depth, accuracy, choice_accuracy, n });
        }
    }
    let mean = |value: fn(&Cell) -> f64| cells.iter().map(value).sum::<f64>() / cells.len() as f64;
    Ok(Grid {
        accuracy: mean(|cell| cell.accuracy),
        choice_accuracy: mean(|cell| cell.choice_accuracy),
        choices,
        policy: memory.policy.clone().unwrap_or_else(|| "full".to_owned()),
        pot: memory.size.map(|_| memory.entries(engine)),
        tokens,
        peak_kv_bytes,
        peak_rss_mb: peak_mb(),
        seconds: started.elapsed().as_secs_f64(),
        grid: cells,
    })
}
