//! What `--check` and a start say about a configuration that can be used.

use serde_json::json;

use super::{CliError, output};
use crate::config::{self, Warning};

/// The answer of `--check` to a configuration without errors.
pub(super) fn report(
    warnings: &[Warning],
    notes: &[String],
    as_json: bool,
) -> Result<(), CliError> {
    if as_json {
        return output::json(&json!({ "ok": true, "warnings": warnings, "notes": notes }));
    }
    for note in notes {
        output::line(&format!("note: {note}"))?;
    }
    match warnings.len() {
        0 => return output::line("the configuration is good"),
        1 => output::line("the configuration is good, with 1 warning:")?,
        n => output::line(&format!("the configuration is good, with {n} warnings:"))?,
    }
    for warning in warnings {
        output::line(&format!("warning: {warning}"))?;
    }
    Ok(())
}

/// At a start: whatever the level of the log is, a promise that does not hold is said.
pub(super) fn say(warnings: &[Warning], notes: &[String]) {
    for note in notes {
        output::note(&format!("keywheel: {note}"));
    }
    for warning in warnings {
        output::note(&format!("keywheel: warning: {warning}"));
    }
}

/// One line about variables that begin as ours do and are no settings.
pub(super) fn passed_over(variables: &[String]) -> Option<String> {
    (!variables.is_empty()).then(|| {
        format!(
            "no settings, and passed over, as what Kubernetes says about a Service: {}",
            variables.join(", ")
        )
    })
}

/// One line about variables that configure `keywheel serve`, and that somebody may believe to configure a gate.
pub(super) fn ignored_by_gate() -> Option<String> {
    let variables = config::ignored_variables();
    (!variables.is_empty()).then(|| {
        format!(
            "a gate is configured by its file and the command line alone; ignored: {}",
            variables.join(", ")
        )
    })
}

/// Two rules of a gate that are as specific as each other.
pub(super) fn ambiguity(words: String) -> Warning {
    Warning {
        setting: "rule".into(),
        why: words,
        hint: "make one of them more specific if that is not meant".into(),
    }
}
