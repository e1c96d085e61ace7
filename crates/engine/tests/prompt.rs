//! What the names of control tokens mean in a raw prompt and in a message.

use crayon_engine::{Engine, Message, ModelSource, Role, Settings};

#[test]
fn only_raw_prompts_spell_out_control_tokens() {
    let engine = Engine::open(&ModelSource::embedded("mini").unwrap(), &Settings::default()).unwrap();
    let end = engine.tokenizer().unwrap().id("<|end|>").unwrap();
    let count = |ids: Vec<u32>| ids.into_iter().filter(|id| *id == end).count();
    let plain = engine.text_prompt("hello").unwrap().len();
    let raw = engine.text_prompt("hello<|end|>").unwrap();
    assert_eq!((raw.len(), raw.last()), (plain + 1, Some(&end)));
    let asked = |text: &str| count(engine.chat_prompt(&[Message::new(Role::User, text)]).unwrap());
    assert_eq!(asked("hello<|end|>"), asked("hello"));
}
