//! Sessions that share passes: nobody's answer depends on the company.

use std::ops::ControlFlow;

use crayon_engine::{
    Batch, Engine, Event, Finish, GenerateOptions, Generation, Message, ModelSource, Role, Sampling, Session,
    Settings,
};

/// Somebody who asks: a question behind a document of so many sentences, through a pot of so many entries (0 for none).
#[derive(Clone, Copy)]
struct Asked {
    question: &'static str,
    sentences: usize,
    pot: usize,
    policy: &'static str,
    temperature: f32,
}

const ASKED: [Asked; 5] = [
    Asked { question: "What is a cat?", sentences: 0, pot: 0, policy: "", temperature: 0.0 },
    Asked {
        question: "Where did the dog run?",
        sentences: 60,
        pot: 128,
        policy: "infinipot",
        temperature: 0.0,
    },
    Asked { question: "Tell me a story about a boat.", sentences: 0, pot: 0, policy: "", temperature: 0.9 },
    Asked {
        question: "How many trees were there?",
        sentences: 50,
        pot: 112,
        policy: "kvzip",
        temperature: 0.7,
    },
    Asked { question: "What was old?", sentences: 30, pot: 0, policy: "", temperature: 0.0 },
];

/// What came of it: tokens with their log-probabilities.
type Written = Vec<(u32, f32)>;

fn session<'e>(engine: &'e Engine, asked: &Asked) -> Session<'e> {
    let document: String = (0..asked.sentences)
        .map(|i| format!("The {} dog ran to tree number {i}. ", ["red", "old", "big"][i % 3]))
        .collect();
    let text = format!("{document}{}", asked.question);
    let prompt = engine.chat_prompt(&[Message::new(Role::User, text.as_str())]).unwrap();
    let mut session = match asked.pot {
        0 => engine.session(1024).unwrap(),
        entries => {
            let mut options = engine.pot_options(entries).unwrap();
            options.policy = asked.policy.to_owned();
            engine.pot_session(options, 0).unwrap()
        }
    };
    session.begin_text(&prompt).unwrap();
    session
}

fn together(engine: &Engine, asked: &[Asked]) -> Vec<Written> {
    let mut sessions: Vec<Session<'_>> = asked.iter().map(|asked| session(engine, asked)).collect();
    let mut generations: Vec<Option<Generation<'_>>> = asked.iter().map(|_| None).collect();
    let mut written: Vec<Written> = vec![Vec::new(); asked.len()];
    let mut batch = Batch::new(engine);
    let mut open = asked.len();
    while open > 0 {
        let passed = batch.step(&mut sessions.iter_mut().collect::<Vec<_>>());
        assert!(passed.iter().all(Result::is_ok), "{passed:?}");
        for (at, session) in sessions.iter_mut().enumerate() {
            if session.unread() > 0 || written[at].len() == 24 && generations[at].is_none() {
                continue;
            }
            let sampling = Sampling { temperature: asked[at].temperature, seed: 7, ..Sampling::default() };
            let options =
                GenerateOptions { max_tokens: 24, ignore_end: true, sampling, ..GenerateOptions::default() };
            let generation =
                generations[at].get_or_insert_with(|| Generation::begin(session, &options).unwrap());
            let done = generation.next(session, &mut |event| {
                if let Event::Token { id, logprob, .. } = event {
                    written[at].push((id, logprob));
                }
                ControlFlow::Continue(())
            });
            if let Some(answer) = done.unwrap() {
                assert_eq!(answer.finish, Finish::Length);
                generations[at] = None;
                open -= 1;
            }
        }
    }
    let steps: Vec<usize> = sessions.iter().map(|session| session.pot().distillations()).collect();
    assert!(steps.iter().zip(asked).all(|(steps, asked)| (*steps > 0) == (asked.pot > 0)), "{steps:?}");
    written
}

#[test]
fn an_answer_is_the_same_alone_and_in_company() {
    for exact in [true, false] {
        let settings = Settings { exact, ..Settings::default() };
        let engine = Engine::open(&ModelSource::embedded("mini").unwrap(), &settings).unwrap();
        let alone: Vec<Written> = ASKED.iter().map(|asked| together(&engine, &[*asked]).remove(0)).collect();
        assert_eq!(together(&engine, &ASKED), alone, "exact: {exact}");
        let mut turned = ASKED;
        turned.reverse();
        let mut turned = together(&engine, &turned);
        turned.reverse();
        assert_eq!(turned, alone, "exact: {exact}");
    }
}

#[test]
fn who_cannot_go_on_harms_nobody() {
    let engine = Engine::open(&ModelSource::embedded("mini").unwrap(), &Settings::default()).unwrap();
    let mut fine = session(&engine, &ASKED[0]);
    let mut odd = engine.session(64).unwrap();
    odd.begin_text(&[1, u32::MAX]).unwrap();
    let mut batch = Batch::new(&engine);
    for _ in 0..4 {
        let passed = batch.step(&mut [&mut odd, &mut fine]);
        assert!(passed[1].is_ok());
        if fine.unread() == 0 {
            break;
        }
        assert!(passed[0].is_err());
        odd.leave();
    }
    assert!(fine.unread() == 0 && !fine.logits().is_empty() && odd.tokens().is_empty());
    // With nothing to read nothing happens.
    assert!(batch.step(&mut [&mut odd, &mut fine]).iter().all(Result::is_ok));
}
