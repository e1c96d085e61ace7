//! Answers that copy from the text before are written in fewer passes, and are the same to the bit.

use std::ops::ControlFlow;
use std::path::Path;

use crayon_engine::{
    Engine, Event, GenerateOptions, Generation, KvStorage, ModelSource, PotOptions, Sampling, Session,
    Settings,
};

/// What was written: tokens and their log-probabilities, and in how many passes.
type Written = (Vec<(u32, f32)>, usize);

fn mini(settings: Settings) -> Engine {
    Engine::open(&ModelSource::embedded("mini").unwrap(), &settings).unwrap()
}

/// A text that says everything twice, so that what follows may well be guessed.
fn text(engine: &Engine) -> Vec<u32> {
    let said = "Tom had a red boat. He put the boat on the lake. The boat went far away. ".repeat(3);
    engine.text_prompt(&said).unwrap()
}

fn write(session: &mut Session<'_>, options: &GenerateOptions) -> Written {
    let mut generation = Generation::begin(session, options).unwrap();
    let (mut written, mut passes) = (Vec::new(), 0);
    loop {
        let answer = generation.next(session, &mut |event| {
            if let Event::Token { id, logprob, .. } = event {
                written.push((id, logprob));
            }
            ControlFlow::Continue(())
        });
        if let Some(answer) = answer.unwrap() {
            assert!(answer.tokens.iter().eq(written.iter().map(|(id, _)| id)));
            return (written, passes);
        }
        session.pass().unwrap();
        passes += 1;
    }
}

fn answer(engine: &Engine, sampling: Sampling) -> Written {
    let text = text(engine);
    let mut session = engine.session(text.len() + 60).unwrap();
    session.set_text(&text, &mut |_| ControlFlow::Continue(())).unwrap();
    let options = GenerateOptions {
        max_tokens: 60,
        ignore_end: true,
        raw: true,
        sampling,
        ..GenerateOptions::default()
    };
    let written = write(&mut session, &options);
    // Nothing of what was guessed stays behind.
    assert_eq!(session.tokens().len(), session.pot().tokens_read());
    assert_eq!(session.logits().len(), engine.spec().vocab);
    let (mut read, all) = (engine.session(text.len() + 60).unwrap(), session.tokens().to_vec());
    read.set_text(&all, &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(session.logits(), read.logits());
    written
}

#[test]
fn the_same_answer_in_fewer_passes() {
    for exact in [true, false] {
        for kv in [KvStorage::F32, KvStorage::F16] {
            let settings = Settings { exact, kv: Some(kv), ..Settings::default() };
            let (guessing, plain) = (mini(settings.clone()), mini(Settings { no_guess: true, ..settings }));
            for (temperature, repetition_penalty) in [(0.0, 1.0), (0.0, 1.1), (0.8, 1.0), (1.5, 1.0)] {
                let sampling = Sampling { temperature, repetition_penalty, seed: 3, ..Sampling::default() };
                let ((found, passes), (expected, each)) =
                    (answer(&guessing, sampling.clone()), answer(&plain, sampling));
                assert_eq!(found, expected, "exact: {exact}, {kv:?}, temperature {temperature}");
                assert_eq!((expected.len(), each), (60, 60));
                assert!(passes <= each);
                let copies = temperature == 0.0 && repetition_penalty == 1.0;
                assert!(!copies || passes < 40, "{passes} passes for 60 tokens");
            }
        }
    }
}

#[test]
fn nothing_is_guessed_where_it_would_leave_a_trace() {
    // 8-bit keys are rounded by those that came first, and what a pot forgets does not come back.
    let rounded = mini(Settings { kv: Some(KvStorage::I8), ..Settings::default() });
    assert_eq!(answer_passes(&rounded, rounded.session(300).unwrap()), 60);
    let engine = mini(Settings::default());
    let options = PotOptions { policy: "streaming".to_owned(), ..engine.pot_options(64).unwrap() };
    assert_eq!(answer_passes(&engine, engine.pot_session(options, 0).unwrap()), 60);
}

fn answer_passes(engine: &Engine, mut session: Session<'_>) -> usize {
    session.set_text(&text(engine), &mut |_| ControlFlow::Continue(())).unwrap();
    let options =
        GenerateOptions { max_tokens: 60, ignore_end: true, raw: true, ..GenerateOptions::default() };
    write(&mut session, &options).1
}

#[test]
fn a_stopped_answer_forgets_what_was_guessed() {
    let engine = mini(Settings::default());
    let text = text(&engine);
    let mut session = engine.session(text.len() + 60).unwrap();
    session.set_text(&text, &mut |_| ControlFlow::Continue(())).unwrap();
    let options =
        GenerateOptions { max_tokens: 60, ignore_end: true, raw: true, ..GenerateOptions::default() };
    let mut generation = Generation::begin(&session, &options).unwrap();
    let mut ahead = 0;
    while ahead == 0 {
        let answer = generation.next(&mut session, &mut |_| ControlFlow::Continue(())).unwrap();
        assert!(answer.is_none(), "nothing was guessed");
        session.pass().unwrap();
        ahead = session.pot().tokens_read() - session.tokens().len();
    }
    // The answer is left in the middle, and the session goes on with something else.
    let mut other = session.tokens().to_vec();
    other.extend([5, 6, 7]);
    session.feed(&[5, 6, 7], &mut |_| ControlFlow::Continue(())).unwrap();
    let mut fresh = engine.session(text.len() + 60).unwrap();
    fresh.set_text(&other, &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(session.tokens(), other);
    assert_eq!(session.logits(), fresh.logits());
}

#[test]
fn guesses_stop_where_longer_texts_are_read_with_other_frequencies() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/fixtures/phi3-longrope");
    let settings = Settings { threads: Some(1), exact: true, ..Settings::default() };
    let engine = Engine::open(&ModelSource::Path(folder), &settings).unwrap();
    // The border is at 16 tokens.
    for (tokens, allowed) in [(12, 3), (15, 0), (16, 0), (17, 24 - 17 - 1)] {
        let mut session = engine.session(24).unwrap();
        session.feed(&vec![3; tokens], &mut |_| ControlFlow::Continue(())).unwrap();
        assert_eq!(session.pot().may_guess(), allowed, "after {tokens} tokens");
    }
}
