//! What `ask` and `chat` share: settings of an answer, its room in the context, reading and writing.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crayon_engine::{
    Answer, Engine, Event, Finish, GenerateOptions, PrefixCache, Sampling, SamplingOverrides, Session,
    distillable,
};
use serde::Serialize;

use crate::args::AnswerArgs;
use crate::failure::{Failure, Result, mistake};
use crate::interrupt;
use crate::output::Output;
use crate::progress::Counting;
use crate::show;

/// Longest answer when nobody says otherwise.
pub(crate) const LONGEST: usize = 256;
/// With less room than this an answer is not worth starting, unless a shorter one is asked for.
const SHORTEST: usize = 32;
/// Bytes of all documents that were read and are kept for later questions.
pub(crate) const CACHE_BYTES: u64 = 1 << 30;

/// Sampling from the flags, else from what the model's makers suggest, else plain and repeatable.
pub(crate) fn sampling(args: &AnswerArgs, engine: &Engine) -> Result<Sampling> {
    let wish = SamplingOverrides {
        temperature: args.temperature,
        top_k: args.top_k,
        top_p: args.top_p,
        min_p: args.min_p,
        repetition_penalty: args.repetition_penalty,
        presence_penalty: args.presence_penalty,
    };
    let mut sampling = wish.or_suggested(&engine.checkpoint().generation);
    match args.seed {
        Some(seed) => sampling.seed = seed,
        // Without chance there is nothing to vary.
        None if sampling.temperature > 0.0 => sampling.seed = any_seed(),
        None => {}
    }
    sampling.check()?;
    Ok(sampling)
}

/// A seed nobody chose. Six digits, because it is shown so that the answer can be had again.
fn any_seed() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::from(since.subsec_nanos() ^ std::process::id().rotate_left(16)) % 1_000_000
}

/// How many tokens a prompt has, and of which kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    /// Of the documents.
    pub(crate) documents: usize,
    /// Of everything to read, documents included.
    pub(crate) prompt: usize,
}

/// The prompt and the least answer do not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoRoom {
    size: Size,
    answer: usize,
    context: usize,
}

/// Tokens the answer may have: those asked for, or as many as fit up to a default.
pub(crate) fn room(context: usize, size: Size, wanted: Option<usize>) -> Result<usize, NoRoom> {
    let left = context.saturating_sub(size.prompt);
    let least = wanted.unwrap_or(SHORTEST);
    if left < least {
        return Err(NoRoom { size, answer: least, context });
    }
    Ok(wanted.unwrap_or(LONGEST.min(left)))
}

impl NoRoom {
    /// All the numbers, and what to do.
    pub(crate) fn into_error(self, engine: &Engine) -> Failure {
        let error = self.message(engine.name());
        match distillable(engine.spec()) {
            true => mistake(error, self.hint("without --policy full the rest is distilled")),
            false => mistake(error, self.hint("a model with rotary positions such as mini reads any length")),
        }
    }

    fn message(self, model: &str) -> String {
        let NoRoom { size, answer, context } = self;
        let documents = match size.documents {
            0 => String::new(),
            tokens => format!("{} of them the documents, ", show::count(tokens)),
        };
        format!(
            "the prompt has {} tokens, {documents}and {} are kept free for the answer: {} in all, but {model} holds {}",
            show::count(size.prompt),
            show::count(answer),
            show::count(size.prompt + answer),
            show::count(context),
        )
    }

    fn hint(self, otherwise: &str) -> String {
        let NoRoom { size, answer, context } = self;
        let fits = context.saturating_sub(answer);
        match (size.documents, fits.saturating_sub(size.prompt - size.documents)) {
            (0, _) => format!(
                "{} tokens fit: ask with fewer words, or keep less free (--max-tokens); {otherwise}",
                show::count(fits)
            ),
            (_, 0) => format!("the question alone does not fit; shorten it; {otherwise}"),
            (_, tokens) => format!(
                "documents of {} tokens fit beside this question: give the part that matters; {otherwise}",
                show::count(tokens)
            ),
        }
    }
}

/// Reads `prompt` in the place of what the session held, with progress; returns how many tokens were new and how
/// long they took. Ctrl-C ends it.
pub(crate) fn read(session: &mut Session<'_>, prompt: &[u32], output: &Output) -> Result<(usize, Duration)> {
    let mut progress = Counting::new("reading", "tokens", output);
    let result = session.set_text(prompt, &mut |fed| {
        progress.at(fed.done, fed.total);
        interrupt::flow()
    });
    let time = progress.finish();
    Ok((result?, time))
}

/// The same, with the first `stable` tokens from the cache of documents, or kept there.
pub(crate) fn read_cached(
    session: &mut Session<'_>,
    prompt: &[u32],
    stable: usize,
    output: &Output,
) -> Result<(usize, Duration)> {
    let cache = PrefixCache::new(cache_folder()?, CACHE_BYTES);
    let mut progress = Counting::new("reading", "tokens", output);
    let result = session.set_text_cached(prompt, stable, &cache, &mut |fed| {
        progress.at(fed.done, fed.total);
        interrupt::flow()
    });
    let time = progress.finish();
    let read = result?;
    if read < prompt.len() {
        let known = show::count(prompt.len() - read);
        output.detail(&format!("{known} tokens were read before and came from the cache"));
    }
    Ok((read, time))
}

/// Where documents that were read are kept.
pub(crate) fn cache_folder() -> Result<PathBuf> {
    let models = crayon_hub::Settings::from_env()?.cache;
    Ok(models.parent().unwrap_or(&models).join("cache"))
}

/// Writes an answer, to stdout as it comes unless `silent`. Ctrl-C ends it; a closed stdout is an error.
pub(crate) fn write(
    session: &mut Session<'_>,
    options: &GenerateOptions,
    silent: bool,
    output: &Output,
) -> Result<Answer> {
    let mut failed = None;
    let answer = session.generate(options, &mut |event| {
        if let Event::Text(text) = event
            && !silent
            && let Err(error) = output.piece(&text)
        {
            failed = Some(error);
            return ControlFlow::Break(());
        }
        interrupt::flow()
    })?;
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(answer),
    }
}

/// Says what the reader of an answer should know about its end.
pub(crate) fn explain(answer: &Answer, output: &Output) {
    match answer.finish {
        Finish::Length => {
            output.note(&format!(
                "stopped after {} (--max-tokens)",
                show::counted(answer.tokens.len(), "token")
            ));
        }
        Finish::Full => output.note("stopped: the model's context is full"),
        Finish::End if answer.text.trim().is_empty() => output.note("the model ended its answer at once"),
        Finish::End | Finish::Stop | Finish::Cancelled => {}
    }
}

/// Times of one answer.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Times {
    /// Opening the model.
    pub(crate) load_ms: f64,
    /// From the beginning of reading to the first token.
    pub(crate) ttft_ms: f64,
    /// Tokens read a second.
    pub(crate) prefill_tok_s: Option<f64>,
    /// Tokens written a second.
    pub(crate) decode_tok_s: Option<f64>,
}

impl Times {
    pub(crate) fn new(engine: &Engine, read: usize, reading: Duration, answer: &Answer) -> Times {
        Times {
            load_ms: show::millis(engine.loading()),
            ttft_ms: show::millis(reading + answer.timing.first),
            prefill_tok_s: show::rate(read, reading),
            decode_tok_s: show::rate(answer.tokens.len(), answer.timing.total),
        }
    }

    /// One line for people.
    pub(crate) fn line(&self, read: usize, answer: &Answer) -> String {
        let speed = |rate: Option<f64>| rate.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.0}"));
        format!(
            "read {} tokens at {} a second, wrote {} at {} a second, first after {} ms, peak memory {}",
            show::count(read),
            speed(self.prefill_tok_s),
            show::count(answer.tokens.len()),
            speed(self.decode_tok_s),
            self.ttft_ms,
            show::peak_rss_mb().map_or_else(|| "unknown".to_owned(), |mb| format!("{mb} MB")),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(context: usize, prompt: usize, wanted: Option<usize>) -> Result<usize, NoRoom> {
        room(context, Size { documents: 0, prompt }, wanted)
    }

    #[test]
    fn an_answer_gets_what_was_asked_for_or_what_fits() {
        assert_eq!(check(512, 100, None), Ok(256));
        assert_eq!(check(512, 400, None), Ok(112));
        assert_eq!(check(512, 480, None), Ok(32));
        assert!(check(512, 481, None).is_err());
        assert_eq!(check(512, 500, Some(12)), Ok(12));
        assert!(check(512, 500, Some(13)).is_err());
        assert!(check(512, 9000, Some(1)).is_err());
    }

    #[test]
    fn a_refusal_gives_every_number() {
        let size = Size { documents: 2000, prompt: 2020 };
        assert_eq!(
            room(512, size, None).unwrap_err().message("mini"),
            "the prompt has 2,020 tokens, 2,000 of them the documents, and 32 are kept free for the answer: 2,052 in \
             all, but mini holds 512"
        );
    }
}
