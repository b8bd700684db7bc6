//! The tests that there are, by the names that documents call them by.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The tests of this crate: for each cargo target (`lib` for the unit tests) the full path of each test in it.
pub struct NamedTests {
    by_target: BTreeMap<String, Vec<String>>,
}

/// A test as a document names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// A cargo target, `lib`, or the path of a script from the repository's root.
    pub target: String,
    /// The function, with as many of its modules as the document gives; the title, in a script.
    pub name: String,
}

// === impl NamedTests ===

impl NamedTests {
    pub fn read() -> Self {
        let mut by_target = BTreeMap::new();
        let tests = root().join("tests");
        for file in files_in(&tests, false) {
            let target = stem(&file);
            let mut found = tests_in(&file, "");
            let folder = tests.join(&target);
            for part in rust_files(&folder) {
                found.extend(tests_in(&part, &module_of(&folder, &part)));
            }
            by_target.insert(target, found);
        }
        let src = root().join("src");
        let units = rust_files(&src).into_iter();
        let units = units.flat_map(|file| tests_in(&file, &module_of(&src, &file)));
        by_target.insert("lib".to_owned(), units.collect());
        NamedTests { by_target }
    }

    pub fn is_target(&self, name: &str) -> bool {
        self.by_target.contains_key(name)
    }

    /// Every test's own name, without its modules.
    pub fn is_somewhere(&self, name: &str) -> bool {
        let mut all = self.by_target.values().flatten();
        all.any(|test| is_called(test, name))
    }

    /// Why there is no such test, if there is none.
    pub fn missing(&self, reference: &Reference) -> Option<String> {
        let Reference { target, name } = reference;
        if target.contains('/') {
            let Ok(text) = std::fs::read_to_string(root().join(target)) else {
                return Some(format!("there is no file {target}"));
            };
            let is_there = text.contains(name.as_str());
            return (!is_there).then(|| format!("{target} has nothing called {name:?}"));
        }
        let Some(tests) = self.by_target.get(target) else {
            return Some(format!("there is no test target {target}"));
        };
        let is_there = tests.iter().any(|test| is_called(test, name));
        (!is_there).then(|| format!("{target} has no test {name}"))
    }
}

/// The references among the code spans of `text`: a target, a colon, and the names that follow it, with commas between.
/// `is_target` tells a target from any other code span before a colon.
pub fn references(text: &str, is_target: impl Fn(&str) -> bool) -> Vec<Reference> {
    let mut found = Vec::new();
    let mut target: Option<&str> = None;
    let pieces: Vec<&str> = text.split('`').collect();
    // Code spans stand at odd places, what is between them at even ones.
    for at in (1..pieces.len()).step_by(2) {
        let (before, span) = (pieces[at - 1], pieces[at]);
        let after = pieces.get(at + 1).copied().unwrap_or_default();
        if after == ": " && is_target(span) {
            target = Some(span);
            continue;
        }
        match target {
            Some(target) if before == ": " || before == ", " => found.push(Reference {
                target: target.to_owned(),
                name: span.to_owned(),
            }),
            _ => target = None,
        }
    }
    found
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn is_called(test: &str, name: &str) -> bool {
    test == name
        || test
            .strip_suffix(name)
            .is_some_and(|modules| modules.ends_with("::"))
}

fn stem(file: &Path) -> String {
    let stem = file.file_stem().expect("a name");
    stem.to_string_lossy().into_owned()
}

fn files_in(folder: &Path, with_folders: bool) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut paths: Vec<_> = paths
        .filter(|path| {
            (with_folders && path.is_dir()) || path.extension().is_some_and(|ext| ext == "rs")
        })
        .collect();
    paths.sort();
    paths
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = files_in(folder, true).into_iter();
    entries
        .flat_map(|path| match path.is_dir() {
            true => rust_files(&path),
            false => vec![path],
        })
        .collect()
}

/// `a::b` of `a/b.rs` and of `a/b/mod.rs`.
fn module_of(folder: &Path, file: &Path) -> String {
    let path = file
        .strip_prefix(folder)
        .expect("within")
        .with_extension("");
    let mut parts: Vec<_> = path
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    if matches!(
        parts.last().map(String::as_str),
        Some("mod" | "lib" | "main")
    ) {
        parts.pop();
    }
    parts.join("::")
}

/// The functions under a test's attribute, those that a macro of the file makes of a list of names included.
fn tests_in(file: &Path, module: &str) -> Vec<String> {
    let text = std::fs::read_to_string(file).expect("a source file");
    let macros = test_macros(&text);
    let mut found = Vec::new();
    // Inline modules that are open, each with its indentation.
    let mut open: Vec<(usize, String)> = Vec::new();
    let mut is_test = false;
    let mut in_macro = false;
    for line in text.lines() {
        let code = line.trim_start();
        let indent = line.len() - code.len();
        if code == "}" {
            in_macro = false;
            open.retain(|(outer, _)| *outer < indent);
        }
        if let Some(name) = code
            .strip_suffix(" {")
            .and_then(|code| code.split("mod ").nth(1))
        {
            open.push((indent, name.to_owned()));
        }
        if code.is_empty() {
            is_test = false;
        }
        is_test |= code.starts_with("#[test]") || code.starts_with("#[tokio::test");
        let name = match (in_macro, is_test) {
            (true, _) => Some(identifier(code)),
            (false, true) => code.split("fn ").nth(1).map(identifier),
            (false, false) => None,
        };
        if let Some(name) = name.filter(|name| !name.is_empty()) {
            let inner = open.iter().map(|(_, name)| name.as_str());
            let modules = std::iter::once(module).chain(inner);
            let path: Vec<&str> = modules
                .filter(|part| !part.is_empty())
                .chain([name])
                .collect();
            found.push(path.join("::"));
            is_test = false;
        }
        in_macro |= macros
            .iter()
            .any(|name| indent == 0 && code == format!("{name}! {{"));
    }
    found
}

fn identifier(code: &str) -> &str {
    let end = code.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    &code[..end.unwrap_or(code.len())]
}

/// The macros of a file that make tests.
fn test_macros(text: &str) -> Vec<&str> {
    let macros = text.split("macro_rules! ").skip(1);
    macros
        .filter(|rest| {
            let body = rest.split("\n}").next().unwrap_or_default();
            body.contains("#[test]") || body.contains("#[tokio::test")
        })
        .map(identifier)
        .collect()
}
