//! Customization (Crayon, arXiv 2406.07007): a person's examples to scores, on the device; a pool's training data to samples.

use std::path::Path;

use crayon_adapters::{
    AdapterError, Example, General, Keys, Known, Pool, Query, QueryEncoder, QueryMean, Sample, Scope,
    ScopeQueries,
};
use crayon_errors::{Command, Setting, phrase};
use crayon_formats::{Bytes, Checkpoint};
use crayon_text::{Message, Role, Special};

use crate::{EMBEDDED, Engine, EngineError};

/// What a person's examples say about a pool. The scores are all that has to leave the device.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// Cosine between the mean query of the examples and each key.
    pub scores: Vec<f32>,
    /// Examples read.
    pub examples: usize,
    /// Examples of kinds that the pool did not learn.
    pub outside: usize,
    /// How likely an example is of a kind that the pool learned, 0 to 1, on average.
    pub known: f32,
    /// The mean query: the key of an adapter trained on these examples.
    pub query: Query,
    /// Queries of examples for their scope, `[examples][width]`.
    pub queries: Vec<Vec<f32>>,
}

impl Scored {
    /// Whether the pool knows what the examples are about: most of them are of kinds that it learned, and their mean is near to
    /// a key.
    pub fn fits(&self, keys: &Keys) -> bool {
        2 * self.outside <= self.examples && keys.near(&self.scores)
    }
}

/// What `--pool` calls the pool that is part of the program.
pub const BUILT_IN: &str = "built-in";

/// The pool that the program holds for the model in `checkpoint`, which messages call `name`.
///
/// # Errors
/// When it is damaged.
pub fn built_in_pool(checkpoint: &Checkpoint, name: &str) -> Result<Option<Pool>, AdapterError> {
    for bytes in EMBEDDED.iter().filter_map(|model| model.pool) {
        match Pool::from_bytes(BUILT_IN, Bytes::from_static(bytes), checkpoint, name) {
            Err(AdapterError::OtherBase { .. }) => {}
            opened => return opened.map(Some),
        }
    }
    Ok(None)
}

impl Engine {
    /// Opens a pool for this model: a folder, a packed file, or [`BUILT_IN`].
    ///
    /// # Errors
    /// When there is none, it was made for another model, or it is damaged.
    pub fn open_pool(&self, path: &Path) -> Result<Pool, EngineError> {
        if path != Path::new(BUILT_IN) {
            return Ok(Pool::open(path, self.checkpoint(), self.name())?);
        }
        if let Some(pool) = self.built_in_pool()? {
            return Ok(pool);
        }
        let what = format!("the program holds no pool for {}", self.name());
        let hint = phrase!["name ", Setting::Pool, "; ", Command::TrainPool, " makes one"];
        Err(AdapterError::Unusable { what, hint }.into())
    }

    /// The pool that the program holds for this model.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn built_in_pool(&self) -> Result<Option<Pool>, EngineError> {
        Ok(built_in_pool(self.checkpoint(), self.name())?)
    }

    /// Turns prompts into queries.
    ///
    /// # Errors
    /// When a tensor cannot be read.
    pub fn query_encoder(&self) -> Result<QueryEncoder, EngineError> {
        Ok(QueryEncoder::open(self.checkpoint())?)
    }

    /// Token ids of a prompt as queries see it: its words alone, without the chat format that all prompts share.
    ///
    /// # Errors
    /// When the model has no tokenizer.
    pub fn query_tokens(&self, prompt: &str) -> Result<Vec<u32>, EngineError> {
        Ok(self.tokenizer()?.encode(prompt, Special::Plain)?)
    }

    /// The query of a prompt, `[width]`: what the first layer asks of its words. One encoder serves many prompts better.
    ///
    /// # Errors
    /// When the model has no tokenizer, or a tensor cannot be read.
    pub fn query(&self, prompt: &str) -> Result<Vec<f32>, EngineError> {
        Ok(self.query_encoder()?.query(&self.query_tokens(prompt)?, self.threads())?)
    }

    /// The general texts as this model sees them; made when first needed.
    ///
    /// # Errors
    /// When the model has no tokenizer, or a tensor cannot be read.
    pub fn general(&self) -> Result<&General, EngineError> {
        if let Some(general) = self.general.get() {
            return Ok(general);
        }
        let encoder = self.query_encoder()?;
        let texts = General::texts().map(|text| self.query_tokens(&text));
        let texts = texts.collect::<Result<Vec<_>, EngineError>>()?;
        let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
        let queries = encoder.queries(&texts, self.threads())?;
        Ok(self.general.get_or_init(|| General::new(&queries)))
    }

    /// What examples with these prompts are for.
    ///
    /// # Errors
    /// When the model has no tokenizer, or a tensor cannot be read.
    pub fn scope<'t>(&self, prompts: impl Iterator<Item = &'t str>) -> Result<Scope, EngineError> {
        let (encoder, mut queries) = (self.query_encoder()?, ScopeQueries::default());
        for prompt in prompts {
            queries.add(encoder.query(&self.query_tokens(prompt)?, self.threads())?);
        }
        Ok(Scope::of_examples(queries.into_queries(), self.general()?))
    }

    /// What the first layer asks of an example, its answer's words apart from its prompt's.
    ///
    /// # Errors
    /// When the model has no tokenizer, or a tensor cannot be read.
    pub fn example_query(
        &self,
        encoder: &QueryEncoder,
        prompt: &str,
        answer: Option<&str>,
    ) -> Result<Query, EngineError> {
        let query = |text: &str| -> Result<Vec<f32>, EngineError> {
            Ok(encoder.query(&self.query_tokens(text)?, self.threads())?)
        };
        Ok(Query { prompt: query(prompt)?, answer: answer.map(query).transpose()? })
    }

    /// The score step: compares examples with the keys of a pool, one after another, in memory that does not grow. Of their
    /// answers only the words are looked at, and only by pools that do.
    ///
    /// # Errors
    /// When an example cannot be read, or the model has no tokenizer.
    pub fn score(
        &self,
        keys: &Keys,
        examples: impl Iterator<Item = Result<Example, AdapterError>>,
    ) -> Result<Scored, EngineError> {
        let encoder = self.query_encoder()?;
        let pool = Known::new(keys, self.general()?);
        let (mut mean, mut queries) = (QueryMean::new(encoder.width()), ScopeQueries::default());
        let (mut outside, mut known) = (0, 0.0);
        for example in examples {
            let example = example?;
            let query = self.example_query(&encoder, &example.prompt, example.answer.as_deref())?;
            let likely = pool.of(&query.prompt);
            outside += usize::from(likely < 0.5 || !keys.near(&keys.scores(&keys.centre(&query))));
            known += likely;
            mean.add(keys, &query);
            queries.add(query.prompt);
        }
        let (query, examples) = (mean.mean(), mean.count());
        Ok(Scored {
            scores: keys.scores(&query),
            examples,
            outside,
            known: known / examples.max(1) as f32,
            query,
            queries: queries.into_queries(),
        })
    }

    /// An example with its answer as the model is going to read and write it: in its chat template or frame, with the end of
    /// the answer.
    ///
    /// # Errors
    /// When the example has no answer or the model no tokenizer.
    pub fn sample(
        &self,
        encoder: &QueryEncoder,
        example: &Example,
        file: &str,
        task: &str,
    ) -> Result<Sample, EngineError> {
        let Some(answer) = &example.answer else {
            let (file, what) = (file.to_owned(), "has no answer to learn from".to_owned());
            return Err(AdapterError::Line { file, line: example.line, what }.into());
        };
        let tokenizer = self.tokenizer()?;
        let user = Message::new(Role::User, example.prompt.as_str());
        let prompt = self.chat_prompt(std::slice::from_ref(&user))?;
        let whole = match self.template() {
            Some(template) => {
                let messages = [user, Message::new(Role::Assistant, answer.as_str())];
                Some(template.encode(tokenizer, &messages, false)?)
            }
            None => None,
        };
        // Where the template writes answers otherwise than it lets them begin, they are put together by hand.
        let ends = self.end_tokens();
        let written = whole.as_deref().and_then(|whole| whole.strip_prefix(&prompt[..]));
        let query = self.example_query(encoder, &example.prompt, Some(answer))?;
        let answer = match written {
            Some(written) if written.iter().any(|id| ends.contains(id)) => written.to_vec(),
            _ => {
                let mut ids = self.answer_tokens(&example.prompt, answer)?;
                ids.extend(tokenizer.eos().or_else(|| ends.first().copied()));
                ids
            }
        };
        let task = example.task.clone().unwrap_or_else(|| task.to_owned());
        Ok(Sample { prompt, answer, query, task })
    }
}
