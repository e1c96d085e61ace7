//! Sessions whose memory is a pot, on the embedded default model.

use std::ops::ControlFlow;

use crayon_engine::{
    Engine, EngineError, Finish, GenerateOptions, Message, ModelSource, PotOptions, PrefixCache, Role,
    Settings, stays,
};
use crayon_errors::Explain as _;

fn engine() -> Engine {
    Engine::open(&ModelSource::embedded("mini").unwrap(), &Settings { exact: true, ..Settings::default() })
        .unwrap()
}

fn go_on() -> impl FnMut(crayon_engine::Fed) -> ControlFlow<()> {
    |_| ControlFlow::Continue(())
}

fn prompt(engine: &Engine, text: &str) -> Vec<u32> {
    engine.chat_prompt(&[Message::new(Role::User, text)]).unwrap()
}

fn long_text(sentences: usize) -> String {
    (0..sentences)
        .map(|i| format!("The {} dog ran to tree number {i}. ", ["red", "old", "big"][i % 3]))
        .collect()
}

#[test]
fn an_answer_goes_on_beyond_the_pot() {
    let engine = engine();
    let mut session = engine.pot_session(engine.pot_options(96).unwrap(), 0).unwrap();
    session.feed(&prompt(&engine, "Tell me a story about a dog."), &mut go_on()).unwrap();
    let options = GenerateOptions { max_tokens: 400, ignore_end: true, ..GenerateOptions::default() };
    let answer = session.generate(&options, &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!((answer.tokens.len(), answer.finish), (400, Finish::Length));
    assert!(session.pot().distillations() >= 4 && session.pot().kept() <= 96);
}

#[test]
fn the_frame_of_a_document_stays_in_every_head() {
    let engine = engine();
    let question = "How many trees were there?";
    let whole = prompt(&engine, &format!("{}\n\n{question}", long_text(120)));
    let [head, tail] = stays(&whole, &prompt(&engine, question));
    assert!(!head.is_empty() && tail.len() >= 5, "{head:?} {tail:?}");
    let pinned = head.len() + tail.len();
    let mut session = engine.pot_session(engine.pot_options(128).unwrap(), pinned).unwrap();
    session.pin(vec![head.clone(), tail.clone()]).unwrap();
    session.feed(&whole, &mut go_on()).unwrap();
    let options = GenerateOptions { max_tokens: 150, ignore_end: true, ..GenerateOptions::default() };
    session.generate(&options, &mut |_| ControlFlow::Continue(())).unwrap();
    let slab = session.pot().slab();
    for layer in 0..slab.layers() {
        for kv_head in 0..slab.kv_heads() {
            let origins = slab.origins(layer, kv_head);
            assert!(head.clone().chain(tail.clone()).all(|place| origins.contains(&place)));
        }
    }
}

#[test]
fn a_pot_reads_a_changed_text_anew_only_where_it_must() {
    let engine = engine();
    let mut session = engine.pot_session(engine.pot_options(96).unwrap(), 0).unwrap();
    let text = prompt(&engine, &long_text(40));
    session.set_text(&text, &mut go_on()).unwrap();
    let logits = session.logits().to_vec();
    // The end differs: everything up to the last distillation stays.
    let mut other = text.clone();
    let last = other.len() - 1;
    other[last] = 5;
    assert!(session.set_text(&other, &mut go_on()).unwrap() < 96);
    // The beginning differs: nothing can be used.
    other[3] = 9;
    assert_eq!(session.set_text(&other, &mut go_on()).unwrap(), other.len());
    assert_eq!(session.set_text(&text, &mut go_on()).unwrap(), text.len());
    assert_eq!(session.logits(), logits);
}

#[test]
fn saved_sessions_and_cached_documents_give_the_same_logits() {
    let (engine, folder) = (engine(), tempfile::tempdir().unwrap());
    let path = folder.path().join("s.pot");
    let text = prompt(&engine, &long_text(60));
    let options = || engine.pot_options(96).unwrap();
    let mut first = engine.pot_session(options(), 0).unwrap();
    first.feed(&text[..200], &mut go_on()).unwrap();
    first.save(&path, "so far").unwrap();
    first.feed(&text[200..], &mut go_on()).unwrap();
    let (mut second, saved) = engine.resume(&path).unwrap();
    assert_eq!((saved.note.as_str(), second.tokens()), ("so far", &text[..200]));
    second.feed(&text[200..], &mut go_on()).unwrap();
    assert_eq!(first.logits(), second.logits());

    let cache = PrefixCache::new(folder.path().join("cache"), 1 << 30);
    let cached = |expected: usize| {
        let mut session = engine.pot_session(options(), 0).unwrap();
        let read = session.set_text_cached(&text, 250, &cache, &mut go_on()).unwrap();
        assert_eq!((read.read, session.tokens()), (expected, &text[..]));
        session.logits().to_vec()
    };
    assert_eq!(cached(text.len()), first.logits());
    assert_eq!(cached(text.len() - 250), first.logits());
    // What is pinned decides what a pot keeps, so another pin is another entry.
    let mut pinned = engine.pot_session(options(), 10).unwrap();
    pinned.pin(std::iter::once(20..30).collect()).unwrap();
    assert_eq!(pinned.set_text_cached(&text, 250, &cache, &mut go_on()).unwrap().read, text.len());
    let other = Engine::open(&ModelSource::embedded("mini-gpt2").unwrap(), &Settings::default()).unwrap();
    assert!(other.resume(&path).is_err());
}

#[test]
fn pots_need_positions_that_can_move_and_a_size_that_works() {
    let mini = engine();
    let gpt2 = Engine::open(&ModelSource::embedded("mini-gpt2").unwrap(), &Settings::default()).unwrap();
    let error = gpt2.pot_session(gpt2.pot_options(96).unwrap(), 0).err().expect("refused");
    assert!(error.to_string().contains("learned positions") && error.is_mistake() && error.hint().is_some());
    let refused = |options: PotOptions| mini.pot_session(options, 0).err().expect("refused");
    assert!(matches!(refused(mini.pot_options(9).unwrap()), EngineError::Pot(_)));
    assert!(refused(mini.pot_options(5000).unwrap()).hint().unwrap().contains("1024"));
}

#[test]
fn judging_an_answer_leaves_no_trace() {
    let engine = engine();
    let text = prompt(&engine, &long_text(8));
    let answers = [&[300, 301, 302][..], &[17], &[]];
    let mut full = engine.session(text.len() + 20).unwrap();
    full.feed(&text, &mut go_on()).unwrap();
    let mut pot = engine.pot_session(engine.pot_options(text.len() + 40).unwrap(), 0).unwrap();
    pot.feed(&text, &mut go_on()).unwrap();
    let (kept, logits) = (pot.pot().kept(), pot.logits().to_vec());
    for answer in answers {
        let found = pot.likelihood(answer).unwrap();
        assert_eq!(found, full.likelihood(answer).unwrap());
        assert_eq!(found, pot.likelihood(answer).unwrap());
        assert!(found < 0.0 || answer.is_empty());
        assert_eq!((pot.pot().kept(), pot.logits()), (kept, &logits[..]));
    }
    let options = GenerateOptions { max_tokens: 12, ignore_end: true, ..GenerateOptions::default() };
    let answer = |session: &mut crayon_engine::Session<'_>| {
        session.generate(&options, &mut |_| ControlFlow::Continue(())).unwrap().tokens
    };
    assert_eq!(answer(&mut pot), answer(&mut full));
}

#[test]
fn the_catalyst_is_the_end_of_a_users_turn() {
    let engine = engine();
    let question = "Where did Ben hide the ring?";
    let catalyst = engine.catalyst(question).unwrap();
    let whole = prompt(&engine, &format!("A story.\n\n{question}"));
    assert!(whole.ends_with(&catalyst), "{catalyst:?} is not the end of {whole:?}");
    let words = engine.tokenizer().unwrap().decode(&catalyst);
    assert!(words.contains(question), "{words}");
    assert!(catalyst.last() == prompt(&engine, "?").last());
}

#[test]
fn unknown_tokens_and_absurd_numbers_are_refused() {
    let engine = engine();
    let mut session = engine.pot_session(engine.pot_options(96).unwrap(), 0).unwrap();
    session.feed(&[1, 2, 3], &mut go_on()).unwrap();
    assert!(session.feed(&[4, u32::MAX], &mut go_on()).is_err());
    assert!(session.likelihood(&[u32::MAX]).is_err());
    for odd in [
        PotOptions { sinks: usize::MAX, ..engine.pot_options(96).unwrap() },
        PotOptions { recent: usize::MAX, ..engine.pot_options(96).unwrap() },
        PotOptions { keep: Some(usize::MAX), ..engine.pot_options(96).unwrap() },
        PotOptions { keep: Some(0), ..engine.pot_options(96).unwrap() },
        PotOptions { novelty: f32::NAN, ..engine.pot_options(96).unwrap() },
    ] {
        assert!(engine.pot_session(odd.clone(), 0).is_err(), "{odd:?}");
    }
    assert!(engine.pot_session(engine.pot_options(96).unwrap(), usize::MAX).is_err());
}
