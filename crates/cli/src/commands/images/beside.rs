//! What is kept beside an index: a graph for approximate searches, and a collection of a Qdrant server.

use crayon_images::Store;
use serde_json::Value;

#[cfg(not(all(feature = "hnsw", feature = "qdrant")))]
use super::left_out;
use crate::args::BesideArgs;
use crate::failure::Result;
use crate::output::Output;
#[cfg(any(feature = "hnsw", feature = "qdrant"))]
use crate::{interrupt, progress::Counting};

/// What was done beside the index.
#[derive(Default)]
pub(super) struct Done {
    /// Whether a graph was made.
    #[cfg(feature = "hnsw")]
    graph: Option<bool>,
    #[cfg(feature = "qdrant")]
    pushed: Option<crayon_images::Pushed>,
}

/// Refuses what cannot be done, before anything is.
pub(super) fn check(args: &BesideArgs) -> Result {
    #[cfg(not(feature = "hnsw"))]
    if args.approximate {
        return Err(left_out("approximate searches", "hnsw"));
    }
    if let Some(address) = &args.remote {
        #[cfg(not(feature = "qdrant"))]
        {
            let _ = address;
            return Err(left_out("a client of Qdrant", "qdrant"));
        }
        #[cfg(feature = "qdrant")]
        remote(address)?;
    }
    Ok(())
}

/// Connects to the server that was named.
#[cfg(feature = "qdrant")]
pub(super) fn remote(address: &str) -> Result<crayon_images::Remote> {
    use crate::failure::mistake;
    let parsed: Result<crayon_images::RemoteAddress, String> = address.parse();
    let address = parsed.map_err(|why| mistake(why, "--index takes the address of a Qdrant server"))?;
    let key = std::env::var("QDRANT_API_KEY").ok().filter(|key| !key.trim().is_empty());
    Ok(crayon_images::Remote::connect(&address, key.as_deref().map(str::trim))?)
}

/// Brings up to date what is asked for.
#[cfg_attr(not(any(feature = "hnsw", feature = "qdrant")), allow(unused_variables))]
pub(super) fn update(args: &BesideArgs, store: &Store, threads: usize, output: &Output) -> Result<Done> {
    #[cfg_attr(not(any(feature = "hnsw", feature = "qdrant")), allow(unused_mut))]
    let mut done = Done::default();
    #[cfg(feature = "hnsw")]
    if args.approximate {
        let mut bar = Counting::new("linking", "pictures", output);
        let made = crayon_images::make_graph(store, threads, &mut |done, total| {
            bar.at(done, total);
            interrupt::flow()
        });
        bar.finish();
        done.graph = Some(made?);
    }
    #[cfg(feature = "qdrant")]
    if let Some(address) = &args.remote {
        let remote = remote(address)?;
        let mut bar = Counting::new("sending", "pictures", output);
        let pushed = remote.push(store, &mut |done, total| {
            bar.at(done, total);
            interrupt::flow()
        });
        bar.finish();
        let pushed = pushed?;
        if pushed.stopped {
            return Err(crate::failure::Interrupted.into());
        }
        done.pushed = Some(pushed);
    }
    Ok(done)
}

impl Done {
    /// Adds what was done to a JSON object.
    #[cfg_attr(not(any(feature = "hnsw", feature = "qdrant")), allow(unused_variables))]
    pub(super) fn add_to(&self, object: &mut Value) {
        #[cfg(feature = "hnsw")]
        if let Some(made) = self.graph {
            object["graph"] = if made { "made" } else { "unchanged" }.into();
        }
        #[cfg(feature = "qdrant")]
        if let Some(pushed) = self.pushed {
            object["remote"] =
                serde_json::json!({"sent": pushed.sent, "unchanged": pushed.unchanged, "gone": pushed.gone});
        }
    }

    /// Says what was done.
    #[cfg_attr(not(any(feature = "hnsw", feature = "qdrant")), allow(unused_variables))]
    pub(super) fn print(&self, output: &Output) -> Result {
        #[cfg(feature = "hnsw")]
        if self.graph == Some(true) {
            output.line("made the graph for approximate searches")?;
        }
        #[cfg(feature = "qdrant")]
        if let Some(pushed) = self.pushed {
            use crate::show::count;
            let (sent, unchanged, gone) = (count(pushed.sent), count(pushed.unchanged), count(pushed.gone));
            output.line(&format!("at the server: {sent} sent, {unchanged} unchanged, {gone} gone"))?;
        }
        Ok(())
    }
}
