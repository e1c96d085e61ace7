//! Where models come from and where they are kept, from the environment.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crayon_net::{RetryPolicy, address, forbidden_by, is_on};

use crate::error::HubError;

/// The public hub.
const PUBLIC: &str = "https://huggingface.co";
/// The variable by which programs of the hub keep away from it; servers of other kinds are not its business.
const HUB_OFFLINE: &str = "HF_HUB_OFFLINE";

/// Settings of a [`crate::Hub`].
#[derive(Clone, Debug)]
pub struct Settings {
    /// Address of the hub: `HF_ENDPOINT`, else the public one. No slash at the end.
    pub endpoint: String,
    /// Who asks.
    pub token: Option<Token>,
    /// Folder of the models: `CRAYON_HOME/models`, else the system's place for a user's data.
    pub cache: PathBuf,
    /// Name of the setting that forbids downloads, if one does: `CRAYON_OFFLINE`, else `HF_HUB_OFFLINE`.
    pub offline: Option<&'static str>,
    /// How long to bear with the hub. Its tries are those that bring nothing.
    pub retry: RetryPolicy,
}

/// An access token. `Debug` shows where it came from, never the token.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    value: String,
    /// Variable or file it came from, for messages.
    pub source: String,
}

impl Token {
    /// A token from `source`, a variable or file named in messages.
    ///
    /// # Errors
    /// [`HubError::Setting`] if it has characters that no token has.
    pub fn new(value: &str, source: &str) -> Result<Token, HubError> {
        let value = value.trim();
        if value.is_empty() || !value.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(HubError::Setting { variable: source.to_owned(), what: "is not a token" });
        }
        Ok(Token { value: value.to_owned(), source: source.to_owned() })
    }

    /// For the header only.
    pub(crate) fn value(&self) -> &str {
        &self.value
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token(from {})", self.source)
    }
}

impl Settings {
    /// Settings from the environment of the process.
    ///
    /// # Errors
    /// [`HubError::Setting`] if a variable cannot be used, or none says where the user's files are.
    pub fn from_env() -> Result<Settings, HubError> {
        Settings::from_lookup(|name| std::env::var_os(name)?.into_string().ok())
    }

    /// Settings from `lookup`, which gives the value of an environment variable. Empty values count as absent.
    ///
    /// # Errors
    /// As [`Settings::from_env`].
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Settings, HubError> {
        let get = |name: &str| lookup(name).filter(|value| !value.trim().is_empty());
        Ok(Settings {
            endpoint: endpoint(get("HF_ENDPOINT"))?,
            token: token(&get)?,
            cache: cache(&get)?,
            offline: forbidden_by(&lookup).or(is_on(get(HUB_OFFLINE).as_deref()).then_some(HUB_OFFLINE)),
            retry: RetryPolicy {
                // A download takes as long as it takes.
                budget: Duration::MAX,
                silence: Duration::from_secs(20),
                connecting: Duration::from_secs(20),
                tries: 6,
                backoff: Duration::from_secs(1),
                longest_pause: Duration::from_secs(600),
            },
        })
    }
}

fn endpoint(value: Option<String>) -> Result<String, HubError> {
    let Some(value) = value else { return Ok(PUBLIC.to_owned()) };
    let url = address::parse(&value).map_err(|_| HubError::Setting {
        variable: "HF_ENDPOINT".to_owned(),
        what: "is not an address like https://hub.example",
    })?;
    Ok(address::shown(&url))
}

/// The variables and files in which other programs of the hub keep a token, in their order.
fn token(get: &impl Fn(&str) -> Option<String>) -> Result<Option<Token>, HubError> {
    for variable in ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"] {
        if let Some(value) = get(variable) {
            return Token::new(&value, variable).map(Some);
        }
    }
    let file = get("HF_TOKEN_PATH")
        .map(PathBuf::from)
        .or_else(|| get("HF_HOME").map(|home| Path::new(&home).join("token")))
        .or_else(|| get("XDG_CACHE_HOME").map(|cache| Path::new(&cache).join("huggingface/token")))
        .or_else(|| home(get).map(|home| home.join(".cache/huggingface/token")));
    match file {
        // A missing or empty file is the usual state of someone who never signed in.
        Some(path) => match std::fs::read_to_string(&path) {
            Ok(text) if !text.trim().is_empty() => Token::new(&text, &path.display().to_string()).map(Some),
            _ => Ok(None),
        },
        None => Ok(None),
    }
}

fn cache(get: &impl Fn(&str) -> Option<String>) -> Result<PathBuf, HubError> {
    if let Some(home) = get("CRAYON_HOME") {
        return Ok(Path::new(&home).join("models"));
    }
    let data = get("XDG_DATA_HOME").map(PathBuf::from).or_else(|| {
        if cfg!(windows) {
            get("LOCALAPPDATA").map(PathBuf::from)
        } else if cfg!(target_os = "macos") {
            home(get).map(|home| home.join("Library/Application Support"))
        } else {
            home(get).map(|home| home.join(".local/share"))
        }
    });
    data.map(|data| data.join("crayon").join("models")).ok_or_else(|| HubError::Setting {
        variable: "CRAYON_HOME".to_owned(),
        what: "is not set, and the user has no home folder to keep models in",
    })
}

fn home(get: &impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    get(if cfg!(windows) { "USERPROFILE" } else { "HOME" }).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crayon_errors::Explain as _;

    fn settings(variables: &[(&str, &str)]) -> Result<Settings, HubError> {
        Settings::from_lookup(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn crayon_home_goes_before_the_users_data_folder() {
        let here = settings(&[("CRAYON_HOME", "h"), ("XDG_DATA_HOME", "x"), ("HOME", "u")]).unwrap();
        assert_eq!(here.cache, Path::new("h").join("models"));
        let here = settings(&[("XDG_DATA_HOME", "x"), ("HOME", "u")]).unwrap();
        assert_eq!(here.cache, Path::new("x").join("crayon").join("models"));
        assert!(settings(&[]).unwrap_err().hint().unwrap().contains("CRAYON_HOME"));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_home_folder_is_the_last_resort() {
        let here = settings(&[("HOME", "u"), ("CRAYON_HOME", " ")]).unwrap();
        assert_eq!(here.cache, Path::new("u/.local/share/crayon/models"));
    }

    #[test]
    fn tokens_come_from_variables_then_files_and_stay_secret() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "hf_file\n").unwrap();
        let path = path.to_str().unwrap();
        let from_file = settings(&[("CRAYON_HOME", "h"), ("HF_TOKEN_PATH", path)]).unwrap();
        assert_eq!(from_file.token.as_ref().unwrap().value(), "hf_file");
        let from_home =
            settings(&[("CRAYON_HOME", "h"), ("HF_HOME", folder.path().to_str().unwrap())]).unwrap();
        assert_eq!(from_home.token.as_ref().unwrap().value(), "hf_file");
        let both = [("CRAYON_HOME", "h"), ("HF_TOKEN_PATH", path), ("HUGGING_FACE_HUB_TOKEN", "hf_variable")];
        let from_variable = settings(&both).unwrap();
        assert_eq!(from_variable.token.as_ref().unwrap().value(), "hf_variable");
        assert!(!format!("{from_variable:?}").contains("hf_variable"));
        assert!(settings(&[("CRAYON_HOME", "h"), ("HF_TOKEN", "a\r\nX: b")]).is_err());
    }

    #[test]
    fn offline_and_endpoint() {
        assert_eq!(
            settings(&[("CRAYON_HOME", "h"), ("HF_HUB_OFFLINE", "1")]).unwrap().offline,
            Some("HF_HUB_OFFLINE")
        );
        assert_eq!(
            settings(&[("CRAYON_HOME", "h"), ("CRAYON_OFFLINE", "TRUE")]).unwrap().offline,
            Some("CRAYON_OFFLINE")
        );
        assert_eq!(settings(&[("CRAYON_HOME", "h"), ("CRAYON_OFFLINE", "0")]).unwrap().offline, None);
        let mirror = settings(&[("CRAYON_HOME", "h"), ("HF_ENDPOINT", "http://mirror:8080/hf/")]).unwrap();
        assert_eq!(mirror.endpoint, "http://mirror:8080/hf");
        for wrong in ["mirror", "ftp://mirror", "https://", "https://a b", "https://user:word@mirror"] {
            assert!(settings(&[("CRAYON_HOME", "h"), ("HF_ENDPOINT", wrong)]).is_err(), "{wrong}");
        }
    }
}
