//! One question; the answer is printed while it is written.
//!
//! ```text
//! cargo run --release -p crayon-engine --example answer -- "Why is the sky blue?"
//! ```

#![allow(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;
use std::io::{Write, stdout};
use std::ops::ControlFlow;

use crayon_engine::{
    Engine, Event, GenerateOptions, Message, ModelSource, Role, SamplingOverrides, Settings,
};

fn main() -> Result<(), Box<dyn Error>> {
    let question = std::env::args().nth(1).unwrap_or_else(|| "Why is the sky blue?".to_owned());

    // `ModelSource::path("model.gguf".as_ref())?` opens a file or a folder.
    let engine = Engine::open(&ModelSource::embedded("mini")?, &Settings::default())?;

    // Token ids of the conversation, in the format the model was taught.
    let prompt = engine.chat_prompt(&[Message::new(Role::User, question)])?;

    // Tokens are drawn as the model's makers suggest.
    let sampling = SamplingOverrides::default().or_suggested(&engine.checkpoint().generation);
    let options = GenerateOptions { sampling, max_tokens: 100, ..GenerateOptions::default() };

    // A session has room for what is read and what is written.
    let mut session = engine.session(prompt.len() + options.max_tokens)?;
    session.feed(&prompt, &mut |_| ControlFlow::Continue(()))?;
    let answer = session.generate(&options, &mut |event| {
        if let Event::Text(piece) = event {
            print!("{piece}");
            let _ = stdout().flush();
        }
        // `Break` stops the answer.
        ControlFlow::Continue(())
    })?;
    println!("\n[{} tokens read, {} written]", prompt.len(), answer.tokens.len());
    Ok(())
}
