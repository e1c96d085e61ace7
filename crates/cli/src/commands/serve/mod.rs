//! `crayon serve`: models behind OpenAI's HTTP interface, for other programs on this device.

mod served;

use std::sync::Arc;
use std::time::Duration;

use crayon_engine::{EMBEDDED, PrefixCache, own_rss_bytes};
use crayon_serve::{Keys, Limits, Model, People, ServeOptions, Server};
use serde::Serialize;

use self::served::Served;
use crate::answering;
use crate::args::ServeArgs;
use crate::failure::{self, Result};
use crate::interrupt;
use crate::output::Output;
use crate::spelling::spell;

/// What `--json` prints once the server listens.
#[derive(Serialize)]
struct Listening<'a> {
    url: &'a str,
    /// The default.
    model: &'a str,
    models: Vec<&'a str>,
    /// What requests may name.
    adapters: Vec<&'a str>,
    pools: Vec<&'a str>,
}

/// Runs the command until Ctrl-C.
pub(crate) fn run(args: &ServeArgs, output: &Output) -> Result {
    if args.memory.memory.is_some() {
        give_back();
    }
    let keys = args.api_key_file.as_deref().map(Keys::open).transpose()?;
    let served = Served::of(args)?;
    let mut models = Vec::with_capacity(served.len());
    for (at, one) in served.into_iter().enumerate() {
        let one = Arc::new(one);
        // The first is open from the start; what is wrong with the others was found without opening them.
        let opened = if at == 0 { Some(one.open(output)?) } else { None };
        let pools = match &opened {
            Some(opened) => opened.offers.pools.iter().map(|(name, _)| name.clone()).collect(),
            None => one.pool_names(),
        };
        let (again, told) = (one.clone(), output.clone());
        let open = move || again.open(&told).map_err(|error| failure::show(&error, &told)).ok();
        models.push(Model {
            name: one.name.clone(),
            bytes: opened.as_ref().map_or(one.bytes, |opened| opened.engine.checkpoint().bytes()),
            pools,
            opened,
            open: Some(Box::new(open)),
        });
    }
    let cache = match args.cache {
        true => Some(PrefixCache::new(answering::cache_folder()?, answering::CACHE_BYTES)),
        false => None,
    };
    let people = args.people.as_deref().map(People::open).transpose()?;
    let names: Vec<String> = models.iter().map(|model| model.name.clone()).collect();
    let pools: Vec<String> = models.iter().flat_map(|model| model.pools.clone()).collect();
    let passes_on = answering::remote(&args.route)?.is_some();
    let options = ServeOptions {
        host: args.host.clone(),
        port: args.port,
        keys,
        limits: limits(args),
        memory: args.memory.memory,
        program: if args.memory.memory.is_some() { program(&models) } else { 0 },
        cache,
        people,
        origins: args.cors.clone(),
        hosts: args.allow_host.clone(),
        spell,
    };
    let server = Server::bind(options, models)?;
    let url = format!("http://{}/v1", server.address());
    interrupt::watch();
    match output.json {
        true => output.object(&Listening {
            url: &url,
            model: &names[0],
            models: names.iter().map(String::as_str).collect(),
            adapters: served::names(&args.adapter),
            pools: pools.iter().map(String::as_str).collect(),
        })?,
        false => {
            let page = url.trim_end_matches("v1");
            output.line(&format!("{url} serves {}, {page} is its page; Ctrl-C ends it", names.join(", ")))?;
        }
    }
    if passes_on {
        output.note(
            "what the model is unsure of goes to --server, unless a request says \"route\": \"device\"",
        );
    }
    let log = output.clone();
    server.run(interrupt::requested, move |line| log.detail(line))?;
    output.note("stopped");
    Ok(())
}

/// Bytes that this process holds beside weights: code, tokenizers, pools as they were read, and what threads and connections take once they
/// work. Weights within the program are accounted for by themselves.
fn program(models: &[Model]) -> usize {
    let opened = models.iter().filter_map(|model| model.opened.as_ref());
    let within =
        opened.filter(|opened| EMBEDDED.iter().any(|embedded| embedded.name == opened.engine.name()));
    let weights: usize = within.map(|opened| opened.engine.checkpoint().bytes()).sum();
    const AT_WORK: usize = 26 << 20;
    own_rss_bytes().unwrap_or(0).saturating_sub(weights) + AT_WORK
}

/// Has buffers go back to the system when they are dropped, rather than stay with the allocator: memory is promised.
fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        const LARGE: i32 = 256 << 10;
        // SAFETY: it sets a number of the allocator's.
        unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE) };
    }
}

fn limits(args: &ServeArgs) -> Limits {
    let usual = Limits::default();
    Limits {
        body: args.max_body.map_or(usual.body, |size| size as usize),
        prompt: args.max_prompt.map_or(usual.prompt, |tokens| tokens as usize),
        answer: args.max_tokens.map_or(usual.answer, |tokens| tokens as usize),
        time: args.time_limit.map_or(usual.time, |seconds| Duration::from_secs(u64::from(seconds))),
        parallel: args.parallel.map_or(usual.parallel, usize::from),
        queue: args.queue.map_or(usual.queue, usize::from),
        ..usual
    }
}
