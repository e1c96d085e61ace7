//! Where a collection is: `qdrant://HOST[:PORT][/COLLECTION]`, or `qdrants://` for a connection that nobody else can read.

use std::fmt;
use std::str::FromStr;

use crayon_net::{Url, address};

/// Qdrant's port for gRPC.
const PORT: u16 = 6334;
/// The collection where none is named.
const COLLECTION: &str = "pictures";

/// A server and the name of a collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteAddress {
    /// The server, as http or https.
    pub(super) url: Url,
    pub(super) collection: String,
}

impl FromStr for RemoteAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<RemoteAddress, String> {
        let refused = |what: &str| format!("{text:?} {what}; write it as qdrant://HOST:6334/COLLECTION");
        let (scheme, rest) = text.trim().split_once("://").unwrap_or_default();
        let scheme = match scheme {
            "qdrant" => "http",
            "qdrants" => "https",
            _ => return Err(refused("does not begin with qdrant:// or qdrants://")),
        };
        let mut url = address::parse(&format!("{scheme}://{rest}")).map_err(refused)?;
        let collection = match url.path().trim_matches('/') {
            "" => COLLECTION,
            name => name,
        };
        let collection = collection.to_owned();
        if !collection.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte)) {
            return Err(refused(
                "names a collection with characters other than letters, figures, _, - and .",
            ));
        }
        url.set_path("");
        // A port that is the scheme's own was meant, too: the crate forgets that it was written.
        let authority = rest.split('/').next().unwrap_or_default();
        let written = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        if url.port().is_none() && !written {
            url.set_port(Some(PORT)).map_err(|()| refused("is not an address"))?;
        }
        Ok(RemoteAddress { url, collection })
    }
}

impl fmt::Display for RemoteAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.url.scheme() == "https" { "qdrants" } else { "qdrant" };
        write!(out, "{scheme}://{}/{}", address::host(&self.url), self.collection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown() {
        for (text, shown) in [
            ("qdrant://localhost", "qdrant://localhost:6334/pictures"),
            ("qdrant://10.0.0.7:7000/holidays", "qdrant://10.0.0.7:7000/holidays"),
            ("qdrants://cloud.example:443/a-b_c.d/", "qdrants://cloud.example/a-b_c.d"),
            ("qdrant://[::1]/x", "qdrant://[::1]:6334/x"),
        ] {
            assert_eq!(
                text.parse::<RemoteAddress>().map(|address| address.to_string()).as_deref(),
                Ok(shown)
            );
        }
        for text in [
            "localhost:6334",
            "http://localhost",
            "qdrant://",
            "qdrant://a/b/c",
            "qdrant://key@a/b",
            "qdrant://a/b?c",
        ] {
            assert!(text.parse::<RemoteAddress>().is_err(), "{text}");
        }
    }
}
