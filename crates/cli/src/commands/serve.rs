//! `crayon serve`: the model behind OpenAI's HTTP interface, for other programs on this device.

use std::path::Path;
use std::time::Duration;

use crayon_serve::{Keys, Limits, Options, Server};
use serde::Serialize;

use crate::args::ServeArgs;
use crate::output::Output;
use crate::{interrupt, model};

/// What `--json` prints once the server listens.
#[derive(Serialize)]
struct Listening<'a> {
    url: &'a str,
    model: &'a str,
}

/// Runs the command until Ctrl-C.
pub(crate) fn run(args: &ServeArgs, output: &Output) -> anyhow::Result<()> {
    let options = Options {
        host: args.host.clone(),
        port: args.port,
        keys: args.api_key_file.as_deref().map(Keys::open).transpose()?,
        model: name(&args.model.model),
        limits: limits(args),
    };
    let name = options.model.clone();
    let engine = model::open(&args.model, output)?;
    // Without a tokenizer every request would fail.
    engine.tokenizer()?;
    let server = Server::bind(options)?;
    let url = format!("http://{}/v1", server.address());
    interrupt::watch();
    match output.json {
        true => output.object(&Listening { url: &url, model: &name })?,
        false => output.line(&format!("{url} serves {name}; Ctrl-C ends it"))?,
    }
    let log = output.clone();
    server.run(engine, interrupt::requested, move |line| log.detail(line))?;
    output.note("stopped");
    Ok(())
}

/// The model's name in requests: as given, but for paths, which are nobody's business: their last part.
fn name(model: &str) -> String {
    let path = Path::new(model);
    let file = path.file_name().map(|name| name.to_string_lossy().into_owned());
    file.filter(|_| path.exists() || path.is_absolute()).unwrap_or_else(|| model.to_owned())
}

fn limits(args: &ServeArgs) -> Limits {
    let usual = Limits::default();
    Limits {
        body: args.max_body.map_or(usual.body, |size| size as usize),
        prompt: args.max_prompt.map_or(usual.prompt, |tokens| tokens as usize),
        answer: args.max_tokens.map_or(usual.answer, |tokens| tokens as usize),
        time: args.time_limit.map_or(usual.time, |seconds| Duration::from_secs(u64::from(seconds))),
        queue: args.queue.map_or(usual.queue, usize::from),
        ..usual
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_name_tells_no_path() {
        assert_eq!(name("mini"), "mini");
        assert_eq!(name("org/name"), "org/name");
        assert_eq!(name("/no/such/model.gguf"), "model.gguf");
        assert_eq!(name("src/main.rs"), "main.rs");
    }
}
