//! Numbers and tables as people read them.

use std::time::Duration;

pub(crate) use crayon_errors::count;

/// `1 window`, `1,234 windows`.
pub(crate) fn counted(number: usize, what: &str) -> String {
    format!("{} {what}{}", count(number), if number == 1 { "" } else { "s" })
}

/// Bytes in decimal units: `12.3 MB`.
pub(crate) fn bytes(number: u64) -> String {
    scaled(number as f64, 1000.0, &[" B", " kB", " MB", " GB", " TB"])
}

/// Parameters: `7.1M`.
pub(crate) fn parameters(number: usize) -> String {
    scaled(number as f64, 1000.0, &["", "k", "M", "B", "T"])
}

fn scaled(mut value: f64, step: f64, units: &[&str]) -> String {
    let mut unit = 0;
    // 999.95 and more would be shown as 1000.0.
    while value >= step - 0.05 && unit + 1 < units.len() {
        value /= step;
        unit += 1;
    }
    let unit_name = units.get(unit).unwrap_or(&"");
    if unit == 0 { format!("{value:.0}{unit_name}") } else { format!("{value:.1}{unit_name}") }
}

/// `3 s`, `1 min 05 s`, `2 h 10 min`.
pub(crate) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// Milliseconds with one decimal.
pub(crate) fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 10_000.0).round() / 10.0
}

/// Events a second; `None` where nothing or no time was measured.
pub(crate) fn rate(events: usize, time: Duration) -> Option<f64> {
    let seconds = time.as_secs_f64();
    (events > 0 && seconds > 0.0).then(|| (events as f64 / seconds * 10.0).round() / 10.0)
}

/// Peak resident memory in 10^6 bytes.
pub(crate) fn peak_rss_mb() -> Option<f64> {
    crayon_engine::peak_rss_bytes().map(|bytes| (bytes as f64 / 1e5).round() / 10.0)
}

/// Rows under a heading, columns aligned to the left, two blanks apart.
pub(crate) fn table(heading: &[&str], rows: &[Vec<String>]) -> String {
    let columns = heading.len();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([heading.get(column).map_or(0, |cell| cell.chars().count())]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for (cell, width) in cells.zip(&widths) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        line.trim_end().to_owned()
    };
    let mut lines = vec![line(&mut heading.iter().copied())];
    lines.extend(rows.iter().map(|row| line(&mut row.iter().map(String::as_str))));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_scaled() {
        assert_eq!([count(0), count(999), count(1000), count(1234567)], ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([counted(1, "window"), counted(1200, "token")], ["1 window", "1,200 tokens"]);
        assert_eq!([bytes(0), bytes(999), bytes(12_345_678)], ["0 B", "999 B", "12.3 MB"]);
        assert_eq!(bytes(999_999), "1.0 MB");
        assert_eq!([parameters(260_000), parameters(494_032_768)], ["260.0k", "494.0M"]);
        assert_eq!(duration(Duration::from_secs(65)), "1 min 05 s");
        assert_eq!(duration(Duration::from_secs(7800)), "2 h 10 min");
    }

    #[test]
    fn a_rate_needs_events_and_time() {
        assert_eq!(rate(10, Duration::from_secs(4)), Some(2.5));
        assert_eq!(rate(0, Duration::from_secs(4)), None);
        assert_eq!(rate(10, Duration::ZERO), None);
    }

    #[test]
    fn tables_align_and_end_without_blanks() {
        let rows = vec![vec!["mini".to_owned(), "1".to_owned()], vec!["a".to_owned(), "22".to_owned()]];
        assert_eq!(table(&["name", "n"], &rows), "name  n\nmini  1\na     22");
    }
}
