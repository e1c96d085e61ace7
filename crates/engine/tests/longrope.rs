//! Networks with two lists of rotary factors: the length of a text decides, not what a session could hold.

use std::ops::ControlFlow;
use std::path::Path;

use crayon_engine::{Engine, KvStorage, ModelSource, PotOptions, Session, Settings};

/// Its short factors hold for 16 positions.
const ORIGINAL: usize = 16;

fn engine() -> Engine {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/fixtures/phi3-longrope");
    let settings = Settings { threads: Some(1), exact: true, ..Settings::default() };
    Engine::open(&ModelSource::Path(folder), &settings).unwrap()
}

fn tokens(count: usize) -> Vec<u32> {
    (0..count as u32).map(|i| (i * 7 + 3) % 50).collect()
}

fn feed(session: &mut Session<'_>, tokens: &[u32]) {
    session.feed(tokens, &mut |_| ControlFlow::Continue(())).unwrap();
}

/// The logits of a text read at once into a session of its size.
fn fresh(engine: &Engine, tokens: &[u32]) -> Vec<f32> {
    let mut session = engine.session(tokens.len()).unwrap();
    feed(&mut session, tokens);
    session.logits().to_vec()
}

#[track_caller]
fn same(found: &[f32], expected: &[f32]) {
    let largest = expected.iter().fold(0.0f32, |most, value| most.max(value.abs()));
    let far = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0f32, f32::max);
    assert!(found.len() == expected.len() && far <= 1e-5 * largest, "{far} of {largest}");
}

#[test]
fn room_for_an_answer_changes_no_logits() {
    let engine = engine();
    for count in [1, ORIGINAL, ORIGINAL + 1, 24] {
        let text = tokens(count);
        let mut large = engine.session(engine.spec().context).unwrap();
        feed(&mut large, &text);
        same(large.logits(), &fresh(&engine, &text));
    }
    // The two lists do differ.
    let (text, mut all) = (tokens(ORIGINAL + 1), engine.session(ORIGINAL + 1).unwrap());
    let rows = all.feed_all(&text).unwrap();
    let vocab = engine.spec().vocab;
    let before = &rows[(ORIGINAL - 1) * vocab..ORIGINAL * vocab];
    let short = fresh(&engine, &text[..ORIGINAL]);
    assert!(before.iter().zip(&short).any(|(a, b)| (a - b).abs() > 1e-3));
}

#[test]
fn a_text_that_grows_or_shrinks_past_the_border_is_read_anew() {
    let engine = engine();
    let text = tokens(24);
    let mut session = engine.session(engine.spec().context).unwrap();
    for (at, token) in text.iter().enumerate() {
        feed(&mut session, &[*token]);
        same(session.logits(), &fresh(&engine, &text[..=at]));
    }
    assert_eq!(session.tokens(), text);
    session.rewind(10);
    feed(&mut session, &[9]);
    same(session.logits(), &fresh(&engine, &[&text[..10], &[9]].concat()));
    session.set_text(&text, &mut |_| ControlFlow::Continue(())).unwrap();
    same(session.logits(), &fresh(&engine, &text));
}

#[test]
fn saved_and_distilled_texts_keep_their_kind() {
    let engine = engine();
    let text = tokens(24);
    let folder = tempfile::tempdir().unwrap();
    for (count, name) in [(12, "short"), (20, "long")] {
        let path = folder.path().join(name);
        let mut session = engine.session(engine.spec().context).unwrap();
        feed(&mut session, &text[..count]);
        session.save(&path, "").unwrap();
        let (mut again, _) = engine.resume(&path).unwrap();
        feed(&mut again, &text[count..]);
        same(again.logits(), &fresh(&engine, &text));
    }
    // A pot with room beyond the border: the same text in pieces and at once.
    let options = || PotOptions {
        sinks: 1,
        recent: 2,
        policy: "streaming".to_owned(),
        storage: KvStorage::F32,
        ..PotOptions::new(22, Vec::new())
    };
    let long = tokens(60);
    let mut pieces = engine.pot_session(options(), 0).unwrap();
    long.chunks(5).for_each(|piece| feed(&mut pieces, piece));
    let mut whole = engine.pot_session(options(), 0).unwrap();
    feed(&mut whole, &long);
    same(pieces.logits(), whole.logits());
}
