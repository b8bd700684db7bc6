//! Settings from the environment: `KEYWHEEL_SECTION__KEY` overrides `key` in `[section]`.
//!
//! All variables are applied before anything is checked, so their order does not matter. Names of the environment that are not
//! ours are never read, whatever bytes they hold.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;

use toml::{Table, Value};

use super::reading::ConfigError;
use crate::printable;

/// What the name of every setting's variable begins with.
pub(super) const PREFIX: &str = "KEYWHEEL_";
/// Secrets, and so no setting: they are never part of a configuration.
pub(super) const WRAPPING_KEYS: &str = "KEYWHEEL_WRAPPING_KEYS";
/// Which program the tests and checks run; people leave it set.
const BINARY: &str = "KEYWHEEL_BIN";
/// Sections that are lists of tables: a variable sets all of one or nothing.
const LISTS: [&str; 1] = ["audience"];
/// The map whose keys are the operator's own names, in the case they have.
const FREE_NAMES: [&str; 2] = ["accounts", "fields"];

/// A variable that sets something.
#[derive(Debug, Clone)]
pub(super) struct Variable {
    pub(super) name: String,
    /// Where in the file the setting would be.
    pub(super) path: Vec<String>,
    value: Value,
}

/// What the environment says.
#[derive(Debug, Default)]
pub(super) struct Environment {
    pub(super) variables: Vec<Variable>,
    /// Names that look like ours and are somebody else's.
    pub(super) passed_over: Vec<String>,
}

/// The variables with our prefix.
///
/// # Errors
/// [`ConfigError`] names one that is not UTF-8.
pub(super) fn ours(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Vec<(String, String)>, ConfigError> {
    let mut ours = Vec::new();
    for (name, value) in environment {
        if !name.as_bytes().starts_with(PREFIX.as_bytes()) {
            continue;
        }
        let refused = |why: &str| ConfigError {
            place: place_of(&name.to_string_lossy()),
            why: why.into(),
        };
        let Some(name) = name.to_str() else {
            return Err(refused("its name is not UTF-8, and so it is no setting"));
        };
        if is_passed_over(name, "") {
            ours.push((name.to_owned(), String::new()));
            continue;
        }
        let Some(value) = value.to_str() else {
            return Err(refused("its value is not UTF-8"));
        };
        ours.push((name.to_owned(), value.to_owned()));
    }
    Ok(ours)
}

/// How messages name a variable.
pub(super) fn place_of(name: &str) -> String {
    format!("environment variable {}", printable::line(name))
}

/// Whether a variable is no setting: what Kubernetes tells every container of a namespace about a Service called `keywheel` or
/// `keywheel-…` (`KEYWHEEL_PORT=tcp://…`, `KEYWHEEL_SERVICE_HOST`, `KEYWHEEL_GATE_PORT_80_TCP_ADDR`), and what our own tests read.
///
/// A name with `__` in it is a setting, whatever it ends with. `KEYWHEEL_PORT=3001` was meant for one.
fn is_passed_over(name: &str, value: &str) -> bool {
    let Some(rest) = name.strip_prefix(PREFIX) else {
        return false;
    };
    // A Service called `keywheel--x` begins with the separator; no setting does.
    let rest = rest.trim_start_matches('_');
    if name == BINARY {
        return true;
    }
    if rest.contains("__") || (rest == "PORT" && value.parse::<u16>().is_ok()) {
        return false;
    }
    // As if another word stood before it, which is the Service's name or nothing.
    let rest = format!("_{rest}");
    rest.ends_with("_PORT") || rest.contains("_PORT_") || rest.contains("_SERVICE_")
}

// === impl Environment ===

impl Environment {
    /// Reads the variables with our prefix; `table` is what the file says, for the case of its names.
    ///
    /// # Errors
    /// [`ConfigError`] names the variable.
    pub(super) fn read(
        variables: impl IntoIterator<Item = (String, String)>,
        table: &Table,
    ) -> Result<Self, ConfigError> {
        let mut named = Vec::new();
        let mut read = Environment::default();
        for (name, value) in variables {
            let Some(rest) = name.strip_prefix(PREFIX) else {
                continue;
            };
            if name == WRAPPING_KEYS || name == BINARY {
                continue;
            }
            if is_passed_over(&name, &value) {
                read.passed_over.push(name);
                continue;
            }
            let segments: Vec<String> = rest.split("__").map(Into::into).collect();
            named.push((name, segments, value));
        }
        read.passed_over.sort();
        // A section before its members; a name written in its own case before one in capitals.
        named.sort_by_key(|(name, segments, _)| {
            let in_capitals = !name.bytes().any(|byte| byte.is_ascii_lowercase());
            (segments.len(), in_capitals, name.clone())
        });
        let mut names = table.clone();
        for (name, segments, value) in named {
            let refused = |why: String| ConfigError {
                place: place_of(&name),
                why,
            };
            let path = resolve(&segments, &names).map_err(&refused)?;
            let value = parse(&value);
            if let Some(other) = read.variables.iter().find(|other| other.path == path) {
                if other.value == value {
                    continue;
                }
                let place = format!(
                    "environment variables {} and {}",
                    printable::line(&other.name),
                    printable::line(&name)
                );
                let why = format!("both set {}", path.join("."));
                return Err(ConfigError { place, why });
            }
            set(&mut names, &path, value.clone()).map_err(&refused)?;
            read.variables.push(Variable { name, path, value });
        }
        Ok(read)
    }

    /// Whether a variable sets this, alone or with its section.
    pub(super) fn sets(&self, setting: &[&str]) -> bool {
        self.variables.iter().any(|variable| {
            let Some(members) = setting.strip_prefix_of(&variable.path) else {
                return false;
            };
            let mut value = Some(&variable.value);
            for member in members {
                value = value.and_then(|value| value.get(member));
            }
            value.is_some()
        })
    }
}

/// What is left of a path after another one that it begins with.
trait StripPrefix {
    fn strip_prefix_of(&self, prefix: &[String]) -> Option<&[&str]>;
}

impl StripPrefix for [&str] {
    fn strip_prefix_of(&self, prefix: &[String]) -> Option<&[&str]> {
        let begins = prefix.len() <= self.len() && prefix.iter().zip(self).all(|(a, b)| a == b);
        begins.then(|| &self[prefix.len()..])
    }
}

// === impl Variable ===

impl Variable {
    /// Puts the value into `table`.
    ///
    /// # Errors
    /// Why there is no such place.
    pub(super) fn apply(&self, table: &mut Table) -> Result<(), String> {
        set(table, &self.path, self.value.clone())
    }
}

/// The path that a variable's words mean: names are found whatever their case; those of the operator's own map keep theirs, and
/// are lower case where the variable is in capitals throughout.
fn resolve(segments: &[String], table: &Table) -> Result<Vec<String>, String> {
    let mut path: Vec<String> = Vec::new();
    let mut level = Some(table);
    for segment in segments {
        if segment.is_empty() {
            return Err("names no setting".into());
        }
        if let [section] = &path[..]
            && LISTS.contains(&section.as_str())
        {
            return Err(format!(
                "`{section}` is a list: set the whole of it, like {PREFIX}{}='[{{ name = \"orders-api\" }}]'",
                section.to_ascii_uppercase()
            ));
        }
        let known = level.and_then(|level| {
            let exact = level.keys().find(|key| *key == segment);
            let alike = || level.keys().find(|key| key.eq_ignore_ascii_case(segment));
            exact.or_else(alike)
        });
        let is_free = path == FREE_NAMES && segment.bytes().any(|byte| byte.is_ascii_lowercase());
        let name = match known {
            Some(known) => known.clone(),
            None if is_free => segment.clone(),
            None => segment.to_ascii_lowercase(),
        };
        level = level.and_then(|level| level.get(&name)?.as_table());
        path.push(name);
    }
    Ok(path)
}

/// As TOML if it reads as such, else as a string: a bare word needs no quotes in the environment.
fn parse(text: &str) -> Value {
    let parsed = toml::from_str::<Table>(&format!("value = {text}")).ok();
    // One that holds a line break could set more than one.
    let alone = parsed.filter(|table| table.len() == 1);
    alone
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| Value::String(text.into()))
}

fn set(table: &mut Table, path: &[String], value: Value) -> Result<(), String> {
    let Some((name, sections)) = path.split_last() else {
        return Err("names no setting".into());
    };
    let mut table = table;
    for section in sections {
        table = table
            .entry(section.clone())
            .or_insert_with(|| Value::Table(Table::new()))
            .as_table_mut()
            .ok_or_else(|| format!("`{section}` is not a section"))?;
    }
    table.insert(name.clone(), value);
    Ok(())
}

/// The names with our prefix that a program which reads none of them ignores.
pub(super) fn ignored(environment: impl IntoIterator<Item = OsString>) -> Vec<String> {
    let mut names: Vec<String> = environment
        .into_iter()
        .filter(|name| name.as_bytes().starts_with(PREFIX.as_bytes()))
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| !is_passed_over(name, ""))
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;

    #[test]
    fn links_of_kubernetes_services_are_no_settings_and_names_of_settings_are() {
        for (name, value) in [
            ("KEYWHEEL_PORT", "tcp://10.0.0.7:3001"),
            ("KEYWHEEL_PORT_3001_TCP", "tcp://10.0.0.7:3001"),
            ("KEYWHEEL_PORT_3001_TCP_PROTO", "tcp"),
            ("KEYWHEEL_PORT_3001_TCP_PORT", "3001"),
            ("KEYWHEEL_PORT_3001_TCP_ADDR", "10.0.0.7"),
            ("KEYWHEEL_PORT_53_UDP", "udp://10.0.0.7:53"),
            ("KEYWHEEL_SERVICE_HOST", "10.0.0.7"),
            ("KEYWHEEL_SERVICE_PORT", "3001"),
            ("KEYWHEEL_SERVICE_PORT_HTTP", "3001"),
            ("KEYWHEEL_SERVICE_PORT_ADMIN_API", "9301"),
            ("KEYWHEEL_GATE_PORT", "tcp://10.0.0.8:4180"),
            ("KEYWHEEL_GATE_PORT_4180_TCP_ADDR", "10.0.0.8"),
            ("KEYWHEEL_ADMIN_SERVICE_HOST", "10.0.0.9"),
            ("KEYWHEEL_ADMIN_SERVICE_PORT", "9301"),
            ("KEYWHEEL__GATE_SERVICE_HOST", "10.0.0.8"),
            ("KEYWHEEL_BIN", "target/debug/keywheel"),
        ] {
            assert!(is_passed_over(name, value), "{name}");
        }
        for (name, value) in [
            ("KEYWHEEL_MAIL__PORT", "587"),
            ("KEYWHEEL_A__SERVICE_HOST", "x"),
            ("KEYWHEEL_PORT", "3001"),
            ("KEYWHEEL_LISTEN", "127.0.0.1:3001"),
            ("KEYWHEEL_PORTS", "1"),
            ("KEYWHEEL_BINARY", "x"),
            ("KEYWHEEL_REPORT", "x"),
            ("KEYWHEEL_", "x"),
        ] {
            assert!(!is_passed_over(name, value), "{name}");
        }
    }

    #[test]
    fn only_our_names_are_read_and_what_is_not_utf8_is_named() {
        let bytes = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
        let foreign = [
            (bytes(b"X"), bytes(b"\xff")),
            (bytes(b"\xff"), bytes(b"x")),
            (bytes(b"KEYWHEEL"), bytes(b"\xff")),
            (bytes(b"KEYWHEEL_PORT"), bytes(b"\xff")),
            (bytes(b"KEYWHEEL_BIN"), bytes(b"/home/j\xfcrgen/keywheel")),
        ];
        let names: Vec<_> = ours(foreign)
            .unwrap()
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(names, ["KEYWHEEL_PORT", "KEYWHEEL_BIN"]);
        for (name, value, words) in [
            (
                &b"KEYWHEEL_LISTEN"[..],
                &b"\xff"[..],
                "variable KEYWHEEL_LISTEN: its value",
            ),
            (
                b"KEYWHEEL_WRAPPING_KEYS",
                b"\xff",
                "KEYWHEEL_WRAPPING_KEYS: its value",
            ),
            (b"KEYWHEEL_X\x1b\xff", b"x", "KEYWHEEL_X\\u{1b}"),
        ] {
            let error = ours([(bytes(name), bytes(value))]).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn a_value_is_one_value_whatever_is_in_it() {
        assert_eq!(parse("5"), Value::Integer(5));
        assert_eq!(parse("\"5\""), Value::String("5".into()));
        assert_eq!(parse("a b"), Value::String("a b".into()));
        assert_eq!(parse("5\nother = 6"), Value::String("5\nother = 6".into()));
    }
}
