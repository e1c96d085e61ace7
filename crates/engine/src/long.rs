//! Texts longer than a model's window: sessions whose memory is a pot.

use std::ops::{ControlFlow, Range};
use std::path::Path;
use std::sync::Arc;

use crayon_model::{Adapter, Scratch};
use crayon_pot::{
    Attention, GENERAL_CATALYST, Network, Owner, Pot, PotOptions, PrefixCache, Saved, budget, named,
};
use crayon_text::{Message, Role, Special};

use crate::{Engine, EngineError, Fed, Session};

/// Text whose reading shows how much each layer needs of the past. Any plain English does.
const PROBE: &str = "\
The old harbour lay at the end of a long street of stone houses. In the morning the boats came back with their nets, \
and the people of the town walked down to the water to see what the night had brought. A girl sold bread from a basket. \
Her brother counted the boats and wrote their names in a small book, because their grandmother, who could no longer walk \
so far, wanted to know which of them had come home. When the last boat was in, the two children climbed the hill again. \
The grandmother sat at her window. She listened to the names, one after the other, and nodded at each of them. One name \
was missing that day. Nobody spoke of it while they ate. But in the evening there was a light far out at sea, and the \
boy ran down the long street once more, past the stone houses, to the end of the harbour, and called the missing name \
into the dark until somebody answered.";

/// The parts of `prompt` that have to stay when its documents are distilled: what it begins and ends with in common
/// with `frame`, the same prompt without documents.
pub fn stays(prompt: &[u32], frame: &[u32]) -> [Range<u32>; 2] {
    let head = prompt.iter().zip(frame).take_while(|(a, b)| a == b).count();
    let most = prompt.len().min(frame.len()) - head;
    let tail = prompt.iter().rev().zip(frame.iter().rev()).take(most).take_while(|(a, b)| a == b).count();
    [0..head as u32, (prompt.len() - tail) as u32..prompt.len() as u32]
}

impl Engine {
    /// A pot of `entries` with InfiniPot and the general catalyst prompt, which a model without tokenizer does not get;
    /// the storage is the engine's.
    ///
    /// # Errors
    /// When the catalyst prompt cannot be made of the chat template.
    pub fn pot_options(&self, entries: usize) -> Result<PotOptions, EngineError> {
        let catalyst = match self.tokenizer() {
            Ok(_) => self.catalyst(GENERAL_CATALYST)?,
            Err(_) => Vec::new(),
        };
        let mut options = PotOptions::new(entries, catalyst);
        options.storage = self.kv_type();
        Ok(options)
    }

    /// Token ids of a catalyst prompt: `text` as it ends a user's turn, up to where the model would answer, because that
    /// is where it looks for what the answer needs.
    ///
    /// # Errors
    /// When the model has no tokenizer.
    pub fn catalyst(&self, text: &str) -> Result<Vec<u32>, EngineError> {
        let turn = |before: &str| self.document_prompt(&[before], &[Message::new(Role::User, text)]);
        let (one, other) = (turn("One.")?, turn("Two!")?);
        let [_, tail] = stays(&one, &other);
        Ok(one[tail.start as usize..].to_vec())
    }

    /// A session that reads any length into a pot. `pinned` tokens are going to be pinned.
    ///
    /// # Errors
    /// When the pot is too small or too large, the model's positions cannot be moved, or the policy needs a tokenizer that
    /// the model does not have.
    pub fn pot_session(&self, options: PotOptions, pinned: usize) -> Result<Session<'_>, EngineError> {
        options.check(self.spec(), pinned)?;
        let needs = named(&options.policy).map(|policy| policy.make(&options).needs());
        if needs.as_ref().is_some_and(|needs| needs.attention == Attention::Catalyst)
            && options.catalyst.is_empty()
        {
            self.tokenizer()?;
        }
        let budgets = if needs.is_some_and(|needs| needs.budgets) {
            Some(self.sensitivity(options.entries)?)
        } else {
            None
        };
        Ok(Session::new(self, Pot::new(self.spec(), options, pinned, budgets.as_deref())?))
    }

    /// Goes on with a session saved to `path`; its pot has the shape it was saved with.
    ///
    /// # Errors
    /// When the file is damaged or belongs to another model or adapter.
    pub fn resume(&self, path: &Path) -> Result<(Session<'_>, Saved), EngineError> {
        self.resume_through(path, None)
    }

    /// [`resume`](Self::resume) of a session that answered through the engine's adapter or through `other`.
    ///
    /// # Errors
    /// As [`resume`](Self::resume).
    pub fn resume_through(
        &self,
        path: &Path,
        other: Option<&Arc<dyn Adapter>>,
    ) -> Result<(Session<'_>, Saved), EngineError> {
        let saved = Saved::open(path)?;
        let owner =
            |adapter: Option<&Arc<dyn Adapter>>| self.owner(adapter.map(|adapter| adapter.fingerprint()));
        let through = match other {
            Some(_) if saved.check_owner(path, &owner(self.adapter())).is_err() => other,
            _ => self.adapter(),
        };
        saved.check_owner(path, &owner(through))?;
        let mut session = match &saved.options {
            Some(options) => self.pot_session(options.clone(), 0)?,
            None => self.session(self.spec().context)?,
        };
        session.set_adapter(through.cloned());
        session.load(path)?;
        Ok((session, saved))
    }

    /// Whose keys and values those of this model are.
    pub(crate) fn owner(&self, adapter: Option<String>) -> Owner {
        Owner { model: self.checkpoint().fingerprint(), adapter }
    }

    /// Bytes of a session that holds `entries`: everything up to so many tokens, or a pot of so many with a `policy`.
    pub fn session_bytes(&self, entries: usize, policy: bool) -> usize {
        Pot::bytes_for(self.spec(), entries, self.kv_type(), policy) + self.logit_bytes()
    }

    /// Entries of such a session in `bytes`, the model's window at most.
    pub fn entries_within(&self, bytes: usize, policy: bool) -> usize {
        Pot::entries_within(self.spec(), bytes.saturating_sub(self.logit_bytes()), self.kv_type(), policy)
    }

    fn logit_bytes(&self) -> usize {
        self.spec().vocab * size_of::<f32>()
    }

    fn sensitivity(&self, entries: usize) -> Result<Vec<f32>, EngineError> {
        let mut probe = self.tokenizer()?.encode(PROBE, Special::Plain)?;
        probe.truncate(entries.min(self.spec().context));
        let mut network = Network {
            decoder: self.decoder(),
            pool: self.threads(),
            adapter: self.adapter().map(|adapter| &**adapter),
            scratch: &mut Scratch::new(),
        };
        Ok(budget::sensitivity(&mut network, &probe)?)
    }
}

/// What reading with a cache did.
#[derive(Debug)]
pub struct CachedRead {
    /// Tokens read anew.
    pub read: usize,
    /// Why the cache did not take them, if it did not.
    pub not_kept: Option<EngineError>,
    /// Tokens that the cache is going to be given once they are read.
    unkept: usize,
    /// Whether a cache was asked.
    cached: bool,
}

impl CachedRead {
    /// `read` tokens read anew, with no cache.
    pub fn whole(read: usize) -> CachedRead {
        CachedRead { read, not_kept: None, unkept: 0, cached: false }
    }

    /// Whether a cache had the beginning of the text's `tokens`.
    pub fn from_cache(&self, tokens: usize) -> bool {
        self.cached && self.read < tokens
    }
}

impl Session<'_> {
    /// Writes everything this session holds to `path`, with a `note` of the caller's.
    ///
    /// # Errors
    /// When the disk does not take it; what was there before stays.
    pub fn save(&mut self, path: &Path, note: &str) -> Result<(), EngineError> {
        self.take_back();
        let owner = self.owner();
        Ok(self.pot.save(path, &owner, &self.tokens, &self.logits, note)?)
    }

    /// Replaces what this session holds by what [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// When the file is damaged, or was saved with another model, adapter or pot. The session is then empty.
    pub fn load(&mut self, path: &Path) -> Result<(), EngineError> {
        self.forget();
        let owner = self.owner();
        (self.tokens, self.logits) = self.pot.load(path, &owner)?;
        Ok(())
    }

    /// Like [`set_text`](Self::set_text); the first `stable` tokens come from `cache` where it has them, and are kept
    /// there otherwise. A cache that takes nothing does not keep the text from being read.
    ///
    /// # Errors
    /// As [`set_text`](Self::set_text).
    pub fn set_text_cached(
        &mut self,
        prompt: &[u32],
        stable: usize,
        cache: &PrefixCache,
        watch: &mut dyn FnMut(Fed) -> ControlFlow<()>,
    ) -> Result<CachedRead, EngineError> {
        let mut read = self.begin_cached(prompt, stable, cache)?;
        loop {
            self.read_out(watch)?;
            if !self.go_on_cached(&mut read, prompt, cache)? {
                return Ok(read);
            }
        }
    }

    /// Begins that; [`go_on_cached`](Self::go_on_cached) is to be called when it is read.
    ///
    /// # Errors
    /// As [`set_text`](Self::set_text).
    pub fn begin_cached(
        &mut self,
        prompt: &[u32],
        stable: usize,
        cache: &PrefixCache,
    ) -> Result<CachedRead, EngineError> {
        // The last token is always read, because its logits are wanted.
        let stable = stable.min(prompt.len().saturating_sub(1));
        let mut read = CachedRead { cached: true, ..CachedRead::whole(prompt.len()) };
        if stable == 0 {
            read.read = self.begin_text(prompt)?;
            return Ok(read);
        }
        self.forget();
        self.pot.expect(prompt.len());
        let owner = self.owner();
        match cache.find(&mut self.pot, &owner, &prompt[..stable]) {
            Some(logits) => {
                self.tokens.extend_from_slice(&prompt[..stable]);
                self.logits = logits;
                self.pin(self.pins.clone())?;
                self.begin(&prompt[stable..], prompt.len(), false)?;
                read.read = prompt.len() - stable;
            }
            None => {
                self.begin(&prompt[..stable], prompt.len(), false)?;
                read.unkept = stable;
            }
        }
        Ok(read)
    }

    /// Gives the cache what it is to keep, and begins to read the rest; false when there is none.
    ///
    /// # Errors
    /// As [`set_text`](Self::set_text).
    pub fn go_on_cached(
        &mut self,
        read: &mut CachedRead,
        prompt: &[u32],
        cache: &PrefixCache,
    ) -> Result<bool, EngineError> {
        let stable = std::mem::take(&mut read.unkept);
        if stable == 0 {
            return Ok(false);
        }
        let owner = self.owner();
        let stored = cache.store(&mut self.pot, &owner, &prompt[..stable], &self.logits);
        read.not_kept = stored.err().map(EngineError::from);
        self.begin(&prompt[stable..], prompt.len(), false)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_frames_the_documents_stays() {
        assert_eq!(stays(&[1, 2, 9, 9, 3, 4], &[1, 2, 3, 4]), [0..2, 4..6]);
        // A document that looks like the frame does not make the parts overlap.
        assert_eq!(stays(&[1, 1, 1, 1], &[1, 1]), [0..2, 4..4]);
        assert_eq!(stays(&[1, 2], &[1, 2]), [0..2, 2..2]);
    }
}
