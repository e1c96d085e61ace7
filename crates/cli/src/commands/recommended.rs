//! `crayon models --recommended`: real models worth a download, and which of them this machine's memory holds.

use crayon_hub::{Hub, Local};
use serde::Serialize;
use serde_json::json;
use sysinfo::{MemoryRefreshKind, RefreshKind, System};

use crate::failure::Result;
use crate::output::Output;
use crate::show;

/// Of all memory, the share that a model's file may take: keys, values and other programs need the rest.
const SHARE: f64 = 0.6;

/// A model of the Hub that this program reads.
struct Known {
    name: &'static str,
    /// Numbers in its files, in millions.
    millions: u64,
    context: usize,
    good_for: &'static str,
}

/// Small ones first. Parameters and contexts are those of the models' own pages.
const KNOWN: [Known; 10] = [
    of("HuggingFaceTB/SmolLM2-135M-Instruct", 135, 8_192, "short rewrites, trying things out"),
    of(
        "google/gemma-3-270m-it",
        268,
        32_768,
        "following instructions, labels, extraction; wants its licence accepted",
    ),
    of("HuggingFaceTB/SmolLM2-360M-Instruct", 362, 8_192, "short answers and rewrites in English"),
    of("Qwen/Qwen2.5-0.5B-Instruct", 494, 32_768, "questions and documents in many languages"),
    of("Qwen/Qwen3-0.6B", 752, 40_960, "as above, newer; reasons before it answers"),
    of("google/gemma-3-1b-it", 1_000, 32_768, "conversation and summaries; wants its licence accepted"),
    of(
        "meta-llama/Llama-3.2-1B-Instruct",
        1_236,
        131_072,
        "conversation, long documents; wants its licence accepted",
    ),
    of("Qwen/Qwen2.5-1.5B-Instruct", 1_544, 32_768, "good answers in many languages"),
    of("HuggingFaceTB/SmolLM2-1.7B-Instruct", 1_711, 8_192, "good answers in English"),
    of("microsoft/Phi-4-mini-instruct", 3_836, 131_072, "the best answers of this list, slowly"),
];

const fn of(name: &'static str, millions: u64, context: usize, good_for: &'static str) -> Known {
    Known { name, millions, context, good_for }
}

/// A line of the list, as `--json` prints it.
#[derive(Serialize)]
struct Row {
    name: &'static str,
    parameters: u64,
    /// Bytes of its files, which are also about what it takes of memory.
    bytes: u64,
    context: usize,
    good_for: &'static str,
    /// Whether this machine's memory holds it beside other programs.
    fits: bool,
    here: bool,
}

/// Runs the command.
pub(super) fn run(output: &Output) -> Result {
    let refresh = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    let total = System::new_with_specifics(refresh).total_memory();
    let here: Vec<String> = Hub::from_env()?
        .list()
        .into_iter()
        .filter(|local| local.complete)
        .map(|Local { reference, .. }| reference.to_string())
        .collect();
    let rows: Vec<Row> = KNOWN
        .iter()
        .map(|known| {
            let parameters = known.millions * 1_000_000;
            // Their files hold bfloat16.
            let bytes = 2 * parameters;
            Row {
                name: known.name,
                parameters,
                bytes,
                context: known.context,
                good_for: known.good_for,
                fits: bytes as f64 <= SHARE * total as f64,
                here: here.iter().any(|name| name.split('@').next() == Some(known.name)),
            }
        })
        .collect();
    if output.json {
        return Ok(output.object(&json!({ "models": rows, "memory": total }))?);
    }
    let cells = |row: &Row| {
        vec![
            row.name.to_owned(),
            show::parameters(row.parameters as usize),
            show::count(row.context),
            show::bytes(row.bytes),
            match (row.here, row.fits) {
                (true, _) => "here".to_owned(),
                (false, true) => "fits".to_owned(),
                (false, false) => "too large".to_owned(),
            },
            row.good_for.to_owned(),
        ]
    };
    let cells: Vec<Vec<String>> = rows.iter().map(cells).collect();
    output.line(&show::table(&["MODEL", "PARAMETERS", "CONTEXT", "DOWNLOAD", "", "GOOD FOR"], &cells))?;
    output.note(&format!(
        "`crayon pull NAME` downloads one; this machine has {} of memory",
        show::bytes(total)
    ));
    Ok(())
}
