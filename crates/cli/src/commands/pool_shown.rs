//! A pool as it is printed, and what every command on one refuses.

use crayon_engine::adapters::Pool;
use serde_json::json;

use crate::args::ModelArgs;
use crate::failure::{Result, mistake};
use crate::show;

/// Pools stand beside the model itself.
pub(super) fn refuse_adapters(args: &ModelArgs) -> Result {
    match args.adapter.is_empty() {
        true => Ok(()),
        false => Err(mistake("a pool is blended beside the model itself", "leave --adapter out")),
    }
}

/// A pool as `--json` prints it.
pub(super) fn described(pool: &Pool) -> serde_json::Value {
    let adapters: Vec<serde_json::Value> = pool
        .members
        .iter()
        .map(|member| {
            json!({
                "name": member.name,
                "examples": member.examples,
                "rank": member.lora.rank(),
                "parameters": member.lora.parameters(),
            })
        })
        .collect();
    json!({
        "adapters": adapters,
        "keys": pool.keys.keys,
        "rank": pool.rank(),
        "temperature": pool.temperature,
        "floor": pool.keys.floor,
        "rest": pool.keys.rest,
        "base": pool.base_name,
        "fingerprint": pool.base,
    })
}

pub(super) fn table(pool: &Pool) -> String {
    let rows: Vec<Vec<String>> = pool
        .members
        .iter()
        .map(|member| {
            let lora = &member.lora;
            vec![
                member.name.clone(),
                show::count(member.examples),
                lora.rank().to_string(),
                show::parameters(lora.parameters()),
            ]
        })
        .collect();
    show::table(&["ADAPTER", "EXAMPLES", "RANK", "PARAMETERS"], &rows)
}
