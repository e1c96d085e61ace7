//! The commands inside a conversation.

use crate::failure::{Result, mistake};

/// What `/help` shows.
pub(super) const HELP: &str = "\
/help            this list
/system TEXT     instructions for the model; without TEXT, shows them
/reset           forget the conversation, keep the instructions
/retry           another answer to the last message
/reread          answer the last message again, after reading the whole conversation anew for it
/edit TEXT       another message in place of the last one; without TEXT, edit it here
/undo            take back the last message and its answer
/model NAME      go on with another model
/sessions        the sessions kept by name, with date, model and turns
/save NAME       keep the conversation as session NAME from now on, with the model's memory of it
/save FILE       write the messages to a file such as talk.json; talk.pot keeps the memory too
/load NAME       go on with a session or a file, written as for /save
/delete NAME     delete a session
/temperature T   0 takes the likeliest words each time, 1 draws freely
/tokens          how long the conversation is
/stats           tokens, memory and speed
/quit            leave (Ctrl-D does the same)
Ctrl-C stops an answer. A line that ends in \\ goes on in the next one, and what begins with \"\"\" goes on
until \"\"\". To begin a message with /, put a blank first.";

/// Their names, for completion.
pub(super) const NAMES: [&str; 16] = [
    "/help",
    "/system ",
    "/reset",
    "/retry",
    "/reread",
    "/edit ",
    "/undo",
    "/model ",
    "/sessions",
    "/save ",
    "/load ",
    "/delete ",
    "/temperature ",
    "/tokens",
    "/stats",
    "/quit",
];

/// One command.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Slash {
    Help,
    System(String),
    Reset,
    Retry,
    Reread,
    Edit(String),
    Undo,
    Model(String),
    Sessions,
    Save(String),
    Load(String),
    Delete(String),
    Temperature(f32),
    Tokens,
    Stats,
    Quit,
}

impl Slash {
    /// The command in `line`; `None` for a message.
    pub(super) fn parse(line: &str) -> Result<Option<Slash>> {
        if !line.starts_with('/') {
            return Ok(None);
        }
        let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        let slash = match name {
            "/help" | "/?" => Slash::Help,
            "/system" => Slash::System(rest.to_owned()),
            "/reset" => Slash::Reset,
            "/retry" => Slash::Retry,
            "/reread" => Slash::Reread,
            "/edit" => Slash::Edit(rest.to_owned()),
            "/undo" => Slash::Undo,
            "/model" if rest.is_empty() => {
                return Err(mistake(
                    "/model needs a name",
                    "for example /model mini; crayon models lists those here",
                ));
            }
            "/model" => Slash::Model(rest.to_owned()),
            "/tokens" => Slash::Tokens,
            "/sessions" => Slash::Sessions,
            "/save" => Slash::Save(named(name, rest)?),
            "/load" => Slash::Load(named(name, rest)?),
            "/delete" => Slash::Delete(named(name, rest)?),
            "/stats" => Slash::Stats,
            "/quit" | "/exit" => Slash::Quit,
            "/temperature" => Slash::Temperature(rest.parse().map_err(|_| {
                mistake(format!("/temperature needs a number, not {rest:?}"), "for example /temperature 0.7")
            })?),
            other => {
                return Err(mistake(
                    format!("there is no command {other}"),
                    "/help lists them; to begin a message with /, put a blank first",
                ));
            }
        };
        Ok(Some(slash))
    }
}

fn named(command: &str, rest: &str) -> Result<String> {
    match rest {
        "" => Err(mistake(
            format!("{command} needs a name"),
            format!("for example {command} holiday; /sessions lists the names there are"),
        )),
        rest => Ok(rest.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Option<Slash>) {
        assert_eq!(Slash::parse(line).unwrap(), expected, "{line}");
    }

    #[test]
    fn commands_and_messages_are_told_apart() {
        check("hello", None);
        check(" /not a command", None);
        check("/help", Some(Slash::Help));
        check("/system be brief ", Some(Slash::System("be brief".into())));
        check("/system", Some(Slash::System(String::new())));
        check("/save a b.json", Some(Slash::Save("a b.json".into())));
        check("/reread", Some(Slash::Reread));
        check("/load holiday", Some(Slash::Load("holiday".into())));
        check("/sessions", Some(Slash::Sessions));
        check("/temperature 0.5", Some(Slash::Temperature(0.5)));
        check("/edit say it shorter", Some(Slash::Edit("say it shorter".into())));
        check("/model mini", Some(Slash::Model("mini".into())));
        check("/exit", Some(Slash::Quit));
    }

    #[test]
    fn unusable_commands_say_what_they_need() {
        for (line, message) in [
            ("/save", "/save needs a name"),
            ("/delete", "/delete needs a name"),
            ("/model", "/model needs a name"),
            ("/temperature warm", "/temperature needs a number, not \"warm\""),
            ("/usr/bin", "there is no command /usr/bin"),
        ] {
            assert_eq!(Slash::parse(line).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn every_name_offered_for_completion_is_known_and_in_the_help() {
        for name in NAMES {
            assert!(HELP.contains(name.trim_end()), "{name}");
            let known = Slash::parse(&format!("{name} 1"));
            assert!(known.is_ok(), "{name}");
        }
    }
}
