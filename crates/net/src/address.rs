//! Addresses of servers. They are read by the `url` crate, so that what is checked is what is connected to.

use url::{Host, Url};

/// The address that a person gives, without slashes at its end.
///
/// # Errors
/// What is wrong with it, as the end of a sentence: it is not an http or https address, its path is not written as it
/// would be sent, or it holds a name, a password or a query. Keys do not belong into addresses, which are shown.
pub fn parse(text: &str) -> Result<Url, &'static str> {
    let (_, rest) = text
        .trim()
        .split_once("://")
        .filter(|(scheme, _)| ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)))
        .ok_or("does not begin with http:// or https://")?;
    let text = text.trim().trim_end_matches('/');
    // The crate reads what browsers do: `https:///x` as the host x, a tabulator as nothing, `..` as the way up.
    let url = Url::parse(text)
        .ok()
        .filter(|_| text.bytes().all(|byte| byte.is_ascii_graphic()) && !rest.starts_with(['/', '\\']))
        .ok_or("is not an address")?;
    if has_credentials(&url) || text.contains(['?', '#']) {
        return Err("holds a name, a password or a query");
    }
    let path = rest.find('/').map_or("", |at| &rest[at..]);
    if path.trim_end_matches('/') != url.path().trim_end_matches('/') {
        return Err("is not an address");
    }
    Ok(url)
}

/// Host, with the port where it is not the usual one of the scheme, for messages.
pub fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Whether the host is this device.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Whether scheme, host and port are the same.
pub fn same_origin(one: &Url, other: &Url) -> bool {
    one.origin() == other.origin()
}

/// The address for messages: without its query, which may hold a signature, and without a name or a password.
pub fn shown(url: &Url) -> String {
    let path = url.path().trim_end_matches('/');
    format!("{}://{}{path}", url.scheme(), host(url))
}

/// The address that a redirect leads to (RFC 9110, 10.2.2).
///
/// # Errors
/// What is wrong with it: it is not an http or https address, or would be readable on its way where `from` is not.
pub fn redirected(from: &Url, location: Option<&str>) -> Result<Url, &'static str> {
    let location = location.ok_or("redirects without saying where")?;
    let to = from
        .join(location)
        .ok()
        .filter(|to| matches!(to.scheme(), "http" | "https") && !has_credentials(to))
        .ok_or("redirects to something that is not an address")?;
    match (from.scheme(), to.scheme()) {
        ("https", "http") => Err("redirects from https to http"),
        _ => Ok(to),
    }
}

fn has_credentials(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_gives_is_checked() {
        let check = |text: &str, wanted: Result<&str, &str>| {
            assert_eq!(parse(text).as_ref().map(Url::as_str), wanted.as_ref().map(|url| *url), "{text}");
        };
        check(" https://Hub.example/a/ ", Ok("https://hub.example/a"));
        check("HTTPS://hub.example", Ok("https://hub.example/"));
        check("https://hub.example:443", Ok("https://hub.example/"));
        check("http://127.0.0.1:8080/x", Ok("http://127.0.0.1:8080/x"));
        check("http://[::1]/x", Ok("http://[::1]/x"));
        check("http://xn--schlssel-95a.example", Ok("http://xn--schlssel-95a.example/"));
        for text in ["", "/x", "hub.example", "ftp://hub.example/", "http:hub.example", "file:///etc/passwd"]
        {
            check(text, Err("does not begin with http:// or https://"));
        }
        for text in [
            "http://",
            "https:///x",
            "https://\\x",
            "http://a b",
            "http://a\tb",
            "http://a:99999",
            "http://a/x y",
            "http://a/b/../c",
            "http://a/b/%2e",
            "http://a\\b",
            "http://schlüssel.example",
        ] {
            check(text, Err("is not an address"));
        }
        for text in ["https://u:p@a", "https://hub.example@evil.example/", "https://a/?k=1", "https://a/#x"] {
            check(text, Err("holds a name, a password or a query"));
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let hub = parse("https://hub.example").unwrap();
        let check = |other: &str, wanted: bool| {
            assert_eq!(same_origin(&hub, &Url::parse(other).unwrap()), wanted, "{other}");
        };
        check("https://Hub.example:443/a?b", true);
        check("http://hub.example", false);
        check("https://hub.example:444", false);
        check("https://hub.example@evil.example/", false);
        check("https://hub.example.evil.example", false);
        let with_query = Url::parse("https://u:p@hub.example:8080/a/b?signature=secret#x").unwrap();
        assert_eq!(shown(&with_query), "https://hub.example:8080/a/b");
        assert_eq!(host(&with_query), "hub.example:8080");
    }

    #[test]
    fn locations_are_joined_and_never_leave_https() {
        let from = Url::parse("https://hub.example/a/b").unwrap();
        let check = |location: Option<&str>, wanted: Result<&str, &str>| {
            let to = redirected(&from, location);
            assert_eq!(to.as_ref().map(Url::as_str), wanted.as_ref().map(|url| *url), "{location:?}");
        };
        check(Some("https://cdn.example/x?s=1"), Ok("https://cdn.example/x?s=1"));
        check(Some("//cdn.example/x"), Ok("https://cdn.example/x"));
        check(Some("/other"), Ok("https://hub.example/other"));
        check(Some("c"), Ok("https://hub.example/a/c"));
        check(Some("http://cdn.example/x"), Err("redirects from https to http"));
        for location in ["file:///etc/passwd", "ftp://cdn.example", "https://", "https://u:p@cdn.example"] {
            check(Some(location), Err("redirects to something that is not an address"));
        }
        check(None, Err("redirects without saying where"));
        let open = Url::parse("http://hub.example/a").unwrap();
        assert!(redirected(&open, Some("https://hub.example/a")).is_ok());
    }

    #[test]
    fn this_device_is_known_in_every_spelling() {
        for (text, wanted) in [
            ("http://localhost:1", true),
            ("http://127.0.0.1", true),
            ("http://127.1:80", true),
            ("http://2130706433", true),
            ("https://[::1]:1/x", true),
            ("http://127.0.0.1.example.org", false),
            ("http://localhost.example.org", false),
            ("http://10.0.0.2", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(text).unwrap()), wanted, "{text}");
        }
    }
}
