//! A person's examples: one adapter is blended out of the built-in pool for them, without training.
//!
//! ```text
//! cargo run --release -p crayon-answer --example blend -- examples/home.jsonl "turn off the lamp in the kitchen"
//! ```

#![allow(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use crayon_answer::{Blend, BlendRequest, Customization, Limits, Request, ask_device, plan};
use crayon_engine::adapters::Examples;
use crayon_engine::{BUILT_IN, Engine, ModelSource, Settings};

/// Things said to a house, each with its intent, a JSON object a line.
const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/home.jsonl");

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let examples = words.next().map_or_else(|| EXAMPLES.into(), PathBuf::from);
    let question = words.next().unwrap_or_else(|| "turn off the lamp in the kitchen".to_owned());

    let engine = Engine::open(&ModelSource::embedded("mini")?, &Settings::default())?;
    let pool = engine.open_pool(BUILT_IN.as_ref())?;

    // How near the examples are to what each adapter of the pool learned, and the weights that follow from it.
    let examples = Examples::open(&examples)?;
    let blend = Blend::score(&engine, &pool.catalogue(), examples, &BlendRequest::default())?;
    for (member, weight) in pool.members.iter().zip(&blend.weights).filter(|(_, weight)| **weight >= 0.05) {
        println!("{:>3.0} % {}", 100.0 * weight, member.name);
    }
    println!("{:>3.0} % the model as it is", 100.0 * (1.0 - blend.weights.iter().sum::<f32>()));
    if !blend.used() {
        println!("the pool knows nothing like these examples");
        return Ok(());
    }

    // The weighted sum is one adapter. It acts on questions of the examples' kind, and on no others.
    let stack = Arc::new(pool.stack(engine.spec(), engine.threads())?);
    let custom = Customization::blended(&blend, Some(Arc::new(stack.weigh(&blend.weights)?)));

    for (who, custom) in [("model", Customization::default()), ("blend", custom)] {
        let request = Request::asking(question.as_str());
        let (plan, _) =
            custom.plan(&engine, &request, |request| plan(&engine, request, &Limits::default()))?;
        let written = ask_device(&engine, &plan, &mut |_| ControlFlow::Continue(()))?;
        println!("{who}: {}", written.answer.text);
    }
    Ok(())
}
