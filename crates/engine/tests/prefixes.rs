//! Beginnings of texts that sessions share change no bit of what follows.

use std::ops::ControlFlow;

use crayon_engine::{
    Budget, Engine, GenerateOptions, Holder, KvStorage, ModelSource, Prefixes, Session, Settings,
};

const BEGINNING: &str = "The old harbour lay at the end of a long street of stone houses. In the morning the boats came back \
    with their nets, and the people of the town walked down to the water to see what the night had brought. A girl sold bread \
    from a basket. Her brother counted the boats and wrote their names in a small book. ";

fn engine(settings: Settings) -> Engine {
    Engine::open(&ModelSource::embedded("mini").unwrap(), &settings).unwrap()
}

fn prompt(engine: &Engine, end: &str) -> Vec<u32> {
    engine.text_prompt(&format!("{BEGINNING}{end}")).unwrap()
}

fn read_out(session: &mut Session<'_>) {
    while session.unread() > 0 {
        session.pass().unwrap();
    }
}

/// The bits of the logits after `prompt` and of the answer, and how many tokens of the prompt were read.
fn answer(engine: &Engine, prompt: &[u32], prefixes: Option<&Prefixes>) -> (Vec<u32>, String, usize) {
    let mut session = engine.session(prompt.len() + 24).unwrap();
    let read = match prefixes {
        Some(prefixes) => session.begin_shared(prompt, prefixes).unwrap(),
        None => session.begin_text(prompt).unwrap(),
    };
    read_out(&mut session);
    if let Some(prefixes) = prefixes {
        session.share(prefixes);
    }
    assert_eq!(session.tokens(), prompt);
    let bits = session.logits().iter().map(|logit| logit.to_bits()).collect();
    let options = GenerateOptions { max_tokens: 20, raw: true, ..GenerateOptions::default() };
    let text = session.generate(&options, &mut |_| ControlFlow::Continue(())).unwrap().text;
    (bits, text, read)
}

#[test]
fn a_shared_beginning_changes_no_bit() {
    for settings in [
        Settings::default(),
        Settings { exact: true, ..Settings::default() },
        Settings { kv: Some(KvStorage::F32), threads: Some(1), ..Settings::default() },
    ] {
        let engine = engine(settings);
        let prefixes = Prefixes::new(&Budget::default());
        for (at, end) in
            ["When the last", "The grandmother sat", "The grandmother sat"].into_iter().enumerate()
        {
            let prompt = prompt(&engine, end);
            let (bits, text, whole) = answer(&engine, &prompt, None);
            let (shared_bits, shared_text, read) = answer(&engine, &prompt, Some(&prefixes));
            assert_eq!((shared_text, whole), (text, prompt.len()));
            assert!(shared_bits == bits, "the logits of {end:?} differ");
            match at {
                0 => assert_eq!(read, whole),
                // All whole blocks, and never the last token.
                _ => assert!(read < 40 && read > 0, "{read} of {whole}"),
            }
        }
        let (hits, saved) = prefixes.counts();
        assert!(hits == 2 && saved > 64, "{hits} {saved}");
    }
}

#[test]
fn what_is_kept_belongs_to_a_model_and_a_kind_of_memory() {
    let prefixes = Prefixes::new(&Budget::default());
    let mini = engine(Settings::default());
    let text = prompt(&mini, "And");
    answer(&mini, &text, Some(&prefixes));
    let read = |engine: &Engine| answer(engine, &text, Some(&prefixes)).2;
    assert!(read(&mini) < text.len());
    // Keys in 8 bits share a scale with later ones; f32 is another memory; another network has other keys.
    assert_eq!(read(&engine(Settings { kv: Some(KvStorage::I8), ..Settings::default() })), text.len());
    assert_eq!(read(&engine(Settings { kv: Some(KvStorage::F32), ..Settings::default() })), text.len());
    let other = ModelSource::embedded("mini-gpt2").unwrap();
    assert_eq!(read(&Engine::open(&other, &Settings::default()).unwrap()), text.len());
    // A pot reads anew: what it forgets depends on the whole text.
    let mut pot = mini.pot_session(mini.pot_options(256).unwrap(), 0).unwrap();
    assert_eq!(pot.begin_shared(&text, &prefixes).unwrap(), text.len());
}

#[test]
fn beginnings_stay_within_the_budget_and_give_way() {
    let mini = engine(Settings::default());
    let text = prompt(&mini, "And");
    let room = mini.session_bytes(text.len() / 2, false);
    let budget = Budget::new(Some(room));
    let prefixes = Prefixes::new(&budget);
    let held = || budget.held().into_iter().find(|(holder, _)| *holder == Holder::Prefixes).unwrap().1;
    answer(&mini, &text, Some(&prefixes));
    assert!(held() > 0 && held() <= room, "{} of {room}", held());
    // The beginning was kept rather than the end.
    let read = answer(&mini, &text, Some(&prefixes)).2;
    assert!(read < text.len() && read > text.len() / 3, "{read} of {}", text.len());
    prefixes.make_room(room);
    assert_eq!((held(), budget.free()), (0, room));
    assert_eq!(answer(&mini, &text, Some(&prefixes)).2, text.len());
}
