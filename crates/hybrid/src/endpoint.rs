//! The address of a server.

use crayon_net::{Url, address};

use crate::HybridError;

/// Where a server is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    url: Url,
    host: String,
}

impl Endpoint {
    /// From what a user gives: `http://127.0.0.1:8080`, `https://api.example/v1`, or the whole address up to
    /// `/chat/completions`. Without a path it is `/v1`, as with most servers.
    ///
    /// # Errors
    /// [`HybridError::Endpoint`] if it is not an http or https address, or holds a name, a password or a query: keys do
    /// not belong into addresses, which are shown.
    pub fn parse(text: &str) -> Result<Endpoint, HybridError> {
        let url = address::parse(text).map_err(|what| HybridError::Endpoint { what })?;
        let path = match url.path() {
            "/" => "/v1/chat/completions".to_owned(),
            path if path.ends_with("chat/completions") => path.to_owned(),
            path => format!("{path}/chat/completions"),
        };
        Ok(Endpoint::at(url, &path))
    }

    /// The address of a server up to `/v1`, which stands for an empty path.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_base(text: &str) -> Result<Endpoint, HybridError> {
        let url = address::parse(text).map_err(|what| HybridError::Endpoint { what })?;
        let path = if url.path() == "/" { "/v1".to_owned() } else { url.path().to_owned() };
        Ok(Endpoint::at(url, &path))
    }

    /// The address of a pool: `https://pools.example/v1/pools/NAME`, or up to `/v1` where the server offers one pool. Returns
    /// the address up to `/v1` and the name, if there is one.
    ///
    /// # Errors
    /// [`HybridError::PoolAddress`], for the same reasons as [`parse`](Self::parse).
    pub fn parse_pool(text: &str) -> Result<(Endpoint, Option<String>), HybridError> {
        let url = address::parse(text).map_err(|what| HybridError::PoolAddress { what })?;
        let path = url.path().to_owned();
        let (path, name) = match path.rsplit_once("/pools/") {
            _ if path == "/" => ("/v1", None),
            Some((_, name)) if name.contains(['/', '%']) => {
                return Err(HybridError::PoolAddress { what: "does not end with the name of a pool" });
            }
            Some((path, name)) => (path, Some(name.to_owned())),
            None => (path.trim_end_matches("/pools"), None),
        };
        Ok((Endpoint::at(url, path), name))
    }

    fn at(mut url: Url, path: &str) -> Endpoint {
        url.set_path(path);
        Endpoint { host: address::host(&url), url }
    }

    /// The whole address.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// An address under this one, of parts that are encoded where they have to be.
    pub(crate) fn under(&self, parts: &[&str]) -> Url {
        let mut url = self.url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(parts);
        }
        url
    }

    /// An address beside this one's last part, which is a version.
    pub(crate) fn beside_version(&self, part: &str) -> Url {
        let mut url = self.url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().pop().push(part);
        }
        url
    }

    /// Host, and port where it is not the usual one, for messages.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether it is on this device.
    pub fn is_loopback(&self) -> bool {
        address::is_loopback(&self.url)
    }

    /// Whether what is sent can be read on its way: plain http to another device.
    pub fn is_readable_by_others(&self) -> bool {
        self.url.scheme() == "http" && !self.is_loopback()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crayon_errors::Explain as _;

    #[test]
    fn addresses_are_completed() {
        let check = |text: &str, url: &str| assert_eq!(Endpoint::parse(text).unwrap().url().as_str(), url);
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
    fn a_pool_has_a_name_unless_it_is_the_only_one() {
        let check = |text: &str, url: &str, name: Option<&str>| {
            let (endpoint, found) = Endpoint::parse_pool(text).unwrap();
            assert_eq!((endpoint.url().as_str(), found.as_deref()), (url, name), "{text}");
        };
        check("http://127.0.0.1:8080", "http://127.0.0.1:8080/v1", None);
        check("http://a.example/v1/", "http://a.example/v1", None);
        check("http://a.example/v1/pools", "http://a.example/v1", None);
        check("https://a.example/x/v1/pools/mine", "https://a.example/x/v1", Some("mine"));
        for wrong in ["pool", "http://", "https://u:p@a", "http://a/v1/pools/x/y", "http://a/v1/pools/%2e"] {
            assert!(Endpoint::parse_pool(wrong).unwrap_err().hint().unwrap().contains("pool"), "{wrong}");
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
