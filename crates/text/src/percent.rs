//! Python's `"%s of %s" % (a, b)` in templates. The template engine's `%` divides numbers only, but its filter `format`
//! writes what Python writes, so that the one is spelled as the other before a template is compiled.

/// `source` with every `"text" % value` of its tags as `"text"|format(value)`; lines keep their numbers.
///
/// Only a string that stands in the template itself is seen to be one: of a variable in front of `%` nothing is known, and
/// it stays a number to be divided.
pub(crate) fn as_filters(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(open) = next_tag(rest) {
        let (before, tag) = rest.split_at(open);
        out.push_str(before);
        rest = tag;
        if tag.starts_with("{#") {
            let Some(end) = tag.find("#}").map(|at| at + 2) else { break };
            out.push_str(&tag[..end]);
            rest = &tag[end..];
            continue;
        }
        let close = if tag.starts_with("{{") { "}}" } else { "%}" };
        // A tag that never ends is an error the engine reports.
        let Some(end) = expression_end(&tag[2..], close).map(|at| at + 2) else { break };
        out.push_str(&tag[..2]);
        expression(&tag[2..end], DEEPEST, &mut out);
        rest = &tag[end..];
        let word = tag[2..end].trim_matches(|c: char| c.is_whitespace() || c == '-' || c == '+');
        if word == "raw" {
            let end = rest.find("endraw").unwrap_or(rest.len());
            out.push_str(&rest[..end]);
            rest = &rest[end..];
        }
    }
    out + rest
}

/// Brackets inside of brackets are followed this deep.
const DEEPEST: usize = 32;

fn next_tag(text: &str) -> Option<usize> {
    text.as_bytes().windows(2).position(|pair| matches!(pair, b"{{" | b"{%" | b"{#"))
}

/// Where `close` stands outside of strings and brackets.
fn expression_end(text: &str, close: &str) -> Option<usize> {
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        // `}}` may end a mapping and the tag at once; the mapping is skipped whole, so what is left ends the tag.
        if rest.starts_with(close) {
            return Some(at);
        }
        at += match rest.as_bytes()[0] {
            b'\'' | b'"' => literal(rest)?,
            b'(' | b'[' | b'{' => bracket(rest)?,
            _ => width(rest),
        };
    }
    None
}

/// Copies an expression, with `|format(...)` for `%` behind strings, inside of brackets too, `deepest` of them.
fn expression(text: &str, deepest: usize, out: &mut String) {
    let mut rest = text;
    while !rest.is_empty() {
        let first = rest.as_bytes()[0];
        let taken = match first {
            b'\'' | b'"' => literal(rest).unwrap_or(rest.len()),
            b'(' | b'[' | b'{' => bracket(rest).unwrap_or(1),
            _ => width(rest),
        };
        let (part, after) = rest.split_at(taken);
        rest = after;
        if matches!(first, b'(' | b'[' | b'{') && taken > 1 && deepest > 0 {
            out.push_str(&part[..1]);
            expression(&part[1..taken - 1], deepest - 1, out);
            out.push_str(&part[taken - 1..]);
            continue;
        }
        out.push_str(part);
        if !matches!(first, b'\'' | b'"') {
            continue;
        }
        let blank = rest.len() - rest.trim_start().len();
        let operand = rest.trim_start().strip_prefix('%');
        let Some((blanks, value)) = operand.and_then(operand_of) else { continue };
        let consumed = blank + 1 + blanks + value.len();
        out.push_str("|format(");
        // The values of a tuple are one argument each; brackets around a single value change nothing.
        let inner = if value.starts_with('(') && bracket(value) == Some(value.len()) {
            &value[1..value.len() - 1]
        } else {
            value
        };
        expression(inner, deepest.saturating_sub(1), out);
        out.push(')');
        out.extend(rest[..blank + 1 + blanks].chars().filter(|c| *c == '\n'));
        rest = &rest[consumed..];
    }
}

/// The blanks in front of a value and the value, with what hangs on it: attributes, subscripts, calls and filters, which
/// bind closer than `%`.
fn operand_of(text: &str) -> Option<(usize, &str)> {
    let value = text.trim_start();
    let blanks = text.len() - value.len();
    let sign = value.len() - value.trim_start_matches(['-', '+']).trim_start().len();
    let mut at = sign;
    at += match value.as_bytes().get(at)? {
        b'\'' | b'"' => literal(&value[at..])?,
        b'(' | b'[' | b'{' => bracket(&value[at..])?,
        _ => name(&value[at..])?,
    };
    loop {
        let rest = &value[at..];
        let skipped = rest.len() - rest.trim_start().len();
        let next = match rest.as_bytes().get(skipped) {
            Some(b'.') => name(&rest[skipped + 1..]).map(|len| len + 1),
            Some(b'[' | b'(') => bracket(&rest[skipped..]),
            Some(b'|') => {
                let inner = &rest[skipped + 1..];
                let blanks = inner.len() - inner.trim_start().len();
                name(inner.trim_start()).map(|len| 1 + blanks + len)
            }
            _ => None,
        };
        match next {
            Some(len) => at += skipped + len,
            None => return Some((blanks, &value[..at])),
        }
    }
}

/// Bytes of the name or number that `text` starts with.
fn name(text: &str) -> Option<usize> {
    let len = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    (len > 0).then_some(len)
}

/// Bytes of the string that `text` starts with, quotes included.
fn literal(text: &str) -> Option<usize> {
    let quote = text.chars().next()?;
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// Bytes of the bracketed part that `text` starts with, brackets included.
fn bracket(text: &str) -> Option<usize> {
    let (mut at, mut depth) = (0, 0usize);
    while at < text.len() {
        let rest = &text[at..];
        match rest.as_bytes()[0] {
            b'\'' | b'"' => {
                at += literal(rest)?;
                continue;
            }
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
        at += width(rest);
    }
    None
}

/// Bytes of the first character.
fn width(text: &str) -> usize {
    text.chars().next().map_or(1, char::len_utf8)
}

#[cfg(test)]
mod tests {
    use super::as_filters;

    #[test]
    fn strings_are_formatted_and_numbers_divided() {
        for (source, expected) in [
            ("{{ '%s' % x }}", "{{ '%s'|format(x) }}"),
            ("{{ '%s-%s' % (a, b.c[0]) + 'x' }}", "{{ '%s-%s'|format(a, b.c[0]) + 'x' }}"),
            ("{{ \"%d\"%x|length }}", "{{ \"%d\"|format(x|length) }}"),
            ("{{ '%s' % f('%%' % y) ~ z }}", "{{ '%s'|format(f('%%'|format(y))) ~ z }}"),
            ("{% set a = '%05d' % -m.n() %}", "{% set a = '%05d'|format(-m.n()) %}"),
            ("{% if x == 'a' %}%{% endif %}", "{% if x == 'a' %}%{% endif %}"),
            ("{% if x == 'a' -%}% b{% endif %}", "{% if x == 'a' -%}% b{% endif %}"),
            ("{% if loop.index0 % 2 == 0 %}", "{% if loop.index0 % 2 == 0 %}"),
            ("'%s' % x {# '%s' % x #}", "'%s' % x {# '%s' % x #}"),
            ("{% raw %}{{ '%s' % x }}{% endraw %}", "{% raw %}{{ '%s' % x }}{% endraw %}"),
            ("{{ {'a': '%s' % x}['a'] }}", "{{ {'a': '%s'|format(x)}['a'] }}"),
            ("{{ '}}' }}{{ '\\'%s' % é }}", "{{ '}}' }}{{ '\\'%s'|format(é) }}"),
            ("{{ 'open", "{{ 'open"),
            ("{{ '%s' % ", "{{ '%s' % "),
            ("{{ (((", "{{ ((("),
            ("{{ )) }}", "{{ )) }}"),
        ] {
            assert_eq!(as_filters(source), expected, "{source}");
        }
    }
}
