//! `crayon eval customize`: what a pool's blend, and what customization takes, is worth to people.

use crayon_engine::adapters::Form;
use crayon_eval::customize::{Cell, CustomizeOptions, Customized, Method, customize};

use super::{taken, watched};
use crate::args::EvalCustomizeArgs;
use crate::failure::{Result, mistake};
use crate::output::Output;
use crate::{model, show};

/// Runs the command.
pub(crate) fn run(args: &EvalCustomizeArgs, output: &Output) -> Result {
    super::pool_shown::refuse_adapters(&args.model)?;
    let named = args.methods.iter().map(|name| {
        Method::from_name(name).ok_or_else(|| {
            let known = Method::ALL.iter().map(|method| method.name()).collect::<Vec<_>>().join(", ");
            mistake(format!("{name:?} is not a method"), format!("known are {known}"))
        })
    });
    let methods = named.collect::<Result<Vec<Method>>>()?;
    let budget = taken::budget(args.budget)?;
    let engine = model::open_to_ask(&args.model, output)?;
    let pool = args.pool.as_ref().map(|path| engine.open_pool(path)).transpose()?;
    let possible = |method: &Method| !method.needs_pool() || pool.is_some();
    let options = CustomizeOptions {
        users: args.users.clone(),
        joint: args.joint.clone(),
        methods: match methods.is_empty() {
            true => Method::ALL.iter().copied().filter(possible).collect(),
            false => methods,
        },
        sizes: args.sizes.clone(),
        seeds: args.seeds,
        questions: args.questions,
        temperature: args.temperature,
        form: Form::from_name(&args.form).unwrap_or_default(),
        budget,
        oracle_examples: args.oracle_examples,
        oracle_epochs: args.oracle_epochs,
        oracle_rate: args.oracle_rate,
        cells: args.cells.clone(),
        label: args.label.clone(),
    };
    let result = watched("cells", output, |progress| customize(&engine, pool.as_ref(), &options, progress))?;
    if output.json {
        return Ok(output.object(&result)?);
    }
    Ok(output.line(&table(&result, &options))?)
}

/// Right by choice and in writing, means over users and draws, for each group of users, method and number of examples.
fn table(result: &Customized, options: &CustomizeOptions) -> String {
    let mut groups: Vec<&str> = result.rows.iter().map(|cell| cell.group.as_str()).collect();
    groups.dedup();
    let mut header = vec!["METHOD".to_owned()];
    for group in &groups {
        header
            .extend(options.sizes.iter().map(|size| format!("{group}, {}", show::counted(*size, "EXAMPLE"))));
    }
    let mut rows = Vec::new();
    for method in &options.methods {
        let cells: Vec<&Cell> = result.rows.iter().filter(|cell| cell.method == *method).collect();
        if cells.is_empty() {
            continue;
        }
        let mut row = vec![method.name().to_owned()];
        for group in &groups {
            row.extend(options.sizes.iter().map(|size| {
                let wanted = if method.looks_at_examples() { *size } else { 0 };
                let cells = || cells.iter().filter(|cell| cell.group == *group && cell.size == wanted);
                let [chosen, written] =
                    [mean(cells().map(|cell| cell.accuracy)), mean(cells().map(|cell| cell.written))];
                format!("{:.1} / {:.1} %", 100.0 * chosen, 100.0 * written)
            }));
        }
        rows.push(row);
    }
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    show::table(&header, &rows)
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0usize), |(sum, count), value| (sum + value, count + 1));
    sum / count.max(1) as f64
}
