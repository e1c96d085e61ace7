//! A page with the pictures that were found: one file that needs nothing else.

use std::fmt::Write as _;
use std::fs;
use std::io::Cursor;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crayon_vision::decode;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{FilterType, resize};

use crate::caught::caught;

/// Longest edge of a picture on the page.
const EDGE: u32 = 224;
const STYLE: &str = include_str!("sheet.css");

/// A picture on the page.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    /// Where it is.
    pub file: std::path::PathBuf,
    /// Words below it, such as its score.
    pub note: String,
    /// Smaller words below these.
    pub more: String,
}

/// One row of pictures under a heading.
#[derive(Clone, Debug, Default)]
pub struct Section {
    /// Words with their weights; a word is shown as large as its weight says.
    pub words: Vec<(String, f32)>,
    /// A line below the heading.
    pub note: String,
    /// Best first.
    pub cells: Vec<Cell>,
}

/// The page. A picture that cannot be read any more is an empty frame.
pub fn contact_sheet(title: &str, sections: &[Section]) -> String {
    let title = escaped(title);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\n\
         <meta name=\"viewport\" content=\"width=device-width\"><style>\n{STYLE}</style></head><body>\n"
    );
    for section in sections {
        page.push_str("<h1>");
        for (i, (word, weight)) in section.words.iter().enumerate() {
            let blank = if i > 0 { " " } else { "" };
            let word = escaped(word);
            let _ = match *weight == 1.0 {
                true => write!(page, "{blank}{word}"),
                false => write!(
                    page,
                    "{blank}<span class=\"{}\" style=\"font-size:{:.2}em\">{word}<sub>{weight}</sub></span>",
                    if *weight > 1.0 { "more" } else { "less" },
                    weight.max(0.05).sqrt().clamp(0.6, 1.8),
                ),
            };
        }
        let _ = write!(page, "</h1>\n<p>{}</p>\n<main>\n", escaped(&section.note));
        for cell in &section.cells {
            let path = escaped(&cell.file.display().to_string());
            let picture = match thumbnail(&cell.file) {
                Some(jpeg) => {
                    format!("<img alt=\"{path}\" src=\"data:image/jpeg;base64,{}\">", STANDARD.encode(jpeg))
                }
                None => "<span class=\"missing\">cannot be read</span>".to_owned(),
            };
            let name =
                cell.file.file_name().map_or_else(String::new, |name| escaped(&name.to_string_lossy()));
            let _ = writeln!(
                page,
                "<figure title=\"{path}\"><div>{picture}</div><figcaption><b>{}</b> {name}<small>{}</small></figcaption></figure>",
                escaped(&cell.note),
                escaped(&cell.more),
            );
        }
        page.push_str("</main>\n");
    }
    page.push_str("</body></html>\n");
    page
}

/// A small JPEG of a picture.
fn thumbnail(path: &Path) -> Option<Vec<u8>> {
    let bytes = fs::read(path).ok()?;
    let picture = caught(|| decode(&bytes).ok())??;
    let (width, height) = picture.dimensions();
    let longest = width.max(height).max(1);
    let scaled = |edge: u32| (u64::from(edge) * u64::from(EDGE) / u64::from(longest)).max(1) as u32;
    // Small pictures are enlarged by the browser, dots and all.
    let picture = match longest > EDGE {
        true => resize(&picture, scaled(width), scaled(height), FilterType::Triangle),
        false => picture,
    };
    let mut jpeg = Cursor::new(Vec::new());
    picture.write_with_encoder(JpegEncoder::new_with_quality(&mut jpeg, 85)).ok()?;
    Some(jpeg.into_inner())
}

/// Text of a page.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made_up::picture;

    #[test]
    fn a_page_shows_pictures_and_trusts_no_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a<b>.png");
        fs::write(&file, picture("a.png", [255, 0, 0])).unwrap();
        let cell = |file| Cell { file, note: "0.31".to_owned(), more: "<script>".to_owned() };
        let section = Section {
            words: vec![("a".to_owned(), 1.0), ("red".to_owned(), 2.0), ("<i>".to_owned(), 0.5)],
            note: "2 of 2".to_owned(),
            cells: vec![cell(file), cell(folder.path().join("gone.png"))],
        };
        let page = contact_sheet("a \"red\" heart", &[section]);
        assert_eq!(page.matches("data:image/jpeg").count(), 1);
        assert!(
            page.contains("cannot be read")
                && page.contains("a&lt;b&gt;.png")
                && page.contains("red<sub>2</sub>")
        );
        assert!(!page.contains("<script>") && !page.contains("<i>") && !page.contains("http"));
    }
}
