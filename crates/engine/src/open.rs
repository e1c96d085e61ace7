//! Opening a model: checkpoint, network, tokenizer and template in one place.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crayon_adapters::General;
use crayon_formats::spec::Spec;
use crayon_formats::{Checkpoint, TokenizerSource};
use crayon_kernels::{Mode, Threads};
use crayon_model::{Adapter, Decoder};
use crayon_pot::{KvStorage, Pot};
use crayon_text::{ChatTemplate, FRAMES, Frame, Tokenizer};

use crate::{EngineError, ModelSource, Session};

/// How a model is run.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Threads; the machine's cores when `None`.
    pub threads: Option<usize>,
    /// Keep activations in f32 beside quantised weights.
    pub exact: bool,
    /// Storage of keys and values. When `None`: f32 beside float weights, f16 beside quantised ones, so that the
    /// memory never rounds more coarsely than the weights.
    pub kv: Option<KvStorage>,
    /// How conversations are written down. When `None`: by the model's chat template, and where it has none in the first of
    /// [`FRAMES`]. A frame that is asked for takes the place of a template.
    pub frame: Option<&'static Frame>,
    /// Read one token of an answer in a pass, also where an answer seems to copy from the text before. It is the same answer, later.
    pub no_guess: bool,
}

/// How a conversation is written down.
pub(crate) enum Turns {
    /// As the model was taught.
    Template(Box<ChatTemplate>),
    /// In plain text.
    Frame(&'static Frame),
}

/// An open model, shared by its sessions.
pub struct Engine {
    name: String,
    checkpoint: Checkpoint,
    decoder: Decoder,
    tokenizer: Option<Tokenizer>,
    turns: Turns,
    threads: Threads,
    kv: KvStorage,
    guesses: bool,
    loading: Duration,
    pub(crate) adapter: Option<Arc<dyn Adapter>>,
    pub(crate) general: OnceLock<General>,
}

impl Engine {
    /// Opens `source`. Weights stay in their mapped file.
    pub fn open(source: &ModelSource, settings: &Settings) -> Result<Engine, EngineError> {
        let started = Instant::now();
        let mut engine = Engine::from_checkpoint(source.to_string(), source.checkpoint()?, settings)?;
        engine.loading = started.elapsed();
        Ok(engine)
    }

    /// Runs a checkpoint that is already in hand.
    pub fn from_checkpoint(
        name: String,
        checkpoint: Checkpoint,
        settings: &Settings,
    ) -> Result<Engine, EngineError> {
        let started = Instant::now();
        let mode = if settings.exact { Mode::Exact } else { Mode::Fast };
        let decoder = Decoder::open(&checkpoint, mode)?;
        let tokenizer = match &checkpoint.tokenizer {
            TokenizerSource::None => None,
            source => Some(Tokenizer::from_source(source, checkpoint.tokenizer_config.as_ref())?),
        };
        if let Some(tokenizer) = &tokenizer
            && tokenizer.len() > checkpoint.spec.vocab
        {
            let (tokenizer, network) = (tokenizer.len(), checkpoint.spec.vocab);
            return Err(EngineError::VocabularyMismatch { model: name, tokenizer, network });
        }
        let turns = match (&checkpoint.chat_template, &tokenizer) {
            (Some(source), Some(tokenizer)) if settings.frame.is_none() => {
                Turns::Template(Box::new(ChatTemplate::for_tokenizer(source, tokenizer)?))
            }
            _ => Turns::Frame(settings.frame.unwrap_or(&FRAMES[0])),
        };
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let quantised = !checkpoint.tensor("blk.0.attn_q.weight")?.format.is_float();
        let default_kv = if quantised && !settings.exact { KvStorage::F16 } else { KvStorage::F32 };
        Ok(Engine {
            name,
            decoder,
            tokenizer,
            turns,
            threads: Threads::new(settings.threads.unwrap_or_else(cores).max(1)),
            kv: settings.kv.unwrap_or(default_kv),
            guesses: !settings.no_guess,
            loading: started.elapsed(),
            adapter: None,
            general: OnceLock::new(),
            checkpoint,
        })
    }

    /// A conversation that may grow to `tokens` tokens in all.
    pub fn session(&self, tokens: usize) -> Result<Session<'_>, EngineError> {
        if tokens > self.spec().context {
            return Err(EngineError::TooLong {
                tokens,
                prompt: tokens,
                answer: 0,
                context: self.spec().context,
            });
        }
        Ok(Session::new(self, Pot::full(self.spec(), tokens, self.kv)))
    }

    /// The name it was opened by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The network's description.
    pub fn spec(&self) -> &Spec {
        &self.checkpoint.spec
    }

    /// The file behind it.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The network.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// How its weights are multiplied.
    pub fn mode(&self) -> Mode {
        self.decoder.mode()
    }

    /// The threads it runs on.
    pub fn threads(&self) -> &Threads {
        &self.threads
    }

    /// Storage of keys and values.
    pub fn kv_type(&self) -> KvStorage {
        self.kv
    }

    /// Whether passes read what an answer is guessed to copy.
    pub fn guesses(&self) -> bool {
        self.guesses
    }

    /// The tokenizer, or an error that says how to add one.
    pub fn tokenizer(&self) -> Result<&Tokenizer, EngineError> {
        self.tokenizer.as_ref().ok_or_else(|| EngineError::NoTokenizer { model: self.name.clone() })
    }

    /// The chat template, for models that follow instructions; `None` where a frame takes its place.
    pub fn template(&self) -> Option<&ChatTemplate> {
        match &self.turns {
            Turns::Template(template) => Some(template),
            Turns::Frame(_) => None,
        }
    }

    /// The frame that conversations are written in; `None` where the chat template says how.
    pub fn frame(&self) -> Option<&'static Frame> {
        match &self.turns {
            Turns::Template(_) => None,
            Turns::Frame(frame) => Some(frame),
        }
    }

    pub(crate) fn turns(&self) -> &Turns {
        &self.turns
    }

    /// Time it took to open.
    pub fn loading(&self) -> Duration {
        self.loading
    }

    /// Ids that end an answer.
    pub fn end_tokens(&self) -> Vec<u32> {
        let mut ids = self.checkpoint.generation.eos.clone();
        if let Some(tokenizer) = &self.tokenizer {
            ids.extend(tokenizer.end_tokens());
        }
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Ids by which an answer is seen to be over: those that end it and, in a frame with turns, those that begin a new line, as
    /// the next turn does. A model that was never taught a format writes no end.
    pub fn closing_tokens(&self) -> Vec<u32> {
        let mut ids = self.end_tokens();
        if let (Some(tokenizer), Some(_)) = (&self.tokenizer, self.frame().filter(|frame| frame.has_turns()))
        {
            let new_line = |id: &u32| tokenizer.bytes(*id).is_some_and(|bytes| bytes.starts_with(b"\n"));
            ids.extend((0..tokenizer.len() as u32).filter(new_line));
            ids.sort_unstable();
            ids.dedup();
        }
        ids
    }

    /// The error for logits that are not numbers: names the first broken tensor.
    pub fn not_finite(&self) -> EngineError {
        let broken = self.spec().tensors().into_iter().map(|(name, _)| name).find(|name| {
            self.checkpoint.tensor(name).is_ok_and(|tensor| tensor.first_non_finite().is_some())
        });
        EngineError::NotFinite { model: self.name.clone(), tensor: broken }
    }
}
