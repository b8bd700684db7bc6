//! How a file and the environment become a [`Config`], and what is said of a setting that cannot be used.

use std::fmt;
use std::path::Path;

use serde::Deserialize as _;
use toml::Table;

use super::Config;
use super::environment::{self, Environment, Variable};
use super::hint::{setting_at, with_nearest};

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
        Self::load(named, environment::ours(std::env::vars_os())?)
    }

    /// The file `named`, or `keywheel.toml` if that is there, or the defaults; then `environment` over it. Relative paths go by
    /// the folder of the file.
    ///
    /// # Errors
    /// [`ConfigError`] names the file, the line and the setting, or the variable.
    pub fn load(
        named: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let path = named.unwrap_or(Path::new(DEFAULT_FILE));
        let name = path.display().to_string();
        let text = match std::fs::read_to_string(path) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && named.is_none() => None,
            Err(error) => {
                return Err(ConfigError {
                    place: name,
                    why: error.to_string(),
                });
            }
        };
        let shown = text.as_deref().unwrap_or_default();
        let (mut config, environment) = Self::read(shown, &name, environment)?;
        if let Some(text) = &text {
            config.settle(path, text, &environment)?;
        }
        Ok(config)
    }

    /// As [`load`](Self::load), from the text of a file called `name`; its paths stay as they are written.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn parse(
        text: &str,
        name: &str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        Ok(Self::read(text, name, environment)?.0)
    }

    fn read(
        text: &str,
        name: &str,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(Self, Environment), ConfigError> {
        let in_file: Config =
            toml::from_str(text).map_err(|error| file_error(text, name, &error))?;
        let table: Table = toml::from_str(text).map_err(|error| file_error(text, name, &error))?;
        let environment = Environment::read(variables, &table)?;
        let all: Vec<&Variable> = environment.variables.iter().collect();
        // The file's own values decide only once nothing overrides them any more.
        let read = match all.is_empty() {
            true => in_file.checked(),
            false => merge(&table, &all),
        };
        let mut config = match read {
            Ok(config) => config,
            Err(_) => return Err(blame(text, name, &table, all)),
        };
        config.sources.passed_over = environment.passed_over.clone();
        Ok((config, environment))
    }

    fn checked(self) -> Result<Self, Wrong> {
        match self.check() {
            Ok(()) => Ok(self),
            Err((setting, why)) => Err(Wrong {
                setting: Some(setting),
                why: format!("{setting} {why}"),
            }),
        }
    }
}

/// Why settings make no configuration.
struct Wrong {
    /// The one that is wrong, where it is known.
    setting: Option<&'static str>,
    why: String,
}

/// The file with variables over it, checked.
fn merge(file: &Table, variables: &[&Variable]) -> Result<Config, Wrong> {
    let wrong = |why| Wrong { setting: None, why };
    let mut table = file.clone();
    for variable in variables {
        variable.apply(&mut table).map_err(wrong)?;
    }
    let config = Config::deserialize(table).map_err(|error| wrong(one_line(error.message())))?;
    config.checked()
}

/// Names who is at fault: the fewest variables that are enough to make it wrong, or the file, if it is so without any.
fn blame(text: &str, name: &str, table: &Table, mut variables: Vec<&Variable>) -> ConfigError {
    for index in (0..variables.len()).rev() {
        let mut fewer = variables.clone();
        fewer.remove(index);
        if merge(table, &fewer).is_err() {
            variables = fewer;
        }
    }
    let wrong = match merge(table, &variables) {
        Err(wrong) => wrong,
        // Not reached: every set that was kept is wrong.
        Ok(_) => Wrong {
            setting: None,
            why: "cannot be used".into(),
        },
    };
    let place = match &variables[..] {
        [] => match wrong.setting.and_then(|setting| line_of(text, setting)) {
            Some(line) => format!("{name}:{line}"),
            None => name.to_owned(),
        },
        [one] => environment::place_of(&one.name),
        several => {
            let names: Vec<&str> = several.iter().map(|one| one.name.as_str()).collect();
            format!("environment variables {}", names.join(" and "))
        }
    };
    let why = match &variables[..] {
        // What deserializing says does not name the field.
        [one] if wrong.setting.is_none() && wrong.why.starts_with("invalid") => {
            format!("{}: {}", one.path.join("."), wrong.why)
        }
        _ => with_nearest(wrong.why),
    };
    ConfigError { place, why }
}

/// What is wrong with a file's text, with its line and the setting.
pub(super) fn file_error(text: &str, name: &str, error: &toml::de::Error) -> ConfigError {
    let why = one_line(error.message());
    let Some(span) = error.span() else {
        return ConfigError {
            place: name.to_owned(),
            why,
        };
    };
    let place = format!("{name}:{}", line_at(text, span.start));
    let is_of_a_value = !why.starts_with("unknown field") && !why.starts_with("missing field");
    let why = match setting_at(text, span.start) {
        Some(setting) if is_of_a_value && toml::from_str::<Table>(text).is_ok() => {
            format!("{setting}: {why}")
        }
        _ => with_nearest(why),
    };
    ConfigError { place, why }
}

pub(super) fn line_at(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|&b| b == b'\n').count()
}

/// The line on which `section.key` is set, for a message; the last one, if several are.
pub(super) fn line_of(text: &str, setting: &str) -> Option<usize> {
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
                "keywheel.toml:3: keys.algorithms: `HS256` is no signature algorithm",
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
                "keywheel.toml:2: keys.jwks_max_age: invalid type",
            ),
            (
                "[keys]\njwks_max_age = \"soon\"",
                "keywheel.toml:2: keys.jwks_max_age: ",
            ),
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
            ("listen = \"3001\"", "keywheel.toml:1: listen: "),
            (
                "[log]\nformat = \"xml\"",
                "keywheel.toml:2: log.format: unknown variant `xml`, expected `json` or `pretty`",
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

    #[test]
    fn variables_are_applied_together_and_in_any_order_come_to_the_same() {
        let both = [
            ("KEYWHEEL_TOKENS__TTL", "2d"),
            ("KEYWHEEL_TOKENS__MAX_TTL", "3d"),
        ];
        let config = parse("", &both).unwrap();
        assert_eq!(config.tokens.ttl.0.as_secs(), 2 * 24 * 3600);
        assert_eq!(parse("", &[both[1], both[0]]), Ok(config));
        // The file's own values count only once nothing overrides them.
        assert!(parse("[tokens]\nttl = \"2d\"", &both[1..]).is_ok());
        let alone = parse("", &both[..1]).unwrap_err();
        let named = "environment variable KEYWHEEL_TOKENS__TTL: tokens.ttl must be at most";
        assert!(alone.starts_with(named), "{alone}");
        // Of several, those are named that are enough to make it wrong.
        let among = parse(
            "",
            &[
                ("KEYWHEEL_LISTEN", "127.0.0.1:5"),
                both[0],
                ("KEYWHEEL_KEYS__STORE", "x"),
            ],
        );
        assert!(among.unwrap_err().starts_with(named));
        // What is wrong in the file stays the file's fault.
        let file = parse("[tokens]\nttl = \"2d\"", &[("KEYWHEEL_KEYS__STORE", "x")]).unwrap_err();
        assert!(file.starts_with("keywheel.toml:2: tokens.ttl"), "{file}");
    }

    #[test]
    fn names_are_found_whatever_their_case() {
        let file = "[accounts.fields.softwareBackground]\ntype = \"string\"";
        let required = |text: &str, variables: &[(&str, &str)], name: &str| {
            parse(text, variables).map(|config| config.accounts.fields[name].required)
        };
        for name in [
            "KEYWHEEL_ACCOUNTS__FIELDS__SOFTWAREBACKGROUND__REQUIRED",
            "KEYWHEEL_ACCOUNTS__FIELDS__softwareBackground__REQUIRED",
            "KEYWHEEL_accounts__Fields__softwarebackground__required",
        ] {
            assert_eq!(
                required(file, &[(name, "true")], "softwareBackground"),
                Ok(true),
                "{name}"
            );
        }
        let own_case = [
            ("KEYWHEEL_ACCOUNTS__FIELDS__NICKNAME__REQUIRED", "true"),
            ("KEYWHEEL_ACCOUNTS__FIELDS__nickName__TYPE", "string"),
        ];
        assert_eq!(required("", &own_case, "nickName"), Ok(true));
        let capitals = [(
            "KEYWHEEL_ACCOUNTS__FIELDS__NICKNAME",
            "{ type = \"string\" }",
        )];
        assert_eq!(required("", &capitals, "nickname"), Ok(false));
    }

    #[test]
    fn what_a_variable_cannot_set_is_said_with_what_could_be_meant() {
        for (text, variables, expected) in [
            (
                "",
                &[("KEYWHEEL_TOKEN__TTL", "2d")][..],
                "environment variable KEYWHEEL_TOKEN__TTL: unknown field `token`",
            ),
            ("", &[("KEYWHEEL_LISSEN", "x")], "did you mean `listen`?"),
            ("lissen = 1", &[], "did you mean `listen`?"),
            ("", &[("KEYWHEEL_PORT", "3001")], "unknown field `port`"),
            (
                "",
                &[("KEYWHEEL_AUDIENCE__NAME", "x")],
                "KEYWHEEL_AUDIENCE='[{ name = \"orders-api\" }]'",
            ),
            (
                "",
                &[("KEYWHEEL_LOG__AUDIT_RATE", "many")],
                "environment variable KEYWHEEL_LOG__AUDIT_RATE: log.audit_rate: invalid type",
            ),
            (
                "",
                &[
                    ("KEYWHEEL_LISTEN", "127.0.0.1:1"),
                    ("KEYWHEEL_listen", "127.0.0.1:2"),
                ],
                "environment variables KEYWHEEL_listen and KEYWHEEL_LISTEN: both set listen",
            ),
            ("", &[("KEYWHEEL_", "x")], "names no setting"),
            ("", &[("KEYWHEEL_KEYS__", "x")], "names no setting"),
        ] {
            let error = parse(text, variables).unwrap_err();
            assert!(error.contains(expected), "{variables:?}: {error}");
        }
    }

    #[test]
    fn a_list_is_set_whole_and_a_section_with_some_of_its_members() {
        let config = parse(
            "",
            &[
                (
                    "KEYWHEEL_AUDIENCE",
                    "[{ name = \"orders-api\", scopes = [\"x\"] }]",
                ),
                ("KEYWHEEL_ACCOUNTS__RATE_LIMIT__ATTEMPTS", "7"),
                ("KEYWHEEL_ACCOUNTS__ARGON2__ITERATIONS", "3"),
                ("KEYWHEEL_KEYS", "{ store = \"a\", jwks_max_age = \"5m\" }"),
                ("KEYWHEEL_KEYS__STORE", "b"),
            ],
        )
        .unwrap();
        let usual = Config::default();
        assert_eq!(config.audience[0].name, "orders-api");
        assert_eq!(config.accounts.rate_limit.attempts, 7);
        assert_eq!(
            config.accounts.rate_limit.window,
            usual.accounts.rate_limit.window
        );
        assert_eq!(config.accounts.argon2.iterations, 3);
        assert_eq!(
            config.accounts.argon2.memory_kib,
            usual.accounts.argon2.memory_kib
        );
        assert_eq!(config.keys.store, Path::new("b"));
        assert_eq!(config.keys.jwks_max_age.0.as_secs(), 300);
        let in_file = parse("[accounts]\naccount_rate_limit = { attempts = 5 }", &[]).unwrap();
        let window = usual.accounts.account_rate_limit.window;
        assert_eq!(in_file.accounts.account_rate_limit.window, window);
    }

    #[test]
    fn links_of_services_are_passed_over_and_named() {
        let links = [
            ("KEYWHEEL_SERVICE_HOST", "10.0.0.7"),
            ("KEYWHEEL_PORT", "tcp://10.0.0.7:3001"),
            ("KEYWHEEL_LISTEN", "127.0.0.1:7"),
        ];
        let config = parse("", &links).unwrap();
        assert_eq!(config.listen.port(), 7);
        let expected = ["KEYWHEEL_PORT", "KEYWHEEL_SERVICE_HOST"];
        assert_eq!(config.sources.passed_over, expected);
    }
}
