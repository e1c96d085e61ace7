//! How well a candidate answers examples: the likelihood of their answers, and whether it would write them.

use std::ops::ControlFlow;
use std::sync::Arc;

use crayon_adapters::Lora;
use crayon_engine::{Adapter, Engine, EngineError, Session};

use crate::error::CustomizeError;
use crate::given::Case;

/// What one example says about a candidate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judged {
    /// Mean `-ln p` of the answer's tokens, its end among them, in nats.
    pub loss: f64,
    /// Whether greedy decoding writes the answer; where there are choices, whether the right one is the likeliest.
    pub right: bool,
    /// Whether the answer is likelier than answers of other examples; where there are choices, the same as `right`. It tells
    /// candidates apart that write nothing right yet: an answer may become likelier because every answer does.
    pub ahead: bool,
}

/// Judges candidates, one after another.
pub struct Judge<'e> {
    session: Session<'e>,
    cases: &'e [Case],
    ends: Vec<u32>,
    /// What may stand where an answer ends.
    closing: Vec<u32>,
}

/// Log-likelihood of an answer, its tokens, and whether each is the likeliest.
struct Read {
    sum: f64,
    tokens: usize,
    likeliest: bool,
}

impl<'e> Judge<'e> {
    /// By these examples.
    ///
    /// # Errors
    /// When the model takes no text of their length.
    pub fn new(engine: &'e Engine, cases: &'e [Case]) -> Result<Judge<'e>, CustomizeError> {
        let length = |case: &Case| {
            let answers = case.choices.iter().chain(&case.others).chain([&case.sample.answer]);
            case.sample.prompt.len() + answers.map(Vec::len).max().unwrap_or(0)
        };
        let longest = cases.iter().map(length).max().unwrap_or(1);
        Ok(Judge {
            session: engine.session(longest)?,
            cases,
            ends: engine.end_tokens(),
            closing: engine.closing_tokens(),
        })
    }

    /// Begins with another candidate; `None` is the model as it is.
    pub fn take(&mut self, adapter: Option<Arc<dyn Adapter>>) {
        self.session.set_adapter(adapter);
    }

    /// One example by its number. What its prompt shares with the one before is not read again.
    ///
    /// # Errors
    /// When the network computes something that is not finite.
    pub fn one(&mut self, number: usize) -> Result<Judged, CustomizeError> {
        let case = &self.cases[number];
        self.session.set_text(&case.sample.prompt, &mut |_| ControlFlow::Continue(()))?;
        let first = self.session.logits().to_vec();
        let own = self.read(&first, &case.sample.prompt, &case.sample.answer)?;
        let (before, after) = match case.choices.is_empty() {
            true => (&case.others[..0], &case.others[..]),
            false => (&case.choices[..case.right], &case.choices[case.right + 1..]),
        };
        let ahead = self.wins(&first, &case.sample.prompt, own.sum, before, after)?;
        let right = if case.choices.is_empty() { own.likeliest } else { ahead };
        Ok(Judged { loss: -own.sum / own.tokens as f64, right, ahead })
    }

    /// Whether no other answer is likelier than the right one, whose log-likelihood is `own`; of equals the first counts. What is
    /// less likely by its first token alone is not read.
    fn wins(
        &mut self,
        first: &[f32],
        prompt: &[u32],
        own: f64,
        before: &[Vec<u32>],
        after: &[Vec<u32>],
    ) -> Result<bool, CustomizeError> {
        let total = log_sum(first);
        for (answer, earlier) in
            before.iter().map(|one| (one, true)).chain(after.iter().map(|one| (one, false)))
        {
            let head = answer.first().and_then(|head| first.get(*head as usize));
            if head.is_some_and(|logit| floored(f64::from(*logit) - total) < own) {
                continue;
            }
            let sum = self.read(first, prompt, answer)?.sum;
            if sum > own || earlier && sum == own {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Reads an answer behind the prompt and takes it back.
    fn read(&mut self, first: &[f32], prompt: &[u32], answer: &[u32]) -> Result<Read, CustomizeError> {
        /// Values of logits held at a time: 64 MB, however large the vocabulary.
        const VALUES: usize = 1 << 24;
        // What a template writes behind the end says nothing.
        let end = answer.iter().position(|id| self.ends.contains(id)).map_or(answer.len(), |at| at + 1);
        let answer = &answer[..end];
        let engine = self.session.engine();
        let mut read = Read { sum: 0.0, tokens: answer.len().max(1), likeliest: true };
        let Some((&head, tail)) = answer.split_first() else { return Ok(read) };
        let mut add = |logits: &[f32], target: u32| -> Result<(), EngineError> {
            // Any end ends an answer.
            let targets = if self.ends.contains(&target) { &self.closing[..] } else { &[target] };
            let (likelihood, best) = look(logits, targets).ok_or_else(|| engine.not_finite())?;
            read.sum += likelihood;
            read.likeliest &= targets.contains(&best);
            Ok(())
        };
        add(first, head)?;
        let vocab = engine.spec().vocab.max(1);
        // The last token is predicted, not read.
        let inputs = &answer[..answer.len() - 1];
        let size = (VALUES / vocab).max(1);
        for (inputs, targets) in inputs.chunks(size).zip(tail.chunks(size)) {
            let all = self.session.feed_all(inputs)?;
            for (logits, target) in all.chunks_exact(vocab).zip(targets) {
                add(logits, *target)?;
            }
        }
        self.session.rewind(prompt.len());
        Ok(read)
    }
}

/// `lora` as the network runs it.
pub(crate) fn attached(engine: &Engine, lora: Lora) -> Result<Arc<dyn Adapter>, CustomizeError> {
    Ok(Arc::new(lora.attach(engine.spec())?))
}

/// `ln` of the probability of all `targets` together and the likeliest token; `None` when a logit is not finite, or there is no
/// such token.
fn look(logits: &[f32], targets: &[u32]) -> Option<(f64, u32)> {
    let own =
        targets.iter().map(|target| logits.get(*target as usize).copied()).collect::<Option<Vec<f32>>>()?;
    let mut best = 0;
    for (id, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = id;
        }
    }
    let sum = log_sum(logits);
    let value = log_sum(&own) - sum;
    // All tokens together may come to a little more than everything, by rounding.
    (sum.is_finite() && value <= 1e-9).then_some((floored(value).min(0.0), best as u32))
}

/// `ln sum exp`; not finite when a logit is not finite.
fn log_sum(logits: &[f32]) -> f64 {
    let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    if largest == f64::NEG_INFINITY && logits.iter().all(|logit| !logit.is_nan()) {
        return largest;
    }
    largest + logits.iter().map(|&logit| (f64::from(logit) - largest).exp()).sum::<f64>().ln()
}

/// A token that is ruled out counts as the least likely number there is, so that means can be compared.
fn floored(value: f64) -> f64 {
    value.max(f64::from(f32::MIN_POSITIVE).ln())
}

#[cfg(test)]
mod tests {
    use crayon_adapters::Example;
    use crayon_engine::{GenerateOptions, Message, ModelSource, Role, Sampling, Settings};

    use super::*;
    use crate::Given;

    #[test]
    fn likelihoods_are_those_of_a_softmax() {
        let (value, best) = look(&[0.0, 2.0, 1.0], &[2]).unwrap();
        let expected = 1.0 - (1.0 + 2f64.exp() + 1f64.exp()).ln();
        assert!((value - expected).abs() < 1e-9 && best == 1);
        assert!(look(&[f32::NEG_INFINITY, 1.0], &[0]).unwrap().0.is_finite());
        assert_eq!(look(&[f32::NAN, 1.0], &[0]), None);
        assert_eq!(look(&[0.0], &[3]), None);
        let (either, _) = look(&[0.0, 2.0, 1.0], &[0, 2]).unwrap();
        assert!((either - ((1.0 + 1f64.exp()).ln() - (1.0 + 2f64.exp() + 1f64.exp()).ln())).abs() < 1e-9);
    }

    #[test]
    fn in_a_frame_a_new_line_closes_an_answer() {
        let open = |frame: Option<&str>| {
            let settings =
                Settings { frame: frame.and_then(crayon_engine::Frame::named), ..Settings::default() };
            Engine::open(&ModelSource::embedded("mini").unwrap(), &settings).unwrap()
        };
        let (taught, framed, plain) = (open(None), open(Some("qa")), open(Some("plain")));
        assert_eq!(taught.closing_tokens(), taught.end_tokens());
        assert_eq!(plain.closing_tokens(), plain.end_tokens());
        let more: Vec<u32> =
            framed.closing_tokens().into_iter().filter(|id| !framed.end_tokens().contains(id)).collect();
        let new_line = |id: &u32| framed.tokenizer().unwrap().bytes(*id).unwrap().starts_with(b"\n");
        assert!(!more.is_empty() && more.iter().all(new_line));
    }

    #[test]
    fn right_is_what_greedy_decoding_writes() {
        let engine = Engine::open(&ModelSource::embedded("mini").unwrap(), &Settings::default()).unwrap();
        let question = "What is the sky?";
        let prompt = engine.chat_prompt(&[Message::new(Role::User, question)]).unwrap();
        let mut session = engine.session(prompt.len() + 40).unwrap();
        session.feed(&prompt, &mut |_| ControlFlow::Continue(())).unwrap();
        let sampling = Sampling { temperature: 0.0, ..Sampling::default() };
        let options = GenerateOptions { sampling, max_tokens: 40, ..GenerateOptions::default() };
        let answer = session.generate(&options, &mut |_| ControlFlow::Continue(())).unwrap();
        let example = |answer: &str, choices: &[&str]| Example {
            prompt: question.to_owned(),
            answer: Some(answer.to_owned()),
            task: None,
            choices: choices.iter().map(|choice| (*choice).to_owned()).collect(),
            line: 1,
        };
        let own = answer.text.trim();
        let examples = [
            example(own, &[]),
            example("zebra nineteen", &[]),
            example("zebra nineteen", &[own, "zebra nineteen"]),
            example(own, &[own, "zebra nineteen"]),
        ];

        let given = Given::new(&engine, &examples).unwrap();
        let mut judge = Judge::new(&engine, &given.cases).unwrap();
        let found: Vec<Judged> = (0..4).map(|number| judge.one(number).unwrap()).collect();
        assert_eq!(found.iter().map(|one| one.right).collect::<Vec<_>>(), [true, false, false, true]);
        assert_eq!(found.iter().map(|one| one.ahead).collect::<Vec<_>>(), [true, false, false, true]);
        assert!(found[0].loss < found[1].loss && (found[1].loss - found[2].loss).abs() < 1e-6, "{found:?}");
    }

    #[test]
    fn an_answer_is_told_from_longer_ones_of_other_examples() {
        let engine = Engine::open(&ModelSource::embedded("mini").unwrap(), &Settings::default()).unwrap();
        let example = |prompt: &str, answer: &str| Example {
            prompt: prompt.to_owned(),
            answer: Some(answer.to_owned()),
            task: None,
            choices: Vec::new(),
            line: 1,
        };
        let long = "zebra nineteen ".repeat(20);
        let given = Given::new(&engine, &[example("Say yes.", "yes"), example("Say no.", &long)]).unwrap();
        let mut judge = Judge::new(&engine, &given.cases).unwrap();
        assert!(judge.one(0).unwrap().ahead && !judge.one(1).unwrap().ahead);
    }

    #[test]
    fn the_likeliest_choice_is_right_and_no_other() {
        let engine = Engine::open(&ModelSource::embedded("mini").unwrap(), &Settings::default()).unwrap();
        let choices = ["lost luggage", "lost card", "lost", "book a flight", "book a hotel", "weather"];
        for prompt in ["my bag is gone", "fly me to rome", "will it rain", "i need a room"] {
            let example = |answer: &&str| Example {
                prompt: prompt.to_owned(),
                answer: Some((*answer).to_owned()),
                task: None,
                choices: choices.iter().map(|choice| (*choice).to_owned()).collect(),
                line: 1,
            };
            // The same prompt with each of the choices for the right one.
            let each = choices.iter().map(|answer| Given::new(&engine, &[example(answer)]).unwrap().cases);
            let cases: Vec<Case> = each.flatten().collect();
            let mut judge = Judge::new(&engine, &cases).unwrap();
            let judged: Vec<Judged> = (0..cases.len()).map(|number| judge.one(number).unwrap()).collect();
            let ends = engine.end_tokens();
            let sums: Vec<f64> = cases
                .iter()
                .zip(&judged)
                .map(|(case, judged)| {
                    let end = case.sample.answer.iter().position(|id| ends.contains(id)).unwrap() + 1;
                    -judged.loss * end as f64
                })
                .collect();
            let best = (0..sums.len()).max_by(|a, b| sums[*a].total_cmp(&sums[*b])).unwrap();
            let right: Vec<usize> = (0..judged.len()).filter(|at| judged[*at].right).collect();
            assert_eq!(right, [best], "{prompt}: {sums:?}");
        }
    }
}
