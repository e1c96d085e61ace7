//! A folder of pictures, indexed and searched by words that count more or less.
//!
//! ```text
//! cargo run --release -p crayon-images --example pictures -- FOLDER "a (red:0) heart"
//! ```

#![allow(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;
use std::ops::ControlFlow;
use std::path::PathBuf;

use crayon_engine::EMBEDDED_CLIP;
use crayon_images::{Bank, IndexOptions, MadeWith, Query, Searcher, Store, index, parse_search};
use crayon_vision::{Clip, Options};

/// Hearts, stars and circles in eight colours.
const PICTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/pictures");

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let folder = words.next().map_or_else(|| PICTURES.into(), PathBuf::from);
    let prompts: Vec<String> = words.collect();
    let prompts = match prompts.is_empty() {
        true => vec!["a red heart".to_owned(), "a (red:0) heart".to_owned()],
        false => prompts,
    };

    // `Clip::open` opens a folder with a model of CLIP or SigLIP.
    let model = EMBEDDED_CLIP.first().ok_or("no model of texts and pictures is built in")?;
    let clip = Clip::from_files(model.files(), Options::default())?;

    // The index is one file. Where it is kept, a second run looks only at what has changed.
    let file = std::env::temp_dir().join(format!("pictures-{}.index", std::process::id()));
    let store = Store::open(&file, &MadeWith::of(&clip))?;
    let options = IndexOptions { hidden: false, threads: clip.threads().count(), may_empty: false };
    let report = index(&folder, &store, &clip, &options, &mut |_, _| ControlFlow::Continue(()))?;
    // Where results end is measured once, on the finished index.
    Bank::measure(&store.reader()?, &clip, clip.threads())?.remember(&store)?;
    println!("{} pictures", report.found);

    let searcher = Searcher::new(store.reader()?)?;
    for prompt in prompts {
        let query = Query { text: Some(parse_search(&prompt)?), count: 3, ..Query::default() };
        println!("{prompt}");
        for hit in searcher.search(&query, &clip, clip.threads())?.hits {
            println!("  {:.3} {}", hit.score, hit.path.file_name().unwrap_or_default().display());
        }
    }
    std::fs::remove_file(file)?;
    Ok(())
}
