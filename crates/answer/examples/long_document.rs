//! A text of any length, read in memory of fixed size.
//!
//! ```text
//! cargo run --release -p crayon-answer --example long_document -- book.txt "Who is the captain?"
//! ```

#![allow(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;
use std::io::{Write, stdout};
use std::ops::ControlFlow;

use crayon_answer::{Event, Limits, MemoryRequest, MemorySize, Request, ask_device, plan};
use crayon_engine::{Engine, ModelSource, Settings};

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let (document, question) = match (words.next(), words.next()) {
        (Some(file), Some(question)) => (std::fs::read_to_string(file)?, question),
        _ => (long_text(), "What is the secret number?".to_owned()),
    };

    let engine = Engine::open(&ModelSource::embedded("mini")?, &Settings::default())?;
    let request = Request {
        documents: vec![document],
        // Keys and values of 256 tokens, however long the text is. `Bytes` says it in memory.
        memory: MemoryRequest { size: Some(MemorySize::Entries(256)), ..MemoryRequest::default() },
        ..Request::asking(question)
    };
    let plan = plan(&engine, &request, &Limits::default())?;
    println!("the prompt has {} tokens, the model's window {}", plan.prompt.len(), engine.spec().context);

    let written = ask_device(&engine, &plan, &mut |event| {
        if let Event::Text(piece) = event {
            print!("{piece}");
            let _ = stdout().flush();
        }
        ControlFlow::Continue(())
    })?;
    println!();
    if let Some(pot) = written.distilled {
        println!("{} of {} tokens kept in {} bytes", pot.kept, pot.read, pot.bytes);
    }
    Ok(())
}

/// Ten thousand tokens of little sense, with one fact in their middle.
fn long_text() -> String {
    let day = "Anna saw a dog. Tom went home. The rain fell.\n".repeat(400);
    format!("{day}The secret number is 4812.\n{day}")
}
