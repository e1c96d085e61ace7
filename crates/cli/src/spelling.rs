//! How this program spells the settings and commands that libraries name as values.

use crayon_errors::{Command, Phrase, Piece, Setting};

/// `phrase` with flags and commands as they are typed.
pub(crate) fn spell(phrase: &Phrase) -> String {
    phrase.spell(&|piece| match piece {
        Piece::Words(words) => words.clone(),
        Piece::Setting(setting) => flag(*setting).to_owned(),
        Piece::Command(command) => format!("`{}`", command_line(*command)),
    })
}

/// The flag of a setting.
fn flag(setting: Setting) -> &'static str {
    match setting {
        Setting::Adapter => "-a",
        Setting::Adapters => "-n",
        Setting::AllowedHost => "--allow-host",
        Setting::ApiKeyFile => "--api-key-file",
        Setting::Catalyst => "--catalyst",
        Setting::Cells => "--cells",
        Setting::Context => "--context",
        Setting::Cors => "--cors",
        Setting::Data => "--data",
        Setting::Device => "--device",
        Setting::Exact => "--exact",
        Setting::Examples => "--examples",
        Setting::Force => "--force",
        Setting::Framing => "--framing",
        Setting::FrequencyPenalty => "--frequency-penalty",
        Setting::Host => "--host",
        Setting::Keep => "--keep",
        Setting::LearningRate => "--rate",
        Setting::Lengths => "--lengths",
        Setting::Limit => "--limit",
        Setting::MaxTokens => "--max-tokens",
        Setting::Memory => "--memory",
        Setting::MinP => "--min-p",
        Setting::Model => "-m",
        Setting::Novelty => "--novelty",
        Setting::Only => "--only",
        Setting::Outside => "--outside",
        Setting::Places => "--places",
        Setting::Policy => "--policy",
        Setting::Pool => "--pool",
        Setting::PoolKeyFile => "--pool-key-file",
        Setting::PoolTimeout => "--pool-timeout",
        Setting::Port => "--port",
        Setting::Pot => "--pot",
        Setting::PresencePenalty => "--presence-penalty",
        Setting::Prompt => "--prompt",
        Setting::Recent => "--recent",
        Setting::RepetitionPenalty => "--repetition-penalty",
        Setting::Route => "--route",
        Setting::Runs => "--runs",
        Setting::Scheme => "--scheme",
        Setting::Server => "--server",
        Setting::ServerKeyFile => "--server-key-file",
        Setting::ServerModel => "--server-model",
        Setting::ServerTimeout => "--server-timeout",
        Setting::Shape => "--shape",
        Setting::Sinks => "--sinks",
        Setting::Sizes => "--sizes",
        Setting::Smooth => "--smooth",
        Setting::Tasks => "--tasks",
        Setting::Temperature => "--temperature",
        Setting::Tokens => "--tokens",
        Setting::TopP => "--top-p",
        Setting::Window => "--window",
    }
}

fn command_line(command: Command) -> &'static str {
    match command {
        Command::CalibrateRoute => "crayon route calibrate",
        Command::ListModels => "crayon models",
        Command::SaveSession => "--session or /save",
        Command::ServePool => "crayon serve --pool DIR",
        Command::TrainPool => "crayon pool train",
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    /// Long flags and short ones of `command` and all below it.
    fn flags(command: &clap::Command, found: &mut Vec<String>) {
        for arg in command.get_arguments() {
            found.extend(arg.get_long().map(|name| format!("--{name}")));
            found.extend(arg.get_short().map(|name| format!("-{name}")));
        }
        command.get_subcommands().for_each(|below| flags(below, found));
    }

    #[test]
    fn every_setting_is_a_flag_that_exists() {
        let mut found = Vec::new();
        flags(&crate::args::Args::command(), &mut found);
        for &setting in Setting::ALL {
            assert!(found.contains(&flag(setting).to_owned()), "{setting:?} is not a flag");
        }
    }
}
