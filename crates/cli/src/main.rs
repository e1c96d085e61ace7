//! The binary `crayon`: arguments in, exit code out.
//!
//! Reading order: `args` (what can be asked for), `commands` (one file each), `output` (the only place that
//! prints), `failure` (which exit code an error gets). Nothing here computes: models are opened and run by
//! `crayon-engine`, measured by `crayon-eval`, downloaded by `crayon-hub`.

mod answering;
mod args;
mod clip;
mod commands;
mod drawings;
mod failure;
mod input;
mod interrupt;
mod itself;
mod model;
mod output;
mod progress;
mod show;
mod spelling;
mod typing;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Args;
use crate::output::Output;

/// Exit codes: 0 done, 1 a fault, 2 the user's mistake, 130 stopped by Ctrl-C.
fn main() -> ExitCode {
    let args = match Args::try_parse_from(args::as_meant(std::env::args_os().collect())) {
        Ok(args) => args,
        Err(error) => return failure::arguments(&error),
    };
    let output = Output::new(&args.global);
    match commands::run(&args.command, &output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::report(&error, &output),
    }
}
