//! Both sides in turns, and the table.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use crayon_eval::bench::{MadeUp, Scheme, Shape};

use crate::measure::{Measured, distance};
use crate::{Attention, Compare, Work};

/// Logits of the two sides may differ by their roundings of activations, not by more.
const APART: f64 = 0.2;

pub(crate) fn run(arguments: &Compare) -> Result<()> {
    let shape = Shape::from_name(&arguments.shape)?;
    ensure!(shape.arch != "gpt2", "the candle side has no GPT-2");
    let folder = arguments.folder.clone().unwrap_or_else(std::env::temp_dir);
    let mut out = std::io::stdout();
    for name in &arguments.schemes {
        let file = MadeUp::write(&folder, &shape, Scheme::from_name(name)?)?;
        let mut pairs = Vec::with_capacity(arguments.pairs);
        for pair in 0..arguments.pairs {
            // Who goes first alternates, so that a drift of the machine favours neither.
            let (first, second) = if pair % 2 == 0 { ("candle", "crayon") } else { ("crayon", "candle") };
            let one = spawn(first, file.path(), arguments.work)?;
            let two = spawn(second, file.path(), arguments.work)?;
            let (candle, crayon) = if pair % 2 == 0 { (one, two) } else { (two, one) };
            let apart = distance(&candle.probe, &crayon.probe)?;
            ensure!(apart < APART, "the two networks disagree: logits differ by {apart:.3} of their size");
            pairs.push((candle, crayon, apart));
        }
        write!(out, "{}", table(&shape, name, arguments.work, &pairs))?;
        out.flush()?;
    }
    Ok(())
}

fn spawn(side: &str, file: &Path, work: Work) -> Result<Measured> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(side).arg("--file").arg(file);
    command.args(["--prompt", &work.prompt.to_string(), "--tokens", &work.tokens.to_string()]);
    let attention = if work.attention == Attention::Flash { "flash" } else { "matmul" };
    command.args(["--attention", attention]);
    if let Some(threads) = work.threads {
        command.args(["--threads", &threads.to_string()]).env("RAYON_NUM_THREADS", threads.to_string());
    }
    let output = command.stderr(std::process::Stdio::inherit()).output()?;
    ensure!(output.status.success(), "{side} failed");
    serde_json::from_slice(&output.stdout).with_context(|| format!("{side} printed no result"))
}

fn table(shape: &Shape, scheme: &str, work: Work, pairs: &[(Measured, Measured, f64)]) -> String {
    let mut text = format!(
        "\n### {}, {scheme}: prefill {}, decode {}\n\n| pair | prefill tok/s, candle | crayon | ratio | decode tok/s, candle | crayon | ratio |\n|---|---|---|---|---|---|---|\n",
        shape.name, work.prompt, work.tokens
    );
    let row = |label: &str, values: [f64; 6]| {
        let [a, b, c, d, e, f] = values;
        format!("| {label} | {a:.1} | {b:.1} | {c:.2} | {d:.1} | {e:.1} | {f:.2} |\n")
    };
    for (index, (candle, crayon, _)) in pairs.iter().enumerate() {
        let values = [
            candle.prefill_tok_s,
            crayon.prefill_tok_s,
            crayon.prefill_tok_s / candle.prefill_tok_s,
            candle.decode_tok_s,
            crayon.decode_tok_s,
            crayon.decode_tok_s / candle.decode_tok_s,
        ];
        text += &row(&(index + 1).to_string(), values);
    }
    let middle =
        |value: &dyn Fn(&(Measured, Measured, f64)) -> f64| median(pairs.iter().map(value).collect());
    let values = [
        middle(&|(candle, _, _)| candle.prefill_tok_s),
        middle(&|(_, crayon, _)| crayon.prefill_tok_s),
        middle(&|(candle, crayon, _)| crayon.prefill_tok_s / candle.prefill_tok_s),
        middle(&|(candle, _, _)| candle.decode_tok_s),
        middle(&|(_, crayon, _)| crayon.decode_tok_s),
        middle(&|(candle, crayon, _)| crayon.decode_tok_s / candle.decode_tok_s),
    ];
    text += &row("median", values);
    let (candle_rss, crayon_rss) =
        (middle(&|(candle, _, _)| candle.peak_rss_mb), middle(&|(_, crayon, _)| crayon.peak_rss_mb));
    let weights = middle(&|(_, crayon, _)| crayon.weight_bytes as f64 / 1e6);
    let kv = middle(&|(_, crayon, _)| crayon.kv_bytes as f64 / 1e6);
    text += &format!(
        "\nPeak resident memory: candle {candle_rss:.0} MB, crayon {crayon_rss:.0} MB; weights {weights:.0} MB, keys and \
         values {kv:.1} MB, so crayon takes weights + KV + {:.1} %. Opening the file: candle {:.0} ms, crayon {:.1} ms. \
         Logits after the prompt differ by {:.1} % of their size (different roundings of activations).\n",
        (crayon_rss - kv) / weights * 100.0 - 100.0,
        middle(&|(candle, _, _)| candle.load_ms),
        middle(&|(_, crayon, _)| crayon.load_ms),
        middle(&|(_, _, apart)| *apart) * 100.0,
    );
    text
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n => (values[(n - 1) / 2] + values[n / 2]) / 2.0,
    }
}
