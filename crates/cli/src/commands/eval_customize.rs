//! `crayon eval customize`: what a pool's blend is worth to people it was not trained for.

use crayon_engine::adapters::Form;
use crayon_eval::customize::{Cell, CustomizeOptions, Customized, Method, customize};

use super::watched;
use crate::args::EvalCustomizeArgs;
use crate::failure::{Result, mistake};
use crate::output::Output;
use crate::{model, show};

/// Runs the command.
pub(crate) fn run(args: &EvalCustomizeArgs, output: &Output) -> Result {
    super::pool_shown::refuse_adapters(&args.model)?;
    let named = args.methods.iter().map(|name| {
        Method::from_name(name).ok_or_else(|| {
            let known = Method::ALL.map(Method::name).join(", ");
            mistake(format!("{name:?} is no method"), format!("known are {known}"))
        })
    });
    let methods = named.collect::<Result<Vec<Method>>>()?;
    let mut engine = model::open_to_ask(&args.model, output)?;
    let pool = engine.open_pool(&args.pool)?;
    let options = CustomizeOptions {
        users: args.users.clone(),
        joint: args.joint.clone(),
        methods: if methods.is_empty() { Method::ALL.to_vec() } else { methods },
        sizes: args.sizes.clone(),
        seeds: args.seeds,
        questions: args.questions,
        temperature: args.temperature,
        form: Form::from_name(&args.form).unwrap_or_default(),
        oracle_rate: args.oracle_rate,
        oracle_steps: args.oracle_steps,
        cells: args.cells.clone(),
        label: args.label.clone(),
    };
    let result = watched("cells", output, |progress| customize(&mut engine, &pool, &options, progress))?;
    if output.json {
        return Ok(output.object(&result)?);
    }
    Ok(output.line(&table(&result, &options))?)
}

/// Mean accuracy over users and draws, for each method and number of examples.
fn table(result: &Customized, options: &CustomizeOptions) -> String {
    let mut header = vec!["METHOD".to_owned()];
    header.extend(options.sizes.iter().map(|size| show::counted(*size, "EXAMPLE")));
    let rows: Vec<Vec<String>> = options
        .methods
        .iter()
        .filter(|method| result.rows.iter().any(|cell| cell.method == **method))
        .map(|method| {
            let mut row = vec![method.name().to_owned()];
            row.extend(options.sizes.iter().map(|size| {
                let wanted = if method.looks_at_examples() { *size } else { 0 };
                let cells = result.rows.iter().filter(|cell| cell.method == *method && cell.size == wanted);
                format!("{:.1} %", 100.0 * mean(cells))
            }));
            row
        })
        .collect();
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    show::table(&header, &rows)
}

fn mean<'a>(cells: impl Iterator<Item = &'a Cell>) -> f64 {
    let (sum, count) = cells.fold((0.0, 0usize), |(sum, count), cell| (sum + cell.accuracy, count + 1));
    sum / count.max(1) as f64
}
