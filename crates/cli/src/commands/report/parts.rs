//! What a report measures.

use crate::args::ReportArgs;
use crate::clip;
use crate::failure::Result;
use crate::model;

/// A command, and what its part of the page says.
pub(super) struct Part {
    /// In `--json`.
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) about: &'static str,
    pub(super) words: Vec<String>,
    /// Pictures that it draws.
    pub(super) plots: &'static [&'static str],
}

/// The parts for the model and the files that were named.
pub(super) fn parts(args: &ReportArgs) -> Result<Vec<Part>> {
    // The commands run in the report's folder.
    let name = model::lasting(&args.model)?;
    let words = |command: &str| -> Vec<String> {
        let mut words: Vec<String> = command.split(' ').map(str::to_owned).collect();
        words.extend(["-m".to_owned(), name.clone()]);
        words
    };
    let absolute =
        |path: &std::path::Path| -> Result<String> { Ok(std::path::absolute(path)?.display().to_string()) };
    let with = |command: &str, flag: &str, path: &std::path::Path| -> Result<Vec<String>> {
        let mut words = words(command);
        words.extend([flag.to_owned(), absolute(path)?]);
        Ok(words)
    };
    let mut parts = vec![
        Part {
            name: "machine",
            title: "This machine",
            about: "What it has and can do at most. Speeds below are shares of these limits.",
            words: vec!["doctor".to_owned()],
            plots: &[],
        },
        Part {
            name: "speed",
            title: "Speed",
            about: "Tokens a second, reading and writing, and the time to the first token.",
            words: words("bench generate --prompt 256 --tokens 64"),
            plots: &[],
        },
    ];
    if let Some(text) = &args.text {
        parts.push(Part {
            name: "perplexity",
            title: "Prediction of a text",
            about: "Lower is better: e to the power of the mean surprise of a token.",
            words: with("eval perplexity", "--text", text)?,
            plots: &[],
        });
    }
    if let Some(task) = &args.task {
        parts.push(Part {
            name: "choice",
            title: "Multiple choice",
            about: "Questions answered by the likeliest choice.",
            words: with("eval choice", "--task", task)?,
            plots: &[],
        });
    }
    let examples = match &args.examples {
        Some(examples) => absolute(examples)?,
        None => "home.jsonl".to_owned(),
    };
    let mut customize = words("customize --effort fit");
    customize.extend(["--examples".to_owned(), examples]);
    parts.push(Part {
        name: "customize",
        title: "Customisation",
        about: "What a few examples are worth: right answers of those judged, loss on the answers, seconds.",
        words: customize,
        plots: &[],
    });
    parts.push(Part {
        name: "needle",
        title: "Facts in long texts",
        about: "One fact in texts of several lengths, at several depths, read through a memory of 256 entries.",
        words: words("eval needle --pot 256 --lengths 512,1k,2k --depths 0,0.5,1 --samples 4 --plot needle.svg"),
        plots: &["needle.svg"],
    });
    parts.push(Part {
        name: "policies",
        title: "What a full memory keeps",
        about: "Policies at equal memory on the same questions.",
        words: words("eval policies --pots 128 --length 512 --questions 2 --tasks needle --only infinipot,streaming,snapkv,full"),
        plots: &[],
    });
    if clip::default().is_ok() {
        parts.push(Part {
            name: "images",
            title: "Words that count more, in picture search",
            about: "Drawings of six shapes in eight colours. One word of a caption is stressed; the curves show what it gains and what the other loses.",
            words: "eval images --gallery gallery.jsonl --captions captions.jsonl --plot images.svg"
                .split(' ')
                .map(str::to_owned)
                .collect(),
            plots: &["images.svg"],
        });
    }
    Ok(parts)
}
