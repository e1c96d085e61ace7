//! The setting that switches the network off.

/// The variable that forbids every connection.
pub const OFFLINE: &str = "CRAYON_OFFLINE";

/// The variable that forbids the network to this process, if one does.
pub fn forbidden() -> Option<&'static str> {
    forbidden_by(|name| std::env::var(name).ok())
}

/// As [`forbidden`], for the environment that `lookup` knows.
pub fn forbidden_by(lookup: impl Fn(&str) -> Option<String>) -> Option<&'static str> {
    is_on(lookup(OFFLINE).as_deref()).then_some(OFFLINE)
}

/// Whether a variable with this value is switched on: `1`, `true`, `yes` or `on`, in any case.
pub fn is_on(value: Option<&str>) -> bool {
    value.is_some_and(|value| {
        ["1", "true", "yes", "on"].iter().any(|on| value.trim().eq_ignore_ascii_case(on))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_has_several_spellings() {
        for (value, wanted) in [
            (Some("1"), true),
            (Some(" TRUE "), true),
            (Some("yes"), true),
            (Some("On"), true),
            (Some("0"), false),
            (Some("false"), false),
            (Some(""), false),
            (None, false),
        ] {
            assert_eq!(is_on(value), wanted, "{value:?}");
            let found = forbidden_by(|name| value.filter(|_| name == "CRAYON_OFFLINE").map(str::to_owned));
            assert_eq!(found, wanted.then_some("CRAYON_OFFLINE"), "{value:?}");
        }
    }
}
