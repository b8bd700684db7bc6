//! `[log]`: what of the program's own lines is written, and whether the audit trail is.

use serde::Deserialize;

use crate::audit;

/// `[log]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// What is logged: a level, or several `target=level` with commas. Says nothing of the audit trail.
    pub level: String,
    /// For machines or for people.
    pub format: LogFormat,
    /// Whether the audit trail is written, whatever the level.
    pub audit: bool,
    /// Failures a second and reason, then summed.
    pub audit_rate: u32,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// Words.
    Pretty,
}

impl Default for Log {
    fn default() -> Self {
        Log {
            level: "info".into(),
            format: LogFormat::Json,
            audit: true,
            audit_rate: audit::DEFAULT_RATE,
        }
    }
}

/// The levels, each with more in it than the one before.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

// === impl Log ===

impl Log {
    /// For commands that do one thing: warnings, and the audit trail.
    pub(crate) fn for_commands() -> Self {
        Log {
            level: "warn".into(),
            format: LogFormat::Pretty,
            ..Log::default()
        }
    }

    /// For commands that say themselves what was refused: nothing but errors.
    pub(crate) fn quiet() -> Self {
        Log {
            level: "error".into(),
            format: LogFormat::Pretty,
            audit: false,
            ..Log::default()
        }
    }

    /// What types cannot say. Gives the setting and what is wrong with it.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        for directive in self.directives() {
            check_directive(directive)
                .map_err(|why| ("log.level", format!("has `{directive}`, {why}")))?;
        }
        if self.audit_rate == 0 {
            return Err((
                "log.audit_rate",
                "must be at least 1: no failure would ever be written; audit = false switches the trail off".into(),
            ));
        }
        Ok(())
    }

    /// The level as `tracing` reads it, which takes no space around commas.
    pub(crate) fn filter(&self) -> String {
        self.directives().collect::<Vec<_>>().join(",")
    }

    fn directives(&self) -> impl Iterator<Item = &str> {
        self.level.split(',').map(str::trim)
    }

    /// Whether warnings of this program's own do not get through.
    pub(super) fn hides_warnings(&self) -> bool {
        let mut levels = self.directives().filter_map(|directive| {
            let (target, level) = directive.rsplit_once('=').unwrap_or(("", directive));
            matches!(target, "" | "keywheel").then(|| (target.len(), level_of(level)))
        });
        // The more specific one decides; where nothing is said of a target, nothing of it is logged.
        let mut decisive: Option<(usize, Option<usize>)> = None;
        for (length, level) in levels.by_ref() {
            if decisive.is_none_or(|(known, _)| length >= known) {
                decisive = Some((length, level));
            }
        }
        decisive.is_none_or(|(_, level)| level.is_none_or(|level| level < 2))
    }
}

fn level_of(text: &str) -> Option<usize> {
    LEVELS
        .iter()
        .position(|name| name.eq_ignore_ascii_case(text))
}

/// `level`, `target=level` or `target[span{field}]=level`. What `tracing` makes of anything else surprises: it takes a level
/// that is misspelt for a target.
fn check_directive(directive: &str) -> Result<(), String> {
    let levels = || format!("which is no level: write one of {}", LEVELS.join(", "));
    let Some((target, level)) = directive.rsplit_once('=') else {
        return level_of(directive).map(drop).ok_or_else(levels);
    };
    let Some(level) = level_of(level) else {
        return Err(format!("whose level is none of {}", LEVELS.join(", ")));
    };
    let (name, span) = match target.find('[') {
        Some(at) => target.split_at(at),
        None => (target, ""),
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_:-./".contains(&byte);
    if !name.bytes().all(is_name) || (name.is_empty() && span.is_empty()) {
        return Err("whose target is no name like `keywheel` or `tower_http::trace`".into());
    }
    if directive
        .parse::<tracing_subscriber::filter::Directive>()
        .is_err()
    {
        return Err("which cannot be read: write level, target=level or target[span]=level".into());
    }
    let is_audit = name == "audit" || name.starts_with(audit::TARGET);
    if is_audit && level < 3 {
        return Err(
            "but the audit trail does not go by log.level: audit = false in [log] switches it off"
                .into(),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(level: &str) -> Result<(), String> {
        let log = Log {
            level: level.into(),
            ..Log::default()
        };
        log.check()
            .map_err(|(setting, why)| format!("{setting} {why}"))
    }

    #[test]
    fn levels_and_targets_with_levels_are_understood() {
        for level in [
            "info",
            "INFO",
            "off",
            "warn,keywheel=debug",
            " warn , keywheel::http=trace ",
            "error,tower_http::trace=off",
            "warn,keywheel::audit=info",
            "info,keywheel[answer]=debug",
            "info,keywheel[answer{request_id=ab}]=debug",
            "info,[answer]=debug",
        ] {
            assert_eq!(check(level), Ok(()), "{level}");
            let log = Log {
                level: level.into(),
                ..Log::default()
            };
            tracing_subscriber::EnvFilter::try_new(log.filter()).unwrap();
        }
    }

    #[test]
    fn a_level_that_is_none_is_refused_and_not_taken_for_a_target() {
        for (level, words) in [
            ("loud", "`loud`, which is no level"),
            ("", "``, which is no level"),
            ("info,", "``, which is no level"),
            ("wran", "no level"),
            ("info debug", "no level"),
            ("keywheel", "no level"),
            ("keywheel=loud", "none of off, error, warn"),
            ("keywheel=", "none of off"),
            ("keywheel=info=debug", "no name"),
            ("=info", "no name"),
            ("key wheel=info", "no name"),
            ("keywheel[=info", "cannot be read"),
            ("info\n", ""),
            ("keywheel\u{1b}[2J=info", "no name"),
            ("info,keywheel::audit=off", "audit = false"),
            ("info,keywheel::audit=warn", "audit = false"),
            ("info,audit=off", "audit = false"),
            ("info,keywheel::audit[x]=off", "audit = false"),
        ] {
            match check(level) {
                Err(why) => assert!(
                    why.starts_with("log.level has ") && why.contains(words),
                    "{level}: {why}"
                ),
                // Blank space around a level is no harm.
                Ok(()) => assert_eq!(level.trim(), "info"),
            }
        }
    }

    #[test]
    fn no_rate_at_all_is_refused() {
        let log = Log {
            audit_rate: 0,
            ..Log::default()
        };
        assert_eq!(log.check().unwrap_err().0, "log.audit_rate");
    }
}
