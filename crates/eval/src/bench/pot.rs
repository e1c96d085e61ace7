//! What reading through a pot costs: against the same reading without evidence, and as the text grows.

use std::ops::ControlFlow;
use std::time::Instant;

use crayon_engine::{Engine, EngineError, PotOptions};
use crayon_model::Scratch;
use crayon_pot::{Network, Pot};
use serde::Serialize;

use super::generate::prompt_ids;
use super::memory::resident_mb;
use crate::{EvalError, Progress};

/// What is measured.
#[derive(Clone, Debug)]
pub struct PotBenchOptions {
    /// The pot.
    pub pot: PotOptions,
    /// Tokens of the long text.
    pub tokens: usize,
    /// Tokens written at a time for decoding speed; when `None`, as many as from one distillation through the next.
    pub decode: Option<usize>,
    /// Timed runs of the comparisons; medians are told. 0 leaves them out.
    pub runs: usize,
}

/// Costs of a pot. Speeds in tokens a second.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PotBench {
    /// Model.
    pub model: String,
    /// Policy.
    pub policy: String,
    /// Entries of the pot.
    pub pot: usize,
    /// Entries kept by a distillation.
    pub keep: usize,
    /// Bytes of keys and values.
    pub kv_bytes: usize,
    /// What the policy's parts cost; left out without runs.
    #[serde(flatten)]
    pub shares: Option<Shares>,
    /// Reading the whole long text.
    pub long_tok_s: f64,
    /// Decoding after as many tokens as the pot holds; left out without runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decode_at_pot_tok_s: Option<f64>,
    /// Decoding after the whole text.
    pub decode_at_end_tok_s: f64,
    /// Tokens of the whole text.
    pub tokens: usize,
    /// Reading speed of the first and of the last tenth of the text.
    pub first_tenth_tok_s: f64,
    /// See above.
    pub last_tenth_tok_s: f64,
    /// Resident memory after the first tenth and after the whole text, in 10^6 bytes.
    pub rss_first_tenth_mb: Option<f64>,
    /// See above.
    pub rss_end_mb: Option<f64>,
}

/// Parts of the time that reading takes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Shares {
    /// Reading through the same pot with the `streaming` policy, which needs no evidence.
    pub plain_tok_s: f64,
    /// Reading with the policy, novelty left out where it has any.
    pub distill_tok_s: f64,
    /// Reading with the whole policy.
    pub policy_tok_s: f64,
    /// Share of the plain reading's time that distillation adds.
    pub distill_share: f64,
    /// Share that novelty (the output layer for every token) adds on top.
    pub novelty_share: f64,
}

/// Measures `options.pot` on a text without meaning, which costs the same as any other.
///
/// # Errors
/// When the pot is refused, the network fails, or `progress` stops the measurement.
pub fn pot(
    engine: &Engine,
    options: &PotBenchOptions,
    progress: &mut Progress<'_>,
) -> Result<PotBench, EvalError> {
    let spec = engine.spec();
    let keep = options.pot.check(spec, 0).map_err(EngineError::from)?;
    let entries = options.pot.entries;
    // Several distillations in a comparison; the same tokens for each side, by turns.
    let sample = prompt_ids(entries * 6, spec.vocab);
    let sides = [
        PotOptions { policy: "streaming".to_owned(), keep: Some(keep), ..options.pot.clone() },
        PotOptions { novelty: 0.0, ..options.pot.clone() },
        options.pot.clone(),
    ];
    let total = options.runs * (sides.len() + 1) + 10;
    let mut done = 0;
    let mut tick = |done: &mut usize| {
        *done += 1;
        match progress(*done, total) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(EvalError::from(EngineError::Cancelled)),
        }
    };
    let mut seconds: [Vec<f64>; 3] = Default::default();
    for _ in 0..options.runs {
        for (side, times) in sides.iter().zip(&mut seconds) {
            let mut reader = Reader::new(engine, side.clone())?;
            // The first pot full has nothing to distil.
            reader.feed(&sample[..entries])?;
            let began = Instant::now();
            reader.feed(&sample[entries..])?;
            times.push(began.elapsed().as_secs_f64());
            tick(&mut done)?;
        }
    }
    let shares = (options.runs > 0).then(|| {
        let [plain, distill, whole] = seconds.map(median);
        let rate = |seconds: f64| (sample.len() - entries) as f64 / seconds;
        Shares {
            plain_tok_s: rate(plain),
            distill_tok_s: rate(distill),
            policy_tok_s: rate(whole),
            distill_share: distill / plain - 1.0,
            novelty_share: (whole - distill) / plain,
        }
    });

    let mut reader = Reader::new(engine, options.pot.clone())?;
    let kv_bytes = reader.pot.slab().bytes();
    let tenth = (options.tokens / 10).max(1);
    let (mut tenths, mut resident) = (Vec::with_capacity(10), Vec::with_capacity(10));
    for _ in 0..10 {
        let began = Instant::now();
        let mut left = tenth;
        while left > 0 {
            let part = left.min(sample.len());
            reader.feed(&sample[..part])?;
            left -= part;
        }
        tenths.push(tenth as f64 / began.elapsed().as_secs_f64());
        resident.push(resident_mb());
        tick(&mut done)?;
    }
    // By turns with a young pot, so that what else the machine does meets both.
    let mut young = Reader::new(engine, options.pot.clone())?;
    let (mut at_pot, mut at_end) = (Vec::new(), Vec::new());
    for _ in 0..options.runs {
        at_pot.push(young.decode(&sample, options.decode)?);
        at_end.push(reader.decode(&sample, options.decode)?);
        tick(&mut done)?;
    }
    if at_end.is_empty() {
        at_end.push(reader.decode(&sample, options.decode)?);
    }
    Ok(PotBench {
        model: engine.name().to_owned(),
        policy: options.pot.policy.clone(),
        pot: entries,
        keep,
        kv_bytes,
        shares,
        long_tok_s: tenths.len() as f64 / tenths.iter().map(|rate| 1.0 / rate).sum::<f64>(),
        decode_at_pot_tok_s: (options.runs > 0).then(|| median(at_pot)),
        decode_at_end_tok_s: median(at_end),
        tokens: tenth * 10,
        first_tenth_tok_s: tenths[0],
        last_tenth_tok_s: tenths[9],
        rss_first_tenth_mb: resident[0],
        rss_end_mb: resident[9],
    })
}

/// A pot and the network that fills it, without the list of tokens that a session keeps.
struct Reader<'e> {
    engine: &'e Engine,
    pot: Pot,
    scratch: Scratch,
    logits: Vec<f32>,
}

impl<'e> Reader<'e> {
    fn new(engine: &'e Engine, options: PotOptions) -> Result<Reader<'e>, EvalError> {
        let pot = Pot::new(engine.spec(), options, 0, None).map_err(EngineError::from)?;
        Ok(Reader { engine, pot, scratch: Scratch::new(), logits: Vec::new() })
    }

    fn feed(&mut self, tokens: &[u32]) -> Result<(), EvalError> {
        let mut network = Network {
            decoder: self.engine.decoder(),
            pool: self.engine.threads(),
            adapter: None,
            scratch: &mut self.scratch,
        };
        let go_on = &mut |_| ControlFlow::Continue(());
        self.pot.read(&mut network, tokens, &mut self.logits, None, go_on).map_err(EngineError::from)?;
        Ok(())
    }

    /// Tokens a second, one token at a time, from a state that is the same for every pot: just distilled.
    fn decode(&mut self, sample: &[u32], tokens: Option<usize>) -> Result<f64, EvalError> {
        self.feed(&sample[..self.pot.room()])?;
        self.feed(&sample[..1])?;
        // The token after those that fit brings the next distillation, and this state again.
        let tokens = tokens.unwrap_or(self.pot.room() + 1) as u32;
        let began = Instant::now();
        for token in 0..tokens {
            self.feed(&[token % 100])?;
        }
        Ok(f64::from(tokens) / began.elapsed().as_secs_f64())
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
