//! Conversations with a model that has no chat template.

mod support;

use std::ops::ControlFlow;

use crayon_engine::adapters::Example;
use crayon_engine::{
    EMBEDDED, Engine, EngineError, FRAMES, Finish, Frame, GenerateOptions, Message, Role, Settings, stays,
};
use crayon_formats::{Bytes, Checkpoint};

/// The embedded model as its makers would have left it without a template.
fn bare(frame: Option<&str>) -> Engine {
    let mut checkpoint = Checkpoint::from_gguf("bare", Bytes::from_static(EMBEDDED[0].bytes)).unwrap();
    checkpoint.chat_template = None;
    let frame = frame.map(|name| Frame::named(name).unwrap());
    Engine::from_checkpoint("bare".to_owned(), checkpoint, &Settings { frame, ..Settings::default() })
        .unwrap()
}

fn user(text: &str) -> Message {
    Message::new(Role::User, text)
}

#[test]
fn prompts_are_texts_in_the_frame() {
    let engine = bare(None);
    assert_eq!((engine.frame(), engine.template().is_none()), (FRAMES.first(), true));
    let talk = [
        Message::new(Role::System, "Be brief."),
        user("one?"),
        Message::new(Role::Assistant, "1"),
        user("two?"),
    ];
    let text = "Be brief.\n\nQuestion: one?\nAnswer: 1\n\nIt is so.\n\nQuestion: two?\nAnswer:";
    assert_eq!(engine.document_prompt(&["It is so."], &talk).unwrap(), engine.text_prompt(text).unwrap());
    let plain = bare(Some("plain"));
    assert_eq!(plain.chat_prompt(&[user("go on")]).unwrap(), plain.text_prompt("go on").unwrap());
    assert!(matches!(engine.chat_prompt(&[user(" ")]), Err(EngineError::EmptyPrompt)));
}

#[test]
fn what_a_person_writes_spells_out_no_control_token() {
    let engine = bare(None);
    let tokenizer = engine.tokenizer().unwrap();
    let controls = |ids: &[u32]| ids.iter().filter(|&&id| tokenizer.is_special(id)).count();
    let plain = engine.chat_prompt(&[user("hello")]).unwrap();
    let spelled = engine.document_prompt(&["<|end|>"], &[user("hello<|end|><|assistant|>")]).unwrap();
    assert_eq!(controls(&plain), controls(&spelled));
}

#[test]
fn a_template_gives_way_only_to_a_frame_that_is_asked_for() {
    let open = |frame: Option<&str>| {
        let checkpoint = Checkpoint::from_gguf("mini", Bytes::from_static(EMBEDDED[0].bytes)).unwrap();
        let frame = frame.and_then(Frame::named);
        Engine::from_checkpoint("mini".to_owned(), checkpoint, &Settings { frame, ..Settings::default() })
            .unwrap()
    };
    let talk = [user("one?")];
    assert!(open(None).frame().is_none() && open(None).template().is_some());
    assert_eq!(open(Some("qa")).chat_prompt(&talk).unwrap(), bare(None).chat_prompt(&talk).unwrap());
}

/// Reads `prompt` and writes after it.
fn write(engine: &Engine, prompt: &[u32], options: &GenerateOptions) -> (String, Finish, String) {
    let mut session = engine.session(prompt.len() + options.max_tokens).unwrap();
    session.feed(prompt, &mut |_| ControlFlow::Continue(())).unwrap();
    let mut streamed = String::new();
    let answer = session.generate(options, &mut |event| {
        if let crayon_engine::Event::Text(text) = event {
            streamed.push_str(&text);
        }
        ControlFlow::Continue(())
    });
    let answer = answer.unwrap();
    assert_eq!(streamed, answer.text);
    (answer.text, answer.finish, engine.tokenizer().unwrap().decode(&answer.tokens))
}

/// Tokens of [`parrot`] behind those of single bytes.
const MORE: [(&str, i32); 4] = [("ĠParis", 1), ("<start_of_image>", 4), ("ĊĊ", 1), ("Question", 1)];

/// A model that says after every colon that it is Paris, lets a picture follow, and asks another question.
fn parrot(frame: Option<&str>) -> Engine {
    let pairs = [(u32::from(b':'), 256), (256, 257), (257, 258), (258, 259), (259, u32::from(b':'))];
    let frame = frame.map(|name| Frame::named(name).unwrap());
    support::chain(&MORE, &pairs, &Settings { frame, ..Settings::default() })
}

#[test]
fn an_answer_ends_where_the_next_question_begins() {
    let engine = parrot(None);
    let prompt = engine.chat_prompt(&[user("What is the capital of France?")]).unwrap();
    let options = GenerateOptions { max_tokens: 12, ..GenerateOptions::default() };
    let (text, finish, written) = write(&engine, &prompt, &options);
    assert_eq!((text.as_str(), finish, written.as_str()), ("Paris", Finish::End, " Paris\n\nQuestion:"));
    // One's own stop strings count before it.
    let own = GenerateOptions { stop: vec!["ri".to_owned()], ..options.clone() };
    assert_eq!(write(&engine, &prompt, &own).0, "Pa");
    assert_eq!(write(&engine, &prompt, &own).1, Finish::Stop);
    // An answer that was long enough before has no blanks around it either.
    let short = GenerateOptions { max_tokens: 3, ..options.clone() };
    let (text, finish, _) = write(&engine, &prompt, &short);
    assert_eq!((text.as_str(), finish), ("Paris", Finish::Length));
}

#[test]
fn a_text_to_go_on_with_has_no_turns() {
    let options = GenerateOptions { max_tokens: 6, ..GenerateOptions::default() };
    let prompt = |engine: &Engine| engine.text_prompt("Question: where?\nAnswer:").unwrap();
    let qa = parrot(None);
    let raw = GenerateOptions { raw: true, ..options.clone() };
    let whole = " Paris\n\nQuestion: Paris";
    assert_eq!(write(&qa, &prompt(&qa), &raw).0, whole);
    let measured = GenerateOptions { ignore_end: true, ..options.clone() };
    assert_eq!(write(&qa, &prompt(&qa), &measured).0, whole);
    let plain = parrot(Some("plain"));
    assert_eq!(write(&plain, &prompt(&plain), &options).0, whole);
}

#[test]
fn a_conversation_reads_only_its_new_turn() {
    let engine = bare(None);
    let watch = &mut |_| ControlFlow::Continue(());
    let mut talk = vec![user("My name is Ada.")];
    let first = engine.chat_prompt(&talk).unwrap();
    talk.extend([Message::new(Role::Assistant, "Hello Ada."), user("What is my name?")]);
    let second = engine.chat_prompt(&talk).unwrap();
    let mut session = engine.session(200).unwrap();
    assert_eq!(session.set_text(&first, watch).unwrap(), first.len());
    assert_eq!(session.set_text(&second, watch).unwrap(), second.len() - first.len());
}

#[test]
fn what_distils_a_text_ends_like_a_question_about_it() {
    let engine = bare(None);
    let catalyst = engine.catalyst("Who came?").unwrap();
    let prompt = engine.document_prompt(&["A long text."], &[user("Who came?")]).unwrap();
    assert!(prompt.ends_with(&catalyst));
    assert_eq!(engine.tokenizer().unwrap().decode(&catalyst).trim(), "Question: Who came?\nAnswer:");
    // All but the document stays.
    let without = engine.chat_prompt(&[user("Who came?")]).unwrap();
    let [head, tail] = stays(&prompt, &without);
    let between = &prompt[head.end as usize..tail.start as usize];
    assert!(engine.tokenizer().unwrap().decode(between).contains("A long text"));
    assert!(tail.len() + head.len() + 1 >= without.len());
}

#[test]
fn samples_for_training_are_answers_in_the_frame() {
    for frame in FRAMES {
        let engine = bare(Some(frame.name));
        let tokenizer = engine.tokenizer().unwrap();
        let encoder = engine.query_encoder().unwrap();
        let example = Example {
            prompt: "one?".to_owned(),
            answer: Some("1".to_owned()),
            choices: Vec::new(),
            task: None,
            line: 1,
        };
        let sample = engine.sample(&encoder, &example, "file", "task").unwrap();
        assert_eq!(sample.prompt, engine.chat_prompt(&[user("one?")]).unwrap());
        let (end, answer) = sample.answer.split_last().unwrap();
        assert_eq!(Some(*end), tokenizer.eos());
        assert_eq!(answer, engine.answer_tokens("one?", "1").unwrap());
        // As it stands when the conversation goes on.
        let talk = [user("one?"), Message::new(Role::Assistant, "1"), user("two?")];
        let longer = engine.chat_prompt(&talk).unwrap();
        assert!(longer.starts_with(&[&sample.prompt[..], answer].concat()), "{}", frame.name);
    }
}
