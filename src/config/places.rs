//! Where files are: relative paths of a file go by the file's own folder, those of the environment by the working directory.

use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::reading::{ConfigError, line_of};
use super::warnings::Warning;
use super::{Config, DatabaseUrl};

/// Where a configuration came from, and what was said on the way.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sources {
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// Variables that begin as ours do and are no settings.
    pub passed_over: Vec<String>,
    /// What reading found worth a warning.
    pub(super) warnings: Vec<Warning>,
}

/// A path that the configuration holds.
struct Held {
    setting: &'static str,
    /// As it is written, which goes by the working directory.
    written: PathBuf,
    /// What is in it that makes it more than a name.
    content: Option<&'static str>,
}

// === impl Config ===

impl Config {
    /// Lets the relative paths go by the folder of the file at `path`, but for those that the environment sets.
    ///
    /// # Errors
    /// [`ConfigError`] where that place is empty and the one by the working directory, which earlier versions used, is not.
    pub(super) fn settle(
        &mut self,
        path: &Path,
        text: &str,
        environment: &Environment,
    ) -> Result<(), ConfigError> {
        self.sources.file = Some(path.to_owned());
        let folder = path.parent().unwrap_or(Path::new(""));
        if folder.as_os_str().is_empty() || same_place(folder, Path::new(".")) {
            return Ok(());
        }
        for held in self.held() {
            let setting: Vec<&str> = held.setting.split('.').collect();
            if held.written.is_absolute() || environment.sets(&setting) {
                continue;
            }
            let settled = folder.join(&held.written);
            match (held.is_there(&settled), held.is_there(&held.written)) {
                (false, true) => return Err(self.moved(path, text, &held, &settled)),
                (true, true) => self.sources.warnings.push(Warning {
                    setting: held.setting.into(),
                    why: format!(
                        "is {}; there is another one at {}, by the working directory",
                        absolute(&settled).display(),
                        absolute(&held.written).display()
                    ),
                    hint: format!(
                        "write the path of the one that is meant: {}",
                        line_for(&held, &settled)
                    ),
                }),
                _ => {}
            }
            self.set_path(held.setting, settled)?;
        }
        Ok(())
    }

    /// The relative and absolute paths that are in use.
    fn held(&self) -> Vec<Held> {
        let mut held = Vec::new();
        if !self.keys.is_database() {
            held.push(Held {
                setting: "keys.store",
                written: self.keys.store.clone(),
                content: Some("ring.json"),
            });
        }
        if let Some(file) = &self.keys.wrapping_keys_file {
            held.push(Held {
                setting: "keys.wrapping_keys_file",
                written: file.clone(),
                content: None,
            });
        }
        if let Some(file) = crate::store::database_file(&self.database.url.0) {
            held.push(Held {
                setting: "database.url",
                written: file,
                content: None,
            });
        }
        held
    }

    fn set_path(&mut self, setting: &'static str, path: PathBuf) -> Result<(), ConfigError> {
        match setting {
            "keys.store" => self.keys.store = path,
            "keys.wrapping_keys_file" => self.keys.wrapping_keys_file = Some(path),
            _ => {
                let Some(text) = path.to_str() else {
                    return Err(ConfigError {
                        place: setting.into(),
                        why: format!("{}: a database's path must be UTF-8", path.display()),
                    });
                };
                self.database.url = DatabaseUrl(format!("sqlite://{text}"));
            }
        }
        Ok(())
    }

    fn moved(&self, path: &Path, text: &str, held: &Held, settled: &Path) -> ConfigError {
        let name = path.display();
        let place = match line_of(text, held.setting) {
            Some(line) => format!("{name}:{line}"),
            None => name.to_string(),
        };
        let (before, now) = (absolute(&held.written), absolute(settled));
        let why = format!(
            "{} goes by the folder of this file, where {} is not there; {} is, by the working directory, as earlier versions \
             had it: write {} to keep it, {} to begin anew, or move it",
            held.setting,
            now.display(),
            before.display(),
            line_for(held, &before),
            line_for(held, &now)
        );
        ConfigError { place, why }
    }

    /// What is where, in absolute paths, for people: one line.
    pub fn places(&self) -> String {
        let file = match &self.sources.file {
            Some(file) => format!("configuration {}", absolute(file).display()),
            None => "no configuration file".into(),
        };
        let keys = match self.keys.is_database() {
            true => "keys in the database".into(),
            false => format!("keys in {}", absolute(&self.keys.store).display()),
        };
        let database = match crate::store::database_file(&self.database.url.0) {
            Some(path) => absolute(&path).display().to_string(),
            None => crate::store::database_name(&self.database.url.0),
        };
        format!("{file}, {keys}, accounts in {database}")
    }
}

// === impl Held ===

impl Held {
    /// Whether something is at `path`. What may not be looked at is taken to be there: opening it will say why it cannot be used.
    fn is_there(&self, path: &Path) -> bool {
        let path = self
            .content
            .map_or(path.to_owned(), |content| path.join(content));
        match std::fs::metadata(path) {
            Ok(metadata) => metadata.len() > 0,
            Err(error) => !matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
            ),
        }
    }
}

/// The line of a file that names this place.
fn line_for(held: &Held, path: &Path) -> String {
    let path = absolute(path);
    match held.setting.rsplit_once('.') {
        Some((section, key)) if section == "database" => {
            format!("{key} = \"sqlite://{}\" in [{section}]", path.display())
        }
        Some((section, key)) => format!("{key} = \"{}\" in [{section}]", path.display()),
        None => format!("{} = \"{}\"", held.setting, path.display()),
    }
}

/// The path from the root. Without a working directory, as it is.
fn absolute(path: &Path) -> PathBuf {
    let Ok(path) = std::path::absolute(path) else {
        return path.to_owned();
    };
    // `/srv/work/../keys` is /srv/keys to a reader; what is not there yet has an ancestor that is.
    for ancestor in path.ancestors() {
        if let (Ok(real), Ok(rest)) = (std::fs::canonicalize(ancestor), path.strip_prefix(ancestor))
        {
            return match rest.as_os_str().is_empty() {
                true => real,
                false => real.join(rest),
            };
        }
    }
    path
}

fn same_place(one: &Path, other: &Path) -> bool {
    match (std::fs::canonicalize(one), std::fs::canonicalize(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}
