//! Manual pages and completions, as packages install them.

mod support;

use std::collections::BTreeSet;

use support::Place;

/// The commands below `command`, as its help lists them.
fn commands(place: &Place, command: &[String]) -> Vec<String> {
    let words: Vec<&str> = command.iter().map(String::as_str).chain(["--help"]).collect();
    let help = place.text(&words);
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let listed = listed.take_while(|line| !line.is_empty() && !line.ends_with(':'));
    // A description that goes on in the next line is indented further.
    let names = listed.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .filter(|name| name != "help")
        .collect()
}

/// Every command there is, as words.
fn all(place: &Place, command: &[String], found: &mut Vec<Vec<String>>) {
    found.push(command.to_vec());
    for name in commands(place, command) {
        all(place, &[command, &[name]].concat(), found);
    }
}

#[test]
fn every_command_has_a_manual_page() {
    let place = Place::new();
    let said = place.json(&["man", "-o", "pages"]);
    let (mut found, mut expected) = (Vec::new(), BTreeSet::new());
    all(&place, &[], &mut found);
    assert!(found.len() > 30, "{found:?}");
    for command in &found {
        let name = [&["crayon".to_owned()], command.as_slice()].concat().join("-");
        let page = std::fs::read_to_string(place.path("pages").join(format!("{name}.1"))).unwrap();
        for section in [".SH NAME", ".SH SYNOPSIS", ".SH OPTIONS"] {
            assert!(page.contains(section), "{name}: {section}");
        }
        // Roff writes a dash as `\-`.
        assert!(page.contains(&name.replace('-', "\\-")) && page.contains("\\-\\-quiet"), "{name}: {page}");
        expected.insert(format!("{name}.1"));
    }
    let pages = said["pages"].as_array().unwrap().iter();
    assert_eq!(pages.map(|page| page.as_str().unwrap().to_owned()).collect::<BTreeSet<_>>(), expected);
    let ask = std::fs::read_to_string(place.path("pages/crayon-ask.1")).unwrap();
    assert!(ask.contains("\\-\\-context") && ask.contains("Examples:"), "{ask}");
}

#[test]
fn every_shell_has_completions() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = place.text(&["completions", shell]);
        assert!(script.contains("customize") && script.contains("context"), "{shell}: {script}");
    }
}
