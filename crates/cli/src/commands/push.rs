//! `push`: an adapter made here, offered by a server of many adapters.

use std::path::Path;
use std::time::Duration;

use crayon_hybrid::{Cluster, Endpoint, Event, Key, RetryPolicy};
use serde_json::{Value, json};

use crate::answering::SERVER_KEY;
use crate::args::PushArgs;
use crate::failure::{Result, mistake};
use crate::interrupt;
use crate::output::Output;

pub(super) fn run(args: &PushArgs, output: &Output) -> Result {
    let endpoint = Endpoint::parse_base(&args.server)?;
    let name = name(args)?;
    let path = match args.remove {
        true => None,
        false => {
            check(&args.adapter)?;
            Some(path(args, &endpoint)?)
        }
    };
    let key = Key::find(args.server_key_file.as_deref(), SERVER_KEY)?;
    if key.is_some() && endpoint.is_readable_by_others() {
        output.note(&format!(
            "{} is asked over plain http: others on the way can read the key",
            endpoint.host()
        ));
    }
    let policy = RetryPolicy::within(Duration::from_secs(u64::from(args.server_timeout)));
    let cluster = Cluster::new(endpoint, key, policy);
    interrupt::watch();
    let mut on_event = |event| {
        if let Event::Retry { reason, .. } = event {
            output.note(&format!("{reason}; it is tried again"));
        }
        interrupt::flow()
    };
    let there = cluster.models(&mut on_event)?.contains(&name);
    let host = cluster.endpoint().host().to_owned();
    let Some(path) = path else {
        if !there {
            return Err(mistake(
                format!("{host} has no adapter {name}"),
                "--name says what it is called there",
            ));
        }
        let software = cluster.unload(&name, &mut on_event)?.name();
        return told(
            output,
            json!({"name": name, "server": host, "software": software, "removed": true}),
            &format!("{host} has forgotten {name}"),
        );
    };
    if there && !args.replace {
        return Err(mistake(
            format!("{host} has an adapter {name} already"),
            "--replace takes its place, --name gives another name",
        ));
    }
    if there {
        cluster.unload(&name, &mut on_event)?;
    }
    let software = cluster.load(&name, &path, &mut on_event)?.name();
    // Whether it counts is seen by what the server offers now.
    if !cluster.models(&mut on_event)?.contains(&name) {
        output.note(&format!("{host} took {name} and does not list it among its models"));
    }
    let done = json!({"name": name, "server": host, "software": software, "path": path, "replaced": there});
    told(output, done, &format!("{host} ({software}) answers through {name}: \"model\": {}", json!(name)))
}

fn told(output: &Output, object: Value, line: &str) -> Result {
    match output.json {
        true => Ok(output.object(&object)?),
        false => Ok(output.line(line)?),
    }
}

/// What it is called there.
fn name(args: &PushArgs) -> Result<String> {
    let folder = || {
        let whole = std::fs::canonicalize(&args.adapter).unwrap_or_else(|_| args.adapter.clone());
        whole.file_name().map(|name| name.to_string_lossy().into_owned())
    };
    let name = args.name.clone().or_else(folder).unwrap_or_default();
    match name.trim().is_empty() || name.chars().any(char::is_control) {
        true => Err(mistake("the adapter has no name", "--name gives it one")),
        false => Ok(name),
    }
}

/// Where the server finds it.
fn path(args: &PushArgs, endpoint: &Endpoint) -> Result<String> {
    match &args.path {
        Some(path) => Ok(path.clone()),
        None if endpoint.is_loopback() => Ok(std::fs::canonicalize(&args.adapter)
            .unwrap_or_else(|_| args.adapter.clone())
            .display()
            .to_string()),
        None => Err(mistake(
            "the server reads the adapter's files itself",
            "copy the folder there, and say with --path where it is on the server's disks",
        )),
    }
}

/// Whether the folder is an adapter that such servers read.
fn check(folder: &Path) -> Result {
    let config = std::fs::read(folder.join("adapter_config.json")).ok();
    let config: Option<Value> = config.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let lora = config.is_some_and(|config| config["peft_type"] == "LORA" && config["r"].as_u64().is_some());
    match lora && folder.join("adapter_model.safetensors").is_file() {
        true => Ok(()),
        false => Err(mistake(
            format!("{} is not a folder with a LoRA adapter", folder.display()),
            "`crayon customize … -o FOLDER` writes one where learning from the examples is best, or their blend",
        )),
    }
}
