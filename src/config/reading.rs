//! How a file and the environment become a [`Config`], and what is said of a setting that cannot be used.

use std::fmt;
use std::path::Path;

use serde::Deserialize as _;

use super::Config;

/// `KEYWHEEL_SECTION__KEY` overrides `key` in `[section]`.
const ENVIRONMENT_PREFIX: &str = "KEYWHEEL_";
/// Secrets, and so no setting: they are never part of a [`Config`].
pub(super) const WRAPPING_KEYS: &str = "KEYWHEEL_WRAPPING_KEYS";
/// The file that is read if it is there and no other is named.
const DEFAULT_FILE: &str = "keywheel.toml";

/// A setting that cannot be used. One line: where, which, why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    pub(super) place: String,
    pub(super) why: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.why)
    }
}

impl std::error::Error for ConfigError {}

// === impl Config ===

impl Config {
    /// As [`load`](Self::load), with the process' own environment.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    #[expect(clippy::disallowed_methods, reason = "here the environment is read")]
    pub fn from_process(named: Option<&Path>) -> Result<Self, ConfigError> {
        Self::load(named, std::env::vars())
    }

    /// The file `named`, or `keywheel.toml` if that is there, or the defaults; then `environment` over it.
    ///
    /// # Errors
    /// [`ConfigError`] names the file, the line and the setting, or the variable.
    pub fn load(
        named: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let path = named.unwrap_or(Path::new(DEFAULT_FILE));
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && named.is_none() => {
                String::new()
            }
            Err(error) => {
                return Err(ConfigError {
                    place: path.display().to_string(),
                    why: error.to_string(),
                });
            }
        };
        Self::parse(&text, &path.display().to_string(), environment)
    }

    /// As [`load`](Self::load), from the text of a file called `name`.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn parse(
        text: &str,
        name: &str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let at_line = |error: &toml::de::Error| match error.span() {
            Some(span) => format!("{name}:{}", line_at(text, span.start)),
            None => name.to_owned(),
        };
        let in_file: Config = toml::from_str(text).map_err(|error| ConfigError {
            place: at_line(&error),
            why: one_line(error.message()),
        })?;
        in_file.check().map_err(|(setting, why)| ConfigError {
            place: match line_of(text, setting) {
                Some(line) => format!("{name}:{line}"),
                None => name.to_owned(),
            },
            why: format!("{setting} {why}"),
        })?;

        let mut table: toml::Table = toml::from_str(text).map_err(|error| ConfigError {
            place: at_line(&error),
            why: one_line(error.message()),
        })?;
        let mut config = in_file;
        for (variable, value) in environment {
            let Some(setting) = variable.strip_prefix(ENVIRONMENT_PREFIX) else {
                continue;
            };
            if variable == WRAPPING_KEYS {
                continue;
            }
            let refused = |why: String| ConfigError {
                place: format!("environment variable {variable}"),
                why,
            };
            let path: Vec<String> = setting
                .to_ascii_lowercase()
                .split("__")
                .map(Into::into)
                .collect();
            override_setting(&mut table, &path, &value).map_err(&refused)?;
            config = Config::deserialize(table.clone())
                .map_err(|error| refused(one_line(error.message())))?;
            config
                .check()
                .map_err(|(setting, why)| refused(format!("{setting} {why}")))?;
        }
        Ok(config)
    }
}

/// Puts `value` at `path`, as TOML if it reads as such, else as a string: a bare word needs no quotes in the environment.
fn override_setting(table: &mut toml::Table, path: &[String], value: &str) -> Result<(), String> {
    let (name, sections) = match path.split_last() {
        Some(split) => split,
        None => return Err("names no setting".into()),
    };
    let mut table = table;
    for section in sections {
        table = table
            .entry(section.clone())
            .or_insert_with(|| toml::Value::Table(toml::Table::new()))
            .as_table_mut()
            .ok_or_else(|| format!("`{section}` is not a section"))?;
    }
    let parsed = toml::from_str::<toml::Table>(&format!("value = {value}"));
    let value = parsed
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| toml::Value::String(value.into()));
    table.insert(name.clone(), value);
    Ok(())
}

pub(super) fn line_at(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|&b| b == b'\n').count()
}

/// The line on which `section.key` is set, for a message; the last one, if several are.
fn line_of(text: &str, setting: &str) -> Option<usize> {
    let (section, key) = setting.rsplit_once('.').unwrap_or(("", setting));
    let mut current = String::new();
    let mut found = None;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('[') {
            current = line.trim_matches(['[', ']', ' ']).to_owned();
        } else if let Some((name, _)) = line.split_once('=')
            && current == section
            && name.trim() == key
        {
            found = Some(index + 1);
        }
    }
    found
}

pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::issue::RotationPolicy;
    use crate::jose::Algorithm;

    fn parse(text: &str, environment: &[(&str, &str)]) -> Result<Config, String> {
        let environment = environment
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()));
        Config::parse(text, "keywheel.toml", environment).map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_at_all_is_the_defaults() {
        assert_eq!(parse("", &[]), Ok(Config::default()));
        assert_eq!(
            Config::default().rotation_policy(),
            RotationPolicy::default()
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, expected) in [
            (
                "\nlissen = \"x\"",
                "keywheel.toml:2: unknown field `lissen`",
            ),
            (
                "[keys]\nalgoritms = []",
                "keywheel.toml:2: unknown field `algoritms`",
            ),
            (
                "[keys]\n\nalgorithms = [\"HS256\"]",
                "keywheel.toml:3: `HS256` is no signature algorithm",
            ),
            (
                "[keys]\nalgorithms = [\"ES256\"]",
                "keywheel.toml:2: keys.algorithms has ES256",
            ),
            (
                "[keys]\nalgorithms = []",
                "keywheel.toml:2: keys.algorithms must name",
            ),
            (
                "[keys]\njwks_max_age = \"0s\"",
                "keywheel.toml:2: keys.jwks_max_age must be between 1s and 1d",
            ),
            (
                "[keys]\njwks_max_age = 600",
                "keywheel.toml:2: invalid type",
            ),
            ("[keys]\njwks_max_age = \"soon\"", "keywheel.toml:2: "),
            (
                "[keys]\nrotate_every = \"1m\"",
                "keywheel.toml:2: keys.rotate_every must be at least",
            ),
            (
                "[tokens]\nttl = \"2d\"",
                "keywheel.toml:2: tokens.ttl must be at most tokens.max_ttl",
            ),
            (
                "issuer = \"auth.example.com\"",
                "keywheel.toml:1: issuer must be an http or https URL",
            ),
            (
                "issuer = \"https://a.example/\"",
                "keywheel.toml:1: issuer must have no slash",
            ),
            ("listen = \"3001\"", "keywheel.toml:1: "),
            (
                "[log]\nformat = \"xml\"",
                "keywheel.toml:2: unknown variant `xml`, expected `json` or `pretty`",
            ),
            (
                "[[audience]]\nname = \"a\"\n[[audience]]\nname = \"a\"",
                "keywheel.toml:4: audience.name `a` is there twice",
            ),
            (
                "[keys]\nalgorithms=[\"EdDSA\"]\n[[audience]]\nname=\"a\"\nalgorithm=\"RS256\"",
                "keywheel.toml:5: audience.algorithm RS256 is not among",
            ),
            ("a = = b", "keywheel.toml:1: "),
        ] {
            let error = parse(text, &[]).unwrap_err();
            assert!(error.starts_with(expected), "{text:?}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn the_environment_overrides_the_file_and_is_named_when_wrong() {
        let config = parse(
            "listen = \"127.0.0.1:1\"\n[keys]\nstore = \"a\"",
            &[
                ("KEYWHEEL_LISTEN", "127.0.0.1:2"),
                ("KEYWHEEL_KEYS__STORE", "b"),
                ("KEYWHEEL_KEYS__ALGORITHMS", "[\"EdDSA\"]"),
                ("KEYWHEEL_LOG__AUDIT_RATE", "7"),
                ("PATH", "/bin"),
            ],
        )
        .unwrap();
        assert_eq!(config.listen.port(), 2);
        assert_eq!(config.keys.store, Path::new("b"));
        assert_eq!(config.keys.algorithms, [Algorithm::EdDSA]);
        assert_eq!(config.log.audit_rate, 7);
        for (variable, value, expected) in [
            (
                "KEYWHEEL_TOKENS__TTL",
                "2d",
                "environment variable KEYWHEEL_TOKENS__TTL: tokens.ttl must be at most",
            ),
            (
                "KEYWHEEL_TOKEN__TTL",
                "2d",
                "environment variable KEYWHEEL_TOKEN__TTL: unknown field `token`",
            ),
            (
                "KEYWHEEL_LISTEN__X",
                "1",
                "environment variable KEYWHEEL_LISTEN__X: ",
            ),
        ] {
            let error = parse("listen = \"127.0.0.1:1\"", &[(variable, value)]).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
