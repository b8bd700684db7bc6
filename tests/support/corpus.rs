//! The folder of corpora beside the repository. Much of it is other people's work and stays there; where it is missing, the
//! project's own vectors are what is left.

use std::path::{Path, PathBuf};

/// A file or folder of the corpora; `None`, said aloud, where they are not.
#[expect(
    clippy::print_stdout,
    reason = "what was not run belongs in the report"
)]
pub(crate) fn path(set: &str, name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../shared/corpora")
        .join(name);
    if path.exists() {
        return Some(path);
    }
    println!("{set}: {name} is absent from ../shared/corpora; tests/vectors is all that is run");
    None
}

/// As [`path`], read.
pub(crate) fn text(set: &str, name: &str) -> Option<String> {
    Some(read(&path(set, name)?))
}

pub(crate) fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Each line of a JSON lines file.
pub(crate) fn lines<T: serde::de::DeserializeOwned>(text: &str) -> Vec<T> {
    text.lines()
        .enumerate()
        .map(|(index, line)| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("line {}: {error}", index + 1))
        })
        .collect()
}

/// The files of a folder, by name.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    files
}
