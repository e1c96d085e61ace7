//! `crayon bench`: speed of a model and of this machine.

use crayon_eval::bench::{self, Bench, GenerateOptions, Scheme, Shape, Subject};
use crayon_kernels::{Pool, limits};
use serde_json::json;

use super::watched;
use crate::args::{BenchArgs, BenchCommand, GenerateArgs, KernelsArgs};
use crate::output::Output;
use crate::{model, show};

/// Runs the command.
pub(crate) fn run(args: &BenchArgs, output: &Output) -> anyhow::Result<()> {
    match &args.what {
        BenchCommand::Generate(args) => generate(args, output),
        BenchCommand::Kernels(args) => kernels(args, output),
    }
}

fn generate(args: &GenerateArgs, output: &Output) -> anyhow::Result<()> {
    let subject = match &args.shape {
        Some(name) => {
            let scheme = Scheme::from_name(args.scheme.as_deref().unwrap_or("q8_0"))?;
            Subject::Shape(Shape::from_name(name)?, scheme)
        }
        None => Subject::Model(model::resolve(&args.model.model)?),
    };
    let options = GenerateOptions {
        prompt: args.prompt as usize,
        tokens: args.tokens as usize,
        context: args.context.map(|tokens| tokens as usize),
        runs: args.runs as usize,
        settings: model::settings(&args.model.run),
    };
    let bench = watched("runs", output, |progress| bench::generate(&subject, &options, progress))?;
    if output.json {
        return output.object(&bench);
    }
    let Bench { limit, spread, .. } = &bench;
    let range = |[low, high]: [f64; 2]| format!("{low:.1} to {high:.1}");
    let mut rows = vec![
        ("model", format!("{} {}, {}", bench.model, bench.scheme, show::bytes(bench.weight_bytes as u64))),
        (
            "run",
            format!(
                "{} tokens read, {} written, {} threads, median of {}",
                show::count(bench.prompt),
                show::count(bench.tokens),
                bench.threads,
                bench.runs,
            ),
        ),
        ("prefill", format!("{:.1} tokens a second ({})", bench.prefill_tok_s, range(spread.prefill_tok_s))),
        (
            "",
            format!(
                "{:.0} % of this machine's {:.0} Gop/s in {}",
                100.0 * limit.prefill_share,
                if limit.prefill_unit == "int8" { limit.int8_gops } else { limit.f32_gflops },
                limit.prefill_unit,
            ),
        ),
        ("decode", format!("{:.1} tokens a second ({})", bench.decode_tok_s, range(spread.decode_tok_s))),
        (
            "",
            format!(
                "{:.0} % of this machine's {:.1} GB/s of memory",
                100.0 * limit.decode_share,
                limit.bandwidth_gb_s,
            ),
        ),
        ("first token", format!("{:.1} ms ({})", bench.ttft_ms, range(spread.ttft_ms))),
        ("load", format!("{:.1} ms", bench.load_ms)),
        (
            "keys and values",
            format!("{} for {} tokens", show::bytes(bench.kv_bytes as u64), show::count(bench.context)),
        ),
    ];
    if let Some(peak) = bench.peak_rss_mb {
        rows.push(("peak memory", format!("{peak:.1} MB")));
    }
    for (name, value) in rows {
        output.line(&format!("{name:<16} {value}"))?;
    }
    Ok(())
}

fn kernels(args: &KernelsArgs, output: &Output) -> anyhow::Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let pool = Pool::new(args.threads.map_or(cores, usize::from));
    let features = limits::features();
    let limits = limits::measure(&pool);
    let round = |value: f64| (value * 10.0).round() / 10.0;
    if output.json {
        let kernels: serde_json::Map<String, serde_json::Value> = features
            .kernels
            .iter()
            .map(|(format, kernel)| (format.name().to_owned(), json!(kernel)))
            .collect();
        return output.object(&json!({
            "processor": features.processor,
            "variant": features.variant,
            "threads": pool.threads(),
            "kernels": kernels,
            "limit": {
                "bandwidth_gb_s": round(limits.bandwidth_gb_s),
                "int8_gops": round(limits.int8_gops),
                "f32_gflops": round(limits.f32_gflops),
            },
        }));
    }
    let none = "nothing beyond the base set".to_owned();
    let processor = if features.processor.is_empty() { none } else { features.processor.join(" ") };
    output.line(&format!("processor   {processor}"))?;
    output.line(&format!("variant     {} on {} threads", features.variant, pool.threads()))?;
    output.line(&format!("memory      {:.1} GB/s read", limits.bandwidth_gb_s))?;
    output.line(&format!("int8        {:.1} Gop/s", limits.int8_gops))?;
    output.line(&format!("f32         {:.1} Gflop/s", limits.f32_gflops))?;
    output.line("")?;
    let rows: Vec<Vec<String>> = features
        .kernels
        .iter()
        .map(|(format, kernel)| vec![format.name().to_owned(), (*kernel).to_owned()])
        .collect();
    Ok(output.line(&show::table(&["WEIGHTS", "KERNEL"], &rows))?)
}
