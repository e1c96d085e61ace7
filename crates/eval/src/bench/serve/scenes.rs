//! The three scenes.

use std::time::Duration;

use serde_json::json;

use super::asking::{self, Answer, Question};
use super::server::Server;
use super::{Behind, Load, People, Row, ServeBenchOptions, Side, Steps, Wait, texts};
use crate::EvalError;

/// Tokens that the window has to have beside a long prompt.
const MARGIN: usize = 64;

/// The first `count` questions.
pub(super) fn questions(count: usize, tokens: usize) -> Vec<Question> {
    let question = |number| Question { prompt: texts::question(number), tokens, person: None };
    (0..count).map(question).collect()
}

/// What several rounds of the same load came to.
#[derive(Default)]
struct Rounds {
    rates: Vec<f64>,
    lasts: Vec<f64>,
    firsts: Vec<f64>,
    between: Vec<f64>,
    written: Vec<f64>,
}

impl Rounds {
    fn add(&mut self, (answers, total): (Vec<Answer>, Duration)) {
        let written: usize = answers.iter().map(|answer| answer.written).sum();
        self.rates.push(written as f64 / total.as_secs_f64());
        self.lasts.push(total.as_secs_f64());
        for answer in &answers {
            self.firsts.push(millis(answer.first()));
            self.between.extend(answer.between().map(millis));
            self.written.push(answer.written as f64);
        }
    }

    fn load(&self) -> Load {
        Load {
            tok_s: median(&self.rates),
            first_ms: median(&self.firsts),
            first_worst_ms: quantile(&self.firsts, 1.0),
            between_ms: median(&self.between),
            between_p99_ms: quantile(&self.between, 0.99),
            last_s: median(&self.lasts),
            written: self.written.iter().sum::<f64>() / self.written.len().max(1) as f64,
        }
    }

    /// Its rates as multiples of `other`'s, round by round: a machine that grows slow does so for both.
    fn beside(&self, other: &Rounds) -> f64 {
        let ratios: Vec<f64> = self.rates.iter().zip(&other.rates).map(|(one, other)| one / other).collect();
        median(&ratios)
    }
}

/// Requests at once, each server in its turn, which is the first in every other round.
pub(super) fn rows(
    sides: &mut [Side],
    options: &ServeBenchOptions,
    steps: &mut Steps<'_>,
) -> Result<Vec<Row>, EvalError> {
    let mut found: Vec<Vec<Rounds>> =
        options.at_once.iter().map(|_| sides.iter().map(|_| Rounds::default()).collect()).collect();
    for round in 0..options.rounds {
        for (row, count) in found.iter_mut().zip(&options.at_once) {
            for at in order(round, sides.len()) {
                row[at].add(sides[at].ask(&questions(*count, options.tokens), steps)?);
                steps.step();
            }
        }
    }
    let row = |(at_once, rounds): (&usize, &Vec<Rounds>)| Row {
        at_once: *at_once,
        load: rounds[0].load(),
        rival: rounds.get(1).map(Rounds::load),
        ratio: rounds.get(1).map(|rival| rounds[0].beside(rival)),
    };
    Ok(options.at_once.iter().zip(&found).map(row).collect())
}

/// Who has a turn when.
fn order(round: usize, sides: usize) -> impl Iterator<Item = usize> {
    (0..sides).map(move |at| (at + round) % sides)
}

/// People with models of their own beside the same requests to the model as it is.
pub(super) fn people(
    side: &mut Side,
    options: &ServeBenchOptions,
    steps: &mut Steps<'_>,
) -> Result<People, EvalError> {
    let plain = questions(options.people, options.tokens);
    let (own, adapters) = registered(&side.server, &plain)?;
    // Alone, so that answers in company have something to be compared with.
    let mut alone = |questions: &[Question]| -> Result<Vec<String>, EvalError> {
        let texts = questions.iter().map(|question| {
            let (mut answers, _) = side.ask(std::slice::from_ref(question), steps)?;
            Ok(answers.pop().unwrap_or_default().text)
        });
        texts.collect()
    };
    let changed = alone(&plain)?.iter().zip(alone(&own)?).filter(|(plain, own)| *plain != own).count();
    let mut found = [Rounds::default(), Rounds::default()];
    for round in 0..options.rounds {
        for at in order(round, 2) {
            found[at].add(side.ask([&plain, &own][at], steps)?);
            steps.step();
        }
    }
    let [plain, own] = &found;
    let share = own.beside(plain);
    Ok(People { people: options.people, adapters, plain: plain.load(), own: own.load(), share, changed })
}

/// A person for each question, with weights of their own; also the number of the pool's adapters.
fn registered(server: &Server, questions: &[Question]) -> Result<(Vec<Question>, usize), EvalError> {
    let pools = server.get("v1/pools")?;
    let pool = &pools["data"][0];
    let (Some(adapters), Some(name)) = (pool["adapters"].as_u64(), pool["id"].as_str()) else {
        return Err(EvalError::NoPool { model: server.model.clone() });
    };
    let register = |(number, question): (usize, &Question)| {
        let weights = texts::weights(number, adapters as usize);
        let body = json!({
            "name": format!("bench-{number}"), "model": server.model, "pool": name, "weights": weights,
        });
        let person = server.post("v1/customizations", &body)?["model"].as_str().map(str::to_owned);
        Ok(Question { person, ..question.clone() })
    };
    let people: Result<_, EvalError> = questions.iter().enumerate().map(register).collect();
    Ok((people?, adapters as usize))
}

/// A short question behind a long prompt, in every server. Also the lengths that do not fit the window.
pub(super) fn behind(
    sides: &mut [Side],
    options: &ServeBenchOptions,
    steps: &mut Steps<'_>,
) -> Result<(Vec<Behind>, Vec<usize>), EvalError> {
    let counted = sides[0].server.post("v1/tokenize", &json!({"content": ""}))?;
    let window = counted["max_model_len"].as_u64().unwrap_or(u64::MAX);
    let fits = |tokens: &usize| (tokens + MARGIN) as u64 <= window;
    let (fitting, left_out): (Vec<usize>, Vec<usize>) =
        options.behind.iter().partition(|tokens| fits(tokens));
    let mut rows = Vec::new();
    for tokens in fitting {
        let mut waits: Vec<[Vec<f64>; 3]> = sides.iter().map(|_| Default::default()).collect();
        let mut prompt_tokens = 0;
        for round in 0..options.rounds {
            let [alone, company] = [0, 1].map(|at| {
                let seed = (2 * round + at) as u64;
                let server = &sides[0].server;
                texts::long(seed * 1_000_000 + tokens as u64, tokens, |text| count(server, text))
            });
            let [alone, company] =
                [alone?, company?].map(|prompt| Question { prompt, tokens: 1, person: None });
            for at in order(round, sides.len()) {
                let (read, times) = wait(&mut sides[at], &alone, &company, steps)?;
                if at == 0 {
                    prompt_tokens = read;
                }
                waits[at].iter_mut().zip(times).for_each(|(all, time)| all.push(time));
                steps.step();
            }
        }
        let mut waits = waits.iter().map(|[long, alone, behind]| Wait {
            long_ms: median(long),
            alone_ms: median(alone),
            behind_ms: median(behind),
        });
        if let Some(wait) = waits.next() {
            rows.push(Behind { prompt_tokens, wait, rival: waits.next() });
        }
    }
    Ok((rows, left_out))
}

/// Tokens of a text.
fn count(server: &Server, text: &str) -> Result<usize, EvalError> {
    let counted = server.post("v1/tokenize", &json!({"content": text}))?;
    let tokens = counted["count"].as_u64();
    tokens.map(|count| count as usize).ok_or_else(|| server.refused("it does not count tokens".to_owned()))
}

/// Tokens of the long prompt, and milliseconds to the first text of it alone, of the short question alone, and of that behind the other
/// long prompt.
fn wait(
    side: &mut Side,
    alone: &Question,
    company: &Question,
    steps: &mut Steps<'_>,
) -> Result<(usize, [f64; 3]), EvalError> {
    let short = Question { tokens: 1, ..questions(1, 1).remove(0) };
    let first = |(answers, _): (Vec<Answer>, Duration)| answers.first().map_or(Duration::ZERO, Answer::first);
    let short_first = first(asking::together(&side.server, std::slice::from_ref(&short), steps)?);
    let (answers, total) = asking::together(&side.server, std::slice::from_ref(alone), steps)?;
    let read = answers.first().map_or(0, |answer| answer.read);
    let long_first = first((answers, total));
    // In the middle of the reading: after a third of it.
    let (_, behind) = asking::behind(&side.server, company, &short, long_first / 3, steps)?;
    Ok((read, [long_first, short_first, behind.first()].map(millis)))
}

fn millis(time: Duration) -> f64 {
    1e3 * time.as_secs_f64()
}

fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The value that `share` of the values do not exceed, between neighbours where it falls between; 0 of none.
fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = share * sorted.len().saturating_sub(1) as f64;
    let at = |place: f64| sorted.get(place as usize).copied().unwrap_or_default();
    let (below, above) = (at(place.floor()), at(place.ceil()));
    below + (above - below) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_neighbours() {
        assert_eq!(median(&[]), 0.0);
        assert_eq!(median(&[3.0]), 3.0);
        assert_eq!(median(&[4.0, 1.0]), 2.5);
        assert_eq!(median(&[4.0, 1.0, 2.0]), 2.0);
        assert_eq!(quantile(&[1.0, 5.0, 3.0], 1.0), 5.0);
        assert!((quantile(&[0.0, 100.0], 0.99) - 99.0).abs() < 1e-9);
    }

    #[test]
    fn rounds_are_compared_with_their_own() {
        let answer = |written, pieces: [u64; 2]| Answer {
            written,
            pieces: pieces.map(Duration::from_millis).to_vec(),
            ..Answer::default()
        };
        let (mut fast, mut slow) = (Rounds::default(), Rounds::default());
        // The second round finds the machine at half its speed.
        for seconds in [1, 2] {
            fast.add((vec![answer(30, [10, 20]), answer(30, [20, 40])], Duration::from_secs(seconds)));
            slow.add((vec![answer(30, [10, 30])], Duration::from_secs(seconds)));
        }
        assert_eq!(fast.beside(&slow), 2.0);
        let load = fast.load();
        assert_eq!((load.tok_s, load.last_s, load.written), (45.0, 1.5, 30.0));
        assert_eq!((load.first_ms, load.first_worst_ms, load.between_ms), (15.0, 20.0, 15.0));
    }

    #[test]
    fn turns_change_with_the_round() {
        assert_eq!(order(0, 2).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(order(1, 2).collect::<Vec<_>>(), [1, 0]);
        assert_eq!(order(3, 1).collect::<Vec<_>>(), [0]);
    }
}
