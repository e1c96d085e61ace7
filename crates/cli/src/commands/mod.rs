//! One file per command.

mod ask;
mod bench;
mod bench_serve;
mod chat;
mod convert;
mod customize;
mod demo;
mod doctor;
mod embed;
mod eval;
mod eval_customize;
mod eval_images;
#[cfg(feature = "train")]
mod eval_quantize;
#[cfg(not(feature = "train"))]
#[path = "no_eval_quantize.rs"]
mod eval_quantize;
mod eval_routing;
mod framing;
mod images;
mod long_texts;
mod man;
mod models;
mod models_clip;
mod pool;
mod pool_shown;
#[cfg(feature = "train")]
mod pool_train;
#[cfg(not(feature = "train"))]
#[path = "no_training.rs"]
mod pool_train;
mod pull;
mod push;
#[cfg(feature = "train")]
mod quantize;
#[cfg(not(feature = "train"))]
#[path = "no_quantizing.rs"]
mod quantize;
mod recommended;
mod report;
mod route;
mod serve;
mod taken;

use std::ops::ControlFlow;

use clap::CommandFactory;
use crayon_eval::EvalError;

use crate::args::{Args, Command};
use crate::failure::Result;
use crate::interrupt;
use crate::output::Output;
use crate::progress::Counting;

/// Runs one command.
pub(crate) fn run(command: &Command, output: &Output) -> Result {
    match command {
        Command::Demo(args) => demo::run(args, output),
        Command::Ask(args) => ask::run(args, output),
        Command::Chat(args) => chat::run(args, output),
        Command::Route(command) => route::run(command, output),
        Command::Serve(args) => serve::run(args, output),
        Command::Pull(args) => pull::run(args, output),
        Command::Models(args) => models::run(args, output),
        Command::Customize(args) => customize::run(args, output),
        Command::Push(args) => push::run(args, output),
        Command::Pool(args) => pool::run(args, output),
        Command::Images(args) => images::run(args, output),
        Command::Embed(args) => embed::run(args, output),
        Command::Convert(args) => convert::run(args, output),
        Command::Quantize(args) => quantize::run(args, output),
        Command::Eval(args) => eval::run(args, output),
        Command::Bench(args) => bench::run(args, output),
        Command::Report(args) => report::run(args, output),
        Command::Doctor(args) => doctor::run(args, output),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Args::command(), "crayon", &mut script);
            Ok(output.piece(&String::from_utf8_lossy(&script))?)
        }
        Command::Man { output: folder } => man::run(folder, output),
    }
}

/// Runs a measurement with a bar of `unit`s; Ctrl-C stops it.
fn watched<T>(
    unit: &'static str,
    output: &Output,
    measure: impl FnOnce(&mut dyn FnMut(usize, usize) -> ControlFlow<()>) -> Result<T, EvalError>,
) -> Result<T, EvalError> {
    interrupt::watch();
    let mut bar = Counting::new("measuring", unit, output);
    let result = measure(&mut |done, total| {
        bar.at(done, total);
        interrupt::flow()
    });
    bar.finish();
    result
}
