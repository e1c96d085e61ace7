//! What `ask`, `chat`, `serve` and measurements share on the way from arguments to an answer: how arguments become requests
//! and routes, and how the events of an answer are printed. The answering itself is `crayon-answer`'s.

mod account;
mod customize;
mod folders;
mod paper;
mod routing;
mod shown;
mod times;
mod tried;

pub(crate) use account::Account;
pub(crate) use customize::{
    Customized, PoolRequest, Scores, bars, check_pool, customize, first_examples, left, score, told,
};
pub(crate) use folders::{CACHE_BYTES, cache_folder, sessions_folder, thresholds_folder};
pub(crate) use routing::{SERVER_KEY, calibrated, open as open_server, remote, route, routing};
pub(crate) use shown::{Shown, explain, note, notes};
pub(crate) use times::Times;
pub(crate) use tried::{TriedRow, rows, table};
