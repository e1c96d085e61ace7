//! The page: one file that needs nothing else.

use std::fmt::Write as _;

use crayon_eval::draw::xml_text;
use serde_json::Value;

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8884;--soft:#8882}\
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.6rem}h2{font-size:1.2rem;margin-top:2.5rem}\
code{background:var(--soft);padding:.2em .4em;border-radius:4px;overflow-wrap:anywhere}\
table{border-collapse:collapse;margin:1rem 0;font-variant-numeric:tabular-nums;font-size:.9rem}\
th,td{border-bottom:1px solid var(--line);padding:.25rem .7rem;text-align:left}td.n,th.n{text-align:right}\
.wide{overflow-x:auto}figure{margin:1rem 0}svg{max-width:100%;height:auto;border-radius:6px}";

/// A page in the making.
pub(super) struct Page {
    text: String,
}

impl Page {
    pub(super) fn new(title: &str) -> Page {
        let title = xml_text(title);
        Page {
            text: format!(
                "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
                 <title>{title}</title><style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n"
            ),
        }
    }

    /// A heading, a sentence, and the command that printed what follows.
    pub(super) fn part(&mut self, title: &str, about: &str, command: &str) {
        // Nothing can go wrong in writing to a string, here and below.
        let _ = writeln!(
            self.text,
            "<h2>{}</h2>\n<p>{}</p>\n<p><code>{}</code></p>",
            xml_text(title),
            xml_text(about),
            xml_text(command)
        );
    }

    /// A drawing in SVG.
    pub(super) fn picture(&mut self, svg: &str) {
        let _ = writeln!(self.text, "<figure>{svg}</figure>");
    }

    /// Single values as one table, and a table for each list of objects.
    pub(super) fn value(&mut self, value: &Value) {
        let Value::Object(fields) = value else { return };
        let mut single = Vec::new();
        let mut lists = Vec::new();
        for (name, value) in fields {
            collect(name, value, &mut single, &mut lists);
        }
        if !single.is_empty() {
            self.text.push_str("<div class=\"wide\"><table>\n");
            for (name, value) in single {
                let _ = writeln!(self.text, "<tr><th>{}</th><td>{}</td></tr>", xml_text(&name), shown(value));
            }
            self.text.push_str("</table></div>\n");
        }
        for (name, rows) in lists {
            let _ = writeln!(self.text, "<h3>{}</h3>", xml_text(&name));
            self.rows(rows);
        }
    }

    fn rows(&mut self, rows: &[Value]) {
        let mut names: Vec<&String> = Vec::new();
        for fields in rows.iter().filter_map(Value::as_object) {
            for (name, value) in fields {
                if !value.is_object() && !value.is_array() && !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        self.text.push_str("<div class=\"wide\"><table>\n<tr>");
        for name in &names {
            let _ = write!(self.text, "<th>{}</th>", xml_text(name));
        }
        self.text.push_str("</tr>\n");
        for row in rows {
            self.text.push_str("<tr>");
            for name in &names {
                self.text.push_str(&cell(row.get(name.as_str()).unwrap_or(&Value::Null)));
            }
            self.text.push_str("</tr>\n");
        }
        self.text.push_str("</table></div>\n");
    }

    /// The whole page.
    pub(super) fn end(mut self, time: &str) -> String {
        let _ = writeln!(
            self.text,
            "<p>Measured in {} by crayon {}.</p>\n</body></html>",
            xml_text(time),
            env!("CARGO_PKG_VERSION")
        );
        self.text
    }
}

/// Sorts a value into single ones and lists of objects; objects are looked into, other lists are words in a row.
fn collect<'v>(
    name: &str,
    value: &'v Value,
    single: &mut Vec<(String, &'v Value)>,
    lists: &mut Vec<(String, &'v [Value])>,
) {
    match value {
        Value::Null => {}
        Value::Object(fields) => {
            fields
                .iter()
                .for_each(|(inner, value)| collect(&format!("{name}: {inner}"), value, single, lists));
        }
        Value::Array(rows) if rows.first().is_some_and(Value::is_object) => {
            lists.push((name.to_owned(), rows))
        }
        value => single.push((name.to_owned(), value)),
    }
}

fn cell(value: &Value) -> String {
    let class = if value.is_number() { " class=\"n\"" } else { "" };
    format!("<td{class}>{}</td>", shown(value))
}

/// A value as the page writes it.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Number(number) => match number.as_f64() {
            Some(x) if number.is_f64() && x.abs() >= 100.0 => format!("{x:.0}"),
            Some(x) if number.is_f64() => format!("{x:.3}"),
            _ => number.to_string(),
        },
        Value::String(text) => xml_text(text),
        Value::Array(values) => values.iter().map(shown).collect::<Vec<_>>().join(", "),
        other => xml_text(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lists_of_objects_are_tables_and_names_are_text() {
        let mut page = Page::new("a < b");
        page.value(&json!({"x": 1.5, "limit": {"y": "<script>"}, "rows": [{"a": 1}, {"a": 2, "b": "c"}], "none": null}));
        let text = page.end("1 s");
        assert!(text.contains("<title>a &lt; b</title>"));
        assert!(text.contains("<tr><th>x</th><td>1.500</td></tr>"));
        assert!(text.contains("<th>limit: y</th><td>&lt;script&gt;</td>") && !text.contains("<script>"));
        assert!(text.contains("<h3>rows</h3>") && text.contains("<tr><th>a</th><th>b</th></tr>"));
        assert!(text.contains("<tr><td class=\"n\">1</td><td></td></tr>") && !text.contains("none"));
    }
}
