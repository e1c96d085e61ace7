//! `crayon man`: a manual page for every command, made of the help texts, as packages install them.

use std::path::Path;

use clap::CommandFactory as _;
use clap_mangen::Man;
use crayon_files::{create_folder, write_file};
use serde_json::json;

use crate::args::Args;
use crate::failure::{Context as _, Result};
use crate::output::Output;
use crate::show;

/// Runs the command.
pub(crate) fn run(folder: &Path, output: &Output) -> Result {
    let mut root = Args::command().disable_help_subcommand(true);
    root.build();
    create_folder(folder)?;
    let mut names = Vec::new();
    write(&root, folder, &mut names)?;
    match output.json {
        true => Ok(output.object(&json!({ "folder": folder.display().to_string(), "pages": names }))?),
        false => Ok(output.line(&format!(
            "{}: {}",
            folder.display(),
            show::counted(names.len(), "manual page")
        ))?),
    }
}

/// Writes the page of `command` and of those below it.
fn write(command: &clap::Command, folder: &Path, names: &mut Vec<String>) -> Result {
    let (source, manual) = (concat!("crayon ", env!("CARGO_PKG_VERSION")), "User commands");
    let (mut page, man) = (Vec::new(), Man::new(command.clone()).source(source).manual(manual));
    let name = man.get_filename();
    man.render(&mut page).context(&name)?;
    write_file(&folder.join(&name), &page)?;
    names.push(name);
    command
        .get_subcommands()
        .filter(|below| !below.is_hide_set())
        .try_for_each(|below| write(below, folder, names))
}
