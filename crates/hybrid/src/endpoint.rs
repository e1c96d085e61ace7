//! The address of a server.

use crate::HybridError;

/// Where chats are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    url: String,
    host: String,
}

impl Endpoint {
    /// From what a user gives: `http://127.0.0.1:8080`, `https://api.example/v1`, or the whole address up to
    /// `/chat/completions`. Without a path it is `/v1`, as with most servers.
    ///
    /// # Errors
    /// [`HybridError::Endpoint`] if it is no http or https address, or holds a name, a password or a query: keys do
    /// not belong into addresses, which are shown.
    pub fn parse(text: &str) -> Result<Endpoint, HybridError> {
        let wrong = |what| HybridError::Endpoint { what };
        let text = text.trim().trim_end_matches('/');
        let rest = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"))
            .ok_or_else(|| wrong("does not begin with http:// or https://"))?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        if host.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(wrong("is not an address"));
        }
        if text.contains(['@', '?', '#']) {
            return Err(wrong("holds a name, a password or a query"));
        }
        let url = match path {
            "" => format!("{text}/v1/chat/completions"),
            path if path.ends_with("chat/completions") => text.to_owned(),
            _ => format!("{text}/chat/completions"),
        };
        Ok(Endpoint { url, host: host.to_ascii_lowercase() })
    }

    /// The whole address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Host and port, for messages.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether it is on this device.
    pub fn is_loopback(&self) -> bool {
        let name = match self.host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => self.host.as_str(),
        };
        let name = name.trim_start_matches('[').trim_end_matches(']');
        name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    /// Whether what is sent can be read on its way: plain http to another device.
    pub fn is_readable_by_others(&self) -> bool {
        self.url.starts_with("http://") && !self.is_loopback()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_completed() {
        let check = |text: &str, url: &str| assert_eq!(Endpoint::parse(text).unwrap().url(), url);
        check("http://127.0.0.1:8080", "http://127.0.0.1:8080/v1/chat/completions");
        check("https://api.example/v1/", "https://api.example/v1/chat/completions");
        check("https://a.example/x/v1/chat/completions", "https://a.example/x/v1/chat/completions");
        for wrong in
            ["api.example", "ftp://a", "http://", "https://u:p@a", "https://a/v1?key=1", "http://a b"]
        {
            let error = Endpoint::parse(wrong).unwrap_err();
            assert!(error.hint().is_some() && !error.to_string().contains("u:p"), "{wrong}");
        }
    }

    #[test]
    fn what_others_can_read_is_known() {
        let readable = |text: &str| Endpoint::parse(text).unwrap().is_readable_by_others();
        assert!(readable("http://10.0.0.2:8000") && readable("http://127.0.0.1.example.org"));
        assert!(
            !readable("http://localhost:1") && !readable("http://[::1]:1") && !readable("https://a.example")
        );
    }
}
