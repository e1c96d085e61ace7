//! `crayon bench`: speed of a model and of this machine.

use crayon_engine::PotOptions;
use crayon_eval::bench::{
    self, Bench, BlendBenchOptions, GenerateOptions, PotBenchOptions, Scheme, SearchBenchOptions, Shape,
    Subject,
};
use crayon_kernels::{Threads, limits};
use serde_json::json;

use super::watched;
#[cfg(feature = "train")]
use crate::args::TrainBenchArgs;
use crate::args::{
    BenchArgs, BenchCommand, BlendBenchArgs, ClipBenchArgs, GenerateArgs, KernelsArgs, ModelArgs,
    PotBenchArgs, SearchBenchArgs,
};
use crate::failure::{Result, mistake};
use crate::output::Output;
use crate::{clip, model, show};

/// Runs the command.
pub(crate) fn run(args: &BenchArgs, output: &Output) -> Result {
    match &args.what {
        BenchCommand::Generate(args) => generate(args, output),
        BenchCommand::Kernels(args) => kernels(args, output),
        BenchCommand::Blend(args) => blend(args, output),
        BenchCommand::Pot(args) => pot(args, output),
        BenchCommand::Search(args) => search(args, output),
        BenchCommand::Clip(args) => clip_bench(args, output),
        BenchCommand::Serve(args) => super::bench_serve::run(args, output),
        #[cfg(feature = "train")]
        BenchCommand::Train(args) => train(args, output),
    }
}

#[cfg(feature = "train")]
fn train(args: &TrainBenchArgs, output: &Output) -> Result {
    let own = u32::from(args.answer) + u32::from(args.shared);
    if own >= u32::from(args.tokens) {
        let what = format!("answer and common start are {own} tokens, an example has {}", args.tokens);
        return Err(mistake(what, "leave one token at least between them: raise --tokens"));
    }
    let options = bench::TrainBenchOptions {
        examples: usize::from(args.examples),
        tokens: usize::from(args.tokens),
        answer: usize::from(args.answer),
        shared: usize::from(args.shared),
        rounds: usize::from(args.rounds),
        batch: usize::from(args.batch),
        rank: usize::from(args.rank),
    };
    let subject = shape_or_model(args.shape.as_deref(), args.scheme.as_deref(), &args.model)?;
    let settings = model::settings(&args.model.run);
    let bench = watched("steps", output, |progress| bench::train(&subject, &options, &settings, progress))?;
    if output.json {
        return Ok(output.object(&bench)?);
    }
    let [f32_gflops, int8_gops] = bench.limits;
    let mut rows = vec![
        ("model", format!("{}, {}", bench.model, show::bytes(bench.weight_bytes as u64))),
        (
            "examples",
            format!(
                "{} of {} tokens, {} of them the answer, {} rounds in steps of {}, rank {}, {}",
                show::count(options.examples),
                options.tokens,
                options.answer,
                options.rounds,
                options.batch,
                options.rank,
                show::counted(bench.threads, "thread"),
            ),
        ),
        ("opening", format!("{:.2} s", bench.open_seconds)),
        ("training", format!("{:.2} s, {:.0} tokens a second", bench.seconds, bench.tok_s)),
        (
            "",
            format!(
                "{:.0} Gop/s, {:.0} % of the limit; this machine's are {f32_gflops:.0} in f32 and {int8_gops:.0} in int8",
                bench.gops,
                100.0 * bench.share
            ),
        ),
        ("loss", format!("{:.3} to {:.3} nats a token", bench.loss[0], bench.loss[1])),
    ];
    if let Some(peak) = bench.peak_rss_mb {
        rows.push(("peak memory", format!("{peak:.0} MB, the model's file among it")));
    }
    for (name, value) in rows {
        output.line(&format!("{name:<16} {value}"))?;
    }
    Ok(())
}

fn clip_bench(args: &ClipBenchArgs, output: &Output) -> Result {
    let options = bench::ClipBenchOptions {
        pictures: usize::from(args.pictures),
        texts: usize::from(args.texts),
        tokens: usize::from(args.tokens),
        runs: usize::from(args.runs),
        files: args.files.clone(),
        options: clip::options(&args.run)?,
    };
    let mut made = None;
    let name = match (&args.shape, &args.model) {
        (Some(name), _) => {
            let shape = bench::ClipShape::from_name(name).ok_or_else(|| {
                let known = bench::CLIP_SHAPES.map(|shape| shape.name).join(", ");
                mistake(format!("there is no shape {name:?}"), format!("--shape takes one of {known}"))
            })?;
            made.insert(bench::MadeUpClip::write(&std::env::temp_dir(), shape)?).path().display().to_string()
        }
        (None, Some(model)) => model.clone(),
        (None, None) => clip::default()?.to_owned(),
    };
    let checkpoint = clip::checkpoint(&name)?;
    let bench = watched("runs", output, |progress| bench::clip(&checkpoint, &options, progress))?;
    if output.json {
        return Ok(output.object(&bench)?);
    }
    let mut rows = vec![
        ("model", args.shape.clone().unwrap_or_else(|| bench.model.clone())),
        (
            "run",
            format!(
                "weights {}, {}, median of {}, opened in {:.0} ms",
                bench.weights.unwrap_or("as they are"),
                show::counted(bench.threads, "thread"),
                bench.runs,
                bench.open_ms,
            ),
        ),
        (
            "pictures",
            format!(
                "{:.1} a second, {} together; {:.1} ms for one",
                bench.pictures_s, bench.pictures, bench.picture_ms
            ),
        ),
        (
            "texts",
            format!(
                "{:.1} a second of {} tokens, {} together; {:.1} ms for one",
                bench.texts_s, bench.tokens, bench.texts, bench.text_ms
            ),
        ),
        ("", format!("{:.1} a second that fill the context", bench.full_texts_s)),
    ];
    if let Some([pictures, texts]) = bench.cosine {
        let text = format!("{pictures:.5} for pictures and {texts:.5} for texts, the least, beside f32");
        rows.push(("cosine", text));
    }
    if let Some(files) = &bench.files {
        let mean = files.megapixels / files.files as f64;
        let text = format!(
            "{:.1} a second decoded, {:.1} embedded, too; {} of {mean:.1} megapixels",
            files.decoded_s,
            files.embedded_s,
            show::counted(files.files, "file"),
        );
        rows.push(("files", text));
    }
    if let (Some(peak), Some(resident)) = (bench.peak_rss_mb, bench.resident_mb) {
        rows.push(("memory", format!("{resident:.0} MB, {peak:.0} MB at most, the model's file among it")));
    }
    for (name, value) in rows {
        output.line(&format!("{name:<16} {value}"))?;
    }
    Ok(())
}

fn shape_or_model(shape: Option<&str>, scheme: Option<&str>, args: &ModelArgs) -> Result<Subject> {
    match shape {
        Some(name) => {
            let scheme = Scheme::from_name(scheme.unwrap_or("q8_0"))?;
            Ok(Subject::Shape(Shape::from_name(name)?, scheme))
        }
        None => subject(args),
    }
}

fn generate(args: &GenerateArgs, output: &Output) -> Result {
    let subject = shape_or_model(args.shape.as_deref(), args.scheme.as_deref(), &args.model)?;
    let options = GenerateOptions {
        prompt: args.prompt as usize,
        tokens: args.tokens as usize,
        context: args.context.map(|tokens| tokens as usize),
        runs: args.runs as usize,
        settings: model::settings(&args.model.run),
    };
    let bench = watched("runs", output, |progress| bench::generate(&subject, &options, progress))?;
    if output.json {
        return Ok(output.object(&bench)?);
    }
    let Bench { limit, spread, .. } = &bench;
    let range = |[low, high]: [f64; 2]| format!("{low:.1} to {high:.1}");
    let mut rows = vec![
        ("model", format!("{} {}, {}", bench.model, bench.scheme, show::bytes(bench.weight_bytes as u64))),
        (
            "run",
            format!(
                "{} tokens read, {} written, {}, median of {}",
                show::count(bench.prompt),
                show::count(bench.tokens),
                show::counted(bench.threads, "thread"),
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

/// The model to measure.
fn subject(args: &ModelArgs) -> Result<Subject> {
    match args.adapter.is_empty() {
        true => Ok(Subject::Model(model::resolve(&args.model)?)),
        false => Err(mistake("this measures a model without adapters", "leave --adapter out")),
    }
}

fn blend(args: &BlendBenchArgs, output: &Output) -> Result {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let options = BlendBenchOptions {
        shape: Shape::from_name(&args.shape)?,
        adapters: usize::from(args.adapters),
        rank: usize::from(args.rank),
        runs: usize::from(args.runs),
        threads: args.threads.map_or(cores, usize::from),
    };
    let bench = watched("runs", output, |progress| bench::blend(&options, progress))?;
    if output.json {
        return Ok(output.object(&bench)?);
    }
    let made = format!("{} adapters of rank {} on q and v of {}", bench.adapters, bench.rank, bench.shape);
    let threads = show::counted(bench.threads, "thread");
    output.line(&format!("{:<16} {made}, {threads}, median of {}", "pool", bench.runs))?;
    for row in &bench.forms {
        let size = show::bytes(row.bytes as u64);
        output.line(&format!(
            "{:<16} {:.4} ms, in new memory {:.4} ms, to an adapter of rank {}, {size}",
            row.form, row.millis, row.fresh_millis, row.rank
        ))?;
    }
    Ok(())
}

fn search(args: &SearchBenchArgs, output: &Output) -> Result {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let options = SearchBenchOptions {
        pictures: args.pictures,
        dim: usize::from(args.dim),
        runs: usize::from(args.runs),
        centres: args.centres as usize,
        approximate: args.approximate,
        threads: args.threads.map_or(cores, usize::from),
    };
    let bench = watched("searches", output, |progress| bench::search(&options, progress))?;
    if output.json {
        return Ok(output.object(&bench)?);
    }
    let threads = show::counted(bench.threads, "thread");
    let made = format!("{} vectors of {}", show::count(bench.pictures), bench.dim);
    output.line(&format!("{:<16} {made}, {threads}, median of {}", "index", bench.runs))?;
    let [median, least, most] = bench.millis;
    let speed = bench.bytes as f64 / median / 1e6;
    output.line(&format!("{:<16} {median:.1} ms ({least:.1} to {most:.1}), {speed:.1} GB/s", "search"))?;
    output.line(&format!("{:<16} {:.1} ms in half precision alone", "", bench.half_millis))?;
    output.line(&format!("{:<16} {:.1} % of the exact first ten", "recall", 100.0 * bench.recall))?;
    if let Some(graph) = &bench.approximate {
        let [median, least, most] = graph.millis;
        output
            .line(&format!("{:<16} {median:.2} ms ({least:.2} to {most:.2}), one thread", "approximate"))?;
        output.line(&format!("{:<16} {:.1} % of the exact first ten", "recall", 100.0 * graph.recall))?;
        let made = format!("made in {:.1} s, {}", graph.build_seconds, show::bytes(graph.bytes as u64));
        output.line(&format!("{:<16} {made}", "graph"))?;
    }
    Ok(())
}

fn pot(args: &PotBenchArgs, output: &Output) -> Result {
    let subject = shape_or_model(args.shape.as_deref(), args.scheme.as_deref(), &args.model)?;
    let opened = bench::open(&subject, &model::settings(&args.model.run))?;
    let engine = &opened.engine;
    let window = engine.spec().context;
    let options = PotBenchOptions {
        // Made-up shapes have no tokenizer: any catalyst of the usual length costs the same.
        pot: match engine.tokenizer() {
            Ok(_) => args.long.request().options(engine, None, false, &[])?,
            Err(_) => PotOptions {
                policy: args.long.policy.clone(),
                keep: args.long.keep,
                storage: engine.kv_type(),
                ..PotOptions::new(args.long.request().entries(engine).min(window), (0..13).collect())
            },
        },
        tokens: args.tokens,
        decode: args.decode.map(|tokens| tokens as usize),
        runs: args.runs as usize,
    };
    let bench = watched("steps", output, |progress| bench::pot(engine, &options, progress))?;
    if output.json {
        return Ok(output.object(&bench)?);
    }
    let speed = |value: f64| format!("{value:.1} tokens a second");
    let memory = |mb: Option<f64>| mb.map_or("unknown".to_owned(), |mb| format!("{mb:.1} MB"));
    let kept =
        format!("{}, {} of {} entries kept", bench.policy, show::count(bench.keep), show::count(bench.pot));
    let mut rows = vec![("pot", kept), ("keys and values", show::bytes(bench.kv_bytes as u64))];
    if let Some(shares) = &bench.shares {
        let adds = |rate: f64, what: &str, share: f64| {
            format!("{}, {what} {:.1} % of the time", speed(rate), 100.0 * share)
        };
        rows.push(("prefill", format!("{} without evidence", speed(shares.plain_tok_s))));
        rows.push(("", adds(shares.distill_tok_s, "distillation adds", shares.distill_share)));
        rows.push(("", adds(shares.policy_tok_s, "novelty adds", shares.novelty_share)));
    }
    let (first, last) = (speed(bench.first_tenth_tok_s), speed(bench.last_tenth_tok_s));
    let (early, late) = (memory(bench.rss_first_tenth_mb), memory(bench.rss_end_mb));
    let after = |rate: f64, tokens: usize| format!("{} after {} tokens", speed(rate), show::count(tokens));
    rows.push(("decode", after(bench.decode_at_end_tok_s, bench.tokens)));
    if let Some(rate) = bench.decode_at_pot_tok_s {
        let change = 100.0 * (bench.decode_at_end_tok_s / rate - 1.0);
        rows.push(("", format!("{}, {change:+.1} % since", after(rate, bench.pot))));
    }
    rows.extend([
        ("long text", format!("{} in all, first tenth {first}, last tenth {last}", speed(bench.long_tok_s))),
        ("resident", format!("{early} after the first tenth, {late} at the end")),
    ]);
    for (name, value) in rows {
        output.line(&format!("{name:<16} {value}"))?;
    }
    Ok(())
}

fn kernels(args: &KernelsArgs, output: &Output) -> Result {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let pool = Threads::new(args.threads.map_or(cores, usize::from));
    let features = limits::features();
    let (limits, rows) = watched("number types", output, |progress| bench::kernels(&pool, progress))?;
    let round = |value: f64| (value * 10.0).round() / 10.0;
    if output.json {
        return Ok(output.object(&json!({
            "processor": features.processor,
            "variant": features.variant,
            "threads": pool.count(),
            "limit": {
                "bandwidth_gb_s": round(limits.bandwidth_gb_s),
                "int8_gops": round(limits.int8_gops),
                "f32_gflops": round(limits.f32_gflops),
            },
            "kernels": rows,
        }))?);
    }
    let none = "nothing beyond the base set".to_owned();
    let processor = if features.processor.is_empty() { none } else { features.processor.join(" ") };
    output.line(&format!("processor   {processor}"))?;
    output.line(&format!("variant     {} on {}", features.variant, show::counted(pool.count(), "thread")))?;
    output.line(&format!("memory      {:.1} GB/s read", limits.bandwidth_gb_s))?;
    output.line(&format!("int8        {:.1} Gop/s", limits.int8_gops))?;
    output.line(&format!("f32         {:.1} Gflop/s", limits.f32_gflops))?;
    output.line("")?;
    let share = |share: f64| format!("{:.0} %", 100.0 * share);
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            vec![
                row.weights.to_owned(),
                format!("{}{}", row.variant, if row.chosen { " *" } else { "" }),
                format!("{:.1} GB/s", row.one_row_gb_s),
                share(row.one_row_share),
                format!("{:.1} Gop/s", row.many_rows_gops),
                share(row.many_rows_share),
                row.kernel.to_owned(),
            ]
        })
        .collect();
    let head = ["WEIGHTS", "VARIANT", "ONE ROW", "", "128 ROWS", "", "KERNEL"];
    output.line(&show::table(&head, &rows))?;
    Ok(output.line("* in use; shares are of the limits above, f32's for float weights with many rows")?)
}
