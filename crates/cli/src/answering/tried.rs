//! Candidates as they are printed.

use crayon_customize::Tried;
use serde::Serialize;

use crate::show;

/// A candidate as `--json` prints it.
#[derive(Serialize)]
pub(crate) struct TriedRow {
    pub(crate) name: &'static str,
    right: usize,
    of: usize,
    loss: f64,
    seconds: f64,
}

/// The candidates as rows.
pub(crate) fn rows(tried: &[Tried]) -> Vec<TriedRow> {
    let row = |tried: &Tried| TriedRow {
        name: tried.rung.name(),
        right: tried.right(),
        of: tried.of(),
        loss: tried.loss(),
        seconds: tried.seconds,
    };
    tried.iter().map(row).collect()
}

/// The candidates as a table, the one taken marked.
pub(crate) fn table(tried: &[TriedRow], chosen: &str) -> String {
    let cells = |row: &TriedRow| {
        vec![
            row.name.to_owned(),
            format!("{} of {}", row.right, row.of),
            format!("{:.2}", row.loss),
            format!("{:.2} s", row.seconds),
            if row.name == chosen { "chosen".to_owned() } else { String::new() },
        ]
    };
    show::table(&["", "right", "loss", "time", ""], &tried.iter().map(cells).collect::<Vec<_>>())
}
